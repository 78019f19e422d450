//! A stream of ours that takes bytes without ever waiting for its reader.
//!
//! What the reader does not take yet stays here; who fills it looks at [`Outlet::is_empty`] first, and so bounds it.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// What a pipe or terminal that is ready takes without waiting.
const PIECE_BYTES_MAX: usize = 4096;

/// How to write without waiting. Whether a file blocks is a matter between all processes that have it open, so the stream
/// that came from the caller is left as it is.
enum Way {
    /// A pipe or terminal, opened anew for ourselves.
    Anew(OwnedFd),
    /// A socket, which can be asked each time.
    Socket,
    /// A file or device: nobody is waited for.
    File,
    /// None of these: in small pieces, when there is room.
    Pieces,
}

/// One stream and what is still to be written to it.
pub(crate) struct Outlet {
    stream: BorrowedFd<'static>,
    way: Way,
    pending: Vec<u8>,
    written: usize,
    is_closed: bool,
    failure: Option<Errno>,
}

impl Outlet {
    /// Of this stream.
    pub(crate) fn new(stream: BorrowedFd<'static>) -> Outlet {
        let file_type = fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = match file_type {
            Ok(FileType::RegularFile) => Way::File,
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::CharacterDevice) if !rustix_isatty(stream) => Way::File,
            Ok(_) | Err(_) => opened_anew(stream).map_or(Way::Pieces, Way::Anew),
        };
        Outlet { stream, way, pending: Vec::new(), written: 0, is_closed: false, failure: None }
    }

    /// Everything has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Its reader is gone; nothing will ever be written again.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The first thing that went wrong beside a reader that is gone; the bytes concerned are lost.
    pub(crate) fn failure(&self) -> Option<Errno> {
        self.failure
    }

    /// What to wait on while it is not empty.
    pub(crate) fn waits_on(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Anew(own) => own.as_fd(),
            Way::Socket | Way::File | Way::Pieces => self.stream,
        }
    }

    /// Adds bytes and writes what can be written now.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.is_closed {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Writes what can be written now.
    pub(crate) fn flush(&mut self) {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.write(rest) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    self.is_closed = true;
                    break;
                }
                // A full disk may have room again for the next bytes.
                Err(errno) => {
                    self.failure.get_or_insert(errno);
                    break;
                }
            }
        }
        self.pending.clear();
        self.written = 0;
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match &self.way {
            Way::Anew(own) => rustix::io::write(own, bytes),
            Way::Socket => send(self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::File => rustix::io::write(self.stream, bytes),
            Way::Pieces if !is_ready(self.stream) => Err(Errno::AGAIN),
            Way::Pieces => rustix::io::write(self.stream, bytes.get(..PIECE_BYTES_MAX).unwrap_or(bytes)),
        }
    }
}

fn rustix_isatty(stream: BorrowedFd<'_>) -> bool {
    std::io::IsTerminal::is_terminal(&stream)
}

fn opened_anew(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", stream.as_raw_fd()), flags, Mode::empty()).ok()
}

fn is_ready(stream: BorrowedFd<'_>) -> bool {
    let at_once = Timespec::default();
    poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    /// Leaks the descriptor: the real ones live as long as the process, too.
    fn lasting(fd: impl Into<OwnedFd>) -> BorrowedFd<'static> {
        let leaked: &'static OwnedFd = Box::leak(Box::new(fd.into()));
        leaked.as_fd()
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for_and_gets_every_byte_in_the_end() {
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut pipe_reader, pipe) = std::io::pipe().unwrap();
        let (mut socket_reader, socket) = UnixStream::pair().unwrap();
        let (mut pieces_reader, pieces) = std::io::pipe().unwrap();
        let readers: [&mut dyn std::io::Read; 3] = [&mut pipe_reader, &mut socket_reader, &mut pieces_reader];
        let outlets = [
            Outlet::new(lasting(pipe)),
            Outlet::new(lasting(socket)),
            Outlet { way: Way::Pieces, ..Outlet::new(lasting(pieces)) },
        ];
        for (reader, mut outlet) in readers.into_iter().zip(outlets) {
            outlet.push(&bytes);
            assert!(!outlet.is_empty());
            let mut got = Vec::new();
            let mut chunk = vec![0; 50_000];
            while got.len() < bytes.len() {
                let count = reader.read(&mut chunk).unwrap();
                got.extend_from_slice(&chunk[..count]);
                outlet.flush();
            }
            assert!(got == bytes && outlet.is_empty());
        }
    }

    #[test]
    fn a_reader_that_is_gone_closes_it() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut outlet = Outlet::new(lasting(writer));
        outlet.push(b"x");
        assert!(outlet.is_closed() && outlet.is_empty());
        outlet.push(b"y");
        assert!(outlet.is_empty());
    }

    #[test]
    fn a_full_device_loses_the_bytes_and_says_so() {
        let mut outlet =
            Outlet::new(lasting(std::fs::File::options().write(true).open("/dev/full").unwrap()));
        outlet.push(b"x");
        assert!(outlet.is_empty() && !outlet.is_closed());
        assert_eq!(outlet.failure(), Some(Errno::NOSPC));
    }

    #[test]
    fn a_file_takes_everything_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut outlet = Outlet::new(lasting(file.reopen().unwrap()));
        outlet.push(&vec![7; 1 << 20]);
        assert!(outlet.is_empty());
        let mut got = Vec::new();
        file.reopen().unwrap().read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 1 << 20);
    }
}
