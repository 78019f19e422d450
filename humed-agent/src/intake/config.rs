//! Section `[intake]` of agent.toml: where scripts report.

use std::path::PathBuf;

use serde::Deserialize;

use super::rights::Allow;

/// Section `[intake]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Unix socket that `hume` writes to.
    pub socket: PathBuf,
    /// Folder that `hume` writes to when the agent is away.
    pub drop_dir: PathBuf,
    /// Tasks that are reserved, and for whom.
    pub allow: Vec<Allow>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            socket: PathBuf::from("/run/hume/hume.sock"),
            drop_dir: PathBuf::from("/var/spool/hume/drop"),
            allow: Vec::new(),
        }
    }
}
