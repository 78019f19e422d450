//! Orders to the master of this machine, over its Unix socket: `/admin/v1`.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hume_core::ErrorClass;
use hume_proto::rest::Problem;
use hume_runtime::config;
use hume_runtime::http::Answer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::http;

/// The master answers within this time, or not at all.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
const SOCKET: &str = "/run/hume-master/api.sock";

/// The one key of master.toml that an administrator's orders need; the master checks the others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MasterConfig {
    web: WebConfig,
}

#[derive(Deserialize)]
#[serde(default)]
struct WebConfig {
    socket: PathBuf,
}

impl Default for WebConfig {
    fn default() -> WebConfig {
        WebConfig { socket: PathBuf::from(SOCKET) }
    }
}

/// The master whose configuration is in `dir`.
#[derive(Debug)]
pub(crate) struct Master {
    dir: PathBuf,
    socket: PathBuf,
}

impl Master {
    /// Where `web.socket` of `dir/master.toml` is; the default place if there is no such file.
    pub(crate) fn of(dir: &Path) -> Result<Master, Failure> {
        let file = dir.join("master.toml");
        if !file.exists() {
            return Ok(Master { dir: dir.to_owned(), socket: PathBuf::from(SOCKET) });
        }
        let socket = config::load::<MasterConfig>(&file)?.web.socket;
        Ok(Master { dir: dir.to_owned(), socket: config::resolve(&file, &socket) })
    }

    /// What it answers to a question.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask("GET", path, None)
    }

    /// What it answers to an order.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, order: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(order).map_err(|error| self.garbled(&error))?;
        self.ask("POST", path, Some(&body))
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<T, Failure> {
        let unreachable = |source| self.unreachable(source);
        let asked = || -> io::Result<Answer> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
            stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
            http::ask(&mut stream, method, &format!("/admin/v1{path}"), body)
        };
        let answer = asked().map_err(unreachable)?;
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| self.garbled(&error));
        }
        Err(refused(&answer))
    }

    fn garbled(&self, error: &serde_json::Error) -> Failure {
        let source = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        self.unreachable(source)
    }

    fn unreachable(&self, source: io::Error) -> Failure {
        Failure::Unreachable { socket: self.socket.clone(), dir: self.dir.clone(), source }
    }
}

/// What a master says no with.
pub(crate) fn refused(answer: &Answer) -> Failure {
    let class = hume_proto::status::class_of_http(answer.status);
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => Failure::Refused { class, detail: problem.detail },
        Err(_) => Failure::Refused {
            class: ErrorClass::Internal,
            detail: format!("it answers with status {} and no reason", answer.status),
        },
    }
}
