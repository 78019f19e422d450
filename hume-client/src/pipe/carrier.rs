//! Events on their way to the agent, many at a time over one connection; what it does not take goes to the drop folder.
//!
//! Waits at most the time limit for a connection. An agent that does not answer in that time is left alone for a while, so
//! that waiting for it takes no more than a twentieth of the time.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use super::window::{Sent, Window};
use crate::args::one_line;
use crate::delivery::{Outcome, Verdict, say, settle, verdict};
use crate::draft::Prepared;
use crate::settings::Settings;
use crate::submit::{Connection, Receipt, SubmitError, TimeLimit, encoded, judged};

/// How many time limits an agent is left alone that let one pass.
const REST_LIMITS: u32 = 20;

/// What became of the events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// By the agent.
    pub(super) stored: u64,
    /// In the drop folder.
    pub(super) dropped: u64,
    /// Nowhere.
    pub(super) lost: u64,
    /// The worst of their exit codes.
    pub(super) code: u8,
}

/// The way to the agent.
pub(super) struct Carrier<'a> {
    settings: &'a Settings,
    connection: Option<Connection>,
    /// The connection came after a lost one, and nothing was answered on it yet.
    is_second: bool,
    window: Window,
    /// When the agent last answered, or was given something to answer.
    progress: Instant,
    rests_until: Option<Instant>,
    tally: Tally,
    has_complained: bool,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(settings: &'a Settings) -> Carrier<'a> {
        Carrier {
            settings,
            connection: None,
            is_second: false,
            window: Window::default(),
            progress: Instant::now(),
            rests_until: None,
            tally: Tally::default(),
            has_complained: false,
        }
    }

    /// One more event may come.
    pub(super) fn has_room(&self) -> bool {
        self.window.has_room()
    }

    /// Every event has come to rest.
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// The connection, to wait on for answers.
    pub(super) fn answers_on(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(|connection| connection.as_fd())
    }

    /// There is something to send.
    pub(super) fn has_unsent(&self) -> bool {
        self.window.unsent().is_some()
    }

    /// When the agent has had its time.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.window.is_empty() { None } else { self.progress.checked_add(self.settings.timeout) }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Takes an event; there must be room for it.
    pub(super) fn take(&mut self, prepared: Prepared, now: Instant) {
        if self.rests_until.is_some_and(|until| now < until) {
            let cause = SubmitError::NoAnswer { limit: self.settings.timeout };
            return self.finish(&prepared, Err(cause));
        }
        self.rests_until = None;
        match encoded(&prepared.line) {
            Ok(line) => {
                if self.window.is_empty() {
                    self.progress = now;
                }
                self.window.push(prepared, line);
                self.send();
            }
            Err(cause) => self.finish(&prepared, Err(cause)),
        }
    }

    /// Takes the answers that have come, sends what can be sent, and gives an agent up that has had its time.
    pub(super) fn turn(&mut self, now: Instant) {
        self.receive(now);
        self.send();
        if self.due().is_some_and(|due| due <= now) {
            self.give_up(&SubmitError::NoAnswer { limit: self.settings.timeout });
        }
    }

    fn send(&mut self) {
        while let Some(bytes) = self.window.unsent() {
            let sent = match &self.connection {
                Some(connection) => connection.send_at_once(bytes),
                None => match Connection::open(&self.settings.socket, &TimeLimit::new(self.settings.timeout))
                {
                    Ok(connection) => {
                        self.connection = Some(connection);
                        self.progress = Instant::now();
                        continue;
                    }
                    Err(cause) => return self.give_up(&cause),
                },
            };
            match sent {
                Ok(0) => return,
                Ok(count) => self.window.was_sent(count),
                // What it answered before it hung up is still there to be read, and tells what it thought.
                Err(cause) => {
                    let cause = self.take_answers(Instant::now()).err().unwrap_or(cause);
                    return self.lose(&cause);
                }
            }
        }
    }

    fn receive(&mut self, now: Instant) {
        if let Err(cause) = self.take_answers(now) {
            self.lose(&cause);
        }
    }

    /// # Errors
    /// The connection is of no more use.
    fn take_answers(&mut self, now: Instant) -> Result<(), SubmitError> {
        while let Some(connection) = &mut self.connection {
            let Some(answer) = connection.answer_at_once()? else { return Ok(()) };
            let Some(Sent { prepared, .. }) = self.window.answered() else {
                return Err(SubmitError::Garbled);
            };
            // An answer to another event tells nothing of this one.
            let own = prepared.line.id.as_deref();
            if answer.ok && answer.id.is_some_and(|id| Some(id.to_string().as_str()) != own) {
                self.finish(&prepared, Err(SubmitError::Garbled));
                return Err(SubmitError::Garbled);
            }
            self.progress = now;
            self.is_second = false;
            self.finish(&prepared, judged(answer));
        }
        Ok(())
    }

    /// The connection is of no more use: what was not answered is sent once more, over another one.
    fn lose(&mut self, cause: &SubmitError) {
        self.connection = None;
        if self.is_second {
            return self.give_up(cause);
        }
        self.is_second = !self.window.is_empty();
        for Sent { prepared, .. } in self.window.start_anew() {
            self.finish(&prepared, Err(cause.again()));
        }
        self.send();
    }

    /// Nothing that is on its way is waited for any longer.
    fn give_up(&mut self, cause: &SubmitError) {
        self.connection = None;
        self.is_second = false;
        for Sent { prepared, .. } in self.window.take_all() {
            self.finish(&prepared, Err(cause.again()));
        }
        // From now on: a slow disk must not use up the rest.
        if let SubmitError::NoAnswer { limit } = cause {
            self.rests_until = Instant::now().checked_add(*limit * REST_LIMITS);
        }
    }

    /// An event comes to rest, and is counted.
    fn finish(&mut self, prepared: &Prepared, said: Result<Receipt, SubmitError>) {
        let outcome = settle(said, &prepared.line, self.settings);
        match &outcome {
            Outcome::Stored(_) => self.tally.stored += 1,
            Outcome::Dropped { .. } => self.tally.dropped += 1,
            Outcome::Lost { .. } => self.tally.lost += 1,
        }
        // One line for each event would be as many as there are events; the sum is told at the end.
        let quiet = Settings { is_verbose: false, ..self.settings.clone() };
        let Verdict { code, line } = verdict(&outcome, prepared, &quiet);
        self.tally.code = self.tally.code.max(code);
        if let Some(line) = line.filter(|_| !std::mem::replace(&mut self.has_complained, true)) {
            say(&format!("hume pipe: {}", one_line(&line)));
        }
    }
}
