//! What can go wrong between a room and the store, sorted by what the room can do about it.

use std::sync::Arc;

use hume_core::ErrorClass;
use hume_runtime::sqlite::SqliteError;

/// The store did not do what was asked; nothing of it was kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk.
    #[error("the store is full")]
    Full(#[source] Arc<rusqlite::Error>),
    /// Too many questions at once.
    #[error("the store is busy: {waiting_max} questions are waiting")]
    Busy {
        /// So many may wait.
        waiting_max: usize,
    },
    /// A question took longer than it may.
    #[error("the store did not answer within {seconds} s: ask for less")]
    Deadline {
        /// The time it had.
        seconds: u64,
    },
    /// A border of the log that this store has not reached.
    #[error("after lies beyond the end: this store was made anew or restored since")]
    Beyond,
    /// The writer has ended: the daemon is stopping, or about to fail.
    #[error("the store is closed")]
    Closed,
    /// Reading or writing failed.
    #[error("could not {step} the store")]
    Sqlite {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// What is kept cannot be understood.
    #[error("the store holds something that cannot be read: {what}")]
    Unreadable {
        /// Which row or column, and why.
        what: String,
    },
    /// No room on the disk for what is not needed to make some: the ballast is given up.
    #[error("the store is full: its disk has no room")]
    DiskFull,
    /// The disk fails: nothing is written until it was repaired.
    #[error("the disk of the store fails: {cause}")]
    Failing {
        /// In a few words.
        cause: &'static str,
    },
    /// The file is damaged.
    #[error(
        "the store is damaged, and is not used: put a backup in its place with `humed-master restore`; the agents keep what \
         they have, and send again what the backup lacks"
    )]
    Damaged(#[source] Arc<SqliteError>),
    /// It could not be opened.
    #[error("could not open the store")]
    Open(#[source] Arc<SqliteError>),
}

impl StoreError {
    /// An error of SQLite while doing `step`.
    pub fn sqlite(step: &'static str, source: rusqlite::Error) -> StoreError {
        let source = Arc::new(source);
        if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            StoreError::Full(source)
        } else {
            StoreError::Sqlite { step, source }
        }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            StoreError::Full(_) | StoreError::DiskFull => ErrorClass::Full,
            StoreError::Busy { .. } | StoreError::Deadline { .. } => ErrorClass::Busy,
            StoreError::Beyond => ErrorClass::Conflict,
            StoreError::Closed => ErrorClass::Unavailable,
            StoreError::Sqlite { .. }
            | StoreError::Unreadable { .. }
            | StoreError::Failing { .. }
            | StoreError::Damaged(_)
            | StoreError::Open(_) => ErrorClass::Internal,
        }
    }
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> StoreError {
        let is_damage = error.is_damage();
        let error = Arc::new(error);
        if is_damage { StoreError::Damaged(error) } else { StoreError::Open(error) }
    }
}
