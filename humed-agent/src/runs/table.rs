//! The open runs of this host, and the decision which of them an event belongs to. Pure: ids, clocks and processes are handed in.
//!
//! [`RunTable::stamp`] turns a submission into the events to append; what ends a run without anybody saying so is an event
//! of its own and comes before the event that made it known. Nothing here survives a failed append: load anew then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hume_core::correlate::{OpenRun, Origin, Placement, Stopped, place};
use hume_core::event::{
    BootClock, Command, Draft, Event, EventFlag, EventKind, Finding, KeySource, OverlapWish, Process, RunRef,
};
use hume_core::name::BootId;
use hume_core::policy::{Overlap, Policies};
use hume_core::process::{Chain, ProcessRef};
use hume_core::watch::Expectation;
use hume_core::{ErrorClass, EventId, HostName, Level, RunId, TaskName, Timestamp};

use super::NotTaken;
use crate::spool::{OpenRunRow, RunChange};

/// Events still in flight when a process ends, or a run is stopped, may take this long.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// A verdict waits for the drop folder to be empty, but no longer than this.
const FOLDER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Runs that may be joined at once; with more, the one longest untouched is let go: nothing joins it any more, and nothing
/// is said of it, since it may go on.
pub(super) const OPEN_RUNS_MAX: usize = 10_000;
/// A run whose owner is gone can be joined for as long as its job goes on, and for this long.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// Who reported, in the kernel's word where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// pid, uid, user, script, unit.
    pub process: Process,
    /// Its ancestors; empty when they are not known.
    pub chain: Chain,
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall's.
    pub time: Timestamp,
    /// Microseconds since the machine was started, which no administrator can turn back.
    pub boot_us: u64,
}

/// A draft with all that the intake knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What was said.
    pub draft: Draft,
    /// Who said it.
    pub reporter: Reporter,
    /// When it came.
    pub received: Moment,
    /// The host it is about.
    pub host: HostName,
    /// A secret in it was hidden.
    pub redacted: bool,
}

/// What a submission becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// To be appended in this order; the last is the submitted one.
    pub events: Vec<Event>,
    /// The run of the submitted event.
    pub run: Option<RunId>,
    /// The event is kept, and this is answered all the same.
    pub refused: Option<NotTaken>,
}

/// Makes ids; a value, so that tests know them.
pub trait Mint {
    /// A new id of an event at this moment.
    fn event(&mut self, at: Timestamp) -> EventId;
    /// A new id of a run at this moment.
    fn run(&mut self, at: Timestamp) -> RunId;
}

/// What can be known of processes.
pub trait Processes {
    /// False only when it is certain that the process has ended.
    fn is_alive(&self, process: ProcessRef) -> bool;
    /// Those of its session that outlived it, in words, the first few.
    fn survivors(&self, process: ProcessRef) -> Vec<String>;
}

/// Whether the drop folder may still hold events of runs that look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Nothing waits in it.
    Empty,
    /// Something may.
    Waiting,
}

/// The runs of this host that may be joined, by task and host.
#[derive(Debug)]
pub struct RunTable {
    open: HashMap<(TaskName, HostName), Vec<OpenRun>>,
    policies: Arc<Policies>,
    boot: Option<BootId>,
    /// Until the first look around: when this host was last looked after.
    blind_since: Option<Timestamp>,
    /// Runs whose process was found ended, and when that was found.
    ended: HashMap<RunId, u64>,
    /// Runs that are not any more as they were when [`take_changes`](RunTable::take_changes) was last asked.
    changed: HashMap<RunId, (TaskName, HostName)>,
    /// Grows when the processes to be watched change.
    version: u64,
}

impl RunTable {
    /// The table of these rows, in this boot. `blind_since` is when an agent last looked after them.
    pub fn load(
        rows: Vec<OpenRunRow>,
        policies: Arc<Policies>,
        boot: Option<BootId>,
        blind_since: Option<Timestamp>,
    ) -> RunTable {
        let mut open: HashMap<(TaskName, HostName), Vec<OpenRun>> = HashMap::new();
        for row in rows {
            open.entry((row.task, row.host)).or_default().push(row.run);
        }
        RunTable {
            open,
            policies,
            boot,
            blind_since,
            ended: HashMap::new(),
            changed: HashMap::new(),
            version: 1,
        }
    }

    /// The same table with other rows, after these could not be written.
    pub fn reload(&mut self, rows: Vec<OpenRunRow>) {
        let blind_since = self.blind_since;
        let version = self.version + 1;
        *self = RunTable::load(rows, Arc::clone(&self.policies), self.boot, blind_since);
        self.version = version;
    }

    /// True when no run is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many runs may be joined.
    pub fn open_runs(&self) -> usize {
        self.open.values().map(Vec::len).sum()
    }

    /// Grows when [`watched`](Self::watched) answers something else than before.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The processes whose end ends a run.
    pub fn watched(&self) -> impl Iterator<Item = ProcessRef> {
        let runs = self.open.values().flatten();
        runs.filter(|run| run.stopped.is_none() && run.gone_us.is_none()).filter_map(|run| run.watched)
    }

    /// When to [`sweep`](Self::sweep) next, by the boot clock, if nothing else happens before.
    pub fn next_sweep_us(&self) -> Option<u64> {
        let due = |(task, run): (&TaskName, &OpenRun)| {
            let idle = || {
                let gap = self.policies.of(task).idle_gap?;
                Some(run.touched_us.saturating_add(micros(gap)))
            };
            if let Some(stopped) = run.stopped {
                return Some(stopped.seen_us.saturating_add(micros(LINGER)));
            }
            if let Some(gone_us) = run.gone_us {
                // Asked again later, if its job still goes on then.
                return Some(gone_us.max(run.touched_us).saturating_add(micros(FORGET_AFTER)));
            }
            if run.boot.zip(self.boot).is_some_and(|(of_run, own)| of_run != own) {
                return Some(0);
            }
            let ended = self.ended.get(&run.id).map(|seen_us| seen_us.saturating_add(micros(LINGER)));
            match (ended, run.implicit) {
                (Some(ended), _) => Some(ended),
                (None, true) => idle(),
                (None, false) => None,
            }
        };
        let runs = self.open.iter().flat_map(|((task, _), runs)| runs.iter().map(move |run| (task, run)));
        runs.filter_map(due).min()
    }

    /// What has changed about open runs since this was last asked: to be written with the events that changed it.
    pub fn take_changes(&mut self) -> Vec<RunChange> {
        let changed = std::mem::take(&mut self.changed);
        let change = |(id, place): (RunId, (TaskName, HostName))| {
            let runs = self.open.get(&place).map(Vec::as_slice).unwrap_or_default();
            match runs.iter().find(|run| run.id == id && run.stopped.is_none()) {
                Some(run) => {
                    let (task, host) = place;
                    RunChange::Put(Box::new(OpenRunRow { task, host, run: run.clone() }))
                }
                None => RunChange::Remove(id),
            }
        };
        changed.into_iter().map(change).collect()
    }

    /// Gives the submission its run.
    pub fn stamp(
        &mut self,
        submission: Submission,
        mint: &mut impl Mint,
        processes: &impl Processes,
    ) -> Stamped {
        let Submission { draft, reporter, received, host, redacted } = submission;
        let marks = [(draft.mangled, EventFlag::Mangled), (redacted, EventFlag::Redacted)];
        let mut flags: Vec<EventFlag> =
            marks.into_iter().filter_map(|(is, flag)| is.then_some(flag)).collect();
        let key = match &draft.key {
            Some(key) if key.task.as_ref().is_some_and(|task| *task != draft.task) => {
                // A draft with a foreign key from the flag was refused before it came here.
                debug_assert_eq!(key.source, KeySource::Environment);
                flags.push(EventFlag::KeyIgnored);
                None
            }
            Some(key) => Some(key.key.clone()),
            None => None,
        };
        if Expectation::is_all_of(&draft) {
            // Nothing ran: it is about the task, and in none of its runs.
            let mut event = event_of(draft, reporter.process, received.time, host, None, flags);
            event.kind = EventKind::System;
            let text = Expectation::text(&event.extra).unwrap_or_default();
            event.message = format!("this task is expected: {text}");
            return Stamped { events: vec![event], run: None, refused: None };
        }
        if draft.task.is_none() {
            let event = event_of(draft, reporter.process, received.time, host, None, flags);
            return Stamped { events: vec![event], run: None, refused: None };
        }
        let overlap = self.overlap(&draft);
        let origin = Origin {
            key,
            uid: reporter.process.uid,
            attested: !reporter.process.captured_by_cli,
            chain: reporter.chain,
            unit: reporter.process.unit.clone(),
            session: draft.caller.session,
            made_us: draft.caller.boot_clock.map(|clock| clock.micros),
        };
        let place_key = (draft.task.clone(), host.clone());
        let open = self.open.entry(place_key.clone()).or_default();
        let alive = |process| processes.is_alive(process);
        let (mut events, mut refused) = (Vec::with_capacity(1), None);
        let mut changed = |run: RunId| {
            self.changed.entry(run).or_insert_with(|| place_key.clone());
        };
        let run = match place(draft.command, &origin, open, overlap, alive) {
            Placement::Nowhere { flags: more } => {
                flags.extend(more);
                None
            }
            Placement::Refused { open: other } => {
                flags.push(EventFlag::OverlapRefused);
                let detail = format!("{} is still open: run {other}", draft.task.as_str());
                refused = Some(NotTaken { class: ErrorClass::Conflict, detail });
                None
            }
            Placement::Join { run, correlation } => {
                if draft.command == Some(Command::CounterStop) && is_run_by_another(open, run, &origin) {
                    flags.push(EventFlag::InnerStop);
                }
                if join(open, run, &draft, &origin, received) {
                    self.version += 1;
                }
                changed(run);
                Some(RunRef { id: run, correlation })
            }
            Placement::Open { correlation, implicit, flags: more, ends } => {
                flags.extend(more);
                self.version += 1;
                let id = mint.run(received.time);
                if let Some((ended, finding)) = ends {
                    open.retain(|run| run.id != ended);
                    changed(ended);
                    let told = Found { run: ended, task: &draft.task, host: &host };
                    events.push(told.event(finding, Told::now(received, self.boot), received.time, mint));
                }
                if draft.detach {
                    flags.push(EventFlag::Detached);
                }
                if draft.command != Some(Command::CounterStop) {
                    open.push(opened(id, implicit, &draft, origin, received, self.boot));
                    changed(id);
                }
                Some(RunRef { id, correlation })
            }
        };
        if open.is_empty() {
            self.open.remove(&place_key);
        }
        let id = run.map(|run| run.id);
        self.let_go();
        events.push(event_of(draft, reporter.process, received.time, host, run, flags));
        Stamped { events, run: id, refused }
    }

    /// Lets a run go when there are too many.
    fn let_go(&mut self) {
        if self.open_runs() <= OPEN_RUNS_MAX {
            return;
        }
        let all = self.open.iter().flat_map(|(place, runs)| runs.iter().map(move |run| (place, run)));
        let unstopped = all.filter(|(_, run)| run.stopped.is_none());
        let Some((place, run)) = unstopped.min_by_key(|(_, run)| run.touched_us) else { return };
        let (place, id) = (place.clone(), run.id);
        if let Some(runs) = self.open.get_mut(&place) {
            runs.retain(|run| run.id != id);
            if runs.is_empty() {
                self.open.remove(&place);
            }
        }
        self.changed.insert(id, place);
        self.version += 1;
    }

    /// What becomes of this start if another run is open. Only who can still decide not to go on is ever refused.
    fn overlap(&self, draft: &Draft) -> Overlap {
        match draft.overlap {
            Some(OverlapWish::Only(overlap)) => overlap,
            Some(OverlapWish::Policy) => self.policies.of(&draft.task).overlap,
            Some(OverlapWish::Begun) | None => match self.policies.of(&draft.task).overlap {
                Overlap::Allow => Overlap::Allow,
                Overlap::Warn | Overlap::Forbid => Overlap::Warn,
            },
        }
    }

    /// Ends what nobody will end: runs of an earlier boot, runs whose process has ended, implicit runs that are idle. While
    /// the drop folder may hold their events, nothing is said of them.
    pub fn sweep(
        &mut self,
        now: Moment,
        folder: Folder,
        mint: &mut impl Mint,
        processes: &impl Processes,
    ) -> Vec<Event> {
        let RunTable { open, policies, boot, blind_since, ended, changed, version } = self;
        let look = Look { now, folder, boot: *boot, blind_since: *blind_since, processes };
        let mut events = Vec::new();
        for ((task, host), runs) in &mut *open {
            let idle_gap = policies.of(task).idle_gap;
            let before = runs.len();
            runs.retain_mut(|run| {
                let told = Found { run: run.id, task, host };
                match look.verdict(run, idle_gap, ended) {
                    Verdict::Stay => true,
                    Verdict::Gone(told_at) => {
                        *version += 1;
                        run.gone_us = Some(now.boot_us);
                        events.push(told.event(Finding::ProcessGone, told_at, now.time, mint));
                        changed.insert(run.id, (task.clone(), host.clone()));
                        true
                    }
                    Verdict::End(finding, told_at) => {
                        events.push(told.event(finding, told_at, now.time, mint));
                        changed.insert(run.id, (task.clone(), host.clone()));
                        false
                    }
                    Verdict::Forget => {
                        changed.insert(run.id, (task.clone(), host.clone()));
                        false
                    }
                    // Its row went with the stop.
                    Verdict::Drop => false,
                }
            });
            if runs.len() != before {
                *version += 1;
            }
        }
        open.retain(|_, runs| !runs.is_empty());
        let waits = |id: &RunId| open.values().flatten().any(|run| run.id == *id && run.gone_us.is_none());
        ended.retain(|id, _| waits(id));
        if folder == Folder::Empty && ended.is_empty() {
            // From here on the end of a process is seen when it happens.
            *blind_since = None;
        }
        events
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One look around.
struct Look<'a, P> {
    now: Moment,
    folder: Folder,
    boot: Option<BootId>,
    blind_since: Option<Timestamp>,
    processes: &'a P,
}

enum Verdict {
    Stay,
    /// Aborted, but it may still be joined.
    Gone(Told),
    End(Finding, Told),
    /// Nobody will join it any more.
    Forget,
    /// It was stopped, and what was in flight has come.
    Drop,
}

impl<P: Processes> Look<'_, P> {
    fn verdict(&self, run: &OpenRun, idle_gap: Option<Duration>, ended: &mut HashMap<RunId, u64>) -> Verdict {
        let since = |earlier_us: u64| Duration::from_micros(self.now.boot_us.saturating_sub(earlier_us));
        if let Some(stopped) = run.stopped {
            return if since(stopped.seen_us) >= LINGER { Verdict::Drop } else { Verdict::Stay };
        }
        if run.boot.zip(self.boot).is_some_and(|(of_run, own)| of_run != own) {
            return match (run.gone_us, self.folder) {
                (Some(_), _) => Verdict::Forget,
                (None, Folder::Empty) => Verdict::End(Finding::Reboot, self.at_boot(run)),
                (None, Folder::Waiting) => Verdict::Stay,
            };
        }
        if let Some(gone_us) = run.gone_us {
            let job_goes_on = run.chain.job_root().is_some_and(|root| self.processes.is_alive(root));
            let is_old = since(gone_us) >= FORGET_AFTER;
            return if is_old && !job_goes_on { Verdict::Forget } else { Verdict::Stay };
        }
        let Some(process) = run.watched.filter(|process| !self.processes.is_alive(*process)) else {
            let is_idle = run.implicit && idle_gap.is_some_and(|gap| since(run.touched_us) >= gap);
            return if is_idle {
                Verdict::End(Finding::Idle, Told::now(self.now, self.boot))
            } else {
                Verdict::Stay
            };
        };
        let seen_us = *ended.entry(run.id).or_insert(self.now.boot_us);
        // What was in flight comes within the linger; what waits in the folder comes when it is read.
        let must_wait = self.folder == Folder::Waiting && since(seen_us) < FOLDER_WAIT_MAX;
        if since(seen_us) < LINGER || must_wait {
            return Verdict::Stay;
        }
        if run.implicit {
            return Verdict::End(Finding::JobEnded, self.when_seen(seen_us));
        }
        Verdict::Gone(Told {
            not_before: self.blind_since.map(|blind| blind.max(run.touched_at).min(self.now.time)),
            survivors: self.processes.survivors(process),
            ..self.when_seen(seen_us)
        })
    }

    /// An end that was noticed then, and is told only now.
    fn when_seen(&self, seen_us: u64) -> Told {
        let ago_us = i64::try_from(self.now.boot_us.saturating_sub(seen_us)).unwrap_or(i64::MAX);
        let seen = Moment { time: self.now.time.plus_micros(-ago_us), boot_us: seen_us };
        Told::now(seen, self.boot)
    }

    /// An end somewhere between the last sign of life and the start of the machine.
    fn at_boot(&self, run: &OpenRun) -> Told {
        let uptime_us = i64::try_from(self.now.boot_us).unwrap_or(i64::MAX);
        let not_before = self.blind_since.map_or(run.touched_at, |blind| blind.max(run.touched_at));
        let at = self.now.time.plus_micros(-uptime_us).max(not_before);
        Told { at, clock: None, not_before: Some(not_before), survivors: Vec::new() }
    }
}

fn opened(
    id: RunId,
    implicit: bool,
    draft: &Draft,
    origin: Origin,
    received: Moment,
    boot: Option<BootId>,
) -> OpenRun {
    // Who runs the job itself says what is to become of an overlap: its own end is the end.
    let is_runner = draft.overlap.is_some();
    let watched = if draft.detach || (origin.key.is_some() && !is_runner) {
        None
    } else if is_runner {
        runner(&origin)
    } else if implicit {
        origin.chain.job_root()
    } else {
        origin.chain.owner()
    };
    OpenRun {
        id,
        opened_us: received.boot_us,
        touched_us: received.boot_us,
        touched_at: received.time,
        boot: draft.caller.boot_clock.map(|clock| clock.boot).or(boot),
        key: origin.key,
        uid: origin.uid,
        chain: origin.chain,
        watched,
        unit: origin.unit,
        session: origin.session,
        implicit,
        paused: draft.command == Some(Command::CounterPause),
        gone_us: None,
        stopped: None,
    }
}

/// True when the job of this run is run by a process that is not the caller: that one will stop the run.
fn is_run_by_another(open: &[OpenRun], id: RunId, origin: &Origin) -> bool {
    let caller = origin.chain.links().first().map(|link| link.process);
    let runner = open.iter().find(|run| run.id == id && run.key.is_some()).and_then(|run| run.watched);
    runner.is_some_and(|runner| caller != Some(runner))
}

/// Adds an event to its run. True when that changes which processes are to be watched.
fn join(open: &mut [OpenRun], id: RunId, draft: &Draft, origin: &Origin, now: Moment) -> bool {
    let is_inner = is_run_by_another(open, id, origin);
    let Some(run) = open.iter_mut().find(|run| run.id == id) else { return false };
    if run.stopped.is_some() {
        return false;
    }
    run.touched_us = now.boot_us;
    run.touched_at = now.time;
    let was_gone = run.gone_us.take().is_some();
    if was_gone {
        // The run lives on in whoever still reports: his end is its end now.
        run.watched = origin.chain.owner().filter(|_| run.key.is_none());
    }
    match draft.command {
        Some(Command::CounterStop) if is_inner => {}
        Some(Command::CounterStop) => {
            run.stopped = Some(Stopped { seen_us: now.boot_us, made_us: origin.made_us });
            return true;
        }
        Some(Command::CounterPause) => run.paused = true,
        Some(Command::CounterStart) => {
            run.paused = false;
            run.implicit = false;
            if draft.overlap.is_some() {
                // Something from inside the job came before the start of what runs it.
                run.watched = runner(origin);
                return true;
            }
        }
        Some(Command::CounterReset) => run.paused = false,
        Some(Command::Flag) | None => {}
    }
    was_gone
}

/// Who runs the job itself.
fn runner(origin: &Origin) -> Option<ProcessRef> {
    origin.chain.links().first().map(|link| link.process)
}

/// A run about which something was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    run: RunId,
    task: &'a TaskName,
    host: &'a HostName,
}

/// When it happened, and what else is known.
struct Told {
    at: Timestamp,
    clock: Option<BootClock>,
    not_before: Option<Timestamp>,
    survivors: Vec<String>,
}

impl Told {
    fn now(now: Moment, boot: Option<BootId>) -> Told {
        let clock = boot.map(|boot| BootClock { boot, micros: now.boot_us });
        Told { at: now.time, clock, not_before: None, survivors: Vec::new() }
    }
}

impl Found<'_> {
    fn event(self, finding: Finding, told: Told, now: Timestamp, mint: &mut impl Mint) -> Event {
        let Found { run, task, host } = self;
        let Told { at, clock, not_before, survivors } = told;
        let (level, message) = match finding {
            Finding::Superseded => {
                (Level::Error, "the same script started the task again before it stopped it")
            }
            Finding::ProcessGone => {
                (Level::Error, "the process that started the run is gone and nobody stopped the run")
            }
            Finding::Reboot => (Level::Error, "the machine was started anew while the run was open"),
            Finding::Idle => (Level::Info, "nothing was added for the idle gap"),
            Finding::JobEnded => (Level::Info, "the job ended"),
            Finding::Started => (Level::Info, "the same script then started a run in words"),
            // What the clock of the master finds is not about the end of a run.
            Finding::Missed
            | Finding::NeverRan
            | Finding::Late
            | Finding::ReportedLate
            | Finding::Overdue
            | Finding::OverdueHard
            | Finding::NoSuccess
            | Finding::TooShort
            | Finding::TooSoon
            | Finding::Unreachable
            | Finding::Back
            | Finding::ManyLost
            | Finding::ManyBack => (Level::Info, finding.as_str()),
        };
        let mut draft = Draft::new(mint.event(now), task.clone());
        draft.time = Some(at);
        draft.caller.boot_clock = clock;
        draft.level = level;
        message.clone_into(&mut draft.message);
        if !survivors.is_empty() {
            draft.message = format!("{message}; still there: {}", survivors.join(", "));
        }
        // Only the run is told; how the event itself was placed does not matter.
        let run = RunRef { id: run, correlation: hume_core::event::Correlation::Explicit };
        let mut event = event_of(draft, Process::default(), now, host.clone(), Some(run), Vec::new());
        event.kind = EventKind::Run;
        event.finding = Some(finding);
        event.not_before = not_before;
        event
    }
}

fn event_of(
    draft: Draft,
    mut process: Process,
    received_at: Timestamp,
    host: HostName,
    run: Option<RunRef>,
    mut flags: Vec<EventFlag>,
) -> Event {
    flags.sort_unstable();
    flags.dedup();
    process.tree = draft.tree;
    Event {
        id: draft.id,
        kind: EventKind::Reported,
        time: draft.time.unwrap_or(received_at),
        received_at,
        boot_clock: draft.caller.boot_clock,
        host,
        task: draft.task,
        tags: draft.tags,
        level: draft.level,
        command: draft.command,
        flag: draft.flag,
        message: draft.message,
        truncated_from: draft.truncated_from,
        extra: draft.extra,
        exit: draft.exit,
        line: draft.line,
        process,
        run,
        finding: None,
        not_before: None,
        flags,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
