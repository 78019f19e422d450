//! The start: a spool that was not closed is looked through before it is used, and a damaged one gives way to a new one.
//!
//! Looking through takes about a second per GiB. What is not ours, or of a newer version, is refused and left alone.

use std::path::Path;

use hume_core::AgentId;
use hume_runtime::sqlite::{self, SqliteError, SqliteOptions};
use rusqlite::Connection;
use tracing::error;

use super::epochs;
use super::rescue::{self, Rescued};
use super::types::SpoolError;
use super::upgrade;

/// How the last daemon left the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    Open,
}

/// Opens or makes the spool's file.
///
/// # Errors
/// [`SpoolError`] when it is another program's or of a newer version, or when neither it nor a new one can be written.
pub(super) fn open(
    path: &Path,
    options: &SqliteOptions,
    agent: Option<AgentId>,
) -> Result<(Connection, Option<Rescued>), SpoolError> {
    rescue::finish(path)?;
    let left =
        if sqlite::take_clean_stop(path).map_err(SqliteError::File)? { Left::Closed } else { Left::Open };
    let damage = match open_sound(path, options, left) {
        Ok(connection) => return Ok((connection, None)),
        Err(error) if is_damage(&error, path) => error,
        Err(error) => return Err(error),
    };
    error!(error = &damage as &dyn std::error::Error, path = %path.display(), "the spool is damaged: saving what can be read");
    // What is no database at all tells nothing.
    let old = sqlite::open_damaged(path).ok();
    let rescued = rescue::rescue(old.as_ref(), path, options, agent)?;
    drop(old);
    Ok((open_sound(path, options, Left::Closed)?, Some(rescued)))
}

fn open_sound(path: &Path, options: &SqliteOptions, left: Left) -> Result<Connection, SpoolError> {
    if !path.exists() && sqlite::wal_bytes(path) > 0 {
        return Err(SqliteError::Damaged("its log is there, and the file is not".to_owned()).into());
    }
    if left == Left::Open {
        // Before it is opened: that takes the log up to its first fault, and forgets the rest.
        sqlite::check_log(path)?;
        sqlite::rewrite_log(path)?;
    }
    let mut connection = sqlite::open_writer(path, options)?;
    if left == Left::Open {
        sqlite::check_unclosed(path, &connection)?;
    }
    upgrade::to_newest(&mut connection)?;
    epochs::all(&connection)?;
    Ok(connection)
}

/// Whether it was a spool, and is none that can be used.
fn is_damage(error: &SpoolError, path: &Path) -> bool {
    match error {
        SpoolError::Open(SqliteError::Foreign { .. }) => has_our_tables(path),
        SpoolError::Open(error) => error.is_damage(),
        SpoolError::Sql(error) => sqlite::Fault::of(error) == Some(sqlite::Fault::Damaged),
        SpoolError::Damaged { .. } => true,
        SpoolError::Full { .. }
        | SpoolError::DiskFull
        | SpoolError::Failing { .. }
        | SpoolError::Busy
        | SpoolError::TooSlow { .. }
        | SpoolError::Beyond
        | SpoolError::Closed
        | SpoolError::Lock(_)
        | SpoolError::Repeated { .. }
        | SpoolError::OtherAgent { .. }
        | SpoolError::NoEpoch { .. }
        | SpoolError::Thread(_) => false,
    }
}

/// Whether only the mark of ours is gone from its header.
fn has_our_tables(path: &Path) -> bool {
    let sql =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('epoch', 'run', 'open_run')";
    let count = sqlite::open_damaged(path)
        .ok()
        .and_then(|one| one.query_row(sql, [], |row| row.get::<_, i64>(0)).ok());
    count == Some(3)
}
