//! One request, one answer: as much of HTTP/1.1 as the master's own ports need. Bytes in, bytes out: no socket, no runtime.
//!
//! The connection is closed after the answer.

/// Largest answer that is worth reading.
pub const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its content.
    pub body: Vec<u8>,
}

/// The bytes of a request. `body` is JSON.
pub fn request(method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    let about = body.map_or_else(String::new, |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let head = format!("{method} {path} HTTP/1.1\r\nHost: master\r\nConnection: close\r\n{about}\r\n");
    [head.as_bytes(), body.unwrap_or_default()].concat()
}

impl Answer {
    /// The answer in these bytes, if they are one and whole.
    pub fn parse(bytes: &[u8]) -> Option<Answer> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_its_content_is() {
        let text = String::from_utf8(request("POST", "/x", Some(b"{}"))).unwrap();
        assert!(
            text.starts_with("POST /x HTTP/1.1\r\nHost: master\r\n") && text.ends_with("\r\n\r\n{}"),
            "{text}"
        );
        assert!(text.contains("\r\nContent-Length: 2\r\n"), "{text}");
        assert!(request("GET", "/x", None).ends_with(b"close\r\n\r\n"));
    }

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let text = b"HTTP/1.1 409 Conflict\r\nContent-Type: x\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(Answer::parse(text), Some(Answer { status: 409, body: b"{}".to_vec() }));
        assert_eq!(Answer::parse(&text[..text.len() - 1]), None, "cut off");
        for wrong in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n"] {
            assert_eq!(Answer::parse(wrong), None);
        }
    }
}
