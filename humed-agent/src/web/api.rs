//! Answers about events, runs and this agent, in the shapes of `hume_proto::rest`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hume_core::event::BootClock;
use hume_core::filter::{EventFilter, Latest, RunFilter};
use hume_core::name::BootId;
use hume_core::page::{PAGE_ITEMS_MAX, RunCursor};
use hume_core::policy::RunPolicy;
use hume_core::run::{Now, RunState};
use hume_proto::rest::{
    AgentJson, AgentList, Count, EventJson, EventList, EventQuery, HostJson, HostList, RunContext, RunJson,
    RunList, RunQuery, StatusReport, TaskJson, TaskList, page_items,
};
use hume_proto::web::{Nothing, Params, Refusal};
use hume_runtime::clock;

use super::state::{Caller, Shared};
use crate::metrics::UplinkState;
use crate::spool::{SpoolError, Viewer};

/// Events that come with one run.
const RUN_EVENTS_MAX: usize = 10_000;
/// A page of runs ends when it has more events than this; the rest is on the next.
const ANSWER_EVENTS_MAX: usize = 20_000;

pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Params(asked): Params<EventQuery>,
) -> Result<Response, Refusal> {
    let filter = asked.filter()?;
    let source = shared.source();
    if asked.count == Some(true) {
        let count = shared.reader.count_events(filter, caller.viewer()).await?;
        return Ok(Json(Count { source, count }).into_response());
    }
    let cursor = asked.cursor.as_deref().map(str::parse).transpose()?;
    let page = shared.reader.events(filter, caller.viewer(), cursor, page_items(asked.limit)?).await?;
    let events = page.items.iter().map(EventJson::from).collect();
    Ok(Json(EventList { source, events, next: page.next.map(|next| next.to_string()) }).into_response())
}

pub(super) async fn runs(
    shared: State<Shared>,
    caller: Extension<Caller>,
    Params(asked): Params<RunQuery>,
) -> Result<Response, Refusal> {
    list_runs(shared.0, caller.0, asked, Latest::No).await
}

pub(super) async fn latest(
    shared: State<Shared>,
    caller: Extension<Caller>,
    Params(asked): Params<RunQuery>,
) -> Result<Response, Refusal> {
    list_runs(shared.0, caller.0, asked, Latest::PerTaskAndHost).await
}

async fn list_runs(
    shared: Shared,
    caller: Caller,
    asked: RunQuery,
    latest: Latest,
) -> Result<Response, Refusal> {
    let filter = asked.filter(latest)?;
    let source = shared.source();
    if asked.count == Some(true) {
        let count = shared.reader.count_runs(filter, caller.viewer()).await?;
        return Ok(Json(Count { source, count }).into_response());
    }
    let cursor = asked.cursor.as_deref().map(str::parse).transpose()?;
    let page = shared.reader.runs(filter, caller.viewer(), cursor, page_items(asked.limit)?).await?;
    let with_events = asked.events.unwrap_or(false);
    let (mut runs, mut next, mut events_sum) = (Vec::with_capacity(page.items.len()), page.next, 0);
    for run in &page.items {
        let events =
            if with_events { shared.reader.run_events(run.id(), RUN_EVENTS_MAX).await? } else { Vec::new() };
        events_sum += events.len();
        let policy = shared.policies.of(&run.task());
        runs.push(RunJson::new(run, context(&policy), events.iter().map(EventJson::from).collect()));
        if events_sum > ANSWER_EVENTS_MAX {
            next = Some(RunCursor { started_at: run.started_at(), run: run.id() });
            break;
        }
    }
    Ok(Json(RunList { source, runs, next: next.map(|next| next.to_string()) }).into_response())
}

/// On the host itself: its boot clock is at hand, and its agent is never silent. Its own spool has no gaps: what it
/// forgot, it forgot in order and by its retention.
fn context(policy: &RunPolicy) -> RunContext<'_> {
    RunContext { now: now(), agent_silent_for: Duration::ZERO, gaps: Vec::new(), policy }
}

fn now() -> Now {
    match clock::boot_id() {
        Some(boot) => {
            let boot = BootId::from_bytes(*boot.as_bytes());
            Now::here(clock::now(), BootClock { boot, micros: clock::boottime_us() })
        }
        None => Now::elsewhere(clock::now()),
    }
}

/// The latest run of every task on every host that the caller may see.
async fn latest_of_all(shared: &Shared, viewer: Viewer) -> Result<Vec<RunState>, SpoolError> {
    let filter = RunFilter { latest: Latest::PerTaskAndHost, ..RunFilter::default() };
    let mut runs = Vec::new();
    let mut cursor = None;
    loop {
        let page = shared.reader.runs(filter.clone(), viewer, cursor, PAGE_ITEMS_MAX).await?;
        runs.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(runs);
        }
    }
}

pub(super) async fn tasks(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: Params<Nothing>,
) -> Result<Json<TaskList>, Refusal> {
    let runs = latest_of_all(&shared, caller.viewer()).await?;
    let task = |run: &RunState| TaskJson::new(run, context(&shared.policies.of(&run.task())));
    let mut tasks: Vec<TaskJson> = runs.iter().map(task).collect();
    tasks.sort_by(|one, other| (&one.task, &one.host).cmp(&(&other.task, &other.host)));
    Ok(Json(TaskList { source: shared.source(), tasks }))
}

pub(super) async fn hosts(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: Params<Nothing>,
) -> Result<Json<HostList>, Refusal> {
    let runs = latest_of_all(&shared, caller.viewer()).await?;
    let newest = shared.reader.events(EventFilter::default(), caller.viewer(), None, 1).await?;
    let mut names: Vec<&str> = runs.iter().map(RunState::host).chain([shared.host.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    let mut hosts = Vec::with_capacity(names.len());
    for name in names {
        let own = name == shared.host.as_str();
        let host = hume_core::HostName::parse(name).ok();
        let events = shared
            .reader
            .count_events(EventFilter { host, ..EventFilter::default() }, caller.viewer())
            .await?;
        hosts.push(HostJson {
            host: name.to_owned(),
            agent: shared.reader.agent(),
            state: if own { "local" } else { "reported" }.to_owned(),
            last_seen: if own { newest.items.first().map(|stored| stored.event.received_at) } else { None },
            tasks: runs.iter().filter(|run| run.host() == name).count() as u64,
            events,
        });
    }
    Ok(Json(HostList { source: shared.source(), hosts }))
}

async fn own(shared: &Shared) -> Result<AgentJson, SpoolError> {
    let uplink = shared.metrics.uplink();
    let figures = shared.writer.figures().get();
    let acked = shared.reader.epochs().await?.iter().map(|epoch| epoch.acked.get()).sum();
    // Without a master nothing waits for one.
    let waiting = uplink.state != UplinkState::Alone && figures.unacked_events > 0;
    Ok(AgentJson {
        agent: shared.reader.agent(),
        host: shared.host.as_str().to_owned(),
        state: uplink.state.as_str().to_owned(),
        since: Some(if uplink.state == UplinkState::Alone { shared.started_at } else { uplink.since }),
        last_seen: Some(clock::now()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        address: uplink.address,
        certificate_expires_at: uplink.certificate_expires_at,
        queued_events: if waiting { figures.unacked_events } else { 0 },
        queued_since: if waiting { shared.reader.oldest_unacked().await? } else { None },
        acked_events: acked,
        last_error: uplink.last_error.as_ref().map(|(text, _)| text.clone()),
        last_error_at: uplink.last_error.map(|(_, at)| at),
    })
}

pub(super) async fn agents(
    State(shared): State<Shared>,
    _: Params<Nothing>,
) -> Result<Json<AgentList>, Refusal> {
    Ok(Json(AgentList { source: shared.source(), agents: vec![own(&shared).await?] }))
}

pub(super) async fn report(
    State(shared): State<Shared>,
    _: Params<Nothing>,
) -> Result<Json<StatusReport>, Refusal> {
    let figures = shared.writer.figures().get();
    Ok(Json(StatusReport {
        source: shared.source(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: shared.started_at,
        state: "ready".to_owned(),
        events: figures.events,
        store_bytes: figures.file_bytes,
        agents: vec![own(&shared).await?],
    }))
}
