//! Files that `hume` left because the agent was away: recorded in the order of their names, then removed.
//!
//! The owner of a file is its reporter. Nothing is followed or waited for: a regular file with one link and within the
//! bound is read, anything else is set aside in `rejected/`. A file goes only after its event is on disk; a crash in
//! between records the same id again, which changes nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hume_core::event::{LINE_BYTES_MAX, Process};
use hume_core::process::Chain;
use hume_core::{ErrorClass, EventId};
use hume_proto::intake;
use hume_runtime::{clock, random};
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::Desk;
use crate::runs::Reporter;

/// Files looked at in one go; the rest waits for the next.
const FILES_MAX: usize = 10_000;
/// After a failure that is not the file's fault, the folder rests this long.
const REST: Duration = Duration::from_secs(1);
const REJECTED: &str = "rejected";
/// World-writable with the sticky bit: everybody may leave files, nobody may take another's. The group is inherited.
const FOLDER_MODE: u32 = 0o3777;

/// The drop folder could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the drop folder {path}: {what}")]
pub struct DropError {
    path: PathBuf,
    what: &'static str,
    #[source]
    source: io::Error,
}

/// The folder and the kernel's word that something was put into it.
#[derive(Debug)]
pub(super) struct DropFolder {
    path: PathBuf,
    notify: AsyncFd<OwnedFd>,
    desk: Arc<Desk>,
    /// Something may be in it.
    waiting: AtomicBool,
    /// One import at a time; holds until when the folder rests after a failure.
    importing: Mutex<Option<Instant>>,
}

/// What to do with a file after it was looked at.
enum Fate {
    Gone,
    Remove,
    Reject(String),
    Leave(String),
}

impl DropFolder {
    /// Watches the folder; makes it when it is missing.
    ///
    /// # Errors
    /// [`DropError`] naming folder and cause.
    pub(super) fn open(path: &Path, desk: Arc<Desk>) -> Result<DropFolder, DropError> {
        let failed = |what, source: io::Error| DropError { path: path.to_owned(), what, source };
        if !path.exists() {
            hume_runtime::files::create_dir(path, 0o755)
                .and_then(|()| hume_runtime::files::set_mode(path, FOLDER_MODE))
                .map_err(|error| {
                    failed("it does not exist and cannot be made", io::Error::other(error.to_string()))
                })?;
        }
        let rejected = path.join(REJECTED);
        if !rejected.exists() {
            hume_runtime::files::create_dir(&rejected, 0o700).map_err(|error| {
                failed("`rejected` cannot be made in it", io::Error::other(error.to_string()))
            })?;
        }
        let notify = rustix::fs::inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|error| failed("it cannot be watched", error.into()))?;
        rustix::fs::inotify::add_watch(&notify, path, WatchFlags::MOVED_TO)
            .map_err(|error| failed("it cannot be watched", error.into()))?;
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe; an owned descriptor is what makes this one sound"
        )]
        let notify = AsyncFd::new(notify).map_err(|error| failed("it cannot be watched", error))?;
        let waiting = AtomicBool::new(true);
        Ok(DropFolder { path: path.to_owned(), notify, desk, waiting, importing: Mutex::new(None) })
    }

    /// Waits until something was put into the folder.
    pub(super) async fn stirred(&self) {
        loop {
            if self.waiting.load(Ordering::Acquire) {
                let rest = *self.importing.lock().await;
                if let Some(until) = rest {
                    tokio::time::sleep_until(until.into()).await;
                }
                return;
            }
            if let Ok(mut ready) = self.notify.readable().await {
                self.listen();
                ready.clear_ready();
            }
        }
    }

    /// Asks the kernel, without waiting, whether something was put into the folder since it was last asked.
    fn listen(&self) {
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(self.notify.get_ref(), &mut buffer).is_ok_and(|read| read > 0) {
            self.waiting.store(true, Ordering::Release);
        }
    }

    /// Before a line is answered: what fell into the folder earlier goes first.
    pub(super) async fn settle_if_stirred(&self) {
        self.listen();
        if self.waiting.load(Ordering::Acquire) {
            self.settle().await;
        }
    }

    /// Records what is in the folder, in the order of names.
    pub(super) async fn settle(&self) {
        let mut rest = self.importing.lock().await;
        if rest.is_some_and(|until| Instant::now() < until) {
            return;
        }
        *rest = None;
        while self.waiting.swap(false, Ordering::AcqRel) {
            if let Err(reason) = self.import().await {
                warn!(folder = %self.path.display(), reason, "the drop folder waits");
                self.waiting.store(true, Ordering::Release);
                *rest = Some(Instant::now() + REST);
                return;
            }
        }
    }

    /// One file that cannot be dealt with does not hold up the others; what is not the file's fault ends the import.
    async fn import(&self) -> Result<(), String> {
        let names = names(&self.path).map_err(|error| format!("it cannot be listed: {error}"))?;
        if names.len() == FILES_MAX {
            self.waiting.store(true, Ordering::Release);
        }
        let mut taken = 0_u64;
        for name in names {
            let path = self.path.join(&name);
            let file = path.display();
            match self.take(&path).await {
                Fate::Gone => {}
                Fate::Remove => {
                    taken += 1;
                    if let Err(error) = std::fs::remove_file(&path) {
                        warn!(%file, %error, "a recorded file cannot be removed; its event is stored once all the same");
                    }
                }
                Fate::Reject(reason) => {
                    self.desk.metrics.refuse("drop_file");
                    warn!(%file, reason, "set a dropped file aside in `rejected`");
                    if let Err(error) = std::fs::rename(&path, self.aside(&name)) {
                        warn!(%file, %error, "it cannot be set aside and stays");
                    }
                }
                Fate::Leave(reason) => return Err(reason),
            }
        }
        if taken > 0 {
            self.desk.metrics.dropped_in.inc_by(taken);
            info!(events = taken, "recorded what was in the drop folder");
        }
        Ok(())
    }

    /// Where a rejected file goes: under its name, or one beside it when that is taken.
    fn aside(&self, name: &OsStr) -> PathBuf {
        let folder = self.path.join(REJECTED);
        let wanted = folder.join(name);
        if wanted.symlink_metadata().is_err() {
            return wanted;
        }
        let mut other = name.to_owned();
        other.push(format!(".{}", random::uuid()));
        folder.join(other)
    }

    async fn take(&self, path: &Path) -> Fate {
        let (bytes, uid) = match read(path) {
            Ok(read) => read,
            Err(Unreadable::Bad(reason)) => return Fate::Reject(reason),
            Err(Unreadable::Gone) => return Fate::Gone,
            Err(Unreadable::Failed(error)) => {
                return Fate::Leave(format!("{} cannot be read: {error}", path.display()));
            }
        };
        let mint = || EventId::mint(clock::now(), random::bytes());
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let mut draft = match intake::parse(line, mint) {
            Ok(parsed) => parsed.draft,
            Err(error) => return Fate::Reject(error.to_string()),
        };
        let caller = &mut draft.caller;
        let reporter = Reporter {
            process: Process {
                pid: caller.pid,
                uid: Some(uid),
                user: self.desk.users.name(uid).await,
                script: caller.script.take(),
                unit: caller.unit.clone(),
                tree: None,
                captured_by_cli: true,
            },
            chain: caller.chain.take().unwrap_or_else(Chain::default),
        };
        match self.desk.records.record(self.desk.submission(draft, reporter)).await {
            Ok(_) => Fate::Remove,
            Err(error) => match error.class {
                ErrorClass::Invalid | ErrorClass::Denied => Fate::Reject(error.to_string()),
                _ => Fate::Leave(error.to_string()),
            },
        }
    }
}

/// Names of files in the folder, in order: not those that begin with a dot, which are still being written.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != REJECTED {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.truncate(FILES_MAX);
    Ok(names)
}

enum Unreadable {
    Bad(String),
    Gone,
    Failed(io::Error),
}

/// Content and owner of a dropped file, without following, blocking or reading too much.
fn read(path: &Path) -> Result<(Vec<u8>, u32), Unreadable> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => return Err(Unreadable::Bad("it is a symbolic link".to_owned())),
        Err(rustix::io::Errno::NXIO) => return Err(Unreadable::Bad("it is not a regular file".to_owned())),
        Err(rustix::io::Errno::ACCESS) => {
            return Err(Unreadable::Bad("the agent may not read it".to_owned()));
        }
        Err(rustix::io::Errno::NOENT) => return Err(Unreadable::Gone),
        Err(error) => return Err(Unreadable::Failed(error.into())),
    };
    let about = rustix::fs::fstat(&file).map_err(|error| Unreadable::Failed(error.into()))?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(Unreadable::Bad("it is not a regular file".to_owned()));
    }
    if about.st_nlink != 1 {
        return Err(Unreadable::Bad("it has more than one link".to_owned()));
    }
    if about.st_size as u64 > LINE_BYTES_MAX as u64 {
        return Err(Unreadable::Bad(format!("it has more than {LINE_BYTES_MAX} bytes")));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Unreadable::Failed)?;
    Ok((bytes, about.st_uid))
}
