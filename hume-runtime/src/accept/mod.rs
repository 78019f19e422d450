//! The TLS accept loop of relay and web: a peer that is slow, silent or wrong costs the others nothing.
//!
//! Connections are taken from the kernel at a bounded rate; each handshake has its own task and a deadline. When all
//! handshake places are taken, newcomers wait in the kernel's queue; when all connections are taken, they are refused.
//! The certificate can be changed while the loop runs: each handshake takes the newest configuration.

mod bucket;
mod connection;
mod refusal;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::bucket::TokenBucket;
pub use self::connection::Connection;
pub use self::refusal::{Refusal, RefusalKind, RefusalLog};
use crate::task_group::Stop;

/// Handshaken connections that wait to be picked up.
const QUEUE_CONNECTIONS: usize = 64;
/// Unacknowledged data ends a connection after this time, in milliseconds.
const TCP_USER_TIMEOUT_MS: u32 = 60_000;
const ERROR_PAUSE_MIN: Duration = Duration::from_millis(50);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The limits of one accept loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Handshakes at the same time.
    pub handshakes_max: usize,
    /// A handshake must be done within this time.
    pub handshake_deadline: Duration,
    /// Connections taken from the kernel per second, and the burst.
    pub handshakes_per_second: u32,
    /// Open connections, those in their handshake included.
    pub connections_max: usize,
}

impl Default for AcceptLimits {
    fn default() -> AcceptLimits {
        AcceptLimits {
            handshakes_max: 64,
            handshake_deadline: Duration::from_secs(10),
            handshakes_per_second: 300,
            connections_max: 10_000,
        }
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// The encrypted stream.
    pub stream: Connection,
    /// Who connected.
    pub peer: SocketAddr,
    /// The verified certificates, the peer's own first; empty where none is asked for.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Gets every refused connection: counts it, and logs what [`RefusalLog`] lets through.
pub type OnRefusal = Arc<dyn Fn(Refusal) + Send + Sync>;

/// The loop, ready to run as a task of its own.
pub struct Acceptor {
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    limits: AcceptLimits,
    on_refusal: OnRefusal,
    accepted: mpsc::Sender<Accepted>,
}

/// An accept loop for `listener` and the receiver of its connections. When the receiver is dropped, the loop ends.
pub fn tls(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    limits: AcceptLimits,
    on_refusal: OnRefusal,
) -> (Acceptor, mpsc::Receiver<Accepted>) {
    let (accepted, receiver) = mpsc::channel(QUEUE_CONNECTIONS);
    (Acceptor { listener, config, limits, on_refusal, accepted }, receiver)
}

impl Acceptor {
    /// Accepts until `stop`; then closes the listener and drops unfinished handshakes.
    /// # Errors
    /// If nobody takes the connections any more.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.wait() => Ok(()),
            never = self.accept_forever() => match never {},
            () = self.accepted.closed() => if stop.is_set() {
                Ok(())
            } else {
                Err(anyhow::anyhow!("nobody takes accepted connections any more"))
            },
        }
    }

    async fn accept_forever(&self) -> Infallible {
        let AcceptLimits { handshakes_max, handshakes_per_second, connections_max, handshake_deadline: _ } =
            self.limits;
        let handshakes = Arc::new(Semaphore::new(handshakes_max.clamp(1, Semaphore::MAX_PERMITS)));
        let connections = Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        let mut bucket = TokenBucket::new(handshakes_per_second, Instant::now());
        let mut pause = ERROR_PAUSE_MIN;
        // Dropped with this future: no handshake outlives the loop.
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            let place = acquire(&handshakes).await;
            if let Some(wait) = bucket.take(Instant::now()) {
                tokio::time::sleep(wait).await;
            }
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.after_error(&error, &mut pause).await;
                    continue;
                }
            };
            pause = ERROR_PAUSE_MIN;
            match Arc::clone(&connections).try_acquire_owned() {
                Ok(open) => {
                    running.spawn(self.handshake(stream, peer, open, place));
                }
                Err(_) => (self.on_refusal)(Refusal {
                    peer,
                    kind: RefusalKind::TooMany,
                    reason: format!("{connections_max} connections are open"),
                }),
            }
        }
    }

    /// Out of file descriptors or memory: the connection stays in the kernel's queue, and asking again at once would
    /// only burn the processor.
    async fn after_error(&self, error: &io::Error, pause: &mut Duration) {
        if is_of_one_connection(error) {
            return;
        }
        if *pause == ERROR_PAUSE_MIN {
            tracing::warn!(%error, "could not accept a connection, trying again");
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(ERROR_PAUSE_MAX);
    }

    fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        open: OwnedSemaphorePermit,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let config = Arc::clone(&self.config.borrow());
        let (accepted, on_refusal) = (self.accepted.clone(), Arc::clone(&self.on_refusal));
        let deadline = self.limits.handshake_deadline;
        async move {
            let result = tokio::time::timeout(deadline, shake(stream, config)).await;
            let refusal = match result {
                Ok(Ok((stream, certificates))) => {
                    let stream = Connection::new(stream, open);
                    // The place is kept until somebody takes the connection: a slow consumer slows the loop.
                    let _ = accepted.send(Accepted { stream, peer, certificates }).await;
                    None
                }
                Ok(Err(error)) => Some(Refusal::from_handshake(peer, &error)),
                Err(_) => Some(Refusal {
                    peer,
                    kind: RefusalKind::Deadline,
                    reason: format!("the handshake was not done within {} ms", deadline.as_millis()),
                }),
            };
            drop(place);
            if let Some(refusal) = refusal {
                on_refusal(refusal);
            }
        }
    }
}

type Shaken = (tokio_rustls::server::TlsStream<TcpStream>, Vec<CertificateDer<'static>>);

async fn shake(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Shaken> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(&stream, TCP_USER_TIMEOUT_MS)?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    Ok((stream, certificates))
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("this semaphore is never closed")
}

/// Errors that concern a connection which went away while it waited, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests;
