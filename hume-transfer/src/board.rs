//! What is known of the transfers of a running daemon, without asking the disk: for metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hume_core::Timestamp;
use hume_core::page::EventCursor;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    transfer: String,
    kind: &'static str,
}

/// Takes one number out of the figures.
type Count = fn(&Figures) -> u64;

impl Board {
    /// Adds the figures of all transfers to what a monitoring system is answered; nothing without transfers.
    pub fn register(&self, registry: &mut Registry, now: Timestamp) {
        let entries: Vec<(Labels, Figures)> = self
            .entries()
            .into_iter()
            .map(|(name, entry)| (Labels { transfer: name.to_string(), kind: entry.kind }, entry.figures))
            .collect();
        if entries.is_empty() {
            return;
        }
        let counters: [(&str, &str, Count); 5] = [
            ("hume_transfer_delivered", "Notices that the peer has", |figures| figures.delivered),
            ("hume_transfer_folded_events", "Events told of in digests", |figures| figures.folded),
            ("hume_transfer_retried", "Tries that failed and were followed by another", |figures| {
                figures.retried
            }),
            ("hume_transfer_dead", "Notices that the peer will never take", |figures| figures.dead),
            ("hume_transfer_skipped_events", "Events an administrator had passed over", |figures| {
                figures.skipped
            }),
        ];
        for (name, help, of) in counters {
            let family = Family::<Labels, Counter>::default();
            for (labels, figures) in &entries {
                family.get_or_create(labels).inc_by(of(figures));
            }
            registry.register(name, help, family);
        }
        let micros = |since: Option<Timestamp>| since.map_or(0, |since| now.micros_since(since).max(0));
        let lag = Family::<Labels, Gauge>::default();
        let age = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        let failing = Family::<Labels, Gauge>::default();
        let success = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for (labels, figures) in &entries {
            lag.get_or_create(labels).set(i64::try_from(figures.waiting.events).unwrap_or(i64::MAX));
            age.get_or_create(labels).set(micros(figures.waiting.since) as f64 / 1e6);
            failing.get_or_create(labels).set(i64::from(figures.trouble.is_some()));
            if let Some(at) = figures.last_success {
                success.get_or_create(labels).set(at.as_micros() as f64 / 1e6);
            }
        }
        registry.register("hume_transfer_lag_events", "Events that wait to be delivered", lag);
        registry.register_with_unit("hume_transfer_lag", "Age of the oldest that waits", Unit::Seconds, age);
        registry.register("hume_transfer_failing", "1 while tries fail, else 0", failing);
        registry.register_with_unit(
            "hume_transfer_last_success_timestamp",
            "When something was last delivered, since 1970",
            Unit::Seconds,
            success,
        );
    }

    /// All transfers, by name.
    pub fn entries(&self) -> Vec<(TransferName, Entry)> {
        self.lock().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
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
