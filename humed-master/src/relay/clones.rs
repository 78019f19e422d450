//! Whether two processes use one identity: a host that was cloned with its certificate and its spool.
//!
//! Every start of an agent has a number of its own, by chance. One that came after another and then comes again proves that both
//! live. Nothing is refused for good: each is heard in turn, [`TURN_MIN`] at least, so that the events of both arrive while
//! somebody finds out. Of agents that tell no number nothing is known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hume_core::AgentId;

/// Starts of one agent that are remembered.
const INSTANCES_MAX: usize = 8;
/// One of several processes is heard for this long before it is another one's turn.
const TURN_MIN: Duration = Duration::from_mins(1);
/// When no two were seen for this long, it is over.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Names one start of an agent.
pub(super) type Instance = [u8; 16];

/// What is known of the starts of one agent.
#[derive(Debug, Default)]
struct Instances {
    current: Option<(Instance, Instant)>,
    before: VecDeque<Instance>,
    cloned_at: Option<Instant>,
}

/// What becomes of a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As far as is known there is one process.
    Only,
    /// There are several, and it is this one's turn.
    InTurn,
    /// There are several, and it is not.
    OutOfTurn,
}

/// What is known of the starts of all agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Clones(Arc<Mutex<HashMap<AgentId, Instances>>>);

impl Clones {
    /// This start of that agent says Hello.
    pub(super) fn hello(&self, agent: AgentId, instance: Instance, now: Instant) -> Standing {
        // Every statement leaves the map whole, so a poisoned lock is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(agent).or_default().hello(instance, now)
    }
}

impl Instances {
    /// This start of the agent says Hello.
    fn hello(&mut self, instance: Instance, now: Instant) -> Standing {
        if self.cloned_at.is_some_and(|at| now.saturating_duration_since(at) >= FORGET_AFTER) {
            self.cloned_at = None;
            self.before.clear();
        }
        let Some((current, since)) = self.current else {
            self.current = Some((instance, now));
            return Standing::Only;
        };
        if current == instance {
            return if self.cloned_at.is_some() { Standing::InTurn } else { Standing::Only };
        }
        if self.before.contains(&instance) {
            self.cloned_at = Some(now);
        }
        if self.cloned_at.is_some() && now.saturating_duration_since(since) < TURN_MIN {
            self.remember(instance);
            return Standing::OutOfTurn;
        }
        self.remember(current);
        self.current = Some((instance, now));
        if self.cloned_at.is_some() { Standing::InTurn } else { Standing::Only }
    }

    fn remember(&mut self, instance: Instance) {
        if self.before.contains(&instance) {
            return;
        }
        if self.before.len() == INSTANCES_MAX {
            self.before.pop_front();
        }
        self.before.push_back(instance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Instance = [1; 16];
    const B: Instance = [2; 16];

    #[test]
    fn an_agent_that_is_started_again_and_again_is_one() {
        let (mut instances, now) = (Instances::default(), Instant::now());
        for start in 0..200_u8 {
            assert_eq!(instances.hello([start; 16], now), Standing::Only);
            assert_eq!(instances.hello([start; 16], now), Standing::Only, "its connection broke");
        }
    }

    #[test]
    fn one_that_comes_again_after_another_proves_that_there_are_two_and_each_has_its_turn() {
        let (mut instances, start) = (Instances::default(), Instant::now());
        assert_eq!(instances.hello(A, start), Standing::Only);
        assert_eq!(instances.hello(B, start), Standing::Only, "it may be a restart");
        assert_eq!(instances.hello(A, start), Standing::OutOfTurn);
        assert_eq!(instances.hello(B, start), Standing::InTurn);
        let later = start + TURN_MIN;
        assert_eq!(instances.hello(A, later), Standing::InTurn);
        assert_eq!(instances.hello(B, later), Standing::OutOfTurn);
        assert_eq!(instances.hello(B, later + TURN_MIN), Standing::InTurn);
        let over = later + TURN_MIN + FORGET_AFTER;
        assert_eq!(instances.hello(B, over), Standing::Only, "the other one was not seen again");
    }

    proptest! {
        /// However many come, and when: whoever keeps coming has a turn before long.
        #[test]
        fn nobody_waits_for_ever(steps in proptest::collection::vec((0_u8..4, 1_u64..90), 1..200)) {
            let (mut instances, mut now) = (Instances::default(), Instant::now());
            for (who, seconds) in steps {
                now += Duration::from_secs(seconds);
                let _ = instances.hello([who; 16], now);
                now += TURN_MIN;
                prop_assert_ne!(instances.hello([who; 16], now), Standing::OutOfTurn);
            }
        }
    }
}
