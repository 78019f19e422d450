//! HTTP/2 and gRPC as an attacker would write them: frame by frame, right or wrong, over TLS.
//!
//! Nothing of what is written is checked. What comes back is read frame by frame; settings and pings are answered, so that a
//! server which is not attacked goes on.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::tls::{self, TlsStream};

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest frame that a server takes unless it says otherwise.
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Kinds of frames.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flag of a frame that ends its stream, or of an answer to settings and pings.
pub const END_STREAM: u8 = 1;
/// Flag of a frame that ends the headers.
pub const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Http2 {
    stream: TlsStream,
    received: Vec<u8>,
}

impl Http2 {
    /// Connects, with the preface and empty settings said.
    /// # Errors
    /// Those of the socket and of TLS.
    pub fn connect(stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<Http2> {
        let stream = tls::connect(stream, config)?;
        let mut connection = Http2 { stream, received: Vec::new() };
        connection.bytes(PREFACE)?;
        connection.frame(SETTINGS, 0, 0, &[])?;
        Ok(connection)
    }

    /// From now on a server that takes nothing for this time makes an error.
    /// # Errors
    /// Those of the socket.
    pub fn give_up_after(&self, time: Duration) -> io::Result<()> {
        self.stream.sock.set_write_timeout(Some(time))
    }

    /// Writes these bytes, whatever they are.
    /// # Errors
    /// Those of the stream.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Writes a frame.
    /// # Errors
    /// Those of the stream.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.bytes(&frame(kind, flags, stream, payload))
    }

    /// Begins a request of HTTP/2: the head, without an end of the stream.
    /// # Errors
    /// Those of the stream.
    pub fn request(
        &mut self,
        stream: u32,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
    ) -> io::Result<()> {
        self.frame(HEADERS, END_HEADERS, stream, &head(method, path, more))
    }

    /// Begins a session of the relay on stream 1.
    /// # Errors
    /// Those of the stream.
    pub fn session(&mut self) -> io::Result<()> {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        self.request(1, "POST", "/hume.v1.Relay/Session", &grpc)
    }

    /// Sends a message of gRPC on stream 1.
    /// # Errors
    /// Those of the stream.
    pub fn message(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).expect("a message of a test is short");
        let whole = [&[0][..], &length.to_be_bytes(), message].concat();
        whole.chunks(FRAME_BYTES_MAX).try_for_each(|piece| self.frame(DATA, 0, 1, piece))
    }

    /// The next frame that is none of the connection's own matters; none when the server closed it.
    /// # Errors
    /// Those of the stream: its timeout among them.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some(frame) = self.next_of_any_kind()? else { return Ok(None) };
            match (frame.kind, frame.flags & END_STREAM) {
                (SETTINGS, 0) => self.frame(SETTINGS, END_STREAM, 0, &[])?,
                (PING, 0) => self.frame(PING, END_STREAM, 0, &frame.payload)?,
                (DATA | HEADERS | RST_STREAM | GOAWAY, _) => return Ok(Some(frame)),
                _ => {}
            }
        }
    }

    fn next_of_any_kind(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload }))
    }

    /// The next message of gRPC on stream 1; none when the server ended the stream or the connection.
    /// # Errors
    /// Those of the stream.
    pub fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if let Some((message, rest)) = rest.split_at_checked(length) {
                    let message = message.to_vec();
                    self.received = rest.to_vec();
                    return Ok(Some(message));
                }
            }
            match self.next_frame()? {
                Some(Frame { kind: DATA, payload, .. }) => self.received.extend_from_slice(&payload),
                Some(Frame { kind: HEADERS, flags, .. }) if flags & END_STREAM == 0 => {}
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// Whether the server ends the connection, a stream of it, or answers with an error, rather than going on.
    pub fn is_refused(&mut self) -> bool {
        loop {
            match self.next_frame() {
                Ok(Some(Frame { kind: DATA, .. })) => {}
                Ok(Some(Frame { kind: HEADERS, payload, .. })) => {
                    // An answer's status stands first, as a number of HPACK's table (8 is 200) or in digits.
                    return payload.first().is_none_or(|first| *first != 0x88);
                }
                Ok(Some(_) | None) => return true,
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

/// A frame as bytes, with the length that it has.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a frame of a test is short").to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request, in HPACK without its tables.
pub fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "localhost")];
    own.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect()
}

/// A header that goes into no table.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [length(text.len()), text.as_bytes().to_vec()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// An integer of HPACK with a prefix of seven bits.
fn length(value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let (mut bytes, mut rest) = (vec![127], value - 127);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

/// The server went away, with or without TLS's goodbye.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_heads_are_written_as_rfc_9113_and_7541_have_them() {
        assert_eq!(frame(SETTINGS, 0, 0, &[]), [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(frame(DATA, END_STREAM, 3, b"ab"), [0, 0, 2, 0, 1, 0, 0, 0, 3, b'a', b'b']);
        assert_eq!(literal("a", "b"), [0, 1, b'a', 1, b'b']);
        // The example of RFC 7541, C.1.2, with a prefix of seven bits.
        assert_eq!((length(10), length(1337)), (vec![10], vec![127, 0b1011_1010, 0b0000_1001]));
    }
}
