//! Tokens, hosts that join with them, and what the administrator says of agents, all by the real programs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Site;
use crate::agent::Agent;
use crate::process::{self, Output};

impl Site {
    /// An order of the master's administrator: the words after `humeconfig`.
    pub fn order(&self, words: &[&str]) -> Output {
        process::run(process::command("humeconfig").args(words).arg("--dir").arg(self.master().dir()))
    }

    /// A new token.
    #[track_caller]
    pub fn token(&self, words: &[&str]) -> String {
        let words: Vec<&str> = ["token", "new"].iter().chain(words).copied().collect();
        self.order(&words).ok().stdout.trim_end().to_owned()
    }

    /// The folder in which a host has its agent.
    pub fn host_dir(&self, host: &str) -> PathBuf {
        self.folder().path().join(host)
    }

    /// A host joins with a token, which it reads from its standard input.
    pub fn join(&self, host: &str, token: &str) -> Output {
        let mut command = process::command("humeconfig");
        command.args(["join", "-", "--host", host, "--out"]).arg(self.host_dir(host));
        process::run_with_input(&mut command, token.as_bytes())
    }

    /// The agent of a host that has joined. Not started.
    pub fn joined(&self, host: &str) -> Agent {
        Agent::new(Arc::clone(self.folder()), host)
    }
}
