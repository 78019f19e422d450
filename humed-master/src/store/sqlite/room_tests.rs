//! Room on the disk: a reader that holds an old moment is bounded, and what was forgotten is given back.

use std::sync::Arc;

use hume_core::policy::Policies;
use hume_core::{Seq, Timestamp};
use tokio::sync::oneshot;

use super::readers::read_failed;
use super::tests::{admission, block_on, entrance, entries, open, run};
use super::*;
use crate::store::types::{Admission, SessionNo};

const AGENT: [u8; 16] = [1; 16];
/// Bytes of an event's message.
const MESSAGE_BYTES: usize = 10_000;

/// Commits one large event.
async fn send(store: &SqliteStore, session: SessionNo, sent: &mut u64) {
    let first = Seq::new(*sent + 1).unwrap();
    let content = entries(*sent + 1, 1, &"x".repeat(MESSAGE_BYTES));
    store.commit(vec![Admission { first, ..admission(AGENT, session, content) }]).await.unwrap();
    *sent += 1;
}

#[test]
fn events_come_in_while_a_reader_holds_an_old_moment_and_the_log_shrinks_once_he_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, writer) = open(&path).unwrap();
    let thread = run(writer);
    block_on(async {
        let session = store.enter(entrance(AGENT)).await.unwrap().session;
        let mut sent = 0;
        let (begun, begins) = oneshot::channel();
        let held = store.readers.ask(move |question| {
            let sql = "SELECT count(*) FROM block";
            let count = question.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            count.map_err(read_failed)?;
            begun.send(()).unwrap();
            // A question that never ends by itself.
            loop {
                question.check()?;
                std::thread::yield_now();
            }
        });
        let ingest = async {
            begins.await.unwrap();
            while sqlite::wal_bytes(&path) < 4 * WAL_BYTES_MAX {
                send(&store, session, &mut sent).await;
            }
        };
        tokio::select! {
            ended = held => panic!("it ended by itself: {:?}", ended.map(|(): ()| ())),
            () = ingest => {}
        }
        // Nobody waits for the answer any more, so he is gone soon.
        let mut tries = 0;
        while sqlite::wal_bytes(&path) > WAL_BYTES_MAX {
            send(&store, session, &mut sent).await;
            tries += 1;
            assert!(tries < 1000, "the log stays at {} bytes", sqlite::wal_bytes(&path));
        }
        assert_eq!(store.count_events(EventFilter::default()).await.unwrap(), sent);
    });
    block_on(store.close());
    thread.join().unwrap().unwrap();
}

#[test]
fn what_was_forgotten_for_want_of_room_is_given_back_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (store, writer) = open(&path).unwrap();
    let thread = run(writer);
    let bytes_max = 1_000_000;
    block_on(async {
        let session = store.enter(entrance(AGENT)).await.unwrap().session;
        let mut sent = 0;
        while sent < 300 {
            send(&store, session, &mut sent).await;
        }
        let policies = Arc::new(Policies::default());
        let bounds = Bounds {
            old_before: None,
            bytes_max: Some(bytes_max),
            untold: None,
            keep_failed_runs: 0,
            policies,
        };
        let (mut round, mut events) = (Round::default(), 0);
        loop {
            let step = store.forget(bounds.clone(), round, Some(Timestamp::EPOCH)).await.unwrap();
            events += step.events;
            if !step.more {
                assert_eq!(step.excess_bytes, 0);
                break;
            }
            round = step.round;
        }
        let left = store.count_events(EventFilter::default()).await.unwrap();
        assert_eq!(left + events, sent);
    });
    block_on(store.close());
    thread.join().unwrap().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    // No more went than was wanted: a twentieth, and what one step takes.
    assert!(bytes <= bytes_max && bytes > bytes_max * 8 / 10, "{bytes}");
    let (store, _writer) = open(&path).unwrap();
    assert_eq!(store.last_look(), Some(Timestamp::EPOCH), "what was noted is known after a start");
}
