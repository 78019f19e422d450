//! An agent of a site: the process, the scripts that report to it, and every way to ask it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::http::{self, HttpAnswer};
use crate::process::{self, Output};
use crate::site::Folder;
use crate::wait::{SOON, wait_until};

/// `hume` waits so long for an answer, in tests on a busy machine.
const PATIENCE_MS: &str = "20000";

/// An agent, running or not.
#[derive(Debug)]
pub struct Agent {
    daemon: Daemon,
    host: String,
    dir: PathBuf,
    // Removed after the process has ended.
    _folder: Arc<Folder>,
}

impl Agent {
    /// The agent that humeconfig made in `folder`; reconnects quickly.
    pub(crate) fn new(folder: Arc<Folder>, host: &str) -> Agent {
        let dir = folder.path().join(host);
        let log = folder.path().join(format!("{host}.log"));
        let daemon = Daemon::new("humed-agent", dir.join("agent.toml"), log);
        let agent = Agent { daemon, host: host.to_owned(), dir, _folder: folder };
        agent.configure(|toml| {
            if let Some(master) = toml.get_mut("master").and_then(toml::Value::as_table_mut) {
                master.insert("retry_min_ms".to_owned(), 20.into());
                master.insert("retry_max_ms".to_owned(), 200.into());
                master.insert("boot_delay_max_ms".to_owned(), 0.into());
            }
        });
        agent
    }

    /// Its host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where scripts report.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/hume.sock")
    }

    /// Where scripts report when it is away.
    pub fn drop_dir(&self) -> PathBuf {
        self.dir.join("drop")
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&self) {
        let is_ready = || self.is_ready();
        assert!(self.daemon.start(is_ready), "the agent of {} ended at once:\n{}", self.host, self.log());
    }

    /// True when both its sockets answer.
    pub fn is_ready(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
            && self.try_get("/readyz").is_some_and(|answer| answer.status == 200)
    }

    /// Changes agent.toml; takes effect at the next start.
    pub fn configure(&self, change: impl FnOnce(&mut toml::Table)) {
        edit(&self.dir.join("agent.toml"), change);
    }

    /// Takes the master out of agent.toml.
    pub fn be_alone(&self) {
        self.configure(|toml| drop(toml.remove("master")));
    }

    /// Lets a command report to this agent.
    pub fn reporting(&self, mut command: Command) -> Command {
        command
            .env("HUME_SOCKET", self.socket())
            .env("HUME_DROP_DIR", self.drop_dir())
            .env("HUME_RECVTIMEOUT", PATIENCE_MS);
        command
    }

    /// `hume` with these words.
    #[track_caller]
    pub fn hume(&self, words: &[&str]) -> Output {
        process::run(self.reporting(process::command("hume")).args(words))
    }

    /// A command that finds `hume` in its PATH and reports here.
    pub fn shell(&self, words: &[&str]) -> Command {
        self.reporting(process::shell(words))
    }

    /// Writes a bash script into the site's folder and returns its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("a script can be written");
        path.to_str().expect("folders of tests have plain names").to_owned()
    }

    /// Asks it on its socket.
    pub fn query(&self, words: &[&str]) -> Output {
        let url = format!("unix:{}", self.dir.join("run/api.sock").display());
        process::run(process::command("humequery").args(words).args(["--url", &url]))
    }

    /// The same question with `--format json`.
    #[track_caller]
    pub fn query_json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--format", "json"]).collect();
        self.query(&words).ok().json()
    }

    /// The same question with `--format ndjson`.
    #[track_caller]
    pub fn query_lines(&self, words: &[&str]) -> Vec<Value> {
        let words: Vec<&str> = words.iter().copied().chain(["--format", "ndjson"]).collect();
        self.query(&words).ok().json_lines()
    }

    /// How many events it keeps.
    #[track_caller]
    pub fn count(&self, words: &[&str]) -> u64 {
        let words: Vec<&str> = words.iter().copied().chain(["--count"]).collect();
        self.query_json(&words).as_u64().expect("a count is a number")
    }

    /// What it says of itself in `humequery agents`.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.query_json(&["agents"])["agents"][0].clone()
    }

    /// Waits until it is connected to the master and the master has everything.
    #[track_caller]
    pub fn wait_until_drained(&self, limit: Duration) {
        wait_until(&format!("the agent of {} has nothing left to send", self.host), limit, || {
            let metrics = self.try_get("/metrics").map(|answer| http::metrics(&answer)).unwrap_or_default();
            let is = |name: &str, value: u64| metrics.get(name) == Some(&value);
            is("hume_agent_uplink_connected", 1) && is("hume_agent_spool_unacked_events", 0)
        });
    }

    /// Waits until nothing is left in the drop folder that may still be taken.
    #[track_caller]
    pub fn wait_until_folder_is_empty(&self, limit: Duration) {
        let what = format!("the drop folder of {} is empty", self.host);
        wait_until(&what, limit, || self.waiting().is_empty());
    }

    /// The names of what waits in the drop folder.
    pub fn waiting(&self) -> Vec<String> {
        let entries = fs::read_dir(self.drop_dir()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "rejected" && !name.starts_with('.')).collect()
    }

    /// One request on its query socket, none if there is no connection.
    pub fn try_get(&self, path: &str) -> Option<HttpAnswer> {
        let stream = UnixStream::connect(self.dir.join("run/api.sock")).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        http::get(stream, path, None).ok()
    }

    /// One request on its query socket.
    #[track_caller]
    pub fn get(&self, path: &str) -> HttpAnswer {
        self.try_get(path).expect("the agent answers on its query socket")
    }

    /// The figures of `/metrics` by name and labels.
    #[track_caller]
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        http::metrics(&self.get("/metrics"))
    }

    /// A connection to its intake, on which no read or write waits forever.
    pub fn try_connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(stream)
    }

    /// A connection to its intake.
    #[track_caller]
    pub fn connect(&self) -> UnixStream {
        self.try_connect().expect("the agent listens")
    }

    /// Writes these bytes to its intake, closes that direction, and returns the answers. An agent that ends first leaves
    /// the rest without one.
    #[track_caller]
    pub fn socket_lines(&self, bytes: &[u8]) -> Vec<Value> {
        let mut stream = self.connect();
        let mut answers = stream.try_clone().expect("a socket can be shared");
        // Written from a thread of its own: who only writes, and reads later, may wait for each other.
        let text = std::thread::scope(|scope| {
            scope.spawn(move || {
                // An agent that has said no may have closed its end.
                let _ = stream.write_all(bytes);
                let _ = stream.shutdown(Shutdown::Write);
            });
            let mut text = Vec::new();
            match answers.read_to_end(&mut text) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    text.truncate(whole);
                }
                // A time-out: some line has no answer.
                Err(error) => unreachable!("the answers could not be read: {error}"),
            }
            text
        });
        let text = String::from_utf8(text).expect("answers are UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("an answer is JSON")).collect()
    }

    /// Writes one line to its intake and returns the answer.
    #[track_caller]
    pub fn submit(&self, line: &Value) -> Value {
        let mut answers = self.socket_lines(format!("{line}\n").as_bytes());
        assert_eq!(answers.len(), 1, "one line, one answer: {answers:?}");
        answers.remove(0)
    }
}

impl Deref for Agent {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

/// Reads a TOML file, changes it and writes it back.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut toml::Table)) {
    let text = fs::read_to_string(path).expect("humeconfig made it");
    let mut table: toml::Table = text.parse().expect("it is TOML");
    change(&mut table);
    fs::write(path, table.to_string()).expect("it can be written");
}
