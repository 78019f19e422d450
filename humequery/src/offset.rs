//! When in its run an event happened. Pure.
//!
//! By the clock that counts from boot where both events have it of the same boot, because no administrator can turn that
//! back; else by the wall clock.

use hume_core::{BootId, EventId, Timestamp};
use hume_proto::rest::{EventJson, RunJson};

/// Offsets of the events of one run from its start.
#[derive(Clone, Copy, Debug)]
pub struct Offsets<'a> {
    run: &'a RunJson,
    /// The first event that has a reading, and the reading.
    anchor: Option<(&'a EventJson, BootId, u64)>,
}

impl<'a> Offsets<'a> {
    /// Of a run that was answered with its events.
    pub fn of(run: &'a RunJson) -> Offsets<'a> {
        let anchor = run.events.iter().find_map(|event| {
            let (boot, micros) = event.boot.zip(event.boottime_us)?;
            Some((event, boot, micros))
        });
        Offsets { run, anchor }
    }

    /// Microseconds from the start of the run to this event; negative for one that is older.
    pub fn micros(&self, event: &EventJson) -> i64 {
        let by_wall = |at: Timestamp| at.micros_since(self.run.started_at);
        match (self.anchor, event.boot.zip(event.boottime_us)) {
            (Some((first, boot, then)), Some((its_boot, now))) if boot == its_boot => {
                let reading = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
                by_wall(first.time).saturating_add(reading(now).saturating_sub(reading(then)))
            }
            _ => by_wall(event.time),
        }
    }

    /// The same for the first error, which may not be among the events.
    pub fn micros_of(&self, event: EventId, time: Timestamp) -> i64 {
        let found = self.run.events.iter().find(|found| found.id == event);
        found.map_or_else(|| time.micros_since(self.run.started_at), |found| self.micros(found))
    }

    /// The same for the end of the run: that of the event that ended it.
    pub fn end_micros(&self) -> Option<i64> {
        let end = self.run.ended_at?;
        let by = self.run.events.iter().rev().find(|event| event.time == end);
        Some(by.map_or_else(|| end.micros_since(self.run.started_at), |event| self.micros(event)))
    }
}
