//! The output of a command that is to be silent unless it fails: its beginning and its end, within one bound of memory.

use std::collections::VecDeque;

use super::tail::mark;

/// Most bytes held of one run; half of them from its beginning, half from its end.
const BYTES_MAX: usize = 1024 * 1024;
/// What a piece takes beside its bytes, so that many small ones are bounded too.
const PIECE_BYTES: usize = 64;
/// Most bytes of one piece, so that the end is given up in small steps.
const PIECE_BYTES_MAX: usize = 4096;

/// One of the two streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Bytes that came together on one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where they came, and where they go.
    pub(super) stream: Stream,
    /// Not empty.
    pub(super) bytes: Vec<u8>,
}

/// Pieces in the order in which they came.
#[derive(Debug)]
pub(super) struct Held {
    half_max: usize,
    beginning: Vec<Piece>,
    beginning_taken: usize,
    /// The beginning is full: what comes now belongs to the end.
    is_full: bool,
    end: VecDeque<Piece>,
    end_taken: usize,
    bytes_cut: u64,
}

impl Default for Held {
    fn default() -> Held {
        Held::of(BYTES_MAX)
    }
}

impl Held {
    fn of(bytes_max: usize) -> Held {
        Held {
            half_max: bytes_max / 2,
            beginning: Vec::new(),
            beginning_taken: 0,
            is_full: false,
            end: VecDeque::new(),
            end_taken: 0,
            bytes_cut: 0,
        }
    }

    /// Adds bytes; of the end the oldest make room.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        for bytes in bytes.chunks(PIECE_BYTES_MAX) {
            self.push_piece(stream, bytes);
        }
    }

    fn push_piece(&mut self, stream: Stream, bytes: &[u8]) {
        self.is_full |= self.beginning_taken + PIECE_BYTES + bytes.len() > self.half_max;
        if !self.is_full {
            self.beginning_taken += added(self.beginning.last_mut(), stream, bytes).unwrap_or_else(|piece| {
                let taken = PIECE_BYTES + piece.bytes.len();
                self.beginning.push(piece);
                taken
            });
            return;
        }
        self.end_taken += added(self.end.back_mut(), stream, bytes).unwrap_or_else(|piece| {
            let taken = PIECE_BYTES + piece.bytes.len();
            self.end.push_back(piece);
            taken
        });
        while self.end_taken > self.half_max
            && let Some(oldest) = self.end.pop_front()
        {
            self.end_taken -= PIECE_BYTES + oldest.bytes.len();
            self.bytes_cut += oldest.bytes.len() as u64;
        }
    }

    /// All pieces, with a mark on the stream of the next one where some are missing.
    pub(super) fn into_pieces(self) -> VecDeque<Piece> {
        let Held { beginning, end, bytes_cut, .. } = self;
        let stream = end.front().or(beginning.last()).map_or(Stream::Err, |piece| piece.stream);
        let mark = (bytes_cut > 0).then(|| Piece { stream, bytes: format!("\n{}", mark(bytes_cut)).into() });
        beginning.into_iter().chain(mark).chain(end).collect()
    }
}

/// Adds the bytes to the last piece when it is of the same stream and not full: how many were added. A new piece otherwise.
fn added(last: Option<&mut Piece>, stream: Stream, bytes: &[u8]) -> Result<usize, Piece> {
    match last {
        Some(piece) if piece.stream == stream && piece.bytes.len() + bytes.len() <= PIECE_BYTES_MAX => {
            piece.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        Some(_) | None => Err(Piece { stream, bytes: bytes.to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(held: Held) -> Vec<(Stream, String)> {
        let text = |piece: Piece| (piece.stream, String::from_utf8(piece.bytes).unwrap());
        held.into_pieces().into_iter().map(text).collect()
    }

    #[test]
    fn pieces_keep_their_order_and_their_stream() {
        let mut held = Held::default();
        for (stream, bytes) in
            [(Stream::Out, "a"), (Stream::Out, "b"), (Stream::Err, "c"), (Stream::Out, "d")]
        {
            held.push(stream, bytes.as_bytes());
        }
        let expected = [(Stream::Out, "ab"), (Stream::Err, "c"), (Stream::Out, "d")];
        assert_eq!(text(held), expected.map(|(stream, text)| (stream, text.to_owned())));
        assert!(Held::default().into_pieces().is_empty());
    }

    #[test]
    fn of_a_flood_the_beginning_and_the_end_are_held_around_a_mark() {
        let mut held = Held::default();
        held.push(Stream::Out, b"first\n");
        for _ in 0..100 {
            held.push(Stream::Out, &vec![b'x'; 100_000]);
        }
        held.push(Stream::Err, b"last\n");
        let pieces = held.into_pieces();
        let total: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        assert!(total <= BYTES_MAX + 100 && total > BYTES_MAX - 100_000, "{total}");
        assert!(pieces[0].bytes.starts_with(b"first\n") && pieces[1].bytes.ends_with(b"xxx"));
        assert_eq!(pieces.back().unwrap(), &Piece { stream: Stream::Err, bytes: b"last\n".to_vec() });
        let marked = |piece: &&Piece| piece.bytes.starts_with("\n[… ".as_bytes());
        assert_eq!(pieces.iter().filter(marked).count(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_but_what_the_mark_counts(
            pushes in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..50)), 0..60),
            bytes_max in 0..4000_usize,
        ) {
            let mut held = Held::of(bytes_max);
            for (is_out, bytes) in &pushes {
                held.push(if *is_out { Stream::Out } else { Stream::Err }, bytes);
            }
            prop_assert!(held.beginning_taken + held.end_taken <= bytes_max);
            let all: Vec<u8> = pushes.iter().flat_map(|(_, bytes)| bytes).copied().collect();
            let kept = |pieces: &mut dyn Iterator<Item = &Piece>| -> Vec<u8> {
                pieces.flat_map(|piece| piece.bytes.clone()).collect()
            };
            let (beginning, end) = (kept(&mut held.beginning.iter()), kept(&mut held.end.iter()));
            prop_assert!(all.starts_with(&beginning));
            prop_assert!(all.ends_with(&end));
            prop_assert_eq!((beginning.len() + end.len()) as u64 + held.bytes_cut, all.len() as u64);
        }
    }
}
