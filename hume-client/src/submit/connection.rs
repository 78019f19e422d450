//! One connection to the agent: lines out, answers back in the same order, and no wait beyond its time limit.
//!
//! An answer has at most [`ANSWER_BYTES_MAX`] bytes. What the kernel takes or gives without waiting can be had alone, for
//! callers that have other things to wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hume_proto::intake::AnswerLine;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use super::{ANSWER_BYTES_MAX, SOCKET_PATH_BYTES_MAX, SubmitError};

/// Room for one read. It is not cleared first: that would cost more than all the reading.
const READ_BYTES: usize = 4096;

/// One limit for everything that waits.
#[derive(Clone, Copy)]
pub(crate) struct TimeLimit {
    started: Instant,
    limit: Duration,
}

impl TimeLimit {
    /// A limit that runs from now on.
    pub(crate) fn new(limit: Duration) -> TimeLimit {
        TimeLimit { started: Instant::now(), limit }
    }

    /// What is left of it.
    fn left(&self) -> Result<Duration, SubmitError> {
        match self.limit.checked_sub(self.started.elapsed()) {
            Some(left) if !left.is_zero() => Ok(left),
            Some(_) | None => Err(SubmitError::NoAnswer { limit: self.limit }),
        }
    }

    /// Waits until the connection is ready for `what`.
    fn wait_for(&self, socket: &OwnedFd, what: PollFlags) -> Result<(), SubmitError> {
        loop {
            let left = Timespec::try_from(self.left()?).ok();
            match poll(&mut [PollFd::new(socket, what)], left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(SubmitError::Broken(errno.into())),
            }
        }
    }
}

/// A connection to the agent, and what was read of it and not yet taken.
pub(crate) struct Connection {
    socket: OwnedFd,
    unread: Vec<u8>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// Opens one. The kernel holds a caller whose listener has a full queue for as long as the socket's send time-out
    /// says; a socket that does not block could only ask again and again.
    pub(crate) fn open(path: &Path, time: &TimeLimit) -> Result<Connection, SubmitError> {
        let socket = socket(path, SocketFlags::CLOEXEC)?;
        let address = address(path)?;
        loop {
            set_socket_timeout(&socket, Timeout::Send, Some(time.left()?)).map_err(|e| no_agent(path, e))?;
            match connect(&socket, &address) {
                Ok(()) => return Ok(Connection { socket, unread: Vec::new() }),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(no_agent(path, errno)),
            }
        }
    }

    /// Opens one if the agent can take it now.
    pub(crate) fn open_at_once(path: &Path) -> Result<Connection, SubmitError> {
        let socket = socket(path, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        connect(&socket, &address(path)?).map_err(|errno| no_agent(path, errno))?;
        Ok(Connection { socket, unread: Vec::new() })
    }

    /// Sends all of it.
    pub(crate) fn send(&self, bytes: &[u8], time: &TimeLimit) -> Result<(), SubmitError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => time.wait_for(&self.socket, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                // An agent that says no before it has read all closes its end: its reason is still there to be read.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(SubmitError::Broken(errno.into())),
            }
        }
        Ok(())
    }

    /// Sends what the kernel takes without waiting, and says how much that was.
    pub(crate) fn send_at_once(&self, bytes: &[u8]) -> Result<usize, SubmitError> {
        loop {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(SubmitError::Broken(errno.into())),
            }
        }
    }

    /// The next answer.
    pub(crate) fn answer(&mut self, time: &TimeLimit) -> Result<AnswerLine, SubmitError> {
        loop {
            if let Some(answer) = self.taken()? {
                return Ok(answer);
            }
            time.wait_for(&self.socket, PollFlags::IN)?;
            self.read()?;
        }
    }

    /// The next answer, if it has come.
    pub(crate) fn answer_at_once(&mut self) -> Result<Option<AnswerLine>, SubmitError> {
        loop {
            if let Some(answer) = self.taken()? {
                return Ok(Some(answer));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// The first whole answer of what was read.
    fn taken(&mut self) -> Result<Option<AnswerLine>, SubmitError> {
        let end = self.unread.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(self.unread.len()) > ANSWER_BYTES_MAX {
            return Err(SubmitError::Garbled);
        }
        let Some(end) = end else { return Ok(None) };
        let line = self.unread.get(..end).unwrap_or_default();
        let answer = serde_json::from_slice(line).map_err(|_| SubmitError::Garbled)?;
        self.unread.drain(..=end);
        Ok(Some(answer))
    }

    /// Reads once; says whether anything had come.
    fn read(&mut self) -> Result<bool, SubmitError> {
        self.unread.reserve(READ_BYTES);
        match recv(&self.socket, spare_capacity(&mut self.unread), RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                let end = io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed without an answer");
                Err(SubmitError::Broken(end))
            }
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(SubmitError::Broken(errno.into())),
        }
    }
}

fn no_agent(path: &Path, errno: Errno) -> SubmitError {
    SubmitError::NoAgent { path: path.to_owned(), source: errno.into() }
}

fn address(path: &Path) -> Result<SocketAddrUnix, SubmitError> {
    SocketAddrUnix::new(path).map_err(|errno| no_agent(path, errno))
}

fn socket(path: &Path, flags: SocketFlags) -> Result<OwnedFd, SubmitError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        return Err(SubmitError::PathTooLong { path: path.to_owned() });
    }
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|errno| no_agent(path, errno))
}
