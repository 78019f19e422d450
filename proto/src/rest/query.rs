//! Parameters of questions ⇄ filters. Taking a filter apart whole makes the compiler ask for a new field here.

use std::time::Duration;

use hume_core::event::TAGS_MAX;
use hume_core::filter::{EventFilter, KindFilter, Latest, RunFilter};
use hume_core::page::{After, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use hume_core::scope::Scope;
use hume_core::{BoundError, HostName, Level, RunId, Tag, TaskName, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest `wait`.
pub const WAIT_SECONDS_MAX: u64 = 30;

/// Parameters of `/api/v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventQuery {
    /// Exactly this task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Exactly this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// At least this level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// All of these tags, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// RFC 3339, included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339, excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Text in the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grep: Option<String>,
    /// `reported` (default), `all`, or a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Items of a page, 1 to [`PAGE_ITEMS_MAX`]; [`PAGE_ITEMS_DEFAULT`] when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// From `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Ask for the number only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<bool>,
    /// Follow the log: oldest arrival first, from the `start` or from a cursor on. `now` answers at once with the cursor of
    /// the present end and no events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// With `after`: seconds to wait for an event when there is none, 0 to [`WAIT_SECONDS_MAX`]; 0 when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
}

/// How the log is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// From where on.
    pub after: After,
    /// How long to wait when nothing is there.
    pub wait: Duration,
}

impl EventQuery {
    /// The parameters that ask for this filter.
    pub fn from_filter(filter: &EventFilter) -> EventQuery {
        // The scope is no parameter: whoever answers knows who asks.
        let EventFilter { task, host, level_min, tags, since, until, run, grep, kind, scope: _ } = filter;
        EventQuery {
            task: task.as_ref().map(|task| task.as_str().to_owned()),
            host: host.as_ref().map(|host| host.as_str().to_owned()),
            level: level_min.map(|level| level.as_str().to_owned()),
            tag: (!tags.is_empty()).then(|| tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",")),
            since: since.map(|at| at.to_string()),
            until: until.map(|at| at.to_string()),
            run: run.map(|run| run.to_string()),
            grep: grep.clone(),
            kind: (*kind != KindFilter::default()).then(|| kind.as_str().to_owned()),
            limit: None,
            cursor: None,
            count: None,
            after: None,
            wait: None,
        }
    }

    /// How these parameters ask to follow the log, if they do.
    ///
    /// # Errors
    /// [`BoundError`] for a wrong value, or for a parameter that does not go with `after`.
    pub fn following(&self) -> Result<Option<Following>, BoundError> {
        let Some(after) = &self.after else {
            return match self.wait {
                Some(_) => Err(BoundError::new("wait", "needs after")),
                None => Ok(None),
            };
        };
        if self.cursor.is_some() {
            return Err(BoundError::new("cursor", "does not go with after: it lists the other way"));
        }
        if self.count.is_some() {
            return Err(BoundError::new("count", "does not go with after"));
        }
        let wait = match self.wait.unwrap_or(0) {
            seconds @ 0..=WAIT_SECONDS_MAX => Duration::from_secs(seconds),
            _ => return Err(BoundError::new("wait", format!("must be 0 to {WAIT_SECONDS_MAX} seconds"))),
        };
        // Whoever asks for the present end wants to know it now.
        match after.parse()? {
            After::Now => Ok(Some(Following { after: After::Now, wait: Duration::ZERO })),
            after => Ok(Some(Following { after, wait })),
        }
    }

    /// The filter these parameters ask for. Pages, numbers and following are the caller's.
    ///
    /// # Errors
    /// The first [`BoundError`], naming the parameter.
    pub fn filter(&self) -> Result<EventFilter, BoundError> {
        let EventQuery {
            task,
            host,
            level,
            tag,
            since,
            until,
            run,
            grep,
            kind,
            limit: _,
            cursor: _,
            count: _,
            after: _,
            wait: _,
        } = self;
        Ok(EventFilter {
            task: task.as_deref().map(TaskName::parse).transpose()?,
            host: host.as_deref().map(HostName::parse).transpose()?,
            level_min: level
                .as_deref()
                .map(str::parse::<Level>)
                .transpose()
                .map_err(|error| BoundError::new("level", format!("is wrong: {error}")))?,
            tags: match tag {
                Some(list) => tags(list)?,
                None => Vec::new(),
            },
            since: time("since", since.as_deref())?,
            until: time("until", until.as_deref())?,
            run: run.as_deref().map(RunId::parse).transpose()?,
            grep: grep.clone().filter(|text| !text.is_empty()),
            kind: match kind.as_deref() {
                Some(word) => KindFilter::from_word(word)
                    .ok_or(BoundError::new("kind", "must be all, reported, run, watchdog, host or system"))?,
                None => KindFilter::default(),
            },
            scope: Scope::default(),
        })
    }
}

/// Parameters of `/api/v1/runs` and `/api/v1/latest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunQuery {
    /// Exactly this task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Exactly this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Exactly this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Started at this time (RFC 3339) or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Started before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// With the events of each run, those of every kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<bool>,
    /// Items of a page, 1 to [`PAGE_ITEMS_MAX`]; [`PAGE_ITEMS_DEFAULT`] when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// From `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Ask for the number only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<bool>,
}

impl RunQuery {
    /// The parameters that ask for this filter.
    pub fn from_filter(filter: &RunFilter) -> RunQuery {
        // `latest` is a path of its own.
        let RunFilter { task, host, run, since, until, latest: _, scope: _ } = filter;
        RunQuery {
            task: task.as_ref().map(|task| task.as_str().to_owned()),
            host: host.as_ref().map(|host| host.as_str().to_owned()),
            run: run.map(|run| run.to_string()),
            since: since.map(|at| at.to_string()),
            until: until.map(|at| at.to_string()),
            events: None,
            limit: None,
            cursor: None,
            count: None,
        }
    }

    /// The filter these parameters ask for. `events`, `limit`, `cursor` and `count` are the caller's.
    ///
    /// # Errors
    /// The first [`BoundError`], naming the parameter.
    pub fn filter(&self, latest: Latest) -> Result<RunFilter, BoundError> {
        let RunQuery { task, host, run, since, until, events: _, limit: _, cursor: _, count: _ } = self;
        Ok(RunFilter {
            task: task.as_deref().map(TaskName::parse).transpose()?,
            host: host.as_deref().map(HostName::parse).transpose()?,
            run: run.as_deref().map(RunId::parse).transpose()?,
            since: time("since", since.as_deref())?,
            until: time("until", until.as_deref())?,
            latest,
            scope: Scope::default(),
        })
    }
}

/// The number of items that `limit` asks for.
///
/// # Errors
/// [`BoundError`] outside 1 to [`PAGE_ITEMS_MAX`].
pub fn page_items(limit: Option<usize>) -> Result<usize, BoundError> {
    match limit {
        None => Ok(PAGE_ITEMS_DEFAULT),
        Some(items @ 1..=PAGE_ITEMS_MAX) => Ok(items),
        Some(_) => Err(BoundError::new("limit", format!("must be 1 to {PAGE_ITEMS_MAX}"))),
    }
}

/// No event has more than [`TAGS_MAX`], so nobody can look for more of them.
fn tags(list: &str) -> Result<Vec<Tag>, BoundError> {
    let mut tags: Vec<Tag> = Vec::new();
    for tag in list.split(',').map(Tag::parse) {
        let tag = tag?;
        if tags.contains(&tag) {
            continue;
        }
        if tags.len() == TAGS_MAX {
            return Err(BoundError::new("tag", format!("has more than {TAGS_MAX} tags, which no event has")));
        }
        tags.push(tag);
    }
    Ok(tags)
}

pub(super) fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, BoundError> {
    text.map(str::parse)
        .transpose()
        .map_err(|_| BoundError::new(field, "must be an RFC 3339 time such as 2026-11-22T10:00:00Z"))
}

#[cfg(test)]
mod tests {
    use hume_core::page::EventCursor;

    use super::*;

    #[test]
    fn a_filter_survives_its_parameters() {
        let filter = EventFilter {
            task: TaskName::parse("BACKUP").ok(),
            host: HostName::parse("web1").ok(),
            level_min: Some(Level::Warning),
            tags: vec![Tag::parse("a").unwrap(), Tag::parse("b c").unwrap()],
            since: Some(Timestamp::from_micros(1)),
            until: Some(Timestamp::from_micros(2)),
            run: Some(RunId::from_bytes([1; 16])),
            grep: Some("disk".to_owned()),
            kind: KindFilter::All,
            scope: Scope::default(),
        };
        assert_eq!(EventQuery::from_filter(&filter).filter().unwrap(), filter);
        assert_eq!(EventQuery::default().filter().unwrap(), EventFilter::default());
    }

    #[test]
    fn more_tags_than_an_event_has_are_not_looked_for() {
        let of = |count: usize| {
            let list = (0..count).map(|n| format!("t{},t0", n % count)).collect::<Vec<_>>().join(",");
            EventQuery { tag: Some(list), ..EventQuery::default() }.filter()
        };
        assert_eq!(of(TAGS_MAX).unwrap().tags.len(), TAGS_MAX);
        assert_eq!(of(TAGS_MAX + 1).unwrap_err().field, "tag");
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let query = EventQuery { level: Some("loud".into()), ..EventQuery::default() };
        assert_eq!(query.filter().unwrap_err().field, "level");
        let query = RunQuery { since: Some("noon".into()), ..RunQuery::default() };
        assert_eq!(query.filter(Latest::No).unwrap_err().field, "since");
        assert_eq!(page_items(Some(0)).unwrap_err().field, "limit");
        assert_eq!(page_items(Some(PAGE_ITEMS_MAX + 1)).unwrap_err().field, "limit");
        assert_eq!(page_items(None), Ok(PAGE_ITEMS_DEFAULT));
    }

    #[test]
    fn following_takes_a_border_and_a_bounded_wait_and_nothing_that_contradicts_it() {
        let asked =
            |after: &str, wait| EventQuery { after: Some(after.to_owned()), wait, ..EventQuery::default() };
        assert_eq!(EventQuery::default().following(), Ok(None));
        let following = |after, seconds| Ok(Some(Following { after, wait: Duration::from_secs(seconds) }));
        assert_eq!(asked("now", Some(9)).following(), following(After::Now, 0));
        assert_eq!(asked("start", Some(9)).following(), following(After::Start, 9));
        let cursor = After::Cursor(EventCursor(7));
        assert_eq!(asked("e1.7", Some(WAIT_SECONDS_MAX)).following(), following(cursor, WAIT_SECONDS_MAX));
        for (query, field) in [
            (asked("later", None), "after"),
            (asked("now", Some(WAIT_SECONDS_MAX + 1)), "wait"),
            (EventQuery { wait: Some(1), ..EventQuery::default() }, "wait"),
            (EventQuery { cursor: Some("e1.7".to_owned()), ..asked("now", None) }, "cursor"),
            (EventQuery { count: Some(true), ..asked("now", None) }, "count"),
        ] {
            assert_eq!(query.following().unwrap_err().field, field);
        }
    }
}
