//! Every frame reads back, the bytes of every release mean the same, and garbage is an error.

use super::*;
use crate::event::EventBytes;
use crate::relay::{
    CHAIN_BYTES_MAX, FEATURE_ZSTD, PROOF_BYTES_MAX, PROTOCOL_MAJOR, PROTOCOL_MINOR, PUBLIC_KEY_BYTES_MAX,
    Renew, RenewalRefused, WINDOW_BYTES_DEFAULT, WINDOW_EVENTS_DEFAULT,
};
use hume_core::ErrorClass;
use proptest::prelude::*;
use prost::Message as _;

fn at(seq: u64) -> EpochCursor {
    EpochCursor { epoch: Epoch::from_bytes([1; 16]), seq: Seq::new(seq).unwrap() }
}

fn agent_frames() -> Vec<AgentFrame> {
    let clock = ClockSample { wall: Timestamp::from_micros(5), boottime_us: 6 };
    let spool = SpoolStatus {
        unacked_events: 1,
        unacked_bytes: 2,
        oldest_unacked: Some(Timestamp::from_micros(3)),
        last_error: Some(("x".into(), Timestamp::from_micros(4))),
        refused_events: 5,
        lost_events: 6,
    };
    let epoch_state = EpochState {
        epoch: Epoch::from_bytes([1; 16]),
        first_retained: Seq::new(1),
        acked: Seq::new(4).unwrap(),
        acked_event: Some(EventId::from_bytes([3; 16])),
        last_assigned: Seq::new(9).unwrap(),
        predecessor: None,
        restamped_through: Seq::ZERO,
        reason: EpochReason::Created,
    };
    let successor = EpochState {
        epoch: Epoch::from_bytes([2; 16]),
        acked_event: None,
        predecessor: Some(epoch_state.epoch),
        restamped_through: Seq::new(3).unwrap(),
        reason: EpochReason::Forked,
        ..epoch_state
    };
    vec![
        AgentFrame::Hello(Hello {
            protocol_major: PROTOCOL_MAJOR,
            protocol_minor: PROTOCOL_MINOR,
            agent_version: "0.1.0".into(),
            features: vec![FEATURE_ZSTD.into()],
            instance: Some([9; 16]),
            boot: Some(BootId::from_bytes([2; 16])),
            host: "web1".into(),
            zone: None,
            tags: Vec::new(),
            epochs: vec![epoch_state, successor],
            clock,
            spool: spool.clone(),
            certificate_expires_at: Timestamp::from_micros(8),
        }),
        AgentFrame::Batch(Batch {
            epoch: Epoch::from_bytes([1; 16]),
            first: Seq::new(5).unwrap(),
            events: vec![EventBytes::from_raw(vec![1, 2, 3]), EventBytes::from_raw(vec![])],
            codec: Codec::Identity,
        }),
        AgentFrame::Heartbeat(Heartbeat {
            clock,
            tails: vec![at(9)],
            watermark: Timestamp::from_micros(7),
            spool,
            certificate_expires_at: Timestamp::from_micros(8),
        }),
        AgentFrame::Gap(Gap {
            epoch: Epoch::from_bytes([1; 16]),
            from: Seq::new(5).unwrap(),
            to: Seq::new(6).unwrap(),
            reason: GapReason::LostSpool,
        }),
        AgentFrame::Goodbye("stop".into()),
        AgentFrame::Renew(Renew { public_key: vec![1, 2], proof: vec![3] }),
        AgentFrame::Renewed("ab".into()),
        AgentFrame::Batch(Batch {
            epoch: Epoch::from_bytes([1; 16]),
            first: Seq::new(7).unwrap(),
            events: vec![EventBytes::from_raw(vec![9; 2000])],
            codec: Codec::Zstd,
        }),
    ]
}

/// What a Hello has said since hosts have zones and tags.
fn hello_of_a_host() -> AgentFrame {
    let Some(AgentFrame::Hello(hello)) = agent_frames().into_iter().next() else { panic!("no Hello") };
    let tags = ["nightly", "db"].map(|tag| Tag::parse(tag).unwrap()).to_vec();
    AgentFrame::Hello(Hello { zone: Some("Europe/Berlin".into()), tags, ..hello })
}

fn master_frames() -> Vec<MasterFrame> {
    vec![
        MasterFrame::Welcome(Welcome {
            session: 3,
            store_id: [4; 16],
            resume: [Verdict::Continue, Verdict::MasterBehind, Verdict::Forked]
                .map(|verdict| Resume {
                    epoch: Epoch::from_bytes([1; 16]),
                    cursor: Seq::new(2).unwrap(),
                    cursor_event: None,
                    verdict,
                })
                .to_vec(),
            limits: Limits { window_bytes: WINDOW_BYTES_DEFAULT, window_events: WINDOW_EVENTS_DEFAULT },
            heartbeat_ms: 10_000,
            master_time: Timestamp::from_micros(1),
            features: vec![FEATURE_ZSTD.into()],
            hosts: HostPatterns::from_texts(["web1", "printer-*"]),
        }),
        MasterFrame::Ack(Ack { cursors: vec![at(7)], limits: None }),
        MasterFrame::Ack(Ack { cursors: vec![at(7)], limits: Some(Limits::shared_by(1000)) }),
        MasterFrame::Resync(Resync { epoch: at(1).epoch, cursor: at(2).seq, reason: "r".into() }),
        MasterFrame::Quarantined(Quarantined {
            epoch: at(1).epoch,
            seq: at(2).seq,
            code: "c".into(),
            detail: "d".into(),
        }),
        MasterFrame::Throttle(Throttle { pause_ms: 100, limits: None, reason: "busy".into() }),
        MasterFrame::GoAway(GoAway {
            reason: GoAwayReason::CloneSuspected,
            reconnect_min_ms: 1,
            reconnect_max_ms: 2,
            detail: "d".into(),
        }),
        MasterFrame::HeartbeatReply(HeartbeatReply {
            master_time: Timestamp::from_micros(1),
            echo_boottime_us: 2,
        }),
        MasterFrame::Certificate("-----BEGIN CERTIFICATE-----".into()),
        MasterFrame::RenewalRefused(RenewalRefused {
            class: ErrorClass::Denied,
            detail: "d".into(),
            again_ms: 5,
        }),
    ]
}

#[test]
fn every_frame_reads_back() {
    for frame in agent_frames().into_iter().chain([hello_of_a_host()]) {
        let bytes = pb::AgentFrame::from(&frame).encode_to_vec();
        assert_eq!(agent_frame(pb::AgentFrame::decode(&bytes[..]).unwrap()).unwrap(), frame);
    }
    for frame in master_frames() {
        let bytes = pb::MasterFrame::from(&frame).encode_to_vec();
        assert_eq!(master_frame(pb::MasterFrame::decode(&bytes[..]).unwrap()).unwrap(), frame);
    }
}

/// Frames, each behind its length.
fn joined(frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        prost::encoding::encode_varint(frame.len() as u64, &mut bytes);
        bytes.extend(frame);
    }
    bytes
}

#[test]
fn the_frames_of_every_release_are_read_and_today_s_are_as_they_were() {
    let golden = include_bytes!("../../golden/agent-frames-0.1.bin");
    let mut rest = &golden[..];
    for frame in agent_frames() {
        let raw = pb::AgentFrame::decode_length_delimited(&mut rest).unwrap();
        assert_eq!(agent_frame(raw).unwrap(), frame);
    }
    assert!(rest.is_empty());
    // The last one is compressed: a newer zstd may do it otherwise.
    let plain = agent_frames().into_iter().take(agent_frames().len() - 1);
    let encoded = joined(plain.map(|frame| pb::AgentFrame::from(&frame).encode_to_vec()));
    assert_eq!(encoded, golden[..encoded.len()]);
    let golden = include_bytes!("../../golden/master-frames-0.1.bin");
    let mut rest = &golden[..];
    for frame in master_frames() {
        let raw = pb::MasterFrame::decode_length_delimited(&mut rest).unwrap();
        assert_eq!(master_frame(raw).unwrap(), frame);
    }
    assert!(rest.is_empty());
    let encoded = master_frames().into_iter().map(|frame| pb::MasterFrame::from(&frame).encode_to_vec());
    assert_eq!(joined(encoded), golden);
}

#[test]
fn of_a_host_only_what_can_be_its_tags_and_its_zone_is_read() {
    let Some(pb::agent_frame::Frame::Hello(hello)) = pb::AgentFrame::from(&hello_of_a_host()).frame else {
        panic!("no Hello");
    };
    let mut tags: Vec<String> = ["a,b", "", "db", "db", " x"].map(str::to_owned).to_vec();
    tags.extend((0..HOST_TAGS_MAX).map(|number| format!("t{number}")));
    let hello = pb::Hello { tags, zone: "Z".repeat(ZONE_BYTES_MAX + 1), ..hello };
    let raw = pb::AgentFrame { frame: Some(pb::agent_frame::Frame::Hello(hello)) };
    let Ok(AgentFrame::Hello(read)) = agent_frame(raw) else { panic!("no Hello") };
    assert_eq!((read.zone, read.tags.len(), read.tags[0].as_str()), (None, HOST_TAGS_MAX, "db"));
}

#[test]
fn what_a_newer_version_adds_is_passed_over() {
    // Field 100, a text, in the frame and in its Hello.
    let unknown = [0xa2, 0x06, 0x01, b'x'];
    for frame in agent_frames() {
        let Some(pb::agent_frame::Frame::Hello(hello)) = pb::AgentFrame::from(&frame).frame else {
            continue;
        };
        let hello = [&hello.encode_to_vec()[..], &unknown].concat();
        let mut bytes = vec![0x0a];
        prost::encoding::encode_varint(hello.len() as u64, &mut bytes);
        let bytes = [&bytes[..], &hello, &unknown].concat();
        assert_eq!(agent_frame(pb::AgentFrame::decode(&bytes[..]).unwrap()).unwrap(), frame);
    }
}

#[test]
fn a_batch_that_lies_about_itself_is_malformed() {
    let good = || match pb::AgentFrame::from(&agent_frames()[1]).frame {
        Some(pb::agent_frame::Frame::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    };
    let lies = [
        pb::Batch { count: 0, ..good() },
        pb::Batch { count: 3, ..good() },
        pb::Batch { count: 1, ..good() },
        pb::Batch { count: 1001, ..good() },
        pb::Batch { raw_bytes: 1, ..good() },
        pb::Batch { first_seq: 0, ..good() },
        pb::Batch { first_seq: i64::MAX as u64, ..good() },
        pb::Batch { epoch: vec![1], ..good() },
        pb::Batch { codec: pb::Codec::Zstd as i32, ..good() },
        pb::Batch { codec: 0, ..good() },
        pb::Batch { codec: 3, ..good() },
        pb::Batch { payload: vec![0xff; 11].into(), raw_bytes: 11, ..good() },
    ];
    for lie in lies {
        let frame = pb::AgentFrame { frame: Some(pb::agent_frame::Frame::Batch(lie.clone())) };
        assert!(matches!(agent_frame(frame), Err(FrameError::Malformed(_))), "{lie:?}");
    }
}

#[test]
fn a_reason_of_any_number_is_an_answer_and_not_a_panic() {
    // 5 is the master's own word.
    for number in [i32::MIN, -1, 0, 5, 7, i32::MAX] {
        let gap = pb::Gap { epoch: vec![1; 16], from_seq: 1, to_seq: 1, reason: number };
        let frame = pb::AgentFrame { frame: Some(pb::agent_frame::Frame::Gap(gap)) };
        assert!(matches!(agent_frame(frame), Err(FrameError::Malformed(_))), "{number}");
        let away = pb::GoAway { reason: number, ..pb::GoAway::default() };
        let frame = pb::MasterFrame { frame: Some(pb::master_frame::Frame::GoAway(away)) };
        let Ok(MasterFrame::GoAway(away)) = master_frame(frame) else { panic!("{number} is refused") };
        let expected = if number == 5 { GoAwayReason::CloneSuspected } else { GoAwayReason::Shutdown };
        assert_eq!(away.reason, expected, "{number}");
    }
}

#[test]
fn a_key_a_proof_or_a_chain_that_is_too_long_is_malformed() {
    for (key, proof) in [(PUBLIC_KEY_BYTES_MAX + 1, 0), (0, PROOF_BYTES_MAX + 1)] {
        let renew = pb::Renew { public_key: vec![1; key], proof: vec![1; proof] };
        let frame = pb::AgentFrame { frame: Some(pb::agent_frame::Frame::Renew(renew)) };
        assert!(matches!(agent_frame(frame), Err(FrameError::Malformed(_))));
    }
    let chain = pb::Certificate { chain: "x".repeat(CHAIN_BYTES_MAX + 1) };
    let frame = pb::MasterFrame { frame: Some(pb::master_frame::Frame::Certificate(chain)) };
    assert!(matches!(master_frame(frame), Err(FrameError::Malformed(_))));
}

#[test]
fn a_refusal_of_an_unknown_class_is_still_a_refusal() {
    let raw = pb::RenewalRefused { code: "newer".into(), ..pb::RenewalRefused::default() };
    let frame = pb::MasterFrame { frame: Some(pb::master_frame::Frame::RenewalRefused(raw)) };
    let Ok(MasterFrame::RenewalRefused(refused)) = master_frame(frame) else { panic!("no refusal") };
    assert_eq!(refused.class, ErrorClass::Unavailable);
}

#[test]
fn a_frame_of_a_newer_kind_is_malformed_and_not_a_panic() {
    assert!(matches!(agent_frame(pb::AgentFrame { frame: None }), Err(FrameError::Malformed(_))));
    assert!(matches!(master_frame(pb::MasterFrame { frame: None }), Err(FrameError::Malformed(_))));
}

proptest! {
    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(raw) = pb::AgentFrame::decode(&bytes[..]) {
            let _ = agent_frame(raw);
        }
        if let Ok(raw) = pb::MasterFrame::decode(&bytes[..]) {
            let _ = master_frame(raw);
        }
    }
}
