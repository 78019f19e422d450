//! What the master has: told by the uplink at any time, counted at once, written with the next commit.
//!
//! Losing one only makes the master drop a copy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hume_core::name::{Epoch, EventId, Seq};
use hume_runtime::points::{self, Point};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::blocks;
use super::epochs;
use super::types::row_of;

/// Highest acknowledged place of each epoch that the writer has not looked at: it takes no room in the queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Acks(Arc<Mutex<BTreeMap<Epoch, Seq>>>);

impl Acks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Epoch, Seq>> {
        // Every statement leaves the map whole, so a poisoned lock is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when it is the first that the writer has not looked at.
    pub(super) fn put(&self, epoch: Epoch, seq: Seq) -> bool {
        let mut acks = self.lock();
        let is_first = acks.is_empty();
        let highest = acks.entry(epoch).or_insert(seq);
        *highest = (*highest).max(seq);
        is_first
    }

    pub(super) fn take(&self) -> BTreeMap<Epoch, Seq> {
        std::mem::take(&mut *self.lock())
    }
}

/// How many events, and bytes of them, are newly acknowledged by a word on `seq`, when `noted` is what the writer knows
/// beyond the file. None when it is no news, or about a place that was never given out.
pub(super) fn newly_acked(
    connection: &Connection,
    noted: Option<Seq>,
    epoch: Epoch,
    seq: Seq,
) -> rusqlite::Result<Option<(u64, u64)>> {
    let found = connection
        .prepare_cached("SELECT no, acked_seq FROM epoch WHERE epoch = ?1 AND next_seq > ?2")?
        .query_row(params![epoch.as_bytes(), seq.get() as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let Some((no, written)) = found else { return Ok(None) };
    let before = written.max(noted.map_or(0, |noted| noted.get() as i64));
    if seq.get() as i64 <= before {
        return Ok(None);
    }
    let after = Seq::new(before as u64).unwrap_or(Seq::ZERO);
    blocks::amount(connection, row_of(no, after.next())..row_of(no, seq.next())).map(Some)
}

/// Notes what is acknowledged.
pub(super) fn write(transaction: &Transaction<'_>, acks: &BTreeMap<Epoch, Seq>) -> rusqlite::Result<()> {
    for (epoch, seq) in acks {
        points::reach(Point::AgentBeforeCursor);
        if let Some(no) = epochs::number_of(transaction, *epoch)? {
            let event = blocks::at(transaction, row_of(no, *seq))?.map(|mark| mark.id);
            transaction
                .prepare_cached(
                    "UPDATE epoch SET acked_seq = ?2, acked_event = ?3
                      WHERE no = ?1 AND acked_seq < ?2 AND next_seq > ?2",
                )?
                .execute(params![no, seq.get() as i64, event.as_ref().map(EventId::as_bytes)])?;
        }
        points::reach(Point::AgentAfterCursor);
    }
    Ok(())
}
