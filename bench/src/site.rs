//! A master and its agents as real release processes, with durable settings as they ship, made by `humeconfig`.
//!
//! Data lies below `target/bench`; see `scratch.rs`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::http::Connection;
use crate::programs::Programs;
use crate::scratch::{Process, Scratch};
use crate::wait::SOON;

/// Ports of servers, below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Looks for a free port before giving up.
const PORT_TRIES_MAX: usize = 100;

/// The folder of a site, its CA and its master, which may run or not.
pub(crate) struct Site {
    programs: Programs,
    scratch: Scratch,
    grpc: SocketAddr,
    http: SocketAddr,
}

/// A master that runs.
pub(crate) struct Master {
    pub(crate) process: Process,
    dir: PathBuf,
    http: SocketAddr,
}

/// An agent that runs.
pub(crate) struct Agent {
    pub(crate) process: Process,
    dir: PathBuf,
}

/// Whether an agent has a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Alone,
    WithMaster,
}

impl Site {
    /// A CA and the files of a master.
    pub(crate) fn new(programs: &Programs) -> anyhow::Result<Site> {
        let scratch = Scratch::new(&programs.bench_folder())?;
        let site = Site { programs: programs.clone(), scratch, grpc: free_port()?, http: free_port()? };
        let (grpc, http) = (site.grpc.to_string(), site.http.to_string());
        let dir = site.master_dir();
        site.humeconfig(&["init", "--by-hand", "--grpc", &grpc, "--http", &http], "--dir", &dir)?;
        Ok(site)
    }

    /// Its folder.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Where agents connect.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// The folder of the master.
    pub(crate) fn master_dir(&self) -> PathBuf {
        self.scratch.path().join("master")
    }

    /// Changes master.toml; takes effect at the next start.
    pub(crate) fn configure_master(&self, change: impl FnOnce(&mut toml::Table)) -> anyhow::Result<()> {
        edit(&self.master_dir().join("master.toml"), change)
    }

    /// Starts the master and waits until it answers.
    pub(crate) fn start_master(&self) -> anyhow::Result<Master> {
        let dir = self.master_dir();
        let mut command = self.programs.command("humed-master");
        command.arg("--config").arg(dir.join("master.toml"));
        let process = self.scratch.start("humed-master", &mut command)?;
        let mut master = Master { process, dir, http: self.http };
        let socket = master.dir.join("run/api.sock");
        let ready = master.process.wait_until_ready(SOON, || is_ready(&socket));
        ready.with_context(|| master.process.tail())?;
        Ok(master)
    }

    /// Makes the files of an agent.
    pub(crate) fn make_agent(&self, host: &str) -> anyhow::Result<PathBuf> {
        let dir = self.scratch.path().join(host);
        let (master, grpc) = (self.master_dir().display().to_string(), self.grpc.to_string());
        let words = ["agent", "--host", host, "--master", &grpc, "--dir", &master];
        self.humeconfig(&words, "--out", &dir)?;
        Ok(dir)
    }

    /// Makes an agent, starts it and waits until it takes events.
    pub(crate) fn start_agent(&self, host: &str, company: Company) -> anyhow::Result<Agent> {
        let dir = self.make_agent(host)?;
        edit(&dir.join("agent.toml"), |toml| match company {
            Company::Alone => drop(toml.remove("master")),
            // A machine that was just started is measured like any other.
            Company::WithMaster => {
                if let Some(master) = toml.get_mut("master").and_then(toml::Value::as_table_mut) {
                    master.insert("boot_delay_max_ms".to_owned(), 0.into());
                }
            }
        })?;
        let mut command = self.programs.command("humed-agent");
        command.arg("--config").arg(dir.join("agent.toml"));
        let process = self.scratch.start(host, &mut command)?;
        let mut agent = Agent { process, dir };
        let (socket, api) = (agent.socket(), agent.dir.join("run/api.sock"));
        let ready =
            agent.process.wait_until_ready(SOON, || UnixStream::connect(&socket).is_ok() && is_ready(&api));
        ready.with_context(|| agent.process.tail())?;
        Ok(agent)
    }

    fn humeconfig(&self, words: &[&str], flag: &str, dir: &Path) -> anyhow::Result<()> {
        let mut command = self.programs.command("humeconfig");
        let output = command.args(words).arg(flag).arg(dir).output().context("could not start humeconfig")?;
        let talk = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "humeconfig {} failed ({}): {talk}", words.join(" "), output.status);
        Ok(())
    }
}

impl Master {
    /// A connection to its HTTPS port with the administrator's token.
    pub(crate) fn https(&self) -> anyhow::Result<Connection> {
        Connection::tls(self.http, &self.dir.join("pki/ca.pem"), &self.dir.join("admin.token"))
    }
}

impl Agent {
    /// Where scripts report.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("run/hume.sock")
    }

    /// Where scripts report when it is away.
    pub(crate) fn drop_dir(&self) -> PathBuf {
        self.dir.join("drop")
    }

    /// A connection to where it is asked.
    pub(crate) fn api(&self) -> anyhow::Result<Connection> {
        Connection::unix(&self.dir.join("run/api.sock"))
    }
}

fn is_ready(socket: &Path) -> bool {
    let answer = Connection::unix(socket).and_then(|mut connection| connection.get("/readyz"));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// Reads a TOML file, changes it and writes it back.
fn edit(path: &Path, change: impl FnOnce(&mut toml::Table)) -> anyhow::Result<()> {
    let named = || format!("could not change {}", path.display());
    let text = fs::read_to_string(path).with_context(named)?;
    let mut table: toml::Table = text.parse().with_context(named)?;
    change(&mut table);
    fs::write(path, table.to_string()).with_context(named)
}

/// A port of the loopback that nobody uses now.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORT_TRIES_MAX {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port after {PORT_TRIES_MAX} tries")
}
