//! The five transfers of hume's first README, at once on one agent: their sections of its configuration, and what came of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::guardian::Guardian;
use super::wait;
use crate::cargo::{build, cargo, target_folder};

/// Time for the receivers to listen, and for an event to reach them all.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The name among the processes, and the program's.
const NAME: &str = "hume-receivers";

/// Who receives, in the order of the README.
pub(super) const KINDS: [&str; 5] = ["slack", "syslog", "rsyslog", "logstash", "fluentd"];

/// Receivers that run.
pub(super) struct Receivers {
    folder: PathBuf,
    ca: PathBuf,
}

impl Receivers {
    /// Starts them below `folder`, with the certificate of the master in its `state`, which is for this host.
    pub(super) fn start(guardian: &mut Guardian, folder: &Path, state: &Path) -> anyhow::Result<Self> {
        let receivers = Self { folder: folder.join("receivers"), ca: state.join("ca.pem") };
        fs::create_dir(&receivers.folder).context("could not create the folder of the receivers")?;
        let mut command = Command::new(program()?);
        // One file has the certificate and its key.
        let pair = state.join("ca/master.pem");
        command.arg(&receivers.folder).arg(&pair).arg(&pair);
        guardian.start(NAME, &folder.join(format!("{NAME}.log")), &mut command)?;
        wait::until("the receivers listen", Instant::now() + TIME_MAX, || {
            if let Some(status) = guardian.ended(NAME)? {
                bail!("the receivers ended at once ({status})");
            }
            Ok(receivers.folder.join("ports").exists())
        })?;
        Ok(receivers)
    }

    /// What goes into agent.toml.
    pub(super) fn sections(&self) -> anyhow::Result<String> {
        let ports = fs::read_to_string(self.folder.join("ports")).context("could not read the ports")?;
        let port = |kind: &str| {
            let found = ports.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
            found.with_context(|| format!("{kind} does not listen"))
        };
        Ok(format!(
            "[transfer.ops.slack]\n\
             webhook = \"https://localhost:{}/services/T000/B000/demo\"\n\
             ca = \"{}\"\n\
             from = \"beginning\"\n\n\
             [transfer.local.syslog]\n\
             to = \"socket\"\n\
             socket = \"{}\"\n\
             from = \"beginning\"\n\n\
             [transfer.central.rsyslog]\n\
             address = \"tcp://127.0.0.1:{}\"\n\
             from = \"beginning\"\n\n\
             [transfer.elastic.logstash]\n\
             address = \"tcp://127.0.0.1:{}\"\n\
             from = \"beginning\"\n\n\
             [transfer.logs.fluentd]\n\
             address = \"tcp://127.0.0.1:{}\"\n\
             from = \"beginning\"\n",
            port("slack")?,
            self.ca.display(),
            self.folder.join("log.sock").display(),
            port("rsyslog")?,
            port("logstash")?,
            port("fluentd")?
        ))
    }

    /// What each of them received of the event with this text.
    /// # Errors
    /// If one of them does not in time.
    pub(super) fn wait_for(&self, text: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut received = String::new();
        let result = wait::until("all five have it", Instant::now() + TIME_MAX, || {
            received = fs::read_to_string(self.folder.join("received")).unwrap_or_default();
            found = KINDS.iter().filter_map(|kind| line_of(&received, kind, text)).collect();
            Ok(found.len() == KINDS.len())
        });
        result.with_context(|| format!("of {text:?} was received:\n{received}"))?;
        Ok(found)
    }
}

/// The line of one receiver that holds the text.
fn line_of(received: &str, kind: &str, text: &str) -> Option<String> {
    let of_kind =
        |line: &&str| line.split_once('\t').is_some_and(|(who, what)| who == kind && what.contains(text));
    received.lines().find(of_kind).map(|line| line.replacen('\t', ": ", 1))
}

fn program() -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--package", "hume-peers", "--bin", NAME]);
    build(command, NAME)?;
    Ok(target_folder()?.join("release").join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_that_of_its_receiver_alone() {
        let received = "rsyslog\tdisk full\nslack\trefused: disk\nsyslog\tdisk full\n";
        assert_eq!(line_of(received, "syslog", "disk full"), Some("syslog: disk full".to_owned()));
        assert_eq!(line_of(received, "slack", "disk full"), None);
        assert_eq!(line_of(received, "log", "disk"), None);
    }
}
