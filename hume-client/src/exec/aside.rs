//! Work that goes on beside the command: on a thread of its own, or here and now when there is none to be had.

use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// Work that was begun, or is done already.
pub(super) enum Aside<T> {
    Begun(JoinHandle<Option<T>>),
    Done(Option<T>),
}

impl<T: Send + 'static> Aside<T> {
    /// Begins it. It must be bounded in time: [`Aside::end`] waits for it.
    pub(super) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Aside<T> {
        // A thread that cannot be started would take the work with it.
        let slot = Arc::new(Mutex::new(Some(work)));
        let for_thread = Arc::clone(&slot);
        let taken = |slot: &Mutex<Option<_>>| slot.lock().ok().and_then(|mut work| work.take());
        match Builder::new().name("report".to_owned()).spawn(move || Some(taken(&for_thread)?())) {
            Ok(thread) => Aside::Begun(thread),
            Err(_) => Aside::Done(taken(&slot).map(|work| work())),
        }
    }

    /// Its result; none if it failed in a way that has been told already.
    pub(super) fn end(self) -> Option<T> {
        match self {
            Aside::Begun(thread) => thread.join().ok().flatten(),
            Aside::Done(result) => result,
        }
    }
}
