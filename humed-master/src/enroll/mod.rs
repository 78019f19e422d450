//! The port where hosts join (4865): they have no certificate yet, but a token, and prove that without telling it.
//!
//! A budget of its own: what happens here costs the relay nothing. Whoever fails too often waits (`throttle.rs`), and every attempt
//! is in the audit log of the registry, those that had to wait as one line a minute for each address.

mod handler;
mod throttle;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::post;
use axum::{Extension, Router};
use hume_proto::join::JOIN_PATH;
use hume_proto::web::{no_store, not_found};
use hume_runtime::accept::{AcceptLimits, Accepted};
use hume_runtime::pki::CaFolder;
use hume_runtime::pki::join::{CHANNEL_BYTES, CHANNEL_LABEL};
use serde::Deserialize;

use self::handler::Connection;
use self::throttle::Throttle;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 64;
/// What a host sends has at most this many bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// Connections taken from the kernel per second, and handshakes that begin.
const ACCEPTS_PER_SECOND: u32 = 50;

/// The section `[enroll]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrollConfig {
    /// Where hosts join.
    pub listen: SocketAddr,
}

impl Default for EnrollConfig {
    fn default() -> EnrollConfig {
        EnrollConfig { listen: SocketAddr::from(([127, 0, 0, 1], 4865)) }
    }
}

/// The limits of the port.
pub fn limits() -> AcceptLimits {
    AcceptLimits {
        accepts_per_second: ACCEPTS_PER_SECOND,
        waiting_max: CONNECTIONS_MAX,
        handshakes_max: CONNECTIONS_MAX,
        handshakes_per_second: ACCEPTS_PER_SECOND,
        connections_max: CONNECTIONS_MAX,
        ..AcceptLimits::default()
    }
}

/// What the room needs. Cheap to clone.
#[derive(Clone)]
pub struct Enroll {
    registry: Registry,
    ca: Arc<CaFolder>,
    certificate_life: Duration,
    relay_port: u16,
    metrics: Metrics,
    throttle: Arc<Mutex<Throttle>>,
}

impl Enroll {
    /// Lets hosts join this registry, with certificates of this CA that last so long, for a relay on this port.
    pub fn new(
        registry: Registry,
        ca: Arc<CaFolder>,
        certificate_life: Duration,
        relay_port: u16,
        metrics: Metrics,
    ) -> Enroll {
        Enroll { registry, ca, certificate_life, relay_port, metrics, throttle: Arc::default() }
    }
}

/// What can be asked over this connection.
pub fn router(enroll: &Enroll, accepted: &Accepted) -> Router {
    let mut channel = [0; CHANNEL_BYTES];
    let (_, tls) = accepted.stream.get_ref().get_ref();
    // Without one nothing can be proved, and whoever tries is refused.
    let channel = tls.export_keying_material(&mut channel, CHANNEL_LABEL, None).is_ok().then_some(channel);
    Router::new()
        .route(JOIN_PATH, post(handler::join))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(no_store))
        .layer(Extension(Connection { peer: accepted.peer, channel }))
        .with_state(enroll.clone())
}
