//! Which run an event belongs to: five rules, tried in order, inside one host and task.
//!
//! 1 explicit (the caller's key) · 2 ancestry · 3 unit · 4 only-open · 5 implicit. The agent decides once and stamps the
//! event; nobody guesses again. Pure: what is open and who is alive is handed in.

use crate::event::{Command, Correlation, EventFlag, Finding};
use crate::name::{RunId, RunKey};
use crate::process::{Chain, ProcessRef};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A run that has not ended, as correlation sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The run.
    pub id: RunId,
    /// When the agent saw its first event.
    pub opened_at: Timestamp,
    /// When the agent saw its latest event.
    pub touched_at: Timestamp,
    /// The key it was opened with.
    pub key: Option<RunKey>,
    /// The user that opened it.
    pub uid: Option<u32>,
    /// Ancestors of the event that opened it.
    pub chain: Chain,
    /// systemd's invocation id of the event that opened it.
    pub unit: Option<String>,
    /// True when no start opened it.
    pub implicit: bool,
    /// True between a pause and the next start.
    pub paused: bool,
    /// When its owner was found gone: the run is aborted, and an event that still joins it withdraws that.
    pub gone_at: Option<Timestamp>,
}

/// What is known of the caller of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its run key, when it may be used for this task.
    pub key: Option<RunKey>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its ancestors.
    pub chain: Chain,
    /// systemd's invocation id.
    pub unit: Option<String>,
}

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into this open run.
    Join {
        /// The run.
        run: RunId,
        /// The rule that found it.
        correlation: Correlation,
    },
    /// Into a new run, after `ends` came to its end.
    Open {
        /// How later events will find the new run.
        correlation: Correlation,
        /// True when no start opens it.
        implicit: bool,
        /// Flags for the opening event.
        flags: Vec<EventFlag>,
        /// An open run that ends by this, and why.
        ends: Option<(RunId, Finding)>,
    },
    /// Into no run.
    Nowhere {
        /// Flags for the event.
        flags: Vec<EventFlag>,
    },
}

/// Finds the place of an event among `open`, the open runs of its host and task.
///
/// `alive` tells whether a process still exists; it is asked only to keep an event out of a living sibling's run.
pub fn place(
    command: Option<Command>,
    origin: &Origin,
    open: &[OpenRun],
    alive: impl Fn(ProcessRef) -> bool,
) -> Placement {
    if let Some(key) = &origin.key {
        return match open.iter().find(|run| run.key.as_ref() == Some(key)) {
            Some(run) => Placement::Join { run: run.id, correlation: Correlation::Explicit },
            None => open_run(command, origin, open, Correlation::Explicit, None),
        };
    }
    match command {
        Some(Command::CounterStart) => place_start(origin, open),
        Some(Command::CounterStop) => place_stop(origin, open, alive),
        Some(Command::CounterPause | Command::CounterReset | Command::Flag) | None => {
            match find(origin, open, alive) {
                Some((run, correlation)) => Placement::Join { run: run.id, correlation },
                None => open_run(command, origin, open, Correlation::Implicit, None),
            }
        }
    }
}

/// Runs the rules 2 to 4; the deepest ancestor wins, then the latest start.
fn find<'a>(
    origin: &Origin,
    open: &'a [OpenRun],
    alive: impl Fn(ProcessRef) -> bool,
) -> Option<(&'a OpenRun, Correlation)> {
    if let Some(run) = by_ancestry(origin, open, alive) {
        return Some((run, Correlation::Ancestry));
    }
    if origin.unit.is_some() {
        let mut same = open.iter().filter(|run| run.unit == origin.unit);
        if let (Some(run), None) = (same.next(), same.next()) {
            return Some((run, Correlation::Unit));
        }
    }
    if origin.chain.is_empty() {
        let mut same = open.iter().filter(|run| run.uid == origin.uid);
        if let (Some(run), None) = (same.next(), same.next()) {
            return Some((run, Correlation::OnlyOpen));
        }
    }
    None
}

/// Kinship of a caller and a run, the closer the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kinship {
    /// They share an ancestor below the job root, and the run's owner is gone: steps of one job.
    Sibling,
    /// The caller started the run's owner.
    Parent,
    /// The caller descends from the run's owner.
    Descendant,
}

fn by_ancestry<'a>(
    origin: &Origin,
    open: &'a [OpenRun],
    alive: impl Fn(ProcessRef) -> bool,
) -> Option<&'a OpenRun> {
    let caller_owner = origin.chain.owner();
    open.iter()
        .filter_map(|run| {
            let depth = origin.chain.deepest_common(&run.chain)?;
            let owner = run.chain.owner()?;
            let kinship = if origin.chain.contains(owner) {
                Kinship::Descendant
            } else if caller_owner.is_some_and(|own| run.chain.contains(own)) {
                Kinship::Parent
            } else if !alive(owner) {
                Kinship::Sibling
            } else {
                return None;
            };
            // A smaller index is a deeper process.
            Some((kinship, std::cmp::Reverse(depth), run.opened_at, run))
        })
        .max_by_key(|(kinship, depth, opened_at, _)| (*kinship, *depth, *opened_at))
        .map(|(_, _, _, run)| run)
}

fn place_start(origin: &Origin, open: &[OpenRun]) -> Placement {
    let owner = origin.chain.owner();
    let same_owner = |run: &&OpenRun| {
        if run.key.is_some() {
            return false;
        }
        match owner {
            Some(owner) => run.chain.owner() == Some(owner),
            None => run.chain.is_empty() && run.uid == origin.uid && run.unit == origin.unit,
        }
    };
    let correlation = lasting_rule(origin);
    match open.iter().filter(same_owner).max_by_key(|run| run.opened_at) {
        Some(run) if run.paused => Placement::Join { run: run.id, correlation },
        Some(run) => {
            let finding = if run.implicit { Finding::Started } else { Finding::Superseded };
            open_run(Some(Command::CounterStart), origin, open, correlation, Some((run.id, finding)))
        }
        None => open_run(Some(Command::CounterStart), origin, open, correlation, None),
    }
}

fn place_stop(origin: &Origin, open: &[OpenRun], alive: impl Fn(ProcessRef) -> bool) -> Placement {
    if let Some((run, correlation)) = find(origin, open, alive) {
        return Placement::Join { run: run.id, correlation };
    }
    match open {
        [] => open_run(Some(Command::CounterStop), origin, open, Correlation::Implicit, None),
        [only] if only.uid == origin.uid || origin.uid == Some(0) => {
            Placement::Join { run: only.id, correlation: Correlation::OnlyOpen }
        }
        [_] => Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] },
        // From a stranger: the oldest run that shares any ancestor with it, else none.
        [_, _, ..] => open
            .iter()
            .filter(|run| origin.chain.deepest_common(&run.chain).is_some())
            .min_by_key(|run| run.opened_at)
            .map_or(Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] }, |run| Placement::Join {
                run: run.id,
                correlation: Correlation::Ancestry,
            }),
    }
}

fn open_run(
    command: Option<Command>,
    origin: &Origin,
    open: &[OpenRun],
    correlation: Correlation,
    ends: Option<(RunId, Finding)>,
) -> Placement {
    debug_assert!(correlation != Correlation::Explicit || origin.key.is_some());
    let implicit = command != Some(Command::CounterStart) && correlation == Correlation::Implicit;
    let others = open
        .iter()
        .any(|run| !run.implicit && run.gone_at.is_none() && ends.is_none_or(|(id, _)| id != run.id));
    let overlapped = command == Some(Command::CounterStart) && others;
    let flags = if overlapped { vec![EventFlag::Overlapped] } else { Vec::new() };
    Placement::Open { correlation, implicit, flags, ends }
}

/// The rule by which later events will find a run that this caller starts.
fn lasting_rule(origin: &Origin) -> Correlation {
    if origin.key.is_some() {
        Correlation::Explicit
    } else if !origin.chain.is_empty() {
        Correlation::Ancestry
    } else if origin.unit.is_some() {
        Correlation::Unit
    } else {
        Correlation::OnlyOpen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Link;

    fn chain(pids: &[u32]) -> Chain {
        Chain::new(
            pids.iter()
                .enumerate()
                .map(|(index, &pid)| Link {
                    process: ProcessRef { pid, start_ticks: u64::from(pid) },
                    comm: if index == 0 { "hume" } else { "job.sh" }.to_owned(),
                    terminal_leader: false,
                    subshell: false,
                    shell_text: false,
                })
                .collect(),
        )
    }

    fn origin(pids: &[u32]) -> Origin {
        Origin { key: None, uid: Some(1000), chain: chain(pids), unit: None }
    }

    fn run(number: u8, pids: &[u32]) -> OpenRun {
        OpenRun {
            id: RunId::from_bytes([number; 16]),
            opened_at: Timestamp::from_micros(i64::from(number)),
            touched_at: Timestamp::from_micros(i64::from(number)),
            key: None,
            uid: Some(1000),
            chain: chain(pids),
            unit: None,
            implicit: false,
            paused: false,
            gone_at: None,
        }
    }

    fn joined(placement: &Placement) -> Option<u8> {
        match placement {
            Placement::Join { run, .. } => Some(run.as_bytes()[0]),
            Placement::Open { .. } | Placement::Nowhere { .. } => None,
        }
    }

    const ALIVE: fn(ProcessRef) -> bool = |_| true;
    const GONE: fn(ProcessRef) -> bool = |_| false;

    #[test]
    fn two_copies_of_one_script_keep_their_events_apart() {
        let open = [run(1, &[90, 40, 20, 1]), run(2, &[91, 41, 20, 1])];
        for (pids, expected) in [(&[95, 40, 20, 1][..], 1), (&[96, 60, 41, 20, 1], 2)] {
            assert_eq!(joined(&place(None, &origin(pids), &open, ALIVE)), Some(expected));
            assert_eq!(
                joined(&place(Some(Command::CounterStop), &origin(pids), &open, ALIVE)),
                Some(expected)
            );
        }
    }

    #[test]
    fn an_event_after_its_own_stop_does_not_slip_into_a_living_siblings_run() {
        let open = [run(1, &[90, 40, 20, 1])];
        let late = place(None, &origin(&[95, 41, 20, 1]), &open, ALIVE);
        assert!(matches!(late, Placement::Open { implicit: true, .. }));
    }

    #[test]
    fn steps_of_one_job_share_the_run_when_its_starter_is_gone() {
        let open = [run(1, &[90, 40, 20, 1])];
        assert_eq!(joined(&place(None, &origin(&[95, 41, 20, 1]), &open, GONE)), Some(1));
    }

    #[test]
    fn the_caller_of_the_starter_shares_its_run() {
        let open = [run(1, &[90, 40, 20, 1])];
        assert_eq!(joined(&place(None, &origin(&[95, 20, 1]), &open, ALIVE)), Some(1));
    }

    #[test]
    fn of_nested_runs_the_deepest_wins() {
        let open = [run(1, &[90, 40, 20, 1]), run(2, &[91, 50, 40, 20, 1])];
        assert_eq!(joined(&place(None, &origin(&[95, 50, 40, 20, 1]), &open, ALIVE)), Some(2));
        assert_eq!(joined(&place(None, &origin(&[95, 40, 20, 1]), &open, ALIVE)), Some(1));
    }

    #[test]
    fn a_second_start_by_the_same_owner_supersedes_and_by_another_overlaps() {
        let open = [run(1, &[90, 40, 20, 1])];
        let again = place(Some(Command::CounterStart), &origin(&[95, 40, 20, 1]), &open, ALIVE);
        let Placement::Open { ends, flags, .. } = again else { panic!("{again:?}") };
        assert_eq!((ends, flags), (Some((open[0].id, Finding::Superseded)), vec![]));
        let other = place(Some(Command::CounterStart), &origin(&[95, 41, 20, 1]), &open, ALIVE);
        let Placement::Open { ends, flags, .. } = other else { panic!("{other:?}") };
        assert_eq!((ends, flags), (None, vec![EventFlag::Overlapped]));
    }

    #[test]
    fn a_start_resumes_the_paused_run_of_its_owner() {
        let open = [OpenRun { paused: true, ..run(1, &[90, 40, 20, 1]) }];
        assert_eq!(
            joined(&place(Some(Command::CounterStart), &origin(&[95, 40, 20, 1]), &open, ALIVE)),
            Some(1)
        );
    }

    #[test]
    fn a_start_in_words_ends_the_implicit_run_of_its_owner_without_blame() {
        let open = [OpenRun { implicit: true, ..run(1, &[90, 40, 20, 1]) }];
        let start = place(Some(Command::CounterStart), &origin(&[95, 40, 20, 1]), &open, ALIVE);
        let Placement::Open { ends, flags, .. } = start else { panic!("{start:?}") };
        assert_eq!((ends, flags), (Some((open[0].id, Finding::Started)), vec![]));
    }

    #[test]
    fn a_key_joins_the_run_opened_with_it_and_no_other() {
        let key = RunKey::parse("k").ok();
        let open = [run(1, &[90, 40, 20, 1]), OpenRun { key: key.clone(), ..run(2, &[91, 41, 20, 1]) }];
        let keyed = Origin { key: key.clone(), ..origin(&[95, 40, 20, 1]) };
        for command in [None, Some(Command::CounterStart), Some(Command::CounterStop)] {
            assert_eq!(joined(&place(command, &keyed, &open, ALIVE)), Some(2));
        }
        let unknown = place(None, &keyed, &open[..1], ALIVE);
        assert!(matches!(
            unknown,
            Placement::Open { correlation: Correlation::Explicit, implicit: false, .. }
        ));
    }

    #[test]
    fn the_unit_decides_only_between_exactly_one() {
        let unit = Some("u".to_owned());
        let open = [OpenRun { unit: unit.clone(), ..run(1, &[]) }, run(2, &[])];
        let caller = Origin { unit, ..origin(&[]) };
        assert_eq!(joined(&place(None, &caller, &open, ALIVE)), Some(1));
        let both = [open[0].clone(), OpenRun { unit: caller.unit.clone(), ..run(2, &[]) }];
        assert_eq!(joined(&place(None, &caller, &both, ALIVE)), None);
    }

    #[test]
    fn without_ancestors_the_only_open_run_of_the_user_is_joined() {
        let open = [run(1, &[90, 40, 20, 1]), OpenRun { uid: Some(7), ..run(2, &[91, 41, 20, 1]) }];
        assert_eq!(joined(&place(None, &origin(&[]), &open, ALIVE)), Some(1));
        assert_eq!(joined(&place(None, &origin(&[]), &[open[0].clone(), run(3, &[])], ALIVE)), None);
    }

    #[test]
    fn a_stop_without_an_open_run_opens_one_of_no_length() {
        let stop = place(Some(Command::CounterStop), &origin(&[95, 40, 1]), &[], ALIVE);
        assert!(matches!(stop, Placement::Open { implicit: true, .. }));
    }

    #[test]
    fn a_stop_from_a_stranger_closes_the_only_run_but_never_one_of_several() {
        let open = [run(1, &[90, 40, 20]), run(2, &[91, 41, 20])];
        let stranger = origin(&[95, 70]);
        assert_eq!(joined(&place(Some(Command::CounterStop), &stranger, &open[..1], ALIVE)), Some(1));
        let none = place(Some(Command::CounterStop), &stranger, &open, ALIVE);
        assert_eq!(none, Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] });
        let kin = origin(&[95, 42, 20]);
        assert_eq!(
            joined(&place(Some(Command::CounterStop), &kin, &open, ALIVE)),
            Some(1),
            "the oldest that matches"
        );
        let other_user = Origin { uid: Some(7), ..stranger };
        let refused = place(Some(Command::CounterStop), &other_user, &open[..1], ALIVE);
        assert_eq!(refused, Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] });
    }
}
