//! The one thread that writes: it drains the queue, writes all of it in one transaction, and answers after the commit.
//!
//! No timer gathers jobs: while one group is being synced the next gathers by itself. A job that fails is rolled back
//! alone; when the commit fails, every job of the group is told so. What happens after a fault of the disk: see `disk`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hume_core::Timestamp;
use hume_core::page::EventCursor;
use hume_runtime::points::{self, Point};
use hume_runtime::sqlite::{self, Checkpoint, Fault, SqliteError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::admit::admit;
use super::cache::Cache;
use super::disk::Disk;
use super::doomed::Doomed;
use super::pen::write_runs;
use super::{WAL_BYTES_MAX, events, forget, registry, watches};
use crate::metrics::Metrics;
use crate::store::error::StoreError;
use crate::store::presence::Live;
use crate::store::retention::Forgotten;
use crate::store::types::{Admission, CommitOutcome, Content, Departure, Entered, Entrance, Sighting};
use crate::store::watches::Note;

/// Entries and other jobs of one transaction; what is queued beyond waits for the next.
const GROUP_WEIGHT_MAX: usize = 8000;
/// What one step of the retention counts for.
const FORGET_WEIGHT: usize = 1000;
/// Pages in the log at which it is copied into the database when nobody waits, and when somebody does.
const CHECKPOINT_IDLE_PAGES: u64 = 1000;
const CHECKPOINT_BUSY_PAGES: u64 = 12_000;
/// Without ballast the log is emptied at this size: it takes the room that the ballast held.
const WAL_BYTES_SMALL: u64 = 1024 * 1024;
/// After a reader kept the log from being emptied, it is left alone for this long.
const TRUNCATE_PAUSE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(10) };

/// What is to be written, and where the answer goes.
pub(super) enum Job {
    /// See [`EventWriter::commit`](crate::store::EventWriter::commit).
    Commit { admissions: Vec<Admission>, answer: oneshot::Sender<Result<Vec<CommitOutcome>, StoreError>> },
    /// See [`Sessions::enter`](crate::store::Sessions::enter).
    Enter { entrance: Box<Entrance>, answer: oneshot::Sender<Result<Entered, StoreError>> },
    /// See [`Sessions::leave`](crate::store::Sessions::leave).
    Leave {
        departure: Departure,
        /// What was last heard of the session.
        live: Option<Box<Live>>,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// See [`Retention::forget`](crate::store::Retention::forget).
    Forget {
        doomed: Box<Doomed>,
        looked_at: Option<Timestamp>,
        answer: oneshot::Sender<Result<Forgotten, StoreError>>,
    },
    /// See [`Watching::note`](crate::store::Watching::note).
    Note { note: Box<Note>, answer: oneshot::Sender<Result<(), StoreError>> },
    /// See [`Sessions::seen`](crate::store::Sessions::seen); nobody waits.
    Seen(Sighting),
    /// Write no more; nobody waits.
    Close,
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Job::Commit { admissions, .. } => admissions.iter().map(weight_of).sum(),
            Job::Forget { .. } => FORGET_WEIGHT,
            Job::Note { note, .. } => note.courses.len() + note.found.len() + 1,
            Job::Enter { .. } | Job::Leave { .. } | Job::Seen(_) | Job::Close => 1,
        }
    }

    fn refuse(self, error: &StoreError) {
        // Whoever no longer waits has gone; that is his business.
        match self {
            Job::Commit { answer, .. } => drop(answer.send(Err(error.clone()))),
            Job::Enter { answer, .. } => drop(answer.send(Err(error.clone()))),
            Job::Leave { answer, .. } | Job::Note { answer, .. } => drop(answer.send(Err(error.clone()))),
            Job::Forget { answer, .. } => drop(answer.send(Err(error.clone()))),
            Job::Seen(_) | Job::Close => {}
        }
    }
}

fn weight_of(admission: &Admission) -> usize {
    match &admission.content {
        Content::Entries(entries) => entries.len().max(1),
        Content::Gap { .. } => 1,
    }
}

/// A job that was done in the transaction; its answer is told after the commit.
enum Done {
    Commit(oneshot::Sender<Result<Vec<CommitOutcome>, StoreError>>, Vec<CommitOutcome>),
    Enter(oneshot::Sender<Result<Entered, StoreError>>, Entered),
    Leave(oneshot::Sender<Result<(), StoreError>>),
    Forget(oneshot::Sender<Result<Forgotten, StoreError>>, Forgotten),
    /// With the word whether anything was found.
    Note(oneshot::Sender<Result<(), StoreError>>, bool),
    /// Nobody waits.
    Unasked,
    /// Failed, rolled back and told so.
    Refused(StoreError),
}

impl Done {
    fn tell(self, committed: &Result<(), StoreError>, metrics: &Metrics) {
        let result = committed.clone();
        match self {
            Done::Commit(answer, outcomes) => {
                if committed.is_ok() {
                    count(&outcomes, metrics);
                }
                drop(answer.send(result.map(|()| outcomes)));
            }
            Done::Enter(answer, entered) => drop(answer.send(result.map(|()| entered))),
            Done::Leave(answer) | Done::Note(answer, _) => drop(answer.send(result)),
            Done::Forget(answer, forgotten) => drop(answer.send(result.map(|()| forgotten))),
            Done::Unasked | Done::Refused(_) => {}
        }
    }

    fn has_events(&self) -> bool {
        matches!(self, Done::Commit(..) | Done::Note(_, true))
    }

    fn refused(&self) -> Option<&StoreError> {
        match self {
            Done::Refused(error) => Some(error),
            Done::Commit(..)
            | Done::Enter(..)
            | Done::Leave(_)
            | Done::Forget(..)
            | Done::Note(..)
            | Done::Unasked => None,
        }
    }

    /// Why the whole transaction is gone after this job.
    fn cause(&self) -> StoreError {
        match self {
            Done::Refused(error) => error.clone(),
            Done::Commit(..)
            | Done::Enter(..)
            | Done::Leave(_)
            | Done::Forget(..)
            | Done::Note(..)
            | Done::Unasked => StoreError::Closed,
        }
    }
}

fn count(outcomes: &[CommitOutcome], metrics: &Metrics) {
    for outcome in outcomes {
        match outcome {
            CommitOutcome::Stored { events, quarantined, .. } => metrics.ingested(*events, *quarantined),
            CommitOutcome::Known { .. } => metrics.known_batch(),
            CommitOutcome::Beyond { .. } | CommitOutcome::Superseded | CommitOutcome::UnknownEpoch => {}
        }
    }
}

/// The body of the writing thread.
pub struct Writer {
    pub(super) connection: Connection,
    pub(super) disk: Disk,
    queue: mpsc::Receiver<Job>,
    pub(super) cache: Cache,
    /// Times of arrival never run backwards within a store.
    arrived_at: Timestamp,
    truncate_again: Option<Instant>,
    pub(super) metrics: Metrics,
    /// The end of the log, for those who wait for the next event.
    end: watch::Sender<EventCursor>,
    /// What is expected, for those who wait for news of that.
    expected: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: PathBuf,
        queue: mpsc::Receiver<Job>,
        metrics: Metrics,
    ) -> Result<Writer, StoreError> {
        let newest = "SELECT coalesce((SELECT arrived_us FROM block ORDER BY id DESC LIMIT 1), 0)";
        let arrived_us = connection
            .query_row(newest, [], |row| row.get(0))
            .map_err(|source| StoreError::sqlite("read", source))?;
        let arrived_at = Timestamp::from_micros(arrived_us);
        let end = events::end(&connection).map_err(|source| StoreError::sqlite("read", source))?;
        Ok(Writer {
            connection,
            disk: Disk::new(path),
            queue,
            cache: Cache::default(),
            arrived_at,
            truncate_again: None,
            metrics,
            end: watch::Sender::new(end),
            expected: watch::Sender::new(0),
        })
    }

    /// The end of the log, as it grows.
    pub(super) fn end(&self) -> watch::Receiver<EventCursor> {
        self.end.subscribe()
    }

    /// Changes with every word that is news on what is expected.
    pub(super) fn expected(&self) -> watch::Receiver<u64> {
        self.expected.subscribe()
    }

    fn publish_end(&self) {
        // Whoever waits is woken by the next commit, should this look fail.
        let Ok(end) = events::end(&self.connection) else { return };
        self.end.send_if_modified(|known| std::mem::replace(known, end) != end);
    }

    /// Holds so many bytes of the disk for bad times; see [`sqlite::Ballast`].
    #[must_use]
    pub fn with_ballast(mut self, bytes: u64) -> Writer {
        self.disk.hold(bytes);
        self
    }

    /// Writes until the store is closed or its last handle dropped, then empties the log.
    /// # Errors
    /// The log could not be emptied: the next start does it.
    pub fn run(mut self) -> Result<(), StoreError> {
        while let Some(first) = self.queue.blocking_recv() {
            let group = self.gather(first);
            if group.iter().any(|job| matches!(job, Job::Close)) {
                // Whatever is queued by now is still written; then the queue is empty for good.
                self.queue.close();
            }
            let group = self.admitted(group);
            if group.is_empty() {
                continue;
            }
            let started = Instant::now();
            let written = self.write(group);
            self.metrics.committed(started.elapsed());
            match written {
                Ok(()) => self.disk.wrote(),
                // Whoever waited has been told; here only the file itself is at stake.
                Err(error) => self.suffer(&error),
            }
            self.cache.trim();
            self.checkpoint();
        }
        self.close()
    }

    /// What waits, as far as it goes into one transaction.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut weight = first.weight();
        let mut group = vec![first];
        while weight < GROUP_WEIGHT_MAX {
            let Ok(job) = self.queue.try_recv() else { break };
            weight += job.weight();
            group.push(job);
        }
        group
    }

    /// What may be written as the disk is; the rest is refused. On a full disk that is what takes little.
    fn admitted(&mut self, group: Vec<Job>) -> Vec<Job> {
        self.look_after_disk();
        if let Some(error) = self.disk.trouble() {
            self.metrics.store_refuses(Some(error.to_string()));
            refuse(group, &error);
            return Vec::new();
        }
        if !self.disk.is_full() {
            return group;
        }
        let (large, small): (Vec<Job>, Vec<Job>) =
            group.into_iter().partition(|job| matches!(job, Job::Commit { .. } | Job::Note { .. }));
        if !large.is_empty() {
            self.metrics.store_refuses(Some(StoreError::DiskFull.to_string()));
        }
        refuse(large, &StoreError::DiskFull);
        small
    }

    fn close(self) -> Result<(), StoreError> {
        if self.disk.trouble().is_some() {
            return Ok(());
        }
        let report = sqlite::checkpoint(&self.connection, Checkpoint::Truncate)?;
        let Writer { connection, disk, .. } = self;
        drop(connection);
        if !report.busy
            && let Err(error) = sqlite::leave_clean_stop(disk.path())
        {
            tracing::warn!(%error, "the next start looks through the store");
        }
        Ok(())
    }

    /// One transaction; all jobs are answered. An error says that something of it was not written.
    fn write(&mut self, group: Vec<Job>) -> Result<(), StoreError> {
        let Writer { connection, cache, arrived_at, metrics, .. } = self;
        let mut jobs = group.into_iter();
        let mut done = Vec::with_capacity(jobs.len());
        let committed = transact(connection, |transaction| {
            for job in jobs.by_ref() {
                done.push(apply(transaction, cache, arrived_at, job));
                let is_fault = done.last().and_then(Done::refused).is_some_and(is_fault_of_disk);
                if is_fault || transaction.is_autocommit() {
                    // The disk fails; or SQLite has rolled back all of it, because there is no room.
                    return Err(done.last().map_or(StoreError::Closed, Done::cause));
                }
            }
            if done.iter().any(Done::has_events) {
                let failed = |source| StoreError::sqlite("write to", source);
                points::statement(Point::MasterBeforeCommit).map_err(failed)?;
            }
            Ok(())
        });
        if committed.is_ok() && done.iter().any(Done::has_events) {
            points::reach(Point::MasterAfterCommit);
        }
        let refused = done.iter().find_map(Done::refused).or(committed.as_ref().err()).cloned();
        match &refused {
            Some(error) => metrics.store_refuses(Some(error.to_string())),
            None if done.iter().any(Done::has_events) => metrics.store_refuses(None),
            None => {}
        }
        // Whoever is told that it is kept finds the news told.
        if std::mem::take(&mut cache.has_news) && committed.is_ok() {
            self.expected.send_modify(|news| *news += 1);
        }
        for done in done {
            done.tell(&committed, metrics);
        }
        self.publish_end();
        if let Err(error) = &committed {
            jobs.for_each(|job| job.refuse(error));
        }
        match refused {
            Some(error @ StoreError::Full(_)) => Err(error),
            Some(_) | None => committed,
        }
    }

    fn checkpoint(&mut self) {
        if self.disk.trouble().is_some() {
            return;
        }
        let wal_bytes_max =
            if self.disk.is_full() { WAL_BYTES_SMALL } else { self.disk.log_bytes_max(WAL_BYTES_MAX) };
        let result = if sqlite::wal_bytes(self.disk.path()) > wal_bytes_max && self.may_truncate() {
            sqlite::checkpoint(&self.connection, Checkpoint::Truncate).map(|report| {
                self.truncate_again = report.busy.then(|| Instant::now() + TRUNCATE_PAUSE);
                if report.busy {
                    let log_bytes = sqlite::wal_bytes(self.disk.path());
                    tracing::warn!(
                        log_bytes,
                        "the log of the store grows: something reads an old moment of it"
                    );
                }
            })
        } else {
            let limit = if self.queue.is_empty() { CHECKPOINT_IDLE_PAGES } else { CHECKPOINT_BUSY_PAGES };
            match pages_to_copy(&self.connection) {
                Ok(pages) if pages >= limit => {
                    sqlite::checkpoint(&self.connection, Checkpoint::Passive).map(|_| ())
                }
                Ok(_) => Ok(()),
                Err(source) => Err(SqliteError::Step { step: "measure the log of", source }),
            }
        };
        if let Err(error) = result {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not move the log into the store");
        }
    }

    fn may_truncate(&self) -> bool {
        self.truncate_again.is_none_or(|again| Instant::now() >= again)
    }
}

fn refuse(jobs: Vec<Job>, error: &StoreError) {
    for job in jobs {
        job.refuse(error);
    }
}

fn transact(
    connection: &mut Connection,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite("write to", source);
    let mut transaction = Transaction::new(connection, TransactionBehavior::Immediate).map_err(failed)?;
    work(&mut transaction)?;
    transaction.commit().map_err(failed)
}

/// Does one job within a savepoint, so that its failure is its own.
fn apply(transaction: &mut Transaction<'_>, cache: &mut Cache, arrived_at: &mut Timestamp, job: Job) -> Done {
    let failed = |source| StoreError::sqlite("write to", source);
    match job {
        Job::Commit { admissions, answer } => {
            let outcomes = saved(transaction, cache, |connection, cache| {
                let admissions = admissions.into_iter().map(|mut admission| {
                    *arrived_at = admission.arrived_at.max(*arrived_at);
                    admission.arrived_at = *arrived_at;
                    admit(connection, cache, admission)
                });
                let outcomes = admissions.collect::<Result<Vec<_>, _>>()?;
                write_runs(connection, cache).map_err(failed)?;
                Ok(outcomes)
            });
            match outcomes {
                Ok(outcomes) => Done::Commit(answer, outcomes),
                Err(error) => refused(answer, error),
            }
        }
        Job::Enter { entrance, answer } => {
            let entered = saved(transaction, cache, |connection, cache| {
                registry::enter(connection, cache, &entrance).map_err(failed)
            });
            match entered {
                Ok(entered) => Done::Enter(answer, entered),
                Err(error) => refused(answer, error),
            }
        }
        Job::Leave { departure, live, answer } => {
            let left = saved(transaction, cache, |connection, _| {
                registry::leave(connection, &departure, live.as_deref()).map_err(failed)
            });
            match left {
                Ok(()) => Done::Leave(answer),
                Err(error) => refused(answer, error),
            }
        }
        Job::Forget { doomed, looked_at, answer } => {
            let forgotten = saved(transaction, cache, |connection, cache| {
                looked_at.map_or(Ok(()), |at| forget::note_look(connection, at)).map_err(failed)?;
                forget::forget(connection, cache, *doomed).map_err(failed)
            });
            match forgotten {
                Ok(forgotten) => Done::Forget(answer, forgotten),
                Err(error) => refused(answer, error),
            }
        }
        Job::Note { mut note, answer } => {
            let has_found = !note.found.is_empty();
            let noted = saved(transaction, cache, |connection, cache| {
                *arrived_at = note.at.max(*arrived_at);
                note.at = *arrived_at;
                watches::note(connection, cache, *note)
            });
            match noted {
                Ok(()) => Done::Note(answer, has_found),
                Err(error) => refused(answer, error),
            }
        }
        Job::Close => Done::Unasked,
        Job::Seen(sighting) => {
            let seen = saved(transaction, cache, |connection, _| {
                registry::seen(connection, &sighting).map_err(failed)
            });
            match seen {
                Ok(()) => Done::Unasked,
                Err(error) => Done::Refused(error),
            }
        }
    }
}

fn refused<T>(answer: oneshot::Sender<Result<T, StoreError>>, error: StoreError) -> Done {
    drop(answer.send(Err(error.clone())));
    Done::Refused(error)
}

fn saved<T>(
    transaction: &mut Transaction<'_>,
    cache: &mut Cache,
    work: impl FnOnce(&Connection, &mut Cache) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let failed = |source| StoreError::sqlite("write to", source);
    let savepoint = transaction.savepoint().map_err(failed)?;
    let result = work(&savepoint, cache).and_then(|value| savepoint.commit().map_err(failed).map(|()| value));
    if result.is_err() {
        cache.forget();
    }
    result
}

/// True when nothing of the transaction may be kept, and nothing more be appended to the log.
fn is_fault_of_disk(error: &StoreError) -> bool {
    let StoreError::Sqlite { source, .. } = error else { return false };
    matches!(Fault::of(source), Some(Fault::ReadOnly | Fault::Failing))
}

/// Pages of the log that are not in the database yet.
fn pages_to_copy(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (in_log, copied) = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], pages)?;
    Ok(u64::try_from(in_log - copied).unwrap_or(0))
}
