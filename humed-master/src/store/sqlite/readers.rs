//! A few connections that only read, each question bounded in time and in how many others may wait with it.
//!
//! A question whose asker has gone is interrupted. A slow question delays other questions, never the writer; the time
//! limit also keeps an old snapshot from holding up checkpoints.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hume_runtime::sqlite::{self, SqliteOptions};
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{QUESTION_TIME_MAX, STATEMENTS_MAX};
use crate::store::error::StoreError;

/// Questions answered at the same time.
const READERS: usize = 4;
/// Steps of a statement between two looks whether its asker still waits.
const STEPS_BETWEEN_CHECKS: i32 = 10_000;
/// Questions in all, those that wait included.
const QUESTIONS_MAX: usize = 128;

/// The connections.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// What a question is answered with: a connection in one transaction, and the word whether to go on.
pub(super) struct Question<'a> {
    /// All statements of the question see the same moment.
    pub(super) connection: &'a Connection,
    cancelled: &'a AtomicBool,
}

impl Question<'_> {
    /// To be asked in loops.
    /// # Errors
    /// [`StoreError::Deadline`] when the time is over.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(overdue()) } else { Ok(()) }
    }
}

fn overdue() -> StoreError {
    StoreError::Deadline { seconds: QUESTION_TIME_MAX.as_secs() }
}

/// An error of a reading statement.
pub(super) fn read_failed(source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => overdue(),
        _ => StoreError::sqlite("read", source),
    }
}

impl Readers {
    /// Opens the connections.
    pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Readers, StoreError> {
        let open = |_| {
            let connection = sqlite::open_reader(path, options)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            Ok::<_, StoreError>(connection)
        };
        let idle = (0..READERS).map(open).collect::<Result<_, _>>()?;
        Ok(Readers {
            idle: Mutex::new(idle),
            places: Arc::new(Semaphore::new(READERS)),
            waiting: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        })
    }

    /// Answers a question on a thread where it may block.
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Deadline`], and what the question itself fails with.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        answer: impl FnOnce(&Question<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + QUESTION_TIME_MAX;
        let _waiting =
            self.waiting.try_acquire().map_err(|_| StoreError::Busy { waiting_max: QUESTIONS_MAX })?;
        let place = tokio::time::timeout_at(deadline, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| overdue())?
            .map_err(|_| StoreError::Closed)?;
        let connection = lock(&self.idle).pop().ok_or(StoreError::Closed)?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancelled));
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut returned = Return { readers: &readers, connection: Some(connection) };
            match &mut returned.connection {
                Some(connection) => {
                    // Asked while a statement runs: an interrupt would be lost if it came before the statement began.
                    let asked = Arc::clone(&cancelled);
                    let leave = move || asked.load(Ordering::Relaxed);
                    connection.progress_handler(STEPS_BETWEEN_CHECKS, Some(leave)).map_err(read_failed)?;
                    in_snapshot(connection, &cancelled, answer)
                }
                None => Err(StoreError::Closed),
            }
        });
        let result = tokio::time::timeout_at(deadline, task).await;
        drop(guard);
        match result {
            Ok(Ok(answer)) => answer,
            // The thread panicked or the runtime ends.
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(overdue()),
        }
    }
}

fn in_snapshot<T>(
    connection: &Connection,
    cancelled: &AtomicBool,
    answer: impl FnOnce(&Question<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let snapshot = connection.unchecked_transaction().map_err(read_failed)?;
    let answer = answer(&Question { connection: &snapshot, cancelled })?;
    snapshot.rollback().map_err(read_failed)?;
    Ok(answer)
}

/// Gives the connection back, also after a panic. From then on it serves somebody else.
struct Return<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Drop for Return<'_> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // Should it stay, the next question replaces it.
        let _ = connection.progress_handler(0, None::<fn() -> bool>);
        lock(&self.readers.idle).push(connection);
    }
}

/// Ends the question when its asker no longer waits.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every statement leaves the content whole, so a poisoned lock is still right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
