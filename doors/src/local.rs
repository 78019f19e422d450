//! What scripts of a host hand in: lines at the socket, and files in the drop folder. What is accepted can travel.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use hume_core::EventId;
use hume_core::event::LINE_BYTES_MAX;
use hume_proto::intake;
use humed_agent::intake::{Line, Lines, dropped};

use crate::accepted::accepted;

/// What a connection may hold: the longest line, one read, and what a growing buffer takes beside it.
const HELD_BYTES_MAX: usize = LINE_BYTES_MAX + 64 * 1024;
/// As the agent reads.
const READ_BYTES: usize = 64 * 1024;

/// A line or that it was too long.
type Told = Option<Vec<u8>>;

pub(crate) fn lines(bytes: &[u8]) {
    let whole = cut(bytes, READ_BYTES);
    // However the bytes arrive, these are the lines.
    for size in [1, 7, 4096] {
        if bytes.len() / size < 5000 {
            assert_eq!(cut(bytes, size), whole);
        }
    }
    for line in whole.iter().flatten() {
        assert!(line.len() < LINE_BYTES_MAX);
        let mint = || EventId::from_bytes([5; 16]);
        match intake::parse(line, mint) {
            Ok(parsed) => accepted(&parsed.draft),
            Err(error) => assert!(error.to_string().len() < 2 * LINE_BYTES_MAX),
        }
    }
}

fn cut(bytes: &[u8], size: usize) -> Vec<Told> {
    let mut lines = Lines::default();
    let mut told = Vec::new();
    let mut take = |lines: &mut Lines, is_ended| {
        while let Some(line) = lines.next(is_ended) {
            told.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
    };
    for chunk in bytes.chunks(size) {
        lines.push(chunk);
        assert!(lines.len() <= HELD_BYTES_MAX);
        take(&mut lines, false);
    }
    take(&mut lines, true);
    told
}

/// The name of the file, up to the first zero, then what is in it.
pub(crate) fn drop_file(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (name, content) = bytes.split_at(at);
    let content = content.strip_prefix(&[0]).unwrap_or(content);
    let name = OsStr::from_bytes(name);
    let Ok(draft) = dropped(name, content) else { return };
    assert_ne!(draft.id, EventId::from_bytes([0; 16]));
    assert_eq!(
        dropped(name, content).as_ref(),
        Ok(&draft),
        "the same file is the same event whenever it is read"
    );
    accepted(&draft);
}
