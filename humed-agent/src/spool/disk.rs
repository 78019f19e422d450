//! The disk below the spool as its writer meets it: how much room there is, what is wrong, and whether the file is still
//! the one that was opened.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hume_runtime::clock;
use hume_runtime::files;
use hume_runtime::sqlite::{self, Ballast, DirLock, Fault, SqliteOptions};
use rusqlite::Connection;

use super::config::{AWAIT_PERCENT, Config, EVICT_TO_PERCENT, REFUSE_PERCENT, RESERVE_PERCENT};
use super::types::{SpoolError, Trouble};

/// A repair that failed is tried again after this time.
const REPAIR_EVERY: Duration = Duration::from_secs(10);

/// Why an append is not tried, or was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The spool has as much as it may have.
    Full { used_bytes: u64 },
    /// The disk has no room.
    DiskFull,
    /// The disk fails.
    Failing { cause: &'static str },
}

impl From<Refusal> for SpoolError {
    fn from(refusal: Refusal) -> SpoolError {
        match refusal {
            Refusal::Full { used_bytes } => SpoolError::Full { used_bytes },
            Refusal::DiskFull => SpoolError::DiskFull,
            Refusal::Failing { cause } => SpoolError::Failing { cause },
        }
    }
}

/// Device and number of a file: what a name stood for.
type Inode = (u64, u64);

/// What the names of the spool stood for when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    folder: Inode,
    database: Inode,
    log: Inode,
}

/// What is wrong, and what was met.
#[derive(Clone, Copy, Debug)]
struct Broken {
    fault: Fault,
    trouble: Trouble,
    again_at: Instant,
}

/// The writer's view.
pub(super) struct Disk {
    pub(super) path: PathBuf,
    pub(super) options: SqliteOptions,
    pub(super) ballast: Ballast,
    bytes_max: u64,
    place: Option<Place>,
    broken: Option<Broken>,
    /// Of a folder that took the place of the one that was locked at the start.
    lock: Option<DirLock>,
}

impl Disk {
    /// The disk of a spool that was just opened.
    pub(super) fn new(path: &Path, options: SqliteOptions, config: &Config) -> Disk {
        let mut disk = Disk {
            path: path.to_owned(),
            options,
            ballast: Ballast::new(files::parent_of(path), config.ballast_bytes),
            bytes_max: config.bytes_max,
            place: None,
            broken: None,
            lock: None,
        };
        disk.opened();
        disk
    }

    /// The spool was opened: the names stand for its files.
    pub(super) fn opened(&mut self) {
        self.place = look(&self.path).ok();
    }

    /// True when the names no longer stand for the files that were opened: whatever is written is written to nowhere. What
    /// cannot be looked at is still there.
    pub(super) fn is_gone(&self) -> bool {
        match look(&self.path) {
            Ok(place) => self.place.is_some_and(|known| known != place),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        files::parent_of(&self.path)
    }

    /// Takes the folder if another one has come in its place: another daemon may have it.
    pub(super) fn lock_again(&mut self) -> Result<(), SpoolError> {
        let now = inode(self.folder()).ok();
        if now.is_none() || self.place.is_none_or(|known| Some(known.folder) != now) {
            // One that we hold already would not be given to us again.
            self.lock = None;
            self.lock = Some(sqlite::lock(self.folder())?);
        }
        Ok(())
    }

    /// Bytes in use at which appends are refused.
    pub(super) fn refused_at(&self) -> u64 {
        self.bytes_max / 100 * REFUSE_PERCENT
    }

    /// Bytes in use from which on the rest is for root, and how many less give it back to all.
    pub(super) fn reserved_at(&self) -> (u64, u64) {
        let percent = self.bytes_max / 100;
        (percent * RESERVE_PERCENT, percent)
    }

    /// Bytes in use down to which eviction goes.
    pub(super) fn evicted_to(&self) -> u64 {
        self.bytes_max / 100 * EVICT_TO_PERCENT
    }

    /// Bytes in use up to which room is given to what transfers have not told.
    pub(super) fn awaited_to(&self) -> u64 {
        self.bytes_max / 100 * AWAIT_PERCENT
    }

    /// Why nothing may be written.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.broken.map(|broken| broken.trouble)
    }

    /// The fault that a repair is for.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.broken.map(|broken| broken.fault)
    }

    /// When a repair is to be tried again.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.broken.map(|broken| broken.again_at)
    }

    /// Nothing is written any more. True when that is news.
    pub(super) fn breaks(&mut self, fault: Fault, cause: &'static str) -> bool {
        let again_at = Instant::now() + REPAIR_EVERY;
        if let Some(broken) = &mut self.broken {
            let is_news = broken.trouble.cause != cause;
            broken.trouble.cause = cause;
            broken.again_at = again_at;
            return is_news;
        }
        let trouble = Trouble { cause, since: clock::now() };
        self.broken = Some(Broken { fault, trouble, again_at });
        true
    }

    /// It may be written again.
    pub(super) fn repaired(&mut self) {
        self.broken = None;
    }
}

fn look(path: &Path) -> io::Result<Place> {
    let log = inode(&sqlite::beside(path, "-wal"))?;
    Ok(Place { folder: inode(files::parent_of(path))?, database: inode(path)?, log })
}

fn inode(path: &Path) -> io::Result<Inode> {
    let about = std::fs::metadata(path)?;
    Ok((about.dev(), about.ino()))
}

/// Bytes of pages that hold something.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = pragma(connection, "PRAGMA page_count")? - free_pages(connection)?;
    Ok(u64::try_from(pages).unwrap_or(0) * u64::from(sqlite::PAGE_BYTES))
}

/// Pages of the file that hold nothing.
pub(super) fn free_pages(connection: &Connection) -> rusqlite::Result<i64> {
    pragma(connection, "PRAGMA freelist_count")
}

fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(folder: &Path) -> Disk {
        let path = folder.join("spool.db");
        for file in [path.clone(), sqlite::beside(&path, "-wal")] {
            std::fs::write(file, "").unwrap();
        }
        Disk::new(&path, SqliteOptions::default(), &Config { ballast_bytes: 0, ..Config::default() })
    }

    #[test]
    fn a_file_that_is_removed_or_replaced_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["spool.db", "spool.db-wal"] {
            let mut disk = disk(folder.path());
            assert!(!disk.is_gone());
            // The new one is made first, so that it cannot have the number of the old one.
            std::fs::write(folder.path().join("new"), "").unwrap();
            std::fs::rename(folder.path().join("new"), folder.path().join(name)).unwrap();
            assert!(disk.is_gone(), "{name} was replaced");
            disk.opened();
            assert!(!disk.is_gone());
            std::fs::remove_file(folder.path().join(name)).unwrap();
            assert!(disk.is_gone(), "{name} was removed");
        }
    }

    #[test]
    fn trouble_keeps_its_beginning_and_is_news_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = disk(folder.path());
        assert!(disk.breaks(Fault::Failing, "one"));
        let since = disk.trouble().unwrap().since;
        assert!(!disk.breaks(Fault::Failing, "one"));
        assert!(disk.breaks(Fault::ReadOnly, "other"));
        assert_eq!(disk.trouble(), Some(Trouble { cause: "other", since }));
        disk.repaired();
        assert_eq!((disk.trouble(), disk.again_at()), (None, None));
    }
}
