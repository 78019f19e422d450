//! What only administrators of this machine may do: `/admin/v1` on the master's Unix socket, and nowhere else.
//!
//! Whoever may open the socket may ask (its mode says who); the kernel tells which user that is, and the audit log keeps it.

mod agents;
mod passes;
mod problem;
mod tokens;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Extension, Router};
use hume_proto::web::not_found;
use hume_runtime::pki::join::Pin;
use tokio::net::UnixStream;

use crate::registry::{Actor, Registry};
use crate::store::Reader;

/// What an administrator sends has at most this many bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// Who may speak.
    pub registry: Registry,
    /// What agents were heard to say.
    pub store: Arc<dyn Reader>,
    /// Where hosts join; none when another CA makes the certificates.
    pub doorway: Option<Doorway>,
}

/// What a token says of the master.
#[derive(Clone, Debug)]
pub struct Doorway {
    /// By which it is known.
    pub pin: Pin,
    /// Where it is asked, the best address first.
    pub addresses: Vec<String>,
}

/// The orders of whoever is at the other end of this connection.
pub fn router(admin: Admin, stream: &UnixStream) -> Router {
    let name = stream
        .peer_cred()
        .map_or_else(|_| "an unknown user".to_owned(), |credentials| format!("uid {}", credentials.uid()));
    let actor = Actor { name, address: "socket".to_owned() };
    let orders = Router::new()
        .route("/agents", get(agents::list))
        .route("/agents/{name}/allow-host", post(agents::allow_host))
        .route("/agents/{name}/{order}", post(agents::order))
        .route("/tokens", get(tokens::list).post(tokens::make))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/api-tokens", get(passes::list).post(passes::make))
        .route("/api-tokens/{name}/revoke", post(passes::revoke))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(actor))
        .with_state(admin);
    Router::new().nest("/admin/v1", orders)
}
