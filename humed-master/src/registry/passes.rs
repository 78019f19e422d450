//! Passes of people and programs for the API, by name: tokens, known by the SHA-256 of a secret that nobody can guess, and
//! certificates, known by their own SHA-256, so that not even the key of the CA makes one that is good here.
//!
//! A pass that is revoked or has ended stays in the table, so that the names of the audit log keep their meaning. Those that are
//! good are in memory as well: at most [`PASSES_MAX`]. That one was used is written down once in [`USED_EVERY`] at most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::policy::TaskPatterns;
use hume_core::scope::{HostPatterns, Role, Scope};
use hume_runtime::pki::{CaFolderError, PublicKey, Signed};
use hume_runtime::tls;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::mpsc;

use super::desk::Work;
use super::issuer::Issuer;
use super::types::{Actor, RegistryError};
use super::{Job, audit};

/// Passes that are good at the same time.
pub const PASSES_MAX: u64 = 1000;
/// The last use of a pass is known to this precision.
const USED_EVERY: Duration = Duration::from_mins(5);
const COLUMNS: &str =
    "name, sha256, role, tasks, hosts, expires_us, made_by, made_us, revoked_us, used_us, kind";

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassKind {
    /// A word in a header.
    Token,
    /// A client certificate.
    Certificate,
}

impl PassKind {
    const ALL: [PassKind; 2] = [PassKind::Token, PassKind::Certificate];

    /// As people and the database know it.
    pub fn as_str(self) -> &'static str {
        match self {
            PassKind::Token => "token",
            PassKind::Certificate => "certificate",
        }
    }

    /// The orders about it, as the audit log has them.
    fn order(self) -> &'static str {
        match self {
            PassKind::Token => "api-token",
            PassKind::Certificate => "api-cert",
        }
    }
}

/// A pass, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// What it is called; of those that are good no two are called the same.
    pub name: String,
    /// What is shown.
    pub kind: PassKind,
    /// SHA-256 of its secret, or of the certificate.
    pub sha256: [u8; 32],
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
    /// When it was last used, some minutes more or less.
    pub used_at: Option<Timestamp>,
}

/// A pass that is to be made.
#[derive(Clone, Debug)]
pub struct NewPass {
    /// What it is called.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// What it may see.
    pub scope: Scope,
    /// What will be shown, and until when.
    pub proof: Proof,
}

/// By what a new pass will be known.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A secret that somebody else has made.
    Secret {
        /// Its SHA-256.
        sha256: [u8; 32],
        /// From then on it is good for nothing.
        expires_at: Option<Timestamp>,
    },
    /// A certificate for a key that somebody else has.
    Key {
        /// The key.
        key: PublicKey,
        /// Who signs.
        issuer: Issuer,
        /// How long it is good, unless the CA ends before.
        life: Duration,
    },
}

/// A pass that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadePass {
    /// It.
    pub pass: Pass,
    /// The certificate with its chain, in PEM; none of a token.
    pub certificate_pem: Option<String>,
}

/// Passes that are not revoked, by what is shown.
pub(super) type Good = HashMap<(PassKind, [u8; 32]), Held>;

/// Passes that are not revoked, in memory. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Passes {
    all: Arc<RwLock<Good>>,
    /// Where it is written down that one was used or refused; nowhere without a registry.
    jobs: Option<mpsc::Sender<Job>>,
}

/// A pass in memory.
#[derive(Debug)]
pub(super) struct Held {
    pass: Pass,
    /// Its last use that is written down, in microseconds; the least number for none.
    noted_us: AtomicI64,
}

impl Held {
    /// Whether this use is to be written down; what was noted before.
    fn is_news(&self, now: Timestamp) -> Option<i64> {
        let before = self.noted_us.load(Ordering::Relaxed);
        let is_due = i128::from(now.as_micros()) - i128::from(before)
            >= i128::try_from(USED_EVERY.as_micros()).unwrap_or(i128::MAX);
        // Of two uses at the same moment one is enough.
        let taken = is_due
            && self
                .noted_us
                .compare_exchange(before, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        taken.then_some(before)
    }
}

impl Passes {
    pub(super) fn new(jobs: mpsc::Sender<Job>) -> Passes {
        Passes { all: Arc::default(), jobs: Some(jobs) }
    }

    /// The pass of this kind and SHA-256, if it is good at this time, which is its last use then. The time that looking takes
    /// tells of the hash of what was shown, which says nothing about any secret.
    pub fn find(&self, kind: PassKind, sha256: &[u8; 32], now: Timestamp) -> Option<Pass> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let held = all.get(&(kind, *sha256))?;
        if held.pass.expires_at.is_some_and(|expires_at| now >= expires_at) {
            return None;
        }
        if let (Some(jobs), Some(before)) = (&self.jobs, held.is_news(now)) {
            let sha256 = *sha256;
            let sent = jobs.try_send(Box::new(move |desk| {
                if let Err(error) = desk.write(|work| used(work.connection(), &sha256, now)) {
                    tracing::error!(error = &error as &dyn std::error::Error, "a use is not in the registry");
                }
            }));
            if sent.is_err() {
                // The registry has much to do: the next use will be noted.
                held.noted_us.store(before, Ordering::Relaxed);
            }
        }
        Some(held.pass.clone())
    }

    /// Has the audit log say that somebody was refused. Does not wait: if the registry has too much to do, only the log of the
    /// daemon says so.
    pub fn note_refusal(&self, actor: Actor, subject: String, outcome: &'static str, now: Timestamp) {
        let Some(jobs) = &self.jobs else { return };
        let sent = jobs.try_send(Box::new(move |desk| {
            let note = desk
                .write(|work| audit::append(work.connection(), &actor, "api", &subject, "", outcome, now));
            if let Err(error) = note {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a refusal is not in the audit log"
                );
            }
        }));
        if sent.is_err() {
            tracing::warn!("a refusal is not in the audit log: the registry has too much to do");
        }
    }

    pub(super) fn replace(&self, good: Good) {
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = good;
    }
}

/// Those that are not revoked.
pub(super) fn not_revoked(connection: &Connection) -> rusqlite::Result<Good> {
    let sql = format!("SELECT {COLUMNS} FROM api_pass WHERE revoked_us IS NULL");
    let held = |row: &Row<'_>| {
        let pass = entry(row)?;
        let noted_us = AtomicI64::new(pass.used_at.map_or(i64::MIN, Timestamp::as_micros));
        Ok(((pass.kind, pass.sha256), Held { pass, noted_us }))
    };
    connection.prepare_cached(&sql)?.query_map([], held)?.collect()
}

/// All that ever were, by name, the newest of a name first.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Pass>> {
    let sql = format!("SELECT {COLUMNS} FROM api_pass ORDER BY name, number DESC");
    connection.prepare_cached(&sql)?.query_map([], entry)?.collect()
}

/// This one was used.
fn used(connection: &Connection, sha256: &[u8; 32], now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE api_pass SET used_us = ?2 WHERE sha256 = ?1 AND (used_us IS NULL OR used_us < ?2)",
        )?
        .execute(params![sha256, now.as_micros()])
        .map(drop)
}

/// Makes a pass; else why not.
pub(super) fn make(
    work: &Work<'_>,
    new: &NewPass,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Result<MadePass, RegistryError>> {
    let NewPass { name, role, scope, proof } = new;
    let (kind, wanted_end) = match proof {
        Proof::Secret { expires_at, .. } => (PassKind::Token, *expires_at),
        Proof::Key { life, .. } => (PassKind::Certificate, Some(after(now, *life))),
    };
    let connection = work.connection();
    let refusal = why_not(connection, name, wanted_end, now)?;
    let detail = |end: Option<Timestamp>| {
        let (tasks, hosts) = (tasks_of(scope), hosts_of(scope));
        let until = end.map_or_else(|| "revoked".to_owned(), |time| time.to_string());
        let all = || "all".to_owned();
        let (tasks, hosts) = (tasks.unwrap_or_else(all), hosts.unwrap_or_else(all));
        format!("{} tasks {tasks} hosts {hosts} until {until}", role.as_str())
    };
    let order = format!("{} new", kind.order());
    if let Some(refusal) = refusal {
        work.audit(actor, &order, name, &detail(wanted_end), refusal, now)?;
        return Ok(Err(RegistryError::Refused(refusal.to_owned())));
    }
    let (sha256, expires_at, certificate_pem) = match proof {
        Proof::Secret { sha256, expires_at } => (*sha256, *expires_at, None),
        Proof::Key { key, issuer, life } => match signed(name, key, issuer, *life, now) {
            Ok((sha256, Signed { certificate_pem, not_after, .. })) => {
                (sha256, Some(not_after), Some(certificate_pem))
            }
            Err(error) => return Ok(Err(error.into())),
        },
    };
    work.audit(actor, &order, name, &detail(expires_at), "done", now)?;
    connection
        .prepare_cached(
            "INSERT INTO api_pass(name, kind, sha256, role, tasks, hosts, expires_us, made_by, made_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            name,
            kind.as_str(),
            sha256,
            role.as_str(),
            tasks_of(scope),
            hosts_of(scope),
            expires_at.map(Timestamp::as_micros),
            actor.name,
            now.as_micros()
        ])?;
    let pass = live(connection, name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Ok(MadePass { pass, certificate_pem }))
}

fn after(now: Timestamp, life: Duration) -> Timestamp {
    now.plus_micros(i64::try_from(life.as_micros()).unwrap_or(i64::MAX / 2))
}

/// A certificate, and the SHA-256 by which it is known.
fn signed(
    name: &str,
    key: &PublicKey,
    issuer: &Issuer,
    life: Duration,
    now: Timestamp,
) -> Result<([u8; 32], Signed), CaFolderError> {
    let signed = issuer.sign_person(name, key, life, now)?;
    let own = tls::first_of_pem(&signed.certificate_pem)?;
    Ok((tls::sha256(&own), signed))
}

fn tasks_of(scope: &Scope) -> Option<String> {
    scope.tasks.as_ref().map(|tasks| list(&tasks.texts().collect::<Vec<_>>()))
}

fn hosts_of(scope: &Scope) -> Option<String> {
    scope.hosts.as_ref().map(|hosts| list(&hosts.texts().collect::<Vec<_>>()))
}

fn list(texts: &[String]) -> String {
    serde_json::to_string(texts).unwrap_or_default()
}

/// Why there can be no pass of this name with this end.
fn why_not(
    connection: &Connection,
    name: &str,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> rusqlite::Result<Option<&'static str>> {
    let good: i64 = connection.query_row(
        "SELECT count(*) FROM api_pass WHERE revoked_us IS NULL AND (expires_us IS NULL OR expires_us > ?1)",
        [now.as_micros()],
        |row| row.get(0),
    )?;
    Ok(if expires_at.is_some_and(|expires_at| expires_at <= now) {
        Some("it would have ended already")
    } else if good.unsigned_abs() >= PASSES_MAX {
        Some("there are as many as there may be: revoke some")
    } else if live(connection, name)?.is_some() {
        Some("there is one of this name: revoke it first, or choose another name")
    } else {
        None
    })
}

/// Makes a pass good for nothing; else why not, in words.
pub(super) fn revoke(
    work: &Work<'_>,
    name: &str,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<Result<Pass, &'static str>> {
    let connection = work.connection();
    let Some(pass) = live(connection, name)? else {
        let why = "there is no token or certificate of this name that is not revoked";
        work.audit(actor, "api-token revoke", name, "", why, now)?;
        return Ok(Err(why));
    };
    connection
        .prepare_cached("UPDATE api_pass SET revoked_us = ?2 WHERE name = ?1 AND revoked_us IS NULL")?
        .execute(params![name, now.as_micros()])?;
    let order = format!("{} revoke", pass.kind.order());
    work.audit(actor, &order, name, pass.role.as_str(), "done", now)?;
    Ok(Ok(Pass { revoked_at: Some(now), ..pass }))
}

fn live(connection: &Connection, name: &str) -> rusqlite::Result<Option<Pass>> {
    let sql = format!("SELECT {COLUMNS} FROM api_pass WHERE name = ?1 AND revoked_us IS NULL");
    connection.prepare_cached(&sql)?.query_row([name], entry).optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Pass> {
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
    let kind: String = row.get(10)?;
    let kind = PassKind::ALL.into_iter().find(|one| one.as_str() == kind);
    Ok(Pass {
        name: row.get(0)?,
        kind: kind.ok_or_else(|| wrong(10, "no kind".to_owned()))?,
        sha256: row.get(1)?,
        role: Role::from_word(&role).ok_or_else(|| wrong(2, "no role".to_owned()))?,
        scope: Scope {
            tasks: tasks.map_err(|error| wrong(3, error))?,
            hosts: hosts.map_err(|error| wrong(4, error))?,
        },
        expires_at: time(5)?,
        made_by: row.get(6)?,
        made_at: Timestamp::from_micros(row.get(7)?),
        revoked_at: time(8)?,
        used_at: time(9)?,
    })
}
