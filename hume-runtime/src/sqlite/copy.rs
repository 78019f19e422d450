//! A copy of a database as one moment shows it: one file, synced, its owner's alone, and with nothing beside it.
//!
//! The reader's transaction is that moment. Without one, every commit of another process would begin the copy anew; with
//! it, the log of the original grows until the copy is made, so whoever copies is asked after each step whether to go on.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{FILE_MODE, PAGE_BYTES, SqliteError};
use crate::files::FileError;

/// Pages of one step: 4 MiB.
const STEP_PAGES: i32 = 1024;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes that are there.
    pub copied_bytes: u64,
    /// Bytes in the end.
    pub all_bytes: u64,
}

/// Copies what `from` sees to a new file at `to`; `go_on` is asked after each step, and its error ends the copy. A file
/// that was begun stays when it fails. `from` must be in a transaction, or be the only one that has the file.
pub fn copy<E: From<SqliteError>>(
    from: &Connection,
    to: &Path,
    mut go_on: impl FnMut(CopyProgress) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| SqliteError::Step { step: "copy", source };
    make_new(to).map_err(SqliteError::from)?;
    let mut copy = super::open(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Nothing to go back to: what is not whole is not used.
    copy.pragma_update(None, "journal_mode", "OFF").map_err(failed)?;
    {
        let backup = Backup::new(from, &mut copy).map_err(failed)?;
        while backup.step(STEP_PAGES).map_err(failed)? != StepResult::Done {
            let progress = backup.progress();
            let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * u64::from(PAGE_BYTES);
            let (left, all) = (bytes(progress.remaining), bytes(progress.pagecount));
            go_on(CopyProgress { copied_bytes: all.saturating_sub(left), all_bytes: all })?;
        }
    }
    // The mode of the original came with it; by this one the copy is a single file.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    copy.close().map_err(|(_, source)| failed(source))?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|source| FileError { step: "sync", path: to.to_owned(), source })
        .map_err(SqliteError::from)?;
    Ok(())
}

/// Opens a file that nobody writes, only to read. Leaves nothing beside it, unless there is a log to be read.
pub fn open_still(path: &Path) -> Result<Connection, SqliteError> {
    super::check_version(rusqlite::version_number(), rusqlite::version())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    if super::wal_bytes(path) > 0 {
        return super::open(path, flags);
    }
    let uri = format!("file:{}?immutable=1", escaped(path));
    super::open(Path::new(&uri), flags | OpenFlags::SQLITE_OPEN_URI).map_err(|error| match error {
        SqliteError::Open { source, .. } => SqliteError::Open { path: path.to_owned(), source },
        other => other,
    })
}

/// The path as a part of a URI.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte));
            }
            other => {
                // Writing into a String does not fail.
                let _ = write!(text, "%{other:02x}");
            }
        }
    }
    text
}

fn make_new(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError { step: "make", path: path.to_owned(), source };
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path).map_err(failed)?;
    crate::files::set_mode(path, FILE_MODE)
}
