//! What can be read of one spool is put into another, row by row, at the same places.
//!
//! A row that cannot be read is passed over, and so is all that stands on a page with it; [`SKIPS_MAX`] in a row, and the
//! rest of that table counts as lost. The tables are copied by the names of their columns, whatever those are.

use std::ops::{ControlFlow, Range};

use hume_core::AgentId;
use hume_core::event::EventKind;
use hume_core::name::Seq;
use hume_core::run::{Phase, RunState};
use hume_runtime::sqlite::{self, Checkpoint};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::blocks;
use super::epochs;
use super::query::Shelf;
use super::types::{SpoolError, place_of, row_of, rows_from};
use super::upgrade;

/// Keys that are tried one after the other although none of them can be read: about five seconds.
const SKIPS_MAX: i64 = 1_000_000;
/// Rows of one transaction; a block has many events.
const ROWS_PER_COMMIT: u64 = 200;

/// What became of the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Salvage {
    /// Saved.
    pub(super) events: u64,
    /// Not saved, although the master does not have them.
    pub(super) unreadable: u64,
}

/// Copies what `old` still tells into `new`, which has the tables and nothing in them.
///
/// # Errors
/// [`SpoolError`] if the new one cannot be written. What cannot be read of the old one is no error.
pub(super) fn salvage(
    old: &Connection,
    new: &mut Connection,
    agent: Option<AgentId>,
) -> Result<Salvage, SpoolError> {
    new.execute_batch("BEGIN")?;
    for (table, key) in [("meta", "rowid"), ("epoch", "no"), ("run", "no"), ("open_run", "rowid")] {
        Copy::new(old, new, table, key)?.range(0..i64::MAX)?;
    }
    for epoch in epochs::all(new)? {
        let Range { start, end } = rows_from(epoch.no, Seq::ZERO);
        // What was given out after the row of the epoch was last written, if any, lies behind.
        let known = row_of(epoch.no, epoch.next);
        // A spool of an earlier version has rows as well: see `upgrade`.
        for table in ["event", "block"] {
            let mut copy = Copy::new(old, new, table, "row")?;
            copy.range(start..known)?;
            copy.range(known..end)?;
        }
    }
    new.execute_batch("COMMIT")?;
    adopt_blocks(new)?;
    upgrade::move_rows(new)?;
    let mut salvage = Salvage::default();
    for epoch in epochs::all(new)? {
        let Range { start, end } = rows_from(epoch.no, Seq::ZERO);
        let last: Option<i64> =
            new.query_row("SELECT max(last) FROM block WHERE row >= ?1 AND row < ?2", [start, end], |row| {
                row.get(0)
            })?;
        let next = last.map_or(epoch.next, |last| epoch.next.max(place_of(last).1.next()));
        new.execute("UPDATE epoch SET next_seq = ?2 WHERE no = ?1", params![epoch.no, next.get() as i64])?;
        salvage.events += blocks::amount(new, start..end)?.0;
        let (saved, _) = blocks::amount(new, row_of(epoch.no, epoch.acked.next())..end)?;
        let waited = (next.get() - 1).saturating_sub(epoch.acked.get());
        salvage.unreadable += waited.saturating_sub(saved);
    }
    refold(new, agent)?;
    Ok(salvage)
}

/// Notes what leads to the blocks that were copied. Those whose marks are damaged tell nothing, and go.
fn adopt_blocks(new: &Connection) -> Result<(), SpoolError> {
    let mut damaged = Vec::new();
    new.execute_batch("BEGIN")?;
    blocks::heads(new, 0..i64::MAX, |head| {
        match &head.marks {
            Some(marks) => blocks::lead_to(new, head.row, marks)?,
            None => damaged.push(head.row),
        }
        Ok::<_, rusqlite::Error>(ControlFlow::Continue(()))
    })?;
    for row in damaged {
        new.execute("DELETE FROM block WHERE row = ?1", [row])?;
    }
    Ok(new.execute_batch("COMMIT")?)
}

/// One table on its way.
struct Copy<'a> {
    old: &'a Connection,
    new: &'a Connection,
    table: &'static str,
    key: &'static str,
    columns: String,
    count: usize,
    rows: u64,
}

/// How a look at the old table ended.
enum Looked {
    /// There is nothing more.
    AtEnd,
    /// Something stands in the way right after this key.
    Failed { after: i64 },
}

impl<'a> Copy<'a> {
    fn new(
        old: &'a Connection,
        new: &'a Connection,
        table: &'static str,
        key: &'static str,
    ) -> Result<Copy<'a>, SpoolError> {
        let columns = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
            connection
                .prepare("SELECT name FROM pragma_table_info(?1)")?
                .query_map([table], |row| row.get(0))?
                .collect()
        };
        // An older spool may lack some; one that does not tell has none.
        let told = columns(old).unwrap_or_default();
        let common: Vec<String> = columns(new)?.into_iter().filter(|name| told.contains(name)).collect();
        Ok(Copy { old, new, table, key, count: common.len(), columns: common.join(", "), rows: 0 })
    }

    /// Copies the rows with these keys; how many.
    fn range(&mut self, keys: Range<i64>) -> Result<u64, SpoolError> {
        if self.count == 0 {
            return Ok(0);
        }
        let before = self.rows;
        let Range { start: mut from, end } = keys;
        let mut skipped = 0;
        while from < end && skipped < SKIPS_MAX {
            match self.look(from..end)? {
                Looked::AtEnd => break,
                Looked::Failed { after } => {
                    skipped = if after >= from { 0 } else { skipped + 1 };
                    from = after.max(from) + 1;
                }
            }
        }
        Ok(self.rows - before)
    }

    /// Copies until something cannot be read.
    fn look(&mut self, keys: Range<i64>) -> Result<Looked, SpoolError> {
        let (old, new) = (self.old, self.new);
        let Copy { table, key, columns, count, .. } = &*self;
        let sql =
            format!("SELECT {key}, {columns} FROM {table} WHERE {key} >= ?1 AND {key} < ?2 ORDER BY {key}");
        let mut after = keys.start - 1;
        let failed = |after| Ok(Looked::Failed { after });
        let Ok(mut statement) = old.prepare_cached(&sql) else { return failed(keys.end) };
        let Ok(mut rows) = statement.query([keys.start, keys.end]) else { return failed(after) };
        let places = vec!["?"; *count].join(", ");
        let mut insert =
            new.prepare_cached(&format!("INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})"))?;
        let count = *count;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Looked::AtEnd),
                Err(_) => return failed(after),
            };
            let Ok(number) = row.get::<_, i64>(0) else { return failed(after + 1) };
            let values: rusqlite::Result<Vec<Value>> = (1..=count).map(|at| row.get(at)).collect();
            after = number;
            let Ok(values) = values else { return failed(after) };
            // What breaks a rule of the table is not what was once written.
            match insert.execute(params_from_iter(values)) {
                Ok(inserted) => self.rows += inserted as u64,
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                }
                Err(error) => return Err(error.into()),
            }
            if self.rows.is_multiple_of(ROWS_PER_COMMIT) {
                new.execute_batch("COMMIT")?;
                sqlite::checkpoint(new, Checkpoint::Truncate)?;
                new.execute_batch("BEGIN")?;
            }
        }
    }
}

/// Makes the folds anew that could not be saved, from those of their events that could.
fn refold(new: &Connection, agent: Option<AgentId>) -> Result<(), SpoolError> {
    let mut lost =
        new.prepare("SELECT DISTINCT run_no FROM block_by_run WHERE run_no NOT IN (SELECT no FROM run)")?;
    let lost: Vec<i64> = lost.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for no in lost {
        match fold(new, agent, no)? {
            Some((state, uid)) => insert(new, no, &state, uid)?,
            // Its events are there, and in no run: the number may be given to another.
            None => drop(new.execute("DELETE FROM block_by_run WHERE run_no = ?1", [no])?),
        }
    }
    Ok(())
}

/// The fold of a run's events, and the user who reported first.
fn fold(
    new: &Connection,
    agent: Option<AgentId>,
    no: i64,
) -> Result<Option<(RunState, Option<u32>)>, SpoolError> {
    let (mut state, mut uid): (Option<RunState>, Option<u32>) = (None, None);
    let mut shelf = Shelf::new(new, agent)?;
    blocks::of_run(new, Some(no), |head| {
        for (offset, _) in head.marks()?.iter().enumerate().filter(|(_, mark)| mark.run_no == Some(no)) {
            let stored = match shelf.event(head, offset) {
                Ok(stored) => stored,
                // Kept as it is: whoever reads it next says that it is damaged.
                Err(SpoolError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            if stored.event.kind == EventKind::Reported {
                uid = uid.or(stored.event.process.uid);
            }
            match &mut state {
                Some(state) => state.apply(&stored),
                None => state = RunState::open(&stored),
            }
        }
        Ok(())
    })?;
    Ok(state.map(|state| (state, uid)))
}

fn insert(new: &Connection, no: i64, state: &RunState, uid: Option<u32>) -> Result<(), SpoolError> {
    let damaged = |error: serde_json::Error| SpoolError::Damaged { row: no, detail: error.to_string() };
    new.execute(
        "INSERT OR IGNORE INTO run (no, id, task, host, uid, started_us, ended, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            no,
            state.id().as_bytes(),
            state.task().as_str(),
            state.host(),
            uid,
            state.started_at().as_micros(),
            state.phase() == Phase::Ended,
            serde_json::to_string(state).map_err(damaged)?
        ],
    )?;
    Ok(())
}
