//! Which rows may be forgotten: acknowledged ones that are old or too many; on a host without a master, the oldest.
//!
//! Deletes at most [`ROWS_PER_STEP`] rows a call, and none of an open run, so that appends are never held up for long.

use hume_core::Timestamp;
use rusqlite::{Connection, params};

use super::config::Keeping;
use super::types::SpoolError;

/// Rows of one step.
const ROWS_PER_STEP: usize = 2000;

/// What one step removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// True when there may be more to forget.
    pub(super) more: bool,
}

/// Forgets what may be forgotten. `bytes` is what the rows that may go take up together.
pub(super) fn forget(
    connection: &mut Connection,
    keeping: Keeping,
    bytes: u64,
    now: Timestamp,
) -> Result<Forgotten, SpoolError> {
    let oldest = now.plus_micros(-i64::try_from(keeping.age_max.as_micros()).unwrap_or(i64::MAX));
    let mut excess = bytes.saturating_sub(keeping.bytes_max);
    let acked = if keeping.acked_only { "AND seq <= acked_seq" } else { "" };
    let transaction = connection.transaction()?;
    let mut forgotten = Forgotten::default();
    {
        let mut candidates = transaction.prepare_cached(&format!(
            "SELECT event.row, length(body), received_us FROM event JOIN epoch ON no = epoch_no {acked}
              WHERE run IS NULL OR run NOT IN (SELECT id FROM open_run) ORDER BY event.row LIMIT {ROWS_PER_STEP}"
        ))?;
        let mut delete = transaction.prepare_cached("DELETE FROM event WHERE row = ?1")?;
        let mut rows = candidates.query([])?;
        let mut doomed = Vec::new();
        while let Some(row) = rows.next()? {
            let (number, bytes, received): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if received >= oldest.as_micros() && excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes as u64);
            forgotten.events += 1;
            forgotten.bytes += bytes as u64;
            doomed.push(number);
        }
        for number in doomed {
            delete.execute(params![number])?;
        }
    }
    if forgotten.events > 0 {
        transaction.execute(
            "DELETE FROM run WHERE ended AND NOT EXISTS (SELECT 1 FROM event WHERE event.run = run.id)",
            [],
        )?;
    }
    transaction.commit()?;
    forgotten.more = forgotten.events == ROWS_PER_STEP as u64;
    Ok(forgotten)
}
