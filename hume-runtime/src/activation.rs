//! Sockets that whoever starts a daemon has bound for it: they stay open while the daemon is away, so a restart refuses nobody.
//!
//! The protocol is that of `sd_listen_fds(3)`: `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`. A socket taken from here belongs to
//! the one who bound it: it is never removed, and its mode never changed.

use std::io;
use std::os::unix::net::UnixListener;

use rustix::net::sockopt;

/// What was inherited cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The variables make no sense, or there is something else than sockets.
    #[error("the sockets this program was started with (LISTEN_FDS) cannot be used")]
    Given(#[source] io::Error),
    /// More than one socket, and none of the name.
    #[error(
        "this program was started with {count} sockets, none of which is called `{name}` (FileDescriptorName)"
    )]
    NotNamed {
        /// How many.
        count: usize,
        /// The name that was looked for.
        name: &'static str,
    },
    /// It is no listening one.
    #[error("the socket this program was started with does not listen")]
    NotListening,
}

/// The listening socket of this name, or the only one there is; none when the program was started with none.
///
/// To be called once, at the start, before there are threads: the sockets are owned from then on, and the variables are gone,
/// so that no child takes them for its own.
/// # Errors
/// [`ActivationError`].
pub fn take(name: &'static str) -> Result<Option<UnixListener>, ActivationError> {
    let names: Vec<String> =
        sd_notify::listen_fds_with_names().map_err(ActivationError::Given)?.map(|(_, name)| name).collect();
    let Some(place) = place(&names, name)? else { return Ok(None) };
    let taken = listenfd::ListenFd::from_env().take_unix_listener(place).map_err(ActivationError::Given)?;
    let Some(listener) = taken else { return Ok(None) };
    match sockopt::socket_acceptconn(&listener) {
        Ok(true) => {}
        Ok(false) => return Err(ActivationError::NotListening),
        Err(error) => return Err(ActivationError::Given(error.into())),
    }
    listener.set_nonblocking(true).map_err(ActivationError::Given)?;
    Ok(Some(listener))
}

/// Which of them it is.
fn place(names: &[String], wanted: &'static str) -> Result<Option<usize>, ActivationError> {
    match names {
        [] => Ok(None),
        [_] => Ok(Some(0)),
        many => match many.iter().position(|name| name == wanted) {
            Some(place) => Ok(Some(place)),
            None => Err(ActivationError::NotNamed { count: many.len(), name: wanted }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_socket_is_meant_whatever_its_name_and_of_several_the_named_one() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(place(&[], "hume").unwrap(), None);
        assert_eq!(place(&names(&["unknown"]), "hume").unwrap(), Some(0));
        assert_eq!(place(&names(&["api", "hume"]), "hume").unwrap(), Some(1));
        let error = place(&names(&["a", "b"]), "hume").unwrap_err().to_string();
        assert!(error.contains("2 sockets") && error.contains("`hume`"), "{error}");
    }

    #[test]
    fn a_program_that_was_started_with_none_has_none() {
        assert!(take("hume").unwrap().is_none());
    }
}
