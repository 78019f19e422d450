//! A change of one configuration file: shown as a diff, judged by its daemon, then in place as a whole or not at all.
//!
//! What is replaced is kept beside it as `NAME.old-SECONDS`. Two changes of one folder at once go one after the other, and a file
//! that somebody else wrote meanwhile is not overwritten. A secret goes into a file of its own with mode 0600.

mod daemon;
mod diff;
mod error;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hume_core::Timestamp;
use hume_runtime::config::{CONFIG_BYTES_MAX, ConfigError};
use hume_runtime::files;
use hume_runtime::secret::SecretText;
use nix::unistd::User;

pub(crate) use daemon::{Checker, Daemon};
pub(crate) use diff::Diff;
pub(crate) use error::ChangeError;

use crate::staging::{Published, free_name};

/// Mode of a configuration that is made: it holds no secret.
const CONFIG_MODE: u32 = 0o644;
const SECRET_MODE: u32 = 0o600;
/// Most that others may do with a configuration that may hold secrets.
const SECRET_CONFIG_MODE: u32 = 0o640;
/// Folder of secrets beside the configuration: its names are for its owner, its files for whom they belong to.
const SECRETS_MODE: u32 = 0o711;
/// Its name.
const SECRETS: &str = "credentials";

/// A configuration file as it is now; its folder is locked until this is dropped.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    daemon: Daemon,
    path: PathBuf,
    before: Option<Before>,
    /// None if the folder does not exist yet.
    lock: Option<File>,
}

/// The file that is there.
#[derive(Debug)]
struct Before {
    text: String,
    mode: u32,
    owner: (u32, u32),
}

/// What the file shall be.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Its text.
    pub(crate) text: String,
    /// The same with the names under which the secrets lie while the daemon judges.
    pub(crate) trial: String,
    /// Whether secrets may stand in the text itself, so that nobody may read it but its owner and the daemon.
    pub(crate) is_secret: bool,
    /// What goes into files of their own.
    pub(crate) secrets: Vec<SecretFile>,
}

/// A secret on its way into a file.
#[derive(Debug)]
pub(crate) struct SecretFile {
    /// Where it shall be, as the configuration names it.
    pub(crate) path: PathBuf,
    /// Where it is meanwhile.
    pub(crate) trial: PathBuf,
    pub(crate) text: SecretText,
}

impl SecretFile {
    /// A place for the secret of this name, relative to the configuration.
    pub(crate) fn new(name: &str, text: SecretText) -> SecretFile {
        let path = Path::new(SECRETS).join(name);
        SecretFile { trial: files::temporary_beside(&path), path, text }
    }
}

impl ConfigFile {
    /// Reads the file, and keeps others from changing it.
    pub(crate) fn open(daemon: Daemon, path: PathBuf) -> Result<ConfigFile, ChangeError> {
        let folder = files::parent_of(&path);
        let read = |source| ChangeError::from(ConfigError::Read { path: path.clone(), source });
        let lock = match File::open(folder) {
            Ok(folder) => Some(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(read(error)),
        };
        if let Some(lock) = &lock {
            lock.try_lock().map_err(|_| ChangeError::Busy { path: folder.to_owned() })?;
        }
        let before = read_whole(&path)?;
        Ok(ConfigFile { daemon, path, before, lock })
    }

    /// Its daemon.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text; empty if there is none.
    pub(crate) fn text(&self) -> &str {
        self.before.as_ref().map_or("", |before| &before.text)
    }

    /// Whether there is one.
    pub(crate) fn exists(&self) -> bool {
        self.before.is_some()
    }

    /// What would change, without secrets.
    pub(crate) fn diff(&self, text: &str) -> Diff {
        Diff::between(&self.path, self.text(), text)
    }

    /// Whether file and secrets are as the draft has them.
    pub(crate) fn is_as(&self, draft: &Draft) -> bool {
        self.exists()
            && self.text() == draft.text
            && draft.secrets.iter().all(|secret| self.holds(secret).unwrap_or(false))
    }

    /// Has the daemon judge the draft, then puts it in place.
    pub(crate) fn replace(
        &self,
        draft: &Draft,
        checker: &Checker,
        now: Timestamp,
    ) -> Result<Vec<Published>, ChangeError> {
        let folder = files::parent_of(&self.path);
        files::create_dir(folder, 0o755)?;
        let trial = Trial::write(self, draft)?;
        checker.judge(self.daemon, &trial.config, &self.path)?;
        if read_whole(&self.path)?.as_ref().map(|before| before.text.as_str())
            != self.before.as_ref().map(|before| before.text.as_str())
        {
            return Err(ChangeError::Meanwhile { path: self.path.clone() });
        }
        let mut done = Vec::new();
        for secret in &draft.secrets {
            if self.holds(secret)? {
                continue;
            }
            done.push(exchange(&folder.join(&secret.trial), &folder.join(&secret.path), now)?);
        }
        if self.text() != draft.text || !self.exists() {
            let (mode, owner) = self.manners(draft);
            let staged = files::temporary_beside(&self.path);
            files::write(&staged, draft.text.as_bytes(), mode & SECRET_MODE)?;
            give(&staged, owner)?;
            files::set_mode(&staged, mode)?;
            done.push(exchange(&staged, &self.path, now)?);
        }
        Ok(done)
    }

    /// Mode and owner of the file that is to be.
    fn manners(&self, draft: &Draft) -> (u32, Option<(u32, u32)>) {
        let (mode, owner) = match &self.before {
            Some(Before { mode, owner, .. }) => (*mode, Some(*owner)),
            None => (CONFIG_MODE, None),
        };
        if !draft.is_secret {
            return (mode, owner);
        }
        // The owner's, and readable by the daemon.
        let reader = self.reader().map(|(_, group)| (owner.map_or(0, |(user, _)| user), group));
        (mode & SECRET_CONFIG_MODE, reader.or(owner))
    }

    fn holds(&self, secret: &SecretFile) -> Result<bool, ChangeError> {
        let path = files::parent_of(&self.path).join(&secret.path);
        let expected = format!("{}\n", secret.text.expose());
        match fs::metadata(&path).and_then(|metadata| Ok((metadata.mode(), fs::read(&path)?))) {
            Ok((mode, found)) => Ok(mode & 0o7777 == SECRET_MODE && found == expected.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(ConfigError::Read { path, source }.into()),
        }
    }

    /// Who must be able to read the secrets, if that is another than the one who runs this.
    fn reader(&self) -> Option<(u32, u32)> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let folder = fs::metadata(files::parent_of(&self.path)).ok()?;
        if folder.uid() != 0 {
            return Some((folder.uid(), folder.gid()));
        }
        let user = User::from_name(self.daemon.user()).ok().flatten()?;
        Some((user.uid.as_raw(), user.gid.as_raw()))
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            // It ends with the descriptor in any case.
            let _ = lock.unlock();
        }
    }
}

/// Files that exist only while the daemon judges them.
struct Trial {
    config: PathBuf,
    secrets: Vec<PathBuf>,
    /// The folder of secrets, if it was made for them: it goes again unless something stays in it.
    made: Option<PathBuf>,
}

impl Trial {
    fn write(file: &ConfigFile, draft: &Draft) -> Result<Trial, ChangeError> {
        let folder = files::parent_of(&file.path);
        let mut trial =
            Trial { config: files::temporary_beside(&file.path), secrets: Vec::new(), made: None };
        if !draft.secrets.is_empty() && !folder.join(SECRETS).exists() {
            let secrets = folder.join(SECRETS);
            files::create_dir(&secrets, SECRETS_MODE)?;
            trial.made = Some(secrets);
        }
        for secret in &draft.secrets {
            let path = folder.join(&secret.trial);
            trial.secrets.push(path.clone());
            files::write(&path, format!("{}\n", secret.text.expose()).as_bytes(), SECRET_MODE)?;
            give(&path, file.reader())?;
        }
        // The text may be one that a server sent: for its owner alone, until it is the configuration.
        files::write(&trial.config, draft.trial.as_bytes(), SECRET_MODE)?;
        Ok(trial)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // What cannot be removed is hidden, and for its owner alone.
        let _ = fs::remove_file(&self.config);
        for secret in &self.secrets {
            let _ = fs::remove_file(secret);
        }
        if let Some(made) = &self.made {
            // Fails when a secret has come to stay.
            let _ = fs::remove_dir(made);
        }
    }
}

/// Gives `staged` the name `path`; what was called so is kept, and at no moment is there none.
pub(crate) fn exchange(staged: &Path, path: &Path, now: Timestamp) -> Result<Published, ChangeError> {
    let replaced = |step| move |source| files::FileError { step, path: path.to_owned(), source };
    if fs::symlink_metadata(path).is_err() {
        files::rename(staged, path)?;
        return Ok(Published::Made(path.to_owned()));
    }
    let old = free_name(&PathBuf::from(format!("{}.old-{}", path.display(), now.as_micros() / 1_000_000)));
    let kept = fs::hard_link(path, &old)
        .or_else(|_| fs::copy(path, &old).and_then(|_| File::open(&old)).and_then(|copy| copy.sync_all()));
    kept.map_err(replaced("keep"))?;
    files::rename(staged, path)?;
    Ok(Published::Replaced { path: path.to_owned(), old })
}

fn give(path: &Path, owner: Option<(u32, u32)>) -> Result<(), ChangeError> {
    let Some((user, group)) = owner.filter(|_| rustix::process::geteuid().is_root()) else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(|source| {
        files::FileError { step: "change the owner of", path: path.to_owned(), source }.into()
    })
}

fn read_whole(path: &Path) -> Result<Option<Before>, ChangeError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error).into()),
    };
    if !metadata.is_file() {
        return Err(ChangeError::NotAFile { path: path.to_owned() });
    }
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(read)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() }.into());
    }
    let owner = (metadata.uid(), metadata.gid());
    Ok(Some(Before { text, mode: metadata.permissions().mode() & 0o7777, owner }))
}
