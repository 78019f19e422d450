//! What every handler may use.

use std::sync::Arc;

use hume_core::policy::Policies;
use hume_proto::rest::{Source, SourceKind};

use crate::metrics::Metrics;
use crate::store::Reader;

/// Cheap to clone.
#[derive(Clone)]
pub struct WebState {
    pub(super) store: Arc<dyn Reader>,
    pub(super) metrics: Metrics,
    pub(super) policies: Arc<Policies>,
    name: Arc<str>,
}

impl WebState {
    /// Answers from `store`, as the machine called `name`, and judges runs by `policies`.
    pub fn new(store: Arc<dyn Reader>, metrics: Metrics, policies: Policies, name: &str) -> WebState {
        WebState { store, metrics, policies: Arc::new(policies), name: name.into() }
    }

    pub(super) fn source(&self) -> Source {
        Source { kind: SourceKind::Master, name: self.name.to_string() }
    }
}
