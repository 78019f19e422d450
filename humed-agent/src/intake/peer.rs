//! Who is at the other end: the kernel's word on pid and uid, and the ancestors read from /proc at accept.
//!
//! A process id that was given out again after the accept has no ancestors here. Where the kernel's word is missing or
//! says nothing, what the caller says of itself is used, and only for processes of the same user.

use std::os::unix::fs::MetadataExt as _;

use hume_core::event::{Caller, Process};
use hume_core::process::{Chain, script_of};
use tokio::net::UnixStream;

use crate::runs::Reporter;

use super::Desk;

/// Clock ticks of /proc per second; the kernel's interface has been 100 on every Linux since 2.4.
const TICKS_PER_SECOND: u64 = 100;

/// The other end of one connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pid: Option<u32>,
    uid: u32,
    /// The group of the process.
    gid: Option<u32>,
    user: Option<String>,
    chain: Chain,
    /// Command line of the process that owns what this connection starts.
    command: Option<Vec<u8>>,
}

/// What /proc tells of processes.
trait Proc {
    /// The text of its `stat`.
    fn stat(&self, pid: u32) -> Option<String>;
    /// The bytes of its `cmdline`.
    fn cmdline(&self, pid: u32) -> Option<Vec<u8>>;
    /// Its user.
    fn owner_of(&self, pid: u32) -> Option<u32>;
}

/// /proc of this machine.
struct Mounted;

impl Proc for Mounted {
    /// A name in it may be cut in the middle of a character.
    fn stat(&self, pid: u32) -> Option<String> {
        std::fs::read(format!("/proc/{pid}/stat"))
            .ok()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn cmdline(&self, pid: u32) -> Option<Vec<u8>> {
        std::fs::read(format!("/proc/{pid}/cmdline")).ok()
    }

    fn owner_of(&self, pid: u32) -> Option<u32> {
        std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
    }
}

impl Peer {
    /// The group of the process that connected.
    pub(super) fn gid(&self) -> Option<u32> {
        self.gid
    }

    /// Reads who connected, at `accepted_us` by the boot clock; to be called before the first line is read.
    pub(super) async fn read(stream: &UnixStream, desk: &Desk, accepted_us: u64) -> std::io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        let uid = credentials.uid();
        let peer = Peer::known(credentials.pid(), uid, accepted_us, &Mounted);
        Ok(Peer { user: desk.users.name(uid).await, gid: Some(credentials.gid()), ..peer })
    }

    /// What the kernel tells of who connected, but for the name of its user.
    fn known(pid: Option<i32>, uid: u32, accepted_us: u64, proc: &impl Proc) -> Peer {
        let accepted_ticks = accepted_us.saturating_mul(TICKS_PER_SECOND) / 1_000_000;
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let mut chain = pid.map_or_else(Chain::default, |pid| follow(pid, proc));
        if chain.links().first().is_some_and(|link| link.process.start_ticks > accepted_ticks) {
            chain = Chain::default();
        }
        let command = chain.owner().and_then(|owner| proc.cmdline(owner.pid));
        Peer { pid, uid, gid: None, user: None, chain, command }
    }

    /// The reporter of one draft of this connection.
    pub(super) fn reporter(&self, caller: &Caller) -> Reporter {
        self.reporter_by(caller, &Mounted)
    }

    fn reporter_by(&self, caller: &Caller, proc: &impl Proc) -> Reporter {
        let mut chain = self.chain.clone();
        let mut script = self.command.as_deref().and_then(|words| script_of(words, caller.cwd.as_deref()));
        // Gone already, or handed over to pid 1: the caller's own word on its parent. Whoever lives in another process
        // namespace speaks of other processes.
        if self.pid.is_some()
            && chain.links().len() <= 2
            && let Some(ppid) = caller.ppid.filter(|ppid| *ppid > 1 && proc.owner_of(*ppid) == Some(self.uid))
            && !chain.links().iter().any(|link| link.process.pid == ppid)
        {
            chain = follow(ppid, proc);
            let command = chain.owner().and_then(|owner| proc.cmdline(owner.pid));
            script = command.and_then(|words| script_of(&words, caller.cwd.as_deref()));
        }
        // Who owns what it reports may run something else, as hume exec does, and knows its name.
        let is_owner = self.pid.is_some() && chain.owner().map(|owner| owner.pid) == self.pid;
        if is_owner && caller.script.is_some() {
            script.clone_from(&caller.script);
        }
        Reporter {
            process: Process {
                pid: self.pid,
                uid: Some(self.uid),
                user: self.user.clone(),
                script,
                unit: caller.unit.clone(),
                tree: None,
                captured_by_cli: false,
            },
            chain,
        }
    }
}

fn follow(pid: u32, proc: &impl Proc) -> Chain {
    Chain::follow(pid, |pid| proc.stat(pid), |pid| proc.cmdline(pid))
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
