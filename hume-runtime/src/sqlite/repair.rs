//! After a fault of the disk: what was committed is moved out of the log, so that nothing is appended to it.
//!
//! After a failed sync the pages in memory may be cleaner than the disk, and a second sync would succeed without having
//! written them. Copying the log into the database writes them again; the log then begins anew.
//!
//! That is enough while the process lives that saw the fault: it copies only commits whose sync succeeded. A later one reads
//! the log back from memory, and finds in it the commit that was refused and may be nowhere else. Were it copied like the
//! others, a power loss in the middle would leave a database with a part of it, and a log without it to mend that. So
//! the log is first written over itself and synced: from then on it is what it seems to be.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::{Checkpoint, CheckpointReport, SqliteError, ballast, beside, checkpoint};
use crate::files::{self, FileError};

/// Each try to empty the log waits 100 ms for readers, which may take 10 s.
const TRIES_MAX: u32 = if cfg!(test) { 3 } else { 150 };
/// What is written at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Puts on disk what the log of a database that was not closed seems to hold. To be called before the database is opened.
/// # Errors
/// [`SqliteError::File`] if it cannot: then nothing may be appended to it.
pub fn rewrite_log(database: &Path) -> Result<(), SqliteError> {
    let path = beside(database, "-wal");
    let log = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other,
    };
    let folder = files::parent_of(database);
    let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
    let rewritten = log.and_then(|log| match rewrite(&log) {
        // Some file systems write to another place than where it stood.
        Err(error) if is_full(&error) && ballast::give_up(folder) => rewrite(&log),
        other => other,
    });
    rewritten.map_err(|source| FileError { step: "write anew", path, source }.into())
}

fn rewrite(file: &File) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let read = match file.read_at(&mut chunk, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if read == 0 {
            return file.sync_data();
        }
        file.write_all_at(&chunk[..read], at)?;
        at += read as u64;
    }
}

/// Empties the log, however often a reader is in the way. Only for the writer, outside of a transaction; afterwards the
/// connection is to be opened anew.
/// # Errors
/// [`SqliteError::Step`] if the disk still fails, [`SqliteError::LogInUse`] if it is read for too long.
pub fn empty_log(connection: &Connection) -> Result<(), SqliteError> {
    empty(|| checkpoint(connection, Checkpoint::Truncate))
}

fn empty(mut checkpoint: impl FnMut() -> Result<CheckpointReport, SqliteError>) -> Result<(), SqliteError> {
    for _ in 0..TRIES_MAX {
        if !checkpoint()?.busy {
            return Ok(());
        }
    }
    Err(SqliteError::LogInUse { tries: TRIES_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_written_anew_is_the_same_and_one_that_is_missing_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("spool.db");
        rewrite_log(&database).unwrap();
        let log = beside(&database, "-wal");
        assert!(!log.exists());
        let mut content = vec![0; 2 * CHUNK_BYTES + 5];
        fastrand::fill(&mut content);
        for length in [0, 1, CHUNK_BYTES, content.len()] {
            std::fs::write(&log, &content[..length]).unwrap();
            rewrite_log(&database).unwrap();
            assert!(std::fs::read(&log).unwrap() == content[..length], "{length} bytes");
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_to_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("spool.db");
        std::fs::create_dir(beside(&database, "-wal")).unwrap();
        assert!(matches!(rewrite_log(&database), Err(SqliteError::File(_))));
    }

    #[test]
    fn a_log_that_readers_hold_is_tried_again_and_given_up_after_a_bound() {
        let report = |busy| Ok(CheckpointReport { busy, wal_pages: 1, copied_pages: 1 });
        let mut tries = 0;
        let emptied = empty(|| {
            tries += 1;
            report(tries < TRIES_MAX)
        });
        assert!(emptied.is_ok() && tries == TRIES_MAX);
        let held = empty(|| report(true));
        assert!(matches!(held, Err(SqliteError::LogInUse { tries: TRIES_MAX })), "{held:?}");
    }
}
