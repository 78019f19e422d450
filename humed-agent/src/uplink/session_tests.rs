//! The session against a model of a master that loses, repeats and cuts off: nothing is skipped, nothing falsely forgotten.

use std::time::Duration;

use super::*;
use crate::uplink::pace::{SOON, START_BYTES};
use hume_core::Timestamp;
use hume_core::host_patterns::HostPatterns;
use hume_proto::relay::{EpochReason, Resume};
use proptest::prelude::*;

fn epoch(number: u8) -> Epoch {
    Epoch::from_bytes([number; 16])
}

fn seq(value: u64) -> Seq {
    Seq::new(value).unwrap()
}

fn state(number: u8, acked: u64, last: u64) -> EpochState {
    EpochState {
        epoch: epoch(number),
        first_retained: Some(seq(1)),
        acked: seq(acked),
        acked_event: None,
        last_assigned: seq(last),
        predecessor: None,
        restamped_through: Seq::ZERO,
        reason: EpochReason::Created,
    }
}

fn welcome(cursors: &[(u8, u64, Verdict)]) -> Welcome {
    Welcome {
        session: 1,
        store_id: [0; 16],
        resume: cursors
            .iter()
            .map(|(number, cursor, verdict)| Resume {
                epoch: epoch(*number),
                cursor: seq(*cursor),
                cursor_event: None,
                verdict: *verdict,
            })
            .collect(),
        limits: Limits { window_bytes: 1000, window_events: 10 },
        heartbeat_ms: 10_000,
        master_time: Timestamp::EPOCH,
        features: vec![FEATURE_ZSTD.to_owned()],
        hosts: HostPatterns::any(),
    }
}

fn begin(last: u64, cursor: u64) -> Session {
    Session::begin(&[state(1, cursor, last)], &welcome(&[(1, cursor, Verdict::Continue)])).unwrap()
}

fn at(value: u64) -> [EpochCursor; 1] {
    [EpochCursor { epoch: epoch(1), seq: seq(value) }]
}

fn ack(value: u64) -> Ack {
    Ack { cursors: at(value).to_vec(), limits: None }
}

fn now() -> Instant {
    Instant::now()
}

fn events(events: usize) -> Found {
    Found::Events { events, bytes: events * 10 }
}

fn resync(value: u64) -> Resync {
    Resync { epoch: epoch(1), cursor: seq(value), reason: String::new() }
}

#[test]
fn a_session_goes_on_after_the_masters_cursor_and_stops_at_the_window() {
    let mut session = begin(100, 5);
    let want = session.wants().unwrap();
    assert_eq!((want.from, want.events_max), (seq(6), 10));
    assert_eq!(session.loaded(want, events(10), now()), None);
    assert_eq!(session.wants(), None, "ten events are in flight");
    assert_eq!(session.acked(&ack(15), now()).unwrap(), at(15));
    assert_eq!(session.wants().unwrap().from, seq(16));
}

#[test]
fn an_event_larger_than_the_window_still_goes_alone() {
    let mut session = begin(2, 0);
    let want = session.wants().unwrap();
    session.loaded(want, Found::Events { events: 1, bytes: 100_000 }, now());
    assert_eq!(session.wants(), None);
    session.acked(&ack(1), now()).unwrap();
    assert!(session.wants().is_some());
}

#[test]
fn what_the_spool_no_longer_has_is_declared_a_gap() {
    let mut session = begin(9, 0);
    let want = session.wants().unwrap();
    let reason = GapReason::Evicted;
    let gap = session.loaded(want, Found::Hole { through: seq(3), reason }, now()).unwrap();
    assert_eq!((gap.from, gap.to, gap.reason), (seq(1), seq(3), reason));
    let want = session.wants().unwrap();
    assert_eq!((want.from, session.loaded(want, events(2), now())), (seq(4), None));
    let want = session.wants().unwrap();
    let reason = GapReason::Corrupt;
    let gap = session.loaded(want, Found::Hole { through: seq(9), reason }, now()).unwrap();
    assert_eq!((gap.from, gap.to, gap.reason), (seq(6), seq(9), reason));
    assert_eq!(session.wants(), None);
    assert_eq!(session.acked(&ack(9), now()).unwrap(), at(9), "a gap is acknowledged like events");
    assert_eq!(session.cursors(), at(9));
}

#[test]
fn older_epochs_go_first() {
    let hello = [state(1, 0, 1), state(2, 0, 1)];
    let both = welcome(&[(1, 0, Verdict::Continue), (2, 0, Verdict::Continue)]);
    let mut session = Session::begin(&hello, &both).unwrap();
    let want = session.wants().unwrap();
    assert_eq!(want.epoch, epoch(1));
    session.loaded(want, events(1), now());
    assert_eq!(session.wants().unwrap().epoch, epoch(2));
}

#[test]
fn a_master_that_lost_some_gets_it_again() {
    let hello = [state(1, 50, 60)];
    let session = Session::begin(&hello, &welcome(&[(1, 20, Verdict::MasterBehind)])).unwrap();
    assert_eq!(session.wants().unwrap().from, seq(21));
}

#[test]
fn a_fork_ends_the_session_and_so_does_an_ack_of_what_was_never_sent() {
    let hello = [state(1, 5, 9)];
    let forked = Session::begin(&hello, &welcome(&[(1, 5, Verdict::Forked)]));
    assert!(matches!(forked, Err(Broken::Forked { .. })));
    let beyond = Session::begin(&hello, &welcome(&[(1, 10, Verdict::Continue)]));
    assert!(matches!(beyond, Err(Broken::Forked { .. })));
    assert!(matches!(Session::begin(&hello, &welcome(&[])), Err(Broken::Incomplete(_))));
    assert!(matches!(begin(9, 5).acked(&ack(6), now()), Err(Broken::AckBeyond { .. })));
    assert!(matches!(begin(9, 5).resync(&resync(6)), Err(Broken::AckBeyond { .. })));
}

#[test]
fn an_epoch_with_a_successor_is_not_judged_but_what_a_master_lost_of_it_is_sent_again() {
    let successor = EpochState { predecessor: Some(epoch(1)), ..state(2, 0, 3) };
    let hello = [state(1, 5, 5), successor];
    for verdict in [Verdict::Forked, Verdict::Continue] {
        let word = welcome(&[(1, 80, verdict), (2, 0, Verdict::Continue)]);
        let session = Session::begin(&hello, &word).unwrap();
        assert_eq!(session.wants().unwrap().epoch, epoch(2), "nothing of the old one: {verdict:?}");
    }
    let word = welcome(&[(1, 2, Verdict::MasterBehind), (2, 0, Verdict::Continue)]);
    let want = Session::begin(&hello, &word).unwrap().wants().unwrap();
    assert_eq!((want.epoch, want.from), (epoch(1), seq(3)));
    let forked = Session::begin(&hello, &welcome(&[(1, 5, Verdict::Continue), (2, 9, Verdict::Continue)]));
    assert_eq!(forked, Err(Broken::Forked { epoch: epoch(2), cursor: seq(9) }));
}

#[test]
fn a_window_that_changes_is_kept_and_the_codec_is_one_that_both_know() {
    let mut session = begin(100, 0);
    assert_eq!(session.codec(), Codec::Zstd);
    let limits = Limits { window_bytes: 1000, window_events: 2 };
    session.acked(&Ack { cursors: Vec::new(), limits: Some(limits) }, now()).unwrap();
    assert_eq!(session.wants().unwrap().events_max, 2);
    session.limit(Limits { window_events: 5, ..limits });
    assert_eq!(session.wants().unwrap().events_max, 5);
    let old = Welcome { features: Vec::new(), ..welcome(&[(1, 0, Verdict::Continue)]) };
    assert_eq!(Session::begin(&[state(1, 0, 1)], &old).unwrap().codec(), Codec::Identity);
}

#[test]
fn an_ack_may_come_after_a_resync_that_it_met_on_the_way() {
    let mut session = begin(9, 0);
    let want = session.wants().unwrap();
    session.loaded(want, events(6), now());
    session.resync(&resync(0)).unwrap();
    assert_eq!(session.acked(&ack(6), now()).unwrap(), at(6));
    assert_eq!(session.wants().unwrap().from, seq(7), "what the master has is not sent again");
}

proptest! {
    /// A master that commits some of what it gets, loses batches, asks again, and acknowledges late: in the end it has every
    /// place once and in order, and the spool was never told more than the master had.
    #[test]
    fn whatever_happens_everything_arrives_in_order_and_nothing_is_forgotten_early(
        steps in proptest::collection::vec(0u8..6, 1..400),
        total in 1u64..60,
    ) {
        let mut session = begin(0, 0);
        let mut last = 0;
        let mut wire: VecDeque<(u64, u64)> = VecDeque::new();
        let mut durable = 0;
        let mut forgotten = 0;
        let settle = steps.iter().copied().chain([0, 1, 2, 4].into_iter().cycle().take(2000));
        for step in settle {
            match step {
                0 => {
                    last = (last + 7).min(total);
                    session.appended(epoch(1), seq(last));
                }
                1 => if let Some(want) = session.wants() {
                    let count = want.events_max.min((last + 1 - want.from.get()) as usize).min(3);
                    session.loaded(want, events(count), now());
                    wire.push_back((want.from.get(), want.from.get() + count as u64 - 1));
                },
                2 => if let Some((from, to)) = wire.pop_front() {
                    if from > durable + 1 {
                        session.resync(&resync(durable)).unwrap();
                        wire.clear();
                    } else {
                        durable = durable.max(to);
                    }
                },
                3 => { wire.pop_front(); }
                4 => for news in session.acked(&ack(durable), now()).unwrap() {
                    forgotten = news.seq.get();
                    prop_assert!(forgotten <= durable);
                },
                _ => {
                    session = Session::begin(
                        &[state(1, forgotten, last)],
                        &welcome(&[(1, durable, Verdict::Continue)]),
                    ).unwrap();
                    wire.clear();
                }
            }
            // A lost batch with nothing behind it is found out by the next session.
            if wire.is_empty() && session.wants().is_none() && durable < last {
                session = Session::begin(
                    &[state(1, forgotten, last)],
                    &welcome(&[(1, durable, Verdict::Continue)]),
                ).unwrap();
            }
        }
        prop_assert_eq!(durable, total);
    }

    /// Batches, acks and Resyncs that meet on the way: a master may ask again at any stale batch, as it cannot know what was
    /// sent before its word arrived.
    #[test]
    fn no_order_of_stale_batches_acks_and_resyncs_ends_the_session(
        steps in proptest::collection::vec(0u8..7, 1..300),
        total in 1u64..60,
    ) {
        let mut session = begin(0, 0);
        let (mut last, mut durable, mut forgotten) = (0, 0, 0);
        let mut to_master: VecDeque<(u64, u64)> = VecDeque::new();
        // A place, and whether it is a Resync.
        let mut to_agent: VecDeque<(u64, bool)> = VecDeque::new();
        for step in steps.iter().copied().chain([0, 1, 2, 3, 4, 4].into_iter().cycle().take(2000)) {
            match step {
                0 => {
                    last = (last + 7).min(total);
                    session.appended(epoch(1), seq(last));
                }
                1 => if let Some(want) = session.wants() {
                    let count = want.events_max.min((last + 1 - want.from.get()) as usize).min(3);
                    session.loaded(want, events(count), now());
                    to_master.push_back((want.from.get(), want.from.get() + count as u64 - 1));
                },
                // A batch is read: it is stored, leads to a Resync, or is passed over in silence.
                2 | 5 => if let Some((from, to)) = to_master.pop_front() {
                    if from <= durable + 1 {
                        durable = durable.max(to);
                    } else if step == 2 {
                        to_agent.push_back((durable, true));
                    }
                },
                3 => to_agent.push_back((durable, false)),
                // A batch is read, and the store does not take it.
                6 => if to_master.pop_front().is_some() {
                    to_agent.push_back((durable, true));
                },
                _ => match to_agent.pop_front() {
                    Some((cursor, true)) => session.resync(&resync(cursor)).unwrap(),
                    Some((place, false)) => for news in session.acked(&ack(place), now()).unwrap() {
                        prop_assert!(news.seq.get() > forgotten && news.seq.get() <= durable);
                        forgotten = news.seq.get();
                    },
                    None => {}
                },
            }
        }
        prop_assert_eq!((durable, forgotten), (total, total));
        prop_assert_eq!(session.cursors(), at(total));
    }
}

/// Bytes of each event of a crossing.
const EVENT_BYTES: usize = 500;

/// What a link makes of a backlog.
struct Crossing {
    /// Longest that a ping would have waited behind what was in flight.
    ping: Duration,
    /// Acks until everything had arrived.
    acks: usize,
}

/// Takes `total` events over a link of so many bytes a second, first come, first served, to a master that answers at once. In the
/// beginning they come one by one, `trickle` of them.
fn cross(total: u64, trickle: u64, rate: u64, round_trip: Duration, window_bytes: usize) -> Crossing {
    let limits = Limits { window_bytes, window_events: 1_000_000 };
    let word = Welcome { limits, ..welcome(&[(1, 0, Verdict::Continue)]) };
    let mut session = Session::begin(&[state(1, 0, 0)], &word).unwrap();
    let began = Instant::now();
    let (mut now, mut free_at, mut given) = (Duration::ZERO, Duration::ZERO, 0);
    let mut on_the_way: VecDeque<(Duration, u64)> = VecDeque::new();
    let mut crossing = Crossing { ping: Duration::ZERO, acks: 0 };
    while session.cursors() != at(total) {
        if given < trickle {
            given += u64::from(on_the_way.is_empty());
        } else {
            given = total;
        }
        session.appended(epoch(1), seq(given));
        while let Some(want) = session.wants() {
            let count = (want.bytes_max / EVENT_BYTES).clamp(1, want.events_max);
            let count = count.min((given + 1 - want.from.get()) as usize);
            let bytes = count * EVENT_BYTES;
            session.loaded(want, Found::Events { events: count, bytes }, began + now);
            free_at = free_at.max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            on_the_way.push_back((free_at + round_trip, want.from.get() + count as u64 - 1));
            crossing.ping = crossing.ping.max(free_at.saturating_sub(now));
        }
        let (arrives, last) = on_the_way.pop_front().expect("a session that waits has something in flight");
        now = now.max(arrives);
        crossing.acks += 1;
        session.acked(&ack(last), began + now).unwrap();
    }
    crossing
}

proptest! {
    /// Fault 29. However slow the link, and whatever passed it before, a ping comes through in time, and so does everything else.
    #[test]
    fn a_backlog_leaves_room_for_pings_on_any_link(
        rate in prop_oneof![700_u64..10_000, 1_000_u64..10_000_000],
        round_trip_ms in 0_u64..3_000,
        window_bytes in (64 * 1024_usize)..(4 * 1024 * 1024),
        total in 1_u64..3_000,
        trickle in 0_u64..100,
    ) {
        let crossing = cross(total, trickle.min(total), rate, Duration::from_millis(round_trip_ms), window_bytes);
        let first = Duration::from_secs_f64((START_BYTES + EVENT_BYTES) as f64 / rate as f64);
        let event = Duration::from_secs_f64(EVENT_BYTES as f64 / rate as f64);
        prop_assert!(crossing.ping <= first.max(2 * SOON + event), "{:?}", crossing.ping);
    }
}

#[test]
fn a_fast_link_has_the_whole_window_after_a_few_acks() {
    let window_bytes = 1024 * 1024;
    let per_window = window_bytes / EVENT_BYTES;
    let total = 20 * per_window as u64;
    let crossing = cross(total, 0, 100_000_000, Duration::from_millis(1), window_bytes);
    // Whole batches from the beginning would be so many; the window is not a multiple of one, so that some are cut.
    let least = total as usize / relay::BATCH_EVENTS_MAX;
    assert!(crossing.acks <= 2 * least + 20, "{} acks, {least} batches", crossing.acks);
}

#[test]
fn a_link_that_has_become_slow_gets_less() {
    let window = 64 * 1024;
    let limits = Limits { window_bytes: window, window_events: 1_000_000 };
    let word = Welcome { limits, ..welcome(&[(1, 0, Verdict::Continue)]) };
    let mut session = Session::begin(&[state(1, 0, 1_000)], &word).unwrap();
    let began = now();
    let mut send = |took: Duration| {
        let want = session.wants().unwrap();
        let bytes = want.bytes_max;
        session.loaded(want, Found::Events { events: 1, bytes }, began);
        session.acked(&ack(want.from.get()), began + took).unwrap();
        bytes
    };
    let soon: Vec<_> = (0..5).map(|_| send(SOON)).collect();
    assert_eq!(soon, [START_BYTES, 2 * START_BYTES, 4 * START_BYTES, window, window]);
    let late: Vec<_> = (0..5).map(|_| send(3 * SOON)).collect();
    assert_eq!(late, [window, window / 2, window / 4, START_BYTES, START_BYTES]);
    assert_eq!(
        [send(2 * SOON), send(SOON)],
        [START_BYTES, START_BYTES],
        "neither soon nor late changes nothing"
    );
}
