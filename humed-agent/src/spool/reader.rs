//! Reads the spool on connections of its own: batches for the uplink, pages for questions. Removes nothing.
//!
//! At most [`READS_MAX`] reads go on at once, each for at most [`READ_TIME_MAX`]: an old snapshot holds up checkpoints.

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
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::Semaphore;

use super::epochs::{self, EpochRow, number_of};
use super::types::{self, OpenRunRow, SpoolError, id_from, row_of};

/// Reads at once; more wait.
const READS_MAX: usize = 4;
/// A read is ended after this time.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Steps of a statement between two looks at the time.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Why nothing stands at a place, and through which one.
fn hole(connection: &Connection, epoch_no: i64, from: Seq) -> Result<Stretch, SpoolError> {
    let next: Option<i64> = connection
        .prepare_cached("SELECT seq FROM event WHERE row >= ?1 AND row < ?2 ORDER BY row LIMIT 1")?
        .query_row([row_of(epoch_no, from), row_of(epoch_no + 1, Seq::ZERO)], |row| row.get(0))
        .optional()?;
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
            let mut statement = connection.prepare_cached(
                "SELECT seq, run.id FROM event LEFT JOIN run ON run.no = run_no WHERE event.id = ?1",
            )?;
            let mut known = Vec::new();
            for id in ids {
                let found = statement
                    .query_row([id.as_bytes()], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
                    })
                    .optional()?;
                if let Some((seq, run)) = found {
                    let run = run.and_then(|run| RunId::from_slice(&run));
                    known.push((id, Seq::new(seq as u64).unwrap_or(Seq::ZERO), run));
                }
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
            let mut statement = connection.prepare_cached(
                "SELECT seq, body, crc FROM event WHERE row >= ?1 AND row < ?2 ORDER BY row LIMIT ?3",
            )?;
            let (first, beyond) = (row_of(no, from), row_of(no + 1, Seq::ZERO));
            let mut rows = statement.query(params![first, beyond, events_max as i64])?;
            let (mut events, mut bytes, mut next) = (Vec::new(), 0, from);
            loop {
                let row = match rows.next() {
                    Ok(Some(row)) => row,
                    Ok(None) => break,
                    // What was read before it goes first; the next look begins here.
                    Err(error) if types::is_unreadable(&error) && !events.is_empty() => break,
                    Err(error) => return Err(error.into()),
                };
                let seq = Seq::new(row.get::<_, i64>(0)? as u64).unwrap_or(Seq::ZERO);
                let body: Vec<u8> = row.get(1)?;
                bytes += body.len();
                if seq != next || (!events.is_empty() && bytes > bytes_max) {
                    break;
                }
                if row.get::<_, u32>(2)? != crc32fast::hash(&body) {
                    if events.is_empty() {
                        return Ok(Stretch::Hole { through: seq, reason: GapReason::Corrupt });
                    }
                    break;
                }
                events.push(EventBytes::from_raw(body));
                next = next.next();
            }
            if events.is_empty() { hole(connection, no, from) } else { Ok(Stretch::Events(events)) }
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
            let mut statement = connection.prepare_cached("SELECT body FROM event WHERE row = ?1")?;
            let mut fails = |seq: &Seq| {
                let read = statement.query_row([row_of(no, *seq)], |row| row.get::<_, Vec<u8>>(0));
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
            let first: Option<i64> = connection
                .prepare_cached("SELECT seq FROM event WHERE row >= ?1 AND row < ?2 ORDER BY row LIMIT 1")?
                .query_row([row_of(no, Seq::ZERO), row_of(no + 1, Seq::ZERO)], |row| row.get(0))
                .optional()?;
            Ok(first.and_then(|seq| Seq::new(seq as u64)))
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
            let found: Option<(Vec<u8>, i64)> = connection
                .prepare_cached("SELECT id, received_us FROM event WHERE row = ?1")?
                .query_row([row_of(no, seq)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match found {
                Some((id, received)) => {
                    Ok(Some((id_from(0, &id, EventId::from_slice)?, Timestamp::from_micros(received))))
                }
                None => Ok(None),
            }
        })
        .await
    }

    /// When the oldest event that was not acknowledged was received.
    ///
    /// # Errors
    /// [`SpoolError`] if the file cannot be read.
    pub async fn oldest_unacked(&self) -> Result<Option<Timestamp>, SpoolError> {
        self.ask(|connection| {
            let oldest: Option<i64> = connection
                .prepare_cached(
                    "SELECT received_us FROM epoch JOIN event ON row > (no << 40 | acked_seq) AND row < (no + 1) << 40
                      ORDER BY no, row LIMIT 1",
                )?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok(oldest.map(Timestamp::from_micros))
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
