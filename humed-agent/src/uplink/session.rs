//! What a session with the master does next: signals in, commands out, no I/O, no clock.
//!
//! Nothing is acknowledged to the spool that the master did not acknowledge, nothing is sent outside the window, and
//! places are sent without holes: what the spool no longer has is declared a gap first.

use std::collections::VecDeque;
use std::time::Instant;

use hume_core::name::{Epoch, Seq};
use hume_proto::relay::{
    self, Ack, Codec, EpochCursor, EpochState, FEATURE_ZSTD, Gap, GapReason, Limits, Resync, Verdict, Welcome,
};

use super::pace::Pace;

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
    /// When it was sent, and how many bytes were in flight then, its own included.
    sent: (Instant, usize),
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

/// What a read for a [`Want`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// So many events, and bytes of them, from its first place on. None: nothing was given out from there on.
    Events {
        /// How many.
        events: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// No event from its first place through this one.
    Hole {
        /// The last of them.
        through: Seq,
        /// Why.
        reason: GapReason,
    },
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
        "the master has another event at place {cursor} of epoch {epoch}: this spool was put back to an earlier state, or is a copy"
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
    pace: Pace,
    batch_events_max: usize,
    batch_bytes_max: usize,
    codec: Codec,
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
            let is_forked = resume.verdict == Verdict::Forked || resume.cursor > state.last_assigned;
            if is_forked && !relay::is_closed(state.epoch, hello) {
                return Err(Broken::Forked { epoch: state.epoch, cursor: resume.cursor });
            }
            // An epoch with a successor holds nothing new: whatever else the master has there is not ours to judge.
            let cursor = if is_forked { resume.cursor.max(state.last_assigned) } else { resume.cursor };
            lanes.push(Lane {
                epoch: state.epoch,
                acked: cursor,
                next: cursor.next(),
                sent: cursor,
                last: state.last_assigned,
            });
        }
        Ok(Session {
            lanes,
            flying: VecDeque::new(),
            limits: welcome.limits,
            pace: Pace::new(),
            batch_events_max: relay::BATCH_EVENTS_MAX,
            batch_bytes_max: relay::BATCH_BYTES_MAX,
            codec: if welcome.features.iter().any(|name| name == FEATURE_ZSTD) {
                Codec::Zstd
            } else {
                Codec::Identity
            },
        })
    }

    /// How payloads travel.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The master gives another window.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The spool grew. False when it grew in an epoch that the session does not know.
    pub fn appended(&mut self, epoch: Epoch, last: Seq) -> bool {
        let lane = self.lanes.iter_mut().find(|lane| lane.epoch == epoch);
        let is_known = lane.is_some();
        if let Some(lane) = lane {
            lane.last = lane.last.max(last);
        }
        is_known
    }

    /// What to read and send next: the oldest epoch first; none while the window is full, or what of it the session may use by
    /// now, or when nothing waits.
    pub fn wants(&self) -> Option<Want> {
        let events: usize = self.flying.iter().map(|batch| batch.events).sum();
        let bytes_max = self.limits.window_bytes.min(self.pace.bytes());
        let bytes_left = bytes_max.saturating_sub(self.in_flight_bytes());
        let events_left = self.limits.window_events.saturating_sub(events);
        // With nothing in flight one event may always go, however small the window is. Else it waits for the ack of what is: small
        // batches would make room for small ones for ever.
        let is_worth_it = bytes_left >= self.batch_bytes_max.min(bytes_max / 4).max(1);
        if !self.flying.is_empty() && (!is_worth_it || events_left == 0) {
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

    fn in_flight_bytes(&self) -> usize {
        self.flying.iter().map(|batch| batch.bytes).sum()
    }

    /// What a read for `want` found, which is sent `now`. Answers the gap to declare.
    pub fn loaded(&mut self, want: Want, found: Found, now: Instant) -> Option<Gap> {
        let in_flight_bytes = self.in_flight_bytes();
        let lane = self.lanes.iter_mut().find(|lane| lane.epoch == want.epoch)?;
        let (last, gap) = match found {
            Found::Events { events: 0, .. } => {
                // Nothing was given out there: it is asked for again when the spool has grown.
                lane.last = lane.last.min(Seq::new(want.from.get() - 1).unwrap_or(Seq::ZERO));
                return None;
            }
            Found::Events { events, bytes } => {
                let last = want.from.plus(events as u64 - 1);
                let sent = (now, in_flight_bytes + bytes);
                self.flying.push_back(InFlight { epoch: want.epoch, last, events, bytes, sent });
                (last, None)
            }
            Found::Hole { through, reason } => {
                let through = through.max(want.from);
                (through, Some(Gap { epoch: want.epoch, from: want.from, to: through, reason }))
            }
        };
        lane.next = last.next();
        lane.sent = lane.sent.max(last);
        gap
    }

    /// The master has everything up to these places. Answers what the spool is to note.
    ///
    /// # Errors
    /// [`Broken::AckBeyond`]
    pub fn acked(&mut self, ack: &Ack, now: Instant) -> Result<Vec<EpochCursor>, Broken> {
        self.limits = ack.limits.unwrap_or(self.limits);
        let mut news = Vec::new();
        for cursor in &ack.cursors {
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
            let (pace, window_bytes) = (&mut self.pace, self.limits.window_bytes);
            self.flying.retain(|batch| {
                let is_acked = batch.epoch == cursor.epoch && batch.last <= cursor.seq;
                if is_acked {
                    let (sent_at, in_flight_bytes) = batch.sent;
                    pace.passed(in_flight_bytes, now.saturating_duration_since(sent_at), window_bytes);
                }
                !is_acked
            });
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

    /// True when the master has all that was given out, also what it had lost.
    pub fn is_drained(&self) -> bool {
        self.lanes.iter().all(|lane| lane.acked >= lane.last)
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
