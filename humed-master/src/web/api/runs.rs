//! `/runs` and `/latest`: a page of runs, or their number.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hume_core::filter::{Latest, RunFilter};
use hume_core::page::RunCursor;
use hume_proto::rest::{Count, RunList, RunQuery, page_items};
use hume_proto::web::{Params, Refusal};
use hume_runtime::clock;

use super::super::auth::Asker;
use super::super::shapes;
use super::super::state::WebState;
use crate::store::RunEvents;

pub(super) async fn list(
    state: State<WebState>,
    asker: Extension<Asker>,
    query: Params<RunQuery>,
) -> Result<Response, Refusal> {
    answer(state, asker, query, Latest::No).await
}

pub(super) async fn latest(
    state: State<WebState>,
    asker: Extension<Asker>,
    query: Params<RunQuery>,
) -> Result<Response, Refusal> {
    answer(state, asker, query, Latest::PerTaskAndHost).await
}

async fn answer(
    State(state): State<WebState>,
    Extension(asker): Extension<Asker>,
    Params(query): Params<RunQuery>,
    latest: Latest,
) -> Result<Response, Refusal> {
    let filter = RunFilter { scope: asker.scope, ..query.filter(latest)? };
    let limit = page_items(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse::<RunCursor>).transpose()?;
    if query.count == Some(true) {
        let count = state.store.count_runs(filter).await?;
        return Ok(Json(Count { source: state.source(), count }).into_response());
    }
    let events = if query.events == Some(true) { RunEvents::Include } else { RunEvents::Omit };
    let page = state.store.runs(filter, limit, after, events).await?;
    let now = clock::now();
    Ok(Json(RunList {
        source: state.source(),
        runs: page.items.iter().map(|record| shapes::run(record, &state.policies, now)).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    })
    .into_response())
}
