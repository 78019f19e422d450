//! Questions and their answers: `/api/v1` over HTTPS with a token or a client certificate, and over a Unix socket for local administrators.
//!
//! Only reads. `/healthz` and `/readyz` need no token, `/metrics` as configured. Handler state is in `state.rs`, below the
//! handlers; the shapes are those of `hume_proto::rest`, the same on every daemon.

mod api;
mod auth;
mod failures;
mod health;
mod problem;
mod shapes;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::middleware;
use axum::routing::get;
use axum::{Extension, Router};
use hume_proto::web::{bound_question, no_store, not_found, wrong_method};
use hume_runtime::accept::{AcceptLimits, Accepted};
use serde::Deserialize;

use self::auth::Peer;
pub use self::auth::{Guard, TokenConfig};
pub use self::state::WebState;

/// Connections at the same time, on each of the two ways in.
pub const CONNECTIONS_MAX: usize = 512;
/// Of these over HTTPS, from one address.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 256;

/// The limits of the port.
pub fn limits() -> AcceptLimits {
    AcceptLimits {
        connections_max: CONNECTIONS_MAX,
        connections_of_address_max: CONNECTIONS_OF_ADDRESS_MAX,
        ..AcceptLimits::default()
    }
}

/// The section `[web]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Where HTTPS is spoken.
    pub listen: SocketAddr,
    /// Where the same API is, without a token.
    pub socket: PathBuf,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// Who may ask over HTTPS.
    pub token: Vec<TokenConfig>,
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsAccess {
    /// Anybody who reaches the port.
    #[default]
    Open,
    /// Those with a token.
    Token,
}

impl Default for WebConfig {
    fn default() -> WebConfig {
        WebConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 4864)),
            socket: PathBuf::from("/run/hume-master/api.sock"),
            metrics: MetricsAccess::default(),
            token: Vec::new(),
        }
    }
}

/// The same for whoever is at the other end of this connection.
pub fn for_peer(router: &Router, accepted: &Accepted) -> Router {
    router.clone().layer(Extension(Peer::new(accepted.peer.ip(), &accepted.certificates)))
}

/// Everything that can be asked, behind `guard`.
pub fn router(state: WebState, guard: &Guard) -> Router {
    let check = |guard: &Guard| middleware::from_fn_with_state(guard.clone(), auth::check);
    let api = api::router().layer(check(guard));
    let metrics = Router::new().route("/metrics", get(health::metrics));
    let metrics = match guard.metrics() {
        MetricsAccess::Open => metrics,
        MetricsAccess::Token => metrics.layer(check(guard)),
    };
    Router::new()
        .nest("/api/v1", api)
        .merge(metrics)
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(no_store))
        .layer(middleware::from_fn(bound_question))
        .with_state(state)
}
