//! What travels in a backup beside the store, the registry and the master's own CA, and where it goes when it is put back.
//!
//! What is there and whole stays: it is newer than any backup, and knows who was revoked since. Only what is missing or damaged is put
//! back, unless all of the backup is wanted.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hume_core::Timestamp;
use hume_runtime::files::{self, FileError};
use hume_runtime::pki::CaFolder;
use hume_runtime::sqlite::{self, Enclosure};

use super::folder_of;
use crate::config::Config;
use crate::registry::{self, Actor};
use crate::store::{self, BackupError};

/// What is called so in a backup is the registry.
const REGISTRY: &str = "registry.db";
/// What begins so is a file of the CA's folder.
const CA: &str = "ca/";
const FOLDER_MODE: u32 = 0o700;

/// Whether the CA, with its keys, goes into a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It does.
    Included,
    /// It is kept elsewhere.
    LeftOut,
}

/// What of a backup is put back besides the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What is missing or damaged.
    Needed,
    /// All of it.
    All,
}

/// A folder for what is on its way, which is gone afterwards.
struct Workplace(PathBuf);

impl Workplace {
    fn beside(path: &Path) -> Result<Workplace, FileError> {
        let path = files::temporary_beside(path);
        files::create_dir(&path, FOLDER_MODE)?;
        Ok(Workplace(path))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays is only untidy, and for its owner alone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gathers for a backup, and says what there was.
pub(super) struct Gathering<'a> {
    config: &'a Config,
    keys: Keys,
    workplace: Option<Workplace>,
    pub(super) said: String,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(config: &'a Config, keys: Keys) -> Gathering<'a> {
        Gathering { config, keys, workplace: None, said: String::new() }
    }

    /// Copies of what there is now, in the folder.
    pub(super) fn gather(&mut self, folder: &Path) -> Result<Vec<Enclosure>, BackupError> {
        let workplace = Workplace::beside(&folder.join("backup"))?;
        let mut found = Vec::new();
        let registry = registry_file(self.config);
        if registry.exists() {
            let copy = workplace.0.join(REGISTRY);
            registry::copy(&registry, &copy)
                .map_err(|source| BackupError::Damaged { path: registry, source })?;
            found.push(Enclosure { name: REGISTRY.to_owned(), mode: 0o600, path: copy });
            self.said.push_str(", the registry");
        }
        // After the registry: what a CA has issued is known there.
        let ca = &self.config.ca.path;
        match self.keys {
            Keys::Included if has_ca(self.config) => {
                found.extend(files_of_ca(ca)?);
                self.said.push_str(", the CA with its keys");
            }
            Keys::LeftOut if has_ca(self.config) => {
                // Writing into a String does not fail.
                let _ = write!(self.said, "; keep the CA in {} elsewhere, it is not in it", ca.display());
            }
            Keys::Included | Keys::LeftOut => {}
        }
        self.workplace = Some(workplace);
        Ok(found)
    }
}

fn registry_file(config: &Config) -> PathBuf {
    folder_of(&config.store.path).join(registry::FILE)
}

fn has_ca(config: &Config) -> bool {
    config.tls.is_none() && CaFolder::exists(&config.ca.path)
}

fn files_of_ca(folder: &Path) -> Result<Vec<Enclosure>, FileError> {
    let failed = |source| FileError { step: "list", path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let about = entry.metadata().map_err(failed)?;
        // What begins with a dot was on its way when something broke off.
        if about.is_file() && !name.starts_with('.') {
            let mode = about.permissions().mode() & 0o777;
            found.push(Enclosure { name: format!("{CA}{name}"), mode, path: entry.path() });
        }
    }
    Ok(found)
}

/// Puts back what the backup holds besides the store; what was done, in words.
pub(super) fn put_back(
    config: &Config,
    from: &Path,
    extent: Extent,
    actor: &Actor,
    now: Timestamp,
) -> Result<String, BackupError> {
    let unusable = |source| BackupError::Unusable { path: from.to_owned(), source };
    let names = sqlite::enclosed(from).map_err(unusable)?;
    let mut said = String::new();
    let ca: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(CA)).collect();
    // All of it is taken out before any of it is put in its place.
    let registry = registry_file(config);
    let beside_registry = Workplace::beside(&registry)?;
    let new_registry = names.iter().any(|name| name == REGISTRY).then(|| beside_registry.0.join(REGISTRY));
    if let Some(new) = &new_registry {
        sqlite::take_out(from, REGISTRY, new).map_err(unusable)?;
        registry::check(new).map_err(unusable)?;
    }
    let beside_ca = Workplace::beside(&config.ca.path)?;
    for name in &ca {
        // A name is one of a file, and not a way to elsewhere.
        if !name.contains('/') && *name != ".." {
            sqlite::take_out(from, &format!("{CA}{name}"), &beside_ca.0.join(name)).map_err(unusable)?;
        }
    }
    if let Some(new) = &new_registry {
        put_registry(&registry, new, extent, actor, now, &mut said)?;
    }
    if config.tls.is_none() {
        let held = (!ca.is_empty()).then_some(beside_ca.0.as_path());
        put_ca(config, held, extent, now, &mut said)?;
    }
    Ok(said)
}

fn put_registry(
    registry: &Path,
    new: &Path,
    extent: Extent,
    actor: &Actor,
    now: Timestamp,
    said: &mut String,
) -> Result<(), BackupError> {
    let shown = registry.display();
    if extent == Extent::Needed && registry.exists() && registry::check(registry).is_ok() {
        let _ = writeln!(
            said,
            "{shown}: stays, since it is whole and newer (--all puts that of the backup here)"
        );
        return Ok(());
    }
    let taken_back = registry::renew(new, actor, now)?;
    let replaced = store::set_aside(registry, now)?;
    files::rename(new, registry)?;
    let _ =
        writeln!(said, "{shown}: as it was at the backup; {taken_back} tokens for joining are taken back");
    if let Some(replaced) = replaced {
        let _ = writeln!(said, "The registry that was there is kept as {}", replaced.display());
    }
    said.push_str(REVOKE_AGAIN);
    Ok(())
}

const REVOKE_AGAIN: &str = "\
What was changed since the backup is not known any more: revoke again the agents and API tokens that were
revoked since. Hosts that joined since must join again.
";

fn put_ca(
    config: &Config,
    held: Option<&Path>,
    extent: Extent,
    now: Timestamp,
    said: &mut String,
) -> Result<(), BackupError> {
    let (folder, domain) = (&config.ca.path, &config.ca.trust_domain);
    let here = CaFolder::load(folder, domain).ok();
    let in_backup = held.and_then(|held| CaFolder::load(held, domain).ok());
    let shown = folder.display();
    let (Some(held), Some(new)) = (held, in_backup) else {
        if here.is_none() {
            let _ = writeln!(
                said,
                "{shown}: there is no CA here and none of this site in the backup. Put yours there before the master starts: it would make another one, and every host would have to join again"
            );
        }
        return Ok(());
    };
    if let Some(here) = here.filter(|_| extent == Extent::Needed) {
        let other = if here.root_pem() == new.root_pem() {
            ""
        } else {
            ", and is another CA than that of the backup"
        };
        let _ =
            writeln!(said, "{shown}: stays, since it is whole{other} (--all puts that of the backup here)");
        return Ok(());
    }
    if folder.exists() {
        let aside = files::vacant(&sqlite::beside(folder, &format!(".replaced-{}", now.compact())));
        files::rename(folder, &aside)?;
        let _ = writeln!(said, "The CA that was there is kept as {}", aside.display());
    }
    files::rename(held, folder)?;
    let _ = writeln!(said, "{shown}: as it was at the backup");
    Ok(())
}
