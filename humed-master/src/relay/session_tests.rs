//! Any order of signals: nothing is acknowledged that was not committed, and nothing committed before the Welcome.

use std::collections::VecDeque;

use hume_core::host_patterns::HostPatterns;
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    Batch, ClockSample, Codec, EpochReason, EpochState, Renew, Resume, SpoolStatus, Verdict,
};
use hume_runtime::renewal::NewKey;
use proptest::prelude::*;

use super::*;
use crate::intake::SessionNo;

const THROTTLE: Duration = Duration::from_millis(THROTTLE_MS as u64);

fn epoch() -> Epoch {
    Epoch::from_bytes([1; 16])
}

fn seq(value: u64) -> Seq {
    Seq::new(value).unwrap()
}

fn clock() -> ClockSample {
    ClockSample { wall: Timestamp::EPOCH, boottime_us: 7 }
}

fn hello(protocol_major: u32) -> AgentFrame {
    let state = EpochState {
        epoch: epoch(),
        first_retained: None,
        acked: Seq::ZERO,
        acked_event: None,
        last_assigned: seq(1000),
        predecessor: None,
        restamped_through: Seq::ZERO,
        reason: EpochReason::Created,
    };
    AgentFrame::Hello(Hello {
        protocol_major,
        protocol_minor: 0,
        features: Vec::new(),
        instance: None,
        agent_version: "9.9.9".to_owned(),
        boot: None,
        host: "web1".to_owned(),
        zone: None,
        tags: Vec::new(),
        epochs: vec![state],
        clock: clock(),
        spool: SpoolStatus::default(),
        certificate_expires_at: Timestamp::EPOCH,
    })
}

fn admitted() -> Admitted {
    let resume = Resume { epoch: epoch(), cursor: Seq::ZERO, cursor_event: None, verdict: Verdict::Continue };
    Admitted { session: SessionNo(1), store_id: [0; 16], resume: vec![resume], hosts: HostPatterns::any() }
}

fn batch(first: u64, count: u64) -> AgentFrame {
    let events = (0..count).map(|_| EventBytes::from_raw(vec![0; 8])).collect();
    AgentFrame::Batch(Batch { epoch: epoch(), first: seq(first), events, codec: Codec::Identity })
}

fn heartbeat() -> AgentFrame {
    AgentFrame::Heartbeat(Heartbeat {
        clock: clock(),
        tails: Vec::new(),
        watermark: Timestamp::EPOCH,
        spool: SpoolStatus::default(),
        certificate_expires_at: Timestamp::EPOCH,
    })
}

/// That the session is over, and what was wrong.
#[derive(Clone, Debug, PartialEq)]
struct Closed(Option<String>);

/// A session and a store that does what the real one does.
struct Table {
    session: Session,
    now: Instant,
    limits: Limits,
    cursor: u64,
    welcomed: bool,
    acked: u64,
    under_way: Option<Vec<Parcel>>,
    said: Vec<MasterFrame>,
    wished: Vec<Vec<u8>>,
    closed: Option<Closed>,
}

impl Table {
    fn new() -> Table {
        Table::with(Renewing::Elsewhere)
    }

    fn with(renewing: Renewing) -> Table {
        let now = Instant::now();
        Table {
            session: Session::new(now, Duration::from_hours(1), Limits::default(), renewing),
            now,
            limits: Limits::default(),
            cursor: 0,
            welcomed: false,
            acked: 0,
            under_way: None,
            said: Vec::new(),
            wished: Vec::new(),
            closed: None,
        }
    }

    /// After Hello and Welcome.
    fn open() -> Table {
        Table::opened(Table::new())
    }

    fn opened(mut table: Table) -> Table {
        table.on(Signal::Frame(hello(PROTOCOL_MAJOR)));
        table.on(Signal::Entered(admitted()));
        table
    }

    fn on(&mut self, signal: Signal) {
        let commands =
            self.session.on(signal, Now { instant: self.now, wall: Timestamp::EPOCH, limits: self.limits });
        for command in commands {
            assert!(self.closed.is_none(), "{command:?} after the close");
            match command {
                Command::Enter(_) => assert!(!self.welcomed),
                Command::Commit(parcels) => {
                    assert!(self.welcomed, "a commit before the Welcome");
                    assert!(self.under_way.is_none(), "two commits at once");
                    assert!(!parcels.is_empty());
                    self.under_way = Some(parcels);
                }
                Command::Send(frame) => {
                    match &frame {
                        MasterFrame::Welcome(_) => self.welcomed = true,
                        MasterFrame::Ack(ack) => {
                            for cursor in &ack.cursors {
                                assert!(
                                    cursor.seq.get() <= self.cursor,
                                    "acked {} of {}",
                                    cursor.seq,
                                    self.cursor
                                );
                                self.acked = self.acked.max(cursor.seq.get());
                            }
                        }
                        MasterFrame::Resync(resync) => assert!(resync.cursor.get() <= self.cursor),
                        MasterFrame::Quarantined(_)
                        | MasterFrame::Throttle(_)
                        | MasterFrame::GoAway(_)
                        | MasterFrame::HeartbeatReply(_)
                        | MasterFrame::Certificate(_)
                        | MasterFrame::RenewalRefused(_) => {}
                    }
                    self.said.push(frame);
                }
                Command::Seen(_) | Command::Renewed(_) | Command::Goodbye => assert!(self.welcomed),
                Command::Renew(key) => self.wished.push(key),
                Command::Close(error) => self.closed = Some(Closed(error)),
            }
        }
    }

    /// The store answers, if it was asked.
    fn commit(&mut self) {
        let Some(parcels) = self.under_way.take() else { return };
        let receipts = parcels.iter().map(|parcel| {
            let Parcel::Batch(batch) = parcel else { panic!("no gaps here") };
            let verdict = if batch.first.get() > self.cursor + 1 {
                ReceiptVerdict::Beyond(seq(self.cursor))
            } else {
                self.cursor = self.cursor.max(parcel.last().get());
                ReceiptVerdict::Durable(seq(self.cursor))
            };
            Receipt { epoch: epoch(), verdict, quarantined: Vec::new() }
        });
        let receipts = receipts.collect();
        self.on(Signal::Committed(receipts));
    }

    fn fail(&mut self) {
        if self.under_way.take().is_some() {
            self.on(Signal::NotCommitted("full".to_owned()));
        }
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.on(Signal::Wake);
    }

    fn said_goaway(&self) -> Option<&GoAway> {
        self.said.iter().find_map(|frame| match frame {
            MasterFrame::GoAway(away) => Some(away),
            _ => None,
        })
    }

    fn resyncs(&self) -> usize {
        self.said.iter().filter(|frame| matches!(frame, MasterFrame::Resync(_))).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Batch(u64, u64),
    Heartbeat,
    Goodbye,
    SecondHello,
    Commit,
    Fail,
    Later(u64),
    Ended,
    Stop,
    Superseded,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_u64..40, 1_u64..8).prop_map(|(first, count)| Step::Batch(first, count)),
        8 => Just(Step::Commit),
        2 => Just(Step::Fail),
        2 => Just(Step::Heartbeat),
        4 => (1_u64..60).prop_map(Step::Later),
        1 => Just(Step::Goodbye),
        1 => Just(Step::SecondHello),
        1 => Just(Step::Ended),
        1 => Just(Step::Stop),
        1 => Just(Step::Superseded),
    ]
}

proptest! {
    #[test]
    fn nothing_is_acked_before_its_commit_and_nothing_committed_before_the_welcome(
        before in proptest::collection::vec(step(), 0..2),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut table = Table::new();
        let take = |table: &mut Table, step: &Step| match step {
            Step::Batch(first, count) if table.session.wants_frames() => {
                table.on(Signal::Frame(batch(*first, *count)));
            }
            Step::Heartbeat if table.session.wants_frames() => table.on(Signal::Frame(heartbeat())),
            Step::Goodbye if table.session.wants_frames() => {
                table.on(Signal::Frame(AgentFrame::Goodbye(String::new())));
            }
            Step::SecondHello if table.session.wants_frames() => table.on(Signal::Frame(hello(PROTOCOL_MAJOR))),
            Step::Batch(..) | Step::Heartbeat | Step::Goodbye | Step::SecondHello => {}
            Step::Commit => table.commit(),
            Step::Fail => table.fail(),
            Step::Later(millis) => {
                table.now += Duration::from_millis(*millis);
                table.on(Signal::Wake);
            }
            Step::Ended => table.on(Signal::Ended),
            Step::Stop => table.on(Signal::Stop(1, 2)),
            Step::Superseded => table.on(Signal::Superseded),
        };
        for step in &before {
            take(&mut table, step);
        }
        if table.closed.is_none() && matches!(table.session.phase, Phase::Waiting) {
            table.on(Signal::Frame(hello(PROTOCOL_MAJOR)));
        }
        if matches!(table.session.phase, Phase::Entering) {
            table.on(Signal::Entered(admitted()));
        }
        for step in &steps {
            take(&mut table, step);
        }
        // Every session ends: the commits that are under way end it.
        table.on(Signal::Stop(1, 2));
        for _ in 0..3 {
            table.commit();
        }
        prop_assert!(table.closed.is_some());
    }
}

/// An agent at the other end of a link that keeps the order, and holds back what is not read yet.
struct Peer {
    table: Table,
    link: VecDeque<AgentFrame>,
    /// Frames of the master that were taken.
    heard: usize,
    next: u64,
    acked: u64,
    flying: VecDeque<u64>,
}

impl Peer {
    const LAST: u64 = 60;
    const FLYING_MAX: usize = 4;

    fn new() -> Peer {
        let table = Table::open();
        Peer { table, link: VecDeque::new(), heard: 0, next: 1, acked: 0, flying: VecDeque::new() }
    }

    fn send(&mut self, count: u64) {
        let count = count.min(Peer::LAST + 1 - self.next);
        if count > 0 && self.flying.len() < Peer::FLYING_MAX {
            self.link.push_back(batch(self.next, count));
            self.next += count;
            self.flying.push_back(self.next - 1);
        }
    }

    fn hear(&mut self) {
        let Some(frame) = self.table.said.get(self.heard) else { return };
        self.heard += 1;
        match frame {
            MasterFrame::Ack(Ack { cursors, .. }) => {
                self.acked = self.acked.max(cursors[0].seq.get());
                self.next = self.next.max(self.acked + 1);
                self.flying.retain(|last| *last > self.acked);
            }
            MasterFrame::Resync(resync) => {
                self.next = resync.cursor.get() + 1;
                self.flying.clear();
            }
            MasterFrame::GoAway(away) => panic!("the session ended: {away:?}"),
            _ => {}
        }
    }

    fn step(&mut self, step: &PeerStep) {
        match step {
            PeerStep::Send(count) => self.send(*count),
            PeerStep::Beat => self.link.push_back(heartbeat()),
            PeerStep::Hear => self.hear(),
            PeerStep::Read => {
                if self.table.session.wants_frames()
                    && let Some(frame) = self.link.pop_front()
                {
                    self.table.on(Signal::Frame(frame));
                }
            }
            PeerStep::Commit => self.table.commit(),
            PeerStep::Fail => self.table.fail(),
            PeerStep::Later(millis) => self.table.later(Duration::from_millis(*millis)),
        }
    }
}

#[derive(Clone, Debug)]
enum PeerStep {
    Send(u64),
    Beat,
    Hear,
    Read,
    Commit,
    Fail,
    Later(u64),
}

fn peer_step() -> impl Strategy<Value = PeerStep> {
    prop_oneof![
        4 => (1_u64..8).prop_map(PeerStep::Send),
        1 => Just(PeerStep::Beat),
        4 => Just(PeerStep::Hear),
        5 => Just(PeerStep::Read),
        3 => Just(PeerStep::Commit),
        2 => Just(PeerStep::Fail),
        2 => (1_u64..12_000).prop_map(PeerStep::Later),
    ]
}

proptest! {
    /// However often the store took nothing, and whatever was on its way then.
    #[test]
    fn after_the_faults_every_batch_is_acked_and_the_session_lives(
        steps in proptest::collection::vec(peer_step(), 0..120),
    ) {
        let mut peer = Peer::new();
        for step in &steps {
            peer.step(step);
        }
        let settle = [
            PeerStep::Send(7), PeerStep::Read, PeerStep::Commit, PeerStep::Hear, PeerStep::Later(1_000), PeerStep::Hear,
        ];
        for _ in 0..200 {
            for step in &settle {
                peer.step(step);
            }
        }
        prop_assert_eq!((peer.acked, peer.table.cursor), (Peer::LAST, Peer::LAST));
        prop_assert!(peer.table.closed.is_none());
    }
}

#[test]
fn what_arrives_during_a_commit_goes_into_the_next_one_together() {
    let mut table = Table::open();
    table.on(Signal::Frame(batch(1, 5)));
    table.on(Signal::Frame(batch(6, 5)));
    table.on(Signal::Frame(batch(11, 5)));
    assert_eq!(table.under_way.as_ref().map(Vec::len), Some(1));
    table.commit();
    assert_eq!(table.under_way.as_ref().map(Vec::len), Some(2));
    table.commit();
    table.now += ACK_INTERVAL;
    table.on(Signal::Wake);
    assert_eq!((table.cursor, table.acked), (15, 15));
}

#[test]
fn a_window_that_changes_with_the_number_of_agents_is_said_with_the_next_ack_and_once() {
    let mut table = Table::open();
    let told = |table: &Table| match table.said.last() {
        Some(MasterFrame::Ack(Ack { limits, .. })) => *limits,
        other => panic!("{other:?}"),
    };
    let send = |table: &mut Table, first| {
        table.on(Signal::Frame(batch(first, 1)));
        table.commit();
        table.now += ACK_INTERVAL;
        table.on(Signal::Wake);
    };
    send(&mut table, 1);
    assert_eq!(told(&table), None);
    table.limits = Limits::shared_by(3000);
    send(&mut table, 2);
    assert_eq!(told(&table), Some(Limits::shared_by(3000)));
    send(&mut table, 3);
    assert_eq!(told(&table), None);
}

#[test]
fn a_quarter_of_the_window_is_acked_at_once() {
    let mut table = Table::open();
    let acks = |table: &Table| table.said.iter().filter(|frame| matches!(frame, MasterFrame::Ack(_))).count();
    table.session.limits.window_bytes = 4 * 8;
    table.limits = table.session.limits;
    for first in 1..=100 {
        table.on(Signal::Frame(batch(first, 1)));
        table.commit();
    }
    assert_eq!(acks(&table), 100);
    table.session.limits.window_bytes = 40 * 8;
    table.limits = table.session.limits;
    for first in 101..=200 {
        table.on(Signal::Frame(batch(first, 1)));
        table.commit();
    }
    assert_eq!(acks(&table), 110);
}

#[test]
fn acks_are_coalesced_to_fifty_a_second() {
    let mut table = Table::open();
    for first in 1..=100 {
        table.on(Signal::Frame(batch(first, 1)));
        table.commit();
        table.now += Duration::from_millis(1);
    }
    let acks = table.said.iter().filter(|frame| matches!(frame, MasterFrame::Ack(_))).count();
    assert!((4..=6).contains(&acks), "{acks} acks");
}

#[test]
fn reading_stops_when_the_window_is_full() {
    let mut table = Table::open();
    let big = |first| {
        let events = vec![EventBytes::from_raw(vec![0; BATCH_BYTES_MAX])];
        AgentFrame::Batch(Batch { epoch: epoch(), first: seq(first), events, codec: Codec::Identity })
    };
    let mut read = 0;
    while table.session.wants_frames() {
        read += 1;
        assert!(read < 10, "nothing stops it");
        table.on(Signal::Frame(big(read)));
    }
    table.commit();
    assert!(table.session.wants_frames());
}

#[test]
fn a_hole_leads_to_one_resync_however_much_was_in_flight() {
    let mut table = Table::open();
    for first in [5, 6, 7] {
        table.on(Signal::Frame(batch(first, 1)));
        table.commit();
    }
    assert_eq!(table.resyncs(), 1);
    table.on(Signal::Frame(batch(1, 7)));
    table.commit();
    table.on(Signal::Frame(batch(20, 1)));
    table.commit();
    assert_eq!(table.resyncs(), 2);
}

#[test]
fn a_store_that_takes_nothing_throttles_the_agent_and_lets_it_send_again() {
    let mut table = Table::open();
    table.on(Signal::Frame(batch(1, 3)));
    table.on(Signal::Frame(batch(4, 3)));
    for round in 1..=3 {
        table.fail();
        assert!(table.under_way.is_none());
        assert!(!table.session.wants_frames(), "what is read now would have to be dropped as well");
        assert!(
            matches!(table.said.last(), Some(MasterFrame::Throttle(Throttle { pause_ms: THROTTLE_MS, .. }))),
            "{:?}",
            table.said
        );
        assert_eq!(table.session.wake_at(), Some(table.now + THROTTLE));
        table.later(THROTTLE);
        assert_eq!(table.resyncs(), round, "each failure is followed by a Resync");
        assert!(table.session.wants_frames());
        table.on(Signal::Frame(batch(1, 6)));
    }
    table.commit();
    table.later(ACK_INTERVAL);
    assert_eq!(table.acked, 6);
}

#[test]
fn a_stop_does_not_wait_for_the_end_of_the_pause() {
    let mut table = Table::open();
    table.on(Signal::Frame(batch(1, 3)));
    table.fail();
    table.on(Signal::Stop(1, 2));
    assert_eq!(table.closed, Some(Closed(None)));
}

#[test]
fn an_agent_that_does_not_follow_a_resync_is_told_again() {
    let mut table = Table::open();
    for expected in [1, 1, 2] {
        table.on(Signal::Frame(batch(5, 1)));
        table.on(Signal::Frame(heartbeat()));
        table.commit();
        assert_eq!(table.resyncs(), expected, "a heartbeat is no sign that the Resync has arrived");
        table.later(RESYNC_AGAIN / 2);
    }
}

#[test]
fn a_stop_commits_what_was_read_and_tells_when_to_come_back() {
    let mut table = Table::open();
    table.on(Signal::Frame(batch(1, 3)));
    table.on(Signal::Frame(batch(4, 3)));
    table.on(Signal::Stop(100, 900));
    assert!(!table.session.wants_frames());
    table.commit();
    table.commit();
    assert_eq!((table.acked, table.closed.clone()), (6, Some(Closed(None))));
    let away = table.said_goaway().unwrap();
    assert_eq!(
        (away.reason, away.reconnect_min_ms, away.reconnect_max_ms),
        (GoAwayReason::Shutdown, 100, 900)
    );
}

#[test]
fn another_major_version_is_refused_with_the_word_what_to_upgrade() {
    for (major, culprit) in
        [(PROTOCOL_MAJOR + 1, "upgrade the master"), (PROTOCOL_MAJOR - 1, "upgrade the agent")]
    {
        let mut table = Table::new();
        table.on(Signal::Frame(hello(major)));
        let away = table.said_goaway().unwrap();
        assert_eq!(away.reason, GoAwayReason::Protocol);
        assert!(away.detail.ends_with(culprit), "{}", away.detail);
        assert!(table.closed.is_some());
    }
}

#[test]
fn silence_at_the_start_ends_the_session() {
    let mut table = Table::new();
    assert_eq!(table.session.wake_at(), Some(table.now + HELLO_TIME_MAX));
    table.on(Signal::Wake);
    assert!(table.closed.is_none());
    table.now += HELLO_TIME_MAX;
    table.on(Signal::Wake);
    assert_eq!(table.closed, Some(Closed(Some("no Hello within 10 s".to_owned()))));
}

#[test]
fn a_batch_of_an_epoch_nobody_named_ends_the_session() {
    let mut table = Table::open();
    let foreign = Batch {
        codec: Codec::Identity,
        epoch: Epoch::from_bytes([9; 16]),
        first: seq(1),
        events: vec![EventBytes::from_raw(vec![1])],
    };
    table.on(Signal::Frame(AgentFrame::Batch(foreign)));
    assert!(table.under_way.is_none());
    assert_eq!(table.said_goaway().unwrap().reason, GoAwayReason::Protocol);
}

#[test]
fn a_heartbeat_is_answered_with_its_own_clock() {
    let mut table = Table::open();
    table.on(Signal::Frame(heartbeat()));
    let reply = HeartbeatReply { master_time: Timestamp::EPOCH, echo_boottime_us: 7 };
    assert_eq!(table.said.last(), Some(&MasterFrame::HeartbeatReply(reply)));
}

#[test]
fn a_master_that_makes_no_certificates_says_so_and_the_session_goes_on() {
    let mut table = Table::open();
    table.on(Signal::Frame(AgentFrame::Renew(Renew { public_key: vec![1], proof: vec![2] })));
    let Some(MasterFrame::RenewalRefused(refused)) = table.said.last() else { panic!("{:?}", table.said) };
    assert_eq!(refused.class, ErrorClass::Unavailable);
    table.on(Signal::Frame(AgentFrame::Renewed("ab".to_owned())));
    assert!(table.closed.is_none());
}

#[test]
fn an_agent_that_may_report_for_other_hosts_than_it_was_told_comes_back_at_once() {
    let mut table = Table::open();
    table.on(Signal::Retold);
    let Some(MasterFrame::GoAway(away)) = table.said.last() else { panic!("{:?}", table.said) };
    assert_eq!((away.reason, away.reconnect_max_ms), (GoAwayReason::MaxAge, 500));
}

#[test]
fn a_key_that_is_proved_for_this_session_gets_one_certificate_at_a_time() {
    let mut table = Table::opened(Table::with(Renewing::Here));
    let Some(MasterFrame::Welcome(welcome)) = table.said.first() else { panic!("{:?}", table.said) };
    assert!(welcome.features.iter().any(|name| name == FEATURE_RENEW));
    let occasion = Occasion { store_id: welcome.store_id, session: welcome.session };
    let key = NewKey::make().unwrap();
    let wish = |occasion: Occasion| {
        let proof = key.prove(&occasion).unwrap();
        Signal::Frame(AgentFrame::Renew(Renew { public_key: key.public_key(), proof }))
    };
    // The proof of another session.
    table.on(wish(Occasion { session: occasion.session + 1, ..occasion }));
    let Some(MasterFrame::RenewalRefused(refused)) = table.said.last() else { panic!("{:?}", table.said) };
    assert_eq!((refused.class, table.wished.len()), (ErrorClass::Invalid, 0));
    table.on(wish(occasion));
    assert_eq!(table.wished, [key.public_key()]);
    table.on(Signal::Renewal(MasterFrame::Certificate("chain".to_owned())));
    assert_eq!(table.said.last(), Some(&MasterFrame::Certificate("chain".to_owned())));
    table.on(wish(occasion));
    assert_eq!(table.wished.len(), 2);
    table.on(wish(occasion));
    assert!(table.closed.is_some(), "two at once");
}
