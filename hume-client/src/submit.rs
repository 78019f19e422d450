//! One line to the agent, one answer back: stored for certain, refused for a reason, or not known.
//!
//! Connecting, sending and the answer together take no longer than the time limit. An answer has at most
//! [`ANSWER_BYTES_MAX`] bytes, the path of the socket at most [`SOCKET_PATH_BYTES_MAX`].

mod connection;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use connection::{Connection, TimeLimit};
use hume_core::event::LINE_BYTES_MAX;
use hume_core::{ErrorClass, EventId, RunId};
use hume_proto::intake::{AnswerLine, DraftLine};

/// Longest path of a Unix socket, in bytes: the kernel's limit.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Most lines need no more room than this, so they grow into it without being moved.
const LINE_BYTES_USUAL: usize = 1024;

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

    /// The same, for one more event that it is the fate of.
    pub(crate) fn again(&self) -> SubmitError {
        let same = |source: &io::Error| match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            SubmitError::PathTooLong { path } => SubmitError::PathTooLong { path: path.clone() },
            SubmitError::LineTooLong { bytes } => SubmitError::LineTooLong { bytes: *bytes },
            SubmitError::NoAgent { path, source } => {
                SubmitError::NoAgent { path: path.clone(), source: same(source) }
            }
            SubmitError::NoAnswer { limit } => SubmitError::NoAnswer { limit: *limit },
            SubmitError::Broken(source) => SubmitError::Broken(same(source)),
            SubmitError::Garbled => SubmitError::Garbled,
            SubmitError::Refused { class, error, field } => {
                SubmitError::Refused { class: *class, error: error.clone(), field: field.clone() }
            }
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
    let bytes = encoded(line)?;
    let time = TimeLimit::new(timeout);
    let mut connection = Connection::open(socket, &time)?;
    connection.send(&bytes, &time)?;
    judged(connection.answer(&time)?)
}

/// The draft as a line of the local protocol.
pub(crate) fn encoded(line: &DraftLine) -> Result<Vec<u8>, SubmitError> {
    let mut bytes = Vec::with_capacity(LINE_BYTES_USUAL);
    serde_json::to_writer(&mut bytes, line).map_err(|_| SubmitError::LineTooLong { bytes: usize::MAX })?;
    bytes.push(b'\n');
    if bytes.len() > LINE_BYTES_MAX {
        return Err(SubmitError::LineTooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// What an answer says of its event.
pub(crate) fn judged(answer: AnswerLine) -> Result<Receipt, SubmitError> {
    if answer.ok {
        return Ok(Receipt { id: answer.id, seq: answer.seq, run: answer.run });
    }
    Err(SubmitError::Refused {
        class: answer.class().unwrap_or(ErrorClass::Internal),
        error: answer.error.unwrap_or_else(|| "no reason given".to_owned()),
        field: answer.field,
    })
}

#[cfg(test)]
mod tests;
