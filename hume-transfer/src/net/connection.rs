//! One open connection, and one that is kept between deliveries.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use rustls::ProtocolVersion;
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::{NetError, Target, lasting, of_tls};
use crate::transfer::Trail;

/// A peer whose kernel does not confirm what it got for so long is taken for dead.
pub const UNCONFIRMED_TIME_MAX: Duration = Duration::from_secs(30);
/// An idle connection is tried after so long, so that no firewall forgets it and a dead peer is known.
pub const KEEPALIVE: Duration = Duration::from_mins(1);

/// So many round trips after a write, the reset of a peer that had gone is here.
const ROUND_TRIPS: u32 = 2;
/// Bounds of that time.
const GRACE_MIN: Duration = Duration::from_millis(1);
const GRACE_MAX: Duration = Duration::from_millis(200);
/// A peer that turns us away does so soon after it let us in: in TLS 1.3, and in programs that look at certificates themselves,
/// that is after the handshake.
const VERDICT_TIME_MAX: Duration = Duration::from_millis(200);
/// Time to read the farewell of a connection that is known to be closed.
const FAREWELL_TIME_MAX: Duration = Duration::from_millis(100);
/// At most so many times 1 KiB of what nobody asked for are read and thrown away at one time.
const STRAY_READS_MAX: usize = 64;

/// An open connection.
pub struct Connection {
    stream: Stream,
    at: String,
    round_trip: Duration,
    is_new: bool,
}

enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// No delays, and an end for what is never confirmed.
pub(super) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE)?;
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(UNCONFIRMED_TIME_MAX.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

impl Connection {
    pub(super) fn plain(at: String, tcp: TcpStream, round_trip: Duration) -> Connection {
        Connection { stream: Stream::Plain(tcp), at, round_trip, is_new: true }
    }

    pub(super) fn encrypted(at: String, tls: TlsStream<TcpStream>, round_trip: Duration) -> Connection {
        Connection { stream: Stream::Encrypted(Box::new(tls)), at, round_trip, is_new: true }
    }

    /// Writes all of it; the kernel has it then, the peer perhaps not. After an error the connection is of no more use.
    /// # Errors
    /// [`NetError::Broken`], [`NetError::Untrusted`], or [`NetError::Silent`] when `deadline` comes first.
    pub async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), NetError> {
        let written = match &mut self.stream {
            Stream::Plain(tcp) => timeout_at(deadline, tcp.write_all(bytes)).await,
            Stream::Encrypted(tls) => timeout_at(deadline, write_and_flush(tls, bytes)).await,
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(NetError::Silent { at: self.at.clone(), what: "take the data" }),
        }
    }

    /// Reads what there is, at least one byte and at most as many as `into` has.
    /// # Errors
    /// [`NetError::Closed`] at the end, [`NetError::Silent`] when `deadline` comes first, else as [`Connection::send`].
    pub async fn receive(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, NetError> {
        match timeout_at(deadline, self.stream.read(into)).await {
            Ok(Ok(0)) => Err(self.closed()),
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(NetError::Silent { at: self.at.clone(), what: "answer" }),
        }
    }

    /// Waits for `grace` whether the peer ends the connection. What it says is thrown away, so this is for peers that say nothing.
    /// # Errors
    /// [`NetError::Closed`], [`NetError::Broken`] or [`NetError::Untrusted`]: it did.
    pub async fn watch(&mut self, grace: Duration) -> Result<(), NetError> {
        let until = Instant::now() + grace;
        let mut stray = [0; 1024];
        for _ in 0..STRAY_READS_MAX {
            match timeout_at(until, self.stream.read(&mut stray)).await {
                Ok(Ok(0)) => return Err(self.closed()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.broken(&error)),
                Err(_) => break,
            }
        }
        if self.is_open() { Ok(()) } else { Err(self.farewell().await) }
    }

    /// How long to [`watch`](Connection::watch) after a write to see the reset of a peer that had gone before.
    pub fn grace(&mut self) -> Duration {
        if std::mem::take(&mut self.is_new) {
            return VERDICT_TIME_MAX;
        }
        (self.round_trip * ROUND_TRIPS).clamp(GRACE_MIN, GRACE_MAX)
    }

    /// Whether the kernel has heard of no end of it, neither in order nor by a reset.
    pub fn is_open(&self) -> bool {
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Encrypted(tls) => tls.get_ref().0,
        };
        let mut watched = [PollFd::new(tcp, PollFlags::RDHUP)];
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        match poll(&mut watched, Some(&Timespec::default())) {
            Ok(_) => !watched[0].revents().intersects(ended),
            // Then the next write tells.
            Err(_) => true,
        }
    }

    /// In TLS 1.3 the handshake is over for us before the peer has judged our certificate. Its first ticket or word says that it is
    /// content; one that gives out no tickets and says nothing is believed after a while.
    pub(super) async fn await_verdict(&mut self) -> Result<(), NetError> {
        let Stream::Encrypted(tls) = &mut self.stream else { return Ok(()) };
        if tls.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Ok(());
        }
        let word = poll_fn(|context| {
            let heard = match Pin::new(&mut *tls).poll_fill_buf(context) {
                Poll::Ready(heard) => Some(heard.map(<[u8]>::len)),
                Poll::Pending => None,
            };
            match heard {
                Some(heard) => Poll::Ready(heard),
                None if tls.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(1)),
                None => Poll::Pending,
            }
        });
        let grace = (self.round_trip * ROUND_TRIPS).max(VERDICT_TIME_MAX);
        match timeout(grace, word).await {
            Ok(Ok(0)) => Err(self.closed()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Why a connection ended that is known to have.
    async fn farewell(&mut self) -> NetError {
        let mut rest = [0; 1024];
        for _ in 0..STRAY_READS_MAX {
            match timeout(FAREWELL_TIME_MAX, self.stream.read(&mut rest)).await {
                Ok(Ok(0)) | Err(_) => break,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.broken(&error),
            }
        }
        self.closed()
    }

    fn closed(&self) -> NetError {
        NetError::Closed { at: self.at.clone() }
    }

    fn broken(&self, error: &io::Error) -> NetError {
        let at = self.at.clone();
        match of_tls(error).and_then(lasting) {
            Some(reason) => NetError::Untrusted { at, reason },
            None => NetError::Broken { at, reason: error.to_string() },
        }
    }
}

impl Stream {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(into).await,
            Stream::Encrypted(tls) => tls.read(into).await,
        }
    }
}

async fn write_and_flush(tls: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    tls.write_all(bytes).await?;
    tls.flush().await
}

/// A way to a peer that never answers: connected when there is something to send, and kept.
pub struct Pipe {
    target: Target,
    kept: Option<Connection>,
}

impl Pipe {
    /// Does not connect.
    pub fn new(target: Target) -> Pipe {
        Pipe { target, kept: None }
    }

    /// Sends all of it over the connection that is kept, or over a new one when that has ended. After an error, or when the future is
    /// dropped, the connection is gone, so that the next message never follows a part of one.
    /// # Errors
    /// [`NetError`]: some of it, or all, may not have arrived.
    pub async fn send(&mut self, bytes: &[u8], deadline: Instant, trail: &mut Trail) -> Result<(), NetError> {
        let mut connection = self.ready(deadline, trail).await?;
        connection.send(bytes, deadline).await?;
        let grace = connection.grace().min(deadline.saturating_duration_since(Instant::now()));
        connection.watch(grace).await?;
        trail.say(|| format!("sent {} bytes", bytes.len()));
        self.kept = Some(connection);
        Ok(())
    }

    async fn ready(&mut self, deadline: Instant, trail: &mut Trail) -> Result<Connection, NetError> {
        if let Some(mut connection) = self.kept.take() {
            match connection.watch(Duration::ZERO).await {
                Ok(()) => return Ok(connection),
                Err(error) => trail.say(|| format!("{error}: connecting again")),
            }
        }
        self.target.connect(deadline, trail).await
    }
}
