//! Which events and runs a question is about. [`EventFilter::matches`] and [`RunFilter::pick`] are the meaning; every
//! store must agree with them.

use crate::event::{EventKind, StoredEvent};
use crate::level::Level;
use crate::name::{HostName, RunId, Tag, TaskName};
use crate::run::RunState;
use crate::scope::Scope;
use crate::time::Timestamp;

/// Which kinds of events are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KindFilter {
    /// Only what scripts reported.
    #[default]
    Reported,
    /// Only this kind.
    Only(EventKind),
    /// Everything.
    All,
}

impl KindFilter {
    /// True when events of this kind are asked for.
    pub fn allows(self, kind: EventKind) -> bool {
        match self {
            KindFilter::Reported => kind == EventKind::Reported,
            KindFilter::Only(only) => kind == only,
            KindFilter::All => true,
        }
    }

    /// The filter with this word: `all`, or the word of a kind.
    pub fn from_word(word: &str) -> Option<KindFilter> {
        match EventKind::from_word(word) {
            Some(EventKind::Reported) => Some(KindFilter::Reported),
            Some(kind) => Some(KindFilter::Only(kind)),
            None => (word == "all").then_some(KindFilter::All),
        }
    }

    /// The word that [`from_word`](Self::from_word) reads.
    pub fn as_str(self) -> &'static str {
        match self {
            KindFilter::Reported => EventKind::Reported.as_str(),
            KindFilter::Only(kind) => kind.as_str(),
            KindFilter::All => "all",
        }
    }
}

/// A question about events. Everything that is set must hold; the default asks for all reported events.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Exactly this task.
    pub task: Option<TaskName>,
    /// Exactly this host.
    pub host: Option<HostName>,
    /// At least as bad as this level, in the order of [`Level::rank`].
    pub level_min: Option<Level>,
    /// All of these tags.
    pub tags: Vec<Tag>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Text contained in the message; case does not matter.
    pub grep: Option<String>,
    /// Of these kinds.
    pub kind: KindFilter,
    /// Of what the asker may see.
    pub scope: Scope,
}

impl EventFilter {
    /// True when the event is asked for.
    pub fn matches(&self, stored: &StoredEvent) -> bool {
        let EventFilter { task, host, level_min, tags, since, until, run, grep, kind, scope } = self;
        let event = &stored.event;
        task.as_ref().is_none_or(|task| event.task == *task)
            && host.as_ref().is_none_or(|host| event.host == *host)
            && level_min.is_none_or(|level| event.level.rank() >= level.rank())
            && tags.iter().all(|tag| event.tags.contains(tag))
            && since.is_none_or(|since| event.time >= since)
            && until.is_none_or(|until| event.time < until)
            && run.is_none_or(|run| event.run.is_some_and(|of| of.id == run))
            && grep.as_ref().is_none_or(|text| contains_ignoring_case(&event.message, text))
            && kind.allows(event.kind)
            && scope.has(&event.task, &event.host)
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// A question about runs. Everything that is set must hold; with [`Latest::PerTaskAndHost`] of the latest run of its task
/// on its host, whatever there was before it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// Exactly this task.
    pub task: Option<TaskName>,
    /// Exactly this host.
    pub host: Option<HostName>,
    /// Exactly this run.
    pub run: Option<RunId>,
    /// Started at this time or later.
    pub since: Option<Timestamp>,
    /// Started before this time.
    pub until: Option<Timestamp>,
    /// Only the latest started run of each (task, host).
    pub latest: Latest,
    /// Of what the asker may see.
    pub scope: Scope,
}

impl RunFilter {
    /// Of these runs, newest start first, those that are asked for.
    ///
    /// `runs` are all that the asker may see: one that he may not see hides no older one.
    pub fn pick<'a>(&self, runs: &'a [RunState]) -> Vec<&'a RunState> {
        let RunFilter { task, host, run, since, until, latest, scope } = self;
        let is_latest = |state: &RunState| {
            let same = |other: &&RunState| other.task() == state.task() && other.host() == state.host();
            runs.iter().find(same) == Some(state)
        };
        runs.iter()
            .filter(|state| {
                (*latest == Latest::No || is_latest(state))
                    && task.as_ref().is_none_or(|task| state.task() == *task)
                    && host.as_ref().is_none_or(|host| state.is_on(host))
                    && run.is_none_or(|run| state.id() == run)
                    && since.is_none_or(|since| state.started_at() >= since)
                    && until.is_none_or(|until| state.started_at() < until)
                    && scope.has_task(&state.task())
                    && scope.has_host(state.host())
            })
            .collect()
    }
}

/// Whether a question about runs wants all of them or the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Latest {
    /// All runs.
    #[default]
    No,
    /// One run per (task, host): the one that started last.
    PerTaskAndHost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reported_events_are_asked_for_unless_said_otherwise() {
        assert!(KindFilter::default().allows(EventKind::Reported));
        assert!(!KindFilter::default().allows(EventKind::Run));
        assert!(KindFilter::All.allows(EventKind::System));
        for word in ["all", "reported", "run", "watchdog", "host", "system"] {
            assert_eq!(KindFilter::from_word(word).unwrap().as_str(), word);
        }
        assert_eq!(KindFilter::from_word("every"), None);
    }

    #[test]
    fn case_does_not_matter_to_grep() {
        assert!(contains_ignoring_case("Disk FULL on Straße", "full ON straß"));
        assert!(!contains_ignoring_case("disk", "disks"));
    }
}
