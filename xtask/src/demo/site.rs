//! One master and its agents as real processes in one folder, on loopback ports that were free a moment ago.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::guardian::Guardian;
use super::receivers::Receivers;
use super::{folder, wait};
use crate::args::Afterwards;
use crate::say::say;

/// Time for a daemon to listen.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for agents to connect and for events to reach the master.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Another process may take a port between its choice and the master's start.
const PORT_TRIES_MAX: u32 = 5;

/// Lines of each log shown when something failed.
const LOG_TAIL_LINES: usize = 20;

/// The master's name among the processes.
const MASTER: &str = "humed-master";

/// The hosts of the demo, one agent each.
pub(super) const HOSTS: [&str; 2] = ["webserver", "db1"];

/// The host whose agent has transfers.
pub(super) const TELLING_HOST: &str = "webserver";

/// A site that runs until it is dropped.
pub(super) struct Site {
    folder: PathBuf,
    programs: PathBuf,
    afterwards: Afterwards,
    guardian: Guardian,
    ports: Ports,
    receivers: Option<Receivers>,
}

/// Where the master listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) enroll: SocketAddr,
}

impl Site {
    /// Creates the CA, the master and the agents, and starts them. Ready when every agent is connected.
    pub(super) fn start(programs: &Path, afterwards: Afterwards) -> anyhow::Result<Self> {
        let folder = folder::create()?;
        let guardian = Guardian::new(&folder)?;
        let ports = free_ports()?;
        let programs = programs.to_path_buf();
        let mut site = Self { folder, programs, afterwards, guardian, ports, receivers: None };
        site.bring_up().map_err(|error| site.explain(error))?;
        Ok(site)
    }

    /// The site's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the master listens.
    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    /// Who receives what the agent of [`TELLING_HOST`] tells.
    pub(super) fn receivers(&self) -> anyhow::Result<&Receivers> {
        self.receivers.as_ref().context("nobody receives")
    }

    /// The folder of one agent.
    pub(super) fn agent_folder(&self, host: &str) -> PathBuf {
        self.folder.join(host)
    }

    /// Variables that point humequery to the master.
    pub(super) fn master_variables(&self) -> [(&'static str, String); 3] {
        let master = self.master_folder();
        [
            ("HUMEQUERY_URL", format!("https://{}", self.ports.http)),
            ("HUMEQUERY_CA", master.join("state/ca.pem").display().to_string()),
            ("HUMEQUERY_TOKEN_FILE", master.join("admin.token").display().to_string()),
        ]
    }

    /// Variables that point hume to the agent of `host`.
    pub(super) fn agent_variables(&self, host: &str) -> [(&'static str, String); 2] {
        let agent = self.agent_folder(host);
        [
            ("HUME_SOCKET", agent.join("run/hume.sock").display().to_string()),
            ("HUME_DROP_DIR", agent.join("drop").display().to_string()),
        ]
    }

    /// A call of one of hume's programs that knows nothing of this shell's own settings for hume.
    pub(super) fn program(&self, name: &str) -> Command {
        clean(Command::new(self.programs.join(name)))
    }

    /// Shows a command, runs it and shows what it prints, which is also returned.
    pub(super) fn show(&self, words: &[&str], variables: &[(&str, String)]) -> anyhow::Result<String> {
        say(format_args!("$ {}", words.join(" ")))?;
        let (name, arguments) = words.split_first().context("an empty command")?;
        let mut command = self.program(name);
        command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value)));
        let output = command.output().with_context(|| format!("could not start {name}"))?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let talk = String::from_utf8_lossy(&output.stderr);
        for text in [shown.trim_end(), talk.trim_end()] {
            if !text.is_empty() {
                say(text)?;
            }
        }
        if !output.status.success() {
            bail!("{name} failed ({})", output.status);
        }
        Ok(shown)
    }

    /// Asks the master again and again until its answer, JSON without white space, holds `expected` `count` times.
    /// # Errors
    /// If it does not in time: the last answer, or what humequery said instead.
    pub(super) fn wait_for_answer(
        &self,
        arguments: &[&str],
        expected: &str,
        count: usize,
    ) -> anyhow::Result<()> {
        let mut last = String::new();
        let mut is_expected = || {
            let mut command = self.program("humequery");
            command.args(arguments).args(["--format", "json"]).envs(self.master_variables());
            let output = command.output().context("could not start humequery")?;
            let answer = String::from_utf8_lossy(&output.stdout);
            last = if output.status.success() {
                answer.split_whitespace().collect()
            } else {
                String::from_utf8_lossy(&output.stderr).trim().to_owned()
            };
            Ok(output.status.success() && last.matches(expected).count() == count)
        };
        let what = format!("humequery {} answers {expected}", arguments.join(" "));
        let result = wait::until(&what, Instant::now() + ANSWER_TIMEOUT, &mut is_expected);
        result.with_context(|| format!("the last answer was {last}"))
    }

    /// Runs a script as cron would on `host`, with hume and the stand-ins of the demo on its path.
    pub(super) fn run_script(&mut self, host: &str, script: &Path) -> anyhow::Result<()> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path)))
                .context("could not put hume on the path")?;
        let mut command = clean(Command::new("/bin/bash"));
        command.arg(script).current_dir(&self.folder).env("PATH", path).envs(self.agent_variables(host));
        let status =
            self.guardian.run(&mut command).with_context(|| format!("could not run {}", script.display()))?;
        if !status.success() {
            bail!("{} failed ({status})", script.display());
        }
        Ok(())
    }

    /// Stops the master and shows how.
    pub(super) fn stop_master(&mut self) -> anyhow::Result<()> {
        let pid = self.guardian.pid(MASTER).context("the master does not run")?;
        say(format_args!("$ kill {pid}   # the master"))?;
        self.guardian.stop(MASTER)
    }

    /// Starts the master again on the ports it had.
    pub(super) fn start_master_again(&mut self) -> anyhow::Result<()> {
        if !self.start_master()? {
            bail!("the master did not start again");
        }
        self.wait_for_agents()
    }

    /// Leaves everything up: the process ids, and the site's folder.
    pub(super) fn leave(self) -> anyhow::Result<(Vec<u32>, PathBuf)> {
        let pids = self.guardian.pids();
        self.guardian.dismiss()?;
        Ok((pids, self.folder))
    }

    /// Adds the ends of the daemons' logs to an error.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let mut text = String::new();
        for name in std::iter::once(MASTER).chain(HOSTS) {
            let Ok(log) = fs::read_to_string(self.log(name)) else { continue };
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
            text = format!("{text}\n--- the end of the log of {name}\n{}", tail.join("\n"));
        }
        if text.is_empty() { error } else { anyhow::anyhow!("{error:#}{text}") }
    }

    fn master_folder(&self) -> PathBuf {
        self.folder.join("master")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn bring_up(&mut self) -> anyhow::Result<()> {
        for attempt in 1.. {
            self.create_master()?;
            if self.start_master()? {
                break;
            }
            if attempt == PORT_TRIES_MAX {
                bail!("the master did not start, on {PORT_TRIES_MAX} pairs of ports");
            }
            say("the master did not start, trying other ports")?;
            fs::remove_dir_all(self.master_folder()).context("could not remove the master's folder")?;
            self.ports = free_ports()?;
        }
        let state = self.master_folder().join("state");
        self.receivers = Some(Receivers::start(&mut self.guardian, &self.folder, &state)?);
        for host in HOSTS {
            self.start_agent(host)?;
        }
        self.wait_for_agents()
    }

    fn create_master(&self) -> anyhow::Result<()> {
        let folder = self.master_folder().display().to_string();
        let Ports { grpc, http, enroll } = self.ports;
        let [grpc, http, enroll] = [grpc, http, enroll].map(|address| address.to_string());
        let words =
            ["humeconfig", "init", "--dir", &folder, "--grpc", &grpc, "--http", &http, "--enroll", &enroll];
        self.show(&words, &[])?;
        Ok(())
    }

    /// Starts the master and waits until it listens. False if it ended instead.
    fn start_master(&mut self) -> anyhow::Result<bool> {
        let config = self.master_folder().join("master.toml");
        self.start_daemon(MASTER, MASTER, &config)?;
        let Ports { grpc, http, enroll } = self.ports;
        let mut has_ended = false;
        wait::until("the master listens", Instant::now() + READY_TIMEOUT, || {
            has_ended = self.guardian.ended(MASTER)?.is_some();
            Ok(has_ended || [grpc, http, enroll].iter().all(|address| TcpStream::connect(address).is_ok()))
        })?;
        Ok(!has_ended)
    }

    fn start_agent(&mut self, host: &str) -> anyhow::Result<()> {
        let master = self.master_folder().display().to_string();
        let agent = self.agent_folder(host);
        let token = self.show(&["humeconfig", "token", "new", "--dir", &master, "--host", host], &[])?;
        let out = agent.display().to_string();
        self.show(&["humeconfig", "join", token.trim_end(), "--out", &out, "--host", host], &[])?;
        if host == TELLING_HOST {
            self.configure_transfers(&agent.join("agent.toml"))?;
        }
        self.start_daemon(host, "humed-agent", &agent.join("agent.toml"))?;
        let sockets = ["run/hume.sock", "run/api.sock"].map(|socket| agent.join(socket));
        wait::until(&format!("the agent of {host} listens"), Instant::now() + READY_TIMEOUT, || {
            if let Some(status) = self.guardian.ended(host)? {
                bail!("the agent of {host} ended at once ({status})");
            }
            Ok(sockets.iter().all(|socket| UnixStream::connect(socket).is_ok()))
        })
    }

    /// Adds a transfer for each receiver to a configuration.
    fn configure_transfers(&self, config: &Path) -> anyhow::Result<()> {
        let sections = self.receivers()?.sections()?;
        let before = fs::read_to_string(config).context("could not read agent.toml")?;
        fs::write(config, format!("{before}\n{sections}")).context("could not write agent.toml")
    }

    fn start_daemon(&mut self, name: &str, program: &str, config: &Path) -> anyhow::Result<()> {
        say(format_args!("$ {program} --config {} &", config.display()))?;
        let mut command = self.program(program);
        command.arg("--config").arg(config).current_dir(&self.folder);
        match self.afterwards {
            // Ctrl-C in the terminal reaches it directly.
            Afterwards::CleanUp => {}
            // It stays when this terminal's job is over.
            Afterwards::Keep => {
                command.process_group(0);
            }
        }
        let log = self.log(name);
        self.guardian.start(name, &log, &mut command)
    }

    fn wait_for_agents(&self) -> anyhow::Result<()> {
        self.wait_for_answer(&["agents"], "\"state\":\"connected\"", HOSTS.len())
    }
}

/// The command without variables that change what hume's programs and shells do.
fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if meddles(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    command
}

/// Whether a variable of this name changes what hume's programs or shells do: where they report, what they are asked
/// through, what a script runs before its first line.
fn meddles(name: &str) -> bool {
    name.starts_with("HUME")
        || name.to_ascii_lowercase().ends_with("_proxy")
        || ["HTASK", "HTAGS", "LINENO", "INVOCATION_ID", "NOTIFY_SOCKET", "CLICOLOR_FORCE", "BASH_ENV", "ENV"]
            .contains(&name)
}

/// Three ports that nobody uses now.
fn free_ports() -> anyhow::Result<Ports> {
    let take = || TcpListener::bind("127.0.0.1:0").context("could not bind a port of the loopback");
    // All are held until all are known, so they differ.
    let (grpc, http, enroll) = (take()?, take()?, take()?);
    Ok(Ports { grpc: grpc.local_addr()?, http: http.local_addr()?, enroll: enroll.local_addr()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_would_change_a_command_are_taken_away_and_others_stay() {
        for name in [
            "HUME_SOCKET",
            "HTASK",
            "https_proxy",
            "ALL_PROXY",
            "no_proxy",
            "BASH_ENV",
            "ENV",
            "CLICOLOR_FORCE",
        ] {
            assert!(meddles(name), "{name}");
        }
        for name in ["PATH", "HOME", "TMPDIR", "ENVIRONMENT", "proxy", "NO_COLOR"] {
            assert!(!meddles(name), "{name}");
        }
    }

    #[test]
    fn the_ports_differ_and_can_be_bound() {
        let Ports { grpc, http, enroll } = free_ports().expect("three ports");
        assert!(grpc != http && http != enroll && enroll != grpc);
    }
}
