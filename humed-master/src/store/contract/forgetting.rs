//! The part of the suite about what is forgotten: never what must stay, always what may go, and nothing else changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use hume_core::page::After;
use hume_core::policy::Policies;

use super::*;
use crate::store::retention::{Bounds, Round};
use crate::store::traits::Retention;

/// An event by its place; those of one batch came together.
type Place = (Epoch, Seq);

/// What may go in a test: by age or for want of any room.
fn any_bounds() -> impl Strategy<Value = Bounds> {
    (proptest::option::weighted(0.8, 0_i64..60), 0_usize..3).prop_map(|(age, keep_failed_runs)| Bounds {
        old_before: age.map(|seconds| at(seconds * 1_000_000)),
        bytes_max: if age.is_none() { Some(1) } else { None },
        untold: None,
        keep_failed_runs,
        policies: Arc::new(Policies::default()),
    })
}

/// Has everything forgotten that may go. How many events and runs that were.
async fn forget_all<S: Retention>(store: &S, bounds: &Bounds) -> (u64, u64) {
    let (mut round, mut events, mut runs) = (Round::default(), 0, 0);
    loop {
        let step = store.forget(bounds.clone(), round, None).await.unwrap();
        (events, runs) = (events + step.events, runs + step.runs);
        if !step.more {
            return (events, runs);
        }
        round = step.round;
    }
}

/// The places that must stay, by the words of the rule.
fn must_stay(ledger: &[StoredEvent], bounds: &Bounds) -> HashSet<Place> {
    let is_young = |stored: &StoredEvent| match bounds.old_before {
        Some(border) => stored.arrived_at >= Some(border),
        None => false,
    };
    let runs = fold(ledger);
    let mut failed: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut protected = HashSet::new();
    for (index, run) in runs.iter().enumerate() {
        let same = |other: &RunState| other.task() == run.task() && other.host() == run.host();
        let is_latest = !runs[..index].iter().any(same);
        let last = ledger.iter().rev().find(|stored| stored.event.run.is_some_and(|of| of.id == run.id()));
        let mut stays = run.ended_at().is_none() || is_latest || last.is_some_and(is_young);
        if run.ended_at().is_some() && bounds.is_failed(run) {
            let before = failed.entry((run.task().as_str().to_owned(), run.host().to_owned())).or_default();
            stays |= *before < bounds.keep_failed_runs;
            *before += 1;
        }
        if stays {
            protected.insert(run.id());
        }
    }
    let is_protected = |stored: &&StoredEvent| {
        is_young(stored) || stored.event.run.is_some_and(|run| protected.contains(&run.id))
    };
    ledger.iter().filter(is_protected).map(place).collect()
}

fn place(stored: &StoredEvent) -> Place {
    (stored.position.epoch, stored.position.seq)
}

/// After any retention of any log: what stays is what the rule says, and all answers are those over what stays.
pub(in super::super) fn answers_after_the_retention_are_those_over_what_stays<B: Backend>() {
    let mut config = ProptestConfig::with_cases(24);
    config.failure_persistence = None;
    let batches = proptest::collection::vec((proptest::collection::vec(any_event(), 1..9), 0_i64..12), 1..10);
    let filters = proptest::collection::vec(any_filter(), 6);
    let run_filters = proptest::collection::vec(any_run_filter(), 6);
    let later = proptest::collection::vec(any_event(), 1..9);
    proptest!(config, |(batches in batches, bounds in any_bounds(), filters in filters,
            run_filters in run_filters, limit in 1_usize..9, later in later)| {
        let backend = B::start();
        let store = backend.store();
        block_on(async {
            let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
            let mut batch_ends = Vec::new();
            for (number, (batch, pause)) in batches.iter().enumerate() {
                sender.arrived_at = sender.arrived_at.plus_micros(pause * 1_000_000);
                sender.send(if number < batches.len() / 2 { EPOCH } else { LATER_EPOCH }, batch).await;
                batch_ends.push(sender.ledger.len());
            }
            let present = async || store.events_after(everything(), 1, After::Now).await.unwrap().next;
            let (before, end) = (sender.ledger.clone(), present().await);
            let (events, runs) = forget_all(&store, &bounds).await;

            let mut found = all_events(&store, &everything(), limit).await;
            found.reverse();
            let kept: HashSet<Place> = found.iter().map(place).collect();
            let must = must_stay(&before, &bounds);
            prop_assert!(must.is_subset(&kept), "gone: {:?}", must.difference(&kept));
            let mut first = 0;
            for last in &batch_ends {
                let batch = &before[first..*last];
                let is_held = *last == before.len() || batch.iter().any(|stored| must.contains(&place(stored)));
                prop_assert!(is_held || !batch.iter().any(|stored| kept.contains(&place(stored))), "{}..{}", first, last);
                first = *last;
            }
            prop_assert_eq!(events, (before.len() - kept.len()) as u64);
            prop_assert_eq!(forget_all(&store, &bounds).await, (0, 0), "once is enough");

            let ledger: Vec<_> = before.iter().filter(|stored| kept.contains(&place(stored))).cloned().collect();
            prop_assert_eq!(runs, (fold(&before).len() - left(&before, &ledger).len()) as u64);
            check_answers(&store, &before, &ledger, &filters, &run_filters, limit).await?;
            prop_assert_eq!(present().await, end, "borders are as they were");

            // What is gone is known all the same, and what comes goes on behind it.
            let first_epoch = *before[0].position.epoch.as_bytes();
            let known = sender.try_send(first_epoch, 1, &[before[0].event.clone()]).await;
            prop_assert!(matches!(known, CommitOutcome::Known { .. }), "{:?}", known);
            sender.send(LATER_EPOCH, &later).await;
            let added = sender.ledger[before.len()..].to_vec();
            let backend = backend.killed_and_started();
            let mut found = all_events(&backend.store(), &everything(), limit).await;
            found.reverse();
            prop_assert_eq!(found, [ledger.clone(), added.clone()].concat());
            // A run that was forgotten begins anew; the others go on.
            let lives: HashSet<RunId> = left(&before, &ledger).iter().map(RunState::id).collect();
            let of_lives = |stored: &&StoredEvent| stored.event.run.is_some_and(|run| lives.contains(&run.id));
            let folded: Vec<_> = before.iter().filter(of_lives).chain(&added).cloned().collect();
            let states: Vec<_> =
                all_runs(&backend.store(), &RunFilter::default(), 100).await.into_iter().map(|run| run.state).collect();
            prop_assert_eq!(states, fold(&folded));
            Ok(())
        })?;
    });
}

/// The runs of which an event is left, as all of their events made them.
fn left(before: &[StoredEvent], ledger: &[StoredEvent]) -> Vec<RunState> {
    let ids: HashSet<RunId> = ledger.iter().filter_map(|stored| stored.event.run.map(|run| run.id)).collect();
    fold(before).into_iter().filter(|run| ids.contains(&run.id())).collect()
}

async fn check_answers<S: EventReader + RunReader + Inventory>(
    store: &S,
    before: &[StoredEvent],
    ledger: &[StoredEvent],
    filters: &[EventFilter],
    run_filters: &[RunFilter],
    limit: usize,
) -> Result<(), TestCaseError> {
    for filter in filters {
        let expected: Vec<_> = ledger.iter().rev().filter(|stored| filter.matches(stored)).cloned().collect();
        prop_assert_eq!(&all_events(store, filter, limit).await, &expected, "{:?}", filter);
        prop_assert_eq!(store.count_events(filter.clone()).await.unwrap(), expected.len() as u64);
    }
    let followed = store.events_after(everything(), 1, After::Start).await.unwrap();
    prop_assert_eq!(followed.items.first(), ledger.first());
    let runs = left(before, ledger);
    for filter in run_filters {
        let records = all_runs(store, filter, limit).await;
        let states: Vec<_> = records.iter().map(|record| &record.state).collect();
        prop_assert_eq!(states, filter.pick(&runs), "{:?}", filter);
        for record in &records {
            check_run(record, before, ledger)?;
        }
    }
    let latest = RunFilter { latest: Latest::PerTaskAndHost, ..RunFilter::default() };
    let all = fold(before);
    prop_assert_eq!(store.count_runs(latest.clone()).await.unwrap(), latest.pick(&all).len() as u64);
    check_inventory(store, ledger, &runs).await
}

/// A run has the events that are left, and says where the others were.
fn check_run(
    record: &RunRecord,
    before: &[StoredEvent],
    ledger: &[StoredEvent],
) -> Result<(), TestCaseError> {
    let of = |stored: &&StoredEvent| stored.event.run.is_some_and(|run| run.id == record.state.id());
    let mine: Vec<_> = ledger.iter().filter(of).cloned().collect();
    prop_assert_eq!((&record.events, record.more_events), (&mine, 0));
    let in_gap = |stored: &StoredEvent| {
        let (epoch, seq) = place(stored);
        record.gaps.iter().any(|gap| gap.epoch == epoch && (gap.from..=gap.to).contains(&seq))
    };
    for stored in before.iter().filter(of) {
        let is_left = mine.iter().any(|kept| place(kept) == place(stored));
        prop_assert_eq!(in_gap(stored), !is_left, "{:?}", stored.position);
    }
    prop_assert!(record.gaps.iter().all(|gap| gap.reason == "evicted"));
    Ok(())
}

async fn check_inventory<S: Inventory>(
    store: &S,
    ledger: &[StoredEvent],
    runs: &[RunState],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(store.size().await.unwrap().events, ledger.len() as u64);
    for host in store.hosts(Scope::default()).await.unwrap().items {
        let of_host = ledger.iter().filter(|stored| stored.event.host == host.host).count();
        prop_assert_eq!(host.events, of_host as u64, "{:?}", host.host);
        prop_assert!(of_host > 0 || host.host.as_str() == "web1", "{:?} is nobody's", host.host);
    }
    let names = |task: &TaskName, host: &str| (task.as_str().to_owned(), host.to_owned());
    let expected: BTreeSet<_> = runs.iter().map(|run| names(&run.task(), run.host())).collect();
    let tasks = store.tasks(Scope::default()).await.unwrap().items;
    let found: BTreeSet<_> = tasks.iter().map(|task| names(&task.task, task.host.as_str())).collect();
    prop_assert_eq!(found, expected);
    Ok(())
}

/// The last failed runs of a task on a host stay beyond their age, so many as it is said; the others go, and what is open stays.
pub(in super::super) fn the_last_failed_runs_stay_and_so_does_what_is_open<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        // Failed, failed, ok, failed, open, ok: the last one is the latest.
        for (run, level, ends) in [
            (1, Level::Error, true),
            (2, Level::Critical, true),
            (3, Level::Ok, true),
            (4, Level::Error, true),
            (5, Level::Ok, false),
            (6, Level::Ok, true),
        ] {
            let number = u64::from(run) * 10;
            let start = of_run(run, Some(Command::CounterStart), event(number));
            let end = if ends { Command::CounterStop } else { Command::Flag };
            let end = of_run(run, Some(end), Event { level, ..event(number + 1) });
            sender.send(EPOCH, &[start]).await;
            sender.send(EPOCH, &[end]).await;
        }
        // The newest stays in any case.
        sender.send(EPOCH, &[event(99)]).await;
        let ids = async || {
            let runs = all_runs(&store, &RunFilter::default(), 10).await;
            assert!(runs.iter().all(|run| run.gaps.is_empty() && run.events.len() == 2));
            runs.iter().map(|run| run.state.id().as_bytes()[0]).collect::<Vec<_>>()
        };
        for (keep_failed_runs, expected) in [(2, vec![6, 5, 4, 2]), (1, vec![6, 5, 4]), (0, vec![6, 5])] {
            let bounds = Bounds {
                old_before: Some(at(i64::MAX)),
                bytes_max: None,
                untold: None,
                keep_failed_runs,
                policies: Arc::new(Policies::default()),
            };
            forget_all(&store, &bounds).await;
            assert_eq!(ids().await, expected, "the last {keep_failed_runs}");
        }
    });
}

/// What is in quarantine goes by its age, and gaps never go: without them a hole would look like a whole.
pub(in super::super) fn a_gap_is_never_forgotten<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        sender.send(EPOCH, &[of_run(1, Some(Command::CounterStart), event(1))]).await;
        let gap = Content::Gap { through: seq(3), reason: GapReason::Purged };
        let poison =
            Entry::Quarantined { code: CODE, detail: String::new(), body: EventBytes::from_raw(vec![0]) };
        for (first, content) in [(2, gap), (4, Content::Entries(vec![poison]))] {
            let outcomes = store.commit(vec![sender.admission(EPOCH, first, content)]).await.unwrap();
            assert!(matches!(outcomes[0], CommitOutcome::Stored { .. }), "{outcomes:?}");
        }
        sender.cursors.insert(Epoch::from_bytes(EPOCH), 4);
        sender.send(EPOCH, &[of_run(1, Some(Command::CounterStop), event(5))]).await;
        sender.send(EPOCH, &[event(6)]).await;
        let bounds = Bounds {
            old_before: Some(at(i64::MAX)),
            bytes_max: None,
            untold: None,
            keep_failed_runs: 0,
            policies: Arc::new(Policies::default()),
        };
        forget_all(&store, &bounds).await;
        let runs = all_runs(&store, &RunFilter::default(), 10).await;
        assert_eq!((runs[0].gaps.len(), runs[0].gaps[0].reason.as_str()), (1, "purged"));
        let cursor = store.enter(entrance(agent(AGENT), "web1")).await.unwrap().cursors[0];
        assert_eq!(cursor.seq, seq(6));
    });
}

/// What transfers have not told stays a week longer than what they have, and goes for want of room; what went untold is said.
pub(in super::super) fn what_is_untold_stays_longer_unless_room_is_wanted<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        // A batch for each; the newest stays in any case.
        for number in 1..=5 {
            sender.send(EPOCH, &[event(number)]).await;
        }
        let left = async || {
            let read = store.events_after(EventFilter::default(), 10, After::Start).await.unwrap();
            read.items.iter().map(|stored| stored.position.seq.get()).collect::<Vec<_>>()
        };
        let read = store.events_after(EventFilter::default(), 2, After::Start).await.unwrap();
        let floor = read.next;
        let read = store.events_after(EventFilter::default(), 3, After::Start).await.unwrap();
        let faster = read.next;
        let step = async |old_before, bytes_max| {
            let policies = Arc::new(Policies::default());
            let bounds = Bounds { old_before, bytes_max, untold: Some(floor), keep_failed_runs: 0, policies };
            let (mut round, mut untold) = (Round::default(), Vec::new());
            loop {
                let step = store.forget(bounds.clone(), round, None).await.unwrap();
                untold.extend(step.untold);
                if !step.more {
                    return untold;
                }
                round = step.round;
            }
        };
        let newest = store.events_after(EventFilter::default(), 10, After::Start).await.unwrap();
        let came = newest.items.last().and_then(|stored| stored.arrived_at).unwrap();
        assert_eq!(step(Some(came.plus_micros(1)), None).await, []);
        assert_eq!(left().await, [3, 4, 5], "what was told goes by its age");
        let untold = step(None, Some(1)).await;
        assert_eq!(left().await, [5], "for want of room the others go");
        let missed_by =
            |cursor| untold.iter().filter(|(at, _)| *at >= cursor).map(|(_, events)| events).sum::<u64>();
        assert_eq!((missed_by(floor), missed_by(faster)), (2, 1), "each missed what it had not told");
    });
}
