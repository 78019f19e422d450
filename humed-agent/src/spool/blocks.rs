//! The table of blocks and what is derived from it: the one place that writes them, and the ways to find an event.
//!
//! Two small tables lead to the blocks of a run, and to those with ids of one millisecond: ids are minted shortly before
//! they come, so those of a block share a few. Ids that all name the same one cost a look into all of their blocks.
//! Whoever writes holds the transaction.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use hume_core::name::EventId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::block::{self, Draft, Mark};
use super::types::SpoolError;

const INSERT: &str =
    "INSERT INTO block (row, last, events, bytes, marks, bodies) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const INSERT_MILLIS: &str = "INSERT INTO block_by_millis (millis, row) VALUES (?1, ?2)";
const INSERT_RUN: &str = "INSERT INTO block_by_run (run_no, row, events) VALUES (?1, ?2, ?3)";
pub(super) const DELETE: &str = "DELETE FROM block WHERE row = ?1";
pub(super) const DELETE_MILLIS: &str = "DELETE FROM block_by_millis WHERE millis = ?1 AND row = ?2";
pub(super) const DELETE_RUN: &str = "DELETE FROM block_by_run WHERE run_no = ?1 AND row = ?2";
/// Every block that has something at or after ?1, in order, up to the one before ?2.
pub(super) const HEADS: &str = "SELECT row, last, events, bytes, marks FROM block
  WHERE row >= coalesce((SELECT max(row) FROM block WHERE row <= ?1), ?1) AND row < ?2 ORDER BY row";
/// Blocks with events of the run ?1, in order.
const OF_RUN: &str =
    "SELECT row, last, block.events, bytes, marks FROM block_by_run CROSS JOIN block USING (row)
  WHERE run_no = ?1 ORDER BY row";

/// A block without its bodies.
#[derive(Debug)]
pub(super) struct Head {
    /// The place of its first event.
    pub(super) row: i64,
    /// That of the last.
    pub(super) last: i64,
    pub(super) events: u64,
    /// Of the bodies together.
    pub(super) bytes: u64,
    /// None when they are damaged.
    pub(super) marks: Option<Vec<Mark>>,
}

impl Head {
    /// Reads `row, last, events, bytes, marks`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Head> {
        let (first, events): (i64, i64) = (row.get(0)?, row.get(2)?);
        let bytes = row.get_ref(4)?.as_blob().unwrap_or_default();
        let marks = block::decode(bytes, first, usize::try_from(events).unwrap_or(0));
        Ok(Head {
            row: first,
            last: row.get(1)?,
            events: events as u64,
            bytes: row.get::<_, i64>(3)? as u64,
            marks,
        })
    }

    /// The marks.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`].
    pub(super) fn marks(&self) -> Result<&[Mark], SpoolError> {
        self.marks.as_deref().ok_or_else(|| damaged(self.row, "its marks"))
    }
}

fn damaged(row: i64, detail: &str) -> SpoolError {
    SpoolError::Damaged { row, detail: detail.to_owned() }
}

/// What ids of one moment begin with.
fn millis_of(id: EventId) -> i64 {
    id.as_bytes().iter().take(6).fold(0, |millis, byte| millis << 8 | i64::from(*byte))
}

/// What leads to a block: the milliseconds of its ids, and how many events of each run it has.
fn ways(marks: &[Mark]) -> (Vec<i64>, BTreeMap<i64, i64>) {
    let mut millis: Vec<i64> = marks.iter().map(|mark| millis_of(mark.id)).collect();
    millis.sort_unstable();
    millis.dedup();
    let mut runs = BTreeMap::new();
    for no in marks.iter().filter_map(|mark| mark.run_no) {
        *runs.entry(no).or_insert(0) += 1;
    }
    (millis, runs)
}

/// Puts a block down, if there is anything in it.
pub(super) fn insert(connection: &Connection, draft: &Draft) -> rusqlite::Result<()> {
    let marks = draft.marks();
    let (Some(first), Some(last)) = (marks.first(), marks.last()) else { return Ok(()) };
    let bodies = draft.bodies();
    connection.prepare_cached(INSERT)?.execute(params![
        first.row,
        last.row,
        marks.len() as i64,
        bodies.len() as i64,
        block::encode(marks),
        bodies,
    ])?;
    lead_to(connection, first.row, marks)
}

/// Notes what leads to the block at `row`.
pub(super) fn lead_to(connection: &Connection, row: i64, marks: &[Mark]) -> rusqlite::Result<()> {
    let (millis, runs) = ways(marks);
    let mut by_millis = connection.prepare_cached(INSERT_MILLIS)?;
    for millis in millis {
        by_millis.execute([millis, row])?;
    }
    let mut by_run = connection.prepare_cached(INSERT_RUN)?;
    for (no, events) in runs {
        by_run.execute([no, row, events])?;
    }
    Ok(())
}

/// Removes a block and what leads to it.
fn delete(connection: &Connection, head: &Head) -> rusqlite::Result<()> {
    connection.prepare_cached(DELETE)?.execute([head.row])?;
    let Some(marks) = &head.marks else {
        // What led to it is not known: this is rare, and looks through all.
        connection.execute("DELETE FROM block_by_millis WHERE row = ?1", [head.row])?;
        connection.execute("DELETE FROM block_by_run WHERE row = ?1", [head.row])?;
        return Ok(());
    };
    let (millis, runs) = ways(marks);
    let mut by_millis = connection.prepare_cached(DELETE_MILLIS)?;
    for millis in millis {
        by_millis.execute([millis, head.row])?;
    }
    let mut by_run = connection.prepare_cached(DELETE_RUN)?;
    for no in runs.into_keys() {
        by_run.execute([no, head.row])?;
    }
    Ok(())
}

/// Of a block, only the events that `stays` names are left; of one whose marks are damaged, none.
///
/// # Errors
/// [`SpoolError::Damaged`] when what stays cannot be read, and if the file cannot be written.
pub(super) fn retain(
    connection: &Connection,
    head: &Head,
    stays: impl Fn(&Mark) -> bool,
) -> Result<(), SpoolError> {
    let marks = head.marks.as_deref().unwrap_or_default();
    let kept = marks.iter().filter(|mark| stays(mark)).count();
    if kept > 0 && kept == marks.len() {
        return Ok(());
    }
    let mut draft = Draft::default();
    if kept > 0 {
        let bytes = bytes_of(connection, head.row)?;
        let bodies = block::bodies(marks, &bytes).ok_or_else(|| damaged(head.row, "its bodies"))?;
        for (mark, body) in marks.iter().zip(bodies).filter(|(mark, _)| stays(mark)) {
            draft.add(*mark, body);
        }
    }
    delete(connection, head)?;
    Ok(insert(connection, &draft)?)
}

/// Lets a block begin at this place, if it stands in the middle of one.
pub(super) fn split(connection: &Connection, row: i64) -> rusqlite::Result<()> {
    let mut around = None;
    heads(connection, row..row + 1, |head| {
        around = Some(head).filter(|head| head.row < row);
        Ok::<_, rusqlite::Error>(ControlFlow::Break(()))
    })?;
    let Some(head) = around else { return Ok(()) };
    let bytes = bytes_of(connection, head.row)?;
    let marks = head.marks.as_deref().unwrap_or_default();
    let Some(bodies) = block::bodies(marks, &bytes) else {
        // Nobody can read it; it stays where its first event is.
        return Ok(());
    };
    let (mut below, mut above) = (Draft::default(), Draft::default());
    for (mark, body) in marks.iter().zip(bodies) {
        if mark.row < row { &mut below } else { &mut above }.add(*mark, body);
    }
    delete(connection, &head)?;
    insert(connection, &below)?;
    insert(connection, &above)
}

/// Moves whole blocks to other places, of an epoch that has none yet.
pub(super) fn shift(connection: &Connection, places: Range<i64>, by: i64) -> rusqlite::Result<()> {
    let Range { start, end } = places;
    connection.execute(
        "UPDATE block SET row = row + ?1, last = last + ?1 WHERE row >= ?2 AND row < ?3",
        [by, start, end],
    )?;
    for table in ["block_by_millis", "block_by_run"] {
        let sql = format!("UPDATE {table} SET row = row + ?1 WHERE row >= ?2 AND row < ?3");
        connection.execute(&sql, [by, start, end])?;
    }
    Ok(())
}

/// The bodies of the block at `row`, one after the other.
pub(super) fn bytes_of(connection: &Connection, row: i64) -> rusqlite::Result<Vec<u8>> {
    connection.prepare_cached("SELECT bodies FROM block WHERE row = ?1")?.query_row([row], |row| row.get(0))
}

/// Gives `each` the blocks that have something at these places, in order, until it breaks.
///
/// # Errors
/// If the file cannot be read, and what `each` fails with.
pub(super) fn heads<E: From<rusqlite::Error>>(
    connection: &Connection,
    places: Range<i64>,
    mut each: impl FnMut(Head) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut statement = connection.prepare_cached(HEADS)?;
    let mut rows = statement.query([places.start, places.end])?;
    while let Some(row) = rows.next()? {
        let head = Head::read(row)?;
        if head.last >= places.start && each(head)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Gives `each` the marks at these places, in order, until it breaks. Damaged ones are passed over.
pub(super) fn marks(
    connection: &Connection,
    places: Range<i64>,
    mut each: impl FnMut(&Mark) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    heads(connection, places.clone(), |head| {
        let marks = head.marks.iter().flatten().filter(|mark| places.contains(&mark.row));
        for mark in marks {
            if each(mark).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// What stands at this place.
pub(super) fn at(connection: &Connection, row: i64) -> rusqlite::Result<Option<Mark>> {
    first(connection, row..row + 1)
}

/// The first of these places at which something stands.
pub(super) fn first(connection: &Connection, places: Range<i64>) -> rusqlite::Result<Option<Mark>> {
    let mut found = None;
    marks(connection, places, |mark| {
        found = Some(*mark);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// The first of these places at which something stands, damaged or not.
pub(super) fn next(connection: &Connection, places: Range<i64>) -> rusqlite::Result<Option<i64>> {
    let mut found = None;
    heads(connection, places.clone(), |head| {
        let mut rows = head.marks.iter().flatten().map(|mark| mark.row);
        found = match head.marks {
            Some(_) => rows.find(|row| places.contains(row)),
            None => Some(head.row.max(places.start)),
        };
        let flow = if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        Ok::<_, rusqlite::Error>(flow)
    })?;
    Ok(found)
}

/// Gives `each` the blocks with events of a run, in order; none when it has no number.
///
/// # Errors
/// If the file cannot be read, and what `each` fails with.
pub(super) fn of_run<E: From<rusqlite::Error>>(
    connection: &Connection,
    run_no: Option<i64>,
    mut each: impl FnMut(&Head) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = connection.prepare_cached(OF_RUN)?;
    let mut rows = statement.query([run_no])?;
    while let Some(row) = rows.next()? {
        each(&Head::read(row)?)?;
    }
    Ok(())
}

/// The first of these places at which an event of the run stands.
pub(super) fn first_of_run(
    connection: &Connection,
    run_no: Option<i64>,
    places: Range<i64>,
) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT min(row) FROM block_by_run WHERE run_no = ?1 AND row >= ?2 AND row < ?3";
    let row: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row(params![run_no, places.start, places.end], |row| row.get(0))?;
    let Some(row) = row else { return Ok(None) };
    let mut found = None;
    marks(connection, row..places.end, |mark| {
        found = Some(mark.row).filter(|_| mark.run_no == run_no);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// How many events stand at these places, and their bytes.
pub(super) fn amount(connection: &Connection, places: Range<i64>) -> rusqlite::Result<(u64, u64)> {
    let (mut events, mut bytes) = (0, 0);
    heads(connection, places.clone(), |head| {
        if places.contains(&head.row) && places.contains(&head.last) {
            events += head.events;
            bytes += head.bytes;
        } else {
            for mark in head.marks.iter().flatten().filter(|mark| places.contains(&mark.row)) {
                events += 1;
                bytes += mark.bytes;
            }
        }
        Ok::<_, rusqlite::Error>(ControlFlow::Continue(()))
    })?;
    Ok((events, bytes))
}

/// The marks of events with these ids.
pub(super) fn with_ids(connection: &Connection, ids: &[EventId]) -> rusqlite::Result<Vec<Mark>> {
    let mut asked: BTreeMap<i64, Vec<EventId>> = BTreeMap::new();
    for id in ids {
        asked.entry(millis_of(*id)).or_default().push(*id);
    }
    let mut ways = connection.prepare_cached("SELECT row FROM block_by_millis WHERE millis = ?1")?;
    let mut rows: BTreeMap<i64, Vec<EventId>> = BTreeMap::new();
    for (millis, ids) in asked {
        let mut found = ways.query([millis])?;
        while let Some(row) = found.next()? {
            rows.entry(row.get(0)?).or_default().extend(&ids);
        }
    }
    let mut select =
        connection.prepare_cached("SELECT row, last, events, bytes, marks FROM block WHERE row = ?1")?;
    let mut marks = Vec::new();
    for (row, mut wanted) in rows {
        wanted.sort_unstable();
        let found = select.query_row([row], |row| {
            let (events, bytes): (i64, _) = (row.get(2)?, row.get_ref(4)?.as_blob().unwrap_or_default());
            let ids = block::ids(bytes, usize::try_from(events).unwrap_or(0));
            let is_there = ids.is_some_and(|mut ids| ids.any(|id| wanted.binary_search(&id).is_ok()));
            is_there.then(|| Head::read(row)).transpose()
        });
        let Some(head) = found.optional()?.flatten() else { continue };
        let all = head.marks.into_iter().flatten();
        marks.extend(all.filter(|mark| wanted.binary_search(&mark.id).is_ok()));
    }
    Ok(marks)
}

#[cfg(test)]
pub(super) mod testing {
    //! What tests do to a file behind the writer's back.

    use super::*;

    /// Everything that is kept, in order.
    pub(in crate::spool) fn all(connection: &Connection) -> Vec<Mark> {
        let mut all = Vec::new();
        marks(connection, 0..i64::MAX, |mark| {
            all.push(*mark);
            ControlFlow::Continue(())
        })
        .unwrap();
        all
    }

    /// Removes these events.
    pub(in crate::spool) fn remove(connection: &Connection, goes: impl Fn(&Mark) -> bool) {
        let mut blocks = Vec::new();
        heads(connection, 0..i64::MAX, |head| {
            blocks.push(head);
            Ok::<_, SpoolError>(ControlFlow::Continue(()))
        })
        .unwrap();
        for head in blocks {
            retain(connection, &head, |mark| !goes(mark)).unwrap();
        }
    }

    /// Changes a byte of the body at this place.
    pub(in crate::spool) fn spoil_body(connection: &Connection, row: i64) {
        heads(connection, row..row + 1, |head| {
            let before = head.marks()?.iter().take_while(|mark| mark.row < row);
            let at = before.map(|mark| mark.bytes as usize).sum::<usize>();
            let mut bytes = bytes_of(connection, head.row)?;
            bytes[at] ^= 1;
            connection.execute("UPDATE block SET bodies = ?2 WHERE row = ?1", params![head.row, bytes])?;
            Ok::<_, SpoolError>(ControlFlow::Break(()))
        })
        .unwrap();
    }

    /// Changes a byte of the marks of the block around this place.
    pub(in crate::spool) fn spoil_marks(connection: &Connection, row: i64) {
        let sql =
            "UPDATE block SET marks = CAST(x'01' || substr(marks, 2) AS BLOB) WHERE row <= ?1 AND last >= ?1";
        assert_eq!(connection.execute(sql, [row]).unwrap(), 1);
    }

    #[test]
    fn an_id_is_found_whatever_moment_it_names_and_no_other_is() {
        let connection = Connection::open_in_memory().unwrap();
        for sql in super::super::upgrade::MIGRATIONS {
            connection.execute_batch(sql).unwrap();
        }
        // Of five moments by turns, and one that is far off, in blocks of four.
        let id = |number: i64| {
            let millis = if number == 17 { u64::MAX >> 16 } else { 1_000_000 + number as u64 % 5 };
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(millis << 16).to_be_bytes());
            id[8..].copy_from_slice(&number.to_be_bytes());
            EventId::from_bytes(id)
        };
        let mark = |row| Mark {
            row,
            id: id(row),
            received_us: 0,
            time_us: 0,
            kind: 0,
            run_no: None,
            crc: 0,
            bytes: 0,
        };
        for first in (1..30).step_by(4) {
            let mut draft = Draft::default();
            (first..first + 4).for_each(|row| draft.add(mark(row), &[]));
            insert(&connection, &draft).unwrap();
        }
        for asked in [vec![1], vec![17], vec![3, 8, 13, 17, 32], (1..33).collect()] {
            let ids: Vec<EventId> = asked.iter().map(|number| id(*number)).chain([id(99), id(100)]).collect();
            let found: Vec<i64> = with_ids(&connection, &ids).unwrap().iter().map(|mark| mark.row).collect();
            assert_eq!(found, asked);
        }
    }

    /// What leads to blocks is what their marks say.
    pub(in crate::spool) fn check(connection: &Connection) {
        // The writer may be at work.
        let snapshot = connection.unchecked_transaction().unwrap();
        let connection: &Connection = &snapshot;
        let mut expected = (Vec::new(), Vec::new());
        heads(connection, 0..i64::MAX, |head| {
            let marks = head.marks()?;
            let (first, last) = (marks.first().unwrap().row, marks.last().unwrap().row);
            let bytes = marks.iter().map(|mark| mark.bytes).sum::<u64>();
            assert_eq!((head.row, head.last, head.bytes), (first, last, bytes));
            assert!(block::bodies(marks, &bytes_of(connection, head.row)?).is_some());
            let (millis, runs) = ways(marks);
            expected.0.extend(millis.into_iter().map(|millis| (millis, head.row, 0)));
            expected.1.extend(runs.into_iter().map(|(no, events)| (no, head.row, events)));
            Ok::<_, SpoolError>(ControlFlow::Continue(()))
        })
        .unwrap();
        let read = |sql: &str| {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            rows.collect::<Result<Vec<(i64, i64, i64)>, _>>().unwrap()
        };
        let found = (
            read("SELECT millis, row, 0 FROM block_by_millis"),
            read("SELECT run_no, row, events FROM block_by_run"),
        );
        expected.0.sort_unstable();
        expected.1.sort_unstable();
        assert_eq!(found, expected);
    }
}
