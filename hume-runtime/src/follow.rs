//! Those who wait for the next event: bounded in number and in time, woken by commits, let go at the stop.
//!
//! Whoever waits holds a place; a question that finds something at once needs none.

use std::sync::Arc;
use std::time::Duration;

use hume_core::page::{After, Stretch};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::task_group::Stop;

/// The places of a daemon for those who wait. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Followers {
    places: Arc<Semaphore>,
    waiting_max: usize,
    stop: Stop,
}

/// Nothing could be answered.
#[derive(Debug, thiserror::Error)]
pub enum FollowError<E> {
    /// As many as allowed are waiting.
    #[error("{waiting_max} others are waiting for events: try again later")]
    Full {
        /// So many.
        waiting_max: usize,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] E),
}

impl Followers {
    /// Places for `waiting_max`, until `stop`.
    pub fn new(waiting_max: usize, stop: Stop) -> Followers {
        Followers { places: Arc::new(Semaphore::new(waiting_max)), waiting_max, stop }
    }

    /// The next events after `after`: those that `read` finds, now or within `wait`; else none, with the border reached.
    /// `grown` changes with every commit.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn next<T, E, N, Fut>(
        &self,
        mut after: After,
        wait: Duration,
        mut grown: watch::Receiver<N>,
        mut read: impl FnMut(After) -> Fut,
    ) -> Result<Stretch<T>, FollowError<E>>
    where
        Fut: Future<Output = Result<Stretch<T>, E>>,
    {
        let deadline = Instant::now() + wait;
        let mut place = None;
        loop {
            // Seen before the look: what is committed after it wakes.
            grown.mark_unchanged();
            let found = read(after).await?;
            let is_over = Instant::now() >= deadline || self.stop.is_set();
            if !found.items.is_empty() || is_over {
                return Ok(found);
            }
            after = After::Cursor(found.next);
            if !found.at_end {
                continue;
            }
            if place.is_none() {
                let free = Arc::clone(&self.places).try_acquire_owned();
                place = Some(free.map_err(|_| FollowError::Full { waiting_max: self.waiting_max })?);
            }
            let woken = tokio::select! {
                () = self.stop.wait() => false,
                () = tokio::time::sleep_until(deadline) => false,
                // The writer has gone: nothing will come.
                changed = grown.changed() => changed.is_ok(),
            };
            if !woken {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hume_core::page::EventCursor;

    use super::*;

    /// A log of numbers, every row of which is looked at one by one; the even ones are asked for.
    #[derive(Clone, Debug)]
    struct Log {
        rows: Arc<Mutex<Vec<u64>>>,
        grown: watch::Sender<usize>,
    }

    impl Log {
        fn new(rows: &[u64]) -> Log {
            Log { rows: Arc::new(Mutex::new(rows.to_vec())), grown: watch::Sender::new(0) }
        }

        fn push(&self, number: u64) {
            let mut rows = self.rows.lock().unwrap();
            rows.push(number);
            self.grown.send_replace(rows.len());
        }

        fn read(&self, after: After) -> Result<Stretch<u64>, &'static str> {
            let rows = self.rows.lock().unwrap();
            let end = EventCursor(rows.len() as i64);
            let from = match after {
                After::Start => EventCursor::START,
                After::Now => end,
                After::Cursor(border) if border > end => return Err("beyond"),
                After::Cursor(border) => border,
            };
            let here = rows.get(from.0 as usize).copied();
            let next = if here.is_some() { EventCursor::above(from.0) } else { from };
            let items = here.into_iter().filter(|number| number.is_multiple_of(2)).collect();
            Ok(Stretch { items, next, at_end: next == end })
        }

        async fn next(
            &self,
            followers: &Followers,
            after: After,
            seconds: u64,
        ) -> Result<Stretch<u64>, FollowError<&'static str>> {
            let wait = Duration::from_secs(seconds);
            followers.next(after, wait, self.grown.subscribe(), async |after| self.read(after)).await
        }
    }

    fn followers() -> Followers {
        Followers::new(1, Stop::new())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_answered_at_once_and_what_is_not_asked_for_is_passed_over() {
        let log = Log::new(&[1, 3, 4, 6]);
        let found = log.next(&followers(), After::Start, 30).await.unwrap();
        assert_eq!((found.items, found.next), (vec![4], EventCursor(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_wakes_and_one_that_is_not_asked_for_lets_the_wait_go_on() {
        let log = Log::new(&[2]);
        let followers = followers();
        let next = log.next(&followers, After::Now, 30);
        let commits = async {
            for number in [3, 5, 8] {
                log.push(number);
                tokio::task::yield_now().await;
            }
        };
        let (found, ()) = tokio::join!(next, commits);
        let found = found.unwrap();
        assert_eq!((found.items, found.next), (vec![8], EventCursor(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_empty_with_the_border_reached() {
        let log = Log::new(&[1, 3]);
        let started = Instant::now();
        let found = log.next(&followers(), After::Start, 30).await.unwrap();
        assert_eq!((found.items, found.next), (vec![], EventCursor(2)));
        assert_eq!(started.elapsed(), Duration::from_secs(30));
        let found = log.next(&followers(), After::Now, 0).await.unwrap();
        assert_eq!((found.items, found.next), (vec![], EventCursor(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stop_lets_everybody_go_and_nobody_waits_after_it() {
        let log = Log::new(&[]);
        let stop = Stop::new();
        let followers = Followers::new(1, stop.clone());
        let started = Instant::now();
        let (found, ()) = tokio::join!(log.next(&followers, After::Now, 30), async { stop.set() });
        assert!(found.unwrap().items.is_empty());
        assert!(log.next(&followers, After::Now, 30).await.is_ok());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_wait_and_no_more_but_who_finds_something_needs_no_place() {
        let log = Log::new(&[2]);
        let followers = followers();
        let second = async {
            tokio::task::yield_now().await;
            let full = log.next(&followers, After::Now, 30).await;
            assert!(matches!(full, Err(FollowError::Full { waiting_max: 1 })), "{full:?}");
            assert_eq!(log.next(&followers, After::Start, 30).await.unwrap().items, [2]);
        };
        let (first, ()) = tokio::join!(log.next(&followers, After::Now, 30), second);
        assert!(first.is_ok());
        // The place is free again.
        assert!(log.next(&followers, After::Now, 1).await.is_ok());
    }
}
