//! Who may speak, in memory: asked at every Hello and every commit, and told of every change.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hume_core::AgentId;
use hume_core::host_patterns::HostPatterns;
use tokio::sync::watch;

use super::types::AgentState;

/// What becomes of an agent with a good certificate that the registry does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// It may speak: another CA decides who gets a certificate.
    Welcome,
    /// It may not: the master's own CA issues certificates to those alone that it enters.
    Refused,
}

/// What is known of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: AgentState,
    /// For which hosts it may report.
    pub(super) hosts: HostPatterns,
}

/// Why an agent may not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nobody has approved it yet.
    #[error("this agent waits for approval: `humeconfig agents approve` on the master")]
    Pending,
    /// It may speak again later.
    #[error("this agent is suspended: `humeconfig agents approve` on the master lets it speak again")]
    Suspended,
    /// It never may.
    #[error("this agent is revoked: its host must join again to speak")]
    Revoked,
    /// The registry does not know it.
    #[error("the master does not know this agent: its host must join again")]
    Unknown,
}

/// The view. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    strangers: Strangers,
    agents: Arc<RwLock<HashMap<AgentId, Standing>>>,
    changes: watch::Sender<()>,
}

impl View {
    pub(super) fn new(strangers: Strangers, agents: Vec<(AgentId, Standing)>) -> View {
        let agents = Arc::new(RwLock::new(agents.into_iter().collect()));
        View { strangers, agents, changes: watch::Sender::new(()) }
    }

    /// A view that knows nobody and lets everybody speak, for a relay without a registry.
    pub fn of_nobody() -> View {
        View::new(Strangers::Welcome, Vec::new())
    }

    /// Whether this agent may speak.
    /// # Errors
    /// [`Denial`], whose text is for the agent.
    pub fn check(&self, agent: AgentId) -> Result<(), Denial> {
        // Every statement leaves the map whole, so a poisoned lock is still right.
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        match (agents.get(&agent).map(|standing| standing.state), self.strangers) {
            (Some(AgentState::Active), _) | (None, Strangers::Welcome) => Ok(()),
            (None, Strangers::Refused) => Err(Denial::Unknown),
            (Some(AgentState::Pending), _) => Err(Denial::Pending),
            (Some(AgentState::Suspended), _) => Err(Denial::Suspended),
            (Some(AgentState::Revoked), _) => Err(Denial::Revoked),
        }
    }

    /// For which hosts this agent may report: its own and those that it was allowed; any, if another CA decides who it is and nobody
    /// has said more of it here.
    pub fn hosts(&self, agent: AgentId) -> HostPatterns {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        match (agents.get(&agent), self.strangers) {
            (Some(standing), _) => standing.hosts.clone(),
            (None, Strangers::Welcome) => HostPatterns::any(),
            (None, Strangers::Refused) => HostPatterns::from_texts::<&str>([]),
        }
    }

    /// Tells of every change from now on; several may be told as one.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn put(&self, agent: AgentId, standing: Option<Standing>) {
        {
            let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
            match standing {
                Some(standing) => drop(agents.insert(agent, standing)),
                None => drop(agents.remove(&agent)),
            }
        }
        self.changes.send_replace(());
    }
}
