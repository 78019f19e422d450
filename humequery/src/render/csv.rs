//! A header line, then one item a line (RFC 4180). Lists inside a cell: tags by comma, flags by comma, extra as JSON.
//!
//! The data stay true: control characters are kept, except at a terminal, and a cell that starts with `=`, `+`, `-` or `@`
//! is not disarmed, because a script that reads it back would see something else. Runs are one line each, without their
//! events.

use std::io::{self, Write};

use csv::Writer;
use hume_proto::rest::{
    AgentJson, AuditJson, EventJson, ExitJson, HostJson, RunJson, SlotJson, TaskJson, WatchJson,
};

use super::format::Format;
use super::text::clean;
use crate::answer::Answer;
use crate::ask::Pages;
use crate::diff::{Change, RunDiff};
use crate::timeline::{Mark, Timeline};

/// `--format csv`.
#[derive(Debug)]
pub struct Csv {
    header_written: bool,
    at_terminal: bool,
}

impl Format for Csv {
    fn pages(&self) -> Pages {
        Pages::AsTheyCome
    }

    fn write(&mut self, answer: &Answer, to: &mut dyn Write) -> io::Result<()> {
        match answer {
            Answer::Events(list) => self.rows(&EVENT, list.events.iter().map(event), to),
            Answer::Runs(list) => self.rows(&RUN, list.runs.iter().map(run), to),
            Answer::Latest(list) => self.rows(&RUN, list.runs.iter().map(run), to),
            Answer::Fleet(report) => {
                self.rows(&RUN, report.tasks.iter().flat_map(|task| &task.runs).map(run), to)
            }
            Answer::Timeline(list) => {
                let marks = list.runs.iter().flat_map(|line| line.marks.iter().map(move |mark| (line, mark)));
                self.rows(&MARK, marks.map(|(line, mark)| mark_cells(line, mark)), to)
            }
            Answer::Diff(list) => {
                let changes =
                    list.diffs.iter().flat_map(|diff| diff.changes.iter().map(move |change| (diff, change)));
                self.rows(&CHANGE, changes.map(|(diff, change)| change_cells(diff, change)), to)
            }
            Answer::Count(count) => writeln!(to, "{}", count.count),
            Answer::Tasks(list) => self.rows(&TASK, list.tasks.iter().map(task), to),
            Answer::Hosts(list) => self.rows(&HOST, list.hosts.iter().map(host), to),
            Answer::Agents(list) => self.rows(&AGENT, list.agents.iter().map(agent), to),
            Answer::Watches(list) => self.rows(&WATCH, list.watches.iter().map(watch), to),
            Answer::Slots(list) => self.rows(&SLOT, list.slots.iter().map(slot), to),
            Answer::Audit(list) => self.rows(&AUDIT, list.lines.iter().map(audit), to),
            Answer::Status(report) => {
                let queued: u64 = report.agents.iter().map(|agent| agent.queued_events).sum();
                let row = [
                    match report.source.kind {
                        hume_proto::rest::SourceKind::Master => "master".to_owned(),
                        hume_proto::rest::SourceKind::Agent => "agent".to_owned(),
                    },
                    report.source.name.clone(),
                    report.version.clone(),
                    report.started_at.to_string(),
                    report.state.clone(),
                    report.events.to_string(),
                    report.store_bytes.to_string(),
                    report.agents.len().to_string(),
                    queued.to_string(),
                ];
                self.rows(&STATUS, [row].into_iter(), to)
            }
        }
    }
}

impl Csv {
    /// For a terminal, or for a program that reads it.
    pub fn new(at_terminal: bool) -> Csv {
        Csv { header_written: false, at_terminal }
    }

    fn rows<const N: usize>(
        &mut self,
        header: &[&str; N],
        rows: impl Iterator<Item = [String; N]>,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let mut writer = Writer::from_writer(to);
        if !self.header_written {
            writer.write_record(header).map_err(as_io)?;
            self.header_written = true;
        }
        for row in rows {
            let shown = if self.at_terminal { row.map(|cell| clean(&cell)) } else { row };
            writer.write_record(shown).map_err(as_io)?;
        }
        writer.flush()
    }
}

/// The cause as it is: a reader that hung up must stay recognisable.
fn as_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

const EVENT: [&str; 33] = [
    "id",
    "kind",
    "task",
    "host",
    "agent",
    "epoch",
    "seq",
    "run",
    "time",
    "received_at",
    "arrived_at",
    "level",
    "command",
    "flag",
    "message",
    "truncated_from",
    "tags",
    "extra",
    "exit_code",
    "exit_signal",
    "user",
    "uid",
    "pid",
    "script",
    "line",
    "unit",
    "tree",
    "correlation",
    "reason",
    "flags",
    "captured_by",
    "boot",
    "boottime_us",
];

fn event(event: &EventJson) -> [String; 33] {
    let EventJson {
        id,
        kind,
        task,
        host,
        agent,
        epoch,
        seq,
        run,
        time,
        received_at,
        arrived_at,
        level,
        command,
        flag,
        message,
        truncated_from,
        tags,
        extra,
        exit,
        user,
        uid,
        pid,
        script,
        line,
        unit,
        tree,
        correlation,
        reason,
        flags,
        captured_by,
        boot,
        boottime_us,
    } = event;
    let (exit_code, exit_signal) = exit_cells(*exit);
    [
        id.to_string(),
        kind.clone(),
        task.clone(),
        host.clone(),
        cell(agent.as_ref()),
        epoch.clone(),
        seq.to_string(),
        cell(run.as_ref()),
        time.to_string(),
        received_at.to_string(),
        cell(arrived_at.as_ref()),
        level.clone(),
        cell(command.as_ref()),
        cell(flag.as_ref()),
        message.clone(),
        cell(truncated_from.as_ref()),
        tags.join(","),
        if extra.is_empty() { String::new() } else { serde_json::to_string(extra).unwrap_or_default() },
        exit_code,
        exit_signal,
        cell(user.as_ref()),
        cell(uid.as_ref()),
        cell(pid.as_ref()),
        cell(script.as_ref()),
        cell(line.as_ref()),
        cell(unit.as_ref()),
        cell(tree.as_ref()),
        cell(correlation.as_ref()),
        cell(reason.as_ref()),
        flags.join(","),
        cell(captured_by.as_ref()),
        cell(boot.as_ref()),
        cell(boottime_us.as_ref()),
    ]
}

const RUN: [&str; 29] = [
    "id",
    "task",
    "host",
    "agent",
    "phase",
    "status",
    "outcome",
    "reason",
    "severity",
    "flags",
    "correlation",
    "started_at",
    "ended_at",
    "duration_ms",
    "active_ms",
    "paused_ms",
    "exit_code",
    "exit_signal",
    "complete",
    "events",
    "debug",
    "info",
    "ok",
    "warning",
    "error",
    "critical",
    "unknown",
    "first_error_at",
    "first_error",
];

fn run(run: &RunJson) -> [String; 29] {
    let by_level = &run.summary.by_level;
    let first_error = run.summary.first_error.as_ref();
    let (exit_code, exit_signal) = exit_cells(run.exit);
    [
        run.id.to_string(),
        run.task.clone(),
        run.host.clone(),
        cell(run.agent.as_ref()),
        run.phase.clone(),
        run.status.clone(),
        cell(run.outcome.as_ref()),
        cell(run.reason.as_ref()),
        run.severity.to_string(),
        run.flags.join(","),
        run.correlation.clone(),
        run.started_at.to_string(),
        cell(run.ended_at.as_ref()),
        run.duration_ms.to_string(),
        run.active_ms.to_string(),
        run.paused_ms.to_string(),
        exit_code,
        exit_signal,
        run.complete.to_string(),
        run.summary.events.to_string(),
        by_level.debug.to_string(),
        by_level.info.to_string(),
        by_level.ok.to_string(),
        by_level.warning.to_string(),
        by_level.error.to_string(),
        by_level.critical.to_string(),
        by_level.unknown.to_string(),
        cell(first_error.map(|error| error.time).as_ref()),
        first_error.map(|error| error.message.clone()).unwrap_or_default(),
    ]
}

const MARK: [&str; 10] =
    ["run", "task", "host", "offset_ms", "time", "kind", "level", "flag", "message", "event"];

fn mark_cells(line: &Timeline, mark: &Mark) -> [String; 10] {
    let Mark { offset_ms, time, kind, level, flag, message, event } = mark;
    [
        line.run.to_string(),
        line.task.clone(),
        line.host.clone(),
        offset_ms.to_string(),
        time.to_string(),
        kind.as_str().to_owned(),
        level.clone(),
        cell(flag.as_ref()),
        message.clone(),
        event.to_string(),
    ]
}

const CHANGE: [&str; 9] =
    ["task", "host", "latest", "last_ok", "only_in", "time", "level", "message", "event"];

fn change_cells(diff: &RunDiff, change: &Change) -> [String; 9] {
    let Change { only_in, event } = change;
    [
        diff.latest.task.clone(),
        diff.latest.host.clone(),
        diff.latest.id.to_string(),
        cell(diff.last_ok.as_ref().map(|run| run.id).as_ref()),
        only_in.as_str().to_owned(),
        event.time.to_string(),
        event.level.clone(),
        event.message.clone(),
        event.id.to_string(),
    ]
}

const TASK: [&str; 9] =
    ["task", "host", "run", "status", "severity", "started_at", "ended_at", "duration_ms", "errors"];

fn task(task: &TaskJson) -> [String; 9] {
    let TaskJson { task, host, run, status, severity, started_at, ended_at, duration_ms, errors } = task;
    [
        task.clone(),
        host.clone(),
        run.to_string(),
        status.clone(),
        severity.to_string(),
        started_at.to_string(),
        cell(ended_at.as_ref()),
        duration_ms.to_string(),
        errors.to_string(),
    ]
}

const HOST: [&str; 6] = ["host", "agent", "state", "last_seen", "tasks", "events"];

fn host(host: &HostJson) -> [String; 6] {
    let HostJson { host, agent, state, last_seen, tasks, events } = host;
    [
        host.clone(),
        cell(agent.as_ref()),
        state.clone(),
        cell(last_seen.as_ref()),
        tasks.to_string(),
        events.to_string(),
    ]
}

const WATCH: [&str; 5] = ["name", "task", "schedule", "hosts", "next_at"];

fn watch(watch: &WatchJson) -> [String; 5] {
    let WatchJson { name, task, schedule, hosts, next_at } = watch;
    [name.clone(), task.clone(), schedule.clone(), hosts.to_string(), cell(next_at.as_ref())]
}

const SLOT: [&str; 11] = [
    "watch",
    "host",
    "at",
    "due",
    "state",
    "reason",
    "run",
    "started_at",
    "ended_at",
    "reported_late",
    "overdue",
];

fn slot(slot: &SlotJson) -> [String; 11] {
    let SlotJson { watch, host, at, due, state, reason, run, started_at, ended_at, reported_late, overdue } =
        slot;
    [
        watch.clone(),
        host.clone(),
        at.to_string(),
        due.to_string(),
        state.clone(),
        cell(reason.as_ref()),
        cell(run.as_ref()),
        cell(started_at.as_ref()),
        cell(ended_at.as_ref()),
        reported_late.to_string(),
        overdue.to_string(),
    ]
}

const AUDIT: [&str; 8] = ["number", "time", "actor", "address", "action", "subject", "detail", "outcome"];

fn audit(line: &AuditJson) -> [String; 8] {
    let AuditJson { number, time, actor, address, action, subject, detail, outcome } = line.clone();
    [number.to_string(), time.to_string(), actor, address, action, subject, detail, outcome]
}

const AGENT: [&str; 15] = [
    "host",
    "agent",
    "state",
    "since",
    "last_seen",
    "version",
    "address",
    "certificate_expires_at",
    "queued_events",
    "queued_since",
    "acked_events",
    "lost_events",
    "refused_events",
    "last_error",
    "last_error_at",
];

fn agent(agent: &AgentJson) -> [String; 15] {
    let AgentJson {
        agent,
        host,
        state,
        since,
        last_seen,
        version,
        address,
        certificate_expires_at,
        queued_events,
        queued_since,
        acked_events,
        lost_events,
        refused_events,
        last_error,
        last_error_at,
    } = agent;
    [
        host.clone(),
        cell(agent.as_ref()),
        state.clone(),
        cell(since.as_ref()),
        cell(last_seen.as_ref()),
        cell(version.as_ref()),
        cell(address.as_ref()),
        cell(certificate_expires_at.as_ref()),
        queued_events.to_string(),
        cell(queued_since.as_ref()),
        acked_events.to_string(),
        lost_events.to_string(),
        refused_events.to_string(),
        cell(last_error.as_ref()),
        cell(last_error_at.as_ref()),
    ]
}

const STATUS: [&str; 9] = [
    "source_kind",
    "source_name",
    "version",
    "started_at",
    "state",
    "events",
    "store_bytes",
    "agents",
    "queued_events",
];

/// Empty for what is not known.
fn cell<T: ToString>(value: Option<&T>) -> String {
    value.map(T::to_string).unwrap_or_default()
}

fn exit_cells(exit: Option<ExitJson>) -> (String, String) {
    match exit {
        Some(ExitJson { code, signal }) => (cell(code.as_ref()), cell(signal.as_ref())),
        None => (String::new(), String::new()),
    }
}
