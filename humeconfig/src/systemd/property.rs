//! Which files a daemon's user must own or read, told from its configuration, and giving them to it.
//!
//! Only regular files and folders below the folder of the configuration are given away, never what a link leads to, so that nobody
//! is made the owner of what is not hume's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use hume_runtime::config::resolve;
use hume_runtime::files::FileError;
use toml::{Table, Value};

use super::failed;
use crate::change::Daemon;

/// All may pass through a folder, and read no names in it.
const PASS: u32 = 0o111;
/// Others may read it.
const OTHERS_READ: u32 = 0o004;

/// A user of the host, or of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: u32,
    group: u32,
}

impl User {
    /// The one of this name in a file such as `/etc/passwd`.
    pub(super) fn find(passwd: &Path, name: &str) -> Option<User> {
        let text = fs::read_to_string(passwd).ok()?;
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some(User { id: numbers.next()?.ok()?, group: numbers.next()?.ok()? })
    }
}

/// What it shall have of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// It is its own.
    Own,
    /// The folder with its key is its own, unless there are keys of others in it.
    FolderOf(PathBuf),
    /// Its group's, which may read it; a file that all may read stays as it is.
    Group,
}

/// A file or folder, and what of it the daemon shall have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) path: PathBuf,
    share: Share,
}

impl Owned {
    /// All of it.
    pub(super) fn own(path: PathBuf) -> Owned {
        Owned { path, share: Share::Own }
    }
}

/// The configuration, the secrets and the certificates that it names, with the folders of the latter; only what is beside or below it.
pub(super) fn of_daemon(table: &Table, daemon: Daemon, config: &Path, root: &Path) -> Vec<Owned> {
    let mut owned = vec![Owned { path: config.to_owned(), share: Share::Group }];
    let named = |path: &str| {
        let path = Path::new(path);
        match path.strip_prefix("/") {
            Ok(path) => root.join(path),
            Err(_) => resolve(config, path),
        }
    };
    let folder = config.parent().unwrap_or(root);
    let mut own = |path: PathBuf, share: Share| {
        let is_plain = path.strip_prefix(folder).is_ok_and(|rest| {
            rest.components().next().is_some()
                && rest.components().all(|part| matches!(part, std::path::Component::Normal(_)))
        });
        if is_plain && !owned.iter().any(|known| known.path == path) {
            owned.push(Owned { path, share });
        }
    };
    let certificates: Vec<PathBuf> = certificates(table, daemon).iter().map(|path| named(path)).collect();
    // The daemon must get through it to its key.
    if let Some(key) = certificates.last()
        && let Some(parent) = key.parent()
    {
        own(parent.to_owned(), Share::FolderOf(key.clone()));
    }
    for path in certificates {
        own(path, Share::Own);
    }
    let mut secrets = Vec::new();
    secrets_in(table.get("transfer"), &mut secrets);
    for path in secrets {
        own(named(&path), Share::Own);
    }
    owned
}

/// Paths of certificates and of the key, which is the last, as configured or by default.
fn certificates(table: &Table, daemon: Daemon) -> Vec<String> {
    let (section, own) = match daemon {
        Daemon::Agent => ("master", "agent"),
        Daemon::Master => ("tls", "master"),
    };
    let section = table.get(section).and_then(Value::as_table);
    if section.is_none() && daemon == Daemon::Agent {
        return Vec::new();
    }
    let defaults =
        [("ca", "ca.pem".to_owned()), ("certificate", format!("{own}.pem")), ("key", format!("{own}.key"))];
    let path = |(key, default): (&str, String)| {
        let found = section.and_then(|section| section.get(key)?.as_str());
        found.map_or_else(|| format!("/etc/hume/pki/{default}"), str::to_owned)
    };
    defaults.map(path).to_vec()
}

/// Paths of `{ file = "…" }`.
fn secrets_in(value: Option<&Value>, found: &mut Vec<String>) {
    let Some(Value::Table(table)) = value else { return };
    if let (1, Some(Value::String(path))) = (table.len(), table.get("file")) {
        found.push(path.clone());
        return;
    }
    table.values().for_each(|value| secrets_in(Some(value), found));
}

/// What came of a gift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It was so, or there is no such file.
    Before,
    /// It is so now.
    Now,
    /// A folder with keys of others stays whose it is; all may pass through it.
    NotAlone,
}

/// Gives it to the user.
pub(super) fn give(owned: &Owned, user: User) -> Result<Given, FileError> {
    let Owned { path, share } = owned;
    let Ok(about) = fs::symlink_metadata(path) else { return Ok(Given::Before) };
    if !(about.is_file() || about.is_dir()) {
        return Ok(Given::Before);
    }
    let is_own = about.uid() == user.id && about.gid() == user.group;
    match share {
        Share::FolderOf(key) if is_own || !key.exists() => return Ok(Given::Before),
        Share::FolderOf(key) if has_other_keys(path, key) => {
            let mode = about.mode() & 0o7777 | PASS;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(failed("set the mode of", path))?;
            return Ok(Given::NotAlone);
        }
        Share::Own if is_own => return Ok(Given::Before),
        Share::Own | Share::FolderOf(_) => lchown(path, Some(user.id), Some(user.group)),
        Share::Group if about.mode() & OTHERS_READ != 0 || about.gid() == user.group => {
            return Ok(Given::Before);
        }
        Share::Group => lchown(path, None, Some(user.group)).and_then(|()| {
            let mode = about.mode() & 0o7777 | 0o040;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }),
    }
    .map_err(failed("change the owner of", path))?;
    Ok(Given::Now)
}

fn has_other_keys(folder: &Path, own: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path != own && path.extension() == own.extension())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, daemon: Daemon) -> Vec<String> {
        let config = Path::new("/img/etc/hume/agent.toml");
        let owned = of_daemon(&text.parse().unwrap(), daemon, config, Path::new("/img"));
        owned.iter().map(|owned| owned.path.display().to_string()).collect()
    }

    #[test]
    fn a_daemon_owns_what_its_configuration_names_below_its_folder() {
        assert_eq!(
            paths(
                "[master]\naddress = 'm:1'\nkey = 'pki/agent.key'\n[transfer.x.slack]\nwebhook = { file = 'credentials/x' }\n",
                Daemon::Agent
            ),
            ["agent.toml", "pki", "pki/ca.pem", "pki/agent.pem", "pki/agent.key", "credentials/x"]
                .map(|name| format!("/img/etc/hume/{name}"))
        );
        assert_eq!(paths("", Daemon::Agent), ["/img/etc/hume/agent.toml"]);
        assert_eq!(paths("", Daemon::Master).len(), 5);
    }

    #[test]
    fn what_is_elsewhere_stays_as_it_is() {
        for path in ["/etc/passwd", "../passwd", "x/../../passwd", "/etc/hume", ".", "/run/credentials/u/x"] {
            let text = format!("[transfer.x.slack]\nwebhook = {{ file = '{path}' }}\n");
            assert_eq!(paths(&text, Daemon::Agent), ["/img/etc/hume/agent.toml"], "{path}");
        }
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        let passwd = dir.path().join("passwd");
        fs::write(&passwd, "root:x:0:0::/:/\nhume-master:x:7:8::/:/\nhume:x:5:6::/:/\n").unwrap();
        assert_eq!(User::find(&passwd, "hume"), Some(User { id: 5, group: 6 }));
        assert_eq!(User::find(&passwd, "hum"), None);
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let owned = Owned { path: link, share: Share::Own };
        assert_eq!(give(&owned, User { id: 5, group: 6 }).ok(), Some(Given::Before));
    }
}
