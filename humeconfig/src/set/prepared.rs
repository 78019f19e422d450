//! Wishes for one file, worked out and not yet made: shown first, then judged and put in place.

use std::path::PathBuf;

use hume_runtime::{clock, config};

use super::edit;
use super::wish::Wish;
use crate::change::{ChangeError, Checker, ConfigFile, Daemon, Draft};
use crate::report::{Report, shell};

/// What a webhook's file is called in what is said.
const WEBHOOK: &str = "a webhook, for its reader alone";

/// A file, locked, and what it shall be.
pub(crate) struct Prepared {
    file: ConfigFile,
    draft: Draft,
    /// Transfers that were asked for.
    names: Vec<String>,
    moves_socket: bool,
}

impl Prepared {
    /// Reads the file; if there is none, it begins with `beginning`.
    pub(crate) fn new(
        daemon: Daemon,
        path: PathBuf,
        beginning: &str,
        wishes: &[Wish],
        name: Option<&str>,
    ) -> Result<Prepared, ChangeError> {
        let file = ConfigFile::open(daemon, path)?;
        let program = daemon.program();
        let before = if file.exists() {
            file.text().to_owned()
        } else {
            format!(
                "# {program}, made by humeconfig. Relative paths are relative to this file; all keys: docs/OPERATIONS.md.\n{beginning}"
            )
        };
        // Said with line and column.
        config::parse::<toml::Table>(file.path(), &before)?;
        let edited = edit::edit(&before, wishes, name)
            .map_err(|reason| ChangeError::Content { path: file.path().to_owned(), reason })?;
        let draft =
            Draft { text: edited.text, trial: edited.trial, secrets: edited.secrets, is_secret: false };
        let moves_socket = wishes
            .iter()
            .any(|wish| matches!(wish, Wish::Key { section: Some("intake"), key: "socket", .. }));
        Ok(Prepared { file, draft, names: edited.names, moves_socket })
    }

    /// The whole file shall be this text, which may hold secrets.
    pub(crate) fn whole(daemon: Daemon, path: PathBuf, text: String) -> Result<Prepared, ChangeError> {
        let file = ConfigFile::open(daemon, path)?;
        let draft = Draft { trial: text.clone(), text, secrets: Vec::new(), is_secret: true };
        Ok(Prepared { file, draft, names: Vec::new(), moves_socket: false })
    }

    /// Whether all of it is so already.
    pub(crate) fn is_done(&self) -> bool {
        self.file.is_as(&self.draft)
    }

    /// Says that it is.
    pub(crate) fn say_done(&self, report: &mut Report) {
        report.line(format!("{}: all of it is so already, nothing was changed", self.file.path().display()));
    }

    /// Shows what would change, without secrets.
    pub(crate) fn show(&self, report: &mut Report) {
        report.text(self.file.diff(&self.draft.text).as_str());
        for secret in &self.draft.secrets {
            report.line(format!("{}: {WEBHOOK}", secret.path.display()));
        }
    }

    /// Makes it so, if the daemon would take it, and says what was made.
    pub(crate) fn make(&self, checker: &Checker, report: &mut Report) -> Result<(), ChangeError> {
        let done = self.file.replace(&self.draft, checker, clock::now())?;
        report
            .steps(&done, |name| if name.contains("-webhook") { WEBHOOK.to_owned() } else { String::new() });
        Ok(())
    }

    /// What to run next.
    pub(crate) fn advise(&self, report: &mut Report) {
        let program = self.file.daemon().program();
        for name in &self.names {
            report.line(format!("  {program} transfer test {name} --config {}", shell(self.file.path())));
        }
        report.line(if self.moves_socket {
            format!("  systemctl restart {program}         # and ListenStream= of humed-agent.socket names the same socket")
        } else {
            format!("  systemctl reload {program}          # or send it SIGHUP")
        });
    }
}
