//! The configuration file: one section per room, every key with a default, unknown keys refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hume_core::policy::Policies;
use hume_core::watch::Watches;
use hume_runtime::config::{self, ConfigError};
use hume_runtime::log::LogConfig;
use hume_transfer::Transfers;
use serde::{Deserialize, Deserializer, de};

use crate::enroll::EnrollConfig;
use crate::relay::RelayConfig;
use crate::store::{RetentionConfig, StoreConfig};
use crate::watchdog::WatchdogConfig;
use crate::web::WebConfig;

/// No certificate is shorter-lived.
const CERTIFICATE_LIFE_MIN: Duration = Duration::from_mins(1);

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where agents connect.
    pub relay: RelayConfig,
    /// Where questions are asked.
    pub web: WebConfig,
    /// Where hosts join.
    pub enroll: EnrollConfig,
    /// The master's own CA.
    pub ca: CaConfig,
    /// Certificates of another CA; hosts cannot join then.
    pub tls: Option<TlsConfig>,
    /// Where events are kept.
    pub store: StoreConfig,
    /// What of them may go.
    pub retention: RetentionConfig,
    /// What is expected of the runs of tasks.
    pub runs: Policies,
    /// When tasks should run.
    pub watch: Watches,
    /// What silence means.
    pub watchdog: WatchdogConfig,
    /// Whom to tell.
    pub transfer: Transfers,
    /// What is logged.
    pub log: LogConfig,
}

/// The section `[ca]`: the CA that the master makes and uses, unless there is `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaConfig {
    /// The folder; `.pem` beside it is the root's certificate, for everybody.
    pub path: PathBuf,
    /// The site's name in all certificates.
    pub trust_domain: String,
    /// Names and addresses under which agents and people reach the master; none is the machine's name.
    pub names: Vec<String>,
    /// How long an agent's certificate lasts.
    #[serde(deserialize_with = "life")]
    pub certificate_life: Duration,
}

impl Default for CaConfig {
    fn default() -> CaConfig {
        CaConfig {
            path: PathBuf::from("/var/lib/humed-master/ca"),
            trust_domain: "hume".to_owned(),
            names: Vec::new(),
            // A host that was off for longer recovers within `enroll.grace`.
            certificate_life: Duration::from_hours(7 * 24),
        }
    }
}

fn life<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    hume_core::duration::parse(&text).filter(|life| *life >= CERTIFICATE_LIFE_MIN).ok_or_else(|| {
        de::Error::custom("`certificate_life` must be a duration of a minute or more, such as \"7d\"")
    })
}

/// The section `[tls]`: one certificate for both ports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The CA that agents' certificates must come from.
    pub ca: PathBuf,
    /// The master's certificate, with intermediates if there are any.
    pub certificate: PathBuf,
    /// Its private key, readable by its owner alone.
    pub key: PathBuf,
}

impl Default for TlsConfig {
    fn default() -> TlsConfig {
        TlsConfig {
            ca: PathBuf::from("/etc/hume/pki/ca.pem"),
            certificate: PathBuf::from("/etc/hume/pki/master.pem"),
            key: PathBuf::from("/etc/hume/pki/master.key"),
        }
    }
}

/// Reads the file; relative paths in it are relative to its folder.
/// # Errors
/// [`ConfigError`], whose text is for the administrator as it stands.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    Ok(resolve(path, config::load(path)?))
}

fn resolve(file: &Path, config: Config) -> Config {
    let Config { relay, mut web, enroll, ca, tls, store, retention, runs, watch, watchdog, transfer, log } =
        config;
    let path = |path: &Path| config::resolve(file, path);
    web.socket = path(&web.socket);
    let ca = CaConfig { path: path(&ca.path), ..ca };
    let tls = tls.map(|tls| TlsConfig {
        ca: path(&tls.ca),
        certificate: path(&tls.certificate),
        key: path(&tls.key),
    });
    let store = StoreConfig { path: path(&store.path), ..store };
    Config { relay, web, enroll, ca, tls, store, retention, runs, watch, watchdog, transfer, log }
}

/// Sections that differ and take effect only after a restart, by name. Certificates, watches and transfers do not need one.
pub fn needs_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        relay,
        web,
        enroll,
        ca,
        tls: _,
        store,
        retention,
        runs,
        watch: _,
        watchdog,
        transfer: _,
        log,
    } = running;
    let differing = [
        ("relay", *relay != new.relay),
        ("web", *web != new.web),
        ("enroll", *enroll != new.enroll),
        ("ca", *ca != new.ca),
        ("store", *store != new.store),
        ("retention", *retention != new.retention),
        ("runs", *runs != new.runs),
        ("watchdog", *watchdog != new.watchdog),
        ("log", *log != new.log),
    ];
    differing.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::TaskName;

    const EXAMPLE: &str = include_str!("../master.example.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        config::parse(Path::new("/etc/hume/master.toml"), text)
    }

    #[test]
    fn the_example_says_what_holds_without_it() {
        assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
    }

    #[test]
    fn every_key_of_the_example_is_a_key_and_stands_with_its_default() {
        // `#key = value` is a default, `# words` is text, and `#[[section]]` is an example without a default.
        let is_setting = |line: &&str| {
            line.strip_prefix('#')
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
        };
        assert!(EXAMPLE.lines().filter(is_setting).count() >= 10);
        let plain = EXAMPLE.lines().map(|line| if is_setting(&line) { &line[1..] } else { line });
        let text = plain.collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&text).unwrap(), Config::default());
        let is_example = |line: &&str| line.starts_with("#  ") && line.contains(" = ");
        let examples = text.lines().map(|line| if is_example(&line) { &line[1..] } else { line });
        let text = examples.collect::<Vec<_>>().join("\n").replace("#[", "[");
        let config = parse(&text).unwrap();
        assert_eq!(config.web.token.len(), 1);
        assert_eq!(config.tls, Some(TlsConfig::default()));
        assert_ne!(config.runs, Policies::default());
        let task = TaskName::parse("BACKUP_DB").unwrap();
        assert_eq!(config.runs.of(&task), Policies::default().of(&task), "its values are the defaults");
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = parse("[store]\npath = \"state/store.db\"\n[web]\nsocket = \"run/api.sock\"\n").unwrap();
        let config = resolve(Path::new("/site/master.toml"), config);
        assert_eq!(config.store.path, Path::new("/site/state/store.db"));
        assert_eq!(config.web.socket, Path::new("/site/run/api.sock"));
        assert_eq!(config.ca.path, Path::new("/var/lib/humed-master/ca"));
        let config = resolve(Path::new("/site/master.toml"), parse("[tls]\nca = \"pki/ca.pem\"\n").unwrap());
        assert_eq!(config.tls.unwrap().ca, Path::new("/site/pki/ca.pem"));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_nearest_one() {
        let error =
            parse("[relay]\nlisten = \"127.0.0.1:1\"\n[web]\nsokcet = \"x\"\n").unwrap_err().to_string();
        assert_eq!(error, "/etc/hume/master.toml:4:1: unknown key `sokcet`, did you mean `socket`?");
    }

    #[test]
    fn a_token_is_refused_unless_it_is_a_digest() {
        let error =
            parse("[[web.token]]\nname = \"admin\"\nsha256 = \"hume_secret\"\n").unwrap_err().to_string();
        assert!(error.starts_with("/etc/hume/master.toml:3:10: "), "{error}");
        assert!(!error.contains("hume_secret"), "{error}");
    }

    #[test]
    fn certificates_need_no_restart_and_the_rest_is_named() {
        let running = Config::default();
        let mut new = Config {
            tls: Some(TlsConfig { ca: PathBuf::from("x"), ..TlsConfig::default() }),
            ..Config::default()
        };
        assert!(needs_restart(&running, &new).is_empty());
        new.store.path = PathBuf::from("y");
        new.relay.listen = ([127, 0, 0, 1], 1).into();
        assert_eq!(needs_restart(&running, &new), ["relay", "store"]);
    }
}
