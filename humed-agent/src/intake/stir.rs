//! Whether something may be in the drop folder: a look that fails, leaves something, or is broken off is asked for again.
//!
//! Whoever answers a line looks as well, and may go away in the middle of it; the folder's own task then goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Something may be in the folder.
#[derive(Debug)]
pub(super) struct Stir {
    waiting: AtomicBool,
    woken: Notify,
}

/// One look. Unless it is [`finished`](Look::finished), another one is asked for when it is dropped.
#[derive(Debug)]
pub(super) struct Look<'a> {
    stir: &'a Stir,
    is_finished: bool,
}

impl Stir {
    /// As at the start: nobody has looked yet.
    pub(super) fn new() -> Stir {
        Stir { waiting: AtomicBool::new(true), woken: Notify::new() }
    }

    /// True when somebody should look.
    pub(super) fn is_set(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Something was put into the folder, or left in it.
    pub(super) fn set(&self) {
        self.waiting.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// The look that is asked for, if one is. What comes after its beginning asks for another.
    pub(super) fn look(&self) -> Option<Look<'_>> {
        self.waiting.swap(false, Ordering::AcqRel).then_some(Look { stir: self, is_finished: false })
    }

    /// Completes after somebody has set it, also when that was before. A look may have been made since.
    pub(super) async fn stirred(&self) {
        self.woken.notified().await;
    }
}

impl Look<'_> {
    /// All that was there is recorded.
    pub(super) fn finished(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.stir.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_by_what_comes_and_by_a_look_that_is_broken_off() {
        let stir = Stir::new();
        drop(stir.look());
        assert!(stir.is_set());
        // Also when nobody waited at that moment.
        stir.stirred().await;
        let look = stir.look().unwrap();
        tokio::join!(stir.stirred(), async { drop(look) });
        assert!(stir.is_set());
        stir.look().unwrap().finished();
        tokio::join!(stir.stirred(), async { stir.set() });
        assert!(stir.is_set());
    }

    #[test]
    fn a_look_that_is_finished_asks_for_no_other_but_what_came_meanwhile_does() {
        let stir = Stir::new();
        stir.look().unwrap().finished();
        assert!(!stir.is_set() && stir.look().is_none());
        stir.set();
        let look = stir.look().unwrap();
        stir.set();
        look.finished();
        assert!(stir.is_set());
    }
}
