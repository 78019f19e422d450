//! A daemon under faults: struck, stopped, and started again after a while, as a service manager would.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;

use super::schedule::Blow;
use crate::Daemon;

/// Longest time until a daemon that has ended is started again, in milliseconds.
const ABSENCE_MS_MAX: u64 = 700;
/// One that was asked to stop has this long on a busy machine.
const STOP_TIME_MAX: Duration = Duration::from_mins(1);

/// One daemon.
pub(super) struct Ward<'a> {
    pub(super) name: String,
    daemon: &'a Daemon,
    start_at: Option<Instant>,
    continue_at: Option<Instant>,
    asked_to_stop: Option<Instant>,
    /// Of the process that runs, and of the next one.
    faults: String,
    next_faults: String,
}

// Of sysexits(3): no socket can be had; the disk failed.
const EXIT_UNAVAILABLE: i32 = 69;
const EXIT_IO: i32 = 74;

/// How a process ended that nobody ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a fail point.
    ByFault,
    /// With a word for who looks after services that its disk or a socket on it cannot be used; in words.
    NoDisk(String),
    /// Otherwise; in words.
    Unasked(String),
}

impl<'a> Ward<'a> {
    /// Of a daemon that runs.
    pub(super) fn new(name: &str, daemon: &'a Daemon) -> Ward<'a> {
        Ward {
            name: name.to_owned(),
            daemon,
            start_at: None,
            continue_at: None,
            asked_to_stop: None,
            faults: String::new(),
            next_faults: String::new(),
        }
    }

    /// True when it can be struck.
    pub(super) fn is_up(&self) -> bool {
        self.start_at.is_none() && self.continue_at.is_none() && self.asked_to_stop.is_none()
    }

    /// True while it does not run of its own accord.
    pub(super) fn is_stopped(&self) -> bool {
        self.continue_at.is_some()
    }

    /// Does what is due; how it has ended, if it did so unasked.
    pub(super) fn tick(&mut self, rng: &mut Rng) -> Option<End> {
        let now = Instant::now();
        if self.continue_at.is_some_and(|at| now >= at) {
            self.go_on();
        }
        if self.start_at.is_some_and(|at| now >= at) {
            self.start();
        }
        let mut end = None;
        if self.start_at.is_none()
            && let Some(status) = self.daemon.ended()
        {
            let was_asked = self.asked_to_stop.take().is_some();
            end = self.judge(status, was_asked);
            self.continue_at = None;
            self.start_later(rng);
        }
        if self.asked_to_stop.is_some_and(|since| now > since + STOP_TIME_MAX) {
            end = Some(End::Unasked(format!("{} did not end within {STOP_TIME_MAX:?}", self.name)));
            self.kill(rng);
        }
        end
    }

    fn judge(&self, status: ExitStatus, was_asked: bool) -> Option<End> {
        let is_armed = self.faults.contains("kill");
        match (status.code(), status.signal()) {
            (_, Some(signal)) if signal == Signal::KILL.as_raw() && is_armed => Some(End::ByFault),
            // Before it catches the signal, it ends by it.
            (_, Some(signal)) if signal == Signal::TERM.as_raw() && was_asked => None,
            (Some(0), _) if was_asked => None,
            (Some(EXIT_UNAVAILABLE | EXIT_IO), _) => {
                Some(End::NoDisk(format!("{} has ended: {status}", self.name)))
            }
            _ => Some(End::Unasked(format!("{} has ended: {status}", self.name))),
        }
    }

    fn start_later(&mut self, rng: &mut Rng) {
        self.start_at = Some(Instant::now() + Duration::from_millis(rng.u64(0..=ABSENCE_MS_MAX)));
    }

    /// Starts it now, with what was asked for its next start. It must not run.
    pub(super) fn start(&mut self) {
        self.start_at = None;
        self.faults = std::mem::take(&mut self.next_faults);
        self.daemon.ask_for(&self.faults);
        self.daemon.spawn();
    }

    fn go_on(&mut self) {
        if self.continue_at.take().is_some() && self.daemon.is_running() {
            self.daemon.signal(Signal::CONT);
        }
    }

    /// SIGKILL, now; it is started later.
    pub(super) fn kill(&mut self, rng: &mut Rng) {
        self.end();
        self.start_later(rng);
    }

    /// SIGKILL, now; it stays away until it is started.
    pub(super) fn end(&mut self) {
        self.daemon.kill9();
        (self.continue_at, self.asked_to_stop, self.start_at) = (None, None, None);
    }

    /// SIGTERM, and waits; false when it had to be killed. It stays away until it is started.
    pub(super) fn stop(&mut self) -> bool {
        self.go_on();
        let is_asked = self.daemon.is_running();
        if is_asked {
            self.daemon.signal(Signal::TERM);
            let until = Instant::now() + STOP_TIME_MAX;
            crate::let_pass(STOP_TIME_MAX, || !self.daemon.is_running());
            if Instant::now() >= until {
                self.end();
                return false;
            }
        }
        self.end();
        true
    }

    /// Strikes it; false when it cannot be struck now.
    pub(super) fn strike(&mut self, blow: &Blow, rng: &mut Rng) -> bool {
        if !self.is_up() || !self.daemon.is_running() {
            return false;
        }
        match blow {
            Blow::Kill => self.kill(rng),
            Blow::Stop(ms) => {
                self.daemon.signal(Signal::STOP);
                self.continue_at = Some(Instant::now() + Duration::from_millis(*ms));
            }
            Blow::Restart => self.ask_to_stop(),
            Blow::Clock(seconds) => {
                self.next_faults = format!("clock=shift({seconds})");
                self.ask_to_stop();
            }
            Blow::Point(point, action) => {
                self.kill(rng);
                self.next_faults = format!("{}={action}", point.name());
            }
        }
        true
    }

    fn ask_to_stop(&mut self) {
        self.daemon.signal(Signal::TERM);
        self.asked_to_stop = Some(Instant::now());
    }

    /// The faults are over: whoever still has one coming is started without.
    pub(super) fn calm(&mut self, rng: &mut Rng) {
        self.next_faults.clear();
        if self.faults.is_empty() {
            self.continue_at = self.continue_at.map(|_| Instant::now());
        } else {
            self.faults.clear();
            self.kill(rng);
        }
    }
}
