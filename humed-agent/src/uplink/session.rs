//! What a session with the master does next: signals in, commands out, no I/O.
//!
//! Nothing is acknowledged to the spool that the master did not acknowledge, nothing is sent outside the window, and
//! places are sent without holes: what the spool no longer has is declared a gap first.

use std::collections::VecDeque;

use hume_core::name::{Epoch, Seq};
use hume_proto::relay::{EpochCursor, EpochState, Gap, GapReason, Limits, Resync, Verdict, Welcome};

/// One epoch within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    epoch: Epoch,
    acked: Seq,
    /// What goes out next; a Resync sets it back.
    next: Seq,
    /// Highest place that ever went out in this session, or that the master had before it.
    sent: Seq,
    last: Seq,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    epoch: Epoch,
    last: Seq,
    events: usize,
    bytes: usize,
}

/// What to read and send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// From this epoch,
    pub epoch: Epoch,
    /// from this place on,
    pub from: Seq,
    /// at most so many events,
    pub events_max: usize,
    /// and, beyond the first, so many bytes.
    pub bytes_max: usize,
}

/// A session that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The master answered about an epoch that is not ours, or about places that were never given out.
    #[error("the master acknowledged place {seq} of epoch {epoch}, which was never sent")]
    AckBeyond {
        /// Which epoch.
        epoch: Epoch,
        /// Which place.
        seq: Seq,
    },
    /// Another event stands at the master's cursor: this spool, or the master's store, was put back.
    #[error(
        "the master has another event at place {cursor} of epoch {epoch}: one of the two was put back to an earlier state"
    )]
    Forked {
        /// Which epoch.
        epoch: Epoch,
        /// Where.
        cursor: Seq,
    },
    /// The first answer was of another kind, or left an epoch out.
    #[error("the master's first answer did not name epoch {0}")]
    Incomplete(Epoch),
}

/// The state of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    lanes: Vec<Lane>,
    flying: VecDeque<InFlight>,
    limits: Limits,
    batch_events_max: usize,
    batch_bytes_max: usize,
}

impl Session {
    /// The session after the master's Welcome to this Hello.
    ///
    /// # Errors
    /// [`Broken`]: the session must end; nothing was changed.
    pub fn begin(hello: &[EpochState], welcome: &Welcome) -> Result<Session, Broken> {
        let mut lanes = Vec::with_capacity(hello.len());
        for state in hello {
            let resume = welcome
                .resume
                .iter()
                .find(|resume| resume.epoch == state.epoch)
                .ok_or(Broken::Incomplete(state.epoch))?;
            let forked = Broken::Forked { epoch: state.epoch, cursor: resume.cursor };
            if resume.cursor > state.last_assigned {
                return Err(forked);
            }
            match resume.verdict {
                Verdict::Forked => return Err(forked),
                Verdict::Continue | Verdict::MasterBehind => lanes.push(Lane {
                    epoch: state.epoch,
                    acked: resume.cursor,
                    next: resume.cursor.next(),
                    sent: resume.cursor,
                    last: state.last_assigned,
                }),
            }
        }
        Ok(Session {
            lanes,
            flying: VecDeque::new(),
            limits: welcome.limits,
            batch_events_max: hume_proto::relay::BATCH_EVENTS_MAX,
            batch_bytes_max: hume_proto::relay::BATCH_BYTES_MAX,
        })
    }

    /// The spool grew.
    pub fn appended(&mut self, epoch: Epoch, last: Seq) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.epoch == epoch) {
            lane.last = lane.last.max(last);
        }
    }

    /// What to read and send next: the oldest epoch first; none while the window is full or nothing waits.
    pub fn wants(&self) -> Option<Want> {
        let bytes: usize = self.flying.iter().map(|batch| batch.bytes).sum();
        let events: usize = self.flying.iter().map(|batch| batch.events).sum();
        let bytes_left = self.limits.window_bytes.saturating_sub(bytes);
        let events_left = self.limits.window_events.saturating_sub(events);
        // With nothing in flight one event may always go, however small the window is.
        if !self.flying.is_empty() && (bytes_left == 0 || events_left == 0) {
            return None;
        }
        let lane = self.lanes.iter().find(|lane| lane.next <= lane.last)?;
        Some(Want {
            epoch: lane.epoch,
            from: lane.next,
            events_max: self.batch_events_max.min(events_left.max(1)),
            bytes_max: self.batch_bytes_max.min(bytes_left),
        })
    }

    /// What a read for `want` found: the first place, and events and bytes from there on. Answers the gap to declare first.
    pub fn loaded(&mut self, want: Want, first: Option<Seq>, events: usize, bytes: usize) -> Option<Gap> {
        let lane = self.lanes.iter_mut().find(|lane| lane.epoch == want.epoch)?;
        // Nothing there although it was given out: everything up to the end is gone.
        let found = first.unwrap_or(lane.last.next());
        let gap = (found > want.from).then(|| Gap {
            epoch: want.epoch,
            from: want.from,
            to: Seq::new(found.get() - 1).unwrap_or(want.from),
            reason: GapReason::Evicted,
        });
        if events > 0 {
            let last = found.plus(events as u64 - 1);
            self.flying.push_back(InFlight { epoch: want.epoch, last, events, bytes });
            lane.next = last.next();
        } else {
            lane.next = found;
        }
        lane.sent = lane.sent.max(Seq::new(lane.next.get() - 1).unwrap_or(Seq::ZERO));
        gap
    }

    /// The master has everything up to these places. Answers what the spool is to note.
    ///
    /// # Errors
    /// [`Broken::AckBeyond`]
    pub fn acked(&mut self, cursors: &[EpochCursor]) -> Result<Vec<EpochCursor>, Broken> {
        let mut news = Vec::new();
        for cursor in cursors {
            let beyond = Broken::AckBeyond { epoch: cursor.epoch, seq: cursor.seq };
            let lane = self.lanes.iter_mut().find(|lane| lane.epoch == cursor.epoch).ok_or(beyond.clone())?;
            // Not compared with what goes out next: an ack may come after a Resync that crossed it on the way.
            if cursor.seq > lane.sent {
                return Err(beyond);
            }
            if cursor.seq > lane.acked {
                lane.acked = cursor.seq;
                news.push(*cursor);
            }
            lane.next = lane.next.max(cursor.seq.next());
            self.flying.retain(|batch| batch.epoch != cursor.epoch || batch.last > cursor.seq);
        }
        Ok(news)
    }

    /// The master wants to go on from another place: not an error.
    ///
    /// # Errors
    /// [`Broken::AckBeyond`] when it claims to have what was never sent.
    pub fn resync(&mut self, resync: &Resync) -> Result<(), Broken> {
        let beyond = Broken::AckBeyond { epoch: resync.epoch, seq: resync.cursor };
        let lane = self.lanes.iter_mut().find(|lane| lane.epoch == resync.epoch).ok_or(beyond.clone())?;
        if resync.cursor > lane.sent {
            return Err(beyond);
        }
        lane.next = resync.cursor.next();
        self.flying.retain(|batch| batch.epoch != resync.epoch);
        Ok(())
    }

    /// Highest place that the master has, per epoch.
    pub fn cursors(&self) -> Vec<EpochCursor> {
        self.lanes.iter().map(|lane| EpochCursor { epoch: lane.epoch, seq: lane.acked }).collect()
    }

    /// Highest place given out, per epoch.
    pub fn tails(&self) -> Vec<EpochCursor> {
        self.lanes.iter().map(|lane| EpochCursor { epoch: lane.epoch, seq: lane.last }).collect()
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
