//! What was tried and what was confirmed, by the first word of each message: what the oracle holds the stores to.
//!
//! An event is confirmed when the agent answered `ok` or `hume` ended with 0, which it also does for an event in the drop
//! folder. Until then it may be at the master or not, and it may be sent again under the same id.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

/// What an event says: compared as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Begins with the key.
    pub message: String,
    /// One of the seven.
    pub level: String,
    /// In this order.
    pub tags: Vec<String>,
    /// The one pair, `note`.
    pub note: String,
}

/// A payload in eight bytes.
pub type Print = u64;

impl Payload {
    /// Its print.
    pub fn print(&self) -> Print {
        let Payload { message, level, tags, note } = self;
        print(message, level, tags.iter().map(String::as_str), note)
    }
}

/// The print of an event as the API shows it.
pub fn print_of(event: &Value) -> Print {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tags: Vec<String> =
        event["tags"].as_array().map(|tags| tags.iter().map(&text).collect()).unwrap_or_default();
    let note = text(&event["extra"]["note"]);
    print(&text(&event["message"]), &text(&event["level"]), tags.iter().map(String::as_str), &note)
}

fn print<'a>(message: &str, level: &str, tags: impl Iterator<Item = &'a str>, note: &str) -> Print {
    let mut hasher = DefaultHasher::new();
    (message, level, note).hash(&mut hasher);
    tags.for_each(|tag| tag.hash(&mut hasher));
    hasher.finish()
}

/// Who gave the word that an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The agent, which named its place.
    Agent {
        /// The place.
        seq: u64,
    },
    /// `hume`, that the drop folder has it.
    Folder,
}

/// A word that an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Whose.
    pub by: By,
    /// When it was heard.
    pub at: Instant,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The host it was reported on.
    pub host: String,
    /// Of what was sent.
    pub print: Print,
    /// Its id, once that is known.
    pub id: Option<String>,
    /// Before it was sent first.
    pub first_at: Instant,
    /// Before it was sent last.
    pub last_at: Instant,
    /// The first word that it is kept.
    pub confirmed: Option<Confirmed>,
}

/// The record of many senders.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<BTreeMap<String, Entry>>,
    confirmed: AtomicU64,
    /// Events that were sent more than once.
    repeated: AtomicU64,
    /// Confirmations by the drop folder.
    dropped: AtomicU64,
    /// Answers other than `ok`, and calls of `hume` that stored nothing.
    refused: AtomicU64,
}

/// How much there is of each, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that were confirmed.
    pub confirmed: u64,
    /// Of these, by the drop folder.
    pub dropped: u64,
    /// Times that an event was sent again.
    pub repeated: u64,
    /// Events that were refused; they may have been sent again.
    pub refused: u64,
}

/// The first word of a message.
pub fn key_of(message: &str) -> &str {
    message.split(' ').next().unwrap_or_default()
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every statement leaves it whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before an event is sent, for the first time or again.
    pub fn attempt(&self, host: &str, id: Option<&str>, payload: &Payload) {
        let (key, now) = (key_of(&payload.message), Instant::now());
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(key) {
            assert_eq!(entry.print, payload.print(), "keys are unique: {key}");
            entry.last_at = now;
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let entry = Entry {
            host: host.to_owned(),
            print: payload.print(),
            id: id.map(str::to_owned),
            first_at: now,
            last_at: now,
            confirmed: None,
        };
        entries.insert(key.to_owned(), entry);
    }

    /// After a word that it is kept.
    pub fn confirm(&self, key: &str, by: By, id: Option<&str>) {
        let mut entries = self.entries();
        let entry = entries.get_mut(key);
        assert!(entry.is_some(), "confirmed and never tried: {key}");
        let Some(entry) = entry else { return };
        entry.id = entry.id.take().or(id.map(str::to_owned));
        if entry.confirmed.is_none() {
            entry.confirmed = Some(Confirmed { by, at: Instant::now() });
            self.confirmed.fetch_add(1, Ordering::Relaxed);
            self.dropped.fetch_add(u64::from(by == By::Folder), Ordering::Relaxed);
        }
    }

    /// It was refused.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How much there is.
    pub fn tally(&self) -> Tally {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            confirmed: of(&self.confirmed),
            dropped: of(&self.dropped),
            repeated: of(&self.repeated),
            refused: of(&self.refused),
        }
    }

    /// All events by their keys, as they are now.
    pub fn snapshot(&self) -> BTreeMap<String, Entry> {
        self.entries().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(message: &str) -> Payload {
        Payload { message: message.to_owned(), level: "ok".to_owned(), tags: vec![], note: "n".to_owned() }
    }

    #[test]
    fn the_first_word_of_confirmation_stays_and_a_second_try_is_counted() {
        let ledger = Ledger::default();
        ledger.attempt("web1", None, &payload("k1 hello"));
        ledger.attempt("web1", None, &payload("k1 hello"));
        ledger.confirm("k1", By::Agent { seq: 7 }, Some("id"));
        ledger.confirm("k1", By::Folder, Some("other"));
        ledger.refuse();
        assert_eq!(ledger.tally(), Tally { confirmed: 1, dropped: 0, repeated: 1, refused: 1 });
        let entry = &ledger.snapshot()["k1"];
        assert_eq!((entry.id.as_deref(), entry.confirmed.unwrap().by), (Some("id"), By::Agent { seq: 7 }));
    }

    #[test]
    fn a_print_sees_every_part_and_is_the_same_for_what_the_api_shows() {
        let one = payload("k1 hello");
        let shown =
            serde_json::json!({"message": "k1 hello", "level": "ok", "tags": [], "extra": {"note": "n"}});
        assert_eq!(print_of(&shown), one.print());
        for (field, value) in [
            ("message", serde_json::json!("k1 hellO")),
            ("level", serde_json::json!("info")),
            ("tags", serde_json::json!(["t"])),
            ("extra", serde_json::json!({"note": "m"})),
        ] {
            let mut other = shown.clone();
            other[field] = value;
            assert_ne!(print_of(&other), one.print(), "{field}");
        }
    }
}
