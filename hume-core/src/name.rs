//! Names that were checked once, at the edge: task, host, tag, agent, event, run, epoch.
//!
//! A value of these types is the proof that its bounds hold; nobody checks again. Cheap to clone: every event has some, and
//! all rooms keep them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::BoundError;

/// Longest task name, in bytes.
pub const TASK_BYTES_MAX: usize = 200;
/// Longest host name, in bytes.
pub const HOST_BYTES_MAX: usize = 253;
/// Longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 64;
/// Longest run key, in bytes.
pub const RUN_KEY_BYTES_MAX: usize = 128;
/// Longest name of a watch, in bytes.
pub const WATCH_BYTES_MAX: usize = 64;
/// Longest name of a flag on a run's time line, in bytes.
pub const FLAG_BYTES_MAX: usize = 64;

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BoundError;

            fn from_str(text: &str) -> Result<$name, BoundError> {
                $name::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_name! {
    /// A named job: at most 200 bytes, printable, no white space at the ends; empty for a plain note.
    TaskName
}
text_name! {
    /// A host: 1 to 253 bytes, printable, no white space.
    HostName
}
text_name! {
    /// A label of an event: 1 to 64 bytes, printable, no comma, no white space at the ends.
    Tag
}
text_name! {
    /// What a caller chose to name an execution by: opaque, 1 to 128 bytes, printable. Not the run's id.
    RunKey
}
text_name! {
    /// A mark on a run's time line: 1 to 64 bytes, printable, no white space at the ends.
    FlagName
}

text_name! {
    /// The name of a watch: 1 to 64 bytes of letters, digits, `-`, `_` and `.`.
    WatchName
}

impl WatchName {
    /// # Errors
    /// [`BoundError`] naming the field and the bound.
    pub fn parse(text: &str) -> Result<WatchName, BoundError> {
        check("watch", text, WATCH_BYTES_MAX)?;
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(BoundError::new("watch", "must have only letters, digits, `-`, `_` and `.`"));
        }
        Ok(WatchName(text.into()))
    }
}

impl TaskName {
    /// # Errors
    /// [`BoundError`] naming the field and the bound.
    pub fn parse(text: &str) -> Result<TaskName, BoundError> {
        if !text.is_empty() {
            check("task", text, TASK_BYTES_MAX)?;
        }
        Ok(TaskName(text.into()))
    }

    /// The task of a plain note: empty.
    pub fn none() -> TaskName {
        TaskName("".into())
    }

    /// True for a plain note.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl HostName {
    /// # Errors
    /// [`BoundError`] naming the field and the bound.
    pub fn parse(text: &str) -> Result<HostName, BoundError> {
        check("host", text, HOST_BYTES_MAX)?;
        if text.chars().any(char::is_whitespace) {
            return Err(BoundError::new("host", "must not contain white space"));
        }
        Ok(HostName(text.into()))
    }
}

impl Tag {
    /// # Errors
    /// [`BoundError`] naming the field and the bound.
    pub fn parse(text: &str) -> Result<Tag, BoundError> {
        check("tags", text, TAG_BYTES_MAX)?;
        if text.contains(',') {
            return Err(BoundError::new("tags", "must not contain a comma"));
        }
        Ok(Tag(text.into()))
    }
}

impl RunKey {
    /// # Errors
    /// [`BoundError`] naming the field and the bound.
    pub fn parse(text: &str) -> Result<RunKey, BoundError> {
        check("run_key", text, RUN_KEY_BYTES_MAX)?;
        Ok(RunKey(text.into()))
    }
}

impl FlagName {
    /// # Errors
    /// [`BoundError`] naming the field and the bound.
    pub fn parse(text: &str) -> Result<FlagName, BoundError> {
        check("flag", text, FLAG_BYTES_MAX)?;
        Ok(FlagName(text.into()))
    }
}

/// The one rule for printable names.
fn check(field: &'static str, text: &str, bytes_max: usize) -> Result<(), BoundError> {
    if text.is_empty() {
        return Err(BoundError::new(field, "must not be empty"));
    }
    if text.len() > bytes_max {
        return Err(BoundError::new(
            field,
            format!("has {} bytes; at most {bytes_max} are allowed", text.len()),
        ));
    }
    if text.trim() != text {
        return Err(BoundError::new(field, "must not start or end with white space"));
    }
    if text.chars().any(char::is_control) {
        return Err(BoundError::new(field, "must not contain control characters"));
    }
    Ok(())
}

macro_rules! id_name {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with these 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> $name {
                $name(Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes, as kept in stores and on the wire.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id with these bytes, if there are 16 of them.
            pub fn from_slice(bytes: &[u8]) -> Option<$name> {
                <[u8; 16]>::try_from(bytes).ok().map($name::from_bytes)
            }

            /// # Errors
            /// [`BoundError`] when the text is not a UUID.
            pub fn parse(text: &str) -> Result<$name, BoundError> {
                Uuid::try_parse(text).map($name).map_err(|_| BoundError::new($field, "must be a UUID"))
            }

            /// A version 7 UUID of this moment and these random bytes. Ids of later milliseconds sort later.
            pub fn mint(at: crate::Timestamp, random: [u8; 10]) -> $name {
                let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
                $name(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> $name {
                $name(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = BoundError;

            fn from_str(text: &str) -> Result<$name, BoundError> {
                $name::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id_name! {
    /// Who an event is: a version 7 UUID minted by `hume` before anything can fail.
    EventId, "id"
}
id_name! {
    /// One execution of a task, named by the agent.
    RunId, "run"
}
id_name! {
    /// An agent, as its certificate names it.
    AgentId, "agent"
}
id_name! {
    /// One sequence space of one spool: 16 random bytes.
    Epoch, "epoch"
}
id_name! {
    /// One boot of one machine, as the kernel names it.
    BootId, "boot_id"
}

/// Place in an epoch, dense from 1, below 2⁶³.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl EventId {
    /// When it was minted, to the millisecond; none of an id that is not a version 7 UUID and says nothing about it.
    pub fn minted_at(&self) -> Option<crate::Timestamp> {
        let millis =
            self.as_bytes().iter().take(6).fold(0_i64, |millis, byte| millis << 8 | i64::from(*byte));
        (self.0.get_version_num() == 7).then(|| crate::Timestamp::from_micros(millis.saturating_mul(1000)))
    }
}

impl Seq {
    /// Before the first event of an epoch.
    pub const ZERO: Seq = Seq(0);

    /// The place `value`, if it is below 2⁶³.
    pub fn new(value: u64) -> Option<Seq> {
        i64::try_from(value).is_ok().then_some(Seq(value))
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The next place; stays at 2⁶³ − 1, which no spool reaches.
    #[must_use]
    pub fn next(self) -> Seq {
        self.plus(1)
    }

    /// The place `count` further on, clamped as [`Seq::next`].
    #[must_use]
    pub fn plus(self, count: u64) -> Seq {
        Seq(self.0.saturating_add(count).min(i64::MAX as u64))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn a_task_may_be_empty_but_not_blank() {
        assert!(TaskName::parse("").unwrap().is_none());
        assert!(TaskName::parse(" ").is_err());
        assert!(TaskName::parse("BACKUP /home").is_ok());
        assert!(TaskName::parse("BACKUP\n").is_err());
    }

    #[test]
    fn bounds_are_counted_in_bytes_and_the_error_names_field_and_bound() {
        assert!(TaskName::parse(&"x".repeat(TASK_BYTES_MAX)).is_ok());
        let error = TaskName::parse(&"é".repeat(TASK_BYTES_MAX)).unwrap_err();
        assert_eq!(error.to_string(), "task has 400 bytes; at most 200 are allowed");
        assert_eq!(error.field, "task");
    }

    #[test]
    fn a_tag_has_no_comma_and_a_host_no_space() {
        assert!(Tag::parse("a,b").is_err());
        assert!(HostName::parse("web 1").is_err());
        assert!(HostName::parse("web-1.example.net").is_ok());
    }

    #[test]
    fn ids_of_later_milliseconds_sort_later() {
        let early = EventId::mint(Timestamp::from_micros(1_000_000), [0xff; 10]);
        let late = EventId::mint(Timestamp::from_micros(1_001_000), [0; 10]);
        assert!(early < late);
        assert_eq!(EventId::parse(&early.to_string()).unwrap(), early);
        assert_eq!(late.minted_at(), Some(Timestamp::from_micros(1_001_000)));
        assert_eq!(EventId::from_bytes([1; 16]).minted_at(), None);
    }

    #[test]
    fn a_sequence_number_stays_below_two_to_the_63() {
        assert_eq!(Seq::new(u64::MAX), None);
        assert_eq!(Seq::new(i64::MAX as u64).unwrap().next().get(), i64::MAX as u64);
    }

    #[test]
    fn a_run_key_has_128_bytes_at_most() {
        assert_eq!(RUN_KEY_BYTES_MAX, 128);
        assert!(RunKey::parse(&"k".repeat(128)).is_ok());
        for (text, reason) in
            [("k".repeat(129), "has 129 bytes"), ("ä".repeat(65), "has 130 bytes"), (String::new(), "empty")]
        {
            let error = RunKey::parse(&text).unwrap_err().to_string();
            assert!(error.contains("run_key") && error.contains(reason), "{error}");
        }
    }
}
