//! What was asked of a spool and what it answered, each at its position in the record of its disk.

use std::sync::{Mutex, MutexGuard};

use hume_core::Event;
use hume_core::name::{Epoch, EventId, Seq};
use humed_agent::spool::{Appended, RunChange};

/// Events that were given together.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) events: Vec<Event>,
    pub(crate) change: RunChange,
    /// Since when they may be on the disk.
    pub(crate) since: usize,
    /// Since when they must be, and where.
    pub(crate) answered: Option<(usize, Appended)>,
}

/// All of it. What is asked at once is noted in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Notes>);

/// What a ledger holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) attempts: Vec<Attempt>,
    /// Since when the spool may know that the master has everything through a place.
    pub(crate) acked: Vec<(usize, Seq)>,
    /// Since when a reader has seen the place.
    pub(crate) seen: Vec<(usize, Seq)>,
}

/// What a ledger says of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// What may be there, in order of asking.
    pub(crate) attempts: Vec<Attempt>,
    /// No higher acknowledgement may be there.
    pub(crate) acked: Seq,
    /// This place must have been there.
    pub(crate) seen: Seq,
}

impl Ledger {
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap()
    }

    /// What holds when the power is lost at this position.
    pub(crate) fn at(&self, position: usize) -> Moment {
        let notes = self.notes();
        let had = notes.attempts.iter().filter(|attempt| attempt.since <= position);
        let attempts = had.map(|attempt| {
            let answered = attempt.answered.clone().filter(|(since, _)| *since <= position);
            Attempt { answered, ..attempt.clone() }
        });
        let highest = |noted: &[(usize, Seq)]| {
            let by_then = noted.iter().filter(|(since, _)| *since <= position);
            by_then.map(|(_, seq)| *seq).max().unwrap_or(Seq::ZERO)
        };
        Moment { attempts: attempts.collect(), acked: highest(&notes.acked), seen: highest(&notes.seen) }
    }

    /// Highest place that was answered.
    pub(crate) fn last_answered(&self) -> Option<(Epoch, Seq)> {
        let notes = self.notes();
        notes.attempts.iter().filter_map(Attempt::last).max_by_key(|(_, last)| *last)
    }
}

impl Attempt {
    /// Where its last event stands.
    pub(crate) fn last(&self) -> Option<(Epoch, Seq)> {
        let (_, Appended { epoch, first }) = self.answered.as_ref()?;
        Some((*epoch, first.plus(self.events.len() as u64 - 1)))
    }

    pub(crate) fn ids(&self) -> Vec<EventId> {
        self.events.iter().map(|event| event.id).collect()
    }
}
