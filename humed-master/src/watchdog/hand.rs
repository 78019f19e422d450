//! The courses that one step of the watchdog has at hand, and what the step changed of them. Pure: what is read and written here
//! is brought and taken by the room.

use std::collections::BTreeMap;
use std::sync::Arc;

use hume_core::course::{Course, Finding, Input, Rules, Step, Wake};
use hume_core::slot::{Circumstances, RunSeen, Slot, SlotState};
use hume_core::{Timestamp, watch::Terms};

use crate::store::{CourseChange, CourseKey, CourseRecord};

/// One course.
pub(super) struct Held {
    change: CourseChange,
    course: Course,
    terms: Terms,
    is_changed: bool,
}

impl Held {
    /// As it was kept.
    pub(super) fn resume(record: CourseRecord, rules: Arc<Rules>) -> Held {
        let CourseRecord { key, zone, kept, has_run, open } = record;
        let terms = rules.terms;
        let course = Course::resume(rules, kept, open);
        Held::new(key, zone, course, terms, has_run)
    }

    /// A new one, that nothing was expected of before.
    pub(super) fn begin(key: CourseKey, zone: Option<String>, rules: Arc<Rules>, since: Timestamp) -> Held {
        let terms = rules.terms;
        let course = Course::begin(rules, since);
        Held { is_changed: true, ..Held::new(key, zone, course, terms, false) }
    }

    /// One that begins anew, since its watch means something else now or is read in another zone: what was still open need not come.
    pub(super) fn begin_anew(
        record: CourseRecord,
        zone: Option<String>,
        rules: Arc<Rules>,
        since: Timestamp,
    ) -> Held {
        let CourseRecord { key, zone: _, kept: _, has_run, open } = record;
        let mut held = Held::begin(key, zone, rules, since);
        held.change.has_run = has_run;
        let excused = |slot: Slot| Some((Slot { state: SlotState::Excused, ..slot }, true));
        held.change.slots = open.into_iter().map(|slot| (slot.at, excused(slot))).collect();
        held
    }

    fn new(key: CourseKey, zone: Option<String>, course: Course, terms: Terms, has_run: bool) -> Held {
        let (kept, wake, slots) = (course.kept(), Wake::default(), BTreeMap::new());
        let change = CourseChange { key, zone, kept, has_run, wake, slots };
        Held { change, course, terms, is_changed: false }
    }

    /// The moment of a run that is compared with the slots, if its settled slot must be brought along: no slot at hand has it.
    pub(super) fn wants_settled(&self, run: &RunSeen) -> Option<Timestamp> {
        let moment = run.moment(self.terms.match_by)?;
        let is_open = self.course.open().any(|slot| slot.has(moment));
        let is_at_hand = self.change.slots.values().flatten().any(|(slot, _)| slot.has(moment));
        (!is_open && !is_at_hand).then_some(moment)
    }

    /// A run comes in, with the settled slot that it falls into.
    pub(super) fn run(
        &mut self,
        run: RunSeen,
        settled: Option<Slot>,
        known: &Circumstances<'_>,
    ) -> Vec<Finding> {
        let moment = run.moment(self.terms.match_by);
        let at_hand = || {
            let settled = self.change.slots.values().flatten().filter(|(_, is_settled)| *is_settled);
            settled.map(|(slot, _)| slot).find(|slot| moment.is_some_and(|moment| slot.has(moment))).cloned()
        };
        let settled = settled.or_else(at_hand).map(Box::new);
        self.is_changed |= !self.change.has_run;
        self.change.has_run = true;
        let step = self.course.step(Input::Run(run, settled), &Circumstances { has_run: true, ..*known });
        self.take(step)
    }

    /// Time went on.
    pub(super) fn look(&mut self, known: &Circumstances<'_>) -> Vec<Finding> {
        self.is_changed = true;
        let step = self.course.step(Input::Look, &Circumstances { has_run: self.change.has_run, ..*known });
        self.take(step)
    }

    fn take(&mut self, step: Step) -> Vec<Finding> {
        let Step { findings, changed, removed, wake } = step;
        let kept = self.course.kept();
        self.is_changed |= kept != self.change.kept || !changed.is_empty() || !removed.is_empty();
        self.change.kept = kept;
        self.change.wake = wake;
        self.change.slots.extend(removed.into_iter().map(|at| (at, None)));
        let terms = self.terms;
        let written = |slot: Slot| (slot.at, Some((slot.clone(), slot.is_settled(&terms))));
        self.change.slots.extend(changed.into_iter().map(written));
        findings
    }

    /// What there is to write, if anything is.
    pub(super) fn into_change(self) -> Option<CourseChange> {
        self.is_changed.then_some(self.change)
    }
}
