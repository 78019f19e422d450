//! For which hosts this agent may report: its own, and those that the master named in its last Welcome, remembered over restarts.
//!
//! A host without a master is its own master and may report for any.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use hume_core::HostName;
use hume_core::host_patterns::HostPatterns;
use hume_runtime::files;
use tracing::{info, warn};

const FILE_NAME: &str = "allowed-hosts";
/// So many patterns are named in a refusal.
const NAMED_MAX: usize = 5;

/// The rule, shared by those who ask and those who are told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hosts {
    own: HostName,
    allowed: Arc<RwLock<HostPatterns>>,
    /// Where it is remembered; nowhere on a host alone.
    file: Option<PathBuf>,
}

impl Hosts {
    /// Of an agent without a master.
    pub fn alone(own: HostName) -> Hosts {
        Hosts { own, allowed: Arc::new(RwLock::new(HostPatterns::any())), file: None }
    }

    /// Of an agent with a master: what it last said stands in this folder. Before its first word, and when that cannot be read, the
    /// own host alone.
    pub fn open(own: HostName, folder: &Path) -> Hosts {
        let path = folder.join(FILE_NAME);
        let allowed = match std::fs::read_to_string(&path) {
            Ok(text) => HostPatterns::from_texts(text.lines()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HostPatterns::default(),
            Err(error) => {
                warn!(path = %path.display(), %error, "which other hosts may be reported for is not known until the master says it");
                HostPatterns::default()
            }
        };
        Hosts { own, allowed: Arc::new(RwLock::new(allowed)), file: Some(path) }
    }

    /// Whether events of this host are taken; if not, the words to say so.
    ///
    /// # Errors
    /// The words.
    pub fn check(&self, host: &HostName) -> Result<(), String> {
        // Every statement leaves it whole.
        let allowed = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        if *host == self.own || allowed.allow(host) {
            return Ok(());
        }
        let mut named = allowed.texts();
        named.truncate(NAMED_MAX);
        let may = match named.as_slice() {
            [] => format!("for {} alone", self.own),
            some => format!("for {}", some.join(", ")),
        };
        Err(format!(
            "this agent may not report for host \"{host}\", but {may}: `humeconfig agents allow-host` on the master changes that"
        ))
    }

    /// The master says for which. Remembered before this returns, if the disk lets it.
    pub fn learn(&self, said: &HostPatterns) {
        {
            let mut allowed = self.allowed.write().unwrap_or_else(PoisonError::into_inner);
            if *allowed == *said {
                return;
            }
            allowed.clone_from(said);
        }
        let texts = said.texts();
        info!(hosts = texts.join(", "), "the master says for which hosts this agent may report");
        let Some(path) = &self.file else { return };
        if let Err(error) = files::write(path, format!("{}\n", texts.join("\n")).as_bytes(), 0o600) {
            warn!(error = &error as &dyn std::error::Error, "it is not remembered over a restart");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    #[test]
    fn what_the_master_allowed_holds_over_a_restart_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = Hosts::open(host("web1"), dir.path());
        assert!(hosts.check(&host("web1")).is_ok());
        let why = hosts.check(&host("printer")).unwrap_err();
        assert!(why.contains("\"printer\", but for web1 alone: `humeconfig agents allow-host`"), "{why}");
        hosts.learn(&HostPatterns::from_texts(["web1", "print*"]));
        for hosts in [hosts, Hosts::open(host("web1"), dir.path())] {
            assert!(hosts.check(&host("printer")).is_ok());
            let why = hosts.check(&host("db1")).unwrap_err();
            assert!(why.contains("\"db1\", but for web1, print*"), "{why}");
            assert!(hosts.check(&host("web1")).is_ok());
        }
    }

    #[test]
    fn a_damaged_file_allows_the_own_host_alone_and_a_host_without_a_master_allows_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), [0xff, 0xfe]).unwrap();
        let hosts = Hosts::open(host("web1"), dir.path());
        assert!(hosts.check(&host("web1")).is_ok() && hosts.check(&host("x")).is_err());
        assert!(Hosts::alone(host("web1")).check(&host("x")).is_ok());
    }
}
