//! One folder under watch: what SQLite does to the files in it is recorded, and fails when it is asked to.
//!
//! From [`Disk::watch`] on, whoever opens a database in the folder uses the disk without knowing. Lives in the registry of the process
//! until it is dropped, because SQLite asks by name.

use std::collections::HashMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use crate::fault::{Failure, Fault, Faults, Kind, Operation};
use crate::image::Image;
use crate::record::{FileNo, Op, Record};
use crate::{calls, vfs};

/// A file system in memory, on Linux.
const MEMORY: &str = "/dev/shm";

static WATCHED: Mutex<Vec<Arc<Inner>>> = Mutex::new(Vec::new());

/// A folder under watch, until it is dropped.
#[derive(Debug)]
pub struct Disk(Arc<Inner>);

/// While it lives, every sync of one kind of file waits.
#[derive(Debug)]
pub struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    state: Mutex<State>,
    /// A sync began to wait, or need not wait any more.
    held: Condvar,
}

#[derive(Debug, Default)]
struct State {
    record: Record,
    /// The file behind each name.
    names: HashMap<String, FileNo>,
    /// Length of each file.
    lengths: Vec<usize>,
    /// Made under a name whose folder SQLite syncs with the first sync of the file.
    unnamed: Vec<FileNo>,
    faults: Faults,
    capacity: Option<u64>,
    is_read_only: bool,
    is_lying: bool,
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Hold {
    kind: Kind,
    waiting: usize,
}

impl Disk {
    /// Watches an existing folder. The files in it are on disk as they are.
    /// # Errors
    /// The folder is not there.
    pub fn watch(folder: &Path) -> std::io::Result<Disk> {
        vfs::install();
        calls::install();
        // SQLite asks by the name behind all links.
        let folder = folder.canonicalize()?;
        let inner = Arc::new(Inner { folder, state: Mutex::default(), held: Condvar::new() });
        watched().push(Arc::clone(&inner));
        Ok(Disk(inner))
    }

    /// What happened so far.
    pub fn record(&self) -> Record {
        self.0.state().record.clone()
    }

    /// The position of now in the record.
    pub fn now(&self) -> usize {
        self.0.state().record.end()
    }

    /// Something fails from now on.
    pub fn inject(&self, fault: Fault) {
        self.0.state().faults.add(fault);
    }

    /// All that was asked for is over: faults, the bound, read-only.
    pub fn heal(&self) {
        let mut state = self.0.state();
        state.faults.clear();
        (state.capacity, state.is_read_only) = (None, false);
    }

    /// How often something failed that was asked to.
    pub fn faults(&self) -> u64 {
        self.0.state().faults.happened()
    }

    /// All files of the folder together have room for so many bytes, whoever wrote them; a write that needs more fails. The shared
    /// memory is not counted.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state().capacity = bytes;
    }

    /// Bytes of all files of the folder, without the shared memory.
    pub fn used_bytes(&self) -> u64 {
        used_bytes(&self.0.folder)
    }

    /// The file system is mounted read-only from now on: what changes a file fails, also what is open already.
    pub fn make_read_only(&self) {
        self.0.state().is_read_only = true;
    }

    /// From now on a sync does nothing and says that all went well.
    pub fn lie_about_syncs(&self) {
        self.0.state().is_lying = true;
    }

    /// From now on a sync of such a file waits until the hold is dropped.
    pub fn hold_syncs(&self, kind: Kind) -> Held {
        self.0.state().hold = Some(Hold { kind, waiting: 0 });
        Held(Arc::clone(&self.0))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        watched().retain(|inner| !Arc::ptr_eq(inner, &self.0));
    }
}

impl Held {
    /// Whether a sync waits by now, or begins to within this time.
    pub fn waits_within(&self, time: Duration) -> bool {
        let idle = |state: &mut State| state.hold.as_ref().is_some_and(|hold| hold.waiting == 0);
        let waited = self.0.held.wait_timeout_while(self.0.state(), time, idle);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().hold = None;
        self.0.held.notify_all();
    }
}

impl Image {
    /// Writes the files into an existing folder.
    /// # Errors
    /// One could not be written.
    pub fn write_into(&self, folder: &Path) -> std::io::Result<()> {
        self.files.iter().try_for_each(|(name, content)| std::fs::write(folder.join(name), content))
    }
}

/// Where folders for a test are best made: in memory if the machine has such a place, because hundreds of images are
/// written, and whoever syncs for real must not wait for a disk.
pub fn roomy() -> PathBuf {
    let memory = Path::new(MEMORY);
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A name in a watched folder.
pub(crate) struct Place {
    disk: Arc<Inner>,
    name: String,
    path: PathBuf,
}

/// A file that SQLite has open.
#[derive(Debug)]
pub(crate) struct Tap {
    disk: Arc<Inner>,
    file: FileNo,
    kind: Kind,
}

/// The place of this name, if its folder is watched.
pub(crate) fn place(path: &Path) -> Option<Place> {
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    let disk = watched().iter().find(|inner| inner.folder == folder).map(Arc::clone)?;
    Some(Place { disk, name: name.to_owned(), path: path.to_owned() })
}

/// Whether there is any disk at all.
pub(crate) fn is_any_watched() -> bool {
    !watched().is_empty()
}

/// Bytes that a watched folder has left, if it has a bound.
pub(crate) fn bytes_left(folder: &Path) -> Option<u64> {
    let folder = folder.canonicalize().ok()?;
    let disk = watched().iter().find(|inner| inner.folder == folder).map(Arc::clone)?;
    let most = disk.state().capacity?;
    Some(most.saturating_sub(used_bytes(&disk.folder)))
}

impl Place {
    /// The file as it lies there, which somebody else than SQLite has open. None for one that SQLite never had.
    pub(crate) fn seen(self) -> Option<Tap> {
        let Place { disk, name, .. } = self;
        let file = *disk.state().names.get(&name)?;
        let kind = if name.ends_with("-wal") { Kind::Wal } else { Kind::Main };
        Some(Tap { disk, file, kind })
    }

    /// Whether so many bytes more have room in the folder.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        self.disk.state().capacity.is_none_or(|most| used_bytes(&self.disk.folder) + bytes <= most)
    }

    /// The flags to open it with.
    /// # Errors
    /// It cannot be opened: it would have to be made.
    pub(crate) fn may_open(&self, flags: c_int) -> Result<c_int, c_int> {
        if !self.disk.state().is_read_only {
            return Ok(flags);
        }
        // As the default file system does when it is told that the disk is read-only.
        let without = flags & !(ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE);
        if self.path.exists() { Ok(without | ffi::SQLITE_OPEN_READONLY) } else { Err(ffi::SQLITE_CANTOPEN) }
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// It was opened, and was or was not there before.
    pub(crate) fn opened(self, flags: c_int, before: Before) -> Tap {
        let kind = match flags {
            flags if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => Kind::Main,
            flags if flags & ffi::SQLITE_OPEN_WAL != 0 => Kind::Wal,
            _ => Kind::Other,
        };
        let Place { disk, name, path } = self;
        let file = disk.state().open(name, &path, kind, before);
        Tap { disk, file, kind }
    }

    /// It is to be deleted, by `delete`.
    pub(crate) fn deleted(self, is_synced: bool, delete: impl FnOnce() -> c_int) -> c_int {
        let mut state = self.disk.state();
        if state.is_read_only {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let code = delete();
        if code == ffi::SQLITE_OK && state.names.remove(&self.name).is_some() {
            state.record.push(Op::Deleted { name: self.name });
            if is_synced && !state.is_lying {
                state.record.push(Op::SyncNames);
            }
        }
        code
    }
}

/// Whether a file was there before it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Absent,
    Present,
}

impl Tap {
    pub(crate) fn read(&self, read: impl FnOnce() -> c_int) -> c_int {
        match self.disk.state().faults.strike(Operation::Read, self.kind) {
            Some(_) => ffi::SQLITE_IOERR_READ,
            None => read(),
        }
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8], write: impl FnOnce() -> c_int) -> c_int {
        let mut state = self.disk.state();
        if state.is_read_only {
            return ffi::SQLITE_IOERR_WRITE;
        }
        match state.faults.strike(Operation::Write, self.kind) {
            Some(Failure::Io) => return ffi::SQLITE_IOERR_WRITE,
            Some(Failure::Full) => return ffi::SQLITE_FULL,
            None => {}
        }
        let end = offset + bytes.len();
        let grows_by = end.saturating_sub(state.lengths[self.file.0]) as u64;
        if grows_by > 0 && state.capacity.is_some_and(|most| used_bytes(&self.disk.folder) + grows_by > most)
        {
            return ffi::SQLITE_FULL;
        }
        let code = calls::unseen(write);
        if code == ffi::SQLITE_OK {
            state.lengths[self.file.0] = end.max(state.lengths[self.file.0]);
            state.record.push(Op::Write { file: self.file, offset, bytes: bytes.into() });
        }
        code
    }

    pub(crate) fn truncate(&self, length: usize, truncate: impl FnOnce() -> c_int) -> c_int {
        let mut state = self.disk.state();
        if state.is_read_only {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let code = truncate();
        if code == ffi::SQLITE_OK {
            state.lengths[self.file.0] = length;
            state.record.push(Op::Truncate { file: self.file, length });
        }
        code
    }

    pub(crate) fn sync(&self) -> c_int {
        let mut state = self.disk.let_go(self.kind);
        if state.is_lying {
            return ffi::SQLITE_OK;
        }
        if state.is_read_only || state.faults.strike(Operation::Sync, self.kind).is_some() {
            state.record.push(Op::SyncFailed { file: self.file });
            return ffi::SQLITE_IOERR_FSYNC;
        }
        state.record.push(Op::Sync { file: self.file });
        if let Some(at) = state.unnamed.iter().position(|file| *file == self.file) {
            state.unnamed.remove(at);
            state.record.push(Op::SyncNames);
        }
        ffi::SQLITE_OK
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // What a failed test leaves half done is of no use to anybody.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once no sync of this kind has to wait.
    fn let_go(&self, kind: Kind) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let is_held = |state: &State| state.hold.as_ref().is_some_and(|hold| hold.kind == kind);
        if is_held(&state) {
            if let Some(hold) = &mut state.hold {
                hold.waiting += 1;
            }
            self.held.notify_all();
        }
        self.held.wait_while(state, |state| is_held(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, name: String, path: &Path, kind: Kind, before: Before) -> FileNo {
        if let Some(known) = self.names.get(&name).filter(|_| before == Before::Present) {
            return *known;
        }
        let file = FileNo(self.lengths.len());
        self.names.insert(name.clone(), file);
        match before {
            Before::Absent => {
                self.lengths.push(0);
                // SQLite syncs the folder with the first sync of a log or journal that it made, and of nothing else.
                if kind != Kind::Main {
                    self.unnamed.push(file);
                }
                self.record.push(Op::Created { file, name });
            }
            Before::Present => {
                // SQLite has opened it, so it is there; what cannot be read is missed by the tests soon enough.
                let content = std::fs::read(path).unwrap_or_default();
                self.lengths.push(content.len());
                self.record.push(Op::Found { file, name, content: content.into() });
            }
        }
        file
    }
}

fn watched() -> MutexGuard<'static, Vec<Arc<Inner>>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn used_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let is_memory = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with("-shm");
    let files = entries.flatten().filter(|entry| !is_memory(&entry.file_name()));
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
