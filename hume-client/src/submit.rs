//! One line to the agent, one answer back: stored for certain, refused for a reason, or not known.
//!
//! Connecting, sending and the answer together take no longer than the time limit. An answer has at most
//! [`ANSWER_BYTES_MAX`] bytes, the path of the socket at most [`SOCKET_PATH_BYTES_MAX`].

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hume_core::event::LINE_BYTES_MAX;
use hume_core::{ErrorClass, EventId, RunId};
use hume_proto::intake::{AnswerLine, DraftLine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

/// Longest path of a Unix socket, in bytes: the kernel's limit.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the agent said of an event that it has on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: Option<EventId>,
    /// Its place in the agent's spool.
    pub seq: Option<u64>,
    /// The run it was placed in.
    pub run: Option<RunId>,
}

/// The event is not known to be stored.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// No Unix socket can have such a path.
    #[error(
        "the socket path {} has {} bytes; a Unix socket has at most {SOCKET_PATH_BYTES_MAX}", path.display(),
        path.as_os_str().len()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The draft is longer than a line may be.
    #[error("the event has {bytes} bytes; a line has at most {LINE_BYTES_MAX}")]
    LineTooLong {
        /// Its length as JSON, with the newline.
        bytes: usize,
    },
    /// Nobody listens there.
    #[error("no agent at {}: {source}", path.display())]
    NoAgent {
        /// The path of the socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent did not answer within the time limit. It may have stored the event, or still do so.
    #[error("no answer from the agent within {} ms", limit.as_millis())]
    NoAnswer {
        /// The time limit.
        limit: Duration,
    },
    /// The connection ended before the answer did. The agent may have stored the event.
    #[error("the connection to the agent broke: {0}")]
    Broken(#[source] io::Error),
    /// What came back was no line of the local protocol.
    #[error("the answer was not one of a hume agent")]
    Garbled,
    /// The agent did not take the event, and said why.
    #[error("the agent answered {}: {error}", class.as_str())]
    Refused {
        /// What can be done about it.
        class: ErrorClass,
        /// What was wrong, in the agent's words.
        error: String,
        /// Which field was wrong.
        field: Option<String>,
    },
}

impl SubmitError {
    /// What can be done about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            SubmitError::LineTooLong { .. } => ErrorClass::Invalid,
            SubmitError::PathTooLong { .. }
            | SubmitError::NoAgent { .. }
            | SubmitError::NoAnswer { .. }
            | SubmitError::Broken(_)
            | SubmitError::Garbled => ErrorClass::Unavailable,
            SubmitError::Refused { class, .. } => *class,
        }
    }

    /// True when the same event may be stored some other way, or later: the agent did not judge it.
    pub fn may_retry(&self) -> bool {
        match self.class() {
            ErrorClass::Invalid | ErrorClass::Unauthenticated | ErrorClass::Denied => false,
            ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::Full
            | ErrorClass::Busy
            | ErrorClass::Unavailable
            | ErrorClass::Internal => true,
        }
    }
}

/// Hands one event to the agent at `socket` and returns once it is on the agent's disk. Blocks for `timeout` at most.
/// With an id in `line` (see [`stamped`](crate::stamped)) trying again is harmless: the agent stores it once.
///
/// # Errors
/// [`SubmitError`]; after `NoAnswer`, `Broken` and `Garbled` the event may be stored or not.
pub fn submit(line: &DraftLine, socket: &Path, timeout: Duration) -> Result<Receipt, SubmitError> {
    let mut bytes = serde_json::to_vec(line).map_err(|_| SubmitError::LineTooLong { bytes: usize::MAX })?;
    bytes.push(b'\n');
    if bytes.len() > LINE_BYTES_MAX {
        return Err(SubmitError::LineTooLong { bytes: bytes.len() });
    }
    let time = TimeLimit { started: Instant::now(), limit: timeout };
    let connection = open(socket, &time)?;
    send_all(&connection, &bytes, &time)?;
    let answer = receive(&connection, &time)?;
    let answer: AnswerLine = serde_json::from_slice(&answer).map_err(|_| SubmitError::Garbled)?;
    if answer.ok {
        return Ok(Receipt { id: answer.id, seq: answer.seq, run: answer.run });
    }
    Err(SubmitError::Refused {
        class: answer.class().unwrap_or(ErrorClass::Internal),
        error: answer.error.unwrap_or_else(|| "no reason given".to_owned()),
        field: answer.field,
    })
}

/// One limit for everything that waits.
struct TimeLimit {
    started: Instant,
    limit: Duration,
}

impl TimeLimit {
    /// What is left of it.
    fn left(&self) -> Result<Duration, SubmitError> {
        match self.limit.checked_sub(self.started.elapsed()) {
            Some(left) if !left.is_zero() => Ok(left),
            Some(_) | None => Err(SubmitError::NoAnswer { limit: self.limit }),
        }
    }

    /// Waits until the connection is ready for `what`.
    fn wait_for(&self, connection: &OwnedFd, what: PollFlags) -> Result<(), SubmitError> {
        loop {
            let left = Timespec::try_from(self.left()?).ok();
            match poll(&mut [PollFd::new(connection, what)], left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(SubmitError::Broken(errno.into())),
            }
        }
    }
}

/// A connection to the agent. The kernel holds a caller whose listener has a full queue for as long as the socket's
/// send time-out says; a socket that does not block could only ask again and again.
fn open(path: &Path, time: &TimeLimit) -> Result<OwnedFd, SubmitError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        return Err(SubmitError::PathTooLong { path: path.to_owned() });
    }
    let no_agent = |errno: Errno| SubmitError::NoAgent { path: path.to_owned(), source: errno.into() };
    let address = SocketAddrUnix::new(path).map_err(no_agent)?;
    let connection =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(no_agent)?;
    loop {
        set_socket_timeout(&connection, Timeout::Send, Some(time.left()?)).map_err(no_agent)?;
        match connect(&connection, &address) {
            Ok(()) => return Ok(connection),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(no_agent(errno)),
        }
    }
}

fn send_all(connection: &OwnedFd, bytes: &[u8], time: &TimeLimit) -> Result<(), SubmitError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match send(connection, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::AGAIN) => time.wait_for(connection, PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            // An agent that says no before it has read all closes its end: its reason is still there to be read.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(errno) => return Err(SubmitError::Broken(errno.into())),
        }
    }
    Ok(())
}

/// The answer, without its newline.
fn receive(connection: &OwnedFd, time: &TimeLimit) -> Result<Vec<u8>, SubmitError> {
    let mut answer = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        time.wait_for(connection, PollFlags::IN)?;
        let count = match recv(connection, &mut chunk, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                let end = io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed without an answer");
                return Err(SubmitError::Broken(end));
            }
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(errno) => return Err(SubmitError::Broken(errno.into())),
        };
        let read = chunk.get(..count).unwrap_or_default();
        let end = read.iter().position(|byte| *byte == b'\n');
        answer.extend_from_slice(read.get(..end.unwrap_or(count)).unwrap_or_default());
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(SubmitError::Garbled);
        }
        if end.is_some() {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests;
