//! One step: courses that are at hand together, what was found of them, and the note that says both.

use std::collections::BTreeMap;
use std::sync::Arc;

use hume_core::course::Finding;
use hume_core::{Event, EventId, Timestamp};
use hume_runtime::random;

use super::hand::Held;
use super::roster::{Roster, Watched};
use super::tell::{self, Scene};
use crate::store::{CourseKey, CourseRecord, Note, WatchedHost};

/// The step.
pub(super) struct Step {
    now: Timestamp,
    held: BTreeMap<CourseKey, Held>,
    found: Vec<Event>,
    note: Note,
}

impl Step {
    pub(super) fn new(now: Timestamp) -> Step {
        let note = Note { at: now, ..Note::default() };
        Step { now, held: BTreeMap::new(), found: Vec::new(), note }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes courses at hand. What the roster does not know of any more ends.
    pub(super) fn take(&mut self, records: Vec<CourseRecord>, roster: &Roster) {
        for record in records {
            let (watched, host) = (roster.watched(record.key.watch), roster.host(record.key.host));
            let Some((watched, host)) = watched.zip(host) else {
                self.note.ended.push(record.key);
                continue;
            };
            let (key, zone) = (record.key, watched.zone(host));
            let rules = watched.rules(zone.as_deref());
            let held = if record.zone == zone {
                Held::resume(record, rules)
            } else {
                Held::begin_anew(record, zone, rules, self.now)
            };
            self.hold(key, held);
        }
    }

    pub(super) fn hold(&mut self, key: CourseKey, held: Held) {
        self.held.insert(key, held);
    }

    pub(super) fn held(&mut self, key: CourseKey) -> Option<&mut Held> {
        self.held.get_mut(&key)
    }

    pub(super) fn keys(&self) -> Vec<CourseKey> {
        self.held.keys().copied().collect()
    }

    /// Says what was found.
    pub(super) fn say(&mut self, findings: &[Finding], watched: &Arc<Watched>, host: &WatchedHost) {
        let scene = Scene { watched, host: &host.name, now: self.now };
        for finding in findings {
            let id = EventId::mint(self.now, random::bytes());
            self.found.extend(tell::event(finding, &scene, id));
        }
    }

    /// The watch is not for the host any more.
    pub(super) fn end(&mut self, key: CourseKey) {
        self.note.ended.push(key);
    }

    /// What was found, and what there is to write.
    pub(super) fn finish(self) -> (Vec<Event>, Note) {
        let courses = self.held.into_values().filter_map(Held::into_change).collect();
        (self.found, Note { courses, ..self.note })
    }
}
