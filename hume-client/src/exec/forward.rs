//! Which signals go on to the command: each once, and none that it has already. Pure.

use nix::sys::signal::Signal;

use crate::signals::Received;

/// Those that are held back from `hume exec` itself. SIGTSTP is not: Ctrl-Z stops both, as without `hume exec`.
pub(super) const HELD: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGCHLD,
];

/// The signal to send to the command `child`, if it should have this one.
///
/// A terminal sends to its whole foreground group, and the command is in ours; only the hang-up of a session's leader
/// comes to it alone. What the command sent to its group, or to its parent, it knows.
pub(super) fn forwarded(received: Received, child: u32, leads_session: bool) -> Option<Signal> {
    let Received { number, is_from_kernel, sender } = received;
    let signal = Signal::try_from(number).ok().filter(|signal| *signal != Signal::SIGCHLD)?;
    let has_it = if is_from_kernel { signal != Signal::SIGHUP || !leads_session } else { sender == child };
    (!has_it).then_some(signal)
}

/// Somebody wants the job to end; a hang-up may mean that a configuration is to be read again.
pub(super) fn asks_to_end(number: i32) -> bool {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].iter().any(|signal| *signal as i32 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_by(sender: u32, signal: Signal) -> Received {
        Received { number: signal as i32, is_from_kernel: false, sender }
    }

    fn from_terminal(signal: Signal) -> Received {
        Received { number: signal as i32, is_from_kernel: true, sender: 0 }
    }

    #[test]
    fn what_a_process_sent_goes_on_to_the_command() {
        for signal in HELD.into_iter().filter(|signal| *signal != Signal::SIGCHLD) {
            assert_eq!(forwarded(sent_by(7, signal), 8, false), Some(signal));
        }
    }

    #[test]
    fn what_a_terminal_sent_to_the_whole_group_is_not_delivered_twice() {
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGHUP, Signal::SIGCONT] {
            assert_eq!(forwarded(from_terminal(signal), 8, false), None);
        }
        assert_eq!(forwarded(from_terminal(Signal::SIGHUP), 8, true), Some(Signal::SIGHUP));
        assert_eq!(forwarded(from_terminal(Signal::SIGINT), 8, true), None);
    }

    #[test]
    fn what_the_command_sent_itself_does_not_come_back_to_it_and_the_end_of_a_child_is_no_message() {
        assert_eq!(forwarded(sent_by(8, Signal::SIGTERM), 8, false), None);
        assert_eq!(forwarded(sent_by(7, Signal::SIGCHLD), 8, false), None);
    }

    #[test]
    fn a_hang_up_does_not_ask_to_end() {
        assert!(asks_to_end(15) && asks_to_end(2) && asks_to_end(3));
        assert!(!asks_to_end(1) && !asks_to_end(10) && !asks_to_end(28));
    }
}
