//! Acts for the room before the handshake: one small task per guest, and the permission to begin.
//!
//! A guest waits for its first words without a buffer. Then it is the room's word that lets it begin; its handshake has
//! a deadline of its own. Whoever must go is dropped with its task, and told to the one who counts refusals.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor as Greeter;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::connection::Connection;
use super::places::{Place, Places};
use super::refusal::{Refusal, RefusalKind};
use super::room::{GuestNo, Room, SHAKE_TIME_MIN, Turn};
use super::{AcceptLimits, Accepted, OnRefusal};

/// First words that the room has not heard of yet; who speaks then waits a moment.
const GREETED_MAX: usize = 256;
/// Unacknowledged data ends a connection after this time, in milliseconds.
const TCP_USER_TIMEOUT_MS: u32 = 60_000;

/// What a guest's task needs of the accept loop.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) config: watch::Receiver<Arc<ServerConfig>>,
    pub(super) deadline: Duration,
    pub(super) on_refusal: OnRefusal,
    pub(super) accepted: mpsc::Sender<Accepted>,
}

/// All guests. Dropping it drops them.
pub(super) struct Hall {
    host: Host,
    room: Room,
    places: Places,
    guests: HashMap<GuestNo, Here>,
    tasks: JoinSet<()>,
    names: HashMap<Id, GuestNo>,
    speak: mpsc::Sender<GuestNo>,
    spoken: mpsc::Receiver<GuestNo>,
}

/// A guest that is here.
struct Here {
    peer: SocketAddr,
    task: AbortHandle,
    /// Lets it begin; with its place among the open connections.
    turn: Option<oneshot::Sender<Place>>,
}

impl Hall {
    /// Nobody is here.
    pub(super) fn new(host: Host, limits: AcceptLimits, now: Instant) -> Hall {
        let (speak, spoken) = mpsc::channel(GREETED_MAX);
        let places = Places::new(&limits);
        Hall {
            host,
            room: Room::new(limits, now),
            places,
            guests: HashMap::new(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            speak,
            spoken,
        }
    }

    /// Whether a newcomer finds a place.
    pub(super) fn has_room(&self) -> bool {
        self.room.has_room()
    }

    /// Lets a newcomer in.
    pub(super) fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        let (guest, evicted) = self.room.enter(peer.ip());
        if let Some(evicted) = evicted {
            self.dismiss(evicted, RefusalKind::Crowded, "it said nothing, and others wanted its place");
        }
        let (turn, begin) = oneshot::channel();
        let (host, speak) = (self.host.clone(), self.speak.clone());
        let task = self.tasks.spawn(async move {
            if let Err(refusal) = receive(&host, stream, peer, (guest, speak), begin).await {
                (host.on_refusal)(refusal);
            }
        });
        self.names.insert(task.id(), guest);
        self.guests.insert(guest, Here { peer, task, turn: Some(turn) });
    }

    /// Makes room by sending silent guests away, at most so many; how many have gone.
    pub(super) fn make_room(&mut self, max: usize) -> usize {
        let evicted: Vec<GuestNo> = std::iter::from_fn(|| self.room.evict_silent()).take(max).collect();
        for guest in &evicted {
            self.dismiss(*guest, RefusalKind::Crowded, "it said nothing, and its file descriptor was wanted");
        }
        evicted.len()
    }

    /// Lets begin whose turn it is; when to look again at the latest.
    pub(super) fn give_turns(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.room.turn(now) {
                Turn::Nobody => return None,
                Turn::NotBefore(at) => return Some(at),
                Turn::Of { guest, instead_of } => {
                    if let Some(stuck) = instead_of {
                        let why = format!(
                            "the handshake was not done within {} ms, and others waited for its place",
                            SHAKE_TIME_MIN.as_millis()
                        );
                        self.dismiss(stuck, RefusalKind::Crowded, &why);
                    }
                    self.begin(guest);
                }
            }
        }
    }

    /// Completes when somebody has spoken or gone.
    pub(super) async fn change(&mut self) {
        tokio::select! {
            Some(guest) = self.spoken.recv() => self.room.greeted(guest),
            Some(ended) = self.tasks.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if let Some(guest) = self.names.remove(&id) {
                    self.guests.remove(&guest);
                    self.room.leave(guest);
                }
            }
            // Nobody is here.
            else => std::future::pending().await,
        }
    }

    fn begin(&mut self, guest: GuestNo) {
        let Some(Here { peer, .. }) = self.guests.get(&guest) else { return };
        let place = match self.places.take(peer.ip()) {
            Ok(place) => place,
            Err(why) => {
                self.dismiss(guest, RefusalKind::TooMany, &why);
                return;
            }
        };
        // One that has just gone takes nothing any more; the place is free again at once.
        if let Some(turn) = self.guests.get_mut(&guest).and_then(|here| here.turn.take()) {
            drop(turn.send(place));
        }
    }

    fn dismiss(&mut self, guest: GuestNo, kind: RefusalKind, why: &str) {
        self.room.leave(guest);
        let Some(Here { peer, task, turn: _ }) = self.guests.remove(&guest) else { return };
        if !task.is_finished() {
            task.abort();
            (self.host.on_refusal)(Refusal { peer, kind, reason: why.to_owned() });
        }
    }
}

/// A guest from its first words to the connection that somebody takes.
async fn receive(
    host: &Host,
    stream: TcpStream,
    peer: SocketAddr,
    (guest, speak): (GuestNo, mpsc::Sender<GuestNo>),
    begin: oneshot::Receiver<Place>,
) -> Result<(), Refusal> {
    let words = within(host.deadline, peer, "no first words came", greeting(stream)).await?;
    // When the loop has ended, so has this.
    let _ = speak.send(guest).await;
    let Ok(place) = begin.await else { return Ok(()) };
    let config = Arc::clone(&host.config.borrow());
    let done = Box::pin(shake(words, config));
    let (stream, certificates) = within(host.deadline, peer, "the handshake was not done", done).await?;
    let stream = Connection::new(stream, place);
    // The place is kept until somebody takes the connection: a slow consumer slows the loop.
    let _ = host.accepted.send(Accepted { stream, peer, certificates }).await;
    Ok(())
}

async fn within<T>(
    limit: Duration,
    peer: SocketAddr,
    what: &str,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Refusal> {
    if let Ok(done) = tokio::time::timeout(limit, step).await {
        return done.map_err(|error| Refusal::from_handshake(peer, &error));
    }
    let reason = format!("{what} within {} ms", limit.as_millis());
    Err(Refusal { peer, kind: RefusalKind::Deadline, reason })
}

/// The peer's first words, whole and in TLS.
async fn greeting(stream: TcpStream) -> io::Result<StartHandshake<TcpStream>> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(&stream, TCP_USER_TIMEOUT_MS)?;
    // Only who speaks gets a buffer.
    stream.readable().await?;
    Box::pin(LazyConfigAcceptor::new(Greeter::default(), stream)).await
}

type Shaken = (TlsStream<TcpStream>, Vec<CertificateDer<'static>>);

async fn shake(words: StartHandshake<TcpStream>, config: Arc<ServerConfig>) -> io::Result<Shaken> {
    let stream = words.into_stream(config).await?;
    let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    Ok((stream, certificates))
}
