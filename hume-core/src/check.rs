//! What a monitoring system is told of a task: a severity for each host, and one for all of them together.
//!
//! Missed and unreachable slots come from watches and are not judged here: only what runs say.

use std::str::FromStr;
use std::time::Duration;

use crate::error::BoundError;
use crate::status::{Severity, Status};

/// How runs are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What a run counts as whose agent is silent.
    pub offline_as: Severity,
    /// What decides while a run goes on within its limits.
    pub running: Running,
    /// The latest end must not be older.
    pub max_age: Option<Duration>,
    /// So many hosts are enough.
    pub quorum: Option<Quorum>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { offline_as: Severity::Unknown, running: Running::Fine, max_age: None, quorum: None }
    }
}

/// What decides while a run goes on within its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Running {
    /// Nothing is wrong as long as it goes on.
    #[default]
    Fine,
    /// The run before it: the latest that has ended.
    PreviousDecides,
}

/// So many hosts must be fine for all to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// At least this many.
    Hosts(u32),
    /// At least this share of them, 1 to 100.
    Percent(u8),
}

impl Quorum {
    /// How many of `hosts` that is; a share is rounded up.
    pub fn of(self, hosts: usize) -> usize {
        match self {
            Quorum::Hosts(needed) => needed as usize,
            Quorum::Percent(share) => (hosts * usize::from(share)).div_ceil(100).max(1),
        }
    }
}

impl FromStr for Quorum {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Quorum, BoundError> {
        let quorum = match text.strip_suffix('%') {
            Some(share) => share.parse().ok().filter(|share| (1..=100).contains(share)).map(Quorum::Percent),
            None => text.parse().ok().filter(|needed| *needed > 0).map(Quorum::Hosts),
        };
        quorum.ok_or(BoundError::new("quorum", "must be a number of hosts such as 3, or a share such as 80%"))
    }
}

/// What is shown of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In one word.
    pub status: Status,
    /// As a number.
    pub severity: Severity,
}

/// What is known of a task on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The run that started last; none when there is none.
    pub latest: Option<Shown>,
    /// The latest run that has ended; may be the same.
    pub finished: Option<Shown>,
    /// Since the latest end, or since the start of the only run when none has ended. None when nobody looked.
    pub age: Option<Duration>,
}

impl Seen {
    /// Of a run alone, whatever was before it.
    pub fn only(run: Shown) -> Seen {
        Seen { latest: Some(run), finished: None, age: None }
    }
}

/// What is said of one host, and what decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The word.
    pub severity: Severity,
    /// Why.
    pub because: Because,
}

/// What decided about a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The latest run.
    Latest,
    /// The run before one that goes on.
    Previous,
    /// The latest end is too long ago.
    Age,
    /// A run goes on, and none has ended yet.
    NoneFinished,
    /// There is no run.
    NoRun,
}

impl Rules {
    /// What is said of one host.
    pub fn of_host(&self, seen: &Seen) -> Verdict {
        let Rules { offline_as, running, max_age, quorum: _ } = self;
        let Some(latest) = seen.latest else {
            return Verdict { severity: Severity::Unknown, because: Because::NoRun };
        };
        let goes_on = latest.status == Status::Running && *running == Running::PreviousDecides;
        let verdict = match (goes_on, seen.finished) {
            (false, _) => Verdict { severity: of_run(latest, *offline_as), because: Because::Latest },
            (true, Some(previous)) => {
                Verdict { severity: of_run(previous, *offline_as), because: Because::Previous }
            }
            (true, None) => Verdict { severity: Severity::Unknown, because: Because::NoneFinished },
        };
        let is_old = max_age.zip(seen.age).is_some_and(|(max, age)| age > max);
        if is_old && verdict.severity != Severity::Critical {
            return Verdict { severity: Severity::Critical, because: Because::Age };
        }
        verdict
    }

    /// What is said of several hosts: the worst, in the order of [`Severity::rank`], unless a quorum of them is fine. Of
    /// none nobody can tell.
    pub fn together(&self, hosts: &[Severity]) -> Severity {
        let worst = hosts.iter().copied().max_by_key(|severity| severity.rank()).unwrap_or(Severity::Unknown);
        let Some(quorum) = self.quorum else { return worst };
        let fine = hosts.iter().filter(|severity| **severity == Severity::Ok).count();
        match worst {
            _ if hosts.is_empty() => Severity::Unknown,
            _ if fine >= quorum.of(hosts.len()) => Severity::Ok,
            // All that there are, and still too few.
            Severity::Ok => Severity::Critical,
            Severity::Warning | Severity::Critical | Severity::Unknown => worst,
        }
    }
}

fn of_run(run: Shown, offline_as: Severity) -> Severity {
    match run.status {
        Status::Lost => offline_as,
        Status::Running
        | Status::Overdue
        | Status::Critical
        | Status::Failed
        | Status::Warning
        | Status::Unknown
        | Status::Ok => run.severity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    const ALL: [Severity; 4] = [Severity::Ok, Severity::Warning, Severity::Critical, Severity::Unknown];

    fn run(status: Status, code: u8) -> Shown {
        Shown { status, severity: Severity::from_code(code) }
    }

    fn code(rules: Rules, seen: Seen) -> u8 {
        rules.of_host(&seen).severity.code()
    }

    #[test]
    fn every_status_has_its_exit_code() {
        for (status, severity, expected) in [
            (Status::Ok, 0, 0),
            (Status::Running, 0, 0),
            (Status::Warning, 1, 1),
            (Status::Overdue, 1, 1),
            (Status::Overdue, 2, 2),
            (Status::Failed, 2, 2),
            (Status::Critical, 2, 2),
            (Status::Unknown, 3, 3),
            (Status::Lost, 3, 3),
        ] {
            assert_eq!(code(Rules::default(), Seen::only(run(status, severity))), expected, "{status:?}");
        }
    }

    #[test]
    fn without_a_run_nobody_can_tell() {
        let nothing = Seen { latest: None, finished: None, age: None };
        let verdict = Rules { max_age: Some(Duration::ZERO), ..Rules::default() }.of_host(&nothing);
        assert_eq!(verdict, Verdict { severity: Severity::Unknown, because: Because::NoRun });
    }

    #[test]
    fn a_run_whose_agent_is_silent_counts_as_one_wishes() {
        for offline_as in [Severity::Warning, Severity::Critical, Severity::Unknown] {
            let rules = Rules { offline_as, ..Rules::default() };
            assert_eq!(rules.of_host(&Seen::only(run(Status::Lost, 3))).severity, offline_as);
            assert_eq!(rules.of_host(&Seen::only(run(Status::Unknown, 3))).severity, Severity::Unknown);
        }
    }

    #[test]
    fn when_finished_runs_count_the_previous_one_decides_while_one_goes_on_within_its_limits() {
        let rules = Rules { running: Running::PreviousDecides, ..Rules::default() };
        let seen = |latest, finished| Seen { latest: Some(latest), finished, age: None };
        let (running, failed) = (run(Status::Running, 0), run(Status::Failed, 2));
        assert_eq!(
            rules.of_host(&seen(running, Some(failed))),
            Verdict { severity: Severity::Critical, because: Because::Previous }
        );
        assert_eq!(
            rules.of_host(&seen(running, None)),
            Verdict { severity: Severity::Unknown, because: Because::NoneFinished }
        );
        // Beyond its limits it speaks for itself, and so does one that nobody hears of.
        let ok = Some(run(Status::Ok, 0));
        assert_eq!(code(rules, seen(run(Status::Overdue, 1), ok)), 1);
        assert_eq!(code(rules, seen(run(Status::Lost, 3), ok)), 3);
        assert_eq!(code(Rules::default(), seen(running, Some(failed))), 0);
    }

    #[test]
    fn a_latest_end_that_is_too_old_is_critical_whatever_it_was() {
        let day = Duration::from_hours(24);
        let rules = Rules { max_age: Some(day), ..Rules::default() };
        for (status, severity) in
            [(Status::Ok, 0), (Status::Running, 0), (Status::Warning, 1), (Status::Unknown, 3)]
        {
            let seen = |age| Seen { age: Some(age), ..Seen::only(run(status, severity)) };
            assert_eq!(code(rules, seen(day)), severity, "{status:?}");
            let old = rules.of_host(&seen(day + Duration::from_micros(1)));
            assert_eq!(old, Verdict { severity: Severity::Critical, because: Because::Age });
        }
        let failed = Seen { age: Some(day * 2), ..Seen::only(run(Status::Failed, 2)) };
        assert_eq!(rules.of_host(&failed).because, Because::Latest, "what is worse is said first");
    }

    #[test]
    fn of_several_hosts_critical_and_warning_are_never_masked_by_unknown() {
        let together = |codes: &[u8]| {
            let hosts: Vec<Severity> = codes.iter().map(|code| Severity::from_code(*code)).collect();
            Rules::default().together(&hosts).code()
        };
        assert_eq!(together(&[0, 3, 1, 2]), 2);
        assert_eq!(together(&[0, 3, 1]), 1);
        assert_eq!(together(&[0, 3]), 3);
        assert_eq!(together(&[0, 0]), 0);
        assert_eq!(together(&[]), 3);
    }

    #[test]
    fn a_quorum_replaces_the_worst() {
        let together = |quorum: &str, codes: &[u8]| {
            let hosts: Vec<Severity> = codes.iter().map(|code| Severity::from_code(*code)).collect();
            Rules { quorum: Some(quorum.parse().unwrap()), ..Rules::default() }.together(&hosts).code()
        };
        assert_eq!(together("2", &[0, 0, 2]), 0);
        assert_eq!(together("3", &[0, 0, 2]), 2);
        assert_eq!(together("3", &[0, 0, 1]), 1);
        assert_eq!(together("66%", &[0, 0, 2]), 0);
        assert_eq!(together("67%", &[0, 0, 2]), 2, "a share is rounded up");
        assert_eq!(together("3", &[0, 0]), 2, "all are fine, and there are too few");
        assert_eq!(together("1%", &[3, 3]), 3);
        assert_eq!(together("1", &[]), 3);
    }

    #[test]
    fn a_quorum_is_a_number_or_a_share() {
        assert_eq!("3".parse(), Ok(Quorum::Hosts(3)));
        assert_eq!("100%".parse(), Ok(Quorum::Percent(100)));
        for wrong in ["", "0", "-1", "0%", "101%", "%", "half", "3.5", "1e3"] {
            assert!(wrong.parse::<Quorum>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn one_more_host_that_is_fine_never_makes_it_worse_and_the_order_says_nothing(
            hosts in proptest::collection::vec(select(ALL.to_vec()), 1..9),
            quorum in proptest::option::of(prop_oneof![(1u32..6).prop_map(Quorum::Hosts), (1u8..=100).prop_map(Quorum::Percent)]),
        ) {
            let rules = Rules { quorum, ..Rules::default() };
            let before = rules.together(&hosts);
            let mut backwards = hosts.clone();
            backwards.reverse();
            prop_assert_eq!(rules.together(&backwards), before);
            backwards.push(Severity::Ok);
            prop_assert!(rules.together(&backwards).rank() <= before.rank());
            if quorum.is_none() {
                prop_assert!(hosts.contains(&before));
            }
        }
    }
}
