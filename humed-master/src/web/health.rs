//! For load balancers and monitoring: alive, ready, and the figures.

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use hume_core::scope::{Role, Scope};
use hume_proto::web::Refusal;
use hume_runtime::clock;

use super::auth::Asker;
use super::shapes::AgentState;
use super::state::WebState;
use crate::metrics::{AgentCounts, CONTENT_TYPE as METRICS_TYPE, Reading};

/// The process runs.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The store answers.
pub(super) async fn ready(State(state): State<WebState>) -> Result<&'static str, Refusal> {
    state.store.size().await?;
    Ok("ready\n")
}

/// All figures, as OpenMetrics text. Where a token is asked for, it must be an operator's.
pub(super) async fn metrics(
    State(state): State<WebState>,
    asker: Option<Extension<Asker>>,
) -> Result<impl IntoResponse, Refusal> {
    if let Some(Extension(asker)) = asker {
        asker.needs(Role::Operator)?;
    }
    let (size, agents) = (state.store.size().await?, state.store.agents(Scope::default()).await?);
    let now = clock::now();
    let mut counts = AgentCounts::default();
    for agent in &agents.items {
        match AgentState::of(agent, now).0 {
            AgentState::Connected => counts.connected += 1,
            AgentState::Silent => counts.silent += 1,
            AgentState::Disconnected => counts.disconnected += 1,
        }
    }
    let reading = Reading { now, agents: counts, store_bytes: size.bytes, store_events: size.events };
    Ok(([(CONTENT_TYPE, METRICS_TYPE)], state.metrics.text(reading)))
}
