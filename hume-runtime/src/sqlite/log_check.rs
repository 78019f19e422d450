//! Whether the log beside a database ends where a crash would have ended it, or was damaged after it had been synced.
//!
//! `SQLite` takes the log up to the first frame whose checksum is wrong, and says nothing of what follows. After a crash that
//! is a commit that was never confirmed. But each commit is synced before the next one is written: where a later commit
//! follows the broken one, commits that were confirmed are gone. Frames alone are no commit: one that was taken back for want
//! of room leaves some behind. (The format: <https://sqlite.org/fileformat2.html>.)

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{PAGE_BYTES, SqliteError, beside};

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + PAGE_BYTES as usize;
/// The first word of a log; its lowest bit tells the order of bytes that its checksums are made in.
const MAGIC: u32 = 0x377f_0682;

/// Reads the log of a database that was not closed. A log that is missing, or empty, is whole.
/// # Errors
/// [`SqliteError::Damaged`] if commits that were synced are lost.
pub fn check_log(database: &Path) -> Result<(), SqliteError> {
    let Ok(file) = File::open(beside(database, "-wal")) else { return Ok(()) };
    match is_whole(&mut BufReader::new(file)) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(SqliteError::Damaged("commits in its log that were confirmed cannot be read".to_owned()))
        }
        Err(error) => Err(SqliteError::Damaged(format!("its log cannot be read: {error}"))),
    }
}

/// What follows the last frame that is right.
enum After {
    /// Nothing of this log was wrong yet.
    Right,
    /// A frame of this commit was wrong.
    Broken,
    /// The commit with the wrong frame is over.
    Over,
}

fn is_whole(log: &mut impl Read) -> io::Result<bool> {
    let mut header = [0; HEADER_BYTES];
    if fill(log, &mut header)? < HEADER_BYTES {
        return Ok(true);
    }
    let mut sum = Checksum { is_big: word(&header, 0) & 1 == 1, words: (0, 0) };
    sum.add(&header[..24]);
    let mut frame = vec![0; FRAME_BYTES];
    if word(&header, 0) & !1 != MAGIC || !sum.is(&header[24..]) {
        // It is one sector, written and synced before the first frame.
        return Ok(fill(log, &mut frame)? < FRAME_BYTES);
    }
    let mut after = After::Right;
    while fill(log, &mut frame)? == FRAME_BYTES {
        let is_of_this_log = frame[8..16] == header[16..24];
        let ends_commit = word(&frame, 4) != 0;
        // From what stands in the frame before, so that frames behind a broken one can still be told.
        sum.add(&frame[..8]);
        sum.add(&frame[24..]);
        let is_right = is_of_this_log && sum.is(&frame[16..24]);
        sum.words = (word(&frame, 16), word(&frame, 20));
        after = match after {
            After::Right if is_right => After::Right,
            // Left over from before the log began anew, or never written.
            After::Right | After::Broken if !is_of_this_log => After::Broken,
            After::Right | After::Broken if ends_commit => After::Over,
            After::Right | After::Broken => After::Broken,
            After::Over if is_right && ends_commit => return Ok(false),
            After::Over => After::Over,
        };
    }
    Ok(true)
}

/// The running sum of a log.
struct Checksum {
    is_big: bool,
    words: (u32, u32),
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let read = |at: usize| {
            let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let (mut one, mut two) = self.words;
        for at in (0..bytes.len()).step_by(8) {
            one = one.wrapping_add(read(at)).wrapping_add(two);
            two = two.wrapping_add(read(at + 4)).wrapping_add(one);
        }
        self.words = (one, two);
    }

    fn is(&self, stored: &[u8]) -> bool {
        (word(stored, 0), word(stored, 4)) == self.words
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Checkpoint, SqliteOptions, checkpoint, open_writer, wal_bytes};

    /// A log of some commits, two frames each at least, after the log had begun anew once.
    fn log() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.db");
        let writer = open_writer(&path, &SqliteOptions::default()).unwrap();
        writer.execute_batch("CREATE TABLE event(body BLOB)").unwrap();
        let append = |times: u32| {
            for _ in 0..times {
                writer.execute("INSERT INTO event VALUES (zeroblob(9000))", []).unwrap();
            }
        };
        append(20);
        checkpoint(&writer, Checkpoint::Passive).unwrap();
        let before = wal_bytes(&path);
        append(5);
        assert_eq!(wal_bytes(&path), before, "frames of the time before follow");
        std::fs::read(beside(&path, "-wal")).unwrap()
    }

    fn whole(log: &[u8]) -> bool {
        is_whole(&mut &log[..]).unwrap()
    }

    /// For each frame of this log whether it ends a commit.
    fn ends(log: &[u8]) -> Vec<bool> {
        let frames = log[HEADER_BYTES..].chunks_exact(FRAME_BYTES);
        frames.take_while(|frame| frame[8..16] == log[16..24]).map(|frame| word(frame, 4) != 0).collect()
    }

    #[test]
    fn a_log_that_a_crash_cut_anywhere_is_whole() {
        let log = log();
        let frames = ends(&log).len();
        assert!(frames >= 10, "{frames}");
        for length in (0..log.len()).step_by(1000) {
            assert!(whole(&log[..length]), "cut after {length} bytes");
        }
        // Whatever was written of the last commit before its sync.
        let last = ends(&log)[..frames - 1].iter().rposition(|end| *end).unwrap() + 1;
        for frame in last..frames {
            let mut torn = log.clone();
            torn[HEADER_BYTES + frame * FRAME_BYTES..][..FRAME_BYTES].fill(0);
            assert!(whole(&torn), "frame {frame} of {frames} was not written");
        }
    }

    #[test]
    fn what_a_commit_that_was_taken_back_left_behind_is_no_later_commit() {
        let log = log();
        let frames = ends(&log).len();
        let last = ends(&log)[..frames - 1].iter().rposition(|end| *end).unwrap() + 1;
        let at = |frame: usize| HEADER_BYTES + frame * FRAME_BYTES;
        // It had begun at the same place, and was longer than the last one: of its frames none ends it.
        let mut left = log[..at(frames)].to_vec();
        for frame in [last, last, last] {
            left.extend_from_slice(&log[at(frame)..at(frame + 1)]);
        }
        assert!(whole(&left));
        // And the power went in the middle of the last one.
        left[at(last)..at(last + 1)].fill(0);
        assert!(whole(&left));
    }

    #[test]
    fn a_bit_that_flips_in_what_was_synced_is_found() {
        let log = log();
        let last = ends(&log)[..ends(&log).len() - 1].iter().rposition(|end| *end).unwrap() + 1;
        for frame in 0..last {
            // In a checksum, and on the page.
            for at in [17, 24, 2000, FRAME_BYTES - 1] {
                let mut flipped = log.clone();
                flipped[HEADER_BYTES + frame * FRAME_BYTES + at] ^= 4;
                assert!(!whole(&flipped), "byte {at} of frame {frame}");
            }
        }
        for at in [0, 9, 17, 25] {
            let mut flipped = log.clone();
            flipped[at] ^= 4;
            assert!(!whole(&flipped), "byte {at} of the header");
        }
    }
}
