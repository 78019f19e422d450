//! The audit log: appended to in the transaction that it tells of, and never changed.

use hume_core::Timestamp;
use rusqlite::{Connection, params};

use super::types::{Actor, AuditLine};

/// Texts of others are cut to this many bytes.
const TEXT_BYTES_MAX: usize = 256;

pub(super) fn append(
    connection: &Connection,
    actor: &Actor,
    action: &str,
    subject: &str,
    detail: &str,
    outcome: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let cut = |text: &str| hume_core::fit::cut(text, TEXT_BYTES_MAX).to_owned();
    connection
        .prepare_cached(
            "INSERT INTO audit(time_us, actor, address, action, subject, detail, outcome) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            now.as_micros(),
            cut(&actor.name),
            cut(&actor.address),
            action,
            cut(subject),
            cut(detail),
            cut(outcome)
        ])?;
    Ok(())
}

/// Which lines are asked for. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Exactly this actor.
    pub actor: Option<String>,
    /// Exactly this action.
    pub action: Option<String>,
    /// Only lines with a lower number.
    pub below: Option<u64>,
}

/// The newest lines that are asked for, the newest first.
pub(super) fn newest(
    connection: &Connection,
    filter: &AuditFilter,
    lines_max: usize,
) -> rusqlite::Result<Vec<AuditLine>> {
    let AuditFilter { since, until, actor, action, below } = filter;
    connection
        .prepare_cached(
            "SELECT number, time_us, actor, address, action, subject, detail, outcome FROM audit \
             WHERE (?2 IS NULL OR time_us >= ?2) AND (?3 IS NULL OR time_us < ?3) AND (?4 IS NULL OR actor = ?4) \
             AND (?5 IS NULL OR action = ?5) AND (?6 IS NULL OR number < ?6) ORDER BY number DESC LIMIT ?1",
        )?
        .query_map(
            params![
                i64::try_from(lines_max).unwrap_or(i64::MAX),
                since.map(Timestamp::as_micros),
                until.map(Timestamp::as_micros),
                actor,
                action,
                below.map(|below| i64::try_from(below).unwrap_or(i64::MAX))
            ],
            |row| {
                Ok(AuditLine {
                    number: row.get::<_, i64>(0)?.unsigned_abs(),
                    time: Timestamp::from_micros(row.get(1)?),
                    actor: Actor { name: row.get(2)?, address: row.get(3)? },
                    action: row.get(4)?,
                    subject: row.get(5)?,
                    detail: row.get(6)?,
                    outcome: row.get(7)?,
                })
            },
        )?
        .collect()
}
