//! The pump against a log in memory and a peer that answers as it is told, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hume_core::Level;
use hume_core::filter::EventFilter;
use hume_core::page::Stretch;
use hume_runtime::task_group::TaskGroup;
use proptest::prelude::*;

use super::*;
use crate::state::Skip;
use crate::testing::{common, stored};
use crate::transfer::{BoxFuture, Excess};

#[path = "pump_slack_tests.rs"]
mod slack;

/// A log in memory: event n has the row n.
#[derive(Clone)]
struct TestLog {
    events: Arc<Mutex<Vec<StoredEvent>>>,
    /// Reads at or above these rows fail, once each.
    bad_rows: Arc<Mutex<Vec<usize>>>,
    grown: watch::Sender<()>,
}

impl TestLog {
    fn new() -> TestLog {
        TestLog { events: Arc::default(), bad_rows: Arc::default(), grown: watch::Sender::new(()) }
    }

    fn push(&self, count: usize) {
        let mut events = self.events.lock().unwrap();
        for _ in 0..count {
            let at = events.len();
            let mut event = stored(Level::Warning, "BACKUP", "db1", &at.to_string());
            event.event.id = EventId::from_bytes((at as u128 + 1).to_be_bytes());
            events.push(event);
        }
        self.grown.send_replace(());
    }
}

impl Log for TestLog {
    fn read(
        &self,
        filter: EventFilter,
        after: After,
        limit: usize,
    ) -> BoxFuture<'_, Result<Stretch<StoredEvent>, LogError>> {
        Box::pin(async move {
            let events = self.events.lock().unwrap();
            let from = match after {
                After::Start => 0,
                After::Now => events.len(),
                After::Cursor(EventCursor(row)) => row as usize,
            };
            if from > events.len() {
                return Err(LogError::Beyond);
            }
            let mut bad_rows = self.bad_rows.lock().unwrap();
            if let Some(at) = bad_rows.iter().position(|bad| from >= *bad && from < events.len()) {
                bad_rows.remove(at);
                return Err(LogError::Read("a bad sector".to_owned()));
            }
            let piece = &events[from..events.len().min(from + limit)];
            let next = from + piece.len();
            let items = piece.iter().filter(|stored| filter.matches(stored)).cloned().collect();
            Ok(Stretch { items, next: EventCursor(next as i64), at_end: next == events.len() })
        })
    }

    fn growth(&self) -> Box<dyn Growth> {
        Box::new(self.grown.subscribe())
    }

    fn via<'a>(&'a self, _: &'a StoredEvent) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }
}

/// A peer that answers as it is told, and remembers what it took.
#[derive(Clone, Default)]
struct Peer {
    taken: Arc<Mutex<Vec<Notice>>>,
    tries: Arc<Mutex<Vec<(Instant2, String)>>>,
    answers: Arc<Mutex<Answers>>,
}

type Instant2 = Option<Instant>;
type Answers = Option<Box<dyn FnMut(&str) -> Option<Trouble> + Send>>;

impl Peer {
    fn answering(answer: impl FnMut(&str) -> Option<Trouble> + Send + 'static) -> Peer {
        Peer { answers: Arc::new(Mutex::new(Some(Box::new(answer)))), ..Peer::default() }
    }

    fn texts(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(Notice::text).collect()
    }

    /// How many events each notice that was taken said to be missing.
    fn missed(&self) -> Vec<u64> {
        self.taken.lock().unwrap().iter().map(|notice| notice.missed).collect()
    }

    async fn has_taken(&self, count: usize) {
        self.until(|taken| taken.len() >= count).await;
    }

    async fn until(&self, enough: impl Fn(&[Notice]) -> bool) {
        until(async || enough(&self.taken.lock().unwrap())).await;
    }
}

impl Transfer for Peer {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], _: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            for (at, notice) in notices.iter().enumerate() {
                tokio::task::yield_now().await;
                let text = notice.event.event.message.clone();
                self.tries.lock().unwrap().push((Some(Instant::now()), text.clone()));
                let trouble = self.answers.lock().unwrap().as_mut().and_then(|answer| answer(&text));
                if let Some(trouble) = trouble {
                    return Delivery::stopped(at, trouble);
                }
                self.taken.lock().unwrap().push(notice.clone());
            }
            Delivery::all(notices)
        })
    }
}

/// A transfer that runs until it is stopped or killed.
struct Running {
    stop: Stop,
    group: TaskGroup,
    asked: watch::Sender<u64>,
    board: Board,
}

struct Site {
    dir: tempfile::TempDir,
    log: TestLog,
    keys: &'static str,
    manner: Manner,
}

const EACH: Manner = Manner { batch_max: 8, rate: None, excess: Excess::Wait };

impl Site {
    fn new(keys: &'static str, manner: Manner) -> Site {
        Site { dir: tempfile::tempdir().unwrap(), log: TestLog::new(), keys, manner }
    }

    fn state(&self) -> State {
        State::open(self.dir.path()).unwrap()
    }

    fn start(&self, peer: &Peer) -> Running {
        let peer = peer.clone();
        self.start_with(move || Ok(Box::new(peer.clone())))
    }

    fn start_with(
        &self,
        open: impl FnMut() -> Result<Box<dyn Transfer>, String> + Send + 'static,
    ) -> Running {
        let (asked, _) = watch::channel(0);
        let board = Board::default();
        let pump = Pump {
            name: name(),
            kind: "test",
            common: common(self.keys),
            manner: self.manner,
            log: Arc::new(self.log.clone()),
            state: self.state(),
            board: board.clone(),
            policies: Arc::default(),
            asked: asked.subscribe(),
        };
        let mut group = TaskGroup::new();
        let stop = Stop::new();
        let until = stop.clone();
        group.spawn("pump", |_| async move {
            pump.run(open, until).await;
            Ok(())
        });
        Running { stop, group, asked, board }
    }

    async fn has_begun(&self) {
        until(async || !self.state().all().await.unwrap().is_empty()).await;
    }

    async fn record(&self) -> Record {
        self.state().all().await.unwrap().remove(0).record
    }
}

impl Running {
    async fn stop(self) {
        self.stop.set();
        // The pump ends when it is told, which the group takes for a failure.
        let _ = self.group.run(std::future::pending(), Duration::from_mins(1)).await;
    }
}

/// Looks ten times in each second of virtual time.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..100_000 {
        if is_so().await {
            return;
        }
        clock.tick().await;
    }
    panic!("it did not come to that");
}

/// How many events these tell of.
fn counted(taken: &[Notice]) -> u64 {
    taken.iter().fold(0, |sum, notice| match &notice.about {
        About::Digest(digest) => sum + digest.count,
        About::Event | About::Run(_) | About::Test => sum + 1,
    })
}

fn name() -> TransferName {
    TransferName::parse("peer").unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_new_transfer_begins_at_now_and_goes_on_where_it_was_after_a_restart() {
    let (site, peer) = (Site::new("", EACH), Peer::default());
    site.log.push(3);
    let running = site.start(&peer);
    // It stands at the end before anything new comes.
    until(async || !site.state().all().await.unwrap().is_empty()).await;
    site.log.push(20);
    peer.has_taken(20).await;
    running.stop().await;
    site.log.push(5);
    let running = site.start(&peer);
    peer.has_taken(25).await;
    running.stop().await;
    assert_eq!(peer.texts(), numbers(3..28));
    let record = site.record().await;
    assert_eq!((record.cursor, record.figures.delivered), (EventCursor(28), 25));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_in_order_and_the_trouble_is_shown_until_it_is_over() {
    let site = Site::new("from = \"beginning\"", EACH);
    site.log.push(30);
    let mut failures = 0;
    let peer = Peer::answering(move |text| {
        failures += u32::from(text == "11" && failures < 5);
        (text == "11" && failures < 5).then(|| Trouble::later("out of order"))
    });
    let running = site.start(&peer);
    peer.has_taken(30).await;
    assert_eq!(peer.texts(), numbers(0..30));
    running.stop().await;
    let figures = site.record().await.figures;
    assert_eq!((figures.delivered, figures.retried, figures.trouble), (30, 4, None));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_for_patience_gets_it() {
    let site = Site::new("from = \"beginning\"", EACH);
    site.log.push(2);
    let mut is_first = true;
    let peer = Peer::answering(move |_| {
        std::mem::take(&mut is_first).then(|| Trouble::after("429", Duration::from_mins(30)))
    });
    let running = site.start(&peer);
    peer.until(|taken| taken.len() == 2).await;
    let tries: Vec<Instant> = peer.tries.lock().unwrap().iter().filter_map(|(at, _)| *at).collect();
    assert!(tries[1] - tries[0] >= Duration::from_mins(30), "{tries:?}");
    assert_eq!(running.board.entries().len(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_will_never_be_taken_is_a_dead_letter_and_goes_when_it_is_wished_and_can() {
    let site = Site::new("from = \"beginning\"", EACH);
    site.log.push(10);
    let is_mended = Arc::new(Mutex::new(false));
    let mended = Arc::clone(&is_mended);
    let peer = Peer::answering(move |text| {
        let refuses = (text == "4" || text == "9") && !*mended.lock().unwrap();
        refuses.then(|| Trouble::never("too strange"))
    });
    let running = site.start(&peer);
    peer.has_taken(8).await;
    let state = site.state();
    until(async || state.dead(&name(), 10).await.unwrap().len() == 2).await;
    let dead = state.dead(&name(), 10).await.unwrap();
    let told: Vec<(&str, &str)> =
        dead.iter().map(|letter| (letter.event.event.message.as_str(), letter.reason.as_str())).collect();
    assert_eq!(told, [("4", "too strange"), ("9", "too strange")]);
    *is_mended.lock().unwrap() = true;
    assert_eq!(state.ask_retry(&name(), vec![dead[1].id]).await.unwrap(), 1);
    running.asked.send_modify(|count| *count += 1);
    peer.has_taken(9).await;
    running.stop().await;
    assert_eq!(peer.texts().last().unwrap(), "9");
    assert_eq!(state.dead(&name(), 10).await.unwrap().len(), 1);
    assert_eq!(site.record().await.figures.dead, 2);
}

#[tokio::test(start_paused = true)]
async fn after_an_hour_without_its_peer_everything_arrives_as_a_few_notices_and_a_digest() {
    let site = Site::new("from = \"beginning\"", Manner::PEOPLE);
    site.log.push(10_000);
    let begun = Instant::now();
    let is_dead = move || begun.elapsed() < Duration::from_hours(1);
    let peer = Peer::answering(move |_| is_dead().then(|| Trouble::later("connection refused")));
    let running = site.start(&peer);
    peer.until(|taken| counted(taken) >= 10_000).await;
    running.stop().await;
    assert_eq!(peer.texts()[..19], numbers(0..19));
    assert_eq!(peer.texts()[19..], ["+9981 more from db1"]);
    let figures = site.record().await.figures;
    assert_eq!((figures.delivered, figures.folded, figures.waiting.events), (20, 9981, 0));
    // Pauses are a random part of up to five minutes: about thirty of them.
    assert!(figures.retried > 10 && figures.retried < 100, "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_in_the_middle_of_a_digest_costs_nothing() {
    let site = Site::new("from = \"beginning\"", Manner::PEOPLE);
    site.log.push(3000);
    *site.log.bad_rows.lock().unwrap() = vec![512, 1024];
    let peer = Peer::default();
    let running = site.start(&peer);
    peer.until(|taken| counted(taken) >= 3000).await;
    running.stop().await;
    assert_eq!(counted(&peer.taken.lock().unwrap()), 3000);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_are_wished_wait_for_a_peer_that_is_away_as_all_does() {
    let site = Site::new("from = \"beginning\"", EACH);
    site.log.push(3);
    let answer = Arc::new(Mutex::new(Some(Trouble::never("too strange"))));
    let now = Arc::clone(&answer);
    let peer = Peer::answering(move |_| now.lock().unwrap().clone());
    let running = site.start(&peer);
    let state = site.state();
    until(async || state.dead(&name(), 10).await.unwrap().len() == 3).await;
    *answer.lock().unwrap() = Some(Trouble::later("connection refused"));
    let before = peer.tries.lock().unwrap().len();
    state.ask_retry(&name(), Vec::new()).await.unwrap();
    running.asked.send_modify(|count| *count += 1);
    until(async || peer.tries.lock().unwrap().len() > before + 2).await;
    // It is the first that is tried, again and again.
    assert!(peer.tries.lock().unwrap()[before..].iter().all(|(_, text)| text == "0"));
    *answer.lock().unwrap() = None;
    peer.has_taken(3).await;
    running.stop().await;
    assert_eq!(peer.texts(), numbers(0..3));
    assert_eq!(state.dead(&name(), 10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_while_the_state_could_not_be_written_is_written_later() {
    let site = Site::new("from = \"beginning\"", EACH);
    let peer = Peer::default();
    let running = site.start(&peer);
    until(async || !running.board.entries().is_empty()).await;
    let broken = rusqlite_of(&site, "ALTER TABLE transfer RENAME COLUMN delivered TO given");
    site.log.push(5);
    peer.has_taken(5).await;
    drop(broken);
    rusqlite_of(&site, "ALTER TABLE transfer RENAME COLUMN given TO delivered");
    until(async || site.record().await.figures.delivered == 5).await;
    running.stop().await;
    assert_eq!(site.record().await.cursor, EventCursor(5));
}

/// Changes the state behind the pump's back.
fn rusqlite_of(site: &Site, sql: &str) -> rusqlite::Connection {
    let path = crate::state::path_in(site.dir.path());
    let connection =
        hume_runtime::sqlite::open_writer(&path, &hume_runtime::sqlite::SqliteOptions::default()).unwrap();
    connection.execute_batch(sql).unwrap();
    connection
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_counted_while_the_peer_is_away() {
    let site = Site::new("from = \"beginning\"", Manner::PEOPLE);
    site.log.push(1000);
    let peer = Peer::answering(|_| Some(Trouble::later("connection refused")));
    let running = site.start(&peer);
    let waiting = || running.board.entries().first().map(|(_, entry)| entry.figures.waiting);
    until(async || waiting().is_some_and(|waiting| waiting.events == 1000)).await;
    let waiting = waiting().unwrap();
    assert!(!waiting.and_more && waiting.since.is_some());
    assert_eq!(running.board.entries()[0].1.cursor, EventCursor(0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_administrator_may_have_one_or_all_passed_over() {
    let site = Site::new("from = \"beginning\"", EACH);
    site.log.push(5);
    let peer = Peer::answering(|text| (text == "0" || text == "3").then(|| Trouble::later("no")));
    let running = site.start(&peer);
    peer.until(|_| peer.tries.lock().unwrap().len() > 2).await;
    let wish = async |skip| {
        assert!(site.state().ask_skip(&name(), skip).await.unwrap());
        running.asked.send_modify(|count| *count += 1);
    };
    wish(Skip::One).await;
    peer.has_taken(2).await;
    wish(Skip::All).await;
    until(async || running.board.entries()[0].1.figures.skipped == 3).await;
    site.log.push(1);
    peer.has_taken(3).await;
    running.stop().await;
    assert_eq!(peer.texts(), ["1", "2", "5"]);
    let record = site.record().await;
    assert_eq!((record.cursor, record.figures.skipped), (EventCursor(6), 3));
    assert_eq!(site.state().dead(&name(), 10).await.unwrap().len(), 1, "the one can still be looked at");
}

#[tokio::test(start_paused = true)]
async fn what_was_passed_over_does_not_wait_any_more() {
    let site = Site::new("from = \"beginning\"", EACH);
    let peer = Peer::answering(|_| Some(Trouble::later("away")));
    site.log.push(5);
    let running = site.start(&peer);
    site.has_begun().await;
    until(async || site.record().await.figures.trouble.is_some()).await;
    site.log.push(20);
    until(async || site.record().await.figures.waiting.events == 25).await;
    assert!(site.state().ask_skip(&name(), Skip::All).await.unwrap());
    running.asked.send_modify(|count| *count += 1);
    until(async || site.record().await.figures.skipped == 25).await;
    running.stop().await;
    assert_eq!(site.record().await.figures.waiting, Waiting::default());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_put_back_is_gone_on_with_at_its_end() {
    let (site, peer) = (Site::new("from = \"beginning\"", EACH), Peer::default());
    site.log.push(10);
    let running = site.start(&peer);
    peer.has_taken(10).await;
    running.stop().await;
    site.log.events.lock().unwrap().truncate(4);
    let running = site.start(&peer);
    until(async || !running.board.entries().is_empty()).await;
    site.log.push(3);
    peer.has_taken(13).await;
    running.stop().await;
    assert_eq!(peer.texts()[10..], numbers(4..7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Killed at any moment and started anew, with a peer that fails at random: everything arrives, in order, and twice only what
    /// was given at once when it was killed.
    #[test]
    fn killed_anywhere_everything_arrives_in_order_and_little_twice(
        kills in proptest::collection::vec(1_usize..40, 0..6),
        seed in any::<u64>(),
    ) {
        const EVENTS: usize = 100;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let site = Site::new("from = \"beginning\"", EACH);
            site.log.push(EVENTS);
            let mut random = fastrand::Rng::with_seed(seed);
            let peer = Peer::answering(move |_| random.bool().then(|| Trouble::later("a bad day")));
            let count = kills.len();
            for tries in kills {
                let running = site.start(&peer);
                let before = peer.tries.lock().unwrap().len();
                until(async || {
                    let is_done = peer.taken.lock().unwrap().len() >= EVENTS;
                    is_done || peer.tries.lock().unwrap().len() >= before + tries
                })
                .await;
                drop(running);
            }
            let running = site.start(&peer);
            peer.until(|taken| taken.last().is_some_and(|last| last.text() == (EVENTS - 1).to_string())).await;
            running.stop().await;
            let numbers: Vec<usize> = peer.texts().iter().map(|text| text.parse().unwrap()).collect();
            // Each one is at most one further than the furthest so far: nothing was left out.
            let mut furthest = None;
            for number in &numbers {
                assert!(*number <= furthest.map_or(0, |furthest: usize| furthest + 1), "{numbers:?}");
                furthest = furthest.max(Some(*number));
            }
            assert!(numbers.len() <= EVENTS + count * EACH.batch_max, "{numbers:?}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_log_let_go_untold_is_counted_and_told_with_the_next_notice() {
    let (site, peer) = (Site::new("from = \"beginning\"", EACH), Peer::default());
    site.log.push(2);
    let running = site.start(&peer);
    peer.has_taken(2).await;
    until(async || running.board.floor() == Some(EventCursor(2))).await;
    // Below the cursor it is told; above it is not.
    running.board.let_go(&[(EventCursor(1), 50), (EventCursor(2), 30), (EventCursor(7), 8)]);
    site.log.push(3);
    peer.has_taken(5).await;
    until(async || site.record().await.figures.delivered == 5).await;
    running.stop().await;
    assert_eq!(peer.missed(), [0, 0, 38, 0, 0]);
    let figures = site.record().await.figures;
    assert_eq!((figures.missed, figures.missed_untold), (38, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_told_after_a_restart_too() {
    let away = Peer::answering(|_| Some(Trouble::later("away")));
    let (site, peer) = (Site::new("", EACH), Peer::default());
    let running = site.start(&away);
    until(async || !site.state().all().await.unwrap().is_empty()).await;
    site.log.push(1);
    until(async || site.record().await.figures.trouble.is_some()).await;
    running.board.let_go(&[(EventCursor(0), 4)]);
    until(async || site.record().await.figures.missed == 4).await;
    running.stop().await;
    let running = site.start(&peer);
    peer.has_taken(1).await;
    running.stop().await;
    assert_eq!(peer.missed(), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_cannot_be_opened_has_its_place_and_gets_what_came_meanwhile() {
    let (site, peer) = (Site::new("", EACH), Peer::default());
    site.log.push(5);
    let (is_ready, opened) = (Arc::new(AtomicBool::new(false)), peer.clone());
    let ready = Arc::clone(&is_ready);
    let running = site.start_with(move || {
        if ready.load(Ordering::Relaxed) { Ok(Box::new(opened.clone())) } else { Err("no secret".to_owned()) }
    });
    until(async || running.board.floor() == Some(EventCursor(5))).await;
    site.log.push(3);
    let trouble = async || site.record().await.figures.trouble.map(|trouble| trouble.reason);
    until(async || site.record().await.figures.waiting.events == 3).await;
    assert_eq!(trouble().await.as_deref(), Some("cannot be opened: no secret"));
    is_ready.store(true, Ordering::Relaxed);
    peer.has_taken(3).await;
    running.stop().await;
    assert_eq!((peer.texts(), trouble().await), (numbers(5..8), None));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refused_for_good_was_reached_and_is_not_failing() {
    let mut tries = 0;
    let peer = Peer::answering(move |_| {
        tries += 1;
        Some(if tries < 3 { Trouble::later("away") } else { Trouble::never("too long") })
    });
    let site = Site::new("from = \"beginning\"", EACH);
    site.log.push(1);
    let running = site.start(&peer);
    site.has_begun().await;
    until(async || site.record().await.figures.dead == 1).await;
    let figures = site.record().await.figures;
    running.stop().await;
    assert_eq!((figures.trouble, figures.retried, figures.waiting.events), (None, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_are_wished_keep_to_the_rate() {
    let refuses = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&refuses);
    let peer = Peer::answering(move |_| still.load(Ordering::Relaxed).then(|| Trouble::never("no")));
    let site = Site::new("from = \"beginning\"\nrate = \"2/m\"", EACH);
    site.log.push(10);
    let running = site.start(&peer);
    site.has_begun().await;
    until(async || site.record().await.figures.dead == 10).await;
    refuses.store(false, Ordering::Relaxed);
    peer.tries.lock().unwrap().clear();
    let began = Instant::now();
    site.state().ask_retry(&name(), Vec::new()).await.unwrap();
    running.asked.send_modify(|count| *count += 1);
    peer.has_taken(10).await;
    running.stop().await;
    let first: Vec<Duration> =
        peer.tries.lock().unwrap().iter().filter_map(|(at, _)| at.map(|at| at - began)).collect();
    for from in &first {
        let within = first.iter().filter(|at| *at >= from && **at < *from + Duration::from_mins(1));
        assert!(within.count() <= 4, "two periods' worth at most: {first:?}");
    }
}
