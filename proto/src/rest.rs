//! The JSON of `/api/v1`, the same on master and agent.
//!
//! Absent is `null`, never missing. Times are RFC 3339 UTC with microseconds. Additions are not breaking.
//!
//! | path | parameters | answer |
//! |---|---|---|
//! | `/api/v1/events` | [`EventQuery`] | [`EventList`], newest arrival first; [`Count`] with `count=true` |
//! | the same with `after`, `wait` | [`EventQuery`] | [`EventList`], oldest arrival first, `next` always there |
//! | `/api/v1/runs` | [`RunQuery`] | [`RunList`], newest start first; [`Count`] with `count=true` |
//! | `/api/v1/latest` | [`RunQuery`] | [`RunList`]: the latest run of each (task, host), then filtered |
//! | `/api/v1/tasks` | | [`TaskList`] |
//! | `/api/v1/hosts` | | [`HostList`] |
//! | `/api/v1/agents` | | [`AgentList`] |
//! | `/api/v1/status` | | [`StatusReport`] |
//! | `/api/v1/watches` (master) | | [`WatchList`] |
//! | `/api/v1/slots` (master) | [`SlotQuery`] | [`SlotList`], newest first |
//! | `/api/v1/audit` (master) | [`AuditQuery`] | [`AuditList`], newest first |
//!
//! Failures are `application/problem+json`: [`Problem`].

use hume_core::{AgentId, ErrorClass, RunId, Timestamp};
use serde::{Deserialize, Serialize};

mod audit;
mod event;
mod query;
mod run;
mod watches;
pub use audit::{AuditJson, AuditList, AuditQuery};
pub use event::{EventJson, ExitJson, epoch_text};
pub use query::{EventQuery, Following, RunQuery, WAIT_SECONDS_MAX, page_items};
pub use run::{ByLevel, FirstErrorJson, GapJson, RunContext, RunJson, Summary};
pub use watches::{SlotJson, SlotList, SlotQuery, WatchJson, WatchList};

/// Items of a list that has no pages: tasks, hosts, agents.
pub const LIST_ITEMS_MAX: usize = 10_000;

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

/// A page of events: newest arrival first, or with `after` oldest arrival first. The arrival at the daemon that answers
/// decides, not the time of the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventList {
    /// Who answers.
    pub source: Source,
    /// The page.
    pub events: Vec<EventJson>,
    /// Cursor of the next page; null at the end. With `after` it is always there: where to go on.
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
    /// True when there are more than one answer holds ([`LIST_ITEMS_MAX`]).
    #[serde(default)]
    pub truncated: bool,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostJson {
    /// The host.
    pub host: String,
    /// The agent that reports for it.
    pub agent: Option<AgentId>,
    /// Of its agent: `connected`, `silent`, `disconnected`. Asked of an agent: `local` is its own host, `reported` another
    /// one that scripts here spoke of.
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
    /// True when there are more than one answer holds ([`LIST_ITEMS_MAX`]).
    #[serde(default)]
    pub truncated: bool,
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
    /// Events that were accepted once and will never reach the master: at the master, places of gaps; at the agent, since its start.
    #[serde(default)]
    pub lost_events: u64,
    /// Events that the agent refused for want of room, since its start.
    #[serde(default)]
    pub refused_events: u64,
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
    /// True when there are more than one answer holds ([`LIST_ITEMS_MAX`]).
    #[serde(default)]
    pub truncated: bool,
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
    /// True when there are more than one answer holds ([`LIST_ITEMS_MAX`]).
    #[serde(default)]
    pub truncated: bool,
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
