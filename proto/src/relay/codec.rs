//! Payloads of batches: events joined, and compressed where both ends know how.
//!
//! What comes in is bounded before it is unpacked: a payload of a few bytes cannot become more than its batch may have.

use prost::bytes::{Buf as _, Bytes, BytesMut};

use super::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Codec, FrameError, ZSTD_BYTES_MIN};
use crate::event::EventBytes;

/// The fastest level but the negative ones; higher ones cost more than they save on a network.
const ZSTD_LEVEL: i32 = 1;
/// Bytes of the length in front of an event, at most.
const LENGTH_BYTES_MAX: usize = 5;

/// A payload as it travels.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) codec: Codec,
    /// Its length once decoded.
    pub(super) raw_bytes: u32,
    pub(super) bytes: Bytes,
}

/// Joins encoded events: count × (varint length, bytes).
pub(super) fn pack(events: &[EventBytes], codec: Codec) -> Payload {
    let mut raw = BytesMut::with_capacity(events.iter().map(|event| event.len() + LENGTH_BYTES_MAX).sum());
    for event in events {
        prost::encoding::encode_varint(event.len() as u64, &mut raw);
        raw.extend_from_slice(event.as_slice());
    }
    let raw_bytes = raw.len() as u32;
    let wanted = codec == Codec::Zstd && raw.len() >= ZSTD_BYTES_MIN;
    // It fails only for want of memory; as it is, it travels as well.
    let shorter = wanted
        .then(|| zstd::bulk::compress(&raw, ZSTD_LEVEL).ok())
        .flatten()
        .filter(|compressed| compressed.len() < raw.len());
    match shorter {
        Some(compressed) => Payload { codec: Codec::Zstd, raw_bytes, bytes: compressed.into() },
        None => Payload { codec: Codec::Identity, raw_bytes, bytes: raw.freeze() },
    }
}

/// Takes them apart again; what was not compressed is not copied.
pub(super) fn unpack(payload: Payload, count: usize) -> Result<Vec<EventBytes>, FrameError> {
    if count == 0 || count > BATCH_EVENTS_MAX {
        return Err(FrameError::Malformed("a batch has 1 to 1000 events"));
    }
    let raw_bytes = payload.raw_bytes as usize;
    if raw_bytes > BATCH_BYTES_MAX + LENGTH_BYTES_MAX * count {
        return Err(FrameError::Malformed("a batch of too many bytes"));
    }
    let raw = match payload.codec {
        Codec::Identity => payload.bytes,
        // It never makes more than it is given room for.
        Codec::Zstd => zstd::bulk::decompress(&payload.bytes, raw_bytes)
            .map_err(|_| FrameError::Malformed("a payload that is not compressed as it says"))?
            .into(),
    };
    if raw.len() != raw_bytes {
        return Err(FrameError::Malformed("a payload of another length than said"));
    }
    split(raw, count)
}

fn split(mut raw: Bytes, count: usize) -> Result<Vec<EventBytes>, FrameError> {
    let mut events = Vec::with_capacity(count);
    let mut left = BATCH_BYTES_MAX;
    for _ in 0..count {
        let length = prost::encoding::decode_varint(&mut raw)
            .map_err(|_| FrameError::Malformed("a batch ends within a length"))?;
        match usize::try_from(length) {
            Ok(length) if length <= raw.len() => {
                left = left.checked_sub(length).ok_or(FrameError::Malformed("a batch of too many bytes"))?;
                events.push(EventBytes::from_raw(raw.split_to(length)));
            }
            Ok(_) | Err(_) => return Err(FrameError::Malformed("a batch ends within an event")),
        }
    }
    if raw.has_remaining() {
        return Err(FrameError::Malformed("a batch has bytes after its last event"));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events_of(bodies: &[Vec<u8>]) -> Vec<EventBytes> {
        bodies.iter().cloned().map(EventBytes::from_raw).collect()
    }

    proptest! {
        #[test]
        fn a_payload_reads_back_however_it_travelled(
            bodies in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..400), 1..20),
        ) {
            let events = events_of(&bodies);
            for codec in [Codec::Identity, Codec::Zstd] {
                let payload = pack(&events, codec);
                prop_assert!(payload.bytes.len() <= payload.raw_bytes as usize);
                prop_assert_eq!(unpack(payload, events.len()).unwrap(), events.clone());
            }
        }

        #[test]
        fn any_bytes_are_a_payload_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), raw in 0_u32..2000) {
            for codec in [Codec::Identity, Codec::Zstd] {
                let _ = unpack(Payload { codec, raw_bytes: raw, bytes: bytes.clone().into() }, 3);
            }
        }
    }

    #[test]
    fn a_small_payload_and_one_of_chance_travel_as_they_are() {
        let small = pack(&events_of(&[vec![7; ZSTD_BYTES_MIN - 3]]), Codec::Zstd);
        assert_eq!((small.codec, small.bytes.len()), (Codec::Identity, ZSTD_BYTES_MIN - 1));
        let large = pack(&events_of(&[vec![7; ZSTD_BYTES_MIN]]), Codec::Zstd);
        assert_eq!(large.codec, Codec::Zstd);
        let mut chance = 1_u32;
        let noise = std::iter::repeat_with(|| {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (chance >> 24) as u8
        });
        let noise = pack(&events_of(&[noise.take(2 * ZSTD_BYTES_MIN).collect()]), Codec::Zstd);
        assert_eq!(noise.codec, Codec::Identity);
    }

    #[test]
    fn the_bound_of_a_batch_is_that_of_its_events_alone() {
        let of = |bytes| pack(&events_of(&[vec![7; bytes], vec![]]), Codec::Zstd);
        assert_eq!(unpack(of(BATCH_BYTES_MAX), 2).unwrap().len(), 2);
        assert_eq!(
            unpack(of(BATCH_BYTES_MAX + 1), 2),
            Err(FrameError::Malformed("a batch of too many bytes"))
        );
    }

    #[test]
    fn a_payload_that_would_grow_beyond_what_it_says_or_may_is_refused() {
        // Four million bytes in a few hundred.
        let bomb: Bytes = zstd::bulk::compress(&vec![0; 4 << 20], ZSTD_LEVEL).unwrap().into();
        assert!(bomb.len() < 2000);
        for raw_bytes in [0, 100, BATCH_BYTES_MAX as u32, 4 << 20, u32::MAX] {
            let payload = Payload { codec: Codec::Zstd, raw_bytes, bytes: bomb.clone() };
            assert!(matches!(unpack(payload, 1), Err(FrameError::Malformed(_))), "{raw_bytes}");
        }
    }
}
