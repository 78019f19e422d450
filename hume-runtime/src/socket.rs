//! Unix sockets that daemons listen on: a clear error for a path that is too long, a stale socket taken over.
//!
//! A socket file is removed only after a connection to it was refused, so a second daemon never steals the socket of a
//! running one.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::files::{self, FileError};

/// The kernel's `sun_path` has 108 bytes with the final zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

const FOLDER_MODE: u32 = 0o755;

/// No socket was made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error("the socket path {} has {bytes} bytes, the limit is {SOCKET_PATH_BYTES_MAX}: choose a shorter folder", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Somebody answers on it.
    #[error("{} is in use: another process listens there", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is a file of another kind.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A step failed.
    #[error("could not {step} the socket {}", path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// The path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Its folder or mode could not be set up.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Whether `path` fits into a socket address.
/// # Errors
/// [`SocketError::TooLong`].
pub fn check_path(path: &Path) -> Result<(), SocketError> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(SocketError::TooLong { path: path.to_owned(), bytes });
    }
    Ok(())
}

/// Listens on `path` with exactly `mode`; makes its folder if that is missing. Needs a tokio runtime.
pub fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    check_path(path)?;
    if let Some(folder) = path.parent() {
        files::create_dir(folder, FOLDER_MODE)?;
    }
    remove_stale(path)?;
    let failed = |step| move |source| SocketError::Step { step, path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    files::set_mode(path, mode)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |step| move |source| SocketError::Step { step, path: path.to_owned(), source };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
    };
    if !kind.is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("remove"))
        }
        Err(error) => Err(failed("try")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_path_that_is_too_long_is_named_with_its_length_and_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(120)).join("hume.sock");
        let bytes = path.as_os_str().len();
        let error = bind_unix(&path, 0o666).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the socket path {} has {bytes} bytes, the limit is 107: choose a shorter folder",
                path.display()
            )
        );
        assert!(check_path(Path::new(&"x".repeat(107))).is_ok());
        assert!(check_path(Path::new(&"x".repeat(108))).is_err());
    }

    #[tokio::test]
    async fn a_socket_gets_its_folder_and_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/hume.sock");
        let _listener = bind_unix(&path, 0o666).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    }

    #[tokio::test]
    async fn a_socket_in_use_is_left_alone_and_a_stale_one_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hume.sock");
        let first = bind_unix(&path, 0o600).unwrap();
        assert!(matches!(bind_unix(&path, 0o600), Err(SocketError::InUse { .. })));
        drop(first);
        assert!(path.exists());
        bind_unix(&path, 0o600).unwrap();
    }

    #[tokio::test]
    async fn a_file_of_another_kind_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hume.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind_unix(&path, 0o600), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
