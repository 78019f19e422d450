//! Files that `hume` left because the agent was away: recorded in the order of their names, then removed.
//!
//! The owner of a file is its reporter. Nothing is followed or waited for: a regular file with one link and within the
//! bound is read, anything else is set aside in `rejected/`, and what can be neither is left alone without holding up the
//! rest. A file goes only after its event is on disk; a crash in between records the same id again, which changes nothing.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hume_core::event::{LINE_BYTES_MAX, Process};
use hume_core::process::Chain;
use hume_core::{Draft, ErrorClass, EventId};
use hume_proto::intake;
use hume_runtime::points::{self, Point};
use hume_runtime::random;
use hume_runtime::task_group::Stop;
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, oneshot};
use tracing::{info, warn};

use super::crowd::Crowd;
use super::entrance::FOLDER_MODE;
use super::stir::Stir;
use super::{Desk, NoRoom};
use crate::drops::{REJECTED, is_ours, named_id};
use crate::runs::{Answers, Folder, NotTaken, Reporter};

/// Files looked at in one pass; the rest waits for the next.
const FILES_MAX: usize = 10_000;
/// Files of one user in one pass, so that nobody's flood holds up the others for long.
const FILES_PER_USER_MAX: usize = 2000;
/// Files that are recorded in one go.
const BATCH_MAX: usize = 512;
/// Bytes of the files that are recorded in one go; one file more may go beyond.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Passes before the socket is opened, so that whoever goes on writing files cannot keep it closed.
const START_PASSES_MAX: usize = 100;
/// Files kept in `rejected`; what would be more is removed.
const REJECTED_FILES_MAX: usize = 1000;
/// After a failure that is not the file's fault, the folder rests this long.
const REST: Duration = Duration::from_secs(1);

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
    /// Whether something may be in it.
    stir: Stir,
    /// One pass at a time; holds until when the folder rests after a failure.
    importing: Mutex<Option<Instant>>,
    /// Folders found in it the last time, so that each new one is told once.
    folders: AtomicU64,
    /// Whether it was told that files of users who have reported enough wait.
    holds: AtomicBool,
}

/// How a pass went.
#[derive(Debug, Default)]
struct Pass {
    taken: u64,
    rejected: u64,
    /// There was more than one pass takes.
    is_cut: bool,
    /// Why files of a user wait who has reported enough for now, the first reason.
    held: Option<NoRoom>,
    /// What has to be tried again later, the first of it.
    failure: Option<String>,
}

/// What one pass has looked at of one user.
#[derive(Debug, Default)]
struct OfUser {
    files: usize,
    /// He has reported enough for now.
    held: Option<NoRoom>,
}

/// What to do with a file after it was looked at.
enum Fate {
    Gone,
    Remove,
    Reject(String),
    /// When its user may report more; the others are not concerned.
    Hold(NoRoom),
    /// Later; go on with the others.
    Skip(String),
    /// Later, as all the others.
    Leave(String),
}

/// A file whose event is on its way to disk.
struct Submitted {
    name: OsString,
    bytes: usize,
    coming: oneshot::Receiver<Answers>,
}

impl DropFolder {
    /// Watches the folder; makes it when it is missing.
    ///
    /// # Errors
    /// [`DropError`] naming folder and cause.
    pub(super) fn open(path: &Path, desk: Arc<Desk>) -> Result<DropFolder, DropError> {
        let failed = |what, source: io::Error| DropError { path: path.to_owned(), what, source };
        let make = |folder: &Path, mode, what| {
            hume_runtime::files::create_dir(folder, mode)
                .map_err(|error| failed(what, io::Error::other(error.to_string())))
        };
        let is_new = !path.exists();
        make(path, 0o755, "it does not exist and cannot be made")?;
        // Made before anybody else may make something of that name.
        make(&path.join(REJECTED), 0o700, "`rejected` cannot be made in it")?;
        if is_new {
            hume_runtime::files::set_mode(path, FOLDER_MODE)
                .map_err(|error| failed("its mode cannot be set", io::Error::other(error.to_string())))?;
        }
        let own = rustix::process::geteuid().as_raw();
        for (folder, what) in [
            (path.to_owned(), "it belongs to another user"),
            (path.join(REJECTED), "`rejected` is not the agent's"),
        ] {
            let about = folder.symlink_metadata().map_err(|error| failed("it cannot be looked at", error))?;
            if !about.is_dir() || (own != 0 && about.uid() != own) {
                return Err(failed(what, io::Error::from(io::ErrorKind::PermissionDenied)));
            }
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
        Ok(DropFolder {
            path: path.to_owned(),
            notify,
            desk,
            stir: Stir::new(),
            importing: Mutex::new(None),
            folders: AtomicU64::new(0),
            holds: AtomicBool::new(false),
        })
    }

    /// Records what falls into the folder, as it falls, until the stop is set.
    pub(super) async fn run(&self, stop: Stop) {
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = self.stirred() => {}
            }
            tokio::select! {
                () = stop.wait() => return,
                () = self.settle() => {}
            }
        }
    }

    /// Waits until something was put into the folder.
    async fn stirred(&self) {
        loop {
            if self.stir.is_set() {
                let rest = *self.importing.lock().await;
                if let Some(until) = rest {
                    tokio::time::sleep_until(until.into()).await;
                }
                return;
            }
            tokio::select! {
                ready = self.notify.readable() => if let Ok(mut ready) = ready {
                    self.listen();
                    ready.clear_ready();
                },
                // Somebody who answers a line was told by the kernel first, or has left something.
                () = self.stir.stirred() => {}
            }
        }
    }

    /// Asks the kernel, without waiting, whether something was put into the folder since it was last asked.
    fn listen(&self) {
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(self.notify.get_ref(), &mut buffer).is_ok_and(|read| read > 0) {
            self.stir.set();
        }
    }

    /// Before a line is answered: what fell into the folder earlier goes first.
    pub(super) async fn settle_if_stirred(&self) {
        self.listen();
        // Also while a pass goes on: what this line belongs to may be in it.
        if self.stir.is_set() || self.importing.try_lock().is_err() {
            self.settle().await;
        }
    }

    /// Records all that is in the folder, as far as it can be.
    pub(super) async fn settle_all(&self) {
        for _ in 0..START_PASSES_MAX {
            self.settle().await;
            if !self.stir.is_set() || self.importing.lock().await.is_some() {
                return;
            }
        }
    }

    /// Records what is in the folder, in the order of names: one pass, which began after the call.
    pub(super) async fn settle(&self) {
        let mut rest = self.importing.lock().await;
        if rest.is_some_and(|until| Instant::now() < until) {
            return;
        }
        *rest = None;
        let Some(look) = self.stir.look() else { return };
        self.desk.records.tell_folder(Folder::Waiting);
        let pass = self.pass().await;
        if pass.taken > 0 {
            self.desk.metrics.dropped_in.inc_by(pass.taken);
            info!(events = pass.taken, "recorded what was in the drop folder");
        }
        if let Some(reason) = &pass.failure {
            warn!(folder = %self.path.display(), reason, "something in the drop folder waits");
        }
        if let Some(reason) = pass.held
            && !self.holds.load(Ordering::Acquire)
        {
            warn!(folder = %self.path.display(), %reason, "files in the drop folder wait until their user may report more");
        }
        self.holds.store(pass.held.is_some(), Ordering::Release);
        // A pass that moved nothing would find the same again at once.
        let has_moved = pass.taken > 0 || pass.rejected > 0;
        if pass.failure.is_some() || pass.held.is_some() || (pass.is_cut && !has_moved) {
            *rest = Some(Instant::now() + REST);
        }
        if pass.failure.is_some() || pass.is_cut {
            return drop(look);
        }
        // Nobody's runs wait for what somebody else has too much of.
        if pass.held.is_some() {
            self.desk.records.tell_folder(Folder::Empty);
            return drop(look);
        }
        look.finished();
        if !self.stir.is_set() {
            self.desk.records.tell_folder(Folder::Empty);
        }
    }

    /// One file that cannot be dealt with does not hold up the others; what is not the file's fault ends the pass.
    async fn pass(&self) -> Pass {
        let mut pass = Pass::default();
        let listed = match list(&self.path) {
            Ok(listed) => listed,
            Err(error) => return Pass { failure: Some(format!("it cannot be listed: {error}")), ..pass },
        };
        if self.folders.swap(listed.folders, Ordering::AcqRel) < listed.folders {
            warn!(folder = %self.path.display(), folders = listed.folders, "folders in the drop folder are left alone");
        }
        let mut per_user: HashMap<u32, OfUser> = HashMap::new();
        let mut names = listed.names.into_iter().peekable();
        while names.peek().is_some() {
            let mut submitted = Vec::with_capacity(BATCH_MAX);
            let mut is_over = false;
            for name in names.by_ref() {
                match self.submit(&name, &mut per_user).await {
                    Ok(Some((bytes, coming))) => submitted.push(Submitted { name, bytes, coming }),
                    Ok(None) => pass.is_cut = true,
                    Err(fate) => is_over = !self.deal(&name, fate, &mut pass),
                }
                let bytes: usize = submitted.iter().map(|file| file.bytes).sum();
                if is_over || submitted.len() == BATCH_MAX || bytes > BATCH_BYTES_MAX {
                    break;
                }
            }
            for Submitted { name, bytes: _, coming } in submitted {
                let answers = coming.await.ok();
                points::reach(Point::AgentBeforeRemove);
                let fate = match answers.and_then(|answers| answers.into_iter().next()) {
                    Some(Ok(_)) => Fate::Remove,
                    Some(Err(error)) => fate_of(&error),
                    None => Fate::Leave("the agent is stopping".to_owned()),
                };
                is_over |= !self.deal(&name, fate, &mut pass);
            }
            if is_over {
                break;
            }
        }
        let is_held = |uid: &u32| per_user.get(uid).is_some_and(|of_user| of_user.held.is_some());
        pass.is_cut |= !listed.cut.iter().all(is_held);
        pass
    }

    /// Reads a file and puts its event in line; none when its user has had enough of this pass.
    async fn submit(
        &self,
        name: &OsStr,
        per_user: &mut HashMap<u32, OfUser>,
    ) -> Result<Option<(usize, oneshot::Receiver<Answers>)>, Fate> {
        let path = self.path.join(name);
        let (file, uid) = open(&path)?;
        let of_user = per_user.entry(uid).or_default();
        if let Some(no_room) = of_user.held {
            return Err(Fate::Hold(no_room));
        }
        if of_user.files >= FILES_PER_USER_MAX {
            return Ok(None);
        }
        of_user.files += 1;
        let bytes = read(file, &path)?;
        let mut draft = dropped(name, &bytes).map_err(Fate::Reject)?;
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
        // The folder gives its files a group of its own.
        self.desk.allows(&draft.task, &reporter.process, None).map_err(Fate::Reject)?;
        self.desk.may_report_for(draft.host.as_ref()).map_err(Fate::Reject)?;
        self.desk.check_expectation(&draft).map_err(|error| Fate::Reject(error.to_string()))?;
        self.desk.has_room(&reporter.process, bytes.len()).map_err(|no_room| match no_room {
            NoRoom::Reserved => Fate::Skip(no_room.to_string()),
            NoRoom::Over(_) => {
                of_user.held = Some(no_room);
                Fate::Hold(no_room)
            }
        })?;
        let received = self.desk.records.receive();
        match self.desk.records.submit(vec![self.desk.submission(draft, reporter)], received) {
            Ok(coming) => Ok(Some((bytes.len(), coming))),
            Err(error) => Err(fate_of(&error)),
        }
    }

    /// False when the pass is over.
    fn deal(&self, name: &OsStr, fate: Fate, pass: &mut Pass) -> bool {
        let path = self.path.join(name);
        match fate {
            Fate::Gone => {}
            Fate::Remove => match std::fs::remove_file(&path) {
                Ok(()) => pass.taken += 1,
                Err(error) => {
                    pass.failure.get_or_insert(format!(
                        "{} is recorded and cannot be removed: {error}",
                        printable(name)
                    ));
                }
            },
            Fate::Reject(reason) => {
                self.desk.metrics.refuse("drop_file");
                // It may repeat what the file says.
                let reason = self.desk.redactor.text(&reason);
                match self.set_aside(name) {
                    Ok(place) => {
                        pass.rejected += 1;
                        warn!(file = printable(name), %reason, place, "set a dropped file aside");
                    }
                    Err(error) => {
                        pass.failure
                            .get_or_insert(format!("{} cannot be set aside: {error}", printable(name)));
                    }
                }
            }
            Fate::Hold(reason) => {
                pass.held.get_or_insert(reason);
            }
            Fate::Skip(reason) => {
                pass.failure.get_or_insert(reason);
            }
            Fate::Leave(reason) => {
                pass.failure.get_or_insert(reason);
                return false;
            }
        }
        true
    }

    /// Moves a file to `rejected`, under its name or one beside it when that is taken; removes it when that is full.
    fn set_aside(&self, name: &OsStr) -> io::Result<&'static str> {
        let folder = self.path.join(REJECTED);
        if std::fs::read_dir(&folder)?.take(REJECTED_FILES_MAX).count() == REJECTED_FILES_MAX {
            std::fs::remove_file(self.path.join(name))?;
            return Ok("removed: `rejected` is full");
        }
        let mut wanted = folder.join(name);
        if wanted.symlink_metadata().is_ok() {
            let mut other = name.to_owned();
            other.push(format!(".{}", random::uuid()));
            wanted = folder.join(other);
        }
        std::fs::rename(self.path.join(name), wanted)?;
        Ok(REJECTED)
    }
}

fn fate_of(error: &NotTaken) -> Fate {
    match error.class {
        ErrorClass::Invalid | ErrorClass::Denied | ErrorClass::Unauthenticated => {
            Fate::Reject(error.to_string())
        }
        // It is kept; only whoever asked was to be told.
        ErrorClass::Conflict => Fate::Remove,
        ErrorClass::NotFound
        | ErrorClass::Full
        | ErrorClass::Busy
        | ErrorClass::Unavailable
        | ErrorClass::Internal => Fate::Leave(error.to_string()),
    }
}

/// The draft in a dropped file of this name. The same file has the same id whenever it is read: its own, or its name's.
///
/// # Errors
/// Why it can never be used, in words.
pub fn dropped(name: &OsStr, bytes: &[u8]) -> Result<Draft, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let nobody = EventId::from_bytes([0; 16]);
    let named = named_id(name).unwrap_or(nobody);
    let draft = intake::parse(line, || named).map_err(|error| error.to_string())?.draft;
    if draft.id == nobody {
        return Err("it has no id, and its name is none".to_owned());
    }
    Ok(draft)
}

/// A name that anybody may have chosen, for the log: on one line.
fn printable(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

struct Listed {
    /// In order.
    names: Vec<OsString>,
    /// Users of whom there are more.
    cut: BTreeSet<u32>,
    /// Folders, which nobody can have meant.
    folders: u64,
}

/// The first names in order of what is in the folder: not those that begin with a dot, which are still being written.
fn list(folder: &Path) -> io::Result<Listed> {
    let mut first: BinaryHeap<OsString> = BinaryHeap::new();
    let (mut is_cut, mut folders) = (false, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_ours(&name) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders += 1;
            continue;
        }
        first.push(name);
        if first.len() > FILES_MAX {
            first.pop();
            is_cut = true;
        }
    }
    let (names, cut) = if is_cut { crowded(folder)? } else { (first.into_sorted_vec(), BTreeSet::new()) };
    Ok(Listed { names, cut, folders })
}

/// The same where there are more: a share for each user.
fn crowded(folder: &Path) -> io::Result<(Vec<OsString>, BTreeSet<u32>)> {
    let mut crowd = Crowd::new(FILES_PER_USER_MAX);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // What is gone meanwhile has no owner.
        let Ok(about) = entry.metadata() else { continue };
        if !is_ours(&entry.file_name()) && !about.is_dir() {
            crowd.push(about.uid(), entry.file_name());
        }
    }
    Ok(crowd.names(FILES_MAX))
}

/// A dropped file and its owner, without following or blocking, unless it is one that cannot be read.
fn open(path: &Path) -> Result<(std::fs::File, u32), Fate> {
    let bad = |reason: &str| Fate::Reject(reason.to_owned());
    let failed = |error: Errno| {
        let reason = format!("{} cannot be read: {error}", printable(path.as_os_str()));
        match error {
            // Of the agent, or of the machine: every other file would meet the same.
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Fate::Leave(reason),
            _ => Fate::Skip(reason),
        }
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP) => return Err(bad("it is a symbolic link")),
        Err(Errno::NXIO) => return Err(bad("it is not a regular file")),
        Err(Errno::ACCESS) => return Err(bad("the agent may not read it")),
        Err(Errno::NOENT) => return Err(Fate::Gone),
        Err(error) => return Err(failed(error)),
    };
    let about = rustix::fs::fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(bad("it is not a regular file"));
    }
    if about.st_nlink != 1 {
        return Err(bad("it has more than one link"));
    }
    if about.st_size as u64 > LINE_BYTES_MAX as u64 {
        return Err(Fate::Reject(format!("it has more than {LINE_BYTES_MAX} bytes")));
    }
    Ok((std::fs::File::from(file), about.st_uid))
}

/// Its content, and not too much of it.
fn read(file: std::fs::File, path: &Path) -> Result<Vec<u8>, Fate> {
    let mut bytes = Vec::new();
    file.take(LINE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Fate::Skip(format!("{} cannot be read: {error}", printable(path.as_os_str()))))?;
    Ok(bytes)
}
