//! One thing to tell: an event, a run, or how much there was of what could not be told one by one.
//!
//! Every notice has an event at its head, so a kind that knows of nothing else still tells the most important part.

use std::collections::BTreeMap;

use hume_core::event::{Command, Exit, StoredEvent};
use hume_core::status::Status;
use hume_core::{Level, RunId, Tag, Timestamp};
use hume_proto::rest::EventJson;
use serde::Serialize;

use crate::text::first_line;

/// Hosts and tasks that a digest counts by name; the others are counted together.
pub const DIGEST_NAMES_MAX: usize = 20;
/// Texts that a digest quotes, the worst first.
pub const DIGEST_SAMPLES_MAX: usize = 5;
/// Characters of each that people are shown.
const QUOTE_CHARACTERS_MAX: usize = 200;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The event it is about; of a run the one that had it told, of a digest the worst.
    pub event: StoredEvent,
    /// The host whose agent sent it, where that is not the event's own.
    pub via: Option<String>,
    /// What it tells.
    pub about: About,
    /// So many events before it were let go by the log, untold and unknown.
    pub missed: u64,
}

/// What a notice tells.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// The event.
    Event,
    /// The run of the event.
    Run(RunNotice),
    /// So many events.
    Digest(Digest),
    /// Nothing: somebody wants to see whether it arrives.
    Test,
}

/// A run at the moment it is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunNotice {
    /// The run.
    pub id: RunId,
    /// Its status, as everywhere in hume.
    #[serde(serialize_with = "status_word")]
    pub status: Status,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; none while it goes on.
    pub ended_at: Option<Timestamp>,
    /// Microseconds from start to end, or to the event that had it told.
    pub duration_us: u64,
    /// Reported events by level, those that there were.
    pub by_level: BTreeMap<&'static str, u64>,
    /// The text of its first error.
    pub first_error: Option<String>,
    /// Its exit code, if that was told.
    pub exit_code: Option<i32>,
    /// Why it was cut short or closed, when nobody reported its end.
    pub reason: Option<String>,
}

/// How much there was of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// Events in all; at least one.
    pub count: u64,
    /// When the first of them happened.
    pub first: Timestamp,
    /// When the last of them happened.
    pub last: Timestamp,
    /// By level.
    pub by_level: BTreeMap<&'static str, u64>,
    /// By host, at most [`DIGEST_NAMES_MAX`].
    pub by_host: BTreeMap<String, u64>,
    /// By task, at most [`DIGEST_NAMES_MAX`]; the empty name is that of plain notes.
    pub by_task: BTreeMap<String, u64>,
    /// Of hosts that are not in `by_host`.
    pub other_hosts: u64,
    /// Of tasks that are not in `by_task`.
    pub other_tasks: u64,
    /// The worst, at most [`DIGEST_SAMPLES_MAX`], the worst first.
    pub samples: Vec<Sample>,
}

/// One of the events of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When.
    pub time: Timestamp,
    /// How bad.
    pub level: &'static str,
    /// Where.
    pub host: String,
    /// Of which task.
    pub task: String,
    /// Its text.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn status_word<S: serde::Serializer>(status: &Status, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(status.as_str())
}

impl About {
    /// `event`, `run`, `digest` or `test`.
    pub fn as_str(&self) -> &'static str {
        match self {
            About::Event => "event",
            About::Run(_) => "run",
            About::Digest(_) => "digest",
            About::Test => "test",
        }
    }
}

impl Notice {
    /// The event as it is, and nothing else.
    pub fn of(event: StoredEvent) -> Notice {
        Notice { event, via: None, about: About::Event, missed: 0 }
    }

    /// How bad it is: of a run as bad as its status, of a digest as its worst.
    pub fn level(&self) -> Level {
        match &self.about {
            About::Event | About::Test => self.event.event.level,
            About::Digest(digest) => digest.level(),
            About::Run(run) => match run.status {
                Status::Critical => Level::Critical,
                Status::Failed => Level::Error,
                Status::Warning | Status::Overdue => Level::Warning,
                Status::Unknown | Status::Lost => Level::Unknown,
                Status::Running => Level::Info,
                Status::Ok => Level::Ok,
            },
        }
    }

    /// What it says in one text: the event's message, or a sentence about the run or the digest.
    pub fn text(&self) -> String {
        let event = &self.event.event;
        match &self.about {
            About::Event => event.message.clone(),
            About::Test => format!("test of a transfer: {}", event.message),
            About::Run(run) => run.sentence(event.task.as_str(), event.host.as_str()),
            About::Digest(digest) => digest.sentence(),
        }
    }

    /// What it is about in a few words, without what was said: `BACKUP on web1: failed`. One line.
    pub fn title(&self) -> String {
        let event = &self.event.event;
        let (task, host) = (event.task.as_str(), event.host.as_str());
        match &self.about {
            About::Event if task.is_empty() => format!("{host}: {}", event.level),
            About::Event => format!("{task} on {host}: {}", event.level),
            About::Run(run) => format!("{task} on {host}: {}", run.status.as_str()),
            About::Digest(digest) => digest.sentence(),
            About::Test => format!("test from {host}"),
        }
    }

    /// What it says, in as many lines as people need: [`Notice::text`], then how much there was of a run, or what a digest quotes.
    pub fn body(&self) -> String {
        match &self.about {
            About::Event | About::Test => self.text(),
            About::Run(run) if run.by_level.is_empty() => self.text(),
            About::Run(run) => format!("{}\n{}", self.text(), counts(&run.by_level)),
            About::Digest(digest) => digest.lines().join("\n"),
        }
    }

    /// What else people want to know, the most important first; what was told as `extra` is not among it. No name and no value is
    /// empty, and no value has more than one line but what the reporter put there.
    pub fn facts(&self) -> Vec<Fact> {
        let event = &self.event.event;
        let host = match &self.via {
            Some(via) => format!("{} via {via}", event.host.as_str()),
            None => event.host.as_str().to_owned(),
        };
        let mut facts = Facts::default();
        facts.add("level", self.level().as_str());
        match &self.about {
            About::Event | About::Test => {
                facts.add("host", host);
                facts.add("task", event.task.as_str());
                facts.add("time", moment(event.time));
            }
            About::Run(run) => {
                facts.add("status", run.status.as_str());
                facts.add("host", host);
                facts.add("task", event.task.as_str());
                facts.add("started", moment(run.started_at));
                let took = if run.ended_at.is_some() { "took" } else { "so far" };
                facts.add(took, span(run.duration_us / 1_000_000));
                facts.add("exit", run.exit_code.map(|code| code.to_string()).unwrap_or_default());
                facts.add("reason", run.reason.clone().unwrap_or_default());
                facts.add("events", counts(&run.by_level));
            }
            About::Digest(digest) => {
                facts.add("events", counts(&digest.by_level));
                facts.add("hosts", names(&digest.by_host, digest.other_hosts));
                facts.add("tasks", names(&digest.by_task, digest.other_tasks));
                facts.add("first", moment(digest.first));
                facts.add("last", moment(digest.last));
            }
        }
        if matches!(self.about, About::Event) {
            facts.add("command", event.command.map(Command::as_str).unwrap_or_default());
            facts.add("exit", event.exit.map(exit_words).unwrap_or_default());
        }
        if !matches!(self.about, About::Digest(_)) {
            let tags: Vec<&str> = event.tags.iter().map(Tag::as_str).collect();
            facts.add("tags", tags.join(", "));
        }
        if self.missed > 0 {
            facts.add(
                "missed",
                format!("{} events before this one, let go before they were told", self.missed),
            );
        }
        facts.0
    }

    /// What templates and pipelines see: the fields of the event as in the REST API, with `via`, `text` and `level` of the notice,
    /// and `about` (`event`, `run`, `digest`, `test`) with a table of that name for runs and digests.
    pub fn view(&self) -> NoticeView<'_> {
        let (run_notice, digest) = match &self.about {
            About::Event | About::Test => (None, None),
            About::Run(run) => (Some(run), None),
            About::Digest(digest) => (None, Some(digest)),
        };
        NoticeView {
            event: EventJson::from(&self.event),
            via: self.via.as_deref(),
            about: self.about.as_str(),
            text: self.text(),
            level: self.level().as_str(),
            missed: self.missed,
            run_summary: run_notice,
            digest,
        }
    }
}

/// One of [`Notice::facts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// `level`, `host`, …: lower case, one or two words.
    pub name: &'static str,
    /// For people.
    pub value: String,
}

#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push(Fact { name, value });
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => code.to_string(),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// `2 error, 14 info`: the worst first.
fn counts(by_level: &BTreeMap<&'static str, u64>) -> String {
    let mut levels = Level::ALL;
    levels.sort_by_key(|level| std::cmp::Reverse(level.rank()));
    let told = |level: Level| by_level.get(level.as_str()).map(|count| format!("{count} {level}"));
    levels.into_iter().filter_map(told).collect::<Vec<_>>().join(", ")
}

/// `db1 (30), web1 (8), others (2)`: the most frequent first. Plain notes have no task; they are not named.
fn names(by_name: &BTreeMap<String, u64>, others: u64) -> String {
    let mut sorted: Vec<(&String, &u64)> = by_name.iter().filter(|(name, _)| !name.is_empty()).collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let mut parts: Vec<String> = sorted.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    if others > 0 {
        parts.push(format!("others ({others})"));
    }
    parts.join(", ")
}

/// `2025-11-24 16:00:00 UTC`.
pub fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{} UTC", seconds.replacen('T', " ", 1))
}

/// See [`Notice::view`].
#[derive(Clone, Debug, Serialize)]
pub struct NoticeView<'a> {
    /// The event's fields.
    pub event: EventJson,
    /// The host whose agent sent it, where that is another.
    pub via: Option<&'a str>,
    /// `event`, `run`, `digest` or `test`.
    pub about: &'static str,
    /// What it says in one text.
    pub text: String,
    /// How bad the notice is.
    pub level: &'static str,
    /// Events before it that the log let go before they were told; not there when it is 0.
    #[serde(skip_serializing_if = "is_none")]
    pub missed: u64,
    /// Of a run.
    pub run_summary: Option<&'a RunNotice>,
    /// Of a digest.
    pub digest: Option<&'a Digest>,
}

impl RunNotice {
    fn sentence(&self, task: &str, host: &str) -> String {
        let state = if self.ended_at.is_some() { "ended" } else { "goes on" };
        let seconds = self.duration_us / 1_000_000;
        let mut text = format!("{task} on {host}: {}, {state} after {}", self.status.as_str(), span(seconds));
        if let Some(error) = &self.first_error {
            text.push_str(": ");
            text.push_str(error);
        } else if let Some(reason) = &self.reason {
            text.push_str(": ");
            text.push_str(reason);
        }
        text
    }
}

/// `42s`, `3m 5s`, `2h 10m`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600.. => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

impl Digest {
    /// As bad as the worst in it.
    fn level(&self) -> Level {
        let levels = Level::ALL.into_iter().filter(|level| self.by_level.contains_key(level.as_str()));
        levels.max_by_key(|level| level.rank()).unwrap_or(Level::Info)
    }

    /// Adds what would have been told alone: of a run its level and sentence count.
    pub fn add(&mut self, notice: &Notice) {
        let (event, level) = (&notice.event.event, notice.level());
        // Events come in the order of the log, and clocks differ.
        self.first = if self.count == 0 { event.time } else { self.first.min(event.time) };
        self.last = if self.count == 0 { event.time } else { self.last.max(event.time) };
        self.count += 1;
        *self.by_level.entry(level.as_str()).or_default() += 1;
        count_name(&mut self.by_host, &mut self.other_hosts, event.host.as_str());
        count_name(&mut self.by_task, &mut self.other_tasks, event.task.as_str());
        self.keep_sample(notice, level);
    }

    fn keep_sample(&mut self, notice: &Notice, level: Level) {
        let event = &notice.event.event;
        let rank = |word: &str| {
            Level::ALL.iter().find(|level| level.as_str() == word).map_or(0, |level| level.rank())
        };
        let at = self.samples.partition_point(|sample| rank(sample.level) >= level.rank());
        if at >= DIGEST_SAMPLES_MAX {
            return;
        }
        let sample = Sample {
            time: event.time,
            level: level.as_str(),
            host: event.host.as_str().to_owned(),
            task: event.task.as_str().to_owned(),
            message: notice.text(),
        };
        self.samples.insert(at, sample);
        self.samples.truncate(DIGEST_SAMPLES_MAX);
    }

    /// [`Digest::sentence`], how many of which level, and a line for each that is quoted.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.sentence(), counts(&self.by_level)];
        lines.extend(self.samples.iter().map(|sample| {
            let task = if sample.task.is_empty() { String::new() } else { format!("{} on ", sample.task) };
            format!(
                "• {}: {task}{}: {}",
                sample.level,
                sample.host,
                first_line(&sample.message, QUOTE_CHARACTERS_MAX)
            )
        }));
        let quoted = self.samples.len() as u64;
        if self.count > quoted {
            lines.push(format!("… and {} more", self.count - quoted));
        }
        lines
    }

    /// `+38 more from db1`, or from several hosts with their numbers.
    pub fn sentence(&self) -> String {
        let mut hosts: Vec<(&String, &u64)> = self.by_host.iter().collect();
        hosts.sort_by_key(|(host, count)| (std::cmp::Reverse(**count), (*host).clone()));
        let from = match hosts[..] {
            [(host, _)] if self.other_hosts == 0 => host.clone(),
            _ => {
                let mut parts: Vec<String> =
                    hosts.iter().take(3).map(|(host, count)| format!("{host} ({count})")).collect();
                let others = self.count - hosts.iter().take(3).map(|(_, count)| **count).sum::<u64>();
                if others > 0 {
                    parts.push(format!("others ({others})"));
                }
                parts.join(", ")
            }
        };
        format!("+{} more from {from}", self.count)
    }
}

fn count_name(by_name: &mut BTreeMap<String, u64>, others: &mut u64, name: &str) {
    if let Some(count) = by_name.get_mut(name) {
        *count += 1;
    } else if by_name.len() < DIGEST_NAMES_MAX {
        by_name.insert(name.to_owned(), 1);
    } else {
        *others += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{documented, documented_digest, documented_run, stored};

    fn digest(events: &[(Level, &str)]) -> Digest {
        let mut digest = Digest::default();
        for (at, (level, host)) in events.iter().enumerate() {
            digest.add(&Notice::of(stored(*level, "BACKUP", host, &format!("event {at}"))));
        }
        digest
    }

    #[test]
    fn a_digest_counts_and_quotes_the_worst_first() {
        let events: Vec<_> =
            (0..38).map(|at| (if at == 30 { Level::Critical } else { Level::Info }, "db1")).collect();
        let digest = digest(&events);
        assert_eq!(digest.sentence(), "+38 more from db1");
        assert_eq!((digest.by_level["critical"], digest.by_level["info"]), (1, 37));
        let quoted: Vec<&str> = digest.samples.iter().map(|sample| sample.message.as_str()).collect();
        assert_eq!(quoted, ["event 30", "event 0", "event 1", "event 2", "event 3"]);
    }

    #[test]
    fn a_digest_of_many_hosts_names_the_busiest_and_counts_the_rest() {
        let hosts: Vec<String> = (0..40).map(|at| format!("web{}", at % 25)).collect();
        let mut events: Vec<_> = hosts.iter().map(|host| (Level::Error, host.as_str())).collect();
        events.push((Level::Error, "web0"));
        let digest = digest(&events);
        assert_eq!(digest.by_host.len(), DIGEST_NAMES_MAX);
        assert_eq!(digest.by_host.values().sum::<u64>() + digest.other_hosts, 41);
        assert_eq!(digest.sentence(), "+41 more from web0 (3), web1 (2), web10 (2), others (34)");
    }

    #[test]
    fn a_digest_knows_when_though_clocks_differ() {
        let mut digest = Digest::default();
        for micros in [5_000_000, 2_000_000, 9_000_000, 3_000_000] {
            let mut event = stored(Level::Error, "BACKUP", "db1", "x");
            event.event.time = Timestamp::from_micros(micros);
            digest.add(&Notice::of(event));
        }
        assert_eq!((digest.first.as_micros(), digest.last.as_micros()), (2_000_000, 9_000_000));
    }

    fn told(notice: &Notice) -> (String, String, Vec<String>) {
        let facts =
            notice.facts().into_iter().map(|Fact { name, value }| format!("{name}: {value}")).collect();
        (notice.title(), notice.body(), facts)
    }

    #[test]
    fn an_event_is_told_with_what_people_want_to_know() {
        let mut notice = Notice::of(documented());
        notice.via = Some("bastion".to_owned());
        let (title, body, facts) = told(&notice);
        assert_eq!(title, "BACKUP_DB on db1: error");
        assert_eq!(body, "pg_dump: connection to server failed");
        assert_eq!(
            facts,
            [
                "level: error",
                "host: db1 via bastion",
                "task: BACKUP_DB",
                "time: 2025-11-24 16:00:00 UTC",
                "tags: backup, nightly"
            ]
        );
        let note = Notice::of(stored(Level::Info, "", "db1", "x"));
        assert_eq!((note.title().as_str(), note.facts().len()), ("db1: info", 3));
    }

    #[test]
    fn a_run_is_told_with_its_end_and_how_much_there_was() {
        let (title, body, facts) = told(&documented_run());
        assert_eq!(title, "BACKUP_DB on db1: failed");
        assert_eq!(
            body,
            "BACKUP_DB on db1: failed, ended after 3m 5s: pg_dump: connection to server failed\n2 error, 14 info"
        );
        assert_eq!(
            facts,
            [
                "level: error",
                "status: failed",
                "host: db1",
                "task: BACKUP_DB",
                "started: 2025-11-24 15:56:55 UTC",
                "took: 3m 5s",
                "exit: 2",
                "events: 2 error, 14 info",
                "tags: backup, nightly"
            ]
        );
    }

    #[test]
    fn a_digest_is_told_with_its_names_and_the_worst_of_it() {
        let (title, body, facts) = told(&documented_digest());
        assert_eq!(title, "+38 more from db1");
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[..2], ["+38 more from db1", "3 critical, 35 error"]);
        assert_eq!(lines[2], "• critical: BACKUP_DB on db1: disk full (0)");
        assert_eq!((lines.len(), lines[7]), (8, "… and 33 more"));
        assert_eq!(
            facts[..4],
            ["level: critical", "events: 3 critical, 35 error", "hosts: db1 (38)", "tasks: BACKUP_DB (38)"]
        );
    }

    #[test]
    fn a_digest_of_runs_is_as_bad_as_their_ends_and_not_as_the_events_that_told_of_them() {
        let mut failed = documented_run();
        failed.event.event.level = Level::Ok;
        let mut digest = Digest::default();
        digest.add(&failed);
        digest.add(&Notice::of(stored(Level::Info, "BACKUP", "db1", "x")));
        let head = Notice { about: About::Digest(digest.clone()), ..failed };
        assert_eq!(head.level(), Level::Error);
        assert_eq!((digest.by_level["error"], digest.samples[0].level), (1, "error"));
        assert!(digest.samples[0].message.starts_with("BACKUP_DB on db1: failed"), "{digest:?}");
    }

    #[test]
    fn durations_are_short_words() {
        assert_eq!([span(0), span(59), span(185), span(7800)], ["0s", "59s", "3m 5s", "2h 10m"]);
    }
}
