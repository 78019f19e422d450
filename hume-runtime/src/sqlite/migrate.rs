//! Brings a database to the schema this program knows: forward only, one transaction per step.
//!
//! The schema version is `PRAGMA user_version`, the number of migrations applied. The table `schema_history` says which
//! program version applied each, so that an older program can tell its user what to install.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::SqliteError;
use crate::notify;

const HISTORY: &str =
    "CREATE TABLE IF NOT EXISTS schema_history(version INTEGER PRIMARY KEY, program TEXT NOT NULL) STRICT";

/// The service manager is asked for so much time at each step.
const STEP_TIME_MAX: Duration = Duration::from_mins(15);

/// Applies the migrations that the file lacks; `migrations[n]` leads from version n to n + 1 and never changes once
/// released. A new file gets `application_id`.
/// # Errors
/// [`SqliteError::Foreign`], [`SqliteError::Newer`]: nothing was changed. [`SqliteError::Migrate`]: the steps before
/// the named one are kept, the named one left no trace.
pub fn migrate(
    connection: &mut Connection,
    application_id: i32,
    migrations: &[&str],
) -> Result<(), SqliteError> {
    let version = check_schema(connection, application_id, migrations)?;
    for (version, sql) in (1..).zip(migrations).skip(version as usize) {
        notify::more_time(STEP_TIME_MAX);
        apply(connection, application_id, version, sql)
            .map_err(|source| SqliteError::Migrate { version, source })?;
    }
    Ok(())
}

/// The schema version of the file, if it is one that [`migrate`] takes. Changes nothing.
/// # Errors
/// [`SqliteError::Foreign`], [`SqliteError::Newer`].
pub fn check_schema(
    connection: &Connection,
    application_id: i32,
    migrations: &[&str],
) -> Result<u32, SqliteError> {
    let read = |source| SqliteError::Step { step: "read the schema version of", source };
    let version: u32 = pragma(connection, "user_version").map_err(read)?;
    let found: i32 = pragma(connection, "application_id").map_err(read)?;
    if found != application_id && !is_new(connection).map_err(read)? {
        return Err(SqliteError::Foreign { found, expected: application_id });
    }
    let known = migrations.len() as u32;
    if version > known {
        return Err(SqliteError::Newer { found: version, known, needed: written_by(connection, version) });
    }
    Ok(version)
}

fn apply(connection: &mut Connection, application_id: i32, version: u32, sql: &str) -> rusqlite::Result<()> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.execute_batch(HISTORY)?;
    transaction.execute(
        "INSERT INTO schema_history(version, program) VALUES (?1, ?2)",
        rusqlite::params![version, env!("CARGO_PKG_VERSION")],
    )?;
    transaction.pragma_update(None, "application_id", application_id)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

fn is_new(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn written_by(connection: &Connection, version: u32) -> String {
    let sql = "SELECT program FROM schema_history WHERE version = ?1";
    let program = connection.query_row(sql, [version], |row| row.get(0));
    program.unwrap_or_else(|_| "of that schema".to_owned())
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
