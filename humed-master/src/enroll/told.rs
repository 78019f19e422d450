//! Whose refusal was told already: agents ask again and again, and the logs have it once a day. Pure: the time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hume_core::AgentId;

/// The same refusal of the same agent is told again after this time.
const AGAIN_AFTER: Duration = Duration::from_hours(24);
/// Agents that are remembered; one more, and all are told again.
const AGENTS_MAX: usize = 4096;

/// What was told of whom, and when.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<AgentId, (String, Instant)>);

impl Told {
    /// Whether this is news of this agent; notes it if so.
    pub(super) fn is_news(&mut self, agent: AgentId, why: &str, now: Instant) -> bool {
        let is_known = self
            .0
            .get(&agent)
            .is_some_and(|(told, at)| told == why && now.saturating_duration_since(*at) < AGAIN_AFTER);
        if is_known {
            return false;
        }
        if self.0.len() >= AGENTS_MAX {
            self.0.clear();
        }
        self.0.insert(agent, (why.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_a_day_for_each_agent_and_another_one_at_once() {
        let (mut told, now) = (Told::default(), Instant::now());
        let (one, other) = (AgentId::from_bytes([1; 16]), AgentId::from_bytes([2; 16]));
        assert!(told.is_news(one, "revoked", now) && told.is_news(other, "revoked", now));
        assert!(!told.is_news(one, "revoked", now + AGAIN_AFTER / 2));
        assert!(told.is_news(one, "too late", now + AGAIN_AFTER / 2));
        assert!(!told.is_news(other, "revoked", now + AGAIN_AFTER / 2));
        assert!(told.is_news(other, "revoked", now + AGAIN_AFTER));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut told, now) = (Told::default(), Instant::now());
        for number in 0..=u16::try_from(AGENTS_MAX).unwrap() {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            assert!(told.is_news(AgentId::from_bytes(id), "revoked", now));
        }
        assert!(told.0.len() <= AGENTS_MAX);
    }
}
