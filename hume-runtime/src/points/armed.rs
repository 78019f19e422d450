//! The faults of this process: read from its environment at the first point it reaches, each done once.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::faults::{Action, Fault, Faults};
use super::{Point, VARIABLE};

/// A fault, and how often its point was reached.
struct Armed {
    fault: Fault,
    reached: AtomicU64,
}

struct All {
    at: BTreeMap<Point, Armed>,
    clock_shift_us: i64,
}

fn all() -> &'static All {
    static ALL: OnceLock<All> = OnceLock::new();
    ALL.get_or_init(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let faults = Faults::parse(&text).unwrap_or_else(|part| {
            tracing::error!(part, "{VARIABLE} makes no sense: no fault happens");
            Faults::default()
        });
        let arm = |(point, fault)| (point, Armed { fault, reached: AtomicU64::new(0) });
        All { at: faults.at.into_iter().map(arm).collect(), clock_shift_us: faults.clock_shift_us }
    })
}

pub(super) fn clock_shift_us() -> i64 {
    all().clock_shift_us
}

/// Does what is asked for at this point; true when it must fail.
pub(super) fn fails(point: Point) -> bool {
    let Some(Armed { fault, reached }) = all().at.get(&point) else { return false };
    if reached.fetch_add(1, Ordering::AcqRel) + 1 != fault.count {
        return false;
    }
    // To whoever reads the log, before the process can no longer say it.
    tracing::warn!(point = point.name(), action = ?fault.action, "a fault that {VARIABLE} asks for");
    match fault.action {
        Action::Kill(after) if after.is_zero() => kill(Signal::KILL),
        Action::Kill(after) => kill_after(after),
        Action::Stop => kill(Signal::STOP),
        Action::Pause(time) => pause(time),
        Action::Error => return true,
    }
    false
}

/// A signal to this process. Nothing more happens on this thread before it has come.
fn kill(signal: Signal) {
    // A process may always send itself a signal.
    let _ = kill_process(getpid(), signal);
    if signal == Signal::KILL {
        loop {
            thread::park();
        }
    }
}

fn kill_after(time: Duration) {
    let body = move || {
        pause(time);
        kill(Signal::KILL);
    };
    // Without another thread it happens here.
    if thread::Builder::new().name("fault".to_owned()).spawn(body).is_err() {
        kill(Signal::KILL);
    }
}

fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lasts_as_long_as_it_says_at_least() {
        let began = Instant::now();
        pause(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}
