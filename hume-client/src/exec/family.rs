//! The processes that descend from the command, so that a time limit ends the work and not only the one who ordered it.
//!
//! Found by their parents in `/proc`: who left on purpose, as a daemon does, is not among them.

use std::collections::HashMap;
use std::fs;

use hume_core::process::{Chain, ProcessRef, is_alive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Most processes that are remembered; beyond it the rest is left to those that are reached.
const MEMBERS_MAX: usize = 4096;

/// Descendants that were seen.
#[derive(Debug, Default)]
pub(super) struct Family(Vec<ProcessRef>);

impl Family {
    /// Adds those that descend from `child` now.
    pub(super) fn look(&mut self, child: Pid) {
        let Ok(child) = u32::try_from(child.as_raw()) else { return };
        let stats: HashMap<u32, String> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, stat(pid)?)))
            .collect();
        for process in descendants(child, &stats) {
            if self.0.len() < MEMBERS_MAX && !self.0.contains(&process) {
                self.0.push(process);
            }
        }
    }

    /// True when one of them still exists.
    pub(super) fn is_there(&self) -> bool {
        self.0.iter().any(exists)
    }

    /// Sends a signal to those that still exist.
    pub(super) fn signal(&self, signal: Signal) {
        for process in self.0.iter().filter(|process| exists(process)) {
            if let Ok(pid) = i32::try_from(process.pid) {
                // One that is gone by now, or of another user, is none of ours.
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }
}

fn exists(process: &ProcessRef) -> bool {
    stat(process.pid).is_some_and(|stat| is_alive(*process, &stat))
}

fn stat(pid: u32) -> Option<String> {
    fs::read(format!("/proc/{pid}/stat")).ok().map(|raw| String::from_utf8_lossy(&raw).into_owned())
}

/// The processes of `stats`, the texts of `/proc/PID/stat`, that have `ancestor` above them.
fn descendants(ancestor: u32, stats: &HashMap<u32, String>) -> Vec<ProcessRef> {
    let of = |pid: &u32| {
        let chain = Chain::follow(*pid, |pid| stats.get(&pid).cloned(), |_| None);
        let (own, above) = chain.links().split_first()?;
        above.iter().any(|link| link.process.pid == ancestor).then_some(own.process)
    };
    let mut found: Vec<ProcessRef> = stats.keys().filter_map(of).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_their_children_descend_and_siblings_and_orphans_do_not() {
        let stat = |pid: u32, parent: u32| {
            (pid, format!("{pid} (x) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {} 0", pid * 10))
        };
        let stats = HashMap::from([
            stat(1, 0),
            stat(40, 1),
            stat(50, 40),
            stat(60, 50),
            stat(61, 60),
            stat(51, 40),
            stat(70, 1),
        ]);
        let found = descendants(50, &stats);
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [60, 61]);
        assert_eq!(found[0].start_ticks, 600);
        assert!(descendants(99, &stats).is_empty());
    }
}
