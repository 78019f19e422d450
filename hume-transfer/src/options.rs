//! `[transfer.NAME.KIND]`: what every kind understands, and how a kind adds its own keys.
//!
//! The kind is a key and not a value, so a misspelt key is reported on its own line. The keys of all kinds are written once, in
//! `options!`: serde cannot refuse unknown keys of a flattened struct.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use hume_core::event::{EventKind, StoredEvent};
use hume_core::filter::{EventFilter, KindFilter};
use hume_core::{BoundError, Level};
use serde::{Deserialize, Deserializer};
use wildmatch::WildMatch;

use crate::kinds;

/// Longest name of a transfer, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most transfers of one daemon.
pub const TRANSFERS_MAX: usize = 64;

/// All of `[transfer]`, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfers(pub BTreeMap<TransferName, kinds::Options>);

impl<'de> Deserialize<'de> for Transfers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Transfers, D::Error> {
        let transfers = BTreeMap::<TransferName, kinds::Options>::deserialize(from)?;
        if transfers.len() > TRANSFERS_MAX {
            return Err(serde::de::Error::custom(format!("has more than {TRANSFERS_MAX} transfers")));
        }
        Ok(Transfers(transfers))
    }
}

/// What an administrator calls a transfer: 1 to 64 letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferName(String);

impl TransferName {
    /// # Errors
    /// [`BoundError`] naming the bound.
    pub fn parse(text: &str) -> Result<TransferName, BoundError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(is_plain) {
            let bound = format!("has 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`");
            return Err(BoundError::new("transfer", bound));
        }
        Ok(TransferName(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TransferName {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<TransferName, BoundError> {
        TransferName::parse(text)
    }
}

impl fmt::Display for TransferName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TransferName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<TransferName, D::Error> {
        let text = String::deserialize(from)?;
        TransferName::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A name with `*` and `?`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatch);

impl Eq for Pattern {}

impl Pattern {
    /// Whether the whole text is like this.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pattern, D::Error> {
        Ok(Pattern(WildMatch::new(&String::deserialize(from)?)))
    }
}

/// So many notices in so long: `20/m`. At most all of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl Rate {
    /// What people can read, and what Slack lets through.
    pub const PEOPLE: Rate = Rate { count: 20, per: Duration::from_mins(1) };

    /// Reads `20/m`: a number from 1 to 100,000, and `s`, `m` or `h`.
    pub fn parse(text: &str) -> Option<Rate> {
        let (count, unit) = text.split_once('/')?;
        let count = count.parse().ok().filter(|count| (1..=100_000).contains(count))?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return None,
        };
        Some(Rate { count, per })
    }
}

/// `rate` of a configuration: a [`Rate`], or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateWish {
    /// As much as comes.
    Unbounded,
    /// At most so much.
    AtMost(Rate),
}

impl<'de> Deserialize<'de> for RateWish {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RateWish, D::Error> {
        let text = String::deserialize(from)?;
        if text == "none" {
            return Ok(RateWish::Unbounded);
        }
        let wrong =
            || serde::de::Error::custom(format!("`{text}` is no rate: write \"20/m\", \"1/s\" or \"none\""));
        Rate::parse(&text).map(RateWish::AtMost).ok_or_else(wrong)
    }
}

/// Where a transfer begins that has never run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the oldest event that is kept.
    Beginning,
}

/// What one notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// One event.
    #[default]
    Event,
    /// One run, told of when it first goes wrong, else when it ends. An event without a run is told of alone.
    Run,
}

pub(crate) fn retry_min_default() -> NonZeroU32 {
    const { NonZeroU32::new(1000).expect("it is not zero") }
}

pub(crate) fn retry_max_default() -> NonZeroU32 {
    const { NonZeroU32::new(5 * 60 * 1000).expect("it is not zero") }
}

pub(crate) fn level_default() -> Level {
    Level::Debug
}

pub(crate) fn level_word<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

pub(crate) fn kind_words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<EventKind>, D::Error> {
    let words = Vec::<String>::deserialize(from)?;
    let known = || EventKind::ALL.map(EventKind::as_str).join("`, `");
    let read = |word: &String| {
        let wrong =
            || serde::de::Error::custom(format!("unknown kind `{word}`, allowed here: `{}`", known()));
        EventKind::from_word(word).ok_or_else(wrong)
    };
    words.iter().map(read).collect()
}

/// What every kind understands: which events it wants, and how they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Only of these tasks, with `*` and `?`; all when empty. An event without a task has the empty name.
    pub tasks: Vec<Pattern>,
    /// Not of these tasks.
    pub not_tasks: Vec<Pattern>,
    /// Only of these hosts; all when empty.
    pub hosts: Vec<Pattern>,
    /// Not of these hosts.
    pub not_hosts: Vec<Pattern>,
    /// Only with one of these tags; all when empty.
    pub tags: Vec<Pattern>,
    /// Not with any of these tags.
    pub not_tags: Vec<Pattern>,
    /// At least as bad as this.
    pub level_min: Level,
    /// Only of these kinds; all when empty.
    pub kinds: Vec<EventKind>,
    /// Where it begins when it is new.
    pub from: From,
    /// What one notice is about.
    pub per: Per,
    /// How many notices in which time; as the kind has it when missing.
    pub rate: Option<RateWish>,
    /// Base name of its templates; the transfer's name when missing.
    pub template: Option<String>,
    /// The first step of the pauses between tries, in milliseconds.
    pub retry_min_ms: NonZeroU32,
    /// The last step.
    pub retry_max_ms: NonZeroU32,
}

impl Common {
    /// Whether this transfer wants the event.
    pub fn wants(&self, stored: &StoredEvent) -> bool {
        let event = &stored.event;
        event.level.rank() >= self.level_min.rank()
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.wants_run_of(stored)
    }

    /// Whether this transfer wants the run that the event opens, however the run will go: by task, host and tags.
    pub fn wants_run_of(&self, stored: &StoredEvent) -> bool {
        let Common {
            tasks,
            not_tasks,
            hosts,
            not_hosts,
            tags,
            not_tags,
            level_min: _,
            kinds: _,
            from: _,
            per: _,
            rate: _,
            template: _,
            retry_min_ms: _,
            retry_max_ms: _,
        } = self;
        let event = &stored.event;
        let any = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let any_tag = |patterns: &[Pattern]| event.tags.iter().any(|tag| any(patterns, tag.as_str()));
        (tasks.is_empty() || any(tasks, event.task.as_str()))
            && !any(not_tasks, event.task.as_str())
            && (hosts.is_empty() || any(hosts, event.host.as_str()))
            && !any(not_hosts, event.host.as_str())
            && (tags.is_empty() || any_tag(tags))
            && !any_tag(not_tags)
    }

    /// What of it a store can decide: everything that is wanted passes, and some more. What is told by run needs all events.
    pub fn narrow(&self) -> EventFilter {
        let kind = match self.kinds[..] {
            [EventKind::Reported] => KindFilter::Reported,
            [kind] => KindFilter::Only(kind),
            _ => KindFilter::All,
        };
        match self.per {
            Per::Event => EventFilter { level_min: Some(self.level_min), kind, ..EventFilter::default() },
            Per::Run => EventFilter { kind: KindFilter::All, ..EventFilter::default() },
        }
    }
}

/// Declares the keys of one kind: its own, and those that all kinds have. Own keys that need not be there are `Option`, or have a
/// `#[serde(default)]`.
macro_rules! options {
    (
        $(#[$about:meta])*
        pub struct Options {
            $( $(#[$about_key:meta])* pub $key:ident: $type:ty, )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Options {
            $( $(#[$about_key])* pub $key: $type, )*
            #[serde(default)]
            tasks: Vec<$crate::options::Pattern>,
            #[serde(default)]
            not_tasks: Vec<$crate::options::Pattern>,
            #[serde(default)]
            hosts: Vec<$crate::options::Pattern>,
            #[serde(default)]
            not_hosts: Vec<$crate::options::Pattern>,
            #[serde(default)]
            tags: Vec<$crate::options::Pattern>,
            #[serde(default)]
            not_tags: Vec<$crate::options::Pattern>,
            #[serde(default = "crate::options::level_default", deserialize_with = "crate::options::level_word")]
            level_min: hume_core::Level,
            #[serde(default, deserialize_with = "crate::options::kind_words")]
            kinds: Vec<hume_core::event::EventKind>,
            #[serde(default)]
            from: $crate::options::From,
            #[serde(default)]
            per: $crate::options::Per,
            #[serde(default)]
            rate: Option<$crate::options::RateWish>,
            #[serde(default)]
            template: Option<String>,
            #[serde(default = "crate::options::retry_min_default")]
            retry_min_ms: std::num::NonZeroU32,
            #[serde(default = "crate::options::retry_max_default")]
            retry_max_ms: std::num::NonZeroU32,
        }

        impl Options {
            /// What every kind understands.
            pub fn common(&self) -> $crate::options::Common {
                $crate::options::Common {
                    tasks: self.tasks.clone(),
                    not_tasks: self.not_tasks.clone(),
                    hosts: self.hosts.clone(),
                    not_hosts: self.not_hosts.clone(),
                    tags: self.tags.clone(),
                    not_tags: self.not_tags.clone(),
                    level_min: self.level_min,
                    kinds: self.kinds.clone(),
                    from: self.from,
                    per: self.per,
                    rate: self.rate,
                    template: self.template.clone(),
                    retry_min_ms: self.retry_min_ms,
                    retry_max_ms: self.retry_max_ms,
                }
            }
        }
    };
}
pub(crate) use options;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hume_runtime::config::{self, ConfigError};

    use super::*;
    use crate::testing::{common, stored};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        transfer: Transfers,
    }

    fn parse(text: &str) -> Result<Transfers, ConfigError> {
        config::parse::<Whole>(Path::new("agent.toml"), text).map(|whole| whole.transfer)
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_key_or_kind_is_named_on_its_line() {
        let error = refusal("[transfer.x.file]\npath = \"lines\"\nlevel_mni = \"error\"\n");
        assert_eq!(error, "agent.toml:3:1: unknown key `level_mni`, did you mean `level_min`?");
        let error = refusal("[transfer.x.fiel]\npath = \"lines\"\n");
        assert!(error.starts_with("agent.toml:1:") && error.contains("did you mean `file`?"), "{error}");
        assert!(refusal("[transfer.x.file]\n").contains("missing key `path`"));
    }

    #[test]
    fn a_wrong_value_is_named_on_its_line() {
        for (key, told) in [
            ("level_min = \"bad\"", "bad"),
            ("kinds = [\"state\"]", "unknown kind `state`"),
            ("rate = \"20\"", "write \"20/m\""),
            ("rate = \"0/s\"", "is no rate"),
            ("per = \"task\"", "unknown value `task`"),
            ("retry_min_ms = 0", "nonzero"),
        ] {
            let error = refusal(&format!("[transfer.x.file]\npath = \"lines\"\n{key}\n"));
            assert!(error.starts_with("agent.toml:3:") && error.contains(told), "{error}");
        }
        assert!(refusal("[transfer.\"a b\".file]\npath = \"x\"\n").contains("letters, digits"));
    }

    #[test]
    fn what_is_not_said_wants_everything() {
        let all = common("");
        assert_eq!((all.level_min, all.from, all.per, all.rate), (Level::Debug, From::Now, Per::Event, None));
        for level in Level::ALL {
            assert!(all.wants(&stored(level, "BACKUP", "web1", "x")));
        }
    }

    #[test]
    fn tasks_hosts_tags_level_and_kind_choose_and_the_nots_take_away() {
        let choose = |keys: &str, task: &str, host: &str| {
            let mut event = stored(Level::Warning, task, host, "x");
            event.event.tags = vec![hume_core::Tag::parse("cron").unwrap()];
            let chosen = common(keys);
            // What the store is asked for never leaves out what is wanted.
            assert!(!chosen.wants(&event) || chosen.narrow().matches(&event), "{keys}");
            chosen.wants(&event)
        };
        for (keys, expected) in [
            ("tasks = [\"BACK*\"]", true),
            ("tasks = [\"UPDATE\", \"BACKU?\"]", true),
            ("tasks = [\"UPDATE\"]", false),
            ("not_tasks = [\"B*\"]", false),
            ("hosts = [\"web*\"]", true),
            ("hosts = [\"db*\"]", false),
            ("not_hosts = [\"web1\"]", false),
            ("tags = [\"cr?n\"]", true),
            ("tags = [\"php\"]", false),
            ("not_tags = [\"cron\"]", false),
            ("level_min = \"warning\"", true),
            ("level_min = \"unknown\"", true),
            ("level_min = \"error\"", false),
            ("kinds = [\"reported\"]", true),
            ("kinds = [\"run\", \"watchdog\"]", false),
            ("tasks = [\"BACK*\"]\nnot_hosts = [\"web*\"]", false),
        ] {
            assert_eq!(choose(keys, "BACKUP", "web1"), expected, "{keys}");
        }
        assert!(choose("tasks = [\"\"]", "", "web1"), "an event without a task has the empty name");
    }

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        assert_eq!(Rate::parse("20/m"), Some(Rate { count: 20, per: Duration::from_mins(1) }));
        for wrong in ["", "20", "20/", "/m", "0/m", "-1/s", "1/d", "100001/s"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
        assert_eq!(common("rate = \"none\"").rate, Some(RateWish::Unbounded));
    }
}
