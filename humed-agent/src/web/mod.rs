//! Local questions, on a Unix socket: the same `/api/v1` as the master's, over what this host still keeps.
//!
//! The administrator sees everything, another user what came from the same user.

mod api;
mod config;
mod health;
mod problem;
mod state;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hume_core::policy::Policies;
use hume_core::{ErrorClass, HostName};
use hume_runtime::socket::{self, SocketError};
use hume_runtime::task_group::Stop;
use tokio::net::UnixListener;
use tracing::info;

use crate::metrics::Metrics;
use crate::spool::{SpoolReader, SpoolWriter};

pub use config::Config;
use problem::Failure;
use state::{Caller, Shared};

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
        .fallback(async || Failure::new(ErrorClass::NotFound, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Failure::new(ErrorClass::Invalid, "only GET is answered here")
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
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

    /// Answers until the stop is set.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let service = self.routes.into_make_service_with_connect_info::<Caller>();
        let stopped = async move { stop.wait().await };
        axum::serve(self.listener, service).with_graceful_shutdown(stopped).await?;
        Ok(())
    }
}
