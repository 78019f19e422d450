//! Signals that are read like a file instead of interrupting: which came, from whom, and which of them the caller ignores.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// `si_code` of a signal that the kernel sent of its own accord: for INT, QUIT and their kin, because of a terminal.
const SI_KERNEL: i32 = 0x80;

/// One signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Which.
    pub(crate) number: i32,
    /// The kernel sent it, and to more than this process when a terminal was the cause.
    pub(crate) is_from_kernel: bool,
    /// The process that sent it; 0 for the kernel.
    pub(crate) sender: u32,
}

/// Signals that are held back from this process, to be read.
pub(crate) struct Signals {
    /// None when the system could not give one; nothing is held back then.
    source: Option<SignalFd>,
    before: SigSet,
    ignored: u64,
}

impl Signals {
    /// Holds these back from now on, in this thread and in those it starts.
    pub(crate) fn hold(signals: &[Signal]) -> Signals {
        let before = SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty());
        let set: SigSet = signals.iter().copied().collect();
        let source = set
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
            .ok();
        if source.is_none() {
            let _ = before.thread_set_mask();
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Signals { source, before, ignored: ignored(&status) }
    }

    /// Those that have come since the last time.
    pub(crate) fn received(&self) -> Vec<Received> {
        let Some(source) = &self.source else { return Vec::new() };
        let next = || source.read_signal().ok().flatten();
        std::iter::from_fn(next)
            .map(|info| Received {
                number: info.ssi_signo as i32,
                is_from_kernel: info.ssi_code == SI_KERNEL,
                sender: info.ssi_pid,
            })
            .collect()
    }

    /// What to wait on; none when there is nothing to wait on.
    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(|source| source.as_fd())
    }

    /// The mask that this process was started with.
    pub(crate) fn before(&self) -> &SigSet {
        &self.before
    }

    /// The caller had us ignore it, as `nohup` and `&` do; what is held back comes all the same.
    pub(crate) fn is_ignored(&self, number: i32) -> bool {
        u32::try_from(number - 1)
            .is_ok_and(|bit| self.ignored.checked_shr(bit).is_some_and(|set| set & 1 == 1))
    }

    /// Undoes that the caller had us ignore the end of our children: their exit codes would be thrown away.
    pub(crate) fn heed_children(&self) {
        if self.is_ignored(Signal::SIGCHLD as i32) {
            let nobody_looks = Arc::new(AtomicBool::new(false));
            // When this fails the exit code is not known, and that is told.
            let _ = signal_hook::flag::register(Signal::SIGCHLD as i32, nobody_looks);
        }
    }
}

/// The signals of `SigIgn`, bit 0 for signal 1, in the text of `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    field.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_of_the_process() {
        let status = "Name:\thume\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000011005\nSigCgt:\t0\n";
        let signals = Signals { source: None, before: SigSet::empty(), ignored: ignored(status) };
        let of = |number| signals.is_ignored(number);
        assert!(of(1) && of(3) && of(13) && of(17));
        assert!(!of(2) && !of(15) && !of(0) && !of(-1) && !of(64) && !of(1000));
        assert_eq!((ignored(""), ignored("SigIgn:\tx")), (0, 0));
    }
}
