//! Knows the moment a process ends: one pidfd each, all of them in one epoll.
//!
//! A process that cannot be held so (too many open files, an old kernel) is looked up in /proc when asked. "Cannot be
//! seen" never means "has ended": only no such process, a zombie, or another process under its number does. At most
//! [`HELD_MAX`] are held.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hume_core::process::{ProcessRef, is_alive, is_of, session_of};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use super::table::Processes;

/// Processes held at once; what is beyond is looked up every second. Few in tests, so that they meet it.
pub(super) const HELD_MAX: usize = if cfg!(test) { 2 } else { 4096 };
/// Survivors named of one session.
const SURVIVORS_MAX: usize = 5;
/// Processes known to be gone, so that nobody looks for them again; with more, all are forgotten.
const GONE_MAX: usize = 4096;

/// The processes whose end ends a run.
#[derive(Debug)]
pub(super) struct Owners {
    epoll: AsyncFd<OwnedFd>,
    held: HashMap<ProcessRef, Held>,
    /// Who has ended stays so: a number that is used again has another start.
    gone: Mutex<HashSet<ProcessRef>>,
}

#[derive(Debug)]
struct Held {
    /// None when the process has ended already, or has to be looked up.
    pidfd: Option<OwnedFd>,
    state: State,
    /// Its session, when it could be seen.
    session: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The kernel will say when it ends.
    Held,
    /// Nobody will say.
    LookedUp,
    Ended,
}

impl Owners {
    pub(super) fn new() -> io::Result<Owners> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe; an owned descriptor is what makes this one sound"
        )]
        let epoll = AsyncFd::new(epoll)?;
        Ok(Owners { epoll, held: HashMap::new(), gone: Mutex::default() })
    }

    /// Holds these and no others. True when one of them is newly known to have ended.
    pub(super) fn hold(&mut self, wanted: impl Iterator<Item = ProcessRef>) -> bool {
        let wanted: HashSet<ProcessRef> = wanted.collect();
        // What is dropped leaves the epoll by itself: nobody else has its descriptor.
        self.held.retain(|process, _| wanted.contains(process));
        let mut is_news = false;
        for process in wanted {
            if !self.held.contains_key(&process) {
                let held = self.take(process);
                is_news |= held.state == State::Ended;
                self.held.insert(process, held);
            }
        }
        is_news
    }

    fn gone(&self) -> MutexGuard<'_, HashSet<ProcessRef>> {
        // Every statement leaves the set whole, so a poisoned lock is still right.
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when some have to be asked again and again.
    pub(super) fn must_look(&self) -> bool {
        self.held.values().any(|held| held.state == State::LookedUp)
    }

    /// Waits until one of those that are held ends.
    pub(super) async fn ended(&mut self) {
        loop {
            let Ok(mut ready) = self.epoll.readable().await else {
                // The reactor is gone, and with it everything that could be told.
                return std::future::pending().await;
            };
            let mut events = Vec::with_capacity(64);
            let count = epoll::wait(
                self.epoll.get_ref(),
                rustix::buffer::spare_capacity(&mut events),
                Some(&Timespec::default()),
            );
            ready.clear_ready();
            if count.is_ok_and(|count| count > 0) {
                break;
            }
        }
        for held in self.held.values_mut().filter(|held| held.state == State::Held) {
            if held.pidfd.as_ref().is_some_and(has_ended) {
                *held = Held { pidfd: None, state: State::Ended, session: held.session };
            }
        }
    }

    fn take(&self, process: ProcessRef) -> Held {
        let looked_up = Held { pidfd: None, state: State::LookedUp, session: None };
        let ended = Held { pidfd: None, state: State::Ended, session: None };
        if self.held.len() >= HELD_MAX {
            return looked_up;
        }
        let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return ended };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return ended,
            Err(_) => return looked_up,
        };
        let stat = stat(process.pid);
        // Asked after it was opened: if the number is another's now, the process has ended.
        if stat.as_deref().is_some_and(|stat| !is_of(process, stat)) || has_ended(&pidfd) {
            return ended;
        }
        let session =
            stat.as_deref().and_then(|stat| session_of(process.pid, stat)).map(|(session, _)| session);
        let data = EventData::new_u64(u64::from(process.pid));
        match epoll::add(self.epoll.get_ref(), &pidfd, data, EventFlags::IN) {
            Ok(()) => Held { pidfd: Some(pidfd), state: State::Held, session },
            Err(_) => looked_up,
        }
    }
}

impl Processes for Owners {
    fn is_alive(&self, process: ProcessRef) -> bool {
        if self.gone().contains(&process) {
            return false;
        }
        let is_alive = match self.held.get(&process) {
            Some(Held { state: State::Ended, .. }) => false,
            Some(Held { pidfd: Some(pidfd), .. }) => !has_ended(pidfd),
            Some(Held { pidfd: None, .. }) | None => is_there(process),
        };
        if !is_alive {
            let mut gone = self.gone();
            if gone.len() >= GONE_MAX {
                gone.clear();
            }
            gone.insert(process);
        }
        is_alive
    }

    fn survivors(&self, process: ProcessRef) -> Vec<String> {
        match self.held.get(&process).and_then(|held| held.session) {
            Some(session) => survivors(session, process.start_ticks),
            None => Vec::new(),
        }
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    // Readable once it has ended, also while nobody has reaped it.
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// The text of /proc/PID/stat; a name in it may be cut in the middle of a character.
fn stat(pid: u32) -> Option<String> {
    std::fs::read(format!("/proc/{pid}/stat")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Looked up in /proc; where that cannot be read, it is there.
fn is_there(process: ProcessRef) -> bool {
    match std::fs::read(format!("/proc/{}/stat", process.pid)) {
        Ok(bytes) => is_alive(process, &String::from_utf8_lossy(&bytes)),
        // Hidden processes are "not found" as well: the kernel knows better.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
            pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH))
        }
        Err(error) => error.raw_os_error() != Some(Errno::SRCH.raw_os_error()),
    }
}

/// Processes of the session that started after `start_ticks`, in words.
fn survivors(session: u32, start_ticks: u64) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let survivor = |pid| {
        let stat = stat(pid)?;
        let (of, started) = session_of(pid, &stat)?;
        let is_one = of == session
            && started >= start_ticks
            && is_alive(ProcessRef { pid, start_ticks: started }, &stat);
        let name = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?;
        is_one.then(|| format!("{name} (pid {pid})"))
    };
    pids.filter_map(survivor).take(SURVIVORS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A process that ends when its stdin does.
    fn child() -> (Child, ProcessRef) {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        let (_, start_ticks) = session_of(pid, &stat(pid).unwrap()).unwrap();
        (child, ProcessRef { pid, start_ticks })
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_told_at_once_even_if_nobody_reaps_it() {
        let (mut child, process) = child();
        let (mut other, other_process) = self::child();
        let mut owners = Owners::new().unwrap();
        assert!(!owners.hold([process, other_process].into_iter()));
        assert!(owners.is_alive(process) && !owners.must_look());
        drop(child.stdin.take());
        tokio::time::timeout(DEADLINE, owners.ended()).await.unwrap();
        assert!(!owners.is_alive(process));
        assert!(owners.is_alive(other_process));
        child.wait().unwrap();
        drop(other.stdin.take());
        other.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_that_is_gone_or_a_number_used_again_has_ended() {
        let (mut child, process) = child();
        let mut owners = Owners::new().unwrap();
        let again = ProcessRef { start_ticks: process.start_ticks + 1, ..process };
        assert!(owners.hold([again].into_iter()));
        assert!(!owners.is_alive(again));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(owners.hold([process].into_iter()));
        assert!(!owners.is_alive(process));
        assert!(!is_there(process));
    }

    #[tokio::test]
    async fn what_cannot_be_held_is_looked_up() {
        let mut children: Vec<_> = (0..=HELD_MAX).map(|_| child()).collect();
        let processes: Vec<_> = children.iter().map(|(_, process)| *process).collect();
        let mut owners = Owners::new().unwrap();
        assert!(!owners.hold(processes.iter().copied()));
        let looked_up = owners.held.values().filter(|held| held.state == State::LookedUp).count();
        assert_eq!((looked_up, owners.must_look()), (1, true));
        assert!(processes.iter().all(|process| owners.is_alive(*process)));
        for (child, process) in &mut children {
            drop(child.stdin.take());
            child.wait().unwrap();
            assert!(!owners.is_alive(*process), "whether the kernel tells or not");
        }
        let gone =
            owners.held.iter().find(|(_, held)| held.state == State::LookedUp).map(|(process, _)| *process);
        owners.hold(processes.into_iter().filter(|process| Some(*process) != gone));
        assert!(!owners.must_look());
    }

    #[tokio::test]
    async fn what_is_no_longer_wanted_is_let_go() {
        let (mut child, process) = child();
        let mut owners = Owners::new().unwrap();
        owners.hold([process].into_iter());
        owners.hold([].into_iter());
        drop(child.stdin.take());
        child.wait().unwrap();
        let told = tokio::time::timeout(Duration::from_millis(1), owners.ended()).await;
        assert!(told.is_err());
    }

    #[test]
    fn survivors_are_those_of_the_session_that_came_later() {
        let (mut child, process) = child();
        let (session, _) = session_of(process.pid, &stat(process.pid).unwrap()).unwrap();
        let all = survivors(session, process.start_ticks);
        assert!(all.len() <= SURVIVORS_MAX && !all.is_empty(), "{all:?}");
        assert_eq!(survivors(session, u64::MAX), [] as [String; 0]);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
