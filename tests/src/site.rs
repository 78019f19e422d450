//! A temporary folder with a CA and a master; agents are made from it.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::agent::Agent;
use crate::master::Master;
use crate::process::{self, Output};

/// Longest path of a Unix socket.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Room for the longest socket below the folder of a site: `/hume-012345/webserver/run/hume.sock` and some more.
const TAIL_BYTES_MAX: usize = 60;
/// Pairs of ports tried before giving up.
const PORT_TRIES_MAX: usize = 10;
/// Ports of servers, below those that the kernel gives to clients: a client that asks for a port where nobody listens
/// may be given that very port as its own, and then it is connected to itself and the server cannot come back.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// The folder of one site, removed with its last user.
#[derive(Debug)]
pub struct Folder {
    dir: Option<TempDir>,
    path: PathBuf,
    is_kept: AtomicBool,
}

impl Folder {
    /// A new one, with a path short enough for sockets.
    pub fn new() -> Arc<Folder> {
        let wanted = std::env::temp_dir();
        let fits = wanted.is_absolute() && wanted.as_os_str().len() + TAIL_BYTES_MAX <= SOCKET_PATH_BYTES_MAX;
        let base = if fits { wanted } else { PathBuf::from("/tmp") };
        let folder = tempfile::Builder::new().prefix("hume-").tempdir_in(base);
        let dir = folder.expect("a temporary folder can be made");
        let (path, is_kept) = (dir.path().to_path_buf(), AtomicBool::new(false));
        Arc::new(Folder { dir: Some(dir), path, is_kept })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It stays, for somebody to look into; where that is.
    pub fn keep(&self) -> &Path {
        self.is_kept.store(true, Ordering::Relaxed);
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && self.is_kept.load(Ordering::Relaxed)
        {
            drop(dir.keep());
        }
    }
}

/// One site: its folder and its master.
#[derive(Debug)]
pub struct Site {
    master: Master,
    // Removed after the master has ended.
    folder: Arc<Folder>,
}

impl Site {
    /// A site whose master is ready.
    pub fn new() -> Site {
        for _ in 0..PORT_TRIES_MAX {
            let site = Site::without_master();
            if site.master.try_start() {
                return site;
            }
            let log = site.master.log();
            assert!(log.to_lowercase().contains("in use"), "the master did not start:\n{log}");
        }
        unreachable!("no free ports after {PORT_TRIES_MAX} tries");
    }

    /// A site whose master has not been started yet.
    pub fn without_master() -> Site {
        Site::with_master_at(free_port(), free_port(), &[])
    }

    /// A site whose master makes its own CA and is ready; hosts join it with tokens, on the address that is told as well.
    pub fn enrolling() -> (Site, SocketAddr) {
        for _ in 0..PORT_TRIES_MAX {
            let (folder, grpc, http, enroll) = (Folder::new(), free_port(), free_port(), free_port());
            let dir = folder.path().join("master");
            let [grpc_text, http_text, enroll_text] = [grpc, http, enroll].map(|address| address.to_string());
            let words =
                ["init", "--grpc", &grpc_text, "--http", &http_text, "--enroll", &enroll_text, "--dir"];
            process::run(process::command("humeconfig").args(words).arg(&dir)).ok();
            let log = folder.path().join("master.log");
            let site = Site { master: Master::new(dir, log, grpc, http), folder };
            if site.master.try_start() {
                return (site, enroll);
            }
            let log = site.master.log();
            assert!(log.to_lowercase().contains("in use"), "the master did not start:\n{log}");
        }
        unreachable!("no free ports after {PORT_TRIES_MAX} tries");
    }

    /// The same, with a master that listens on these addresses, and that agents may reach by these names as well.
    pub fn with_master_at(grpc: SocketAddr, http: SocketAddr, names: &[&str]) -> Site {
        let folder = Folder::new();
        let dir = folder.path().join("master");
        let text = |address: SocketAddr| address.to_string();
        let made = process::run(
            process::command("humeconfig")
                .args(["init", "--by-hand", "--grpc", &text(grpc), "--http", &text(http), "--dir"])
                .arg(&dir)
                .args(names.iter().flat_map(|name| ["--name", name])),
        );
        made.ok();
        let log = folder.path().join("master.log");
        let master = Master::new(dir, log, grpc, http);
        Site { master, folder }
    }

    /// The master.
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// The folder.
    pub fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// A new agent for `host`, ready.
    pub fn agent(&self, host: &str) -> Agent {
        let agent = self.prepare_agent(host);
        agent.start();
        agent
    }

    /// A new agent for `host` that has not been started yet.
    pub fn prepare_agent(&self, host: &str) -> Agent {
        let out = self.folder.path().join(host);
        self.humeconfig_agent(host, &out, self.master.grpc()).ok();
        Agent::new(Arc::clone(&self.folder), host)
    }

    /// A copy of an agent that does not run: the same certificate, spool and host, in a folder of its own. Not started.
    pub fn clone_of(&self, agent: &Agent) -> Agent {
        let name = format!("{}-copy", agent.host());
        let copied =
            Command::new("cp").arg("-r").arg(agent.dir()).arg(self.folder.path().join(&name)).status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the folder of {} cannot be copied",
            agent.host()
        );
        Agent::new(Arc::clone(&self.folder), &name)
    }

    /// `humeconfig agent` for this site.
    pub fn humeconfig_agent(&self, host: &str, out: &Path, master: SocketAddr) -> Output {
        process::run(
            process::command("humeconfig")
                .args(["agent", "--host", host, "--master", &master.to_string(), "--dir"])
                .arg(self.master.dir())
                .arg("--out")
                .arg(out),
        )
    }

    /// Asks the master.
    #[track_caller]
    pub fn query(&self, words: &[&str]) -> Output {
        self.master.query(words)
    }
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

/// A port of the loopback that nobody uses now and that no other test of this process gets.
pub(crate) fn free_port() -> SocketAddr {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    loop {
        let port = fastrand::u16(PORTS);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if given.insert(port) && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_fits_below_every_folder_and_no_port_is_given_twice() {
        let folder = Folder::new();
        let socket = folder.path().join("webserver/run/hume.sock");
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        assert_ne!(free_port(), free_port());
    }
}
