//! Stamped events on their way to the disk, and what becomes of those who wait for them.
//!
//! While one group is written the next is stamped; what it was stamped with is only true if that group gets there. So there
//! is one group on its way, and one behind it, which goes when the first has arrived, or not at all.

use std::collections::HashMap;

use hume_core::{Event, EventId, RunId};
use tokio::sync::oneshot;

use super::{Answers, NotTaken, Receipt, Received, Stamped, stopping};
use crate::spool::{Appended, SpoolError};

/// Events in the order of their stamps, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) events: Vec<Event>,
    places: HashMap<EventId, Place>,
    /// What was on disk before.
    known: HashMap<EventId, Receipt>,
    asked: Vec<Asked>,
}

/// A group that is being written.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) group: Group,
    /// What becomes of its events.
    pub(super) appended: oneshot::Receiver<Result<Appended, SpoolError>>,
}

/// Where a submitted event stands among those of its group.
#[derive(Debug)]
struct Place {
    offset: u64,
    run: Option<RunId>,
    refused: Option<NotTaken>,
}

/// Submissions that were handed in together.
#[derive(Debug)]
struct Asked {
    ids: Vec<EventId>,
    received: Received,
    answer: oneshot::Sender<Answers>,
}

impl Group {
    /// Events that were submitted.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// True when nobody waits for it.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Events with these ids are on disk.
    pub(super) fn know(&mut self, receipts: impl IntoIterator<Item = Receipt>) {
        self.known.extend(receipts.into_iter().map(|receipt| (receipt.id, receipt)));
    }

    /// True when an event with this id is in it, or on disk.
    pub(super) fn has(&self, id: EventId) -> bool {
        self.known.contains_key(&id) || self.places.contains_key(&id)
    }

    /// Adds what a submission became.
    pub(super) fn add(&mut self, id: EventId, stamped: Stamped) {
        let Stamped { events, run, refused } = stamped;
        self.events.extend(events);
        // The last of them is the submitted one.
        let offset = (self.events.len() as u64).saturating_sub(1);
        self.places.insert(id, Place { offset, run, refused });
    }

    /// Somebody waits for these.
    pub(super) fn ask(&mut self, ids: Vec<EventId>, received: Received, answer: oneshot::Sender<Answers>) {
        self.asked.push(Asked { ids, received, answer });
    }

    /// Answers all who wait, by what became of the events, if there were any.
    pub(super) fn answer(self, appended: Option<&Result<Appended, SpoolError>>) {
        let Group { events: _, places, known, asked } = self;
        // What was known before is true whatever became of the rest.
        let told = |id: &EventId| match (known.get(id), appended, places.get(id)) {
            (Some(receipt), _, _) => Ok(*receipt),
            (None, Some(Ok(_)), Some(Place { refused: Some(refused), .. })) => Err(refused.clone()),
            (None, Some(Ok(appended)), Some(Place { offset, run, refused: None })) => {
                Ok(Receipt { id: *id, seq: appended.first.plus(*offset), run: *run })
            }
            (None, Some(Err(error)), _) => Err(NotTaken::new(error.class(), error.to_string())),
            (None, Some(Ok(_)), None) | (None, None, _) => Err(stopping()),
        };
        for Asked { ids, received, answer } in asked {
            // Whoever asked may have gone; the events are kept all the same.
            let _ = answer.send(ids.iter().map(told).collect());
            drop(received);
        }
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
