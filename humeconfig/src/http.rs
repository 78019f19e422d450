//! One request over a stream, one answer, without a runtime. How long that may take, the stream knows.

use std::io::{self, Read, Write};

use hume_runtime::http::{ANSWER_BYTES_MAX, Answer, request};

/// Asks and hears. `body` is JSON.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> io::Result<Answer> {
    stream.write_all(&request(method, path, body))?;
    stream.flush()?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    // Who did not want all that was said may hang up rudely after the answer; a whole answer is one all the same.
    match (Answer::parse(&answer), read) {
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "what was answered is not HTTP or not whole"))
        }
    }
}
