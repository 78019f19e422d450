//! `/api/v1/watches` and `/api/v1/slots`: what is expected, and what became of it.

use hume_core::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Source;

/// Parameters of `/api/v1/slots`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlotQuery {
    /// Exactly this watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// Exactly this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// At most so many, the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchJson {
    /// Its name.
    pub name: String,
    /// The task that it is told under.
    pub task: String,
    /// Its lines, with `; ` between them.
    pub schedule: String,
    /// Hosts that it is for.
    pub hosts: u64,
    /// When a run is expected next, on any of them.
    pub next_at: Option<Timestamp>,
}

/// All watches that may be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchList {
    /// Who answers.
    pub source: Source,
    /// By name.
    pub watches: Vec<WatchJson>,
    /// True when there are more.
    pub truncated: bool,
}

/// One expected run, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotJson {
    /// Of this watch.
    pub watch: String,
    /// On this host.
    pub host: String,
    /// The expected instant.
    pub at: Timestamp,
    /// By then a run must have come.
    pub due: Timestamp,
    /// `pending`, `ok`, `late`, `failed`, `missed`, `excused` or `unreachable`.
    pub state: String,
    /// Why, in one word, when the state does not say it all.
    pub reason: Option<String>,
    /// The first run in its time.
    pub run: Option<RunId>,
    /// When that started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// It was called missed before its report came.
    pub reported_late: bool,
    /// Its run took longer than it should.
    pub overdue: bool,
}

/// The latest expected runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotList {
    /// Who answers.
    pub source: Source,
    /// The newest first.
    pub slots: Vec<SlotJson>,
    /// True when there are more.
    pub truncated: bool,
}
