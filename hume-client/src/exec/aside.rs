//! Work that goes on beside the command: on a thread of its own, or here and now when there is none to be had.
//!
//! A panic in it is told, and then costs only its result: reporting never hurts the job. As the shipped program aborts at a panic
//! (docs/PERFORMANCE.md), the thread does not get there: the hook, which is called before, never returns.

use std::cell::Cell;
use std::panic;
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::thread::{self, Builder};

/// Work that was begun, or is done already.
pub(super) enum Aside<T> {
    Begun(Arc<Slot<T>>),
    Done(Option<T>),
}

/// Where the result is put.
pub(super) struct Slot<T> {
    progress: Mutex<Progress<T>>,
    has_ended: Condvar,
}

enum Progress<T> {
    Working,
    Ended(Option<T>),
}

thread_local! {
    /// What a thread that works aside has to do before it stops for good.
    static LAST_WORD: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

impl<T: Send + 'static> Aside<T> {
    /// Begins it. It must be bounded in time: [`Aside::end`] waits for it.
    pub(super) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Aside<T> {
        stop_where_a_panic_is();
        // A thread that cannot be started would take the work with it.
        let work = Arc::new(Mutex::new(Some(work)));
        let for_thread = Arc::clone(&work);
        let taken = |work: &Mutex<Option<_>>| work.lock().ok().and_then(|mut work| work.take());
        let slot = Arc::new(Slot { progress: Mutex::new(Progress::Working), has_ended: Condvar::new() });
        let for_result = Arc::clone(&slot);
        let begun = Builder::new().name("report".to_owned()).spawn(move || {
            let without = Arc::clone(&for_result);
            LAST_WORD.set(Some(Box::new(move || without.put(None))));
            for_result.put(taken(&for_thread).map(|work| work()));
        });
        match begun {
            Ok(_) => Aside::Begun(slot),
            Err(_) => Aside::Done(taken(&work).map(|work| work())),
        }
    }

    /// Its result; none if it failed in a way that has been told already.
    pub(super) fn end(self) -> Option<T> {
        match self {
            Aside::Begun(slot) => slot.wait(),
            Aside::Done(result) => result,
        }
    }
}

impl<T> Slot<T> {
    fn put(&self, result: Option<T>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress::Ended(result);
        self.has_ended.notify_one();
    }

    fn wait(&self) -> Option<T> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut *progress {
                Progress::Ended(result) => return result.take(),
                Progress::Working => {}
            }
            progress = self.has_ended.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// From now on a thread that works aside stands still at a panic, for as long as the process has to live.
fn stop_where_a_panic_is() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            tell(panic);
            if let Some(last_word) = LAST_WORD.take() {
                last_word();
                loop {
                    thread::park();
                }
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_done_aside_has_its_result() {
        assert_eq!(Aside::begin(|| 3).end(), Some(3));
    }

    /// Set in the process that has the panic: who stands still in a hook keeps a test runner from its end.
    const INSIDE: &str = "HUME_TEST_ASIDE";
    /// Its code when all is as it should be.
    const AS_PROMISED: i32 = 7;

    #[test]
    fn a_panic_aside_costs_the_result_and_stops_before_it_could_end_the_process() {
        if std::env::var_os(INSIDE).is_some() {
            inside();
        }
        let (_crate, module) = module_path!().split_once("::").expect("a test is in a module");
        let this =
            format!("{module}::a_panic_aside_costs_the_result_and_stops_before_it_could_end_the_process");
        let mut command = Command::new(std::env::current_exe().expect("a test has a file"));
        let output = command.args(["--exact", &this]).env(INSIDE, "1").output().expect("a test can be run");
        assert_eq!(output.status.code(), Some(AS_PROMISED), "{output:?}");
    }

    #[expect(clippy::exit, clippy::disallowed_methods, reason = "the process is this test alone")]
    fn inside() -> ! {
        struct Unwound(mpsc::Sender<()>);
        impl Drop for Unwound {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, unwound) = mpsc::channel();
        let aside = Aside::begin(move || {
            let _seen = Unwound(sender);
            assert!(std::env::args().len() > 1000, "a fault of the report");
        });
        let is_none = aside.end().is_none();
        let stands_still = unwound.try_recv() == Err(mpsc::TryRecvError::Empty);
        std::process::exit(if is_none && stands_still { AS_PROMISED } else { 1 })
    }
}
