//! Records of the store in the JSON shapes of the API, and the rules about agents that are not heard.

use std::time::Duration;

use hume_core::Timestamp;
use hume_core::policy::{Policies, RunPolicy};
use hume_core::run::Now;
use hume_proto::rest::{AgentJson, EventJson, GapJson, HostJson, RunContext, RunJson, TaskJson, epoch_text};

use crate::store::{AgentRecord, Gap, HostRecord, RunRecord, TaskRecord};

/// A connected agent that was not heard for this long is called silent: six heartbeats.
pub(super) const AGENT_SILENT_AFTER_US: i64 = 60 * 1_000_000;

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentState {
    Connected,
    Silent,
    Disconnected,
}

impl AgentState {
    /// The state of an agent, and since when.
    pub(super) fn of(agent: &AgentRecord, now: Timestamp) -> (AgentState, Timestamp) {
        match agent.connected_since {
            Some(_) if now.micros_since(agent.seen_at) > AGENT_SILENT_AFTER_US => {
                (AgentState::Silent, agent.seen_at)
            }
            Some(since) => (AgentState::Connected, since),
            None => (AgentState::Disconnected, agent.left_at.unwrap_or(agent.seen_at)),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            AgentState::Connected => "connected",
            AgentState::Silent => "silent",
            AgentState::Disconnected => "disconnected",
        }
    }
}

/// A run as it is shown at `now`.
pub(super) fn run(record: &RunRecord, policies: &Policies, now: Timestamp) -> RunJson {
    let policy = policies.of(&record.state.task());
    let events = record.events.iter().map(EventJson::from).collect();
    RunJson::new(&record.state, context(record, &policy, now), events)
}

fn context<'a>(record: &RunRecord, policy: &'a RunPolicy, now: Timestamp) -> RunContext<'a> {
    let RunRecord { state: _, gaps, events: _, more_events, agent_seen_at, agent_behind_us } = record;
    let agent_silent_us = u64::try_from(now.micros_since(*agent_seen_at)).unwrap_or(0);
    RunContext {
        now: Now::elsewhere(now.plus_micros(-skew_us(*agent_behind_us))),
        agent_silent_for: Duration::from_micros(agent_silent_us),
        gaps: gaps.iter().map(gap).collect(),
        more_events: *more_events,
        policy,
    }
}

/// What a heartbeat on its way may take is no difference of clocks.
const HEARTBEAT_US_MAX: i64 = 2_000_000;

fn skew_us(behind_us: i64) -> i64 {
    if behind_us.abs() > HEARTBEAT_US_MAX { behind_us } else { 0 }
}

fn gap(gap: &Gap) -> GapJson {
    let Gap { epoch, from, to, reason } = gap;
    GapJson { epoch: epoch_text(*epoch), from: from.get(), to: to.get(), reason: reason.clone() }
}

/// A task on a host.
pub(super) fn task(record: &TaskRecord, policies: &Policies, now: Timestamp) -> TaskJson {
    let TaskRecord { task, host: _, latest } = record;
    TaskJson::new(&latest.state, context(latest, &policies.of(task), now))
}

/// A host.
pub(super) fn host(record: &HostRecord, now: Timestamp) -> HostJson {
    let HostRecord { host, agent, tasks, events } = record;
    let (state, _) = AgentState::of(agent, now);
    HostJson {
        host: host.as_str().to_owned(),
        agent: Some(agent.agent),
        state: state.as_str().to_owned(),
        last_seen: Some(agent.seen_at),
        tasks: *tasks,
        events: *events,
    }
}

/// An agent.
pub(super) fn agent(record: &AgentRecord, now: Timestamp) -> AgentJson {
    let (state, since) = AgentState::of(record, now);
    AgentJson {
        agent: Some(record.agent),
        host: record.host.clone(),
        state: state.as_str().to_owned(),
        since: Some(since),
        last_seen: Some(record.seen_at),
        version: Some(record.version.clone()),
        address: Some(record.address.clone()),
        certificate_expires_at: Some(record.certificate_expires_at),
        queued_events: record.queue.events,
        queued_since: record.queue.since,
        acked_events: record.stored_events,
        lost_events: record.missing_events,
        refused_events: record.queue.refused_events,
        last_error: record.queue.last_error.clone(),
        last_error_at: record.queue.last_error_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::AgentId;

    fn agent_record(connected_since: Option<i64>, left_at: Option<i64>, seen_at: i64) -> AgentRecord {
        let at = Timestamp::from_micros;
        AgentRecord {
            agent: AgentId::from_bytes([1; 16]),
            host: "web1".to_owned(),
            connected_since: connected_since.map(at),
            left_at: left_at.map(at),
            seen_at: at(seen_at),
            version: String::new(),
            address: String::new(),
            certificate_expires_at: Timestamp::EPOCH,
            queue: crate::store::QueueStatus::default(),
            about: crate::store::HostWord::default(),
            goodbye_at: None,
            watermark: None,
            behind_us: 0,
            stored_events: 0,
            missing_events: 0,
        }
    }

    #[test]
    fn a_run_on_a_host_whose_clock_is_wrong_is_timed_by_that_clock() {
        assert_eq!((skew_us(1_900_000), skew_us(-1_900_000)), (0, 0), "a heartbeat takes its time");
        assert_eq!((skew_us(3_000_000), skew_us(-315_360_000_000_000)), (3_000_000, -315_360_000_000_000));
    }

    #[test]
    fn an_agent_is_connected_silent_or_gone_and_it_is_said_since_when() {
        let at = Timestamp::from_micros;
        let state = |record| AgentState::of(&record, at(100_000_000));
        assert_eq!(state(agent_record(Some(5), None, 99_000_000)), (AgentState::Connected, at(5)));
        assert_eq!(state(agent_record(Some(5), None, 39_000_000)), (AgentState::Silent, at(39_000_000)));
        assert_eq!(state(agent_record(None, Some(7), 6)), (AgentState::Disconnected, at(7)));
        assert_eq!(state(agent_record(None, None, 6)), (AgentState::Disconnected, at(6)));
    }
}
