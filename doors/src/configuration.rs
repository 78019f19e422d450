//! Configuration files of both daemons: a mistake is told in one line with its place; what is read can be used.

use std::path::Path;

use hume_core::duration::DURATION_MAX;
use hume_core::event::Exit;
use hume_core::policy::Policies;
use hume_core::{Level, TaskName};
use hume_runtime::config::{self, ConfigError};
use serde::de::DeserializeOwned;

pub(crate) fn agent_toml(bytes: &[u8]) {
    if let Some(config) = read::<humed_agent::config::Config>("/etc/hume/agent.toml", bytes) {
        assert!(!config.host().as_str().is_empty());
        expected(&config.runs);
        if let Some(master) = &config.master {
            assert!(master.host().len() <= master.address.len());
        }
    }
}

pub(crate) fn master_toml(bytes: &[u8]) {
    if let Some(config) = read::<humed_master::config::Config>("/etc/hume/master.toml", bytes) {
        assert!(humed_master::config::needs_restart(&config, &config).is_empty());
        expected(&config.runs);
    }
}

fn read<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    match config::parse::<T>(Path::new(path), text) {
        Ok(config) => Some(config),
        Err(error) => {
            let lines = text.matches('\n').count() + 1;
            let ConfigError::Content { line, column, .. } = &error else {
                unreachable!("not of the content: {error}")
            };
            assert!((1..=lines).contains(line) && *column >= 1, "{error}");
            let said = error.to_string();
            assert!(!said.contains(['\n', '\r']), "more than one line: {said:?}");
            None
        }
    }
}

/// Whatever the task is, its policy is one.
fn expected(policies: &Policies) {
    for task in ["", "BACKUP_DB", "é"] {
        let policy = policies.of(&TaskName::parse(task).expect("it is one"));
        assert!(policy.max_pause.is_none_or(|pause| pause <= DURATION_MAX));
        let levels = [0, 1, 255].map(|code| policy.exit_map.level(Exit::Code(code)));
        assert!(levels.iter().all(|level| Level::ALL.contains(level)));
    }
}
