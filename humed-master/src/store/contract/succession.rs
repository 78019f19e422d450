//! Epochs that take over from others, and epochs that are lost: nothing is stored twice, nothing swallowed, every hole said.

use super::*;

const NEW_EPOCH: [u8; 16] = [0xe3; 16];

fn claimed(epoch: [u8; 16], last: u64) -> EpochClaim {
    EpochClaim { last_assigned: seq(last), ..claim(epoch) }
}

fn successor(epoch: [u8; 16], of: [u8; 16], restamped: u64) -> EpochClaim {
    let predecessor = Some(Epoch::from_bytes(of));
    EpochClaim { last_assigned: seq(restamped), predecessor, restamped: seq(restamped), ..claim(epoch) }
}

async fn enter<S: EventWriter + Sessions + Clone>(
    store: &S,
    epochs: Vec<EpochClaim>,
) -> (Sender<S>, Vec<u64>) {
    let entrance = Entrance { epochs, ..entrance(agent(AGENT), "web1") };
    let entered = store.enter(entrance).await.unwrap();
    let cursors = entered.cursors.iter().map(|cursor| cursor.seq.get()).collect();
    let sender = Sender {
        store: store.clone(),
        agent: agent(AGENT),
        session: entered.session,
        cursors: HashMap::new(),
        ledger: Vec::new(),
        arrived_at: at(1_000_000),
    };
    (sender, cursors)
}

/// The spool was put back to where the master had 4 events of 10; by now it has 12, of which the spool knows none beyond 10.
pub(in super::super) fn what_moved_into_a_successor_is_stored_once<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let (mut sender, _) = enter(&store, vec![claimed(EPOCH, 12)]).await;
        let start = of_run(1, Some(Command::CounterStart), event(1));
        let first: Vec<Event> = std::iter::once(start).chain((2..=12).map(event)).collect();
        sender.send(EPOCH, &first).await;
        // Its copy says Hello: 5 to 10 moved, 11 to 13 are new.
        let moved = EpochClaim { last_assigned: seq(9), ..successor(NEW_EPOCH, EPOCH, 6) };
        let (mut sender, cursors) = enter(&store, vec![claimed(EPOCH, 4), moved]).await;
        assert_eq!(cursors, [12, 0]);
        let stop = of_run(1, Some(Command::CounterStop), event(102));
        let again: Vec<Event> = (5..=10).map(event).chain([event(101), stop, event(103)]).collect();
        for part in again.chunks(4) {
            let before = *sender.cursors.entry(Epoch::from_bytes(NEW_EPOCH)).or_default();
            let CommitOutcome::Stored { cursor, .. } = sender.try_send(NEW_EPOCH, before + 1, part).await
            else {
                panic!("not stored")
            };
            assert_eq!(
                cursor.event,
                part.last().map(|event| event.id),
                "also of an event that stands elsewhere"
            );
            sender.cursors.insert(Epoch::from_bytes(NEW_EPOCH), cursor.seq.get());
        }
        let found = all_events(&store, &everything(), 5).await;
        let mut messages: Vec<String> = found.into_iter().map(|stored| stored.event.message).collect();
        messages.reverse();
        let expected: Vec<String> =
            (1..=12).chain(101..=103).map(|number| format!("message {number}")).collect();
        assert_eq!(messages, expected);
        let runs = all_runs(&store, &RunFilter::default(), 10).await;
        assert_eq!((runs[0].gaps.len(), runs[0].events.len()), (0, 2), "nothing is missing");
        assert_eq!(store.agents(Scope::default()).await.unwrap().items[0].missing_events, 0);
    });
}

/// Other events stand where the moved ones stood: they are others.
pub(in super::super) fn another_event_at_the_old_place_is_no_double<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let (mut sender, _) = enter(&store, vec![claimed(EPOCH, 6)]).await;
        sender.send(EPOCH, &[event(1), event(2), event(3), event(4)]).await;
        let (mut sender, _) = enter(&store, vec![claimed(EPOCH, 2), successor(NEW_EPOCH, EPOCH, 3)]).await;
        sender.send(NEW_EPOCH, &[event(33), event(34), event(35)]).await;
        assert_eq!(store.count_events(everything()).await.unwrap(), 7);
    });
}

/// An agent comes without an epoch of which the end had not come: that is lost, until it comes with it after all.
pub(in super::super) fn an_epoch_that_is_gone_is_counted_as_lost_until_it_comes_back<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let missing = async || store.agents(Scope::default()).await.unwrap().items[0].missing_events;
        let (mut sender, _) = enter(&store, vec![claimed(EPOCH, 10)]).await;
        sender.send(EPOCH, &[of_run(1, Some(Command::CounterStart), event(1))]).await;
        enter(&store, vec![claimed(NEW_EPOCH, 0)]).await;
        assert_eq!(missing().await, 9);
        let gap = &all_runs(&store, &RunFilter::default(), 10).await[0].gaps[0];
        assert_eq!((gap.from, gap.to, gap.reason.as_str()), (seq(2), seq(10), "lost_spool"));
        let (mut sender, cursors) = enter(&store, vec![claimed(EPOCH, 11), claimed(NEW_EPOCH, 0)]).await;
        assert_eq!((missing().await, cursors), (0, vec![1, 0]));
        sender.cursors.insert(Epoch::from_bytes(EPOCH), 1);
        sender.send(EPOCH, &[event(2), event(3)]).await;
        // Of a damaged spool less was left than the master knows of.
        enter(&store, vec![claimed(EPOCH, 3), successor(NEW_EPOCH, EPOCH, 5)]).await;
        assert_eq!(missing().await, 3, "3 were acknowledged, 5 moved, 11 were given out");
    });
}
