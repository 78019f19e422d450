//! Events for the tests of this crate, and a place to open a transfer in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hume_core::event::{Process, StoredEvent};
use hume_core::status::Status;
use hume_core::{Epoch, Event, EventId, HostName, Level, Position, RunId, Seq, Tag, TaskName, Timestamp};
use hume_runtime::config;
use serde::Deserialize;

use crate::notice::{About, Digest, Notice, RunNotice};
use crate::options::{TransferName, Transfers};
use crate::transfer::{OpenError, Setting, Transfer};

/// An event like most; its id and its place follow from its text.
pub(crate) fn stored(level: Level, task: &str, host: &str, message: &str) -> StoredEvent {
    let mut id = [0; 16];
    for (at, byte) in message.bytes().enumerate() {
        id[at % 16] ^= byte;
    }
    let time = Timestamp::from_micros(1_764_000_000_000_000);
    let event = Event {
        task: TaskName::parse(task).unwrap(),
        level,
        message: message.to_owned(),
        ..Event::new(EventId::from_bytes(id), HostName::parse(host).unwrap(), time)
    };
    let position = Position { agent: None, epoch: Epoch::from_bytes([1; 16]), seq: Seq::new(1).unwrap() };
    StoredEvent { position, arrived_at: None, event }
}

/// The event that docs/TRANSFERS.md tells of.
pub(crate) fn documented() -> StoredEvent {
    let mut stored = stored(Level::Error, "BACKUP_DB", "db1", "pg_dump: connection to server failed");
    let event = &mut stored.event;
    event.tags = ["backup", "nightly"].map(|tag| Tag::parse(tag).unwrap()).to_vec();
    event.extra = vec![("database".to_owned(), "shop".to_owned()), ("exit".to_owned(), "2".to_owned())];
    event.line = Some(41);
    event.process = Process {
        pid: Some(4711),
        uid: Some(26),
        user: Some("postgres".to_owned()),
        script: Some("/usr/local/sbin/backup-db".to_owned()),
        ..Process::default()
    };
    stored
}

/// The run of [`documented`], at its end.
pub(crate) fn documented_run() -> Notice {
    let event = documented();
    let ended_at = event.event.time;
    let run = RunNotice {
        id: RunId::from_bytes([7; 16]),
        status: Status::Failed,
        started_at: ended_at.plus_micros(-185_000_000),
        ended_at: Some(ended_at),
        duration_us: 185_000_000,
        by_level: BTreeMap::from([("error", 2), ("info", 14)]),
        first_error: Some(event.event.message.clone()),
        exit_code: Some(2),
        reason: None,
    };
    Notice { about: About::Run(run), ..Notice::of(event) }
}

/// What came with [`documented`] and was too much.
pub(crate) fn documented_digest() -> Notice {
    let mut digest = Digest::default();
    for at in 0..38 {
        let (level, text) =
            if at < 3 { (Level::Critical, "disk full") } else { (Level::Error, "could not copy") };
        digest.add(&Notice::of(stored(level, "BACKUP_DB", "db1", &format!("{text} ({at})"))));
    }
    let event = stored(Level::Critical, "BACKUP_DB", "db1", "disk full (0)");
    Notice { about: About::Digest(digest), ..Notice::of(event) }
}

/// That docs/TRANSFERS.md shows `output` as it is.
pub(crate) fn assert_documented(output: &str) {
    let document = include_str!("../../docs/TRANSFERS.md");
    assert!(document.contains(output), "docs/TRANSFERS.md does not show:\n{output}");
}

/// Opens the one transfer that `text`, a configuration in `dir`, declares.
pub(crate) fn open(dir: &Path, text: &str) -> Result<Box<dyn Transfer>, OpenError> {
    #[derive(Deserialize)]
    struct Whole {
        transfer: Transfers,
    }
    let file = dir.join("agent.toml");
    let whole: Whole = config::parse(&file, text).unwrap();
    let (name, options): (TransferName, _) = whole.transfer.0.into_iter().next().unwrap();
    let host = HostName::parse("web1").unwrap();
    options.open(&Setting { name: &name, config_file: &file, host: &host, program: "humed-agent" })
}

/// An error with its causes, as the administrator reads it.
pub(crate) fn whole(error: OpenError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// The keys that all kinds have, as `keys` says.
pub(crate) fn common(keys: &str) -> crate::options::Common {
    #[derive(Deserialize)]
    struct Whole {
        transfer: Transfers,
    }
    let text = format!("[transfer.x.file]\npath = \"lines\"\n{keys}");
    let whole: Whole = config::parse(Path::new("agent.toml"), &text).unwrap();
    whole.transfer.0.into_values().next().unwrap().common()
}

/// Waits for a condition, at most a minute.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within a minute: {what}");
        tick.tick().await;
    }
}

/// Says why a test is not made; with `HUME_NO_SKIP=1` that is a failure.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("HUME_NO_SKIP").is_none_or(|value| value != "1"), "skipped: {why}");
    println!("skipped: {why}");
}
