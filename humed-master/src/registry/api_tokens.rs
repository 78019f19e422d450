//! Tokens of people and programs for the API: known by the SHA-256 of a secret that nobody can guess, and by nothing else.
//!
//! A token that is revoked or has ended stays in the table, so that the names of the audit log keep their meaning. Those that
//! are good are in memory as well: at most [`API_TOKENS_MAX`].

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hume_core::Timestamp;
use hume_core::policy::TaskPatterns;
use hume_core::scope::{HostPatterns, Role, Scope};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::desk::Work;
use super::types::Actor;

/// Tokens that are good at the same time.
pub const API_TOKENS_MAX: u64 = 1000;
const COLUMNS: &str = "name, sha256, role, tasks, hosts, expires_us, made_by, made_us, revoked_us";

/// A token of the API, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// What it is called; of those that are good no two are called the same.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// What it may see.
    pub scope: Scope,
    /// From then on it is good for nothing.
    pub expires_at: Option<Timestamp>,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// Since when it is good for nothing.
    pub revoked_at: Option<Timestamp>,
}

/// A token that is to be made.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    /// What it is called.
    pub name: String,
    /// SHA-256 of its secret.
    pub sha256: [u8; 32],
    /// What it is good for.
    pub role: Role,
    /// What it may see.
    pub scope: Scope,
    /// From then on it is good for nothing.
    pub expires_at: Option<Timestamp>,
}

/// Tokens that are not revoked, in memory. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ApiTokens(Arc<RwLock<HashMap<[u8; 32], ApiToken>>>);

impl ApiTokens {
    /// The token whose secret has this SHA-256, if it is good at this time. The time that looking takes tells of the hash of
    /// what was shown, which says nothing about any secret.
    pub fn find(&self, sha256: &[u8], now: Timestamp) -> Option<ApiToken> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let token = all.get(sha256)?;
        token.expires_at.is_none_or(|expires_at| now < expires_at).then(|| token.clone())
    }

    pub(super) fn replace(&self, good: HashMap<[u8; 32], ApiToken>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = good;
    }
}

/// Those that are not revoked, by the SHA-256 of their secrets.
pub(super) fn not_revoked(connection: &Connection) -> rusqlite::Result<HashMap<[u8; 32], ApiToken>> {
    let sql = format!("SELECT {COLUMNS} FROM api_token WHERE revoked_us IS NULL");
    connection.prepare_cached(&sql)?.query_map([], |row| Ok((row.get(1)?, entry(row)?)))?.collect()
}

/// All that ever were, by name, the newest of a name first.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<ApiToken>> {
    let sql = format!("SELECT {COLUMNS} FROM api_token ORDER BY name, number DESC");
    connection.prepare_cached(&sql)?.query_map([], entry)?.collect()
}

/// Makes a token; else why not, in words.
pub(super) fn make(
    work: &Work<'_>,
    new: &NewApiToken,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Result<ApiToken, &'static str>> {
    let NewApiToken { name, sha256, role, scope, expires_at } = new;
    let Scope { tasks, hosts } = scope;
    let list = |texts: Vec<String>| serde_json::to_string(&texts).unwrap_or_default();
    let tasks = tasks.as_ref().map(|tasks| list(tasks.texts().collect()));
    let hosts = hosts.as_ref().map(|hosts| list(hosts.texts().collect()));
    let connection = work.connection();
    let good: i64 = connection.query_row(
        "SELECT count(*) FROM api_token WHERE revoked_us IS NULL AND (expires_us IS NULL OR expires_us > ?1)",
        [now.as_micros()],
        |row| row.get(0),
    )?;
    let refusal = if expires_at.is_some_and(|expires_at| expires_at <= now) {
        Some("it would have ended already")
    } else if good.unsigned_abs() >= API_TOKENS_MAX {
        Some("there are as many as there may be: revoke some")
    } else if live(connection, name)?.is_some() {
        Some("there is one of this name: revoke it first, or choose another name")
    } else {
        None
    };
    let detail = format!(
        "{} tasks {} hosts {} until {}",
        role.as_str(),
        tasks.as_deref().unwrap_or("all"),
        hosts.as_deref().unwrap_or("all"),
        expires_at.map_or_else(|| "revoked".to_owned(), |time| time.to_string())
    );
    work.audit(actor, "api-token new", name, &detail, refusal.unwrap_or("done"), now)?;
    if let Some(refusal) = refusal {
        return Ok(Err(refusal));
    }
    connection
        .prepare_cached(
            "INSERT INTO api_token(name, sha256, role, tasks, hosts, expires_us, made_by, made_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            name,
            sha256,
            role.as_str(),
            tasks,
            hosts,
            expires_at.map(Timestamp::as_micros),
            actor.name,
            now.as_micros()
        ])?;
    live(connection, name)?.map(Ok).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Makes a token good for nothing; else why not, in words.
pub(super) fn revoke(
    work: &Work<'_>,
    name: &str,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Result<ApiToken, &'static str>> {
    let connection = work.connection();
    let Some(token) = live(connection, name)? else {
        let why = "there is no token of this name that is not revoked";
        work.audit(actor, "api-token revoke", name, "", why, now)?;
        return Ok(Err(why));
    };
    connection
        .prepare_cached("UPDATE api_token SET revoked_us = ?2 WHERE name = ?1 AND revoked_us IS NULL")?
        .execute(params![name, now.as_micros()])?;
    work.audit(actor, "api-token revoke", name, token.role.as_str(), "done", now)?;
    Ok(Ok(ApiToken { revoked_at: Some(now), ..token }))
}

fn live(connection: &Connection, name: &str) -> rusqlite::Result<Option<ApiToken>> {
    let sql = format!("SELECT {COLUMNS} FROM api_token WHERE name = ?1 AND revoked_us IS NULL");
    connection.prepare_cached(&sql)?.query_row([name], entry).optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let wrong =
        |column, what: String| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into());
    let list = |column| {
        let text: Option<String> = row.get(column)?;
        text.map(|text| serde_json::from_str::<Vec<String>>(&text))
            .transpose()
            .map_err(|error| wrong(column, error.to_string()))
    };
    let role: String = row.get(2)?;
    let tasks = list(3)?.map(|texts| TaskPatterns::parse(&texts)).transpose();
    let hosts = list(4)?.map(|texts| HostPatterns::parse(&texts)).transpose();
    let time = |column| row.get::<_, Option<i64>>(column).map(|us| us.map(Timestamp::from_micros));
    Ok(ApiToken {
        name: row.get(0)?,
        role: Role::from_word(&role).ok_or_else(|| wrong(2, "no role".to_owned()))?,
        scope: Scope {
            tasks: tasks.map_err(|error| wrong(3, error))?,
            hosts: hosts.map_err(|error| wrong(4, error))?,
        },
        expires_at: time(5)?,
        made_by: row.get(6)?,
        made_at: Timestamp::from_micros(row.get(7)?),
        revoked_at: time(8)?,
    })
}
