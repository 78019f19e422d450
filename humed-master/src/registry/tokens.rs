//! Tokens with which hosts join: made, listed, taken back, and used up in the transaction that lets the host in.

use hume_core::{AgentId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::types::{NewToken, TokenEntry};

const COLUMNS: &str = "id, host, approve, uses_left, expires_us, made_by, made_us, revoked_us, key";

/// All tokens, the newest first.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<TokenEntry>> {
    let sql = format!("SELECT {COLUMNS} FROM enrolment_token ORDER BY made_us DESC, id");
    connection.prepare_cached(&sql)?.query_map([], entry)?.collect()
}

/// One token.
pub(super) fn one(connection: &Connection, id: &str) -> rusqlite::Result<Option<TokenEntry>> {
    let sql = format!("SELECT {COLUMNS} FROM enrolment_token WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], entry).optional()
}

pub(super) fn insert(
    connection: &Connection,
    token: &NewToken,
    made_by: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let NewToken { id, key, host, approve, uses, expires_at } = token;
    connection
        .prepare_cached(
            "INSERT INTO enrolment_token(id, key, host, approve, uses_left, expires_us, made_by, made_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![id, key, host, approve, uses, expires_at.as_micros(), made_by, now.as_micros()])?;
    Ok(())
}

/// Nobody can join with it any more.
pub(super) fn revoke(connection: &Connection, id: &str, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE enrolment_token SET revoked_us = coalesce(revoked_us, ?2) WHERE id = ?1")?
        .execute(params![id, now.as_micros()])?;
    Ok(())
}

/// Uses a token up by one, for the agent with this key.
pub(super) fn take(
    connection: &Connection,
    id: &str,
    spki: &str,
    agent: AgentId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE enrolment_token SET uses_left = uses_left - 1 WHERE id = ?1")?
        .execute([id])?;
    connection
        .prepare_cached("INSERT INTO joined(token, spki, agent, joined_us) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, spki, agent.as_bytes(), now.as_micros()])?;
    Ok(())
}

/// The agent that joined with this token and this key.
pub(super) fn joined(connection: &Connection, id: &str, spki: &str) -> rusqlite::Result<Option<AgentId>> {
    let agent: Option<Vec<u8>> = connection
        .prepare_cached("SELECT agent FROM joined WHERE token = ?1 AND spki = ?2")?
        .query_row([id, spki], |row| row.get(0))
        .optional()?;
    Ok(agent.and_then(|agent| AgentId::from_slice(&agent)))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<TokenEntry> {
    let revoked: Option<i64> = row.get(7)?;
    Ok(TokenEntry {
        id: row.get(0)?,
        host: row.get(1)?,
        approve: row.get(2)?,
        uses_left: row.get(3)?,
        expires_at: Timestamp::from_micros(row.get(4)?),
        made_by: row.get(5)?,
        made_at: Timestamp::from_micros(row.get(6)?),
        revoked: revoked.is_some(),
        key: row.get(8)?,
    })
}
