//! A spool on a disk in trouble: what was answered is kept, what is missing is counted, and it goes on by itself.

use std::fs;
use std::path::{Path, PathBuf};

use hume_core::name::Seq;
use hume_core::{AgentId, ErrorClass, Event, EventId};
use rusqlite::Connection;
use tempfile::TempDir;

use super::blocks::testing::{all, check};
use super::tests::{Open, event, open, open_with, until};
use super::types::place_of;
use super::upgrade::MIGRATIONS;
use super::*;

fn agent() -> AgentId {
    AgentId::from_bytes([7; 16])
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join(FILE_NAME)
}

/// What the file under this name holds: place within its epoch, and id.
fn rows(path: &Path) -> Vec<(i64, EventId)> {
    let connection = sqlite::open_reader(path, &SqliteOptions::default()).unwrap();
    check(&connection);
    all(&connection).iter().map(|mark| (place_of(mark.row).1.get() as i64, mark.id)).collect()
}

fn ids(path: &Path) -> Vec<EventId> {
    rows(path).into_iter().map(|(_, id)| id).collect()
}

fn expected(numbers: impl IntoIterator<Item = u64>) -> Vec<EventId> {
    numbers.into_iter().map(|number| event(number).id).collect()
}

/// Names of spools that were set aside.
fn aside(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter(|name| name.contains("damaged") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

/// Appends events from `from` on, in groups, until one is refused; the number after the last that was kept.
async fn fill(open: &Open, from: u64) -> (u64, SpoolError) {
    let mut next = from;
    loop {
        let events = (next..next + 20).map(|number| Event { message: "x".repeat(500), ..event(number) });
        match open.spool.writer.append(events.collect(), vec![]).await {
            Ok(_) => next += 20,
            Err(error) => return (next, error),
        }
        assert!(next < from + 100_000, "the bound is not held");
    }
}

const SMALL: u64 = 600 * 1024;

fn small(when_full: WhenFull) -> Config {
    Config { bytes_max: SMALL, when_full, ballast_bytes: 0, ..Config::default() }
}

#[tokio::test]
async fn a_spool_refuses_events_while_there_is_room_for_small_things() {
    let dir = TempDir::new().unwrap();
    let open = open_with(&dir, &small(WhenFull::Refuse), Some(agent()));
    let (kept, refused) = fill(&open, 0).await;
    let SpoolError::Full { used_bytes } = refused else { panic!("{refused:?}") };
    assert!((SMALL * 95 / 100 - 4096..SMALL).contains(&used_bytes), "{used_bytes}");
    assert_eq!(refused.class(), ErrorClass::Full);
    // What it has stays, and what the master says of it is still noted.
    let reader = open.spool.reader.clone();
    let epoch = reader.epochs().await.unwrap()[0].epoch;
    open.spool.writer.acknowledge(epoch, Seq::new(3).unwrap()).unwrap();
    until("the acknowledgement", async || reader.epochs().await.unwrap()[0].acked.get() == 3).await;
    let figures = open.spool.figures().get();
    assert_eq!((figures.unacked_events, figures.evicted, figures.refused), (kept - 3, 0, 20));
    assert!(ids(&file(&dir)).ends_with(&expected(3..kept)));
    open.close().await;
}

#[tokio::test]
async fn the_last_part_is_for_root_until_the_master_has_enough_to_make_room() {
    let dir = TempDir::new().unwrap();
    let open = open_with(&dir, &small(WhenFull::Refuse), Some(agent()));
    let figures = open.spool.figures();
    let mut next = 0;
    while !figures.get().reserved {
        let events = (next..next + 5).map(|number| Event { message: "x".repeat(500), ..event(number) });
        open.spool.writer.append(events.collect(), vec![]).await.unwrap();
        next += 5;
    }
    assert!(!figures.get().full && figures.get().file_bytes > SMALL * 80 / 100);
    // Root goes on, and nothing of it goes away for want of room.
    open.spool.writer.append(vec![event(next)], vec![]).await.unwrap();
    assert_eq!((figures.get().events, figures.get().reserved), (next + 1, true));
    let epoch = open.spool.reader.epochs().await.unwrap()[0].epoch;
    open.spool.writer.acknowledge(epoch, Seq::new(next).unwrap()).unwrap();
    until("room for all", async || !figures.get().reserved).await;
    assert_eq!(figures.get().unacked_events, 1);
    open.close().await;
}

#[tokio::test]
async fn where_the_oldest_give_way_nothing_is_reserved() {
    let dir = TempDir::new().unwrap();
    let open = open_with(&dir, &small(WhenFull::Evict), Some(agent()));
    fill(&open, 0).await;
    assert!(!open.spool.figures().get().reserved);
    open.close().await;
}

#[tokio::test]
async fn where_the_oldest_give_way_they_go_in_order_and_are_counted() {
    let dir = TempDir::new().unwrap();
    let open = open_with(&dir, &small(WhenFull::Evict), Some(agent()));
    let (mut next, first_refusal) = fill(&open, 0).await;
    assert_eq!(first_refusal.class(), ErrorClass::Full);
    // Each step of the eviction makes a little room, which is filled at once.
    let figures = open.spool.figures();
    while figures.get().evicted <= 100 {
        assert!(next < 100_000, "nothing gives way");
        until("room", async || open.spool.writer.append(vec![event(next)], vec![]).await.is_ok()).await;
        next = fill(&open, next + 1).await.0;
    }
    until("room", async || open.spool.writer.append(vec![event(next)], vec![]).await.is_ok()).await;
    next += 1;
    let (mut kept, mut values) = (Vec::new(), figures.get());
    // It may go on evicting: what is compared is of one moment.
    until("a moment between two steps", async || {
        values = figures.get();
        kept = ids(&file(&dir));
        values == figures.get() && values.events == kept.len() as u64
    })
    .await;
    let gone = next - kept.len() as u64;
    assert!(gone > 100, "{gone}");
    assert_eq!(kept, expected(gone..next), "the oldest, and no hole");
    assert_eq!((values.evicted, values.unacked_events), (gone, next - gone));
    open.close().await;
}

#[tokio::test]
async fn a_file_that_is_removed_comes_again_with_all_it_had_and_a_new_epoch() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let first = open.append(0..30).await.epoch;
    let seen = rows(&file(&dir));
    for tail in ["", "-wal", "-shm"] {
        fs::remove_file(sqlite::beside(&file(&dir), tail)).unwrap();
    }
    let mut tail = open.spool.writer.tail();
    // Noticed before anything more is promised.
    let refused = open.spool.writer.append(vec![event(30)], vec![]).await;
    let second = match refused {
        Ok(appended) => appended.epoch,
        Err(error) => panic!("{error}"),
    };
    assert_ne!(first, second);
    assert_eq!(tail.borrow_and_update().epoch, second);
    assert!(rows(&file(&dir)).starts_with(&seen), "at the same places");
    assert_eq!(ids(&file(&dir)), expected(0..31));
    assert_eq!(open.spool.reader.known(vec![event(5).id, event(30).id]).await.unwrap().len(), 2);
    let figures = open.spool.figures().get();
    assert_eq!((figures.events, figures.saved, figures.unreadable, figures.repairs), (31, 30, 0, 1));
    assert_eq!(figures.set_aside, 0, "there was nothing to set aside");
    open.close().await;
    let again = tests::open(&dir);
    assert_eq!(again.append([31]).await.epoch, second);
    again.close().await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_taken_and_what_stands_there_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let open = {
        let mut tasks = TaskGroup::new();
        let spool =
            Spool::open(&state, &Config::default(), Some(agent()), Board::default(), &mut tasks).unwrap();
        (spool, tasks)
    };
    let (spool, _tasks) = open;
    spool.writer.append(vec![event(1)], vec![]).await.unwrap();
    fs::rename(&state, dir.path().join("away")).unwrap();
    fs::create_dir(&state).unwrap();
    fs::write(state.join(FILE_NAME), "what somebody put there").unwrap();
    spool.writer.append(vec![event(2)], vec![]).await.unwrap();
    assert_eq!(ids(&state.join(FILE_NAME)), expected(1..3));
    let names = aside(&state);
    assert_eq!(names.len(), 1);
    assert_eq!(fs::read_to_string(state.join(&names[0])).unwrap(), "what somebody put there");
    assert_eq!(spool.figures().get().set_aside, 1);
    let second = Spool::open(&state, &Config::default(), None, Board::default(), &mut TaskGroup::new());
    assert!(matches!(second, Err(SpoolError::Lock(_))), "the new folder is taken as well");
}

/// A spool with these events, closed.
async fn closed_with(dir: &TempDir, numbers: std::ops::Range<u64>) {
    let open = open(dir);
    for number in numbers {
        open.append([number]).await;
    }
    open.close().await;
}

/// Numbers of the pages of a table or index, from 1, of this type.
fn pages(path: &Path, name: &str, kind: &str) -> Vec<u32> {
    let connection = sqlite::open_damaged(path).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY pageno")
        .unwrap();
    statement.query_map([name, kind], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn spoil(path: &Path, page: u32) {
    let page = page as usize;
    let mut bytes = fs::read(path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0x5a);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_page_costs_what_stood_on_it_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    closed_with(&dir, 0..300).await;
    let before = rows(&file(&dir));
    let leaves = pages(&file(&dir), "block", "leaf");
    spoil(&file(&dir), leaves[leaves.len() / 2]);
    let open = open(&dir);
    let figures = open.spool.figures().get();
    let after = rows(&file(&dir));
    assert!(figures.unreadable > 0 && figures.unreadable < 100, "{figures:?}");
    assert_eq!((figures.saved + figures.unreadable, figures.set_aside), (300, 1));
    assert_eq!(after.len() as u64, figures.saved);
    assert!(after.iter().all(|row| before.contains(row)), "at the same places");
    let appended = open.append([300]).await;
    let epochs = open.spool.reader.epochs().await.unwrap();
    assert_eq!((epochs.len(), appended.epoch, appended.first.get()), (2, epochs[1].epoch, 301));
    assert_eq!((epochs[1].predecessor, epochs[1].restamped.get()), (Some(epochs[0].epoch), 300));
    assert_eq!(aside(dir.path()).len(), 1);
    open.close().await;
    // Seen once, and not again.
    let again = tests::open(&dir);
    assert_eq!((again.spool.figures().get().saved, again.spool.figures().get().set_aside), (0, 1));
    again.close().await;
}

#[tokio::test]
async fn folds_that_are_lost_are_made_anew_from_their_events() {
    let dir = TempDir::new().unwrap();
    closed_with(&dir, 0..100).await;
    // Without the name of the epoch, which is another one by then.
    let read = |path: &Path| -> Vec<(Vec<u8>, Option<u32>, String)> {
        let state = |text: String| {
            let (begin, rest) = text.split_once("\"epoch\":[").unwrap();
            format!("{begin}{}", rest.split_once(']').unwrap().1)
        };
        let connection = sqlite::open_reader(path, &SqliteOptions::default()).unwrap();
        let mut statement = connection.prepare("SELECT id, uid, state FROM run ORDER BY id").unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, state(row.get(2)?)));
        statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let before = read(&file(&dir));
    for page in pages(&file(&dir), "run", "leaf") {
        spoil(&file(&dir), page);
    }
    let open = open(&dir);
    assert_eq!(open.spool.figures().get().unreadable, 0);
    assert_eq!(read(&file(&dir)), before);
    open.close().await;
}

#[tokio::test]
async fn what_is_no_database_any_more_is_set_aside_and_the_spool_begins_anew() {
    for spoiled in [vec![0x5a; 100], Vec::new(), b"SQLite format 3\0".to_vec()] {
        let dir = TempDir::new().unwrap();
        closed_with(&dir, 0..10).await;
        let mut bytes = fs::read(file(&dir)).unwrap();
        if spoiled.is_empty() {
            bytes.truncate(3 * 4096 + 100);
        } else {
            bytes[..100].fill(0x5a);
            bytes[..spoiled.len()].copy_from_slice(&spoiled);
        }
        fs::write(file(&dir), &bytes).unwrap();
        let open = open(&dir);
        assert_eq!(open.append([10]).await.first.get(), 1, "in a new epoch");
        let names = aside(dir.path());
        assert_eq!(names.len(), 1);
        assert_eq!(fs::read(dir.path().join(&names[0])).unwrap(), bytes, "as it was");
        open.close().await;
    }
}

#[tokio::test]
async fn a_log_without_its_file_is_set_aside_and_not_taken_for_that_of_a_new_one() {
    let dir = TempDir::new().unwrap();
    let copy = TempDir::new().unwrap();
    let one = open(&dir);
    one.append(0..10).await;
    let log = sqlite::beside(&file(&copy), "-wal");
    fs::copy(sqlite::beside(&file(&dir), "-wal"), &log).unwrap();
    one.close().await;
    let other = open(&copy);
    assert_eq!(other.append([1]).await.first.get(), 1);
    let names =
        fs::read_dir(copy.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains("damaged") && name.ends_with("-wal")).count(), 1);
    other.close().await;
}

#[tokio::test]
async fn a_log_that_was_damaged_after_its_sync_costs_its_end_and_a_new_epoch_begins() {
    let dir = TempDir::new().unwrap();
    let copy = TempDir::new().unwrap();
    let one = open(&dir);
    for number in 0..40 {
        one.append([number]).await;
    }
    for name in ["spool.db", "spool.db-wal"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    one.close().await;
    let log = sqlite::beside(&file(&copy), "-wal");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let other = open(&copy);
    let saved = other.spool.figures().get().saved;
    assert!((1..40).contains(&saved), "{saved}");
    assert_eq!(ids(&file(&copy)), expected(0..saved));
    let epochs = other.spool.reader.epochs().await.unwrap();
    assert_eq!(
        (epochs.len(), other.append([40]).await.first.get()),
        (2, saved + 1),
        "in an epoch of its own"
    );
    let names = aside(copy.path());
    assert_eq!(fs::read(copy.path().join(format!("{}-wal", names[0]))).unwrap(), bytes, "as it was");
    other.close().await;
}

#[tokio::test]
async fn another_programs_file_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let theirs = sqlite::open_writer(&file(&dir), &SqliteOptions::default()).unwrap();
    theirs.execute_batch("CREATE TABLE theirs(x)").unwrap();
    drop(theirs);
    let refused = Spool::open(dir.path(), &Config::default(), None, Board::default(), &mut TaskGroup::new());
    assert!(matches!(refused, Err(SpoolError::Open(sqlite::SqliteError::Foreign { .. }))), "{refused:?}");
    assert!(aside(dir.path()).is_empty());
}

#[tokio::test]
async fn only_a_clean_stop_spares_the_next_start_a_look_through_the_file() {
    let dir = TempDir::new().unwrap();
    closed_with(&dir, 0..5).await;
    assert!(sqlite::take_clean_stop(&file(&dir)).unwrap());
    sqlite::leave_clean_stop(&file(&dir)).unwrap();
    let open = open(&dir);
    open.append([5]).await;
    // As a power cut now would leave it.
    let copy = TempDir::new().unwrap();
    for name in ["spool.db", "spool.db-wal"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    assert!(!sqlite::take_clean_stop(&file(&dir)).unwrap());
    open.close().await;
    let after = tests::open(&copy);
    assert_eq!(ids(&file(&copy)), expected(0..6));
    assert_eq!(after.spool.figures().get().set_aside, 0);
    after.close().await;
}

#[tokio::test]
async fn a_rescue_that_was_cut_short_is_ended_or_begun_anew() {
    let dir = TempDir::new().unwrap();
    closed_with(&dir, 0..300).await;
    let whole = fs::read(file(&dir)).unwrap();
    let leaves = pages(&file(&dir), "block", "leaf");
    spoil(&file(&dir), leaves[1]);
    // While the new file was built: what is there of it is nothing.
    fs::write(sqlite::beside(&file(&dir), ".rescue"), "half").unwrap();
    let open = open(&dir);
    assert_eq!(open.spool.figures().get().saved, ids(&file(&dir)).len() as u64);
    open.close().await;
    // After it was whole: it takes its place, and the log of the old one is not taken for its own.
    fs::write(sqlite::beside(&file(&dir), ".rescued"), &whole).unwrap();
    fs::write(file(&dir), "the old one").unwrap();
    fs::write(sqlite::beside(&file(&dir), "-wal"), "its log").unwrap();
    let open = tests::open(&dir);
    assert_eq!(ids(&file(&dir)), expected(0..300));
    open.close().await;
}

#[test]
fn the_tables_of_a_spool_are_known_to_the_salvage() {
    let connection = Connection::open_in_memory().unwrap();
    for sql in MIGRATIONS {
        connection.execute_batch(sql).unwrap();
    }
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let names: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    // A new table is to be saved as well: see `salvage`.
    assert_eq!(names, ["block", "block_by_millis", "block_by_run", "epoch", "meta", "open_run", "run"]);
}
