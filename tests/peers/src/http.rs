//! The server's side of HTTP/1.1, as far as webhooks need it: requests with a length, answers with a length.

use std::io::{self, BufRead, Write};

/// Longest body that is read.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method, path, version.
    pub first_line: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body; what is not UTF-8 is replaced.
    pub body: String,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The next request of a connection; none at its end.
///
/// # Errors
/// Those of the socket, and what is no HTTP.
pub fn read(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut request = Request { first_line: line.trim_end().to_owned(), ..Request::default() };
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = request.header("content-length").unwrap_or("0").parse().map_err(io::Error::other)?;
    if length > BODY_BYTES_MAX {
        return Err(io::Error::other("the body is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

/// Answers; `headers` are whole lines.
///
/// # Errors
/// Those of the socket.
pub fn answer(to: &mut impl Write, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    to.write_all(
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{body}").as_bytes(),
    )?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_each_other_and_what_is_cut_is_none() {
        let text = b"POST /a HTTP/1.1\r\ncontent-length: 2\r\nX-B: c\r\n\r\nhiPOST /b HTTP/1.1\r\n\r\nPOST";
        let mut from = &text[..];
        let first = read(&mut from).unwrap().unwrap();
        assert_eq!((first.first_line.as_str(), first.body.as_str()), ("POST /a HTTP/1.1", "hi"));
        assert_eq!(first.header("x-b"), Some("c"));
        assert_eq!(read(&mut from).unwrap().unwrap().first_line, "POST /b HTTP/1.1");
        assert!(read(&mut from).is_err());
        assert!(read(&mut &b""[..]).unwrap().is_none());
    }
}
