//! A service manager as small as a test needs: it hears what a daemon tells it, and holds a socket open for it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::wait::SOON;

/// Longer than any message of a daemon.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Hears one daemon.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: VecDeque<String>,
}

impl Manager {
    /// Listens in this folder.
    pub fn new(folder: &Path) -> Manager {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket can be bound in the site's folder");
        Manager { socket, path, heard: VecDeque::new() }
    }

    /// Is told of this daemon from its next start on, and waits for signs of life that are at most so far apart.
    pub fn look_after(&self, daemon: &Daemon, watchdog: Option<Duration>) {
        daemon.set_variable("NOTIFY_SOCKET", &self.path.display().to_string());
        if let Some(time) = watchdog {
            daemon.set_variable("WATCHDOG_USEC", &time.as_micros().to_string());
        }
    }

    /// The next message with this beginning of a line; those before it are gone. The rest of the line.
    #[track_caller]
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            while let Some(line) = self.heard.pop_front() {
                if let Some(rest) = line.strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(self.hear(left), "gave up waiting until the daemon tells {beginning:?}");
        }
    }

    /// Waits until no line with this beginning has come for so long, as a service manager does before it acts.
    #[track_caller]
    pub fn wait_for_silence(&mut self, beginning: &str, time: Duration) {
        let deadline = Instant::now() + SOON + time;
        let mut silent_since = Instant::now();
        loop {
            while let Some(line) = self.heard.pop_front() {
                if line.starts_with(beginning) {
                    silent_since = Instant::now();
                }
            }
            let left = time.saturating_sub(silent_since.elapsed());
            if left.is_zero() {
                return;
            }
            assert!(Instant::now() < deadline, "the daemon goes on telling {beginning:?}");
            self.hear(left);
        }
    }

    /// Whether it was told nothing at all so far.
    pub fn heard_nothing(&mut self) -> bool {
        self.heard.is_empty() && !self.hear(Duration::from_millis(1))
    }

    /// Takes the next message, if one comes in time.
    fn hear(&mut self, time: Duration) -> bool {
        // Zero would be no limit.
        let time = time.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(time)).expect("a time can be set");
        let mut message = [0_u8; MESSAGE_BYTES_MAX];
        match self.socket.recv(&mut message) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
                self.heard.extend(text.lines().map(str::to_owned));
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => unreachable!("a datagram can be received: {error}"),
        }
    }
}

/// Opens the socket at `path` as a service manager does, and gives it to the daemon at each of its starts from now on. It is
/// closed with the daemon's owner.
pub fn hold_open(daemon: &Daemon, path: &Path) {
    let folder = path.parent().expect("a socket is in a folder");
    std::fs::create_dir_all(folder).expect("a folder can be made");
    daemon.activate(UnixListener::bind(path).expect("a socket can be bound in the site's folder"));
}
