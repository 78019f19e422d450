//! What an append writes: its events, the fold of each run they are in, and what it changes about open runs. The writer
//! holds the transaction.

use std::collections::HashMap;

use hume_core::event::{EventKind, StoredEvent};
use hume_core::run::{Phase, RunState};
use hume_core::{AgentId, Event, EventId, Position, RunId};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::block::{Draft, Mark};
use super::blocks;
use super::epochs::EpochRow;
use super::types::{Appended, RunChange, SpoolError, row_of};

/// A run that events are being added to.
#[derive(Debug)]
pub(super) struct HotRun {
    no: i64,
    state: RunState,
}

/// Appends events and folds them into their runs.
pub(super) struct Fold<'a> {
    pub(super) agent: Option<AgentId>,
    pub(super) folds: &'a mut HashMap<RunId, HotRun>,
}

impl Fold<'_> {
    pub(super) fn append(
        &mut self,
        connection: &Connection,
        epoch: &mut EpochRow,
        events: Vec<Event>,
        changes: &[RunChange],
    ) -> Result<(Appended, u64), SpoolError> {
        let first = epoch.next;
        // With the user of the first event that somebody reported.
        let mut touched: HashMap<RunId, Option<u32>> = HashMap::new();
        let mut bytes = 0;
        refuse_repeated(connection, &events)?;
        let mut draft = Draft::default();
        for event in events {
            let body = EventBytes::encode(&event);
            bytes += body.len() as u64;
            let position = Position { agent: self.agent, epoch: epoch.epoch, seq: epoch.next };
            let stored = StoredEvent { position, arrived_at: None, event };
            let event = &stored.event;
            let run_no = match event.run {
                Some(run) => {
                    let uid = (event.kind == EventKind::Reported).then_some(event.process.uid).flatten();
                    let first = touched.entry(run.id).or_default();
                    *first = first.or(uid);
                    self.fold(connection, run.id, &stored)?
                }
                None => None,
            };
            let mark = Mark {
                row: row_of(epoch.no, epoch.next),
                id: event.id,
                received_us: event.received_at.as_micros(),
                time_us: event.time.as_micros(),
                kind: event.kind.index() as u8,
                run_no,
                crc: crc32fast::hash(body.as_slice()),
                bytes: body.len() as u64,
            };
            draft.add(mark, body.as_slice());
            if draft.is_full() {
                blocks::insert(connection, &draft)?;
                draft.clear();
            }
            epoch.next = epoch.next.next();
        }
        blocks::insert(connection, &draft)?;
        connection
            .prepare_cached("UPDATE epoch SET next_seq = ?2 WHERE no = ?1")?
            .execute(params![epoch.no, epoch.next.get() as i64])?;
        self.save_folds(connection, &touched)?;
        save_changes(connection, changes)?;
        Ok((Appended { epoch: epoch.epoch, first }, bytes))
    }

    /// Adds the event to its run, which it may open; the number of the run's row.
    fn fold(
        &mut self,
        connection: &Connection,
        run: RunId,
        stored: &StoredEvent,
    ) -> Result<Option<i64>, SpoolError> {
        if let Some(hot) = self.folds.get_mut(&run) {
            hot.state.apply(stored);
            return Ok(Some(hot.no));
        }
        let kept: Option<(i64, String)> = connection
            .prepare_cached("SELECT no, state FROM run WHERE id = ?1")?
            .query_row([run.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let hot = if let Some((no, text)) = kept {
            let mut state: RunState = serde_json::from_str(&text)
                .map_err(|error| SpoolError::Damaged { row: no, detail: format!("run {run}: {error}") })?;
            state.apply(stored);
            HotRun { no, state }
        } else {
            let Some(state) = RunState::open(stored) else { return Ok(None) };
            let no = connection
                .prepare_cached(
                    "INSERT INTO run (id, task, host, started_us, ended, state) VALUES (?1, ?2, ?3, 0, 0, '')
                     RETURNING no",
                )?
                .query_row(params![run.as_bytes(), state.task().as_str(), state.host()], |row| row.get(0))?;
            HotRun { no, state }
        };
        let no = hot.no;
        self.folds.insert(run, hot);
        Ok(Some(no))
    }

    fn save_folds(
        &self,
        connection: &Connection,
        touched: &HashMap<RunId, Option<u32>>,
    ) -> Result<(), SpoolError> {
        let mut update = connection.prepare_cached(
            "UPDATE run SET started_us = ?2, ended = ?3, uid = coalesce(uid, ?4), state = ?5 WHERE no = ?1",
        )?;
        for (run, uid) in touched {
            let Some(HotRun { no, state }) = self.folds.get(run) else { continue };
            let text = serde_json::to_string(state)
                .map_err(|error| SpoolError::Damaged { row: *no, detail: format!("run {run}: {error}") })?;
            let has_ended = state.phase() == Phase::Ended;
            update.execute(params![no, state.started_at().as_micros(), has_ended, uid, text])?;
        }
        Ok(())
    }
}

/// Whoever appends has looked for repeated ids before; here nothing depends on that.
fn refuse_repeated(connection: &Connection, events: &[Event]) -> Result<(), SpoolError> {
    let mut ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let kept = blocks::with_ids(connection, &ids)?.first().map(|mark| mark.id);
    ids.sort_unstable();
    let twice = ids.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0]));
    kept.or(twice).map_or(Ok(()), |id| Err(SpoolError::Repeated { id }))
}

fn save_changes(connection: &Connection, changes: &[RunChange]) -> Result<(), SpoolError> {
    for change in changes {
        match change {
            RunChange::Put(row) => {
                let text = serde_json::to_string(&row.run).map_err(|error| SpoolError::Damaged {
                    row: 0,
                    detail: format!("run {}: {error}", row.run.id),
                })?;
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO open_run (id, task, host, state) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![row.run.id.as_bytes(), row.task.as_str(), row.host.as_str(), text])?;
            }
            RunChange::Remove(run) => {
                connection.prepare_cached("DELETE FROM open_run WHERE id = ?1")?.execute([run.as_bytes()])?;
            }
        }
    }
    Ok(())
}
