//! Local questions about events and runs: the same filters and pages as at the master, over what this host still keeps.
//!
//! SQL narrows down by what columns tell; [`EventFilter::matches`] decides. One answer looks at no more than
//! [`ROWS_LOOKED_AT_MAX`] rows: a short page with a cursor is then the answer.

use hume_core::event::StoredEvent;
use hume_core::filter::{EventFilter, KindFilter, Latest, RunFilter};
use hume_core::name::{Epoch, Seq};
use hume_core::page::{EventCursor, Page, RunCursor};
use hume_core::run::RunState;
use hume_core::{AgentId, Position, RunId};
use hume_proto::event::EventBytes;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::reader::SpoolReader;
use super::types::{SpoolError, id_from};

/// Rows that one page of events looks at.
const ROWS_LOOKED_AT_MAX: usize = 50_000;

/// Who asks: whoever is not the administrator sees only what came from the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees everything.
    Administrator,
    /// Sees what this user reported.
    User(u32),
}

impl Viewer {
    fn sees(self, stored: &StoredEvent) -> bool {
        match self {
            Viewer::Administrator => true,
            Viewer::User(uid) => stored.event.process.uid == Some(uid),
        }
    }
}

/// Conditions and their values, joined by AND.
#[derive(Default)]
struct Where {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    fn add(&mut self, term: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.terms.push(term.replace('?', &format!("?{}", self.values.len())));
    }

    fn text(&self) -> String {
        if self.terms.is_empty() { "1".to_owned() } else { self.terms.join(" AND ") }
    }
}

fn event_where(filter: &EventFilter) -> Where {
    let mut conditions = Where::default();
    // Task, host, level, tags and text are in the event's bytes: they are decided there.
    let EventFilter { task: _, host: _, level_min: _, tags: _, since, until, run, grep: _, kind } = filter;
    if let Some(since) = since {
        conditions.add("time_us >= ?", since.as_micros());
    }
    if let Some(until) = until {
        conditions.add("time_us < ?", until.as_micros());
    }
    if let Some(run) = run {
        conditions.add("run = ?", run.as_bytes().to_vec());
    }
    match kind {
        KindFilter::Reported => conditions.add("kind = ?", 0),
        KindFilter::Only(kind) => conditions.add("kind = ?", kind.index() as i64),
        KindFilter::All => {}
    }
    conditions
}

fn run_where(filter: &RunFilter, viewer: Viewer) -> Where {
    let mut conditions = Where::default();
    let RunFilter { task, host, run, since, until, latest: _ } = filter;
    if let Some(task) = task {
        conditions.add("task = ?", task.as_str().to_owned());
    }
    if let Some(host) = host {
        conditions.add("host = ?", host.as_str().to_owned());
    }
    if let Some(run) = run {
        conditions.add("id = ?", run.as_bytes().to_vec());
    }
    if let Some(since) = since {
        conditions.add("started_us >= ?", since.as_micros());
    }
    if let Some(until) = until {
        conditions.add("started_us < ?", until.as_micros());
    }
    if let Viewer::User(uid) = viewer {
        conditions.add("uid = ?", i64::from(uid));
    }
    conditions
}

const EVENT_COLUMNS: &str = "event.row, epoch.epoch, event.seq, event.body";

fn stored(row: &Row<'_>, agent: Option<AgentId>) -> Result<(i64, StoredEvent), SpoolError> {
    let number: i64 = row.get(0)?;
    let epoch = id_from(number, row.get_ref(1)?.as_blob().unwrap_or_default(), Epoch::from_slice)?;
    let seq = Seq::new(row.get::<_, i64>(2)? as u64).unwrap_or(Seq::ZERO);
    let event = EventBytes::from_raw(row.get::<_, Vec<u8>>(3)?)
        .decode()
        .map_err(|error| SpoolError::Damaged { row: number, detail: error.to_string() })?;
    Ok((number, StoredEvent { position: Position { agent, epoch, seq }, arrived_at: None, event }))
}

/// Walks events newest first below `before`; `keep` answers false to stop. Answers the last row looked at, if it stopped early.
fn walk(
    connection: &Connection,
    agent: Option<AgentId>,
    filter: &EventFilter,
    before: Option<EventCursor>,
    rows_max: usize,
    mut keep: impl FnMut(i64, StoredEvent) -> bool,
) -> Result<Option<i64>, SpoolError> {
    let mut conditions = event_where(filter);
    if let Some(EventCursor(row)) = before {
        conditions.add("row < ?", row);
    }
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM event JOIN epoch ON epoch.no = event.epoch_no WHERE {} ORDER BY event.row DESC",
        conditions.text()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        let (number, event) = stored(row, agent)?;
        looked_at += 1;
        if !keep(number, event) || looked_at == rows_max {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

impl SpoolReader {
    /// A page of events, newest first, of at most `items` that `viewer` may see.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn events(
        &self,
        filter: EventFilter,
        viewer: Viewer,
        before: Option<EventCursor>,
        items: usize,
    ) -> Result<Page<StoredEvent, EventCursor>, SpoolError> {
        let agent = self.agent();
        self.ask(move |connection| {
            let mut page = Vec::new();
            let stopped_at = walk(connection, agent, &filter, before, ROWS_LOOKED_AT_MAX, |_, event| {
                if filter.matches(&event) && viewer.sees(&event) {
                    page.push(event);
                }
                page.len() < items
            })?;
            Ok(Page { items: page, next: stopped_at.map(EventCursor) })
        })
        .await
    }

    /// How many events there are that `viewer` may see.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn count_events(&self, filter: EventFilter, viewer: Viewer) -> Result<u64, SpoolError> {
        let agent = self.agent();
        self.ask(move |connection| {
            let mut count = 0;
            walk(connection, agent, &filter, None, usize::MAX, |_, event| {
                count += u64::from(filter.matches(&event) && viewer.sees(&event));
                true
            })?;
            Ok(count)
        })
        .await
    }

    /// The first events of a run in order, those of every kind, at most `events_max`.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn run_events(&self, run: RunId, events_max: usize) -> Result<Vec<StoredEvent>, SpoolError> {
        let agent = self.agent();
        self.ask(move |connection| {
            let sql = format!(
                "SELECT {EVENT_COLUMNS} FROM event JOIN epoch ON epoch.no = event.epoch_no
                  WHERE run = ?1 ORDER BY event.epoch_no, event.seq LIMIT ?2"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(rusqlite::params![run.as_bytes(), events_max as i64])?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(stored(row, agent)?.1);
            }
            Ok(events)
        })
        .await
    }

    /// A page of runs, newest first, of at most `items` that `viewer` may see.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn runs(
        &self,
        filter: RunFilter,
        viewer: Viewer,
        after: Option<RunCursor>,
        items: usize,
    ) -> Result<Page<RunState, RunCursor>, SpoolError> {
        self.ask(move |connection| {
            let mut conditions = run_where(&filter, viewer);
            let table = run_table(filter.latest, &mut conditions);
            if let Some(RunCursor { started_at, run }) = after {
                conditions.add("(started_us, id) < (?,", started_at.as_micros());
                conditions.values.push(run.as_bytes().to_vec().into());
                let place = conditions.values.len();
                if let Some(term) = conditions.terms.last_mut() {
                    *term = format!("{term} ?{place})");
                }
            }
            let sql = format!(
                "SELECT state FROM {table} WHERE {} ORDER BY started_us DESC, id DESC LIMIT {}",
                conditions.text(),
                items + 1
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(conditions.values))?;
            let mut runs = Vec::new();
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                let state = serde_json::from_str::<RunState>(&text)
                    .map_err(|error| SpoolError::Damaged { row: 0, detail: error.to_string() })?;
                runs.push(state);
            }
            let more = runs.len() > items;
            runs.truncate(items);
            let next = runs
                .last()
                .filter(|_| more)
                .map(|run| RunCursor { started_at: run.started_at(), run: run.id() });
            Ok(Page { items: runs, next })
        })
        .await
    }

    /// How many runs there are that `viewer` may see.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn count_runs(&self, filter: RunFilter, viewer: Viewer) -> Result<u64, SpoolError> {
        self.ask(move |connection| {
            let mut conditions = run_where(&filter, viewer);
            let table = run_table(filter.latest, &mut conditions);
            let sql = format!("SELECT count(*) FROM {table} WHERE {}", conditions.text());
            let count: i64 = connection
                .prepare_cached(&sql)?
                .query_row(params_from_iter(conditions.values), |row| row.get(0))?;
            Ok(count as u64)
        })
        .await
    }
}

/// All runs, or of those that meet the conditions only the one of each (task, host) that started last.
fn run_table(latest: Latest, conditions: &mut Where) -> String {
    match latest {
        Latest::No => "run".to_owned(),
        Latest::PerTaskAndHost => {
            let table = format!(
                "(SELECT *, row_number() OVER (PARTITION BY task, host ORDER BY started_us DESC, id DESC) AS newest
                    FROM run WHERE {}) AS run",
                conditions.text()
            );
            conditions.terms.push("newest = 1".to_owned());
            table
        }
    }
}
