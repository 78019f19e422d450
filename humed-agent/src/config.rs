//! agent.toml: a section for each room. Unknown keys are refused; relative paths are relative to the file.

use std::path::{Path, PathBuf};

use hume_core::policy::Policies;
use hume_core::{BoundError, HostName, Tag};
use hume_proto::relay::HOST_TAGS_MAX;
use hume_runtime::config::{self, ConfigError};
use hume_runtime::log::LogConfig;
use hume_transfer::Transfers;
use serde::Deserialize;

use crate::{intake, redact, spool, uplink, web};

/// All of agent.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of this host in events; the machine's name when missing.
    pub host: Option<HostName>,
    /// Tags of this host, by which watches at the master can choose it.
    pub tags: HostTags,
    /// Where scripts report.
    pub intake: intake::Config,
    /// What is hidden in them.
    pub redact: redact::Config,
    /// Where events are kept.
    pub spool: spool::Config,
    /// Where local questions are asked.
    pub web: web::Config,
    /// What is expected of the runs of tasks.
    pub runs: Policies,
    /// Whom to replicate to; without it the agent is complete alone.
    pub master: Option<uplink::Config>,
    /// Whom to tell.
    pub transfer: Transfers,
    /// What is logged.
    pub log: LogConfig,
}

/// Tags of a host: at most [`HOST_TAGS_MAX`], each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Tag>")]
pub struct HostTags(Vec<Tag>);

impl TryFrom<Vec<Tag>> for HostTags {
    type Error = BoundError;

    fn try_from(tags: Vec<Tag>) -> Result<HostTags, BoundError> {
        if tags.len() > HOST_TAGS_MAX {
            let why = format!("has {} tags; a host has at most {HOST_TAGS_MAX}", tags.len());
            return Err(BoundError::new("tags", why));
        }
        if let Some((_, double)) = tags.iter().enumerate().find(|(at, tag)| tags[..*at].contains(tag)) {
            return Err(BoundError::new("tags", format!("has `{double}` twice")));
        }
        Ok(HostTags(tags))
    }
}

impl From<HostTags> for Vec<Tag> {
    fn from(HostTags(tags): HostTags) -> Vec<Tag> {
        tags
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line, column and the nearest known key.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Ok(config::load::<Config>(path)?.relative_to(path))
    }

    fn relative_to(mut self, file: &Path) -> Config {
        let resolve = |path: &mut PathBuf| *path = config::resolve(file, path);
        resolve(&mut self.intake.socket);
        resolve(&mut self.intake.drop_dir);
        resolve(&mut self.spool.dir);
        resolve(&mut self.web.socket);
        if let Some(master) = &mut self.master {
            resolve(&mut master.ca);
            resolve(&mut master.certificate);
            resolve(&mut master.key);
        }
        self
    }

    /// The host's name: as configured, else the machine's, else `localhost`.
    pub fn host(&self) -> HostName {
        let machine = || HostName::parse(&rustix::system::uname().nodename().to_string_lossy()).ok();
        let fallback = || HostName::parse("localhost").ok();
        self.host
            .clone()
            .or_else(machine)
            .or_else(fallback)
            .unwrap_or_else(|| unreachable!("`localhost` is a host name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../agent.example.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        config::parse(Path::new("agent.toml"), text)
    }

    #[test]
    fn the_example_is_the_default() {
        assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
    }

    #[test]
    fn every_key_of_the_example_is_known_and_stands_with_its_default() {
        let uncommented: Vec<&str> = EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ").or(line.strip_prefix('#')) {
                Some(rest)
                    if rest.starts_with('[')
                        || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) =>
                {
                    rest
                }
                _ => line,
            })
            .collect();
        let Config { host, tags, intake, redact, spool, web, runs, master, transfer, log } =
            parse(&uncommented.join("\n")).unwrap();
        // Three have no default, and one is the machine's.
        let needed = "[master]\naddress = \"127.0.0.1:4863\"\nserver_name = \"hume.example.net\"\n\
                      enroll_address = \"hume.example.net:4865\"";
        assert_eq!((host.is_some(), master), (true, parse(needed).unwrap().master));
        let task = hume_core::TaskName::parse("BACKUP_DB").unwrap();
        // Like a section of runs, a reserved task is shown; and what there is none of by default.
        assert_eq!(
            (intake.allow.len(), intake.socket_group.is_some(), intake.auth_token.is_some()),
            (1, true, true)
        );
        let intake = intake::Config { allow: Vec::new(), socket_group: None, auth_token: None, ..intake };
        assert_ne!(runs, Policies::default());
        assert_eq!(runs.of(&task), Policies::default().of(&task));
        assert_eq!(tags, HostTags::default());
        let rest = Config { intake, redact, spool, web, transfer, log, ..Config::default() };
        assert_eq!(rest, Config::default());
    }

    fn is_key(text: &str) -> bool {
        text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = parse("[intake]\nsocket = \"run/hume.sock\"")
            .unwrap()
            .relative_to(Path::new("/etc/hume/agent.toml"));
        assert_eq!(config.intake.socket, Path::new("/etc/hume/run/hume.sock"));
        assert_eq!(config.intake.drop_dir, Path::new("/var/spool/hume/drop"));
    }

    #[test]
    fn tags_of_the_host_are_tags_each_once() {
        let tags = parse("tags = [\"nightly\", \"db\"]").unwrap().tags;
        assert_eq!(Vec::from(tags).len(), 2);
        let many: Vec<String> = (0..=HOST_TAGS_MAX).map(|number| format!("\"t{number}\"")).collect();
        for (text, words) in [
            ("tags = [\"a\", \"b\", \"a\"]".to_owned(), "has `a` twice"),
            ("tags = [\"a,b\"]".to_owned(), "tags must not contain a comma"),
            ("tags = \"a\"".to_owned(), "expected a sequence"),
            (format!("tags = [{}]", many.join(", ")), "has 33 tags; a host has at most 32"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_nearest_one() {
        let error = parse("[intake]\nsockett = \"x\"").unwrap_err().to_string();
        assert!(error.contains("agent.toml:2:1") && error.contains("`socket`"), "{error}");
    }
}
