//! The command as a process: started with exactly the signals we were started with, waited for, and its use counted.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;
use rustix::fs::Access;
use rustix::process::WaitOptions;

use super::ending::{End, NOT_EXECUTABLE, NOT_FOUND, Usage};

/// What the shell is asked to run that the kernel knows no interpreter for, as execvp(3) does.
const SHELL: &CStr = c"/bin/sh";

/// The ends of pipes that become the command's standard output and standard error; none leaves ours.
pub(super) type Ends = [Option<OwnedFd>; 2];

/// Starts the command. The standard library would hand on the mask that holds signals back for us.
///
/// # Errors
/// [`End::NotStarted`]: whether there is no such command, or why it cannot be executed.
pub(super) fn spawn(
    command: &[OsString],
    changes: &[(&'static str, Option<OsString>)],
    mask: &SigSet,
    ends: &Ends,
) -> Result<Pid, End> {
    let words: Vec<CString> = command.iter().map(|word| c_string(word.as_bytes())).collect();
    let environment = environment(changes);
    let name = command.first().map(OsString::as_os_str).unwrap_or_default();
    let program = words.first().map(CString::as_c_str).unwrap_or_default();
    let started = match run(program, &words, &environment, mask, ends) {
        Err(Errno::ENOEXEC) => {
            let script = path_of(name).unwrap_or_else(|| PathBuf::from(name));
            let mut shell_words = vec![SHELL.to_owned(), c_string(script.as_os_str().as_bytes())];
            shell_words.extend(words.iter().skip(1).cloned());
            run(SHELL, &shell_words, &environment, mask, ends)
        }
        started => started,
    };
    started.map_err(|errno| End::NotStarted {
        code: if errno == Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE },
        reason: format!("{}: {}", name.display(), errno.desc()),
    })
}

fn run(
    program: &CStr,
    words: &[CString],
    environment: &[CString],
    mask: &SigSet,
    ends: &Ends,
) -> nix::Result<Pid> {
    let mut attributes = PosixSpawnAttr::init()?;
    // Our runtime ignores it, and who ignores it hands that on.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_sigmask(mask)?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    let mut actions = PosixSpawnFileActions::init()?;
    for (end, stream) in ends.iter().zip(1..) {
        if let Some(end) = end {
            actions.add_dup2(end.as_raw_fd(), stream)?;
        }
    }
    posix_spawnp(program, &actions, &attributes, words, environment)
}

/// Neither an argument nor a variable can hold a NUL.
fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

/// Our environment with these changes.
fn environment(changes: &[(&'static str, Option<OsString>)]) -> Vec<CString> {
    let is_changed = |name: &OsStr| changes.iter().any(|(changed, _)| name == OsStr::new(changed));
    let kept = std::env::vars_os().filter(|(name, _)| !is_changed(name));
    let set =
        changes.iter().filter_map(|(name, value)| Some((OsString::from(name), value.as_ref()?.clone())));
    kept.chain(set)
        .map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            c_string(&entry)
        })
        .collect()
}

/// The file that a command without a slash stands for.
fn path_of(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return None;
    }
    let is_executable = |path: &PathBuf| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(
            |folder| {
                if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) }
            },
        )
        .find(is_executable)
}

/// How the command ended, if it has. All children that ended are taken note of: there may be more than the command when
/// a shell became this program, or when this is the first process of a container.
pub(super) fn reap(child: Pid) -> Option<End> {
    let mut found = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == child.as_raw() => {
                found = Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Exited(code),
                    (None, Some(signal)) => End::Signalled(signal),
                    (None, None) => continue,
                });
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return found,
            // No children at all: if the command is not among those just seen, its end was thrown away.
            Err(_) => return found.or(Some(End::Unknown)),
        }
    }
}

/// What all children that ended so far used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    user: Duration,
    system: Duration,
    max_rss_kib: u64,
}

impl Used {
    /// Until now; a shell that became this program may have had children of its own.
    pub(super) fn now() -> Option<Used> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
        let duration = |time: TimeVal| {
            let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
            Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0)) + Duration::from_micros(micros)
        };
        Some(Used {
            user: duration(usage.user_time()),
            system: duration(usage.system_time()),
            max_rss_kib: u64::try_from(usage.max_rss()).unwrap_or(0),
        })
    }

    /// What was used since `before`.
    pub(super) fn since(self, before: Used) -> Usage {
        Usage {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            max_rss_kib: (self.max_rss_kib > before.max_rss_kib).then_some(self.max_rss_kib),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_children_used_is_not_the_commands() {
        let used = |seconds, kib| Used {
            user: Duration::from_secs(seconds),
            system: Duration::from_secs(2 * seconds),
            max_rss_kib: kib,
        };
        let usage = used(5, 900).since(used(3, 700));
        assert_eq!((usage.user.as_secs(), usage.system.as_secs(), usage.max_rss_kib), (2, 4, Some(900)));
        assert_eq!(used(5, 900).since(used(3, 900)).max_rss_kib, None);
    }
}
