//! What a script says of itself: when it is expected, in one text, such as `30 2 * * *; start_grace=30m`.
//!
//! The text travels with an event as the extra [`EXPECT_KEY`], so that any version carries it. Lines of a schedule and keys of
//! `[watch.NAME]` are separated by semicolons; `never` takes back what was said. What it means is a [`Watch`] of that task
//! on that host alone.

use serde::de::value::Error as ValueError;
use serde::de::{Deserialize, IntoDeserializer as _};

use super::{
    Declared, Length, Lines, MatchBy, OfflinePolicy, SCHEDULES_MAX, Selector, TimeZoneDatabase, Watch,
    duration,
};
use crate::error::BoundError;
use crate::event::Draft;
use crate::name::{HostName, TaskName, WatchName};
use crate::policy::{Span, TaskPatterns};

/// The extra of an event that says when its task is expected.
pub const EXPECT_KEY: &str = "hume.expect";
/// Longest text, in bytes.
pub const EXPECT_BYTES_MAX: usize = 1024;
/// What takes it back.
const NEVER: &str = "never";
/// A text that says much.
const EXAMPLE: &str = "`30 2 * * *; start_grace=30m; max_runtime=2h`";
/// Bytes of a name that are kept when it is too long.
const PART_BYTES_MAX: usize = 27;

/// What is expected of a task on a host, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing any more.
    Never,
    /// This.
    When(Box<Declared>),
}

impl Expectation {
    /// What an event's extras say of it, if they do; the last word counts.
    pub fn text(extra: &[(String, String)]) -> Option<&str> {
        extra.iter().rev().find(|(key, _)| key == EXPECT_KEY).map(|(_, text)| text.as_str())
    }

    /// Whether a draft says nothing else: nothing happened then, and no run is opened by it.
    pub fn is_all_of(draft: &Draft) -> bool {
        let Draft { command, flag, message, exit, extra, .. } = draft;
        command.is_none()
            && flag.is_none()
            && message.is_empty()
            && exit.is_none()
            && Expectation::text(extra).is_some()
    }

    /// Reads the text.
    /// # Errors
    /// [`BoundError`] naming the key that cannot be read, with an example.
    pub fn parse(text: &str) -> Result<Expectation, BoundError> {
        if text.len() > EXPECT_BYTES_MAX {
            let why = format!("has {} bytes; at most {EXPECT_BYTES_MAX} are allowed", text.len());
            return Err(BoundError::new("expect", why));
        }
        if text.trim() == NEVER {
            return Ok(Expectation::Never);
        }
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let (keys, lines): (Vec<&str>, Vec<&str>) = parts.partition(|part| key_of(part).is_some());
        if lines.is_empty() || lines.len() > SCHEDULES_MAX {
            let why =
                format!("has {} times; 1 to {SCHEDULES_MAX} are allowed, such as {EXAMPLE}", lines.len());
            return Err(BoundError::new("expect", why));
        }
        let mut declared = Declared::of(lines.into_iter().map(str::to_owned).collect());
        for (key, value) in keys.into_iter().filter_map(key_of) {
            declared.set(key, value)?;
        }
        Ok(Expectation::When(Box::new(declared)))
    }

    /// The watch that it is for a task on a host; none when nothing is expected.
    /// # Errors
    /// [`BoundError`] naming what cannot be, with an example.
    pub fn watch(
        self,
        task: &TaskName,
        host: &HostName,
        zones: &TimeZoneDatabase,
    ) -> Result<Option<Watch>, BoundError> {
        if task.is_none() {
            return Err(BoundError::new("task", "must be given with what is expected, such as `-t BACKUP`"));
        }
        if let Some(name) = [task.as_str(), host.as_str()].into_iter().find(|name| name.contains(['*', '?']))
        {
            let why =
                format!("`{name}` has a star or a question mark, which would stand for other names as well");
            return Err(BoundError::new("expect", why));
        }
        let declared = match self {
            Expectation::Never => return Ok(None),
            Expectation::When(declared) => declared,
        };
        let watch = declared.check(&watch_name(task, host), zones)?;
        let tasks = TaskPatterns::one(task.as_str()).map_err(|why| BoundError::new("task", why))?;
        let hosts = Selector::check(Some(vec![host.as_str().to_owned()]), Vec::new())?;
        Ok(Some(Watch { tasks, hosts, ..watch }))
    }
}

/// `key=value`, where the key is a word; a time has no such word before an equals sign.
fn key_of(part: &str) -> Option<(&str, &str)> {
    let (key, value) = part.split_once('=')?;
    let key = key.trim();
    let is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_word.then_some((key, value.trim()))
}

/// What a watch is called that a host declared: `BACKUP.web1`, with a number behind what had to be changed for that.
pub fn watch_name(task: &TaskName, host: &HostName) -> WatchName {
    let plain = |text: &str| -> String {
        let fits = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        text.chars().map(fits).take(PART_BYTES_MAX).collect()
    };
    let whole = format!("{task}.{host}");
    // With a dot in the task nobody could tell where the host begins.
    if let Ok(name) = WatchName::parse(&whole)
        && !task.as_str().contains('.')
    {
        return name;
    }
    // FNV-1a: names that look alike after the change stay apart.
    let both = task.as_str().bytes().chain([0]).chain(host.as_str().bytes());
    let sum = both
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let short = format!("{}.{}.{:07x}", plain(task.as_str()), plain(host.as_str()), sum & 0x0fff_ffff);
    WatchName::parse(&short).unwrap_or_else(|_| unreachable!("at most 63 letters, digits, dashes and dots"))
}

impl Declared {
    fn of(lines: Vec<String>) -> Declared {
        Declared {
            schedule: Lines::Several(lines),
            tasks: None,
            hosts: None,
            tags: Vec::new(),
            zone: None,
            dst: None,
            match_by: MatchBy::default(),
            start_grace: None,
            early: None,
            max_runtime: None,
            hard_runtime: None,
            min_runtime: None,
            min_gap: None,
            success_within: None,
            tolerate: None,
            fail_after: None,
            recover_after: None,
            offline_policy: OfflinePolicy::default(),
            offline_max: None,
            from: None,
            until: None,
        }
    }

    /// Gives a key its value. Which tasks and hosts it is for is not a script's to say.
    fn set(&mut self, key: &str, value: &str) -> Result<(), BoundError> {
        match key {
            "grace" | "start_grace" => self.start_grace = Some(length("start_grace", value)?),
            "early" => self.early = Some(length("early", value)?),
            "max_runtime" => self.max_runtime = Some(length("max_runtime", value)?),
            "hard_runtime" => self.hard_runtime = Some(length("hard_runtime", value)?),
            "min_runtime" => self.min_runtime = Some(length("min_runtime", value)?),
            "min_gap" => self.min_gap = Some(length("min_gap", value)?),
            "success_within" => self.success_within = Some(length("success_within", value)?),
            "tolerate" => self.tolerate = Some(value.to_owned()),
            "fail_after" => self.fail_after = Some(count("fail_after", value)?),
            "recover_after" => self.recover_after = Some(count("recover_after", value)?),
            "match_by" => self.match_by = word("match_by", value, "start")?,
            "offline_policy" => self.offline_policy = word("offline_policy", value, "hold")?,
            "offline_max" => self.offline_max = Some(word::<Span>("offline_max", value, "24h")?),
            "zone" => self.zone = Some(value.to_owned()),
            "dst" => self.dst = Some(word("dst", value, "vixie")?),
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(BoundError::new(
                    "expect",
                    format!(
                        "has `{other}`, which says nothing about when a task is expected; write {EXAMPLE}"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn length(key: &'static str, value: &str) -> Result<Length, BoundError> {
    let refused = || BoundError::new(key, format!("`{}` is no duration; write `{key}=30m`", short(value)));
    duration::parse(value).map(Length).ok_or_else(refused)
}

fn count(key: &'static str, value: &str) -> Result<u32, BoundError> {
    value
        .parse()
        .map_err(|_| BoundError::new(key, format!("`{}` is no number; write `{key}=2`", short(value))))
}

fn word<'de, T: Deserialize<'de>>(
    key: &'static str,
    value: &'de str,
    example: &str,
) -> Result<T, BoundError> {
    T::deserialize(value.into_deserializer()).map_err(|error: ValueError| {
        BoundError::new(key, format!("`{}`: {error}; write `{key}={example}`", short(value)))
    })
}

fn short(text: &str) -> String {
    text.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Plan, Tolerate};
    use proptest::prelude::*;
    use std::time::Duration;

    fn watch(task: &str, host: &str, text: &str) -> Result<Option<Watch>, BoundError> {
        let (task, host) = (TaskName::parse(task).unwrap(), HostName::parse(host).unwrap());
        Expectation::parse(text)?.watch(&task, &host, &TimeZoneDatabase::bundled())
    }

    fn good(text: &str) -> Watch {
        watch("BACKUP", "web1", text).unwrap().unwrap()
    }

    #[test]
    fn a_time_alone_is_a_watch_of_that_task_on_that_host() {
        let watch = good("30 2 * * *");
        assert_eq!(watch.name.as_str(), "BACKUP.web1");
        let (own, other) = (HostName::parse("web1").unwrap(), HostName::parse("web2").unwrap());
        assert!(watch.hosts.has(&own, &[]) && !watch.hosts.has(&other, &[]));
        let is_for = |task: &str| watch.tasks.has(&TaskName::parse(task).unwrap());
        assert!(is_for("BACKUP") && !is_for("BACKUP_DB"));
        assert!(matches!(watch.plan(&jiff::tz::TimeZone::UTC), Plan::Moments(_)));
    }

    #[test]
    fn lines_and_keys_are_read_in_any_order() {
        let watch = good(
            "grace = 30m; 30 2 * * mon-fri; Sat 06:00;max_runtime=2h; tolerate=1 of 4; recover_after=2;",
        );
        assert_eq!((watch.schedule.len(), watch.terms.start_grace), (2, Duration::from_mins(30)));
        assert_eq!(watch.terms.max_runtime, Some(Duration::from_hours(2)));
        assert_eq!(watch.telling.tolerate, Some(Tolerate { bad: 1, of: 4 }));
        let all = "daily; match_by=end; min_runtime=1s; min_gap=1h; success_within=6h; fail_after=2; \
                   offline_policy=alert; offline_max=never; zone=Europe/Berlin; max_runtime=2h; hard_runtime=3h";
        let watch = good(all);
        assert_eq!((watch.telling.fail_after, watch.terms.offline_max), (2, None));
        assert_eq!(good("OnCalendar=Sun 03:00; dst=posix; early=0s").schedule.len(), 1);
    }

    #[test]
    fn never_takes_it_back() {
        assert_eq!(watch("BACKUP", "web1", " never "), Ok(None));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name_with_an_example() {
        for (text, words) in [
            ("", "expect has 0 times; 1 to 32 are allowed, such as `30 2 * * *; start_grace=30m"),
            ("start_grace=30m", "expect has 0 times"),
            ("30 2 30 2 *", "day of `30 2 30 2 *` never comes"),
            ("30 2 * *", "schedule `30 2 * *` has 4 fields"),
            ("daily; start=5m", "expect has `start`, which says nothing"),
            ("daily; hosts=web2", "expect has `hosts`"),
            ("30 2 * * *; grace=30", "start_grace `30` is no duration; write `start_grace=30m`"),
            ("30 2 * * *; fail_after=x", "fail_after `x` is no number; write `fail_after=2`"),
            ("30 2 * * *; offline_policy=x", "write `offline_policy=hold`"),
            ("30 2 * * *; offline_max=x", "write `offline_max=24h`"),
            ("30 2 * * *; zone=Mars/Olympus", "zone `Mars/Olympus` is not known"),
            ("30 2 * * *; every 6h", "stands alone"),
        ] {
            let error = watch("BACKUP", "web1", text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(watch("", "web1", "daily").unwrap_err().to_string().contains("such as `-t BACKUP`"));
        assert!(watch("BACKUP*", "web1", "daily").unwrap_err().to_string().contains("has a star"));
        assert!(watch("X", "web1", &"x".repeat(EXPECT_BYTES_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = watch("BACKUP", "web1", &text);
        }

        #[test]
        fn every_task_on_every_host_has_a_name_of_its_own(
            tasks in proptest::collection::vec("[ -~äö]{1,70}", 2), hosts in proptest::collection::vec("[!-~]{1,80}", 2),
        ) {
            let names: Vec<_> = tasks.iter().zip(&hosts).filter_map(|(task, host)| {
                Some((task, host, watch_name(&TaskName::parse(task).ok()?, &HostName::parse(host).ok()?)))
            }).collect();
            if let [one, other] = &names[..] {
                prop_assert_eq!((one.0, one.1) == (other.0, other.1), one.2 == other.2);
            }
        }
    }
}
