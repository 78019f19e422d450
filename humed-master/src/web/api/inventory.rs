//! `/tasks`, `/hosts`, `/agents`, `/status`: what there is.

use axum::Json;
use axum::extract::State;
use hume_proto::rest::{AgentJson, AgentList, HostList, StatusReport, TaskList};
use hume_proto::web::{Nothing, Params, Refusal};
use hume_runtime::clock;

use super::super::shapes;
use super::super::state::WebState;

pub(super) async fn tasks(
    State(state): State<WebState>,
    _: Params<Nothing>,
) -> Result<Json<TaskList>, Refusal> {
    let (records, now) = (state.store.tasks().await?, clock::now());
    let tasks = records.iter().map(|record| shapes::task(record, &state.policies, now)).collect();
    Ok(Json(TaskList { source: state.source(), tasks }))
}

pub(super) async fn hosts(
    State(state): State<WebState>,
    _: Params<Nothing>,
) -> Result<Json<HostList>, Refusal> {
    let (records, now) = (state.store.hosts().await?, clock::now());
    let hosts = records.iter().map(|record| shapes::host(record, now)).collect();
    Ok(Json(HostList { source: state.source(), hosts }))
}

pub(super) async fn agents(
    State(state): State<WebState>,
    _: Params<Nothing>,
) -> Result<Json<AgentList>, Refusal> {
    Ok(Json(AgentList { source: state.source(), agents: agents_now(&state).await? }))
}

pub(super) async fn status(
    State(state): State<WebState>,
    _: Params<Nothing>,
) -> Result<Json<StatusReport>, Refusal> {
    let size = state.store.size().await?;
    Ok(Json(StatusReport {
        source: state.source(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: state.metrics.started_at(),
        state: "ready".to_owned(),
        events: size.events,
        store_bytes: size.bytes,
        agents: agents_now(&state).await?,
    }))
}

async fn agents_now(state: &WebState) -> Result<Vec<AgentJson>, Refusal> {
    let (records, now) = (state.store.agents().await?, clock::now());
    Ok(records.iter().map(|record| shapes::agent(record, now)).collect())
}
