//! Which run an event belongs to: five rules, tried in order, inside one host and task.
//!
//! 1 explicit (the caller's key) · 2 ancestry · 3 unit · 4 only-open · 5 implicit. The agent decides once and stamps the
//! event; nobody guesses again. Pure: what is open and who is alive is handed in.

use crate::event::{Command, Correlation, EventFlag, Finding};
use crate::name::{BootId, RunId, RunKey};
use crate::policy::Overlap;
use crate::process::{Chain, ProcessRef};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A run that later events may join, as correlation sees it. All `_us` are readings of the boot clock, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The run.
    pub id: RunId,
    /// When the agent saw its first event.
    pub opened_us: u64,
    /// When the agent saw its latest event.
    pub touched_us: u64,
    /// The same by the wall clock: since then its end may lie.
    pub touched_at: Timestamp,
    /// The boot in which it was opened.
    pub boot: Option<BootId>,
    /// The key it was opened with.
    pub key: Option<RunKey>,
    /// The user that opened it.
    pub uid: Option<u32>,
    /// Ancestors of the event that opened it.
    pub chain: Chain,
    /// The process whose end ends the run; none when its end is its own affair.
    pub watched: Option<ProcessRef>,
    /// systemd's invocation id of the event that opened it.
    pub unit: Option<String>,
    /// The session of the event that opened it, by its own word.
    pub session: Option<u32>,
    /// True when no start opened it.
    pub implicit: bool,
    /// True between a pause and the next start.
    pub paused: bool,
    /// When the watched process was found gone: the run is aborted, and an event that still joins it withdraws that.
    pub gone_us: Option<u64>,
    /// Its stop, for events that were made before it and come after it. Not kept over a restart.
    #[serde(skip)]
    pub stopped: Option<Stopped>,
}

/// A stop that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// When the agent saw it.
    pub seen_us: u64,
    /// When its caller made it, as far as the caller says.
    pub made_us: Option<u64>,
}

impl OpenRun {
    /// True when its state is open for whoever looks at the number of open runs.
    fn is_open(&self) -> bool {
        self.stopped.is_none() && self.gone_us.is_none()
    }
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
    /// True when the ancestors are the kernel's word; else the caller's own, which is believed only for its own user.
    pub attested: bool,
    /// systemd's invocation id, by the caller's own word.
    pub unit: Option<String>,
    /// Its session, by the caller's own word.
    pub session: Option<u32>,
    /// When it made the event, by the boot clock.
    pub made_us: Option<u64>,
}

impl Origin {
    /// True when what the caller says of itself may place its event in this run.
    fn may_claim(&self, run: &OpenRun) -> bool {
        self.uid == Some(0) || self.uid == run.uid
    }
}

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into this run.
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
    /// Into no run: it is a start that may not happen while this run is open.
    Refused {
        /// The open run.
        open: RunId,
    },
}

/// Finds the place of an event among `open`, the runs of its host and task that may be joined.
///
/// `overlap` says what becomes of a start while another run is open. `alive` tells whether a process still exists; it is
/// asked only to keep an event out of a living sibling's run.
pub fn place(
    command: Option<Command>,
    origin: &Origin,
    open: &[OpenRun],
    overlap: Overlap,
    alive: impl Fn(ProcessRef) -> bool,
) -> Placement {
    let opening = Opening { command, origin, open, overlap };
    if let Some(key) = &origin.key {
        let mut same = open.iter().filter(|run| run.key.as_ref() == Some(key));
        // What still comes of an ended run belongs to it; whoever starts anew by the same key has a new run.
        let found = same
            .clone()
            .find(|run| run.stopped.is_none())
            .or_else(|| same.next_back().filter(|_| command != Some(Command::CounterStart)));
        return match found {
            Some(run) => Placement::Join { run: run.id, correlation: Correlation::Explicit },
            None => opening.placement(Correlation::Explicit, None),
        };
    }
    match command {
        Some(Command::CounterStart) => place_start(&opening),
        Some(Command::CounterStop) => place_stop(&opening, alive),
        Some(Command::CounterPause | Command::CounterReset | Command::Flag) | None => {
            match find(origin, open, alive) {
                Some((run, correlation)) => Placement::Join { run: run.id, correlation },
                None => opening.placement(Correlation::Implicit, None),
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
    if let Some(run) = by_ancestry(origin, open, &alive).or_else(|| by_session(origin, open, alive)) {
        return Some((run, Correlation::Ancestry));
    }
    if origin.unit.is_some() {
        let mut same =
            open.iter().filter(|run| run.unit == origin.unit && run.is_open() && origin.may_claim(run));
        if let (Some(run), None) = (same.next(), same.next()) {
            return Some((run, Correlation::Unit));
        }
    }
    if !origin.chain.is_usable() {
        let mut same = open.iter().filter(|run| run.uid == origin.uid && run.is_open());
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
        .filter(|run| origin.attested || origin.may_claim(run))
        .filter(|run| match run.stopped {
            None => true,
            // Made before the stop, and overtaken by it.
            Some(Stopped { made_us, .. }) => {
                origin.made_us.zip(made_us).is_some_and(|(own, stop)| own < stop)
            }
        })
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
            Some((run.stopped.is_none(), kinship, std::cmp::Reverse(depth), run.opened_us, run))
        })
        .max_by_key(|(is_open, kinship, depth, opened_us, _)| (*is_open, *kinship, *depth, *opened_us))
        .map(|(.., run)| run)
}

/// What outlives its parent hangs under the first process, and only its session still tells whose it was: the one run
/// of that session whose owner is gone.
fn by_session<'a>(
    origin: &Origin,
    open: &'a [OpenRun],
    alive: impl Fn(ProcessRef) -> bool,
) -> Option<&'a OpenRun> {
    let session = origin.session.filter(|_| origin.chain.hangs_under_init())?;
    let is_orphaned = |run: &&OpenRun| {
        run.session == Some(session)
            && run.stopped.is_none()
            && run.uid == origin.uid
            && run.chain.owner().is_some_and(|owner| !alive(owner))
    };
    let mut orphaned = open.iter().filter(is_orphaned);
    let found = orphaned.next();
    if orphaned.next().is_some() { None } else { found }
}

fn place_start(opening: &Opening<'_>) -> Placement {
    let Opening { origin, open, .. } = opening;
    let owner = origin.chain.owner();
    let same_owner = |run: &&OpenRun| {
        if run.key.is_some() || run.stopped.is_some() {
            return false;
        }
        match owner {
            Some(owner) => run.chain.owner() == Some(owner),
            None => !run.chain.is_usable() && run.uid == origin.uid && run.unit == origin.unit,
        }
    };
    let correlation = lasting_rule(origin);
    match open.iter().filter(same_owner).max_by_key(|run| run.opened_us) {
        Some(run) if run.paused => Placement::Join { run: run.id, correlation },
        Some(run) => {
            let finding = if run.implicit { Finding::Started } else { Finding::Superseded };
            opening.placement(correlation, Some((run.id, finding)))
        }
        None => opening.placement(correlation, None),
    }
}

fn place_stop(opening: &Opening<'_>, alive: impl Fn(ProcessRef) -> bool) -> Placement {
    let Opening { origin, open, .. } = opening;
    let unstopped: Vec<OpenRun> = open.iter().filter(|run| run.stopped.is_none()).cloned().collect();
    if let Some((run, correlation)) = find(origin, &unstopped, alive) {
        return Placement::Join { run: run.id, correlation };
    }
    match &unstopped[..] {
        [] => opening.placement(Correlation::Implicit, None),
        [only] if origin.may_claim(only) => {
            Placement::Join { run: only.id, correlation: Correlation::OnlyOpen }
        }
        [_] => Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] },
        // From a stranger: the oldest run that shares any ancestor with it, else none.
        [_, _, ..] => unstopped
            .iter()
            .filter(|run| origin.attested || origin.may_claim(run))
            .filter(|run| origin.chain.deepest_common(&run.chain).is_some())
            .min_by_key(|run| run.opened_us)
            .map_or(Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] }, |run| Placement::Join {
                run: run.id,
                correlation: Correlation::Ancestry,
            }),
    }
}

/// What a new run is opened from.
struct Opening<'a> {
    command: Option<Command>,
    origin: &'a Origin,
    open: &'a [OpenRun],
    overlap: Overlap,
}

impl Opening<'_> {
    fn placement(&self, correlation: Correlation, ends: Option<(RunId, Finding)>) -> Placement {
        let Opening { command, origin, open, overlap } = self;
        debug_assert!(correlation != Correlation::Explicit || origin.key.is_some());
        let is_start = *command == Some(Command::CounterStart);
        let implicit = !is_start && correlation == Correlation::Implicit;
        let other = open
            .iter()
            .find(|run| !run.implicit && run.is_open() && ends.is_none_or(|(id, _)| id != run.id))
            .filter(|_| is_start);
        match (other, overlap) {
            (Some(run), Overlap::Forbid) => Placement::Refused { open: run.id },
            (Some(_), Overlap::Warn) => {
                Placement::Open { correlation, implicit, flags: vec![EventFlag::Overlapped], ends }
            }
            (Some(_), Overlap::Allow) | (None, _) => {
                Placement::Open { correlation, implicit, flags: Vec::new(), ends }
            }
        }
    }
}

/// The rule by which later events will find a run that this caller starts.
fn lasting_rule(origin: &Origin) -> Correlation {
    if origin.key.is_some() {
        Correlation::Explicit
    } else if origin.chain.is_usable() {
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
        Origin {
            key: None,
            uid: Some(1000),
            chain: chain(pids),
            attested: true,
            unit: None,
            session: None,
            made_us: None,
        }
    }

    fn run(number: u8, pids: &[u32]) -> OpenRun {
        OpenRun {
            id: RunId::from_bytes([number; 16]),
            opened_us: u64::from(number),
            touched_us: u64::from(number),
            touched_at: Timestamp::EPOCH,
            boot: None,
            key: None,
            uid: Some(1000),
            chain: chain(pids),
            watched: chain(pids).owner(),
            unit: None,
            session: None,
            implicit: false,
            paused: false,
            gone_us: None,
            stopped: None,
        }
    }

    fn joined(placement: &Placement) -> Option<u8> {
        match placement {
            Placement::Join { run, .. } => Some(run.as_bytes()[0]),
            Placement::Open { .. } | Placement::Nowhere { .. } | Placement::Refused { .. } => None,
        }
    }

    fn place(
        command: Option<Command>,
        origin: &Origin,
        open: &[OpenRun],
        alive: fn(ProcessRef) -> bool,
    ) -> Placement {
        super::place(command, origin, open, Overlap::Warn, alive)
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

    #[test]
    fn a_start_that_may_not_overlap_is_refused_only_while_another_run_is_open() {
        let start = Some(Command::CounterStart);
        let other = origin(&[95, 41, 20, 1]);
        let by = |overlap, open: &[OpenRun]| super::place(start, &other, open, overlap, ALIVE);
        let open = [run(1, &[90, 40, 20, 1])];
        assert_eq!(by(Overlap::Forbid, &open), Placement::Refused { open: open[0].id });
        let opens = |placement| match placement {
            Placement::Open { flags, .. } => flags,
            other => panic!("{other:?}"),
        };
        assert_eq!(opens(by(Overlap::Warn, &open)), [EventFlag::Overlapped]);
        assert_eq!(opens(by(Overlap::Allow, &open)), []);
        for over in [
            OpenRun { implicit: true, ..open[0].clone() },
            OpenRun { gone_us: Some(5), ..open[0].clone() },
            OpenRun { stopped: Some(Stopped { seen_us: 5, made_us: None }), ..open[0].clone() },
        ] {
            assert_eq!(opens(by(Overlap::Forbid, &[over])), []);
        }
        let own = super::place(start, &origin(&[95, 40, 20, 1]), &open, Overlap::Forbid, ALIVE);
        assert!(matches!(own, Placement::Open { ends: Some(_), .. }), "its own earlier run is superseded");
    }

    #[test]
    fn what_outlived_its_script_is_known_by_the_session() {
        let open = [OpenRun { session: Some(40), ..run(1, &[90, 40, 20, 1]) }];
        let orphan = Origin { session: Some(40), ..origin(&[95, 60, 1]) };
        assert_eq!(joined(&place(None, &orphan, &open, GONE)), Some(1));
        assert_eq!(joined(&place(Some(Command::CounterStop), &orphan, &open, GONE)), Some(1));
        assert_eq!(joined(&place(None, &orphan, &open, ALIVE)), None, "that script lives, and is another");
        for stranger in
            [Origin { session: Some(41), ..orphan.clone() }, Origin { uid: Some(7), ..orphan.clone() }]
        {
            assert_eq!(joined(&place(None, &stranger, &open, GONE)), None, "{stranger:?}");
        }
        let two = [open[0].clone(), OpenRun { session: Some(40), ..run(2, &[91, 41, 20, 1]) }];
        assert_eq!(joined(&place(None, &orphan, &two, GONE)), None);
    }

    #[test]
    fn an_event_that_its_stop_overtook_still_belongs_to_the_run() {
        let stopped =
            OpenRun { stopped: Some(Stopped { seen_us: 90, made_us: Some(80) }), ..run(1, &[90, 40, 20, 1]) };
        let made = |made_us| Origin { made_us: Some(made_us), ..origin(&[95, 40, 20, 1]) };
        assert_eq!(joined(&place(None, &made(79), std::slice::from_ref(&stopped), ALIVE)), Some(1));
        assert_eq!(joined(&place(None, &made(81), std::slice::from_ref(&stopped), ALIVE)), None);
        let next = run(2, &[91, 40, 20, 1]);
        assert_eq!(joined(&place(None, &made(79), &[stopped.clone(), next], ALIVE)), Some(2));
        let again = place(Some(Command::CounterStart), &made(95), &[stopped], ALIVE);
        assert!(matches!(again, Placement::Open { ends: None, .. }), "{again:?}");
    }

    #[test]
    fn a_key_still_finds_its_ended_run_and_a_start_by_the_same_key_opens_a_new_one() {
        let key = RunKey::parse("k").ok();
        let stopped = OpenRun {
            key: key.clone(),
            stopped: Some(Stopped { seen_us: 9, made_us: None }),
            ..run(1, &[90, 40, 20, 1])
        };
        let keyed = Origin { key, ..origin(&[95, 40, 20, 1]) };
        assert_eq!(joined(&place(None, &keyed, std::slice::from_ref(&stopped), ALIVE)), Some(1));
        let again = place(Some(Command::CounterStart), &keyed, &[stopped], ALIVE);
        assert!(matches!(again, Placement::Open { correlation: Correlation::Explicit, .. }), "{again:?}");
    }

    #[test]
    fn what_a_caller_says_of_itself_places_its_events_only_in_runs_of_its_user() {
        let unit = Some("u".to_owned());
        let of_root = OpenRun { uid: Some(0), unit: unit.clone(), ..run(1, &[90, 40, 20, 1]) };
        let open = std::slice::from_ref(&of_root);
        let claims = Origin { attested: false, unit: unit.clone(), ..origin(&[95, 40, 20, 1]) };
        assert_eq!(joined(&place(None, &claims, open, ALIVE)), None);
        assert_eq!(joined(&place(Some(Command::CounterStop), &claims, open, ALIVE)), None);
        let root = Origin { uid: Some(0), ..claims.clone() };
        assert_eq!(joined(&place(None, &root, open, ALIVE)), Some(1));
        let by_the_kernel = Origin { attested: true, unit: None, ..claims };
        assert_eq!(joined(&place(None, &by_the_kernel, open, ALIVE)), Some(1), "as by sudo");
    }

    #[test]
    fn a_job_that_only_systemd_calls_is_found_by_its_unit() {
        let unit = Some("u".to_owned());
        let by_systemd = |pid| Origin { unit: unit.clone(), ..origin(&[pid, 1]) };
        let start = place(Some(Command::CounterStart), &by_systemd(90), &[], ALIVE);
        assert!(matches!(start, Placement::Open { correlation: Correlation::Unit, .. }), "{start:?}");
        let open = [OpenRun { unit: unit.clone(), ..run(1, &[90, 1]) }];
        assert_eq!(open[0].watched, None);
        let stop = place(Some(Command::CounterStop), &by_systemd(95), &open, GONE);
        assert_eq!(stop, Placement::Join { run: open[0].id, correlation: Correlation::Unit });
    }

    #[test]
    fn a_run_whose_owner_is_gone_no_longer_counts_as_open() {
        let gone = OpenRun { gone_us: Some(5), ..run(1, &[]) };
        assert_eq!(joined(&place(None, &origin(&[]), &[gone, run(2, &[])], ALIVE)), Some(2));
    }
}
