//! One event as `/api/v1` shows it.

use hume_core::event::Exit;
use hume_core::{AgentId, Epoch, EventId, RunId, StoredEvent, Timestamp};
use serde::{Deserialize, Serialize};

use crate::intake::Pairs;

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
    /// `mangled`, `overlapped`, `unmatched_stop`, `key_ignored`, `detached`, `overlap_refused`, `inner_stop`.
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
