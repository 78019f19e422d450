//! What a failed statement says of the disk: no room, read-only, damaged, or failing.
//!
//! Everything else (a constraint, a lock, an interrupt) is the statement's own and says nothing of the disk.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};
use rustix::fs::StatVfsMountFlags;

/// A fault below the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room: by the bound on pages, or on the disk.
    Full,
    /// Nothing may be written.
    ReadOnly,
    /// What was read is not what was written.
    Damaged,
    /// A call of the file system failed: whatever was to be synced may not be.
    Failing,
}

impl Fault {
    /// The fault that a failed statement tells of, if it does.
    pub fn of(error: &rusqlite::Error) -> Option<Fault> {
        let extended = error.sqlite_error()?.extended_code;
        match error.sqlite_error_code()? {
            ErrorCode::DiskFull => Some(Fault::Full),
            // The shared memory beside the WAL could not grow.
            ErrorCode::SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => Some(Fault::Full),
            ErrorCode::ReadOnly => Some(Fault::ReadOnly),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Fault::Damaged),
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed => Some(Fault::Failing),
            _ => None,
        }
    }
}

/// Why a statement failed, in words that fit in a status: a read-only file system is said whatever the statement met.
pub fn cause(error: &rusqlite::Error, folder: &Path) -> &'static str {
    if is_read_only(folder) {
        return "its file system is read-only";
    }
    error.sqlite_error().map_or("a statement failed", |error| ffi::code_to_str(error.extended_code))
}

/// Whether the file system of `folder` is mounted read-only. What cannot be asked is not.
fn is_read_only(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failure_of_the_disk_is_told_from_one_of_the_statement() {
        for (code, fault) in [
            (ffi::SQLITE_FULL, Some(Fault::Full)),
            (ffi::SQLITE_IOERR_SHMSIZE, Some(Fault::Full)),
            (ffi::SQLITE_IOERR_FSYNC, Some(Fault::Failing)),
            (ffi::SQLITE_IOERR_WRITE, Some(Fault::Failing)),
            (ffi::SQLITE_CANTOPEN, Some(Fault::Failing)),
            (ffi::SQLITE_READONLY, Some(Fault::ReadOnly)),
            (ffi::SQLITE_CORRUPT, Some(Fault::Damaged)),
            (ffi::SQLITE_NOTADB, Some(Fault::Damaged)),
            (ffi::SQLITE_BUSY, None),
            (ffi::SQLITE_INTERRUPT, None),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, None),
        ] {
            assert_eq!(Fault::of(&failure(code)), fault, "{code}");
        }
        assert_eq!(Fault::of(&rusqlite::Error::QueryReturnedNoRows), None);
    }

    #[test]
    fn a_cause_is_the_librarys_words_where_the_file_system_may_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(cause(&failure(ffi::SQLITE_IOERR_FSYNC), folder.path()), "disk I/O error");
        assert_eq!(cause(&rusqlite::Error::QueryReturnedNoRows, folder.path()), "a statement failed");
    }
}
