//! Section `[web]` of agent.toml: where local questions are asked.

use std::path::PathBuf;

use serde::Deserialize;

/// Section `[web]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Unix socket of the query API.
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Config {
        Config { socket: PathBuf::from("/run/hume/api.sock") }
    }
}
