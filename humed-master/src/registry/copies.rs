//! The registry in a backup, and what must change in one that is put back.

use std::path::Path;

use hume_core::Timestamp;
use hume_runtime::sqlite::{self, Checkpoint, SqliteError, SqliteOptions};
use rusqlite::Connection;

use super::types::Actor;
use super::{audit, schema};

/// What the audit log calls it; the lines after it are of the registry that was put back.
pub(super) const RESTORE: &str = "restore";

/// Copies the registry, which may be in use, to a new file: one moment of it.
/// # Errors
/// [`SqliteError`]; a damaged one has no copy.
pub fn copy(file: &Path, to: &Path) -> Result<(), SqliteError> {
    let failed = |source| SqliteError::Step { step: "read", source };
    let reader = sqlite::open_reader(file, &SqliteOptions::default())?;
    sqlite::check_schema(&reader, schema::APPLICATION_ID, &schema::MIGRATIONS)?;
    let moment = reader.unchecked_transaction().map_err(failed)?;
    let _: i64 = moment.query_row("SELECT count(*) FROM agent", [], |row| row.get(0)).map_err(failed)?;
    sqlite::copy::<SqliteError>(&moment, to, |_| Ok(()))?;
    check(to)
}

/// Whether the file is a whole registry of a version that this program knows.
/// # Errors
/// [`SqliteError`], saying what is wrong.
pub fn check(file: &Path) -> Result<(), SqliteError> {
    let still = sqlite::open_still(file)?;
    sqlite::check_schema(&still, schema::APPLICATION_ID, &schema::MIGRATIONS)?;
    sqlite::quick_check(&still)
}

/// Makes a copy one that can be used from now on: tokens with which hosts join are taken back, because they may have been used since.
/// So many they were.
/// # Errors
/// [`SqliteError`]
pub fn renew(copy: &Path, actor: &Actor, now: Timestamp) -> Result<usize, SqliteError> {
    let failed = |source| SqliteError::Step { step: "write to", source };
    let mut connection = sqlite::open_writer(copy, &SqliteOptions::default())?;
    sqlite::migrate(&mut connection, schema::APPLICATION_ID, &schema::MIGRATIONS)?;
    let taken_back = take_back(&mut connection, actor, now).map_err(failed)?;
    sqlite::checkpoint(&connection, Checkpoint::Truncate)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    Ok(taken_back)
}

fn take_back(connection: &mut Connection, actor: &Actor, now: Timestamp) -> rusqlite::Result<usize> {
    let transaction = connection.transaction()?;
    let last: Option<i64> = transaction.query_row("SELECT max(time_us) FROM audit", [], |row| row.get(0))?;
    let sql = "UPDATE enrolment_token SET revoked_us = ?1 WHERE revoked_us IS NULL AND uses_left > 0 AND expires_us > ?1";
    let taken_back = transaction.execute(sql, [now.as_micros()])?;
    let through =
        last.map_or_else(|| "empty".to_owned(), |last| format!("through {}", Timestamp::from_micros(last)));
    let detail = format!("{taken_back} tokens for joining taken back");
    audit::append(&transaction, actor, RESTORE, &through, &detail, "done", now)?;
    transaction.commit()?;
    Ok(taken_back)
}
