//! What the disk allows, without hume: the time of one sync, and rows through plain `SQLite` as fast as one thread can.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hume_runtime::sqlite::{self, Checkpoint, SqliteOptions};

use crate::lines::{LINE_BYTES, Lines};
use crate::stats;

/// Rows of one transaction.
const BATCH_ROWS: usize = 1000;
/// Bytes of the log at which it is copied into the file: what the agent's spool does too.
const WAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes written before each sync: a page of the spool.
const SYNC_BYTES: usize = 4096;

/// A row for each event, with what is asked for of it in columns, and without an index.
const TABLE: &str = "CREATE TABLE event(row INTEGER PRIMARY KEY, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, \
     id BLOB NOT NULL, received_us INTEGER NOT NULL, time_us INTEGER NOT NULL, kind INTEGER NOT NULL, run BLOB, \
     body BLOB NOT NULL) STRICT";
const INSERT: &str = "INSERT INTO event(epoch_no, seq, id, received_us, time_us, kind, run, body) \
     VALUES (1, ?1, ?2, ?3, ?3, 0, ?2, ?4)";

/// Times single syncs on the file system of a folder, so that they can take turns with what they are compared with.
pub(crate) struct Syncs {
    path: PathBuf,
    file: File,
    took: Vec<Duration>,
}

impl Syncs {
    /// With a file of its own in `folder`.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Syncs> {
        let path = folder.join("sync");
        let file = File::create(&path).with_context(|| format!("could not make {}", path.display()))?;
        Ok(Syncs { path, file, took: Vec::new() })
    }

    /// Writes pages to the end of the file, so many times, and times each until it is synced.
    pub(crate) fn time(&mut self, times: usize) -> anyhow::Result<()> {
        let named = || format!("could not write {}", self.path.display());
        for _ in 0..times {
            let began = Instant::now();
            self.file.write_all(&[0; SYNC_BYTES]).with_context(named)?;
            self.file.sync_data().with_context(named)?;
            self.took.push(began.elapsed());
        }
        Ok(())
    }

    /// The median of all.
    pub(crate) fn median(&self) -> anyhow::Result<Duration> {
        stats::median(&self.took).context("no sync was timed")
    }
}

/// The time in which these rows go into a new database in `folder`: same settings as hume's, batches of 1,000, one thread.
pub(crate) fn raw_insert(folder: &Path, lines: &Lines) -> anyhow::Result<Duration> {
    let place = tempfile::tempdir_in(folder).context("could not make a folder for a database")?;
    let path = place.path().join("raw.db");
    let options = SqliteOptions { wal_keep_bytes: WAL_BYTES_MAX, ..SqliteOptions::default() };
    let mut connection = sqlite::open_writer(&path, &options)?;
    connection.execute_batch(TABLE)?;
    let rows: Vec<_> = lines.ids.iter().zip(lines.text.chunks_exact(LINE_BYTES + 1)).collect();
    let began = Instant::now();
    let mut seq = 0_i64;
    for batch in rows.chunks(BATCH_ROWS) {
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for (id, line) in batch {
            seq += 1;
            insert.execute(rusqlite::params![seq, id.as_bytes(), seq, line.get(..LINE_BYTES)])?;
        }
        drop(insert);
        transaction.commit()?;
        if sqlite::wal_bytes(&path) >= WAL_BYTES_MAX {
            sqlite::checkpoint(&connection, Checkpoint::Truncate)?;
        }
    }
    Ok(began.elapsed())
}
