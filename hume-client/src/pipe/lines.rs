//! Lines out of what was read: found across reads, of any length, and no more kept of one than is asked for. Pure.

use crate::fitter::Message;

/// What was read and not yet taken as lines: at most one read, and what is kept of one line.
#[derive(Debug)]
pub(super) struct Lines {
    input: Vec<u8>,
    taken: usize,
    /// The line that has begun: what is kept of it, and its true length.
    begun: Message,
    line_bytes_max: usize,
}

impl Lines {
    /// Keeps so much of each line.
    pub(super) fn new(line_bytes_max: usize) -> Lines {
        Lines { input: Vec::new(), taken: 0, begun: Message::default(), line_bytes_max }
    }

    /// Everything was taken that can be taken without more input.
    pub(super) fn is_hungry(&self) -> bool {
        self.taken == self.input.len()
    }

    /// Adds what was read. Only for the hungry.
    pub(super) fn fill(&mut self, input: &[u8]) {
        debug_assert!(self.is_hungry());
        self.input.clear();
        self.input.extend_from_slice(input);
        self.taken = 0;
    }

    /// The next line that has more in it than white space, without its end.
    pub(super) fn next(&mut self) -> Option<Message> {
        loop {
            let rest = self.input.get(self.taken..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let room = self.line_bytes_max.saturating_sub(self.begun.bytes.len());
            self.begun.bytes.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            self.begun.bytes_total += part.len() as u64;
            self.taken += part.len() + usize::from(end.is_some());
            end?;
            if let Some(line) = self.end() {
                return Some(line);
            }
        }
    }

    /// The line that has begun, as if it had ended.
    pub(super) fn end(&mut self) -> Option<Message> {
        let mut line = std::mem::take(&mut self.begun);
        if line.bytes.len() as u64 == line.bytes_total && line.bytes.last() == Some(&b'\r') {
            line.bytes.pop();
            line.bytes_total -= 1;
        }
        let is_blank = line.bytes.len() as u64 == line.bytes_total && line.bytes.trim_ascii().is_empty();
        (!is_blank).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(line_bytes_max: usize, reads: &[&[u8]]) -> Vec<(String, u64)> {
        let mut lines = Lines::new(line_bytes_max);
        let mut found = Vec::new();
        let shown = |line: Message| (String::from_utf8_lossy(&line.bytes).into_owned(), line.bytes_total);
        for read in reads {
            lines.fill(read);
            found.extend(std::iter::from_fn(|| lines.next()).map(shown));
            assert!(lines.is_hungry());
        }
        found.extend(lines.end().map(shown));
        found
    }

    fn texts(reads: &[&[u8]]) -> Vec<String> {
        lines(100, reads).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn lines_are_found_across_reads_and_the_last_needs_no_end() {
        assert_eq!(texts(&[b"a\nb", b"", b"c\nd"]), ["a", "bc", "d"]);
        assert_eq!(texts(&[b"a\r\nb\r\n"]), ["a", "b"]);
        assert_eq!(texts(&[]), [""; 0]);
    }

    #[test]
    fn lines_of_white_space_are_skipped() {
        assert_eq!(texts(&[b"\n\n a \n\t\n \r\n\nb\n   "]), [" a ", "b"]);
    }

    #[test]
    fn of_a_long_line_the_beginning_is_kept_and_the_length_known() {
        assert_eq!(lines(4, &[b"abcdef", b"gh\nij\n"]), [("abcd".to_owned(), 8), ("ij".to_owned(), 2)]);
        assert_eq!(lines(4, &[b"      x\n"]), [("    ".to_owned(), 7)], "it is not known to be blank");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_reads_the_lines_are_the_same(
            text in "[ab\r\n ]{0,60}",
            cuts in proptest::collection::vec(0..60_usize, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let reads: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let expected: Vec<String> = text
                .split('\n')
                .map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned())
                .filter(|line| !line.trim_ascii().is_empty())
                .collect();
            prop_assert_eq!(texts(&reads), expected);
        }
    }
}
