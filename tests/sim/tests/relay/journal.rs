//! What happened, at which virtual time: the trace of a simulation, by which two of them are compared and a failed one is read.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hume_core::Epoch;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Somebody did something to the site.
    Done(String),
    /// An agent tries to connect.
    Dials(usize),
    /// The master let a session in: which agent, by which cursors.
    Entered { agent: usize, cursors: Vec<(usize, u64)> },
    /// A session was over for the master.
    Left { agent: usize },
    /// The store was given this, and said that.
    Committed { agent: usize, epoch: usize, first: u64, events: usize, outcome: Outcome },
}

/// What the store said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Stored,
    Known,
    Beyond,
    Superseded,
    Unknown,
    Failed,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// Epochs have random names: here they have numbers, in the order in which they were first seen.
    epochs: Vec<Epoch>,
    entries: Vec<(Duration, Entry)>,
}

impl Journal {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes it, from within a host of the simulation.
    pub(crate) fn note(&self, entry: Entry) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.note_at(at, entry);
    }

    pub(crate) fn note_at(&self, at: Duration, entry: Entry) {
        self.pages().entries.push((at, entry));
    }

    pub(crate) fn number(&self, epoch: Epoch) -> usize {
        let epochs = &mut self.pages().epochs;
        epochs.iter().position(|known| *known == epoch).unwrap_or_else(|| {
            epochs.push(epoch);
            epochs.len() - 1
        })
    }

    pub(crate) fn entries(&self) -> Vec<(Duration, Entry)> {
        self.pages().entries.clone()
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in &self.pages().entries {
            writeln!(f, "{:9.3} s  {entry:?}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
