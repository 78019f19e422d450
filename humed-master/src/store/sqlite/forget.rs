//! Takes blocks out of the log with all that told of them, in the writer's transaction: what is left is as if they had never
//! been, but for cursors, gaps and the runs that lost a part.
//!
//! A reader has chosen them a moment ago (`doomed.rs`). What changed since then is looked at again, and stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hume_core::Timestamp;
use hume_runtime::points::{self, Point};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::cache::Cache;
use super::doomed::{Doomed, DoomedBlock, DoomedRun};
use crate::store::block::{Field, ZONE_BITS};
use crate::store::retention::Forgotten;

/// Free pages that one step gives back.
const STEP_PAGES_MAX: i64 = 128;

/// Deletes what is doomed and has not changed.
/// # Errors
/// The transaction must be rolled back to where it stood before.
pub(super) fn forget(
    connection: &Connection,
    cache: &mut Cache,
    doomed: Doomed,
) -> rusqlite::Result<Forgotten> {
    let Doomed { blocks, quarantine_through, gives_back, round, more, excess_bytes } = doomed;
    let blocks = unchanged(connection, blocks)?;
    let mut mentions: BTreeSet<(i64, i64, i64)> = BTreeSet::new();
    let mut hosts: BTreeMap<i64, i64> = BTreeMap::new();
    let mut zones = BTreeSet::new();
    let mut events = 0;
    let mut untold = Vec::new();
    for block in &blocks {
        delete(connection, "DELETE FROM block WHERE id = ?1", block.id)?;
        delete(connection, "DELETE FROM content WHERE block_id = ?1", block.id)?;
        mentions.extend(block.mentions.iter().map(|(field, no)| (field.index(), *no, block.id)));
        for (host_no, count) in &block.hosts {
            *hosts.entry(*host_no).or_default() += count;
        }
        zones.insert(block.id >> ZONE_BITS);
        events += block.events.unsigned_abs();
        if block.is_untold {
            untold.push((block.last(), block.events.unsigned_abs()));
        }
    }
    let mut unmention =
        connection.prepare_cached("DELETE FROM mention WHERE field = ?1 AND no = ?2 AND block_id = ?3")?;
    // In the order of the index, so that neighbours go together.
    for (field, no, block_id) in &mentions {
        unmention.execute([field, no, block_id])?;
    }
    let mut discount = connection.prepare_cached("UPDATE host SET events = events - ?1 WHERE no = ?2")?;
    for (host_no, count) in &hosts {
        discount.execute([count, host_no])?;
    }
    let gone = shorten_runs(connection, cache, &blocks)?;
    forget_names(connection, cache, &mentions)?;
    for zone in zones {
        let sql = "DELETE FROM zone WHERE no = ?1 AND NOT EXISTS \
                   (SELECT 1 FROM block WHERE id >= ?1 << ?2 AND id < (?1 + 1) << ?2)";
        connection.prepare_cached(sql)?.execute([zone, ZONE_BITS.into()])?;
    }
    delete(connection, "DELETE FROM quarantine WHERE no <= ?1", quarantine_through)?;
    let more = give_back(connection, gives_back)? || more;
    points::reach(Point::MasterInRetention);
    Ok(Forgotten { events, runs: gone, untold, round, more, excess_bytes })
}

fn delete(connection: &Connection, sql: &str, value: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute([value])
}

/// Those of the blocks whose runs have still ended, are still not the latest, and have no event that is newer.
fn unchanged(connection: &Connection, blocks: Vec<DoomedBlock>) -> rusqlite::Result<Vec<DoomedBlock>> {
    let mut select = connection.prepare_cached(
        "SELECT ended_us IS NOT NULL AND coalesce((SELECT max(block_id) FROM mention WHERE field = ?2 AND mention.no = ?1), ?3) = ?3 \
         AND NOT EXISTS (SELECT 1 FROM latest WHERE latest.task_no = run.task_no AND latest.host_no = run.host_no AND run_no = ?1) \
         FROM run WHERE no = ?1",
    )?;
    let mut known: HashMap<i64, bool> = HashMap::new();
    let mut is_same = |run: &DoomedRun| -> rusqlite::Result<bool> {
        if let Some(is_same) = known.get(&run.no) {
            return Ok(*is_same);
        }
        let values = params![run.no, Field::Run.index(), run.last_block];
        let is_same = select.query_row(values, |row| row.get(0)).optional()?.unwrap_or(true);
        known.insert(run.no, is_same);
        Ok(is_same)
    };
    let mut same = Vec::with_capacity(blocks.len());
    for block in blocks {
        let mut stays = false;
        for run in &block.runs {
            stays |= !is_same(run)?;
        }
        if !stays {
            same.push(block);
        }
    }
    Ok(same)
}

/// Notes what the runs of these blocks have lost; those that have lost all go. How many went.
fn shorten_runs(connection: &Connection, cache: &mut Cache, blocks: &[DoomedBlock]) -> rusqlite::Result<u64> {
    let mut is_left =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM mention WHERE field = ?1 AND no = ?2)")?;
    let mut shorten = connection.prepare_cached("UPDATE run SET events = events - ?1 WHERE no = ?2")?;
    let mut note = connection.prepare_cached(
        "INSERT INTO forgotten(run_no, epoch_no, from_seq, to_seq) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut left: HashMap<i64, bool> = HashMap::new();
    for block in blocks {
        for DoomedRun { no, events, from_seq, to_seq, .. } in &block.runs {
            let is_left = match left.get(no) {
                Some(is_left) => *is_left,
                None => is_left.query_row([Field::Run.index(), *no], |row| row.get(0))?,
            };
            left.insert(*no, is_left);
            if is_left {
                shorten.execute([events, no])?;
                note.execute([*no, block.epoch_no, *from_seq, *to_seq])?;
            }
        }
    }
    let mut gone = 0;
    for no in left.iter().filter(|(_, is_left)| !**is_left).map(|(no, _)| *no) {
        delete(connection, "DELETE FROM forgotten WHERE run_no = ?1", no)?;
        gone += delete(connection, "DELETE FROM run WHERE no = ?1", no)? as u64;
    }
    cache.forget_runs(|no| left.contains_key(&no));
    Ok(gone)
}

/// Deletes the names that nothing mentions any more. The host of an agent stays, as the agent does.
fn forget_names(
    connection: &Connection,
    cache: &mut Cache,
    mentions: &BTreeSet<(i64, i64, i64)>,
) -> rusqlite::Result<()> {
    let names: BTreeSet<(i64, i64)> = mentions.iter().map(|(field, no, _)| (*field, *no)).collect();
    let mut deleted = 0;
    for field in [Field::Task, Field::Host, Field::Tag] {
        let sql = match field {
            Field::Task => {
                "DELETE FROM task WHERE no = ?1 AND NOT EXISTS (SELECT 1 FROM mention WHERE field = ?2 AND mention.no = ?1) \
                 AND NOT EXISTS (SELECT 1 FROM run WHERE task_no = ?1)"
            }
            Field::Host => {
                "DELETE FROM host WHERE no = ?1 AND NOT EXISTS (SELECT 1 FROM mention WHERE field = ?2 AND mention.no = ?1) \
                 AND NOT EXISTS (SELECT 1 FROM run WHERE host_no = ?1) AND NOT EXISTS (SELECT 1 FROM agent WHERE agent.host = name) \
                 AND NOT EXISTS (SELECT 1 FROM course WHERE host_no = ?1)"
            }
            Field::Tag => {
                "DELETE FROM tag WHERE no = ?1 AND NOT EXISTS (SELECT 1 FROM mention WHERE field = ?2 AND mention.no = ?1)"
            }
            Field::Run => continue,
        };
        let mut statement = connection.prepare_cached(sql)?;
        for (_, no) in names.iter().filter(|(of, _)| *of == field.index()) {
            deleted += statement.execute([*no, field.index()])?;
        }
    }
    if deleted > 0 {
        cache.forget_names();
    }
    Ok(())
}

/// Gives free pages back to the disk, a few at a time. True when there are more.
fn give_back(connection: &Connection, wanted: bool) -> rusqlite::Result<bool> {
    if !wanted {
        return Ok(false);
    }
    // One row for each page.
    let mut vacuum = connection.prepare_cached("PRAGMA incremental_vacuum(128)")?;
    let mut rows = vacuum.query([])?;
    let mut pages = 0;
    while rows.next()?.is_some() {
        pages += 1;
    }
    Ok(pages >= STEP_PAGES_MAX)
}

/// The latest time by which the retention has gone; else when the newest event came, if there is one.
pub(super) fn last_look(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let noted: Option<[u8; 8]> = connection
        .query_row("SELECT value FROM meta WHERE key = 'retention_looked_us'", [], |row| row.get(0))
        .optional()?;
    if let Some(micros) = noted {
        return Ok(Some(Timestamp::from_micros(i64::from_be_bytes(micros))));
    }
    let newest = "SELECT arrived_us FROM block ORDER BY id DESC LIMIT 1";
    let newest: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional()?;
    Ok(newest.map(Timestamp::from_micros))
}

/// Notes by which time the retention goes.
pub(super) fn note_look(connection: &Connection, looked_at: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta(key, value) VALUES ('retention_looked_us', ?1) \
               ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute([looked_at.as_micros().to_be_bytes()])?;
    Ok(())
}
