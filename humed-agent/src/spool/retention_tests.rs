//! Retention against a model: closed runs first, open ones for want of room only, and never more than is needed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::block::{BLOCK_EVENTS_MAX, Draft};
use super::super::blocks::testing::{all, check};
use super::super::upgrade::MIGRATIONS;
use super::*;
use hume_core::EventId;
use rusqlite::params;

/// Runs below this are open.
const OPEN_RUNS: u8 = 2;
const OLD_BEFORE: i64 = 100;

#[derive(Clone, Debug)]
struct Row {
    epoch_no: i64,
    seq: i64,
    received_us: i64,
    run: Option<u8>,
    bytes: u64,
}

impl Row {
    fn candidate(&self) -> Candidate {
        let is_of_open_run = self.run.is_some_and(|run| run < OPEN_RUNS);
        Candidate { is_old: self.received_us < OLD_BEFORE, is_of_open_run, is_awaited: false }
    }
}

/// The number of a run's row.
fn number_of(run: u8) -> i64 {
    i64::from(run) + 100
}

/// A spool's file with these rows; in each epoch as many places are acknowledged.
fn file(rows: &[Row], acked: i64) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for sql in MIGRATIONS {
        connection.execute_batch(sql).unwrap();
    }
    for no in 1..=3 {
        connection
            .execute(
                "INSERT INTO epoch (no, epoch, next_seq, acked_seq, acked_event, created_us, predecessor, restamped, reason) VALUES (?1, ?2, 1000, ?3, NULL, 0, NULL, 0, 1)",
                params![no, [no as u8; 16], acked],
            )
            .unwrap();
    }
    for run in 0..4_u8 {
        let text = "INSERT INTO run VALUES (?1, ?2, 'T', 'h', NULL, 0, ?3, '')";
        connection.execute(text, params![number_of(run), [run; 16], run >= OPEN_RUNS]).unwrap();
        if run < OPEN_RUNS {
            connection.execute("INSERT INTO open_run VALUES (?1, 'T', 'h', '')", [[run; 16]]).unwrap();
        }
    }
    let mut draft = Draft::default();
    for (at, row) in rows.iter().enumerate() {
        if draft.is_full() || (at > 0 && rows[at - 1].epoch_no != row.epoch_no) {
            blocks::insert(&connection, &draft).unwrap();
            draft.clear();
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&row.epoch_no.to_be_bytes());
        id[8..].copy_from_slice(&row.seq.to_be_bytes());
        let mark = Mark {
            row: row_of(row.epoch_no, Seq::new(row.seq as u64).unwrap()),
            id: EventId::from_bytes(id),
            received_us: row.received_us,
            time_us: 0,
            kind: 0,
            run_no: row.run.map(number_of),
            crc: 0,
            bytes: row.bytes,
        };
        draft.add(mark, &vec![0_u8; row.bytes as usize]);
    }
    blocks::insert(&connection, &draft).unwrap();
    connection
}

fn places(connection: &Connection) -> Vec<(i64, i64)> {
    let place = |mark: &Mark| {
        let (no, seq) = place_of(mark.row);
        (no, seq.get() as i64)
    };
    check(connection);
    all(connection).iter().map(place).collect()
}

/// Events that the master does not have, and their bytes.
fn unacked(connection: &Connection) -> (u64, u64) {
    let mut unacked = (0, 0);
    for no in 1..=3 {
        let acked: i64 = connection.query_row(ACKED, [no], |row| row.get(0)).unwrap();
        let from = row_of(no, Seq::new(acked as u64).unwrap().next());
        let (events, bytes) = blocks::amount(connection, from..row_of(no + 1, Seq::ZERO)).unwrap();
        unacked = (unacked.0 + events, unacked.1 + bytes);
    }
    unacked
}

/// A whole round by which everything may go; the steps it took.
fn round(connection: &mut Connection, keeping: Keeping, bytes: u64) -> usize {
    round_for(connection, keeping, bytes, None, 0)
}

/// The same when transfers have not told what is above `floor`, and it may have `awaited_bytes_max` all the same.
fn round_for(
    connection: &mut Connection,
    keeping: Keeping,
    mut bytes: u64,
    floor: Option<EventCursor>,
    awaited_bytes_max: u64,
) -> usize {
    let mut round = Round::default();
    for step in 1..1000 {
        let now = Timestamp::from_micros(OLD_BEFORE + 50);
        let before = places(connection).len();
        let unacked = unacked(connection);
        let awaited = Awaited { floor, excess: bytes.saturating_sub(awaited_bytes_max) };
        let rule = Rule { keeping, bytes, awaited, now };
        let untold = |connection: &Connection| {
            let rows = all(connection).into_iter().map(|mark| EventCursor(mark.row));
            rows.filter(|row| floor.is_some_and(|floor| *row >= floor)).collect::<BTreeSet<_>>()
        };
        let untold_before = untold(connection);
        let forgotten = forget(connection, rule, &mut round, ROWS_PER_STEP).unwrap();
        assert_eq!(before - places(connection).len(), forgotten.events as usize);
        let missed: BTreeSet<_> = untold_before.difference(&untold(connection)).copied().collect();
        assert_eq!(forgotten.awaited.into_iter().map(|(row, _)| row).collect::<BTreeSet<_>>(), missed);
        let (events, bytes_less) = self::unacked(connection);
        assert_eq!((unacked.0 - events, unacked.1 - bytes_less), forgotten.unacked);
        bytes -= forgotten.bytes;
        if !forgotten.more {
            assert_eq!(round, Round::default(), "the next round begins at the beginning");
            return step;
        }
    }
    panic!("a round has no end");
}

fn keeping(acked_only: bool, bytes_max: u64) -> Keeping {
    Keeping { acked_only, age_max: Duration::from_micros(50), bytes_max }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (1_i64..4, 0_i64..200, proptest::option::of(0_u8..4), 1_u64..20);
    proptest::collection::vec(row, 0..60).prop_map(|rows| {
        let mut next = [1; 4];
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|(epoch_no, received_us, run, bytes)| {
                let seq = next[epoch_no as usize];
                next[epoch_no as usize] += 1;
                Row { epoch_no, seq, received_us, run, bytes }
            })
            .collect();
        // Epochs follow each other in the file, as they did in time.
        rows.sort_by_key(|row| (row.epoch_no, row.seq));
        rows
    })
}

proptest! {
    #[test]
    fn what_goes_is_what_the_model_says(
        rows in rows(),
        acked in 0_i64..25,
        acked_only in any::<bool>(),
        bytes_max in 0_u64..600,
        floor in proptest::option::of((1_i64..4, 0_u64..25)),
        awaited_bytes_max in 0_u64..600,
    ) {
        let floor = floor.map(|(no, seq)| EventCursor(row_of(no, Seq::new(seq).unwrap_or(Seq::ZERO))));
        let is_awaited = |row: &Row| {
            let at = EventCursor(row_of(row.epoch_no, Seq::new(row.seq as u64).unwrap()));
            floor.is_some_and(|floor| at >= floor)
        };
        let may_go: Vec<&Row> = rows.iter().filter(|row| !acked_only || row.seq <= acked).collect();
        let bytes: u64 = may_go.iter().map(|row| row.bytes).sum();
        let (mut excess, mut awaited_excess) =
            (bytes.saturating_sub(bytes_max), bytes.saturating_sub(awaited_bytes_max));
        let mut gone = BTreeSet::new();
        let mut stay_for_transfers = false;
        for row in &may_go {
            let Candidate { is_old, is_of_open_run, .. } = row.candidate();
            let may_stay = if is_awaited(row) { awaited_excess == 0 } else { !is_old && excess == 0 };
            if may_stay {
                stay_for_transfers = is_awaited(row);
                break;
            }
            if !is_of_open_run {
                excess = excess.saturating_sub(row.bytes);
                awaited_excess = awaited_excess.saturating_sub(row.bytes);
                gone.insert((row.epoch_no, row.seq));
            }
        }
        let is_for_room = excess > 0 && !stay_for_transfers;
        for row in may_go.iter().filter(|_| is_for_room) {
            if gone.contains(&(row.epoch_no, row.seq)) {
                continue;
            }
            if if is_awaited(row) { awaited_excess == 0 } else { excess == 0 } {
                break;
            }
            excess = excess.saturating_sub(row.bytes);
            awaited_excess = awaited_excess.saturating_sub(row.bytes);
            gone.insert((row.epoch_no, row.seq));
        }
        let mut connection = file(&rows, acked);
        let steps =
            round_for(&mut connection, keeping(acked_only, bytes_max), bytes, floor, awaited_bytes_max);
        // A step ends before the block that has too much for it.
        let least = ROWS_PER_STEP + 1 - BLOCK_EVENTS_MAX;
        prop_assert!(steps <= 2 * (1 + rows.len() / least), "{} steps for {} rows", steps, rows.len());
        let expected: Vec<_> =
            rows.iter().map(|row| (row.epoch_no, row.seq)).filter(|place| !gone.contains(place)).collect();
        prop_assert_eq!(places(&connection), expected);
        let runs: Vec<u8> = connection
            .prepare("SELECT id FROM run ORDER BY id").unwrap()
            .query_map([], |row| row.get::<_, [u8; 16]>(0)).unwrap()
            .map(|id| id.unwrap()[0]).collect();
        // A run without events goes with the last of them, unless it is open.
        let has_events = |run: u8| rows.iter().any(|row| row.run == Some(run) && !gone.contains(&(row.epoch_no, row.seq)));
        let had_events = |run: u8| rows.iter().any(|row| row.run == Some(run));
        let stays = |run: &u8| *run < OPEN_RUNS || has_events(*run) || !had_events(*run);
        prop_assert_eq!(runs, (0..4).filter(stays).collect::<Vec<_>>());
    }
}

#[test]
fn events_of_an_open_run_go_only_when_nothing_else_is_left_and_room_is_wanted() {
    let rows: Vec<Row> = (1..=20)
        .map(|seq| Row { epoch_no: 1, seq, received_us: 0, run: Some((seq % 4) as u8), bytes: 10 })
        .collect();
    let mut connection = file(&rows, 20);
    round(&mut connection, keeping(true, u64::MAX), 200);
    assert_eq!(places(&connection).len(), 10, "by age, those of open runs stay");
    round(&mut connection, keeping(true, 35), 100);
    assert_eq!(places(&connection), [(1, 16), (1, 17), (1, 20)], "for want of room, the oldest go");
}

#[test]
fn what_transfers_have_not_told_waits_a_week_beyond_its_age_and_no_longer() {
    let age = Duration::from_hours(72);
    let came = |hours: i64| hours * 3_600_000_000;
    let rows: Vec<Row> =
        (1..=4).map(|seq| Row { epoch_no: 1, seq, received_us: came(seq), run: None, bytes: 10 }).collect();
    let mut connection = file(&rows, 4);
    let keeping = Keeping { acked_only: true, age_max: age, bytes_max: u64::MAX };
    let floor = EventCursor(row_of(1, Seq::new(2).unwrap()));
    // All are too old; the first was told, the second has waited for a week.
    let hours = (age + RETENTION_WAITS).as_secs() / 3600;
    let now = Timestamp::from_micros(came(hours as i64 + 2) + 1);
    let awaited = Awaited { floor: Some(floor), excess: 0 };
    let rule = Rule { keeping, bytes: 40, awaited, now };
    let forgotten = forget(&mut connection, rule, &mut Round::default(), ROWS_PER_STEP).unwrap();
    assert_eq!(places(&connection), [(1, 3), (1, 4)]);
    assert_eq!((forgotten.awaited.as_slice(), forgotten.more), (&[(floor, 1)][..], false));
}

#[test]
fn no_statement_of_a_step_reads_more_than_it_needs() {
    let connection = file(&[], 0);
    for (sql, index) in [
        (blocks::HEADS, "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (NEXT_EPOCH, "USING INTEGER PRIMARY KEY (rowid>?)"),
        (ACKED, "USING INTEGER PRIMARY KEY (rowid=?)"),
        (IS_OPEN, "USING INTEGER PRIMARY KEY (rowid=?)"),
        (blocks::DELETE, "USING INTEGER PRIMARY KEY (rowid=?)"),
        (blocks::DELETE_MILLIS, "USING PRIMARY KEY (millis=? AND row=?)"),
        (blocks::DELETE_RUN, "USING PRIMARY KEY (run_no=? AND row=?)"),
        (DELETE_RUN, "USING PRIMARY KEY (run_no=?)"),
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // The plan does not depend on the values.
        for parameter in 1..=plan.parameter_count() {
            plan.raw_bind_parameter(parameter, 1).unwrap();
        }
        let mut rows = plan.raw_query();
        let mut steps: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get("detail").unwrap());
        }
        assert!(steps.iter().any(|step| step.contains(index)), "{sql}: {steps:#?}");
        assert!(
            !steps.iter().any(|step| step.contains("SCAN") || step.contains("TEMP B-TREE")),
            "{steps:#?}"
        );
    }
}
