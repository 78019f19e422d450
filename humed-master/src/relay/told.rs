//! What is logged of agents that misbehave: one line a minute for each agent and reason, and how many like it were left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hume_core::AgentId;
use hume_runtime::accept::RefusalLog;

/// What was told of the agents of one relay.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Mutex<RefusalLog<(AgentId, String)>>>);

impl Told {
    /// `Some(left_out)` if this is to be logged now; `left_out` like it were not.
    pub(super) fn is_news(&self, agent: AgentId, why: &str) -> Option<u64> {
        // Every statement leaves the log whole, so a poisoned lock is still right.
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.admit((agent, why.to_owned()), Instant::now())
    }
}
