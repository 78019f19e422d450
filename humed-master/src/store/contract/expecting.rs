//! The part of the suite about what hosts expect of their tasks.

use hume_core::watch::EXPECT_KEY;

use super::*;
use crate::store::types::Expected;

fn said<S: Expectations>(store: &S) -> Vec<(String, String, String)> {
    let all = block_on(store.expectations()).unwrap();
    let texts = |one: Expected| (one.host.as_str().to_owned(), one.task.as_str().to_owned(), one.text);
    all.into_iter().map(texts).collect()
}

/// The last word on a task counts, by the time at which it was said; and whoever waits is told what is news.
pub(in super::super) fn the_last_word_on_what_is_expected_counts<B: Backend>() {
    let backend = B::start();
    let store = backend.store();
    let news = store.expected();
    let news = || news.has_changed().unwrap();
    let number = std::cell::Cell::new(0);
    let says = |micros: i64, task: &str, text: &str| {
        number.set(number.get() + 1);
        let task = TaskName::parse(task).unwrap();
        let extra = vec![(EXPECT_KEY.to_owned(), text.to_owned())];
        Event { task, time: at(micros), extra, ..event(number.get()) }
    };
    block_on(async {
        let mut sender = Sender::enter(store.clone(), AGENT, "web1").await;
        sender.send(EPOCH, &[event(900)]).await;
        assert!(!news());
        sender.send(EPOCH, &[says(10, "BACKUP", "daily"), says(20, "SYNC", "hourly")]).await;
        assert!(news());
        sender.send(EPOCH, &[says(30, "BACKUP", "0 2 * * *"), says(15, "SYNC", "weekly")]).await;
        // More than a host may have.
        sender
            .send(EPOCH, &[says(40, "A", "daily"), says(50, "B", "daily"), says(60, "SYNC", "never")])
            .await;
        // The same word again is the latest one; what was said before it comes too late.
        sender.send(EPOCH, &[says(80, "A", "daily")]).await;
        sender.send(EPOCH, &[says(70, "A", "weekly")]).await;
    });
    let row = |task: &str, text: &str| ("web1".to_owned(), task.to_owned(), text.to_owned());
    let expected = [row("A", "daily"), row("BACKUP", "0 2 * * *"), row("SYNC", "never")];
    assert_eq!(said(&store), expected);
    assert_eq!(said(&backend.killed_and_started().store()), expected);
}
