//! Questions as SQL: what an index finds, and what a column can tell before the event itself is decoded.
//!
//! Only a sieve: whatever passes is asked again by [`EventFilter::matches`]. Values are always bound, never written into
//! the text.

use hume_core::event::EventKind;
use hume_core::filter::{EventFilter, KindFilter, Latest, RunFilter};
use hume_core::page::{EventCursor, RunCursor};
use rusqlite::types::Value;

/// Which side of a border is looked at, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Below it, newest first; none: below the end.
    Below(Option<EventCursor>),
    /// Above it, oldest first.
    Above(EventCursor),
}

/// A filter over events.
pub(super) struct EventPredicate {
    /// Conditions an index serves; they decide which rows are looked at.
    pub(super) narrow: Conditions,
    /// Conditions on columns; they decide which of these rows are decoded.
    pub(super) hit: Conditions,
    /// True when nothing is left for `matches` to decide.
    pub(super) is_exact: bool,
    /// Of the rows, for `ORDER BY`.
    pub(super) order: &'static str,
}

/// Conditions that must all hold, and their values in order.
#[derive(Default)]
pub(super) struct Conditions {
    texts: Vec<String>,
    /// One for each `?` of the text.
    pub(super) values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, text: &str, values: impl IntoIterator<Item = Value>) {
        self.texts.push(text.to_owned());
        self.values.extend(values);
    }

    /// Joined by AND; never empty.
    pub(super) fn text(&self) -> String {
        if self.texts.is_empty() { "1".to_owned() } else { self.texts.join(" AND ") }
    }
}

const TASK: &str = "task_no = (SELECT no FROM task WHERE name = ?)";
const HOST: &str = "host_no = (SELECT no FROM host WHERE name = ?)";

impl EventPredicate {
    /// The sieve for `filter`, on this side.
    pub(super) fn new(filter: &EventFilter, side: Side) -> EventPredicate {
        let EventFilter { task, host, level_min, tags, since, until, run, grep, kind } = filter;
        let (mut narrow, mut hit) = (Conditions::default(), Conditions::default());
        if let Some(run) = run {
            narrow.add("run_no IN (SELECT no FROM run WHERE id = ?)", [Value::Blob(run.as_bytes().to_vec())]);
        }
        // The events of one run are few: their own index must not lose against that of the task or the host.
        let by_name = if run.is_some() { &mut hit } else { &mut narrow };
        if let Some(task) = task {
            by_name.add(TASK, [Value::Text(task.as_str().to_owned())]);
        }
        if let Some(host) = host {
            by_name.add(HOST, [Value::Text(host.as_str().to_owned())]);
        }
        let order = match side {
            Side::Below(None) => "id DESC",
            Side::Below(Some(EventCursor(id))) => {
                narrow.add("event.id < ?", [Value::Integer(id)]);
                "id DESC"
            }
            Side::Above(EventCursor(id)) => {
                narrow.add("event.id >= ?", [Value::Integer(id)]);
                "id ASC"
            }
        };
        if let Some(level) = level_min {
            hit.add("level_rank >= ?", [Value::Integer(level.rank().into())]);
        }
        if let Some(since) = since {
            hit.add("time_us >= ?", [Value::Integer(since.as_micros())]);
        }
        if let Some(until) = until {
            hit.add("time_us < ?", [Value::Integer(until.as_micros())]);
        }
        match kind {
            KindFilter::Reported => hit.add("kind = ?", [kind_value(EventKind::Reported)]),
            KindFilter::Only(kind) => hit.add("kind = ?", [kind_value(*kind)]),
            KindFilter::All => {}
        }
        let is_exact = tags.is_empty() && grep.is_none();
        EventPredicate { narrow, hit, is_exact, order }
    }
}

fn kind_value(kind: EventKind) -> Value {
    Value::Integer(kind.index() as i64)
}

/// A filter over runs: all of it is decided by SQL.
pub(super) struct RunPredicate {
    /// The tables to look into.
    pub(super) from: &'static str,
    /// What must hold.
    pub(super) conditions: Conditions,
}

impl RunPredicate {
    /// The conditions of `filter`, after `after`.
    pub(super) fn new(filter: &RunFilter, after: Option<RunCursor>) -> RunPredicate {
        let RunFilter { task, host, run, since, until, latest } = filter;
        // The latest runs are few, one for each task and host: they lead, and their run is looked up. SQLite would else
        // start from all runs of the task; CROSS JOIN keeps it from that.
        let (from, by_name) = match latest {
            Latest::No => ("run", "run"),
            Latest::PerTaskAndHost => ("latest CROSS JOIN run ON run.no = latest.run_no", "latest"),
        };
        let mut conditions = Conditions::default();
        if let Some(run) = run {
            conditions.add("run.id = ?", [Value::Blob(run.as_bytes().to_vec())]);
        }
        if let Some(task) = task {
            conditions.add(&format!("{by_name}.{TASK}"), [Value::Text(task.as_str().to_owned())]);
        }
        if let Some(host) = host {
            conditions.add(&format!("{by_name}.{HOST}"), [Value::Text(host.as_str().to_owned())]);
        }
        if let Some(since) = since {
            conditions.add("run.started_us >= ?", [Value::Integer(since.as_micros())]);
        }
        if let Some(until) = until {
            conditions.add("run.started_us < ?", [Value::Integer(until.as_micros())]);
        }
        if let Some(RunCursor { started_at, run }) = after {
            let key = [Value::Integer(started_at.as_micros()), Value::Blob(run.as_bytes().to_vec())];
            conditions.add("(run.started_us, run.id) < (?, ?)", key);
        }
        RunPredicate { from, conditions }
    }
}
