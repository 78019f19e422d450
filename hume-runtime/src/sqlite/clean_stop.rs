//! Whether the daemon that last had a database closed it: a file beside it says so, and is gone before the next write.
//!
//! It names the size and the time of the database as they were then, so that a file that was put in its place, or written
//! to by another program, does not pass as the one that was closed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// True when the database was closed by its last daemon and is as that left it. From here on it counts as not closed, also
/// after a power cut.
/// # Errors
/// [`FileError`] if the word cannot be taken back: then nothing may be written.
pub fn take_clean_stop(database: &Path) -> Result<bool, FileError> {
    let path = path_of(database);
    let Ok(kept) = std::fs::read_to_string(&path) else { return Ok(false) };
    std::fs::remove_file(&path).map_err(|source| FileError { step: "remove", path: path.clone(), source })?;
    files::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(super::wal_bytes(database) == 0 && likeness(database).is_some_and(|now| now == kept))
}

/// Says that the database is closed. To be called after the last connection that writes was closed, with an empty WAL.
/// # Errors
/// [`FileError`]: the next start will check the database.
pub fn leave_clean_stop(database: &Path) -> Result<(), FileError> {
    match likeness(database) {
        Some(likeness) => files::write(&path_of(database), likeness.as_bytes(), super::FILE_MODE),
        None => Ok(()),
    }
}

fn likeness(database: &Path) -> Option<String> {
    let about = std::fs::metadata(database).ok()?;
    Some(format!("{} {}.{:09}\n", about.len(), about.mtime(), about.mtime_nsec()))
}

fn path_of(database: &Path) -> PathBuf {
    super::beside(database, ".clean")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_stop_counts_once_and_only_for_the_file_that_was_closed() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("spool.db");
        assert!(!take_clean_stop(&database).unwrap());
        std::fs::write(&database, "one").unwrap();
        leave_clean_stop(&database).unwrap();
        assert!(take_clean_stop(&database).unwrap());
        assert!(!take_clean_stop(&database).unwrap(), "it counts once");
        leave_clean_stop(&database).unwrap();
        std::fs::write(&database, "other").unwrap();
        assert!(!take_clean_stop(&database).unwrap(), "another file");
        leave_clean_stop(&database).unwrap();
        std::fs::write(folder.path().join("spool.db-wal"), "x").unwrap();
        assert!(!take_clean_stop(&database).unwrap(), "with a log that nobody copied back");
    }
}
