//! The one thread that writes: it drains what waits, commits once, and only then answers.
//!
//! There is no timer in the way of a commit: while one is synced to disk the next group gathers. Acknowledgements ride
//! along with appends, or are written after [`ACK_WAIT`]; losing one only makes the master drop a copy.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use hume_core::name::{Epoch, Seq};
use hume_core::run::RunState;
use hume_core::{AgentId, Event, RunId};
use hume_runtime::clock;
use hume_runtime::sqlite::{self, Checkpoint};
use hume_runtime::task_group::{Stop, TaskGroup};
use rusqlite::{Connection, Transaction, params};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::config::Keeping;
use super::fold::Fold;
use super::retention;
use super::types::{self, Appended, EpochRow, Figures, RunChange, SpoolError, Tail};

/// Most jobs that wait for the writer.
pub const JOBS_MAX: usize = 64;
/// An acknowledgement alone is written after this time at the latest.
const ACK_WAIT: Duration = Duration::from_secs(1);
/// Between two looks for rows that may be forgotten.
const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// The WAL is copied back when about so much was written to it and nothing waits.
const WAL_BYTES_IDLE: u64 = 4 * 1024 * 1024;
/// The WAL is copied back at this size even when something waits, and cut.
const WAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a commit writes to the WAL beside its events: pages of indexes and of the small tables.
const COMMIT_BYTES: u64 = 32 * 1024;
/// Folds kept in memory.
const FOLDS_MAX: usize = 4096;

enum Job {
    Append {
        events: Vec<Event>,
        changes: Vec<RunChange>,
        answer: oneshot::Sender<Result<Appended, SpoolError>>,
    },
    Ack {
        epoch: Epoch,
        seq: Seq,
    },
}

/// Hands jobs to the writer's thread.
#[derive(Clone, Debug)]
pub struct SpoolWriter {
    jobs: SyncSender<Job>,
    tail: watch::Receiver<Tail>,
    figures: Arc<Figures>,
}

impl SpoolWriter {
    /// Appends events in this order, with what they change about open runs, in one transaction.
    /// Answers when they are on disk.
    ///
    /// # Errors
    /// [`SpoolError`]: nothing was appended. A repeated event id is an error of the caller and fails the whole append.
    pub async fn append(&self, events: Vec<Event>, changes: Vec<RunChange>) -> Result<Appended, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Append { events, changes, answer })?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }

    /// Notes that the master has everything of `epoch` up to `seq`. Written soon, not now.
    ///
    /// # Errors
    /// [`SpoolError::Busy`] or [`SpoolError::Closed`]: it was not noted; the next acknowledgement covers it.
    pub fn acknowledge(&self, epoch: Epoch, seq: Seq) -> Result<(), SpoolError> {
        self.send(Job::Ack { epoch, seq })
    }

    /// The end of the spool, as it grows.
    pub fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.clone()
    }

    /// Numbers for status and metrics.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    fn send(&self, job: Job) -> Result<(), SpoolError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Busy,
            TrySendError::Disconnected(_) => SpoolError::Closed,
        })
    }
}

pub(super) fn start(
    tasks: &mut TaskGroup,
    connection: Connection,
    path: &Path,
    epoch: EpochRow,
    agent: Option<AgentId>,
    keeping: Keeping,
) -> Result<SpoolWriter, SpoolError> {
    let (jobs, waiting) = sync_channel(JOBS_MAX);
    let last = Seq::new(epoch.next.get() - 1).unwrap_or(Seq::ZERO);
    let (tail_sender, tail) = watch::channel(Tail { epoch: epoch.epoch, last });
    let figures = Arc::new(Figures::default());
    let mut thread = Writer {
        connection,
        path: path.to_owned(),
        epoch,
        agent,
        keeping,
        tail: tail_sender,
        figures: Arc::clone(&figures),
        folds: HashMap::new(),
        acks: HashMap::new(),
        acked_at: Instant::now(),
        forget_at: Instant::now() + RETENTION_EVERY,
        pressed: false,
        wal_bytes: 0,
    };
    thread.count()?;
    tasks
        .spawn_thread("spool writer", move |stop| {
            thread.run(&waiting, &stop);
            Ok(())
        })
        .map_err(SpoolError::Thread)?;
    Ok(SpoolWriter { jobs, tail, figures })
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    epoch: EpochRow,
    agent: Option<AgentId>,
    keeping: Keeping,
    tail: watch::Sender<Tail>,
    figures: Arc<Figures>,
    /// Folds of runs that may grow; dropped whole when a transaction fails.
    folds: HashMap<RunId, RunState>,
    /// Acknowledged, not yet written.
    acks: HashMap<Epoch, Seq>,
    acked_at: Instant,
    /// When to look again for rows that may be forgotten.
    forget_at: Instant,
    /// There was no room: whatever the master has may go.
    pressed: bool,
    /// About what was written to the WAL since it was last copied back.
    wal_bytes: u64,
}

/// An append that was executed and waits for the commit.
type Pending = (oneshot::Sender<Result<Appended, SpoolError>>, Result<Appended, SpoolError>);

impl Writer {
    /// Works until the stop is set and nothing waits.
    fn run(&mut self, waiting: &Receiver<Job>, stop: &Stop) {
        loop {
            match waiting.recv_timeout(Duration::from_millis(if self.acks.is_empty() { 1000 } else { 100 })) {
                Ok(job) => {
                    let mut group = vec![job];
                    group.extend(waiting.try_iter().take(JOBS_MAX));
                    self.commit_group(group);
                    self.housekeeping(false);
                }
                Err(RecvTimeoutError::Timeout) if stop.is_set() => break,
                Err(RecvTimeoutError::Timeout) => self.housekeeping(true),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.write_acks();
        if let Err(error) = sqlite::checkpoint(&self.connection, Checkpoint::Truncate) {
            warn!(%error, "the spool's WAL could not be copied back; the next start will do it");
        }
    }

    fn housekeeping(&mut self, idle: bool) {
        if !self.acks.is_empty() && self.acked_at.elapsed() >= ACK_WAIT {
            self.write_acks();
        }
        if Instant::now() >= self.forget_at {
            self.forget();
        }
        let wal = if self.wal_bytes >= WAL_BYTES_MAX { Checkpoint::Truncate } else { Checkpoint::Passive };
        if self.wal_bytes >= WAL_BYTES_IDLE && (idle || wal == Checkpoint::Truncate) {
            match sqlite::checkpoint(&self.connection, wal) {
                Ok(_) => self.wal_bytes = 0,
                Err(error) => warn!(%error, "the spool's WAL could not be copied back"),
            }
        }
    }

    fn forget(&mut self) {
        self.forget_at = Instant::now() + RETENTION_EVERY;
        let values = self.figures.get();
        let held = if self.keeping.acked_only { values.unacked_bytes } else { 0 };
        let keeping = if self.pressed { Keeping { bytes_max: 0, ..self.keeping } } else { self.keeping };
        match retention::forget(
            &mut self.connection,
            keeping,
            values.event_bytes.saturating_sub(held),
            clock::now(),
        ) {
            Ok(forgotten) => {
                self.pressed = false;
                if forgotten.events == 0 {
                    return;
                }
                if forgotten.more {
                    self.forget_at = Instant::now();
                }
                info!(events = forgotten.events, "forgot events, as the retention of the spool says");
                self.figures.update(|values| {
                    values.events = values.events.saturating_sub(forgotten.events);
                    values.event_bytes = values.event_bytes.saturating_sub(forgotten.bytes);
                    if !self.keeping.acked_only {
                        values.unacked_events = values.unacked_events.saturating_sub(forgotten.events);
                        values.unacked_bytes = values.unacked_bytes.saturating_sub(forgotten.bytes);
                    }
                });
                self.measure();
            }
            Err(error) => error!(%error, "could not forget old events"),
        }
    }

    /// Sizes of the file and its WAL.
    fn measure(&self) {
        let pages: i64 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap_or(0);
        let file_bytes = pages as u64 * u64::from(sqlite::PAGE_BYTES) + sqlite::wal_bytes(&self.path);
        self.figures.update(|values| values.file_bytes = file_bytes);
    }

    /// One transaction for all jobs; each append stands or falls alone, answers follow the commit.
    fn commit_group(&mut self, group: Vec<Job>) {
        let started = Instant::now();
        let before = self.epoch;
        let mut pending: Vec<Pending> = Vec::new();
        let mut count = (0, 0);
        for job in &group {
            if let Job::Ack { epoch, seq } = job {
                let highest = self.acks.entry(*epoch).or_insert(*seq);
                *highest = (*highest).max(*seq);
            }
        }
        let outcome = (|| {
            let mut transaction = self.connection.transaction()?;
            for job in group {
                let Job::Append { events, changes, answer } = job else { continue };
                let savepoint = transaction.savepoint()?;
                let mut fold = Fold { agent: self.agent, folds: &mut self.folds };
                match fold.append(&savepoint, &mut self.epoch, &events, &changes) {
                    Ok((appended, bytes)) => {
                        savepoint.commit()?;
                        count = (count.0 + events.len() as u64, count.1 + bytes);
                        pending.push((answer, Ok(appended)));
                    }
                    // Out of room SQLite may have taken back the whole transaction by itself.
                    Err(SpoolError::Sql(error)) if types::is_full(&error) => {
                        pending.push((answer, Err(SpoolError::Closed)));
                        return Err(error);
                    }
                    Err(error) => {
                        self.folds.clear();
                        drop(savepoint);
                        self.epoch.next = epoch_next(&transaction, &self.epoch)?;
                        pending.push((answer, Err(error)));
                    }
                }
            }
            let acked = write_acks(&transaction, &self.acks)?;
            transaction.commit()?;
            Ok(acked)
        })();
        match outcome {
            Ok(acked) => {
                self.acks.clear();
                self.acked_at = Instant::now();
                self.wal_bytes += 2 * count.1 + COMMIT_BYTES;
                self.figures.update(|values| {
                    values.acked(acked);
                    values.events += count.0;
                    values.event_bytes += count.1;
                    values.unacked_events += count.0;
                    values.unacked_bytes += count.1;
                    values.appended += count.0;
                    values.commits += 1;
                    values.commit_us += u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                });
                self.measure();
                for (answer, result) in pending {
                    // The asker may have given up; the event is kept all the same.
                    let _ = answer.send(result);
                }
                if self.folds.len() > FOLDS_MAX {
                    self.folds.clear();
                }
                let last = Seq::new(self.epoch.next.get() - 1).unwrap_or(Seq::ZERO);
                self.tail.send_if_modified(|tail| {
                    let grown = tail.last != last;
                    tail.last = last;
                    grown
                });
            }
            Err(error) => {
                self.epoch = before;
                self.folds.clear();
                let text = error.to_string();
                error!(error = %text, "the spool could not commit");
                let full = types::is_full(&error);
                if full {
                    self.pressed = true;
                    self.forget_at = Instant::now();
                }
                let used_bytes = self.figures.get().file_bytes;
                for (answer, _) in pending {
                    let error = if full { SpoolError::Full { used_bytes } } else { SpoolError::Closed };
                    let _ = answer.send(Err(error));
                }
            }
        }
    }

    fn write_acks(&mut self) {
        self.acked_at = Instant::now();
        let outcome = (|| {
            let transaction = self.connection.transaction()?;
            let acked = write_acks(&transaction, &self.acks)?;
            transaction.commit()?;
            Ok::<_, rusqlite::Error>(acked)
        })();
        match outcome {
            Ok(acked) => {
                self.acks.clear();
                self.wal_bytes += COMMIT_BYTES;
                self.figures.update(|values| values.acked(acked));
            }
            Err(error) => warn!(%error, "could not note an acknowledgement; the master will drop the copies"),
        }
    }

    /// Counts everything: once, at the start.
    fn count(&self) -> Result<(), SpoolError> {
        let two = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
        let (events, event_bytes) = self.connection.query_row(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM event",
            [],
            two,
        )?;
        let (unacked_events, unacked_bytes) = self.connection.query_row(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM epoch JOIN event ON epoch_no = no AND seq > acked_seq",
            [],
            two,
        )?;
        self.figures.update(|values| {
            values.events = events;
            values.event_bytes = event_bytes;
            values.unacked_events = unacked_events;
            values.unacked_bytes = unacked_bytes;
        });
        self.measure();
        Ok(())
    }
}

fn epoch_next(connection: &Connection, epoch: &EpochRow) -> rusqlite::Result<Seq> {
    connection
        .prepare_cached("SELECT next_seq FROM epoch WHERE no = ?1")?
        .query_row([epoch.no], |row| row.get::<_, i64>(0))
        .map(|next| Seq::new(next as u64).unwrap_or(epoch.next))
}

/// Notes what is acknowledged; answers how many events that newly are, and their bytes.
fn write_acks(transaction: &Transaction<'_>, acks: &HashMap<Epoch, Seq>) -> rusqlite::Result<(u64, u64)> {
    let mut sum = (0, 0);
    for (epoch, seq) in acks {
        let place = params![epoch.as_bytes(), seq.get() as i64];
        let (events, bytes): (i64, i64) = transaction
            .prepare_cached(
                "SELECT count(*), coalesce(sum(length(body)), 0) FROM epoch
                   JOIN event ON epoch_no = no AND seq > acked_seq AND seq <= ?2 WHERE epoch = ?1",
            )?
            .query_row(place, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let noted = transaction
            .prepare_cached(
                "UPDATE epoch SET acked_seq = ?2,
                        acked_event = (SELECT id FROM event WHERE epoch_no = epoch.no AND seq = ?2)
                  WHERE epoch = ?1 AND acked_seq < ?2 AND next_seq > ?2",
            )?
            .execute(place)?;
        if noted == 1 {
            sum = (sum.0 + events as u64, sum.1 + bytes as u64);
        }
    }
    Ok(sum)
}
