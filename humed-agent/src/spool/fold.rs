//! What an append writes: its events, the fold of each run they are in, and what it changes about open runs. The writer
//! holds the transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hume_core::event::{EventKind, StoredEvent};
use hume_core::run::{Phase, RunState};
use hume_core::{AgentId, Event, Position, RunId};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::types::{Appended, EpochRow, RunChange, SpoolError};

/// Appends events and folds them into their runs.
pub(super) struct Fold<'a> {
    pub(super) agent: Option<AgentId>,
    pub(super) folds: &'a mut HashMap<RunId, RunState>,
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
        let mut insert = connection.prepare_cached(
            "INSERT INTO event (epoch_no, seq, id, received_us, time_us, kind, run, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for event in events {
            let body = EventBytes::encode(&event);
            bytes += body.len() as u64;
            insert.execute(params![
                epoch.no,
                epoch.next.get() as i64,
                event.id.as_bytes(),
                event.received_at.as_micros(),
                event.time.as_micros(),
                event.kind.index() as i64,
                event.run.map(|run| *run.id.as_bytes()),
                body.as_slice(),
            ])?;
            let position = Position { agent: self.agent, epoch: epoch.epoch, seq: epoch.next };
            epoch.next = epoch.next.next();
            if let Some(run) = event.run {
                let uid = (event.kind == EventKind::Reported).then_some(event.process.uid).flatten();
                let first = touched.entry(run.id).or_default();
                *first = first.or(uid);
                self.fold(connection, run.id, &StoredEvent { position, arrived_at: None, event })?;
            }
        }
        connection
            .prepare_cached("UPDATE epoch SET next_seq = ?2 WHERE no = ?1")?
            .execute(params![epoch.no, epoch.next.get() as i64])?;
        self.save_folds(connection, &touched)?;
        save_changes(connection, changes)?;
        Ok((Appended { epoch: epoch.epoch, first }, bytes))
    }

    fn fold(&mut self, connection: &Connection, run: RunId, stored: &StoredEvent) -> Result<(), SpoolError> {
        match self.folds.entry(run) {
            Entry::Occupied(mut fold) => fold.get_mut().apply(stored),
            Entry::Vacant(place) => {
                let kept: Option<String> = connection
                    .prepare_cached("SELECT state FROM run WHERE id = ?1")?
                    .query_row([run.as_bytes()], |row| row.get(0))
                    .optional()?;
                let fold = match kept {
                    Some(text) => {
                        let mut state: RunState = serde_json::from_str(&text).map_err(|error| {
                            SpoolError::Damaged { row: 0, detail: format!("run {run}: {error}") }
                        })?;
                        state.apply(stored);
                        Some(state)
                    }
                    None => RunState::open(stored),
                };
                if let Some(state) = fold {
                    place.insert(state);
                }
            }
        }
        Ok(())
    }

    fn save_folds(
        &self,
        connection: &Connection,
        touched: &HashMap<RunId, Option<u32>>,
    ) -> Result<(), SpoolError> {
        let mut upsert = connection.prepare_cached(
            "INSERT INTO run (id, task, host, uid, started_us, ended, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (id) DO UPDATE SET started_us = excluded.started_us, ended = excluded.ended,
                                            uid = coalesce(uid, excluded.uid), state = excluded.state",
        )?;
        for (run, uid) in touched {
            let Some(state) = self.folds.get(run) else { continue };
            let text = serde_json::to_string(state)
                .map_err(|error| SpoolError::Damaged { row: 0, detail: format!("run {run}: {error}") })?;
            upsert.execute(params![
                run.as_bytes(),
                state.task().as_str(),
                state.host(),
                uid,
                state.started_at().as_micros(),
                state.phase() == Phase::Ended,
                text,
            ])?;
        }
        Ok(())
    }
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
