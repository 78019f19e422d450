//! Events as bytes: what the agent encodes once travels and rests unchanged.
//!
//! Encoding is total; decoding fails on what breaks a bound or names something unknown that matters. Numbers of enums
//! that a newer version added are read as "not set", so an older master keeps the event and its bytes.

use hume_core::event::{
    BootClock, Command, Correlation, EVENT_BYTES_MAX, Event, EventFlag, EventKind, Exit, Finding, Process,
    RunRef, TAGS_MAX,
};
use hume_core::name::{BootId, FlagName};
use hume_core::{BoundError, EventId, HostName, Level, RunId, Tag, TaskName, Timestamp};
use prost::Message as _;
use prost::bytes::Bytes;

use crate::pb;

/// One encoded event. Columns in stores are extracted copies; these bytes are the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBytes(Bytes);

/// These bytes are not an event of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are not protobuf of the right shape.
    #[error("the event is not readable: {0}")]
    Shape(String),
    /// A value that every event has is missing.
    #[error("the event has no {0}")]
    Missing(&'static str),
    /// A value breaks its bound.
    #[error(transparent)]
    Bound(#[from] BoundError),
    /// More than [`EVENT_BYTES_MAX`] bytes.
    #[error("the event has {0} bytes; at most {EVENT_BYTES_MAX} are allowed")]
    TooLong(usize),
}

impl EventBytes {
    /// Encodes an event.
    pub fn encode(event: &Event) -> EventBytes {
        EventBytes(pb::Event::from(event).encode_to_vec().into())
    }

    /// Takes bytes from a store or a batch, unread.
    pub fn from_raw(bytes: impl Into<Bytes>) -> EventBytes {
        EventBytes(bytes.into())
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none, which no event has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decodes the event.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes can be kept, but not understood.
    pub fn decode(&self) -> Result<Event, DecodeError> {
        if self.0.len() > EVENT_BYTES_MAX {
            return Err(DecodeError::TooLong(self.0.len()));
        }
        let raw =
            pb::Event::decode(self.0.as_ref()).map_err(|error| DecodeError::Shape(error.to_string()))?;
        event(raw)
    }
}

impl From<&Event> for pb::Event {
    fn from(event: &Event) -> pb::Event {
        let Event {
            id,
            kind,
            time,
            received_at,
            boot_clock,
            host,
            task,
            tags,
            level,
            command,
            flag,
            message,
            truncated_from,
            extra,
            exit,
            line,
            process,
            run,
            finding,
            not_before,
            flags,
        } = event;
        pb::Event {
            id: id.as_bytes().to_vec(),
            kind: kind.index() as i32 + 1,
            time_us: time.as_micros(),
            received_us: received_at.as_micros(),
            boot_id: boot_clock.map_or_else(Vec::new, |clock| clock.boot.as_bytes().to_vec()),
            boottime_us: boot_clock.map_or(0, |clock| clock.micros),
            host: host.as_str().to_owned(),
            task: task.as_str().to_owned(),
            tags: tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            level: level.index() as i32 + 1,
            command: command.map_or(0, |command| number(&Command::ALL, command)),
            flag: flag.as_ref().map_or_else(String::new, |flag| flag.as_str().to_owned()),
            message: message.clone(),
            truncated_from: truncated_from.unwrap_or(0),
            extra: extra
                .iter()
                .map(|(key, value)| pb::Pair { key: key.clone(), value: value.clone() })
                .collect(),
            exit: exit.map(|exit| pb::Exit {
                how: Some(match exit {
                    Exit::Code(code) => pb::exit::How::Code(code),
                    Exit::Signal(signal) => pb::exit::How::Signal(signal),
                }),
            }),
            line: line.unwrap_or(0),
            process: Some(pb::Process {
                pid: process.pid,
                uid: process.uid,
                user: process.user.clone().unwrap_or_default(),
                script: process.script.clone().unwrap_or_default(),
                unit: process.unit.clone().unwrap_or_default(),
                tree: process.tree.clone().unwrap_or_default(),
                captured_by_cli: process.captured_by_cli,
            }),
            run: run.map(|run| pb::RunRef {
                id: run.id.as_bytes().to_vec(),
                correlation: number(&Correlation::ALL, run.correlation),
            }),
            finding: finding.map_or(0, |finding| number(&Finding::ALL, finding)),
            flags: flags.iter().map(|flag| number(&EventFlag::ALL, *flag)).collect(),
            not_before_us: not_before.map(Timestamp::as_micros),
        }
    }
}

/// Number of a variant on the wire: its place in the list, from 1. The lists only grow at their end.
fn number<T: PartialEq + Copy>(all: &[T], one: T) -> i32 {
    all.iter().position(|other| *other == one).map_or(0, |place| place as i32 + 1)
}

/// Variant with this number, if this version knows it.
fn variant<T: Copy>(all: &[T], number: i32) -> Option<T> {
    all.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
}

fn text(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

fn event(raw: pb::Event) -> Result<Event, DecodeError> {
    let pb::Event {
        id,
        kind,
        time_us,
        received_us,
        boot_id,
        boottime_us,
        host,
        task,
        tags,
        level,
        command,
        flag,
        message,
        truncated_from,
        extra,
        exit,
        line,
        process,
        run,
        finding,
        flags,
        not_before_us,
    } = raw;
    let process = process.unwrap_or_default();
    let mut flags: Vec<EventFlag> =
        flags.into_iter().filter_map(|flag| variant(&EventFlag::ALL, flag)).collect();
    flags.sort_unstable();
    flags.dedup();
    let mut kept: Vec<Tag> = Vec::with_capacity(tags.len().min(TAGS_MAX));
    for tag in &tags {
        let tag = Tag::parse(tag)?;
        // One more than the bound tells that it is broken.
        if kept.len() <= TAGS_MAX && !kept.contains(&tag) {
            kept.push(tag);
        }
    }
    let event = Event {
        id: EventId::from_slice(&id).ok_or(DecodeError::Missing("id"))?,
        kind: variant(&EventKind::ALL, kind).unwrap_or(EventKind::System),
        time: Timestamp::from_micros(time_us),
        received_at: Timestamp::from_micros(received_us),
        boot_clock: BootId::from_slice(&boot_id).map(|boot| BootClock { boot, micros: boottime_us }),
        host: HostName::parse(&host)?,
        task: TaskName::parse(&task)?,
        tags: kept,
        level: variant(&Level::ALL, level).unwrap_or(Level::Unknown),
        command: variant(&Command::ALL, command),
        flag: text(flag).map(|flag| FlagName::parse(&flag)).transpose()?,
        message,
        truncated_from: (truncated_from > 0).then_some(truncated_from),
        extra: extra.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        exit: exit.and_then(|exit| exit.how).map(|how| match how {
            pb::exit::How::Code(code) => Exit::Code(code),
            pb::exit::How::Signal(signal) => Exit::Signal(signal),
        }),
        line: (line > 0).then_some(line),
        process: Process {
            pid: process.pid,
            uid: process.uid,
            user: text(process.user),
            script: text(process.script),
            unit: text(process.unit),
            tree: text(process.tree),
            captured_by_cli: process.captured_by_cli,
        },
        run: match run {
            Some(run) => Some(RunRef {
                id: RunId::from_slice(&run.id).ok_or(DecodeError::Missing("run id"))?,
                correlation: variant(&Correlation::ALL, run.correlation).unwrap_or(Correlation::Implicit),
            }),
            None => None,
        },
        finding: variant(&Finding::ALL, finding),
        not_before: not_before_us.map(Timestamp::from_micros),
        flags,
    };
    // Whoever has an event may send it on, store it and answer it: there is room for all of it.
    event.check()?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::event::{EXTRA_BYTES_MAX, MESSAGE_BYTES_MAX};
    use proptest::prelude::*;

    fn full() -> Event {
        Event {
            id: EventId::from_bytes([1; 16]),
            kind: EventKind::Run,
            time: Timestamp::from_micros(-5),
            received_at: Timestamp::from_micros(7),
            boot_clock: Some(BootClock { boot: BootId::from_bytes([2; 16]), micros: 99 }),
            host: HostName::parse("web1").unwrap(),
            task: TaskName::parse("BACKUP").unwrap(),
            tags: vec![Tag::parse("a").unwrap(), Tag::parse("b").unwrap()],
            level: Level::Critical,
            command: Some(Command::Flag),
            flag: FlagName::parse("half").ok(),
            message: "text".into(),
            truncated_from: Some(20_000),
            extra: vec![("k".into(), "v".into()), ("k".into(), String::new())],
            exit: Some(Exit::Signal(9)),
            line: Some(12),
            process: Process {
                pid: Some(0),
                uid: Some(0),
                user: Some("root".into()),
                script: Some("/opt/x.sh".into()),
                unit: Some("u".into()),
                tree: Some("t".into()),
                captured_by_cli: true,
            },
            run: Some(RunRef { id: RunId::from_bytes([3; 16]), correlation: Correlation::OnlyOpen }),
            finding: Some(Finding::ProcessGone),
            not_before: None,
            flags: vec![EventFlag::Mangled, EventFlag::KeyIgnored],
        }
    }

    #[test]
    fn an_event_of_every_field_reads_back() {
        let event =
            Event { not_before: Some(Timestamp::from_micros(-9)), flags: EventFlag::ALL.to_vec(), ..full() };
        assert_eq!(EventBytes::encode(&event).decode().unwrap(), event);
    }

    /// Bytes of the first release. If this fails, the change is not compatible: agents out there still send these.
    #[test]
    fn the_bytes_of_the_first_release_still_mean_the_same() {
        let golden = include_bytes!("../golden/event-0.1.bin");
        assert_eq!(EventBytes::from_raw(&golden[..]).decode().unwrap(), full());
        assert_eq!(EventBytes::encode(&full()).as_slice(), golden);
    }

    #[test]
    fn numbers_of_a_newer_version_do_not_make_an_event_unreadable() {
        let raw = pb::Event { level: 99, command: 99, kind: 99, flags: vec![99], ..pb::Event::from(&full()) };
        let read = EventBytes::from_raw(raw.encode_to_vec()).decode().unwrap();
        assert_eq!(
            (read.level, read.command, read.kind, read.flags),
            (Level::Unknown, None, EventKind::System, vec![])
        );
    }

    #[test]
    fn what_has_no_room_in_an_event_is_refused_by_its_field() {
        // Fault 51: each of these fits into EVENT_BYTES_MAX.
        let full = || pb::Event::from(&full());
        let process = || full().process.unwrap();
        let tags = (0..33).map(|n| format!("t{n}")).collect();
        let pair = |key: &str, value: String| pb::Pair { key: key.to_owned(), value };
        for (raw, field) in [
            (pb::Event { message: "x".repeat(MESSAGE_BYTES_MAX + 1), ..full() }, "message"),
            (pb::Event { tags, ..full() }, "tags"),
            (pb::Event { extra: vec![pair("k", String::new()); 65], ..full() }, "extra"),
            (pb::Event { extra: vec![pair("", "v".to_owned())], ..full() }, "extra"),
            (pb::Event { extra: vec![pair("k", "v".repeat(EXTRA_BYTES_MAX))], ..full() }, "extra"),
            (
                pb::Event {
                    process: Some(pb::Process { tree: "x".repeat(16 * 1024 + 1), ..process() }),
                    ..full()
                },
                "tree",
            ),
            (
                pb::Event { process: Some(pb::Process { script: "x".repeat(4097), ..process() }), ..full() },
                "script",
            ),
            (
                pb::Event { process: Some(pb::Process { unit: "x".repeat(4097), ..process() }), ..full() },
                "unit",
            ),
            (
                pb::Event { process: Some(pb::Process { user: "x".repeat(257), ..process() }), ..full() },
                "user",
            ),
        ] {
            let bytes = raw.encode_to_vec();
            assert!(bytes.len() < EVENT_BYTES_MAX);
            let Err(DecodeError::Bound(error)) = EventBytes::from_raw(bytes).decode() else {
                panic!("{field} is taken");
            };
            assert_eq!(error.field, field);
        }
        let tags = vec!["a".to_owned(); 100];
        let read = EventBytes::from_raw(pb::Event { tags, ..full() }.encode_to_vec()).decode().unwrap();
        assert_eq!(read.tags.len(), 1, "doubles are dropped before they are counted");
    }

    #[test]
    fn what_breaks_a_bound_is_refused() {
        let raw = pb::Event { id: vec![1], ..pb::Event::from(&full()) };
        assert_eq!(EventBytes::from_raw(raw.encode_to_vec()).decode(), Err(DecodeError::Missing("id")));
        let raw = pb::Event { host: String::new(), ..pb::Event::from(&full()) };
        assert!(matches!(EventBytes::from_raw(raw.encode_to_vec()).decode(), Err(DecodeError::Bound(_))));
        let long = EventBytes::from_raw(vec![0; EVENT_BYTES_MAX + 1]);
        assert_eq!(long.decode(), Err(DecodeError::TooLong(EVENT_BYTES_MAX + 1)));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = EventBytes::from_raw(bytes).decode();
        }
    }
}
