//! What is expected of a task on its hosts: a watch, as it is declared in `[watch.NAME]` and as it is judged by.
//!
//! [`Watches`] is what a configuration says, [`Watch`] what it means after [`Declared::check`] refused what contradicts
//! itself. A watch is for every host that its selector names; any run of a task that its patterns name will do.

mod expect;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, de};
use wildmatch::WildMatch;

use crate::duration;
use crate::error::BoundError;
use crate::name::{HostName, Tag, TaskName, WatchName};
use crate::policy::{Span, TaskPatterns};
use crate::schedule::{self, Dst, Schedule, Timetable};
use crate::time::Timestamp;

pub use expect::{EXPECT_BYTES_MAX, EXPECT_KEY, Expectation, watch_name};

/// A start may be so much later than its time, unless said otherwise.
pub const START_GRACE: Duration = Duration::from_mins(5);
/// A start may be so much earlier than its time, unless said otherwise.
pub const EARLY: Duration = Duration::from_mins(1);
/// A slot of a host that cannot be reached counts as missed after so long, unless said otherwise.
pub const OFFLINE_MAX: Duration = Duration::from_hours(24);
/// Most watches of one configuration.
pub const WATCHES_MAX: usize = 10_000;
/// Most lines of one schedule.
pub const SCHEDULES_MAX: usize = 32;
/// Most slots that `tolerate` may look back on.
pub const TOLERATE_OF_MAX: u32 = 64;
/// Most failures, or recoveries, that may be waited for.
pub const CONSECUTIVE_MAX: u32 = 100;

/// Which end of a run is compared with the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatchBy {
    /// Its start.
    #[default]
    Start,
    /// Its end: for tasks that only report when they are done.
    End,
}

/// What becomes of a slot whose host cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfflinePolicy {
    /// It waits: one alert for the host, none for its tasks.
    #[default]
    Hold,
    /// It waits, and an alert for each task as well.
    Alert,
    /// It is excused: laptops sleep.
    Ignore,
}

/// So many of the latest slots may be bad before somebody is told: `1 of 4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerate {
    /// At most so many.
    pub bad: u32,
    /// Of so many.
    pub of: u32,
}

impl FromStr for Tolerate {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Tolerate, BoundError> {
        let numbers =
            text.split_once(" of ").and_then(|(bad, of)| Some((bad.parse().ok()?, of.parse().ok()?)));
        let tolerate = numbers.map(|(bad, of)| Tolerate { bad, of });
        let is_sound =
            |tolerate: &Tolerate| (1..tolerate.of).contains(&tolerate.bad) && tolerate.of <= TOLERATE_OF_MAX;
        tolerate.filter(is_sound).ok_or_else(|| {
            BoundError::new(
                "tolerate",
                format!("is `N of M` with N below M, and M up to {TOLERATE_OF_MAX}, such as `1 of 4`"),
            )
        })
    }
}

/// What is compared with each slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A run that starts later than this after its slot is late, and none until then is missed.
    pub start_grace: Duration,
    /// So long before its slot a run already belongs to it.
    pub early: Duration,
    /// A run that goes on for longer is overdue.
    pub max_runtime: Option<Duration>,
    /// A run that goes on for longer has failed.
    pub hard_runtime: Option<Duration>,
    /// A run that takes less was too short.
    pub min_runtime: Option<Duration>,
    /// A run that starts sooner after the one before came too soon.
    pub min_gap: Option<Duration>,
    /// Some run of the slot must have succeeded within this, however many failed before it.
    pub success_within: Option<Duration>,
    /// Which end of a run counts.
    pub match_by: MatchBy,
    /// What becomes of slots of hosts that cannot be reached.
    pub offline_policy: OfflinePolicy,
    /// After so long they count as missed; none is never.
    pub offline_max: Option<Duration>,
}

/// When somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    /// So many of the latest may be bad.
    pub tolerate: Option<Tolerate>,
    /// So many failures in a row are a problem.
    pub fail_after: u32,
    /// So many good ones in a row end it.
    pub recover_after: u32,
}

impl Default for Telling {
    fn default() -> Telling {
        Telling { tolerate: None, fail_after: 1, recover_after: 1 }
    }
}

/// In which zone a schedule is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// In that of each host.
    Host,
    /// In this one.
    Of(TimeZone),
}

/// When slots come.
#[derive(Clone, Debug)]
pub enum Plan {
    /// At these moments.
    Moments(Timetable),
    /// At any time between one of these moments and the next.
    Periods(Timetable),
    /// So long after the start of the run before.
    Every(Duration),
}

/// A watch whose parts agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its name.
    pub name: WatchName,
    /// Runs of any of these tasks will do.
    pub tasks: TaskPatterns,
    /// On these hosts.
    pub hosts: Selector,
    /// Its lines: at least one.
    pub schedule: Vec<Schedule>,
    /// Where the lines are read.
    pub zone: Zone,
    /// What replaces the rule of each line for changes of the clock.
    pub dst: Option<Dst>,
    /// What is compared.
    pub terms: Terms,
    /// When somebody is told.
    pub telling: Telling,
    /// No slot is before this.
    pub from: Option<Timestamp>,
    /// No slot is at this or after it.
    pub until: Option<Timestamp>,
}

impl Watch {
    /// What decides when slots come and what becomes of them, as a text: whether a watch means the same as before.
    pub fn meaning(&self) -> String {
        let Watch { name: _, tasks, hosts: _, schedule, zone, dst, terms, telling: _, from, until } = self;
        let tasks: Vec<String> = tasks.texts().collect();
        let lines: Vec<String> = schedule.iter().map(Schedule::to_string).collect();
        let zone = match zone {
            Zone::Host => "host",
            Zone::Of(zone) => zone.iana_name().unwrap_or("UTC"),
        };
        format!("{tasks:?} {lines:?} {zone} {dst:?} {terms:?} {from:?} {until:?}")
    }

    /// The task that it is told under: its only one, or its own name where patterns allow several.
    pub fn told_as(&self) -> TaskName {
        let mut tasks = self.tasks.texts();
        let only = tasks.next().filter(|only| tasks.next().is_none() && !only.contains(['*', '?']));
        only.and_then(|only| TaskName::parse(&only).ok())
            .or_else(|| TaskName::parse(self.name.as_str()).ok())
            .unwrap_or_else(TaskName::none)
    }

    /// When slots come on a host in this zone.
    pub fn plan(&self, host: &TimeZone) -> Plan {
        if let Some(interval) = self.schedule.iter().find_map(Schedule::every) {
            return Plan::Every(interval);
        }
        let zone = match &self.zone {
            Zone::Host => host,
            Zone::Of(zone) => zone,
        };
        let table = Timetable::new(&self.schedule, zone, self.dst);
        let is_period = self.schedule.iter().any(|line| line.period().is_some());
        if is_period { Plan::Periods(table) } else { Plan::Moments(table) }
    }
}

/// Which hosts: all, unless names or tags are given; then those that have one of the names and all of the tags.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Selector {
    names: Vec<WildMatch>,
    tags: Vec<Tag>,
}

impl Eq for Selector {}

impl Selector {
    /// Whether this host is meant.
    pub fn has(&self, host: &HostName, tags: &[Tag]) -> bool {
        let Selector { names, tags: wanted } = self;
        (names.is_empty() || names.iter().any(|name| name.matches(host.as_str())))
            && wanted.iter().all(|tag| tags.contains(tag))
    }

    fn check(names: Option<Vec<String>>, tags: Vec<Tag>) -> Result<Selector, BoundError> {
        let refuse = |why: String| BoundError::new("hosts", why);
        if names.as_ref().is_some_and(Vec::is_empty) {
            return Err(refuse(
                "is an empty list, which is for no host: leave it out for all of them".into(),
            ));
        }
        let names = names.unwrap_or_default();
        for name in &names {
            let shown: String = name.chars().take(32).collect();
            if name.contains(['[', ']', '{', '}']) {
                return Err(refuse(format!("has `{shown}` with brackets: only * and ? are for other text")));
            }
            HostName::parse(&name.replace(['*', '?'], "x")).map_err(|error| {
                refuse(format!("has `{shown}`, which no host can have: it {}", error.reason))
            })?;
        }
        Ok(Selector { names: names.iter().map(|name| WildMatch::new(name)).collect(), tags })
    }
}

/// All sections `[watch.NAME]` of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Watches(BTreeMap<WatchName, Declared>);

impl Watches {
    /// What they mean, by name.
    /// # Errors
    /// Of the first that contradicts itself, with its name; of one that is too many.
    pub fn check(self, zones: &TimeZoneDatabase) -> Result<Vec<Watch>, WatchError> {
        if let Some((name, _)) = self.0.iter().nth(WATCHES_MAX) {
            let why = BoundError::new("watch", format!("is one too many: at most {WATCHES_MAX} are allowed"));
            return Err(WatchError { name: name.clone(), why });
        }
        let check = |(name, declared): (WatchName, Declared)| {
            declared.check(&name, zones).map_err(|why| WatchError { name, why })
        };
        self.0.into_iter().map(check).collect()
    }
}

/// A watch that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("watch.{name}: {why}")]
pub struct WatchError {
    /// Which one.
    pub name: WatchName,
    /// Which key, and why.
    pub why: BoundError,
}

/// One section `[watch.NAME]`, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// One line, or several.
    schedule: Lines,
    /// The watch's own name, unless given.
    #[serde(default)]
    tasks: Option<TaskPatterns>,
    #[serde(default)]
    hosts: Option<Vec<String>>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    dst: Option<Dst>,
    #[serde(default)]
    match_by: MatchBy,
    #[serde(default)]
    start_grace: Option<Length>,
    #[serde(default)]
    early: Option<Length>,
    #[serde(default)]
    max_runtime: Option<Length>,
    #[serde(default)]
    hard_runtime: Option<Length>,
    #[serde(default)]
    min_runtime: Option<Length>,
    #[serde(default)]
    min_gap: Option<Length>,
    #[serde(default)]
    success_within: Option<Length>,
    #[serde(default)]
    tolerate: Option<String>,
    #[serde(default)]
    fail_after: Option<u32>,
    #[serde(default)]
    recover_after: Option<u32>,
    #[serde(default)]
    offline_policy: OfflinePolicy,
    #[serde(default)]
    offline_max: Option<Span>,
    #[serde(default)]
    from: Option<Timestamp>,
    #[serde(default)]
    until: Option<Timestamp>,
}

/// A line, or a list of lines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "schedule is a text such as \"30 2 * * *\", or a list of them")]
enum Lines {
    One(String),
    Several(Vec<String>),
}

/// A duration, which may be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length(Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Length, D::Error> {
        from.deserialize_str(LengthVisitor)
    }
}

struct LengthVisitor;

impl de::Visitor<'_> for LengthVisitor {
    type Value = Length;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"90s\" or \"1h30m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Length, E> {
        let length = duration::parse(text).map(Length);
        length.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl Declared {
    /// What it means.
    /// # Errors
    /// [`BoundError`] naming the key that cannot be read, or contradicts another.
    pub fn check(self, name: &WatchName, zones: &TimeZoneDatabase) -> Result<Watch, BoundError> {
        let schedule = self.lines(zones)?;
        self.check_kind(&schedule)?;
        let terms = self.terms();
        self.check_terms(&terms)?;
        if self.from.zip(self.until).is_some_and(|(from, until)| from >= until) {
            return Err(BoundError::new("until", "is not after `from`"));
        }
        let zone = match self.zone.as_deref() {
            None | Some("host") => Zone::Host,
            Some(zone) => Zone::Of(schedule::zone(zone, zones)?),
        };
        let tasks = match self.tasks.clone() {
            Some(tasks) => tasks,
            None => TaskPatterns::one(name.as_str()).map_err(|why| BoundError::new("tasks", why))?,
        };
        Ok(Watch {
            name: name.clone(),
            tasks,
            hosts: Selector::check(self.hosts.clone(), self.tags.clone())?,
            schedule,
            zone,
            dst: self.dst,
            terms,
            telling: self.telling()?,
            from: self.from,
            until: self.until,
        })
    }

    fn lines(&self, zones: &TimeZoneDatabase) -> Result<Vec<Schedule>, BoundError> {
        let lines = match &self.schedule {
            Lines::One(line) => std::slice::from_ref(line),
            Lines::Several(lines) => lines.as_slice(),
        };
        if lines.is_empty() || lines.len() > SCHEDULES_MAX {
            let why =
                format!("has {} lines; 1 to {SCHEDULES_MAX} are allowed, such as `30 2 * * *`", lines.len());
            return Err(BoundError::new("schedule", why));
        }
        lines.iter().map(|line| Schedule::parse(line, zones)).collect()
    }

    /// Intervals and periods stand alone, and have no point in time that a grace could be for.
    fn check_kind(&self, schedule: &[Schedule]) -> Result<(), BoundError> {
        let interval = schedule.iter().find(|line| line.every().is_some());
        let period = schedule.iter().find(|line| line.period().is_some());
        let Some(line) = interval.or(period) else { return Ok(()) };
        let refuse = |field, why: &str| Err(BoundError::new(field, format!("{why} of `{line}`")));
        if schedule.len() > 1 {
            return Err(BoundError::new(
                "schedule",
                format!("has other lines beside `{line}`, which stands alone"),
            ));
        }
        if self.early.is_some() {
            return refuse("early", "says nothing about runs");
        }
        if self.dst.is_some() {
            return refuse("dst", "says nothing about slots");
        }
        if period.is_some() && self.start_grace.is_some() {
            return refuse("start_grace", "is for a point in time such as `30 2 * * *`, and not for all");
        }
        if interval.is_some() && self.match_by == MatchBy::End {
            return refuse("match_by", "must be `start` for the slots");
        }
        Ok(())
    }

    fn terms(&self) -> Terms {
        let length = |length: Option<Length>| length.map(|Length(length)| length);
        Terms {
            start_grace: length(self.start_grace).unwrap_or(START_GRACE),
            early: length(self.early).unwrap_or(EARLY),
            max_runtime: length(self.max_runtime),
            hard_runtime: length(self.hard_runtime),
            min_runtime: length(self.min_runtime),
            min_gap: length(self.min_gap),
            success_within: length(self.success_within),
            match_by: self.match_by,
            offline_policy: self.offline_policy,
            offline_max: match self.offline_max {
                None => Some(OFFLINE_MAX),
                Some(Span::Of(max)) => Some(max),
                Some(Span::Never) => None,
            },
        }
    }

    fn check_terms(&self, terms: &Terms) -> Result<(), BoundError> {
        let beyond = |small: Option<Duration>, large: Option<Duration>| {
            small.zip(large).is_some_and(|(small, large)| small > large)
        };
        let hard_or_max = terms.max_runtime.or(terms.hard_runtime);
        if beyond(terms.min_runtime, hard_or_max) {
            return Err(BoundError::new("min_runtime", "is longer than max_runtime or hard_runtime"));
        }
        if beyond(terms.max_runtime, terms.hard_runtime) {
            return Err(BoundError::new("max_runtime", "is longer than hard_runtime"));
        }
        if terms.success_within.is_some_and(|within| within < terms.start_grace) {
            return Err(BoundError::new(
                "success_within",
                "is shorter than start_grace: who starts in time cannot make it",
            ));
        }
        if beyond(terms.min_runtime, terms.success_within) {
            return Err(BoundError::new("success_within", "is shorter than min_runtime"));
        }
        if self.offline_max.is_some() && terms.offline_policy == OfflinePolicy::Ignore {
            return Err(BoundError::new("offline_max", "says nothing when offline_policy is `ignore`"));
        }
        Ok(())
    }

    fn telling(&self) -> Result<Telling, BoundError> {
        let count = |field, count: Option<u32>| match count {
            None => Ok(1),
            Some(count) if (1..=CONSECUTIVE_MAX).contains(&count) => Ok(count),
            Some(count) => Err(BoundError::new(
                field,
                format!("is {count}; 1 to {CONSECUTIVE_MAX} are allowed, such as 2"),
            )),
        };
        if self.tolerate.is_some() && self.fail_after.is_some() {
            return Err(BoundError::new(
                "tolerate",
                "and fail_after contradict each other: keep one of them",
            ));
        }
        Ok(Telling {
            tolerate: self.tolerate.as_deref().map(str::parse).transpose()?,
            fail_after: count("fail_after", self.fail_after)?,
            recover_after: count("recover_after", self.recover_after)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::TaskName;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        watch: Watches,
    }

    fn watches(text: &str) -> Result<Vec<Watch>, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        file.watch.check(&TimeZoneDatabase::bundled()).map_err(|error| error.to_string())
    }

    fn watch(keys: &str) -> Watch {
        watches(&format!("[watch.BACKUP]\n{keys}")).unwrap().remove(0)
    }

    fn refusal(keys: &str) -> String {
        match watches(&format!("[watch.BACKUP]\n{keys}")) {
            Err(error) => error,
            Ok(_) => panic!("accepted: {keys}"),
        }
    }

    fn task(name: &str) -> TaskName {
        TaskName::parse(name).unwrap()
    }

    #[test]
    fn a_schedule_alone_is_a_watch_of_the_task_that_bears_its_name_on_all_hosts() {
        let watch = watch("schedule = \"30 2 * * *\"");
        assert!(watch.tasks.has(&task("BACKUP")) && !watch.tasks.has(&task("BACKUP_DB")));
        assert!(watch.hosts.has(&HostName::parse("web1").unwrap(), &[]));
        assert_eq!((watch.zone, watch.telling), (Zone::Host, Telling::default()));
        let Terms { start_grace, early, offline_policy, offline_max, match_by, .. } = watch.terms;
        assert_eq!((start_grace, early), (Duration::from_mins(5), Duration::from_mins(1)));
        assert_eq!((offline_policy, offline_max), (OfflinePolicy::Hold, Some(Duration::from_hours(24))));
        assert_eq!(match_by, MatchBy::Start);
    }

    #[test]
    fn every_key_is_read() {
        let watch = watch(
            "schedule = [\"30 2 * * mon-fri\", \"Sat 06:00\"]\ntasks = [\"BACKUP_*\"]\nhosts = [\"web*\", \"db?\"]\n\
             tags = [\"nightly\"]\nzone = \"Europe/Berlin\"\ndst = \"posix\"\nmatch_by = \"end\"\nstart_grace = \"30m\"\n\
             early = \"0s\"\nmax_runtime = \"2h\"\nhard_runtime = \"4h\"\nmin_runtime = \"10s\"\nmin_gap = \"1h\"\n\
             success_within = \"6h\"\ntolerate = \"1 of 4\"\nrecover_after = 2\noffline_policy = \"alert\"\n\
             offline_max = \"never\"\nfrom = \"2027-01-01T00:00:00Z\"\nuntil = \"2028-01-01T00:00:00Z\"",
        );
        assert_eq!(watch.schedule.len(), 2);
        assert!(watch.tasks.has(&task("BACKUP_DB")));
        let (web, tag) = (HostName::parse("web12").unwrap(), Tag::parse("nightly").unwrap());
        assert!(watch.hosts.has(&web, std::slice::from_ref(&tag)) && !watch.hosts.has(&web, &[]));
        assert!(!watch.hosts.has(&HostName::parse("db12").unwrap(), &[tag]));
        assert_eq!(watch.telling.tolerate, Some(Tolerate { bad: 1, of: 4 }));
        assert_eq!((watch.terms.early, watch.terms.offline_max), (Duration::ZERO, None));
        assert!(watch.from < watch.until);
        let Plan::Moments(table) = watch.plan(&TimeZone::UTC) else { panic!("no moments") };
        let next = table.next_after("2027-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(next, Some("2027-01-01T01:30:00Z".parse().unwrap()), "02:30 in Berlin");
    }

    #[test]
    fn a_plan_is_of_moments_periods_or_an_interval_in_the_zone_of_the_host() {
        let berlin = schedule::zone("Europe/Berlin", &TimeZoneDatabase::bundled()).unwrap();
        let Plan::Periods(days) = watch("schedule = \"daily\"").plan(&berlin) else { panic!("no periods") };
        let next = days.next_after("2027-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(next, Some("2027-01-01T23:00:00Z".parse().unwrap()));
        let every = watch("schedule = \"every 6h\"").plan(&berlin);
        assert!(matches!(every, Plan::Every(interval) if interval == Duration::from_hours(6)));
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name_and_key() {
        for (keys, says) in [
            ("", "schedule"),
            ("schedule = []", "watch.BACKUP: schedule has 0 lines"),
            ("schedule = 30", "such as \"30 2 * * *\", or a list"),
            ("schedule = \"30 2 30 2 *\"", "never comes"),
            ("schedule = [\"every 6h\", \"30 2 * * *\"]", "stands alone"),
            ("schedule = \"every 6h\"\nearly = \"5m\"", "early says nothing about runs of `every 6h`"),
            ("schedule = \"every 6h\"\nmatch_by = \"end\"", "match_by must be `start`"),
            ("schedule = \"daily\"\nstart_grace = \"5m\"", "start_grace is for a point in time"),
            ("schedule = \"daily\"\ndst = \"posix\"", "dst says nothing"),
            ("schedule = \"@daily\"\nstart_grace = 5", "a duration such as"),
            ("schedule = \"@daily\"\nstart_grace = \"5\"", "a duration such as"),
            ("schedule = \"@daily\"\nmax_runtime = \"2h\"\nhard_runtime = \"1h\"", "max_runtime is longer"),
            ("schedule = \"@daily\"\nmin_runtime = \"2h\"\nmax_runtime = \"1h\"", "min_runtime is longer"),
            ("schedule = \"@daily\"\nmin_runtime = \"2h\"\nhard_runtime = \"1h\"", "min_runtime is longer"),
            ("schedule = \"@daily\"\nsuccess_within = \"1m\"", "success_within is shorter than start_grace"),
            ("schedule = \"@daily\"\ntolerate = \"4 of 4\"", "such as `1 of 4`"),
            ("schedule = \"@daily\"\ntolerate = \"0 of 4\"", "such as `1 of 4`"),
            ("schedule = \"@daily\"\ntolerate = \"1 of 65\"", "up to 64"),
            ("schedule = \"@daily\"\ntolerate = \"1 of 4\"\nfail_after = 2", "contradict"),
            ("schedule = \"@daily\"\nfail_after = 0", "fail_after is 0; 1 to 100"),
            (
                "schedule = \"@daily\"\noffline_policy = \"ignore\"\noffline_max = \"1h\"",
                "offline_max says nothing",
            ),
            ("schedule = \"@daily\"\nzone = \"Mars/Olympus\"", "zone `Mars/Olympus` is not known"),
            ("schedule = \"@daily\"\nhosts = []", "hosts is an empty list"),
            ("schedule = \"@daily\"\nhosts = [\"web[12]\"]", "brackets"),
            ("schedule = \"@daily\"\nhosts = [\"web 1\"]", "white space"),
            ("schedule = \"@daily\"\ntasks = []", "empty list"),
            (
                "schedule = \"@daily\"\nfrom = \"2028-01-01T00:00:00Z\"\nuntil = \"2027-01-01T00:00:00Z\"",
                "until is not after",
            ),
            ("schedule = \"@daily\"\ngrace = \"5m\"", "unknown field `grace`"),
        ] {
            let refusal = refusal(keys);
            assert!(refusal.contains(says), "{keys}: {refusal}");
        }
        let error = watches("[watch.\"a b\"]\nschedule = \"@daily\"").unwrap_err();
        assert!(error.contains("only letters, digits"), "{error}");
    }
}
