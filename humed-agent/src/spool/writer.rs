//! The one thread that writes: it drains what waits, commits once, and only then answers.
//!
//! There is no timer in the way of a commit: while one is synced to disk the next group gathers. Acknowledgements ride
//! along with appends, or are written [`ACK_WAIT`] after the first of them; losing one only makes the master drop a copy.
//! After a fault of the disk nothing is appended to the same log: see `repair`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use hume_core::name::{Epoch, Seq};
use hume_core::{AgentId, Event, RunId};
use hume_proto::relay::EpochReason;
use hume_runtime::points::{self, Point};
use hume_runtime::sqlite::{self, Checkpoint, Fault};
use hume_runtime::task_group::{Stop, TaskGroup};
use hume_transfer::Board;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::acks::{self, Acks, newly_acked};
use super::config::{Keeping, WhenFull};
use super::disk::{self, Disk, Refusal};
use super::epochs::{self, EpochRow};
use super::fold::{Fold, HotRun};
use super::housekeeping::{Press, RETENTION_EVERY};
use super::reader::Renewals;
use super::retention::Round;
use super::types::{Appended, Figures, RunChange, SpoolError, Tail};
use super::watermark::Pending;

/// Most jobs that wait for the writer.
pub const JOBS_MAX: usize = 64;
/// An acknowledgement alone is written after this time at the latest.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(1);
/// After the stop, when nothing came for so long, the work is done.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// What a commit writes to the WAL beside its events: pages of indexes and of the small tables.
const COMMIT_BYTES: u64 = 32 * 1024;
/// Folds kept in memory.
const FOLDS_MAX: usize = 4096;

enum Job {
    Append(Append),
    /// See [`SpoolWriter::succeed`].
    Succeed(Succession),
    /// There is something in [`Acks`].
    Acks,
    /// The stop is set.
    Stop,
}

/// Events to be appended in one go, or not at all.
struct Append {
    events: Vec<Event>,
    changes: Vec<RunChange>,
    answer: oneshot::Sender<Answer>,
}

/// An epoch that another is to take over from.
struct Succession {
    epoch: Epoch,
    reason: EpochReason,
    answer: oneshot::Sender<Result<EpochRow, SpoolError>>,
}

/// What becomes of an append.
type Answer = Result<Appended, SpoolError>;

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
        self.begin_append(events, changes)?.await.map_err(|_| SpoolError::Closed)?
    }

    /// The same, for whoever has something else to do until the answer comes. None comes when the spool is closed.
    ///
    /// # Errors
    /// [`SpoolError::Busy`], [`SpoolError::Closed`]: nothing was begun.
    pub fn begin_append(
        &self,
        events: Vec<Event>,
        changes: Vec<RunChange>,
    ) -> Result<oneshot::Receiver<Result<Appended, SpoolError>>, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Append(Append { events, changes, answer })).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Busy,
            TrySendError::Disconnected(_) => SpoolError::Closed,
        })?;
        Ok(answered)
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
        self.jobs.try_send(Job::Succeed(Succession { epoch, reason, answer })).map_err(
            |error| match error {
                TrySendError::Full(_) => SpoolError::Busy,
                TrySendError::Disconnected(_) => SpoolError::Closed,
            },
        )?;
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

/// What the writer begins with.
pub(super) struct Beginning {
    pub(super) connection: Connection,
    pub(super) disk: Disk,
    pub(super) epoch: EpochRow,
    pub(super) agent: Option<AgentId>,
    pub(super) keeping: Keeping,
    pub(super) when_full: WhenFull,
    /// How far those have come who tell others.
    pub(super) transfers: Board,
    pub(super) renewals: Renewals,
    pub(super) figures: Arc<Figures>,
}

pub(super) fn start(tasks: &mut TaskGroup, beginning: Beginning) -> Result<SpoolWriter, SpoolError> {
    let Beginning { connection, disk, epoch, agent, keeping, when_full, transfers, renewals, figures } =
        beginning;
    let (jobs, waiting) = sync_channel(JOBS_MAX);
    let (tail_sender, tail) = watch::channel(Tail::of(&epoch));
    let acks = Acks::default();
    let mut thread = Writer {
        connection,
        disk,
        epoch,
        agent,
        keeping,
        when_full,
        transfers,
        renewals,
        tail: tail_sender,
        figures: Arc::clone(&figures),
        folds: HashMap::new(),
        told: acks.clone(),
        acks: BTreeMap::new(),
        acked_at: Instant::now(),
        forget_at: Instant::now() + RETENTION_EVERY,
        round: Round::default(),
        press: Press::None,
        wal_bytes: 0,
    };
    thread.count()?;
    thread.tell_room(true, false);
    thread.keep_reserve();
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

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) disk: Disk,
    pub(super) epoch: EpochRow,
    pub(super) agent: Option<AgentId>,
    pub(super) keeping: Keeping,
    pub(super) when_full: WhenFull,
    /// How far those have come who tell others.
    pub(super) transfers: Board,
    /// Tells readers to open the file anew.
    pub(super) renewals: Renewals,
    tail: watch::Sender<Tail>,
    pub(super) figures: Arc<Figures>,
    /// Folds of runs that may grow; dropped whole when a transaction fails.
    pub(super) folds: HashMap<RunId, HotRun>,
    /// Acknowledged, not yet looked at.
    told: Acks,
    /// Acknowledged and counted, not yet written.
    pub(super) acks: BTreeMap<Epoch, Seq>,
    /// When the first of them came, or writing them was last tried.
    pub(super) acked_at: Instant,
    /// When to look again for rows that may be forgotten.
    pub(super) forget_at: Instant,
    /// How far the look has come.
    pub(super) round: Round,
    /// How far it goes for want of room.
    pub(super) press: Press,
    /// About what was written to the WAL since it was last copied back.
    pub(super) wal_bytes: u64,
}

/// The appends of one transaction that were executed, or refused alone, and wait for the commit.
#[derive(Default)]
struct Group {
    done: Vec<(oneshot::Sender<Answer>, Answer)>,
    events: u64,
    bytes: u64,
    /// Events that found no room.
    refused: u64,
}

impl Writer {
    /// Works until the stop is set and nothing waits.
    fn run(mut self, waiting: &Receiver<Job>, stop: &Stop) {
        loop {
            let idle_for = if stop.is_set() { QUIET_AFTER } else { self.idle_for() };
            match waiting.recv_timeout(idle_for) {
                Ok(job) => {
                    let group = std::iter::once(job).chain(waiting.try_iter().take(JOBS_MAX));
                    let (mut appends, mut successions) = (Vec::new(), Vec::new());
                    for job in group {
                        match job {
                            Job::Append(append) => appends.push(append),
                            Job::Succeed(succession) => successions.push(succession),
                            Job::Acks | Job::Stop => {}
                        }
                    }
                    self.take_acks();
                    if !appends.is_empty() {
                        self.commit(appends);
                    }
                    for Succession { epoch, reason, answer } in successions {
                        // The asker may have given up; the epoch stays.
                        let _ = answer.send(self.succeed(epoch, reason));
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
        self.close();
    }

    /// Copies the log back and closes the file; the next start then takes it as it is.
    fn close(self) {
        if self.disk.trouble().is_some() {
            return;
        }
        match sqlite::checkpoint(&self.connection, Checkpoint::Truncate) {
            Ok(report) if !report.busy => {
                let Writer { connection, disk, .. } = self;
                drop(connection);
                if let Err(error) = sqlite::leave_clean_stop(&disk.path) {
                    warn!(%error, "the next start looks through the spool");
                }
            }
            Ok(_) => info!("the spool is still being read; the next start copies its log back"),
            Err(error) => {
                warn!(%error, "the spool's log could not be copied back; the next start will do it");
            }
        }
    }

    /// One transaction for all appends; each stands or falls alone, answers follow the commit.
    fn commit(&mut self, appends: Vec<Append>) {
        if let Err(refusal) = self.prepare() {
            return self.refuse(appends, refusal);
        }
        let started = Instant::now();
        let before = self.epoch;
        let mut waiting = appends.into_iter();
        let mut group = Group::default();
        match self.transact(&mut waiting, &mut group) {
            Ok(()) => self.committed(group, started),
            Err(error) => {
                self.epoch = before;
                self.folds.clear();
                let refusal = self.suffer(&error, "commit");
                if matches!(refusal, Refusal::Full { .. } | Refusal::DiskFull) {
                    self.figures.update(|values| values.refused += group.events + group.refused);
                    self.press();
                }
                for (answer, _) in group.done {
                    let _ = answer.send(Err(refusal.into()));
                }
                self.refuse(waiting, refusal);
            }
        }
    }

    /// The new epoch is the one that grows from now on.
    fn succeed(&mut self, epoch: Epoch, reason: EpochReason) -> Result<EpochRow, SpoolError> {
        self.prepare().map_err(SpoolError::from)?;
        let row = match self.take_over(epoch, reason) {
            Err(SpoolError::Sql(error)) => return Err(self.suffer(&error, "begin an epoch").into()),
            other => other?,
        };
        self.acks.clear();
        // What is known of runs names places.
        self.folds.clear();
        self.epoch = row;
        self.publish_tail();
        warn!(%epoch, successor = %row.epoch, ?reason, moved = row.restamped.get(), "a new epoch took over");
        Ok(row)
    }

    fn take_over(&mut self, epoch: Epoch, reason: EpochReason) -> Result<EpochRow, SpoolError> {
        let transaction = self.connection.transaction()?;
        acks::write(&transaction, &self.acks)?;
        let row = epochs::succeed(&transaction, epoch, reason)?;
        points::reach(Point::AgentBeforeSuccession);
        transaction.commit()?;
        points::reach(Point::AgentAfterSuccession);
        Ok(row)
    }

    /// Looks whether a commit can be tried at all.
    fn prepare(&mut self) -> Result<(), Refusal> {
        if self.disk.trouble().is_none() && self.disk.is_gone() {
            self.fail(Fault::Failing, "its file is gone");
        }
        if let Some(trouble) = self.disk.trouble() {
            return Err(Refusal::Failing { cause: trouble.cause });
        }
        // What the ballast held is for making room, not for taking it.
        if self.disk.ballast.is_out() && !self.disk.ballast.restore() {
            self.press();
            return Err(Refusal::DiskFull);
        }
        Ok(())
    }

    fn refuse(&self, appends: impl IntoIterator<Item = Append>, refusal: Refusal) {
        let mut count = 0;
        for Append { events, answer, .. } in appends {
            count += events.len() as u64;
            let _ = answer.send(Err(refusal.into()));
        }
        if matches!(refusal, Refusal::Full { .. } | Refusal::DiskFull) {
            self.figures.update(|values| values.refused += count);
        }
    }

    fn transact(
        &mut self,
        waiting: &mut impl Iterator<Item = Append>,
        group: &mut Group,
    ) -> rusqlite::Result<()> {
        let refused_at = self.disk.refused_at();
        let mut transaction = self.connection.transaction()?;
        for Append { events, changes, answer } in waiting {
            let used_bytes = disk::used_bytes(&transaction)?;
            let count = events.len() as u64;
            if used_bytes >= refused_at {
                group.refused += count;
                group.done.push((answer, Err(SpoolError::Full { used_bytes })));
                continue;
            }
            let savepoint = transaction.savepoint()?;
            points::reach(Point::AgentBeforeInsert);
            let mut fold = Fold { agent: self.agent, folds: &mut self.folds };
            match fold.append(&savepoint, &mut self.epoch, events, &changes) {
                Ok((appended, bytes)) => {
                    group.done.push((answer, Ok(appended)));
                    savepoint.commit()?;
                    group.events += count;
                    group.bytes += bytes;
                }
                // SQLite may have taken back the whole transaction by itself.
                Err(SpoolError::Sql(error)) if Fault::of(&error).is_some() => {
                    group.events += count;
                    group.done.push((answer, Err(SpoolError::Closed)));
                    return Err(error);
                }
                Err(error) => {
                    self.folds.clear();
                    group.done.push((answer, Err(error)));
                    drop(savepoint);
                    self.epoch.next = epoch_next(&transaction, &self.epoch)?;
                }
            }
        }
        acks::write(&transaction, &self.acks)?;
        points::statement(Point::AgentBeforeCommit)?;
        transaction.commit()
    }

    /// It is on disk: counts, and answers.
    fn committed(&mut self, group: Group, started: Instant) {
        points::reach(Point::AgentAfterCommit);
        let Group { done, events, bytes, refused } = group;
        self.acks.clear();
        self.wal_bytes += 2 * bytes + COMMIT_BYTES;
        self.figures.update(|values| {
            values.events += events;
            values.event_bytes += bytes;
            values.unacked_events += events;
            values.unacked_bytes += bytes;
            values.appended += events;
            values.refused += refused;
            values.committed(started.elapsed());
        });
        self.measure();
        if refused > 0 {
            self.press();
        }
        self.keep_reserve();
        self.tell_room(refused == 0, events > 0);
        self.publish_tail();
        for (answer, result) in done {
            // The asker may have given up; the event is kept all the same.
            let _ = answer.send(result);
        }
        if self.folds.len() > FOLDS_MAX {
            self.folds.clear();
        }
    }

    /// Tells whoever follows where the spool ends now.
    pub(super) fn publish_tail(&self) {
        let now = Tail::of(&self.epoch);
        self.tail.send_if_modified(|tail| std::mem::replace(tail, now) != now);
    }

    /// Takes what was acknowledged since the last look, and counts it: that needs no commit.
    pub(super) fn take_acks(&mut self) {
        for (epoch, seq) in self.told.take() {
            match newly_acked(&self.connection, self.acks.get(&epoch).copied(), epoch, seq) {
                Ok(None) => {}
                Ok(Some(counted)) => {
                    if self.acks.is_empty() {
                        self.acked_at = Instant::now();
                    }
                    self.acks.insert(epoch, seq);
                    self.figures.update(|values| values.acked(counted));
                    self.keep_reserve();
                }
                Err(error) => {
                    warn!(%error, "could not count an acknowledgement; trying again");
                    self.told.put(epoch, seq);
                }
            }
        }
    }

    pub(super) fn write_acks(&mut self) {
        if self.acks.is_empty() || self.disk.trouble().is_some() {
            return;
        }
        let started = Instant::now();
        self.acked_at = started;
        let outcome = (|| {
            let transaction = self.connection.transaction()?;
            acks::write(&transaction, &self.acks)?;
            transaction.commit()
        })();
        match outcome {
            Ok(()) => {
                self.acks.clear();
                self.wal_bytes += COMMIT_BYTES;
                self.figures.update(|values| values.committed(started.elapsed()));
            }
            Err(error) => drop(self.suffer(&error, "note an acknowledgement")),
        }
    }
}

fn epoch_next(connection: &Connection, epoch: &EpochRow) -> rusqlite::Result<Seq> {
    connection
        .prepare_cached("SELECT next_seq FROM epoch WHERE no = ?1")?
        .query_row([epoch.no], |row| row.get::<_, i64>(0))
        .map(|next| Seq::new(next as u64).unwrap_or(epoch.next))
}
