//! Why nothing was made, what to do about it, and the exit code that scripts see.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use hume_core::ErrorClass;
use hume_runtime::config::ConfigError;
use hume_runtime::exit;
use hume_runtime::files::FileError;
use hume_runtime::pki::join::TokenError;
use hume_runtime::pki::{CaFolderError, PkiError};
use hume_runtime::socket::SocketError;
use hume_runtime::tls::TlsError;

use crate::change::ChangeError;
use crate::from_url::FromUrlError;
use crate::set::SetError;
use crate::systemd::InstallError;
use crate::wizard::WizardError;

/// A run that made nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// `init` found a site.
    #[error(
        "{} exists already: its agents trust the CA that is there; choose another --dir, or add --force to replace it",
        path.display()
    )]
    SiteExists {
        /// What was found.
        path: PathBuf,
    },
    /// `agent` found an agent.
    #[error("{} exists already: choose another --out, or add --force to replace it", path.display())]
    AgentExists {
        /// What was found.
        path: PathBuf,
    },
    /// `api-cert` found what it would make.
    #[error("{} exists already, and nothing was made: choose another --out, or move it away", path.display())]
    PassExists {
        /// What was found.
        path: PathBuf,
    },
    /// `--out` is the master's own folder.
    #[error("{} holds the CA key of a master: choose another --out for the agent", path.display())]
    OutIsMaster {
        /// The folder.
        path: PathBuf,
    },
    /// `--dir` is no site.
    #[error("{} does not exist: run `humeconfig init --by-hand --dir {}` first; without --by-hand the master makes the certificates, and hosts join with a token", path.display(), dir.display())]
    NoSite {
        /// The file that is missing.
        path: PathBuf,
        /// The folder that was named.
        dir: PathBuf,
    },
    /// The master's address cannot be told from its configuration.
    #[error("{} lets the kernel choose the port of the relay: say where the master is with --master HOST:PORT", path.display())]
    NoPort {
        /// The configuration.
        path: PathBuf,
    },
    /// The master's configuration has a wrong address.
    #[error("relay.listen in {} is `{found}`: expected an IP address and a port", path.display())]
    Listen {
        /// The configuration.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The master's configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the site cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate or key of the site cannot be used.
    #[error("could not use {}", path.display())]
    Authority {
        /// The CA certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: PkiError,
    },
    /// The site's certificates cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The master could not make such a CA.
    #[error(transparent)]
    Ca(#[from] CaFolderError),
    /// The folder's path is too long for its sockets.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A file or folder could not be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// A configuration was not changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The flags cannot be carried out.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The configuration of a server was not taken.
    #[error(transparent)]
    FromUrl(#[from] FromUrlError),
    /// The service was not installed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The wizard came to no end.
    #[error(transparent)]
    Wizard(#[from] WizardError),
    /// The master of this machine cannot be asked.
    #[error("could not ask the master on {}: {}", socket.display(), hint_of(source.kind(), dir))]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Where its configuration was looked for.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The agent of this host cannot be asked.
    #[error("could not ask the agent on {}: is it running, and is this its socket (--socket)?", socket.display())]
    AgentUnreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The agent says no.
    #[error("the agent says: {detail}")]
    AgentRefused {
        /// Whose fault it is.
        class: ErrorClass,
        /// Why.
        detail: String,
    },
    /// The words of `watch` contradict each other.
    #[error("{0}")]
    Expectation(String),
    /// Crontabs and timers say something else than the watches.
    #[error(
        "{drifted} differ: `humeconfig watch import --create` goes by the crontabs and timers, `hume watch --never` ends a watch"
    )]
    Drifted {
        /// So many.
        drifted: usize,
    },
    /// The master says no.
    #[error("the master says: {detail}")]
    Refused {
        /// Whose fault it is.
        class: ErrorClass,
        /// Why.
        detail: String,
    },
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no token.
    #[error("a token is needed: `humeconfig token new` on the master makes one")]
    NoToken,
    /// The name of this machine cannot be that of a host.
    #[error("the name of this machine cannot be a host's ({why}): say which it is with --host")]
    Machine {
        /// Why.
        why: String,
    },
    /// The master of a token cannot be asked.
    #[error("could not ask the master at {address}: the same command may be tried again")]
    Unreached {
        /// Where the token says that it is.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else answers.
    #[error("what answers at {address} is not the master of this token; nothing was told to it")]
    NotTheMaster {
        /// Where the token says that the master is.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The master's answer cannot be used.
    #[error("the master's answer {why}: nothing was written")]
    WrongAnswer {
        /// What is wrong; continues the sentence.
        why: &'static str,
    },
    /// Nobody approved the agent in time.
    #[error("nobody has approved this host yet: run the same command again when somebody has")]
    NotApproved,
    /// No agent is called so.
    #[error("there is no agent `{name}`: `humeconfig agents list` names them")]
    NoAgent {
        /// What was asked for.
        name: String,
    },
    /// The key of the root would stand on a screen.
    #[error(
        "the key of the root is not shown on a terminal unless you ask for it with `-`: name a file, such as `humeconfig ca export-root hume-root.key`"
    )]
    KeyOnTerminal,
    /// The key of the root would be nowhere.
    #[error(
        "--remove wants a file that can be read back before the key goes: `humeconfig ca export-root --remove FILE`"
    )]
    NoCopy,
    /// A file is in the way of the key.
    #[error("{} exists already and holds something else: choose another name, nothing was changed", path.display())]
    KeyFileExists {
        /// The file.
        path: PathBuf,
    },
    /// The steps could not be told; all of them were done.
    #[error("could not write to the standard output, though everything was made")]
    Output(#[source] io::Error),
}

/// What to do about a master that cannot be asked.
fn hint_of(kind: io::ErrorKind, dir: &Path) -> String {
    if kind == io::ErrorKind::PermissionDenied {
        return "run this as root or as the master's user".to_owned();
    }
    let file = dir.join("master.toml");
    if file.exists() {
        return "is it running?".to_owned();
    }
    format!("there is no {}: name the master's folder with --dir", file.display())
}

impl Failure {
    /// The code of sysexits(3) for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Pki(PkiError::Name(_) | PkiError::TrustDomain(_))
            | Failure::Ca(CaFolderError::Pki(PkiError::Name(_) | PkiError::TrustDomain(_)))
            | Failure::OutIsMaster { .. }
            | Failure::KeyOnTerminal
            | Failure::NoCopy
            | Failure::NoToken
            | Failure::Expectation(_)
            | Failure::Machine { .. } => exit::USAGE,
            Failure::SiteExists { .. }
            | Failure::AgentExists { .. }
            | Failure::KeyFileExists { .. }
            | Failure::PassExists { .. }
            | Failure::Socket(_)
            | Failure::File(_) => exit::CANNOT_CREATE,
            Failure::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                exit::NO_PERMISSION
            }
            Failure::Unreachable { source, .. } | Failure::AgentUnreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                exit::NO_PERMISSION
            }
            Failure::Unreachable { .. } | Failure::AgentUnreachable { .. } | Failure::Unreached { .. } => {
                exit::UNAVAILABLE
            }
            Failure::NoAgent { .. } => exit::NO_INPUT,
            Failure::Token(_) => exit::DATA,
            Failure::NotTheMaster { .. } => exit::NO_PERMISSION,
            Failure::NotApproved => exit::TEMPORARY,
            Failure::Refused { class, .. } | Failure::AgentRefused { class, .. } => match class {
                ErrorClass::Invalid => exit::USAGE,
                ErrorClass::Unauthenticated | ErrorClass::Denied => exit::NO_PERMISSION,
                ErrorClass::NotFound => exit::NO_INPUT,
                ErrorClass::Conflict | ErrorClass::Full | ErrorClass::Busy => exit::TEMPORARY,
                ErrorClass::Unavailable => exit::UNAVAILABLE,
                ErrorClass::Internal => exit::SOFTWARE,
            },
            Failure::Read { .. } | Failure::Output(_) => exit::IO,
            Failure::Drifted { .. }
            | Failure::NoSite { .. }
            | Failure::NoPort { .. }
            | Failure::Listen { .. }
            | Failure::Config(_)
            | Failure::Authority { .. }
            | Failure::Tls(_) => exit::CONFIG,
            Failure::Pki(_) | Failure::Ca(_) | Failure::WrongAnswer { .. } => exit::SOFTWARE,
            Failure::Change(error) => error.exit_code(),
            Failure::Set(error) => error.exit_code(),
            Failure::Wizard(error) => error.exit_code(),
            Failure::Install(error) => error.exit_code(),
            Failure::FromUrl(error) => error.exit_code(),
        }
    }

    /// The failure and its causes, on one line.
    pub fn explained(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        if let Failure::File(error) = self {
            text.push_str(match error.source.kind() {
                io::ErrorKind::PermissionDenied => "; choose a folder you may write to, or become its owner",
                io::ErrorKind::StorageFull => "; make room and run this again, nothing was changed",
                _ => "; nothing was changed",
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_ask_the_master_is_told_what_to_do() {
        let nowhere = Path::new("/nonexistent");
        let told = |kind, dir| hint_of(kind, dir);
        assert_eq!(
            told(io::ErrorKind::PermissionDenied, nowhere),
            "run this as root or as the master's user"
        );
        let forgotten = told(io::ErrorKind::NotFound, nowhere);
        assert_eq!(forgotten, "there is no /nonexistent/master.toml: name the master's folder with --dir");
        let site = tempfile::tempdir().unwrap();
        std::fs::write(site.path().join("master.toml"), "").unwrap();
        assert_eq!(told(io::ErrorKind::NotFound, site.path()), "is it running?");
    }
}
