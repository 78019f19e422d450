//! What the disk allows, without hume: the time of one sync, and rows through plain `SQLite` as fast as one thread can.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hume_runtime::sqlite::{self, Checkpoint, SqliteOptions};

use crate::lines::{LINE_BYTES, Lines};
use crate::stats;

/// Rows of one transaction.
const BATCH_ROWS: usize = 1000;
/// Bytes of the log at which it is copied into the file: what the agent's spool does too.
const WAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Syncs timed for one median.
const SYNCS: usize = 200;
/// Bytes written before each sync: a page.
const SYNC_BYTES: usize = 4096;

/// The columns of the agent's spool, without an index.
const TABLE: &str = "CREATE TABLE event(row INTEGER PRIMARY KEY, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, \
     id BLOB NOT NULL, received_us INTEGER NOT NULL, time_us INTEGER NOT NULL, kind INTEGER NOT NULL, run BLOB, \
     body BLOB NOT NULL) STRICT";
const INSERT: &str = "INSERT INTO event(epoch_no, seq, id, received_us, time_us, kind, run, body) \
     VALUES (1, ?1, ?2, ?3, ?3, 0, ?2, ?4)";

/// The median time of writing a page to the end of a file in `folder` and syncing it.
pub(crate) fn sync_time(folder: &Path) -> anyhow::Result<Duration> {
    let path = folder.join("sync");
    let named = || format!("could not write {}", path.display());
    let mut file = File::create(&path).with_context(named)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0; SYNC_BYTES]).with_context(named)?;
        file.sync_data().with_context(named)?;
        took.push(began.elapsed());
    }
    fs::remove_file(&path).with_context(named)?;
    stats::median(&took).context("no sync was timed")
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
