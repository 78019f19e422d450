//! The port where hosts join (4865): they have no certificate yet, but a token, and prove that without telling it.
//!
//! A budget of its own: what happens here costs the relay nothing. Whoever fails too often waits (`throttle.rs`), and every attempt
//! is in the audit log of the registry, those that had to wait as one line a minute for each address.

mod handler;
mod throttle;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use hume_core::ErrorClass;
use hume_proto::join::JOIN_PATH;
use hume_proto::web::{Refusal, no_store, not_found};
use hume_runtime::accept::{AcceptLimits, Accepted};
use hume_runtime::pki::join::{CHANNEL_BYTES, CHANNEL_LABEL};
use serde::Deserialize;

use self::handler::Connection;
use self::throttle::Throttle;
use crate::metrics::Metrics;
use crate::registry::{Issuer, Registry};

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 64;
/// What a host sends has at most this many bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// A request must be whole, and answered, within this time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
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
    issuer: Issuer,
    relay_port: u16,
    metrics: Metrics,
    throttle: Arc<Mutex<Throttle>>,
}

impl Enroll {
    /// Lets hosts join this registry, with certificates of this issuer, for a relay on this port.
    pub fn new(registry: Registry, issuer: Issuer, relay_port: u16, metrics: Metrics) -> Enroll {
        Enroll { registry, issuer, relay_port, metrics, throttle: Arc::default() }
    }
}

/// Whoever is too slow with what it says holds its place no longer than this.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(ErrorClass::Busy, "the request took too long", None).into_response(),
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
        .layer(middleware::from_fn(in_time))
        .layer(Extension(Connection { peer: accepted.peer, channel }))
        .with_state(enroll.clone())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_cut_off_in_time() {
        let router = Router::new()
            .route(JOIN_PATH, post(async |_: Bytes| "never"))
            .layer(middleware::from_fn(in_time));
        let body = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
        let started = tokio::time::Instant::now();
        let answer = router.oneshot(Request::post(JOIN_PATH).body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(started.elapsed(), REQUEST_TIME_MAX);
    }
}
