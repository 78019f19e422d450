//! One expected run of a task on a host: what became of it, as far as is known.
//!
//! [`Slot::judge`] is the whole rule. That nothing came is believed only when the watermark of the host has passed the
//! deadline: everything that happened until then was delivered. Without that a slot waits, and is `unreachable` when the
//! silence lasts.

use std::time::Duration;

use crate::name::RunId;
use crate::run::{Now, Phase, RunState};
use crate::status::{Judgement, Outcome};
use crate::time::Timestamp;
use crate::watch::{MatchBy, OfflinePolicy, Terms};

/// How a run ended, as far as slots care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Neither failed nor cut short.
    Good,
    /// Badly.
    Failed,
    /// Cut short.
    Aborted,
}

impl Ending {
    /// All of them.
    pub const ALL: [Ending; 3] = [Ending::Good, Ending::Failed, Ending::Aborted];

    /// The word used in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Good => "good",
            Ending::Failed => "failed",
            Ending::Aborted => "aborted",
        }
    }

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Ending> {
        Ending::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// A run as slots see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSeen {
    /// Which one.
    pub id: RunId,
    /// When it started, by corrected clocks.
    pub started_at: Timestamp,
    /// When and how it ended.
    pub ended: Option<(Timestamp, Ending)>,
    /// It was paused for so long until now.
    pub paused: Duration,
    /// It is paused now, and its limits wait.
    pub is_paused: bool,
}

impl RunSeen {
    /// A run and what was judged of it.
    pub fn of(run: &RunState, judged: &Judgement, now: Now) -> RunSeen {
        let how = match judged.outcome {
            Some(Outcome::Failed | Outcome::Critical) => Ending::Failed,
            Some(Outcome::Aborted) => Ending::Aborted,
            Some(Outcome::Ok | Outcome::Warning | Outcome::Unknown) | None => Ending::Good,
        };
        RunSeen {
            id: run.id(),
            started_at: run.started_at(),
            ended: run.ended_at().map(|at| (at, how)),
            paused: Duration::from_micros(run.paused_us(now)),
            is_paused: run.phase() == Phase::Paused,
        }
    }

    /// The same run by another clock, which shows so many microseconds more.
    #[must_use]
    pub fn shifted(self, micros: i64) -> RunSeen {
        RunSeen {
            started_at: self.started_at.plus_micros(micros),
            ended: self.ended.map(|(at, how)| (at.plus_micros(micros), how)),
            ..self
        }
    }

    /// The moment that is compared with the schedule; none while it has not come.
    pub fn moment(&self, by: MatchBy) -> Option<Timestamp> {
        match by {
            MatchBy::Start => Some(self.started_at),
            MatchBy::End => self.ended.map(|(at, _)| at),
        }
    }

    /// For how long it was active, when it has ended.
    pub(crate) fn took(&self) -> Option<Duration> {
        let (ended_at, _) = self.ended?;
        let micros = u64::try_from(ended_at.micros_since(self.started_at)).unwrap_or(0);
        Some(Duration::from_micros(micros).saturating_sub(self.paused))
    }

    /// When it will have been active for so long, if it goes on.
    pub(crate) fn active_for(&self, limit: Duration) -> Option<Timestamp> {
        let goes_on = self.ended.is_none() && !self.is_paused;
        goes_on.then(|| plus(self.started_at, self.paused.saturating_add(limit)))
    }
}

/// Why a slot counts as missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// The task never ran on this host.
    NeverRan,
    /// It did not start in time.
    NotStarted,
    /// The host could not be reached for longer than may be waited.
    Offline,
}

/// Why a slot has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Its run ended badly.
    Ended,
    /// Its run was cut short.
    Aborted,
    /// Its run goes on beyond `hard_runtime`.
    Overdue,
    /// No run succeeded within `success_within`.
    NoSuccess,
}

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Nobody can tell yet: before the deadline, or while its run goes on.
    Pending,
    /// Its run came in time, and ended well.
    Ok,
    /// Its run came too late.
    Late,
    /// Its run failed.
    Failed(Failure),
    /// No run came.
    Missed(Miss),
    /// None needed to come.
    Excused,
    /// Nobody can tell: its host is silent.
    Unreachable,
}

impl SlotState {
    /// The word used in JSON and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            SlotState::Pending => "pending",
            SlotState::Ok => "ok",
            SlotState::Late => "late",
            SlotState::Failed(_) => "failed",
            SlotState::Missed(_) => "missed",
            SlotState::Excused => "excused",
            SlotState::Unreachable => "unreachable",
        }
    }

    /// All states, with every reason.
    pub const ALL: [SlotState; 12] = [
        SlotState::Pending,
        SlotState::Ok,
        SlotState::Late,
        SlotState::Failed(Failure::Ended),
        SlotState::Failed(Failure::Aborted),
        SlotState::Failed(Failure::Overdue),
        SlotState::Failed(Failure::NoSuccess),
        SlotState::Missed(Miss::NeverRan),
        SlotState::Missed(Miss::NotStarted),
        SlotState::Missed(Miss::Offline),
        SlotState::Excused,
        SlotState::Unreachable,
    ];

    /// The state with these words.
    pub fn from_words(state: &str, reason: Option<&str>) -> Option<SlotState> {
        SlotState::ALL.into_iter().find(|one| one.as_str() == state && one.reason() == reason)
    }

    /// Why, in one word; none when the state says it all.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            SlotState::Failed(Failure::Ended) => Some("ended_badly"),
            SlotState::Failed(Failure::Aborted) => Some("aborted"),
            SlotState::Failed(Failure::Overdue) => Some("overdue"),
            SlotState::Failed(Failure::NoSuccess) => Some("no_success"),
            SlotState::Missed(Miss::NeverRan) => Some("never_ran"),
            SlotState::Missed(Miss::NotStarted) => Some("not_started"),
            SlotState::Missed(Miss::Offline) => Some("offline"),
            SlotState::Pending
            | SlotState::Ok
            | SlotState::Late
            | SlotState::Excused
            | SlotState::Unreachable => None,
        }
    }
}

/// A time in which a host or a task need not run: maintenance, expected off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From then on.
    pub from: Timestamp,
    /// Until before this.
    pub until: Timestamp,
}

/// What is known of the present and of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// By the wall clock.
    pub now: Timestamp,
    /// Everything that happened on the host until then was delivered.
    pub watermark: Timestamp,
    /// Nothing is concluded from silence: the master has just started, or many agents were lost at once.
    pub is_held: bool,
    /// When the host, or the task, need not run.
    pub off: &'a [Window],
    /// A host that is silent for so long cannot be reached.
    pub down_after: Duration,
    /// Some run of the task was ever seen on the host.
    pub has_run: bool,
}

/// One expected run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The expected instant. No two slots of a watch on a host share one.
    pub at: Timestamp,
    /// From here on a run belongs to it.
    pub opens: Timestamp,
    /// From here on a run belongs to the next one; none while nobody knows.
    pub closes: Option<Timestamp>,
    /// By then a run must have come, and after it is late.
    pub due: Timestamp,
    /// Whoever is off at some time between this and `due` is excused.
    pub wanted_from: Timestamp,
    /// What became of it.
    pub state: SlotState,
    /// The first run in its time.
    pub run: Option<RunSeen>,
    /// The first success in its time, and when that was; kept with `success_within`.
    pub success: Option<(RunId, Timestamp)>,
    /// That its run had come was known only after it was called missed.
    pub is_reported_late: bool,
    /// Its run is longer than `max_runtime`, and that was said.
    pub is_overdue: bool,
}

impl Slot {
    /// Whether a run whose moment this is belongs to it.
    pub fn has(&self, moment: Timestamp) -> bool {
        self.opens <= moment && self.closes.is_none_or(|closes| moment < closes)
    }

    /// What becomes of it, by what is known now.
    pub fn judge(&self, terms: &Terms, known: &Circumstances<'_>) -> SlotState {
        match &self.run {
            Some(run) => self.judge_run(run, terms, known),
            None => self.judge_silence(terms, known),
        }
    }

    fn judge_run(&self, run: &RunSeen, terms: &Terms, known: &Circumstances<'_>) -> SlotState {
        let has_passed = |limit: Timestamp| !known.is_held && known.watermark >= limit;
        let is_late = run.moment(terms.match_by).is_some_and(|moment| moment > self.due);
        let unless_late = |state| if is_late { SlotState::Late } else { state };
        if let Some(within) = terms.success_within {
            let limit = plus(self.at, within);
            return match self.success {
                Some((_, when)) if when > limit => SlotState::Late,
                Some(_) => unless_late(SlotState::Ok),
                None if has_passed(limit) => SlotState::Failed(Failure::NoSuccess),
                None => unless_late(SlotState::Pending),
            };
        }
        let hard = terms.hard_runtime.and_then(|limit| run.active_for(limit));
        match run.ended {
            Some((_, Ending::Failed)) => SlotState::Failed(Failure::Ended),
            Some((_, Ending::Aborted)) => SlotState::Failed(Failure::Aborted),
            Some((_, Ending::Good)) => unless_late(SlotState::Ok),
            None if hard.is_some_and(has_passed) => SlotState::Failed(Failure::Overdue),
            None => unless_late(SlotState::Pending),
        }
    }

    fn judge_silence(&self, terms: &Terms, known: &Circumstances<'_>) -> SlotState {
        let is_known = known.watermark >= self.due;
        let is_silent = !is_known && known.now >= plus(self.due, known.down_after);
        let is_settled = matches!(self.state, SlotState::Excused | SlotState::Missed(_));
        if is_settled || known.is_held || !(is_known || is_silent) {
            return self.state;
        }
        let is_off = known.off.iter().any(|off| off.from <= self.due && off.until > self.wanted_from);
        if is_silent {
            let may_be_missed = terms.offline_policy != OfflinePolicy::Ignore;
            let max = terms.offline_max.filter(|_| may_be_missed);
            // Who is off is not excused before it is known that no run came: an interval is counted from the run.
            return match max.is_some_and(|max| known.now >= plus(self.due, max)) {
                false => SlotState::Unreachable,
                true if is_off => SlotState::Excused,
                true => SlotState::Missed(Miss::Offline),
            };
        }
        if is_off {
            return SlotState::Excused;
        }
        match (terms.offline_policy, self.state) {
            (OfflinePolicy::Ignore, SlotState::Unreachable) => SlotState::Excused,
            _ if known.has_run => SlotState::Missed(Miss::NotStarted),
            _ => SlotState::Missed(Miss::NeverRan),
        }
    }

    /// Whether time alone changes nothing of it any more; a run still can.
    pub fn is_settled(&self, terms: &Terms) -> bool {
        match self.state {
            SlotState::Pending | SlotState::Unreachable => false,
            SlotState::Ok | SlotState::Failed(_) | SlotState::Missed(_) | SlotState::Excused => true,
            SlotState::Late if terms.success_within.is_some() => self.success.is_some(),
            SlotState::Late => self.run.is_some_and(|run| run.ended.is_some()),
        }
    }

    /// When the wall clock alone changes its state; may be in the past while judgement is held.
    pub(crate) fn wakes_at(&self, terms: &Terms, down_after: Duration) -> Option<Timestamp> {
        let max = terms.offline_max.filter(|_| terms.offline_policy != OfflinePolicy::Ignore);
        match (self.state, self.run) {
            (SlotState::Pending, None) => Some(plus(self.due, down_after)),
            (SlotState::Unreachable, None) => max.map(|max| plus(self.due, max.max(down_after))),
            _ => None,
        }
    }

    /// Which watermark changes its state, or what is said of its run; may be in the past while judgement is held.
    pub(crate) fn waits_for(&self, terms: &Terms) -> Option<Timestamp> {
        let Some(run) = &self.run else { return (!self.is_settled(terms)).then_some(self.due) };
        let limit = |limit: Option<Duration>| limit.and_then(|limit| run.active_for(limit));
        let max = limit(terms.max_runtime).filter(|_| !self.is_overdue);
        let judged = match terms.success_within {
            Some(within) => self.success.is_none().then(|| plus(self.at, within)),
            None => limit(terms.hard_runtime),
        };
        let judged = judged.filter(|_| !self.is_settled(terms));
        max.into_iter().chain(judged).min()
    }
}

/// This moment moved by a duration.
pub(crate) fn plus(moment: Timestamp, by: Duration) -> Timestamp {
    moment.plus_micros(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

/// This moment moved back by a duration.
pub(crate) fn minus(moment: Timestamp, by: Duration) -> Timestamp {
    moment.plus_micros(-i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}
