//! The spool's promises, on a real file: what was answered is there after any end, in order, once.

use std::time::Duration;

use hume_core::correlate::OpenRun;
use hume_core::event::{Correlation, EventKind, Finding, Process, RunRef};
use hume_core::filter::{EventFilter, KindFilter, Latest, RunFilter};
use hume_core::name::Epoch;
use hume_core::page::{After, EventCursor};
use hume_core::process::Chain;
use hume_core::run::RunState;
use hume_core::scope::Scope;
use hume_core::{Event, EventId, HostName, Level, RunId, Tag, TaskName, Timestamp};
use hume_proto::relay::EpochCursor;
use hume_runtime::task_group::TaskGroup;
use hume_transfer::Board;
use proptest::prelude::*;
use tempfile::TempDir;

use super::blocks::testing::remove;
use super::types::place_of;
use super::*;

pub(super) fn event(number: u64) -> Event {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Event {
        id: EventId::from_bytes(id),
        kind: EventKind::Reported,
        time: Timestamp::from_micros(number as i64),
        received_at: Timestamp::from_micros(number as i64),
        boot_clock: None,
        host: HostName::parse("web1").unwrap(),
        task: TaskName::parse(if number.is_multiple_of(3) { "BACKUP" } else { "SYNC" }).unwrap(),
        tags: if number.is_multiple_of(2) { vec![Tag::parse("even").unwrap()] } else { vec![] },
        level: Level::ALL[number as usize % 7],
        command: None,
        flag: None,
        message: format!("event {number}"),
        truncated_from: None,
        extra: vec![],
        exit: None,
        line: None,
        process: Process { uid: Some(number as u32 % 2), ..Process::default() },
        run: Some(RunRef {
            id: RunId::from_bytes([(number % 5) as u8; 16]),
            correlation: Correlation::Ancestry,
        }),
        finding: None,
        not_before: None,
        flags: vec![],
    }
}

/// A spool in a folder, with the group its writer lives in.
pub(super) struct Open {
    pub(super) spool: Spool,
    tasks: TaskGroup,
}

pub(super) fn open_with(dir: &TempDir, config: &Config, agent: Option<AgentId>) -> Open {
    let mut tasks = TaskGroup::new();
    let spool = Spool::open(dir.path(), config, agent, Board::default(), &mut tasks).unwrap();
    Open { spool, tasks }
}

pub(super) fn open(dir: &TempDir) -> Open {
    open_with(dir, &Config::default(), Some(AgentId::from_bytes([7; 16])))
}

impl Open {
    pub(super) async fn close(self) {
        let Open { spool, tasks } = self;
        let Spool { writer, reader, _lock, .. } = spool;
        drop((writer, reader));
        let _ = tasks.run(async {}, Duration::from_secs(10)).await;
    }

    pub(super) async fn append(&self, numbers: impl IntoIterator<Item = u64>) -> Appended {
        self.spool.writer.append(numbers.into_iter().map(event).collect(), vec![]).await.unwrap()
    }

    /// All runs that are asked for, page by page.
    async fn runs(&self, filter: RunFilter, viewer: Viewer, items: usize) -> Vec<RunRecord> {
        let (mut runs, mut cursor) = (Vec::new(), None);
        loop {
            let reader = &self.spool.reader;
            let page = reader.runs(filter.clone(), viewer, cursor, items, RunEvents::Include).await.unwrap();
            assert!(page.items.len() <= items);
            runs.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return runs;
            }
        }
    }

    async fn places(&self) -> Vec<(u64, EventId)> {
        let epoch = self.spool.reader.epochs().await.unwrap()[0].epoch;
        self.places_of(epoch).await
    }

    /// All that stands in an epoch.
    pub(super) async fn places_of(&self, epoch: Epoch) -> Vec<(u64, EventId)> {
        let (mut places, mut from) = (Vec::new(), Seq::ZERO.next());
        loop {
            match self.spool.reader.stretch(epoch, from, 3, usize::MAX).await.unwrap() {
                Stretch::Hole { through, .. } => from = through.next(),
                Stretch::Events(events) if events.is_empty() => return places,
                Stretch::Events(events) => {
                    for bytes in events {
                        places.push((from.get(), bytes.decode().unwrap().id));
                        from = from.next();
                    }
                }
            }
        }
    }
}

use hume_core::name::Seq;

pub(super) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tick.tick().await;
    }
    panic!("{what} did not come true within 10 s");
}

#[tokio::test]
async fn what_was_appended_is_there_in_order_after_a_restart_and_places_go_on() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir);
    assert_eq!(first.append(0..3).await.first.get(), 1);
    assert_eq!(first.append(3..5).await.first.get(), 4);
    first.close().await;
    let second = open(&dir);
    assert_eq!(second.append(5..6).await.first.get(), 6);
    let expected: Vec<_> = (0..6).map(|number| (number + 1, event(number).id)).collect();
    assert_eq!(second.places().await, expected);
    assert_eq!(second.spool.writer.tail().borrow().last.get(), 6);
    second.close().await;
}

#[tokio::test]
async fn a_repeated_id_fails_its_own_append_and_no_other() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    open.append([1]).await;
    let (good, bad) = tokio::join!(
        open.spool.writer.append(vec![event(2)], vec![]),
        open.spool.writer.append(vec![event(3), event(1)], vec![]),
    );
    assert!(good.is_ok());
    assert!(matches!(bad, Err(SpoolError::Repeated { id }) if id == event(1).id), "{bad:?}");
    let twice = open.spool.writer.append(vec![event(5), event(5)], vec![]).await;
    assert!(matches!(twice, Err(SpoolError::Repeated { id }) if id == event(5).id), "{twice:?}");
    assert_eq!(open.append([4]).await.first.get(), 3, "a failed append takes no place");
    let known = open.spool.reader.known(vec![event(1).id, event(3).id, event(4).id]).await.unwrap();
    assert_eq!(
        known.iter().map(|(id, seq, _)| (*id, seq.get())).collect::<Vec<_>>(),
        [(event(1).id, 1), (event(4).id, 3)]
    );
    open.close().await;
}

#[tokio::test]
async fn an_acknowledgement_only_grows_and_names_its_event() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let epoch = open.append(0..10).await.epoch;
    let seq = |value| Seq::new(value).unwrap();
    open.spool.writer.acknowledge(epoch, seq(5)).unwrap();
    open.spool.writer.acknowledge(epoch, seq(3)).unwrap();
    open.spool.writer.acknowledge(epoch, seq(99)).unwrap();
    open.spool.writer.acknowledge(Epoch::from_bytes([1; 16]), seq(1)).unwrap();
    let reader = open.spool.reader.clone();
    // 99 was never given out: it is not noted, and neither is 5 when both wait for the same write.
    open.append([10]).await;
    open.spool.writer.acknowledge(epoch, seq(5)).unwrap();
    until("the acknowledgement", async || reader.epochs().await.unwrap()[0].acked.get() == 5).await;
    assert_eq!(reader.epochs().await.unwrap()[0].acked_event, Some(event(4).id));
    assert_eq!(open.spool.figures().get().unacked_events, 6);
    assert_eq!(reader.oldest_unacked().await.unwrap(), Some(Timestamp::from_micros(5)));
    open.close().await;
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let second = Spool::open(dir.path(), &Config::default(), None, Board::default(), &mut TaskGroup::new());
    assert!(matches!(second, Err(SpoolError::Lock(_))));
    open.close().await;
}

/// Fills a small spool with events of this run, lets the master have them, and waits until the spool takes more.
async fn fill_and_go_on(run: Option<RunRef>, changes: Vec<RunChange>) {
    let dir = TempDir::new().unwrap();
    let config = Config { bytes_max: 400 * 1024, ..Config::default() };
    let open = open_with(&dir, &config, Some(AgentId::from_bytes([7; 16])));
    open.spool.writer.append(vec![], changes).await.unwrap();
    let mut kept = 0;
    let refused = loop {
        let events = (kept..kept + 50).map(|number| Event { message: "x".repeat(500), run, ..event(number) });
        match open.spool.writer.append(events.collect(), vec![]).await {
            Ok(_) => kept += 50,
            Err(error) => break error,
        }
        assert!(kept < 100_000, "the bound of the file is not held");
    };
    assert_eq!(refused.class(), hume_core::ErrorClass::Full, "{refused}");
    assert_eq!(open.places().await.len() as u64, kept);
    let epoch = open.spool.reader.epochs().await.unwrap()[0].epoch;
    open.spool.writer.acknowledge(epoch, Seq::new(kept).unwrap()).unwrap();
    until("room", async || open.spool.writer.append(vec![event(1_000_000)], vec![]).await.is_ok()).await;
    open.close().await;
}

#[tokio::test]
async fn a_full_spool_refuses_keeps_what_it_has_and_takes_more_when_the_master_has_some() {
    fill_and_go_on(None, vec![]).await;
}

#[tokio::test]
async fn a_spool_full_of_one_open_run_takes_more_when_the_master_has_some() {
    let run = RunRef { id: RunId::from_bytes([9; 16]), correlation: Correlation::Explicit };
    let row = OpenRunRow {
        task: TaskName::parse("SYNC").unwrap(),
        host: HostName::parse("web1").unwrap(),
        run: OpenRun {
            id: run.id,
            opened_us: 0,
            touched_us: 0,
            touched_at: Timestamp::EPOCH,
            boot: None,
            watched: None,
            stopped: None,
            key: None,
            uid: None,
            chain: Chain::default(),
            unit: None,
            session: None,
            implicit: false,
            paused: false,
            gone_us: None,
        },
    };
    fill_and_go_on(Some(run), vec![RunChange::Put(Box::new(row))]).await;
}

#[tokio::test]
async fn acknowledgements_alone_are_gathered_and_written_late() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let epoch = open.append(0..20).await.epoch;
    let (began, commits) = (std::time::Instant::now(), open.spool.figures().get().commits);
    for place in 1..=20 {
        open.spool.writer.acknowledge(epoch, Seq::new(place).unwrap()).unwrap();
        let figures = open.spool.figures();
        until("the count", async || figures.get().unacked_events == 20 - place).await;
    }
    let written = open.spool.figures().get().commits - commits;
    // One a second at most, and one for the first; on a fast machine that is none or one, not twenty.
    assert!(written <= 1 + began.elapsed().as_secs(), "{written} commits for twenty acknowledgements");
    let reader = open.spool.reader.clone();
    until("the write", async || reader.epochs().await.unwrap()[0].acked.get() == 20).await;
    open.close().await;
}

#[tokio::test]
async fn an_acknowledgement_is_never_refused_as_busy_and_one_before_the_end_is_kept() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir);
    let epoch = first.append(0..10).await.epoch;
    for _ in 0..10 * JOBS_MAX {
        first.spool.writer.acknowledge(epoch, Seq::new(9).unwrap()).unwrap();
    }
    first.spool.writer.acknowledge(epoch, Seq::new(10).unwrap()).unwrap();
    first.close().await;
    let second = open(&dir);
    assert_eq!(second.spool.reader.epochs().await.unwrap()[0].acked.get(), 10);
    second.close().await;
}

#[tokio::test]
async fn a_run_belongs_to_the_user_who_reported_it_first() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let run = RunRef { id: RunId::from_bytes([9; 16]), correlation: Correlation::Explicit };
    let of = |number, uid| Event {
        run: Some(run),
        process: Process { uid, ..Process::default() },
        ..event(number)
    };
    let finding = Event { kind: EventKind::Run, finding: Some(Finding::ProcessGone), ..of(3, None) };
    open.spool.writer.append(vec![of(1, Some(7)), of(2, Some(8)), finding], vec![]).await.unwrap();
    open.spool.writer.append(vec![of(4, Some(8))], vec![]).await.unwrap();
    let runs = async |uid| {
        let page =
            open.spool.reader.runs(RunFilter::default(), Viewer::User(uid), None, 10, RunEvents::Omit).await;
        page.unwrap().items.len()
    };
    assert_eq!((runs(7).await, runs(8).await), (1, 0));
    open.close().await;
}

#[tokio::test]
async fn a_spool_stays_with_the_agent_that_had_it_first() {
    let dir = TempDir::new().unwrap();
    let [one, other] = [[1; 16], [2; 16]].map(AgentId::from_bytes);
    // Alone it belongs to nobody yet.
    open_with(&dir, &Config::default(), None).close().await;
    open_with(&dir, &Config::default(), Some(one)).close().await;
    let refused =
        Spool::open(dir.path(), &Config::default(), Some(other), Board::default(), &mut TaskGroup::new());
    let Err(error @ SpoolError::OtherAgent { .. }) = refused else { panic!("{refused:?}") };
    let text = error.to_string();
    assert!(text.contains(&one.to_string()) && text.contains(&other.to_string()), "{text}");
    open_with(&dir, &Config::default(), None).close().await;
    open_with(&dir, &Config::default(), Some(one)).close().await;
}

#[tokio::test]
async fn a_claim_lies_before_all_that_the_master_does_not_have() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    // The clock was set back before the third.
    let times = [100, 110, 50, 60, 70];
    let events = times
        .iter()
        .zip(1..)
        .map(|(time, number)| (Timestamp::from_micros(*time), event(number)))
        .map(|(time, event)| Event { time, received_at: time, ..event });
    let epoch = open.spool.writer.append(events.collect(), vec![]).await.unwrap().epoch;
    // What the file says of acknowledgements does not matter: this master may have lost some.
    open.spool.writer.acknowledge(epoch, Seq::new(5).unwrap()).unwrap();
    let claim = async |settled, cursor| {
        let cursors = vec![EpochCursor { epoch, seq: Seq::new(cursor).unwrap() }];
        let claim = open.spool.reader.watermark(Timestamp::from_micros(settled), cursors).await;
        claim.unwrap().as_micros()
    };
    for (cursor, expected) in [(0, 49), (1, 49), (2, 49), (3, 59), (4, 69), (5, 199)] {
        assert_eq!(claim(200, cursor).await, expected, "with a cursor at {cursor}");
    }
    assert_eq!(claim(55, 5).await, 54, "what waits for its commit counts as well");
    let nothing = open.spool.reader.watermark(Timestamp::from_micros(200), vec![]).await.unwrap();
    assert_eq!(nothing.as_micros(), 49, "an epoch that the session does not know is not acknowledged");
    // It lay in the drop folder for long; another one comes from a clock that is ahead.
    let event = |number, time| Event {
        time: Timestamp::from_micros(time),
        received_at: Timestamp::from_micros(150),
        ..event(number)
    };
    open.spool.writer.append(vec![event(6, 20), event(7, 900)], vec![]).await.unwrap();
    assert_eq!((claim(200, 5).await, claim(200, 6).await, claim(200, 7).await), (19, 149, 199));
    open.append(10..30).await;
    assert_eq!(claim(200, 5).await, 0, "with too many behind, nothing is claimed");
    open.close().await;
}

#[tokio::test]
async fn the_fold_of_a_run_is_that_of_its_events() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    open.append(0..40).await;
    let all = open.runs(RunFilter::default(), Viewer::Administrator, 100).await;
    assert_eq!(all.len(), 5);
    for record in all {
        let mut fold = RunState::open(&record.events[0]).unwrap();
        for stored in &record.events[1..] {
            fold.apply(stored);
        }
        assert_eq!((record.state, record.forgotten, record.more_events), (fold, vec![], 0));
    }
    open.close().await;
}

#[tokio::test]
async fn a_run_that_is_too_large_for_an_answer_says_how_many_events_are_left_out() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    // Five runs; every second event of each is of user 0.
    open.append(0..5 * (RUN_EVENTS_MAX as u64 + 10)).await;
    for (viewer, shown, more) in [
        (Viewer::Administrator, RUN_EVENTS_MAX, 10),
        (Viewer::User(0), RUN_EVENTS_MAX / 2 + 5, 0),
        (Viewer::User(1), RUN_EVENTS_MAX / 2 + 5, 0),
    ] {
        for run in open.runs(RunFilter::default(), viewer, 100).await {
            assert_eq!((run.events.len(), run.more_events), (shown, more), "{viewer:?}");
            assert_eq!(run.state.events(), RUN_EVENTS_MAX as u64 + 10);
            assert_eq!(run.forgotten, [], "what others may not see is not missing");
        }
    }
    open.close().await;
}

#[tokio::test]
async fn a_user_sees_in_a_run_what_the_same_user_reported_and_no_error_of_others() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let of = |number, uid, level| Event {
        level,
        process: Process { uid: Some(uid), ..Process::default() },
        run: event(5).run,
        ..event(number)
    };
    let events =
        [(1, 7, Level::Info), (2, 0, Level::Error), (3, 7, Level::Error)].map(|(n, uid, l)| of(n, uid, l));
    for event in events {
        open.spool.writer.append(vec![event], vec![]).await.unwrap();
    }
    let seen = open.runs(RunFilter::default(), Viewer::User(7), 10).await;
    let ids: Vec<_> = seen[0].events.iter().map(|stored| stored.event.id).collect();
    assert_eq!((ids, seen[0].first_error), (vec![event(1).id, event(3).id], FirstErrorFor::Others));
    assert!(open.runs(RunFilter::default(), Viewer::User(0), 10).await.is_empty(), "it is run of user 7");
    let all = open.runs(RunFilter::default(), Viewer::Administrator, 10).await;
    assert_eq!((all[0].events.len(), all[0].first_error), (3, FirstErrorFor::Viewer));
    open.close().await;
}

#[tokio::test]
async fn what_the_retention_forgot_of_a_run_is_said() {
    let dir = TempDir::new().unwrap();
    let open = open_with(&dir, &Config::default(), None);
    // Run 1 has the places 2, 7, 12, 17; run 2 has 3, 8, 13, 18; and so on.
    open.append(0..20).await;
    let connection = sqlite::open_writer(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap();
    let of = |run: u8| RunFilter { run: Some(RunId::from_bytes([run; 16])), ..RunFilter::default() };
    let gap = async |run| {
        let record = open.runs(of(run), Viewer::Administrator, 1).await.remove(0);
        record.forgotten.iter().map(|gone| (gone.from.get(), gone.to.get())).collect::<Vec<_>>()
    };
    assert_eq!(gap(2).await, []);
    // One in the middle, and none of it: neither is how the retention works, and both are noticed.
    let third = query::run_number(&connection, RunId::from_bytes([3; 16])).unwrap();
    remove(&connection, |mark| place_of(mark.row).1.get() == 13 || mark.run_no == third);
    assert_eq!((gap(2).await, gap(3).await), (vec![(3, 18)], vec![(4, 19)]));
    let omit = open.spool.reader.runs(of(2), Viewer::Administrator, None, 1, RunEvents::Omit).await.unwrap();
    assert_eq!(omit.items[0].forgotten.len(), 1, "also when the events were not asked for");
    remove(&connection, |mark| place_of(mark.row).1.get() <= 7);
    assert_eq!((gap(1).await, gap(2).await, gap(0).await), (vec![(2, 11)], vec![(3, 7)], vec![(1, 10)]));
    drop(connection);
    open.close().await;
}

#[tokio::test]
async fn a_page_that_ends_with_the_last_event_says_that_there_are_no_more() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    open.append(0..6).await;
    let page = async |items| {
        let filter = EventFilter::default();
        open.spool.reader.events(filter, Viewer::Administrator, None, items).await.unwrap()
    };
    assert_eq!((page(6).await.items.len(), page(6).await.next), (6, None));
    assert!(page(5).await.next.is_some());
    open.append([6]).await;
    // As many rows as one page looks at.
    assert_eq!((page(100).await.items.len(), page(100).await.next), (7, None));
    open.close().await;
}

#[tokio::test]
async fn whoever_follows_gets_every_event_once_and_a_border_beyond_the_end_is_refused() {
    let dir = TempDir::new().unwrap();
    let open = open(&dir);
    let reader = &open.spool.reader;
    let even = EventFilter { tags: vec![Tag::parse("even").unwrap()], ..EventFilter::default() };
    let read = async |after, items| {
        reader.events_after(even.clone(), Viewer::Administrator, after, items).await.unwrap()
    };
    assert_eq!(read(After::Now, 5).await.next, read(After::Start, 5).await.next);
    let mut tail = open.spool.writer.tail();
    let (mut after, mut found, mut expected) = (After::Start, Vec::new(), Vec::new());
    for step in 0..12 {
        tail.mark_unchanged();
        open.append(step * 5..step * 5 + 5).await;
        // A commit wakes those who follow.
        tail.changed().await.unwrap();
        expected.extend((step * 5..step * 5 + 5).filter(|number| number % 2 == 0).map(|n| event(n).id));
        // Sometimes only a part of what is there.
        let piece = read(after, step as usize % 4 + 1).await;
        found.extend(piece.items.iter().map(|stored| stored.event.id));
        after = After::Cursor(piece.next);
    }
    loop {
        let piece = read(after, 3).await;
        found.extend(piece.items.iter().map(|stored| stored.event.id));
        after = After::Cursor(piece.next);
        if piece.at_end {
            break;
        }
    }
    assert_eq!(found, expected);
    assert_eq!(after, After::Cursor(read(After::Now, 1).await.next));
    let After::Cursor(EventCursor(border)) = after else { panic!("not a cursor") };
    // Forgotten rows move no border.
    let connection = sqlite::open_writer(&dir.path().join(FILE_NAME), &SqliteOptions::default()).unwrap();
    remove(&connection, |_| true);
    drop(connection);
    assert_eq!(read(After::Now, 1).await.next, EventCursor(border));
    let beyond = After::Cursor(EventCursor(border + 1));
    let error = reader.events_after(even.clone(), Viewer::Administrator, beyond, 1).await.unwrap_err();
    assert_eq!(error.class(), hume_core::ErrorClass::Conflict);
    open.close().await;
}

fn any_run_filter() -> impl Strategy<Value = RunFilter> {
    let task = proptest::option::of(prop_oneof![Just("BACKUP"), Just("SYNC"), Just("NONE")]);
    let host = proptest::option::of(prop_oneof![Just("web1"), Just("none")]);
    let times = (proptest::option::of(0i64..60), proptest::option::of(0i64..60));
    let latest = prop_oneof![Just(Latest::No), Just(Latest::PerTaskAndHost)];
    (task, host, times, proptest::option::of(0u8..6), latest).prop_map(
        |(task, host, (since, until), run, latest)| RunFilter {
            task: task.map(|task| TaskName::parse(task).unwrap()),
            host: host.map(|host| HostName::parse(host).unwrap()),
            run: run.map(|run| RunId::from_bytes([run; 16])),
            since: since.map(Timestamp::from_micros),
            until: until.map(Timestamp::from_micros),
            latest,
            scope: Scope::default(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same for runs: the rule decides among those that the viewer may see.
    #[test]
    fn a_question_about_runs_is_answered_as_the_filter_means_it(
        count in 1u64..60,
        filter in any_run_filter(),
        items in 1usize..4,
        user in proptest::option::of(0u32..2),
    ) {
        let viewer = user.map_or(Viewer::Administrator, Viewer::User);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let open = open(&dir);
            // One by one: a run belongs to the user of its first event.
            for number in 0..count {
                open.append([number]).await;
            }
            let everything = open.runs(RunFilter::default(), Viewer::Administrator, 100).await;
            let visible: Vec<RunState> = everything.into_iter()
                .filter(|run| user.is_none_or(|uid| run.events[0].event.process.uid == Some(uid)))
                .map(|run| run.state)
                .collect();
            let expected: Vec<RunState> = filter.pick(&visible).into_iter().cloned().collect();
            let found: Vec<RunState> = open.runs(filter.clone(), viewer, items).await.into_iter().map(|run| run.state).collect();
            assert_eq!(found, expected);
            assert_eq!(open.spool.reader.count_runs(filter.clone(), viewer).await.unwrap(), expected.len() as u64);
            open.close().await;
        });
    }

    /// SQL answers what the rule answers, page by page, for every viewer.
    #[test]
    fn a_question_is_answered_as_the_filter_means_it(
        count in 1u64..60,
        level in proptest::option::of(0usize..7),
        since in proptest::option::of(0i64..60),
        until in proptest::option::of(0i64..60),
        run in proptest::option::of(0u8..6),
        even in any::<bool>(),
        grep in proptest::option::of("[0-9]"),
        task in proptest::option::of(prop_oneof![Just("BACKUP"), Just("NONE")]),
        items in 1usize..10,
        user in proptest::option::of(0u32..2),
    ) {
        let filter = EventFilter {
            task: task.map(|task| TaskName::parse(task).unwrap()),
            host: None,
            level_min: level.map(|level| Level::ALL[level]),
            tags: if even { vec![Tag::parse("even").unwrap()] } else { vec![] },
            since: since.map(Timestamp::from_micros),
            until: until.map(Timestamp::from_micros),
            run: run.map(|run| RunId::from_bytes([run; 16])),
            grep,
            kind: KindFilter::Reported,
            scope: Scope::default(),
        };
        let viewer = user.map_or(Viewer::Administrator, Viewer::User);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let open = open(&dir);
            open.append(0..count).await;
            let reader = &open.spool.reader;
            let everything = EventFilter { kind: KindFilter::All, ..EventFilter::default() };
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let page = reader.events(everything.clone(), Viewer::Administrator, cursor, 1000).await.unwrap();
                all.extend(page.items);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(all.len() as u64, count);
            let expected: Vec<_> = all.into_iter()
                .filter(|stored| filter.matches(stored))
                .filter(|stored| user.is_none_or(|uid| stored.event.process.uid == Some(uid)))
                .collect();
            let mut answered = Vec::new();
            let mut cursor = None;
            for _ in 0..1000 {
                let page = reader.events(filter.clone(), viewer, cursor, items).await.unwrap();
                assert!(page.items.len() <= items);
                answered.extend(page.items);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(reader.count_events(filter.clone(), viewer).await.unwrap(), expected.len() as u64);
            assert_eq!(answered, expected);
            open.close().await;
        });
    }
}
