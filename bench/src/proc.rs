//! What the kernel says of a process: its memory, and how often it was woken.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use anyhow::Context as _;

/// A figure of `/proc/PID/status` in bytes, such as `VmRSS` or `VmHWM`.
pub(crate) fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    kibibytes(&text, name).map(|kib| kib * 1024).with_context(|| format!("{path} has no {name}"))
}

/// Context switches of each thread so far: each is an end of a sleep or of a turn.
pub(crate) struct Switches(BTreeMap<OsString, u64>);

impl Switches {
    /// Of this process, now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Switches> {
        let path = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(&path).with_context(|| format!("could not read {path}"))? {
            let thread = thread.with_context(|| format!("could not read {path}"))?;
            // A thread may end between the two looks.
            let Ok(text) = fs::read_to_string(thread.path().join("status")) else { continue };
            let names = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
            let counts = names.into_iter().filter_map(|name| figure(&text, name)?.parse::<u64>().ok());
            threads.insert(thread.file_name(), counts.sum());
        }
        Ok(Switches(threads))
    }

    /// How many there were since `before`. What a thread did that has ended since is not known.
    pub(crate) fn since(&self, before: &Switches) -> u64 {
        let of = |(thread, count): (&OsString, &u64)| {
            count.saturating_sub(before.0.get(thread).copied().unwrap_or(0))
        };
        self.0.iter().map(of).sum()
    }
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    figure(status, name)?.strip_suffix(" kB")?.trim().parse().ok()
}

fn figure<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t    2048 kB\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(kibibytes(status, "VmRSS"), Some(2048));
        assert_eq!(kibibytes(status, "VmHWM"), None);
        assert_eq!(figure(status, "voluntary_ctxt_switches"), Some("7"));
    }

    #[test]
    fn a_thread_that_has_ended_takes_nothing_from_the_others() {
        let of = |threads: &[(&str, u64)]| {
            Switches(threads.iter().map(|(thread, count)| (OsString::from(thread), *count)).collect())
        };
        let before = of(&[("1", 10), ("2", 1000)]);
        assert_eq!(of(&[("1", 13), ("3", 4)]).since(&before), 7);
    }

    #[test]
    fn this_process_has_memory_and_was_woken() {
        let pid = std::process::id();
        assert!(memory(pid, "VmHWM").unwrap() > 0);
        assert!(Switches::of(pid).unwrap().since(&Switches(BTreeMap::new())) > 0);
    }
}
