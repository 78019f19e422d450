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
        .route("/api/v1/events", get(api::events))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/latest", get(api::latest))
        .route("/api/v1/tasks", get(api::tasks))
        .route("/api/v1/hosts", get(api::hosts))
        .route("/api/v1/agents", get(api::agents))
        .route("/api/v1/status", get(api::report))
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
    ) -> Result<Web, SocketError> {
        let path: &Path = &config.socket;
        let listener = socket::bind_unix(path, SOCKET_MODE)?;
        info!(socket = %path.display(), "web open");
        Ok(Web { listener, routes: routes(Shared::new(host, reader, writer, metrics, policies)) })
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
