//! The table of agents: who they are and whether they may speak.

use hume_core::host_patterns::HostPatterns;
use hume_core::{AgentId, HostName, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::desk::Work;
use super::types::{AgentEntry, AgentState};
use super::view::Standing;

const COLUMNS: &str = "id, host, state, entered_us, changed_us, allow_hosts";

/// All agents, by host.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<AgentEntry>> {
    let sql = format!("SELECT {COLUMNS} FROM agent ORDER BY host, entered_us, id");
    connection.prepare_cached(&sql)?.query_map([], entry)?.collect()
}

/// One agent.
pub(super) fn one(connection: &Connection, agent: AgentId) -> rusqlite::Result<Option<AgentEntry>> {
    let sql = format!("SELECT {COLUMNS} FROM agent WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([agent.as_bytes()], entry).optional()
}

/// What the view knows of all agents.
pub(super) fn standings(connection: &Connection) -> rusqlite::Result<Vec<(AgentId, Standing)>> {
    Ok(all(connection)?.into_iter().map(|entry| (entry.agent, standing_of(&entry))).collect())
}

/// What the view knows of one agent.
pub(super) fn standing(connection: &Connection, agent: AgentId) -> rusqlite::Result<Option<Standing>> {
    Ok(one(connection, agent)?.as_ref().map(standing_of))
}

fn standing_of(entry: &AgentEntry) -> Standing {
    let hosts = if entry.allow_hosts.iter().any(|pattern| pattern == "*") {
        HostPatterns::any()
    } else {
        HostPatterns::from_texts(std::iter::once(&entry.host).chain(&entry.allow_hosts))
    };
    Standing { state: entry.state, hosts }
}

/// Sets for which other hosts an agent may report; enters it as one that may speak if it is not known.
pub(super) fn set_hosts(
    work: &mut Work<'_>,
    agent: AgentId,
    host: &HostName,
    allowed: &[String],
    now: Timestamp,
) -> rusqlite::Result<()> {
    work.touch(agent);
    let list = serde_json::Value::from(allowed).to_string();
    work.connection()
        .prepare_cached(
            "INSERT INTO agent(id, host, state, allow_hosts, entered_us, changed_us) VALUES (?1, ?2, 'active', ?3, ?4, ?4) \
             ON CONFLICT(id) DO UPDATE SET allow_hosts = excluded.allow_hosts",
        )?
        .execute(params![agent.as_bytes(), host.as_str(), list, now.as_micros()])?;
    Ok(())
}

/// Gives an agent a state; enters it if it is not known.
pub(super) fn set_state(
    work: &mut Work<'_>,
    agent: AgentId,
    host: &HostName,
    state: AgentState,
    now: Timestamp,
) -> rusqlite::Result<()> {
    work.touch(agent);
    work.connection()
        .prepare_cached(
            "INSERT INTO agent(id, host, state, entered_us, changed_us) VALUES (?1, ?2, ?3, ?4, ?4) \
             ON CONFLICT(id) DO UPDATE SET state = excluded.state, changed_us = excluded.changed_us \
             WHERE state <> excluded.state",
        )?
        .execute(params![agent.as_bytes(), host.as_str(), state.as_str(), now.as_micros()])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AgentEntry> {
    let id: Vec<u8> = row.get(0)?;
    let (state, allowed): (String, String) = (row.get(2)?, row.get(5)?);
    let wrong = |column, what: &str| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, format!("no {what}").into())
    };
    Ok(AgentEntry {
        agent: AgentId::from_slice(&id).ok_or_else(|| wrong(0, "id of an agent"))?,
        host: row.get(1)?,
        state: AgentState::parse(&state).ok_or_else(|| wrong(2, "state of an agent"))?,
        entered_at: Timestamp::from_micros(row.get(3)?),
        changed_at: Timestamp::from_micros(row.get(4)?),
        allow_hosts: serde_json::from_str(&allowed).map_err(|_| wrong(5, "list of hosts"))?,
    })
}
