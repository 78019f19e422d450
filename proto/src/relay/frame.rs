//! Frames ⇄ bytes: the fields of a frame are counted before anything is made of it.
//!
//! An element of a list may take two bytes on the way and a hundred in memory, so the length of a frame alone bounds
//! nothing. A frame has at most [`FRAME_FIELDS_MAX`] fields, those within its one message included.

use std::marker::PhantomData;
use std::sync::Arc;

use hume_core::host_patterns::HOST_PATTERNS_MAX;
use prost::Message;
use prost::bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};

use super::wire::{agent_frame, master_frame};
use super::{
    AgentFrame, EPOCHS_MAX, FEATURES_MAX, FRAME_BYTES_MAX, FRAME_FIELDS_MAX, FrameError, MasterFrame,
};
use crate::pb;

// What a Hello or a Welcome of today may have, twice over: a newer one has more of its own, and nothing that we name is refused.
const _: () = assert!(2 * (11 + EPOCHS_MAX + FEATURES_MAX + HOST_PATTERNS_MAX) < FRAME_FIELDS_MAX);

const UNREADABLE: FrameError = FrameError::Malformed("it is not protobuf of the right shape");

impl AgentFrame {
    /// Reads a frame as it came.
    ///
    /// # Errors
    /// [`FrameError::Malformed`]; nothing of it may be used.
    pub fn decode(bytes: impl Into<Bytes>) -> Result<AgentFrame, FrameError> {
        agent_frame(read(bytes.into())?)
    }

    /// The frame as it travels.
    pub fn encode(&self) -> Vec<u8> {
        pb::AgentFrame::from(self).encode_to_vec()
    }
}

impl MasterFrame {
    /// Reads a frame as it came.
    ///
    /// # Errors
    /// [`FrameError::Malformed`]; nothing of it may be used.
    pub fn decode(bytes: impl Into<Bytes>) -> Result<MasterFrame, FrameError> {
        master_frame(read(bytes.into())?)
    }

    /// The frame as it travels.
    pub fn encode(&self) -> Vec<u8> {
        pb::MasterFrame::from(self).encode_to_vec()
    }
}

/// A message that is one frame.
pub(crate) trait Frame: Message + Default + Send + 'static {
    /// Its own fields up to this number are messages; those above are of a newer version.
    const KINDS: u32;
}

impl Frame for pb::AgentFrame {
    const KINDS: u32 = 7;
}

impl Frame for pb::MasterFrame {
    const KINDS: u32 = 9;
}

/// Reads the generated type of a frame.
pub(super) fn read<F: Frame>(mut from: impl Buf) -> Result<F, FrameError> {
    if from.remaining() > FRAME_BYTES_MAX {
        return Err(FrameError::Malformed("it has too many bytes"));
    }
    // What a connection has read lies in one piece.
    if from.chunk().len() < from.remaining() {
        return read(from.copy_to_bytes(from.remaining()));
    }
    count_fields::<F>(from.chunk())?;
    F::decode(from).map_err(|_| UNREADABLE)
}

fn count_fields<F: Frame>(frame: &[u8]) -> Result<(), FrameError> {
    let mut left = FRAME_FIELDS_MAX;
    let mut spend = || {
        left = left.checked_sub(1).ok_or(FrameError::Malformed("it has too many fields"))?;
        Ok::<(), FrameError>(())
    };
    let mut outer = frame;
    while !outer.is_empty() {
        spend()?;
        let (number, content) = take_field(&mut outer)?;
        let mut inner = if number <= F::KINDS { content } else { &[] };
        while !inner.is_empty() {
            spend()?;
            take_field(&mut inner)?;
        }
    }
    Ok(())
}

/// The number of the next field, and its content when it is one that says its length.
fn take_field<'a>(from: &mut &'a [u8]) -> Result<(u32, &'a [u8]), FrameError> {
    let (number, wire) = decode_key(from).map_err(|_| UNREADABLE)?;
    let length = match wire {
        WireType::Varint => {
            decode_varint(from).map_err(|_| UNREADABLE)?;
            return Ok((number, &[]));
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => decode_varint(from).map_err(|_| UNREADABLE)?,
        WireType::StartGroup | WireType::EndGroup => return Err(UNREADABLE),
    };
    let length = usize::try_from(length).map_err(|_| UNREADABLE)?;
    let (content, rest) = from.split_at_checked(length).ok_or(UNREADABLE)?;
    *from = rest;
    Ok((number, if wire == WireType::LengthDelimited { content } else { &[] }))
}

/// Reads one frame after the other.
#[derive(Debug)]
pub(crate) struct FrameDecoder<U>(BufferSettings, PhantomData<U>);

impl<U> FrameDecoder<U> {
    /// With buffers of this size.
    pub(super) fn new(settings: BufferSettings) -> FrameDecoder<U> {
        FrameDecoder(settings, PhantomData)
    }
}

impl<U: Frame> Decoder for FrameDecoder<U> {
    type Item = U;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, tonic::Status> {
        read(buffer).map(Some).map_err(|error| {
            let mut status = tonic::Status::from(error.clone());
            // What broke is not the stream: whoever reads it can tell by this.
            status.set_source(Arc::new(error));
            status
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose one message, of the field `kind`, is these bytes.
    fn frame(kind: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind << 3 | 2];
        prost::encoding::encode_varint(message.len() as u64, &mut bytes);
        bytes.extend_from_slice(message);
        bytes
    }

    #[test]
    fn a_list_of_empty_elements_is_refused_before_it_is_made() {
        // Fault 52: epochs of a Hello, tails of a Heartbeat, resumes of a Welcome, cursors of an Ack, two bytes each.
        for (kind, list) in [(1, 7), (3, 2)] {
            let bytes = frame(kind, &[list << 3 | 2, 0].repeat(FRAME_BYTES_MAX / 2 - 8));
            assert_eq!(AgentFrame::decode(bytes), Err(FrameError::Malformed("it has too many fields")));
        }
        for (kind, list) in [(1, 3), (2, 1)] {
            let bytes = frame(kind, &[list << 3 | 2, 0].repeat(FRAME_BYTES_MAX / 2 - 8));
            assert_eq!(MasterFrame::decode(bytes), Err(FrameError::Malformed("it has too many fields")));
        }
        // The same frame again and again within one.
        let bytes = frame(5, &[]).repeat(FRAME_BYTES_MAX / 2);
        assert_eq!(AgentFrame::decode(bytes), Err(FrameError::Malformed("it has too many fields")));
    }

    #[test]
    fn what_is_no_protobuf_or_too_long_is_malformed() {
        for bytes in
            [&[0x0a][..], &[0x0a, 5, 1], &[0x0b], &[0x0c], &[0x0f, 0], &[0xff; 11], &frame(1, &[0x0a, 9])]
        {
            assert_eq!(AgentFrame::decode(bytes.to_vec()), Err(UNREADABLE), "{bytes:?}");
        }
        let long = frame(5, &vec![0; FRAME_BYTES_MAX]);
        assert_eq!(AgentFrame::decode(long), Err(FrameError::Malformed("it has too many bytes")));
    }
}
