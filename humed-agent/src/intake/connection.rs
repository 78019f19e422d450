//! One connection at the socket: a line in, an answer out, in order; many lines may be on their way.
//!
//! While answers of earlier lines are awaited the next ones are read, up to [`GROUPS_AT_ONCE`] group of [`GROUP_MAX`] lines
//! and one more at hand. A line that is not ended within [`LINE_TIME_MAX`] ends the connection, so that a hanging caller
//! holds nothing for long. A line over the bound is answered and skipped.

use std::sync::Arc;
use std::time::Duration;

use hume_core::event::LINE_BYTES_MAX;
use hume_core::{ErrorClass, EventId};
use hume_proto::intake::{self, AnswerLine, LineError};
use hume_runtime::points::{self, Point};
use hume_runtime::task_group::Stop;
use hume_runtime::{clock, random};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::debug;

use super::Desk;
use super::drop_folder::DropFolder;
use super::peer::Peer;
use super::places::Place;
use crate::runs::{Answers, NotTaken, Receipt, Received, Submission};

/// A begun line must be ended within this time.
const LINE_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection without a begun line ends after this time.
const IDLE_TIME_MAX: Duration = Duration::from_hours(1);
/// An answer must be taken within this time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Lines of one connection that are submitted together.
const GROUP_MAX: usize = 512;
/// Groups of one connection that wait while an earlier one is answered; one more may be at hand.
const GROUPS_AT_ONCE: usize = 1;

/// Lines that were taken together, and what is to be answered: at once, or with the next of the answers that come.
struct Group {
    answers: Vec<Option<AnswerLine>>,
    coming: Option<oneshot::Receiver<Answers>>,
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
    let (reader, writer) = stream.split();
    let (groups, taken) = mpsc::channel(GROUPS_AT_ONCE);
    let read = read(reader, groups, &peer, &desk, &drops, &stop);
    let answer = answer(writer, taken, &desk);
    tokio::pin!(read, answer);
    tokio::select! {
        // What was submitted is still answered.
        () = &mut read => answer.await,
        // Whoever takes no answers is not listened to either.
        () = &mut answer => {}
    }
}

/// Takes lines until the caller, the time or the stop ends it.
async fn read(
    mut stream: ReadHalf<'_>,
    groups: mpsc::Sender<Group>,
    peer: &Peer,
    desk: &Desk,
    drops: &DropFolder,
    stop: &Stop,
) {
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
                    let _ = groups.send(Group { answers: vec![Some(answer)], coming: None }).await;
                }
                return;
            }
        };
        if lines.has_line(ended) {
            // What fell into the folder before these lines came goes first.
            drops.settle_if_stirred().await;
        }
        loop {
            let (mut answers, mut submissions) = (Vec::new(), Vec::new());
            let received = desk.records.receive();
            while answers.len() < GROUP_MAX
                && let Some(line) = lines.next(ended)
            {
                match take(line, peer, desk) {
                    Ok(submission) => {
                        submissions.push(submission);
                        answers.push(None);
                    }
                    Err(answer) => answers.push(Some(*answer)),
                }
            }
            if answers.is_empty() {
                break;
            }
            begun_at = None;
            if groups.send(submit(answers, submissions, received, desk)).await.is_err() {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

/// Checks one line.
fn take(line: Line<'_>, peer: &Peer, desk: &Desk) -> Result<Submission, Box<AnswerLine>> {
    let bytes = match line {
        Line::Whole(bytes) => bytes,
        Line::TooLong => {
            desk.metrics.refuse("too_long");
            return refused(LineError::TooLong.to_string(), None);
        }
    };
    let mint = || EventId::mint(clock::now(), random::bytes());
    match intake::parse(bytes, mint) {
        Ok(parsed) => {
            let reporter = peer.reporter(&parsed.draft.caller);
            Ok(desk.submission(parsed.draft, reporter))
        }
        Err(error) => {
            desk.metrics.refuse("invalid");
            refused(error.to_string(), error.field())
        }
    }
}

fn refused(error: String, field: Option<&str>) -> Result<Submission, Box<AnswerLine>> {
    Err(Box::new(AnswerLine::refused(ErrorClass::Invalid, error, field)))
}

/// Puts checked lines in line for the spool.
fn submit(
    mut answers: Vec<Option<AnswerLine>>,
    submissions: Vec<Submission>,
    received: Received,
    desk: &Desk,
) -> Group {
    if submissions.is_empty() {
        return Group { answers, coming: None };
    }
    match desk.records.submit(submissions, received) {
        Ok(coming) => Group { answers, coming: Some(coming) },
        Err(error) => {
            for answer in answers.iter_mut().filter(|answer| answer.is_none()) {
                *answer = Some(refusal(&error, desk));
            }
            Group { answers, coming: None }
        }
    }
}

/// Answers group after group, until there are no more or nobody takes an answer.
async fn answer(mut stream: WriteHalf<'_>, mut taken: mpsc::Receiver<Group>, desk: &Desk) {
    let mut text = Vec::new();
    while let Some(Group { answers, coming }) = taken.recv().await {
        let mut coming = match coming {
            Some(coming) => coming.await.unwrap_or_default(),
            None => Vec::new(),
        }
        .into_iter();
        text.clear();
        for answer in answers {
            let answer = answer.unwrap_or_else(|| settle(coming.next(), desk));
            // An answer holds nothing that has no JSON.
            if serde_json::to_writer(&mut text, &answer).is_err() {
                return;
            }
            text.push(b'\n');
        }
        let written = tokio::time::timeout(ANSWER_TIME_MAX, stream.write_all(&text)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
        points::reach(Point::AgentAfterReply);
    }
}

fn settle(answer: Option<Result<Receipt, NotTaken>>, desk: &Desk) -> AnswerLine {
    match answer {
        Some(Ok(receipt)) => {
            desk.metrics.accepted.inc();
            AnswerLine::stored(receipt.id, receipt.seq, receipt.run)
        }
        Some(Err(error)) => refusal(&error, desk),
        None => AnswerLine::refused(ErrorClass::Busy, "the agent is stopping", None),
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

/// One line without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Whole(&'a [u8]),
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
    async fn fill(&mut self, stream: &mut ReadHalf<'_>) -> std::io::Result<usize> {
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
    fn next(&mut self, ended: bool) -> Option<Line<'_>> {
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
            let from = self.taken;
            self.taken = (end + 1).min(self.bytes.len());
            self.searched = self.taken;
            let is_skipped = std::mem::take(&mut self.skipping);
            if is_skipped || self.bytes[from..end].iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = &self.bytes[from..end];
            let whole = line.strip_suffix(b"\r").unwrap_or(line);
            return Some(if whole.len() < LINE_BYTES_MAX { Line::Whole(whole) } else { Line::TooLong });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each line, or none for one that is too long.
    fn lines(chunks: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let owned = |line: Line<'_>| match line {
            Line::Whole(bytes) => Some(bytes.to_vec()),
            Line::TooLong => None,
        };
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            lines.bytes.drain(..lines.taken);
            lines.searched -= lines.taken;
            lines.taken = 0;
            lines.bytes.extend_from_slice(chunk);
            while let Some(line) = lines.next(false) {
                out.push(owned(line));
            }
            if index + 1 == chunks.len() {
                while let Some(line) = lines.next(true) {
                    out.push(owned(line));
                }
            }
        }
        out
    }

    #[test]
    fn lines_are_found_across_reads_and_the_last_needs_no_newline() {
        let whole = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines(&[b"a\nb", b"c\r\n\n \nd"]), [whole("a"), whole("bc"), whole("d")]);
    }

    #[test]
    fn a_line_over_the_bound_is_told_once_and_skipped_to_its_end() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&long, &long, b"xx\nnext\n"]), [None, Some(b"next".to_vec())]);
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
