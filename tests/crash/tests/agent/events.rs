//! Events that differ in every way that matters to the spool, each known by its number.

use hume_core::correlate::OpenRun;
use hume_core::event::{Correlation, EventKind, Process, RunRef};
use hume_core::process::Chain;
use hume_core::{Event, EventId, HostName, Level, RunId, Tag, TaskName, Timestamp};
use humed_agent::spool::{OpenRunRow, RunChange};

/// Runs that events are in, by their number.
const RUNS: u64 = 5;

/// The id of the event with this number.
pub(crate) fn id(number: u64) -> EventId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    EventId::from_bytes(id)
}

fn task(number: u64) -> TaskName {
    TaskName::parse(if number.is_multiple_of(2) { "BACKUP" } else { "SYNC" }).unwrap()
}

fn host() -> HostName {
    HostName::parse("web1").unwrap()
}

fn run_id(number: u64) -> RunId {
    RunId::from_bytes([(number % RUNS) as u8; 16])
}

/// An event whose message has so many bytes.
pub(crate) fn event(number: u64, message_bytes: usize) -> Event {
    let run = RunRef { id: run_id(number), correlation: Correlation::Ancestry };
    Event {
        id: id(number),
        kind: EventKind::Reported,
        time: Timestamp::from_micros(number as i64),
        received_at: Timestamp::from_micros(number as i64),
        boot_clock: None,
        host: host(),
        task: task(number % RUNS),
        tags: if number.is_multiple_of(3) { vec![Tag::parse("third").unwrap()] } else { vec![] },
        level: Level::ALL[number as usize % Level::ALL.len()],
        command: None,
        flag: None,
        message: message(number, message_bytes),
        truncated_from: None,
        extra: vec![],
        exit: None,
        line: None,
        process: Process { uid: Some(number as u32 % 2), ..Process::default() },
        run: (!number.is_multiple_of(7)).then_some(run),
        finding: None,
        not_before: None,
        flags: vec![],
    }
}

/// Different in every event, also when much of it is missing.
fn message(number: u64, bytes: usize) -> String {
    let word = format!("{number:x}-");
    word.chars().cycle().take(bytes).collect()
}

/// What the append with this number changes about open runs: one more, or one less.
pub(crate) fn change(number: u64) -> RunChange {
    let id = RunId::from_bytes([0xf0 | (number % 3) as u8; 16]);
    if number.is_multiple_of(4) {
        return RunChange::Remove(id);
    }
    let run = OpenRun {
        id,
        opened_us: number,
        touched_us: number,
        touched_at: Timestamp::from_micros(number as i64),
        boot: None,
        watched: None,
        stopped: None,
        key: None,
        uid: None,
        chain: Chain::default(),
        unit: None,
        session: None,
        implicit: false,
        paused: false,
        gone_us: None,
    };
    RunChange::Put(Box::new(OpenRunRow { task: task(number), host: host(), run }))
}
