//! The store as transfers read it: every event of every host, in the order in which they were stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hume_core::event::StoredEvent;
use hume_core::filter::EventFilter;
use hume_core::page::{After, Stretch};
use hume_core::scope::Scope;
use hume_core::{AgentId, Timestamp};
use hume_runtime::clock;
use hume_transfer::transfer::BoxFuture;
use hume_transfer::{Growth, Log, LogError};

use crate::store::{Reader, StoreError};

/// An agent that the registry did not know is looked for again after so many microseconds.
const LOOK_AGAIN_US: i64 = 10_000_000;

/// The store, for transfers.
pub struct StoreLog {
    store: Arc<dyn Reader>,
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    by_agent: HashMap<AgentId, String>,
    /// When these were not found.
    unknown: HashMap<AgentId, Timestamp>,
}

impl StoreLog {
    /// Of this store.
    pub fn new(store: Arc<dyn Reader>) -> StoreLog {
        StoreLog { store, hosts: Mutex::default() }
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, Hosts> {
        // Both are whole after every statement.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn host_of(&self, agent: AgentId) -> Option<String> {
        let now = clock::now();
        {
            let Hosts { by_agent, unknown } = &*self.hosts();
            let is_recent = |at: &Timestamp| now.micros_since(*at).abs() < LOOK_AGAIN_US;
            if let Some(host) = by_agent.get(&agent) {
                return Some(host.clone());
            }
            if unknown.get(&agent).is_some_and(is_recent) {
                return None;
            }
        }
        // Without the hosts a notice is told all the same.
        let roll = self.store.agents(Scope::default()).await.ok()?;
        let by_agent: HashMap<AgentId, String> =
            roll.items.into_iter().map(|record| (record.agent, record.host)).collect();
        let host = by_agent.get(&agent).cloned();
        let mut hosts = self.hosts();
        if host.is_none() {
            hosts.unknown.insert(agent, now);
        }
        hosts.by_agent = by_agent;
        host
    }
}

impl Log for StoreLog {
    fn read(
        &self,
        filter: EventFilter,
        after: After,
        limit: usize,
    ) -> BoxFuture<'_, Result<Stretch<StoredEvent>, LogError>> {
        Box::pin(async move {
            self.store.events_after(filter, limit, after).await.map_err(|error| match error {
                StoreError::Beyond => LogError::Beyond,
                error => LogError::Read(error.to_string()),
            })
        })
    }

    fn growth(&self) -> Box<dyn Growth> {
        Box::new(self.store.end())
    }

    fn via<'a>(&'a self, stored: &'a StoredEvent) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            let host = self.host_of(stored.position.agent?).await?;
            (host != stored.event.host.as_str()).then_some(host)
        })
    }
}
