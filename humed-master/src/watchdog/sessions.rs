//! What the heartbeats say: how far the watermark of each agent is, and whether anything may be concluded from silence. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use hume_core::reach::{Gathering, Hold};
use hume_core::{AgentId, Timestamp};

use crate::store::{SessionNo, SessionSeen};

/// What a heartbeat on its way may take is no difference of clocks.
const HEARTBEAT_US_MAX: i64 = 2_000_000;

/// By how much the times of an agent are to be moved, so that they are those of the master.
pub(super) fn skew_us(behind_us: i64) -> i64 {
    if behind_us.abs() > HEARTBEAT_US_MAX { behind_us } else { 0 }
}

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    gathering: Option<Gathering>,
    /// All that were there.
    met: HashMap<AgentId, SessionNo>,
    /// Those that said how far they are.
    present: HashMap<AgentId, SessionNo>,
    watermarks: HashMap<AgentId, Timestamp>,
    /// Agents whose watermark moved since [`looked`](Sessions::looked).
    fresh: BTreeSet<AgentId>,
}

impl Sessions {
    /// The master starts, and knows so many agents.
    pub(super) fn begin(&mut self, now: Timestamp, known: usize, grace: Duration) {
        self.gathering.get_or_insert_with(|| Gathering::begin(now, known, grace));
    }

    /// Whether others are there than before.
    pub(super) fn meet(&mut self, seen: &[SessionSeen]) -> bool {
        let there: HashMap<_, _> = seen.iter().map(|one| (one.agent, one.session)).collect();
        let is_other = there != self.met;
        self.met = there;
        is_other
    }

    /// What is known by now. Everything that the watermarks in it speak of was taken in. Of who is gone it is known whether he said
    /// goodbye.
    pub(super) fn update(
        &mut self,
        seen: &[SessionSeen],
        now: Timestamp,
        down_after: Duration,
        said_goodbye: impl Fn(AgentId) -> bool,
    ) {
        let Some(gathering) = &mut self.gathering else { return };
        let down_us = i64::try_from(down_after.as_micros()).unwrap_or(i64::MAX);
        let is_heard = |one: &&SessionSeen| now.micros_since(one.seen_at) < down_us;
        let mut gone = std::mem::take(&mut self.present);
        for one in seen.iter().filter(is_heard) {
            let Some(watermark) = one.watermark else { continue };
            // Only who has said how far he is is back: before that silence would still mean something.
            if gone.remove(&one.agent).is_none() {
                gathering.came();
            }
            self.present.insert(one.agent, one.session);
            let watermark = watermark.plus_micros(skew_us(one.behind_us));
            if self.watermarks.insert(one.agent, watermark) != Some(watermark) {
                self.fresh.insert(one.agent);
            }
        }
        for agent in gone.into_keys() {
            if said_goodbye(agent) {
                gathering.left();
            } else {
                gathering.lost(now);
            }
        }
    }

    /// Whether judgement is held now.
    pub(super) fn hold(&self, now: Timestamp) -> Hold {
        self.gathering.as_ref().map_or(Hold::None, |gathering| gathering.hold(now))
    }

    /// Everything that happened on the hosts of this agent until then was taken in.
    pub(super) fn watermark(&self, agent: AgentId) -> Timestamp {
        self.watermarks.get(&agent).copied().unwrap_or(Timestamp::EPOCH)
    }

    /// Agents whose watermark moved since the last look.
    pub(super) fn fresh(&self) -> &BTreeSet<AgentId> {
        &self.fresh
    }

    /// All that was due by these watermarks was looked at.
    pub(super) fn looked(&mut self) {
        self.fresh.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn seen(agent: u8, second: i64, watermark: Option<i64>) -> SessionSeen {
        SessionSeen {
            agent: AgentId::from_bytes([agent; 16]),
            session: SessionNo(1),
            seen_at: at(second),
            watermark: watermark.map(at),
            behind_us: 0,
        }
    }

    const DOWN_AFTER: Duration = Duration::from_mins(2);
    const GRACE: Duration = Duration::from_mins(1);

    #[test]
    fn a_master_that_starts_waits_until_all_agents_have_said_how_far_they_are() {
        let mut sessions = Sessions::default();
        sessions.begin(at(0), 2, GRACE);
        sessions.update(&[seen(1, 5, Some(4)), seen(2, 5, None)], at(5), DOWN_AFTER, |_| false);
        assert_eq!(sessions.hold(at(5)), Hold::Starting(at(60)), "one has only said hello");
        sessions.update(&[seen(1, 6, Some(5)), seen(2, 6, Some(3))], at(6), DOWN_AFTER, |_| false);
        assert_eq!(sessions.hold(at(6)), Hold::None);
        assert_eq!(sessions.watermark(AgentId::from_bytes([2; 16])), at(3));
        assert_eq!(sessions.fresh().len(), 2);
    }

    #[test]
    fn many_that_fall_silent_at_once_are_an_incident_though_their_sessions_are_open() {
        let mut sessions = Sessions::default();
        sessions.begin(at(0), 10, GRACE);
        let all = |second| (1..=10).map(|agent| seen(agent, second, Some(second))).collect::<Vec<_>>();
        sessions.update(&all(10), at(10), DOWN_AFTER, |_| false);
        assert_eq!(sessions.hold(at(10)), Hold::None);
        sessions.update(&all(10), at(131), DOWN_AFTER, |_| false);
        assert!(matches!(sessions.hold(at(131)), Hold::Incident(_)), "{:?}", sessions.hold(at(131)));
        sessions.update(&all(140), at(140), DOWN_AFTER, |_| false);
        assert_eq!(sessions.hold(at(140)), Hold::None, "all are back");
    }

    #[test]
    fn times_of_a_clock_that_is_wrong_are_moved_and_a_slow_heartbeat_is_no_wrong_clock() {
        let mut sessions = Sessions::default();
        sessions.begin(at(0), 1, GRACE);
        sessions.update(
            &[SessionSeen { behind_us: 1_900_000, ..seen(1, 5, Some(4)) }],
            at(5),
            DOWN_AFTER,
            |_| false,
        );
        assert_eq!(sessions.watermark(AgentId::from_bytes([1; 16])), at(4));
        sessions.update(
            &[SessionSeen { behind_us: 60_000_000, ..seen(1, 6, Some(5)) }],
            at(6),
            DOWN_AFTER,
            |_| false,
        );
        assert_eq!(sessions.watermark(AgentId::from_bytes([1; 16])), at(65));
    }
}
