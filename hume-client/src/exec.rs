//! `hume exec`: a command between its two events, as if it had been called alone; reporting neither delays nor changes it.
//!
//! | question | module |
//! |---|---|
//! | what was asked for | `args`, `help`, `duration` |
//! | what do the events say | `events`, `words`, `ending`, `tail` |
//! | how does the start reach the agent before the command begins | `opening`, `aside` |
//! | what does the command inherit, and how is it started and waited for | `exports`, `child` |
//! | which signals reach it, and what ends it | `forward`, `course`, `family`, `watch` |
//! | where does its output go | `streams`, `held`, `rest` |

mod args;
mod aside;
mod child;
mod course;
mod duration;
mod ending;
mod events;
mod exports;
mod family;
mod forward;
mod held;
mod help;
mod opening;
mod rest;
mod streams;
mod tail;
mod watch;
mod words;

use std::ffi::OsString;
use std::time::Instant;

use hume_proto::intake::DraftLine;

use crate::args::one_line;
use crate::delivery::{Outcome, deliver, say, verdict};
use crate::draft::{Prepared, Surroundings};
use crate::program::USAGE;
use crate::settings::{Environment, Settings};
use crate::signals::Signals;
use args::Wishes;
use aside::Aside;
use child::Used;
use course::Course;
use ending::{Account, End};
use streams::{Streams, Wanted};
use watch::Watch;

/// The task runs already, and it must not run twice: sysexits(3) calls it a failure for the time being.
const FORBIDDEN: u8 = 75;

/// An event, and what became of it.
type Told = (Prepared, Outcome);

/// Runs `hume exec` with these words, `exec` first. Returns the exit code.
pub(crate) fn run(words: &[OsString]) -> u8 {
    if let [_, word] = words
        && word == rest::WORD
    {
        rest::pass_on();
        return 0;
    }
    let wishes = match args::parse(words) {
        Ok(Ok(wishes)) => wishes,
        Ok(Err(page)) => {
            page.print();
            return 0;
        }
        Err(error) => return refuse(&error),
    };
    let lookup = |name: &str| std::env::var_os(name);
    let environment = Environment(&lookup);
    // Where a command has an exit code, the events have none.
    let settings = Settings { is_strict: false, ..Settings::new(&wishes.event, &environment) };
    // The agent takes a process of the name `hume` for a messenger of its parent; this one is the run's own.
    let _ = nix::sys::prctl::set_name(rest::NAME);
    let surroundings = Surroundings::capture();
    let start = events::start(&wishes, &environment, &surroundings);
    if start.line.task.is_empty() {
        return refuse(&args::no_task());
    }
    let surroundings = surroundings.later();
    Job { wishes, environment, settings, surroundings }.run(start)
}

fn refuse(error: &crate::args::UsageError) -> u8 {
    say(&error.to_string());
    USAGE
}

fn remark(text: &str) {
    say(&format!("hume exec: {}", one_line(text)));
}

struct Job<'a> {
    wishes: Wishes,
    environment: Environment<'a>,
    settings: Settings,
    /// Those of the start.
    surroundings: Surroundings,
}

impl Job<'_> {
    fn run(&self, start: Prepared) -> u8 {
        let Job { wishes, environment, settings, .. } = self;
        if settings.is_verbose {
            settings.remarks.iter().chain(&start.remarks).for_each(|text| remark(text));
        }
        let signals = Signals::hold(&forward::HELD);
        signals.heed_children();
        let opening = opening::announce(&start.line, wishes.overlap, settings);
        if let Some(words) = opening.refusal() {
            remark(&format!("not started: {words}"));
            return FORBIDDEN;
        }
        let Wishes { command, is_chronic, tail_bytes, .. } = wishes;
        let (mut streams, ends) = Streams::new(Wanted { tail_bytes: *tail_bytes, is_chronic: *is_chronic });
        let exports = exports::exports(&start.line, wishes.event.socket.as_deref(), environment);
        let used_before = Used::now();
        let began = Instant::now();
        let spawned = child::spawn(command, &exports, signals.before(), &ends);
        // The command alone may hold them, or its end would never be seen.
        drop(ends);
        let start_line = start.line.clone();
        let opened = {
            let settings = settings.clone();
            Aside::begin(move || {
                let outcome = opening.settle(&start.line, &settings);
                (start, outcome)
            })
        };
        let mut opened = Some(opened);
        let mut finished = None;
        let mut finish = |end: End, streams: &Streams, course: Option<&Course>| {
            let has_begun = !matches!(end, End::NotStarted { .. });
            let account = Account {
                end,
                timed_out: course.and_then(Course::timed_out),
                wall: began.elapsed(),
                usage: used_before.filter(|_| has_begun).and_then(|before| Some(Used::now()?.since(before))),
                output_bytes: streams.output_bytes().filter(|_| has_begun),
            };
            let told = self.stop(&start_line, &account, streams, opened.take());
            finished.insert((account, told)).0.is_failure()
        };
        match spawned {
            Ok(pid) => {
                let mut course = Course::new(began, wishes.timeout, wishes.kill_after);
                Watch::new(pid, &signals, &mut streams, &mut course).run(|end, streams, course| {
                    if finish(end, streams, Some(course)) { streams.release() } else { streams.discard() }
                });
            }
            Err(end) => {
                if let End::NotStarted { reason, .. } = &end {
                    remark(reason);
                }
                finish(end, &streams, None);
            }
        }
        let Some((account, told)) = finished else { return End::Unknown.exit_code() };
        self.close(&account, &streams, told.end().unwrap_or_default());
        account.end.exit_code()
    }

    /// Sends the stop event, once the start has come to rest, and beside the output that is still to come.
    fn stop(
        &self,
        start: &DraftLine,
        account: &Account,
        streams: &Streams,
        opened: Option<Aside<Told>>,
    ) -> Aside<Vec<Told>> {
        let wants_tail =
            self.wishes.tail_bytes > 0 && (account.is_failure() || self.wishes.wants_tail_always);
        let tail = wants_tail.then(|| streams.tail());
        let stop = events::stop(&self.wishes, &self.environment, &self.surroundings, start, account, tail);
        let settings = self.settings.clone();
        Aside::begin(move || {
            let start = opened.and_then(Aside::end);
            let outcome = deliver(&stop.line, &settings);
            start.into_iter().chain([(stop, outcome)]).collect()
        })
    }

    /// Says what there is to say, once the command's own words are out.
    fn close(&self, account: &Account, streams: &Streams, told: Vec<Told>) {
        let is_silent = self.wishes.is_chronic && !account.is_failure() && !self.settings.is_verbose;
        if is_silent {
            return;
        }
        if let Some(failure) = streams.failure() {
            remark(&format!("some output was lost: {}", std::io::Error::from(failure)));
        }
        let mut said: Option<String> = None;
        for (prepared, outcome) in told {
            let line = verdict(&outcome, &prepared, &self.settings).line;
            // The cause is mostly the same for both.
            if let Some(line) = line.filter(|line| said.as_ref() != Some(line)) {
                remark(&line);
                said = Some(line);
            }
        }
    }
}
