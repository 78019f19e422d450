//! Whether what runs lets go of its thread: a future that is found in one and the same poll at two looks is stuck.
//!
//! A task that waits is not stuck, however long; one that computes without an end, or blocks its thread, is. Costs two
//! additions a poll, and no clock.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Odd while the future is polled.
#[derive(Debug, Default)]
struct Turns(AtomicU64);

#[derive(Debug, Default)]
struct All {
    next: u64,
    running: HashMap<u64, (&'static str, Arc<Turns>)>,
}

/// The futures that are looked after. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<All>>);

/// A future's place among them, for as long as it lives.
#[derive(Debug)]
struct Place {
    watched: Watched,
    id: u64,
}

pin_project! {
    /// A future whose polls are counted.
    #[derive(Debug)]
    pub(crate) struct Counted<F> {
        turns: Arc<Turns>,
        _place: Place,
        #[pin]
        future: F,
    }
}

/// What was found in a poll at the last look, and which one it was.
#[derive(Debug, Default)]
pub(crate) struct Looks(HashMap<u64, u64>);

impl Watched {
    /// Looks after a future from now on.
    pub(crate) fn count<F>(&self, name: &'static str, future: F) -> Counted<F> {
        let turns = Arc::new(Turns::default());
        let mut all = self.all();
        let id = all.next;
        all.next += 1;
        all.running.insert(id, (name, Arc::clone(&turns)));
        Counted { turns, _place: Place { watched: self.clone(), id }, future }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Whole after every statement, so a poisoned lock is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watched.all().running.remove(&self.id);
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.turns.0.fetch_add(1, Ordering::Relaxed);
        let polled = this.future.poll(context);
        this.turns.0.fetch_add(1, Ordering::Relaxed);
        polled
    }
}

impl Looks {
    /// The names of those that have been in one poll since the last look.
    pub(crate) fn look(&mut self, watched: &Watched) -> Vec<&'static str> {
        let mut now = HashMap::new();
        let mut stuck = Vec::new();
        for (id, (name, turns)) in &watched.all().running {
            let turn = turns.0.load(Ordering::Relaxed);
            if turn % 2 == 1 {
                now.insert(*id, turn);
                if self.0.get(id) == Some(&turn) {
                    stuck.push(*name);
                }
            }
        }
        self.0 = now;
        stuck.sort_unstable();
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn who_waits_or_takes_turns_is_not_stuck() {
        let (watched, mut looks) = (Watched::default(), Looks::default());
        let mut waiting = Box::pin(watched.count("waiting", std::future::pending::<()>()));
        for _ in 0..3 {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(looks.look(&watched).is_empty());
        }
    }

    #[test]
    fn who_is_in_one_poll_at_two_looks_is_stuck_and_named_until_it_lets_go() {
        let (watched, mut looks) = (Watched::default(), Looks::default());
        let mut inner = Looks::default();
        let (seen, of) = (Arc::new(Mutex::new(Vec::new())), watched.clone());
        let told = Arc::clone(&seen);
        let future = async move {
            for _ in 0..3 {
                told.lock().unwrap().push(inner.look(&of));
            }
        };
        let mut future = Box::pin(watched.count("busy", future));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(*seen.lock().unwrap(), [vec![], vec!["busy"], vec!["busy"]]);
        assert!(looks.look(&watched).is_empty());
        drop(future);
        assert!(watched.all().running.is_empty());
    }
}
