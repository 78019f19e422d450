//! `/tasks`, `/hosts`, `/agents`, `/status`: what there is on this host, and how the agent is.

use axum::extract::State;
use axum::{Extension, Json};
use hume_core::filter::{EventFilter, Latest, RunFilter};
use hume_core::page::PAGE_ITEMS_MAX;
use hume_core::run::RunState;
use hume_core::{HostName, Timestamp};
use hume_proto::rest::{AgentJson, AgentList, HostJson, HostList, StatusReport, TaskJson, TaskList};
use hume_proto::web::{Nothing, Params, Refusal};
use hume_runtime::clock;
use hume_runtime::recovery::has_ended;

use super::super::state::{Caller, Shared};
use super::{now, runs};
use crate::metrics::{Uplink, UplinkState};
use crate::spool::{FigureValues, RunEvents, RunRecord, SpoolError, Trouble, Viewer};

/// Items of a list that has no pages. Few in tests, so that they meet it.
const LIST_ITEMS_MAX: usize = if cfg!(test) { 8 } else { hume_proto::rest::LIST_ITEMS_MAX };

/// The latest run of every task on every host that the viewer may see, and whether there are more than the list holds.
async fn latest_of_all(shared: &Shared, viewer: Viewer) -> Result<(Vec<RunRecord>, bool), SpoolError> {
    let filter = RunFilter { latest: Latest::PerTaskAndHost, ..RunFilter::default() };
    let mut latest = Vec::new();
    let mut cursor = None;
    loop {
        // One more than the list holds tells whether there are more.
        let wanted = PAGE_ITEMS_MAX.min(LIST_ITEMS_MAX + 1 - latest.len());
        let page = shared.reader.runs(filter.clone(), viewer, cursor, wanted, RunEvents::Omit).await?;
        latest.extend(page.items);
        cursor = page.next;
        if cursor.is_none() || latest.len() > LIST_ITEMS_MAX {
            break;
        }
    }
    let truncated = latest.len() > LIST_ITEMS_MAX;
    latest.truncate(LIST_ITEMS_MAX);
    Ok((latest, truncated))
}

pub(super) async fn tasks(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: Params<Nothing>,
) -> Result<Json<TaskList>, Refusal> {
    let (latest, truncated) = latest_of_all(&shared, caller.viewer()).await?;
    let now = now();
    let task = |record: &RunRecord| {
        let policy = shared.policies.of(&record.state.task());
        TaskJson::new(&record.state, runs::context(record, &policy, now))
    };
    let mut tasks: Vec<TaskJson> = latest.iter().map(task).collect();
    tasks.sort_by(|one, other| (&one.task, &one.host).cmp(&(&other.task, &other.host)));
    Ok(Json(TaskList { source: shared.source(), tasks, truncated }))
}

pub(super) async fn hosts(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    _: Params<Nothing>,
) -> Result<Json<HostList>, Refusal> {
    let (latest, truncated) = latest_of_all(&shared, caller.viewer()).await?;
    let runs: Vec<&RunState> = latest.iter().map(|record| &record.state).collect();
    let newest = shared.reader.events(EventFilter::default(), caller.viewer(), None, 1).await?;
    let mut names: Vec<&str> = runs.iter().map(|run| run.host()).chain([shared.host.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    let mut hosts = Vec::with_capacity(names.len());
    for name in names {
        let own = name == shared.host.as_str();
        let filter = EventFilter { host: HostName::parse(name).ok(), ..EventFilter::default() };
        let events = shared.reader.count_events(filter, caller.viewer()).await?;
        hosts.push(HostJson {
            host: name.to_owned(),
            agent: shared.reader.agent(),
            state: if own { "local" } else { "reported" }.to_owned(),
            last_seen: if own { newest.items.first().map(|stored| stored.event.received_at) } else { None },
            tasks: runs.iter().filter(|run| run.host() == name).count() as u64,
            events,
        });
    }
    Ok(Json(HostList { source: shared.source(), hosts, truncated }))
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
        lost_events: figures.evicted + figures.unreadable,
        refused_events: figures.refused,
        last_error: uplink.last_error.as_ref().map(|(text, _)| text.clone()),
        last_error_at: uplink.last_error.map(|(_, at)| at),
    })
}

pub(super) async fn agents(
    State(shared): State<Shared>,
    _: Params<Nothing>,
) -> Result<Json<AgentList>, Refusal> {
    Ok(Json(AgentList { source: shared.source(), agents: vec![own(&shared).await?], truncated: false }))
}

pub(super) async fn status(
    State(shared): State<Shared>,
    _: Params<Nothing>,
) -> Result<Json<StatusReport>, Refusal> {
    let figures = shared.writer.figures().get();
    Ok(Json(StatusReport {
        source: shared.source(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: shared.started_at,
        state: condition(&figures, &shared.metrics.uplink(), clock::now()),
        events: figures.events,
        store_bytes: figures.file_bytes,
        agents: vec![own(&shared).await?],
        truncated: false,
    }))
}

/// `ready`, or what is wrong.
fn condition(figures: &FigureValues, uplink: &Uplink, now: Timestamp) -> String {
    let mut wrong = Vec::new();
    if let Some(Trouble { cause, since }) = figures.trouble {
        wrong.push(format!("the disk of the spool fails since {since}, new events are refused: {cause}"));
    }
    if figures.full {
        wrong.push("the spool is full, new events are refused".to_owned());
    }
    if figures.reserved && !figures.full {
        wrong.push("the spool is nearly full, what is left is for root".to_owned());
    }
    if figures.disk_full {
        wrong.push("the disk of the spool is full, new events are refused".to_owned());
    }
    if figures.set_aside > 0 {
        let FigureValues { set_aside, saved, unreadable, .. } = figures;
        wrong.push(format!(
            "{set_aside} damaged spools lie beside the one in use; since the start {saved} events were saved from them and \
             {unreadable} were lost"
        ));
    }
    match uplink.state {
        UplinkState::Alone | UplinkState::Connected => {}
        UplinkState::Disconnected => {
            wrong.push(format!("no connection to the master since {}", uplink.since));
            if let Some(ended) = uplink.certificate_expires_at.filter(|end| has_ended(*end, now)) {
                wrong.push(format!("the certificate of this host ended at {ended}"));
            }
        }
    }
    if wrong.is_empty() { "ready".to_owned() } else { wrong.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_ready_or_says_what_is_wrong() {
        let figures = |full| FigureValues { full, ..FigureValues::default() };
        let uplink = |state| Uplink { state, since: Timestamp::EPOCH, ..Uplink::default() };
        for state in [UplinkState::Alone, UplinkState::Connected] {
            assert_eq!(condition(&figures(false), &uplink(state), Timestamp::EPOCH), "ready");
        }
        assert_eq!(
            condition(&figures(true), &uplink(UplinkState::Disconnected), Timestamp::EPOCH),
            "the spool is full, new events are refused; no connection to the master since 1970-01-01T00:00:00.000000Z"
        );
        let end = Timestamp::from_micros(1_000_000);
        let ended = Uplink { certificate_expires_at: Some(end), ..uplink(UplinkState::Disconnected) };
        let words = "no connection to the master since 1970-01-01T00:00:00.000000Z; \
             the certificate of this host ended at 1970-01-01T00:00:01.000000Z";
        assert_eq!(condition(&figures(false), &ended, end.plus_micros(1_000_000)), words);
        assert_eq!(condition(&figures(false), &ended, end), words.split("; ").next().unwrap());
        let reserved = FigureValues { reserved: true, ..figures(false) };
        let words = "the spool is nearly full, what is left is for root";
        assert_eq!(condition(&reserved, &uplink(UplinkState::Alone), Timestamp::EPOCH), words);
        let trouble = Some(Trouble { cause: "disk I/O error", since: Timestamp::EPOCH });
        let bad = FigureValues {
            trouble,
            disk_full: true,
            set_aside: 2,
            saved: 7,
            unreadable: 3,
            ..figures(false)
        };
        assert_eq!(
            condition(&bad, &uplink(UplinkState::Alone), Timestamp::EPOCH),
            "the disk of the spool fails since 1970-01-01T00:00:00.000000Z, new events are refused: disk I/O error; \
             the disk of the spool is full, new events are refused; 2 damaged spools lie beside the one in use; \
             since the start 7 events were saved from them and 3 were lost"
        );
    }
}
