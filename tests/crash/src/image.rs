//! What is on the disk after a power loss: a record replayed up to a moment, and a choice of what was still on its way. Pure.
//!
//! The model is a page cache. A write changes the cache and makes its pages dirty; a sync copies dirty pages to the disk.
//! A sync that fails makes them clean without that promise: only a page that is written to again gets another chance, as
//! on Linux. Names of files are changed in their order, as a journal does it. Bytes beside a write are never
//! touched (SQLite calls it "powersafe overwrite" and relies on it too).
//!
//! Whatever subset of the writes is kept is applied in their order: writes to one page cannot overtake each other in a page cache, and
//! any order in which different pages reach the disk is, at the moment of the loss, a subset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;

use crate::record::{FileNo, Op};

/// Bytes of a page of the cache.
const PAGE_BYTES: usize = 4096;
/// Bytes that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What becomes of writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// None got there.
    Dropped,
    /// Some got there, each of them whole.
    Subset,
    /// Some got there, some of these only in part, cut where pages meet.
    TornPages,
    /// The same, cut where sectors meet.
    TornSectors,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 4] = [Way::Dropped, Way::Subset, Way::TornPages, Way::TornSectors];

    fn grain(self) -> Option<usize> {
        match self {
            Way::Dropped | Way::Subset => None,
            Way::TornPages => Some(PAGE_BYTES),
            Way::TornSectors => Some(SECTOR_BYTES),
        }
    }
}

/// The files of a folder by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Name and content.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A change of a file that the disk does not have for sure.
#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, bytes: Arc<[u8]> },
    Truncate { length: usize },
}

/// A change of a name, likewise.
#[derive(Clone, Debug)]
enum Naming {
    Put(String, FileNo),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct File {
    disk: Vec<u8>,
    cache: Vec<u8>,
    dirty: BTreeSet<usize>,
    pending: Vec<Pending>,
}

/// The disk as the record goes on. What a failed sync leaves is decided when it fails; all else in [`Replay::image`].
#[derive(Clone, Debug)]
pub struct Replay {
    way: Way,
    choice: Rng,
    files: BTreeMap<FileNo, File>,
    names: BTreeMap<String, FileNo>,
    namings: Vec<Naming>,
}

impl Replay {
    /// An empty folder. The same seed makes the same choices.
    pub fn new(way: Way, seed: u64) -> Replay {
        Replay {
            way,
            choice: Rng::with_seed(seed),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            namings: Vec::new(),
        }
    }

    /// The next thing happens.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Found { file, name, content } => {
                let (disk, cache) = (content.to_vec(), content.to_vec());
                self.files.insert(*file, File { disk, cache, ..File::default() });
                self.names.insert(name.clone(), *file);
            }
            Op::Created { file, name } => {
                self.files.insert(*file, File::default());
                self.namings.push(Naming::Put(name.clone(), *file));
            }
            Op::Write { file, offset, bytes } => self.file(*file).write(*offset, bytes),
            Op::Truncate { file, length } => self.file(*file).truncate(*length),
            Op::Sync { file } => self.file(*file).sync(),
            Op::SyncFailed { file } => {
                let (way, mut choice) = (self.way, self.choice.fork());
                self.file(*file).fail_sync(way, &mut choice);
            }
            Op::SyncNames => self.namings.drain(..).for_each(|naming| rename(&mut self.names, naming)),
            Op::Deleted { name } => self.namings.push(Naming::Remove(name.clone())),
        }
    }

    /// What is there when the power is lost now. The same seed makes the same choices.
    pub fn image(&self, seed: u64) -> Image {
        let mut choice = Rng::with_seed(seed);
        let mut names = self.names.clone();
        let kept = match self.way {
            Way::Dropped => 0,
            Way::Subset | Way::TornPages | Way::TornSectors => choice.usize(..=self.namings.len()),
        };
        self.namings[..kept].iter().cloned().for_each(|naming| rename(&mut names, naming));
        let content = |file: FileNo, choice: &mut Rng| match self.files.get(&file) {
            Some(File { disk, pending, .. }) => survivors(disk.clone(), pending, self.way, choice),
            None => Vec::new(),
        };
        let files = names.into_iter().map(|(name, file)| (name, content(file, &mut choice)));
        Image { files: files.collect() }
    }

    fn file(&mut self, file: FileNo) -> &mut File {
        self.files.entry(file).or_default()
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &Arc<[u8]>) {
        put(&mut self.cache, offset, bytes);
        self.dirty.extend(pages(offset, offset + bytes.len()));
        self.pending.push(Pending::Write { offset, bytes: Arc::clone(bytes) });
    }

    fn truncate(&mut self, length: usize) {
        // What is cut off and comes back later comes back as zeros.
        self.dirty.extend(pages(length.min(self.cache.len()), self.cache.len().max(length)));
        self.cache.resize(length, 0);
        self.pending.push(Pending::Truncate { length });
    }

    fn sync(&mut self) {
        self.disk.resize(self.cache.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let from = (page * PAGE_BYTES).min(self.cache.len());
            let to = (from + PAGE_BYTES).min(self.cache.len());
            self.disk[from..to].copy_from_slice(&self.cache[from..to]);
        }
        self.pending.clear();
    }

    fn fail_sync(&mut self, way: Way, choice: &mut Rng) {
        let disk = std::mem::take(&mut self.disk);
        self.disk = survivors(disk, &self.pending, way, choice);
        self.dirty.clear();
        self.pending.clear();
    }
}

fn rename(names: &mut BTreeMap<String, FileNo>, naming: Naming) {
    match naming {
        Naming::Put(name, file) => drop(names.insert(name, file)),
        Naming::Remove(name) => drop(names.remove(&name)),
    }
}

/// What is on the disk when some of what was on its way got there.
fn survivors(mut disk: Vec<u8>, pending: &[Pending], way: Way, choice: &mut Rng) -> Vec<u8> {
    if way == Way::Dropped {
        return disk;
    }
    // Sometimes nearly all, sometimes next to nothing.
    let per_mille = [150, 500, 850, 1000][choice.usize(..4)];
    for change in pending {
        if choice.u32(..1000) >= per_mille {
            continue;
        }
        match change {
            Pending::Truncate { length } => disk.resize(*length, 0),
            Pending::Write { offset, bytes } => match way.grain().filter(|_| choice.bool()) {
                None => put(&mut disk, *offset, bytes),
                Some(grain) => put_torn(&mut disk, *offset, bytes, grain, choice),
            },
        }
    }
    disk
}

/// Writes some of the pieces between two multiples of `grain`: those up to one of them, or any.
fn put_torn(disk: &mut Vec<u8>, offset: usize, bytes: &[u8], grain: usize, choice: &mut Rng) {
    let end = offset + bytes.len();
    let last = (end - 1) / grain;
    let cut = choice.bool().then(|| choice.usize(offset / grain..=last));
    for piece in offset / grain..=last {
        if cut.map_or_else(|| choice.bool(), |cut| piece < cut) {
            let (from, to) = ((piece * grain).max(offset), ((piece + 1) * grain).min(end));
            put(disk, from, &bytes[from - offset..to - offset]);
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// The pages that a range of bytes touches.
fn pages(from: usize, to: usize) -> std::ops::Range<usize> {
    from / PAGE_BYTES..to.div_ceil(PAGE_BYTES)
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
