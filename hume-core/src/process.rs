//! Who called: a process and its ancestors, and which of them owns a run.
//!
//! Pure: the text of `/proc/PID/stat` and `/proc/PID/cmdline` is handed in. A chain holds at most [`CHAIN_LINKS_MAX`] links.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::SURROUNDINGS_BYTES_MAX;
use crate::fit::cut;

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

/// A process and its ancestors, itself first, pid 1 last when it could be read. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Link>", into = "Vec<Link>")]
pub struct Chain(Arc<Known>);

/// The links, and what is asked of them for every event.
#[derive(Debug, PartialEq, Eq, Default)]
struct Known {
    links: Vec<Link>,
    job_root: Option<usize>,
    owner: Option<usize>,
}

impl From<Vec<Link>> for Chain {
    fn from(links: Vec<Link>) -> Chain {
        Chain::new(links)
    }
}

impl From<Chain> for Vec<Link> {
    fn from(chain: Chain) -> Vec<Link> {
        chain.0.links.clone()
    }
}

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
        let job_root = job_root_of(&links);
        let owner = job_root.map(|root| owner_of(&links, root));
        Chain(Arc::new(Known { links, job_root, owner }))
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
            let of_shell = words.as_deref().map(|words| runs(operands(words), &SHELL));
            let shell_text = of_shell == Some(Runs::Text);
            let shell_script = matches!(of_shell, Some(Runs::Script(_)));
            links.push(Link {
                process: ProcessRef { pid: next, start_ticks: read.start_ticks },
                terminal_leader: read.session == next && read.terminal != 0 && !shell_text && !shell_script,
                subshell: read.flags & PF_FORKNOEXEC != 0,
                shell_text,
                comm: read.comm,
            });
            next = read.parent;
        }
        Chain::new(links)
    }

    fn process_at(&self, index: usize) -> Option<ProcessRef> {
        self.0.links.get(index).map(|link| link.process)
    }

    /// The links, the caller first.
    pub fn links(&self) -> &[Link] {
        &self.0.links
    }

    /// True when the caller's ancestors are not known.
    pub fn is_empty(&self) -> bool {
        self.0.links.is_empty()
    }

    /// True when this process is in the chain.
    pub fn contains(&self, process: ProcessRef) -> bool {
        self.0.links.iter().any(|link| link.process == process)
    }

    /// False when nothing in the chain tells one job from another.
    pub fn is_usable(&self) -> bool {
        self.0.job_root.is_some()
    }

    /// The job root: the end of implicit runs, and the highest ancestor that correlation looks at.
    pub fn job_root(&self) -> Option<ProcessRef> {
        self.0.job_root.and_then(|index| self.process_at(index))
    }

    /// True when the job root hangs under the machine's first process: by itself, or because its parent is gone.
    pub fn hangs_under_init(&self) -> bool {
        let parent = self.0.job_root.and_then(|root| self.0.links.get(root + 1));
        parent.is_some_and(|parent| parent.process.pid == 1 || parent.comm == "systemd")
    }

    /// The process a run belongs to when this chain starts it: going up from the caller's parent and not above the job root,
    /// the first that is neither a subshell nor a wrapper nor a shell run as `-c` (unless that is the job root).
    pub fn owner(&self) -> Option<ProcessRef> {
        self.0.owner.and_then(|index| self.process_at(index))
    }

    /// Index, in this chain, of the deepest process shared with `other`, at or below this chain's job root.
    pub fn deepest_common(&self, other: &Chain) -> Option<usize> {
        let root = self.0.job_root?;
        self.0.links.get(..=root)?.iter().position(|link| other.contains(link.process))
    }
}

/// Index of the job root: the highest link below a supervisor, or the interactive shell itself when it issued the command.
/// There is none when a supervisor called `hume` itself, or whoever called it cannot be seen: nothing here is the job.
fn job_root_of(links: &[Link]) -> Option<usize> {
    let supervisor = links.iter().position(is_supervisor).unwrap_or(links.len());
    let below = links.get(..supervisor)?;
    let shell_called = links.get(supervisor).is_some_and(|link| link.terminal_leader)
        && below.iter().all(|link| is_courier(link) || link.subshell || is_wrapper(link));
    if shell_called {
        return Some(supervisor);
    }
    if below.iter().all(is_courier) {
        return None;
    }
    supervisor.checked_sub(1)
}

/// Index of the owner below this job root.
fn owner_of(links: &[Link], root: usize) -> usize {
    let first = links.iter().position(|link| !is_courier(link)).unwrap_or(root).min(root);
    let owns =
        |link: &Link, index| !link.subshell && !is_wrapper(link) && (!link.shell_text || index == root);
    (first..=root).find(|&index| links.get(index).is_some_and(|link| owns(link, index))).unwrap_or(root)
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

/// True when `stat`, the text of `/proc/PID/stat`, is of this very process, ended or not.
pub fn is_of(process: ProcessRef, stat: &str) -> bool {
    parse_stat(process.pid, stat).is_some_and(|read| read.start_ticks == process.start_ticks)
}

/// The session of the process whose `/proc/PID/stat` this is, and when the process started in clock ticks since boot.
pub fn session_of(pid: u32, stat: &str) -> Option<(u32, u64)> {
    parse_stat(pid, stat).map(|read| (read.session, read.start_ticks))
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

/// What a command line makes an interpreter run.
#[derive(Debug, PartialEq, Eq)]
enum Runs<'a> {
    /// Text or a module named on the command line.
    Text,
    /// This file.
    Script(&'a [u8]),
    /// What comes from stdin or a terminal.
    Nothing,
}

/// The options of an interpreter that matter here, single letters as they may stand together after one dash.
struct Options {
    /// What follows is the program itself, not a file.
    text: &'static [u8],
    /// Take the next word, unless something stands right behind the letter.
    takes: &'static [u8],
    /// The program comes from stdin, whatever operands follow.
    stdin: &'static [u8],
    long_text: &'static [&'static str],
    long_takes: &'static [&'static str],
}

const SHELL: Options = Options {
    text: b"c",
    takes: b"oO",
    stdin: b"s",
    long_text: &[],
    long_takes: &["--rcfile", "--init-file"],
};

/// Interpreters by the beginning of their name.
const INTERPRETERS: [(&str, Options); 6] = [
    ("python", Options { text: b"cm", takes: b"WX", stdin: b"", long_text: &[], long_takes: &[] }),
    ("perl", Options { text: b"eE", takes: b"I", stdin: b"", long_text: &[], long_takes: &[] }),
    ("ruby", Options { text: b"e", takes: b"IrCE", stdin: b"", long_text: &[], long_takes: &[] }),
    (
        "node",
        Options {
            text: b"ep",
            takes: b"r",
            stdin: b"",
            long_text: &["--eval", "--print"],
            long_takes: &["--require", "--import"],
        },
    ),
    ("php", Options { text: b"r", takes: b"dcz", stdin: b"", long_text: &["--run"], long_takes: &[] }),
    ("lua", Options { text: b"e", takes: b"l", stdin: b"", long_text: &[], long_takes: &[] }),
];

/// Reads the words after the interpreter's own name.
fn runs<'a>(words: impl IntoIterator<Item = &'a [u8]>, options: &Options) -> Runs<'a> {
    let mut words = words.into_iter();
    // Text may come after more options: `bash -ceu TEXT` as well as `bash -c -e TEXT`.
    while let Some(word) = words.next() {
        match word {
            b"--" => return words.next().map_or(Runs::Nothing, Runs::Script),
            [b'-', b'-', ..] => {
                let name = word.split(|byte| *byte == b'=').next().unwrap_or(word);
                let is = |known: &&str| known.as_bytes() == name;
                if options.long_text.iter().any(is) {
                    return Runs::Text;
                }
                if options.long_takes.iter().any(is) && name.len() == word.len() {
                    words.next();
                }
            }
            [b'-' | b'+', letters @ ..] if !letters.is_empty() => {
                for (place, letter) in letters.iter().enumerate() {
                    if options.text.contains(letter) {
                        return Runs::Text;
                    }
                    if options.stdin.contains(letter) {
                        return Runs::Nothing;
                    }
                    if options.takes.contains(letter) {
                        // A shell takes one word for each such letter; the others, what stands behind it.
                        if options.stdin.is_empty() && place + 1 < letters.len() {
                            break;
                        }
                        words.next();
                    }
                }
            }
            b"-" => return Runs::Nothing,
            script => return Runs::Script(script),
        }
    }
    Runs::Nothing
}

/// Words of a command line after the first.
fn operands(cmdline: &[u8]) -> impl Iterator<Item = &[u8]> {
    cmdline.split(|byte| *byte == 0).skip(1).filter(|word| !word.is_empty())
}

/// The script an interpreter runs, from its command line: the first operand of a known interpreter, or the program itself
/// when it is no interpreter. That a line was carried by `hume` or `nc` is no script. Made absolute by `cwd` when known.
pub fn script_of(cmdline: &[u8], cwd: Option<&str>) -> Option<String> {
    let program = cmdline.split(|byte| *byte == 0).next().filter(|word| !word.is_empty())?;
    let program = String::from_utf8_lossy(program).into_owned();
    let name = program.rsplit('/').next().unwrap_or(&program).trim_start_matches('-');
    if COURIERS.contains(&name) {
        return None;
    }
    let options = if SHELLS.contains(&name) {
        Some(&SHELL)
    } else {
        INTERPRETERS.iter().find(|(known, _)| name.starts_with(known)).map(|(_, options)| options)
    };
    let script = match options.map(|options| runs(operands(cmdline), options)) {
        None => program,
        Some(Runs::Script(script)) => String::from_utf8_lossy(script).into_owned(),
        Some(Runs::Text | Runs::Nothing) => return None,
    };
    let whole = match cwd {
        Some(cwd) if !script.starts_with('/') && (script.contains('/') || options.is_some()) => {
            let script = script.strip_prefix("./").unwrap_or(&script);
            format!("{}/{script}", cwd.trim_end_matches('/'))
        }
        Some(_) | None => script,
    };
    // A command line may have megabytes, and an event that holds them would never reach the master.
    Some(cut(&whole, SURROUNDINGS_BYTES_MAX).to_owned())
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
