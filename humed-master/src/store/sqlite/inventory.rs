//! What there is: tasks by their latest run, hosts, agents, and the size of it all.

use std::path::Path;

use hume_core::name::BootId;
use hume_core::scope::Scope;
use hume_core::{AgentId, HostName, Timestamp};
use hume_runtime::sqlite;
use rusqlite::types::Value;
use rusqlite::{Row, ToSql, params};

use super::events;
use super::readers::{Question, read_failed};
use super::runs::{self, RUN_COLUMNS, RUN_JOINS};
use crate::store::LIST_ITEMS_MAX;
use crate::store::error::StoreError;
use crate::store::predicate::{ScopeNumbers, json_of};
use crate::store::presence::Presence;
use crate::store::types::{
    AgentRecord, HostRecord, HostWord, QueueStatus, Roll, RunEvents, StoreSize, TaskRecord,
};

/// One more than a list holds tells whether there are more.
const LIMIT: i64 = LIST_ITEMS_MAX as i64 + 1;

/// Ends with the columns that [`agent_record`] reads.
const AGENT_COLUMNS: &str = "agent.id, agent.host, left_us, last_seen_us, version, address, certificate_expires_us, \
     queued_events, queued_since_us, last_error, last_error_us, \
     (SELECT coalesce(sum(stored), 0) FROM epoch WHERE epoch.agent_no = agent.no), refused_events, lost_events, \
     (SELECT coalesce(sum(to_seq - from_seq + 1), 0) FROM epoch JOIN gap ON epoch_no = epoch.no \
      WHERE epoch.agent_no = agent.no AND reason <> 'restamped'), boot_id, zone, tags, goodbye_us, watermark_us";

/// Every task on every host that may be seen, by name.
pub(super) fn tasks(
    question: &Question<'_>,
    presence: &Presence,
    scope: &Scope,
) -> Result<Roll<TaskRecord>, StoreError> {
    let (task_nos, host_nos) = parameters(events::visible(question, scope)?);
    let sql = format!(
        "SELECT {RUN_COLUMNS}, task.name, host.name FROM latest JOIN run ON run.no = latest.run_no {RUN_JOINS} \
         JOIN task ON task.no = latest.task_no JOIN host ON host.no = latest.host_no \
         WHERE {} AND {} ORDER BY task.name, host.name LIMIT ?1",
        one_of("latest.task_no", 2),
        one_of("latest.host_no", 3)
    );
    list(question, &sql, params![LIMIT, task_nos, host_nos], |row| {
        let latest = runs::record(question, presence, row, RunEvents::Omit)?;
        let task = parse("task", &text(row, 9)?)?;
        Ok(TaskRecord { task, host: parse("host", &text(row, 10)?)?, latest })
    })
}

/// Every host that may be seen, by name: who may see some tasks only, those that ran one of them, with its tasks and events of theirs.
pub(super) fn hosts(
    question: &Question<'_>,
    presence: &Presence,
    scope: &Scope,
) -> Result<Roll<HostRecord>, StoreError> {
    let (task_nos, host_nos) = parameters(events::visible(question, scope)?);
    let of_tasks = one_of("task_no", 2);
    let sql = format!(
        "SELECT host.name, \
         CASE WHEN ?2 IS NULL THEN host.events \
         ELSE (SELECT coalesce(sum(events), 0) FROM run WHERE run.host_no = host.no AND {of_tasks}) END, \
         (SELECT count(*) FROM latest WHERE latest.host_no = host.no AND {of_tasks}) AS tasks, {AGENT_COLUMNS} \
         FROM host JOIN agent ON agent.no = host.agent_no \
         WHERE agent.host <> '' AND {} AND (?2 IS NULL OR tasks > 0) ORDER BY host.name LIMIT ?1",
        one_of("host.no", 3)
    );
    list(question, &sql, params![LIMIT, task_nos, host_nos], |row| {
        Ok(HostRecord {
            host: parse::<HostName>("host", &text(row, 0)?)?,
            events: count(row, 1)?,
            tasks: count(row, 2)?,
            agent: agent_record(presence, row, 3)?,
        })
    })
}

/// Every agent whose host may be seen, by host.
pub(super) fn agents(
    question: &Question<'_>,
    presence: &Presence,
    scope: &Scope,
) -> Result<Roll<AgentRecord>, StoreError> {
    let sql =
        format!("SELECT {AGENT_COLUMNS} FROM agent WHERE agent.host <> '' ORDER BY agent.host, agent.no");
    let mut statement = question.connection.prepare_cached(&sql).map_err(read_failed)?;
    let mut rows = statement.query([]).map_err(read_failed)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        // An agent may have been heard of before any event of its host. One without a host is the master itself.
        if !scope.has_host(&text(row, 1)?) {
            continue;
        }
        if items.len() == LIST_ITEMS_MAX {
            return Ok(Roll { items, truncated: true });
        }
        items.push(agent_record(presence, row, 0)?);
    }
    Ok(Roll { items, truncated: false })
}

/// A condition on a column, whose numbers are the parameter of this place; null for all.
fn one_of(column: &str, place: usize) -> String {
    format!("(?{place} IS NULL OR {column} IN (SELECT value FROM json_each(?{place})))")
}

fn parameters(visible: ScopeNumbers) -> (Option<Value>, Option<Value>) {
    let ScopeNumbers { task_nos, host_nos } = visible;
    (task_nos.as_deref().map(json_of), host_nos.as_deref().map(json_of))
}

/// How large the store is.
pub(super) fn size(question: &Question<'_>, path: &Path) -> Result<StoreSize, StoreError> {
    let events: i64 = question
        .connection
        .query_row("SELECT coalesce(sum(events), 0) FROM host", [], |row| row.get(0))
        .map_err(read_failed)?;
    let file_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    Ok(StoreSize { events: events.unsigned_abs(), bytes: file_bytes + sqlite::wal_bytes(path) })
}

fn list<T>(
    question: &Question<'_>,
    sql: &str,
    values: &[&dyn ToSql],
    mut item: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Roll<T>, StoreError> {
    let mut statement = question.connection.prepare_cached(sql).map_err(read_failed)?;
    let mut rows = statement.query(values).map_err(read_failed)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().map_err(read_failed)? {
        question.check()?;
        if items.len() == LIST_ITEMS_MAX {
            return Ok(Roll { items, truncated: true });
        }
        items.push(item(row)?);
    }
    Ok(Roll { items, truncated: false })
}

/// Reads [`AGENT_COLUMNS`] from column `first` on; a live session knows better than the disk.
fn agent_record(presence: &Presence, row: &Row<'_>, first: usize) -> Result<AgentRecord, StoreError> {
    let time = |column| row.get::<_, Option<i64>>(first + column).map(|us| us.map(Timestamp::from_micros));
    let agent = AgentId::from_bytes(row.get(first).map_err(read_failed)?);
    let live = presence.of(agent);
    let queue = QueueStatus {
        events: count(row, first + 7)?,
        since: time(8).map_err(read_failed)?,
        last_error: row.get(first + 9).map_err(read_failed)?,
        last_error_at: time(10).map_err(read_failed)?,
        refused_events: count(row, first + 12)?,
        lost_events: count(row, first + 13)?,
    };
    Ok(AgentRecord {
        agent,
        host: text(row, first + 1)?,
        connected_since: live.as_ref().map(|live| live.since),
        left_at: time(2).map_err(read_failed)?,
        seen_at: match &live {
            Some(live) => live.seen_at,
            None => time(3).map_err(read_failed)?.unwrap_or_default(),
        },
        version: text(row, first + 4)?,
        address: text(row, first + 5)?,
        certificate_expires_at: time(6).map_err(read_failed)?.unwrap_or_default(),
        about: host_word(row, first + 15)?,
        goodbye_at: time(18).map_err(read_failed)?,
        watermark: match live.as_ref().and_then(|live| live.watermark) {
            Some(watermark) => Some(watermark),
            None => time(19).map_err(read_failed)?,
        },
        behind_us: live.as_ref().map_or(0, |live| live.behind_us),
        queue: live.map_or(queue, |live| live.queue),
        stored_events: count(row, first + 11)?,
        missing_events: count(row, first + 14)?,
    })
}

/// Reads `boot_id, zone, tags`.
fn host_word(row: &Row<'_>, first: usize) -> Result<HostWord, StoreError> {
    let boot: Option<[u8; 16]> = row.get(first).map_err(read_failed)?;
    let zone = row.get(first + 1).map_err(read_failed)?;
    let tags = text(row, first + 2)?;
    let tags = tags.split(',').filter(|tag| !tag.is_empty()).map(|tag| parse("tag", tag));
    Ok(HostWord { boot: boot.map(BootId::from_bytes), zone, tags: tags.collect::<Result<_, _>>()? })
}

fn text(row: &Row<'_>, column: usize) -> Result<String, StoreError> {
    row.get(column).map_err(read_failed)
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    row.get::<_, i64>(column).map(i64::unsigned_abs).map_err(read_failed)
}

fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable { what: format!("a {what} named {text:?}") })
}
