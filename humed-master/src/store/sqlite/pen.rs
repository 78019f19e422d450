//! Writes what stands at the places of one admission: blocks of the log with their index, hosts' counts, and what is in quarantine.
//!
//! The folds of runs change in memory. [`write_runs`] writes them, once for all admissions of a job and in its savepoint: a run
//! that began and ended there is written once.

use std::collections::HashMap;

use hume_core::event::Position;
use hume_core::run::RunState;
use hume_core::watch::Expectation;
use hume_core::{EventId, StoredEvent, Timestamp};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, params};

use super::admit::sql_seq;
use super::cache::{Cache, HotRun, RunRow};
use super::expectations;
use super::runs::unpack;
use crate::store::block::{Bounds, Draft, Mark, ZONE_BITS};
use crate::store::error::StoreError;
use crate::store::types::Entry;

/// Writes the entries of one admission, in their order.
pub(super) struct Pen<'a> {
    connection: &'a Connection,
    cache: &'a mut Cache,
    epoch_no: i64,
    agent_no: i64,
    arrived_at: Timestamp,
    draft: Option<Draft>,
    /// Events by host number.
    per_host: HashMap<i64, i64>,
    /// Bounds of what was written, by the number of the zone.
    zones: HashMap<i64, Bounds>,
}

impl Pen<'_> {
    /// For the entries of this epoch of this agent.
    pub(super) fn new<'a>(
        connection: &'a Connection,
        cache: &'a mut Cache,
        epoch_no: i64,
        agent_no: i64,
        arrived_at: Timestamp,
    ) -> Pen<'a> {
        let (per_host, zones) = (HashMap::new(), HashMap::new());
        Pen { connection, cache, epoch_no, agent_no, arrived_at, draft: None, per_host, zones }
    }

    /// Writes what stands at the next place; the id if it is an event.
    pub(super) fn entry(&mut self, position: Position, entry: Entry) -> Result<Option<EventId>, StoreError> {
        match entry {
            Entry::Event { event, body } => {
                let id = event.id;
                let stored = StoredEvent { position, arrived_at: Some(self.arrived_at), event: *event };
                self.event(&stored, &body)?;
                Ok(Some(id))
            }
            Entry::Quarantined { code, detail, body } => {
                // The events of a block have no place between them.
                self.end_block().map_err(write_failed)?;
                self.connection
                    .prepare_cached(
                        "INSERT INTO quarantine(epoch_no, seq, arrived_us, code, detail, body) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )
                    .and_then(|mut insert| {
                        let place = (self.epoch_no, sql_seq(position.seq), self.arrived_at.as_micros());
                        insert.execute(params![place.0, place.1, place.2, code, detail, body.as_slice()])
                    })
                    .map_err(write_failed)?;
                Ok(None)
            }
        }
    }

    /// The next place holds an event that is stored elsewhere.
    pub(super) fn pass(&mut self) -> Result<(), StoreError> {
        // The events of a block have no place between them.
        self.end_block().map_err(write_failed)
    }

    fn event(&mut self, stored: &StoredEvent, body: &EventBytes) -> Result<(), StoreError> {
        let event = &stored.event;
        let task_no = self.cache.task_no(self.connection, &event.task).map_err(write_failed)?;
        let host_no =
            self.cache.host_no(self.connection, &event.host, self.agent_no).map_err(write_failed)?;
        let tag_nos = event.tags.iter().map(|tag| self.cache.tag_no(self.connection, tag));
        let tag_nos = tag_nos.collect::<rusqlite::Result<Vec<_>>>().map_err(write_failed)?;
        *self.per_host.entry(host_no).or_default() += 1;
        if let Some(text) = Expectation::text(&event.extra) {
            self.cache.has_news |= expectations::note(self.connection, event, text).map_err(write_failed)?;
        }
        let run_no = self.fold(stored, task_no, host_no)?;
        let mark = Mark::of(event, task_no, host_no, run_no);
        match &mut self.draft {
            Some(draft) => draft.add(mark, &tag_nos, body),
            None => {
                self.draft = Some(Draft::begin(stored.position.seq, self.arrived_at, mark, &tag_nos, body));
            }
        }
        if self.draft.as_ref().is_some_and(Draft::is_full) {
            self.end_block().map_err(write_failed)?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> rusqlite::Result<()> {
        let Some(Draft { first, arrived_at, events, bounds, marks, bodies, mentions, .. }) =
            self.draft.take()
        else {
            return Ok(());
        };
        let id = self.cache.next_event_id(self.connection, events)?;
        self.connection
            .prepare_cached(
                "INSERT INTO block(id, events, epoch_no, seq, arrived_us, from_us, to_us, rank_max) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                id,
                events,
                self.epoch_no,
                sql_seq(first),
                arrived_at.as_micros(),
                bounds.from_us,
                bounds.to_us,
                bounds.rank_max
            ])?;
        self.connection
            .prepare_cached("INSERT INTO content(block_id, marks, bodies) VALUES (?1, ?2, ?3)")?
            .execute(params![id, marks, bodies])?;
        let mut mention =
            self.connection.prepare_cached("INSERT INTO mention(field, no, block_id) VALUES (?1, ?2, ?3)")?;
        for (field, no) in mentions {
            mention.execute([field.index(), no, id])?;
        }
        self.zones.entry(id >> ZONE_BITS).and_modify(|known| *known = known.and(bounds)).or_insert(bounds);
        Ok(())
    }

    /// Adds the event to its run, which it may open; the number of the run's row.
    fn fold(&mut self, stored: &StoredEvent, task_no: i64, host_no: i64) -> Result<Option<i64>, StoreError> {
        let Some(run) = stored.event.run else { return Ok(None) };
        let key = (self.agent_no, run.id);
        if let Some(hot) = self.cache.runs.get_mut(&key) {
            hot.state.apply(stored);
            hot.events += 1;
            hot.is_idle = false;
            if hot.row == RunRow::Same {
                hot.row = RunRow::Behind;
                self.cache.changed.push(key);
            }
            return Ok(Some(hot.no));
        }
        let hot = if let Some(mut hot) = self.known_run(stored, run.id.as_bytes())? {
            hot.state.apply(stored);
            hot.events += 1;
            hot
        } else {
            let Some(state) = RunState::open(stored) else { return Ok(None) };
            let no = self.cache.next_run_no(self.connection).map_err(read_failed)?;
            HotRun { no, task_no, host_no, state, events: 1, row: RunRow::Missing, is_idle: false }
        };
        let no = hot.no;
        self.cache.changed.push(key);
        self.cache.runs.insert(key, hot);
        Ok(Some(no))
    }

    fn known_run(&self, stored: &StoredEvent, id: &[u8; 16]) -> Result<Option<HotRun>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT run.no, task_no, host_no, run.events, state, task.name, host.name FROM run \
                 JOIN task ON task.no = task_no JOIN host ON host.no = host_no \
                 WHERE run.id = ?1 AND run.agent_no = ?2",
            )
            .map_err(read_failed)?;
        let mut rows = select.query(params![id, self.agent_no]).map_err(read_failed)?;
        let Some(row) = rows.next().map_err(read_failed)? else { return Ok(None) };
        let text = |column| row.get::<_, String>(column).map_err(read_failed);
        let number = |column| row.get::<_, i64>(column).map_err(read_failed);
        let packed = row.get_ref(4).map_err(read_failed)?.as_blob().unwrap_or_default();
        let state = unpack(id, stored.position.agent, &text(5)?, &text(6)?, packed)?;
        let (no, task_no, host_no, events) = (number(0)?, number(1)?, number(2)?, number(3)?);
        Ok(Some(HotRun { no, task_no, host_no, state, events, row: RunRow::Behind, is_idle: false }))
    }

    /// Writes the last block, and what was counted.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.end_block().and_then(|()| self.write_counts()).map_err(write_failed)
    }

    fn write_counts(self) -> rusqlite::Result<()> {
        let mut update =
            self.connection.prepare_cached("UPDATE host SET events = events + ?1 WHERE no = ?2")?;
        for (host_no, events) in self.per_host {
            update.execute([events, host_no])?;
        }
        let mut widen = self.connection.prepare_cached(
            "INSERT INTO zone(no, from_us, to_us, rank_max) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET from_us = min(from_us, excluded.from_us), \
             to_us = max(to_us, excluded.to_us), rank_max = max(rank_max, excluded.rank_max)",
        )?;
        for (no, Bounds { from_us, to_us, rank_max }) in self.zones {
            widen.execute(params![no, from_us, to_us, rank_max])?;
        }
        Ok(())
    }
}

/// Writes the runs whose rows are missing or behind, and the word that a new one is the latest if none started later.
/// # Errors
/// The transaction must be rolled back to where it stood before.
pub(super) fn write_runs(connection: &Connection, cache: &mut Cache) -> rusqlite::Result<()> {
    let mut changed = std::mem::take(&mut cache.changed);
    for (agent_no, run) in changed.drain(..) {
        let Some(hot) = cache.runs.get_mut(&(agent_no, run)) else { continue };
        match hot.row {
            RunRow::Missing => open_run(connection, agent_no, hot)?,
            RunRow::Behind => update_run(connection, hot)?,
            RunRow::Same => {}
        }
        hot.row = RunRow::Same;
    }
    // Its room is used again.
    cache.changed = changed;
    Ok(())
}

fn update_run(connection: &Connection, hot: &HotRun) -> rusqlite::Result<()> {
    let ended_us = hot.state.ended_at().map(Timestamp::as_micros);
    connection
        .prepare_cached("UPDATE run SET ended_us = ?1, events = ?2, state = ?3 WHERE no = ?4")?
        .execute(params![ended_us, hot.events, hot.state.pack(), hot.no])?;
    Ok(())
}

fn open_run(connection: &Connection, agent_no: i64, hot: &HotRun) -> rusqlite::Result<()> {
    let HotRun { no, task_no, host_no, state, events, row: _, is_idle: _ } = hot;
    let (id, started_us) = (state.id(), state.started_at().as_micros());
    let ended_us = state.ended_at().map(Timestamp::as_micros);
    connection
        .prepare_cached(
            "INSERT INTO run(no, id, agent_no, task_no, host_no, started_us, ended_us, events, state) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            no,
            id.as_bytes(),
            agent_no,
            task_no,
            host_no,
            started_us,
            ended_us,
            events,
            state.pack()
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO latest(task_no, host_no, run_no) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET run_no = excluded.run_no \
             WHERE (?4, ?5) > (SELECT started_us, id FROM run WHERE no = run_no)",
        )?
        .execute(params![task_no, host_no, no, started_us, id.as_bytes()])?;
    Ok(())
}

fn write_failed(source: rusqlite::Error) -> StoreError {
    StoreError::sqlite("write to", source)
}

fn read_failed(source: rusqlite::Error) -> StoreError {
    StoreError::sqlite("read", source)
}
