//! Local questions, on a Unix socket: the same `/api/v1` as the master's, over what this host still keeps.
//!
//! The administrator sees everything, another user what came from the same user.

mod api;
mod config;
mod health;
mod problem;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router, middleware};
use hume_core::HostName;
use hume_core::policy::Policies;
use hume_proto::web::{bound_question, no_store, not_found, wrong_method};
use hume_runtime::follow::Followers;
use hume_runtime::serve;
use hume_runtime::socket::{self, SocketError};
use hume_runtime::task_group::{Spawner, Stop};
use tokio::net::{UnixListener, UnixStream};
use tracing::info;

use crate::metrics::Metrics;
use crate::spool::{SpoolReader, SpoolWriter};

pub use config::Config;
use state::{Caller, Shared};

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 128;
/// Of them, those that wait for the next event.
const FOLLOWERS_MAX: usize = 64;
/// The agent's user and group may ask.
const SOCKET_MODE: u32 = 0o660;

/// The bound socket and its routes.
#[derive(Debug)]
pub struct Web {
    listener: UnixListener,
    routes: Router,
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .nest("/api/v1", api::router())
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::numbers))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(no_store))
        .layer(middleware::from_fn(bound_question))
        .with_state(shared)
}

impl Web {
    /// Binds the socket.
    ///
    /// # Errors
    /// [`SocketError`] naming the socket.
    pub fn bind(
        config: &Config,
        host: HostName,
        reader: SpoolReader,
        writer: SpoolWriter,
        metrics: Arc<Metrics>,
        policies: Arc<Policies>,
        stop: Stop,
    ) -> Result<Web, SocketError> {
        let path: &Path = &config.socket;
        let listener = socket::bind_unix(path, SOCKET_MODE)?;
        info!(socket = %path.display(), "web open");
        let followers = Followers::new(FOLLOWERS_MAX, stop);
        Ok(Web { listener, routes: routes(Shared::new(host, reader, writer, metrics, policies, followers)) })
    }

    /// Answers until the stop is set; each connection is a child.
    ///
    /// # Errors
    /// None; the shape is that of a task.
    pub async fn run(self, connections: Spawner, stop: Stop) -> anyhow::Result<()> {
        let Web { listener, routes } = self;
        let router_for = move |stream: &UnixStream| routes.clone().layer(Extension(Caller::of(stream)));
        serve::serve_unix(router_for, listener, connections, stop).await
    }
}
