//! The one way hume opens `SQLite`: WAL, every commit synced, checkpoints only when the writer says so.
//!
//! What each setting answers is read back, because `SQLite` ignores what it does not know. Files are for their owner
//! alone (0600 in a folder made 0700), the folder and its new ancestors are synced. One daemon per folder: [`lock`].

mod ballast;
mod clean_stop;
mod copy;
mod enclosed;
mod fault;
mod lock;
mod log_check;
mod migrate;
mod repair;

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

pub use self::ballast::Ballast;
pub use self::clean_stop::{leave_clean_stop, take_clean_stop};
pub use self::copy::{CopyProgress, copy, open_still};
pub use self::enclosed::{Enclosure, enclose, enclosed, forget_enclosed, take_out};
pub use self::fault::{Fault, cause};
pub use self::lock::{DirLock, LockError, lock};
pub use self::log_check::check_log;
pub use self::migrate::{check_schema, migrate};
pub use self::repair::{empty_log, rewrite_log};
use crate::files::{self, FileError};
use crate::notify;
use crate::points::{self, Point};

/// Older ones can lose a commit when the WAL is reset while another process reads.
const VERSION_MIN: i32 = 3_051_003;
/// Bytes of a page.
pub const PAGE_BYTES: u32 = 4096;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// A checkpoint waits this long for readers before it reports that it could not finish.
const TRUNCATE_WAIT: Duration = Duration::from_millis(100);

/// Databases larger than this are told of before they are looked through.
const LARGE_BYTES: u64 = 256 * 1024 * 1024;
/// The service manager is asked for so much time for that, which is enough on a disk ten times slower than usual.
const CHECK_TIME_MIN: Duration = Duration::from_secs(90);
const CHECK_TIME_PER_GIB: Duration = Duration::from_secs(10);

/// What differs between the databases of hume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Page cache of the connection, in KiB.
    pub cache_kib: u32,
    /// The WAL file is cut back to this size after a checkpoint has emptied it.
    pub wal_keep_bytes: u64,
    /// The file may have this many pages of [`PAGE_BYTES`]; a write beyond fails with "database or disk is full".
    pub pages_max: Option<u32>,
    /// How long to wait for a lock that another connection holds.
    pub busy_timeout: Duration,
    /// Open it on a network file system too: whoever says so answers for its locks and syncs.
    pub allow_network: bool,
}

impl Default for SqliteOptions {
    /// The spool's: 8 MiB of cache, 16 MiB of WAL kept, no bound on pages, 5 s.
    fn default() -> SqliteOptions {
        SqliteOptions {
            cache_kib: 8 * 1024,
            wal_keep_bytes: 16 * 1024 * 1024,
            pages_max: None,
            busy_timeout: Duration::from_secs(5),
            allow_network: false,
        }
    }
}

/// A database could not be opened or kept in shape.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// The library is too old to be trusted with data.
    #[error("SQLite {found} is too old, at least 3.51.3 is needed")]
    Version {
        /// The version linked.
        found: &'static str,
    },
    /// Its folder or file could not be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder is on a network file system, where locks and syncs do not hold.
    #[error("{} is on a network file system ({kind}): a database needs a local one", path.display())]
    Network {
        /// The folder.
        path: PathBuf,
        /// Which one.
        kind: &'static str,
    },
    /// `SQLite` could not open the file.
    #[error("could not open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A setting did not take.
    #[error("the database {} answers {found} for {name}, expected {expected}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The pragma.
        name: &'static str,
        /// What it answers.
        found: String,
        /// What it must answer.
        expected: String,
    },
    /// The file belongs to another program.
    #[error("the database is not hume's {expected:#010x}: its application id is {found:#010x}")]
    Foreign {
        /// Its application id.
        found: i32,
        /// Ours.
        expected: i32,
    },
    /// A newer hume has written the file.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: use hume {needed} or newer"
    )]
    Newer {
        /// The schema version in the file.
        found: u32,
        /// The newest one this program knows.
        known: u32,
        /// The program version that wrote it.
        needed: String,
    },
    /// A migration failed and was rolled back.
    #[error("could not migrate the database to schema version {version}")]
    Migrate {
        /// The version it should have had.
        version: u32,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// After a fault of the disk readers kept the log from being emptied: nothing may be appended to it.
    #[error("the log of the database could not be emptied in {tries} tries: it is still being read")]
    LogInUse {
        /// So often it was tried.
        tries: u32,
    },
    /// A checkpoint or a check failed.
    #[error("could not {step} the database")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
}

impl SqliteError {
    fn is_for_want_of_room(&self) -> bool {
        let (SqliteError::Open { source, .. } | SqliteError::Step { source, .. }) = self else {
            return false;
        };
        source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }

    /// True when the file is no database any more, or one that is damaged.
    pub fn is_damage(&self) -> bool {
        match self {
            SqliteError::Damaged(_) => true,
            SqliteError::Open { source, .. }
            | SqliteError::Migrate { source, .. }
            | SqliteError::Step { source, .. } => Fault::of(source) == Some(Fault::Damaged),
            SqliteError::Version { .. }
            | SqliteError::File(_)
            | SqliteError::Network { .. }
            | SqliteError::Setting { .. }
            | SqliteError::Foreign { .. }
            | SqliteError::Newer { .. }
            | SqliteError::LogInUse { .. } => false,
        }
    }
}

/// Opens the only connection that writes; makes the file if it is missing. On a full disk the ballast is given up for that.
pub fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Connection, SqliteError> {
    match open_to_write(path, options) {
        Err(error) if error.is_for_want_of_room() && ballast::give_up(files::parent_of(path)) => {
            open_to_write(path, options)
        }
        other => other,
    }
}

fn open_to_write(path: &Path, options: &SqliteOptions) -> Result<Connection, SqliteError> {
    check_version(rusqlite::version_number(), rusqlite::version())?;
    let folder = path.parent().unwrap_or(Path::new("."));
    files::create_dir(folder, FOLDER_MODE)?;
    if !options.allow_network {
        check_local(folder)?;
    }
    make_private(path)?;
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Its end would otherwise be a checkpoint, also into a file that was found to be damaged, or to stand elsewhere by now.
    keep_log(&connection, path)?;
    let settings = Settings { connection: &connection, path };
    // These two take effect only before the first table.
    settings.set("page_size", PAGE_BYTES)?;
    settings.set("auto_vacuum", "INCREMENTAL")?;
    settings.check("journal_mode", "WAL", &"wal".to_owned())?;
    settings.set("synchronous", "FULL")?;
    settings.must_be("synchronous", &2)?;
    settings.check("wal_autocheckpoint", 0, &0)?;
    let wal_keep = i64::try_from(options.wal_keep_bytes).unwrap_or(i64::MAX);
    settings.check("journal_size_limit", wal_keep, &wal_keep)?;
    settings.must_be("page_size", &i64::from(PAGE_BYTES))?;
    if let Some(pages_max) = options.pages_max {
        // A file that is larger already answers its own size: it shrinks by retention, not by refusing to open.
        let _: i64 = settings.ask("max_page_count", Some(&pages_max))?;
    }
    settings.common(options)?;
    settings.must_be("query_only", &0)?;
    files::sync_dir(folder)?;
    Ok(connection)
}

/// Opens a connection that only reads. The writer has made the file before.
pub fn open_reader(path: &Path, options: &SqliteOptions) -> Result<Connection, SqliteError> {
    check_version(rusqlite::version_number(), rusqlite::version())?;
    // Not SQLITE_OPEN_READ_ONLY: a reader of a WAL takes part in its shared memory.
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let settings = Settings { connection: &connection, path };
    settings.must_be("journal_mode", &"wal".to_owned())?;
    settings.check("wal_autocheckpoint", 0, &0)?;
    settings.common(options)?;
    settings.set("query_only", true)?;
    settings.must_be("query_only", &1)?;
    keep_log(&connection, path)?;
    Ok(connection)
}

/// Opens what is left of a damaged database, to read what can be read. Nothing of it is changed, not even at the end.
pub fn open_damaged(path: &Path) -> Result<Connection, SqliteError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let settings = Settings { connection: &connection, path };
    // Checked before anything is read of the file.
    settings.set("cell_size_check", true)?;
    settings.set("mmap_size", 0)?;
    settings.set("query_only", true)?;
    keep_log(&connection, path)?;
    Ok(connection)
}

/// Lets the end of the connection leave the log, and its name, alone.
fn keep_log(connection: &Connection, path: &Path) -> Result<(), SqliteError> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(|_| ())
        .map_err(|source| SqliteError::Open { path: path.to_owned(), source })
}

/// How thorough a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Copies what no reader holds back; waits for nobody.
    Passive,
    /// Copies all and empties the WAL file; gives up after 100 ms of waiting for readers.
    Truncate,
}

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Whether a reader kept it from finishing.
    pub busy: bool,
    /// Pages in the WAL.
    pub wal_pages: i64,
    /// Pages of these that are in the database file now.
    pub copied_pages: i64,
}

/// Moves pages from the WAL into the database. Only for the writer, outside a transaction.
pub fn checkpoint(connection: &Connection, kind: Checkpoint) -> Result<CheckpointReport, SqliteError> {
    let failed = |source| SqliteError::Step { step: "checkpoint", source };
    let run = |sql| {
        connection.query_row(sql, [], |row| {
            Ok(CheckpointReport { busy: row.get(0)?, wal_pages: row.get(1)?, copied_pages: row.get(2)? })
        })
    };
    points::reach(Point::Checkpoint);
    let report = match kind {
        Checkpoint::Passive => run("PRAGMA wal_checkpoint(PASSIVE)").map_err(failed),
        Checkpoint::Truncate => {
            let usual: i64 =
                connection.pragma_query_value(None, "busy_timeout", |row| row.get(0)).map_err(failed)?;
            connection.busy_timeout(TRUNCATE_WAIT).map_err(failed)?;
            let report = run("PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed);
            connection.busy_timeout(Duration::from_millis(usual.unsigned_abs())).map_err(failed)?;
            report
        }
    };
    points::reach(Point::AfterCheckpoint);
    report
}

/// Bytes of the WAL file beside the database; 0 if there is none.
pub fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len())
}

/// The file whose name is that of the database and this.
pub fn beside(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    PathBuf::from(name)
}

/// Reads through the whole file. For the start after an unclean stop; takes about a second per GiB.
/// # Errors
/// [`SqliteError::Damaged`] with the first finding.
pub fn quick_check(connection: &Connection) -> Result<(), SqliteError> {
    let finding: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|source| SqliteError::Step { step: "check", source })?;
    if finding == "ok" { Ok(()) } else { Err(SqliteError::Damaged(finding)) }
}

/// [`quick_check`] of a file that its last daemon did not close, whose log is then emptied. What takes long is told, to the
/// service manager too. The log was written anew by [`rewrite_log`], so a full disk may keep all of it there: nothing is lost by that.
/// # Errors
/// The same, and [`SqliteError::Step`] or [`SqliteError::LogInUse`].
pub fn check_unclosed(path: &Path, connection: &Connection) -> Result<(), SqliteError> {
    let bytes = std::fs::metadata(path).map_or(0, |about| about.len());
    if bytes > LARGE_BYTES {
        let path = path.display();
        tracing::info!(%path, bytes, "looking through a database that was not closed; this takes about a second per GiB");
        notify::status(&format!("starting: looks through {path}, which was not closed"));
        notify::more_time(
            CHECK_TIME_MIN + CHECK_TIME_PER_GIB * u32::try_from(bytes >> 30).unwrap_or(u32::MAX),
        );
    }
    quick_check(connection)?;
    match empty_log(connection) {
        Err(SqliteError::Step { source, .. }) if Fault::of(&source) == Some(Fault::Full) => Ok(()),
        emptied => emptied,
    }
}

struct Settings<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl Settings<'_> {
    fn set(&self, name: &'static str, value: impl rusqlite::ToSql) -> Result<(), SqliteError> {
        self.connection.pragma_update(None, name, value).map_err(|source| self.open_error(source))
    }

    /// Sets, and compares the answer.
    fn check<T>(
        &self,
        name: &'static str,
        value: impl rusqlite::ToSql,
        expected: &T,
    ) -> Result<(), SqliteError>
    where
        T: FromSql + PartialEq + ToString,
    {
        self.compare(name, &self.ask(name, Some(&value))?, expected)
    }

    /// Reads back, and compares.
    fn must_be<T>(&self, name: &'static str, expected: &T) -> Result<(), SqliteError>
    where
        T: FromSql + PartialEq + ToString,
    {
        self.compare(name, &self.ask(name, None)?, expected)
    }

    fn ask<T: FromSql>(
        &self,
        name: &'static str,
        value: Option<&dyn rusqlite::ToSql>,
    ) -> Result<T, SqliteError> {
        let answer = match value {
            Some(value) => {
                let mut answer = None;
                // To its end: a change that has to be written is answered before it is, and may fail then.
                let asked = self.connection.pragma(None, name, value, |row| {
                    answer = Some(row.get(0)?);
                    Ok(())
                });
                asked.and_then(|()| answer.ok_or(rusqlite::Error::QueryReturnedNoRows))
            }
            None => self.connection.pragma_query_value(None, name, |row| row.get(0)),
        };
        answer.map_err(|source| self.open_error(source))
    }

    fn compare<T: PartialEq + ToString>(
        &self,
        name: &'static str,
        found: &T,
        expected: &T,
    ) -> Result<(), SqliteError> {
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(SqliteError::Setting { path: self.path.to_owned(), name, found, expected })
    }

    /// What readers and the writer share.
    fn common(&self, options: &SqliteOptions) -> Result<(), SqliteError> {
        self.connection.busy_timeout(options.busy_timeout).map_err(|source| self.open_error(source))?;
        self.set("cache_size", -i64::from(options.cache_kib))?;
        // A fault on a mapped page is a signal, not an error; the build may leave mapping out, then nothing answers.
        self.set("mmap_size", 0)?;
        self.set("cell_size_check", true)?;
        self.set("trusted_schema", false)?;
        self.set("temp_store", "MEMORY")?;
        self.set("foreign_keys", true)?;
        self.must_be("trusted_schema", &0)?;
        self.must_be("cell_size_check", &1)?;
        let config = |which| self.connection.set_db_config(which, true).map(|_| ());
        config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).map_err(|source| self.open_error(source))
    }

    fn open_error(&self, source: rusqlite::Error) -> SqliteError {
        SqliteError::Open { path: self.path.to_owned(), source }
    }
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, SqliteError> {
    #[expect(clippy::disallowed_methods, reason = "this is the file that opens SQLite")]
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|source| SqliteError::Open { path: path.to_owned(), source })
}

/// Makes the file before `SQLite` does, which would use the umask; the WAL takes over the file's mode.
fn make_private(path: &Path) -> Result<(), SqliteError> {
    let failed = |source| FileError { step: "make the database", path: path.to_owned(), source };
    let file =
        OpenOptions::new().read(true).append(true).create(true).mode(FILE_MODE).open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o177 != 0 {
        files::set_mode(path, FILE_MODE)?;
    }
    Ok(())
}

fn check_version(number: i32, text: &'static str) -> Result<(), SqliteError> {
    if number < VERSION_MIN { Err(SqliteError::Version { found: text }) } else { Ok(()) }
}

fn check_local(folder: &Path) -> Result<(), SqliteError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // What cannot be asked is not refused: the answer decides only about known network file systems.
    let Ok(statfs) = rustix::fs::statfs(folder) else { return Ok(()) };
    match network_kind(u64::try_from(statfs.f_type).unwrap_or(0) & 0xffff_ffff) {
        Some(kind) => Err(SqliteError::Network { path: folder.to_owned(), kind }),
        None => Ok(()),
    }
}

fn network_kind(magic: u64) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x5346_414f => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
