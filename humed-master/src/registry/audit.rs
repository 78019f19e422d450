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

pub(super) fn newest(connection: &Connection, lines_max: usize) -> rusqlite::Result<Vec<AuditLine>> {
    connection
        .prepare_cached(
            "SELECT number, time_us, actor, address, action, subject, detail, outcome FROM audit \
             ORDER BY number DESC LIMIT ?1",
        )?
        .query_map([i64::try_from(lines_max).unwrap_or(i64::MAX)], |row| {
            Ok(AuditLine {
                number: row.get::<_, i64>(0)?.unsigned_abs(),
                time: Timestamp::from_micros(row.get(1)?),
                actor: Actor { name: row.get(2)?, address: row.get(3)? },
                action: row.get(4)?,
                subject: row.get(5)?,
                detail: row.get(6)?,
                outcome: row.get(7)?,
            })
        })?
        .collect()
}
