//! Events in either direction: an index names blocks, marks say which of their events may be asked for, and `matches` decides on
//! the event.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use hume_core::event::Position;
use hume_core::filter::EventFilter;
use hume_core::page::{After, EventCursor, Page};
use hume_core::run::RunState;
use hume_core::scope::Scope;
use hume_core::{AgentId, Epoch, Seq, StoredEvent, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, Row, Rows, ToSql, params, params_from_iter};

use super::admit::seq_of;
use super::readers::{Question, read_failed};
use crate::store::block::{self, Field, Mark};
use crate::store::error::StoreError;
use crate::store::predicate::{BlockPredicate, Numbers, ScopeNumbers, Side, Sieve};
use crate::store::types::{EventPage, EventStretch};

/// Events looked at for one page; then the page ends and says where to go on. Few in tests, so that the suite meets it.
const SCAN_EVENTS_MAX: usize = if cfg!(test) { 7 } else { 100_000 };

/// What [`Block::read`] reads.
const BLOCK_COLUMNS: &str =
    "block.id, block.events, block.epoch_no, block.seq, block.arrived_us, content.marks";

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
        After::Cursor(border) if border > end || is_replaced(question, border)? => {
            return Err(StoreError::Beyond);
        }
        After::Cursor(border) => border,
    };
    let (items, left) = some(question, filter, limit, Side::Above(from))?;
    Ok(EventStretch { items, next: left.map_or(end, EventCursor::above), at_end: left.is_none() })
}

/// The id of the next event: one more than the newest has, or where a restore has the log go on.
pub(super) const NEXT_ID: &str = "SELECT max(coalesce((SELECT id + events FROM block ORDER BY id DESC LIMIT 1), 1), \
     coalesce((SELECT max(next_id) FROM restored), 1))";

/// The border above the newest event.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<EventCursor> {
    connection.prepare_cached(NEXT_ID)?.query_row([], |row| Ok(EventCursor(row.get(0)?)))
}

/// Whether the border is one of a store that a restore has replaced.
fn is_replaced(question: &Question<'_>, EventCursor(border): EventCursor) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM restored WHERE end_id < ?1 AND ?1 < next_id)";
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    statement.query_row([border], |row| row.get(0)).map_err(read_failed)
}

/// Events on one side of a border, and the id up to which it was looked at if something is left.
fn some(
    question: &Question<'_>,
    filter: &EventFilter,
    limit: usize,
    side: Side,
) -> Result<(Vec<StoredEvent>, Option<i64>), StoreError> {
    let Some(numbers) = numbers(question, filter)? else { return Ok((Vec::new(), None)) };
    let sieve = Sieve::new(filter, numbers, side);
    let (mut items, mut scanned, mut last_id) = (Vec::new(), 0, None);
    let finished = scan(question, &sieve, |block, offset| {
        if items.len() >= limit || scanned == SCAN_EVENTS_MAX {
            return Ok(false);
        }
        scanned += 1;
        last_id = Some(block.id_at(offset));
        if sieve.passes(block.mark(offset)) {
            items.extend(Some(block.event(offset)?).filter(|stored| filter.matches(stored)));
        }
        Ok(true)
    })?;
    Ok((items, if finished { None } else { last_id }))
}

/// See [`EventReader::count_events`](crate::store::EventReader::count_events).
pub(super) fn count(question: &Question<'_>, filter: &EventFilter) -> Result<u64, StoreError> {
    let Some(numbers) = numbers(question, filter)? else { return Ok(0) };
    let sieve = Sieve::new(filter, numbers, Side::Below(None));
    let mut count = 0;
    scan(question, &sieve, |block, offset| {
        let is_meant =
            sieve.passes(block.mark(offset)) && (sieve.is_exact || filter.matches(&block.event(offset)?));
        count += u64::from(is_meant);
        Ok(true)
    })?;
    Ok(count)
}

/// The first events of one run in order of position, at most `limit`.
pub(super) fn of_run(
    question: &Question<'_>,
    run_no: i64,
    state: &RunState,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    // Within an epoch the order of the log is that of the places.
    let order = if state.spans().len() > 1 { "block.epoch_no, block.seq" } else { "mention.block_id" };
    let sql = format!(
        "SELECT {BLOCK_COLUMNS} FROM mention CROSS JOIN block ON block.id = mention.block_id \
         CROSS JOIN content ON content.block_id = block.id WHERE mention.field = ?1 AND mention.no = ?2 ORDER BY {order}"
    );
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let mut rows = statement.query(params![Field::Run.index(), run_no]).map_err(read_failed)?;
    let mut events = Vec::new();
    each_block(question, &mut rows, |block| {
        for offset in 0..block.marks.len() {
            if events.len() >= limit {
                return Ok(false);
            }
            if block.mark(offset).run_no == Some(run_no) {
                events.push(block.event(offset)?);
            }
        }
        Ok(true)
    })?;
    Ok(events)
}

/// Numbers of the runs that were added to after this border, each once, until there are `limit` of them at the end of a block; and
/// the border above what was looked at, if something is left.
pub(super) fn run_nos_after(
    question: &Question<'_>,
    EventCursor(border): EventCursor,
    limit: usize,
) -> Result<(Vec<i64>, Option<EventCursor>), StoreError> {
    let sql = format!(
        "SELECT {BLOCK_COLUMNS} FROM block CROSS JOIN content ON content.block_id = block.id \
         WHERE block.id > ?1 ORDER BY block.id"
    );
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    // The border may lie within a block.
    let mut rows = statement.query([border - block::BLOCK_EVENTS_MAX]).map_err(read_failed)?;
    let (mut nos, mut next, mut scanned) = (Vec::new(), EventCursor(border), 0);
    let mut known = HashSet::new();
    let finished = each_block(question, &mut rows, |block| {
        if nos.len() >= limit || scanned >= SCAN_EVENTS_MAX {
            return Ok(false);
        }
        scanned += block.marks.len();
        let is_new = |offset: &usize| block.id_at(*offset) >= border;
        let run_nos = (0..block.marks.len()).filter(is_new).filter_map(|offset| block.mark(offset).run_no);
        nos.extend(run_nos.filter(|no| known.insert(*no)));
        next = EventCursor(block.id_at(block.marks.len()).max(border));
        Ok(true)
    })?;
    Ok((nos, (!finished).then_some(next)))
}

/// The numbers of the filter's names; none when one of them is nowhere in the store.
fn numbers(question: &Question<'_>, filter: &EventFilter) -> Result<Option<Numbers>, StoreError> {
    let EventFilter { task, host, level_min: _, tags, since: _, until: _, run, grep: _, kind: _, scope } =
        filter;
    let mut numbers = Numbers { scope: visible(question, scope)?, ..Numbers::default() };
    if let Some(task) = task {
        let found = numbers_of(question, "SELECT no FROM task WHERE name = ?1", &task.as_str())?;
        let Some(no) = found.first() else { return Ok(None) };
        numbers.task_no = Some(*no);
    }
    if let Some(host) = host {
        let found = numbers_of(question, "SELECT no FROM host WHERE name = ?1", &host.as_str())?;
        let Some(no) = found.first() else { return Ok(None) };
        numbers.host_no = Some(*no);
    }
    for tag in tags {
        let found = numbers_of(question, "SELECT no FROM tag WHERE name = ?1", &tag.as_str())?;
        let Some(no) = found.first() else { return Ok(None) };
        numbers.tag_nos.push(*no);
    }
    if let Some(run) = run {
        let found = numbers_of(question, "SELECT no FROM run WHERE id = ?1", run.as_bytes())?;
        if found.is_empty() {
            return Ok(None);
        }
        numbers.run_nos = Some(found);
    }
    Ok(Some(numbers))
}

/// The numbers of what may be seen.
pub(super) fn visible(question: &Question<'_>, scope: &Scope) -> Result<ScopeNumbers, StoreError> {
    let Scope { tasks, hosts } = scope;
    let nos_of = |sql: &str, may_see: &dyn Fn(&str) -> bool| {
        let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
        let mut rows = statement.query([]).map_err(read_failed)?;
        let mut nos = Vec::new();
        while let Some(row) = rows.next().map_err(read_failed)? {
            if may_see(row.get_ref(1).map_err(read_failed)?.as_str().unwrap_or_default()) {
                nos.push(row.get(0).map_err(read_failed)?);
            }
        }
        Ok::<_, StoreError>(nos)
    };
    let has_task = |name: &str| TaskName::parse(name).is_ok_and(|task| scope.has_task(&task));
    let task_nos = tasks.as_ref().map(|_| nos_of("SELECT no, name FROM task ORDER BY no", &has_task));
    let has_host = |name: &str| scope.has_host(name);
    let host_nos = hosts.as_ref().map(|_| nos_of("SELECT no, name FROM host ORDER BY no", &has_host));
    Ok(ScopeNumbers { task_nos: task_nos.transpose()?, host_nos: host_nos.transpose()? })
}

fn numbers_of(question: &Question<'_>, sql: &str, name: &dyn ToSql) -> Result<Vec<i64>, StoreError> {
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    let numbers = statement.query_map([name], |row| row.get(0)).map_err(read_failed)?;
    numbers.collect::<Result<_, _>>().map_err(read_failed)
}

/// Gives `each` the events, as block and offset, of all blocks in which the sieve may find something, in its order. False
/// when `each` wanted no more.
fn scan(
    question: &Question<'_>,
    sieve: &Sieve,
    mut each: impl FnMut(&mut Block<'_, '_>, usize) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let BlockPredicate { from, conditions, order } = sieve.blocks();
    let sql = format!(
        "SELECT {BLOCK_COLUMNS} FROM {from} CROSS JOIN content ON content.block_id = block.id \
         WHERE {} ORDER BY {order}",
        conditions.text()
    );
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let mut rows = statement.query(params_from_iter(conditions.values)).map_err(read_failed)?;
    each_block(question, &mut rows, |block| {
        let events = block.marks.len();
        for step in 0..events {
            let offset = if sieve.is_newest_first() { events - 1 - step } else { step };
            if sieve.reaches(block.id_at(offset)) && !each(block, offset)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Gives `each` the blocks of these rows of [`BLOCK_COLUMNS`]. False when `each` wanted no more.
fn each_block(
    question: &Question<'_>,
    rows: &mut Rows<'_>,
    mut each: impl FnMut(&mut Block<'_, '_>) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let mut places = Places::default();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        if !each(&mut Block::read(question, &mut places, row)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A block at hand. Its bodies are read when the first of them is wanted.
struct Block<'a, 'q> {
    question: &'a Question<'q>,
    id: i64,
    agent: AgentId,
    epoch: Epoch,
    first: Seq,
    arrived_at: Timestamp,
    marks: Vec<Mark>,
    bodies: Option<(Vec<u8>, Vec<Range<usize>>)>,
}

impl<'a, 'q> Block<'a, 'q> {
    fn read(
        question: &'a Question<'q>,
        places: &mut Places,
        row: &Row<'_>,
    ) -> Result<Block<'a, 'q>, StoreError> {
        let number = |column| row.get::<_, i64>(column).map_err(read_failed);
        let (id, events, first, arrived_us) = (number(0)?, number(1)?, number(3)?, number(4)?);
        let (agent, epoch) = places.of(question, number(2)?)?;
        let bytes = row.get_ref(5).map_err(read_failed)?.as_blob().unwrap_or_default();
        let marks = block::marks(bytes, events).ok_or_else(|| unreadable(id, "its marks"))?;
        let (first, arrived_at) = (seq_of(first), Timestamp::from_micros(arrived_us));
        Ok(Block { question, id, agent, epoch, first, arrived_at, marks, bodies: None })
    }

    fn id_at(&self, offset: usize) -> i64 {
        self.id + offset as i64
    }

    fn mark(&self, offset: usize) -> &Mark {
        &self.marks[offset]
    }

    /// Decodes the event at this offset.
    fn event(&mut self, offset: usize) -> Result<StoredEvent, StoreError> {
        let (bytes, ranges) = match &mut self.bodies {
            Some(bodies) => bodies,
            None => self.bodies.insert(read_bodies(self.question, self.id, self.marks.len())?),
        };
        let seq = self.first.plus(offset as u64);
        let body = ranges.get(offset).and_then(|range| bytes.get(range.clone())).unwrap_or_default();
        let event = EventBytes::from_raw(body.to_vec())
            .decode()
            .map_err(|error| unreadable(self.id, &format!("the event at place {seq}: {error}")))?;
        let position = Position { agent: Some(self.agent), epoch: self.epoch, seq };
        Ok(StoredEvent { position, arrived_at: Some(self.arrived_at), event })
    }
}

fn read_bodies(
    question: &Question<'_>,
    id: i64,
    events: usize,
) -> Result<(Vec<u8>, Vec<Range<usize>>), StoreError> {
    let bytes: Vec<u8> = question
        .connection
        .prepare_cached("SELECT bodies FROM content WHERE block_id = ?1")
        .and_then(|mut select| select.query_row([id], |row| row.get(0)))
        .map_err(read_failed)?;
    let ranges = block::bodies(&bytes, events).ok_or_else(|| unreadable(id, "its bodies"))?;
    Ok((bytes, ranges))
}

fn unreadable(block_id: i64, what: &str) -> StoreError {
    StoreError::Unreadable { what: format!("block {block_id}, {what}") }
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
