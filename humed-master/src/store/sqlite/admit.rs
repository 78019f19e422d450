//! One admission inside the writer's transaction: the cursor decides, then events, runs, latest runs and gaps follow.
//!
//! The cursor of the epoch is compared and set in the same transaction (docs/PROTOCOL.md, "Rules"), so a retry stores
//! nothing twice and a place is never left out.

use std::collections::{HashMap, HashSet};

use hume_core::event::Position;
use hume_core::run::RunState;
use hume_core::{EventId, RunId, Seq, StoredEvent, Timestamp};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::cache::{Cache, HotRun};
use super::runs::parse_state;
use crate::store::error::StoreError;
use crate::store::types::{Admission, CommitOutcome, Content, Cursor, Entry};

/// The row of an epoch, with what its agent's row says of sessions.
struct EpochRow {
    no: i64,
    agent_no: i64,
    cursor: Cursor,
    session_no: u64,
}

/// Where the places `first..=last` stand to a cursor.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// All are at or below it.
    Known,
    /// They go on right after it, when this many have been left out at their beginning.
    Fits { skip: u64 },
    /// They leave a hole.
    Beyond,
}

fn standing(cursor: Seq, first: Seq, last: Seq) -> Standing {
    let next = cursor.get() + 1;
    if last.get() < next {
        Standing::Known
    } else if first.get() > next {
        Standing::Beyond
    } else {
        Standing::Fits { skip: next - first.get() }
    }
}

/// Writes one admission, or finds that it must not be written.
/// # Errors
/// The transaction must be rolled back to where it stood before.
pub(super) fn admit(
    connection: &Connection,
    cache: &mut Cache,
    admission: Admission,
) -> Result<CommitOutcome, StoreError> {
    let Admission { agent, session, epoch, first, arrived_at, content } = admission;
    let failed = |source| StoreError::sqlite("write to", source);
    let Some(row) = epoch_row(connection, agent.as_bytes(), epoch.as_bytes()).map_err(failed)? else {
        return Ok(CommitOutcome::UnknownEpoch);
    };
    if row.session_no != session.0 {
        return Ok(CommitOutcome::Superseded);
    }
    let last = match &content {
        Content::Entries(entries) => first.plus((entries.len() as u64).saturating_sub(1)),
        Content::Gap { through, .. } => *through,
    };
    let skip = match standing(row.cursor.seq, first, last) {
        Standing::Known => return Ok(CommitOutcome::Known { cursor: row.cursor }),
        Standing::Beyond => return Ok(CommitOutcome::Beyond { cursor: row.cursor }),
        Standing::Fits { skip } => skip,
    };
    let (cursor, events, quarantined) = match content {
        Content::Gap { through, reason } => {
            connection
                .prepare_cached(
                    "INSERT INTO gap(epoch_no, from_seq, to_seq, reason, at_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .and_then(|mut insert| {
                    insert.execute(params![
                        row.no,
                        sql_seq(row.cursor.seq.next()),
                        sql_seq(through),
                        reason.as_str(),
                        arrived_at.as_micros()
                    ])
                })
                .map_err(failed)?;
            (Cursor { seq: through, event: None }, 0, 0)
        }
        Content::Entries(entries) => {
            let mut pen = Pen {
                connection,
                cache,
                row: &row,
                arrived_at,
                per_host: HashMap::new(),
                changed: HashSet::new(),
            };
            let (mut events, mut quarantined, mut latest_id) = (0, 0, None);
            for (offset, entry) in (skip..).zip(entries.into_iter().skip(skip as usize)) {
                let position = Position { agent: Some(agent), epoch, seq: first.plus(offset) };
                latest_id = pen.write(position, entry)?;
                match latest_id {
                    Some(_) => events += 1,
                    None => quarantined += 1,
                }
            }
            pen.finish()?;
            (Cursor { seq: last, event: latest_id }, events, quarantined)
        }
    };
    move_cursor(connection, &row, cursor, events).map_err(failed)?;
    Ok(CommitOutcome::Stored { cursor, events, quarantined })
}

fn epoch_row(
    connection: &Connection,
    agent: &[u8; 16],
    epoch: &[u8; 16],
) -> rusqlite::Result<Option<EpochRow>> {
    connection
        .prepare_cached(
            "SELECT epoch.no, agent_no, acked, acked_event_id, session_no FROM epoch \
             JOIN agent ON agent.no = agent_no WHERE agent.id = ?1 AND epoch = ?2",
        )?
        .query_row([agent, epoch], |row| {
            let event = row.get::<_, Option<[u8; 16]>>(3)?.map(EventId::from_bytes);
            Ok(EpochRow {
                no: row.get(0)?,
                agent_no: row.get(1)?,
                cursor: Cursor { seq: seq_of(row.get(2)?), event },
                session_no: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })
        .optional()
}

/// Compare and set: the cursor moves only from where it was read, and only for the newest session.
fn move_cursor(connection: &Connection, row: &EpochRow, to: Cursor, events: u64) -> rusqlite::Result<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE epoch SET acked = ?1, acked_event_id = ?2, stored = stored + ?3 WHERE no = ?4 AND acked = ?5 \
             AND (SELECT session_no FROM agent WHERE agent.no = agent_no) = ?6",
        )?
        .execute(params![
            sql_seq(to.seq),
            to.event.as_ref().map(EventId::as_bytes),
            events as i64,
            row.no,
            sql_seq(row.cursor.seq),
            row.session_no as i64
        ])?;
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
}

/// Writes the entries of one admission.
struct Pen<'a> {
    connection: &'a Connection,
    cache: &'a mut Cache,
    row: &'a EpochRow,
    arrived_at: Timestamp,
    /// Events by host number.
    per_host: HashMap<i64, i64>,
    /// Runs whose row is older than their fold.
    changed: HashSet<RunId>,
}

impl Pen<'_> {
    /// Writes what stands at one place; the id if it is an event.
    fn write(&mut self, position: Position, entry: Entry) -> Result<Option<EventId>, StoreError> {
        match entry {
            Entry::Event { event, body } => {
                let id = event.id;
                let stored = StoredEvent { position, arrived_at: Some(self.arrived_at), event: *event };
                self.event(&stored, &body)?;
                Ok(Some(id))
            }
            Entry::Quarantined { code, detail, body } => {
                self.connection
                    .prepare_cached(
                        "INSERT INTO quarantine(epoch_no, seq, arrived_us, code, detail, body) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )
                    .and_then(|mut insert| {
                        let place = (self.row.no, sql_seq(position.seq), self.arrived_at.as_micros());
                        insert.execute(params![place.0, place.1, place.2, code, detail, body.as_slice()])
                    })
                    .map_err(|source| StoreError::sqlite("write to", source))?;
                Ok(None)
            }
        }
    }

    fn event(&mut self, stored: &StoredEvent, body: &EventBytes) -> Result<(), StoreError> {
        let failed = |source| StoreError::sqlite("write to", source);
        let event = &stored.event;
        let task_no = self.cache.task_no(self.connection, &event.task).map_err(failed)?;
        let host_no = self.cache.host_no(self.connection, &event.host, self.row.agent_no).map_err(failed)?;
        *self.per_host.entry(host_no).or_default() += 1;
        let run_no = self.fold(stored, task_no, host_no)?;
        self.connection
            .prepare_cached(
                "INSERT INTO event(epoch_no, seq, arrived_us, time_us, kind, level_rank, task_no, host_no, run_no, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    self.row.no,
                    sql_seq(stored.position.seq),
                    self.arrived_at.as_micros(),
                    event.time.as_micros(),
                    event.kind.index() as i64,
                    event.level.rank(),
                    task_no,
                    host_no,
                    run_no,
                    body.as_slice()
                ])
            })
            .map_err(failed)?;
        Ok(())
    }

    /// Adds the event to its run, which it may open; the number of the run's row.
    fn fold(&mut self, stored: &StoredEvent, task_no: i64, host_no: i64) -> Result<Option<i64>, StoreError> {
        let Some(run) = stored.event.run else { return Ok(None) };
        let key = (self.row.agent_no, run.id);
        self.changed.insert(run.id);
        if let Some(hot) = self.cache.runs.get_mut(&key) {
            hot.state.apply(stored);
            return Ok(Some(hot.no));
        }
        let known = self
            .connection
            .prepare_cached("SELECT no, state FROM run WHERE id = ?1 AND agent_no = ?2")
            .and_then(|mut select| {
                select
                    .query_row(params![run.id.as_bytes(), self.row.agent_no], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                    })
                    .optional()
            })
            .map_err(|source| StoreError::sqlite("read", source))?;
        let hot = if let Some((no, state)) = known {
            let mut state = parse_state(&state)?;
            state.apply(stored);
            HotRun { no, state }
        } else {
            let Some(state) = RunState::open(stored) else { return Ok(None) };
            let no = self
                .open_run(&state, task_no, host_no)
                .map_err(|source| StoreError::sqlite("write to", source))?;
            HotRun { no, state }
        };
        let no = hot.no;
        self.cache.runs.insert(key, hot);
        Ok(Some(no))
    }

    /// A run's row, and the word that it is the latest if none started later.
    fn open_run(&self, state: &RunState, task_no: i64, host_no: i64) -> rusqlite::Result<i64> {
        let (id, started_us) = (state.id(), state.started_at().as_micros());
        let no: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO run(id, agent_no, task_no, host_no, started_us, state) VALUES (?1, ?2, ?3, ?4, ?5, '') \
                 RETURNING no",
            )?
            .query_row(params![id.as_bytes(), self.row.agent_no, task_no, host_no, started_us], |row| row.get(0))?;
        self.connection
            .prepare_cached(
                "INSERT INTO latest(task_no, host_no, run_no, started_us, run_id) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO UPDATE SET run_no = excluded.run_no, started_us = excluded.started_us, \
                 run_id = excluded.run_id WHERE (excluded.started_us, excluded.run_id) > (started_us, run_id)",
            )?
            .execute(params![task_no, host_no, no, started_us, id.as_bytes()])?;
        Ok(no)
    }

    /// Writes the folds and counts that changed.
    fn finish(self) -> Result<(), StoreError> {
        let failed = |source| StoreError::sqlite("write to", source);
        let mut update = self
            .connection
            .prepare_cached("UPDATE run SET ended_us = ?1, state = ?2 WHERE no = ?3")
            .map_err(failed)?;
        for run in self.changed {
            let Some(hot) = self.cache.runs.get(&(self.row.agent_no, run)) else { continue };
            let state = serde_json::to_string(&hot.state)
                .map_err(|error| StoreError::Unreadable { what: format!("the state of a run: {error}") })?;
            let ended_us = hot.state.ended_at().map(Timestamp::as_micros);
            update.execute(params![ended_us, state, hot.no]).map_err(failed)?;
        }
        for (host_no, events) in self.per_host {
            self.connection
                .prepare_cached("UPDATE host SET events = events + ?1 WHERE no = ?2")
                .and_then(|mut update| update.execute([events, host_no]))
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// A place as SQLite keeps it; [`Seq`] stays below 2⁶³.
pub(super) fn sql_seq(seq: Seq) -> i64 {
    seq.get() as i64
}

/// A place as SQLite kept it.
pub(super) fn seq_of(value: i64) -> Seq {
    Seq::new(value.unsigned_abs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_what_goes_on_from_the_cursor_is_written(cursor in 0_u64..50, first in 1_u64..60, count in 1_u64..20) {
            let seq = |value| Seq::new(value).unwrap();
            let last = first + count - 1;
            match standing(seq(cursor), seq(first), seq(last)) {
                Standing::Known => prop_assert!(last <= cursor),
                Standing::Beyond => prop_assert!(first > cursor + 1),
                Standing::Fits { skip } => {
                    prop_assert_eq!(first + skip, cursor + 1);
                    prop_assert!(skip < count);
                }
            }
        }
    }
}
