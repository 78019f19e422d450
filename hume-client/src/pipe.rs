//! `hume pipe`: every line of stdin is an event, passed on first and reported after, many at a time.
//!
//! | question | module |
//! |---|---|
//! | what was asked for | `args`, `help` |
//! | what is a line, and which level does it tell | `lines`, `levels` |
//! | what is on its way, and what becomes of it | `window`, `carrier` |

mod args;
mod carrier;
mod help;
mod levels;
mod lines;
mod window;

use std::borrow::Cow;
use std::ffi::OsString;
use std::time::Instant;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};

use crate::args::one_line;
use crate::delivery::say;
use crate::draft::{self, Prepared, Surroundings};
use crate::fitter::Message;
use crate::outlet::Outlet;
use crate::program::USAGE;
use crate::settings::{Environment, Settings};
use crate::signals::Signals;
use args::Wishes;
use carrier::{Carrier, Tally};
use levels::{LevelFrom, Said};
use lines::Lines;

/// Most bytes read at once: what a pipe holds.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Those that end it in good order.
const HELD: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// Runs `hume pipe` with these words, `pipe` first. Returns the exit code.
pub(crate) fn run(words: &[OsString]) -> u8 {
    let Wishes { event, level_from, is_tee } = match args::parse(words) {
        Ok(Ok(wishes)) => wishes,
        Ok(Err(page)) => {
            page.print();
            return 0;
        }
        Err(error) => {
            say(&error.to_string());
            return USAGE;
        }
    };
    let lookup = |name: &str| std::env::var_os(name);
    let environment = Environment(&lookup);
    let settings = Settings::new(&event, &environment);
    let surroundings = Surroundings::capture();
    let template = draft::prepare(&event, &environment, Message::default(), None, surroundings.clone());
    if settings.is_verbose {
        settings.remarks.iter().chain(&template.remarks).for_each(|text| remark(text));
    }
    let pipe = Pipe {
        lines: Lines::new(level_from.line_bytes_max()),
        level_from,
        template,
        surroundings,
        outlet: is_tee.then(|| Outlet::new(stdout())),
        carrier: Carrier::new(&settings),
        signals: Signals::hold(&HELD),
        is_open: true,
        ended_by: None,
        chunk: vec![0; READ_BYTES_MAX],
    };
    pipe.run(settings.is_verbose)
}

fn remark(text: &str) {
    say(&format!("hume pipe: {}", one_line(text)));
}

struct Pipe<'a> {
    lines: Lines,
    level_from: LevelFrom,
    /// What all lines have in common.
    template: Prepared,
    /// Those of the latest line.
    surroundings: Surroundings,
    outlet: Option<Outlet>,
    carrier: Carrier<'a>,
    signals: Signals,
    /// There may be more to read.
    is_open: bool,
    ended_by: Option<i32>,
    chunk: Vec<u8>,
}

impl Pipe<'_> {
    fn run(mut self, is_verbose: bool) -> u8 {
        loop {
            self.report_lines();
            if self.is_done() {
                break;
            }
            let can_read = self.wait();
            for received in self.signals.received() {
                if !self.signals.is_ignored(received.number) {
                    self.ended_by = Some(received.number);
                    self.is_open = false;
                }
            }
            self.carrier.turn(Instant::now());
            if let Some(outlet) = &mut self.outlet {
                outlet.flush();
            }
            if can_read && self.wants_input() {
                self.read();
            }
        }
        self.close(is_verbose)
    }

    /// Everything was reported, and what was to be passed on is out or will never be.
    fn is_done(&self) -> bool {
        let is_out = self.outlet.as_ref().is_none_or(Outlet::is_empty) || self.ended_by.is_some();
        !self.is_open && self.lines.is_hungry() && self.carrier.is_empty() && is_out
    }

    /// There is nothing left to report or to pass on of what was read before.
    fn wants_input(&self) -> bool {
        self.is_open && self.lines.is_hungry() && self.outlet.as_ref().is_none_or(Outlet::is_empty)
    }

    /// Reports what was read, as far as there is room.
    fn report_lines(&mut self) {
        while self.carrier.has_room()
            && let Some(line) = self.lines.next()
        {
            self.report(&line);
        }
        if !self.is_open
            && self.carrier.has_room()
            && self.lines.is_hungry()
            && let Some(half) = self.lines.end()
        {
            self.report(&half);
        }
    }

    fn report(&mut self, line: &Message) {
        self.surroundings = self.surroundings.later();
        let Said { level, text } = self.level_from.read(&line.bytes);
        let bytes_total = match &text {
            // Out of JSON, which the whole line was.
            Cow::Owned(bytes) => bytes.len() as u64,
            Cow::Borrowed(bytes) => line.bytes_total - (line.bytes.len() - bytes.len()) as u64,
        };
        let text = Message { bytes: text.into_owned(), bytes_total, fault: None };
        let prepared = self.template.again(text, level, &self.surroundings);
        self.carrier.take(prepared, Instant::now());
    }

    /// Waits until there is something to do; says whether stdin can be read.
    fn wait(&self) -> bool {
        let mut waits = Vec::with_capacity(4);
        let (input, output) = (stdin(), self.outlet.as_ref().filter(|outlet| !outlet.is_empty()));
        let wants_input = self.wants_input();
        if wants_input {
            waits.push(PollFd::new(&input, PollFlags::IN));
        }
        waits.extend(self.signals.source().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        waits.extend(output.map(|outlet| PollFd::from_borrowed_fd(outlet.waits_on(), PollFlags::OUT)));
        let flags = if self.carrier.has_unsent() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        waits.extend(self.carrier.answers_on().map(|fd| PollFd::from_borrowed_fd(fd, flags)));
        let left = self.carrier.due().map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let _ = poll(&mut waits, left.as_ref());
        wants_input && waits.first().is_some_and(|wait| !wait.revents().is_empty())
    }

    /// Reads once, and passes on what was read before anything else happens to it.
    fn read(&mut self) {
        match rustix::io::read(stdin(), &mut self.chunk) {
            Ok(0) => self.is_open = false,
            Ok(count) => {
                let read = self.chunk.get(..count).unwrap_or_default();
                if let Some(outlet) = &mut self.outlet {
                    outlet.push(read);
                    // The writer's next write is to fail, as if the reader were its own.
                    self.is_open = !outlet.is_closed();
                }
                self.lines.fill(read);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                remark(&format!("stdin could not be read: {}", std::io::Error::from(errno)));
                self.is_open = false;
            }
        }
    }

    fn close(self, is_verbose: bool) -> u8 {
        let Tally { stored, dropped, lost, code } = self.carrier.tally();
        let total = stored + dropped + lost;
        if is_verbose {
            remark(&format!(
                "{total} lines: {stored} stored by the agent, {dropped} in the drop folder, {lost} not stored"
            ));
        } else if lost > 0 {
            remark(&format!("{lost} of {total} lines were not stored"));
        }
        if let Some(failure) = self.outlet.and_then(|outlet| outlet.failure()) {
            remark(&format!("some output was lost: {}", std::io::Error::from(failure)));
        }
        match self.ended_by {
            Some(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            None => code,
        }
    }
}
