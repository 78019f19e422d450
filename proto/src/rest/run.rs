//! One run as `/api/v1` shows it: its fold, judged by the policy of its task at the moment of the answer.

use std::time::Duration;

use hume_core::policy::RunPolicy;
use hume_core::run::{Now, RunState};
use hume_core::status::{Circumstances, judge};
use hume_core::{AgentId, EventId, Level, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{EventJson, ExitJson, TaskJson};

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
    /// After so many seconds of activity it is `overdue`, if there is such a limit.
    #[serde(default)]
    pub max_runtime_s: Option<u64>,
    /// After so many seconds of activity it counts as failed, if there is such a limit.
    #[serde(default)]
    pub hard_runtime_s: Option<u64>,
    /// The events in order, or none when they were not asked for.
    pub events: Vec<EventJson>,
    /// Events that an answer has no room for beside [`events`](Self::events); list them with `run=`.
    #[serde(default)]
    pub more_events: u64,
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
    /// Events of the run that the answer leaves out.
    pub more_events: u64,
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
        let RunContext { now, agent_silent_for, gaps, more_events, policy } = context;
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
            max_runtime_s: policy.max_runtime.map(|limit| limit.as_secs()),
            hard_runtime_s: policy.hard_runtime.map(|limit| limit.as_secs()),
            events,
            more_events,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
