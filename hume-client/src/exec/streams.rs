//! The command's output on its way to ours: every byte in order, the last of them remembered, and nobody waited for.
//!
//! A stream that is full on our side is not read on the command's, so the command waits as it would without us; the agent
//! has no part in it. Held are at most one read for each stream, what was in the pipes when the command ended, and, when
//! the run is to be silent unless it fails, what [`Held`] holds.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_setfl, fstat};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{stderr, stdout};

use super::child::Ends;
use super::held::{Held, Piece, Stream};
use super::rest;
use super::tail::Tail;
use crate::outlet::Outlet;

/// Most bytes read at once: what a pipe holds.
const READ_BYTES_MAX: usize = 64 * 1024;

/// What becomes of the command's output.
enum Manner {
    /// It is passed on as it comes.
    Pass,
    /// It is held until it is known how the command ends.
    Hold(Held),
    /// It is remembered only.
    Discard,
}

struct Source {
    pipe: OwnedFd,
    stream: Stream,
}

/// Both streams of the command.
pub(super) struct Streams {
    sources: Vec<Source>,
    out: Outlet,
    err: Outlet,
    tail: Tail,
    manner: Manner,
    /// Pieces that were held and are to be passed on before anything else, one after the other.
    queue: VecDeque<Piece>,
    is_captured: bool,
    chunk: Vec<u8>,
}

/// What of the output is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Bytes of its tail.
    pub(super) tail_bytes: usize,
    /// It is to be silent unless it fails.
    pub(super) is_chronic: bool,
}

impl Streams {
    /// The pipes for what is wanted, and the ends for the command. A terminal is left to the command unless the run is to
    /// be silent; so is everything when no byte is wanted, and what the system has no pipe for.
    pub(super) fn new(wanted: Wanted) -> (Streams, Ends) {
        let Wanted { tail_bytes, is_chronic } = wanted;
        let is_wanted = |is_terminal: bool| is_chronic || (tail_bytes > 0 && !is_terminal);
        let (wants_out, wants_err) =
            (is_wanted(std::io::stdout().is_terminal()), is_wanted(std::io::stderr().is_terminal()));
        let mut sources = Vec::new();
        let mut captured = |stream| {
            let (ours, theirs) = pipe().ok()?;
            sources.push(Source { pipe: ours, stream });
            Some(theirs)
        };
        let out = if wants_out { captured(Stream::Out) } else { None };
        let err = match &out {
            // One pipe where both go to one place anyway, so that their order there stays exact.
            Some(out) if wants_err && is_same_file(stdout(), stderr()) => out.try_clone().ok(),
            Some(_) | None if wants_err => captured(Stream::Err),
            Some(_) | None => None,
        };
        let is_captured = !sources.is_empty();
        let streams = Streams {
            sources,
            out: Outlet::new(stdout()),
            err: Outlet::new(stderr()),
            tail: Tail::new(tail_bytes),
            manner: if is_chronic { Manner::Hold(Held::default()) } else { Manner::Pass },
            queue: VecDeque::new(),
            is_captured,
            chunk: if is_captured { vec![0; READ_BYTES_MAX] } else { Vec::new() },
        };
        (streams, [out, err])
    }

    /// What there is to wait for.
    pub(super) fn wait_on<'a>(&'a self, waits: &mut Vec<PollFd<'a>>) {
        let wanted = self.sources.iter().filter(|source| self.wants(source.stream));
        waits.extend(wanted.map(|source| PollFd::new(&source.pipe, PollFlags::IN)));
        for outlet in [&self.out, &self.err].into_iter().filter(|outlet| !outlet.is_empty()) {
            waits.push(PollFd::from_borrowed_fd(outlet.waits_on(), PollFlags::OUT));
        }
    }

    /// Moves on what can be moved on now.
    pub(super) fn turn(&mut self) {
        self.out.flush();
        self.err.flush();
        while self.out.is_empty()
            && self.err.is_empty()
            && let Some(piece) = self.queue.pop_front()
        {
            self.outlet(piece.stream).push(&piece.bytes);
        }
        let mut index = 0;
        while let Some(source) = self.sources.get(index) {
            let stream = source.stream;
            let has_ended = self.wants(stream) && self.read(index, READ_BYTES_MAX).is_none();
            // Where our reader is gone, the command's next write is to fail, as it would without us.
            if has_ended || self.outlet_of(stream).is_closed() {
                self.sources.remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Takes what the command has written up to now: called when it has ended, so that nothing of it is missing in the tail.
    pub(super) fn drain(&mut self) {
        for index in 0..self.sources.len() {
            let mut left = ioctl_fionread(&self.sources[index].pipe).unwrap_or(0);
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES_MAX);
                match self.read(index, most) {
                    Some(count) if count > 0 => left = left.saturating_sub(count as u64),
                    Some(_) | None => break,
                }
            }
        }
    }

    /// Passes on what was held, and from then on everything.
    pub(super) fn release(&mut self) {
        if let Manner::Hold(held) = std::mem::replace(&mut self.manner, Manner::Pass) {
            self.queue = held.into_pieces();
        }
    }

    /// Lets go of what was held, and passes nothing on.
    pub(super) fn discard(&mut self) {
        if let Manner::Hold(_) = self.manner {
            self.manner = Manner::Discard;
        }
    }

    /// Everything that was read has been passed on.
    pub(super) fn is_passed_on(&self) -> bool {
        self.queue.is_empty() && self.out.is_empty() && self.err.is_empty()
    }

    /// Leaves the output of those who still hold it, if there are any, to somebody else.
    pub(super) fn leave_rest(&mut self) {
        for Source { pipe, stream } in self.sources.drain(..) {
            let ours = match (&self.manner, stream) {
                (Manner::Pass, Stream::Out) => stdout().try_clone_to_owned().map(Stdio::from),
                (Manner::Pass, Stream::Err) => stderr().try_clone_to_owned().map(Stdio::from),
                (Manner::Hold(_) | Manner::Discard, _) => Ok(Stdio::null()),
            };
            // Without /proc the pipe closes here, and whoever writes to it finds that out.
            let _ = ours.and_then(|ours| rest::leave(pipe, ours));
        }
    }

    /// The last bytes of the output.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// How many bytes there were, when they were looked at.
    pub(super) fn output_bytes(&self) -> Option<u64> {
        self.is_captured.then(|| self.tail.bytes_total())
    }

    /// What went wrong while passing on, beside a reader that was gone.
    pub(super) fn failure(&self) -> Option<Errno> {
        self.out.failure().or(self.err.failure())
    }

    fn wants(&self, stream: Stream) -> bool {
        match self.manner {
            Manner::Pass => self.queue.is_empty() && self.outlet_of(stream).is_empty(),
            Manner::Hold(_) | Manner::Discard => true,
        }
    }

    /// Reads once, at most so much: how much that was, none at the end.
    fn read(&mut self, index: usize, bytes_max: usize) -> Option<usize> {
        let source = self.sources.get(index)?;
        let stream = source.stream;
        let room = self.chunk.get_mut(..bytes_max)?;
        match rustix::io::read(&source.pipe, room) {
            Ok(0) => None,
            Ok(count) => {
                let bytes = self.chunk.get(..count)?;
                self.tail.push(bytes);
                match &mut self.manner {
                    Manner::Pass => match stream {
                        Stream::Out => self.out.push(bytes),
                        Stream::Err => self.err.push(bytes),
                    },
                    Manner::Hold(held) => held.push(stream, bytes),
                    Manner::Discard => {}
                }
                Some(count)
            }
            Err(Errno::AGAIN | Errno::INTR) => Some(0),
            Err(_) => None,
        }
    }

    fn outlet_of(&self, stream: Stream) -> &Outlet {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    fn outlet(&mut self, stream: Stream) -> &mut Outlet {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// Our end, which never blocks, and the command's, which does as any.
fn pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let file = |fd: BorrowedFd<'_>| fstat(fd.as_fd()).map(|stat| (stat.st_dev, stat.st_ino, stat.st_rdev));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}
