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
    user: Option<String>,
    chain: Chain,
    /// Command line of the process that owns what this connection starts.
    command: Option<Vec<u8>>,
}

/// A name in it may be cut in the middle of a character.
fn stat(pid: u32) -> Option<String> {
    std::fs::read(format!("/proc/{pid}/stat")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn cmdline(pid: u32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/cmdline")).ok()
}

fn owner_of(pid: u32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

impl Peer {
    /// Reads who connected, at `accepted_us` by the boot clock; to be called before the first line is read.
    pub(super) async fn read(stream: &UnixStream, desk: &Desk, accepted_us: u64) -> std::io::Result<Peer> {
        let accepted_ticks = accepted_us.saturating_mul(TICKS_PER_SECOND) / 1_000_000;
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let mut chain = pid.map_or_else(Chain::default, |pid| Chain::follow(pid, stat, cmdline));
        if chain.links().first().is_some_and(|link| link.process.start_ticks > accepted_ticks) {
            chain = Chain::default();
        }
        let uid = credentials.uid();
        let command = chain.owner().and_then(|owner| cmdline(owner.pid));
        Ok(Peer { pid, uid, user: desk.users.name(uid).await, chain, command })
    }

    /// The reporter of one draft of this connection.
    pub(super) fn reporter(&self, caller: &Caller) -> Reporter {
        let mut chain = self.chain.clone();
        let mut script = self.command.as_deref().and_then(|words| script_of(words, caller.cwd.as_deref()));
        // Gone already, or handed over to pid 1: the caller's own word on its parent. Whoever lives in another process
        // namespace speaks of other processes.
        if self.pid.is_some()
            && chain.links().len() <= 2
            && let Some(ppid) = caller.ppid.filter(|ppid| *ppid > 1 && owner_of(*ppid) == Some(self.uid))
            && !chain.links().iter().any(|link| link.process.pid == ppid)
        {
            chain = Chain::follow(ppid, stat, cmdline);
            let command = chain.owner().and_then(|owner| cmdline(owner.pid));
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
