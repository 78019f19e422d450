//! Events in either direction: SQL narrows by an index, marks likely hits by columns, and `matches` decides on the event.

use std::collections::HashMap;

use hume_core::event::Position;
use hume_core::filter::EventFilter;
use hume_core::page::{After, EventCursor, Page};
use hume_core::{AgentId, Epoch, Seq, StoredEvent, Timestamp};
use hume_proto::event::EventBytes;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::readers::{Question, read_failed};
use crate::store::error::StoreError;
use crate::store::predicate::{EventPredicate, Side};
use crate::store::types::{EventPage, EventStretch};

/// Rows looked at for one page; then the page ends and says where to go on. Few in tests, so that the suite meets it.
const SCAN_ROWS_MAX: i64 = if cfg!(test) { 7 } else { 100_000 };

/// See [`EventReader::events`](crate::store::EventReader::events).
pub(super) fn list(
    question: &Question<'_>,
    filter: &EventFilter,
    limit: usize,
    after: Option<EventCursor>,
) -> Result<EventPage, StoreError> {
    let (items, left) = some(question, filter, limit, Side::Below(after))?;
    Ok(Page { items, next: left.map(EventCursor) })
}

/// See [`EventReader::events_after`](crate::store::EventReader::events_after).
pub(super) fn stretch(
    question: &Question<'_>,
    filter: &EventFilter,
    limit: usize,
    after: After,
) -> Result<EventStretch, StoreError> {
    let end = end(question.connection).map_err(read_failed)?;
    let from = match after {
        After::Start => EventCursor::START,
        After::Now => end,
        After::Cursor(border) if border > end => return Err(StoreError::Beyond),
        After::Cursor(border) => border,
    };
    let (items, left) = some(question, filter, limit, Side::Above(from))?;
    Ok(EventStretch { items, next: left.map_or(end, EventCursor::above), at_end: left.is_none() })
}

/// The border above the newest event.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<EventCursor> {
    let newest = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM event")?
        .query_row([], |row| row.get(0))?;
    Ok(EventCursor::above(newest))
}

/// Events on one side of a border, and the row up to which it was looked at if something is left.
fn some(
    question: &Question<'_>,
    filter: &EventFilter,
    limit: usize,
    side: Side,
) -> Result<(Vec<StoredEvent>, Option<i64>), StoreError> {
    let mut items = Vec::new();
    let mut scanned = 0;
    let mut last_id = None;
    // One row more than one page looks at, to learn whether something is left.
    let predicate = EventPredicate::new(filter, side);
    let finished = scan(question, predicate, SCAN_ROWS_MAX + 1, |id, stored| {
        if items.len() >= limit || scanned == SCAN_ROWS_MAX {
            return Ok(false);
        }
        scanned += 1;
        last_id = Some(id);
        items.extend(stored.filter(|stored| filter.matches(stored)));
        Ok(true)
    })?;
    Ok((items, if finished { None } else { last_id }))
}

/// See [`EventReader::count_events`](crate::store::EventReader::count_events).
pub(super) fn count(question: &Question<'_>, filter: &EventFilter) -> Result<u64, StoreError> {
    let predicate = EventPredicate::new(filter, Side::Below(None));
    if predicate.is_exact {
        let EventPredicate { narrow, hit, is_exact: _, order: _ } = predicate;
        let sql = format!("SELECT count(*) FROM event WHERE {} AND {}", narrow.text(), hit.text());
        let values = narrow.values.into_iter().chain(hit.values);
        let mut statement = question.connection.prepare(&sql).map_err(read_failed)?;
        let count: i64 =
            statement.query_row(params_from_iter(values), |row| row.get(0)).map_err(read_failed)?;
        return Ok(count.unsigned_abs());
    }
    let mut count = 0;
    scan(question, predicate, i64::MAX, |_, stored| {
        count += u64::from(stored.is_some_and(|stored| filter.matches(&stored)));
        Ok(true)
    })?;
    Ok(count)
}

/// Gives `each` the rows the predicate narrows to, in its order, with the event of those that may be hits. False when
/// `each` wanted no more.
fn scan(
    question: &Question<'_>,
    predicate: EventPredicate,
    rows_max: i64,
    mut each: impl FnMut(i64, Option<StoredEvent>) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let EventPredicate { narrow, hit, is_exact: _, order } = predicate;
    // The body of a row that is no hit is not even read.
    let sql = format!(
        "SELECT id, epoch_no, seq, arrived_us, CASE WHEN {} THEN body END FROM event WHERE {} \
         ORDER BY {order} LIMIT ?",
        hit.text(),
        narrow.text()
    );
    let values = hit.values.into_iter().chain(narrow.values).chain([Value::Integer(rows_max)]);
    let mut statement = question.connection.prepare(&sql).map_err(read_failed)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(read_failed)?;
    let mut places = Places::default();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        let id = row.get(0).map_err(read_failed)?;
        if !each(id, stored_event(question, &mut places, row)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first events of one run in order of position, at most `limit`, and how many more there are.
pub(super) fn of_run(
    question: &Question<'_>,
    run_no: i64,
    limit: usize,
) -> Result<(Vec<StoredEvent>, u64), StoreError> {
    let mut statement = question
        .connection
        .prepare_cached(
            "SELECT id, epoch_no, seq, arrived_us, body FROM event WHERE run_no = ?1 ORDER BY epoch_no, seq LIMIT ?2",
        )
        .map_err(read_failed)?;
    let mut rows = statement.query(params![run_no, limit as i64]).map_err(read_failed)?;
    let mut places = Places::default();
    let mut events = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        events.extend(stored_event(question, &mut places, row)?);
    }
    if events.len() < limit {
        return Ok((events, 0));
    }
    let all: i64 = question
        .connection
        .prepare_cached("SELECT count(*) FROM event WHERE run_no = ?1")
        .and_then(|mut count| count.query_row([run_no], |row| row.get(0)))
        .map_err(read_failed)?;
    let more = all.unsigned_abs().saturating_sub(events.len() as u64);
    Ok((events, more))
}

/// Reads the row `(id, epoch_no, seq, arrived_us, body)`; none when the body was left out.
fn stored_event(
    question: &Question<'_>,
    places: &mut Places,
    row: &Row<'_>,
) -> Result<Option<StoredEvent>, StoreError> {
    let Some(body) = row.get::<_, Option<Vec<u8>>>(4).map_err(read_failed)? else { return Ok(None) };
    let (agent, epoch) = places.of(question, row.get(1).map_err(read_failed)?)?;
    let seq: i64 = row.get(2).map_err(read_failed)?;
    let event = EventBytes::from_raw(body)
        .decode()
        .map_err(|error| StoreError::Unreadable { what: format!("event {seq} of epoch {epoch}: {error}") })?;
    let position =
        Position { agent: Some(agent), epoch, seq: Seq::new(seq.unsigned_abs()).unwrap_or_default() };
    let arrived_at = Some(Timestamp::from_micros(row.get(3).map_err(read_failed)?));
    Ok(Some(StoredEvent { position, arrived_at, event }))
}

/// Agent and epoch by the epoch's number; asked once per question.
#[derive(Default)]
struct Places(HashMap<i64, (AgentId, Epoch)>);

impl Places {
    fn of(&mut self, question: &Question<'_>, epoch_no: i64) -> Result<(AgentId, Epoch), StoreError> {
        if let Some(place) = self.0.get(&epoch_no) {
            return Ok(*place);
        }
        let mut statement = question
            .connection
            .prepare_cached(
                "SELECT agent.id, epoch FROM epoch JOIN agent ON agent.no = agent_no WHERE epoch.no = ?1",
            )
            .map_err(read_failed)?;
        let (agent, epoch) =
            statement.query_row([epoch_no], |row| Ok((row.get(0)?, row.get(1)?))).map_err(read_failed)?;
        let place = (AgentId::from_bytes(agent), Epoch::from_bytes(epoch));
        self.0.insert(epoch_no, place);
        Ok(place)
    }
}
