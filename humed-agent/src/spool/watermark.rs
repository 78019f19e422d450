//! Up to which moment everything that happened is at the master, as far as the spool knows: what the agent may claim in a heartbeat.
//!
//! A claim lies before all that waits for its commit, all that waits for its acknowledgement, and all that is received from
//! now on. What was received later than it happened counts from when it happened, by its own word. A claim may be too early,
//! never too late. Of each epoch at most [`ROWS_LOOKED_AT_MAX`] rows are read: when more
//! wait, nothing is claimed. A clock that is set back later takes back no claim.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hume_core::Timestamp;
use hume_core::name::Seq;
use hume_proto::relay::EpochCursor;
use hume_runtime::clock;
use rusqlite::Connection;

use super::blocks;
use super::epochs;
use super::reader::SpoolReader;
use super::types::{SpoolError, rows_from};

/// Rows of one epoch that one claim looks at.
const ROWS_LOOKED_AT_MAX: i64 = if cfg!(test) { 10 } else { 10_000 };

/// What was received and is not on disk yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    moments: BTreeSet<(Timestamp, u64)>,
    number: u64,
}

/// Something received, until it is dropped: on disk by then, or refused.
#[derive(Debug)]
pub struct Received {
    pending: Pending,
    at: Timestamp,
    /// What it holds claims back to: when it was received, or happened.
    moment: (Timestamp, u64),
}

impl Pending {
    /// Something is received now.
    pub fn receive(&self) -> Received {
        let mut waiting = self.waiting();
        waiting.number += 1;
        let moment = (clock::now(), waiting.number);
        waiting.moments.insert(moment);
        Received { pending: self.clone(), at: moment.0, moment }
    }

    /// All that happened before this moment, and was received by now, is on disk. The clock is read under the lock, so that whatever is received
    /// from here on comes later.
    pub fn settled(&self) -> Timestamp {
        let waiting = self.waiting();
        let now = clock::now();
        waiting.moments.first().map_or(now, |(oldest, _)| now.min(*oldest))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every statement leaves the set whole, so a poisoned lock is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    /// When.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Some of it happened at this moment, which may lie further back.
    pub fn happened(&mut self, at: Timestamp) {
        let (held, number) = self.moment;
        if at < held {
            let mut waiting = self.pending.waiting();
            waiting.moments.remove(&self.moment);
            self.moment = (at, number);
            waiting.moments.insert(self.moment);
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.pending.waiting().moments.remove(&self.moment);
    }
}

impl SpoolReader {
    /// The claim, when all before `settled` is on disk and the master has what is at or below `cursors`.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn watermark(
        &self,
        settled: Timestamp,
        cursors: Vec<EpochCursor>,
    ) -> Result<Timestamp, SpoolError> {
        self.ask(move |connection| {
            let mut before = settled;
            for row in epochs::all(connection)? {
                let known = cursors.iter().find(|cursor| cursor.epoch == row.epoch);
                let cursor = known.map_or(Seq::ZERO, |cursor| cursor.seq);
                match oldest_beyond(connection, row.no, cursor)? {
                    Beyond::Nothing => {}
                    Beyond::Oldest(oldest) => before = before.min(oldest),
                    Beyond::TooMany => return Ok(Timestamp::EPOCH),
                }
            }
            Ok(before.plus_micros(-1))
        })
        .await
    }
}

enum Beyond {
    Nothing,
    Oldest(Timestamp),
    TooMany,
}

/// When the oldest event beyond a place happened, or was received if its clock was ahead. Not that of the lowest place: the
/// clock may have been set back, and what lay in the drop folder happened long before.
fn oldest_beyond(connection: &Connection, epoch_no: i64, cursor: Seq) -> Result<Beyond, SpoolError> {
    let (mut rows, mut oldest) = (0, None);
    let beyond = rows_from(epoch_no, cursor.next());
    blocks::heads(connection, beyond.clone(), |head| {
        // Of damaged ones nobody knows when they came.
        rows += if head.marks.is_some() { 0 } else { ROWS_LOOKED_AT_MAX + 1 };
        for mark in head.marks.iter().flatten().filter(|mark| beyond.contains(&mark.row)) {
            rows += 1;
            let since = mark.received_us.min(mark.time_us);
            oldest = Some(oldest.map_or(since, |oldest: i64| oldest.min(since)));
        }
        let is_enough = rows > ROWS_LOOKED_AT_MAX;
        Ok::<_, rusqlite::Error>(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(match oldest {
        _ if rows > ROWS_LOOKED_AT_MAX => Beyond::TooMany,
        Some(oldest) => Beyond::Oldest(Timestamp::from_micros(oldest)),
        None => Beyond::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_disk_yet_holds_the_claim_back_in_whatever_order_it_gets_there() {
        let pending = Pending::default();
        let received: Vec<Received> = (0..5).map(|_| pending.receive()).collect();
        let moments: Vec<Timestamp> = received.iter().map(Received::at).collect();
        let mut received: Vec<Option<Received>> = received.into_iter().map(Some).collect();
        for (done, oldest) in [(1, 0), (0, 2), (4, 2), (2, 3)] {
            received[done] = None;
            assert_eq!(pending.settled(), moments[oldest]);
        }
        let mut received = received.swap_remove(3).unwrap();
        let long_ago = moments[0].plus_micros(-5);
        received.happened(long_ago);
        received.happened(moments[4]);
        assert_eq!((pending.settled(), received.at()), (long_ago, moments[3]));
        drop(received);
        let before = clock::now();
        assert!(pending.settled() >= before);
    }
}
