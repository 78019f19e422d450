//! The runs that are open on this host, and the decision which of them an event belongs to. Pure but for the ids it is given.
//!
//! [`RunTable::stamp`] turns a submission into the events to append; what ends a run without anybody saying so is an event
//! of its own and comes before the event that made it known. Nothing here survives a failed append: load anew then.

use std::collections::HashMap;

use hume_core::correlate::{OpenRun, Origin, Placement, place};
use hume_core::event::{Command, Draft, Event, EventFlag, EventKind, Finding, KeySource, Process, RunRef};
use hume_core::process::{Chain, ProcessRef};
use hume_core::{EventId, HostName, Level, RunId, TaskName, Timestamp};

use crate::spool::{OpenRunRow, RunChange};

/// Who reported, in the kernel's word where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// pid, uid, user, script, unit.
    pub process: Process,
    /// Its ancestors; empty when they are not known.
    pub chain: Chain,
}

/// A draft with all that the intake knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What was said.
    pub draft: Draft,
    /// Who said it.
    pub reporter: Reporter,
    /// When it came.
    pub received_at: Timestamp,
    /// The host it is about.
    pub host: HostName,
}

/// What a submission becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// To be appended in this order; the last is the submitted one.
    pub events: Vec<Event>,
    /// What this changes about open runs.
    pub changes: Vec<RunChange>,
    /// The run of the submitted event.
    pub run: Option<RunId>,
}

/// Makes ids; a value, so that tests know them.
pub trait Mint {
    /// A new id of an event at this moment.
    fn event(&mut self, at: Timestamp) -> EventId;
    /// A new id of a run at this moment.
    fn run(&mut self, at: Timestamp) -> RunId;
}

/// An implicit run ends when nothing was added for this long; a run whose owner is gone can be joined for as long.
pub(super) const IDLE_GAP_US: i64 = 10 * 60 * 1_000_000;

/// The open runs of this host, by task and host.
#[derive(Debug, Default)]
pub struct RunTable {
    open: HashMap<(TaskName, HostName), Vec<OpenRun>>,
}

impl RunTable {
    /// The table of these rows.
    pub fn load(rows: Vec<OpenRunRow>) -> RunTable {
        let mut table = RunTable::default();
        for row in rows {
            table.open.entry((row.task, row.host)).or_default().push(row.run);
        }
        table
    }

    /// True when no run is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Gives the submission its run. `alive` tells whether a process still exists.
    pub fn stamp(
        &mut self,
        submission: Submission,
        mint: &mut impl Mint,
        alive: impl Fn(ProcessRef) -> bool,
    ) -> Stamped {
        let Submission { draft, reporter, received_at, host } = submission;
        let mut flags = if draft.mangled { vec![EventFlag::Mangled] } else { Vec::new() };
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
        if draft.task.is_none() {
            let event = event_of(draft, reporter.process, received_at, host, None, flags);
            return Stamped { events: vec![event], changes: Vec::new(), run: None };
        }
        let origin = Origin {
            key,
            uid: reporter.process.uid,
            chain: reporter.chain,
            unit: reporter.process.unit.clone(),
        };
        let place_key = (draft.task.clone(), host.clone());
        let open = self.open.entry(place_key.clone()).or_default();
        let mut events = Vec::new();
        let mut changes = Vec::new();
        let run = match place(draft.command, &origin, open, alive) {
            Placement::Nowhere { flags: more } => {
                flags.extend(more);
                None
            }
            Placement::Join { run, correlation } => {
                join(open, run, draft.command, received_at);
                changes.push(change_of(open, run, &place_key));
                Some(RunRef { id: run, correlation })
            }
            Placement::Open { correlation, implicit, flags: more, ends } => {
                flags.extend(more);
                let id = mint.run(received_at);
                if let Some((ended, finding)) = ends {
                    open.retain(|run| run.id != ended);
                    changes.push(RunChange::Remove(ended));
                    let told = Found { run: ended, finding, task: &draft.task, host: &host };
                    events.push(finding_event(told, received_at, mint));
                }
                if draft.command != Some(Command::CounterStop) {
                    open.push(OpenRun {
                        id,
                        opened_at: received_at,
                        touched_at: received_at,
                        key: origin.key,
                        uid: origin.uid,
                        chain: origin.chain,
                        unit: origin.unit,
                        implicit,
                        paused: draft.command == Some(Command::CounterPause),
                        gone_at: None,
                    });
                    changes.push(change_of(open, id, &place_key));
                }
                Some(RunRef { id, correlation })
            }
        };
        if open.is_empty() {
            self.open.remove(&place_key);
        }
        let id = run.map(|run| run.id);
        events.push(event_of(draft, reporter.process, received_at, host, run, flags));
        Stamped { events, changes, run: id }
    }

    /// Ends what nobody will end: implicit runs that are idle or whose job ended, and runs whose owner is gone.
    pub fn sweep(
        &mut self,
        now: Timestamp,
        mint: &mut impl Mint,
        alive: impl Fn(ProcessRef) -> bool,
    ) -> (Vec<Event>, Vec<RunChange>) {
        self.end_by(now, mint, |run| {
            let idle = now.micros_since(run.touched_at) >= IDLE_GAP_US;
            let ended = |process: Option<ProcessRef>| process.is_some_and(|process| !alive(process));
            if let Some(gone_at) = run.gone_at {
                return if now.micros_since(gone_at) >= IDLE_GAP_US {
                    Verdict::Forget
                } else {
                    Verdict::Stay
                };
            }
            if run.implicit && idle {
                Verdict::End(Finding::Idle)
            } else if run.implicit && ended(run.chain.job_root()) {
                Verdict::End(Finding::JobEnded)
            } else if !run.implicit
                && ended(run.chain.owner())
                && now.micros_since(run.touched_at) >= LINGER_US
            {
                Verdict::Gone
            } else {
                Verdict::Stay
            }
        })
    }

    /// Ends every run: the machine was started anew.
    pub fn reboot(&mut self, now: Timestamp, mint: &mut impl Mint) -> (Vec<Event>, Vec<RunChange>) {
        self.end_by(now, mint, |run| {
            if run.gone_at.is_some() { Verdict::Forget } else { Verdict::End(Finding::Reboot) }
        })
    }

    fn end_by(
        &mut self,
        now: Timestamp,
        mint: &mut impl Mint,
        verdict: impl Fn(&OpenRun) -> Verdict,
    ) -> (Vec<Event>, Vec<RunChange>) {
        let mut events = Vec::new();
        let mut changes = Vec::new();
        for ((task, host), runs) in &mut self.open {
            runs.retain_mut(|run| {
                let mut found = |finding| {
                    events.push(finding_event(Found { run: run.id, finding, task, host }, now, mint));
                };
                match verdict(run) {
                    Verdict::Stay => true,
                    Verdict::Gone => {
                        found(Finding::ProcessGone);
                        run.gone_at = Some(now);
                        let row = OpenRunRow { task: task.clone(), host: host.clone(), run: run.clone() };
                        changes.push(RunChange::Put(Box::new(row)));
                        true
                    }
                    Verdict::End(finding) => {
                        found(finding);
                        changes.push(RunChange::Remove(run.id));
                        false
                    }
                    Verdict::Forget => {
                        changes.push(RunChange::Remove(run.id));
                        false
                    }
                }
            });
        }
        self.open.retain(|_, runs| !runs.is_empty());
        (events, changes)
    }
}

/// Events still in flight when an owner ends may take this long.
const LINGER_US: i64 = 500_000;

enum Verdict {
    Stay,
    Gone,
    End(Finding),
    Forget,
}

fn join(open: &mut Vec<OpenRun>, id: RunId, command: Option<Command>, now: Timestamp) {
    if command == Some(Command::CounterStop) {
        open.retain(|run| run.id != id);
        return;
    }
    if let Some(run) = open.iter_mut().find(|run| run.id == id) {
        run.touched_at = now;
        run.gone_at = None;
        match command {
            Some(Command::CounterPause) => run.paused = true,
            Some(Command::CounterStart | Command::CounterReset) => run.paused = false,
            Some(Command::CounterStop | Command::Flag) | None => {}
        }
    }
}

fn change_of(open: &[OpenRun], id: RunId, (task, host): &(TaskName, HostName)) -> RunChange {
    match open.iter().find(|run| run.id == id) {
        Some(run) => {
            RunChange::Put(Box::new(OpenRunRow { task: task.clone(), host: host.clone(), run: run.clone() }))
        }
        None => RunChange::Remove(id),
    }
}

#[derive(Clone, Copy)]
struct Found<'a> {
    run: RunId,
    finding: Finding,
    task: &'a TaskName,
    host: &'a HostName,
}

fn finding_event(found: Found<'_>, now: Timestamp, mint: &mut impl Mint) -> Event {
    let Found { run, finding, task, host } = found;
    let (level, message) = match finding {
        Finding::Superseded => (Level::Error, "the same script started the task again before it stopped it"),
        Finding::ProcessGone => {
            (Level::Error, "the process that started the run is gone and nobody stopped the run")
        }
        Finding::Reboot => (Level::Error, "the machine was started anew while the run was open"),
        Finding::Idle => (Level::Info, "nothing was added for ten minutes"),
        Finding::JobEnded => (Level::Info, "the job ended"),
        Finding::Started => (Level::Info, "the same script then started a run in words"),
    };
    let mut draft = Draft::new(mint.event(now), task.clone());
    draft.level = level;
    message.clone_into(&mut draft.message);
    // Only the run is told; how the event itself was placed does not matter.
    let run = RunRef { id: run, correlation: hume_core::event::Correlation::Explicit };
    let mut event = event_of(draft, Process::default(), now, host.clone(), Some(run), Vec::new());
    event.kind = EventKind::Run;
    event.finding = Some(finding);
    event
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
