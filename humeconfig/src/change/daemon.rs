//! Which daemon reads a configuration, and its judgement of one before it is in place.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ChangeError;
use crate::child;

/// A daemon judges its configuration within this, or is ended.
const JUDGE_TIME_MAX: Duration = Duration::from_secs(30);
/// Where daemons are installed, beside the folder of `humeconfig` itself.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Daemon {
    /// `humed-agent`, agent.toml
    Agent,
    /// `humed-master`, master.toml
    Master,
}

impl Daemon {
    /// Whose configuration has this name.
    pub(crate) fn of_file(path: &Path) -> Daemon {
        if path.file_name() == Some(OsStr::new("master.toml")) { Daemon::Master } else { Daemon::Agent }
    }

    /// Where its configuration is, unless another is named.
    pub(crate) fn config(self) -> &'static Path {
        Path::new(match self {
            Daemon::Agent => "/etc/hume/agent.toml",
            Daemon::Master => "/etc/hume/master.toml",
        })
    }

    /// The program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Daemon::Agent => "humed-agent",
            Daemon::Master => "humed-master",
        }
    }

    /// As whom systemd runs it.
    pub(crate) fn user(self) -> &'static str {
        match self {
            Daemon::Agent => "hume",
            Daemon::Master => "hume-master",
        }
    }
}

/// Where the daemon is that judges.
#[derive(Clone, Debug)]
pub(crate) struct Checker(Option<PathBuf>);

impl Checker {
    /// The program that was named, else the one that is installed.
    pub(crate) fn named(program: Option<&Path>) -> Checker {
        Checker(program.map(Path::to_owned))
    }

    /// Has the daemon read `trial`, which is to become `path`.
    pub(crate) fn judge(&self, daemon: Daemon, trial: &Path, path: &Path) -> Result<(), ChangeError> {
        let program = match &self.0 {
            Some(program) => program.clone(),
            None => installed(daemon.program()).ok_or(ChangeError::NoChecker { daemon })?,
        };
        let said = ask(&program, trial).map_err(|source| ChangeError::Checker { program, source })?;
        match said {
            None => Ok(()),
            Some(said) => {
                let said = said.replace(&*trial.to_string_lossy(), &path.to_string_lossy());
                let said = said.lines().next().unwrap_or("it does not say why");
                let reason = said.strip_prefix(&format!("{}: ", daemon.program())).unwrap_or(said);
                Err(ChangeError::Refused { daemon, reason: reason.to_owned() })
            }
        }
    }
}

/// What the program says against the configuration; none if nothing.
fn ask(program: &Path, config: &Path) -> io::Result<Option<String>> {
    let mut command = Command::new(program);
    command.args([OsStr::new("check-config"), OsStr::new("--config"), config.as_os_str()]);
    let (status, said) = child::run(command.env_remove("HUME_LOG"), JUDGE_TIME_MAX)?;
    Ok((!status.success()).then_some(said))
}

/// Beside this program (as in a folder of builds, or with `bin` and `sbin` of one prefix), else where packages put it.
fn installed(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent);
    let beside = own.map(Path::to_owned).into_iter().chain(own.map(|bin| bin.with_file_name("sbin")));
    let mut all = beside.chain(FOLDERS.map(PathBuf::from)).map(|folder| folder.join(name));
    all.find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_whose_it_is() {
        assert_eq!(Daemon::of_file(Path::new("/srv/site/master.toml")), Daemon::Master);
        assert_eq!(Daemon::of_file(Path::new("/srv/site/web1.toml")), Daemon::Agent);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = Checker::named(Some(Path::new("/no/such/humed-agent")));
        let error = missing.judge(Daemon::Agent, Path::new("a"), Path::new("b")).unwrap_err();
        assert!(error.to_string().contains("/no/such/humed-agent"), "{error}");
    }
}
