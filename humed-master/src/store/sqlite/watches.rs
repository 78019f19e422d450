//! Watches, courses and slots: what the watchdog asks, each question by an index, and the step it writes, in one transaction.
//!
//! What is found stands at the end of the log as events of the master itself: an agent without a host, whose only epoch has the
//! name of the store. It has no session, so nobody else can write under its name.

use std::time::Duration;

use hume_core::course::Kept;
use hume_core::event::Position;
use hume_core::name::{Tag, WatchName};
use hume_core::page::EventCursor;
use hume_core::slot::{Ending, RunSeen, Slot, SlotState};
use hume_core::{AgentId, Epoch, Event, EventId, HostName, RunId, Timestamp};
use hume_proto::event::EventBytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::admit::{seq_of, sql_seq};
use super::cache::Cache;
use super::pen::Pen;
use super::readers::{Question, read_failed};
use crate::store::error::StoreError;
use crate::store::types::Entry;
use crate::store::watches::{
    CourseChange, CourseKey, CourseOn, CourseRecord, DueCourses, HostNo, Note, ReachRow, WatchDeclared,
    WatchNo, WatchRow, WatchedHost,
};

/// Slots that are kept of a course, besides those that are not settled.
const SLOTS_PER_COURSE_MAX: i64 = 1000;

pub(super) const SLOT_COLUMNS: &str = "at_us, opens_us, closes_us, due_us, wanted_from_us, state, reason, run_id, run_started_us, \
     run_ended_us, run_ending, run_paused_us, run_is_paused, success_id, success_us, is_reported_late, is_overdue";

/// See [`Watching::watches`](crate::store::Watching::watches).
pub(super) fn watches(question: &Question<'_>) -> Result<Vec<WatchRow>, StoreError> {
    all(question, "SELECT no, name, meaning, task, schedule FROM watch ORDER BY no", [], |row| {
        let name: String = row.get(1).map_err(read_failed)?;
        let name = WatchName::parse(&name).map_err(|_| unreadable(&format!("the watch {name:?}")))?;
        Ok(WatchRow {
            no: WatchNo(row.get(0).map_err(read_failed)?),
            name,
            meaning: row.get(2).map_err(read_failed)?,
            task: row.get(3).map_err(read_failed)?,
            schedule: row.get(4).map_err(read_failed)?,
        })
    })
}

/// See [`Watching::watched_hosts`](crate::store::Watching::watched_hosts).
pub(super) fn hosts(question: &Question<'_>) -> Result<Vec<WatchedHost>, StoreError> {
    let sql = "SELECT host.no, host.name, agent.id, agent.zone, \
               CASE agent.host WHEN host.name THEN agent.tags ELSE '' END \
               FROM host JOIN agent ON agent.no = host.agent_no WHERE agent.host <> ''";
    all(question, sql, [], |row| {
        let name: String = row.get(1).map_err(read_failed)?;
        let name = HostName::parse(&name).map_err(|_| unreadable(&format!("the host {name:?}")))?;
        let agent = AgentId::from_bytes(row.get(2).map_err(read_failed)?);
        let tags: String = row.get(4).map_err(read_failed)?;
        Ok(WatchedHost {
            no: HostNo(row.get(0).map_err(read_failed)?),
            name,
            agent,
            zone: row.get(3).map_err(read_failed)?,
            tags: tags.split(',').filter_map(|tag| Tag::parse(tag).ok()).collect(),
        })
    })
}

/// See [`Watching::reach`](crate::store::Watching::reach).
pub(super) fn reach(question: &Question<'_>) -> Result<Vec<ReachRow>, StoreError> {
    let sql = "SELECT id, host, last_seen_us, goodbye_us, told_us FROM agent \
               LEFT JOIN reach ON reach.agent_no = agent.no WHERE host <> ''";
    all(question, sql, [], |row| {
        let time = |column| -> Result<Option<Timestamp>, StoreError> {
            row.get::<_, Option<i64>>(column).map(|us| us.map(Timestamp::from_micros)).map_err(read_failed)
        };
        let name: String = row.get(1).map_err(read_failed)?;
        Ok(ReachRow {
            agent: AgentId::from_bytes(row.get(0).map_err(read_failed)?),
            host: HostName::parse(&name).map_err(|_| unreadable(&format!("the host {name:?}")))?,
            seen_at: time(2)?.unwrap_or_default(),
            goodbye_at: time(3)?,
            told_at: time(4)?,
        })
    })
}

/// See [`Watching::hosts_of`](crate::store::Watching::hosts_of).
pub(super) fn hosts_of(question: &Question<'_>, watch: WatchNo) -> Result<Vec<CourseOn>, StoreError> {
    all(question, "SELECT host_no, zone FROM course WHERE watch_no = ?1", [watch.0], |row| {
        Ok((HostNo(row.get(0).map_err(read_failed)?), row.get(1).map_err(read_failed)?))
    })
}

/// See [`Watching::courses`](crate::store::Watching::courses).
pub(super) fn courses(question: &Question<'_>, keys: &[CourseKey]) -> Result<Vec<CourseRecord>, StoreError> {
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        question.check()?;
        found.extend(course(question, *key)?);
    }
    Ok(found)
}

fn course(question: &Question<'_>, key: CourseKey) -> Result<Option<CourseRecord>, StoreError> {
    let mut select = question
        .connection
        .prepare_cached(
            "SELECT next_opens_us, next_at_us, last_start_us, has_run, zone FROM course \
             WHERE watch_no = ?1 AND host_no = ?2",
        )
        .map_err(read_failed)?;
    let kept = select
        .query_row([key.watch.0, key.host.0], |row| {
            let time = |column| row.get::<_, Option<i64>>(column).map(|us| us.map(Timestamp::from_micros));
            Ok((Kept { next: time(0)?.zip(time(1)?), last_start: time(2)? }, row.get(3)?, row.get(4)?))
        })
        .optional()
        .map_err(read_failed)?;
    let Some((kept, has_run, zone)) = kept else { return Ok(None) };
    let sql = format!(
        "SELECT {SLOT_COLUMNS} FROM slot INDEXED BY slot_open \
         WHERE watch_no = ?1 AND host_no = ?2 AND is_settled = 0 ORDER BY at_us"
    );
    let open = all(question, &sql, [key.watch.0, key.host.0], slot)?;
    Ok(Some(CourseRecord { key, zone, kept, has_run, open }))
}

/// See [`Watching::due`](crate::store::Watching::due).
pub(super) fn due(
    question: &Question<'_>,
    now: Timestamp,
    watermarks: &[(HostNo, Timestamp)],
    limit: usize,
) -> Result<DueCourses, StoreError> {
    let key = |row: &Row<'_>| {
        let (watch, host) = (WatchNo(row.get(0)?), HostNo(row.get(1)?));
        Ok(CourseKey { watch, host })
    };
    let mut by_clock = question
        .connection
        .prepare_cached(
            "SELECT watch_no, host_no FROM course INDEXED BY course_clock WHERE wake_clock_us <= ?1 \
             ORDER BY wake_clock_us LIMIT ?2",
        )
        .map_err(read_failed)?;
    let found = by_clock.query_map(params![now.as_micros(), limit as i64], key).map_err(read_failed)?;
    let mut keys = found.collect::<Result<Vec<CourseKey>, _>>().map_err(read_failed)?;
    let mut by_watermark = question
        .connection
        .prepare_cached(
            "SELECT watch_no, host_no FROM course INDEXED BY course_host \
             WHERE host_no = ?1 AND wake_watermark_us <= ?2 LIMIT ?3",
        )
        .map_err(read_failed)?;
    for (host, watermark) in watermarks {
        question.check()?;
        let Some(room) = limit.checked_sub(keys.len()).filter(|room| *room > 0) else { break };
        let values = params![host.0, watermark.as_micros(), room as i64];
        for key in by_watermark.query_map(values, key).map_err(read_failed)? {
            keys.push(key.map_err(read_failed)?);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    let next: Option<i64> = question
        .connection
        .prepare_cached("SELECT min(wake_clock_us) FROM course WHERE wake_clock_us IS NOT NULL")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(read_failed)?;
    Ok(DueCourses { courses: courses(question, &keys)?, next: next.map(Timestamp::from_micros) })
}

/// See [`Watching::slot_at`](crate::store::Watching::slot_at).
pub(super) fn slot_at(
    question: &Question<'_>,
    key: CourseKey,
    moment: Timestamp,
) -> Result<Option<Slot>, StoreError> {
    let sql = format!(
        "SELECT {SLOT_COLUMNS} FROM slot WHERE watch_no = ?1 AND host_no = ?2 AND is_settled = 1 \
         AND opens_us <= ?3 AND (closes_us IS NULL OR closes_us > ?3) ORDER BY at_us DESC LIMIT 1"
    );
    let mut select = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let mut rows = select.query(params![key.watch.0, key.host.0, moment.as_micros()]).map_err(read_failed)?;
    rows.next().map_err(read_failed)?.map(slot).transpose()
}

/// See [`Watching::cursor`](crate::store::Watching::cursor).
pub(super) fn cursor(question: &Question<'_>) -> Result<Option<EventCursor>, StoreError> {
    let sql = "SELECT log_cursor FROM watchdog";
    let cursor = question.connection.query_row(sql, [], |row| row.get(0)).optional();
    Ok(cursor.map_err(read_failed)?.map(EventCursor))
}

fn all<T>(
    question: &Question<'_>,
    sql: &str,
    values: impl rusqlite::Params,
    mut item: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    let mut rows = statement.query(values).map_err(read_failed)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        items.push(item(row)?);
    }
    Ok(items)
}

/// Reads [`SLOT_COLUMNS`].
pub(super) fn slot(row: &Row<'_>) -> Result<Slot, StoreError> {
    let time = |column| -> Result<Option<Timestamp>, StoreError> {
        row.get::<_, Option<i64>>(column).map(|us| us.map(Timestamp::from_micros)).map_err(read_failed)
    };
    let moment = |column| time(column).map(Option::unwrap_or_default);
    let word = |column| row.get::<_, Option<String>>(column).map_err(read_failed);
    let id = |column| -> Result<Option<RunId>, StoreError> {
        row.get::<_, Option<[u8; 16]>>(column).map(|id| id.map(RunId::from_bytes)).map_err(read_failed)
    };
    let at = moment(0)?;
    let state = SlotState::from_words(&word(5)?.unwrap_or_default(), word(6)?.as_deref());
    let run = match id(7)? {
        None => None,
        Some(id) => Some(RunSeen {
            id,
            started_at: moment(8)?,
            ended: time(9)?.zip(word(10)?.as_deref().and_then(Ending::from_word)),
            paused: Duration::from_micros(row.get::<_, i64>(11).map_err(read_failed)?.unsigned_abs()),
            is_paused: row.get(12).map_err(read_failed)?,
        }),
    };
    Ok(Slot {
        at,
        opens: moment(1)?,
        closes: time(2)?,
        due: moment(3)?,
        wanted_from: moment(4)?,
        state: state.ok_or_else(|| unreadable(&format!("the state of the slot of {at}")))?,
        run,
        success: id(13)?.zip(time(14)?),
        is_reported_late: row.get(15).map_err(read_failed)?,
        is_overdue: row.get(16).map_err(read_failed)?,
    })
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Unreadable { what: what.to_owned() }
}

fn write_failed(source: rusqlite::Error) -> StoreError {
    StoreError::sqlite("write to", source)
}

/// Writes one step of the watchdog.
/// # Errors
/// The transaction must be rolled back to where it stood before.
pub(super) fn note(connection: &Connection, cache: &mut Cache, note: Note) -> Result<(), StoreError> {
    let Note { declared, dropped, ended, courses, reach, found, cursor, at } = note;
    for watch in dropped {
        drop_watch(connection, watch).map_err(write_failed)?;
    }
    for watch in &declared {
        declare(connection, watch, at).map_err(write_failed)?;
    }
    for key in ended {
        end_course(connection, key).map_err(write_failed)?;
    }
    for course in &courses {
        write_course(connection, course).map_err(write_failed)?;
    }
    for (agent, told_at) in reach {
        write_reach(connection, agent, told_at).map_err(write_failed)?;
    }
    if let Some(EventCursor(cursor)) = cursor {
        connection
            .prepare_cached(
                "INSERT INTO watchdog(one, log_cursor) VALUES (1, ?1) \
                 ON CONFLICT DO UPDATE SET log_cursor = excluded.log_cursor",
            )
            .and_then(|mut upsert| upsert.execute([cursor]))
            .map_err(write_failed)?;
    }
    if found.is_empty() {
        return Ok(());
    }
    let own = Own::of(connection, at).map_err(write_failed)?;
    own.append(connection, cache, found, at)
}

fn write_reach(connection: &Connection, agent: AgentId, told_at: Option<Timestamp>) -> rusqlite::Result<()> {
    match told_at {
        Some(told_at) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO reach(agent_no, told_us) SELECT no, ?2 FROM agent WHERE id = ?1",
            )?
            .execute(params![agent.as_bytes(), told_at.as_micros()])?,
        None => connection
            .prepare_cached("DELETE FROM reach WHERE agent_no = (SELECT no FROM agent WHERE id = ?1)")?
            .execute([agent.as_bytes()])?,
    };
    Ok(())
}

fn drop_watch(connection: &Connection, WatchNo(no): WatchNo) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM slot WHERE watch_no = ?1",
        "DELETE FROM course WHERE watch_no = ?1",
        "DELETE FROM watch WHERE no = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([no])?;
    }
    Ok(())
}

fn end_course(connection: &Connection, key: CourseKey) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM slot WHERE watch_no = ?1 AND host_no = ?2",
        "DELETE FROM course WHERE watch_no = ?1 AND host_no = ?2",
    ] {
        connection.prepare_cached(sql)?.execute([key.watch.0, key.host.0])?;
    }
    Ok(())
}

fn declare(connection: &Connection, watch: &WatchDeclared, at: Timestamp) -> rusqlite::Result<()> {
    let WatchDeclared { name, meaning, task, schedule } = watch;
    connection
        .prepare_cached(
            "INSERT INTO watch(name, source, meaning, began_us, task, schedule) VALUES (?1, 'config', ?2, ?3, ?4, ?5) \
             ON CONFLICT(name) DO UPDATE SET meaning = excluded.meaning, began_us = excluded.began_us, \
             task = excluded.task, schedule = excluded.schedule",
        )?
        .execute(params![name.as_str(), meaning, at.as_micros(), task, schedule])?;
    Ok(())
}

fn write_course(connection: &Connection, change: &CourseChange) -> rusqlite::Result<()> {
    let CourseChange { key: CourseKey { watch, host }, zone, kept, has_run, wake, slots } = change;
    let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
    let (opens, at) = kept.next.unzip();
    connection
        .prepare_cached(
            "INSERT INTO course(watch_no, host_no, next_opens_us, next_at_us, last_start_us, has_run, \
             wake_clock_us, wake_watermark_us, zone) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT DO UPDATE SET next_opens_us = excluded.next_opens_us, \
             next_at_us = excluded.next_at_us, last_start_us = excluded.last_start_us, \
             has_run = excluded.has_run, wake_clock_us = excluded.wake_clock_us, \
             wake_watermark_us = excluded.wake_watermark_us, zone = excluded.zone",
        )?
        .execute(params![
            watch.0,
            host.0,
            micros(opens),
            micros(at),
            micros(kept.last_start),
            has_run,
            micros(wake.clock),
            micros(wake.watermark),
            zone
        ])?;
    let removed = slots.iter().filter(|(_, slot)| slot.is_none());
    for (at, _) in removed {
        connection
            .prepare_cached("DELETE FROM slot WHERE watch_no = ?1 AND host_no = ?2 AND at_us = ?3")?
            .execute([watch.0, host.0, at.as_micros()])?;
    }
    for (slot, is_settled) in slots.values().flatten() {
        write_slot(connection, change.key, slot, *is_settled)?;
    }
    if slots.values().any(Option::is_some) {
        connection
            .prepare_cached(
                "DELETE FROM slot WHERE watch_no = ?1 AND host_no = ?2 AND is_settled = 1 AND at_us <= \
                 (SELECT at_us FROM slot WHERE watch_no = ?1 AND host_no = ?2 ORDER BY at_us DESC \
                  LIMIT 1 OFFSET ?3)",
            )?
            .execute([watch.0, host.0, SLOTS_PER_COURSE_MAX])?;
    }
    Ok(())
}

fn write_slot(
    connection: &Connection,
    CourseKey { watch, host }: CourseKey,
    slot: &Slot,
    is_settled: bool,
) -> rusqlite::Result<()> {
    let Slot { at, opens, closes, due, wanted_from, state, run, success, is_reported_late, is_overdue } =
        slot;
    let micros = |time: Timestamp| time.as_micros();
    let ended = run.and_then(|run| run.ended);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO slot(watch_no, host_no, at_us, opens_us, closes_us, due_us, wanted_from_us, \
             state, reason, is_settled, run_id, run_started_us, run_ended_us, run_ending, run_paused_us, \
             run_is_paused, success_id, success_us, is_reported_late, is_overdue) VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            watch.0,
            host.0,
            micros(*at),
            micros(*opens),
            closes.map(micros),
            micros(*due),
            micros(*wanted_from),
            state.as_str(),
            state.reason(),
            is_settled,
            run.as_ref().map(|run| run.id.as_bytes()),
            run.map(|run| micros(run.started_at)),
            ended.map(|(at, _)| micros(at)),
            ended.map(|(_, how)| how.as_str()),
            run.map(|run| i64::try_from(run.paused.as_micros()).unwrap_or(i64::MAX)),
            run.map(|run| run.is_paused),
            success.as_ref().map(|(id, _)| id.as_bytes()),
            success.map(|(_, at)| micros(at)),
            is_reported_late,
            is_overdue
        ])?;
    Ok(())
}

/// The master itself, as the one who says what it found.
struct Own {
    agent_no: i64,
    epoch_no: i64,
    position: Position,
}

impl Own {
    /// Who it is, and the last place that it gave out; made with the first finding.
    fn of(connection: &Connection, at: Timestamp) -> rusqlite::Result<Own> {
        let known = connection
            .prepare_cached("SELECT no, id FROM agent WHERE host = ''")?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?)))
            .optional()?;
        let (agent_no, agent) = if let Some(known) = known {
            known
        } else {
            let id = *hume_runtime::random::uuid().as_bytes();
            connection.execute(
                "INSERT INTO agent(id, host, session_no, version, address, certificate_expires_us, \
                 first_seen_us, last_seen_us, queued_events, refused_events, lost_events) \
                 VALUES (?1, '', 0, '', '', 0, ?2, ?2, 0, 0, 0)",
                params![id, at.as_micros()],
            )?;
            (connection.last_insert_rowid(), id)
        };
        // A store that was restored goes on in an epoch of its own.
        connection
            .prepare_cached(
                "INSERT INTO epoch(agent_no, epoch, acked, stored, assigned, forked_after, restamped) \
                 SELECT ?1, value, 0, 0, 0, 0, 0 FROM meta WHERE key = 'store_id' ON CONFLICT DO NOTHING",
            )?
            .execute([agent_no])?;
        connection
            .prepare_cached(
                "SELECT epoch.no, epoch, acked FROM epoch JOIN meta ON key = 'store_id' AND value = epoch \
                 WHERE agent_no = ?1",
            )?
            .query_row([agent_no], |row| {
                let epoch = Epoch::from_bytes(row.get(1)?);
                let seq = seq_of(row.get(2)?);
                let agent = Some(AgentId::from_bytes(agent));
                Ok(Own { agent_no, epoch_no: row.get(0)?, position: Position { agent, epoch, seq } })
            })
    }

    /// Appends what was found to the log.
    fn append(
        self,
        connection: &Connection,
        cache: &mut Cache,
        found: Vec<(Event, EventBytes)>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Own { agent_no, epoch_no, mut position } = self;
        let events = found.len() as i64;
        let mut last = None;
        let mut pen = Pen::new(connection, cache, epoch_no, agent_no, at);
        for (event, body) in found {
            position.seq = position.seq.next();
            last = pen.entry(position, Entry::Event { event: Box::new(event), body })?;
        }
        pen.finish()?;
        connection
            .prepare_cached(
                "UPDATE epoch SET acked = ?1, assigned = ?1, acked_event_id = ?2, stored = stored + ?3 WHERE no = ?4",
            )
            .and_then(|mut update| {
                let id = last.as_ref().map(EventId::as_bytes);
                update.execute(params![sql_seq(position.seq), id, events, epoch_no])
            })
            .map_err(write_failed)?;
        Ok(())
    }
}
