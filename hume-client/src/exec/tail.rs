//! The last bytes of a command's output: a ring of fixed size that knows how much has passed through it.

use std::collections::VecDeque;

use hume_core::fit;

/// Keeps the last bytes, in the order in which they came.
#[derive(Debug)]
pub(super) struct Tail {
    ring: VecDeque<u8>,
    bytes_max: usize,
    bytes_total: u64,
}

impl Tail {
    /// One that keeps at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Tail {
        Tail { ring: VecDeque::new(), bytes_max, bytes_total: 0 }
    }

    /// Adds bytes; the oldest make room.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes_total += bytes.len() as u64;
        let kept = bytes.get(bytes.len().saturating_sub(self.bytes_max)..).unwrap_or_default();
        let surplus = (self.ring.len() + kept.len()).saturating_sub(self.bytes_max);
        self.ring.drain(..surplus);
        self.ring.extend(kept);
    }

    /// How many bytes there were in all.
    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// What is kept, behind a mark when there was more. As text, with what is no UTF-8 escaped, it has at most
    /// `text_bytes_max` bytes: then more is cut, and always at the front.
    pub(super) fn rendered(&self, text_bytes_max: usize) -> Vec<u8> {
        let kept: Vec<u8> = self.ring.iter().copied().collect();
        let is_whole = self.bytes_total == kept.len() as u64;
        if is_whole && text_bytes(&kept) <= text_bytes_max {
            return kept;
        }
        let room = text_bytes_max.saturating_sub(mark(u64::MAX).len());
        let end = last_that_fits(&kept, room);
        let bytes_cut = self.bytes_total - end.len() as u64;
        let mut rendered = mark(bytes_cut).into_bytes();
        rendered.extend_from_slice(end);
        rendered
    }
}

/// What stands for bytes that were cut, on a line of its own.
pub(super) fn mark(bytes_cut: u64) -> String {
    format!("[… {bytes_cut} bytes cut]\n")
}

/// Length of these bytes as text, with what is no UTF-8 escaped.
fn text_bytes(bytes: &[u8]) -> usize {
    fit::text(bytes).value.len()
}

/// The longest end of `bytes` that does not begin within a character and has at most `text_bytes_max` bytes as text.
fn last_that_fits(bytes: &[u8], text_bytes_max: usize) -> &[u8] {
    let mut end = bytes;
    loop {
        // At most three bytes continue a character; more than that is no UTF-8 and stays to be seen.
        let within = end.iter().take(4).take_while(|byte| **byte & 0xC0 == 0x80).count();
        if within < 4 {
            end = end.get(within..).unwrap_or_default();
        }
        let surplus = text_bytes(end).saturating_sub(text_bytes_max);
        if surplus == 0 {
            return end;
        }
        // A byte is at most four in text.
        end = end.get(surplus.div_ceil(4)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(bytes_max: usize, pieces: &[&[u8]]) -> String {
        let mut tail = Tail::new(bytes_max);
        for piece in pieces {
            tail.push(piece);
        }
        String::from_utf8_lossy(&tail.rendered(1000)).into_owned()
    }

    #[test]
    fn a_short_output_is_kept_whole_and_without_a_mark() {
        assert_eq!(rendered(10, &[]), "");
        assert_eq!(rendered(10, &[b"one\n", b"two\n"]), "one\ntwo\n");
        assert_eq!(rendered(8, &[b"one\n", b"two\n"]), "one\ntwo\n");
    }

    #[test]
    fn of_a_long_output_the_end_is_kept_behind_a_mark_that_counts_the_rest() {
        assert_eq!(rendered(7, &[b"one\n", b"two\n"]), "[… 1 bytes cut]\nne\ntwo\n");
        assert_eq!(rendered(3, &[b"0123456789", b"abc"]), "[… 10 bytes cut]\nabc");
        assert_eq!(rendered(0, &[b"abc"]), "[… 3 bytes cut]\n");
    }

    #[test]
    fn the_end_does_not_begin_within_a_character() {
        assert_eq!(rendered(4, &["aé€".as_bytes()]), "[… 3 bytes cut]\n€");
    }

    #[test]
    fn what_would_be_too_long_once_escaped_is_cut_at_the_front() {
        let mut tail = Tail::new(12_288);
        tail.push(&[0xff; 12_288]);
        tail.push(b"end");
        let rendered = tail.rendered(16_000);
        let text = fit::text(&rendered).value;
        assert!(text.len() <= 16_000 && text.len() > 15_900, "{}", text.len());
        assert!(text.ends_with("\\xFFend") && text.starts_with("[… 8"), "{}", &text[..40]);
    }

    proptest! {
        #[test]
        fn the_tail_is_the_end_of_everything_and_the_mark_counts_what_is_missing(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            bytes_max in 0..120_usize,
            text_bytes_max in 40..400_usize,
        ) {
            let mut tail = Tail::new(bytes_max);
            for piece in &pieces {
                tail.push(piece);
            }
            let all = pieces.concat();
            prop_assert_eq!(tail.bytes_total(), all.len() as u64);
            let rendered = tail.rendered(text_bytes_max);
            prop_assert!(text_bytes(&rendered) <= text_bytes_max);
            if all.len() <= bytes_max && text_bytes(&all) <= text_bytes_max {
                prop_assert_eq!(rendered, all);
            } else {
                let cut = (0..=all.len()).find(|cut| {
                    let mut expected = mark(*cut as u64).into_bytes();
                    expected.extend_from_slice(&all[*cut..]);
                    expected == rendered
                });
                prop_assert!(cut.is_some_and(|cut| cut > 0), "{:?}", rendered);
            }
        }
    }
}
