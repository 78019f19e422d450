//! Who called, read from `/proc`: the chain of ancestors for the drop folder, and the tree for `hume -a`.
//!
//! Only what any user may read of any process is read. A tree has at most [`TREE_BYTES_MAX`] bytes.

use std::fs;

use hume_core::event::TREE_BYTES_MAX;
use hume_core::fit;
use hume_core::process::{Chain, script_of};
use hume_proto::intake::{CallerLine, LinkLine};

use crate::args::one_line;

/// Most bytes of one line of a tree; fewer when the chain is so long that the tree would not fit.
const TREE_LINE_BYTES_MAX: usize = 512;
/// Longest script path that is kept.
const SCRIPT_BYTES_MAX: usize = 4096;

/// The chain of this process, itself first.
pub(crate) fn chain() -> Chain {
    let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    Chain::follow(
        own,
        |pid| {
            fs::read(format!("/proc/{pid}/stat")).ok().map(|raw| String::from_utf8_lossy(&raw).into_owned())
        },
        command_line,
    )
}

/// The script that a command line runs, its words ended by NUL.
pub(crate) fn script(command_line: &[u8], cwd: Option<&str>) -> Option<String> {
    script_of(command_line, cwd).map(|script| fit::cut(&script, SCRIPT_BYTES_MAX).to_owned())
}

/// Adds what the agent would have found out itself: the chain, the script and the boot.
pub(crate) fn captured(mut caller: CallerLine) -> CallerLine {
    let chain = chain();
    if caller.script.is_none() {
        // That this program runs is no news.
        let other = chain.owner().filter(|owner| Some(owner.pid) != caller.pid);
        let owner = other.and_then(|owner| command_line(owner.pid));
        caller.script = owner.and_then(|raw| script(&raw, caller.cwd.as_deref()));
    }
    caller.chain = Some(chain.links().iter().map(LinkLine::from).collect());
    caller.boot_id =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned());
    caller
}

/// The callers from the first process down to the one that called `hume`, one a line, each further in: pid, name, command
/// line. `hume` itself is left out: its words are the event, and a token may be among them.
pub(crate) fn tree(chain: &Chain, command_line: impl Fn(u32) -> Option<Vec<u8>>) -> String {
    let mut tree = String::new();
    let callers = chain.links().get(1..).unwrap_or_default();
    let line_bytes_max = TREE_LINE_BYTES_MAX.min(TREE_BYTES_MAX / callers.len().max(1) - 1);
    for (depth, link) in callers.iter().rev().enumerate() {
        let pid = link.process.pid;
        let raw = command_line(pid).unwrap_or_default();
        let words: Vec<&[u8]> = raw.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        let command = fit::text(&words.join(&b' ')).value;
        let line = one_line(&format!("{:depth$}{pid} {} {command}", "", link.comm));
        tree.push_str(fit::cut(line.trim_end(), line_bytes_max));
        tree.push('\n');
    }
    tree.pop();
    tree
}

/// The command line of a process, its words ended by NUL; nothing when it is gone.
pub(crate) fn command_line(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::process::{CHAIN_LINKS_MAX, Link, ProcessRef};

    fn link(pid: u32, comm: &str) -> Link {
        Link {
            process: ProcessRef { pid, start_ticks: 1 },
            comm: comm.to_owned(),
            terminal_leader: false,
            subshell: false,
            shell_text: false,
        }
    }

    #[test]
    fn the_tree_starts_at_the_first_process_and_goes_in_at_each_step() {
        let chain = Chain::new(vec![link(50, "hume"), link(40, "backup.sh"), link(1, "systemd")]);
        let tree = tree(&chain, |pid| match pid {
            50 => Some(b"hume\0-a\0--auth-token\0secret\0".to_vec()),
            40 => Some(b"/bin/sh\0/opt/backup.sh\0one\ntwo\0".to_vec()),
            _ => None,
        });
        assert_eq!(tree, "1 systemd\n 40 backup.sh /bin/sh /opt/backup.sh one two");
    }

    #[test]
    fn the_longest_tree_fits_and_keeps_its_end() {
        let links = (1..=CHAIN_LINKS_MAX).map(|n| link(4_000_000 + n as u32, &"n".repeat(63))).collect();
        let tree = tree(&Chain::new(links), |_| Some(vec![b'x'; 100_000]));
        assert!(tree.len() < TREE_BYTES_MAX, "{}", tree.len());
        assert_eq!(tree.lines().count(), CHAIN_LINKS_MAX - 1);
        assert!(tree.lines().last().unwrap().contains("4000002 nnn"), "{tree}");
    }

    #[test]
    fn this_process_is_the_first_of_its_own_chain_and_knows_its_boot() {
        let chain = chain();
        assert_eq!(chain.links()[0].process.pid, std::process::id());
        let caller = captured(CallerLine::default());
        assert_eq!(caller.boot_id.map(|id| id.len()), Some(36));
        assert_eq!(caller.chain.unwrap().len(), chain.links().len());
    }
}
