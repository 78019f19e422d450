//! Questions as SQL: which blocks of the log may hold an answer, which of their events are worth decoding, and which runs are
//! meant.
//!
//! Of events, only a sieve: whatever passes is asked again by [`EventFilter::matches`]. Values are always bound, never written
//! into the text.

use hume_core::event::EventKind;
use hume_core::filter::{EventFilter, KindFilter, Latest, RunFilter};
use hume_core::page::{EventCursor, RunCursor};
use hume_core::{Level, Timestamp};
use rusqlite::types::Value;

use super::block::{BLOCK_EVENTS_MAX, Field, Mark, ZONE_BITS};

/// Which side of a border is looked at, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Below it, newest first; none: below the end.
    Below(Option<EventCursor>),
    /// Above it, oldest first.
    Above(EventCursor),
}

/// The numbers that a filter's names have in this store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) task_no: Option<i64>,
    pub(super) host_no: Option<i64>,
    pub(super) tag_nos: Vec<i64>,
    /// Of all agents that have a run of this name: hardly ever more than one.
    pub(super) run_nos: Option<Vec<i64>>,
    pub(super) scope: ScopeNumbers,
}

/// What the asker may see, by the numbers of this store: in ascending order, and none for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ScopeNumbers {
    pub(super) task_nos: Option<Vec<i64>>,
    pub(super) host_nos: Option<Vec<i64>>,
}

/// Numbers as one value of SQL, for `json_each`.
pub(super) fn json_of(nos: &[i64]) -> Value {
    let texts: Vec<String> = nos.iter().map(ToString::to_string).collect();
    Value::Text(format!("[{}]", texts.join(",")))
}

/// Which events of a block are worth decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sieve {
    numbers: Numbers,
    rank_min: Option<u8>,
    since_us: Option<i64>,
    until_us: Option<i64>,
    kind: Option<u8>,
    /// True when nothing is left for `matches` to decide.
    pub(super) is_exact: bool,
    side: Side,
}

impl Sieve {
    /// The sieve for `filter`, whose names have these numbers.
    pub(super) fn new(filter: &EventFilter, numbers: Numbers, side: Side) -> Sieve {
        let EventFilter { task: _, host: _, level_min, tags, since, until, run: _, grep, kind, scope: _ } =
            filter;
        let kind = match kind {
            KindFilter::Reported => Some(EventKind::Reported),
            KindFilter::Only(kind) => Some(*kind),
            KindFilter::All => None,
        };
        Sieve {
            numbers,
            rank_min: level_min.map(Level::rank),
            since_us: since.map(Timestamp::as_micros),
            until_us: until.map(Timestamp::as_micros),
            kind: kind.map(|kind| kind.index() as u8),
            is_exact: tags.is_empty() && grep.is_none(),
            side,
        }
    }

    /// Whether the newest come first.
    pub(super) fn is_newest_first(&self) -> bool {
        match self.side {
            Side::Below(_) => true,
            Side::Above(_) => false,
        }
    }

    /// Whether the event with this id lies on the side that is looked at.
    pub(super) fn reaches(&self, id: i64) -> bool {
        match self.side {
            Side::Below(border) => border.is_none_or(|EventCursor(border)| id < border),
            Side::Above(EventCursor(border)) => id >= border,
        }
    }

    /// Whether an event with this mark may be asked for.
    pub(super) fn passes(&self, mark: &Mark) -> bool {
        let Numbers { task_no, host_no, tag_nos: _, run_nos, scope } = &self.numbers;
        let is_in =
            |nos: &Option<Vec<i64>>, no| nos.as_ref().is_none_or(|nos| nos.binary_search(&no).is_ok());
        is_in(&scope.task_nos, mark.task_no)
            && is_in(&scope.host_nos, mark.host_no)
            && task_no.is_none_or(|no| mark.task_no == no)
            && host_no.is_none_or(|no| mark.host_no == no)
            && run_nos.as_ref().is_none_or(|nos| mark.run_no.is_some_and(|no| nos.contains(&no)))
            && self.rank_min.is_none_or(|rank| mark.rank >= rank)
            && self.since_us.is_none_or(|since| mark.time_us >= since)
            && self.until_us.is_none_or(|until| mark.time_us < until)
            && self.kind.is_none_or(|kind| mark.kind == kind)
    }

    /// The blocks that may hold what passes.
    pub(super) fn blocks(&self) -> BlockPredicate {
        // A scope is of many names: no index of single ones leads to it.
        let Numbers { task_no, host_no, tag_nos, run_nos, scope: _ } = &self.numbers;
        let runs = run_nos.as_ref().map(|nos| (Field::Run, nos.as_slice()));
        let tags = tag_nos.iter().map(|no| (Field::Tag, std::slice::from_ref(no)));
        let host = host_no.as_ref().map(|no| (Field::Host, std::slice::from_ref(no)));
        let task = task_no.as_ref().map(|no| (Field::Task, std::slice::from_ref(no)));
        // The first leads: the blocks of one run are the fewest. Where they are looked for among the others, one look each does.
        let mut mentions = runs.into_iter().chain(tags).chain(host).chain(task);
        let lead = mentions.next();
        // Bounds are looked at zone by zone, unless there is little to pass over.
        let is_bounded = self.rank_min.is_some() || self.since_us.is_some() || self.until_us.is_some();
        let zone = is_bounded && run_nos.is_none();
        let (from, id) = match (zone, lead) {
            (true, Some(_)) => (FROM_ZONE_MENTION, "mention.block_id"),
            (true, None) => ("zone CROSS JOIN block", "block.id"),
            (false, Some(_)) => (FROM_MENTION, "mention.block_id"),
            (false, None) => ("block", "block.id"),
        };
        let mut conditions = Conditions::default();
        if zone {
            self.bounds("zone", &mut conditions);
            let ids = format!("{id} >= zone.no << {ZONE_BITS} AND {id} < (zone.no + 1) << {ZONE_BITS}");
            conditions.add(&ids, []);
        }
        if let Some((field, nos)) = lead {
            conditions.add("mention.field = ?", [Value::Integer(field.index())]);
            let places = vec!["?"; nos.len()].join(", ");
            let nos = nos.iter().map(|no| Value::Integer(*no));
            conditions.add(&format!("mention.no IN ({places})"), nos);
        }
        let order = self.border(zone, id, &mut conditions);
        self.bounds("block", &mut conditions);
        for (field, nos) in mentions {
            let other = "EXISTS (SELECT 1 FROM mention AS other \
                 WHERE other.field = ? AND other.no = ? AND other.block_id = block.id)";
            conditions.add(other, [field.index()].iter().chain(nos).map(|no| Value::Integer(*no)));
        }
        let order = if zone { format!("zone.no {order}, {id} {order}") } else { format!("{id} {order}") };
        BlockPredicate { from, conditions, order }
    }

    /// What must hold of the bounds in `table`, or nothing in it can be asked for.
    fn bounds(&self, table: &str, conditions: &mut Conditions) {
        if let Some(rank) = self.rank_min {
            conditions.add(&format!("{table}.rank_max >= ?"), [Value::Integer(rank.into())]);
        }
        if let Some(since) = self.since_us {
            conditions.add(&format!("{table}.to_us >= ?"), [Value::Integer(since)]);
        }
        if let Some(until) = self.until_us {
            conditions.add(&format!("{table}.from_us < ?"), [Value::Integer(until)]);
        }
    }

    /// Blocks that reach to the side that is looked at; the word for their order.
    fn border(&self, zone: bool, id: &str, conditions: &mut Conditions) -> &'static str {
        let (border, compare, order) = match self.side {
            Side::Below(None) => return "DESC",
            Side::Below(Some(EventCursor(border))) => (border, "<", "DESC"),
            // The border may lie within a block.
            Side::Above(EventCursor(border)) => (border.saturating_sub(BLOCK_EVENTS_MAX), ">", "ASC"),
        };
        conditions.add(&format!("{id} {compare} ?"), [Value::Integer(border)]);
        if zone {
            conditions.add(&format!("zone.no {compare}= ?"), [Value::Integer(border >> ZONE_BITS)]);
        }
        order
    }
}

/// CROSS JOIN keeps this order, whatever SQLite believes of the sizes.
const FROM_MENTION: &str = "mention CROSS JOIN block ON block.id = mention.block_id";
const FROM_ZONE_MENTION: &str = "zone CROSS JOIN mention CROSS JOIN block ON block.id = mention.block_id";

/// Blocks that may hold what is asked for.
pub(super) struct BlockPredicate {
    /// The tables to look into, in this order.
    pub(super) from: &'static str,
    /// What must hold.
    pub(super) conditions: Conditions,
    /// For `ORDER BY`.
    pub(super) order: String,
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

/// A filter over runs: all of it is decided by SQL.
pub(super) struct RunPredicate {
    /// The tables to look into.
    pub(super) from: &'static str,
    /// What must hold.
    pub(super) conditions: Conditions,
}

impl RunPredicate {
    /// The conditions of `filter`, whose scope has these numbers, after `after`.
    pub(super) fn new(filter: &RunFilter, visible: &ScopeNumbers, after: Option<RunCursor>) -> RunPredicate {
        let RunFilter { task, host, run, since, until, latest, scope: _ } = filter;
        let ScopeNumbers { task_nos, host_nos } = visible;
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
            // A plus keeps a condition from choosing the index: the runs of a host are fewer than those of a task.
            let plus = if *latest == Latest::No && (host.is_some() || run.is_some()) { "+" } else { "" };
            conditions.add(&format!("{plus}{by_name}.{TASK}"), [Value::Text(task.as_str().to_owned())]);
        }
        if let Some(host) = host {
            let plus = if *latest == Latest::No && run.is_some() { "+" } else { "" };
            conditions.add(&format!("{plus}{by_name}.{HOST}"), [Value::Text(host.as_str().to_owned())]);
        }
        for (column, nos) in [("task_no", task_nos), ("host_no", host_nos)] {
            let Some(nos) = nos else { continue };
            let one_of = format!("+{by_name}.{column} IN (SELECT value FROM json_each(?))");
            conditions.add(&one_of, [json_of(nos)]);
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
