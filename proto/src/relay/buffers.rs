//! The codec of the relay's frames: thousands of sessions are idle, so their buffers begin small and grow with what comes.
//! Frames are read by `frame`, which bounds what is made of them.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstEncoder;

use super::frame::{Frame, FrameDecoder};

/// A buffer begins with so many bytes: an ack or a heartbeat fits. A larger frame makes room for itself.
const BUFFER_BYTES: usize = 512;
/// So many bytes of frames that wait go out together.
const TOGETHER_BYTES: usize = 32 * 1024;

/// Protobuf, with buffers of [`BUFFER_BYTES`].
#[derive(Clone, Debug)]
pub(crate) struct FrameCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for FrameCodec<T, U> {
    fn default() -> FrameCodec<T, U> {
        FrameCodec(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}

impl<T, U> Codec for FrameCodec<T, U>
where
    T: Message + Send + 'static,
    U: Frame,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = FrameDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(settings())
    }

    fn decoder(&mut self) -> FrameDecoder<U> {
        FrameDecoder::new(settings())
    }
}
