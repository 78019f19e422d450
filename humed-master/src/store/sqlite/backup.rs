//! A copy of the store as one moment shows it, taken while the master runs and checked before it gets its name; other files of the
//! master travel in it.
//!
//! A reading transaction of this process is the moment: the writer goes on, and only its log grows until the copy is made.
//! The copy takes at most half of the room that is left to it, and is given up before the log takes more.

use std::fs;
use std::path::{Path, PathBuf};

use hume_core::Timestamp;
use hume_runtime::files::{self, FileError};
use hume_runtime::sqlite::{self, CopyProgress, Enclosure, SqliteError, SqliteOptions};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _};

use super::{APPLICATION_ID, MIGRATIONS};

/// No backup was made, or none was put in the place of the store.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to be copied.
    #[error("there is no {what} {}", path.display())]
    Missing {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The name is taken.
    #[error("{} exists already", path.display())]
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// The disk has no room for a copy.
    #[error("{} has room for {free_bytes} bytes, and {needed_bytes} are needed", folder.display())]
    NoRoom {
        /// Where the copy was to be.
        folder: PathBuf,
        /// So much is needed.
        needed_bytes: u64,
        /// So much there is.
        free_bytes: u64,
    },
    /// More came in than there is room for while the copy was made.
    #[error(
        "the log of the store has grown to {log_bytes} bytes while it was copied, and the disk has no room for more: try again when less comes in"
    )]
    LogGrew {
        /// The log.
        log_bytes: u64,
    },
    /// The file that was to be put in the place of the store is none that can be used.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SqliteError,
    },
    /// The store itself is damaged.
    #[error("the store {} is damaged, and a copy of it is no backup", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SqliteError,
    },
    /// Reading or writing failed.
    #[error("the copy could not be made")]
    Copy(#[from] SqliteError),
    /// A file or folder could not be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl BackupError {
    /// What `meant` makes of it if the copy failed because the original is damaged; else as it is.
    pub(super) fn or_corrupt(self, meant: impl FnOnce(SqliteError) -> BackupError) -> BackupError {
        match self {
            BackupError::Copy(source) if is_corrupt(&source) => meant(source),
            other => other,
        }
    }
}

fn is_corrupt(error: &SqliteError) -> bool {
    let (SqliteError::Step { source, .. } | SqliteError::Open { source, .. }) = error else { return false };
    matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// What a copy of a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// Events.
    pub events: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// When the newest of the events came; none when there is none.
    pub through: Option<Timestamp>,
}

/// What becomes of a file that has the name of the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It stays, and no backup is made.
    Refuse,
    /// The backup takes its place.
    Replace,
}

/// What travels along with the store, made in a folder when the store is copied: so it is not older than that.
pub(super) type Gather<'a> = dyn FnMut(&Path) -> Result<Vec<Enclosure>, BackupError> + 'a;

/// Copies the store at `store` to a file at `to`, which has its name only when it is whole, on disk and checked.
/// # Errors
/// [`BackupError`]; a file of that name is as it was.
pub fn backup(
    store: &Path,
    to: &Path,
    taken: Taken,
    on_progress: &mut dyn FnMut(CopyProgress),
    gather: Option<&mut Gather<'_>>,
) -> Result<CopyReport, BackupError> {
    if !store.exists() {
        return Err(BackupError::Missing { what: "store", path: store.to_owned() });
    }
    let folder = files::parent_of(to);
    if taken == Taken::Refuse && to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    require_room(folder, file_bytes(store))?;
    let log_bytes_max = sqlite::wal_bytes(store) + free_bytes(files::parent_of(store))? / 2;
    let temporary = Temporary::beside(to);
    let damaged = |source| BackupError::Damaged { path: store.to_owned(), source };
    let report = copy_running(store, &temporary.0, log_bytes_max, on_progress)
        .map_err(|error| error.or_corrupt(damaged))?;
    if let Some(gather) = gather {
        sqlite::enclose(&temporary.0, &gather(folder)?)?;
    }
    let report = CopyReport { bytes: file_bytes(&temporary.0), ..report };
    check(&temporary.0).map_err(damaged)?;
    for ending in ["-wal", "-shm", "-journal"] {
        // Left from whoever opened the file that was here; beside another file it would be taken for that one's.
        files::remove(&sqlite::beside(to, ending))?;
    }
    files::rename(&temporary.0, to)?;
    Ok(report)
}

fn copy_running(
    store: &Path,
    to: &Path,
    log_bytes_max: u64,
    on_progress: &mut dyn FnMut(CopyProgress),
) -> Result<CopyReport, BackupError> {
    let reader = sqlite::open_reader(store, &SqliteOptions::default())?;
    sqlite::check_schema(&reader, APPLICATION_ID, &MIGRATIONS)?;
    let failed = |source| SqliteError::Step { step: "read", source };
    let moment = reader.unchecked_transaction().map_err(failed)?;
    // The first look begins the moment.
    let (events, through) = content(&moment).map_err(failed)?;
    sqlite::copy(&moment, to, |progress| {
        on_progress(progress);
        let log_bytes = sqlite::wal_bytes(store);
        if log_bytes > log_bytes_max { Err(BackupError::LogGrew { log_bytes }) } else { Ok(()) }
    })?;
    Ok(CopyReport { events, bytes: file_bytes(to), through })
}

/// How many events there are, and when the newest came.
pub(super) fn content(connection: &Connection) -> rusqlite::Result<(u64, Option<Timestamp>)> {
    let events: i64 =
        connection.query_row("SELECT coalesce(sum(events), 0) FROM host", [], |row| row.get(0))?;
    let newest = connection
        .query_row("SELECT arrived_us FROM block ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
        .optional()?;
    Ok((events.unsigned_abs(), newest.map(Timestamp::from_micros)))
}

/// Whether the file is a whole store of a version that this program knows.
pub(super) fn check(path: &Path) -> Result<(), SqliteError> {
    let still = sqlite::open_still(path)?;
    sqlite::check_schema(&still, APPLICATION_ID, &MIGRATIONS)?;
    sqlite::quick_check(&still)
}

/// A file that is gone when nobody has given it another name.
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    pub(super) fn beside(path: &Path) -> Temporary {
        Temporary(files::temporary_beside(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm", "-journal"] {
            // What stays is only untidy.
            let _ = fs::remove_file(sqlite::beside(&self.0, ending));
        }
    }
}

/// Whether a file of this size has room in the folder.
pub(super) fn require_room(folder: &Path, needed_bytes: u64) -> Result<(), BackupError> {
    let free_bytes = free_bytes(folder)?;
    if needed_bytes > free_bytes {
        return Err(BackupError::NoRoom { folder: folder.to_owned(), needed_bytes, free_bytes });
    }
    Ok(())
}

fn free_bytes(folder: &Path) -> Result<u64, FileError> {
    let found = rustix::fs::statvfs(folder).map_err(|error| FileError {
        step: "ask for the free room of",
        path: folder.to_owned(),
        source: error.into(),
    })?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of a database and its log.
pub(super) fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len()) + sqlite::wal_bytes(path)
}
