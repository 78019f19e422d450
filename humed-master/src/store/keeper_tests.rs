//! The keeper against a store that only remembers what it was told: by which time he goes, when he rests, what he says.

use std::sync::Mutex;

use hume_core::page::EventCursor;
use hume_core::policy::Span;

use super::*;
use crate::store::retention::{Bounds, Forgotten};
use crate::store::traits::BoxFuture;

const HOUR_US: i64 = 3_600_000_000;
const AGE: Duration = Duration::from_hours(1);

/// What was asked for, and how many steps say that there is more.
#[derive(Default)]
struct Asked {
    borders: Vec<i64>,
    noted: Vec<i64>,
    rounds: Vec<i64>,
    untold: Option<EventCursor>,
    steps_left: usize,
    excess_bytes: u64,
}

struct Told {
    asked: Mutex<Asked>,
    last_look: Option<Timestamp>,
}

impl Retention for Told {
    fn last_look(&self) -> Option<Timestamp> {
        self.last_look
    }

    fn forget(
        &self,
        bounds: Bounds,
        mut round: Round,
        looked_at: Option<Timestamp>,
    ) -> BoxFuture<'_, Result<Forgotten, StoreError>> {
        let mut asked = self.asked.lock().unwrap();
        asked.borders.extend(bounds.old_before.map(Timestamp::as_micros));
        asked.noted.extend(looked_at.map(Timestamp::as_micros));
        asked.rounds.push(round.after);
        asked.untold = bounds.untold;
        round.after += 1;
        let more = asked.steps_left > 0;
        asked.steps_left = asked.steps_left.saturating_sub(1);
        let forgotten = Forgotten {
            events: 1,
            runs: 0,
            untold: bounds.untold.map(|floor| (floor, 3)).into_iter().collect(),
            round,
            more,
            excess_bytes: asked.excess_bytes,
        };
        Box::pin(async move { Ok(forgotten) })
    }
}

struct Bench {
    store: Arc<Told>,
    keeper: Keeper,
    metrics: Metrics,
    folder: tempfile::TempDir,
}

fn bench(last_look_h: i64) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Told {
        asked: Mutex::default(),
        last_look: Some(Timestamp::from_micros(last_look_h * HOUR_US)),
    });
    let config = RetentionConfig { age: Span::Of(AGE), ..RetentionConfig::default() };
    let metrics = Metrics::new(Timestamp::EPOCH);
    let path = folder.path().join("store.db");
    let mut keeper = Keeper::new(store.clone(), &path, config, Policies::default(), metrics.clone());
    keeper.believed_boottime_us = 0;
    Bench { store, keeper, metrics, folder }
}

impl Bench {
    /// A look when the clock says so many hours, and so many have passed since the start.
    fn look(&mut self, wall_h: i64, passed_h: i64) {
        let (wall, boottime_us) =
            (Timestamp::from_micros(wall_h * HOUR_US), (passed_h * HOUR_US).unsigned_abs());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(self.keeper.look(wall, boottime_us, &Stop::new())).unwrap();
    }

    /// The borders in hours since the last time they were asked for.
    fn borders(&self) -> Vec<i64> {
        self.store.asked.lock().unwrap().borders.drain(..).map(|micros| micros / HOUR_US).collect()
    }
}

#[test]
fn a_clock_that_jumped_makes_nothing_old_until_it_is_corrected_or_confirmed() {
    let mut bench = bench(1000);
    bench.look(1001, 1);
    assert_eq!((bench.borders(), bench.metrics.retention_trouble()), (vec![1000], None));
    // A year ahead: time goes on as it did, and it is said.
    bench.look(9762, 2);
    bench.look(9770, 10);
    assert_eq!(bench.borders(), [1001, 1009]);
    let said = bench.metrics.retention_trouble().unwrap();
    assert!(said.starts_with("the clock is 8760 h ahead of the time that surely passed"), "{said}");
    // Corrected.
    bench.look(1011, 11);
    assert_eq!((bench.borders(), bench.metrics.retention_trouble()), (vec![1010], None));
    // Again, and this time somebody says that it is right; once.
    let confirmation = bench.folder.path().join("clock-is-right");
    std::fs::write(&confirmation, "").unwrap();
    bench.look(1200, 12);
    assert_eq!((bench.borders(), bench.metrics.retention_trouble()), (vec![1199], None));
    assert!(!confirmation.exists());
    bench.look(2000, 13);
    assert_eq!(bench.borders(), [1200]);
    // What was believed at each of these is noted, and never what was not.
    let noted = std::mem::take(&mut bench.store.asked.lock().unwrap().noted);
    assert_eq!(
        noted.iter().map(|micros| micros / HOUR_US).collect::<Vec<_>>(),
        [1001, 1002, 1010, 1011, 1200, 1201]
    );
}

#[test]
fn transfers_that_are_configured_are_waited_for() {
    let mut bench = bench(1000);
    bench.look(1001, 1);
    assert_eq!(bench.store.asked.lock().unwrap().untold, None);
    let transfers = serde_json::from_str(r#"{"lines": {"file": {"path": "/lines"}}}"#).unwrap();
    bench.metrics.transfers().expect(&transfers);
    bench.look(1002, 2);
    let untold = bench.store.asked.lock().unwrap().untold;
    assert_eq!(untold, Some(EventCursor::START), "as long as nobody knows how far they are");
}

#[test]
fn a_master_that_starts_after_the_jump_knows_it_by_what_was_noted() {
    let mut bench = bench(1000);
    bench.look(9000, 0);
    assert_eq!(bench.borders(), [999]);
    assert!(bench.metrics.retention_trouble().is_some());
}

#[test]
fn a_round_goes_on_where_it_stood_and_begins_anew_when_there_is_too_much() {
    let mut bench = bench(1000);
    bench.store.asked.lock().unwrap().steps_left = 2;
    bench.look(1000, 0);
    bench.look(1000, 0);
    let rounds = || std::mem::take(&mut bench.store.asked.lock().unwrap().rounds);
    assert_eq!(rounds(), [0, 1, 2, 3]);
    bench.store.asked.lock().unwrap().excess_bytes = 7;
    bench.look(1000, 0);
    let rounds = || std::mem::take(&mut bench.store.asked.lock().unwrap().rounds);
    assert_eq!(rounds(), [4, 0], "from the start, and no more than once");
    let said = bench.metrics.retention_trouble().unwrap();
    assert!(said.contains("7 bytes too much"), "{said}");
}
