//! Local questions about events: the same filters and pages as at the master, over what this host still keeps.
//!
//! SQL narrows down by what columns tell; [`EventFilter::matches`] decides. One answer looks at no more than
//! [`ROWS_LOOKED_AT_MAX`] rows: a short page with a cursor is then the answer.

use hume_core::event::StoredEvent;
use hume_core::filter::{EventFilter, KindFilter};
use hume_core::name::{Epoch, Seq};
use hume_core::page::{After, EventCursor, Page, Stretch};
use hume_core::{AgentId, Position};
use hume_proto::event::EventBytes;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::reader::SpoolReader;
use super::types::{SpoolError, id_from};

/// Rows that one page of events looks at. Few in tests, so that they meet it.
const ROWS_LOOKED_AT_MAX: usize = if cfg!(test) { 7 } else { 50_000 };

/// Who asks: whoever is not the administrator sees only what came from the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees everything.
    Administrator,
    /// Sees what this user reported.
    User(u32),
}

impl Viewer {
    pub(super) fn sees(self, stored: &StoredEvent) -> bool {
        match self {
            Viewer::Administrator => true,
            Viewer::User(uid) => stored.event.process.uid == Some(uid),
        }
    }
}

/// Conditions and their values, joined by AND.
#[derive(Default)]
pub(super) struct Where {
    terms: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Where {
    /// Each `?` of the term stands for the next value.
    pub(super) fn add(&mut self, term: &str, values: impl IntoIterator<Item = Value>) {
        let mut pieces = term.split('?');
        let mut numbered = pieces.next().unwrap_or_default().to_owned();
        for (value, piece) in values.into_iter().zip(pieces) {
            self.values.push(value);
            numbered = format!("{numbered}?{}{piece}", self.values.len());
        }
        self.terms.push(numbered);
    }

    /// The terms so far, joined; they stand elsewhere from now on, and their values stay.
    pub(super) fn take_text(&mut self) -> String {
        let text = self.text();
        self.terms.clear();
        text
    }

    pub(super) fn text(&self) -> String {
        if self.terms.is_empty() { "1".to_owned() } else { self.terms.join(" AND ") }
    }
}

fn event_where(filter: &EventFilter) -> Where {
    let mut conditions = Where::default();
    // Task, host, level, tags and text are in the event's bytes: they are decided there.
    let EventFilter { task: _, host: _, level_min: _, tags: _, since, until, run, grep: _, kind } = filter;
    if let Some(since) = since {
        conditions.add("time_us >= ?", [since.as_micros().into()]);
    }
    if let Some(until) = until {
        conditions.add("time_us < ?", [until.as_micros().into()]);
    }
    if let Some(run) = run {
        conditions.add("run_no = (SELECT no FROM run WHERE id = ?)", [run.as_bytes().to_vec().into()]);
    }
    match kind {
        KindFilter::Reported => conditions.add("kind = ?", [0.into()]),
        KindFilter::Only(kind) => conditions.add("kind = ?", [(kind.index() as i64).into()]),
        KindFilter::All => {}
    }
    conditions
}

/// What [`stored`] reads.
pub(super) const EVENT_COLUMNS: &str = "event.row, epoch.epoch, event.seq, event.body";

/// The row's number and its event.
pub(super) fn stored(row: &Row<'_>, agent: Option<AgentId>) -> Result<(i64, StoredEvent), SpoolError> {
    let number: i64 = row.get(0)?;
    let epoch = id_from(number, row.get_ref(1)?.as_blob().unwrap_or_default(), Epoch::from_slice)?;
    let seq = Seq::new(row.get::<_, i64>(2)? as u64).unwrap_or(Seq::ZERO);
    let event = EventBytes::from_raw(row.get::<_, Vec<u8>>(3)?)
        .decode()
        .map_err(|error| SpoolError::Damaged { row: number, detail: error.to_string() })?;
    Ok((number, StoredEvent { position: Position { agent, epoch, seq }, arrived_at: None, event }))
}

/// In which direction the log is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// Newest first, from below the border if there is one.
    Down(Option<EventCursor>),
    /// Oldest first, from the border on.
    Up(EventCursor),
}

/// Walks the log; `keep` answers false to leave an event for the next page. The last row that was kept, if something is left.
fn walk(
    connection: &Connection,
    agent: Option<AgentId>,
    filter: &EventFilter,
    way: Walk,
    rows_max: usize,
    mut keep: impl FnMut(StoredEvent) -> bool,
) -> Result<Option<i64>, SpoolError> {
    let mut conditions = event_where(filter);
    let order = match way {
        Walk::Down(None) => "DESC",
        Walk::Down(Some(EventCursor(row))) => {
            conditions.add("row < ?", [row.into()]);
            "DESC"
        }
        Walk::Up(EventCursor(row)) => {
            conditions.add("row >= ?", [row.into()]);
            "ASC"
        }
    };
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM event JOIN epoch ON epoch.no = event.epoch_no WHERE {} ORDER BY event.row {order}",
        conditions.text()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    let (mut looked_at, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        let (number, event) = stored(row, agent)?;
        // One more than the page holds tells whether another one follows.
        if looked_at == rows_max || !keep(event) {
            return Ok(last);
        }
        looked_at += 1;
        last = Some(number);
    }
    Ok(None)
}

/// The border above every row there ever was: rows are forgotten, their numbers are never given out again.
fn end_of_log(connection: &Connection) -> Result<EventCursor, SpoolError> {
    let newest: i64 = connection
        .prepare_cached("SELECT coalesce(max(no << 40 | (next_seq - 1)), 0) FROM epoch")?
        .query_row([], |row| row.get(0))?;
    Ok(EventCursor::above(newest))
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
            let left = walk(connection, agent, &filter, Walk::Down(before), ROWS_LOOKED_AT_MAX, |event| {
                if page.len() == items {
                    return false;
                }
                if filter.matches(&event) && viewer.sees(&event) {
                    page.push(event);
                }
                true
            })?;
            Ok(Page { items: page, next: left.map(EventCursor) })
        })
        .await
    }

    /// Events in the order of the log, at most `items` that `viewer` may see, and where to go on.
    ///
    /// # Errors
    /// [`SpoolError::Beyond`] for a border that this spool has not reached, or if the file cannot be read.
    pub async fn events_after(
        &self,
        filter: EventFilter,
        viewer: Viewer,
        after: After,
        items: usize,
    ) -> Result<Stretch<StoredEvent>, SpoolError> {
        let agent = self.agent();
        self.ask(move |connection| {
            let end = end_of_log(connection)?;
            let from = match after {
                After::Start => EventCursor::START,
                After::Now => end,
                After::Cursor(border) if border > end => return Err(SpoolError::Beyond),
                After::Cursor(border) => border,
            };
            let mut found = Vec::new();
            let left = walk(connection, agent, &filter, Walk::Up(from), ROWS_LOOKED_AT_MAX, |event| {
                if found.len() == items {
                    return false;
                }
                if filter.matches(&event) && viewer.sees(&event) {
                    found.push(event);
                }
                true
            })?;
            Ok(Stretch { items: found, next: left.map_or(end, EventCursor::above), at_end: left.is_none() })
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
            walk(connection, agent, &filter, Walk::Down(None), usize::MAX, |event| {
                count += u64::from(filter.matches(&event) && viewer.sees(&event));
                true
            })?;
            Ok(count)
        })
        .await
    }
}
