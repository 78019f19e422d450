//! Folders that a configuration names and the unit does not open, as those of a site made by `humeconfig init --dir /etc/hume`: a
//! drop-in opens them, and what is below the folder of the configuration is made and given to the daemon.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use hume_runtime::config::resolve;
use toml::{Table, Value};

use crate::change::Daemon;

/// A folder, as the daemon sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
}

/// What is in a folder: section, key, whether the value is a file in it, and the mode of one that is made.
type Place = (&'static str, &'static str, bool, u32);

const AGENT: [Place; 3] =
    [("spool", "dir", false, 0o700), ("intake", "drop_dir", false, 0o3777), ("web", "socket", true, 0o755)];
const MASTER: [Place; 3] =
    [("store", "path", true, 0o700), ("ca", "path", true, 0o700), ("web", "socket", true, 0o755)];
/// What the units open.
const OPEN_FOR_AGENT: [&str; 3] = ["/var/lib/humed-agent", "/run/hume", "/var/spool/hume"];
const OPEN_FOR_MASTER: [&str; 2] = ["/var/lib/humed-master", "/run/hume-master"];
/// What `ProtectHome=` and `PrivateTmp=` hide, whatever is opened.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
/// Folders in folders that are given away.
const DEPTH_MAX: u32 = 8;

/// Folders that must be opened, and notes about those that cannot be.
pub(super) fn beyond(table: &Table, daemon: Daemon) -> (Vec<Folder>, Vec<String>) {
    let (places, open): (&[Place], &[&str]) = match daemon {
        Daemon::Agent => (&AGENT, &OPEN_FOR_AGENT),
        Daemon::Master => (&MASTER, &OPEN_FOR_MASTER),
    };
    let (mut folders, mut notes): (Vec<Folder>, Vec<String>) = (Vec::new(), Vec::new());
    for (section, key, is_file, mode) in places {
        let found = table.get(*section).and_then(|section| section.get(*key)).and_then(Value::as_str);
        let Some(found) = found else { continue };
        let path = resolve(daemon.config(), Path::new(found));
        let path = if *is_file { path.parent().unwrap_or(&path).to_owned() } else { path };
        if open.iter().any(|open| path.starts_with(open)) || folders.iter().any(|known| known.path == path) {
            continue;
        }
        // Not the folder of the configuration, nor one around it.
        let is_apart = !daemon.config().starts_with(&path);
        if is_apart && is_plain(&path) && !HIDDEN.iter().any(|hidden| path.starts_with(hidden)) {
            folders.push(Folder { path, mode: *mode });
        } else {
            notes.push(format!(
                "{section}.{key} is {found}, which the unit cannot open: name a folder elsewhere"
            ));
        }
    }
    if let Some(socket) = table.get("intake").and_then(|intake| intake.get("socket")).and_then(Value::as_str)
        && daemon == Daemon::Agent
        && resolve(daemon.config(), Path::new(socket)) != Path::new("/run/hume/hume.sock")
    {
        notes.push(format!(
            "intake.socket is {socket}: take the line out, or have ListenStream= of humed-agent.socket say the same by a drop-in"
        ));
    }
    (folders, notes)
}

/// Of characters that mean nothing else to systemd, without a way up.
fn is_plain(path: &Path) -> bool {
    let text = path.to_str().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.is_absolute()
        && text.bytes().all(is_plain)
        && path.components().skip(1).all(|part| matches!(part, Component::Normal(_)))
}

/// The drop-in that opens them.
pub(super) fn drop_in(folders: &[Folder], daemon: Daemon) -> String {
    let config = daemon.config().display();
    let mut text =
        format!("# Made by humeconfig: folders that {config} names and the unit does not open.\n[Service]\n");
    for Folder { path, .. } in folders {
        let _ = writeln!(text, "ReadWritePaths=-{}", path.display());
    }
    text
}

/// A folder and all that is in it, but not what is in a folder that is the owner's already.
///
/// Links are not followed, and what is inside comes first: as long as a path is walked, no part of it is the owner's, who could put
/// a link in its place.
pub(super) fn with_content(folder: &Path, owner: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    gather(folder, owner, DEPTH_MAX, &mut found);
    found
}

fn gather(folder: &Path, owner: u32, depth_left: u32, found: &mut Vec<PathBuf>) {
    let is_owners = fs::symlink_metadata(folder).is_ok_and(|about| about.uid() == owner);
    if !is_owners && depth_left > 0 {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                gather(&entry.path(), owner, depth_left - 1, found);
            } else {
                found.push(entry.path());
            }
        }
    }
    found.push(folder.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, daemon: Daemon) -> (Vec<String>, usize) {
        let (folders, notes) = beyond(&text.parse().unwrap(), daemon);
        (folders.iter().map(|folder| folder.path.display().to_string()).collect(), notes.len())
    }

    #[test]
    fn folders_of_a_site_in_etc_are_opened_and_those_of_the_unit_are_open() {
        let site =
            "[store]\npath = 'state/store.db'\n[ca]\npath = 'state/ca'\n[web]\nsocket = 'run/api.sock'\n";
        assert_eq!(paths(site, Daemon::Master), (vec!["/etc/hume/state".into(), "/etc/hume/run".into()], 0));
        assert_eq!(paths("[store]\npath = '/var/lib/humed-master/x/s.db'\n", Daemon::Master), (vec![], 0));
        assert_eq!(paths("", Daemon::Agent), (vec![], 0));
    }

    #[test]
    fn what_a_unit_cannot_open_is_told() {
        for path in [
            "/home/me/state",
            "/tmp/x",
            ".",
            "/etc",
            "/etc/hume",
            "/srv/a b",
            "/srv/%h",
            "../../root",
            "/srv/../root",
        ] {
            let (folders, notes) = paths(&format!("[spool]\ndir = '{path}'\n"), Daemon::Agent);
            assert_eq!((folders.len(), notes), (0, 1), "{path}");
        }
        assert_eq!(paths("[intake]\nsocket = 'run/hume.sock'\n", Daemon::Agent).1, 1);
        assert_eq!(paths("[intake]\nsocket = '/run/hume/hume.sock'\n", Daemon::Agent).1, 0);
    }

    #[test]
    fn what_is_inside_is_given_before_the_folder_and_nothing_of_the_owners_is_walked() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", sub.join("link")).unwrap();
        let own = fs::metadata(&sub).unwrap().uid();
        let found = with_content(dir.path(), own + 1);
        assert_eq!(found.len(), 4);
        assert_eq!(found[2..], [sub, dir.path().to_owned()]);
        assert_eq!(with_content(dir.path(), own), [dir.path()]);
    }

    #[test]
    fn the_drop_in_names_each_of_them() {
        let (folders, _) = beyond(&"[spool]\ndir = '/srv/spool'\n".parse().unwrap(), Daemon::Agent);
        assert!(drop_in(&folders, Daemon::Agent).ends_with("[Service]\nReadWritePaths=-/srv/spool\n"));
    }
}
