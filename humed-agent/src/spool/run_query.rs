//! Local questions about runs: the fold of each, its events that the asker may see, and what of it this host has forgotten.
//!
//! The meaning of a filter is [`RunFilter::pick`]. One answer is one moment: fold and events fit together.

use std::ops::ControlFlow;

use hume_core::event::{EventKind, StoredEvent};
use hume_core::filter::{Latest, RunFilter};
use hume_core::name::{Epoch, Seq};
use hume_core::page::{Page, RunCursor};
use hume_core::run::RunState;
use hume_core::{AgentId, EventId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::blocks;
use super::epochs::number_of;
use super::query::{Shelf, Viewer, Where, run_number};
use super::reader::SpoolReader;
use super::types::{SpoolError, place_of, row_of, rows_from};

/// Events that come with one run. Few in tests, so that they meet it.
pub const RUN_EVENTS_MAX: usize = if cfg!(test) { 50 } else { 10_000 };
/// A page of runs ends when it has more events than this; the rest is on the next.
const PAGE_EVENTS_MAX: usize = 2 * RUN_EVENTS_MAX;

/// Whether runs are wanted with their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEvents {
    /// Without.
    Omit,
    /// With.
    Include,
}

/// A run and what is known around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// The fold of its events.
    pub state: RunState,
    /// Places of its events that were forgotten.
    pub forgotten: Vec<Forgotten>,
    /// Its events of every kind in order of place, when they were asked for: at most [`RUN_EVENTS_MAX`] that the viewer may
    /// see.
    pub events: Vec<StoredEvent>,
    /// So many more he may see.
    pub more_events: u64,
    /// Whether he may see what the first error says.
    pub first_error: FirstErrorFor,
}

/// Places of a run whose events are no longer kept; those between them may belong to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Their epoch.
    pub epoch: Epoch,
    /// The first.
    pub from: Seq,
    /// The last.
    pub to: Seq,
}

/// Whose the first error of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstErrorFor {
    /// The viewer may see it, or there is none.
    Viewer,
    /// Another user reported it, or nobody knows any more who did.
    Others,
}

/// The runs that a filter is about: where they are taken from, and what must hold.
struct RunSieve {
    table: String,
    conditions: Where,
}

impl RunSieve {
    fn new(filter: &RunFilter, viewer: Viewer) -> RunSieve {
        // Users of this host are told apart by the viewer; nobody here has a scope.
        let RunFilter { task, host, run, since, until, latest, scope: _ } = filter;
        let mut conditions = Where::default();
        // These three say among which runs the latest is looked for; the others apply to the one that was found.
        if let Some(task) = task {
            conditions.add("task = ?", [task.as_str().to_owned().into()]);
        }
        if let Some(host) = host {
            conditions.add("host = ?", [host.as_str().to_owned().into()]);
        }
        if let Viewer::User(uid) = viewer {
            conditions.add("uid = ?", [Value::Integer(uid.into())]);
        }
        let table = match latest {
            Latest::No => "run".to_owned(),
            Latest::PerTaskAndHost => {
                let table = format!(
                    "(SELECT *, row_number() OVER (PARTITION BY task, host ORDER BY started_us DESC, id DESC) AS newest
                        FROM run WHERE {}) AS run",
                    conditions.take_text()
                );
                conditions.add("newest = 1", []);
                table
            }
        };
        if let Some(run) = run {
            conditions.add("id = ?", [run.as_bytes().to_vec().into()]);
        }
        if let Some(since) = since {
            conditions.add("started_us >= ?", [since.as_micros().into()]);
        }
        if let Some(until) = until {
            conditions.add("started_us < ?", [until.as_micros().into()]);
        }
        RunSieve { table, conditions }
    }
}

impl SpoolReader {
    /// A page of runs, newest start first, of at most `items` that `viewer` may see.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn runs(
        &self,
        filter: RunFilter,
        viewer: Viewer,
        after: Option<RunCursor>,
        items: usize,
        with_events: RunEvents,
    ) -> Result<Page<RunRecord, RunCursor>, SpoolError> {
        let agent = self.agent();
        self.ask(move |connection| {
            let RunSieve { table, mut conditions } = RunSieve::new(&filter, viewer);
            if let Some(RunCursor { started_at, run }) = after {
                let key = [started_at.as_micros().into(), run.as_bytes().to_vec().into()];
                conditions.add("(started_us, id) < (?, ?)", key);
            }
            // One more than the page holds, to learn whether another page follows.
            let sql = format!(
                "SELECT state FROM {table} WHERE {} ORDER BY started_us DESC, id DESC LIMIT {}",
                conditions.text(),
                items + 1
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(conditions.values))?;
            let (mut page, mut events) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                if page.len() == items || events > PAGE_EVENTS_MAX {
                    let next = page.last().map(cursor_of);
                    return Ok(Page { items: page, next });
                }
                let text: String = row.get(0)?;
                let state = serde_json::from_str::<RunState>(&text)
                    .map_err(|error| SpoolError::Damaged { row: 0, detail: error.to_string() })?;
                let record = record(connection, agent, viewer, state, with_events)?;
                events += record.events.len();
                page.push(record);
            }
            Ok(Page { items: page, next: None })
        })
        .await
    }

    /// How many runs there are that `viewer` may see.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn count_runs(&self, filter: RunFilter, viewer: Viewer) -> Result<u64, SpoolError> {
        self.ask(move |connection| {
            let RunSieve { table, conditions } = RunSieve::new(&filter, viewer);
            let sql = format!("SELECT count(*) FROM {table} WHERE {}", conditions.text());
            let count: i64 = connection
                .prepare_cached(&sql)?
                .query_row(params_from_iter(conditions.values), |row| row.get(0))?;
            Ok(count as u64)
        })
        .await
    }
}

fn cursor_of(record: &RunRecord) -> RunCursor {
    RunCursor { started_at: record.state.started_at(), run: record.state.id() }
}

fn record(
    connection: &Connection,
    agent: Option<AgentId>,
    viewer: Viewer,
    state: RunState,
    with_events: RunEvents,
) -> Result<RunRecord, SpoolError> {
    let no = run_number(connection, state.id())?;
    let (events, more_events) = match with_events {
        RunEvents::Omit => (Vec::new(), 0),
        RunEvents::Include => events_of(connection, agent, viewer, no)?,
    };
    let mut forgotten = forgotten(connection, &state, no)?;
    // A run that closed in the middle of a round of the retention has lost later events before its first ones.
    let rows: i64 = connection
        .prepare_cached("SELECT coalesce(sum(events), 0) FROM block_by_run WHERE run_no = ?1")?
        .query_row([no], |row| row.get(0))?;
    let is_whole = with_events == RunEvents::Include && more_events == 0 && viewer == Viewer::Administrator;
    let reported = events.iter().filter(|stored| stored.event.kind == EventKind::Reported).count() as u64;
    let is_short = (rows as u64) < state.events() || (is_whole && reported < state.events());
    if forgotten.is_empty() && is_short {
        let whole = |span: &hume_core::run::Span| Forgotten {
            epoch: span.epoch(),
            from: span.first(),
            to: span.last(),
        };
        forgotten.extend(state.spans().iter().map(whole));
    }
    let first_error = match state.first_error() {
        Some(first) => whose(connection, agent, viewer, first.id)?,
        None => FirstErrorFor::Viewer,
    };
    Ok(RunRecord { state, forgotten, events, more_events, first_error })
}

/// The first events of a run that the viewer may see, and how many more there are.
fn events_of(
    connection: &Connection,
    agent: Option<AgentId>,
    viewer: Viewer,
    run_no: Option<i64>,
) -> Result<(Vec<StoredEvent>, u64), SpoolError> {
    let mut shelf = Shelf::new(connection, agent)?;
    let (mut events, mut more) = (Vec::new(), 0);
    blocks::of_run(connection, run_no, |head| {
        for (offset, _) in head.marks()?.iter().enumerate().filter(|(_, mark)| mark.run_no == run_no) {
            let event = shelf.event(head, offset)?;
            if !viewer.sees(&event) {
                continue;
            }
            if events.len() < RUN_EVENTS_MAX {
                events.push(event);
            } else {
                more += 1;
            }
        }
        Ok::<_, SpoolError>(())
    })?;
    Ok((events, more))
}

/// The events of a run are forgotten in the order of their places: what is missing lies before the first that is kept.
fn forgotten(
    connection: &Connection,
    state: &RunState,
    run_no: Option<i64>,
) -> Result<Vec<Forgotten>, SpoolError> {
    let mut all = Vec::new();
    for span in state.spans() {
        let (epoch, first) = (span.epoch(), span.first());
        let lowest = match number_of(connection, epoch)? {
            Some(no) if blocks::at(connection, row_of(no, first))?.is_some() => continue,
            Some(no) => blocks::first_of_run(connection, run_no, rows_from(no, Seq::ZERO))?,
            None => None,
        };
        let to = match lowest.map(|row| place_of(row).1) {
            Some(lowest) => Seq::new(lowest.get().saturating_sub(1)).unwrap_or(first),
            None => span.last(),
        };
        all.push(Forgotten { epoch, from: first, to });
    }
    Ok(all)
}

fn whose(
    connection: &Connection,
    agent: Option<AgentId>,
    viewer: Viewer,
    event: EventId,
) -> Result<FirstErrorFor, SpoolError> {
    if viewer == Viewer::Administrator {
        return Ok(FirstErrorFor::Viewer);
    }
    let mut is_seen = false;
    if let Some(mark) = blocks::with_ids(connection, &[event])?.first() {
        let mut shelf = Shelf::new(connection, agent)?;
        blocks::heads(connection, mark.row..mark.row + 1, |head| {
            let offset = head.marks()?.iter().position(|one| one.row == mark.row);
            is_seen = viewer.sees(&shelf.event(&head, offset.unwrap_or(usize::MAX))?);
            Ok::<_, SpoolError>(ControlFlow::Break(()))
        })?;
    }
    Ok(if is_seen { FirstErrorFor::Viewer } else { FirstErrorFor::Others })
}
