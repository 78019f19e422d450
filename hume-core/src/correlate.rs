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

    /// True when it may join this run by its key: it is of the run's user, or the kernel says that it descends from the run,
    /// as what a job does under another user's name.
    fn may_join_by_key(&self, run: &OpenRun) -> bool {
        let owner = run.watched.or_else(|| run.chain.owner());
        self.may_claim(run) || (self.attested && owner.is_some_and(|owner| self.chain.contains(owner)))
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
/// `overlap` says what becomes of a start while another run is open. `alive` tells whether a process still exists: an event
/// is kept out of a living sibling's run, and a run whose process is gone overlaps nothing, whether or not that was told.
pub fn place(
    command: Option<Command>,
    origin: &Origin,
    open: &[OpenRun],
    overlap: Overlap,
    alive: impl Fn(ProcessRef) -> bool,
) -> Placement {
    let opening = Opening { command, origin, open, overlap, alive: &alive };
    if let Some(key) = &origin.key {
        return place_by_key(&opening, key);
    }
    match command {
        Some(Command::CounterStart) => place_start(&opening),
        Some(Command::CounterStop) => place_stop(&opening),
        Some(Command::CounterPause | Command::CounterReset | Command::Flag) | None => {
            match find(origin, open, Elder::Last, &alive) {
                Some((run, correlation)) => Placement::Join { run: run.id, correlation },
                None => opening.placement(Correlation::Implicit, None),
            }
        }
    }
}

/// What still comes of an ended run belongs to it; whoever starts anew by the same key has a new run.
fn place_by_key(opening: &Opening<'_>, key: &RunKey) -> Placement {
    let Opening { command, origin, open, alive, .. } = opening;
    let is_start = *command == Some(Command::CounterStart);
    let mut same = open.iter().filter(|run| run.key.as_ref() == Some(key) && origin.may_join_by_key(run));
    let is_anew = is_start && origin.attested;
    let goes_on = |run: &&OpenRun| run.is_open() && !(is_anew && has_lost_its_process(run, alive));
    let found = same.clone().find(goes_on).or_else(|| same.next_back().filter(|_| !is_start));
    match found {
        Some(run) => Placement::Join { run: run.id, correlation: Correlation::Explicit },
        None => opening.placement(Correlation::Explicit, None),
    }
}

/// True when the end of this run is certain, though nothing may have been said of it yet.
fn has_lost_its_process(run: &OpenRun, alive: &dyn Fn(ProcessRef) -> bool) -> bool {
    run.watched.is_some_and(|process| !alive(process))
}

/// Of runs that are as near to a caller as each other, which is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elder {
    /// The one that started last.
    Last,
    /// The one that started first, for a stop by none of their owners.
    First,
}

/// Runs the rules 2 to 4; the deepest ancestor wins, then the start says which.
fn find<'a>(
    origin: &Origin,
    open: &'a [OpenRun],
    elder: Elder,
    alive: &dyn Fn(ProcessRef) -> bool,
) -> Option<(&'a OpenRun, Correlation)> {
    let akin = by_ancestry(origin, open, elder, alive);
    if let Some(run) = akin.or_else(|| by_session(origin, open, alive)) {
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
    elder: Elder,
    alive: &dyn Fn(ProcessRef) -> bool,
) -> Option<&'a OpenRun> {
    let caller_owner = origin.chain.owner();
    let kinship_of = |run: &OpenRun| {
        let owner = run.chain.owner()?;
        Some(if origin.chain.contains(owner) {
            Kinship::Descendant
        } else if caller_owner.is_some_and(|own| run.chain.contains(own)) {
            Kinship::Parent
        } else {
            Kinship::Sibling
        })
    };
    let may_be_joined = |run: &&OpenRun| match run.stopped {
        None => true,
        // Made before the stop, and overtaken by it.
        Some(Stopped { made_us, .. }) => origin.made_us.zip(made_us).is_some_and(|(own, stop)| own < stop),
    };
    let akin = |run: &'a OpenRun| Some((kinship_of(run)?, origin.chain.deepest_common(&run.chain)?, run));
    let mut candidates: Vec<(Kinship, usize, &OpenRun)> = open
        .iter()
        .filter(|run| origin.attested || origin.may_claim(run))
        .filter(may_be_joined)
        .filter_map(akin)
        .collect();
    // Whether a sibling lives is asked only where the answer can matter: it costs a look at the system.
    let settles = |(kinship, _, run): &(Kinship, usize, &OpenRun)| match kinship {
        Kinship::Descendant => run.stopped.is_none(),
        Kinship::Parent => run.stopped.is_none() && elder == Elder::Last,
        Kinship::Sibling => false,
    };
    let is_settled = candidates.iter().any(settles);
    candidates.retain(|(kinship, _, run)| {
        *kinship != Kinship::Sibling || (!is_settled && run.chain.owner().is_some_and(|owner| !alive(owner)))
    });
    let nearest = candidates.into_iter().max_by_key(|(kinship, depth, run)| {
        let unstopped = run.stopped.is_none();
        // A smaller index is a deeper process.
        let nearest = (*kinship, i64::try_from(*depth).map_or(i64::MIN, |depth| -depth), run.opened_us);
        let oldest = (Kinship::Sibling, i64::try_from(run.opened_us).map_or(i64::MIN, |us| -us), 0);
        match (elder, kinship) {
            (Elder::Last, _) => (unstopped, false, nearest),
            (Elder::First, Kinship::Descendant) => (unstopped, true, nearest),
            (Elder::First, Kinship::Parent | Kinship::Sibling) => (unstopped, false, oldest),
        }
    });
    nearest.map(|(.., run)| run)
}

/// What outlives its parent hangs under the first process, and only its session still tells whose it was: the one run
/// of that session whose owner is gone.
fn by_session<'a>(
    origin: &Origin,
    open: &'a [OpenRun],
    alive: &dyn Fn(ProcessRef) -> bool,
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

fn place_stop(opening: &Opening<'_>) -> Placement {
    let Opening { origin, open, alive, .. } = opening;
    let unstopped: Vec<OpenRun> = open.iter().filter(|run| run.stopped.is_none()).cloned().collect();
    if let Some((run, correlation)) = find(origin, &unstopped, Elder::First, alive) {
        return Placement::Join { run: run.id, correlation };
    }
    // A stranger's stop wakes no run that was found dead.
    let still_open: Vec<&OpenRun> = unstopped.iter().filter(|run| run.is_open()).collect();
    match &still_open[..] {
        [] => opening.placement(Correlation::Implicit, None),
        [only] if origin.may_claim(only) => {
            Placement::Join { run: only.id, correlation: Correlation::OnlyOpen }
        }
        [_] => Placement::Nowhere { flags: vec![EventFlag::UnmatchedStop] },
        // From a stranger: the oldest run that shares any ancestor with it, else none.
        [_, _, ..] => still_open
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
    alive: &'a dyn Fn(ProcessRef) -> bool,
}

impl Opening<'_> {
    fn placement(&self, correlation: Correlation, ends: Option<(RunId, Finding)>) -> Placement {
        let Opening { command, origin, open, overlap, alive } = self;
        debug_assert!(correlation != Correlation::Explicit || origin.key.is_some());
        let is_start = *command == Some(Command::CounterStart);
        let implicit = !is_start;
        let other = open
            .iter()
            .find(|run| !run.implicit && run.is_open() && ends.is_none_or(|(id, _)| id != run.id))
            // What is read from the drop folder happened when they were all alive.
            .filter(|run| !(origin.attested && has_lost_its_process(run, *alive)))
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
#[path = "correlate_tests.rs"]
mod tests;
