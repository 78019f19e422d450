//! What is known of the transfers of a running daemon, without asking the disk: for metrics, and for whoever trims the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hume_core::page::EventCursor;

use crate::options::TransferName;
use crate::state::Figures;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board {
    entries: Arc<Mutex<BTreeMap<TransferName, Entry>>>,
}

/// What is known of one transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: &'static str,
    /// Everything below it is settled.
    pub cursor: EventCursor,
    /// What was counted.
    pub figures: Figures,
}

impl Board {
    /// All transfers, by name.
    pub fn entries(&self) -> Vec<(TransferName, Entry)> {
        self.lock().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Below this border no transfer needs the log any more; none without transfers.
    pub fn floor(&self) -> Option<EventCursor> {
        self.lock().values().map(|entry| entry.cursor).min()
    }

    pub(crate) fn put(&self, name: &TransferName, entry: Entry) {
        self.lock().insert(name.clone(), entry);
    }

    /// Only these are configured.
    pub(crate) fn keep(&self, wanted: impl Fn(&TransferName) -> bool) {
        self.lock().retain(|name, _| wanted(name));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TransferName, Entry>> {
        // Every entry is put whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
