//! Which rows may be forgotten: acknowledged ones that are old or too many; on a host without a master, the oldest.
//!
//! Deletes at most [`ROWS_PER_STEP`] rows a call, of ended runs first, so that appends are never held up for long.

use hume_core::Timestamp;
use rusqlite::{Connection, params};

use super::config::Keeping;
use super::types::SpoolError;

/// Rows of one step.
const ROWS_PER_STEP: i64 = 2000;

/// Forgets what may be forgotten; answers how many events that were.
pub(super) fn forget(
    connection: &mut Connection,
    keeping: Keeping,
    now: Timestamp,
) -> Result<u64, SpoolError> {
    let oldest = now.plus_micros(-i64::try_from(keeping.age_max.as_micros()).unwrap_or(i64::MAX));
    let candidates = if keeping.acked_only {
        "SELECT event.row, length(body) AS bytes, received_us FROM epoch
           JOIN event ON epoch_no = no AND seq <= acked_seq
          WHERE run IS NULL OR run NOT IN (SELECT id FROM open_run)"
    } else {
        "SELECT event.row, length(body) AS bytes, received_us FROM event
          WHERE run IS NULL OR run NOT IN (SELECT id FROM open_run)"
    };
    let transaction = connection.transaction()?;
    let kept_bytes: i64 =
        transaction.query_row(&format!("SELECT coalesce(sum(bytes), 0) FROM ({candidates})"), [], |row| {
            row.get(0)
        })?;
    let excess = kept_bytes.saturating_sub(i64::try_from(keeping.bytes_max).unwrap_or(i64::MAX)).max(0);
    // A row goes when it is too old, or when the rows before it do not yet make up for the excess.
    let deleted = transaction.execute(
        &format!(
            "DELETE FROM event WHERE row IN (
                SELECT row FROM (
                    SELECT row, bytes, received_us, sum(bytes) OVER (ORDER BY row) - bytes AS before
                      FROM (SELECT * FROM ({candidates}) ORDER BY row LIMIT ?3)
                ) WHERE received_us < ?1 OR before < ?2)"
        ),
        params![oldest.as_micros(), excess, ROWS_PER_STEP],
    )?;
    if deleted > 0 {
        transaction.execute(
            "DELETE FROM run WHERE ended AND NOT EXISTS (SELECT 1 FROM event WHERE event.run = run.id)",
            [],
        )?;
    }
    transaction.commit()?;
    Ok(deleted as u64)
}
