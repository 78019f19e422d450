//! Who is at the other end of a connection: the certificate's word, before a frame is read.
//!
//! A connection without a session is cut after [`IDLE_TIME_MAX`], so that open connections cost an attacker something.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hume_core::AgentId;
use hume_runtime::accept::{Accepted, Refusal, RefusalKind};
use hume_runtime::tls::{self, PeerAgent};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use crate::intake::Visitor;

/// A connection must have begun a session within this time.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);

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
}

impl<S> AgentStream<S> {
    /// The agent that the certificate names; it must be of this site, if the CA names one.
    /// # Errors
    /// [`Refusal`]: the certificate is one of this CA, but names no agent of this site.
    pub(super) fn new(accepted: Accepted<S>, trust_domain: Option<&str>) -> Result<AgentStream<S>, Refusal> {
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
        Ok(AgentStream { connection: stream, peer, idle: Box::pin(tokio::time::sleep(IDLE_TIME_MAX)) })
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
