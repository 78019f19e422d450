//! Connections to the peers of pipelines: made within a deadline, kept between deliveries, known when they are closed.
//!
//! [`Pipe`] is for peers that never answer. There, "sent" means that the kernel took the bytes and that the connection was not known
//! to be closed one round trip later: a peer that had gone before answers a write with a reset in that time. What
//! nobody can know without an answer is whether the peer read what its own kernel took, so what is on the way when a peer dies may be
//! lost. [`Connection`] is for protocols that do answer. [`Datagrams`] know even less: only that somebody listens, and that on
//! networks that say so.
//!
//! A name may have several addresses, which are tried in turn, at most [`ADDRESSES_MAX`]. TLS is 1.3 or 1.2, verified always.

mod address;
mod connection;
mod datagrams;
#[cfg(test)]
pub(crate) mod peer;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hume_runtime::tls::{Identity, Roots, TlsError, Trust, outgoing_client};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

pub use address::{Address, AddressError, HOST_BYTES_MAX, Scheme};
pub use connection::{Connection, KEEPALIVE, Pipe, UNCONFIRMED_TIME_MAX};
pub use datagrams::Datagrams;

use crate::transfer::{OpenError, Setting, Trail, Trouble};

/// All addresses of a name have so long together to take a connection, handshake of TLS included.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// At most so many addresses of a name are tried.
pub const ADDRESSES_MAX: usize = 8;
/// What only a person can mend, such as a wrong certificate, is tried again after this.
pub const UNTRUSTED_PAUSE: Duration = Duration::from_mins(5);

/// A connection was not made, or is no more. Every message names the peer.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The name of the host has no address.
    #[error("{at}: no address for `{host}`: {reason}")]
    Lookup {
        /// The peer.
        at: String,
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// None of its addresses takes a connection.
    #[error("{at}: no connection: {reasons}")]
    Connect {
        /// The peer.
        at: String,
        /// Each address that was tried, and what became of it.
        reasons: String,
    },
    /// One of the two does not trust the other, or the peer does not speak TLS.
    #[error("{at}: {reason}")]
    Untrusted {
        /// The peer.
        at: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The peer ended the connection in order.
    #[error("{at} closed the connection")]
    Closed {
        /// The peer.
        at: String,
    },
    /// The connection broke.
    #[error("the connection to {at} broke: {reason}")]
    Broken {
        /// The peer.
        at: String,
        /// Why.
        reason: String,
    },
    /// The peer neither took nor said anything until the deadline.
    #[error("{at} did not {what} in time")]
    Silent {
        /// The peer.
        at: String,
        /// What was waited for.
        what: &'static str,
    },
}

impl From<NetError> for Trouble {
    fn from(error: NetError) -> Trouble {
        match error {
            NetError::Untrusted { .. } => Trouble::after(error.to_string(), UNTRUSTED_PAUSE),
            NetError::Lookup { .. }
            | NetError::Connect { .. }
            | NetError::Closed { .. }
            | NetError::Broken { .. }
            | NetError::Silent { .. } => Trouble::later(error.to_string()),
        }
    }
}

/// The keys of a configuration that are about TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsKeys<'a> {
    /// `ca`: who issues the peer's certificate; the system's roots when missing.
    pub ca: Option<&'a Path>,
    /// `certificate`: what is shown to a peer that asks.
    pub certificate: Option<&'a Path>,
    /// `key`: its private key.
    pub key: Option<&'a Path>,
    /// `server_name`: the name in the peer's certificate; the host of the address when missing.
    pub server_name: Option<&'a str>,
}

/// A peer that takes connections, with all that can be known before the first of them.
pub struct Target {
    address: Address,
    tls: Option<Tls>,
    pub(crate) connect_time_max: Duration,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    has_ca: bool,
}

impl Target {
    /// Reads the files of certificates; does not connect.
    /// # Errors
    /// [`OpenError`] if the address is one of datagrams, if a key of TLS stands beside an address without it, and if a file or the name
    /// cannot be used.
    pub fn open(address: &Address, keys: TlsKeys<'_>, setting: &Setting<'_>) -> Result<Target, OpenError> {
        let tls = match address.scheme() {
            Scheme::Udp => {
                return Err(OpenError::value(
                    "address",
                    "this kind speaks no UDP: write `tcp://` or `tls://`",
                ));
            }
            Scheme::Tcp => {
                keys.none_but_tls()?;
                None
            }
            Scheme::Tls => Some(Tls::open(address, keys, setting)?),
        };
        Ok(Target { address: address.clone(), tls, connect_time_max: CONNECT_TIME_MAX })
    }

    /// The peer.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Makes a connection before `deadline`, and in at most [`CONNECT_TIME_MAX`].
    /// # Errors
    /// [`NetError`].
    pub async fn connect(&self, deadline: Instant, trail: &mut Trail) -> Result<Connection, NetError> {
        let deadline = deadline.min(Instant::now() + self.connect_time_max);
        let places = lookup(&self.address, deadline).await?;
        self.connect_in_turn(&places, deadline, trail).await
    }

    async fn connect_in_turn(
        &self,
        places: &[SocketAddr],
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<Connection, NetError> {
        let mut failures = Vec::new();
        for (at, place) in places.iter().enumerate() {
            // Each has its share of the time, so that a silent one leaves some to the next.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(places.len() - at).unwrap_or(1);
            let failure = match timeout(share, self.connect_to(*place, trail)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Passing("it did not answer in time".to_owned()),
            };
            trail.say(|| format!("{place}: {}", failure.reason()));
            failures.push((*place, failure));
        }
        Err(self.refusal(&failures))
    }

    async fn connect_to(&self, place: SocketAddr, trail: &mut Trail) -> Result<Connection, Failure> {
        let passing = |error: std::io::Error| Failure::Passing(error.to_string());
        let begin = Instant::now();
        let tcp = TcpStream::connect(place).await.map_err(passing)?;
        let round_trip = begin.elapsed();
        connection::prepare(&tcp).map_err(passing)?;
        trail.say(|| format!("connected to {place}"));
        let at = self.address.to_string();
        let Some(tls) = &self.tls else {
            return Ok(Connection::plain(at, tcp, round_trip));
        };
        let stream = tls
            .connector
            .connect(tls.name.clone(), tcp)
            .await
            .map_err(|error| tls.judge(&error).map_or_else(|| passing(error), Failure::Lasting))?;
        trail.say(|| format!("TLS with {}, whose certificate is good", tls.name.to_str()));
        let mut connection = Connection::encrypted(at, stream, round_trip);
        connection.await_verdict().await.map_err(|error| match error {
            NetError::Untrusted { reason, .. } => Failure::Lasting(reason),
            other => Failure::Passing(other.to_string()),
        })?;
        Ok(connection)
    }

    fn refusal(&self, failures: &[(SocketAddr, Failure)]) -> NetError {
        let at = self.address.to_string();
        let reasons: Vec<String> =
            failures.iter().map(|(place, failure)| format!("{}: {}", place.ip(), failure.reason())).collect();
        let lasts = |(_, failure): &(SocketAddr, Failure)| matches!(failure, Failure::Lasting(_));
        match failures {
            [(_, Failure::Lasting(reason)), ..] if failures.iter().all(lasts) => {
                NetError::Untrusted { at, reason: reason.clone() }
            }
            _ => NetError::Connect { at, reasons: reasons.join("; ") },
        }
    }
}

/// Why one address did not take a connection.
enum Failure {
    Passing(String),
    /// Nothing changes before somebody does something.
    Lasting(String),
}

impl Failure {
    fn reason(&self) -> &str {
        match self {
            Failure::Passing(reason) | Failure::Lasting(reason) => reason,
        }
    }
}

impl TlsKeys<'_> {
    /// # Errors
    /// [`OpenError`] naming a key that makes no sense without TLS.
    pub fn none_but_tls(&self) -> Result<(), OpenError> {
        let TlsKeys { ca, certificate, key, server_name } = self;
        let given = [
            ("ca", ca.is_some()),
            ("certificate", certificate.is_some()),
            ("key", key.is_some()),
            ("server_name", server_name.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) => Err(OpenError::value(key, "is for an `address` that begins with `tls://`")),
            None => Ok(()),
        }
    }
}

impl Tls {
    fn open(address: &Address, keys: TlsKeys<'_>, setting: &Setting<'_>) -> Result<Tls, OpenError> {
        let TlsKeys { ca, certificate, key, server_name } = keys;
        let wrong = |key: &'static str| move |error: TlsError| OpenError::value(key, chain(&error));
        let resolve = |path: &Path| hume_runtime::config::resolve(setting.config_file, path);
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let identity = Identity::load(&resolve(certificate), &resolve(key));
                Some(identity.map_err(wrong("certificate"))?)
            }
            (Some(_), None) => return Err(OpenError::value("key", "`certificate` needs its `key`")),
            (None, Some(_)) => return Err(OpenError::value("certificate", "`key` needs its `certificate`")),
        };
        let roots = ca.map(|ca| Roots::load(&resolve(ca))).transpose().map_err(wrong("ca"))?;
        let trust = roots.as_ref().map_or(Trust::System, Trust::Roots);
        let blamed = if identity.is_some() { "certificate" } else { "ca" };
        let config = outgoing_client(trust, identity.as_ref()).map_err(wrong(blamed))?;
        let (named_by, name) = server_name.map_or(("address", address.host()), |name| ("server_name", name));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            OpenError::value(named_by, format!("`{name}` cannot be the name of a certificate"))
        })?;
        Ok(Tls { connector: TlsConnector::from(config), name, has_ca: ca.is_some() })
    }

    /// What lasts of a failed handshake, and what would mend it; none for what may pass.
    fn judge(&self, error: &std::io::Error) -> Option<String> {
        match of_tls(error)? {
            rustls::Error::InvalidCertificate(bad) => Some(self.judge_certificate(bad)),
            other => lasting(other),
        }
    }

    fn judge_certificate(&self, bad: &CertificateError) -> String {
        let name = self.name.to_str();
        match bad {
            CertificateError::UnknownIssuer if self.has_ca => {
                "its certificate is not issued by `ca`".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "its certificate is issued by nobody whom the system trusts: name the issuer with `ca`"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for `{name}`: `server_name` is the name to expect")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or the clock is wrong".to_owned()
            }
            other => format!("its certificate is refused: {other}"),
        }
    }
}

/// rustls wraps its errors in those of I/O.
fn of_tls(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What a peer says of us that will not pass by itself, or does instead of speaking TLS.
fn lasting(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                Some("it wants a certificate: set `certificate` and `key`".to_owned())
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Some(format!("it refuses our certificate: {alert:?}")),
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
                Some(format!("it agrees on no TLS with us, or wants a certificate: {alert:?}"))
            }
            _ => None,
        },
        rustls::Error::InvalidMessage(_) => Some("it does not speak TLS there".to_owned()),
        _ => None,
    }
}

/// The addresses of a host, in the resolver's order.
async fn lookup(address: &Address, deadline: Instant) -> Result<Vec<SocketAddr>, NetError> {
    let at = address.to_string();
    let found = timeout_at(deadline, tokio::net::lookup_host((address.host(), address.port()))).await;
    let failed =
        |reason: String| NetError::Lookup { at: at.clone(), host: address.host().to_owned(), reason };
    let places: Vec<SocketAddr> = match found {
        Ok(Ok(places)) => places.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("the resolver did not answer in time".to_owned())),
    };
    if places.is_empty() {
        return Err(failed("the name has none".to_owned()));
    }
    Ok(places)
}

/// An error and all that caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
