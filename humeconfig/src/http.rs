//! One request over a stream, one answer: as much of HTTP/1.1 as the master's own ports need, without a runtime.
//!
//! The connection is closed after the answer. At most [`ANSWER_BYTES_MAX`] are read; how long that may take, the stream knows.

use std::io::{self, Read, Write};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its content.
    pub(crate) body: Vec<u8>,
}

/// Asks and hears. `body` is JSON.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> io::Result<Answer> {
    let about = body.map_or_else(String::new, |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let head = format!("{method} {path} HTTP/1.1\r\nHost: master\r\nConnection: close\r\n{about}\r\n");
    stream.write_all(&[head.as_bytes(), body.unwrap_or_default()].concat())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    // Who did not want all that was said may hang up rudely after the answer; a whole answer is one all the same.
    match (parse(&answer), read) {
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "what was answered is not HTTP or not whole"))
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = body.get(..length.unwrap_or(body.len()))?.to_vec();
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let text = b"HTTP/1.1 409 Conflict\r\nContent-Type: x\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(text), Some(Answer { status: 409, body: b"{}".to_vec() }));
        assert_eq!(parse(&text[..text.len() - 1]), None, "cut off");
        for wrong in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n"] {
            assert_eq!(parse(wrong), None);
        }
    }
}
