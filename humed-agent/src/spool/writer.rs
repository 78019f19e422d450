//! The one thread that writes: it drains what waits, commits once, and only then answers.
//!
//! There is no timer in the way of a commit: while one is synced to disk the next group gathers. Acknowledgements ride
//! along with appends, or are written [`ACK_WAIT`] after the first of them; losing one only makes the master drop a copy.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hume_core::name::{Epoch, Seq};
use hume_core::{AgentId, Event, RunId};
use hume_proto::relay::EpochReason;
use hume_runtime::clock;
use hume_runtime::sqlite::{self, Checkpoint};
use hume_runtime::task_group::{Stop, TaskGroup};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::config::Keeping;
use super::epochs::{self, EpochRow};
use super::fold::{Fold, HotRun};
use super::retention::{self, Forgotten, Round};
use super::types::{self, Appended, Figures, RunChange, SpoolError, Tail, row_of};
use super::watermark::Pending;

/// Most jobs that wait for the writer.
pub const JOBS_MAX: usize = 64;
/// An acknowledgement alone is written after this time at the latest.
const ACK_WAIT: Duration = Duration::from_secs(1);
/// When nothing came for so long, the WAL may be copied back; and after the stop, the work is done.
const QUIET_AFTER: Duration = Duration::from_secs(1);
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
    /// See [`SpoolWriter::succeed`].
    Succeed { epoch: Epoch, reason: EpochReason, answer: oneshot::Sender<Result<EpochRow, SpoolError>> },
    /// There is something in [`Acks`].
    Acks,
    /// The stop is set.
    Stop,
}

/// Highest acknowledged place of each epoch that the writer has not looked at: it takes no room in the queue.
#[derive(Clone, Debug, Default)]
struct Acks(Arc<Mutex<BTreeMap<Epoch, Seq>>>);

impl Acks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Epoch, Seq>> {
        // Every statement leaves the map whole, so a poisoned lock is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when it is the first that the writer has not looked at.
    fn put(&self, epoch: Epoch, seq: Seq) -> bool {
        let mut acks = self.lock();
        let is_first = acks.is_empty();
        let highest = acks.entry(epoch).or_insert(seq);
        *highest = (*highest).max(seq);
        is_first
    }

    fn take(&self) -> BTreeMap<Epoch, Seq> {
        std::mem::take(&mut *self.lock())
    }
}

/// Hands jobs to the writer's thread.
#[derive(Clone, Debug)]
pub struct SpoolWriter {
    jobs: SyncSender<Job>,
    acks: Acks,
    tail: watch::Receiver<Tail>,
    figures: Arc<Figures>,
    pending: Pending,
}

impl SpoolWriter {
    /// Appends events in this order, with what they change about open runs, in one transaction.
    /// Answers when they are on disk.
    ///
    /// # Errors
    /// [`SpoolError`]: nothing was appended. A repeated event id is an error of the caller and fails the whole append.
    pub async fn append(&self, events: Vec<Event>, changes: Vec<RunChange>) -> Result<Appended, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Append { events, changes, answer }).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Busy,
            TrySendError::Disconnected(_) => SpoolError::Closed,
        })?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }

    /// Notes that the master has everything of `epoch` up to `seq`. Written soon, not now; never refused as busy.
    ///
    /// # Errors
    /// [`SpoolError::Closed`]: it was not noted; the master says it again at the next start.
    pub fn acknowledge(&self, epoch: Epoch, seq: Seq) -> Result<(), SpoolError> {
        if !self.acks.put(epoch, seq) {
            return Ok(());
        }
        match self.jobs.try_send(Job::Acks) {
            // With a full queue the writer is awake, and looks before its next commit.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(SpoolError::Closed),
        }
    }

    /// Begins an epoch that takes over from this one: what was not acknowledged moves into it. Answers when that is on disk.
    ///
    /// # Errors
    /// [`SpoolError`]: nothing was changed. [`SpoolError::NoEpoch`] when another one took over before.
    pub async fn succeed(&self, epoch: Epoch, reason: EpochReason) -> Result<EpochRow, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Succeed { epoch, reason, answer }).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Busy,
            TrySendError::Disconnected(_) => SpoolError::Closed,
        })?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }

    /// The end of the spool, as it grows.
    pub fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.clone()
    }

    /// Numbers for status and metrics.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// What was received and is not on disk yet.
    pub fn pending(&self) -> &Pending {
        &self.pending
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
    let acks = Acks::default();
    let mut thread = Writer {
        connection,
        path: path.to_owned(),
        epoch,
        agent,
        keeping,
        tail: tail_sender,
        figures: Arc::clone(&figures),
        folds: HashMap::new(),
        told: acks.clone(),
        acks: BTreeMap::new(),
        acked_at: Instant::now(),
        forget_at: Instant::now() + RETENTION_EVERY,
        round: Round::default(),
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
    let waker = jobs.clone();
    tasks.spawn("spool stop", |stop| async move {
        stop.wait().await;
        // With a full queue the writer is awake.
        let _ = waker.try_send(Job::Stop);
        Ok(())
    });
    Ok(SpoolWriter { jobs, acks, tail, figures, pending: Pending::default() })
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
    folds: HashMap<RunId, HotRun>,
    /// Acknowledged, not yet looked at.
    told: Acks,
    /// Acknowledged and counted, not yet written.
    acks: BTreeMap<Epoch, Seq>,
    /// When the first of them came, or writing them was last tried.
    acked_at: Instant,
    /// When to look again for rows that may be forgotten.
    forget_at: Instant,
    /// How far the look has come.
    round: Round,
    /// There was no room: whatever the master has may go.
    pressed: bool,
    /// About what was written to the WAL since it was last copied back.
    wal_bytes: u64,
}

/// An append that was executed and waits for the commit.
type Done = (oneshot::Sender<Result<Appended, SpoolError>>, Result<Appended, SpoolError>);

impl Writer {
    /// Works until the stop is set and nothing waits.
    fn run(&mut self, waiting: &Receiver<Job>, stop: &Stop) {
        loop {
            match waiting.recv_timeout(self.idle_for(stop)) {
                Ok(job) => {
                    let mut group = vec![job];
                    group.extend(waiting.try_iter().take(JOBS_MAX));
                    let (successions, group): (Vec<Job>, Vec<Job>) =
                        group.into_iter().partition(|job| matches!(job, Job::Succeed { .. }));
                    self.commit_group(group);
                    for job in successions {
                        if let Job::Succeed { epoch, reason, answer } = job {
                            // The asker may have given up; the epoch stays.
                            let _ = answer.send(self.succeed(epoch, reason));
                        }
                    }
                    self.housekeeping(false);
                }
                Err(RecvTimeoutError::Timeout) if stop.is_set() => break,
                Err(RecvTimeoutError::Timeout) => self.housekeeping(true),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.take_acks();
        self.write_acks();
        if let Err(error) = sqlite::checkpoint(&self.connection, Checkpoint::Truncate) {
            warn!(%error, "the spool's WAL could not be copied back; the next start will do it");
        }
    }

    /// How long nothing needs to be looked after, if nothing comes.
    fn idle_for(&self, stop: &Stop) -> Duration {
        if stop.is_set() {
            return QUIET_AFTER;
        }
        let now = Instant::now();
        let quiet = (self.wal_bytes >= WAL_BYTES_IDLE).then_some(QUIET_AFTER);
        let acks = (!self.acks.is_empty()).then(|| (self.acked_at + ACK_WAIT).saturating_duration_since(now));
        let forget = self.forget_at.saturating_duration_since(now);
        [quiet, acks].into_iter().flatten().fold(forget, Duration::min)
    }

    fn housekeeping(&mut self, idle: bool) {
        self.take_acks();
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
        // What is acknowledged may go only when it is written that it is.
        self.write_acks();
        let values = self.figures.get();
        let held = if self.keeping.acked_only { values.unacked_bytes } else { 0 };
        let keeping = if self.pressed { Keeping { bytes_max: 0, ..self.keeping } } else { self.keeping };
        let bytes = values.event_bytes.saturating_sub(held);
        match retention::forget(&mut self.connection, keeping, bytes, clock::now(), &mut self.round) {
            Ok(forgotten) => {
                if forgotten.more {
                    self.forget_at = Instant::now();
                }
                // Under pressure a look goes on until it has made some room, or has seen everything.
                self.pressed &= forgotten.events == 0 && forgotten.more;
                if forgotten.events == 0 {
                    return;
                }
                let Forgotten { events, bytes, of_open_runs, more: _ } = forgotten;
                info!(events, of_open_runs, "forgot events, as the retention of the spool says");
                // Rows of runs may be among what went.
                self.folds.clear();
                self.figures.update(|values| {
                    values.events = values.events.saturating_sub(events);
                    values.event_bytes = values.event_bytes.saturating_sub(bytes);
                    if !self.keeping.acked_only {
                        values.unacked_events = values.unacked_events.saturating_sub(events);
                        values.unacked_bytes = values.unacked_bytes.saturating_sub(bytes);
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
        self.take_acks();
        if !group.iter().any(|job| matches!(job, Job::Append { .. })) {
            return;
        }
        let started = Instant::now();
        let before = self.epoch;
        let mut pending: Vec<Done> = Vec::new();
        let mut count = (0, 0);
        let outcome = (|| {
            let mut transaction = self.connection.transaction()?;
            for job in group {
                let Job::Append { events, changes, answer } = job else { continue };
                let savepoint = transaction.savepoint()?;
                let mut fold = Fold { agent: self.agent, folds: &mut self.folds };
                let events_count = events.len() as u64;
                match fold.append(&savepoint, &mut self.epoch, events, &changes) {
                    Ok((appended, bytes)) => {
                        savepoint.commit()?;
                        count = (count.0 + events_count, count.1 + bytes);
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
            write_acks(&transaction, &self.acks)?;
            transaction.commit()?;
            Ok(())
        })();
        match outcome {
            Ok(()) => {
                self.acks.clear();
                self.wal_bytes += 2 * count.1 + COMMIT_BYTES;
                self.figures.update(|values| {
                    values.events += count.0;
                    values.event_bytes += count.1;
                    values.unacked_events += count.0;
                    values.unacked_bytes += count.1;
                    values.appended += count.0;
                    values.committed(started.elapsed());
                    values.full &= count.0 == 0;
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
                self.figures.update(|values| values.full |= full);
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

    /// The new epoch is the one that grows from now on.
    fn succeed(&mut self, epoch: Epoch, reason: EpochReason) -> Result<EpochRow, SpoolError> {
        self.take_acks();
        let transaction = self.connection.transaction()?;
        write_acks(&transaction, &self.acks)?;
        let row = epochs::succeed(&transaction, epoch, reason)?;
        transaction.commit()?;
        self.acks.clear();
        // What is known of runs names places.
        self.folds.clear();
        self.epoch = row;
        self.tail.send_replace(Tail { epoch: row.epoch, last: row.last() });
        warn!(%epoch, successor = %row.epoch, ?reason, moved = row.restamped.get(), "a new epoch took over");
        Ok(row)
    }

    /// Takes what was acknowledged since the last look, and counts it: that needs no commit.
    fn take_acks(&mut self) {
        for (epoch, seq) in self.told.take() {
            match newly_acked(&self.connection, self.acks.get(&epoch).copied(), epoch, seq) {
                Ok(None) => {}
                Ok(Some(counted)) => {
                    if self.acks.is_empty() {
                        self.acked_at = Instant::now();
                    }
                    self.acks.insert(epoch, seq);
                    self.figures.update(|values| values.acked(counted));
                }
                Err(error) => {
                    warn!(%error, "could not count an acknowledgement; trying again");
                    self.told.put(epoch, seq);
                }
            }
        }
    }

    fn write_acks(&mut self) {
        if self.acks.is_empty() {
            return;
        }
        let started = Instant::now();
        self.acked_at = started;
        let outcome = (|| {
            let transaction = self.connection.transaction()?;
            write_acks(&transaction, &self.acks)?;
            transaction.commit()
        })();
        match outcome {
            Ok(()) => {
                self.acks.clear();
                self.wal_bytes += COMMIT_BYTES;
                self.figures.update(|values| values.committed(started.elapsed()));
            }
            Err(error) => warn!(%error, "could not write an acknowledgement; trying again"),
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
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM epoch
               JOIN event ON row > (no << 40 | acked_seq) AND row < (no + 1) << 40",
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

/// How many events, and bytes of them, are newly acknowledged by a word on `seq`, when `noted` is what the writer knows
/// beyond the file. None when it is no news, or about a place that was never given out.
fn newly_acked(
    connection: &Connection,
    noted: Option<Seq>,
    epoch: Epoch,
    seq: Seq,
) -> rusqlite::Result<Option<(u64, u64)>> {
    let found = connection
        .prepare_cached("SELECT no, acked_seq FROM epoch WHERE epoch = ?1 AND next_seq > ?2")?
        .query_row(params![epoch.as_bytes(), seq.get() as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let Some((no, written)) = found else { return Ok(None) };
    let before = written.max(noted.map_or(0, |noted| noted.get() as i64));
    if seq.get() as i64 <= before {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM event WHERE row > (?1 << 40 | ?2) AND row <= ?3",
        )?
        .query_row(params![no, before, row_of(no, seq)], |row| {
            Ok(Some((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
        })
}

/// Notes what is acknowledged.
fn write_acks(transaction: &Transaction<'_>, acks: &BTreeMap<Epoch, Seq>) -> rusqlite::Result<()> {
    for (epoch, seq) in acks {
        transaction
            .prepare_cached(
                "UPDATE epoch SET acked_seq = ?2,
                        acked_event = (SELECT id FROM event WHERE row = (epoch.no << 40 | ?2))
                  WHERE epoch = ?1 AND acked_seq < ?2 AND next_seq > ?2",
            )?
            .execute(params![epoch.as_bytes(), seq.get() as i64])?;
    }
    Ok(())
}
