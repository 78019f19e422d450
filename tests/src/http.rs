//! As much HTTP as a test needs: one request, one answer, over any stream; and what `/metrics` says.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};

use serde_json::Value;

/// One answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
}

impl HttpAnswer {
    /// Its body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.body);
        assert!(parsed.is_ok(), "not JSON: {self:#?}");
        parsed.unwrap_or_default()
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// Asks for `path` and reads the whole answer.
///
/// # Errors
/// Those of the stream, or that it was no answer.
pub fn get(stream: impl Read + Write, path: &str, token: Option<&str>) -> io::Result<HttpAnswer> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n");
    exchange(stream, &request)
}

/// Sends `body` to `path` and reads the whole answer.
///
/// # Errors
/// Those of the stream, or that it was no answer.
pub fn post(stream: impl Read + Write, path: &str, body: &str) -> io::Result<HttpAnswer> {
    let length = body.len();
    exchange(
        stream,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<HttpAnswer> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // The end without TLS's goodbye: whether all is there says the length.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no HTTP answer: {text:?}")))
}

fn parse(text: &str) -> Option<HttpAnswer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<String, String> = lines.filter_map(pair).collect();
    let body = match headers.get("transfer-encoding") {
        Some(encoding) if encoding == "chunked" => unchunked(body)?,
        Some(_) => return None,
        None => match headers.get("content-length") {
            Some(length) if length.parse::<usize>().ok()? != body.len() => return None,
            Some(_) | None => body.to_owned(),
        },
    };
    Some(HttpAnswer { status, headers, body })
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, tail) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(tail.get(..length)?);
        rest = tail.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// The figures of an answer of `/metrics`, by name and labels as written, without fractions.
#[track_caller]
pub fn metrics(answer: &HttpAnswer) -> BTreeMap<String, u64> {
    assert_eq!(answer.status, 200, "{answer:#?}");
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse::<f64>().ok()? as u64))
    };
    answer.body.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_length_and_in_chunks() {
        let whole = parse("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nA: b: c\r\n\r\nhi").unwrap();
        assert_eq!((whole.status, whole.body.as_str(), whole.header("a")), (404, "hi", "b: c"));
        let chunked =
            parse("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap().body, "abcde");
        assert!(parse("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").is_none());
    }

    #[test]
    fn figures_have_names_and_labels() {
        let body = "# TYPE a counter\na_total{reason=\"x\"} 2\nb 7.5\n# EOF\n".to_owned();
        let found = metrics(&HttpAnswer { status: 200, headers: BTreeMap::new(), body });
        assert_eq!(found["a_total{reason=\"x\"}"], 2);
        assert_eq!(found["b"], 7);
    }
}
