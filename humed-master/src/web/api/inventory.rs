//! `/tasks`, `/hosts`, `/agents`, `/status`: what there is.

use axum::extract::State;
use axum::{Extension, Json};
use hume_core::scope::{Role, Scope};
use hume_proto::rest::{AgentJson, AgentList, HostList, StatusReport, TaskList};
use hume_proto::web::{Nothing, Params, Refusal};
use hume_runtime::clock;

use super::super::auth::Asker;
use super::super::shapes;
use super::super::state::WebState;
use crate::metrics::Metrics;
use crate::store::Roll;

pub(super) async fn tasks(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    _: Params<Nothing>,
) -> Result<Json<TaskList>, Refusal> {
    let (Roll { items, truncated }, now) = (state.store.tasks(asker.scope).await?, clock::now());
    let tasks = items.iter().map(|record| shapes::task(record, &state.policies, now)).collect();
    Ok(Json(TaskList { source: state.source(), tasks, truncated }))
}

pub(super) async fn hosts(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    _: Params<Nothing>,
) -> Result<Json<HostList>, Refusal> {
    let (Roll { items, truncated }, now) = (state.store.hosts(asker.scope).await?, clock::now());
    let hosts = items.iter().map(|record| shapes::host(record, now)).collect();
    Ok(Json(HostList { source: state.source(), hosts, truncated }))
}

pub(super) async fn agents(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    _: Params<Nothing>,
) -> Result<Json<AgentList>, Refusal> {
    asker.needs(Role::Operator)?;
    let Roll { items: agents, truncated } = agents_now(&state, asker.scope).await?;
    Ok(Json(AgentList { source: state.source(), agents, truncated }))
}

pub(super) async fn status(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    _: Params<Nothing>,
) -> Result<Json<StatusReport>, Refusal> {
    asker.needs(Role::Operator)?;
    let size = state.store.size().await?;
    // Whoever sees a part is told the size of that.
    let events = if asker.scope.is_all() {
        size.events
    } else {
        state.store.hosts(asker.scope.clone()).await?.items.iter().map(|host| host.events).sum()
    };
    let Roll { items: agents, truncated } = agents_now(&state, asker.scope).await?;
    Ok(Json(StatusReport {
        source: state.source(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: state.metrics.started_at(),
        state: condition(&state.metrics),
        events,
        store_bytes: size.bytes,
        agents,
        truncated,
    }))
}

/// In words what is wrong, or `ready`.
fn condition(metrics: &Metrics) -> String {
    let wrong = metrics.troubles();
    if wrong.is_empty() { "ready".to_owned() } else { wrong.join("; ") }
}

async fn agents_now(state: &WebState, scope: Scope) -> Result<Roll<AgentJson>, Refusal> {
    let (Roll { items, truncated }, now) = (state.store.agents(scope).await?, clock::now());
    Ok(Roll { items: items.iter().map(|record| shapes::agent(record, now)).collect(), truncated })
}
