//! The TLS accept loop of relay and web: a peer that is slow, silent or wrong costs the others nothing.
//!
//! Connections are taken from the kernel at all times, at a bounded rate. Whoever has not said its first words waits in
//! a room that costs a file descriptor and little else, and goes when others want its place; only who has said them takes
//! part in the handshakes, of which so many begin per second and so many are under way (`room.rs` has the rules,
//! `hall.rs` acts). The certificate can be changed while the loop runs: each handshake takes the newest configuration.

mod bucket;
mod connection;
mod hall;
mod pause;
mod places;
mod refusal;
mod room;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use self::bucket::TokenBucket;
pub use self::connection::Connection;
use self::hall::{Hall, Host};
use self::pause::Pause;
pub use self::refusal::{Refusal, RefusalKind, RefusalLog};
use crate::task_group::Stop;

/// Handshaken connections that wait to be picked up.
const QUEUE_CONNECTIONS: usize = 64;
/// Without file descriptors so many silent peers go at once.
const GONE_AFTER_ERROR: usize = 64;

/// The limits of one accept loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections taken from the kernel per second, and the burst.
    pub accepts_per_second: u32,
    /// Connections before their handshake: those that have said nothing, and those that wait for their turn.
    pub waiting_max: usize,
    /// Handshakes at the same time.
    pub handshakes_max: usize,
    /// Handshakes that begin per second, and the burst.
    pub handshakes_per_second: u32,
    /// A peer must say its first words within this time, and a handshake must be done within it.
    pub handshake_deadline: Duration,
    /// Open connections, those in their handshake included.
    pub connections_max: usize,
    /// Of these, from one address (64 bits of IPv6).
    pub connections_of_address_max: usize,
}

impl Default for AcceptLimits {
    fn default() -> AcceptLimits {
        AcceptLimits {
            accepts_per_second: 1000,
            waiting_max: 4096,
            handshakes_max: 1024,
            handshakes_per_second: 300,
            handshake_deadline: Duration::from_secs(10),
            connections_max: 10_000,
            connections_of_address_max: 10_000,
        }
    }
}

/// A connection whose handshake is done: of the accept loop, or of a simulated network.
#[derive(Debug)]
pub struct Accepted<S = Connection> {
    /// The encrypted stream.
    pub stream: S,
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
        let mut hall = Hall::new(self.host(), self.limits, now());
        let mut bucket = TokenBucket::new(self.limits.accepts_per_second, now());
        let mut pause = Pause::default();
        loop {
            let at = now();
            let turn_at = hall.give_turns(at);
            let accept_from = pause.due(at).max(bucket.due(at));
            tokio::select! {
                () = hall.change() => {}
                () = sleep(turn_at), if turn_at.is_some() => {}
                () = sleep(accept_from), if hall.has_room() && accept_from.is_some() => {}
                accepted = self.listener.accept(), if hall.has_room() && accept_from.is_none() => match accepted {
                    Ok((stream, peer)) => {
                        pause.after_success();
                        bucket.take(now());
                        hall.enter(stream, peer);
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        let sent_away = hall.make_room(GONE_AFTER_ERROR);
                        if pause.after_error(now(), sent_away) {
                            tracing::warn!(%error, sent_away, "could not accept a connection, trying again");
                        }
                    }
                }
            }
        }
    }

    fn host(&self) -> Host {
        Host {
            config: self.config.clone(),
            deadline: self.limits.handshake_deadline,
            on_refusal: Arc::clone(&self.on_refusal),
            accepted: self.accepted.clone(),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
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
