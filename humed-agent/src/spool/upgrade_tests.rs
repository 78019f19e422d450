//! A spool as the first version left it is read by this one, and loses nothing.

use std::collections::BTreeMap;
use std::path::Path;

use hume_core::event::StoredEvent;
use hume_core::filter::RunFilter;
use hume_core::name::{Epoch, EventId, Seq};
use hume_core::run::{Phase, RunState};
use hume_core::{AgentId, Event, Position, RunId};
use hume_proto::event::EventBytes;
use hume_runtime::sqlite::{SqliteError, SqliteOptions};
use tempfile::TempDir;

use super::super::blocks::testing::{all, check};
use super::super::tests::{event, open, open_with};
use super::super::types::row_of;
use super::super::{Config, FILE_NAME, RunEvents, Viewer};
use super::*;

fn epoch(no: u8) -> Epoch {
    Epoch::from_bytes([no; 16])
}

fn agent() -> AgentId {
    AgentId::from_bytes([7; 16])
}

/// Writes what the first version wrote of events at these places of epochs 1 and 2, of which the first is acknowledged.
fn write_old(path: &Path, events: &[(i64, u64, Event)]) {
    let mut connection = sqlite::open_writer(path, &SqliteOptions::default()).unwrap();
    sqlite::migrate(&mut connection, APPLICATION_ID, &MIGRATIONS[..1]).unwrap();
    connection.execute("INSERT INTO meta VALUES ('agent', ?1)", [agent().as_bytes()]).unwrap();
    let sql = "INSERT INTO epoch (no, epoch, next_seq, acked_seq, created_us, predecessor, restamped, reason, purged)
               VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 1, 0)";
    connection.execute(sql, params![1, [1_u8; 16], 61, 60, None::<[u8; 16]>]).unwrap();
    connection.execute(sql, params![2, [2_u8; 16], 41, 5, [1_u8; 16]]).unwrap();
    let mut folds: BTreeMap<RunId, (i64, RunState)> = BTreeMap::new();
    for (no, place, event) in events {
        let seq = Seq::new(*place).unwrap();
        let position = Position { agent: Some(agent()), epoch: epoch(*no as u8), seq };
        let stored = StoredEvent { position, arrived_at: None, event: event.clone() };
        let run = event.run.unwrap().id;
        let next = folds.len() as i64 + 1;
        let run_no = if let Some((no, state)) = folds.get_mut(&run) {
            state.apply(&stored);
            *no
        } else {
            folds.insert(run, (next, RunState::open(&stored).unwrap()));
            next
        };
        let body = EventBytes::encode(event);
        connection
            .execute(
                "INSERT INTO event (row, id, received_us, time_us, kind, run_no, crc, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    row_of(*no, seq),
                    event.id.as_bytes(),
                    event.received_at.as_micros(),
                    event.time.as_micros(),
                    event.kind.index() as i64,
                    run_no,
                    crc32fast::hash(body.as_slice()),
                    body.as_slice(),
                ],
            )
            .unwrap();
    }
    for (run, (no, state)) in &folds {
        connection
            .execute(
                "INSERT INTO run (no, id, task, host, uid, started_us, ended, state) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
                params![
                    no,
                    run.as_bytes(),
                    state.task().as_str(),
                    state.host(),
                    state.started_at().as_micros(),
                    state.phase() == Phase::Ended,
                    serde_json::to_string(state).unwrap()
                ],
            )
            .unwrap();
    }
    sqlite::checkpoint(&connection, Checkpoint::Truncate).unwrap();
}

/// Sixty events in the first epoch and, with holes, some in the second.
fn events() -> Vec<(i64, u64, Event)> {
    let first = (1..=60).map(|place| (1, place, event(place)));
    let second = (1..=40).filter(|place| place % 7 != 0).map(|place| (2, place, event(100 + place)));
    first.chain(second).collect()
}

fn places(events: &[(i64, u64, Event)]) -> Vec<(i64, EventId)> {
    events.iter().map(|(no, place, event)| (row_of(*no, Seq::new(*place).unwrap()), event.id)).collect()
}

async fn check_all(dir: &TempDir, config: &Config) {
    let expected = events();
    let open = open_with(dir, config, Some(agent()));
    let connection = sqlite::open_reader(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap();
    check(&connection);
    let kept: Vec<_> = all(&connection).iter().map(|mark| (mark.row, mark.id)).collect();
    assert_eq!(kept, places(&expected));
    let reader = &open.spool.reader;
    for (no, place, event) in &expected {
        let seq = Seq::new(*place).unwrap();
        assert_eq!(reader.at(epoch(*no as u8), seq).await.unwrap(), Some((event.id, event.received_at)));
        let known = reader.known(vec![event.id]).await.unwrap();
        assert_eq!(known, [(event.id, seq, event.run.map(|run| run.id))]);
    }
    let filter = RunFilter::default();
    let runs = reader.runs(filter, Viewer::Administrator, None, 100, RunEvents::Include).await.unwrap().items;
    assert_eq!(runs.iter().map(|run| run.events.len()).sum::<usize>(), expected.len());
    for run in runs {
        let mut fold = RunState::open(&run.events[0]).unwrap();
        run.events[1..].iter().for_each(|stored| fold.apply(stored));
        assert_eq!((run.state, run.forgotten), (fold, vec![]));
    }
    let figures = open.spool.figures().get();
    let unacked = expected.iter().filter(|(no, place, _)| *no == 2 && *place > 5).count() as u64;
    assert_eq!((figures.events, figures.unacked_events), (expected.len() as u64, unacked));
    let refused = sqlite::check_schema(&connection, APPLICATION_ID, &MIGRATIONS[..1]);
    assert!(matches!(refused, Err(SqliteError::Newer { .. })), "an earlier version refuses it: {refused:?}");
    open.close().await;
}

#[tokio::test]
async fn a_spool_of_the_first_version_has_all_its_events_at_their_places_in_their_runs() {
    let dir = TempDir::new().unwrap();
    write_old(&dir.path().join(FILE_NAME), &events());
    check_all(&dir, &Config::default()).await;
    let open = open(&dir);
    assert_eq!(open.append([1000]).await.first.get(), 41);
    open.close().await;
}

#[tokio::test]
async fn what_cuts_the_move_short_costs_nothing() {
    for steps in [0, 1, 4, 9] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(FILE_NAME);
        write_old(&path, &events());
        let mut connection = sqlite::open_writer(&path, &SqliteOptions::default()).unwrap();
        to_both(&mut connection).unwrap();
        for _ in 0..steps {
            move_some(&mut connection).unwrap();
        }
        drop(connection);
        check_all(&dir, &Config::default()).await;
    }
}

#[tokio::test]
async fn a_spool_that_is_as_large_as_it_may_be_has_room_to_move() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(FILE_NAME);
    let large = |number: u64| Event { message: "x".repeat(1000), ..event(number) };
    let events: Vec<_> = (1..=60).map(|place| (1, place, large(place))).collect();
    write_old(&path, &events);
    let bytes_max = std::fs::metadata(&path).unwrap().len();
    let open = open_with(&dir, &Config { bytes_max, ballast_bytes: 0, ..Config::default() }, Some(agent()));
    let connection = sqlite::open_reader(&path, &SqliteOptions::default()).unwrap();
    let kept: Vec<_> = all(&connection).iter().map(|mark| (mark.row, mark.id)).collect();
    assert_eq!(kept, places(&events));
    open.close().await;
}

#[tokio::test]
async fn a_damaged_spool_of_the_first_version_gives_way_to_one_of_this_with_what_can_be_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(FILE_NAME);
    write_old(&path, &events());
    let connection = sqlite::open_damaged(&path).unwrap();
    let sql = "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 1";
    let page: usize = connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize;
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let open = open(&dir);
    let figures = open.spool.figures().get();
    let expected = places(&events());
    assert!(figures.saved > 0 && figures.saved < expected.len() as u64, "{figures:?}");
    let connection = sqlite::open_reader(&path, &SqliteOptions::default()).unwrap();
    check(&connection);
    let ids: Vec<EventId> = all(&connection).iter().map(|mark| mark.id).collect();
    assert_eq!(ids.len() as u64, figures.saved);
    assert!(ids.iter().all(|id| expected.iter().any(|(_, known)| known == id)));
    open.close().await;
}
