//! Which rows may be forgotten: acknowledged ones that are old or too many; on a host without a master, the oldest.
//!
//! What transfers have not told yet stays longer, while there is room. Events of open runs come last, and only for want of room: the answer about a run that goes on should be whole, but a
//! spool that takes nothing more helps nobody. A block of which a part goes is written anew with the rest. One step looks at
//! a bounded number of events, whole blocks of them, so that appends are never held up for long; a [`Round`] remembers where
//! the next one goes on.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::name::Seq;
use hume_core::page::EventCursor;
use hume_runtime::points::{self, Point};
use hume_transfer::RETENTION_WAITS;
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

/// What transfers have not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    /// It begins here; none when nothing is awaited.
    pub(super) floor: Option<EventCursor>,
    /// So many bytes of it must go for want of room.
    pub(super) excess: u64,
}

/// What one step removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// How many of the events were of runs that are still open.
    pub(super) of_open_runs: u64,
    /// How many of the events the master did not have, and their bytes.
    pub(super) unacked: (u64, u64),
    /// What went though transfers had not told it: each place, and how many events.
    pub(super) awaited: Vec<(EventCursor, u64)>,
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
    /// Not yet told by all transfers, and not too old to wait for them.
    is_awaited: bool,
}

/// What must go for want of room, in bytes.
#[derive(Clone, Copy, Debug)]
struct Excess {
    /// Of all.
    all: u64,
    /// Of what is awaited.
    awaited: u64,
}

impl Excess {
    fn less(&mut self, bytes: u64) {
        self.all = self.all.saturating_sub(bytes);
        self.awaited = self.awaited.saturating_sub(bytes);
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// It and all that come after it stay.
    AllStay,
}

/// The rule.
fn fate(stage: Stage, candidate: Candidate, excess: Excess) -> Fate {
    let Candidate { is_old, is_of_open_run, is_awaited } = candidate;
    let (is_old, excess) = if is_awaited { (false, excess.awaited) } else { (is_old, excess.all) };
    match stage {
        Stage::Closed if !is_old && excess == 0 => Fate::AllStay,
        Stage::Closed if is_of_open_run => Fate::Stays,
        Stage::Open if excess == 0 => Fate::AllStay,
        Stage::Closed | Stage::Open => Fate::Goes,
    }
}

/// What a step goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// What may go.
    pub(super) keeping: Keeping,
    /// What the rows that may go take up together.
    pub(super) bytes: u64,
    /// But this waits.
    pub(super) awaited: Awaited,
    /// The time.
    pub(super) now: Timestamp,
}

/// One step, which looks at `rows_max` rows.
pub(super) fn forget(
    connection: &mut Connection,
    rule: Rule,
    round: &mut Round,
    rows_max: usize,
) -> Result<Forgotten, SpoolError> {
    let Rule { keeping, bytes, awaited, now } = rule;
    let before = |age: Duration| now.plus_micros(-i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let (old_before, waits_since) =
        (before(keeping.age_max), before(keeping.age_max.saturating_add(RETENTION_WAITS)));
    let floor = awaited.floor.map_or(i64::MAX, |EventCursor(row)| row);
    let mut excess = Excess { all: bytes.saturating_sub(keeping.bytes_max), awaited: awaited.excess };
    let transaction = connection.transaction()?;
    let mut forgotten = Forgotten::default();
    let mut at = *round;
    let mut looked_at = 0;
    forgotten.more = loop {
        let limits = Limits {
            rows_max: rows_max.saturating_sub(looked_at),
            is_first: looked_at == 0,
            old_before,
            waits_since,
            floor,
        };
        let mut look = look(&transaction, keeping, at, limits, &mut excess)?;
        remove(&transaction, &look.parting, &look.runs)?;
        looked_at += look.looked_at;
        at.after = look.after;
        forgotten.events += look.events;
        forgotten.bytes += look.bytes;
        forgotten.of_open_runs += look.of_open_runs;
        forgotten.unacked.0 += look.unacked.0;
        forgotten.unacked.1 += look.unacked.1;
        forgotten.awaited.append(&mut look.awaited);
        if look.is_cut {
            break true;
        }
        if look.all_stay || !next_part(&transaction, keeping, &mut at)? {
            // What is left of this stage stays; for want of room the next one looks at the rest.
            let is_over = excess.all == 0 || at.stage == Stage::Open || look.is_for_transfers;
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
    /// What came before waits for no transfer any more.
    waits_since: Timestamp,
    /// From this row on, transfers have not told everything.
    floor: i64,
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
    /// They stay for transfers.
    is_for_transfers: bool,
    /// More of this part is to be looked at.
    is_cut: bool,
    parting: Vec<Parting>,
    runs: HashSet<i64>,
    events: u64,
    bytes: u64,
    of_open_runs: u64,
    unacked: (u64, u64),
    awaited: Vec<(EventCursor, u64)>,
}

/// An event that may go, in the order of places; of a block whose marks are damaged, all of them together.
struct Leaving {
    row: i64,
    events: u64,
    bytes: u64,
    run_no: Option<i64>,
    candidate: Candidate,
    is_acked: bool,
    /// Whether transfers have not told it.
    is_untold: bool,
}

impl Look {
    fn judge(&mut self, stage: Stage, leaving: &Leaving, excess: &mut Excess) -> Fate {
        let Leaving { row, events, bytes, run_no, candidate, is_acked, is_untold } = *leaving;
        let fate = fate(stage, candidate, *excess);
        match fate {
            Fate::AllStay => {
                self.all_stay = true;
                self.is_for_transfers = candidate.is_awaited;
                return fate;
            }
            Fate::Stays => {}
            Fate::Goes => {
                excess.less(bytes);
                self.events += events;
                self.bytes += bytes;
                self.of_open_runs += if candidate.is_of_open_run { events } else { 0 };
                if !is_acked {
                    self.unacked = (self.unacked.0 + events, self.unacked.1 + bytes);
                }
                if is_untold {
                    self.awaited.push((EventCursor(row), events));
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
    Limits { rows_max, is_first, old_before, waits_since, floor }: Limits,
    excess: &mut Excess,
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
                let Mark { row, run_no, bytes, received_us, .. } = *mark;
                let candidate = Candidate {
                    is_old: received_us < old_before.as_micros(),
                    is_of_open_run: runs.is_open(run_no)?,
                    is_awaited: row >= floor && received_us >= waits_since.as_micros(),
                };
                let (is_acked, is_untold) = (row <= through, row >= floor);
                let leaving = Leaving { row, events: 1, bytes, run_no, candidate, is_acked, is_untold };
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
                candidate: Candidate { is_old: true, is_of_open_run: false, is_awaited: false },
                is_acked: head.last <= through,
                is_untold: head.last >= floor,
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
