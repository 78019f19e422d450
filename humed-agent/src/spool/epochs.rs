//! The sequence spaces of the spool: one that grows, and older ones that another took over from.
//!
//! A place, once given out, names one event for ever. Where that is in doubt (the file was put back to an earlier state, is a
//! copy, or was damaged), [`succeed`] begins a new epoch and moves into it all that was not acknowledged.

use std::ops::Range;

use hume_core::Timestamp;
use hume_core::name::{Epoch, EventId, Seq};
use hume_core::run::RunState;
use hume_proto::relay::EpochReason;
use hume_runtime::{clock, random};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::blocks;
use super::types::{SpoolError, id_from, row_of, rows_from};

/// One sequence space of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRow {
    /// Number in the file; older epochs have lower ones.
    pub no: i64,
    /// Its name.
    pub epoch: Epoch,
    /// The place after the last.
    pub next: Seq,
    /// Highest acknowledged place.
    pub acked: Seq,
    /// The event there.
    pub acked_event: Option<EventId>,
    /// The epoch it took over from.
    pub predecessor: Option<Epoch>,
    /// Events through this place stood there before, right after what was acknowledged.
    pub restamped: Seq,
    /// Why it began.
    pub reason: EpochReason,
    /// Through this place, what is missing was given up by an administrator.
    pub purged: Seq,
}

impl EpochRow {
    /// The last place that was given out.
    pub fn last(&self) -> Seq {
        Seq::new(self.next.get().saturating_sub(1)).unwrap_or(Seq::ZERO)
    }
}

/// Every epoch, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<EpochRow>, SpoolError> {
    let mut statement = connection.prepare_cached(
        "SELECT no, epoch, next_seq, acked_seq, acked_event, predecessor, restamped, reason, purged FROM epoch ORDER BY no",
    )?;
    let mut rows = statement.query([])?;
    let mut epochs = Vec::new();
    while let Some(row) = rows.next()? {
        let no: i64 = row.get(0)?;
        let seq = |value: i64| Seq::new(u64::try_from(value).unwrap_or(0)).unwrap_or(Seq::ZERO);
        epochs.push(EpochRow {
            no,
            epoch: id_from(no, row.get_ref(1)?.as_blob().unwrap_or_default(), Epoch::from_slice)?,
            next: seq(row.get(2)?),
            acked: seq(row.get(3)?),
            acked_event: row.get::<_, Option<Vec<u8>>>(4)?.and_then(|id| EventId::from_slice(&id)),
            predecessor: row.get::<_, Option<Vec<u8>>>(5)?.and_then(|epoch| Epoch::from_slice(&epoch)),
            restamped: seq(row.get(6)?),
            reason: EpochReason::from_number(row.get(7)?),
            purged: seq(row.get(8)?),
        });
    }
    Ok(epochs)
}

/// The epoch that grows; a new one in a new file.
pub(super) fn newest(connection: &Connection) -> Result<EpochRow, SpoolError> {
    match all(connection)?.pop() {
        Some(epoch) => Ok(epoch),
        None => create(connection, None, EpochReason::Created),
    }
}

/// Begins an epoch that takes over from `epoch`: what was not acknowledged of that one moves into it, in order, and nothing is
/// added to it any more. To be called in a transaction.
/// # Errors
/// [`SpoolError`]; the transaction is to be rolled back. [`SpoolError::NoEpoch`] when there is none of this name that may grow.
pub(super) fn succeed(
    connection: &Connection,
    epoch: Epoch,
    reason: EpochReason,
) -> Result<EpochRow, SpoolError> {
    let epochs = all(connection)?;
    let has_successor = epochs.iter().any(|one| one.predecessor == Some(epoch));
    let old = epochs.into_iter().find(|one| one.epoch == epoch && !has_successor);
    let old = old.ok_or(SpoolError::NoEpoch { epoch })?;
    let new = create(connection, Some(&old), reason)?;
    let moving = rows_from(old.no, old.acked.next());
    blocks::split(connection, moving.start)?;
    restamp_runs(connection, &old, moving.clone(), new.epoch)?;
    blocks::shift(connection, moving, row_of(new.no, Seq::ZERO) - row_of(old.no, old.acked))?;
    connection.execute("UPDATE epoch SET next_seq = acked_seq + 1 WHERE no = ?1", [old.no])?;
    Ok(new)
}

/// What is known of the runs that events about to move are in follows them.
fn restamp_runs(
    connection: &Connection,
    old: &EpochRow,
    moving: Range<i64>,
    new: Epoch,
) -> Result<(), SpoolError> {
    let mut select = connection.prepare(
        "SELECT no, state FROM run WHERE no IN (SELECT run_no FROM block_by_run WHERE row >= ?1 AND row < ?2)",
    )?;
    let mut update = connection.prepare("UPDATE run SET state = ?2 WHERE no = ?1")?;
    let mut rows = select.query([moving.start, moving.end])?;
    while let Some(row) = rows.next()? {
        let (no, text): (i64, String) = (row.get(0)?, row.get(1)?);
        let damaged =
            |error: serde_json::Error| SpoolError::Damaged { row: no, detail: format!("a run: {error}") };
        let mut state: RunState = serde_json::from_str(&text).map_err(damaged)?;
        state.restamp(old.epoch, old.acked, new);
        update.execute(params![no, serde_json::to_string(&state).map_err(damaged)?])?;
    }
    Ok(())
}

fn create(
    connection: &Connection,
    old: Option<&EpochRow>,
    reason: EpochReason,
) -> Result<EpochRow, SpoolError> {
    let (epoch, now): (_, Timestamp) = (Epoch::from_bytes(random::bytes()), clock::now());
    let predecessor = old.map(|old| old.epoch);
    // What was the first place after the acknowledged ones is the first of the new epoch.
    let moved = |through: fn(&EpochRow) -> Seq| {
        let places = old.map_or(0, |old| through(old).get().saturating_sub(old.acked.get()));
        Seq::new(places).unwrap_or(Seq::ZERO)
    };
    let (restamped, purged) = (moved(EpochRow::last), moved(|old| old.purged));
    connection.execute(
        "INSERT INTO epoch (epoch, next_seq, acked_seq, created_us, predecessor, restamped, reason, purged)
         VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7)",
        params![
            epoch.as_bytes(),
            restamped.next().get() as i64,
            now.as_micros(),
            predecessor.as_ref().map(Epoch::as_bytes),
            restamped.get() as i64,
            reason.number(),
            purged.get() as i64,
        ],
    )?;
    let no = connection.last_insert_rowid();
    let (acked, acked_event) = (Seq::ZERO, None);
    let next = restamped.next();
    Ok(EpochRow { no, epoch, next, acked, acked_event, predecessor, restamped, reason, purged })
}

/// The number of an epoch, if it is one of this spool.
pub(super) fn number_of(connection: &Connection, epoch: Epoch) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT no FROM epoch WHERE epoch = ?1")?
        .query_row([epoch.as_bytes()], |row| row.get(0))
        .optional()
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;
