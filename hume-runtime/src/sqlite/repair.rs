//! After a fault of the disk: what was committed is moved out of the log, so that nothing is appended to it.
//!
//! After a failed sync the pages in memory may be cleaner than the disk, and a second sync would succeed without having
//! written them. Copying the log into the database writes them again; the log then begins anew.

use rusqlite::Connection;

use super::{Checkpoint, CheckpointReport, SqliteError, checkpoint};

/// Each try to empty the log waits 100 ms for readers, which may take 10 s.
const TRIES_MAX: u32 = if cfg!(test) { 3 } else { 150 };

/// Empties the log, however often a reader is in the way. Only for the writer, outside of a transaction; afterwards the
/// connection is to be opened anew.
/// # Errors
/// [`SqliteError::Step`] if the disk still fails, [`SqliteError::LogInUse`] if it is read for too long.
pub fn empty_log(connection: &Connection) -> Result<(), SqliteError> {
    empty(|| checkpoint(connection, Checkpoint::Truncate))
}

fn empty(mut checkpoint: impl FnMut() -> Result<CheckpointReport, SqliteError>) -> Result<(), SqliteError> {
    for _ in 0..TRIES_MAX {
        if !checkpoint()?.busy {
            return Ok(());
        }
    }
    Err(SqliteError::LogInUse { tries: TRIES_MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_readers_hold_is_tried_again_and_given_up_after_a_bound() {
        let report = |busy| Ok(CheckpointReport { busy, wal_pages: 1, copied_pages: 1 });
        let mut tries = 0;
        let emptied = empty(|| {
            tries += 1;
            report(tries < TRIES_MAX)
        });
        assert!(emptied.is_ok() && tries == TRIES_MAX);
        let held = empty(|| report(true));
        assert!(matches!(held, Err(SqliteError::LogInUse { tries: TRIES_MAX })), "{held:?}");
    }
}
