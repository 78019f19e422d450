//! Syslog in a stream: messages that begin with their length (RFC 6587, 3.4.1), and the head of a message (RFC 5424).

use std::io::{self, BufRead};

/// Longest message.
const BYTES_MAX: usize = 64 * 1024;

/// The next message of a connection; none at its end.
///
/// # Errors
/// Those of the socket, a message that is cut, and what has no length.
pub fn read(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut length = Vec::new();
    if from.read_until(b' ', &mut length)? == 0 {
        return Ok(None);
    }
    if length.pop() != Some(b' ') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length: usize =
        String::from_utf8(length).map_err(io::Error::other)?.parse().map_err(io::Error::other)?;
    if length > BYTES_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    String::from_utf8(message).map(Some).map_err(io::Error::other)
}

/// What stands after the structured data of a message of RFC 5424, without the mark of UTF-8; none if it is no such message.
pub fn text(message: &str) -> Option<&str> {
    // <PRI>VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID
    let data = message.splitn(7, ' ').nth(6)?;
    let text = if let Some(rest) = data.strip_prefix('-') { rest } else { after_elements(data)? };
    let text = text.strip_prefix(' ').unwrap_or(text);
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// What stands after `[…][…]`, where a value may hold brackets and `\"`.
fn after_elements(mut data: &str) -> Option<&str> {
    while data.starts_with('[') {
        let (mut is_value, mut is_escaped) = (false, false);
        let end = data.char_indices().find_map(|(at, c)| {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' if is_value => is_escaped = true,
                '"' => is_value = !is_value,
                ']' if !is_value => return Some(at + 1),
                _ => {}
            }
            None
        })?;
        data = &data[end..];
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other_and_what_is_cut_is_none() {
        let mut from = &b"5 hello3 you9 cut"[..];
        assert_eq!(read(&mut from).unwrap().unwrap(), "hello");
        assert_eq!(read(&mut from).unwrap().unwrap(), "you");
        assert!(read(&mut from).is_err());
        assert!(read(&mut &b"12"[..]).is_err());
        assert!(read(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn the_text_stands_after_the_structured_data() {
        let message = r#"<27>1 2025-11-24T16:00:00Z db1 hume 1 A [a@1 b="x \"y] z"][c@1] disk full"#;
        assert_eq!(text(message), Some("disk full"));
        assert_eq!(text("<27>1 - db1 hume - - - plain"), Some("plain"));
        assert_eq!(text("<27>Nov 24 16:00:00 x"), None);
    }
}
