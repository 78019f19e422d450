//! `/runs` and `/latest`: a page of runs, or their number.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hume_core::filter::Latest;
use hume_core::page::RunCursor;
use hume_core::policy::{Policies, RunPolicy};
use hume_core::run::Now;
use hume_proto::relay::GapReason;
use hume_proto::rest::{
    Count, EventJson, GapJson, RunContext, RunJson, RunList, RunQuery, epoch_text, page_items,
};
use hume_proto::web::{Params, Refusal};

use super::super::state::{Caller, Shared};
use super::now;
use crate::spool::{FirstErrorFor, Forgotten, RunEvents, RunRecord};

pub(super) async fn list(
    shared: State<Shared>,
    caller: Extension<Caller>,
    query: Params<RunQuery>,
) -> Result<Response, Refusal> {
    answer(shared, caller, query, Latest::No).await
}

pub(super) async fn latest(
    shared: State<Shared>,
    caller: Extension<Caller>,
    query: Params<RunQuery>,
) -> Result<Response, Refusal> {
    answer(shared, caller, query, Latest::PerTaskAndHost).await
}

async fn answer(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<RunQuery>,
    latest: Latest,
) -> Result<Response, Refusal> {
    let filter = query.filter(latest)?;
    let limit = page_items(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse::<RunCursor>).transpose()?;
    let (source, viewer) = (shared.source(), caller.viewer());
    if query.count == Some(true) {
        let count = shared.reader.count_runs(filter, viewer).await?;
        return Ok(Json(Count { source, count }).into_response());
    }
    let events = if query.events == Some(true) { RunEvents::Include } else { RunEvents::Omit };
    let page = shared.reader.runs(filter, viewer, after, limit, events).await?;
    let now = now();
    let runs = page.items.iter().map(|record| run(record, &shared.policies, now)).collect();
    Ok(Json(RunList { source, runs, next: page.next.map(|next| next.to_string()) }).into_response())
}

/// A run as it is shown.
fn run(record: &RunRecord, policies: &Policies, now: Now) -> RunJson {
    let policy = policies.of(&record.state.task());
    let events = record.events.iter().map(EventJson::from).collect();
    let mut run = RunJson::new(&record.state, context(record, &policy, now), events);
    match record.first_error {
        FirstErrorFor::Viewer => {}
        FirstErrorFor::Others => run.summary.first_error = None,
    }
    run
}

/// On the host itself its agent is never silent.
pub(super) fn context<'a>(record: &RunRecord, policy: &'a RunPolicy, now: Now) -> RunContext<'a> {
    let gap = |Forgotten { epoch, from, to }: &Forgotten| GapJson {
        epoch: epoch_text(*epoch),
        from: from.get(),
        to: to.get(),
        reason: GapReason::Evicted.as_str().to_owned(),
    };
    RunContext {
        now,
        agent_silent_for: Duration::ZERO,
        gaps: record.forgotten.iter().map(gap).collect(),
        more_events: record.more_events,
        policy,
    }
}
