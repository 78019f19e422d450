//! One connection at the socket: a line in, an answer out, in order; many lines may be on their way.
//!
//! A line that is not ended within [`LINE_TIME_MAX`] ends the connection, so that a hanging caller holds nothing for
//! long. A line over the bound is answered and skipped. What waits to be answered is bounded by [`LINES_AT_ONCE`].

use std::sync::Arc;
use std::time::Duration;

use hume_core::event::LINE_BYTES_MAX;
use hume_core::{ErrorClass, EventId};
use hume_proto::intake::{self, AnswerLine, LineError};
use hume_runtime::task_group::Stop;
use hume_runtime::{clock, random};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use super::Desk;
use super::drop_folder::DropFolder;
use super::peer::Peer;
use super::places::Place;
use crate::runs::{NotTaken, Receipt};

/// A begun line must be ended within this time.
const LINE_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection without a begun line ends after this time.
const IDLE_TIME_MAX: Duration = Duration::from_hours(1);
/// An answer must be taken within this time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Lines of one connection that are submitted before the first of them is answered.
const LINES_AT_ONCE: usize = 512;

/// An answer that is there, or one that comes after the commit.
enum Answer {
    Ready(AnswerLine),
    Coming(oneshot::Receiver<Result<Receipt, NotTaken>>),
}

/// A connection as it was accepted.
pub(super) struct Accepted {
    pub(super) stream: UnixStream,
    /// When, by the boot clock.
    pub(super) at_us: u64,
    /// Given back when the connection ends.
    pub(super) _place: Place,
}

pub(super) async fn serve(accepted: Accepted, desk: Arc<Desk>, drops: Arc<DropFolder>, stop: Stop) {
    let Accepted { mut stream, at_us, _place } = accepted;
    let peer = match Peer::read(&stream, &desk, at_us).await {
        Ok(peer) => peer,
        Err(error) => {
            debug!(%error, "the peer was gone before it could be asked who it is");
            return;
        }
    };
    let mut lines = Lines::default();
    // From the first byte of a line, however slowly the others come.
    let mut begun_at = None;
    loop {
        let is_begun = lines.is_within_a_line();
        begun_at = if is_begun { begun_at.or_else(|| Some(Instant::now())) } else { None };
        let deadline = match begun_at {
            Some(begun_at) => begun_at + LINE_TIME_MAX,
            None => Instant::now() + IDLE_TIME_MAX,
        };
        let read = tokio::select! {
            () = stop.wait() => return,
            read = tokio::time::timeout_at(deadline, lines.fill(&mut stream)) => read,
        };
        let ended = match read {
            Ok(Ok(0)) => true,
            Ok(Ok(_)) => false,
            Ok(Err(error)) => {
                debug!(%error, "the connection broke");
                return;
            }
            Err(_) => {
                // Whoever has begun no line asked for no answer.
                if is_begun {
                    desk.metrics.refuse("timeout");
                    let text = "the line was not ended in time";
                    let answer = AnswerLine::refused(ErrorClass::Busy, text, None);
                    let _ = write_answers(&mut stream, vec![answer]).await;
                }
                return;
            }
        };
        if lines.has_line(ended) {
            // What fell into the folder before these lines came goes first.
            drops.settle_if_stirred().await;
        }
        loop {
            let mut answers = Vec::new();
            while answers.len() < LINES_AT_ONCE
                && let Some(line) = lines.next(ended)
            {
                answers.push(take(line, &peer, &desk));
            }
            if answers.is_empty() {
                break;
            }
            begun_at = None;
            let mut ready = Vec::with_capacity(answers.len());
            for answer in answers {
                ready.push(settle(answer, &desk).await);
            }
            if write_answers(&mut stream, ready).await.is_err() {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

/// Checks one line and puts it in line for the spool.
fn take(line: Line, peer: &Peer, desk: &Desk) -> Answer {
    let bytes = match line {
        Line::Whole(bytes) => bytes,
        Line::TooLong => {
            desk.metrics.refuse("too_long");
            return Answer::Ready(AnswerLine::refused(
                ErrorClass::Invalid,
                LineError::TooLong.to_string(),
                None,
            ));
        }
    };
    let mint = || EventId::mint(clock::now(), random::bytes());
    match intake::parse(&bytes, mint) {
        Ok(parsed) => {
            let reporter = peer.reporter(&parsed.draft.caller);
            match desk.records.submit(desk.submission(parsed.draft, reporter)) {
                Ok(coming) => Answer::Coming(coming),
                Err(error) => Answer::Ready(refusal(&error, desk)),
            }
        }
        Err(error) => {
            desk.metrics.refuse("invalid");
            Answer::Ready(AnswerLine::refused(ErrorClass::Invalid, error.to_string(), error.field()))
        }
    }
}

async fn settle(answer: Answer, desk: &Desk) -> AnswerLine {
    match answer {
        Answer::Ready(line) => line,
        Answer::Coming(coming) => match coming.await {
            Ok(Ok(receipt)) => {
                desk.metrics.accepted.inc();
                AnswerLine::stored(receipt.id, receipt.seq, receipt.run)
            }
            Ok(Err(error)) => refusal(&error, desk),
            Err(_) => AnswerLine::refused(ErrorClass::Busy, "the agent is stopping", None),
        },
    }
}

fn refusal(error: &NotTaken, desk: &Desk) -> AnswerLine {
    desk.metrics.refuse(error.class.as_str());
    // The local protocol knows five codes; an agent that stops is busy to its callers.
    let class = match error.class {
        ErrorClass::Unavailable => ErrorClass::Busy,
        other => other,
    };
    AnswerLine::refused(class, error.to_string(), None)
}

async fn write_answers(stream: &mut UnixStream, answers: Vec<AnswerLine>) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(answers.len() * 128);
    for answer in answers {
        serde_json::to_writer(&mut text, &answer)?;
        text.push(b'\n');
    }
    tokio::time::timeout(ANSWER_TIME_MAX, stream.write_all(&text))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

/// One line without its newline.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Bytes that were read and not yet taken as lines; never holds more than one line's bound and one read.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    taken: usize,
    /// Where to go on looking for a newline.
    searched: usize,
    /// Within a line that is over the bound: skip to its end.
    skipping: bool,
}

impl Lines {
    async fn fill(&mut self, stream: &mut UnixStream) -> std::io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.reserve(64 * 1024);
        stream.read_buf(&mut self.bytes).await
    }

    fn is_within_a_line(&self) -> bool {
        self.skipping || self.taken < self.bytes.len()
    }

    /// True when [`next`](Self::next) may have something.
    fn has_line(&self, ended: bool) -> bool {
        let bytes = self.bytes.get(self.taken..).unwrap_or_default();
        if ended { !bytes.is_empty() } else { bytes.contains(&b'\n') }
    }

    /// The next line; with `ended`, what is left without a newline is a line too. Blank lines are skipped.
    fn next(&mut self, ended: bool) -> Option<Line> {
        loop {
            let newline = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
            let end = match newline {
                Some(offset) => self.searched + offset,
                None if ended && self.taken < self.bytes.len() => self.bytes.len(),
                None => {
                    self.searched = self.bytes.len();
                    if self.bytes.len() - self.taken < LINE_BYTES_MAX {
                        return None;
                    }
                    self.taken = self.bytes.len();
                    if std::mem::replace(&mut self.skipping, true) {
                        return None;
                    }
                    return Some(Line::TooLong);
                }
            };
            let line = &self.bytes[self.taken..end];
            let whole = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
            self.taken = (end + 1).min(self.bytes.len());
            self.searched = self.taken;
            if std::mem::take(&mut self.skipping) || whole.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Some(if whole.len() < LINE_BYTES_MAX { Line::Whole(whole) } else { Line::TooLong });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            lines.bytes.drain(..lines.taken);
            lines.searched -= lines.taken;
            lines.taken = 0;
            lines.bytes.extend_from_slice(chunk);
            while let Some(line) = lines.next(false) {
                out.push(line);
            }
            if index + 1 == chunks.len() {
                while let Some(line) = lines.next(true) {
                    out.push(line);
                }
            }
        }
        out
    }

    #[test]
    fn lines_are_found_across_reads_and_the_last_needs_no_newline() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(lines(&[b"a\nb", b"c\r\n\n \nd"]), [whole("a"), whole("bc"), whole("d")]);
    }

    #[test]
    fn a_line_over_the_bound_is_told_once_and_skipped_to_its_end() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&long, &long, b"xx\nnext\n"]), [Line::TooLong, Line::Whole(b"next".to_vec())]);
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r'), Just(b' ')], 0..200),
            cut in 0usize..200,
        ) {
            let cut = cut.min(text.len());
            prop_assert_eq!(lines(&[&text]), lines(&[&text[..cut], &text[cut..]]));
        }
    }
}
