//! Who is connected right now: kept in memory, because a disk need not be woken for every heartbeat.
//!
//! After a restart nobody is connected until he says so. The registry on disk lags by at most [`WRITE_EVERY_US`]. Whoever waits
//! for signs of life is woken by [`Presence::heard`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hume_core::{AgentId, Timestamp};
use hume_proto::relay::EpochCursor;
use tokio::sync::watch;

use super::types::{QueueStatus, SessionNo, Sighting};
use super::watches::SessionSeen;

/// A sign of life is written to disk at most this often per agent.
pub(super) const WRITE_EVERY_US: i64 = 60_000_000;

/// One live session per agent.
#[derive(Debug, Default)]
pub(super) struct Presence {
    live: Mutex<HashMap<AgentId, Live>>,
    /// Counts what was heard.
    heard: watch::Sender<u64>,
}

/// A live session.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) session: SessionNo,
    /// Since when it goes on.
    pub(super) since: Timestamp,
    /// When something of it was last heard.
    pub(super) seen_at: Timestamp,
    /// The agent's queue, by its latest word.
    pub(super) queue: QueueStatus,
    /// Highest places it gave out, by its latest word.
    pub(super) tails: Vec<EpochCursor>,
    /// By how many microseconds its clock is behind this one, by its latest word.
    pub(super) behind_us: i64,
    /// Its latest claim in this session.
    pub(super) watermark: Option<Timestamp>,
    written_at: Timestamp,
}

impl Presence {
    /// A session begins.
    pub(super) fn enter(
        &self,
        agent: AgentId,
        session: SessionNo,
        queue: QueueStatus,
        behind_us: i64,
        at: Timestamp,
    ) {
        let live = Live {
            session,
            since: at,
            seen_at: at,
            queue,
            tails: Vec::new(),
            behind_us,
            watermark: None,
            written_at: at,
        };
        let mut all = self.all();
        if all.get(&agent).is_none_or(|known| known.session < session) {
            all.insert(agent, live);
        }
        drop(all);
        self.tell();
    }

    /// A sign of life; the answer is what should be written to disk, if it is time for that.
    pub(super) fn seen(&self, sighting: Sighting) -> Option<Sighting> {
        let mut all = self.all();
        let live = all.get_mut(&sighting.agent).filter(|live| live.session == sighting.session)?;
        live.seen_at = sighting.at;
        if let Some(queue) = sighting.queue {
            live.queue = queue;
        }
        if !sighting.tails.is_empty() {
            live.tails = sighting.tails;
        }
        live.behind_us = sighting.behind_us.unwrap_or(live.behind_us);
        if sighting.watermark.is_some() {
            live.watermark = sighting.watermark;
            self.tell();
        }
        if sighting.at.micros_since(live.written_at) < WRITE_EVERY_US {
            return None;
        }
        live.written_at = sighting.at;
        let (queue, tails) = (Some(live.queue.clone()), live.tails.clone());
        Some(Sighting { queue, tails, watermark: live.watermark, ..sighting })
    }

    /// A session ends.
    pub(super) fn leave(&self, agent: AgentId, session: SessionNo) {
        let mut all = self.all();
        if all.get(&agent).is_some_and(|live| live.session == session) {
            all.remove(&agent);
        }
        drop(all);
        self.tell();
    }

    /// All live sessions.
    pub(super) fn sessions(&self) -> Vec<SessionSeen> {
        let all = self.all();
        let seen = |(agent, live): (&AgentId, &Live)| SessionSeen {
            agent: *agent,
            session: live.session,
            seen_at: live.seen_at,
            watermark: live.watermark,
            behind_us: live.behind_us,
        };
        all.iter().map(seen).collect()
    }

    /// Changes with every session that begins or ends, and with every watermark.
    pub(super) fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    fn tell(&self) {
        self.heard.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The live session of an agent.
    pub(super) fn of(&self, agent: AgentId) -> Option<Live> {
        self.all().get(&agent).cloned()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<AgentId, Live>> {
        // Every statement leaves the map whole, so a poisoned lock is still right.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: [u8; 16] = [7; 16];

    fn sighting(session: u64, at_us: i64) -> Sighting {
        let at = Timestamp::from_micros(at_us);
        Sighting {
            agent: AgentId::from_bytes(AGENT),
            session: SessionNo(session),
            queue: None,
            tails: Vec::new(),
            behind_us: None,
            watermark: None,
            at,
        }
    }

    #[test]
    fn a_session_that_was_superseded_changes_nothing() {
        let presence = Presence::default();
        let agent = AgentId::from_bytes(AGENT);
        presence.enter(agent, SessionNo(2), QueueStatus::default(), 0, Timestamp::EPOCH);
        presence.enter(agent, SessionNo(1), QueueStatus::default(), 0, Timestamp::EPOCH);
        assert_eq!(presence.seen(sighting(1, 5)), None);
        assert_eq!(presence.of(agent).unwrap().seen_at, Timestamp::EPOCH);
        presence.leave(agent, SessionNo(1));
        assert!(presence.of(agent).is_some());
        presence.leave(agent, SessionNo(2));
        assert!(presence.of(agent).is_none());
    }

    #[test]
    fn the_latest_word_on_the_watermark_counts_and_wakes_whoever_waits() {
        let presence = Presence::default();
        let agent = AgentId::from_bytes(AGENT);
        let mut heard = presence.heard();
        presence.enter(agent, SessionNo(1), QueueStatus::default(), 0, Timestamp::EPOCH);
        assert_eq!(presence.sessions()[0].watermark, None);
        for said in [5, 9, 7] {
            heard.mark_unchanged();
            let watermark = Some(Timestamp::from_micros(said));
            presence.seen(Sighting { watermark, ..sighting(1, 10) });
            assert_eq!(presence.sessions()[0].watermark, watermark);
            assert!(heard.has_changed().unwrap());
        }
        heard.mark_unchanged();
        presence.seen(sighting(1, 11));
        assert!(!heard.has_changed().unwrap(), "nothing new was said");
    }

    #[test]
    fn signs_of_life_reach_the_disk_now_and_then() {
        let presence = Presence::default();
        presence.enter(AgentId::from_bytes(AGENT), SessionNo(1), QueueStatus::default(), 0, Timestamp::EPOCH);
        let due = |at| presence.seen(sighting(1, at)).is_some();
        assert!(!due(10) && !due(WRITE_EVERY_US - 1) && due(WRITE_EVERY_US) && !due(WRITE_EVERY_US + 1));
    }
}
