//! The slots of one watch on one host, as they come and are filled: which run belongs to which, and what to say of it.
//!
//! [`Course::step`] takes one thing that happened and what is known now, and answers with what to say, which slots to
//! write, and when to look again. Runs of a host come in before the watermark that covers them. What is settled leaves
//! memory: when a run comes for a settled slot, the caller brings that slot along.
//!
//! Each slot has its stretch of time, from `early` before it to `early` before the next (never more than half way), and the
//! first run in it is its run. An interval begins anew with every run: its slot is the time by which the next must come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::name::RunId;
use crate::slot::{Circumstances, Ending, RunSeen, Slot, SlotState, minus, plus};
use crate::time::Timestamp;
use crate::watch::{MatchBy, Plan, Terms, Watch};

#[cfg(test)]
mod tests;

/// Most slots that one look at the clock opens; the next look is due at once.
pub const SLOTS_PER_STEP_MAX: usize = 1000;

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time went on, or the watermark, or the circumstances are others.
    Look,
    /// A run was seen, or is seen in another way than before. With it comes the settled slot whose time it falls into, if
    /// there is one.
    Run(RunSeen, Option<Box<Slot>>),
    /// Nothing is expected any more: the watch or the host is gone.
    Close,
}

/// What there is to say. What nobody reported, but for `Slot` with `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A slot has another state than before.
    Slot {
        /// Which one.
        at: Timestamp,
        /// Its run, if it has one.
        run: Option<RunId>,
        /// The state before.
        before: SlotState,
        /// The state now.
        after: SlotState,
        /// It was called missed, and then its run turned out to have come.
        is_reported_late: bool,
    },
    /// The run of a slot goes on for longer than `max_runtime`.
    Overdue {
        /// Of this slot.
        at: Timestamp,
        /// Which run.
        run: RunId,
    },
    /// The run of a slot ended well in less than `min_runtime`.
    TooShort {
        /// Of this slot.
        at: Timestamp,
        /// Which run.
        run: RunId,
        /// It took so long.
        took: Duration,
    },
    /// A run started sooner than `min_gap` after the one before.
    TooSoon {
        /// Which run.
        run: RunId,
        /// So long after the start of the one before.
        gap: Duration,
    },
}

/// When to look again; whichever comes first. May be in the past while judgement is held: then when it no longer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Wake {
    /// When the wall clock is here.
    pub clock: Option<Timestamp>,
    /// When the watermark of the host is here.
    pub watermark: Option<Timestamp>,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Step {
    /// What to say, in order.
    pub findings: Vec<Finding>,
    /// Slots to write, by their instant.
    pub changed: Vec<Slot>,
    /// Slots to forget, before any is written: of an interval, since a run before them moved them.
    pub removed: Vec<Timestamp>,
    /// When to look again.
    pub wake: Wake,
}

/// What is kept of a course beside its slots that are not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where the time of the next slot begins, and its instant; none when no more will come.
    pub next: Option<(Timestamp, Timestamp)>,
    /// The latest start that was seen.
    pub last_start: Option<Timestamp>,
}

/// By what a course goes: the same for all hosts of a watch in one zone.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When slots come.
    pub plan: Plan,
    /// What is compared with each.
    pub terms: Terms,
    /// No slot is before this.
    pub from: Option<Timestamp>,
    /// No slot is at this or after it.
    pub until: Option<Timestamp>,
}

impl Rules {
    /// Those of a watch, for hosts in this zone.
    pub fn of(watch: &Watch, host: &TimeZone) -> Rules {
        let Watch { terms, from, until, .. } = watch;
        Rules { plan: watch.plan(host), terms: *terms, from: *from, until: *until }
    }

    /// How far before `at` its time begins: not further than half way to the one before, and not at all for periods.
    fn early(&self, before: Option<Timestamp>, at: Timestamp) -> Duration {
        match (&self.plan, before) {
            (Plan::Periods(_), _) => Duration::ZERO,
            (Plan::Moments(_) | Plan::Every(_), None) => self.terms.early,
            (Plan::Moments(_) | Plan::Every(_), Some(before)) => {
                let half = u64::try_from(at.micros_since(before) / 2).unwrap_or(0);
                self.terms.early.min(Duration::from_micros(half))
            }
        }
    }
}

/// The slots of a watch on a host.
#[derive(Clone, Debug)]
pub struct Course {
    rules: Arc<Rules>,
    kept: Kept,
    /// Boxed, since a map of one has room for eleven.
    open: BTreeMap<Timestamp, Box<Slot>>,
}

impl Course {
    /// Begins where nothing was expected before: `since` is when the watch began, or when the host came later.
    pub fn begin(rules: Arc<Rules>, since: Timestamp) -> Course {
        let since = rules.from.map_or(since, |from| from.max(since));
        let next = match &rules.plan {
            Plan::Every(interval) => Some((since, plus(since, *interval))),
            Plan::Moments(table) | Plan::Periods(table) => {
                table.next_after(since.plus_micros(-1)).map(|at| {
                    let before = table.last_until(at.plus_micros(-1));
                    (minus(at, rules.early(before, at)), at)
                })
            }
        };
        let next = next.filter(|(_, at)| rules.until.is_none_or(|until| *at < until));
        Course { rules, kept: Kept { next, last_start: None }, open: BTreeMap::new() }
    }

    /// Goes on from what was kept and the slots that were not settled.
    pub fn resume(rules: Arc<Rules>, kept: Kept, open: Vec<Slot>) -> Course {
        Course { rules, kept, open: open.into_iter().map(|slot| (slot.at, Box::new(slot))).collect() }
    }

    /// What to keep for [`resume`](Course::resume), beside the slots that were written.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// The slots that are not settled, by their instant.
    pub fn open(&self) -> impl Iterator<Item = &Slot> {
        self.open.values().map(Box::as_ref)
    }

    /// Takes in what happened.
    pub fn step(&mut self, input: Input, known: &Circumstances<'_>) -> Step {
        let mut step = Step::default();
        match input {
            Input::Look => {}
            Input::Run(run, settled) => self.take(run, settled.map(|slot| *slot), known, &mut step),
            Input::Close => self.close(&mut step),
        }
        let is_done = self.look(known, &mut step);
        step.changed.sort_by_key(|slot| slot.at);
        if self.open.is_empty() {
            // A map that was emptied keeps its memory, and there may be a million courses.
            self.open = BTreeMap::new();
        }
        step.wake = self.wake(known);
        if !is_done {
            step.wake.clock = Some(known.now);
        }
        step
    }

    /// A run comes in: it opens the slots up to its own, and fills that one.
    fn take(&mut self, run: RunSeen, settled: Option<Slot>, known: &Circumstances<'_>, step: &mut Step) {
        self.check_gap(&run, step);
        let Some(moment) = run.moment(self.rules.terms.match_by) else { return };
        while self.kept.next.is_some_and(|(opens, _)| opens <= moment) {
            self.open_next(step);
        }
        let open = self.open_at(moment).cloned();
        let Some(mut slot) = open.or(settled.filter(|slot| slot.has(moment))) else { return };
        let before = slot.clone();
        let is_first = match &slot.run {
            None => true,
            Some(first) if first.id == run.id => true,
            // An interval ended with the run that filled it.
            Some(_) if matches!(self.rules.plan, Plan::Every(_)) => false,
            Some(first) => (Some(moment), run.id) < (first.moment(self.rules.terms.match_by), first.id),
        };
        if is_first {
            self.fill(&mut slot, run, step);
        }
        self.count_success(&mut slot, &run);
        self.settle(&before, slot, known, step);
    }

    fn check_gap(&mut self, run: &RunSeen, step: &mut Step) {
        let last = self.kept.last_start;
        if last.is_some_and(|last| run.started_at <= last) {
            return;
        }
        self.kept.last_start = Some(run.started_at);
        let Some((last, min_gap)) = last.zip(self.rules.terms.min_gap) else { return };
        let gap = Duration::from_micros(u64::try_from(run.started_at.micros_since(last)).unwrap_or(0));
        if gap < min_gap {
            step.findings.push(Finding::TooSoon { run: run.id, gap });
        }
    }

    /// The run is the first of this slot.
    fn fill(&mut self, slot: &mut Slot, run: RunSeen, step: &mut Step) {
        let had_ended = slot.run.is_some_and(|known| known.id == run.id && known.ended.is_some());
        let is_new = slot.run.is_none_or(|known| known.id != run.id);
        if let (Some(took), Some((_, Ending::Good)), Some(min)) =
            (run.took(), run.ended, self.rules.terms.min_runtime)
            && !had_ended
            && took < min
        {
            step.findings.push(Finding::TooShort { at: slot.at, run: run.id, took });
        }
        if is_new && matches!(slot.state, SlotState::Missed(_)) {
            let is_in_time = run.moment(self.rules.terms.match_by).is_some_and(|moment| moment <= slot.due);
            slot.is_reported_late |= is_in_time;
        }
        if is_new {
            slot.is_overdue = false;
            self.anchor(slot, run.started_at, step);
        }
        slot.run = Some(run);
    }

    /// The next slot of an interval is counted from this start, and those that were counted from this slot are no more.
    fn anchor(&mut self, slot: &mut Slot, start: Timestamp, step: &mut Step) {
        let Plan::Every(interval) = self.rules.plan else { return };
        slot.closes = Some(start.plus_micros(1));
        let mut following = plus(slot.at, interval);
        let mut unfilled = Vec::new();
        while self.open.get(&following).is_some_and(|slot| slot.run.is_none()) {
            unfilled.push(following);
            following = plus(following, interval);
        }
        // Unless later ones were filled, or called missed: then the count goes on from there.
        if self.kept.next.is_some_and(|(_, at)| at != following) {
            return;
        }
        for at in unfilled {
            self.open.remove(&at);
            step.changed.retain(|slot| slot.at != at);
            step.removed.push(at);
        }
        self.expect(start.plus_micros(1), plus(start, interval));
    }

    fn expect(&mut self, opens: Timestamp, at: Timestamp) {
        self.kept.next = self.rules.until.is_none_or(|until| at < until).then_some((opens, at));
    }

    fn count_success(&self, slot: &mut Slot, run: &RunSeen) {
        if self.rules.terms.success_within.is_none() {
            return;
        }
        let success = run.ended.filter(|(_, how)| *how == Ending::Good).map(|(at, _)| (run.id, at));
        slot.success = match (slot.success, success) {
            (Some((id, _)), now) if id == run.id => now,
            (Some(known), Some(new)) if new.1 < known.1 => Some(new),
            (known, new) => known.or(new),
        };
    }

    fn close(&mut self, step: &mut Step) {
        self.kept.next = None;
        for (_, slot) in std::mem::take(&mut self.open) {
            let after = Slot { state: SlotState::Excused, ..(*slot).clone() };
            say(&slot, &after, step);
            step.changed.push(after);
        }
    }

    fn open_next(&mut self, step: &mut Step) {
        let Some((opens, at)) = self.kept.next.take() else { return };
        let Terms { start_grace, max_runtime, match_by, .. } = self.rules.terms;
        let runtime = match match_by {
            MatchBy::Start => Duration::ZERO,
            MatchBy::End => max_runtime.unwrap_or(Duration::ZERO),
        };
        let grace = plus(at, start_grace.saturating_add(runtime));
        let following = match &self.rules.plan {
            Plan::Every(interval) => Some(plus(at, *interval)),
            Plan::Moments(table) | Plan::Periods(table) => table.next_after(at),
        };
        let closes = following.map(|next| minus(next, self.rules.early(Some(at), next)));
        let (due, wanted_from) = match &self.rules.plan {
            Plan::Moments(_) => (grace, opens),
            Plan::Every(_) => (grace, at),
            // Whoever is off when the period ends could not make up for it.
            Plan::Periods(_) => (closes.unwrap_or(grace), closes.unwrap_or(grace)),
        };
        if let Some((closes, next)) = closes.zip(following) {
            self.expect(closes, next);
        }
        let slot = Slot {
            at,
            opens,
            closes,
            due,
            wanted_from,
            state: SlotState::Pending,
            run: None,
            success: None,
            is_reported_late: false,
            is_overdue: false,
        };
        step.changed.push(slot.clone());
        self.open.insert(at, Box::new(slot));
    }

    /// The open slot whose time has this moment.
    fn open_at(&self, moment: Timestamp) -> Option<&Slot> {
        match &self.rules.plan {
            // Its run may come long before its instant; few are open.
            Plan::Every(_) => self.open.values().map(Box::as_ref).rev().find(|slot| slot.has(moment)),
            Plan::Moments(_) | Plan::Periods(_) => {
                let may_be = self.open.range(..=plus(moment, self.rules.terms.early));
                may_be
                    .rev()
                    .map(|(_, slot)| slot.as_ref())
                    .take_while(|slot| slot.at >= moment || slot.has(moment))
                    .find(|slot| slot.has(moment))
            }
        }
    }

    /// Looks at every open slot, and opens those that have come by now. False when there are more of these.
    fn look(&mut self, known: &Circumstances<'_>, step: &mut Step) -> bool {
        let has_come = |next: Option<(Timestamp, Timestamp)>| next.is_some_and(|(_, at)| at <= known.now);
        for _ in 0..SLOTS_PER_STEP_MAX {
            if has_come(self.kept.next) {
                self.open_next(step);
            }
        }
        let is_new =
            |slot: &&Slot| slot.judge(&self.rules.terms, known) != slot.state || self.is_overdue(slot, known);
        let changing: Vec<Slot> = self.open.values().map(Box::as_ref).filter(is_new).cloned().collect();
        for slot in changing {
            self.settle(&slot, slot.clone(), known, step);
        }
        !has_come(self.kept.next)
    }

    /// Judges a slot, says what is new, and keeps it open unless it is settled.
    fn settle(&mut self, before: &Slot, mut slot: Slot, known: &Circumstances<'_>, step: &mut Step) {
        if self.is_overdue(&slot, known) {
            slot.is_overdue = true;
            step.findings.extend(slot.run.map(|run| Finding::Overdue { at: slot.at, run: run.id }));
        }
        slot.state = slot.judge(&self.rules.terms, known);
        say(before, &slot, step);
        let is_settled = slot.is_settled(&self.rules.terms);
        if slot != *before {
            step.changed.retain(|changed| changed.at != slot.at);
            step.changed.push(slot.clone());
        }
        if is_settled {
            self.open.remove(&slot.at);
        } else {
            self.open.insert(slot.at, Box::new(slot));
        }
    }

    /// Whether its run goes on for longer than it may, and nobody was told.
    fn is_overdue(&self, slot: &Slot, known: &Circumstances<'_>) -> bool {
        let max = slot.run.zip(self.rules.terms.max_runtime).and_then(|(run, max)| run.active_for(max));
        !slot.is_overdue && !known.is_held && max.is_some_and(|max| known.watermark >= max)
    }

    fn wake(&self, known: &Circumstances<'_>) -> Wake {
        let next = self.kept.next.map(|(_, at)| at);
        let open = self.open.values();
        Wake {
            clock: open
                .clone()
                .filter_map(|slot| slot.wakes_at(&self.rules.terms, known.down_after))
                .chain(next)
                .min(),
            watermark: open.filter_map(|slot| slot.waits_for(&self.rules.terms)).min(),
        }
    }
}

fn say(before: &Slot, after: &Slot, step: &mut Step) {
    if before.state != after.state {
        step.findings.push(Finding::Slot {
            at: after.at,
            run: after.run.map(|run| run.id),
            before: before.state,
            after: after.state,
            is_reported_late: after.is_reported_late,
        });
    }
}
