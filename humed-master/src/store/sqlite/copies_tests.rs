//! Backups that are taken while events come in, and what whoever knew the old store sees after a restore.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use hume_core::filter::{EventFilter, KindFilter};
use hume_core::page::{After, EventCursor};
use hume_core::{Seq, Timestamp};
use hume_runtime::sqlite::{self, SqliteError};
use tempfile::TempDir;

use super::tests::{admission, block_on, entrance, entries, open, run};
use super::*;
use crate::store::types::{Admission, SessionNo};

const AGENT: [u8; 16] = [1; 16];
const HOUR_US: i64 = 3_600_000_000;

/// A folder with a store whose writer runs.
struct Bench {
    folder: TempDir,
    store: SqliteStore,
    thread: Option<std::thread::JoinHandle<Result<(), StoreError>>>,
    session: SessionNo,
    sent: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench::at(tempfile::tempdir().unwrap(), 0)
    }

    fn at(folder: TempDir, sent: u64) -> Bench {
        let (store, writer) = open(&folder.path().join("store.db")).unwrap();
        let thread = Some(run(writer));
        let entered = block_on(store.enter(entrance(AGENT))).unwrap();
        Bench { folder, store, thread, session: entered.session, sent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends so many events, each in a commit of its own.
    fn send(&mut self, count: u64) {
        for _ in 0..count {
            let first = Seq::new(self.sent + 1).unwrap();
            let content = entries(self.sent + 1, 1, "x");
            let admission = Admission { first, ..admission(AGENT, self.session, content) };
            block_on(self.store.commit(vec![admission])).unwrap();
            self.sent += 1;
        }
    }

    /// Ends the writer; the folder stays.
    fn stop(mut self) -> TempDir {
        block_on(self.store.close());
        self.thread.take().unwrap().join().unwrap().unwrap();
        self.folder
    }

    fn backup(&self, to: &str, taken: Taken) -> Result<CopyReport, BackupError> {
        backup(&self.path("store.db"), &self.path(to), taken, &mut |_| {}, None)
    }

    fn end(&self) -> EventCursor {
        block_on(self.store.events_after(everything(), 1, After::Now)).unwrap().next
    }
}

fn everything() -> EventFilter {
    EventFilter { kind: KindFilter::All, ..EventFilter::default() }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn restore_at(folder: &TempDir, from: &Path, hour: i64) -> Result<Restored, BackupError> {
    let lock = sqlite::lock(folder.path()).unwrap();
    let now = Timestamp::from_micros(hour * HOUR_US);
    restore(&lock, from, &folder.path().join("store.db"), now, &mut |_| {}, None)
}

/// The places that a store has, by opening it.
fn places(path: &Path) -> Vec<u64> {
    let (store, _writer) = open(path).unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = block_on(store.events(everything(), 1000, after)).unwrap();
        found.extend(page.items.iter().map(|stored| stored.position.seq.get()));
        after = page.next;
        if after.is_none() {
            found.reverse();
            return found;
        }
    }
}

#[test]
fn a_backup_that_is_taken_while_events_come_in_is_one_moment() {
    let mut bench = Bench::new();
    bench.send(40);
    let (from, to) = (bench.path("store.db"), bench.path("copies/backup.db"));
    fs::create_dir(bench.path("copies")).unwrap();
    let thread = std::thread::spawn({
        let to = to.clone();
        move || backup(&from, &to, Taken::Refuse, &mut |_| {}, None)
    });
    while !thread.is_finished() {
        bench.send(1);
    }
    let report = thread.join().unwrap().unwrap();
    assert!((40..=bench.sent).contains(&report.events), "{report:?} of {}", bench.sent);
    assert_eq!((report.bytes, report.through), (fs::metadata(&to).unwrap().len(), Some(Timestamp::EPOCH)));
    assert_eq!(names(&bench.path("copies")), ["backup.db"]);
    let folder = bench.stop();
    let copy = folder.path().join("copies/backup.db");
    assert_eq!(places(&copy).last(), places(&copy).len().try_into().ok().as_ref(), "no hole");
}

#[test]
fn a_name_that_is_taken_stays_unless_it_is_to_be_replaced() {
    let mut bench = Bench::new();
    bench.send(3);
    fs::write(bench.path("backup.db"), "mine").unwrap();
    fs::write(bench.path("backup.db-wal"), "of mine").unwrap();
    let refused = bench.backup("backup.db", Taken::Refuse).unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert_eq!(fs::read_to_string(bench.path("backup.db")).unwrap(), "mine");
    assert_eq!(bench.backup("backup.db", Taken::Replace).unwrap().events, 3);
    assert_eq!(names(bench.folder.path()), ["backup.db", "store.db", "store.db-shm", "store.db-wal"]);
    let nowhere =
        backup(&bench.path("none.db"), &bench.path("b.db"), Taken::Refuse, &mut |_| {}, None).unwrap_err();
    assert!(matches!(nowhere, BackupError::Missing { what: "store", .. }), "{nowhere}");
}

/// Garbage in the middle of a file.
fn damage(path: &Path) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    for page in 2..length / 4096 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0x5a; 64]).unwrap();
    }
    file.sync_all().unwrap();
}

#[test]
fn a_damaged_store_makes_no_backup_and_a_damaged_backup_no_store() {
    let mut bench = Bench::new();
    bench.send(30);
    bench.backup("good.db", Taken::Refuse).unwrap();
    let good = bench.path("good.db");
    let folder = bench.stop();
    let (store, bad) = (folder.path().join("store.db"), folder.path().join("bad.db"));
    fs::copy(&good, &bad).unwrap();
    damage(&bad);
    let before = (names(folder.path()), fs::read(&store).unwrap());
    let text = folder.path().join("store.db.txt");
    for (name, why) in [(&bad, "damaged"), (&text, "none")] {
        let refused = restore_at(&folder, name, 1).unwrap_err();
        let is_meant = match why {
            "none" => matches!(refused, BackupError::Missing { .. }),
            _ => matches!(refused, BackupError::Unusable { .. }),
        };
        assert!(is_meant, "{refused:?}");
    }
    fs::write(&text, "this is a letter to my mother, and no database ".repeat(100)).unwrap();
    let refused = restore_at(&folder, &text, 1).unwrap_err();
    assert!(matches!(refused, BackupError::Unusable { .. }), "{refused}");
    fs::remove_file(&text).unwrap();
    fs::remove_file(folder.path().join("lock")).unwrap();
    assert_eq!((names(folder.path()), fs::read(&store).unwrap()), before);
    damage(&store);
    let refused = backup(&store, &folder.path().join("b.db"), Taken::Refuse, &mut |_| {}, None).unwrap_err();
    assert!(matches!(refused, BackupError::Damaged { .. }), "{refused}");
    assert!(!folder.path().join("b.db").exists());
}

#[test]
fn a_backup_of_another_program_or_of_a_newer_version_is_refused() {
    let mut bench = Bench::new();
    bench.send(1);
    bench.backup("newer.db", Taken::Refuse).unwrap();
    let newer = bench.path("newer.db");
    let folder = bench.stop();
    let theirs = folder.path().join("theirs.db");
    sqlite::open_writer(&theirs, &options(READER_CACHE_KIB))
        .unwrap()
        .execute_batch("CREATE TABLE theirs(x)")
        .unwrap();
    sqlite::open_writer(&newer, &options(READER_CACHE_KIB))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for file in [theirs, newer] {
        let refused = restore_at(&folder, &file, 1).unwrap_err();
        let BackupError::Unusable { source, .. } = &refused else { panic!("{refused}") };
        assert!(matches!(source, SqliteError::Foreign { .. } | SqliteError::Newer { .. }), "{source}");
    }
    assert_eq!(places(&folder.path().join("store.db")), [1]);
}

#[test]
fn after_a_restore_everybody_notices_and_the_old_store_is_kept_whole() {
    let mut bench = Bench::new();
    bench.send(5);
    bench.backup("backup.db", Taken::Refuse).unwrap();
    let at_backup = bench.end();
    bench.send(7);
    let (at_end, id, session) = (bench.end(), bench.store.store_id(), bench.session);
    // As a kill leaves it: with a log.
    let wal = fs::read(bench.path("store.db-wal")).unwrap();
    let main = fs::read(bench.path("store.db")).unwrap();
    let folder = bench.stop();
    fs::write(folder.path().join("store.db"), main).unwrap();
    fs::write(folder.path().join("store.db-wal"), wal).unwrap();

    let restored = restore_at(&folder, &folder.path().join("backup.db"), 10).unwrap();
    assert_eq!(restored.report.events, 5);
    let replaced = restored.replaced.unwrap();
    assert_eq!(replaced, folder.path().join("store.db.replaced-19700101T100000Z"));
    assert_eq!(places(&replaced), (1..=12).collect::<Vec<_>>(), "with its log");

    let mut bench = Bench::at(folder, 5);
    assert_ne!(bench.store.store_id(), id);
    assert!(bench.session > session, "sessions go on: {:?} after {session:?}", bench.session);
    let after =
        |bench: &Bench, border| block_on(bench.store.events_after(everything(), 100, After::Cursor(border)));
    let refused = after(&bench, at_end).unwrap_err();
    assert!(matches!(refused, StoreError::Beyond), "{refused}");
    bench.send(100);
    assert!(matches!(after(&bench, at_end), Err(StoreError::Beyond)), "also when much has come since");
    let next = after(&bench, at_backup).unwrap().items[0].position.seq;
    assert_eq!(next.get(), 6, "whoever had no more than the backup goes on");

    // The same backup again: what was given out in between is of a replaced store as well.
    let (at_end, session) = (bench.end(), bench.session);
    let folder = bench.stop();
    restore_at(&folder, &folder.path().join("backup.db"), 11).unwrap();
    let bench = Bench::at(folder, 5);
    assert!(bench.session > session);
    assert!(matches!(after(&bench, at_end), Err(StoreError::Beyond)));
}

#[test]
fn a_restore_makes_a_store_where_there_is_none() {
    let mut bench = Bench::new();
    bench.send(2);
    bench.backup("backup.db", Taken::Refuse).unwrap();
    let folder = bench.stop();
    fs::remove_file(folder.path().join("store.db")).unwrap();
    // Left by whoever removed the database alone: beside another one it would be taken for that one's log.
    fs::write(folder.path().join("store.db-wal"), "left over").unwrap();
    let restored = restore_at(&folder, &folder.path().join("backup.db"), 1).unwrap();
    assert_eq!((restored.replaced, restored.report.events), (None, 2));
    assert_eq!(names(folder.path()), ["backup.db", "lock", "store.db"]);
    assert_eq!(places(&folder.path().join("store.db")), [1, 2]);
}
