//! Who gets in at all: the users whom mode and group of the socket let in, and of them those with the token, if one is asked for.
//!
//! The drop folder follows the socket, since `hume` goes there when it is not let in here. A file needs no token: its owner is
//! known by the kernel, and a token would lie on the disk in it.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::net::UnixListener as Door;
use std::path::{Path, PathBuf};

use hume_proto::intake::SocketToken;
use hume_runtime::files;
use hume_runtime::secret::{SecretError, SecretText};
use hume_runtime::socket::{self, SocketError};
use tokio::net::UnixListener;
use tracing::{info, warn};

use super::config::{Config, SocketMode};
use super::rights::{Account, Directory, UnknownAccount};

/// World-writable with the sticky bit: everybody may leave files, nobody may take another's. The group is inherited.
pub(super) const FOLDER_MODE: u32 = 0o3777;
/// Of these, what is taken from those whom the socket does not let in.
const OF_GROUP: u32 = 0o070;
const OF_OTHERS: u32 = 0o007;

/// The entrance is not what the configuration wants.
#[derive(Debug, thiserror::Error)]
pub enum EntranceError {
    /// Of `intake.socket_group`.
    #[error("intake.socket_group: this host knows no group \"{0}\"")]
    UnknownGroup(String),
    /// Of `[[intake.allow]]`.
    #[error(transparent)]
    Account(#[from] UnknownAccount),
    /// Of `intake.auth_token`.
    #[error("intake.auth_token: {0}")]
    Token(#[source] SecretError),
    /// A token that everybody has.
    #[error("intake.auth_token is empty: take the key away if no token is wanted")]
    EmptyToken,
    /// The group is not one that the agent may give.
    #[error("could not give {} the group {gid}, which the agent's user must be in (SupplementaryGroups= in its unit)", path.display())]
    Group {
        /// Socket or folder.
        path: PathBuf,
        /// Which.
        gid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Who gets in.
#[derive(Debug)]
pub(super) struct Entrance {
    mode: SocketMode,
    gid: Option<u32>,
    token: Option<SecretText>,
}

impl Entrance {
    /// As configured in `file`.
    ///
    /// # Errors
    /// [`EntranceError`] for a group that nobody knows, or a token that cannot be read.
    pub(super) fn read(
        config: &Config,
        file: &Path,
        directory: &impl Directory,
    ) -> Result<Entrance, EntranceError> {
        let gid = match &config.socket_group {
            None => None,
            Some(Account::Number(gid)) => Some(*gid),
            Some(Account::Name(name)) => {
                let found = directory.group(name).ok_or_else(|| EntranceError::UnknownGroup(name.clone()))?;
                Some(found.0)
            }
        };
        let token = config.auth_token.as_ref().map(|token| token.read(file)).transpose();
        let token = token.map_err(EntranceError::Token)?;
        if token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            return Err(EntranceError::EmptyToken);
        }
        Ok(Entrance { mode: config.socket_mode, gid, token })
    }

    /// Whether the token that came with a line is the one that is asked for, if one is.
    pub(super) fn admits(&self, shown: Option<&SocketToken>) -> bool {
        let Some(token) = &self.token else { return true };
        token.is(shown.map_or("", |SocketToken(shown)| shown))
    }

    /// Binds the socket; nobody is let in before it has its group.
    ///
    /// # Errors
    /// [`SocketError`], [`EntranceError::Group`].
    pub(super) fn bind(&self, path: &Path) -> Result<UnixListener, super::IntakeError> {
        let mode = self.mode.bits();
        let Some(gid) = self.gid else { return Ok(socket::bind_unix(path, mode)?) };
        let listener = socket::bind_unix(path, mode & !(OF_GROUP | OF_OTHERS))?;
        give(path, gid)?;
        files::set_mode(path, mode).map_err(SocketError::from)?;
        Ok(listener)
    }

    /// The socket that somebody else has bound: whether scripts look for it there, and whether it lets in who is to be let in.
    pub(super) fn inherit(&self, door: Door, expected: &Path) -> Result<UnixListener, SocketError> {
        let bound = door.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        if bound.as_deref() == Some(expected) {
            info!("the socket was open before the agent, and stays when it goes");
        } else {
            warn!(?bound, ?expected, "intake.socket is not the socket that this agent was started with");
        }
        if let Some(about) = bound.and_then(|bound| bound.symlink_metadata().ok()) {
            let is_other_group = self.gid.is_some_and(|gid| gid != about.gid());
            if about.mode() & 0o777 != self.mode.bits() || is_other_group {
                warn!(
                    mode = format!("{:04o}", about.mode() & 0o777),
                    gid = about.gid(),
                    "SocketMode= and SocketGroup= of the socket's unit decide who may report, and differ from intake.socket_mode \
                     and intake.socket_group, which decide for the drop folder"
                );
            }
        }
        let failed = |source| SocketError::Step { step: "use", path: expected.to_owned(), source };
        UnixListener::from_std(door).map_err(failed)
    }

    /// Lets into the drop folder whom the socket lets in. Where that is everybody the folder stays as it is.
    ///
    /// # Errors
    /// [`EntranceError::Group`], or the mode cannot be set.
    pub(super) fn narrow(&self, folder: &Path) -> Result<(), super::IntakeError> {
        if self.mode == SocketMode::default() {
            return Ok(());
        }
        if let Some(gid) = self.gid {
            give(folder, gid)?;
        }
        Ok(files::set_mode(folder, folder_mode(self.mode.bits())).map_err(SocketError::from)?)
    }
}

fn give(path: &Path, gid: u32) -> Result<(), EntranceError> {
    chown(path, None, Some(gid)).map_err(|source| EntranceError::Group { path: path.to_owned(), gid, source })
}

/// Of the folder beside a socket of this mode.
fn folder_mode(socket_mode: u32) -> u32 {
    let shut_out = |bits, write| if socket_mode & write == 0 { bits } else { 0 };
    FOLDER_MODE & !(shut_out(OF_GROUP, 0o020) | shut_out(OF_OTHERS, 0o002))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::rights::ThisHost;

    fn entrance(text: &str) -> Result<Entrance, EntranceError> {
        Entrance::read(&toml::from_str::<Config>(text).unwrap(), Path::new("/nowhere/agent.toml"), &ThisHost)
    }

    #[test]
    fn the_folder_lets_in_whom_the_socket_lets_in() {
        for (socket, folder) in
            [(0o666, 0o3777), (0o660, 0o3770), (0o600, 0o3700), (0o622, 0o3777), (0o606, 0o3707)]
        {
            assert_eq!(folder_mode(socket), folder, "{socket:o}");
        }
    }

    #[test]
    fn where_a_token_is_asked_for_only_that_one_is_let_in() {
        let shown = |text: &str| SocketToken(text.to_owned());
        let asks = entrance("auth_token = \"hunter2\"").unwrap();
        assert!(asks.admits(Some(&shown("hunter2"))));
        assert!(!asks.admits(Some(&shown("hunter"))) && !asks.admits(Some(&shown(""))) && !asks.admits(None));
        assert!(!format!("{asks:?} {:?}", shown("hunter2")).contains("hunter"));
        let open = entrance("").unwrap();
        assert!(open.admits(None) && open.admits(Some(&shown("whatever"))));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, words) in [
            ("auth_token = \"\"", "intake.auth_token is empty"),
            (
                "auth_token = { file = \"absent\" }",
                "intake.auth_token: could not read the secret in /nowhere/absent",
            ),
            (
                "socket_group = \"no-such-group\"",
                "intake.socket_group: this host knows no group \"no-such-group\"",
            ),
        ] {
            let error = entrance(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
