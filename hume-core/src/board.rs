//! What stands of a task on a host, and when people are told of it: once when trouble begins, once when it is over.
//!
//! A [`Board`] remembers the latest verdicts, on runs and on slots. A verdict may be revised, since late reports repair
//! history: then it counts as if it had always been so. Everything that is told follows from what is remembered.

use std::collections::VecDeque;

use crate::name::RunId;
use crate::slot::{Failure, SlotState};
use crate::status::{Severity, Status};
use crate::time::Timestamp;
use crate::watch::{TOLERATE_OF_MAX, Telling};

/// Verdicts that are remembered: as many as `tolerate` may look back on.
pub const VERDICTS_MAX: usize = TOLERATE_OF_MAX as usize;
/// Changes between good and bad are counted in so many verdicts.
const FLAP_VERDICTS: usize = 21;
/// So many changes are flapping.
const FLAP_BEGINS: usize = 10;
/// So few are not any more.
const FLAP_ENDS: usize = 5;

/// What a verdict is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A run.
    Run(RunId),
    /// An expected instant.
    Slot(Timestamp),
}

/// What is wrong. In the order of badness, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// It keeps changing between good and bad.
    Flapping,
    /// A run goes on beyond `hard_runtime`.
    Overdue,
    /// A run failed.
    Failed,
    /// A run was cut short.
    Aborted,
    /// A run failed, and said that everything else can wait.
    Critical,
    /// A run did not come.
    Missed,
}

impl Trouble {
    /// The word used in events and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Flapping => "flapping",
            Trouble::Overdue => "overdue",
            Trouble::Failed => "failed",
            Trouble::Aborted => "aborted",
            Trouble::Critical => "critical",
            Trouble::Missed => "missed",
        }
    }

    /// What of a slot is trouble, and what is none; nothing while nobody can tell.
    pub fn of_slot(state: SlotState) -> Option<Option<Trouble>> {
        match state {
            SlotState::Pending | SlotState::Unreachable => None,
            SlotState::Ok | SlotState::Late | SlotState::Excused => Some(None),
            SlotState::Failed(Failure::Ended | Failure::NoSuccess) => Some(Some(Trouble::Failed)),
            SlotState::Failed(Failure::Aborted) => Some(Some(Trouble::Aborted)),
            SlotState::Failed(Failure::Overdue) => Some(Some(Trouble::Overdue)),
            SlotState::Missed(_) => Some(Some(Trouble::Missed)),
        }
    }

    /// Whether one of them is enough, whatever `fail_after` says.
    fn is_told_at_once(self) -> bool {
        match self {
            Trouble::Missed | Trouble::Aborted => true,
            Trouble::Flapping | Trouble::Overdue | Trouble::Failed | Trouble::Critical => false,
        }
    }
}

/// What people are told. Each problem is told once, may change, and is resolved once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It begins.
    Problem(Trouble),
    /// It is not what it was: worse, or flapping, or no longer that.
    Changed {
        /// What was told before.
        from: Trouble,
        /// What it is now.
        to: Trouble,
    },
    /// It is over.
    Resolved {
        /// What was told last.
        trouble: Trouble,
        /// It was taken back, not followed by something better: the run came after all, or had come long before.
        is_taken_back: bool,
    },
}

/// A verdict that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    on: Subject,
    trouble: Option<Trouble>,
    /// It came since the problem began.
    is_of_problem: bool,
}

/// The latest verdicts on a task on a host, and what was told of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Board {
    verdicts: VecDeque<Verdict>,
    told: Option<Trouble>,
}

impl Board {
    /// What is told as wrong at present.
    pub fn told(&self) -> Option<Trouble> {
        self.told
    }

    /// Takes in a verdict: none is no trouble. One on the same subject as before replaces that. Says what to tell.
    pub fn judge(&mut self, on: Subject, trouble: Option<Trouble>, telling: &Telling) -> Option<Notice> {
        let known = self.verdicts.iter_mut().rev().find(|verdict| verdict.on == on);
        let is_revision = known.is_some();
        match known {
            Some(verdict) if verdict.trouble == trouble => return None,
            Some(verdict) => verdict.trouble = trouble,
            None => self.verdicts.push_back(Verdict { on, trouble, is_of_problem: self.told.is_some() }),
        }
        while self.verdicts.len() > VERDICTS_MAX {
            self.verdicts.pop_front();
        }
        let (before, after) = (self.told, self.now(telling));
        self.told = after;
        match (before, after) {
            (None, Some(trouble)) => {
                // The verdicts that made the problem are a part of it.
                for verdict in self.verdicts.iter_mut().rev().take_while(|verdict| verdict.trouble.is_some())
                {
                    verdict.is_of_problem = true;
                }
                Some(Notice::Problem(trouble))
            }
            (Some(from), Some(to)) => (from != to).then_some(Notice::Changed { from, to }),
            (Some(trouble), None) => {
                self.verdicts.iter_mut().for_each(|verdict| verdict.is_of_problem = false);
                Some(Notice::Resolved { trouble, is_taken_back: is_revision && trouble != Trouble::Flapping })
            }
            (None, None) => None,
        }
    }

    /// What should stand as told, by what is remembered and what was told.
    fn now(&self, telling: &Telling) -> Option<Trouble> {
        let changes = self.changes();
        let is_flapping = match self.told {
            Some(Trouble::Flapping) => changes > FLAP_ENDS,
            Some(_) | None => changes >= FLAP_BEGINS,
        };
        if is_flapping {
            return Some(Trouble::Flapping);
        }
        match self.told {
            None | Some(Trouble::Flapping) => self.raised(telling),
            Some(told) => {
                let good = self.verdicts.iter().rev().take_while(|verdict| verdict.trouble.is_none()).count();
                let remains =
                    self.verdicts.iter().any(|verdict| verdict.is_of_problem && verdict.trouble.is_some());
                let is_over = good >= telling.recover_after as usize || !remains;
                let latest = self.verdicts.back().and_then(|verdict| verdict.trouble);
                (!is_over).then_some(latest.map_or(told, |latest| latest.max(told)))
            }
        }
    }

    /// What the latest verdicts are enough for.
    fn raised(&self, telling: &Telling) -> Option<Trouble> {
        let streak = self.verdicts.iter().rev().map_while(|verdict| verdict.trouble);
        let worst = streak.clone().max()?;
        let is_enough = match telling.tolerate {
            Some(tolerate) => {
                let latest = self.verdicts.iter().rev().take(tolerate.of as usize);
                latest.filter(|verdict| verdict.trouble.is_some()).count() > tolerate.bad as usize
            }
            None => {
                streak.clone().any(Trouble::is_told_at_once) || streak.count() >= telling.fail_after as usize
            }
        };
        is_enough.then_some(worst)
    }

    /// How often good and bad follow each other in the latest verdicts.
    fn changes(&self) -> usize {
        let latest: Vec<bool> =
            self.verdicts.iter().rev().take(FLAP_VERDICTS).map(|verdict| verdict.trouble.is_some()).collect();
        latest.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

/// What is shown of a task on a host: its latest run, and over it what its slots say. In the order of badness, the worst
/// last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Nothing ran, and nothing needed to.
    Nothing,
    /// Well.
    Ok,
    /// Goes on.
    Running,
    /// With a warning.
    Warning,
    /// Beyond `max_runtime`.
    Overdue,
    /// Came too late.
    Late,
    /// Nobody could tell.
    Unknown,
    /// Its agent is silent, and a run may go on.
    Lost,
    /// Its host is silent, and a run should have come.
    Unreachable,
    /// Beyond `hard_runtime`.
    HardOverdue,
    /// Failed.
    Failed,
    /// Failed, and everything else can wait.
    Critical,
    /// Did not come.
    Missed,
}

impl Standing {
    /// What stands, by the latest started run and the latest slot that somebody can tell of.
    pub fn of(run: Option<(Status, Severity)>, slot: Option<SlotState>) -> Standing {
        let of_run = run.map_or(Standing::Nothing, |(status, severity)| match status {
            Status::Running => Standing::Running,
            Status::Overdue if severity == Severity::Critical => Standing::HardOverdue,
            Status::Overdue => Standing::Overdue,
            Status::Lost => Standing::Lost,
            Status::Critical => Standing::Critical,
            Status::Failed => Standing::Failed,
            Status::Warning => Standing::Warning,
            Status::Unknown => Standing::Unknown,
            Status::Ok => Standing::Ok,
        });
        let of_slot = slot.map_or(Standing::Nothing, |state| match state {
            SlotState::Pending | SlotState::Ok | SlotState::Excused => Standing::Nothing,
            SlotState::Late => Standing::Late,
            SlotState::Failed(Failure::Overdue) => Standing::HardOverdue,
            SlotState::Failed(Failure::Ended | Failure::Aborted | Failure::NoSuccess) => Standing::Failed,
            SlotState::Missed(_) => Standing::Missed,
            SlotState::Unreachable => Standing::Unreachable,
        });
        of_run.max(of_slot)
    }

    /// The word shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Nothing => "nothing",
            Standing::Ok => "ok",
            Standing::Running => "running",
            Standing::Warning => "warning",
            Standing::Overdue | Standing::HardOverdue => "overdue",
            Standing::Late => "late",
            Standing::Unknown => "unknown",
            Standing::Lost => "lost",
            Standing::Unreachable => "unreachable",
            Standing::Failed => "failed",
            Standing::Critical => "critical",
            Standing::Missed => "missed",
        }
    }

    /// What a monitoring plugin exits with.
    pub fn severity(self) -> Severity {
        match self {
            Standing::Ok | Standing::Running => Severity::Ok,
            Standing::Warning | Standing::Overdue | Standing::Late => Severity::Warning,
            Standing::HardOverdue | Standing::Failed | Standing::Critical | Standing::Missed => {
                Severity::Critical
            }
            Standing::Nothing | Standing::Unknown | Standing::Lost | Standing::Unreachable => {
                Severity::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Miss;
    use crate::watch::Tolerate;
    use proptest::prelude::*;
    use proptest::sample::select;

    const AT_ONCE: Telling = Telling { tolerate: None, fail_after: 1, recover_after: 1 };

    fn slot(day: i64) -> Subject {
        Subject::Slot(Timestamp::from_micros(day * 86_400_000_000))
    }

    /// One verdict a day: `.` is good, `F` failed, `A` aborted, `M` missed, `C` critical. What is told, by day.
    fn told(verdicts: &str, telling: Telling) -> String {
        let mut board = Board::default();
        let mut told = Vec::new();
        for (day, verdict) in verdicts.chars().enumerate() {
            let trouble = match verdict {
                'F' => Some(Trouble::Failed),
                'A' => Some(Trouble::Aborted),
                'M' => Some(Trouble::Missed),
                'C' => Some(Trouble::Critical),
                _ => None,
            };
            let notice = board.judge(slot(day as i64), trouble, &telling);
            told.extend(notice.map(|notice| format!("{day}: {}", shown(notice))));
        }
        told.join(", ")
    }

    fn shown(notice: Notice) -> String {
        match notice {
            Notice::Problem(trouble) => trouble.as_str().to_owned(),
            Notice::Changed { from, to } => format!("{} to {}", from.as_str(), to.as_str()),
            Notice::Resolved { trouble, is_taken_back: false } => format!("no longer {}", trouble.as_str()),
            Notice::Resolved { trouble, is_taken_back: true } => {
                format!("{} is taken back", trouble.as_str())
            }
        }
    }

    #[test]
    fn a_problem_is_told_once_and_resolved_once() {
        assert_eq!(told("..FFF..", AT_ONCE), "2: failed, 5: no longer failed");
        assert_eq!(told(".....", AT_ONCE), "");
    }

    #[test]
    fn failures_and_recoveries_may_be_waited_for_but_not_misses() {
        let patient = Telling { fail_after: 3, recover_after: 2, ..AT_ONCE };
        assert_eq!(told("FF.FF.FFF.F..F", patient), "8: failed, 12: no longer failed");
        assert_eq!(told("F.M..", patient), "2: missed, 4: no longer missed");
        assert_eq!(told("A..", patient), "0: aborted, 2: no longer aborted");
        assert_eq!(told("CC..", patient), "");
    }

    #[test]
    fn what_becomes_worse_is_told_and_what_becomes_better_waits_for_the_end() {
        assert_eq!(told("FMF.", AT_ONCE), "0: failed, 1: failed to missed, 3: no longer missed");
    }

    #[test]
    fn some_of_the_latest_may_be_bad() {
        let tolerant = Telling { tolerate: Some(Tolerate { bad: 1, of: 4 }), ..AT_ONCE };
        assert_eq!(told("M...F...M", tolerant), "", "one of four");
        assert_eq!(told("M..F....", tolerant), "3: failed, 4: no longer failed");
    }

    #[test]
    fn what_came_after_all_is_taken_back_at_once() {
        let patient = Telling { recover_after: 3, ..AT_ONCE };
        let mut board = Board::default();
        let mut judge = |day, trouble| board.judge(slot(day), trouble, &patient).map(shown);
        assert_eq!(judge(1, Some(Trouble::Missed)).as_deref(), Some("missed"));
        assert_eq!(judge(2, Some(Trouble::Missed)), None);
        assert_eq!(judge(2, Some(Trouble::Missed)), None, "told twice is said once");
        assert_eq!(judge(2, None), None, "the first is still missed");
        assert_eq!(judge(1, None).as_deref(), Some("missed is taken back"));
        assert_eq!(judge(1, None), None);
    }

    #[test]
    fn what_changes_all_the_time_is_flapping_until_it_is_quiet() {
        let notices = told(&format!("{}{}", "F.".repeat(8), ".".repeat(20)), AT_ONCE);
        let notices: Vec<&str> = notices.split(", ").collect();
        assert_eq!(notices[9], "9: no longer failed");
        assert_eq!(notices[10], "10: flapping");
        assert_eq!(notices[11..], ["30: no longer flapping"]);
        let bad = told(&format!("{}{}", "F.".repeat(8), "F".repeat(20)), AT_ONCE);
        assert!(bad.ends_with("10: flapping, 31: flapping to failed"), "{bad}");
    }

    #[test]
    fn slots_and_runs_together_are_as_bad_as_the_worse_of_them() {
        let ok = Some((Status::Ok, Severity::Ok));
        let missed = SlotState::Missed(Miss::NeverRan);
        for (run, slot, word, code) in [
            (None, None, "nothing", 3),
            (None, Some(missed), "missed", 2),
            (ok, Some(SlotState::Ok), "ok", 0),
            (ok, Some(SlotState::Late), "late", 1),
            (ok, Some(SlotState::Unreachable), "unreachable", 3),
            (ok, Some(SlotState::Failed(Failure::NoSuccess)), "failed", 2),
            (Some((Status::Running, Severity::Ok)), Some(SlotState::Late), "late", 1),
            (Some((Status::Overdue, Severity::Warning)), Some(SlotState::Late), "late", 1),
            (Some((Status::Overdue, Severity::Critical)), Some(SlotState::Late), "overdue", 2),
            (Some((Status::Lost, Severity::Unknown)), Some(SlotState::Unreachable), "unreachable", 3),
            (Some((Status::Critical, Severity::Critical)), Some(missed), "missed", 2),
            (Some((Status::Failed, Severity::Critical)), Some(SlotState::Excused), "failed", 2),
        ] {
            let standing = Standing::of(run, slot);
            assert_eq!((standing.as_str(), standing.severity().code()), (word, code), "{run:?} {slot:?}");
        }
    }

    #[test]
    fn runs_stand_in_the_order_of_their_status() {
        let mut runs: Vec<(Status, Severity)> =
            Status::ALL.map(|status| (status, Severity::Warning)).to_vec();
        runs.push((Status::Overdue, Severity::Critical));
        runs.sort_by_key(|(status, severity)| status.rank(*severity));
        let standings: Vec<Standing> = runs.iter().map(|run| Standing::of(Some(*run), None)).collect();
        assert!(standings.is_sorted_by(|better, worse| better < worse), "{standings:?}");
    }

    fn trouble() -> impl Strategy<Value = Option<Trouble>> {
        let all =
            vec![Trouble::Overdue, Trouble::Failed, Trouble::Aborted, Trouble::Critical, Trouble::Missed];
        proptest::option::of(select(all))
    }

    proptest! {
        #[test]
        fn each_problem_is_told_once_and_resolved_once_whatever_is_revised(
            verdicts in proptest::collection::vec((0i64..60, trouble()), 0..200),
            fail_after in 1u32..4, recover_after in 1u32..4,
            tolerate in proptest::option::of((1u32..4).prop_map(|bad| Tolerate { bad, of: bad + 3 })),
        ) {
            let telling = Telling { tolerate, fail_after, recover_after };
            let mut board = Board::default();
            let mut open = None;
            for (day, trouble) in verdicts {
                match board.judge(slot(day), trouble, &telling) {
                    None => {}
                    Some(Notice::Problem(trouble)) => {
                        prop_assert_eq!(open, None);
                        open = Some(trouble);
                    }
                    Some(Notice::Changed { from, to }) => {
                        prop_assert_eq!(open, Some(from));
                        prop_assert!(from != to);
                        open = Some(to);
                    }
                    Some(Notice::Resolved { trouble, .. }) => {
                        prop_assert_eq!(open, Some(trouble));
                        open = None;
                    }
                }
                prop_assert_eq!(board.told(), open);
            }
            // Enough good ones end anything.
            for day in 100..100 + VERDICTS_MAX as i64 {
                board.judge(slot(day), None, &telling);
            }
            prop_assert_eq!(board.told(), None);
        }

        #[test]
        fn without_patience_the_latest_verdict_is_what_is_told_unless_it_flaps(
            verdicts in proptest::collection::vec(trouble(), 1..120),
        ) {
            let mut board = Board::default();
            for (day, trouble) in verdicts.into_iter().enumerate() {
                board.judge(slot(day as i64), trouble, &AT_ONCE);
                if board.told() != Some(Trouble::Flapping) {
                    prop_assert_eq!(board.told().is_some(), trouble.is_some());
                }
            }
        }
    }
}
