//! Why a configuration was not changed.

use std::io;
use std::path::PathBuf;

use hume_runtime::config::ConfigError;
use hume_runtime::exit;
use hume_runtime::files::FileError;

use super::Daemon;

/// Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another `humeconfig` is at work.
    #[error("another humeconfig is changing files in {}: run this again when it has ended", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// It was changed after it was read.
    #[error("{} was changed by somebody else meanwhile: run this again", path.display())]
    Meanwhile {
        /// The configuration.
        path: PathBuf,
    },
    /// A link, a folder, a device.
    #[error("{} is no regular file: name the file itself with --config", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is no TOML, or not of the shape that it should be.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The configuration.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The daemon refuses what would be written.
    #[error("{} would refuse it: {reason}; nothing was changed", daemon.program())]
    Refused {
        /// Which.
        daemon: Daemon,
        /// Its own words.
        reason: String,
    },
    /// There is no daemon to judge it.
    #[error("{} is not installed here, and it must judge its configuration first: name it with --check-with PROGRAM", daemon.program())]
    NoChecker {
        /// Which.
        daemon: Daemon,
    },
    /// The daemon could not be asked.
    #[error("could not run {}", program.display())]
    Checker {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ChangeError {
    /// The code of sysexits(3) for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            ChangeError::Busy { .. } | ChangeError::Meanwhile { .. } => exit::TEMPORARY,
            ChangeError::Config(ConfigError::Read { source, .. })
            | ChangeError::File(FileError { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                exit::NO_PERMISSION
            }
            ChangeError::Config(ConfigError::Read { .. }) => exit::IO,
            ChangeError::NotAFile { .. } | ChangeError::File(_) => exit::CANNOT_CREATE,
            ChangeError::Config(_)
            | ChangeError::Content { .. }
            | ChangeError::Refused { .. }
            | ChangeError::NoChecker { .. }
            | ChangeError::Checker { .. } => exit::CONFIG,
        }
    }
}
