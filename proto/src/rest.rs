//! The JSON of `/api/v1`, the same on master and agent.
//!
//! Absent is `null`, never missing. Times are RFC 3339 UTC with microseconds. Additions are not breaking.
//!
//! | path | parameters | answer |
//! |---|---|---|
//! | `/api/v1/events` | [`EventQuery`] | [`EventList`], or [`Count`] with `count=true` |
//! | `/api/v1/runs` | [`RunQuery`] | [`RunList`], or [`Count`] with `count=true` |
//! | `/api/v1/latest` | [`RunQuery`] | [`RunList`]: one run per (task, host) |
//! | `/api/v1/tasks` | | [`TaskList`] |
//! | `/api/v1/hosts` | | [`HostList`] |
//! | `/api/v1/agents` | | [`AgentList`] |
//! | `/api/v1/status` | | [`StatusReport`] |
//!
//! Failures are `application/problem+json`: [`Problem`].

use std::time::Duration;

use hume_core::event::Exit;
use hume_core::policy::RunPolicy;
use hume_core::run::{Now, RunState};
use hume_core::status::{Circumstances, judge};
use hume_core::{AgentId, Epoch, ErrorClass, EventId, Level, RunId, StoredEvent, Timestamp};
use serde::{Deserialize, Serialize};

use crate::intake::Pairs;

mod query;
pub use query::{EventQuery, RunQuery, page_items};

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Master or agent.
    pub kind: SourceKind,
    /// Name of the machine that answers.
    pub name: String,
}

/// What kind of daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// `humed-master`
    Master,
    /// `humed-agent`
    Agent,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventJson {
    /// Who it is.
    pub id: EventId,
    /// `reported`, `run`, `watchdog`, `host`, `system`.
    pub kind: String,
    /// Empty for a plain note.
    pub task: String,
    /// Where it happened.
    pub host: String,
    /// The agent that keeps it.
    pub agent: Option<AgentId>,
    /// Sequence space, 32 hexadecimal digits.
    pub epoch: String,
    /// Place in it.
    pub seq: u64,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// When it happened.
    pub time: Timestamp,
    /// When the agent received it.
    pub received_at: Timestamp,
    /// When the master stored it.
    pub arrived_at: Option<Timestamp>,
    /// One of the seven levels.
    pub level: String,
    /// What it does to its run.
    pub command: Option<String>,
    /// The mark it sets.
    pub flag: Option<String>,
    /// Text.
    pub message: String,
    /// True length of a text that was cut, in bytes.
    pub truncated_from: Option<u64>,
    /// Labels.
    pub tags: Vec<String>,
    /// More facts.
    pub extra: Pairs,
    /// How the job ended.
    pub exit: Option<ExitJson>,
    /// User name.
    pub user: Option<String>,
    /// User id.
    pub uid: Option<u32>,
    /// Process id.
    pub pid: Option<u32>,
    /// Script path.
    pub script: Option<String>,
    /// Line of the script.
    pub line: Option<u32>,
    /// systemd's invocation id.
    pub unit: Option<String>,
    /// Process tree.
    pub tree: Option<String>,
    /// How the run was found.
    pub correlation: Option<String>,
    /// What ended the run, for kind `run`.
    pub reason: Option<String>,
    /// `mangled`, `overlapped`, `unmatched_stop`, `key_ignored`, `detached`, `overlap_refused`.
    pub flags: Vec<String>,
}

/// How a job ended: one of the two is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitJson {
    /// Code it returned.
    pub code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
}

impl From<Exit> for ExitJson {
    fn from(exit: Exit) -> ExitJson {
        match exit {
            Exit::Code(code) => ExitJson { code: Some(code), signal: None },
            Exit::Signal(signal) => ExitJson { code: None, signal: Some(signal) },
        }
    }
}

/// 32 hexadecimal digits.
pub fn epoch_text(epoch: Epoch) -> String {
    uuid::Uuid::from_bytes(*epoch.as_bytes()).simple().to_string()
}

impl From<&StoredEvent> for EventJson {
    fn from(stored: &StoredEvent) -> EventJson {
        let StoredEvent { position, arrived_at, event } = stored;
        let process = &event.process;
        EventJson {
            id: event.id,
            kind: event.kind.as_str().to_owned(),
            task: event.task.as_str().to_owned(),
            host: event.host.as_str().to_owned(),
            agent: position.agent,
            epoch: epoch_text(position.epoch),
            seq: position.seq.get(),
            run: event.run.map(|run| run.id),
            time: event.time,
            received_at: event.received_at,
            arrived_at: *arrived_at,
            level: event.level.as_str().to_owned(),
            command: event.command.map(|command| command.as_str().to_owned()),
            flag: event.flag.as_ref().map(|flag| flag.as_str().to_owned()),
            message: event.message.clone(),
            truncated_from: event.truncated_from,
            tags: event.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            extra: Pairs(event.extra.clone()),
            exit: event.exit.map(ExitJson::from),
            user: process.user.clone(),
            uid: process.uid,
            pid: process.pid,
            script: process.script.clone(),
            line: event.line,
            unit: process.unit.clone(),
            tree: process.tree.clone(),
            correlation: event.run.map(|run| run.correlation.as_str().to_owned()),
            reason: event.finding.map(|finding| finding.as_str().to_owned()),
            flags: event.flags.iter().map(|flag| flag.as_str().to_owned()).collect(),
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunJson {
    /// Who it is.
    pub id: RunId,
    /// Its task.
    pub task: String,
    /// Its host.
    pub host: String,
    /// The agent that reported it.
    pub agent: Option<AgentId>,
    /// `running`, `paused`, `ended`.
    pub phase: String,
    /// What is shown: `running`, `overdue`, `lost`, `critical`, `failed`, `warning`, `unknown`, `ok`.
    pub status: String,
    /// `ok`, `warning`, `unknown`, `failed`, `critical`, `aborted`, or null while it goes on.
    pub outcome: Option<String>,
    /// Why it ended when nobody reported its end.
    pub reason: Option<String>,
    /// 0 ok, 1 warning, 2 critical, 3 unknown.
    pub severity: u8,
    /// `overlapped`, `pre_reset`, `stop_without_start`, `implicit`, `detached`, `overran`, `too_short`, `incomplete`.
    pub flags: Vec<String>,
    /// The worst level that counts so far; empty when the answer is of a version that did not tell.
    #[serde(default)]
    pub worst: String,
    /// How its first event was placed.
    pub correlation: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When the end is only known to lie in an interval: where that begins; `ended_at` is where it ends.
    pub ended_after: Option<Timestamp>,
    /// From the start to the end, or to now.
    pub duration_ms: u64,
    /// The same without pauses.
    pub active_ms: u64,
    /// The pauses.
    pub paused_ms: u64,
    /// How the job ended, if it said so.
    pub exit: Option<ExitJson>,
    /// False when events are known to be missing.
    pub complete: bool,
    /// Which ones are missing.
    pub gaps: Vec<GapJson>,
    /// Counts over the reported events.
    pub summary: Summary,
    /// The events in order, or none when they were not asked for.
    pub events: Vec<EventJson>,
}

/// Places without events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapJson {
    /// Sequence space.
    pub epoch: String,
    /// First missing place.
    pub from: u64,
    /// Last missing place.
    pub to: u64,
    /// `corrupt`, `evicted`, `purged`, `lost_spool`.
    pub reason: String,
}

/// Counts over the reported events of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All of them.
    pub events: u64,
    /// By level.
    pub by_level: ByLevel,
    /// The first of level error or critical.
    pub first_error: Option<FirstErrorJson>,
}

/// A count for each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of the levels")]
pub struct ByLevel {
    pub debug: u64,
    pub info: u64,
    pub ok: u64,
    pub warning: u64,
    pub error: u64,
    pub critical: u64,
    pub unknown: u64,
}

/// The first event of level error or critical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstErrorJson {
    /// Which event.
    pub id: EventId,
    /// When.
    pub time: Timestamp,
    /// Its text, cut at 512 bytes.
    pub message: String,
}

/// What is not in the fold of a run but is shown with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunContext<'a> {
    /// The moment of the answer.
    pub now: Now,
    /// How long the run's agent has not been heard; zero on the agent itself.
    pub agent_silent_for: Duration,
    /// Known gaps among the run's events.
    pub gaps: Vec<GapJson>,
    /// What is expected of the runs of this task.
    pub policy: &'a RunPolicy,
}

impl TaskJson {
    /// The task on its host, by its latest run.
    pub fn new(run: &RunState, context: RunContext<'_>) -> TaskJson {
        let RunJson { id, task, host, status, severity, started_at, ended_at, duration_ms, summary, .. } =
            RunJson::new(run, context, Vec::new());
        let errors = summary.by_level.error + summary.by_level.critical;
        TaskJson { task, host, run: id, status, severity, started_at, ended_at, duration_ms, errors }
    }
}

impl RunJson {
    /// The run as it is shown.
    pub fn new(run: &RunState, context: RunContext<'_>, events: Vec<EventJson>) -> RunJson {
        let RunContext { now, agent_silent_for, gaps, policy } = context;
        let complete = gaps.is_empty();
        let shown = judge(run, policy, Circumstances { now, complete, agent_silent_for });
        let counts = run.by_level();
        let of = |level: Level| counts[level.index()];
        RunJson {
            id: run.id(),
            task: run.task().as_str().to_owned(),
            host: run.host().to_owned(),
            agent: run.agent(),
            phase: run.phase().as_str().to_owned(),
            status: shown.status.as_str().to_owned(),
            outcome: shown.outcome.map(|outcome| outcome.as_str().to_owned()),
            reason: run.reason().map(str::to_owned),
            severity: shown.severity.code(),
            flags: shown.flags.iter().map(|flag| flag.as_str().to_owned()).collect(),
            worst: shown.worst.as_str().to_owned(),
            correlation: run.correlation().as_str().to_owned(),
            started_at: run.started_at(),
            ended_at: run.ended_at(),
            ended_after: run.ended_after(),
            duration_ms: millis(shown.duration),
            active_ms: millis(shown.active()),
            paused_ms: millis(shown.paused),
            exit: run.exit().map(ExitJson::from),
            complete,
            gaps,
            summary: Summary {
                events: run.events(),
                by_level: ByLevel {
                    debug: of(Level::Debug),
                    info: of(Level::Info),
                    ok: of(Level::Ok),
                    warning: of(Level::Warning),
                    error: of(Level::Error),
                    critical: of(Level::Critical),
                    unknown: of(Level::Unknown),
                },
                first_error: run.first_error().map(|first| FirstErrorJson {
                    id: first.id,
                    time: first.time,
                    message: first.message.clone(),
                }),
            },
            events,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A page of events, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// Who answers.
    pub source: Source,
    /// Newest first.
    pub events: Vec<EventJson>,
    /// Cursor of the next page; null at the end.
    pub next: Option<String>,
}

/// A page of runs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunList {
    /// Who answers.
    pub source: Source,
    /// Newest first.
    pub runs: Vec<RunJson>,
    /// Cursor of the next page; null at the end.
    pub next: Option<String>,
}

/// How many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Who answers.
    pub source: Source,
    /// That many.
    pub count: u64,
}

/// One task on one host, by its latest run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskJson {
    /// The task.
    pub task: String,
    /// The host.
    pub host: String,
    /// Latest started run.
    pub run: RunId,
    /// Its status.
    pub status: String,
    /// Its severity.
    pub severity: u8,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took, or takes.
    pub duration_ms: u64,
    /// Its errors and criticals.
    pub errors: u64,
}

/// Every task on every host, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList {
    /// Who answers.
    pub source: Source,
    /// By task, then host.
    pub tasks: Vec<TaskJson>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostJson {
    /// The host.
    pub host: String,
    /// The agent that reports for it.
    pub agent: Option<AgentId>,
    /// `connected`, `silent`, `disconnected`, or `local` on the agent itself.
    pub state: String,
    /// When something of it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Tasks that ran there.
    pub tasks: u64,
    /// Events kept of it.
    pub events: u64,
}

/// Every host, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostList {
    /// Who answers.
    pub source: Source,
    /// By name.
    pub hosts: Vec<HostJson>,
}

/// One agent and its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentJson {
    /// Its id; null on a host without a master.
    pub agent: Option<AgentId>,
    /// Its host.
    pub host: String,
    /// `connected`, `silent`, `disconnected`, or `alone` without a master.
    pub state: String,
    /// Since when that is so.
    pub since: Option<Timestamp>,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Its version.
    pub version: Option<String>,
    /// The other end's address.
    pub address: Option<String>,
    /// When its certificate ends.
    pub certificate_expires_at: Option<Timestamp>,
    /// Events not yet acknowledged, by the agent's latest word.
    pub queued_events: u64,
    /// Since when the oldest of them waits.
    pub queued_since: Option<Timestamp>,
    /// Events acknowledged in all.
    pub acked_events: u64,
    /// What last went wrong, in words.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
}

/// Every agent, by host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentList {
    /// Who answers.
    pub source: Source,
    /// By host.
    pub agents: Vec<AgentJson>,
}

/// How the daemon that answers is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Who answers.
    pub source: Source,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// `ready`, or in words what is wrong.
    pub state: String,
    /// Events it keeps.
    pub events: u64,
    /// Bytes of its store.
    pub store_bytes: u64,
    /// The agents it knows; on an agent itself.
    pub agents: Vec<AgentJson>,
}

/// A failure (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `code` tells the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// [`ErrorClass`] as a word.
    pub code: String,
    /// Which parameter was wrong.
    pub field: Option<String>,
}

impl Problem {
    /// A failure of this class.
    pub fn new(class: ErrorClass, detail: impl Into<String>, field: Option<&str>) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: class.as_str().replace('_', " "),
            status: crate::status::http_status(class),
            detail: detail.into(),
            code: class.as_str().to_owned(),
            field: field.map(str::to_owned),
        }
    }

    /// The class it was made from; `internal` when the word is not known.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::from_word(&self.code).unwrap_or(ErrorClass::Internal)
    }
}
