//! What was otherwise in the last run that was ok: the events that only one of both has. Pure.
//!
//! Two events are alike when level and text are: numbers in a text are kept, because they may be what differs.

use std::collections::HashMap;

use hume_proto::rest::{EventJson, RunJson, Source};
use serde::Serialize;
use similar::{Algorithm, ChangeTag};

/// What `--diff last-ok --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiffList {
    /// Who answers.
    pub source: Source,
    /// Newest start first.
    pub diffs: Vec<RunDiff>,
    /// True when `--limit` cut it short; not printed.
    #[serde(skip)]
    pub more: bool,
}

/// A run beside an earlier one that was ok.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDiff {
    /// The latest run, without its events.
    pub latest: RunJson,
    /// The last one before it that was ok, without its events; null when there is none.
    pub last_ok: Option<RunJson>,
    /// How much longer the latest took, in milliseconds; null without an earlier one.
    pub longer_ms: Option<i64>,
    /// Events that only one of both has, in the order of both.
    pub changes: Vec<Change>,
}

/// An event that only one of two runs has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which one.
    pub only_in: OnlyIn,
    /// The event.
    pub event: EventJson,
}

/// Which of two runs has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlyIn {
    /// The latest.
    Latest,
    /// The last that was ok.
    LastOk,
}

impl OnlyIn {
    /// The word used in JSON and csv.
    pub fn as_str(self) -> &'static str {
        match self {
            OnlyIn::Latest => "latest",
            OnlyIn::LastOk => "last_ok",
        }
    }
}

/// What makes two events alike.
type Likeness<'a> = (&'a str, &'a str);

fn likeness(event: &EventJson) -> Likeness<'_> {
    (&event.level, &event.message)
}

impl RunDiff {
    /// Compares two runs that were answered with their events.
    pub fn new(mut latest: RunJson, last_ok: Option<RunJson>) -> RunDiff {
        let Some(mut last_ok) = last_ok else {
            latest.events.clear();
            return RunDiff { latest, last_ok: None, longer_ms: None, changes: Vec::new() };
        };
        let (new, old) = (std::mem::take(&mut latest.events), std::mem::take(&mut last_ok.events));
        let millis = |run: &RunJson| i64::try_from(run.duration_ms).unwrap_or(i64::MAX);
        let longer_ms = Some(millis(&latest).saturating_sub(millis(&last_ok)));
        RunDiff { changes: changes(&old, &new), latest, last_ok: Some(last_ok), longer_ms }
    }
}

fn changes(old: &[EventJson], new: &[EventJson]) -> Vec<Change> {
    let of = |events: &[EventJson]| -> Vec<EventJson> {
        events.iter().filter(|event| event.kind == "reported").cloned().collect()
    };
    let (old, new) = (of(old), of(new));
    let keys = |events: &'_ [EventJson]| -> Vec<(String, String)> {
        events.iter().map(|event| (event.level.clone(), event.message.clone())).collect()
    };
    let (old_keys, new_keys) = (keys(&old), keys(&new));
    let operations = similar::capture_diff_slices(Algorithm::Patience, &old_keys, &new_keys);
    let mut changes = Vec::new();
    for change in operations.iter().flat_map(|operation| operation.iter_changes(&old_keys, &new_keys)) {
        let (only_in, event) = match (change.tag(), change.old_index(), change.new_index()) {
            (ChangeTag::Delete, Some(at), _) => (OnlyIn::LastOk, &old[at]),
            (ChangeTag::Insert, _, Some(at)) => (OnlyIn::Latest, &new[at]),
            (ChangeTag::Equal | ChangeTag::Delete | ChangeTag::Insert, _, _) => continue,
        };
        changes.push(Change { only_in, event: event.clone() });
    }
    without_moved(changes)
}

/// What stands in both at different places is in both.
fn without_moved(changes: Vec<Change>) -> Vec<Change> {
    let mut surplus: HashMap<Likeness<'_>, i64> = HashMap::new();
    for change in &changes {
        *surplus.entry(likeness(&change.event)).or_default() += match change.only_in {
            OnlyIn::Latest => 1,
            OnlyIn::LastOk => -1,
        };
    }
    // From the end on: of several alike, the last are those that are too many.
    let keep: Vec<bool> = changes
        .iter()
        .rev()
        .map(|change| {
            let left = surplus.entry(likeness(&change.event)).or_default();
            match change.only_in {
                OnlyIn::Latest if *left > 0 => {
                    *left -= 1;
                    true
                }
                OnlyIn::LastOk if *left < 0 => {
                    *left += 1;
                    true
                }
                OnlyIn::Latest | OnlyIn::LastOk => false,
            }
        })
        .collect();
    changes
        .into_iter()
        .zip(keep.into_iter().rev())
        .filter_map(|(change, keep)| keep.then_some(change))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::fleet::tests::run;

    fn events(texts: &[&str]) -> Vec<EventJson> {
        let event = |text: &&str| {
            let (level, message) = text.split_once(' ').unwrap_or(("info", text));
            serde_json::from_value(serde_json::json!({
                "id": "01936f2e-0000-7000-8000-000000000009", "kind": "reported", "task": "A", "host": "web1",
                "agent": null, "epoch": "00", "seq": 1, "run": null, "time": "2026-11-22T10:00:00Z",
                "received_at": "2026-11-22T10:00:00Z", "arrived_at": null, "level": level, "command": null,
                "flag": null, "message": message, "truncated_from": null, "tags": [], "extra": {}, "exit": null,
                "user": null, "uid": null, "pid": null, "script": null, "line": null, "unit": null, "tree": null,
                "correlation": null, "reason": null, "flags": []
            }))
            .unwrap()
        };
        texts.iter().map(event).collect()
    }

    fn diff(old: &[&str], new: &[&str]) -> Vec<String> {
        changes(&events(old), &events(new))
            .iter()
            .map(|change| {
                let sign = if change.only_in == OnlyIn::Latest { '+' } else { '-' };
                format!("{sign}{} {}", change.event.level, change.event.message)
            })
            .collect()
    }

    #[test]
    fn only_what_one_of_both_has_is_shown() {
        let old = ["info start", "info 3 tables", "ok dumped", "info end"];
        let new = ["info start", "info 4 tables", "error disk full", "info end"];
        assert_eq!(diff(&old, &new), ["-info 3 tables", "-ok dumped", "+info 4 tables", "+error disk full"]);
        assert_eq!(diff(&old, &old), Vec::<String>::new());
        assert_eq!(diff(&["info x"], &["error x"]), ["-info x", "+error x"]);
    }

    #[test]
    fn what_only_moved_is_in_both() {
        assert_eq!(
            diff(&["info a", "info b", "info c"], &["info c", "info b", "info a"]),
            Vec::<String>::new()
        );
        assert_eq!(diff(&["info a", "info b"], &["info b", "info a", "info a"]), ["+info a"]);
    }

    #[test]
    fn durations_are_compared_and_events_are_not_repeated() {
        let with =
            |duration_ms, texts| RunJson { duration_ms, events: events(texts), ..run("A", "web1", "ok", 0) };
        let diff = RunDiff::new(with(5000, &["error x"]), Some(with(7000, &["info y"])));
        assert_eq!((diff.longer_ms, diff.changes.len()), (Some(-2000), 2));
        assert!(diff.latest.events.is_empty() && diff.last_ok.unwrap().events.is_empty());
        let alone = RunDiff::new(with(5000, &["error x"]), None);
        assert_eq!((alone.last_ok, alone.longer_ms, alone.changes), (None, None, vec![]));
    }

    proptest! {
        /// The oracle: how often each is in one more than in the other.
        #[test]
        fn the_changes_are_the_difference_of_both(
            old in proptest::collection::vec(proptest::sample::select(vec!["info a", "info b", "error a", "ok c"]), 0..12),
            new in proptest::collection::vec(proptest::sample::select(vec!["info a", "info b", "error a", "ok c"]), 0..12),
        ) {
            let mut expected: BTreeMap<String, i64> = BTreeMap::new();
            for text in &new {
                *expected.entry((*text).to_owned()).or_default() += 1;
            }
            for text in &old {
                *expected.entry((*text).to_owned()).or_default() -= 1;
            }
            expected.retain(|_, count| *count != 0);
            let mut found: BTreeMap<String, i64> = BTreeMap::new();
            for change in diff(&old, &new) {
                let count = if change.starts_with('+') { 1 } else { -1 };
                *found.entry(change[1..].to_owned()).or_default() += count;
            }
            prop_assert_eq!(found, expected);
        }
    }
}
