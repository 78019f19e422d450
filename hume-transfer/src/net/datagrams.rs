//! Datagrams to one peer, which may be lost on the way: only that nobody listens can be known, where the network says so.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Address, NetError, Scheme, lookup};
use crate::transfer::{OpenError, Trail};

/// A peer of datagrams.
pub struct Datagrams {
    address: Address,
    socket: Option<UdpSocket>,
}

impl Datagrams {
    /// Sends nothing.
    /// # Errors
    /// [`OpenError`] if the address is not one of datagrams.
    pub fn open(address: &Address) -> Result<Datagrams, OpenError> {
        match address.scheme() {
            Scheme::Udp => Ok(Datagrams { address: address.clone(), socket: None }),
            Scheme::Tcp | Scheme::Tls => Err(OpenError::value("address", "is not one of `udp://`")),
        }
    }

    /// Sends one. After an error the name is looked up again.
    /// # Errors
    /// [`NetError::Broken`]: this one or one before it found nobody, or it is too large for the way.
    pub async fn send(&mut self, bytes: &[u8], deadline: Instant, trail: &mut Trail) -> Result<(), NetError> {
        let at = || self.address.to_string();
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.address, deadline, trail).await?,
        };
        let broken = |error: &io::Error| NetError::Broken { at: at(), reason: error.to_string() };
        match timeout_at(deadline, socket.send(bytes)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(broken(&error)),
            Err(_) => return Err(NetError::Silent { at: at(), what: "take the data" }),
        }
        // On this host the answer of a closed port is here at once; from elsewhere it meets a later datagram.
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return Err(broken(&error));
        }
        self.socket = Some(socket);
        Ok(())
    }
}

/// A socket for the first address that there is a way to.
async fn connect(address: &Address, deadline: Instant, trail: &mut Trail) -> Result<UdpSocket, NetError> {
    let mut reasons = Vec::new();
    for place in lookup(address, deadline).await? {
        match socket_for(place).await {
            Ok(socket) => {
                trail.say(|| format!("sending datagrams to {place}"));
                return Ok(socket);
            }
            Err(error) => reasons.push(format!("{}: {error}", place.ip())),
        }
    }
    Err(NetError::Connect { at: address.to_string(), reasons: reasons.join("; ") })
}

async fn socket_for(place: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match place {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(place).await?;
    Ok(socket)
}
