//! A new epoch takes over: nothing is lost, nothing doubled, nothing renumbered that the master has.

use hume_core::filter::RunFilter;
use hume_proto::relay::GapReason;
use hume_runtime::sqlite::{self, SqliteOptions};
use tempfile::TempDir;

use super::super::blocks::testing::{check, remove, spoil_body, spoil_marks};
use super::super::config::Keeping;
use super::super::retention::{self, Awaited, Round, Rule};
use super::super::tests::{Open, event, open, until};
use super::super::types::place_of;
use super::super::{FILE_NAME, RunEvents, Stretch, Tail, Viewer};
use super::*;

fn seq(value: u64) -> Seq {
    Seq::new(value).unwrap()
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, EventId)> {
    (1..).zip(numbers.into_iter().map(|number| event(number).id)).collect()
}

/// With so many events, of which the master has so many.
async fn filled(dir: &TempDir, events: u64, acked: u64) -> (Open, Epoch) {
    let open = open(dir);
    let epoch = open.append(0..events).await.epoch;
    open.spool.writer.acknowledge(epoch, seq(acked)).unwrap();
    until("the ack is counted", async || open.spool.figures().get().unacked_events == events - acked).await;
    (open, epoch)
}

async fn check_moved(dir: &TempDir, open: &Open, old: Epoch, new: Epoch) {
    assert_eq!(open.places_of(old).await, ids(0..4));
    assert_eq!(open.places_of(new).await, ids(4..12));
    let rows = open.spool.reader.epochs().await.unwrap();
    let ends: Vec<_> = rows.iter().map(|row| (row.epoch, row.acked, row.last())).collect();
    assert_eq!(ends, [(old, seq(4), seq(4)), (new, Seq::ZERO, seq(8))]);
    assert_eq!(rows[1].predecessor, Some(old));
    check(&sqlite::open_reader(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap());
}

#[tokio::test]
async fn what_the_master_does_not_have_moves_into_the_new_epoch_and_later_events_follow() {
    let dir = TempDir::new().unwrap();
    let (first, old) = filled(&dir, 10, 4).await;
    let new = first.spool.writer.succeed(old, EpochReason::Forked).await.unwrap();
    assert_eq!((new.predecessor, new.restamped, new.reason), (Some(old), seq(6), EpochReason::Forked));
    assert_eq!(first.spool.figures().get().unacked_events, 6);
    let appended = first.append(10..12).await;
    assert_eq!((appended.epoch, appended.first), (new.epoch, seq(7)));
    assert_eq!(*first.spool.writer.tail().borrow(), Tail { epoch: new.epoch, last: seq(8) });
    check_moved(&dir, &first, old, new.epoch).await;
    first.close().await;
    let second = open(&dir);
    check_moved(&dir, &second, old, new.epoch).await;
    second.close().await;
}

#[tokio::test]
async fn runs_stay_whole_when_their_events_move() {
    let dir = TempDir::new().unwrap();
    let (open, old) = filled(&dir, 20, 8).await;
    open.spool.writer.succeed(old, EpochReason::Forked).await.unwrap();
    open.append(20..25).await;
    let runs =
        open.spool.reader.runs(RunFilter::default(), Viewer::Administrator, None, 10, RunEvents::Include);
    let runs = runs.await.unwrap().items;
    assert_eq!(runs.len(), 5);
    for run in runs {
        assert_eq!((run.events.len(), run.forgotten.len()), (5, 0), "{run:?}");
        let spans: Vec<_> =
            run.state.spans().iter().map(|span| span.last().get() - span.first().get()).collect();
        assert_eq!(spans.len(), 2, "{spans:?}");
    }
    open.close().await;
}

#[tokio::test]
async fn an_epoch_has_one_successor_and_a_successor_may_have_one() {
    let dir = TempDir::new().unwrap();
    let (open, old) = filled(&dir, 3, 1).await;
    let writer = &open.spool.writer;
    let second = writer.succeed(old, EpochReason::Forked).await.unwrap();
    let again = writer.succeed(old, EpochReason::Forked).await;
    assert!(matches!(again, Err(SpoolError::NoEpoch { epoch }) if epoch == old), "{again:?}");
    let third = writer.succeed(second.epoch, EpochReason::Operator).await.unwrap();
    assert_eq!((third.restamped, third.predecessor), (seq(2), Some(second.epoch)));
    assert_eq!(open.places_of(third.epoch).await, ids(1..3));
    assert!(open.places_of(second.epoch).await.is_empty());
    open.close().await;
}

#[tokio::test]
async fn a_row_whose_bytes_have_changed_is_a_hole_and_its_neighbours_are_not() {
    let dir = TempDir::new().unwrap();
    let (open, epoch) = filled(&dir, 5, 0).await;
    let connection = sqlite::open_writer(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap();
    let no = open.spool.reader.epochs().await.unwrap()[0].no;
    for place in [2, 3] {
        spoil_body(&connection, row_of(no, seq(place)));
    }
    let read = async |from| open.spool.reader.stretch(epoch, seq(from), 10, usize::MAX).await.unwrap();
    assert!(matches!(read(1).await, Stretch::Events(events) if events.len() == 1));
    assert_eq!(read(2).await, Stretch::Hole { through: seq(2), reason: GapReason::Corrupt });
    assert_eq!(read(3).await, Stretch::Hole { through: seq(3), reason: GapReason::Corrupt });
    assert!(matches!(read(4).await, Stretch::Events(events) if events.len() == 2));
    assert_eq!(read(6).await, Stretch::Events(Vec::new()));
    remove(&connection, |mark| mark.row <= row_of(no, seq(3)));
    assert_eq!(read(1).await, Stretch::Hole { through: seq(3), reason: GapReason::Evicted });
    assert_eq!(open.spool.reader.unreadable(epoch, seq(4), 5).await.unwrap(), None);
    open.close().await;
}

#[tokio::test]
async fn a_block_whose_marks_have_changed_is_a_hole_and_its_neighbours_are_not() {
    let dir = TempDir::new().unwrap();
    // In blocks of four.
    let (open, epoch) = filled(&dir, 12, 0).await;
    let connection = sqlite::open_writer(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap();
    let no = open.spool.reader.epochs().await.unwrap()[0].no;
    spoil_marks(&connection, row_of(no, seq(6)));
    let read = async |from| open.spool.reader.stretch(epoch, seq(from), 10, usize::MAX).await.unwrap();
    assert!(matches!(read(2).await, Stretch::Events(events) if events.len() == 3));
    assert_eq!(read(5).await, Stretch::Hole { through: seq(8), reason: GapReason::Corrupt });
    assert!(matches!(read(9).await, Stretch::Events(events) if events.len() == 4));
    let claim = open.spool.reader.watermark(Timestamp::from_micros(1000), vec![]).await.unwrap();
    assert_eq!(claim, Timestamp::EPOCH, "nobody knows when they came");
    // The master was told, and they go with the others.
    open.spool.writer.acknowledge(epoch, seq(12)).unwrap();
    until("the ack is counted", async || open.spool.figures().get().unacked_events == 0).await;
    open.close().await;
    let keeping = Keeping { acked_only: true, age_max: std::time::Duration::ZERO, bytes_max: 0 };
    let mut connection = connection;
    let awaited = Awaited { floor: None, excess: 0 };
    let rule = Rule { keeping, bytes: 0, awaited, now: Timestamp::from_micros(1000) };
    let forgotten = retention::forget(&mut connection, rule, &mut Round::default(), 100);
    assert_eq!(forgotten.unwrap().events, 12);
    check(&connection);
}

#[tokio::test]
async fn what_could_not_be_read_of_a_damaged_file_is_a_hole_of_its_successor() {
    let dir = TempDir::new().unwrap();
    let (open, old) = filled(&dir, 9, 2).await;
    let connection = sqlite::open_writer(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap();
    remove(&connection, |mark| [5, 6, 9].contains(&place_of(mark.row).1.get()));
    let new = open.spool.writer.succeed(old, EpochReason::Salvaged).await.unwrap().epoch;
    open.append(20..21).await;
    let read = async |from| open.spool.reader.stretch(new, seq(from), 10, usize::MAX).await.unwrap();
    assert_eq!(read(3).await, Stretch::Hole { through: seq(4), reason: GapReason::Corrupt });
    assert_eq!(read(7).await, Stretch::Hole { through: seq(7), reason: GapReason::Corrupt });
    assert!(matches!(read(8).await, Stretch::Events(events) if events.len() == 1));
    open.close().await;
}
