//! Which rows may be forgotten: acknowledged ones that are old or too many; on a host without a master, the oldest.
//!
//! Events of open runs come last, and only for want of room: the answer about a run that goes on should be whole, but a
//! spool that takes nothing more helps nobody. A block of which a part goes is written anew with the rest. One step looks at
//! a bounded number of events, whole blocks of them, so that appends are never held up for long; a [`Round`] remembers where
//! the next one goes on.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use hume_core::Timestamp;
use hume_core::name::Seq;
use hume_runtime::points::{self, Point};
use rusqlite::{Connection, OptionalExtension as _};

use super::block::Mark;
use super::blocks::{self, Head};
use super::config::Keeping;
use super::types::{SpoolError, place_of, row_of};

/// Events that one step looks at.
pub(super) const ROWS_PER_STEP: usize = if cfg!(test) { 7 } else { 2000 };
/// The same on a full disk, where the log of a step must fit into what the ballast held.
pub(super) const ROWS_PER_SMALL_STEP: usize = if cfg!(test) { 3 } else { 200 };

const NEXT_EPOCH: &str = "SELECT min(no) FROM epoch WHERE no > ?1";
const ACKED: &str = "SELECT acked_seq FROM epoch WHERE no = ?1";
const IS_OPEN: &str = "SELECT count(*) FROM run JOIN open_run USING (id) WHERE no = ?1";
const DELETE_RUN: &str = "DELETE FROM run WHERE no = ?1 AND ended AND NOT EXISTS (SELECT 1 FROM block_by_run WHERE run_no = run.no)";

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
    /// The last place that was looked at.
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
        let limits =
            Limits { rows_max: rows_max.saturating_sub(looked_at), is_first: looked_at == 0, old_before };
        let look = look(&transaction, keeping, at, limits, &mut excess)?;
        remove(&transaction, &look.parting, &look.runs)?;
        looked_at += look.looked_at;
        at.after = look.after;
        forgotten.events += look.events;
        forgotten.bytes += look.bytes;
        forgotten.of_open_runs += look.of_open_runs;
        forgotten.unacked.0 += look.unacked.0;
        forgotten.unacked.1 += look.unacked.1;
        if look.is_cut {
            break true;
        }
        if look.all_stay || !next_part(&transaction, keeping, &mut at)? {
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
        *at = Round { epoch_no: no, after: row_of(no, Seq::ZERO), ..*at };
    }
    Ok(next.is_some())
}

#[derive(Clone, Copy)]
struct Limits {
    rows_max: usize,
    /// A block that has more is looked at all the same.
    is_first: bool,
    old_before: Timestamp,
}

/// A block, and which of its events go.
pub(super) struct Parting {
    head: Head,
    rows: HashSet<i64>,
}

impl Parting {
    /// These go.
    pub(super) fn new(head: Head, rows: HashSet<i64>) -> Parting {
        Parting { head, rows }
    }
}

/// What a look found.
#[derive(Default)]
struct Look {
    looked_at: usize,
    after: i64,
    all_stay: bool,
    /// More of this part is to be looked at.
    is_cut: bool,
    parting: Vec<Parting>,
    runs: HashSet<i64>,
    events: u64,
    bytes: u64,
    of_open_runs: u64,
    unacked: (u64, u64),
}

/// An event that may go, in the order of places; of a block whose marks are damaged, all of them together.
struct Leaving {
    row: i64,
    events: u64,
    bytes: u64,
    run_no: Option<i64>,
    candidate: Candidate,
    is_acked: bool,
}

impl Look {
    fn judge(&mut self, stage: Stage, leaving: &Leaving, excess: &mut u64) -> Fate {
        let Leaving { row, events, bytes, run_no, candidate, is_acked } = *leaving;
        let fate = fate(stage, candidate, *excess);
        match fate {
            Fate::AllStay => {
                self.all_stay = true;
                return fate;
            }
            Fate::Stays => {}
            Fate::Goes => {
                *excess = excess.saturating_sub(bytes);
                self.events += events;
                self.bytes += bytes;
                self.of_open_runs += if candidate.is_of_open_run { events } else { 0 };
                if !is_acked {
                    self.unacked = (self.unacked.0 + events, self.unacked.1 + bytes);
                }
                self.runs.extend(run_no);
            }
        }
        self.after = row;
        fate
    }
}

fn look(
    connection: &Connection,
    keeping: Keeping,
    at: Round,
    Limits { rows_max, is_first, old_before }: Limits,
    excess: &mut u64,
) -> Result<Look, SpoolError> {
    let mut look = Look { after: at.after, ..Look::default() };
    let mut runs = OpenRuns { connection, known: HashMap::new() };
    let mut acked = Acked { connection, known: HashMap::new() };
    let beyond = if keeping.acked_only { acked.through(at.epoch_no)? + 1 } else { i64::MAX };
    blocks::heads(connection, at.after + 1..beyond, |head| {
        let is_due = |row: i64| row > at.after && row < beyond;
        let count = match &head.marks {
            Some(marks) => marks.iter().filter(|mark| is_due(mark.row)).count(),
            // It goes, or stays, as a whole.
            None if head.last >= beyond => return Ok(ControlFlow::Break(())),
            None => head.events as usize,
        };
        if look.looked_at + count > rows_max && !(is_first && look.looked_at == 0) {
            look.is_cut = true;
            return Ok(ControlFlow::Break(()));
        }
        look.looked_at += count;
        let through = acked.through(place_of(head.row).0)?;
        let mut going = HashSet::new();
        if let Some(marks) = &head.marks {
            for mark in marks.iter().filter(|mark| is_due(mark.row)) {
                let candidate = Candidate {
                    is_old: mark.received_us < old_before.as_micros(),
                    is_of_open_run: runs.is_open(mark.run_no)?,
                };
                let Mark { row, run_no, bytes, .. } = *mark;
                let leaving = Leaving { row, events: 1, bytes, run_no, candidate, is_acked: row <= through };
                match look.judge(at.stage, &leaving, excess) {
                    Fate::Goes => drop(going.insert(row)),
                    Fate::Stays => {}
                    Fate::AllStay => break,
                }
            }
        } else {
            // Nobody knows how old they are, and nobody can read them.
            let leaving = Leaving {
                row: head.last,
                events: head.events,
                bytes: head.bytes,
                run_no: None,
                candidate: Candidate { is_old: true, is_of_open_run: false },
                is_acked: head.last <= through,
            };
            if look.judge(at.stage, &leaving, excess) == Fate::Goes {
                going.insert(head.row);
            }
        }
        if !going.is_empty() {
            look.parting.push(Parting::new(head, going));
        }
        Ok(if look.all_stay { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .map(|()| look)
}

/// Which runs are open, asked once for each.
struct OpenRuns<'a> {
    connection: &'a Connection,
    known: HashMap<i64, bool>,
}

impl OpenRuns<'_> {
    fn is_open(&mut self, run_no: Option<i64>) -> rusqlite::Result<bool> {
        let Some(no) = run_no else { return Ok(false) };
        if let Some(is_open) = self.known.get(&no) {
            return Ok(*is_open);
        }
        let is_open = self.connection.prepare_cached(IS_OPEN)?.query_row([no], |row| row.get(0))?;
        self.known.insert(no, is_open);
        Ok(is_open)
    }
}

/// Through which place epochs are acknowledged, asked once for each.
struct Acked<'a> {
    connection: &'a Connection,
    known: HashMap<i64, i64>,
}

impl Acked<'_> {
    fn through(&mut self, epoch_no: i64) -> rusqlite::Result<i64> {
        if let Some(through) = self.known.get(&epoch_no) {
            return Ok(*through);
        }
        let acked: Option<i64> =
            self.connection.prepare_cached(ACKED)?.query_row([epoch_no], |row| row.get(0)).optional()?;
        let seq = Seq::new(acked.unwrap_or(0) as u64).unwrap_or(Seq::ZERO);
        let through = row_of(epoch_no, seq);
        self.known.insert(epoch_no, through);
        Ok(through)
    }
}

/// Removes these events, and of these runs those that have ended and have no event any more.
pub(super) fn remove(
    connection: &Connection,
    parting: &[Parting],
    runs: &HashSet<i64>,
) -> Result<(), SpoolError> {
    for Parting { head, rows } in parting {
        blocks::retain(connection, head, |mark| !rows.contains(&mark.row))?;
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
