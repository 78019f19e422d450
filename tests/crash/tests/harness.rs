//! The harness finds what it is made to find: a database that is not synced loses what it answered, one that is does not.

#![expect(clippy::unwrap_used, reason = "all of it is test code")]

use std::path::Path;
use std::time::Duration;

use hume_crash_tests::{Disk, Failure, Fault, Kind, Operation, Record, Times, disk, losses, seed};
use hume_runtime::sqlite::{self, Ballast, Checkpoint, SqliteError, SqliteOptions};
use rusqlite::{Connection, ErrorCode};
use tempfile::TempDir;

const COMMITS: i64 = 12;
const BALLAST_BYTES: u64 = 64 * 1024;

fn try_open(folder: &Path) -> Result<Connection, SqliteError> {
    sqlite::open_writer(&folder.join("plain.db"), &SqliteOptions::default())
}

fn open(folder: &Path) -> Connection {
    try_open(folder).unwrap()
}

fn insert(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO row(body) VALUES (randomblob(3000))", [])
}

/// Some commits with checkpoints between them; after each the position and how many rows there are.
fn commit_some(synchronous: &str) -> (Record, Vec<(usize, i64)>) {
    let folder = TempDir::new_in(disk::roomy()).unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let connection = open(folder.path());
    connection.execute_batch("CREATE TABLE row(no INTEGER PRIMARY KEY, body BLOB)").unwrap();
    connection.pragma_update(None, "synchronous", synchronous).unwrap();
    let mut answers = vec![(disk.now(), 0)];
    for rows in 1..=COMMITS {
        insert(&connection).unwrap();
        answers.push((disk.now(), rows));
        if rows % 5 == 0 {
            sqlite::checkpoint(&connection, Checkpoint::Truncate).unwrap();
        }
    }
    // Without a clean end, which would sync.
    (disk.record(), answers)
}

/// The losses after which an answered row is missing or the file is damaged.
fn losses_that_hurt(record: &Record, answers: &[(usize, i64)], seed: u64) -> Vec<String> {
    let mut hurt = Vec::new();
    for loss in losses(record, seed) {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        loss.image.write_into(folder.path()).unwrap();
        let answered = answers.iter().rev().find(|(position, _)| *position <= loss.at);
        let found = try_open(folder.path()).and_then(|connection| {
            sqlite::quick_check(&connection)?;
            let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            Ok(connection.query_row("SELECT count(*) FROM row", [], count).unwrap_or(-1))
        });
        let fine = match (&found, answered) {
            (Ok(found), Some((_, rows))) => found >= rows,
            (Ok(_), None) => true,
            (Err(_), _) => false,
        };
        if !fine {
            hurt.push(format!("at {} {:?}: {answered:?} {found:?}", loss.at, loss.way));
        }
    }
    hurt
}

#[test]
fn a_database_that_syncs_loses_nothing_that_was_answered() {
    for seed in seed::seeds() {
        let (record, answers) = commit_some("FULL");
        assert!(record.boundaries().len() as i64 > COMMITS, "every commit syncs");
        let hurt = losses_that_hurt(&record, &answers, seed);
        assert!(hurt.is_empty(), "{hurt:#?}");
    }
}

#[test]
fn a_database_that_does_not_sync_loses_what_was_answered_and_that_is_seen() {
    for seed in seed::seeds() {
        let (record, answers) = commit_some("OFF");
        let hurt = losses_that_hurt(&record, &answers, seed);
        assert!(!hurt.is_empty());
    }
}

#[test]
fn a_database_that_syncs_too_seldom_is_seen_as_well() {
    for seed in seed::seeds() {
        // Only checkpoints sync: a commit is answered before it is on disk.
        let (record, answers) = commit_some("NORMAL");
        let hurt = losses_that_hurt(&record, &answers, seed);
        assert!(!hurt.is_empty());
        assert!(hurt.iter().all(|text| text.contains("Ok(")), "nothing is damaged: {hurt:#?}");
    }
}

/// Some commits, one whose sync fails, and after another start some more: without a reboot the one that failed is read back as if
/// nothing had been.
fn commit_around_a_failed_sync(before_the_start: impl Fn(&Path)) -> (Record, Vec<(usize, i64)>) {
    let folder = TempDir::new_in(disk::roomy()).unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let connection = open(folder.path());
    connection.execute_batch("CREATE TABLE row(no INTEGER PRIMARY KEY, body BLOB)").unwrap();
    let mut answers = vec![(disk.now(), 0)];
    insert(&connection).unwrap();
    answers.push((disk.now(), 1));
    let failed = Fault {
        operation: Operation::Sync,
        on: Some(Kind::Wal),
        failure: Failure::Io,
        after: 0,
        times: Times::Once,
    };
    disk.inject(failed);
    insert(&connection).unwrap_err();
    drop(connection);
    before_the_start(&folder.path().join("plain.db"));
    let connection = open(folder.path());
    for rows in 3..=COMMITS {
        insert(&connection).unwrap();
        answers.push((disk.now(), rows));
    }
    (disk.record(), answers)
}

#[test]
fn what_follows_a_commit_whose_sync_failed_is_lost_with_it_unless_the_log_is_written_anew() {
    for seed in seed::seeds() {
        let (record, answers) = commit_around_a_failed_sync(|_| {});
        assert!(!losses_that_hurt(&record, &answers, seed).is_empty());
        let (record, answers) = commit_around_a_failed_sync(|file| sqlite::rewrite_log(file).unwrap());
        let hurt = losses_that_hurt(&record, &answers, seed);
        assert!(hurt.is_empty(), "{hurt:#?}");
    }
}

#[test]
fn a_log_whose_new_sync_fails_or_that_has_no_room_is_not_said_to_be_written_anew() {
    let cases =
        [(Operation::Write, Failure::Io), (Operation::Write, Failure::Full), (Operation::Sync, Failure::Io)];
    for (operation, failure) in cases {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        let disk = Disk::watch(folder.path()).unwrap();
        let connection = open(folder.path());
        connection.execute_batch("CREATE TABLE row(no INTEGER PRIMARY KEY, body BLOB)").unwrap();
        drop(connection);
        let file = folder.path().join("plain.db");
        disk.inject(Fault { operation, on: Some(Kind::Wal), failure, after: 0, times: Times::Once });
        sqlite::rewrite_log(&file).unwrap_err();
        sqlite::rewrite_log(&file).unwrap();
        assert_eq!(disk.faults(), 1);
    }
}

#[test]
fn a_bound_on_the_disk_is_met_by_whoever_asks_for_room_as_well() {
    let folder = TempDir::new_in(disk::roomy()).unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let mut ballast = Ballast::new(folder.path(), BALLAST_BYTES);
    assert!(!ballast.is_out());
    disk.set_capacity(Some(disk.used_bytes() + BALLAST_BYTES / 8));
    assert!(ballast.release_if_full() && ballast.is_out());
    assert!(!ballast.restore(), "there is room for it, and nothing would be left");
    disk.set_capacity(Some(2 * BALLAST_BYTES));
    assert!(ballast.restore());
}

/// What begins to be wrong.
type Begin<'a> = &'a dyn Fn(&Disk);

#[test]
fn every_fault_reaches_the_database_and_ends_when_it_is_healed() {
    let fault =
        |operation, failure| Fault { operation, on: None, failure, after: 0, times: Times::UntilHealed };
    let cases: [(&str, ErrorCode, Begin); 5] = [
        ("sync", ErrorCode::SystemIoFailure, &|disk| disk.inject(fault(Operation::Sync, Failure::Io))),
        ("write", ErrorCode::SystemIoFailure, &|disk| disk.inject(fault(Operation::Write, Failure::Io))),
        ("full", ErrorCode::DiskFull, &|disk| disk.inject(fault(Operation::Write, Failure::Full))),
        ("capacity", ErrorCode::DiskFull, &|disk| disk.set_capacity(Some(disk.used_bytes()))),
        ("read-only", ErrorCode::SystemIoFailure, &Disk::make_read_only),
    ];
    for (name, expected, begin) in cases {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        let disk = Disk::watch(folder.path()).unwrap();
        let connection = open(folder.path());
        connection.execute_batch("CREATE TABLE row(no INTEGER PRIMARY KEY, body BLOB)").unwrap();
        begin(&disk);
        let error = insert(&connection).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(expected), "{name}: {error}");
        disk.heal();
        insert(&connection).unwrap();
    }
}

#[test]
fn a_fault_of_a_read_reaches_who_reads() {
    let folder = TempDir::new_in(disk::roomy()).unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let connection = open(folder.path());
    connection.execute_batch("CREATE TABLE row(no INTEGER PRIMARY KEY, body BLOB)").unwrap();
    let read = Fault {
        operation: Operation::Read,
        on: Some(Kind::Wal),
        failure: Failure::Io,
        after: 0,
        times: Times::Once,
    };
    let reader = sqlite::open_reader(&folder.path().join("plain.db"), &SqliteOptions::default()).unwrap();
    disk.inject(read);
    let count = || reader.query_row("SELECT count(*) FROM row", [], |row| row.get::<_, i64>(0));
    assert_eq!(count().unwrap_err().sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    assert_eq!((count().unwrap(), disk.faults()), (0, 1));
}

#[test]
fn a_read_only_disk_opens_what_is_there_and_makes_nothing() {
    let folder = TempDir::new_in(disk::roomy()).unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    drop(open(folder.path()));
    disk.make_read_only();
    let error = sqlite::open_writer(&folder.path().join("plain.db"), &SqliteOptions::default());
    assert!(error.is_err(), "nothing can be written here");
}

#[test]
fn a_commit_waits_for_a_sync_that_is_held() {
    let folder = TempDir::new_in(disk::roomy()).unwrap();
    let disk = Disk::watch(folder.path()).unwrap();
    let connection = open(folder.path());
    connection.execute_batch("CREATE TABLE row(no INTEGER PRIMARY KEY, body BLOB)").unwrap();
    let held = disk.hold_syncs(Kind::Wal);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| {
            let connection = connection;
            insert(&connection)
        });
        assert!(held.waits_within(Duration::from_mins(1)));
        assert!(!commit.is_finished());
        drop(held);
        commit.join().unwrap().unwrap();
    });
}
