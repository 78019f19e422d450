//! Which blocks of the log may go: looked for by a reader, oldest first, so that the writer only has to delete them.
//!
//! A block goes when all of its events may; one event of a run that stays keeps it whole. One look is bounded by what it
//! reads and by what the writer would have to delete for it; a [`Round`] says where the next one goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use hume_core::Timestamp;
use hume_core::page::EventCursor;
use hume_proto::event::EventBytes;
use rusqlite::{OptionalExtension as _, params};

use super::readers::{Question, read_failed};
use super::runs::unpack;
use crate::store::block::{self, Field, Mark};
use crate::store::error::StoreError;
use crate::store::retention::{Bounds, Forgotten, Round};

/// Rows that one step deletes, a block more at most: one or two milliseconds, which an event waits that comes meanwhile.
const STEP_ROWS_MAX: usize = 60;
/// Blocks that one step looks at.
const STEP_BLOCKS_MAX: usize = if cfg!(test) { 5 } else { 2000 };
/// Runs that one step looks at for the failed ones among them, those of one task on one host more at most.
const STEP_RUNS_MAX: usize = 100_000;
/// Tasks on hosts of which a round remembers the failed runs; with more, all are forgotten and looked for again.
const REMEMBERED_MAX: usize = 10_000;

/// What may go in one step, as one moment shows it.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    pub(super) blocks: Vec<DoomedBlock>,
    /// The last row of the quarantine that goes; 0 for none.
    pub(super) quarantine_through: i64,
    /// Free pages are to be given back, as many as one step may.
    pub(super) gives_back: bool,
    pub(super) round: Round,
    pub(super) more: bool,
    /// Bytes in use that are too many, without those of `blocks`.
    pub(super) excess_bytes: u64,
}

impl Doomed {
    /// Whether the writer has nothing to do.
    pub(super) fn is_nothing(&self) -> bool {
        self.blocks.is_empty() && self.quarantine_through == 0 && !self.gives_back
    }

    /// What is told when the writer has nothing to do.
    pub(super) fn without_blocks(self) -> Forgotten {
        let Doomed { round, more, excess_bytes, .. } = self;
        Forgotten { round, more, excess_bytes, ..Forgotten::default() }
    }
}

/// A block, with all that must be deleted or counted with it.
#[derive(Debug)]
pub(super) struct DoomedBlock {
    pub(super) id: i64,
    pub(super) epoch_no: i64,
    pub(super) events: i64,
    pub(super) mentions: Vec<(Field, i64)>,
    /// Events by the number of the host.
    pub(super) hosts: BTreeMap<i64, i64>,
    pub(super) runs: Vec<DoomedRun>,
    /// Whether transfers have not told all of it.
    pub(super) is_untold: bool,
}

impl DoomedBlock {
    /// The border below its last event.
    pub(super) fn last(&self) -> EventCursor {
        EventCursor(self.id + self.events - 1)
    }
}

/// What of a run lies in a block.
#[derive(Debug)]
pub(super) struct DoomedRun {
    pub(super) no: i64,
    /// The last block that has an event of it: with another one it is not what it was.
    pub(super) last_block: i64,
    pub(super) events: i64,
    pub(super) from_seq: i64,
    pub(super) to_seq: i64,
}

/// A block that is looked at.
struct Candidate {
    id: i64,
    events: i64,
    epoch_no: i64,
    seq: i64,
    arrived_at: Timestamp,
    marks: Vec<u8>,
    bytes: u64,
}

impl Candidate {
    /// The border above it.
    fn end(&self) -> EventCursor {
        EventCursor(self.id + self.events)
    }
}

/// Looks for what may go, from where the round stands.
pub(super) fn look(question: &Question<'_>, bounds: &Bounds, round: Round) -> Result<Doomed, StoreError> {
    let (used_bytes, free_pages, file_bytes) = sizes(question)?;
    let mut look = Look {
        question,
        bounds,
        round,
        fates: HashMap::new(),
        tags: HashMap::new(),
        runs_seen: 0,
        excess: bounds.excess(used_bytes),
    };
    let gives_back = free_pages > 0 && bounds.bytes_max.is_some_and(|max| file_bytes > max);
    let mut doomed = Doomed { gives_back, ..Doomed::default() };
    let mut rows = 0;
    let mut newest_gone = None;
    let mut steps = STEP_BLOCKS_MAX;
    doomed.more = loop {
        if steps == 0 || rows >= STEP_ROWS_MAX || look.runs_seen >= STEP_RUNS_MAX {
            break true;
        }
        steps -= 1;
        question.check()?;
        let Some(candidate) = look.next()? else { break false };
        let is_untold = bounds.is_untold(candidate.end());
        let is_old = if is_untold {
            bounds.has_waited(candidate.arrived_at)
        } else {
            bounds.is_old(candidate.arrived_at)
        };
        if !is_old && look.excess == 0 {
            break false;
        }
        if let Some(block) = look.doomed(&candidate, is_untold)? {
            rows += 2 + block.mentions.len() + 2 * block.runs.len();
            look.make_room(candidate.bytes);
            newest_gone = Some(candidate.arrived_at);
            doomed.blocks.push(block);
        }
        look.round.after = candidate.id;
    };
    doomed.quarantine_through = quarantined(question, bounds.old_before.max(newest_gone))?;
    doomed.excess_bytes = look.excess;
    doomed.round = look.round;
    Ok(doomed)
}

/// Bytes in use, pages that are free, bytes of the file.
fn sizes(question: &Question<'_>) -> Result<(u64, i64, u64), StoreError> {
    let pragma = |name| question.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (pages, free) =
        (pragma("page_count").map_err(read_failed)?, pragma("freelist_count").map_err(read_failed)?);
    let bytes = |pages: i64| pages.unsigned_abs() * u64::from(hume_runtime::sqlite::PAGE_BYTES);
    Ok((bytes(pages - free), free, bytes(pages)))
}

/// The last of the oldest rows of the quarantine that came before `border`: no more than one step deletes.
fn quarantined(question: &Question<'_>, border: Option<Timestamp>) -> Result<i64, StoreError> {
    let Some(border) = border else { return Ok(0) };
    let sql = "SELECT no, arrived_us FROM quarantine ORDER BY no LIMIT ?1";
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    let mut rows = statement.query([STEP_ROWS_MAX as i64]).map_err(read_failed)?;
    let mut through = 0;
    while let Some(row) = rows.next().map_err(read_failed)? {
        if row.get::<_, i64>(1).map_err(read_failed)? >= border.as_micros() {
            break;
        }
        through = row.get(0).map_err(read_failed)?;
    }
    Ok(through)
}

/// What becomes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It may go, if this is still its last block.
    MayGo {
        last_block: i64,
    },
}

/// The runs of one task on one host.
#[derive(Clone, Copy, Debug)]
struct RunsOf {
    task_no: i64,
    host_no: i64,
}

/// One look in progress.
struct Look<'a, 'q> {
    question: &'a Question<'q>,
    bounds: &'a Bounds,
    round: Round,
    fates: HashMap<i64, Fate>,
    tags: HashMap<String, Option<i64>>,
    runs_seen: usize,
    excess: u64,
}

impl Look<'_, '_> {
    /// So many bytes less are too many.
    fn make_room(&mut self, bytes: u64) {
        let was_wanting = self.excess > 0;
        self.excess = self.excess.saturating_sub(bytes);
        if was_wanting && self.excess == 0 {
            // From here on what ended not long ago stays.
            self.fates.clear();
        }
    }

    /// The next block but the newest one, by which the end of the log is known.
    fn next(&self) -> Result<Option<Candidate>, StoreError> {
        let sql = "SELECT block.id, events, epoch_no, seq, arrived_us, marks, length(marks) + length(bodies) \
                   FROM block CROSS JOIN content ON block_id = block.id \
                   WHERE block.id > ?1 AND block.id < (SELECT max(id) FROM block) ORDER BY block.id LIMIT 1";
        let mut statement = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        let found = statement.query_row([self.round.after], |row| {
            Ok(Candidate {
                id: row.get(0)?,
                events: row.get(1)?,
                epoch_no: row.get(2)?,
                seq: row.get(3)?,
                arrived_at: Timestamp::from_micros(row.get(4)?),
                marks: row.get(5)?,
                bytes: row.get::<_, i64>(6)?.unsigned_abs(),
            })
        });
        found.optional().map_err(read_failed)
    }

    /// The block with all that goes with it; none if it stays.
    fn doomed(&mut self, candidate: &Candidate, is_untold: bool) -> Result<Option<DoomedBlock>, StoreError> {
        // What cannot be read is not deleted either: somebody should look at it.
        let Some(marks) = block::marks(&candidate.marks, candidate.events) else { return Ok(None) };
        let mut runs: BTreeMap<i64, DoomedRun> = BTreeMap::new();
        for (seq, mark) in (candidate.seq..).zip(&marks) {
            let Some(no) = mark.run_no else { continue };
            if let Some(run) = runs.get_mut(&no) {
                run.events += 1;
                run.to_seq = seq;
                continue;
            }
            let Fate::MayGo { last_block } = self.fate(no, candidate)? else { return Ok(None) };
            runs.insert(no, DoomedRun { no, last_block, events: 1, from_seq: seq, to_seq: seq });
        }
        let mut mentions = BTreeSet::new();
        let mut hosts = BTreeMap::new();
        for Mark { task_no, host_no, .. } in &marks {
            mentions.insert((Field::Task, *task_no));
            mentions.insert((Field::Host, *host_no));
            *hosts.entry(*host_no).or_default() += 1;
        }
        mentions.extend(runs.keys().map(|no| (Field::Run, *no)));
        mentions.extend(self.tags(candidate)?.into_iter().map(|no| (Field::Tag, no)));
        let mentions = mentions.into_iter().collect();
        let Candidate { id, epoch_no, events, .. } = *candidate;
        let runs = runs.into_values().collect();
        Ok(Some(DoomedBlock { id, epoch_no, events, mentions, hosts, runs, is_untold }))
    }

    /// The tags of a block's events.
    fn tags(&mut self, candidate: &Candidate) -> Result<BTreeSet<i64>, StoreError> {
        let sql = "SELECT bodies FROM content WHERE block_id = ?1";
        let mut select = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        let bytes: Vec<u8> = select.query_row([candidate.id], |row| row.get(0)).map_err(read_failed)?;
        let decode = |range: Range<usize>| {
            EventBytes::from_raw(bytes.get(range).unwrap_or_default().to_vec()).decode().ok()
        };
        let ranges = block::bodies(&bytes, candidate.events as usize);
        let Some(events) =
            ranges.and_then(|ranges| ranges.into_iter().map(decode).collect::<Option<Vec<_>>>())
        else {
            return self.tags_by_search(candidate.id);
        };
        let mut numbers = BTreeSet::new();
        for tag in events.iter().flat_map(|event| &event.tags) {
            let number = if let Some(number) = self.tags.get(tag.as_str()) {
                *number
            } else {
                let sql = "SELECT no FROM tag WHERE name = ?1";
                let mut select = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
                let number =
                    select.query_row([tag.as_str()], |row| row.get(0)).optional().map_err(read_failed)?;
                *self.tags.entry(tag.as_str().to_owned()).or_insert(number)
            };
            numbers.extend(number);
        }
        Ok(numbers)
    }

    /// The same for a block whose events cannot be decoded.
    fn tags_by_search(&self, block_id: i64) -> Result<BTreeSet<i64>, StoreError> {
        let sql = "SELECT no FROM mention WHERE field = ?1 AND block_id = ?2";
        let mut statement = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        let numbers =
            statement.query_map([Field::Tag.index(), block_id], |row| row.get(0)).map_err(read_failed)?;
        numbers.collect::<Result<_, _>>().map_err(read_failed)
    }

    fn fate(&mut self, no: i64, candidate: &Candidate) -> Result<Fate, StoreError> {
        if let Some(fate) = self.fates.get(&no) {
            return Ok(*fate);
        }
        let fate = self.fate_of(no, candidate)?;
        self.fates.insert(no, fate);
        Ok(fate)
    }

    /// The rule about one run. For want of room only what is protected for ever stays; else also what ended not long ago.
    fn fate_of(&mut self, no: i64, candidate: &Candidate) -> Result<Fate, StoreError> {
        let sql = "SELECT task_no, host_no, ended_us IS NOT NULL, id, state, \
               (SELECT run_no FROM latest WHERE latest.task_no = run.task_no AND latest.host_no = run.host_no), \
               (SELECT max(block_id) FROM mention WHERE field = ?2 AND mention.no = run.no) FROM run WHERE no = ?1";
        let mut select = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        let found = select.query_row(params![no, Field::Run.index()], |row| {
            let last_block = row.get::<_, Option<i64>>(6)?.unwrap_or(candidate.id);
            let of = RunsOf { task_no: row.get(0)?, host_no: row.get(1)? };
            let stays = !row.get::<_, bool>(2)? || row.get::<_, Option<i64>>(5)? == Some(no);
            Ok((of, stays, row.get::<_, [u8; 16]>(3)?, row.get::<_, Vec<u8>>(4)?, last_block))
        });
        let Some((of, stays, id, state, last_block)) = found.optional().map_err(read_failed)? else {
            return Ok(Fate::MayGo { last_block: candidate.id });
        };
        let is_young = self.excess == 0 && last_block != candidate.id && !self.is_old_block(last_block)?;
        if stays || is_young || (self.is_failed(of, &id, &state)? && self.kept_failed(of)?.contains(&no)) {
            return Ok(Fate::Stays);
        }
        Ok(Fate::MayGo { last_block })
    }

    /// Whether a run that has ended is a failed one. What cannot be read counts as one: somebody should look at it.
    fn is_failed(&mut self, of: RunsOf, id: &[u8; 16], state: &[u8]) -> Result<bool, StoreError> {
        if self.bounds.keep_failed_runs == 0 {
            return Ok(false);
        }
        let (task, host) = self.names(of)?;
        Ok(unpack(id, None, &task, &host, state).map_or(true, |state| self.bounds.is_failed(&state)))
    }

    fn names(&self, RunsOf { task_no, host_no }: RunsOf) -> Result<(String, String), StoreError> {
        let sql = "SELECT (SELECT name FROM task WHERE no = ?1), (SELECT name FROM host WHERE no = ?2)";
        let mut select = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        select.query_row([task_no, host_no], |row| Ok((row.get(0)?, row.get(1)?))).map_err(read_failed)
    }

    fn is_old_block(&self, id: i64) -> Result<bool, StoreError> {
        let sql = "SELECT arrived_us FROM block WHERE id = ?1";
        let mut select = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        let arrived_us = select.query_row([id], |row| row.get(0)).map_err(read_failed)?;
        Ok(self.bounds.is_old(Timestamp::from_micros(arrived_us)))
    }

    /// The last failed runs of a task on a host.
    fn kept_failed(&mut self, of: RunsOf) -> Result<&[i64], StoreError> {
        let key = (of.task_no, of.host_no);
        if !self.round.kept_failed.contains_key(&key) {
            let kept = self.look_for_failed(of)?;
            if self.round.kept_failed.len() >= REMEMBERED_MAX {
                self.round.kept_failed.clear();
            }
            self.round.kept_failed.insert(key, kept);
        }
        Ok(self.round.kept_failed.get(&key).map(Vec::as_slice).unwrap_or_default())
    }

    fn look_for_failed(&mut self, of: RunsOf) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT no, id, state FROM run WHERE host_no = ?1 AND task_no = ?2 AND ended_us IS NOT NULL \
                   ORDER BY started_us DESC, id DESC";
        let mut statement = self.question.connection.prepare_cached(sql).map_err(read_failed)?;
        let mut rows = statement.query([of.host_no, of.task_no]).map_err(read_failed)?;
        let mut kept = Vec::new();
        while kept.len() < self.bounds.keep_failed_runs {
            let Some(row) = rows.next().map_err(read_failed)? else { break };
            self.runs_seen += 1;
            self.question.check()?;
            let id = row.get(1).map_err(read_failed)?;
            let packed: Vec<u8> = row.get(2).map_err(read_failed)?;
            if self.is_failed(of, &id, &packed)? {
                kept.push(row.get(0).map_err(read_failed)?);
            }
        }
        Ok(kept)
    }
}
