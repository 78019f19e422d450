//! Where each transfer stands: a database beside the log, written by the daemon and looked at by its commands.
//!
//! A cursor is written after the delivery, in one transaction with what was counted. Holds at most [`DEAD_MAX`] dead letters per
//! transfer, the oldest go first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hume_core::event::StoredEvent;
use hume_core::page::EventCursor;
use hume_core::run::RunState;
use hume_core::{AgentId, Epoch, EventId, Position, RunId, Seq, Timestamp};
use hume_proto::event::EventBytes;
use hume_runtime::sqlite::{self, Checkpoint, SqliteError, SqliteOptions};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::options::TransferName;

/// Dead letters that are kept of one transfer.
pub const DEAD_MAX: u32 = 10_000;

const APPLICATION_ID: i32 = 0x6875_6d74;
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema_missed.sql")];
const FILE_NAME: &str = "transfers.db";
/// So many commits may lie in the log of the database before they are copied back.
const COMMITS_BETWEEN_CHECKPOINTS: u32 = 1000;

/// The state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be opened.
    #[error("the state of the transfers in {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SqliteError,
    },
    /// A question to it failed.
    #[error("could not read or write the state of the transfers")]
    Sql(#[from] rusqlite::Error),
    /// A row holds what nobody wrote.
    #[error("the state of the transfers is damaged: {0}")]
    Damaged(String),
    /// The daemon stops.
    #[error("stopping")]
    Closed,
}

/// Where a transfer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Everything below it is settled.
    pub cursor: EventCursor,
    /// And everything up to this event.
    pub settled: Option<EventId>,
    /// What was counted.
    pub figures: Figures,
}

/// What is known of a transfer, for people and monitoring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Notices that the peer has.
    pub delivered: u64,
    /// Events that were told of in digests.
    pub folded: u64,
    /// Tries that failed and were followed by another.
    pub retried: u64,
    /// Notices that the peer will never take.
    pub dead: u64,
    /// Events that an administrator passed over.
    pub skipped: u64,
    /// Events that the log let go before they were told, wanted or not.
    pub missed: u64,
    /// How many of them the peer does not know of yet.
    pub missed_untold: u64,
    /// When something was last delivered.
    pub last_success: Option<Timestamp>,
    /// What is the matter.
    pub trouble: Option<Setback>,
    /// What waits.
    pub waiting: Waiting,
}

/// The last try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// Why.
    pub reason: String,
    /// When it began.
    pub since: Timestamp,
    /// When the next try is due.
    pub next_try: Timestamp,
}

/// What waits to be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// So many events.
    pub events: u64,
    /// Whether there are more, uncounted.
    pub and_more: bool,
    /// When the oldest came.
    pub since: Option<Timestamp>,
}

/// One row of `transfer status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its kind when it last ran.
    pub kind: String,
    /// Where it stands.
    pub record: Record,
    /// When that was written down.
    pub seen_at: Timestamp,
    /// Dead letters that are kept.
    pub dead_kept: u64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// The event; of digests and runs the head, with the notice's text as its message.
    pub event: StoredEvent,
}

/// What an administrator wants to be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The notice that is next.
    One,
    /// Everything up to now.
    All,
}

impl Skip {
    fn as_str(self) -> &'static str {
        match self {
            Skip::One => "one",
            Skip::All => "all",
        }
    }
}

/// An open run, folded from the events below the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRun {
    /// The fold.
    pub state: RunState,
    /// Whether it was told of.
    pub told: bool,
}

/// What a transaction changes.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// New dead letters, with the reason.
    pub dead: Vec<(StoredEvent, String)>,
    /// Dead letters that were delivered after all, or will be left alone.
    pub revived: Vec<i64>,
    /// Dead letters whose retry failed: what the peer said now.
    pub dead_again: Vec<(i64, String)>,
    /// Open runs as they are now; none for those that are over.
    pub runs: Vec<(RunId, Option<OpenRun>)>,
    /// The wish to skip has been done.
    pub skip_done: bool,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    commits: u32,
}

/// The file in the daemon's folder.
pub(crate) fn path_in(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

impl State {
    /// Opens the database in `dir`, the daemon's folder; makes it if it is missing.
    ///
    /// # Errors
    /// [`StateError::Open`].
    pub fn open(dir: &Path) -> Result<State, StateError> {
        let path = path_in(dir);
        let failed = |source| StateError::Open { path: path.clone(), source };
        let options = SqliteOptions { cache_kib: 512, wal_keep_bytes: 1 << 20, ..SqliteOptions::default() };
        let mut connection = sqlite::open_writer(&path, &options).map_err(failed)?;
        sqlite::migrate(&mut connection, APPLICATION_ID, &MIGRATIONS).map_err(failed)?;
        Ok(State { inner: Arc::new(Mutex::new(Inner { connection, commits: 0 })) })
    }

    /// Runs `work` in one transaction, away from the async threads.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            // A transaction that panicked was rolled back.
            inner.lock().unwrap_or_else(PoisonError::into_inner).transact(work)
        });
        done.await.map_err(|_| StateError::Closed)?
    }

    /// The transfer's record; a new one begins at `cursor`.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn register(
        &self,
        name: &TransferName,
        kind: &'static str,
        cursor: EventCursor,
        now: Timestamp,
    ) -> Result<Record, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            transaction.execute(
                "INSERT INTO transfer (name, kind, cursor, seen_at_us) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (name) DO UPDATE SET kind = ?2",
                params![name, kind, cursor.0, now.as_micros()],
            )?;
            let sql = format!("SELECT {RECORD} FROM transfer WHERE name = ?1");
            Ok(transaction.query_row(&sql, [name], record)?)
        })
        .await
    }

    /// The cursor that the transfer has, if it ever ran.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn cursor(&self, name: &TransferName) -> Result<Option<EventCursor>, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            let row = "SELECT cursor FROM transfer WHERE name = ?1";
            Ok(transaction.query_row(row, [name], |row| row.get(0).map(EventCursor)).optional()?)
        })
        .await
    }

    /// Writes where the transfer stands, with all that changed, at once.
    ///
    /// # Errors
    /// [`StateError`]; nothing was changed.
    pub async fn save(
        &self,
        name: &TransferName,
        record: Record,
        change: Change,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            write_record(transaction, &name, &record, now)?;
            write_change(transaction, &name, &change, now)
        })
        .await
    }

    /// Open runs of the transfer.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn runs(&self, name: &TransferName) -> Result<Vec<OpenRun>, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT told, fold FROM run WHERE transfer = ?1")?;
            let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            rows.map(|row| {
                let (told, fold) = row?;
                let state =
                    serde_json::from_str(&fold).map_err(|error| StateError::Damaged(error.to_string()))?;
                Ok(OpenRun { state, told })
            })
            .collect()
        })
        .await
    }

    /// What an administrator wants to be passed over.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn wish_to_skip(&self, name: &TransferName) -> Result<Option<Skip>, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            let what: Option<String> = transaction
                .query_row("SELECT what FROM skip WHERE transfer = ?1", [&name], |row| row.get(0))
                .optional()?;
            Ok(what.map(|what| if what == Skip::All.as_str() { Skip::All } else { Skip::One }))
        })
        .await
    }

    /// Dead letters that an administrator wants to be tried again, oldest first, at most `max`.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn letters_to_retry(
        &self,
        name: &TransferName,
        max: u32,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            letters(transaction, "transfer = ?1 AND retry = 1 ORDER BY id LIMIT ?2", params![name, max])
        })
        .await
    }

    /// A number that changes when another process has written.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn version(&self) -> Result<i64, StateError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            let inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(inner.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
        });
        done.await.map_err(|_| StateError::Closed)?
    }

    /// All transfers that ever ran, by name.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn all(&self) -> Result<Vec<Known>, StateError> {
        self.ask(|transaction| {
            let sql = format!(
                "SELECT {RECORD}, name, kind, seen_at_us, (SELECT count(*) FROM dead WHERE transfer = name) \
                 FROM transfer ORDER BY name"
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Known {
                    record: record(row)?,
                    name: row.get(RECORD_COLUMNS)?,
                    kind: row.get(RECORD_COLUMNS + 1)?,
                    seen_at: Timestamp::from_micros(row.get(RECORD_COLUMNS + 2)?),
                    dead_kept: row.get::<_, i64>(RECORD_COLUMNS + 3)?.unsigned_abs(),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Dead letters of a transfer, oldest first, at most `max`.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn dead(&self, name: &TransferName, max: u32) -> Result<Vec<DeadLetter>, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            letters(transaction, "transfer = ?1 ORDER BY id LIMIT ?2", params![name, max])
        })
        .await
    }

    /// Asks the daemon to try dead letters again: these, or all; how many they are.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn ask_retry(&self, name: &TransferName, ids: Vec<i64>) -> Result<usize, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            if ids.is_empty() {
                return Ok(transaction.execute("UPDATE dead SET retry = 1 WHERE transfer = ?1", [name])?);
            }
            let mut asked = 0;
            for id in ids {
                let sql = "UPDATE dead SET retry = 1 WHERE transfer = ?1 AND id = ?2";
                asked += transaction.execute(sql, params![name, id])?;
            }
            Ok(asked)
        })
        .await
    }

    /// Asks the daemon to pass over what waits. False when the transfer never ran.
    ///
    /// # Errors
    /// [`StateError`].
    pub async fn ask_skip(&self, name: &TransferName, skip: Skip) -> Result<bool, StateError> {
        let name = name.to_string();
        self.ask(move |transaction| {
            let sql = "INSERT INTO skip (transfer, what) SELECT name, ?2 FROM transfer WHERE name = ?1 \
                       ON CONFLICT (transfer) DO UPDATE SET what = ?2";
            Ok(transaction.execute(sql, params![name, skip.as_str()])? > 0)
        })
        .await
    }
}

impl Inner {
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let before = self.connection.total_changes();
        let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        if self.connection.total_changes() != before {
            self.commits += 1;
        }
        if self.commits >= COMMITS_BETWEEN_CHECKPOINTS {
            self.commits = 0;
            // What cannot be copied back now is copied back the next time.
            if let Err(error) = sqlite::checkpoint(&self.connection, Checkpoint::Passive) {
                tracing::debug!(%error, "the state of the transfers keeps its log for now");
            }
        }
        Ok(result)
    }
}

const RECORD: &str = "cursor, settled, delivered, folded, retried, dead, skipped, last_success_us, trouble, \
                      trouble_since_us, next_try_us, waiting, waiting_more, waiting_since_us, missed, missed_untold";
const RECORD_COLUMNS: usize = 16;

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let count = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
    let time = |at: usize| row.get::<_, Option<i64>>(at).map(|micros| micros.map(Timestamp::from_micros));
    let trouble: Option<String> = row.get(8)?;
    let (since, next_try) = (time(9)?, time(10)?);
    let settled: Option<Vec<u8>> = row.get(1)?;
    Ok(Record {
        cursor: EventCursor(row.get(0)?),
        settled: settled.and_then(|id| EventId::from_slice(&id)),
        figures: Figures {
            delivered: count(2)?,
            folded: count(3)?,
            retried: count(4)?,
            dead: count(5)?,
            skipped: count(6)?,
            missed: count(14)?,
            missed_untold: count(15)?,
            last_success: time(7)?,
            trouble: trouble.map(|reason| Setback {
                reason,
                since: since.unwrap_or_default(),
                next_try: next_try.unwrap_or_default(),
            }),
            waiting: Waiting { events: count(11)?, and_more: row.get(12)?, since: time(13)? },
        },
    })
}

fn write_record(
    transaction: &Transaction<'_>,
    name: &str,
    record: &Record,
    now: Timestamp,
) -> Result<(), StateError> {
    let Record { cursor, settled, figures } = record;
    let Figures {
        delivered,
        folded,
        retried,
        dead,
        skipped,
        missed,
        missed_untold,
        last_success,
        trouble,
        waiting,
    } = figures;
    let count = |number: &u64| i64::try_from(*number).unwrap_or(i64::MAX);
    let sql = "UPDATE transfer SET cursor = ?2, settled = ?3, delivered = ?4, folded = ?5, retried = ?6, dead = ?7, \
               skipped = ?8, last_success_us = ?9, trouble = ?10, trouble_since_us = ?11, next_try_us = ?12, \
               waiting = ?13, waiting_more = ?14, waiting_since_us = ?15, seen_at_us = ?16, missed = ?17, missed_untold = ?18 \
               WHERE name = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        name,
        cursor.0,
        settled.map(|id| id.as_bytes().to_vec()),
        count(delivered),
        count(folded),
        count(retried),
        count(dead),
        count(skipped),
        last_success.map(Timestamp::as_micros),
        trouble.as_ref().map(|setback| setback.reason.clone()),
        trouble.as_ref().map(|setback| setback.since.as_micros()),
        trouble.as_ref().map(|setback| setback.next_try.as_micros()),
        count(&waiting.events),
        waiting.and_more,
        waiting.since.map(Timestamp::as_micros),
        now.as_micros(),
        count(missed),
        count(missed_untold),
    ])?;
    Ok(())
}

fn write_change(
    transaction: &Transaction<'_>,
    name: &str,
    change: &Change,
    now: Timestamp,
) -> Result<(), StateError> {
    let Change { dead, revived, dead_again, runs, skip_done } = change;
    for (stored, reason) in dead {
        let Position { agent, epoch, seq } = stored.position;
        transaction
            .prepare_cached(
                "INSERT INTO dead (transfer, at_us, reason, agent, epoch, seq, arrived_at_us, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                name,
                now.as_micros(),
                reason,
                agent.map(|agent| agent.as_bytes().to_vec()),
                epoch.as_bytes().to_vec(),
                i64::try_from(seq.get()).unwrap_or(i64::MAX),
                stored.arrived_at.map(Timestamp::as_micros),
                EventBytes::encode(&stored.event).as_slice(),
            ])?;
    }
    if !dead.is_empty() {
        transaction.execute(
            "DELETE FROM dead WHERE transfer = ?1 AND id NOT IN \
             (SELECT id FROM dead WHERE transfer = ?1 ORDER BY id DESC LIMIT ?2)",
            params![name, DEAD_MAX],
        )?;
    }
    for id in revived {
        transaction.execute("DELETE FROM dead WHERE id = ?1", [id])?;
    }
    for (id, reason) in dead_again {
        transaction.execute(
            "UPDATE dead SET retry = 0, reason = ?2, at_us = ?3 WHERE id = ?1",
            params![id, reason, now.as_micros()],
        )?;
    }
    for (id, run) in runs {
        write_run(transaction, name, *id, run.as_ref())?;
    }
    if *skip_done {
        transaction.execute("DELETE FROM skip WHERE transfer = ?1", [name])?;
    }
    Ok(())
}

fn write_run(
    transaction: &Transaction<'_>,
    name: &str,
    id: RunId,
    run: Option<&OpenRun>,
) -> Result<(), StateError> {
    let Some(OpenRun { state, told }) = run else {
        let sql = "DELETE FROM run WHERE transfer = ?1 AND id = ?2";
        transaction.prepare_cached(sql)?.execute(params![name, id.as_bytes().to_vec()])?;
        return Ok(());
    };
    let fold = serde_json::to_string(state).map_err(|error| StateError::Damaged(error.to_string()))?;
    let sql = "INSERT INTO run (transfer, id, told, fold) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (transfer, id) DO UPDATE SET told = ?3, fold = ?4";
    transaction.prepare_cached(sql)?.execute(params![name, id.as_bytes().to_vec(), told, fold])?;
    Ok(())
}

fn letters(
    transaction: &Transaction<'_>,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<DeadLetter>, StateError> {
    let sql = format!(
        "SELECT id, at_us, reason, agent, epoch, seq, arrived_at_us, body FROM dead WHERE {condition}"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(letter(row)?);
    }
    Ok(found)
}

fn letter(row: &Row<'_>) -> Result<DeadLetter, StateError> {
    let id: i64 = row.get(0)?;
    let damaged = |what: &str| StateError::Damaged(format!("dead letter {id}: {what}"));
    let agent: Option<Vec<u8>> = row.get(3)?;
    let agent = agent.map(|agent| AgentId::from_slice(&agent).ok_or_else(|| damaged("agent"))).transpose()?;
    let epoch = Epoch::from_slice(&row.get::<_, Vec<u8>>(4)?).ok_or_else(|| damaged("epoch"))?;
    let seq = Seq::new(row.get::<_, i64>(5)?.unsigned_abs()).unwrap_or(Seq::ZERO);
    let body = EventBytes::from_raw(row.get::<_, Vec<u8>>(7)?);
    let event = body.decode().map_err(|error| damaged(&error.to_string()))?;
    let arrived_at = row.get::<_, Option<i64>>(6)?.map(Timestamp::from_micros);
    Ok(DeadLetter {
        id,
        at: Timestamp::from_micros(row.get(1)?),
        reason: row.get(2)?,
        event: StoredEvent { position: Position { agent, epoch, seq }, arrived_at, event },
    })
}
