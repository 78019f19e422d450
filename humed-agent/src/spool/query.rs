//! Local questions about events: the same filters and pages as at the master, over what this host still keeps.
//!
//! Marks narrow down; [`EventFilter::matches`] decides. One answer looks at no more than
//! [`ROWS_LOOKED_AT_MAX`] rows: a short page with a cursor is then the answer.

use std::collections::HashMap;

use hume_core::event::{EventKind, StoredEvent};
use hume_core::filter::{EventFilter, KindFilter};
use hume_core::name::Epoch;
use hume_core::page::{After, EventCursor, Page, Stretch};
use hume_core::{AgentId, Position, RunId, Timestamp};
use hume_proto::event::EventBytes;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::block::Mark;
use super::blocks::{self, Head};
use super::epochs;
use super::reader::SpoolReader;
use super::types::{SpoolError, place_of};

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

/// The number of no run.
const NO_RUN: i64 = 0;

/// What marks tell of a filter.
struct Sieve {
    since_us: i64,
    /// None without a bound.
    until_us: Option<i64>,
    kind: Option<u8>,
    /// The number of the run that is asked for; [`NO_RUN`] when it is not there.
    run: Option<i64>,
}

impl Sieve {
    fn new(connection: &Connection, filter: &EventFilter) -> Result<Sieve, SpoolError> {
        // Task, host, level, tags and text are in the event's bytes: they are decided there, and so is the scope.
        let EventFilter {
            task: _,
            host: _,
            level_min: _,
            tags: _,
            since,
            until,
            run,
            grep: _,
            kind,
            scope: _,
        } = filter;
        let kind = match kind {
            KindFilter::Reported => Some(EventKind::Reported.index()),
            KindFilter::Only(kind) => Some(kind.index()),
            KindFilter::All => None,
        };
        Ok(Sieve {
            since_us: since.map_or(i64::MIN, Timestamp::as_micros),
            until_us: until.map(Timestamp::as_micros),
            kind: kind.map(|kind| kind as u8),
            run: match run {
                Some(run) => Some(run_number(connection, *run)?.unwrap_or(NO_RUN)),
                None => None,
            },
        })
    }

    fn passes(&self, mark: &Mark) -> bool {
        let Sieve { since_us, until_us, kind, run } = *self;
        mark.time_us >= since_us
            && until_us.is_none_or(|until_us| mark.time_us < until_us)
            && kind.is_none_or(|kind| mark.kind == kind)
            && run.is_none_or(|no| mark.run_no == Some(no))
    }
}

/// The number of a run's row.
pub(super) fn run_number(connection: &Connection, run: RunId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT no FROM run WHERE id = ?1")?
        .query_row([run.as_bytes()], |row| row.get(0))
        .optional()
}

/// Decodes events of blocks.
pub(super) struct Shelf<'a> {
    connection: &'a Connection,
    agent: Option<AgentId>,
    epochs: HashMap<i64, Epoch>,
    /// The block whose bodies are at hand, if it is one.
    at_hand: Option<(i64, Vec<u8>)>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(connection: &'a Connection, agent: Option<AgentId>) -> Result<Shelf<'a>, SpoolError> {
        let epochs = epochs::all(connection)?.into_iter().map(|epoch| (epoch.no, epoch.epoch)).collect();
        Ok(Shelf { connection, agent, epochs, at_hand: None })
    }

    /// The event at this offset of a block.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`], or if the file cannot be read.
    pub(super) fn event(&mut self, head: &Head, offset: usize) -> Result<StoredEvent, SpoolError> {
        let marks = head.marks()?;
        let bytes = match self.at_hand.take() {
            Some((row, bytes)) if row == head.row => bytes,
            _ => blocks::bytes_of(self.connection, head.row)?,
        };
        let begin = marks.iter().take(offset).map(|mark| mark.bytes as usize).sum();
        let body = marks.get(offset).and_then(|mark| bytes.get(begin..begin + mark.bytes as usize));
        let event = EventBytes::from_raw(body.unwrap_or_default().to_vec()).decode();
        let row = marks.get(offset).map_or(head.row, |mark| mark.row);
        self.at_hand = Some((head.row, bytes));
        let damaged = |detail: String| SpoolError::Damaged { row, detail };
        let (no, seq) = place_of(row);
        let epoch =
            *self.epochs.get(&no).ok_or_else(|| damaged("of an epoch that is not there".to_owned()))?;
        let event = event.map_err(|error| damaged(error.to_string()))?;
        Ok(StoredEvent { position: Position { agent: self.agent, epoch, seq }, arrived_at: None, event })
    }
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
    let sieve = Sieve::new(connection, filter)?;
    let (places, order) = match way {
        Walk::Down(before) => (0..before.map_or(i64::MAX, |EventCursor(row)| row), "DESC"),
        Walk::Up(EventCursor(row)) => (row..i64::MAX, "ASC"),
    };
    // Without a run, the third value stands for nothing.
    let (table, of_run) = match sieve.run {
        Some(_) => ("block_by_run CROSS JOIN block USING (row)", "run_no = ?3"),
        None => ("block", "?3 IS NULL"),
    };
    let sql = format!(
        "SELECT row, last, block.events, bytes, marks FROM {table}
          WHERE row >= coalesce((SELECT max(row) FROM block WHERE row <= ?1), ?1) AND row < ?2 AND {of_run} ORDER BY row {order}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![places.start, places.end, sieve.run])?;
    let mut shelf = Shelf::new(connection, agent)?;
    let (mut looked_at, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        let head = Head::read(row)?;
        let marks = head.marks()?;
        for step in 0..marks.len() {
            let offset = if order == "DESC" { marks.len() - 1 - step } else { step };
            let mark = &marks[offset];
            if !places.contains(&mark.row) || !sieve.passes(mark) {
                continue;
            }
            // One more than the page holds tells whether another one follows.
            if looked_at == rows_max || !keep(shelf.event(&head, offset)?) {
                return Ok(last);
            }
            looked_at += 1;
            last = Some(mark.row);
        }
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
