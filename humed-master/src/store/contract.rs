//! What every backend of the store must do, as tests over any of them.
//!
//! The pure rules are the oracle: `EventFilter::matches`, `RunFilter::pick`, and the fold of `RunState`. A backend under
//! test refuses a second event at one position where it can, so a double could not hide.

mod expecting;
mod folding;
mod forgetting;
mod hosts;
mod reading;
mod succession;
mod suite;
mod watching;

use std::collections::HashMap;
use std::future::Future;

use hume_core::event::{Command, Correlation, EventKind, Finding, Position, RunRef};
use hume_core::filter::{EventFilter, KindFilter, Latest, RunFilter};
use hume_core::policy::TaskPatterns;
use hume_core::run::RunState;
use hume_core::scope::{HostPatterns, Scope};
use hume_core::{
    AgentId, Epoch, Event, EventId, HostName, Level, RunId, Seq, StoredEvent, Tag, TaskName, Timestamp,
};
use hume_proto::event::EventBytes;
use hume_proto::relay::GapReason;
use proptest::prelude::*;

use super::traits::{
    EventReader, EventWriter, Expectations, Inventory, Retention, RunReader, Sessions, Slots, Watching,
};
use super::types::{
    Admission, CommitOutcome, Content, Cursor, Departure, Entrance, Entry, EpochClaim, QueueStatus,
    RunEvents, RunRecord, SessionNo, Sighting,
};

/// A backend under test. Dropping it stops it.
pub(super) trait Backend: Sized {
    /// Its handle.
    type Store: EventWriter
        + Sessions
        + EventReader
        + RunReader
        + Inventory
        + Retention
        + Expectations
        + Watching
        + Slots
        + Clone;

    /// An empty one.
    fn start() -> Self;
    /// The handle.
    fn store(&self) -> Self::Store;
    /// What is there after its process was killed just now and started again.
    fn killed_and_started(&self) -> Self;
}

const AGENT: [u8; 16] = [0xa1; 16];
const OTHER_AGENT: [u8; 16] = [0xa2; 16];
const EPOCH: [u8; 16] = [0xe1; 16];
const LATER_EPOCH: [u8; 16] = [0xe2; 16];
const CODE: &str = "unreadable";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn agent(bytes: [u8; 16]) -> AgentId {
    AgentId::from_bytes(bytes)
}

fn seq(value: u64) -> Seq {
    Seq::new(value).unwrap()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn entrance(agent: AgentId, host: &str) -> Entrance {
    Entrance {
        agent,
        host: HostName::parse(host).unwrap(),
        version: "0.1.0".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        certificate_expires_at: at(9_000_000),
        epochs: vec![claim(EPOCH), claim(LATER_EPOCH)],
        queue: QueueStatus { events: 7, since: Some(at(5)), ..QueueStatus::default() },
        about: hosts::about(),
        behind_us: 40,
        at: at(1_000),
    }
}

/// An epoch of which nothing is known yet.
fn claim(epoch: [u8; 16]) -> EpochClaim {
    EpochClaim::fresh(Epoch::from_bytes(epoch))
}

/// An event that says little.
pub(super) fn event(number: u64) -> Event {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let host = HostName::parse("web1").unwrap();
    Event {
        received_at: at(number as i64 * 1_000 + 1),
        task: TaskName::parse("BACKUP").unwrap(),
        message: format!("message {number}"),
        ..Event::new(EventId::from_bytes(id), host, at(number as i64 * 1_000))
    }
}

fn of_run(run: u8, command: Option<Command>, event: Event) -> Event {
    let run = Some(RunRef { id: RunId::from_bytes([run; 16]), correlation: Correlation::Ancestry });
    Event { run, command, ..event }
}

fn entry(event: &Event) -> Entry {
    Entry::Event { event: Box::new(event.clone()), body: EventBytes::encode(event) }
}

/// One agent's end, and what it knows the store must hold.
struct Sender<S> {
    store: S,
    agent: AgentId,
    session: SessionNo,
    cursors: HashMap<Epoch, u64>,
    /// When what is sent next arrives.
    arrived_at: Timestamp,
    /// In the order of the commits.
    ledger: Vec<StoredEvent>,
}

impl<S: EventWriter + Sessions> Sender<S> {
    async fn enter(store: S, id: [u8; 16], host: &str) -> Sender<S> {
        let entered = store.enter(entrance(agent(id), host)).await.unwrap();
        Sender {
            store,
            agent: agent(id),
            session: entered.session,
            cursors: HashMap::new(),
            arrived_at: at(1_000_000),
            ledger: Vec::new(),
        }
    }

    fn admission(&self, epoch: [u8; 16], first: u64, content: Content) -> Admission {
        let epoch = Epoch::from_bytes(epoch);
        let arrived_at = self.arrived_at;
        Admission { agent: self.agent, session: self.session, epoch, first: seq(first), arrived_at, content }
    }

    async fn try_send(&self, epoch: [u8; 16], first: u64, events: &[Event]) -> CommitOutcome {
        let content = Content::Entries(events.iter().map(entry).collect());
        let admission = self.admission(epoch, first, content);
        let outcomes = self.store.commit(vec![admission]).await.unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes[0]
    }

    /// Sends what comes next in the epoch.
    async fn send(&mut self, epoch: [u8; 16], events: &[Event]) {
        let cursor = *self.cursors.entry(Epoch::from_bytes(epoch)).or_default();
        let outcome = self.try_send(epoch, cursor + 1, events).await;
        let last = cursor + events.len() as u64;
        let expected = Cursor { seq: seq(last), event: events.last().map(|event| event.id) };
        let events_count = events.len() as u64;
        assert_eq!(outcome, CommitOutcome::Stored { cursor: expected, events: events_count, quarantined: 0 });
        self.cursors.insert(Epoch::from_bytes(epoch), last);
        for (seq_no, event) in (cursor + 1..).zip(events) {
            let position =
                Position { agent: Some(self.agent), epoch: Epoch::from_bytes(epoch), seq: seq(seq_no) };
            let arrived_at = Some(self.arrived_at);
            self.ledger.push(StoredEvent { position, arrived_at, event: event.clone() });
        }
    }
}

async fn all_events<S: EventReader>(store: &S, filter: &EventFilter, limit: usize) -> Vec<StoredEvent> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.events(filter.clone(), limit, after).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

async fn all_runs<S: RunReader>(store: &S, filter: &RunFilter, limit: usize) -> Vec<RunRecord> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.runs(filter.clone(), limit, after, RunEvents::Include).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

fn everything() -> EventFilter {
    EventFilter { kind: KindFilter::All, ..EventFilter::default() }
}

fn fold(events: &[StoredEvent]) -> Vec<RunState> {
    let mut runs: Vec<RunState> = Vec::new();
    for stored in events {
        let Some(run) = stored.event.run else { continue };
        let of = |state: &&mut RunState| state.id() == run.id && state.agent() == stored.position.agent;
        match runs.iter_mut().find(of) {
            Some(state) => state.apply(stored),
            None => runs.extend(RunState::open(stored)),
        }
    }
    runs.sort_by_key(|state| std::cmp::Reverse((state.started_at(), state.id())));
    runs
}

pub(super) use expecting::the_last_word_on_what_is_expected_counts;
pub(super) use folding::{
    the_state_of_a_task_is_that_of_the_run_that_started_last, what_is_sent_again_changes_no_run,
};
pub(super) use forgetting::{
    a_gap_is_never_forgotten, answers_after_the_retention_are_those_over_what_stays,
    the_last_failed_runs_stay_and_so_does_what_is_open, what_is_untold_stays_longer_unless_room_is_wanted,
};
pub(super) use hosts::what_an_agent_says_of_its_host_is_kept;
pub(super) use reading::{
    a_list_without_pages_says_when_it_is_cut, a_run_that_does_not_fit_says_how_many_events_are_left_out,
    following_meets_every_event_once, the_end_of_the_log_grows_with_every_commit_of_events,
};
pub(super) use succession::{
    an_epoch_that_is_gone_is_counted_as_lost_until_it_comes_back,
    another_event_at_the_old_place_is_no_double, what_moved_into_a_successor_is_stored_once,
};
pub(super) use suite::contract;

pub(super) use watching::{
    a_step_of_the_watchdog_is_there_whole_and_reads_back, runs_that_were_added_to_are_found_after_a_border,
};

// What is random.

fn any_event() -> impl Strategy<Value = Event> {
    let words = (0_usize..3, 0_usize..3, proptest::collection::vec(0_usize..3, 0..3), 0_usize..4);
    let commands = proptest::option::weighted(0.5, proptest::sample::select(Command::ALL.to_vec()));
    let marks = (proptest::sample::select(Level::ALL.to_vec()), commands);
    let kind =
        prop_oneof![4 => Just(EventKind::Reported), 1 => Just(EventKind::Run), 1 => Just(EventKind::System)];
    let finding = proptest::sample::select(Finding::ALL.to_vec());
    let run = proptest::option::weighted(0.8, 1_u8..5);
    (words, marks, kind, finding, run, 0_i64..50, any::<[u8; 16]>()).prop_map(
        |((task, host, tags, text), (level, command), kind, finding, run, time, id)| {
            let mut tags: Vec<Tag> =
                tags.into_iter().map(|tag| Tag::parse(["a", "b", "c d"][tag]).unwrap()).collect();
            tags.dedup();
            let event = Event {
                id: EventId::from_bytes(id),
                kind,
                time: at(time * 1_000),
                task: TaskName::parse(["", "BACKUP", "UPDATE"][task]).unwrap(),
                host: HostName::parse(["web1", "web2", "db1"][host]).unwrap(),
                tags,
                level,
                message: ["", "disk FULL", "Straße", "done"][text].to_owned(),
                finding: (kind == EventKind::Run).then_some(finding),
                command: if kind == EventKind::Reported { command } else { None },
                ..event(0)
            };
            match run {
                Some(run) => of_run(run, event.command, event),
                None => event,
            }
        },
    )
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let tasks = prop_oneof![Just("BACK*"), Just("?PDATE"), Just("*"), Just("NONE")];
    let hosts = prop_oneof![Just("web?"), Just("db1"), Just("*"), Just("none")];
    let sometimes = |one| proptest::option::weighted(0.3, proptest::collection::vec(one, 1..3));
    (sometimes(tasks.boxed()), sometimes(hosts.boxed())).prop_map(|(tasks, hosts)| Scope {
        tasks: tasks.map(|tasks| TaskPatterns::parse(&tasks).unwrap()),
        hosts: hosts.map(|hosts| HostPatterns::parse(&hosts).unwrap()),
    })
}

fn any_filter() -> impl Strategy<Value = EventFilter> {
    let names = (proptest::option::of(0_usize..4), proptest::option::of(0_usize..4));
    let level = proptest::option::of(proptest::sample::select(Level::ALL.to_vec()));
    let tags = proptest::collection::vec(0_usize..3, 0..2);
    let times = (proptest::option::of(0_i64..50), proptest::option::of(0_i64..50));
    let run = proptest::option::weighted(0.3, 1_u8..6);
    let grep = proptest::option::weighted(0.3, proptest::sample::select(vec!["full", "STRASSE", "ß", "o"]));
    let kind = prop_oneof![
        Just(KindFilter::Reported),
        Just(KindFilter::All),
        Just(KindFilter::Only(EventKind::Run)),
        Just(KindFilter::Only(EventKind::Host)),
    ];
    (names, level, tags, times, run, grep, kind, any_scope()).prop_map(
        |((task, host), level_min, tags, (since, until), run, grep, kind, scope)| EventFilter {
            task: task.map(|task| TaskName::parse(["", "BACKUP", "UPDATE", "NONE"][task]).unwrap()),
            host: host.map(|host| HostName::parse(["web1", "web2", "db1", "none"][host]).unwrap()),
            level_min,
            tags: tags.into_iter().map(|tag| Tag::parse(["a", "b", "c d"][tag]).unwrap()).collect(),
            since: since.map(|time| at(time * 1_000)),
            until: until.map(|time| at(time * 1_000)),
            run: run.map(|run| RunId::from_bytes([run; 16])),
            grep: grep.map(str::to_owned),
            kind,
            scope,
        },
    )
}

fn any_run_filter() -> impl Strategy<Value = RunFilter> {
    let names = (proptest::option::of(0_usize..4), proptest::option::of(0_usize..4));
    let times = (proptest::option::of(0_i64..50), proptest::option::of(0_i64..50));
    let latest = prop_oneof![Just(Latest::No), Just(Latest::PerTaskAndHost)];
    (names, times, proptest::option::weighted(0.2, 1_u8..6), latest, any_scope()).prop_map(
        |((task, host), (since, until), run, latest, scope)| RunFilter {
            task: task.map(|task| TaskName::parse(["", "BACKUP", "UPDATE", "NONE"][task]).unwrap()),
            host: host.map(|host| HostName::parse(["web1", "web2", "db1", "none"][host]).unwrap()),
            run: run.map(|run| RunId::from_bytes([run; 16])),
            since: since.map(|time| at(time * 1_000)),
            until: until.map(|time| at(time * 1_000)),
            latest,
            scope,
        },
    )
}

// The suite.

/// Whatever is asked of whatever was stored, the answer is the rule's; also page by page, also as a number.
pub(super) fn answers_are_those_of_the_rules<B: Backend>() {
    let mut config = ProptestConfig::with_cases(24);
    config.failure_persistence = None;
    let batches = proptest::collection::vec(proptest::collection::vec(any_event(), 1..12), 1..6);
    let filters = proptest::collection::vec(any_filter(), 12);
    let run_filters = proptest::collection::vec(any_run_filter(), 8);
    proptest!(config, |(batches in batches, others in proptest::collection::vec(any_event(), 1..12),
            filters in filters, run_filters in run_filters, limit in 1_usize..9)| {
        let backend = B::start();
        let store = backend.store();
        block_on(async {
            let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
            for (number, batch) in batches.iter().enumerate() {
                sender.send(if number < batches.len() / 2 { EPOCH } else { LATER_EPOCH }, batch).await;
            }
            let mut other = Sender::enter(store.clone(), OTHER_AGENT, "db1").await;
            other.send(EPOCH, &others).await;
            let mut ledger = sender.ledger;
            ledger.extend(other.ledger);
            let runs = fold(&ledger);
            for filter in &filters {
                let expected: Vec<_> = ledger.iter().rev().filter(|stored| filter.matches(stored)).cloned().collect();
                prop_assert_eq!(&all_events(&store, filter, limit).await, &expected, "{:?}", filter);
                prop_assert_eq!(store.count_events(filter.clone()).await.unwrap(), expected.len() as u64);
            }
            for filter in &run_filters {
                let expected = filter.pick(&runs);
                // A cursor cannot tell two agents' runs with one id and one start apart; a real id is one of a kind.
                let found = all_runs(&store, filter, 100).await;
                let states: Vec<_> = found.iter().map(|record| &record.state).collect();
                prop_assert_eq!(states.len(), expected.len(), "{:?}", filter);
                prop_assert!(expected.iter().all(|state| states.contains(state)), "{:?}", filter);
                let key = |record: &RunRecord| (record.state.started_at(), record.state.id());
                prop_assert!(found.is_sorted_by(|one, next| key(one) >= key(next)), "{:?}", filter);
                prop_assert_eq!(store.count_runs(filter.clone()).await.unwrap(), expected.len() as u64);
                for record in found {
                    let of = |stored: &&StoredEvent| {
                        stored.event.run.is_some_and(|run| run.id == record.state.id())
                            && stored.position.agent == record.state.agent()
                    };
                    let events: Vec<_> = ledger.iter().filter(of).cloned().collect();
                    prop_assert_eq!(record.events, events);
                }
            }
            let size = store.size().await.unwrap();
            prop_assert_eq!(size.events, ledger.len() as u64);
            prop_assert!(size.bytes > 0);
            Ok(())
        })?;
    });
}

/// Pages of events and of runs neither lose nor double what was there when the first was asked for.
pub(super) fn paging_is_not_disturbed_by_newcomers<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let start = |number: u64| of_run(number as u8, Some(Command::CounterStart), event(number));
        sender.send(EPOCH, &(1..=30).map(start).collect::<Vec<_>>()).await;
        let (mut events, mut runs, mut after, mut after_run) = (Vec::new(), Vec::new(), None, None);
        for newcomer in 31..=50 {
            let page = store.events(everything(), 4, after).await.unwrap();
            events.extend(page.items.into_iter().map(|stored| stored.event.id));
            let run_page = store.runs(RunFilter::default(), 4, after_run, RunEvents::Omit).await.unwrap();
            runs.extend(run_page.items.into_iter().map(|record| record.state.id()));
            (after, after_run) = (page.next.or(after), run_page.next.or(after_run));
            sender.send(EPOCH, &[start(newcomer)]).await;
            if page.next.is_none() && run_page.next.is_none() {
                break;
            }
        }
        assert_eq!(events, (1..=30).rev().map(|number| event(number).id).collect::<Vec<_>>());
        assert_eq!(runs, (1_u8..=30).rev().map(|run| RunId::from_bytes([run; 16])).collect::<Vec<_>>());
    });
}

/// A repeated batch is known, an overlapping one is cut, one beyond is not written, and a fenced session writes nothing.
pub(super) fn the_cursor_decides_what_is_written<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut old = Sender::enter(store.clone(), AGENT, "web1").await;
        let events: Vec<Event> = (1..=6).map(event).collect();
        old.send(EPOCH, &events[..3]).await;
        let cursor = |number: u64| Cursor { seq: seq(number), event: Some(event(number).id) };
        let known = old.try_send(EPOCH, 2, &events[1..3]).await;
        assert_eq!(known, CommitOutcome::Known { cursor: cursor(3) });
        let beyond = old.try_send(EPOCH, 5, &events[4..]).await;
        assert_eq!(beyond, CommitOutcome::Beyond { cursor: cursor(3) });
        let overlap = old.try_send(EPOCH, 2, &events[1..5]).await;
        assert_eq!(overlap, CommitOutcome::Stored { cursor: cursor(5), events: 2, quarantined: 0 });
        let unknown = old.try_send([9; 16], 1, &events).await;
        assert_eq!(unknown, CommitOutcome::UnknownEpoch);

        let entered = store.enter(entrance(agent(AGENT), "web1")).await.unwrap();
        assert!(entered.session > old.session);
        assert_eq!(entered.cursors[0], cursor(5));
        assert_eq!(old.try_send(EPOCH, 6, &events[5..]).await, CommitOutcome::Superseded);
        let ids: Vec<_> =
            all_events(&store, &everything(), 10).await.iter().map(|stored| stored.event.id).collect();
        assert_eq!(ids, (1..=5).rev().map(|number| event(number).id).collect::<Vec<_>>());
    });
}

/// Several admissions of one call are written in their order, and each gets its outcome.
pub(super) fn admissions_of_one_call_are_written_in_order<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let content = |number| Content::Entries(vec![entry(&event(number))]);
        let admissions = [(1, 1), (2, 2), (2, 2), (4, 4)]
            .map(|(first, number)| sender.admission(EPOCH, first, content(number)));
        let outcomes = store.commit(admissions.to_vec()).await.unwrap();
        assert!(matches!(outcomes[0], CommitOutcome::Stored { events: 1, .. }), "{outcomes:?}");
        assert!(matches!(outcomes[1], CommitOutcome::Stored { events: 1, .. }), "{outcomes:?}");
        assert!(matches!(outcomes[2], CommitOutcome::Known { .. }), "{outcomes:?}");
        assert!(matches!(outcomes[3], CommitOutcome::Beyond { .. }), "{outcomes:?}");
        assert_eq!(store.count_events(everything()).await.unwrap(), 2);
    });
}

/// A gap moves the cursor, and a run around it says what it misses; a run beside it does not.
pub(super) fn a_gap_makes_the_runs_around_it_incomplete<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let beside = of_run(1, Some(Command::CounterStop), event(1));
        let start = of_run(2, Some(Command::CounterStart), event(2));
        sender.send(EPOCH, &[beside, start]).await;
        // Its first half is there already.
        let gap = Content::Gap { through: seq(5), reason: GapReason::Corrupt };
        let outcomes = store.commit(vec![sender.admission(EPOCH, 2, gap.clone())]).await.unwrap();
        let cursor = Cursor { seq: seq(5), event: None };
        assert_eq!(outcomes, [CommitOutcome::Stored { cursor, events: 0, quarantined: 0 }]);
        let again = store.commit(vec![sender.admission(EPOCH, 3, gap)]).await.unwrap();
        assert_eq!(again, [CommitOutcome::Known { cursor }]);
        sender.cursors.insert(Epoch::from_bytes(EPOCH), 5);
        sender.send(EPOCH, &[of_run(2, Some(Command::CounterStop), event(6))]).await;

        let runs = all_runs(&store, &RunFilter::default(), 10).await;
        assert_eq!(runs.len(), 2);
        let gap = &runs[0].gaps[0];
        assert_eq!((gap.from, gap.to, gap.reason.as_str()), (seq(3), seq(5), "corrupt"));
        assert_eq!(runs[1].gaps, []);
    });
}

/// What cannot be decoded is kept, takes its place, and holds up nobody.
pub(super) fn an_entry_in_quarantine_takes_its_place<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let poison = Entry::Quarantined {
            code: CODE,
            detail: "not an event".to_owned(),
            body: EventBytes::from_raw(vec![0xff]),
        };
        let content = Content::Entries(vec![entry(&event(1)), poison]);
        let outcomes = store.commit(vec![sender.admission(EPOCH, 1, content)]).await.unwrap();
        let cursor = Cursor { seq: seq(2), event: None };
        assert_eq!(outcomes, [CommitOutcome::Stored { cursor, events: 1, quarantined: 1 }]);
        sender.cursors.insert(Epoch::from_bytes(EPOCH), 2);
        sender.send(EPOCH, &[event(3)]).await;
        assert_eq!(store.count_events(everything()).await.unwrap(), 2);
    });
}

/// After a kill everything that was answered is there, the cursors too, and the store has kept its name.
pub(super) fn what_was_committed_survives_a_kill<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        for number in 1..=20 {
            sender.send(EPOCH, &[of_run(1, None, event(number))]).await;
        }
        let after = backend.killed_and_started();
        let revived = after.store();
        assert_eq!(revived.store_id(), store.store_id());
        let events = all_events(&revived, &everything(), 7).await;
        assert_eq!(events, sender.ledger.iter().rev().cloned().collect::<Vec<_>>());
        let states: Vec<_> = all_runs(&revived, &RunFilter::default(), 7).await;
        assert_eq!(
            states.iter().map(|record| &record.state).collect::<Vec<_>>(),
            fold(&sender.ledger).iter().collect::<Vec<_>>()
        );
        // A run goes on where it was.
        let mut again = Sender::enter(revived.clone(), AGENT, "web1").await;
        assert!(again.session > sender.session);
        again.ledger = sender.ledger;
        again.cursors = sender.cursors;
        again.send(EPOCH, &[of_run(1, Some(Command::CounterStop), event(21))]).await;
        let runs = all_runs(&revived, &RunFilter::default(), 7).await;
        assert_eq!(runs[0].state, fold(&again.ledger)[0]);
    });
}

/// The registry knows who is connected, what waits there, and what each host did.
pub(super) fn the_inventory_tells_what_there_is<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let start = of_run(1, Some(Command::CounterStart), event(1));
        let elsewhere = Event { host: HostName::parse("nas").unwrap(), ..event(2) };
        sender.send(EPOCH, &[start, elsewhere]).await;

        let agents = store.agents(Scope::default()).await.unwrap().items;
        assert_eq!(agents.len(), 1);
        assert_eq!((agents[0].agent, agents[0].host.as_str()), (agent(AGENT), "web1"));
        assert_eq!((agents[0].connected_since, agents[0].seen_at), (Some(at(1_000)), at(1_000)));
        assert_eq!((agents[0].queue.events, agents[0].stored_events), (7, 2));

        let queue = QueueStatus { events: 3, last_error: Some("x".to_owned()), ..QueueStatus::default() };
        let sighting = |session, micros| Sighting {
            agent: agent(AGENT),
            session,
            queue: Some(queue.clone()),
            tails: Vec::new(),
            behind_us: None,
            watermark: None,
            at: at(micros),
        };
        store.seen(sighting(SessionNo(sender.session.0 + 1), 9_000));
        assert_eq!(store.agents(Scope::default()).await.unwrap().items[0].seen_at, at(1_000));
        store.seen(sighting(sender.session, 5_000));
        let agents = store.agents(Scope::default()).await.unwrap().items;
        assert_eq!((agents[0].seen_at, agents[0].queue.events), (at(5_000), 3));

        let error = Some("broken".to_owned());
        let departure =
            Departure { agent: agent(AGENT), session: sender.session, error, goodbye: false, at: at(6_000) };
        store.leave(departure).await.unwrap();
        let agents = store.agents(Scope::default()).await.unwrap().items;
        assert_eq!((agents[0].connected_since, agents[0].left_at), (None, Some(at(6_000))));
        // That it was gone was noticed later than it was heard.
        assert_eq!((agents[0].seen_at, agents[0].queue.last_error.as_deref()), (at(5_000), Some("broken")));

        let hosts = store.hosts(Scope::default()).await.unwrap().items;
        let names: Vec<_> = hosts
            .iter()
            .map(|host| (host.host.as_str(), host.tasks, host.events, host.agent.agent))
            .collect();
        assert_eq!(names, [("nas", 0, 1, agent(AGENT)), ("web1", 1, 1, agent(AGENT))]);
        let tasks = store.tasks(Scope::default()).await.unwrap().items;
        assert_eq!(tasks.len(), 1);
        assert_eq!((tasks[0].task.as_str(), tasks[0].host.as_str()), ("BACKUP", "web1"));
        assert_eq!(tasks[0].latest.state.id(), RunId::from_bytes([1; 16]));
    });
}

/// The runs of an agent are its own: another one cannot add to them, whatever it calls its run.
pub(super) fn an_agent_cannot_touch_the_runs_of_another<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        sender.send(EPOCH, &[of_run(1, Some(Command::CounterStart), event(1))]).await;
        let mut other = Sender::enter(store.clone(), OTHER_AGENT, "db1").await;
        other.send(EPOCH, &[of_run(1, Some(Command::CounterStop), event(2))]).await;
        let runs = all_runs(&store, &RunFilter::default(), 10).await;
        let of = |id| runs.iter().find(|record| record.state.agent() == Some(agent(id))).unwrap();
        assert_eq!((runs.len(), of(AGENT).state.events(), of(AGENT).state.ended_at()), (2, 1, None));
        assert_eq!(of(OTHER_AGENT).state.events(), 1);
    });
}
