//! Whether a host can be reached, and when silence means nothing since too many are silent at once.
//!
//! [`HostState::of`] judges one host by what its agent last said. A [`Gathering`] counts all agents of a master: after a start
//! it waits for them to come back, and when many are lost at once it is not they who failed, so nothing is concluded.

use std::collections::VecDeque;
use std::time::Duration;

use crate::slot::plus;
use crate::time::Timestamp;

/// A host that is silent for so long cannot be reached, unless said otherwise.
pub const AGENT_DOWN_AFTER: Duration = Duration::from_mins(2);
/// A host whose watermark is so far behind lags.
pub const LAGGING_AFTER: Duration = Duration::from_mins(2);
/// An agent that said goodbye is only restarting for so long.
pub const RESTART_MAX: Duration = Duration::from_mins(10);
/// After its own start a master waits so long for its agents, unless said otherwise.
pub const RECONNECT_GRACE: Duration = Duration::from_mins(1);
/// More than this share of all agents, lost within [`LOST_WITHIN`], is no fault of theirs.
pub const LOST_PERCENT: usize = 20;
/// How close together agents must be lost to count as lost at once.
pub const LOST_WITHIN: Duration = Duration::from_mins(2);
/// Fewer agents are never too many at once.
pub const LOST_MIN: usize = 3;
/// After so long it is no longer the moment's fault, and hosts are judged again.
pub const INCIDENT_MAX: Duration = Duration::from_hours(1);

/// What is known of a host's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its session is open.
    pub is_connected: bool,
    /// The last sign of life.
    pub seen_at: Timestamp,
    /// Everything that happened on the host until then was delivered.
    pub watermark: Timestamp,
    /// When it said goodbye, if that was the last it said.
    pub left_at: Option<Timestamp>,
    /// Nothing is expected of it any more.
    pub is_decommissioned: bool,
}

/// Whether a host can be reached. Its words are those of lists and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostState {
    /// Its agent is there, and everything was delivered.
    Connected,
    /// Its agent is there, and much is yet to be delivered.
    Lagging,
    /// Its agent stopped in good order, and should be back.
    Restarting,
    /// Its agent is silent, and did not say why.
    Unreachable,
    /// Nothing is expected of it any more.
    Decommissioned,
}

impl HostState {
    /// The word used in JSON and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            HostState::Connected => "connected",
            HostState::Lagging => "lagging",
            HostState::Restarting => "restarting",
            HostState::Unreachable => "unreachable",
            HostState::Decommissioned => "decommissioned",
        }
    }

    /// What the host is now, and when that changes if nothing else happens.
    pub fn of(seen: &Sighting, now: Timestamp, down_after: Duration) -> (HostState, Option<Timestamp>) {
        if seen.is_decommissioned {
            return (HostState::Decommissioned, None);
        }
        if let Some(left_at) = seen.left_at.filter(|_| !seen.is_connected) {
            let back_by = plus(left_at, RESTART_MAX);
            return if now < back_by {
                (HostState::Restarting, Some(back_by))
            } else {
                (HostState::Unreachable, None)
            };
        }
        // A session that says nothing is as good as none.
        let down_at = plus(seen.seen_at, down_after);
        let lags_at = plus(seen.watermark, LAGGING_AFTER);
        match (now < down_at, now < lags_at) {
            (false, _) => (HostState::Unreachable, None),
            (true, false) => (HostState::Lagging, Some(down_at)),
            (true, true) => (HostState::Connected, Some(down_at.min(lags_at))),
        }
    }
}

/// Whether anything may be concluded from silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may.
    None,
    /// Not before this: the master has just started.
    Starting(Timestamp),
    /// Not before this: many agents were lost at once. One alert says so, instead of many.
    Incident(Timestamp),
}

/// All agents that are expected to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathering {
    known: usize,
    connected: usize,
    /// Until when a start is waited for; none once all are back.
    starting: Option<Timestamp>,
    losses: VecDeque<Timestamp>,
    /// Until when an incident goes on, and how many were connected before it.
    incident: Option<(Timestamp, usize)>,
}

impl Gathering {
    /// A master starts that knows so many agents.
    pub fn begin(now: Timestamp, known: usize, grace: Duration) -> Gathering {
        let starting = (known > 0).then(|| plus(now, grace));
        Gathering { known, connected: 0, starting, losses: VecDeque::new(), incident: None }
    }

    /// An agent comes, for the first time or again.
    pub fn came(&mut self) {
        self.connected += 1;
        self.known = self.known.max(self.connected);
        if self.connected >= self.known {
            self.starting = None;
        }
        // So many of them are back that those who are not have to answer for themselves.
        if self
            .incident
            .is_some_and(|(_, before)| !is_too_many(before.saturating_sub(self.connected), before))
        {
            self.incident = None;
            self.losses.clear();
        }
    }

    /// An agent says goodbye: it is known why it is silent.
    pub fn left(&mut self) {
        self.connected = self.connected.saturating_sub(1);
    }

    /// An agent is lost without a word.
    pub fn lost(&mut self, now: Timestamp) {
        self.connected = self.connected.saturating_sub(1);
        self.losses.push_back(now);
        while self.losses.front().is_some_and(|first| plus(*first, LOST_WITHIN) < now) {
            self.losses.pop_front();
        }
        let before = self.connected + self.losses.len();
        if self.incident.is_none() && is_too_many(self.losses.len(), before) {
            self.incident = Some((plus(now, INCIDENT_MAX), before));
        }
    }

    /// An agent is not expected any more; it was counted as gone before.
    pub fn decommissioned(&mut self) {
        self.known = self.known.saturating_sub(1);
    }

    /// Whether judgement is held now.
    pub fn hold(&self, now: Timestamp) -> Hold {
        let starting = self.starting.filter(|until| now < *until);
        let incident = self.incident.map(|(until, _)| until).filter(|until| now < *until);
        match (incident, starting) {
            (Some(until), _) => Hold::Incident(until),
            (None, Some(until)) => Hold::Starting(until),
            (None, None) => Hold::None,
        }
    }
}

fn is_too_many(lost: usize, of: usize) -> bool {
    lost >= LOST_MIN && lost * 100 > of * LOST_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    const SEEN: Sighting = Sighting {
        is_connected: true,
        seen_at: Timestamp::EPOCH,
        watermark: Timestamp::EPOCH,
        left_at: None,
        is_decommissioned: false,
    };

    fn state(seen: Sighting, now: i64) -> (&'static str, Option<i64>) {
        let (state, until) = HostState::of(&seen, at(now), AGENT_DOWN_AFTER);
        (state.as_str(), until.map(|until| until.as_micros() / 1_000_000))
    }

    #[test]
    fn a_host_is_unreachable_when_its_agent_was_silent_for_two_minutes() {
        assert_eq!(state(SEEN, 119), ("connected", Some(120)));
        assert_eq!(state(SEEN, 120), ("unreachable", None));
        let cut = Sighting { is_connected: false, ..SEEN };
        assert_eq!(state(cut, 119), ("connected", Some(120)), "a short cut is none of people's business");
    }

    #[test]
    fn a_host_whose_watermark_is_behind_lags() {
        let behind = Sighting { seen_at: at(500), ..SEEN };
        assert_eq!(state(behind, 505), ("lagging", Some(620)));
        assert_eq!(state(Sighting { watermark: at(499), ..behind }, 505), ("connected", Some(619)));
    }

    #[test]
    fn a_clean_stop_is_told_from_a_crash() {
        let stopped = Sighting { is_connected: false, left_at: Some(at(10)), ..SEEN };
        assert_eq!(state(stopped, 300), ("restarting", Some(610)));
        assert_eq!(state(stopped, 610), ("unreachable", None));
        assert_eq!(state(Sighting { is_decommissioned: true, ..stopped }, 9999), ("decommissioned", None));
    }

    fn gathered(agents: usize) -> Gathering {
        let mut gathering = Gathering::begin(at(0), agents, RECONNECT_GRACE);
        (0..agents).for_each(|_| gathering.came());
        gathering
    }

    #[test]
    fn after_a_start_all_agents_are_waited_for_but_not_for_ever() {
        let mut gathering = Gathering::begin(at(0), 3, RECONNECT_GRACE);
        gathering.came();
        gathering.came();
        assert_eq!(gathering.hold(at(59)), Hold::Starting(at(60)));
        assert_eq!(gathering.hold(at(60)), Hold::None);
        gathering.came();
        assert_eq!(gathering.hold(at(10)), Hold::None, "all are back");
        assert_eq!(Gathering::begin(at(0), 0, RECONNECT_GRACE).hold(at(0)), Hold::None);
    }

    #[test]
    fn many_agents_lost_at_once_are_an_incident_until_most_are_back() {
        let mut gathering = gathered(100);
        (0..20).for_each(|second| gathering.lost(at(1000 + second)));
        assert_eq!(gathering.hold(at(1020)), Hold::None, "a fifth is not more than a fifth");
        gathering.lost(at(1021));
        assert_eq!(gathering.hold(at(1021)), Hold::Incident(at(1021 + 3600)));
        gathering.came();
        assert_eq!(gathering.hold(at(1022)), Hold::None);
        (0..30).for_each(|_| gathering.lost(at(2000)));
        assert_eq!(gathering.hold(at(2000 + 3600)), Hold::None, "they are judged in the end");
    }

    #[test]
    fn losses_far_apart_few_agents_and_those_that_say_goodbye_are_no_incident() {
        let mut slow = gathered(100);
        (0..30).for_each(|place| slow.lost(at(1000 + place * 10)));
        assert_eq!(slow.hold(at(1500)), Hold::None);
        let mut few = gathered(2);
        (0..2).for_each(|_| few.lost(at(1000)));
        assert_eq!(few.hold(at(1000)), Hold::None);
        let mut polite = gathered(100);
        (0..90).for_each(|_| polite.left());
        assert_eq!(polite.hold(at(1000)), Hold::None);
    }
}
