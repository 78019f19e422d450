//! Who called: a process and its ancestors, and which of them owns a run.
//!
//! Pure: the text of `/proc/PID/stat` and `/proc/PID/cmdline` is handed in. A chain holds at most [`CHAIN_LINKS_MAX`] links.

use serde::{Deserialize, Serialize};

/// Longest chain of ancestors that is followed.
pub const CHAIN_LINKS_MAX: usize = 64;

/// One process for its whole life: a pid can be used again, a pid with its start time cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id.
    pub pid: u32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
}

/// What hume needs to know of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which process.
    pub process: ProcessRef,
    /// Its command name as the kernel shortens it (15 bytes).
    pub comm: String,
    /// It leads its session, the session has a terminal, and it is no shell that runs a script or a text: somebody types.
    pub terminal_leader: bool,
    /// It was forked and never ran a program of its own: a subshell.
    pub subshell: bool,
    /// It is a shell running the text after `-c`.
    pub shell_text: bool,
}

/// A process and its ancestors, itself first, pid 1 last when it could be read.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain(Vec<Link>);

/// Set in the flags of `/proc/PID/stat` of a process that forked and did not exec.
const PF_FORKNOEXEC: u64 = 0x40;

const WRAPPERS: [&str; 14] = [
    "timeout", "nice", "nohup", "setsid", "env", "sudo", "doas", "su", "runuser", "ionice", "chrt", "stdbuf",
    "xargs", "time",
];
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash"];
const SUPERVISORS: [&str; 14] = [
    "cron",
    "crond",
    "CRON",
    "CROND",
    "atd",
    "anacron",
    "systemd",
    "init",
    "sshd",
    "runit",
    "s6-svscan",
    "tini",
    "dumb-init",
    "supervisord",
];
/// Programs that only carry a line to the socket: whoever called them is the reporter.
const COURIERS: [&str; 5] = ["hume", "nc", "ncat", "socat", "logger"];

impl Chain {
    /// A chain of these links, itself first; cut to [`CHAIN_LINKS_MAX`].
    pub fn new(mut links: Vec<Link>) -> Chain {
        links.truncate(CHAIN_LINKS_MAX);
        Chain(links)
    }

    /// Follows the parents of `pid` upwards. `stat` and `cmdline` give the contents of the files of that name,
    /// or nothing when they cannot be read; the chain then ends there.
    pub fn follow(
        pid: u32,
        stat: impl Fn(u32) -> Option<String>,
        cmdline: impl Fn(u32) -> Option<Vec<u8>>,
    ) -> Chain {
        let mut links = Vec::new();
        let mut next = pid;
        while next != 0 && links.len() < CHAIN_LINKS_MAX {
            let Some(read) = stat(next).as_deref().and_then(|text| parse_stat(next, text)) else { break };
            let shell = SHELLS.contains(&read.comm.as_str());
            let words = if shell { cmdline(next) } else { None };
            let shell_text = words.as_deref().is_some_and(runs_text);
            let shell_script = words.as_deref().is_some_and(runs_script);
            links.push(Link {
                process: ProcessRef { pid: next, start_ticks: read.start_ticks },
                terminal_leader: read.session == next && read.terminal != 0 && !shell_text && !shell_script,
                subshell: read.flags & PF_FORKNOEXEC != 0,
                shell_text,
                comm: read.comm,
            });
            next = read.parent;
        }
        Chain(links)
    }

    /// The links, the caller first.
    pub fn links(&self) -> &[Link] {
        &self.0
    }

    /// True when the caller's ancestors are not known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when this process is in the chain.
    pub fn contains(&self, process: ProcessRef) -> bool {
        self.0.iter().any(|link| link.process == process)
    }

    /// Index of the job root: the highest link below a supervisor, or the interactive shell itself when it issued the command.
    fn job_root_index(&self) -> Option<usize> {
        let supervisor = self.0.iter().position(is_supervisor).unwrap_or(self.0.len());
        let shell_called = self.0.get(supervisor).is_some_and(|link| link.terminal_leader)
            && self.0[..supervisor].iter().all(|link| is_courier(link) || link.subshell || is_wrapper(link));
        if shell_called { Some(supervisor) } else { supervisor.checked_sub(1) }
    }

    /// The job root: the end of implicit runs, and the highest ancestor that correlation looks at.
    pub fn job_root(&self) -> Option<ProcessRef> {
        self.job_root_index().map(|index| self.0[index].process)
    }

    /// The process a run belongs to when this chain starts it: going up from the caller's parent and not above the job root,
    /// the first that is neither a subshell nor a wrapper nor a shell run as `-c` (unless that is the job root).
    pub fn owner(&self) -> Option<ProcessRef> {
        self.owner_index().map(|index| self.0[index].process)
    }

    fn owner_index(&self) -> Option<usize> {
        let root = self.job_root_index()?;
        let first = self.0.iter().position(|link| !is_courier(link)).unwrap_or(root).min(root);
        (first..=root)
            .find(|&index| {
                let link = &self.0[index];
                !link.subshell && !is_wrapper(link) && (!link.shell_text || index == root)
            })
            .or(Some(root))
    }

    /// Index, in this chain, of the deepest process shared with `other`, at or below this chain's job root.
    pub fn deepest_common(&self, other: &Chain) -> Option<usize> {
        let root = self.job_root_index()?;
        self.0[..=root].iter().position(|link| other.contains(link.process))
    }
}

fn is_courier(link: &Link) -> bool {
    COURIERS.contains(&link.comm.as_str())
}

fn is_wrapper(link: &Link) -> bool {
    WRAPPERS.contains(&link.comm.as_str())
}

fn is_supervisor(link: &Link) -> bool {
    link.process.pid == 1
        || SUPERVISORS.contains(&link.comm.as_str())
        || link.comm.starts_with("sshd-")
        || (link.terminal_leader && SHELLS.contains(&link.comm.trim_start_matches('-')))
}

/// True when `stat`, the text of `/proc/PID/stat`, is of this very process and it has not ended (a zombie has).
pub fn is_alive(process: ProcessRef, stat: &str) -> bool {
    parse_stat(process.pid, stat)
        .is_some_and(|read| read.start_ticks == process.start_ticks && !matches!(read.state, 'Z' | 'X'))
}

struct Stat {
    comm: String,
    state: char,
    parent: u32,
    session: u32,
    terminal: i64,
    flags: u64,
    start_ticks: u64,
}

/// Reads `/proc/PID/stat`. The name may hold spaces and parentheses: it ends at the last `)`.
fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    if text.get(..open)?.trim().parse::<u32>().ok()? != pid {
        return None;
    }
    let fields: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
    Some(Stat {
        comm: text.get(open + 1..close)?.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        terminal: fields.get(4)?.parse().ok()?,
        flags: fields.get(6)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// True for `sh -c TEXT` and its kin: an option word with a `c` before any operand.
fn runs_text(cmdline: &[u8]) -> bool {
    cmdline
        .split(|byte| *byte == 0)
        .skip(1)
        .take_while(|word| word.first() == Some(&b'-') && word.len() > 1)
        .any(|word| word.get(1) != Some(&b'-') && word.contains(&b'c'))
}

/// True for `sh SCRIPT`: a word that is no option after the first.
fn runs_script(cmdline: &[u8]) -> bool {
    cmdline.split(|byte| *byte == 0).skip(1).any(|word| !word.is_empty() && word.first() != Some(&b'-'))
}

/// The script an interpreter runs, from its command line: the first operand of a known interpreter, or the program itself
/// when it is no interpreter. Made absolute by `cwd` when that is known.
pub fn script_of(cmdline: &[u8], cwd: Option<&str>) -> Option<String> {
    let mut words = cmdline.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let program = String::from_utf8_lossy(words.next()?).into_owned();
    let name = program.rsplit('/').next().unwrap_or(&program).trim_start_matches('-').to_owned();
    let interpreter = SHELLS.contains(&name.as_str())
        || ["python", "perl", "ruby", "node", "php", "lua"].iter().any(|known| name.starts_with(known));
    let script = if interpreter {
        if runs_text(cmdline) {
            return None;
        }
        String::from_utf8_lossy(words.find(|word| word.first() != Some(&b'-'))?).into_owned()
    } else {
        program
    };
    match cwd {
        Some(cwd) if !script.starts_with('/') && script.contains('/') => {
            Some(format!("{}/{}", cwd.trim_end_matches('/'), script.trim_start_matches("./")))
        }
        Some(cwd) if interpreter && !script.starts_with('/') => {
            Some(format!("{}/{script}", cwd.trim_end_matches('/')))
        }
        Some(_) | None => Some(script),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(pid: u32, comm: &str) -> Link {
        Link {
            process: ProcessRef { pid, start_ticks: u64::from(pid) },
            comm: comm.to_owned(),
            terminal_leader: false,
            subshell: false,
            shell_text: false,
        }
    }

    fn chain(links: Vec<Link>) -> Chain {
        Chain::new(links)
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_is_read_whole() {
        let text = "42 (my (odd) name) S 7 42 42 34816 42 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        let read = parse_stat(42, text).unwrap();
        assert_eq!(
            (read.comm.as_str(), read.parent, read.session, read.terminal),
            ("my (odd) name", 7, 42, 34816)
        );
        assert_eq!(read.start_ticks, 987_654);
        assert!(parse_stat(43, text).is_none(), "the file is of another process");
        for garbage in ["", "42", "42 (", "42 ) S (", "42 (x) S"] {
            assert!(parse_stat(42, garbage).is_none());
        }
    }

    #[test]
    fn under_cron_the_job_root_is_the_shell_that_cron_started() {
        let mut sh = link(30, "sh");
        sh.shell_text = true;
        let chain =
            chain(vec![link(50, "hume"), link(40, "backup.sh"), sh, link(20, "cron"), link(1, "systemd")]);
        assert_eq!(chain.job_root().unwrap().pid, 30);
        assert_eq!(chain.owner().unwrap().pid, 40);
    }

    #[test]
    fn a_cron_line_that_calls_hume_itself_is_owned_by_its_shell() {
        let mut sh = link(30, "sh");
        sh.shell_text = true;
        let chain = chain(vec![link(50, "hume"), sh, link(20, "cron"), link(1, "systemd")]);
        assert_eq!(chain.owner().unwrap().pid, 30);
    }

    #[test]
    fn typed_at_a_terminal_the_shell_itself_is_root_and_owner() {
        let mut bash = link(30, "bash");
        bash.terminal_leader = true;
        let typed = chain(vec![link(50, "hume"), bash.clone(), link(20, "sshd"), link(1, "systemd")]);
        assert_eq!(typed.job_root().unwrap().pid, 30);
        assert_eq!(typed.owner().unwrap().pid, 30);
        let script = chain(vec![link(50, "hume"), link(40, "x.sh"), bash, link(1, "systemd")]);
        assert_eq!(script.job_root().unwrap().pid, 40);
        assert_eq!(script.owner().unwrap().pid, 40);
    }

    #[test]
    fn subshells_and_wrappers_own_nothing() {
        let mut sub = link(45, "backup.sh");
        sub.subshell = true;
        let chain =
            chain(vec![link(50, "hume"), link(48, "timeout"), sub, link(40, "backup.sh"), link(1, "init")]);
        assert_eq!(chain.owner().unwrap().pid, 40);
    }

    #[test]
    fn a_program_that_speaks_to_the_socket_itself_is_its_own_owner() {
        let chain = chain(vec![link(50, "python3"), link(40, "sh"), link(1, "init")]);
        assert_eq!(chain.owner().unwrap().pid, 50);
    }

    #[test]
    fn the_deepest_common_process_is_not_looked_for_above_the_job_root() {
        let one = chain(vec![link(50, "hume"), link(40, "a.sh"), link(20, "cron"), link(1, "systemd")]);
        let two = chain(vec![link(51, "hume"), link(41, "b.sh"), link(20, "cron"), link(1, "systemd")]);
        assert_eq!(one.deepest_common(&two), None);
        assert_eq!(one.deepest_common(&one), Some(0));
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let one = chain(vec![link(50, "hume"), link(40, "a.sh"), link(1, "systemd")]);
        let mut again = link(40, "a.sh");
        again.process.start_ticks = 99;
        let two = chain(vec![link(51, "hume"), again, link(1, "systemd")]);
        assert_eq!(one.deepest_common(&two), None);
    }

    #[test]
    fn a_chain_ends_where_proc_cannot_be_read() {
        let chain = Chain::follow(
            10,
            |pid| (pid == 10).then(|| "10 (x) S 9 10 10 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 5 0".to_owned()),
            |_| None,
        );
        assert_eq!(chain.links().len(), 1);
        assert!(chain.links()[0].subshell);
    }

    #[test]
    fn a_shell_that_runs_a_script_on_a_terminal_is_no_login_shell() {
        let follow = |cmdline: &'static [u8]| {
            let stat = |pid| {
                (pid == 10).then(|| "10 (bash) S 9 10 10 34816 10 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0".to_owned())
            };
            Chain::follow(10, stat, |_| Some(cmdline.to_vec())).links()[0].terminal_leader
        };
        assert!(follow(b"-bash\0"));
        assert!(follow(b"/bin/bash\0-i\0"));
        assert!(!follow(b"bash\0/opt/backup.sh\0"));
        assert!(!follow(b"bash\0-c\0hume -m x\0"));
    }

    #[test]
    fn a_zombie_or_another_process_of_the_same_number_is_not_alive() {
        let text = |state| format!("42 (x) {state} 7 42 42 0 42 0 1 2 3 4 5 6 7 8 20 0 1 0 99 1 2");
        let process = ProcessRef { pid: 42, start_ticks: 99 };
        assert!(is_alive(process, &text("S")));
        assert!(!is_alive(process, &text("Z")));
        assert!(!is_alive(ProcessRef { start_ticks: 98, ..process }, &text("S")));
    }

    #[test]
    fn the_script_is_the_first_operand_of_an_interpreter() {
        assert_eq!(script_of(b"/bin/bash\0/opt/b.sh\0-x\0", None).as_deref(), Some("/opt/b.sh"));
        assert_eq!(script_of(b"bash\0./b.sh\0", Some("/srv")).as_deref(), Some("/srv/b.sh"));
        assert_eq!(script_of(b"python3\0-u\0job.py\0", Some("/srv/")).as_deref(), Some("/srv/job.py"));
        assert_eq!(script_of(b"sh\0-c\0hume -m x\0", Some("/srv")), None);
        assert_eq!(script_of(b"/usr/bin/rsync\0-a\0", None).as_deref(), Some("/usr/bin/rsync"));
        assert_eq!(script_of(b"", None), None);
    }
}
