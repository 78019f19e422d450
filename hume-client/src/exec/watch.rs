//! The command from its beginning to its end, and its output as far as it has come by then.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::child;
use super::course::{Course, Deed};
use super::ending::End;
use super::family::Family;
use super::forward;
use super::streams::Streams;
use crate::signals::{Received, Signals};

/// How often the command is looked at when the system has no file of signals for us.
const LOOK_PERIOD: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// One command that runs.
pub(super) struct Watch<'a> {
    pub(super) child: Pid,
    pub(super) signals: &'a Signals,
    pub(super) streams: &'a mut Streams,
    pub(super) course: &'a mut Course,
    leads_session: bool,
    /// Who else is to end when its time is up.
    family: Family,
    end: Option<End>,
    /// Nothing more is waited for.
    is_over: bool,
}

impl<'a> Watch<'a> {
    /// Of a command that has just begun.
    pub(super) fn new(
        child: Pid,
        signals: &'a Signals,
        streams: &'a mut Streams,
        course: &'a mut Course,
    ) -> Watch<'a> {
        let own = nix::unistd::getpid();
        let leads_session = nix::unistd::getsid(None).is_ok_and(|session| session == own);
        Watch {
            child,
            signals,
            streams,
            course,
            leads_session,
            family: Family::default(),
            end: None,
            is_over: false,
        }
    }

    /// Until the command has ended and what it wrote is passed on; what its children still write is left to somebody else.
    /// `ended` is told as soon as the command has; it decides what becomes of output that was held.
    pub(super) fn run(mut self, ended: impl FnOnce(End, &mut Streams, &Course)) {
        let mut ended = Some(ended);
        while !self.is_done() {
            self.wait();
            for received in self.signals.received() {
                self.heed(received);
            }
            if self.end.is_none()
                && let Some(end) = child::reap(self.child)
            {
                self.streams.drain();
                self.course.end();
                if let Some(ended) = ended.take() {
                    ended(end.clone(), self.streams, self.course);
                }
                self.end = Some(end);
            }
            self.streams.turn();
            if let Some(deed) = self.course.due(Instant::now()) {
                self.act(deed);
            }
        }
        self.streams.leave_rest();
    }

    fn is_done(&self) -> bool {
        self.is_over || (self.end.is_some() && self.streams.is_passed_on() && !self.must_kill())
    }

    /// The command has had its time and has ended, and something it began goes on until it is made to end.
    fn must_kill(&self) -> bool {
        self.end.is_some() && self.course.next().is_some() && self.family.is_there()
    }

    fn wait(&self) {
        let mut waits = Vec::with_capacity(5);
        waits.extend(self.signals.source().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let is_blind = waits.is_empty();
        self.streams.wait_on(&mut waits);
        let now = Instant::now();
        let until_due = self.course.next().map(|due| due.saturating_duration_since(now));
        let until_due = until_due.and_then(|left| Timespec::try_from(left).ok());
        // Nobody tells of the end of those that the command left behind.
        let patience = if is_blind || self.must_kill() { Some(LOOK_PERIOD) } else { until_due };
        // Whatever woke us, everything is looked at.
        let _ = poll(&mut waits, patience.as_ref());
    }

    fn heed(&mut self, received: Received) {
        let number = received.number;
        if self.end.is_some() {
            let ends = forward::asks_to_end(number) || number == Signal::SIGHUP as i32;
            self.is_over |= ends && !self.signals.is_ignored(number);
            return;
        }
        let child = self.child.as_raw().unsigned_abs();
        if let Some(signal) = forward::forwarded(received, child, self.leads_session) {
            self.send(signal);
        }
    }

    /// The command has not been waited for, so the number is still its own.
    fn send(&self, signal: Signal) {
        let _ = kill(self.child, signal);
    }

    fn act(&mut self, deed: Deed) {
        let has_ended = self.end.is_some();
        if !has_ended {
            self.family.look(self.child);
        }
        let signal = match deed {
            Deed::Terminate => Signal::SIGTERM,
            Deed::Kill => Signal::SIGKILL,
        };
        if !has_ended {
            self.send(signal);
        }
        self.family.signal(signal);
        if deed == Deed::Terminate {
            // One that is stopped would not notice.
            self.send(Signal::SIGCONT);
            self.family.signal(Signal::SIGCONT);
        }
    }
}
