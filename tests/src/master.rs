//! The master of a site: the process, and every way to ask it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::http::{self, HttpAnswer};
use crate::process::{self, Output};
use crate::{SOON, agent, tls};

/// What the request to the HTTPS port shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// No `Authorization` at all.
    None,
    /// The administrator's.
    Admin,
    /// This one.
    Text(&'a str),
}

/// The master, running or not.
#[derive(Debug)]
pub struct Master {
    daemon: Daemon,
    dir: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Master {
    pub(crate) fn new(dir: PathBuf, log: PathBuf, grpc: SocketAddr, http: SocketAddr) -> Master {
        let daemon = Daemon::new("humed-master", dir.join("master.toml"), log);
        Master { daemon, dir, grpc, http }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of its store.
    pub fn store(&self) -> PathBuf {
        self.dir.join("state/store.db")
    }

    /// Where agents connect.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where questions are asked.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&self) {
        assert!(self.try_start(), "the master ended at once:\n{}", self.log());
    }

    /// Starts it and waits until it is ready; false if it ended instead.
    pub(crate) fn try_start(&self) -> bool {
        self.daemon.start(|| self.is_ready())
    }

    /// True when it answers.
    pub fn is_ready(&self) -> bool {
        self.try_get("/readyz", Token::None).is_some_and(|answer| answer.status == 200)
    }

    /// Asks it over HTTPS with the administrator's token.
    pub fn query(&self, words: &[&str]) -> Output {
        process::run(process::command("humequery").args(words).args(self.connection()))
    }

    /// The flags by which humequery reaches it.
    pub fn connection(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        ["--url".to_owned(), format!("https://{}", self.http)]
            .into_iter()
            .chain([
                "--ca".to_owned(),
                self.ca_file().display().to_string(),
                "--token-file".to_owned(),
                path("admin.token"),
            ])
            .collect()
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

    /// Asks it on its own socket, as a local administrator.
    pub fn query_socket(&self, words: &[&str]) -> Output {
        let url = format!("unix:{}", self.dir.join("run/api.sock").display());
        process::run(process::command("humequery").args(words).args(["--url", &url]))
    }

    /// One request over HTTPS, none if there is no connection.
    pub fn try_get(&self, path: &str, token: Token<'_>) -> Option<HttpAnswer> {
        let admin;
        let token = match token {
            Token::None => None,
            Token::Text(text) => Some(text),
            Token::Admin => {
                admin = fs::read_to_string(self.dir.join("admin.token")).expect("humeconfig made it");
                Some(admin.trim_end())
            }
        };
        if !self.ca_file().exists() {
            return None;
        }
        let stream = TcpStream::connect(self.http).ok()?;
        let stream = tls::connect(stream, tls::https(&self.ca())).ok()?;
        http::get(stream, path, token).ok()
    }

    /// One request over HTTPS.
    #[track_caller]
    pub fn get(&self, path: &str, token: Token<'_>) -> HttpAnswer {
        self.try_get(path, token).expect("the master answers on its HTTPS port")
    }

    /// One request over its socket, none if there is no answer soon.
    pub fn try_get_socket(&self, path: &str) -> Option<HttpAnswer> {
        let stream = UnixStream::connect(self.dir.join("run/api.sock")).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        http::get(stream, path, None).ok()
    }

    /// One request over its socket.
    #[track_caller]
    pub fn get_socket(&self, path: &str) -> HttpAnswer {
        self.try_get_socket(path).expect("the master answers on its socket")
    }

    /// The certificate that everybody trusts: of a CA that was made by hand, or of the master's own.
    fn ca_file(&self) -> PathBuf {
        let by_hand = self.dir.join("pki/ca.pem");
        if by_hand.exists() { by_hand } else { self.dir.join("state/ca.pem") }
    }

    /// The certificate of the site's CA, in PEM.
    pub fn ca(&self) -> String {
        fs::read_to_string(self.ca_file()).expect("humeconfig or the master made it")
    }

    /// The figures of `/metrics` by name and labels.
    #[track_caller]
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        http::metrics(&self.get("/metrics", Token::None))
    }

    /// Changes master.toml; takes effect at the next start.
    pub fn configure(&self, change: impl FnOnce(&mut toml::Table)) {
        agent::edit(&self.dir.join("master.toml"), change);
    }

    /// How many events it has.
    #[track_caller]
    pub fn count(&self, words: &[&str]) -> u64 {
        let words: Vec<&str> = words.iter().copied().chain(["--count"]).collect();
        self.query_json(&words).as_u64().expect("a count is a number")
    }
}

impl Deref for Master {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}
