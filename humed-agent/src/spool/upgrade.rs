//! A spool of an earlier version becomes one of this, and loses nothing: its rows move into blocks, step by step.
//!
//! What moves is gone from where it was in the same transaction, so a full spool has room for it, and whatever cuts it short,
//! the next start goes on. Forward only: an earlier version refuses the file from the first step on.

use std::time::Duration;

use hume_core::name::EventId;
use hume_runtime::notify;
use hume_runtime::sqlite::{self, Checkpoint};
use rusqlite::{Connection, Row, params};
use tracing::info;

use super::block::{Draft, Mark};
use super::blocks;
use super::types::{SpoolError, place_of};

const APPLICATION_ID: i32 = 0x6875_6d61;
pub(super) const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];
/// With these, events may be rows and blocks.
const BOTH: usize = 2;
const NO_ID: EventId = EventId::from_bytes([0; 16]);
/// A file that is as large as it may be has so many more for the time of the move.
const MORE_PAGES: i64 = 256;
/// Rows that move in one transaction, and bytes of them at which it ends.
const ROWS_PER_STEP: i64 = if cfg!(test) { 10 } else { 10_000 };
const BYTES_PER_STEP: usize = 4 * 1024 * 1024;
/// The service manager is asked for so much time at each step.
const STEP_TIME_MAX: Duration = Duration::from_secs(90);

/// Brings a spool, or a new file, to the newest version.
///
/// # Errors
/// [`SpoolError`] when the file is not ours, of a newer version, or cannot be written.
pub(super) fn to_newest(connection: &mut Connection) -> Result<(), SpoolError> {
    if sqlite::check_schema(connection, APPLICATION_ID, &MIGRATIONS)? == MIGRATIONS.len() as u32 {
        return Ok(());
    }
    let bound: i64 = connection.pragma_query_value(None, "max_page_count", |row| row.get(0))?;
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    bound_pages(connection, bound.max(pages + MORE_PAGES))?;
    to_both(connection)?;
    move_rows(connection)?;
    sqlite::migrate(connection, APPLICATION_ID, &MIGRATIONS)?;
    bound_pages(connection, bound)
}

fn bound_pages(connection: &Connection, pages: i64) -> Result<(), SpoolError> {
    // It answers with what it is from now on.
    Ok(connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
}

/// Brings a file to the version that has rows and blocks.
///
/// # Errors
/// As [`to_newest`].
pub(super) fn to_both(connection: &mut Connection) -> Result<(), SpoolError> {
    Ok(sqlite::migrate(connection, APPLICATION_ID, MIGRATIONS.get(..BOTH).unwrap_or(&MIGRATIONS))?)
}

/// Moves all rows into blocks, in a file that has both.
///
/// # Errors
/// [`SpoolError`] when it cannot be written: said again, it goes on where it ended.
pub(super) fn move_rows(connection: &mut Connection) -> Result<(), SpoolError> {
    let mut moved = 0;
    loop {
        notify::more_time(STEP_TIME_MAX);
        notify::status(&format!(
            "starting: moves the events of a spool of an earlier version, {moved} so far"
        ));
        match move_some(connection)? {
            0 => break,
            rows => moved += rows,
        }
        sqlite::checkpoint(connection, Checkpoint::Truncate)?;
    }
    if moved > 0 {
        info!(events = moved, "the events of a spool of an earlier version were moved");
    }
    Ok(())
}

/// Moves the first rows; how many.
fn move_some(connection: &mut Connection) -> Result<usize, SpoolError> {
    let transaction = connection.transaction()?;
    let mut drafts = vec![Draft::default()];
    let (mut last, mut bytes) = (None, 0);
    {
        let mut select = transaction.prepare_cached(
            "SELECT row, id, received_us, time_us, kind, run_no, crc, body FROM event ORDER BY row LIMIT ?1",
        )?;
        let mut rows = select.query([ROWS_PER_STEP])?;
        while let Some(row) = rows.next()? {
            let body = row.get_ref(7)?.as_blob().unwrap_or_default();
            let mark = mark_of(row, body)?;
            let is_of_another = last.is_some_and(|last| place_of(last).0 != place_of(mark.row).0);
            if is_of_another || drafts.last().is_some_and(Draft::is_full) {
                drafts.push(Draft::default());
            }
            if let Some(draft) = drafts.last_mut() {
                draft.add(mark, body);
            }
            last = Some(mark.row);
            bytes += body.len();
            if bytes >= BYTES_PER_STEP {
                break;
            }
        }
    }
    let Some(last) = last else { return Ok(0) };
    let moved = transaction.execute("DELETE FROM event WHERE row <= ?1", params![last])?;
    for draft in &drafts {
        blocks::insert(&transaction, draft)?;
    }
    transaction.commit()?;
    Ok(moved)
}

fn mark_of(row: &Row<'_>, body: &[u8]) -> rusqlite::Result<Mark> {
    Ok(Mark {
        row: row.get(0)?,
        // Whatever became of its id, it stands at its place, and its body says the rest.
        id: EventId::from_slice(row.get_ref(1)?.as_blob().unwrap_or_default()).unwrap_or(NO_ID),
        received_us: row.get(2)?,
        time_us: row.get(3)?,
        kind: row.get::<_, i64>(4)? as u8,
        run_no: row.get(5)?,
        crc: row.get::<_, i64>(6)? as u32,
        bytes: body.len() as u64,
    })
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
