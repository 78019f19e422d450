//! One event as `/api/v1` shows it.

use hume_core::event::Exit;
use hume_core::{AgentId, BootId, Epoch, EventId, RunId, StoredEvent, Timestamp};
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
    /// `mangled`, `overlapped`, `unmatched_stop`, `key_ignored`, `detached`, `overlap_refused`, `inner_stop`, `redacted`.
    pub flags: Vec<String>,
    /// `cli` when `hume` described its own process because the agent was away: what is said of it is not the kernel's word.
    pub captured_by: Option<String>,
    /// The boot that [`boottime_us`](Self::boottime_us) counts from.
    pub boot: Option<BootId>,
    /// `CLOCK_BOOTTIME` at `time`, in microseconds: two of one boot tell what lay between, whatever the wall clock did.
    pub boottime_us: Option<u64>,
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
            captured_by: process.captured_by_cli.then(|| "cli".to_owned()),
            boot: event.boot_clock.map(|clock| clock.boot),
            boottime_us: event.boot_clock.map(|clock| clock.micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use hume_core::event::{BootClock, Process};
    use hume_core::{Event, HostName, Position, Seq};

    use super::*;

    fn shown(captured_by_cli: bool, boot_clock: Option<BootClock>) -> serde_json::Value {
        let event = Event {
            boot_clock,
            process: Process { captured_by_cli, ..Process::default() },
            ..Event::new(EventId::from_bytes([1; 16]), HostName::parse("web1").unwrap(), Timestamp::EPOCH)
        };
        let position = Position { agent: None, epoch: Epoch::from_bytes([0; 16]), seq: Seq::ZERO };
        serde_json::to_value(EventJson::from(&StoredEvent { position, arrived_at: None, event })).unwrap()
    }

    #[test]
    fn an_event_says_whose_word_it_is_and_what_the_boot_clock_showed() {
        let clock = BootClock { boot: BootId::from_bytes([2; 16]), micros: 99 };
        let event = shown(true, Some(clock));
        assert_eq!((&event["captured_by"], &event["boottime_us"]), (&"cli".into(), &99.into()));
        assert_eq!(event["boot"], clock.boot.to_string());
        // Absent is null, never missing.
        let event = shown(false, None);
        for key in ["captured_by", "boot", "boottime_us"] {
            assert_eq!(event.get(key), Some(&serde_json::Value::Null), "{key}");
        }
    }
}
