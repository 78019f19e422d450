//! Bytes of a connection cut into lines, however they arrive: at most one line's bound and one read are held.
//!
//! Pure: whoever reads puts the bytes in. A line over the bound is told once and skipped to its end.

use hume_core::event::LINE_BYTES_MAX;

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;

/// One line without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Within the bound.
    Whole(&'a [u8]),
    /// Over it: told once.
    TooLong,
}

/// Bytes that were read and not yet taken as lines; never holds more than one line's bound and one read.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    taken: usize,
    /// Where to go on looking for a newline.
    searched: usize,
    /// Within a line that is over the bound: skip to its end.
    skipping: bool,
}

impl Lines {
    /// Where the next bytes of the stream are to be put, behind those that are there.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// Adds the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room().extend_from_slice(bytes);
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when no byte is held.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn is_within_a_line(&self) -> bool {
        self.skipping || self.taken < self.bytes.len()
    }

    /// True when [`next`](Self::next) may have something.
    pub(super) fn has_line(&self, ended: bool) -> bool {
        let bytes = self.bytes.get(self.taken..).unwrap_or_default();
        if ended { !bytes.is_empty() } else { bytes.contains(&b'\n') }
    }

    /// The next line; with `ended`, what is left without a newline is a line too. Blank lines are skipped.
    pub fn next(&mut self, ended: bool) -> Option<Line<'_>> {
        loop {
            let newline = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
            let end = match newline {
                Some(offset) => self.searched + offset,
                None if ended && self.taken < self.bytes.len() => self.bytes.len(),
                None => {
                    self.searched = self.bytes.len();
                    if self.bytes.len() - self.taken < LINE_BYTES_MAX {
                        return None;
                    }
                    self.taken = self.bytes.len();
                    if std::mem::replace(&mut self.skipping, true) {
                        return None;
                    }
                    return Some(Line::TooLong);
                }
            };
            let from = self.taken;
            self.taken = (end + 1).min(self.bytes.len());
            self.searched = self.taken;
            let is_skipped = std::mem::take(&mut self.skipping);
            if is_skipped || self.bytes[from..end].iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = &self.bytes[from..end];
            let whole = line.strip_suffix(b"\r").unwrap_or(line);
            return Some(if whole.len() < LINE_BYTES_MAX { Line::Whole(whole) } else { Line::TooLong });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each line, or none for one that is too long.
    fn lines(chunks: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let owned = |line: Line<'_>| match line {
            Line::Whole(bytes) => Some(bytes.to_vec()),
            Line::TooLong => None,
        };
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            lines.push(chunk);
            while let Some(line) = lines.next(false) {
                out.push(owned(line));
            }
            if index + 1 == chunks.len() {
                while let Some(line) = lines.next(true) {
                    out.push(owned(line));
                }
            }
        }
        out
    }

    #[test]
    fn lines_are_found_across_reads_and_the_last_needs_no_newline() {
        let whole = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines(&[b"a\nb", b"c\r\n\n \nd"]), [whole("a"), whole("bc"), whole("d")]);
    }

    #[test]
    fn a_line_over_the_bound_is_told_once_and_skipped_to_its_end() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&long, &long, b"xx\nnext\n"]), [None, Some(b"next".to_vec())]);
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r'), Just(b' ')], 0..200),
            cut in 0usize..200,
        ) {
            let cut = cut.min(text.len());
            prop_assert_eq!(lines(&[&text]), lines(&[&text[..cut], &text[cut..]]));
        }
    }
}
