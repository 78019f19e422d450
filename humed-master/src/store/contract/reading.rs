//! The part of the suite about following the log, and about answers that do not hold everything.

use std::collections::VecDeque;

use hume_core::ErrorClass;
use hume_core::page::{After, EventCursor};

use super::*;
use crate::store::{LIST_ITEMS_MAX, RUN_EVENTS_MAX};

/// Whoever goes on from border to border, while events come, gets what the filter means: each once, in the order of the log.
pub(in super::super) fn following_meets_every_event_once<B: Backend>() {
    let mut config = ProptestConfig::with_cases(24);
    config.failure_persistence = None;
    let batches = proptest::collection::vec(proptest::collection::vec(any_event(), 1..12), 1..6);
    proptest!(config, |(batches in batches, filter in any_filter(), limit in 1_usize..9, looks in 0_usize..4)| {
        let backend = B::start();
        let store = backend.store();
        block_on(async {
            let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
            let read = async |after| store.events_after(filter.clone(), limit, after).await.unwrap();
            let mut batches = VecDeque::from(batches);
            let (mut after, mut found) = (After::Start, Vec::new());
            loop {
                let piece = read(after).await;
                prop_assert!(piece.items.len() <= limit);
                found.extend(piece.items);
                after = After::Cursor(piece.next);
                // Now and then more comes before everything was read.
                if (piece.at_end || found.len() % 4 == looks) && let Some(batch) = batches.pop_front() {
                    sender.send(EPOCH, &batch).await;
                } else if piece.at_end {
                    break;
                }
            }
            let expected: Vec<_> = sender.ledger.iter().filter(|stored| filter.matches(stored)).cloned().collect();
            prop_assert_eq!(found, expected, "{:?}", filter);
            prop_assert_eq!(After::Cursor(read(After::Now).await.next), after);
            // The listing begins where the following is.
            let After::Cursor(border) = after else { unreachable!("it was just set") };
            let listed = store.events(filter.clone(), 1, Some(border)).await.unwrap();
            let last = sender.ledger.iter().rev().take(1).find(|stored| filter.matches(stored));
            prop_assert_eq!(listed.items.first().filter(|_| last.is_some()), last);
            let beyond = After::Cursor(EventCursor(border.0 + 1));
            let refused = store.events_after(filter.clone(), limit, beyond).await.unwrap_err();
            prop_assert_eq!(refused.class(), ErrorClass::Conflict);
            Ok(())
        })?;
    });
}

/// The word of the end comes with every commit of events, with none that stores nothing, and holds after a restart.
pub(in super::super) fn the_end_of_the_log_grows_with_every_commit_of_events<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut end = store.end();
        let present = async || store.events_after(everything(), 1, After::Now).await.unwrap().next;
        assert_eq!(*end.borrow(), present().await);
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        for number in 1..=3 {
            let before = *end.borrow_and_update();
            sender.send(EPOCH, &[event(number)]).await;
            end.changed().await.unwrap();
            assert!(*end.borrow() > before);
            assert_eq!(*end.borrow(), present().await);
        }
        end.mark_unchanged();
        let known = sender.try_send(EPOCH, 3, &[event(3)]).await;
        assert!(matches!(known, CommitOutcome::Known { .. }), "{known:?}");
        // Whatever is committed after it, the writer has dealt with it.
        sender.send(EPOCH, &[event(4)]).await;
        end.changed().await.unwrap();
        let border = *end.borrow();
        assert_eq!(*backend.killed_and_started().store().end().borrow(), border);
    });
}

/// A run comes with its first events and the number of the others.
pub(in super::super) fn a_run_that_does_not_fit_says_how_many_events_are_left_out<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let events: Vec<Event> =
            (1..=RUN_EVENTS_MAX as u64 + 3).map(|number| of_run(1, None, event(number))).collect();
        sender.send(EPOCH, &events[..RUN_EVENTS_MAX]).await;
        let fits = all_runs(&store, &RunFilter::default(), 10).await;
        assert_eq!((fits[0].events.len(), fits[0].more_events), (RUN_EVENTS_MAX, 0));
        sender.send(EPOCH, &events[RUN_EVENTS_MAX..]).await;
        let cut = all_runs(&store, &RunFilter::default(), 10).await;
        assert_eq!((cut[0].events.len(), cut[0].more_events), (RUN_EVENTS_MAX, 3));
        assert_eq!(cut[0].events, sender.ledger[..RUN_EVENTS_MAX]);
    });
}

/// Tasks and hosts beyond the bound are left out, and that is said.
pub(in super::super) fn a_list_without_pages_says_when_it_is_cut<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "h01").await;
        for number in 1..=LIST_ITEMS_MAX as u64 + 1 {
            let host = HostName::parse(&format!("h{number:02}")).unwrap();
            let start = of_run(number as u8, Some(Command::CounterStart), event(number));
            sender.send(EPOCH, &[Event { host, ..start }]).await;
            let (tasks, hosts) =
                (store.tasks(Scope::default()).await.unwrap(), store.hosts(Scope::default()).await.unwrap());
            let expected = (LIST_ITEMS_MAX.min(number as usize), number as usize > LIST_ITEMS_MAX);
            assert_eq!((tasks.items.len(), tasks.truncated), expected);
            assert_eq!((hosts.items.len(), hosts.truncated), expected);
        }
        assert!(!store.agents(Scope::default()).await.unwrap().truncated);
    });
}
