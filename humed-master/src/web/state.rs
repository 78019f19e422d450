//! What every handler may use.

use std::sync::Arc;

use hume_core::policy::Policies;
use hume_proto::rest::{Source, SourceKind};
use hume_runtime::follow::Followers;
use hume_runtime::task_group::Stop;

use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::store::Reader;

/// Those who wait for the next event at the same time.
const FOLLOWERS_MAX: usize = 256;

/// Cheap to clone.
#[derive(Clone)]
pub struct WebState {
    pub(super) store: Arc<dyn Reader>,
    pub(super) metrics: Metrics,
    pub(super) policies: Arc<Policies>,
    pub(super) followers: Followers,
    pub(super) registry: Registry,
    name: Arc<str>,
}

impl WebState {
    /// Answers from `store`, as the machine called `name`, and judges runs by `policies`; those who follow wait until `stop`.
    pub fn new(
        store: Arc<dyn Reader>,
        registry: Registry,
        metrics: Metrics,
        policies: Policies,
        name: &str,
        stop: Stop,
    ) -> WebState {
        let followers = Followers::new(FOLLOWERS_MAX, stop);
        WebState { store, metrics, policies: Arc::new(policies), followers, registry, name: name.into() }
    }

    pub(super) fn source(&self) -> Source {
        Source { kind: SourceKind::Master, name: self.name.to_string() }
    }
}
