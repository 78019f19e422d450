//! Who is at the other end of a connection: the certificate's word, before a frame is read.
//!
//! A connection without a session is cut after [`IDLE_TIME_MAX`], so that open connections cost an attacker something; one that ends
//! without ever having had one is told to the one who counts refusals.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hume_core::AgentId;
use hume_runtime::accept::{Accepted, OnRefusal, Refusal, RefusalKind};
use hume_runtime::task_group::Stop;
use hume_runtime::tls::{self, PeerAgent};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use crate::intake::Visitor;

/// A connection must have begun a session within this time.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Connections of one agent: it needs one, and a second while the first one ends.
const CONNECTIONS_OF_AGENT_MAX: usize = 8;

/// The agent of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As the intake wants to know him.
    pub(super) visitor: Visitor,
    has_session: Arc<AtomicBool>,
}

impl Peer {
    /// From now on the session's own limits hold.
    pub(super) fn begin_session(&self) {
        self.has_session.store(true, Ordering::Relaxed);
    }
}

/// A connection of a known agent.
pub(super) struct AgentStream<S> {
    connection: S,
    peer: Peer,
    idle: Pin<Box<Sleep>>,
    ending: Ending,
}

/// What connections need of the relay: who counts refusals, how many there are of each agent, and when it is over.
#[derive(Clone)]
pub(super) struct Porch {
    on_refusal: OnRefusal,
    open: Arc<Mutex<HashMap<AgentId, usize>>>,
    stop: Stop,
}

impl Porch {
    pub(super) fn new(on_refusal: OnRefusal, stop: Stop) -> Porch {
        Porch { on_refusal, open: Arc::default(), stop }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<AgentId, usize>> {
        // Every statement leaves it whole, so a poisoned lock is still right.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of this agent; why it may not have one, if so.
    fn enter(&self, agent: AgentId) -> Result<(), String> {
        let mut open = self.open();
        let own = open.entry(agent).or_default();
        if *own >= CONNECTIONS_OF_AGENT_MAX {
            return Err(format!("{CONNECTIONS_OF_AGENT_MAX} connections of agent {agent} are open"));
        }
        *own += 1;
        Ok(())
    }

    fn leave(&self, agent: AgentId) {
        let mut open = self.open();
        if let Some(own) = open.get_mut(&agent) {
            *own -= 1;
            if *own == 0 {
                open.remove(&agent);
            }
        }
    }
}

/// Frees the place of a connection that ends, and tells of one that never was a session.
struct Ending {
    porch: Porch,
    agent: AgentId,
    address: SocketAddr,
    has_session: Arc<AtomicBool>,
    was_idle: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.porch.leave(self.agent);
        if self.has_session.load(Ordering::Relaxed) || self.porch.stop.is_set() {
            return;
        }
        let (kind, reason) = if self.was_idle {
            (RefusalKind::Deadline, format!("no session was begun within {} s", IDLE_TIME_MAX.as_secs()))
        } else {
            (RefusalKind::NoRequest, "it ended without a session".to_owned())
        };
        (self.porch.on_refusal)(Refusal { peer: self.address, kind, reason });
    }
}

impl<S> AgentStream<S> {
    /// The agent that the certificate names; it must be of this site, if the CA names one.
    /// # Errors
    /// [`Refusal`]: the certificate is one of this CA, but names no agent of this site, or one with too many connections.
    pub(super) fn new(
        accepted: Accepted<S>,
        trust_domain: Option<&str>,
        porch: &Porch,
    ) -> Result<AgentStream<S>, Refusal> {
        let Accepted { stream, peer: address, certificates } = accepted;
        let refusal = |kind, reason: String| Refusal { peer: address, kind, reason };
        let certificate = certificates
            .first()
            .ok_or_else(|| refusal(RefusalKind::NoCertificate, "it showed no certificate".to_owned()))?;
        let agent = tls::agent_of(certificate)
            .map_err(|error| refusal(RefusalKind::BadCertificate, error.to_string()))?;
        let peer =
            visitor(agent, address, trust_domain).map_err(|why| refusal(RefusalKind::BadCertificate, why))?;
        let peer = Peer { visitor: peer, has_session: Arc::default() };
        let agent = peer.visitor.agent;
        porch.enter(agent).map_err(|why| refusal(RefusalKind::TooMany, why))?;
        let has_session = Arc::clone(&peer.has_session);
        let ending = Ending { porch: porch.clone(), agent, address, has_session, was_idle: false };
        let idle = Box::pin(tokio::time::sleep(IDLE_TIME_MAX));
        Ok(AgentStream { connection: stream, peer, idle, ending })
    }
}

fn visitor(agent: PeerAgent, address: SocketAddr, trust_domain: Option<&str>) -> Result<Visitor, String> {
    let PeerAgent { trust_domain: domain, id, not_after, serial } = agent;
    match trust_domain {
        Some(ours) if ours != domain => {
            Err(format!("its certificate is of the site `{domain}`, not of `{ours}`"))
        }
        _ => Ok(Visitor {
            agent: AgentId::from(id),
            certificate_expires_at: not_after,
            serial,
            address: address.to_string(),
        }),
    }
}

impl<S> Connected for AgentStream<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AgentStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.connection).poll_read(cx, buf);
        if read.is_pending()
            && !self.peer.has_session.load(Ordering::Relaxed)
            && self.idle.as_mut().poll(cx).is_ready()
        {
            self.ending.was_idle = true;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AgentStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::Timestamp;

    #[test]
    fn an_agent_of_another_site_is_refused() {
        let agent = || PeerAgent {
            trust_domain: "hume".to_owned(),
            id: uuid::Uuid::nil(),
            not_after: Timestamp::EPOCH,
            serial: vec![1],
        };
        let address = "127.0.0.1:1".parse().unwrap();
        assert!(visitor(agent(), address, Some("hume")).is_ok());
        assert!(visitor(agent(), address, None).is_ok());
        let why = visitor(agent(), address, Some("other")).unwrap_err();
        assert_eq!(why, "its certificate is of the site `hume`, not of `other`");
    }
}
