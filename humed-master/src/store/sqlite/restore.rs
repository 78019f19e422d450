//! A backup in the place of the store: checked first, the old store kept under another name, the new one given a name of its own.
//!
//! Whoever knew the old store notices: the id is another one, sessions have higher numbers than any before, and the log goes
//! on at an id that no border of the old one reaches. What is missing since the backup the agents send again.

use std::fs;
use std::path::{Path, PathBuf};

use hume_core::Timestamp;
use hume_runtime::files::{self, FileError};
use hume_runtime::sqlite::{self, Checkpoint, CopyProgress, DirLock, SqliteError};
use rusqlite::{Connection, params};

use super::backup::{BackupError, CopyReport, Temporary, check, content, file_bytes, require_room};
use super::events::NEXT_ID;
use super::{APPLICATION_ID, MIGRATIONS, READER_CACHE_KIB, options};

/// Ids from one restore to the next, for each second between them: more events come in no second on the average.
const IDS_PER_SECOND: i64 = 16_384;

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the store holds now.
    pub report: CopyReport,
    /// Where the store is that was there before, if there was one.
    pub replaced: Option<PathBuf>,
}

/// Puts a copy of the backup `from` in the place of the store at `store`, in the folder that `_lock` holds. `beside` puts what
/// travelled along in its place, when the copy has been found to be good.
/// # Errors
/// [`BackupError`]; the store is as it was, and after a fault of the disk it is whole under one of its two names.
pub fn restore(
    _lock: &DirLock,
    from: &Path,
    store: &Path,
    now: Timestamp,
    on_progress: &mut dyn FnMut(CopyProgress),
    beside: Option<&mut dyn FnMut() -> Result<(), BackupError>>,
) -> Result<Restored, BackupError> {
    if !from.exists() {
        return Err(BackupError::Missing { what: "backup", path: from.to_owned() });
    }
    let unusable = |source| BackupError::Unusable { path: from.to_owned(), source };
    let folder = files::parent_of(store);
    let temporary = Temporary::beside(store);
    {
        let backup = sqlite::open_still(from).map_err(unusable)?;
        sqlite::check_schema(&backup, APPLICATION_ID, &MIGRATIONS).map_err(unusable)?;
        require_room(folder, file_bytes(from))?;
        sqlite::copy::<BackupError>(&backup, &temporary.0, |progress| {
            on_progress(progress);
            Ok(())
        })
        .map_err(|error| error.or_corrupt(unusable))?;
    }
    // What was copied is what is checked: it has all that the backup has.
    check(&temporary.0).map_err(unusable)?;
    let report = renew(&temporary.0, now)?;
    if let Some(beside) = beside {
        beside()?;
    }
    let replaced = set_aside(store, now)?;
    // What it says of the last stop is said of the file that was there before.
    sqlite::take_clean_stop(store)?;
    files::rename(&temporary.0, store)?;
    Ok(Restored { report, replaced })
}

/// Makes the copy a store of its own.
fn renew(copy: &Path, now: Timestamp) -> Result<CopyReport, BackupError> {
    let failed = |source| SqliteError::Step { step: "write to", source };
    let mut connection = sqlite::open_writer(copy, &options(READER_CACHE_KIB))?;
    sqlite::migrate(&mut connection, APPLICATION_ID, &MIGRATIONS)?;
    sqlite::forget_enclosed(&connection).map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    break_off(&transaction, now).map_err(failed)?;
    let (events, through) = content(&transaction).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    sqlite::checkpoint(&connection, Checkpoint::Truncate)?;
    connection.close().map_err(|(_, source)| failed(source))?;
    Ok(CopyReport { events, bytes: file_bytes(copy), through })
}

fn break_off(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let seconds = now.as_micros() / 1_000_000;
    let id = *hume_runtime::random::uuid().as_bytes();
    connection.execute(
        "INSERT INTO meta(key, value) VALUES ('store_id', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
        [&id],
    )?;
    // Higher than what the replaced store gave out, also when the same backup is restored again: sessions begin seconds apart.
    connection.execute("UPDATE agent SET session_no = max(session_no + 1, ?1)", [seconds])?;
    let end_id: i64 = connection.query_row(NEXT_ID, [], |row| row.get(0))?;
    let next_id = (end_id + IDS_PER_SECOND).max(seconds.saturating_mul(IDS_PER_SECOND));
    connection.execute(
        "INSERT INTO restored(end_id, next_id) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET next_id = excluded.next_id",
        params![end_id, next_id],
    )?;
    Ok(())
}

/// Gives a database a second name, its log with it, and takes the log from beside the first one. A crash after that leaves a
/// database under the old name that lacks its log, and the whole one under the new name.
/// # Errors
/// [`FileError`]
pub fn set_aside(store: &Path, now: Timestamp) -> Result<Option<PathBuf>, FileError> {
    if !store.exists() {
        // A log without its database belongs to nothing.
        for ending in ["-wal", "-shm"] {
            files::remove(&sqlite::beside(store, ending))?;
        }
        return Ok(None);
    }
    let aside = files::vacant(&sqlite::beside(store, &format!(".replaced-{}", now.compact())));
    for ending in ["", "-wal"] {
        let (from, to) = (sqlite::beside(store, ending), sqlite::beside(&aside, ending));
        if from.exists() {
            fs::hard_link(&from, &to).map_err(|source| FileError { step: "make", path: to, source })?;
        }
    }
    files::sync_dir(files::parent_of(store))?;
    for ending in ["-wal", "-shm"] {
        files::remove(&sqlite::beside(store, ending))?;
    }
    files::sync_dir(files::parent_of(store))?;
    Ok(Some(aside))
}
