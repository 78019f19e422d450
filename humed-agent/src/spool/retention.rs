//! Which rows may be forgotten: acknowledged ones that are old or too many; on a host without a master, the oldest.
//!
//! Events of open runs come last, and only for want of room: the answer about a run that goes on should be whole, but a
//! spool that takes nothing more helps nobody. One step looks at a bounded number of rows, found by index, so that appends
//! are never held up for long; a [`Round`] remembers where the next one goes on.

use std::collections::HashSet;

use hume_core::Timestamp;
use hume_runtime::points::{self, Point};
use rusqlite::{Connection, params};

use super::config::Keeping;
use super::types::SpoolError;

/// Rows that one step looks at.
pub(super) const ROWS_PER_STEP: usize = if cfg!(test) { 7 } else { 2000 };
/// The same on a full disk, where the log of a step must fit into what the ballast held.
pub(super) const ROWS_PER_SMALL_STEP: usize = if cfg!(test) { 3 } else { 200 };

/// With a master: acknowledged rows of one epoch, in order of place.
const ACKED: &str = "SELECT row, seq, length(body), received_us, run_no,
    EXISTS (SELECT 1 FROM run JOIN open_run USING (id) WHERE no = run_no), 0 FROM event
  WHERE row > (?1 << 40 | ?2) AND row <= (?1 << 40 | (SELECT acked_seq FROM epoch WHERE no = ?1)) ORDER BY row LIMIT ?3";
/// Without one, or where the oldest must give way: all rows.
const ALL: &str = "SELECT row, row, length(body), received_us, run_no,
    EXISTS (SELECT 1 FROM run JOIN open_run USING (id) WHERE no = run_no),
    seq > (SELECT acked_seq FROM epoch WHERE no = row >> 40) FROM event
  WHERE row > ?2 ORDER BY row LIMIT ?3";
const NEXT_EPOCH: &str = "SELECT min(no) FROM epoch WHERE no > ?1";
const DELETE_EVENT: &str = "DELETE FROM event WHERE row = ?1";
const DELETE_RUN: &str = "DELETE FROM run WHERE no = ?1 AND ended AND NOT EXISTS (SELECT 1 FROM event WHERE event.run_no = run.no)";

/// What one step removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// How many of the events were of runs that are still open.
    pub(super) of_open_runs: u64,
    /// How many of the events the master did not have, and their bytes.
    pub(super) unacked: (u64, u64),
    /// True when the round goes on.
    pub(super) more: bool,
}

/// One look through all rows, in steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    stage: Stage,
    /// 0 before the first, and without a master.
    epoch_no: i64,
    /// The last place, or row, that was looked at.
    after: i64,
}

/// Which rows it is the turn of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Of no run, or of one that has ended.
    #[default]
    Closed,
    /// All, for want of room.
    Open,
}

/// What a rule must know of a row.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    is_old: bool,
    is_of_open_run: bool,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// It and all that come after it stay.
    AllStay,
}

/// The rule. `excess` is what must go for want of room, in bytes.
fn fate(stage: Stage, candidate: Candidate, excess: u64) -> Fate {
    let Candidate { is_old, is_of_open_run } = candidate;
    match stage {
        Stage::Closed if !is_old && excess == 0 => Fate::AllStay,
        Stage::Closed if is_of_open_run => Fate::Stays,
        Stage::Open if excess == 0 => Fate::AllStay,
        Stage::Closed | Stage::Open => Fate::Goes,
    }
}

/// One step, which looks at `rows_max` rows. `bytes` is what the rows that may go take up together.
pub(super) fn forget(
    connection: &mut Connection,
    keeping: Keeping,
    bytes: u64,
    now: Timestamp,
    round: &mut Round,
    rows_max: usize,
) -> Result<Forgotten, SpoolError> {
    let old_before = now.plus_micros(-i64::try_from(keeping.age_max.as_micros()).unwrap_or(i64::MAX));
    let mut excess = bytes.saturating_sub(keeping.bytes_max);
    let transaction = connection.transaction()?;
    let mut forgotten = Forgotten::default();
    let mut at = *round;
    let mut looked_at = 0;
    forgotten.more = loop {
        let rows_left = rows_max - looked_at;
        if rows_left == 0 {
            break true;
        }
        let look = look(&transaction, keeping, at, Limits { rows_max: rows_left, old_before }, &mut excess)?;
        remove(&transaction, &look.rows, &look.runs)?;
        looked_at += look.looked_at;
        at.after = look.after;
        forgotten.events += look.rows.len() as u64;
        forgotten.bytes += look.bytes;
        forgotten.of_open_runs += look.of_open_runs;
        forgotten.unacked.0 += look.unacked.0;
        forgotten.unacked.1 += look.unacked.1;
        if look.all_stay || (look.looked_at < rows_left && !next_part(&transaction, keeping, &mut at)?) {
            // What is left of this stage stays; for want of room the next one looks at the rest.
            let is_over = excess == 0 || at.stage == Stage::Open;
            at = if is_over { Round::default() } else { Round { stage: Stage::Open, ..Round::default() } };
            if is_over {
                break false;
            }
        }
    };
    if forgotten.events > 0 {
        points::statement(Point::AgentInTrim)?;
    }
    transaction.commit()?;
    *round = at;
    Ok(forgotten)
}

/// Moves on to the next epoch; false when there is none.
fn next_part(connection: &Connection, keeping: Keeping, at: &mut Round) -> Result<bool, SpoolError> {
    if !keeping.acked_only {
        return Ok(false);
    }
    let next: Option<i64> =
        connection.prepare_cached(NEXT_EPOCH)?.query_row([at.epoch_no], |row| row.get(0))?;
    if let Some(no) = next {
        *at = Round { epoch_no: no, after: 0, ..*at };
    }
    Ok(next.is_some())
}

#[derive(Clone, Copy)]
struct Limits {
    rows_max: usize,
    old_before: Timestamp,
}

/// What a look found.
#[derive(Default)]
struct Look {
    looked_at: usize,
    after: i64,
    all_stay: bool,
    rows: Vec<i64>,
    runs: HashSet<i64>,
    bytes: u64,
    of_open_runs: u64,
    unacked: (u64, u64),
}

fn look(
    connection: &Connection,
    keeping: Keeping,
    at: Round,
    Limits { rows_max, old_before }: Limits,
    excess: &mut u64,
) -> Result<Look, SpoolError> {
    let mut look = Look { after: at.after, ..Look::default() };
    let mut statement = connection.prepare_cached(if keeping.acked_only { ACKED } else { ALL })?;
    let mut rows = statement.query(params![at.epoch_no, at.after, rows_max as i64])?;
    while let Some(row) = rows.next()? {
        look.looked_at += 1;
        let bytes = row.get::<_, i64>(2)? as u64;
        let candidate = Candidate {
            is_old: row.get::<_, i64>(3)? < old_before.as_micros(),
            is_of_open_run: row.get::<_, Option<bool>>(5)?.unwrap_or(false),
        };
        match fate(at.stage, candidate, *excess) {
            Fate::AllStay => {
                look.all_stay = true;
                break;
            }
            Fate::Stays => {}
            Fate::Goes => {
                *excess = excess.saturating_sub(bytes);
                look.bytes += bytes;
                look.of_open_runs += u64::from(candidate.is_of_open_run);
                if row.get::<_, Option<bool>>(6)?.unwrap_or(true) {
                    look.unacked = (look.unacked.0 + 1, look.unacked.1 + bytes);
                }
                look.rows.push(row.get(0)?);
                look.runs.extend(row.get::<_, Option<i64>>(4)?);
            }
        }
        look.after = row.get(1)?;
    }
    Ok(look)
}

/// Removes these events, and of these runs those that have ended and have no event any more.
pub(super) fn remove(connection: &Connection, rows: &[i64], runs: &HashSet<i64>) -> Result<(), SpoolError> {
    let mut event = connection.prepare_cached(DELETE_EVENT)?;
    for row in rows {
        event.execute([row])?;
    }
    let mut run = connection.prepare_cached(DELETE_RUN)?;
    for no in runs {
        run.execute([no])?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
