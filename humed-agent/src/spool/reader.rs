//! Reads the spool on connections of its own: batches for the uplink, pages for questions. Removes nothing.
//!
//! At most [`READS_MAX`] reads go on at once, each for at most [`READ_TIME_MAX`]: an old snapshot holds up checkpoints.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hume_core::correlate::OpenRun;
use hume_core::name::{Epoch, EventId, Seq};
use hume_core::{AgentId, HostName, RunId, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{EpochReason, GapReason};
use hume_runtime::sqlite::{self, SqliteOptions};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::Semaphore;

use super::block;
use super::blocks::{self, Head};
use super::epochs::{self, EpochRow, number_of};
use super::types::{self, OpenRunRow, SpoolError, place_of, row_of, rows_from};

/// Reads at once; more wait.
const READS_MAX: usize = 4;
/// A read is ended after this time.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Steps of a statement between two looks at the time.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Why nothing stands at a place, and through which one.
fn hole(connection: &Connection, epoch_no: i64, from: Seq) -> Result<Stretch, SpoolError> {
    let next = blocks::next(connection, rows_from(epoch_no, from))?;
    let next = next.map(|row| place_of(row).1.get() as i64);
    let (given_out, restamped, reason, purged): (i64, i64, i64, i64) = connection
        .prepare_cached("SELECT next_seq, restamped, reason, purged FROM epoch WHERE no = ?1")?
        .query_row([epoch_no], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let from_no = from.get() as i64;
    let through = next.unwrap_or(given_out) - 1;
    if through < from_no {
        return Ok(Stretch::Events(Vec::new()));
    }
    // Of a damaged file, what moved into this epoch has holes where it could not be read.
    let was_damaged = EpochReason::from_number(reason) == EpochReason::Salvaged && from_no <= restamped;
    let (through, reason) = if from_no <= purged {
        (through.min(purged), GapReason::Purged)
    } else if was_damaged {
        (through.min(restamped), GapReason::Corrupt)
    } else {
        (through, GapReason::Evicted)
    };
    Ok(Stretch::Hole { through: Seq::new(through as u64).unwrap_or(from), reason })
}

fn in_snapshot<T>(
    connection: &Connection,
    question: impl FnOnce(&Connection) -> Result<T, SpoolError>,
) -> Result<T, SpoolError> {
    let snapshot = connection.unchecked_transaction()?;
    let answer = question(&snapshot)?;
    snapshot.rollback()?;
    Ok(answer)
}

/// As [`HEADS`](blocks::HEADS), with the bodies.
const BLOCKS: &str = "SELECT row, last, events, bytes, marks, bodies FROM block
  WHERE row >= coalesce((SELECT max(row) FROM block WHERE row <= ?1), ?1) AND row < ?2 ORDER BY row";

/// Events at consecutive places, as they are gathered from blocks.
struct Piece {
    /// The place of the next one.
    next: i64,
    events: Vec<EventBytes>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

/// What was found in a block.
enum Taken {
    /// It may go on in the next one.
    All,
    /// There is no more to be had, or something is missing.
    Enough,
    /// What stands at the next place, through this one, is not what was written.
    Damaged { through: i64 },
}

impl Piece {
    fn take(&mut self, head: &Head, bytes: &[u8]) -> Taken {
        if head.last < self.next {
            return Taken::All;
        }
        let marks = head.marks.as_deref().unwrap_or_default();
        let Some(bodies) = block::bodies(marks, bytes) else {
            return if head.row > self.next { Taken::Enough } else { Taken::Damaged { through: head.last } };
        };
        let from = self.next;
        for (mark, body) in marks.iter().zip(bodies).filter(|(mark, _)| mark.row >= from) {
            self.bytes += body.len();
            let is_over = !self.events.is_empty() && self.bytes > self.bytes_max;
            if mark.row != self.next || is_over || self.events.len() >= self.events_max {
                return Taken::Enough;
            }
            if mark.crc != crc32fast::hash(body) {
                return Taken::Damaged { through: mark.row };
            }
            self.events.push(EventBytes::from_raw(body.to_vec()));
            self.next += 1;
        }
        Taken::All
    }
}

/// What stands at consecutive places of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// An event at each place from the one asked for on. None: nothing was given out from there on.
    Events(Vec<EventBytes>),
    /// No event from the place asked for on, through this one.
    Hole {
        /// The last of them.
        through: Seq,
        /// Why.
        reason: GapReason,
    },
}

/// How often a new file has taken the place of the spool's: connections to the one before answer for it alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewals(Arc<AtomicU64>);

impl Renewals {
    /// A new file is in place.
    pub(super) fn renew(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Answers questions about the spool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SpoolReader {
    path: PathBuf,
    options: SqliteOptions,
    agent: Option<AgentId>,
    renewals: Renewals,
    /// Each with the count of renewals when it was opened.
    idle: Arc<Mutex<Vec<(u64, Connection)>>>,
    places: Arc<Semaphore>,
}

impl SpoolReader {
    pub(super) fn new(
        path: PathBuf,
        options: SqliteOptions,
        agent: Option<AgentId>,
        renewals: Renewals,
    ) -> SpoolReader {
        SpoolReader {
            path,
            options,
            agent,
            renewals,
            idle: Arc::default(),
            places: Arc::new(Semaphore::new(READS_MAX)),
        }
    }

    /// The agent whose spool it is; none without a master.
    pub fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// Runs `question` on a connection, away from the async threads; all its statements see the same moment.
    ///
    /// # Errors
    /// [`SpoolError::TooSlow`] after [`READ_TIME_MAX`], and what the question itself fails with.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let reader = self.clone();
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| SpoolError::Closed)?;
        let answer = tokio::task::spawn_blocking(move || {
            let _place = place;
            let renewed = reader.renewals.count();
            let mut connection = match reader.kept(renewed) {
                Some(connection) => connection,
                None => sqlite::open_reader(&reader.path, &reader.options)?,
            };
            let started = Instant::now();
            let overdue = move || started.elapsed() > READ_TIME_MAX;
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(overdue))?;
            let answer = in_snapshot(&connection, question);
            reader.idle.lock().unwrap_or_else(PoisonError::into_inner).push((renewed, connection));
            match answer {
                Err(SpoolError::Sql(error)) if types::is_ended(&error) => {
                    Err(SpoolError::TooSlow { seconds: READ_TIME_MAX.as_secs() })
                }
                other => other,
            }
        });
        answer.await.map_err(|_| SpoolError::Closed)?
    }

    /// A connection to the file that is in place now.
    fn kept(&self, renewed: u64) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(opened, _)| *opened == renewed);
        idle.pop().map(|(_, connection)| connection)
    }

    /// Of these ids, those that are kept, with place and run.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn known(&self, ids: Vec<EventId>) -> Result<Vec<(EventId, Seq, Option<RunId>)>, SpoolError> {
        self.ask(move |connection| {
            let mut select = connection.prepare_cached("SELECT id FROM run WHERE no = ?1")?;
            let mut known = Vec::new();
            for mark in blocks::with_ids(connection, &ids)? {
                let run: Option<Vec<u8>> = match mark.run_no {
                    Some(no) => select.query_row([no], |row| row.get(0)).optional()?,
                    None => None,
                };
                known.push((mark.id, place_of(mark.row).1, run.and_then(|run| RunId::from_slice(&run))));
            }
            Ok(known)
        })
        .await
    }

    /// Every epoch, oldest first.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn epochs(&self) -> Result<Vec<EpochRow>, SpoolError> {
        self.ask(epochs::all).await
    }

    /// What stands in `epoch` from `from` on: at most `events_max` events and, beyond the first, `bytes_max` bytes. A hole ends it.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn stretch(
        &self,
        epoch: Epoch,
        from: Seq,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Stretch, SpoolError> {
        self.ask(move |connection| {
            let Some(no) = number_of(connection, epoch)? else { return Ok(Stretch::Events(Vec::new())) };
            let mut piece =
                Piece { next: row_of(no, from), events: Vec::new(), bytes: 0, events_max, bytes_max };
            let mut statement = connection.prepare_cached(BLOCKS)?;
            let Range { start, end } = rows_from(no, from);
            let mut rows = statement.query([start, end])?;
            let damaged = loop {
                let taken = match rows.next() {
                    Ok(Some(row)) => Head::read(row).and_then(|head| {
                        let bodies = row.get_ref(5)?.as_blob().unwrap_or_default();
                        Ok(piece.take(&head, bodies))
                    }),
                    Ok(None) => break None,
                    Err(error) => Err(error),
                };
                match taken {
                    Ok(Taken::All) => {}
                    Ok(Taken::Enough) => break None,
                    Ok(Taken::Damaged { through }) => break Some(through),
                    // What was read before it goes first; the next look begins here.
                    Err(error) if types::is_unreadable(&error) && !piece.events.is_empty() => break None,
                    Err(error) => return Err(error.into()),
                }
            };
            match damaged {
                _ if !piece.events.is_empty() => Ok(Stretch::Events(piece.events)),
                Some(row) => Ok(Stretch::Hole { through: place_of(row).1, reason: GapReason::Corrupt }),
                None => hole(connection, no, from),
            }
        })
        .await
    }

    /// The places from `from` on, at most `places_max`, whose rows cannot be read at all; none when the first of them can.
    /// For when the disk, or the tree of the file, fails below them.
    ///
    /// # Errors
    /// [`SpoolError`] if not even the table of epochs can be read.
    pub async fn unreadable(
        &self,
        epoch: Epoch,
        from: Seq,
        places_max: u64,
    ) -> Result<Option<Stretch>, SpoolError> {
        self.ask(move |connection| {
            let Some(no) = number_of(connection, epoch)? else { return Ok(None) };
            let mut statement = connection.prepare_cached(BLOCKS)?;
            let mut fails = |seq: &Seq| {
                let row = row_of(no, *seq);
                let read = statement.query_row([row, row + 1], |row| row.get::<_, Vec<u8>>(5));
                matches!(read, Err(error) if types::is_unreadable(&error))
            };
            let through = (0..places_max).map(|offset| from.plus(offset)).take_while(|seq| fails(seq)).last();
            Ok(through.map(|through| Stretch::Hole { through, reason: GapReason::Corrupt }))
        })
        .await
    }

    /// Lowest kept place of an epoch.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn first_retained(&self, epoch: Epoch) -> Result<Option<Seq>, SpoolError> {
        self.ask(move |connection| {
            let Some(no) = number_of(connection, epoch)? else { return Ok(None) };
            let first = blocks::next(connection, rows_from(no, Seq::ZERO))?;
            Ok(first.map(|row| place_of(row).1))
        })
        .await
    }

    /// Id and receive time of the event at a place, if it is kept.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn at(&self, epoch: Epoch, seq: Seq) -> Result<Option<(EventId, Timestamp)>, SpoolError> {
        self.ask(move |connection| {
            let Some(no) = number_of(connection, epoch)? else { return Ok(None) };
            let found = blocks::at(connection, row_of(no, seq))?;
            Ok(found.map(|mark| (mark.id, Timestamp::from_micros(mark.received_us))))
        })
        .await
    }

    /// When the oldest event that was not acknowledged was received.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn oldest_unacked(&self) -> Result<Option<Timestamp>, SpoolError> {
        self.ask(|connection| {
            for epoch in epochs::all(connection)? {
                if let Some(mark) = blocks::first(connection, rows_from(epoch.no, epoch.acked.next()))? {
                    return Ok(Some(Timestamp::from_micros(mark.received_us)));
                }
            }
            Ok(None)
        })
        .await
    }

    /// The runs that later events may join, as they were when the spool was last written.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn open_runs(&self) -> Result<Vec<OpenRunRow>, SpoolError> {
        self.ask(|connection| {
            let mut statement = connection.prepare_cached("SELECT task, host, state, rowid FROM open_run")?;
            let mut rows = statement.query([])?;
            let mut open = Vec::new();
            while let Some(row) = rows.next()? {
                let number: i64 = row.get(3)?;
                let damaged = |detail: String| SpoolError::Damaged { row: number, detail };
                let task: String = row.get(0)?;
                let host: String = row.get(1)?;
                let state: String = row.get(2)?;
                open.push(OpenRunRow {
                    task: TaskName::parse(&task).map_err(|error| damaged(error.to_string()))?,
                    host: HostName::parse(&host).map_err(|error| damaged(error.to_string()))?,
                    run: serde_json::from_str::<OpenRun>(&state)
                        .map_err(|error| damaged(error.to_string()))?,
                });
            }
            Ok(open)
        })
        .await
    }
}
