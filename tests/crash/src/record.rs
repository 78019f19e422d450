//! What happened to the files of one folder, in the order in which it happened. Pure.
//!
//! A position in a [`Record`] is a moment: everything before it has happened. Tests note the position at which they were
//! answered, and ask later what a power loss at another position may have taken away.

use std::sync::Arc;

/// A file, not its name: what is made anew under an old name is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo(pub usize);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file that was there before anybody looked: it, its name and its content are on disk.
    Found {
        /// Which; numbers are given in order.
        file: FileNo,
        /// Its name in the folder.
        name: String,
        /// What is in it.
        content: Arc<[u8]>,
    },
    /// An empty file was made; its name is not on disk yet.
    Created {
        /// Which; numbers are given in order.
        file: FileNo,
        /// Its name in the folder.
        name: String,
    },
    /// Bytes were written.
    Write {
        /// Where.
        file: FileNo,
        /// From this byte on.
        offset: usize,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// The file has this length now.
    Truncate {
        /// Which.
        file: FileNo,
        /// In bytes.
        length: usize,
    },
    /// All that was written to the file is on disk.
    Sync {
        /// Which.
        file: FileNo,
    },
    /// A sync failed: the system holds the written pages for clean, and any of them may not be on disk.
    SyncFailed {
        /// Which.
        file: FileNo,
    },
    /// The names in the folder are on disk as they are.
    SyncNames,
    /// A name is gone, and not on disk yet that it is.
    Deleted {
        /// Which.
        name: String,
    },
}

/// All that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    ops: Vec<Op>,
}

impl Record {
    /// Notes one more.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// In order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The position after the last.
    pub fn end(&self) -> usize {
        self.ops.len()
    }

    /// The moments at which a power loss takes most: right before anything gets on disk for sure, and the end. What a loss
    /// between two writes leaves is among what a loss before the next sync may leave.
    pub fn boundaries(&self) -> Vec<usize> {
        let syncs = self.ops.iter().enumerate().filter(|(_, op)| is_sync(op)).map(|(at, _)| at);
        syncs.chain([self.end()]).collect()
    }
}

fn is_sync(op: &Op) -> bool {
    match op {
        Op::Sync { .. } | Op::SyncFailed { .. } | Op::SyncNames => true,
        Op::Found { .. }
        | Op::Created { .. }
        | Op::Write { .. }
        | Op::Truncate { .. }
        | Op::Deleted { .. } => false,
    }
}
