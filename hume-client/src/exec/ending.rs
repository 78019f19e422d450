//! What the end of a command means: the exit code of `hume exec`, and what the stop event says. Pure.

use std::time::Duration;

use hume_core::event::MESSAGE_BYTES_MAX;
use hume_core::fit;
use nix::sys::signal::Signal;

use super::duration::spell;
use super::tail::Tail;

/// Most bytes of the summary, so that there is room for the tail.
const SUMMARY_BYTES_MAX: usize = 1024;
/// The command cannot be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub(super) const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended the command.
const SIGNALLED: i32 = 128;
/// The system did not tell how the command ended.
const UNKNOWN: u8 = 125;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It never began: with which code that is told, and why.
    NotStarted {
        /// [`NOT_FOUND`] or [`NOT_EXECUTABLE`].
        code: u8,
        /// The command and the system's word.
        reason: String,
    },
    /// Somebody else took the answer.
    Unknown,
}

/// What the command and its children used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time of its own.
    pub(super) user: Duration,
    /// Processor time of the kernel on its behalf.
    pub(super) system: Duration,
    /// Most memory of one of its processes; none when an earlier child of this process had more.
    pub(super) max_rss_kib: Option<u64>,
}

/// Everything that is known of a command that has ended.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// How it ended.
    pub(super) end: End,
    /// It was ended because it took longer than this.
    pub(super) timed_out: Option<Duration>,
    /// From its beginning to its end.
    pub(super) wall: Duration,
    /// What it used, when it began.
    pub(super) usage: Option<Usage>,
    /// What it wrote, when that was looked at.
    pub(super) output_bytes: Option<u64>,
}

impl End {
    /// The exit code that tells the caller.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            // The kernel hands on eight bits.
            End::Exited(code) => (code & 0xff) as u8,
            End::Signalled(signal) => u8::try_from(SIGNALLED + signal).unwrap_or(u8::MAX),
            End::NotStarted { code, .. } => *code,
            End::Unknown => UNKNOWN,
        }
    }
}

impl Account {
    /// It did not end as it should.
    pub(super) fn is_failure(&self) -> bool {
        self.end != End::Exited(0) || self.timed_out.is_some()
    }

    /// One line on how it ended.
    fn summary(&self) -> String {
        let after = spell(self.wall);
        let end = match &self.end {
            End::Exited(code) => format!("exit {code} after {after}"),
            End::Signalled(number) => match Signal::try_from(*number) {
                Ok(signal) => format!("ended by {} after {after}", signal.as_str()),
                Err(_) => format!("ended by signal {number} after {after}"),
            },
            End::NotStarted { reason, .. } => format!("not started: {reason}"),
            End::Unknown => format!("ended after {after}; how is not known"),
        };
        match self.timed_out {
            Some(limit) => format!("timed out after {}: {end}", spell(limit)),
            None => end,
        }
    }

    /// The text of the stop event: the summary and, below it, the tail if there is one.
    pub(super) fn message(&self, tail: Option<&Tail>) -> Vec<u8> {
        let mut text = fit::cut(&self.summary(), SUMMARY_BYTES_MAX).as_bytes().to_vec();
        let Some(tail) = tail.filter(|tail| tail.bytes_total() > 0) else { return text };
        text.push(b'\n');
        let mut rendered = tail.rendered(MESSAGE_BYTES_MAX - text.len());
        if rendered.last() == Some(&b'\n') {
            rendered.pop();
        }
        text.extend(rendered);
        text
    }

    /// The facts beside the text.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if self.timed_out.is_some() {
            facts.push(("timed_out", true.to_string()));
        }
        facts.push(("wall_ms", self.wall.as_millis().to_string()));
        if let Some(Usage { user, system, max_rss_kib }) = self.usage {
            facts.push(("user_ms", user.as_millis().to_string()));
            facts.push(("system_ms", system.as_millis().to_string()));
            facts.extend(max_rss_kib.map(|kib| ("max_rss_kib", kib.to_string())));
        }
        facts.extend(self.output_bytes.map(|bytes| ("output_bytes", bytes.to_string())));
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(end: End) -> Account {
        Account { end, timed_out: None, wall: Duration::from_millis(1234), usage: None, output_bytes: None }
    }

    fn text(account: &Account, tail: Option<&Tail>) -> String {
        String::from_utf8(account.message(tail)).unwrap()
    }

    fn not_found() -> End {
        End::NotStarted { code: NOT_FOUND, reason: "x: No such file or directory".into() }
    }

    #[test]
    fn the_exit_code_is_the_commands_own_and_128_more_than_a_signal() {
        for (end, code) in [
            (End::Exited(0), 0),
            (End::Exited(3), 3),
            (End::Exited(255), 255),
            (End::Signalled(9), 137),
            (End::Signalled(15), 143),
            (End::Signalled(64), 192),
            (not_found(), 127),
            (End::NotStarted { code: NOT_EXECUTABLE, reason: String::new() }, 126),
            (End::Unknown, 125),
        ] {
            assert_eq!(end.exit_code(), code, "{end:?}");
            assert_eq!(account(end.clone()).is_failure(), end != End::Exited(0));
        }
    }

    #[test]
    fn how_it_ended_is_said_in_one_line() {
        assert_eq!(text(&account(End::Exited(0)), None), "exit 0 after 1.2s");
        assert_eq!(text(&account(End::Signalled(9)), None), "ended by SIGKILL after 1.2s");
        assert_eq!(text(&account(End::Signalled(40)), None), "ended by signal 40 after 1.2s");
        assert_eq!(text(&account(not_found()), None), "not started: x: No such file or directory");
        let timed_out = Account { timed_out: Some(Duration::from_secs(1)), ..account(End::Signalled(15)) };
        assert_eq!(text(&timed_out, None), "timed out after 1s: ended by SIGTERM after 1.2s");
    }

    #[test]
    fn a_command_that_ended_well_on_sigterm_has_timed_out_all_the_same() {
        let account = Account { timed_out: Some(Duration::from_secs(1)), ..account(End::Exited(0)) };
        assert!(account.is_failure());
        assert_eq!(account.facts()[0], ("timed_out", "true".to_owned()));
    }

    #[test]
    fn the_tail_stands_below_the_summary_without_its_last_line_end() {
        let mut tail = Tail::new(4096);
        assert_eq!(text(&account(End::Exited(1)), Some(&tail)), "exit 1 after 1.2s");
        tail.push(b"one\ntwo\n");
        assert_eq!(text(&account(End::Exited(1)), Some(&tail)), "exit 1 after 1.2s\none\ntwo");
    }

    #[test]
    fn the_facts_are_those_that_are_known() {
        let usage =
            Usage { user: Duration::from_millis(5), system: Duration::from_millis(6), max_rss_kib: Some(7) };
        let full = Account { usage: Some(usage), output_bytes: Some(8), ..account(End::Exited(0)) };
        let facts: Vec<String> =
            full.facts().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(facts, ["wall_ms=1234", "user_ms=5", "system_ms=6", "max_rss_kib=7", "output_bytes=8"]);
        assert_eq!(account(not_found()).facts().len(), 1);
    }

    proptest! {
        #[test]
        fn any_output_fits_into_the_message_and_its_end_is_there(
            byte in any::<u8>(),
            count in 0..30_000_usize,
            reason in ".{0,20}",
        ) {
            let mut tail = Tail::new(12 * 1024);
            tail.push(&vec![byte; count]);
            tail.push(b"the end");
            let account = account(End::NotStarted { code: 1, reason: reason.repeat(2000) });
            let text = fit::text(&account.message(Some(&tail))).value;
            prop_assert!(text.len() <= MESSAGE_BYTES_MAX, "{}", text.len());
            prop_assert!(text.ends_with("the end"));
        }
    }
}
