//! What only administrators of this machine may do: `/admin/v1` on the master's Unix socket, and nowhere else.
//!
//! Whoever may open the socket may ask (its mode says who); the kernel tells which user that is, and the audit log keeps it.

mod agents;
mod ca;
mod passes;
mod problem;
mod tokens;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Extension, Router};
use hume_core::ErrorClass;
use hume_proto::web::not_found;
use hume_runtime::pki::join::Pin;
use tokio::net::UnixStream;

use self::problem::Trouble;
use crate::ca::Ca;
use crate::registry::{Actor, Issuer, Registry};
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
    /// The certificates.
    pub ca: Ca,
    /// Who signs the certificates of people; none when another CA makes the certificates.
    pub people: Option<People>,
}

/// What it takes to give somebody a certificate to ask with.
#[derive(Clone, Debug)]
pub struct People {
    /// Who signs.
    pub issuer: Issuer,
    /// Where they ask.
    pub url: String,
}

/// What a token says of the master.
#[derive(Clone, Debug)]
pub struct Doorway {
    /// By which it is known.
    pub pin: Pin,
    /// Where it is asked, the best address first.
    pub addresses: Vec<String>,
}

/// The user at the other end of the socket; none if the kernel does not say.
#[derive(Clone, Copy, Debug)]
struct Caller(Option<u32>);

impl Caller {
    /// Only root, and the user that the master runs as, could do the same without asking.
    fn needs_owner(self) -> Result<(), Trouble> {
        let own = rustix::process::geteuid().as_raw();
        if self.0.is_some_and(|uid| uid == 0 || uid == own) {
            return Ok(());
        }
        let why = "only root, or the user that the master runs as, may order this: use sudo";
        Err(Trouble::new(ErrorClass::Denied, why))
    }
}

/// The orders of whoever is at the other end of this connection.
pub fn router(admin: Admin, stream: &UnixStream) -> Router {
    let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let name = uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
    let actor = Actor { name, address: "socket".to_owned() };
    let orders = Router::new()
        .route("/agents", get(agents::list))
        .route("/agents/{name}/allow-host", post(agents::allow_host))
        .route("/agents/{name}/certificates", get(agents::certificates))
        .route("/agents/{name}/{order}", post(agents::order))
        .route("/tokens", get(tokens::list).post(tokens::make))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/api-tokens", get(passes::list).post(passes::make_token))
        .route("/api-certs", post(passes::make_certificate))
        .route("/api-tokens/{name}/revoke", post(passes::revoke))
        .route("/ca", get(ca::show))
        .route("/ca/rotate", post(ca::rotate))
        .route("/ca/root-key", post(ca::root_key))
        .route("/ca/root-key/remove", post(ca::remove_root_key))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(actor))
        .layer(Extension(Caller(uid)))
        .with_state(admin);
    Router::new().nest("/admin/v1", orders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_user_of_the_master_may_order_the_ca() {
        let own = rustix::process::geteuid().as_raw();
        for (uid, may) in [(Some(0), true), (Some(own), true), (Some(own + 4711), false), (None, false)] {
            assert_eq!(Caller(uid).needs_owner().is_ok(), may, "{uid:?}");
        }
    }
}
