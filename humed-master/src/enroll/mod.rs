//! The port where hosts join (4865): they have no certificate yet, but a token, and prove that without telling it. And where agents
//! recover whose certificate has ended while they were away: they prove that they have its key.
//!
//! A budget of its own: what happens here costs the relay nothing. Whoever fails too often waits (`throttle.rs`), and every attempt
//! is in the audit log of the registry, those that had to wait as one line a minute for each address.

mod handler;
mod recover;
pub mod request;
mod throttle;
mod told;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, OriginalUri, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use hume_core::ErrorClass;
use hume_proto::join::{JOIN_PATH, RECOVER_PATH};
use hume_proto::web::{Refusal, no_store, not_found};
use hume_runtime::accept::{AcceptLimits, Accepted, RefusalLog};
use hume_runtime::pki::join::{CHANNEL_BYTES, CHANNEL_LABEL};
use serde::{Deserialize, Deserializer, de};

use self::handler::Connection;
use self::throttle::Throttle;
use self::told::Told;
use crate::metrics::{Metrics, Refused};
use crate::registry::{Issuer, Registry};

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 64;
/// Of these, from one address.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 16;
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
    /// For so long after its end a certificate can be recovered; zero for never.
    #[serde(deserialize_with = "grace")]
    pub grace: Duration,
}

impl Default for EnrollConfig {
    fn default() -> EnrollConfig {
        let grace = Duration::from_hours(30 * 24);
        EnrollConfig { listen: SocketAddr::from(([127, 0, 0, 1], 4865)), grace }
    }
}

/// A duration, or 0.
#[derive(Deserialize)]
#[serde(untagged)]
enum Grace {
    Number(i64),
    Text(String),
}

fn grace<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let read = match Grace::deserialize(from) {
        Ok(Grace::Number(0)) => Some(Duration::ZERO),
        Ok(Grace::Text(text)) => hume_core::duration::parse(&text),
        Ok(Grace::Number(_)) | Err(_) => None,
    };
    read.ok_or_else(|| de::Error::custom("`grace` must be a duration such as \"30d\", or 0 for none"))
}

/// The limits of the port.
pub fn limits() -> AcceptLimits {
    AcceptLimits {
        accepts_per_second: ACCEPTS_PER_SECOND,
        waiting_max: CONNECTIONS_MAX,
        handshakes_max: CONNECTIONS_MAX,
        handshakes_per_second: ACCEPTS_PER_SECOND,
        connections_max: CONNECTIONS_MAX,
        connections_of_address_max: CONNECTIONS_OF_ADDRESS_MAX,
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
    tell: Tell,
    grace: Duration,
    throttle: Arc<Mutex<Throttle>>,
    told: Arc<Mutex<Told>>,
}

/// Gets every refusal: of what, who it is, and why.
type Tell = Arc<dyn Fn(Refused, IpAddr, &str) + Send + Sync>;

impl Enroll {
    /// Lets hosts join this registry, with certificates of this issuer, for a relay on this port, and lets agents recover within this
    /// time of grace.
    pub fn new(
        registry: Registry,
        issuer: Issuer,
        relay_port: u16,
        grace: Duration,
        metrics: Metrics,
    ) -> Enroll {
        let tell = tell(metrics.clone());
        let (throttle, told) = (Arc::default(), Arc::default());
        Enroll { registry, issuer, relay_port, metrics, tell, grace, throttle, told }
    }
}

/// Counts every refusal, and logs what is not a repetition.
fn tell(metrics: Metrics) -> Tell {
    let log = Mutex::new(RefusalLog::default());
    Arc::new(move |refused, address, reason| {
        metrics.refused(refused);
        let key = (address, reason.to_owned());
        let admitted = log.lock().unwrap_or_else(PoisonError::into_inner).admit(key, Instant::now());
        if let Some(left_out) = admitted {
            let what = if refused == Refused::Recovery { "recover an agent" } else { "let a host join" };
            tracing::warn!(%address, reason, left_out, "refused to {what}");
        }
    })
}

/// Whoever is too slow with what it says holds its place no longer than this.
async fn in_time(
    State(tell): State<Tell>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    if let Ok(response) = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        return response;
    }
    let why = "the request took too long";
    tell(Refused::Join, connection.peer.ip(), why);
    Refusal::new(ErrorClass::Busy, why, None).into_response()
}

/// There is nothing else here.
async fn elsewhere(
    State(enroll): State<Enroll>,
    Extension(connection): Extension<Connection>,
    uri: OriginalUri,
) -> Refusal {
    (enroll.tell)(Refused::Join, connection.peer.ip(), "it asked for something else than to join");
    not_found(uri).await
}

/// What can be asked over this connection.
pub fn router(enroll: &Enroll, accepted: &Accepted) -> Router {
    let mut channel = [0; CHANNEL_BYTES];
    let (_, tls) = accepted.stream.get_ref().get_ref();
    // Without one nothing can be proved, and whoever tries is refused.
    let channel = tls.export_keying_material(&mut channel, CHANNEL_LABEL, None).is_ok().then_some(channel);
    Router::new()
        .route(JOIN_PATH, post(handler::join))
        .route(RECOVER_PATH, post(recover::recover))
        .fallback(elsewhere)
        .method_not_allowed_fallback(elsewhere)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(no_store))
        .layer(middleware::from_fn_with_state(Arc::clone(&enroll.tell), in_time))
        .layer(Extension(Connection { peer: accepted.peer, channel }))
        .with_state(enroll.clone())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn the_grace_is_a_duration_or_nothing() {
        let of = |value: &str| {
            let text = format!("grace = {value}");
            hume_runtime::config::parse::<EnrollConfig>("master.toml".as_ref(), &text).map(|one| one.grace)
        };
        assert_eq!(of("\"45d\"").unwrap(), Duration::from_hours(45 * 24));
        assert_eq!((of("0").unwrap(), of("\"0s\"").unwrap()), (Duration::ZERO, Duration::ZERO));
        for wrong in ["30", "\"30\"", "\"never\"", "true", "-1"] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains("`grace` must be a duration"), "{wrong}: {error}");
        }
        assert_eq!(EnrollConfig::default().grace, Duration::from_hours(30 * 24));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_cut_off_in_time() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&told);
        let tell: Tell =
            Arc::new(move |_, address, why| noted.lock().unwrap().push((address, why.to_owned())));
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let router = Router::new()
            .route(JOIN_PATH, post(async |_: Bytes| "never"))
            .layer(middleware::from_fn_with_state(tell, in_time))
            .layer(Extension(Connection { peer, channel: None }));
        let body = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
        let started = tokio::time::Instant::now();
        let answer = router.oneshot(Request::post(JOIN_PATH).body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(started.elapsed(), REQUEST_TIME_MAX);
        assert_eq!(*told.lock().unwrap(), [(peer.ip(), "the request took too long".to_owned())]);
    }
}
