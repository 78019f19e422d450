//! One thing to tell: an event, a run, or how much there was of what could not be told one by one.
//!
//! Every notice has an event at its head, so a kind that knows of nothing else still tells the most important part.

use std::collections::BTreeMap;

use hume_core::event::StoredEvent;
use hume_core::status::Status;
use hume_core::{Level, RunId, Timestamp};
use hume_proto::rest::EventJson;
use serde::Serialize;

/// Hosts and tasks that a digest counts by name; the others are counted together.
pub const DIGEST_NAMES_MAX: usize = 20;
/// Texts that a digest quotes, the worst first.
pub const DIGEST_SAMPLES_MAX: usize = 5;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The event it is about; of a run the one that had it told, of a digest the worst.
    pub event: StoredEvent,
    /// The host whose agent sent it, where that is not the event's own.
    pub via: Option<String>,
    /// What it tells.
    pub about: About,
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

impl Notice {
    /// The event as it is, and nothing else.
    pub fn of(event: StoredEvent) -> Notice {
        Notice { event, via: None, about: About::Event }
    }

    /// How bad it is: of a run as bad as its status, of a digest as its worst.
    pub fn level(&self) -> Level {
        match &self.about {
            About::Event | About::Digest(_) | About::Test => self.event.event.level,
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

    /// What templates and pipelines see: the fields of the event as in the REST API, with `via`, `text` and `level` of the notice,
    /// and `about` (`event`, `run`, `digest`, `test`) with a table of that name for runs and digests.
    pub fn view(&self) -> NoticeView<'_> {
        let (about, run_notice, digest) = match &self.about {
            About::Event => ("event", None, None),
            About::Test => ("test", None, None),
            About::Run(run) => ("run", Some(run), None),
            About::Digest(digest) => ("digest", None, Some(digest)),
        };
        NoticeView {
            event: EventJson::from(&self.event),
            via: self.via.as_deref(),
            about,
            text: self.text(),
            level: self.level().as_str(),
            run_summary: run_notice,
            digest,
        }
    }
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
    /// Adds an event.
    pub fn add(&mut self, stored: &StoredEvent) {
        let event = &stored.event;
        if self.count == 0 {
            self.first = event.time;
        }
        self.last = event.time;
        self.count += 1;
        *self.by_level.entry(event.level.as_str()).or_default() += 1;
        count_name(&mut self.by_host, &mut self.other_hosts, event.host.as_str());
        count_name(&mut self.by_task, &mut self.other_tasks, event.task.as_str());
        self.keep_sample(stored);
    }

    fn keep_sample(&mut self, stored: &StoredEvent) {
        let event = &stored.event;
        let rank = |word: &str| {
            Level::ALL.iter().find(|level| level.as_str() == word).map_or(0, |level| level.rank())
        };
        let at = self.samples.partition_point(|sample| rank(sample.level) >= event.level.rank());
        if at >= DIGEST_SAMPLES_MAX {
            return;
        }
        let sample = Sample {
            time: event.time,
            level: event.level.as_str(),
            host: event.host.as_str().to_owned(),
            task: event.task.as_str().to_owned(),
            message: event.message.clone(),
        };
        self.samples.insert(at, sample);
        self.samples.truncate(DIGEST_SAMPLES_MAX);
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
    use crate::testing::stored;

    fn digest(events: &[(Level, &str)]) -> Digest {
        let mut digest = Digest::default();
        for (at, (level, host)) in events.iter().enumerate() {
            digest.add(&stored(*level, "BACKUP", host, &format!("event {at}")));
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
    fn durations_are_short_words() {
        assert_eq!([span(0), span(59), span(185), span(7800)], ["0s", "59s", "3m 5s", "2h 10m"]);
    }
}
