//! A channel to the master: our TLS under tonic's HTTP/2.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hume_core::Timestamp;
use hume_runtime::alarm;
use hume_runtime::tls::{self, Identity, PeerAgent, Roots, TlsError};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::config::Config;

/// The whole of a connection attempt.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_TIME_MAX: Duration = Duration::from_secs(20);
/// Unacknowledged bytes end the connection after this time.
const USER_TIMEOUT_MS: u32 = 60_000;

/// How a stream of bytes to the master is had, and how time passes on the way.
pub trait Dial: Send + Sync + 'static {
    /// What carries the bytes.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Looks up `HOST:PORT`, anew each time, and connects.
    fn dial(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Completes after this time, by the clock of that network.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }
}

/// By the network of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Dial for Tcp {
    type Stream = TcpStream;

    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT_MS)?;
        Ok(stream)
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        alarm::sleep(time)
    }
}

/// No channel could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A certificate or key could not be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate holds no agent.
    #[error("the agent's certificate is empty")]
    NoCertificate,
    /// The name to check the master by is none.
    #[error("`{0}` is not a name or address that a certificate can have")]
    ServerName(String),
    /// No connection.
    #[error("could not connect to the master at {address}: {detail}")]
    Connect {
        /// As configured.
        address: String,
        /// The whole chain of causes.
        detail: String,
    },
}

/// Who this agent is, by the files of the configuration.
///
/// # Errors
/// [`ConnectError`] when certificate or key cannot be used.
pub fn identity(config: &Config) -> Result<(Identity, PeerAgent), ConnectError> {
    let identity = Identity::load(&config.certificate, &config.key)?;
    let agent = tls::agent_of(identity.certificate().ok_or(ConnectError::NoCertificate)?)?;
    Ok((identity, agent))
}

/// Connects as `identity` and checks the master's certificate, at a time that is not before `heard`, the latest that a master told.
///
/// # Errors
/// [`ConnectError`] when there is no such master, or it is another one.
pub async fn channel(
    config: &Config,
    identity: &Identity,
    heard: Option<Timestamp>,
    dial: &Arc<impl Dial>,
) -> Result<Channel, ConnectError> {
    let client = tls::relay_client(identity, &Roots::load(&config.ca)?, heard)?;
    let name = config.server_name.as_deref().unwrap_or(config.host()).to_owned();
    let server = ServerName::try_from(name.clone()).map_err(|_| ConnectError::ServerName(name))?;
    let (address, dial) = (config.address.clone(), Arc::clone(dial));
    let connector = tower::service_fn(move |_: Uri| {
        let (client, server) = (Arc::clone(&client), server.clone());
        let (address, dial) = (address.clone(), Arc::clone(&dial));
        async move {
            let stream = dial.dial(&address).await?;
            let stream = TlsConnector::from(client).connect(server, stream).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://relay")
        .connect_timeout(CONNECT_TIME_MAX)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIME_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024);
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, endpoint.connect_with_connector(connector)).await;
    let failed = |detail: String| ConnectError::Connect { address: config.address.clone(), detail };
    match connected {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(failed(chain(&error))),
        Err(_) => Err(failed(format!("no answer within {} s", CONNECT_TIME_MAX.as_secs()))),
    }
}

/// An error with all its causes: a refused handshake hides in the last of them.
fn chain(error: &dyn std::error::Error) -> String {
    let text = told(error.source());
    if text.is_empty() { error.to_string() } else { text }
}

/// A cause with all that follow it, each said once.
pub(super) fn told(mut cause: Option<&dyn std::error::Error>) -> String {
    let mut text = String::new();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
