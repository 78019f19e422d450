//! Frames of agents and masters, and payloads of batches: within the bounds of the protocol, and the same when sent on.

use hume_core::varint::put;
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    AgentFrame, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, CHAIN_BYTES_MAX, Codec, EPOCHS_MAX,
    FEATURE_BYTES_MAX, FEATURES_MAX, FRAME_BYTES_MAX, MasterFrame, PROOF_BYTES_MAX, PUBLIC_KEY_BYTES_MAX,
    TEXT_BYTES_MAX,
};

use crate::event::stored;

/// A frame without a batch has a few bounded texts and 64 epochs of about 120 bytes.
const FRAME_WITHOUT_EVENTS_BYTES_MAX: usize = 32 * 1024;

/// The first answer to these bytes is that of the relay's codec.
pub(crate) fn agent_frame(bytes: &[u8]) {
    let Ok(frame) = AgentFrame::decode(bytes.to_vec()) else { return };
    let again = frame.encode();
    match &frame {
        AgentFrame::Hello(hello) => {
            assert!(hello.epochs.len() <= EPOCHS_MAX);
            bounded(&hello.features);
            texts([&hello.host, &hello.agent_version]);
            texts(hello.spool.last_error.iter().map(|(text, _)| text));
        }
        AgentFrame::Batch(batch) => events(batch),
        AgentFrame::Heartbeat(beat) => {
            assert!(beat.tails.len() <= EPOCHS_MAX);
            texts(beat.spool.last_error.iter().map(|(text, _)| text));
        }
        AgentFrame::Gap(gap) => assert!(gap.from.get() > 0 && gap.from <= gap.to),
        AgentFrame::Goodbye(reason) => texts([reason]),
        AgentFrame::Renew(renew) => {
            assert!(renew.public_key.len() <= PUBLIC_KEY_BYTES_MAX && renew.proof.len() <= PROOF_BYTES_MAX);
        }
        AgentFrame::Renewed(fingerprint) => texts([fingerprint]),
    }
    let is_batch = matches!(frame, AgentFrame::Batch(_));
    assert!(again.len() <= if is_batch { FRAME_BYTES_MAX } else { FRAME_WITHOUT_EVENTS_BYTES_MAX });
    let read = AgentFrame::decode(again).expect("what was taken can be sent on");
    assert_eq!(as_said(read), as_said(frame));
}

/// What a sender chose about the way is not what it said.
fn as_said(frame: AgentFrame) -> AgentFrame {
    match frame {
        AgentFrame::Batch(batch) => AgentFrame::Batch(Batch { codec: Codec::Identity, ..batch }),
        frame => frame,
    }
}

pub(crate) fn master_frame(bytes: &[u8]) {
    let Ok(frame) = MasterFrame::decode(bytes.to_vec()) else { return };
    match &frame {
        MasterFrame::Welcome(welcome) => {
            assert!(welcome.resume.len() <= EPOCHS_MAX);
            bounded(&welcome.features);
        }
        MasterFrame::Ack(ack) => assert!(ack.cursors.len() <= EPOCHS_MAX),
        MasterFrame::Resync(resync) => texts([&resync.reason]),
        MasterFrame::Quarantined(one) => texts([&one.code, &one.detail]),
        MasterFrame::Throttle(throttle) => texts([&throttle.reason]),
        MasterFrame::GoAway(away) => texts([&away.detail]),
        MasterFrame::HeartbeatReply(_) => {}
        MasterFrame::Certificate(chain) => assert!(chain.len() <= CHAIN_BYTES_MAX),
        MasterFrame::RenewalRefused(refused) => texts([&refused.detail]),
    }
    let again = frame.encode();
    assert!(again.len() <= FRAME_WITHOUT_EVENTS_BYTES_MAX);
    assert_eq!(MasterFrame::decode(again).expect("what was taken can be sent on"), frame);
}

/// Bytes as the payload of a batch: the first says how it is compressed, two how many events it has, three how long it is.
pub(crate) fn batch(bytes: &[u8]) {
    let Some(([codec, count_low, count_high, raw_low, raw_middle, raw_high], payload)) =
        bytes.split_first_chunk()
    else {
        return;
    };
    let numbers = [
        (2, 1),
        (3, u64::from(u16::from_le_bytes([*count_low, *count_high]))),
        (4, u64::from(codec % 4)),
        (5, u64::from(u32::from_le_bytes([*raw_low, *raw_middle, *raw_high, 0]))),
    ];
    let mut batch = vec![1 << 3 | 2, 16];
    batch.extend_from_slice(&[1; 16]);
    for (field, number) in numbers {
        batch.push(field << 3);
        put(&mut batch, number);
    }
    batch.push(6 << 3 | 2);
    put(&mut batch, payload.len() as u64);
    batch.extend_from_slice(payload);
    let mut frame = vec![2 << 3 | 2];
    put(&mut frame, batch.len() as u64);
    frame.extend_from_slice(&batch);
    agent_frame(&frame);
}

fn events(batch: &Batch) {
    let Batch { epoch: _, first, events, codec: _ } = batch;
    assert!((1..=BATCH_EVENTS_MAX).contains(&events.len()));
    assert!(events.iter().map(EventBytes::len).sum::<usize>() <= BATCH_BYTES_MAX);
    assert_eq!(batch.last().get(), first.get() + events.len() as u64 - 1);
    events.iter().take(8).for_each(stored);
}

fn bounded(features: &[String]) {
    assert!(features.len() <= FEATURES_MAX);
    assert!(features.iter().all(|name| name.len() <= FEATURE_BYTES_MAX));
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) {
    assert!(texts.into_iter().all(|text| text.len() <= TEXT_BYTES_MAX));
}
