//! One connection at the socket: a line in, an answer out, in order; many lines may be on their way.
//!
//! While answers of earlier lines are awaited the next ones are read, up to [`GROUPS_AT_ONCE`] groups of [`GROUP_MAX`] lines
//! and one more at hand. A line that is not ended within [`LINE_TIME_MAX`] ends the connection, so that a hanging caller
//! holds nothing for long. A line over the bound is answered and skipped.

use std::sync::Arc;
use std::time::Duration;

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
use super::lines::{Line, Lines};
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
const GROUPS_AT_ONCE: usize = 2;

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
    // Lines that were read and wait for their turn are here already.
    let mut held: Option<Received> = None;
    loop {
        let is_begun = lines.is_within_a_line();
        begun_at = if is_begun { begun_at.or_else(|| Some(Instant::now())) } else { None };
        let deadline = match begun_at {
            Some(begun_at) => begun_at + LINE_TIME_MAX,
            None => Instant::now() + IDLE_TIME_MAX,
        };
        let read = tokio::select! {
            () = stop.wait() => return,
            read = tokio::time::timeout_at(deadline, fill(&mut lines, &mut stream)) => read,
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
        let came = desk.records.receive();
        if lines.has_line(ended) {
            // What fell into the folder before these lines came goes first.
            drops.settle_if_stirred().await;
        }
        let mut has_taken = false;
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
            (begun_at, has_taken) = (None, true);
            if groups.send(submit(answers, submissions, received, desk)).await.is_err() {
                return;
            }
        }
        if ended {
            return;
        }
        // What is left is the beginning of a line: older than these bytes only if no line ended in them.
        let since = if has_taken { came } else { held.take().unwrap_or(came) };
        held = lines.is_within_a_line().then_some(since);
    }
}

async fn fill(lines: &mut Lines, stream: &mut ReadHalf<'_>) -> std::io::Result<usize> {
    stream.read_buf(lines.room()).await
}

/// Checks one line.
fn take(line: Line<'_>, peer: &Peer, desk: &Desk) -> Result<Submission, Box<AnswerLine>> {
    let bytes = match line {
        Line::Whole(bytes) => bytes,
        Line::TooLong => {
            desk.metrics.refuse("too_long");
            return refused(ErrorClass::Invalid, LineError::TooLong.to_string(), None);
        }
    };
    let mint = || EventId::mint(clock::now(), random::bytes());
    match intake::parse(bytes, mint) {
        Ok(parsed) => {
            if !desk.entrance.admits(parsed.token.as_ref()) {
                desk.metrics.refuse("denied");
                let why = "this agent asks for a token, and this is not it (HUME_TOKEN)";
                return refused(ErrorClass::Denied, why.to_owned(), Some("token"));
            }
            let reporter = peer.reporter(&parsed.draft.caller);
            if let Err(why) = desk.allows(&parsed.draft.task, &reporter.process, peer.gid()) {
                desk.metrics.refuse("denied");
                return refused(ErrorClass::Denied, why, Some("task"));
            }
            if let Err(why) = desk.may_report_for(parsed.draft.host.as_ref()) {
                desk.metrics.refuse("denied");
                return refused(ErrorClass::Denied, why, Some("host"));
            }
            if let Err(error) = desk.check_expectation(&parsed.draft) {
                desk.metrics.refuse("invalid");
                return refused(ErrorClass::Invalid, error.to_string(), Some(error.field));
            }
            if let Err(no_room) = desk.has_room(&reporter.process, bytes.len()) {
                let (class, reason) = no_room.class();
                desk.metrics.refuse(reason);
                return refused(class, no_room.to_string(), None);
            }
            Ok(desk.submission(parsed.draft, reporter))
        }
        Err(error) => {
            desk.metrics.refuse("invalid");
            refused(ErrorClass::Invalid, error.to_string(), error.field())
        }
    }
}

fn refused(class: ErrorClass, error: String, field: Option<&str>) -> Result<Submission, Box<AnswerLine>> {
    Err(Box::new(AnswerLine::refused(class, error, field)))
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
