//! Events that nobody reported: the one that tests a transfer, and one that an administrator wrote down to see what becomes of it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hume_core::event::{EVENT_BYTES_MAX, EventKind, Process, StoredEvent};
use hume_core::level::LevelError;
use hume_core::{BoundError, Epoch, Event, EventId, HostName, Position, Seq, Tag, TaskName, Timestamp};
use hume_runtime::random;
use serde::Deserialize;

use crate::options::TransferName;

/// The file holds no event.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// It cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no JSON object with the fields of an event.
    #[error("{} holds no event", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A field is out of bounds.
    #[error("{} holds no event", path.display())]
    Bound {
        /// The file.
        path: PathBuf,
        /// Which, and its bound.
        source: BoundError,
    },
}

/// The fields that a sample may have, as in the answers of `humequery` and in what scripts write to the socket; others are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    task: Option<String>,
    host: Option<String>,
    level: Option<String>,
    message: String,
    tags: Vec<String>,
    extra: BTreeMap<String, String>,
    user: Option<String>,
    script: Option<String>,
    line: Option<u32>,
}

/// The event in a file: one JSON object. What it does not say is as usual: level info, this host, now.
///
/// # Errors
/// [`SampleError`], naming the file.
pub(crate) fn read(path: &Path, host: &HostName, now: Timestamp) -> Result<StoredEvent, SampleError> {
    let of = || path.to_owned();
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(2 * EVENT_BYTES_MAX as u64).read_to_string(&mut text))
        .map_err(|source| SampleError::Read { path: of(), source })?;
    let fields: Fields =
        serde_json::from_str(&text).map_err(|source| SampleError::Shape { path: of(), source })?;
    event_of(fields, host, now).map_err(|source| SampleError::Bound { path: of(), source })
}

fn event_of(fields: Fields, host: &HostName, now: Timestamp) -> Result<StoredEvent, BoundError> {
    let Fields { task, host: named, level, message, tags, extra, user, script, line } = fields;
    let mut event = base(host, now);
    event.task = TaskName::parse(task.as_deref().unwrap_or_default())?;
    if let Some(named) = named {
        event.host = HostName::parse(&named)?;
    }
    if let Some(level) = level {
        event.level =
            level.parse().map_err(|error: LevelError| BoundError::new("level", error.to_string()))?;
    }
    event.message = message;
    event.tags = tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>()?;
    event.extra = extra.into_iter().collect();
    event.process = Process { user, script, ..Process::default() };
    event.line = line;
    event.check()?;
    Ok(stored(event))
}

/// The event of `transfer test`.
pub(crate) fn test(program: &str, name: &TransferName, host: &HostName, now: Timestamp) -> StoredEvent {
    let mut event = base(host, now);
    event.kind = EventKind::System;
    event.message = format!(
        "{program} on {host} tests its transfer \"{name}\": nothing happened, and nothing is to be done"
    );
    event.task = TaskName::parse("HUME_TEST").unwrap_or_else(|_| TaskName::none());
    stored(event)
}

fn stored(event: Event) -> StoredEvent {
    let position = Position { agent: None, epoch: Epoch::from_bytes([0; 16]), seq: Seq::ZERO };
    StoredEvent { position, arrived_at: None, event }
}

fn base(host: &HostName, now: Timestamp) -> Event {
    // Not two of the same, also within one moment.
    Event::new(EventId::mint(now, random::bytes()), host.clone(), now)
}
