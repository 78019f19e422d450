//! What is known of the transfers of a running daemon, without asking the disk: for metrics, and for the retention of the log.
//!
//! The retention waits for the slowest transfer, [`RETENTION_WAITS`] beyond the age at which it lets go, and only while there is room.
//! What it let go all the same is told here, and by each transfer that had not told it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hume_core::Timestamp;
use hume_core::page::EventCursor;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::options::{TransferName, Transfers};
use crate::state::Figures;

/// What is old enough to be let go is kept so much longer for a transfer that has not told it.
pub const RETENTION_WAITS: Duration = Duration::from_hours(7 * 24);

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board {
    places: Arc<Mutex<BTreeMap<TransferName, Place>>>,
}

/// What is known of a transfer that is configured.
#[derive(Clone, Debug, Default)]
struct Place {
    /// None until it was looked up.
    entry: Option<Entry>,
    /// Events that the log let go before it had told them, and that it does not know of yet.
    missed: u64,
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
    /// These are configured, and no others.
    pub fn expect(&self, wanted: &Transfers) {
        let mut places = self.lock();
        places.retain(|name, _| wanted.0.contains_key(name));
        for name in wanted.0.keys() {
            places.entry(name.clone()).or_default();
        }
    }

    /// The border below which all transfers have told everything; none when there is no transfer.
    pub fn floor(&self) -> Option<EventCursor> {
        let cursor = |place: &Place| place.entry.as_ref().map_or(EventCursor::START, |entry| entry.cursor);
        self.lock().values().map(cursor).min()
    }

    /// The log let these pieces go: the border below the last event of each, and how many events it had.
    pub fn let_go(&self, gone: &[(EventCursor, u64)]) {
        let mut places = self.lock();
        for place in places.values_mut() {
            // What has no place yet tells nothing of what was before it.
            let Some(entry) = &place.entry else { continue };
            place.missed +=
                gone.iter().filter(|(at, _)| *at >= entry.cursor).map(|(_, events)| events).sum::<u64>();
        }
    }

    /// What was let go before this transfer had told it, since this was last asked.
    pub(crate) fn take_missed(&self, name: &TransferName) -> u64 {
        self.lock().get_mut(name).map_or(0, |place| std::mem::take(&mut place.missed))
    }

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
        let counters: [(&str, &str, Count); 6] = [
            ("hume_transfer_delivered", "Notices that the peer has", |figures| figures.delivered),
            ("hume_transfer_folded_events", "Events told of in digests", |figures| figures.folded),
            ("hume_transfer_retried", "Tries that failed and were followed by another", |figures| {
                figures.retried
            }),
            ("hume_transfer_dead", "Notices that the peer will never take", |figures| figures.dead),
            ("hume_transfer_skipped_events", "Events an administrator had passed over", |figures| {
                figures.skipped
            }),
            ("hume_transfer_missed_events", "Events the log let go before they were told", |figures| {
                figures.missed
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

    /// All transfers whose place is known, by name.
    pub fn entries(&self) -> Vec<(TransferName, Entry)> {
        let known = |(name, place): (&TransferName, &Place)| Some((name.clone(), place.entry.clone()?));
        self.lock().iter().filter_map(known).collect()
    }

    pub(crate) fn put(&self, name: &TransferName, entry: Entry) {
        self.lock().entry(name.clone()).or_default().entry = Some(entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TransferName, Place>> {
        // Every place is put whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TransferName {
        TransferName::parse(text).unwrap()
    }

    fn at(cursor: i64) -> Entry {
        Entry { kind: "test", cursor: EventCursor(cursor), figures: Figures::default() }
    }

    #[test]
    fn the_slowest_transfer_is_waited_for_and_one_whose_place_is_not_known_for_all() {
        let board = Board::default();
        assert_eq!(board.floor(), None, "without transfers nothing waits");
        let two: Transfers = toml::from_str("a.file.path = \"/a\"\nb.file.path = \"/b\"").unwrap();
        board.expect(&two);
        board.put(&name("a"), at(7));
        assert_eq!(board.floor(), Some(EventCursor::START));
        board.put(&name("b"), at(5));
        assert_eq!(board.floor(), Some(EventCursor(5)));
        let one: Transfers = toml::from_str("a.file.path = \"/a\"").unwrap();
        board.expect(&one);
        assert_eq!(board.floor(), Some(EventCursor(7)), "who is not configured any more is not waited for");
    }

    #[test]
    fn what_was_let_go_was_missed_by_those_who_had_not_told_it() {
        let board = Board::default();
        board.put(&name("fast"), at(9));
        board.put(&name("slow"), at(4));
        board.let_go(&[(EventCursor(3), 1), (EventCursor(4), 10), (EventCursor(9), 100)]);
        let missed = |of: &str| board.take_missed(&name(of));
        assert_eq!((missed("fast"), missed("slow")), (100, 110));
        assert_eq!((missed("fast"), missed("nobody")), (0, 0));
    }
}
