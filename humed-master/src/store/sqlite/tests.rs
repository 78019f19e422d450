//! The SQLite store keeps the contract, and refuses files it must not touch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hume_core::filter::{EventFilter, Latest, RunFilter};
use hume_core::page::EventCursor;
use hume_core::scope::Scope;
use hume_core::{AgentId, Epoch, HostName, Level, Seq, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::GapReason;
use hume_runtime::sqlite::{SqliteError, SqliteOptions};
use tempfile::TempDir;

use super::{SqliteStore, Writer, open_writer};
use crate::metrics::Metrics;
use crate::store::contract::{Backend, contract};
use crate::store::error::StoreError;
use crate::store::predicate::{Numbers, RunPredicate, ScopeNumbers, Side, Sieve};
use crate::store::traits::{EventReader as _, EventWriter as _, Inventory as _, Sessions as _};
use crate::store::types::{
    Admission, Content, Entrance, Entry, EpochClaim, HostWord, QueueStatus, SessionNo,
};

contract!(Started);

/// A store in a folder of its own, its writer on a thread.
struct Started {
    store: SqliteStore,
    folder: Arc<TempDir>,
    path: PathBuf,
}

impl Started {
    fn at(folder: TempDir) -> Started {
        let path = folder.path().join("store.db");
        let (store, writer) = open(&path).unwrap();
        // No place is stored twice, whatever the cursor says.
        let unique = "CREATE TRIGGER IF NOT EXISTS place_twice BEFORE INSERT ON block \
            WHEN EXISTS (SELECT 1 FROM block WHERE epoch_no = NEW.epoch_no AND seq < NEW.seq + NEW.events \
                         AND NEW.seq < seq + events) \
            BEGIN SELECT RAISE(ABORT, 'a place was stored twice'); END";
        writer.connection.execute_batch(unique).unwrap();
        run(writer);
        Started { store, folder: Arc::new(folder), path }
    }
}

pub(super) fn open(path: &Path) -> Result<(SqliteStore, Writer), StoreError> {
    SqliteStore::open(path, Metrics::new(Timestamp::EPOCH))
}

pub(super) fn run(writer: Writer) -> std::thread::JoinHandle<Result<(), StoreError>> {
    std::thread::spawn(|| writer.run())
}

impl Backend for Started {
    type Store = SqliteStore;

    fn start() -> Started {
        Started::at(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> SqliteStore {
        self.store.clone()
    }

    fn killed_and_started(&self) -> Started {
        // What a kill leaves is what the files hold at one moment: whoever reads keeps the log from being emptied while they are
        // copied one after the other.
        let folder = tempfile::tempdir().unwrap();
        let path = self.folder.path().join("store.db");
        let reader = hume_runtime::sqlite::open_reader(&path, &SqliteOptions::default()).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
        for name in ["store.db", "store.db-wal"] {
            std::fs::copy(self.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        drop(reader);
        Started::at(folder)
    }
}

#[test]
fn after_a_fault_the_store_is_not_reopened_on_a_log_that_is_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (_store, mut writer) = open(&path).unwrap();
    let reader = hume_runtime::sqlite::open_reader(&path, &SqliteOptions::default()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM block").unwrap();
    writer.connection.execute("INSERT INTO meta(key, value) VALUES ('kept', x'01')", []).unwrap();
    let refused = writer.try_repair();
    assert!(matches!(refused, Err(SqliteError::LogInUse { .. })), "{refused:?}");
    reader.execute_batch("COMMIT").unwrap();
    writer.try_repair().unwrap();
    let kept: i64 = writer
        .connection
        .query_row("SELECT count(*) FROM meta WHERE key = 'kept'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_clean_stop_empties_the_log_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, writer) = open(&path).unwrap();
    let (id, thread) = (store.store_id(), run(writer));
    drop(store);
    thread.join().unwrap().unwrap();
    assert_eq!(hume_runtime::sqlite::wal_bytes(&path), 0);
    let (store, _writer) = open(&path).unwrap();
    assert_eq!(store.store_id(), id);
}

#[tokio::test]
async fn a_closed_store_writes_what_was_handed_in_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(&folder.path().join("store.db")).unwrap();
    let handed_in = async {
        let (before, ()) = tokio::join!(store.commit(Vec::new()), store.close());
        before
    };
    let thread = run(writer);
    assert!(handed_in.await.is_ok());
    thread.join().unwrap().unwrap();
    assert!(matches!(store.commit(Vec::new()).await, Err(StoreError::Closed)));
    assert!(matches!(store.size().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_store_whose_writer_has_ended_says_so() {
    let started = Started::start();
    let (store, writer) = open(&started.path).unwrap();
    drop(writer);
    assert!(matches!(store.commit(Vec::new()).await, Err(StoreError::Closed)));
    assert_eq!(store.count_events(EventFilter::default()).await.unwrap(), 0);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path).unwrap());
    open_writer(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let Err(StoreError::Open(error)) = open(&path) else { panic!("a newer file was opened") };
    assert!(matches!(*error, SqliteError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_file_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    open_writer(&path).unwrap().execute_batch("CREATE TABLE theirs(x)").unwrap();
    let Err(StoreError::Open(error)) = open(&path) else { panic!("a foreign file was opened") };
    assert!(matches!(*error, SqliteError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_gives_its_connection_back() {
    let started = Started::start();
    let readers = &started.store.readers;
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    for _ in 0..20 {
        let question = readers.ask(move |question| {
            question
                .connection
                .query_row(endless, [], |row| row.get::<_, i64>(0))
                .map_err(super::readers::read_failed)
        });
        let left = tokio::time::timeout(std::time::Duration::from_millis(5), question).await;
        assert!(left.is_err());
    }
    assert_eq!(started.store.count_events(EventFilter::default()).await.unwrap(), 0);
}

/// Every question about latest runs begins with the few latest ones, every other one with an index.
#[test]
fn questions_about_runs_begin_with_an_index() {
    let started = Started::start();
    let connection = open_writer(&started.path).unwrap();
    for (task, host) in [(true, false), (false, true), (true, true)] {
        for (latest, expected) in
            [(Latest::No, "SEARCH run USING INDEX run_"), (Latest::PerTaskAndHost, " latest")]
        {
            let filter = RunFilter {
                task: task.then(|| TaskName::parse("BACKUP").unwrap()),
                host: host.then(|| HostName::parse("web1").unwrap()),
                latest,
                ..RunFilter::default()
            };
            for visible in [
                ScopeNumbers::default(),
                ScopeNumbers { task_nos: Some(vec![1, 2]), host_nos: Some(vec![1]) },
            ] {
                let predicate = RunPredicate::new(&filter, &visible, None);
                let sql = format!(
                    "EXPLAIN QUERY PLAN SELECT run.state FROM {} WHERE {} ORDER BY run.started_us DESC, run.id DESC LIMIT 9",
                    predicate.from,
                    predicate.conditions.text()
                );
                let mut statement = connection.prepare(&sql).unwrap();
                let values = rusqlite::params_from_iter(predicate.conditions.values);
                let first: String =
                    statement.query_map(values, |row| row.get(3)).unwrap().next().unwrap().unwrap();
                assert!(first.contains(expected), "{filter:?}: {first}");
            }
        }
    }
}

/// Whatever is asked of the log, blocks come out of an index in the order of the answer, and nothing is sorted.
#[test]
fn questions_about_events_read_the_log_in_order() {
    let started = Started::start();
    let connection = open_writer(&started.path).unwrap();
    let sides = [Side::Below(None), Side::Below(Some(EventCursor(7))), Side::Above(EventCursor(7))];
    for (bits, side) in (0..64).flat_map(|bits| sides.map(|side| (bits, side))) {
        let has = |bit: u32| bits & (1 << bit) != 0;
        let filter = EventFilter {
            level_min: has(0).then_some(Level::Error),
            since: has(1).then_some(Timestamp::EPOCH),
            ..EventFilter::default()
        };
        let numbers = Numbers {
            task_no: has(2).then_some(1),
            host_no: has(3).then_some(1),
            tag_nos: if has(4) { vec![1, 2] } else { Vec::new() },
            run_nos: has(5).then(|| vec![1]),
            scope: ScopeNumbers::default(),
        };
        let blocks = Sieve::new(&filter, numbers, side).blocks();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT block.id FROM {} WHERE {} ORDER BY {}",
            blocks.from,
            blocks.conditions.text(),
            blocks.order
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let values = rusqlite::params_from_iter(blocks.conditions.values);
        let plan: Vec<String> =
            statement.query_map(values, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        let is_sorted = plan.iter().any(|step| step.contains("TEMP B-TREE"));
        // Only what comes first may be read from its end, and that is narrow.
        let later_scan = plan.iter().skip(1).any(|step| step.starts_with("SCAN"));
        assert!(!is_sorted && !later_scan && !plan[0].contains("SCAN mention"), "{sql}: {plan:?}");
    }
}

/// What is asked of one host among thousands begins with that host.
#[test]
fn questions_about_hosts_do_not_look_through_all_latest_runs() {
    let started = Started::start();
    let connection = open_writer(&started.path).unwrap();
    for sql in [
        "SELECT (SELECT count(*) FROM latest WHERE latest.host_no = host.no) FROM host",
        "SELECT run_no FROM latest WHERE latest.host_no = 7",
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> =
            statement.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        let is_found = plan.iter().any(|step| step.contains("INDEX latest_host"));
        assert!(is_found && !plan.iter().any(|step| step.contains("SCAN latest")), "{sql}: {plan:?}");
    }
}

#[tokio::test]
async fn a_file_of_an_older_version_is_brought_up_to_date_and_keeps_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut connection = open_writer(&path).unwrap();
    hume_runtime::sqlite::migrate(&mut connection, super::APPLICATION_ID, &super::MIGRATIONS[..1]).unwrap();
    let content = "INSERT INTO agent VALUES (1, zeroblob(16), 'web1', 1, '', '', 0, 0, 0, NULL, 0, NULL, NULL, NULL, 0, 0); \
                   INSERT INTO host VALUES (1, 'web1', 1, 7);";
    connection.execute_batch(content).unwrap();
    drop(connection);
    let (store, writer) = open(&path).unwrap();
    let thread = run(writer);
    let hosts = store.hosts(Scope::default()).await.unwrap().items;
    assert_eq!((hosts[0].host.as_str(), hosts[0].events, hosts[0].tasks), ("web1", 7, 0));
    store.close().await;
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_job_that_fails_is_rolled_back_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(&folder.path().join("store.db")).unwrap();
    writer
        .connection
        .execute_batch("CREATE TRIGGER no_gap BEFORE INSERT ON gap BEGIN SELECT raise(ABORT, 'no'); END")
        .unwrap();
    let (good, bad) = ([1; 16], [2; 16]);
    let handed_in = async {
        let (first, second) = tokio::join!(store.enter(entrance(good)), store.enter(entrance(bad)));
        let (good_session, bad_session) = (first.unwrap().session, second.unwrap().session);
        let gap = Content::Gap { through: Seq::new(3).unwrap(), reason: GapReason::Purged };
        let poison =
            Entry::Quarantined { code: "x", detail: String::new(), body: EventBytes::from_raw(vec![0]) };
        let written = tokio::join!(
            store.commit(vec![admission(good, good_session, Content::Entries(vec![poison.clone()]))]),
            store.commit(vec![
                admission(bad, bad_session, Content::Entries(vec![poison])),
                Admission { first: Seq::new(2).unwrap(), ..admission(bad, bad_session, gap) },
            ]),
        );
        let again = tokio::join!(store.enter(entrance(good)), store.enter(entrance(bad)));
        store.close().await;
        (written, again.0.unwrap().cursors[0].seq, again.1.unwrap().cursors[0].seq)
    };
    let thread = run(writer);
    let ((good, bad), good_cursor, bad_cursor) = handed_in.await;
    assert!(good.is_ok() && matches!(bad, Err(StoreError::Sqlite { .. })), "{good:?} {bad:?}");
    assert_eq!((good_cursor.get(), bad_cursor.get()), (1, 0));
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_everything_again_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let metrics = Metrics::new(Timestamp::EPOCH);
    let (store, writer) = SqliteStore::open(&path, metrics.clone()).unwrap();
    let pages: i64 = writer.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    writer.connection.pragma_update(None, "max_page_count", pages + 20).unwrap();
    let thread = run(writer);
    let session = store.enter(entrance([1; 16])).await.unwrap().session;
    let large = |byte| {
        let body = EventBytes::from_raw(vec![byte; 30_000]);
        Content::Entries(vec![Entry::Quarantined { code: "x", detail: String::new(), body }])
    };
    let mut stored = 0;
    let refusal = loop {
        let first = Seq::new(stored + 1).unwrap();
        let admission = Admission { first, ..admission([1; 16], session, large(1)) };
        match store.commit(vec![admission]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the disk never fills");
    };
    assert!(matches!(refusal, StoreError::Full(_)), "{refusal:?}");
    assert_eq!(refusal.class(), hume_core::ErrorClass::Full);
    // Still there, and what was answered is still known.
    let cursor = store.enter(entrance([1; 16])).await.unwrap().cursors[0];
    assert_eq!(cursor.seq.get(), stored);
    assert_eq!(metrics.store_trouble().as_deref(), Some("the store is full"), "whoever asks is told");
    store.close().await;
    thread.join().unwrap().unwrap();

    let (store, writer) = open(&path).unwrap();
    let thread = run(writer);
    let session = store.enter(entrance([1; 16])).await.unwrap().session;
    let first = Seq::new(stored + 1).unwrap();
    store.commit(vec![Admission { first, ..admission([1; 16], session, large(2)) }]).await.unwrap();
    store.close().await;
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_store_that_may_not_be_written_to_refuses_answers_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let metrics = Metrics::new(Timestamp::EPOCH);
    let (store, writer) = SqliteStore::open(&path, metrics.clone()).unwrap();
    writer.connection.pragma_update(None, "query_only", true).unwrap();
    let thread = run(writer);
    let refused = store.enter(entrance([1; 16])).await;
    assert!(matches!(refused, Err(StoreError::Sqlite { .. })), "{refused:?}");
    // The repair opened the file anew.
    store.enter(entrance([1; 16])).await.unwrap();
    store.close().await;
    thread.join().unwrap().unwrap();
    assert!(hume_runtime::sqlite::take_clean_stop(&path).unwrap(), "and it was closed as ever");
}

#[tokio::test]
async fn without_ballast_events_are_refused_and_sessions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(&folder.path().join("store.db")).unwrap();
    // More than any disk has: as if it had been given up.
    writer.disk.hold(1 << 60);
    assert!(writer.disk.is_full());
    let thread = run(writer);
    let session = store.enter(entrance([1; 16])).await.unwrap().session;
    let gap = Content::Gap { through: Seq::new(3).unwrap(), reason: GapReason::Purged };
    let refused = store.commit(vec![admission([1; 16], session, gap)]).await;
    assert!(matches!(refused, Err(StoreError::DiskFull)), "{refused:?}");
    store.close().await;
    thread.join().unwrap().unwrap();
}

#[test]
fn a_damaged_store_is_refused_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, writer) = open(&path).unwrap();
    drop(store);
    writer.run().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5 * 4096..6 * 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let Err(error @ StoreError::Damaged(_)) = open(&path) else { panic!("a damaged store was opened") };
    assert!(error.to_string().contains("humed-master restore"), "{error}");
}

pub(super) fn entrance(agent: [u8; 16]) -> Entrance {
    Entrance {
        agent: AgentId::from_bytes(agent),
        host: HostName::parse("web1").unwrap(),
        version: String::new(),
        address: String::new(),
        certificate_expires_at: Timestamp::EPOCH,
        epochs: vec![EpochClaim::fresh(Epoch::from_bytes([3; 16]))],
        queue: QueueStatus::default(),
        about: HostWord::default(),
        behind_us: 0,
        at: Timestamp::EPOCH,
    }
}

pub(super) fn admission(agent: [u8; 16], session: SessionNo, content: Content) -> Admission {
    Admission {
        agent: AgentId::from_bytes(agent),
        session,
        epoch: Epoch::from_bytes([3; 16]),
        first: Seq::new(1).unwrap(),
        arrived_at: Timestamp::EPOCH,
        content,
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Consecutive events of no run, from this number on.
pub(super) fn entries(first: u64, count: u64, message: &str) -> Content {
    let entry = |number: u64| {
        let event = contract::event(number);
        let event = hume_core::Event { message: message.to_owned(), ..event };
        Entry::Event { body: EventBytes::encode(&event), event: Box::new(event) }
    };
    Content::Entries((first..first + count).map(entry).collect())
}
