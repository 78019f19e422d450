//! The watchdog's part of the store: what a step notes is there whole, also after a kill, and its questions find what they should.

use std::collections::BTreeMap;
use std::time::Duration;

use hume_core::course::{Kept, Wake};
use hume_core::name::WatchName;
use hume_core::page::EventCursor;
use hume_core::slot::{Ending, Miss, RunSeen, Slot, SlotState};

use super::*;
use crate::store::traits::{Slots, Watching};
use crate::store::watches::{CourseChange, CourseKey, HostNo, Note, SlotFilter, WatchDeclared, WatchNo};

fn slot(at_us: i64, state: SlotState) -> Slot {
    Slot {
        at: at(at_us),
        opens: at(at_us - 10),
        closes: Some(at(at_us + 90)),
        due: at(at_us + 50),
        wanted_from: at(at_us - 10),
        state,
        run: None,
        success: None,
        is_reported_late: false,
        is_overdue: false,
    }
}

fn with_run(at_us: i64, state: SlotState) -> Slot {
    let run = RunSeen {
        id: RunId::from_bytes([7; 16]),
        started_at: at(at_us + 1),
        ended: Some((at(at_us + 9), Ending::Aborted)),
        paused: Duration::from_micros(3),
        is_paused: false,
    };
    let success = Some((RunId::from_bytes([8; 16]), at(at_us + 9)));
    Slot { run: Some(run), success, is_reported_late: true, is_overdue: true, ..slot(at_us, state) }
}

fn change(key: CourseKey, wake: Wake, slots: Vec<(Slot, bool)>) -> CourseChange {
    let kept = Kept { next: Some((at(990), at(1_000))), last_start: Some(at(5)) };
    let slots = slots.into_iter().map(|(slot, is_settled)| (slot.at, Some((slot, is_settled))));
    CourseChange { key, zone: Some("UTC".to_owned()), kept, has_run: true, wake, slots: slots.collect() }
}

fn finding(number: u64) -> (Event, EventBytes) {
    let event = Event { kind: EventKind::Watchdog, finding: Some(Finding::Missed), ..event(number) };
    let body = EventBytes::encode(&event);
    (event, body)
}

/// A watch and a host; the key of their course.
async fn watched<S: EventWriter + Sessions + Watching>(store: &S) -> CourseKey {
    store.enter(entrance(agent(AGENT), "web1")).await.unwrap();
    let declared = WatchDeclared {
        name: WatchName::parse("BACKUP").unwrap(),
        meaning: "daily".to_owned(),
        task: "BACKUP".to_owned(),
        schedule: "daily".to_owned(),
    };
    store.note(Note { declared: vec![declared], at: at(1), ..Note::default() }).await.unwrap();
    let (watch, host) = (store.watches().await.unwrap(), store.watched_hosts().await.unwrap());
    assert_eq!((watch.len(), host.len()), (1, 1));
    assert_eq!((watch[0].meaning.as_str(), host[0].name.as_str()), ("daily", "web1"));
    CourseKey { watch: watch[0].no, host: host[0].no }
}

pub(in super::super) fn a_step_of_the_watchdog_is_there_whole_and_reads_back<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let key = watched(&store).await;
        let open = [slot(700, SlotState::Unreachable), with_run(800, SlotState::Pending)];
        let settled = [with_run(500, SlotState::Late), slot(600, SlotState::Missed(Miss::NeverRan))];
        let slots = open.iter().map(|slot| (slot.clone(), false));
        let slots = slots.chain(settled.iter().map(|slot| (slot.clone(), true))).collect();
        let wake = Wake { clock: Some(at(1_000)), watermark: Some(at(750)) };
        let note = Note {
            courses: vec![change(key, wake, slots)],
            found: vec![finding(1), finding(2)],
            cursor: Some(EventCursor(1)),
            at: at(2_000_000),
            ..Note::default()
        };
        store.note(note).await.unwrap();
        let after = backend.killed_and_started();
        let store = after.store();
        let kept = store.courses(vec![key]).await.unwrap().remove(0);
        assert_eq!((kept.open.as_slice(), kept.has_run), (&open[..], true));
        assert_eq!(kept.kept.next, Some((at(990), at(1_000))));
        assert_eq!(store.slot_at(key, at(589)).await.unwrap().as_ref(), Some(&settled[0]));
        assert_eq!(store.slot_at(key, at(590)).await.unwrap().as_ref(), Some(&settled[1]));
        assert_eq!(store.slot_at(key, at(750)).await.unwrap(), None, "that one is not settled");
        assert_eq!(store.cursor().await.unwrap(), Some(EventCursor(1)));

        let due = |now, watermark| store.due(at(now), vec![(key.host, at(watermark))], 10);
        assert_eq!(due(999, 749).await.unwrap().courses.len(), 0);
        assert_eq!(due(999, 749).await.unwrap().next, Some(at(1_000)));
        assert_eq!(due(999, 750).await.unwrap().courses.len(), 1, "by the watermark");
        assert_eq!(due(1_000, 750).await.unwrap().courses.len(), 1, "by both, once");

        // What the master found is in the log as any event is, and the master is no agent of its own.
        let found = all_events(&store, &everything(), 100).await;
        let seqs: Vec<u64> = found.iter().map(|stored| stored.position.seq.get()).collect();
        assert_eq!(seqs, [2, 1]);
        assert_eq!(store.agents(Scope::default()).await.unwrap().items.len(), 1);
        store.note(Note { found: vec![finding(3)], at: at(1), ..Note::default() }).await.unwrap();
        let found = all_events(&store, &everything(), 100).await;
        assert_eq!(found[0].position.seq, seq(3), "it goes on where it was");
        assert!(found[0].arrived_at >= found[1].arrived_at, "time does not run backwards in the log");

        // For people, who may see some of it.
        let list = store.watch_list(Scope::default()).await.unwrap().items.remove(0);
        assert_eq!((list.task.as_str(), list.hosts, list.next_at), ("BACKUP", 1, Some(at(1_000))));
        let shown = store.slots(SlotFilter::default(), 3).await.unwrap();
        assert_eq!((shown.items.len(), shown.truncated), (3, true));
        assert_eq!((&shown.items[0].slot, shown.items[0].host.as_str()), (&open[1], "web1"));
        let scope = Scope { hosts: Some(HostPatterns::parse(&["db*"]).unwrap()), ..Scope::default() };
        assert_eq!(store.watch_list(scope.clone()).await.unwrap().items, []);
        assert_eq!(store.slots(SlotFilter { scope, ..SlotFilter::default() }, 9).await.unwrap().items, []);
        let host = HostName::parse("db1").unwrap();
        let of_other = SlotFilter { host: Some(host), ..SlotFilter::default() };
        assert_eq!(store.slots(of_other, 9).await.unwrap().items, []);

        let gone = BTreeMap::from([(at(700), None)]);
        let change = CourseChange { slots: gone, ..change(key, Wake::default(), Vec::new()) };
        store.note(Note { courses: vec![change], at: at(3), ..Note::default() }).await.unwrap();
        assert_eq!(store.courses(vec![key]).await.unwrap()[0].open, open[1..]);
        assert_eq!(store.hosts_of(key.watch).await.unwrap(), [(key.host, Some("UTC".to_owned()))]);
        let told = |at_us: Option<i64>| vec![(agent(AGENT), at_us.map(at))];
        for reach in [told(Some(7)), told(Some(8)), told(None)] {
            let expected = reach[0].1;
            store.note(Note { reach, at: at(4), ..Note::default() }).await.unwrap();
            let rows = store.reach().await.unwrap();
            assert_eq!((rows.len(), rows[0].host.as_str(), rows[0].told_at), (1, "web1", expected));
        }
        store.note(Note { ended: vec![key], at: at(4), ..Note::default() }).await.unwrap();
        assert_eq!(store.hosts_of(key.watch).await.unwrap(), []);
        assert_eq!(store.slot_at(key, at(589)).await.unwrap(), None);
        store.note(Note { dropped: vec![key.watch], at: at(5), ..Note::default() }).await.unwrap();
        assert_eq!(store.watches().await.unwrap(), []);
        assert_eq!(store.courses(vec![CourseKey { watch: WatchNo(9), host: HostNo(9) }]).await.unwrap(), []);
    });
}

pub(in super::super) fn runs_that_were_added_to_are_found_after_a_border<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        let start = |run, number| of_run(run, Some(Command::CounterStart), event(number));
        sender.send(EPOCH, &[start(1, 1), event(2), start(2, 3), start(3, 4)]).await;
        sender.send(EPOCH, &[of_run(1, None, event(5)), event(6)]).await;
        let ids =
            |runs: &[RunRecord]| runs.iter().map(|run| run.state.id().as_bytes()[0]).collect::<Vec<_>>();
        let all = store.runs_after(EventCursor::START, 100).await.unwrap();
        assert_eq!((ids(&all.runs), all.at_end), (vec![1, 2, 3], true), "each once");
        let end = *store.end().borrow();
        assert_eq!(all.next, end);
        // In pieces, and from within a block.
        let (mut seen, mut border, mut is_over) = (Vec::new(), EventCursor(3), false);
        while !is_over {
            let piece = store.runs_after(border, 1).await.unwrap();
            seen.extend(ids(&piece.runs));
            (border, is_over) = (piece.next, piece.at_end);
        }
        assert_eq!((seen, border), (vec![2, 3, 1], end));
        let nothing = store.runs_after(end, 1).await.unwrap();
        assert_eq!((nothing.runs.len(), nothing.next, nothing.at_end), (0, end, true));
        sender.send(EPOCH, &[of_run(2, Some(Command::CounterStop), event(7))]).await;
        let later = store.runs_after(end, 1).await.unwrap();
        assert_eq!(ids(&later.runs), [2]);
        assert!(later.runs[0].state.ended_at().is_some(), "as it is now");
    });
}
