//! The part of the suite about runs as the log makes them: in whichever pieces it comes, and how often.

use super::*;

/// Batches that begin before what is known already, and kills between them, leave the runs that a single reading makes.
pub(in super::super) fn what_is_sent_again_changes_no_run<B: Backend>() {
    let mut config = ProptestConfig::with_cases(24);
    config.failure_persistence = None;
    let batches =
        proptest::collection::vec((proptest::collection::vec(any_event(), 1..8), 0_usize..6), 1..10);
    proptest!(config, |(batches in batches)| {
        let mut backend = B::start();
        block_on(async {
            let mut ledger: Vec<StoredEvent> = Vec::new();
            for (batch, back) in batches {
                let again = back.min(ledger.len());
                let first = ledger.len() - again;
                if back == 5 {
                    backend = backend.killed_and_started();
                }
                // Whoever comes back asks anew for its session.
                let mut sender = Sender::enter(backend.store(), AGENT, "web1").await;
                sender.cursors.insert(Epoch::from_bytes(EPOCH), ledger.len() as u64);
                let known: Vec<Event> = ledger[first..].iter().map(|stored| stored.event.clone()).collect();
                if again > 0 {
                    let outcome = sender.try_send(EPOCH, first as u64 + 1, &known).await;
                    prop_assert!(matches!(outcome, CommitOutcome::Known { .. }), "{:?}", outcome);
                }
                let both = [known, batch.clone()].concat();
                let outcome = sender.try_send(EPOCH, first as u64 + 1, &both).await;
                let events = batch.len() as u64;
                prop_assert!(
                    matches!(outcome, CommitOutcome::Stored { events: stored, .. } if stored == events),
                    "{:?}",
                    outcome
                );
                for event in batch {
                    let place = seq(ledger.len() as u64 + 1);
                    let position = Position { agent: Some(sender.agent), epoch: Epoch::from_bytes(EPOCH), seq: place };
                    ledger.push(StoredEvent { position, arrived_at: Some(at(1_000_000)), event });
                }
            }
            let found = all_runs(&backend.store(), &RunFilter::default(), 100).await;
            let states: Vec<_> = found.into_iter().map(|record| record.state).collect();
            prop_assert_eq!(states, fold(&ledger));
            Ok(())
        })?;
    });
}

/// A task is in the state of the run that started last, whichever ended last.
pub(in super::super) fn the_state_of_a_task_is_that_of_the_run_that_started_last<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        for (number, run, command) in [
            (1, 1, Command::CounterStart),
            (2, 2, Command::CounterStart),
            (3, 2, Command::CounterStop),
            (4, 1, Command::CounterStop),
        ] {
            sender.send(EPOCH, &[of_run(run, Some(command), event(number))]).await;
            let tasks = store.tasks(Scope::default()).await.unwrap().items;
            let latest = tasks.iter().map(|task| task.latest.state.id()).collect::<Vec<_>>();
            assert_eq!(
                latest,
                [RunId::from_bytes([run.max(u8::from(number > 1) * 2); 16])],
                "after event {number}"
            );
        }
    });
}
