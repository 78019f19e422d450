//! The store on SQLite: one thread that writes, a few connections that read, one file.
//!
//! A clone of [`SqliteStore`] is a handle. [`Writer`] is the thread's body: it ends after [`SqliteStore::close`], or when
//! the last handle is dropped; whatever was handed in before is on disk then.

mod admit;
mod backup;
mod cache;
mod disk;
mod doomed;
mod epochs;
mod events;
mod expectations;
mod forget;
mod inventory;
mod pen;
mod readers;
mod registry;
mod restamped;
mod restore;
mod runs;
mod slots;
mod watches;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::filter::{EventFilter, RunFilter};
use hume_core::page::{After, EventCursor, RunCursor};
use hume_core::scope::Scope;
use hume_core::slot::Slot;
use hume_runtime::sqlite::{self, SqliteOptions};
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::backup::{BackupError, CopyReport, Taken, backup};
use self::readers::Readers;
pub use self::restore::{Restored, restore, set_aside};
use self::writer::Job;
pub use self::writer::Writer;
use super::error::StoreError;
use super::presence::Presence;
use super::retention::{Bounds, Forgotten, Round};
use super::traits::{
    BoxFuture, EventReader, EventWriter, Expectations, Inventory, Retention, RunReader, Sessions, Slots,
    Watching,
};
use super::types::{
    Admission, AgentRecord, CommitOutcome, Departure, Entered, Entrance, EventPage, EventStretch, Expected,
    HostRecord, Roll, RunEvents, RunPage, Sighting, StoreSize, TaskRecord,
};
use super::watches::{
    CourseKey, CourseOn, CourseRecord, DueCourses, HostNo, Note, ReachRow, RunsAfter, SessionSeen,
    SlotFilter, SlotRecord, WatchNo, WatchRecord, WatchRow, WatchedHost,
};
use crate::metrics::Metrics;

/// "hume" and 2 for the master's store, in the header of the file.
const APPLICATION_ID: i32 = 0x6875_6d02;
const MIGRATIONS: [&str; 6] = [
    include_str!("../../../migrations/sqlite/0001_init.sql"),
    include_str!("../../../migrations/sqlite/0002_hosts.sql"),
    include_str!("../../../migrations/sqlite/0003_watches.sql"),
    include_str!("../../../migrations/sqlite/0004_reach.sql"),
    include_str!("../../../migrations/sqlite/0005_expectations.sql"),
    include_str!("../../../migrations/sqlite/0006_watch_words.sql"),
];

/// Jobs that wait for the writer; whoever brings another one waits too.
const QUEUE_JOBS_MAX: usize = 256;
/// Page cache of a connection, in KiB.
const WRITER_CACHE_KIB: u32 = 64 * 1024;
const READER_CACHE_KIB: u32 = 8 * 1024;
/// Statements that a connection keeps: all that the writer has, and what is asked again and again.
const STATEMENTS_MAX: usize = 64;
/// The write-ahead log may grow to this size before it is emptied by force.
const WAL_BYTES_MAX: u64 = if cfg!(test) { 256 * 1024 } else { 64 * 1024 * 1024 };

/// The log of some steps of the retention, which change pages all over the store.
const BALLAST_BYTES: u64 = 16 * 1024 * 1024;

/// The section `[store]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The database file. Its folder belongs to this daemon alone.
    pub path: PathBuf,
    /// Room that is held beside it, and given up when the disk is full, so that sessions and the retention go on. 0 for none.
    pub ballast_bytes: u64,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig { path: PathBuf::from("/var/lib/humed-master/store.db"), ballast_bytes: BALLAST_BYTES }
    }
}

/// A handle to the store.
#[derive(Clone)]
pub struct SqliteStore {
    id: [u8; 16],
    path: Arc<Path>,
    jobs: mpsc::Sender<Job>,
    readers: Arc<Readers>,
    presence: Arc<Presence>,
    last_look: Option<Timestamp>,
    end: watch::Receiver<EventCursor>,
    expected: watch::Receiver<u64>,
}

impl SqliteStore {
    /// Opens the file, making or migrating it. Nothing is written until [`Writer::run`] runs on a thread of its own.
    /// # Errors
    /// [`StoreError::Open`]: another program's file, one of a newer version or an unreachable one. [`StoreError::Damaged`].
    pub fn open(path: &Path, metrics: Metrics) -> Result<(SqliteStore, Writer), StoreError> {
        let is_closed = sqlite::take_clean_stop(path).map_err(sqlite::SqliteError::File)?;
        if !is_closed {
            sqlite::rewrite_log(path)?;
        }
        let mut connection = open_writer(path)?;
        if !is_closed {
            sqlite::check_unclosed(path, &connection)?;
        }
        sqlite::migrate(&mut connection, APPLICATION_ID, &MIGRATIONS)?;
        let id = store_id(&connection)?;
        let last_look =
            forget::last_look(&connection).map_err(|source| StoreError::sqlite("read", source))?;
        let readers = Arc::new(Readers::open(path, &options(READER_CACHE_KIB))?);
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = Writer::new(connection, path.to_owned(), queue, metrics)?;
        let (presence, end, expected) = (Arc::default(), writer.end(), writer.expected());
        let path = path.into();
        Ok((SqliteStore { id, path, jobs, readers, presence, last_look, end, expected }, writer))
    }

    /// Lets the writer finish what was handed in, and end. Whoever comes later is told that the store is closed.
    pub async fn close(&self) {
        // An error means that the writer has ended already.
        let _ = self.jobs.send(Job::Close).await;
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)
    }
}

fn options(cache_kib: u32) -> SqliteOptions {
    SqliteOptions { cache_kib, wal_keep_bytes: WAL_BYTES_MAX, ..SqliteOptions::default() }
}

fn open_writer(path: &Path) -> Result<Connection, sqlite::SqliteError> {
    let connection = sqlite::open_writer(path, &options(WRITER_CACHE_KIB))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn store_id(connection: &Connection) -> Result<[u8; 16], StoreError> {
    let failed = |source| StoreError::sqlite("name", source);
    let fresh = *hume_runtime::random::uuid().as_bytes();
    connection
        .execute("INSERT INTO meta(key, value) VALUES ('store_id', ?1) ON CONFLICT DO NOTHING", [&fresh])
        .map_err(failed)?;
    let id = connection
        .query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    id.ok_or_else(|| StoreError::Unreadable { what: "its own id".to_owned() })
}

impl EventWriter for SqliteStore {
    fn commit(&self, admissions: Vec<Admission>) -> BoxFuture<'_, Result<Vec<CommitOutcome>, StoreError>> {
        Box::pin(async move { self.ask(|answer| Job::Commit { admissions, answer }).await? })
    }
}

impl Sessions for SqliteStore {
    fn store_id(&self) -> [u8; 16] {
        self.id
    }

    fn enter(&self, entrance: Entrance) -> BoxFuture<'_, Result<Entered, StoreError>> {
        Box::pin(async move {
            let (agent, queue, at) = (entrance.agent, entrance.queue.clone(), entrance.at);
            let behind_us = entrance.behind_us;
            let entered = self.ask(|answer| Job::Enter { entrance: Box::new(entrance), answer }).await??;
            self.presence.enter(agent, entered.session, queue, behind_us, at);
            Ok(entered)
        })
    }

    fn seen(&self, sighting: Sighting) {
        if let Some(due) = self.presence.seen(sighting) {
            // A full queue has better things to do; the next sign of life comes soon.
            let _ = self.jobs.try_send(Job::Seen(due));
        }
    }

    fn leave(&self, departure: Departure) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (agent, session) = (departure.agent, departure.session);
            let live = self.presence.of(agent).filter(|live| live.session == session).map(Box::new);
            let left = self.ask(|answer| Job::Leave { departure, live, answer }).await;
            // After the commit: whoever hears that it is gone finds there whether it said goodbye.
            self.presence.leave(agent, session);
            left?
        })
    }
}

impl Retention for SqliteStore {
    fn last_look(&self) -> Option<Timestamp> {
        self.last_look
    }

    fn forget(
        &self,
        bounds: Bounds,
        round: Round,
        looked_at: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Forgotten, StoreError>> {
        Box::pin(async move {
            let doomed = self.readers.ask(move |question| doomed::look(question, &bounds, round)).await?;
            if doomed.is_nothing() && looked_at.is_none() {
                // Nobody is disturbed, and no disk is woken.
                return Ok(doomed.without_blocks());
            }
            self.ask(|answer| Job::Forget { doomed: Box::new(doomed), looked_at, answer }).await?
        })
    }
}

impl Expectations for SqliteStore {
    fn expectations(&self) -> BoxFuture<'_, Result<Vec<Expected>, StoreError>> {
        Box::pin(self.readers.ask(expectations::all))
    }

    fn expected(&self) -> watch::Receiver<u64> {
        self.expected.clone()
    }
}

impl Slots for SqliteStore {
    fn watch_list(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<WatchRecord>, StoreError>> {
        Box::pin(self.readers.ask(move |question| slots::watches(question, &scope)))
    }

    fn slots(&self, filter: SlotFilter, limit: usize) -> BoxFuture<'_, Result<Roll<SlotRecord>, StoreError>> {
        Box::pin(self.readers.ask(move |question| slots::newest(question, &filter, limit)))
    }
}

impl Watching for SqliteStore {
    fn watches(&self) -> BoxFuture<'_, Result<Vec<WatchRow>, StoreError>> {
        Box::pin(self.readers.ask(watches::watches))
    }

    fn watched_hosts(&self) -> BoxFuture<'_, Result<Vec<WatchedHost>, StoreError>> {
        Box::pin(self.readers.ask(watches::hosts))
    }

    fn reach(&self) -> BoxFuture<'_, Result<Vec<ReachRow>, StoreError>> {
        Box::pin(self.readers.ask(watches::reach))
    }

    fn hosts_of(&self, watch: WatchNo) -> BoxFuture<'_, Result<Vec<CourseOn>, StoreError>> {
        Box::pin(self.readers.ask(move |question| watches::hosts_of(question, watch)))
    }

    fn courses(&self, keys: Vec<CourseKey>) -> BoxFuture<'_, Result<Vec<CourseRecord>, StoreError>> {
        Box::pin(self.readers.ask(move |question| watches::courses(question, &keys)))
    }

    fn due(
        &self,
        now: Timestamp,
        watermarks: Vec<(HostNo, Timestamp)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<DueCourses, StoreError>> {
        Box::pin(self.readers.ask(move |question| watches::due(question, now, &watermarks, limit)))
    }

    fn slot_at(&self, key: CourseKey, moment: Timestamp) -> BoxFuture<'_, Result<Option<Slot>, StoreError>> {
        Box::pin(self.readers.ask(move |question| watches::slot_at(question, key, moment)))
    }

    fn cursor(&self) -> BoxFuture<'_, Result<Option<EventCursor>, StoreError>> {
        Box::pin(self.readers.ask(watches::cursor))
    }

    fn runs_after(&self, after: EventCursor, limit: usize) -> BoxFuture<'_, Result<RunsAfter, StoreError>> {
        let presence = Arc::clone(&self.presence);
        Box::pin(self.readers.ask(move |question| runs::after(question, &presence, after, limit)))
    }

    fn note(&self, note: Note) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.ask(|answer| Job::Note { note: Box::new(note), answer }).await? })
    }

    fn sessions(&self) -> Vec<SessionSeen> {
        self.presence.sessions()
    }

    fn heard(&self) -> watch::Receiver<u64> {
        self.presence.heard()
    }
}

impl EventReader for SqliteStore {
    fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        after: Option<EventCursor>,
    ) -> BoxFuture<'_, Result<EventPage, StoreError>> {
        Box::pin(self.readers.ask(move |question| events::list(question, &filter, limit, after)))
    }

    fn events_after(
        &self,
        filter: EventFilter,
        limit: usize,
        after: After,
    ) -> BoxFuture<'_, Result<EventStretch, StoreError>> {
        Box::pin(self.readers.ask(move |question| events::stretch(question, &filter, limit, after)))
    }

    fn end(&self) -> watch::Receiver<EventCursor> {
        self.end.clone()
    }

    fn count_events(&self, filter: EventFilter) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.readers.ask(move |question| events::count(question, &filter)))
    }
}

impl RunReader for SqliteStore {
    fn runs(
        &self,
        filter: RunFilter,
        limit: usize,
        after: Option<RunCursor>,
        events: RunEvents,
    ) -> BoxFuture<'_, Result<RunPage, StoreError>> {
        let presence = Arc::clone(&self.presence);
        Box::pin(
            self.readers.ask(move |question| runs::list(question, &presence, &filter, limit, after, events)),
        )
    }

    fn count_runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.readers.ask(move |question| runs::count(question, &filter)))
    }
}

impl Inventory for SqliteStore {
    fn tasks(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<TaskRecord>, StoreError>> {
        let presence = Arc::clone(&self.presence);
        Box::pin(self.readers.ask(move |question| inventory::tasks(question, &presence, &scope)))
    }

    fn hosts(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<HostRecord>, StoreError>> {
        let presence = Arc::clone(&self.presence);
        Box::pin(self.readers.ask(move |question| inventory::hosts(question, &presence, &scope)))
    }

    fn agents(&self, scope: Scope) -> BoxFuture<'_, Result<Roll<AgentRecord>, StoreError>> {
        let presence = Arc::clone(&self.presence);
        Box::pin(self.readers.ask(move |question| inventory::agents(question, &presence, &scope)))
    }

    fn size(&self) -> BoxFuture<'_, Result<StoreSize, StoreError>> {
        let path = Arc::clone(&self.path);
        Box::pin(async move {
            if self.jobs.is_closed() {
                return Err(StoreError::Closed);
            }
            self.readers.ask(move |question| inventory::size(question, &path)).await
        })
    }
}

/// Times of a question, so that the suite need not wait for the real ones.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;
