//! Events that were appended together, as two byte strings: their bodies exactly as they were encoded, and a mark of each.
//!
//! Marks are what the spool must know of an event without decoding it. Those of a block carry a check sum of their own, so
//! damaged ones are never believed. Places in a block grow; where events were removed alone, some are missing. Pure.

use hume_core::name::EventId;
use hume_core::varint::{put, put_signed, take, take_bytes, take_signed};

/// Events of one block. Few in tests, so that they meet several blocks.
pub(super) const BLOCK_EVENTS_MAX: usize = if cfg!(test) { 4 } else { 128 };
/// A block ends with the event that reaches this size.
const BLOCK_BYTES_MAX: usize = 32 * 1024;

const ID_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

/// What is kept of an event beside its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Epoch and place: see [`row_of`](super::types::row_of).
    pub(super) row: i64,
    pub(super) id: EventId,
    pub(super) received_us: i64,
    /// By the event's own word.
    pub(super) time_us: i64,
    /// [`EventKind::index`](hume_core::event::EventKind::index).
    pub(super) kind: u8,
    /// The number of its run's row.
    pub(super) run_no: Option<i64>,
    /// CRC-32 of the body.
    pub(super) crc: u32,
    /// Length of the body.
    pub(super) bytes: u64,
}

/// A block to which events are being added.
#[derive(Debug, Default)]
pub(super) struct Draft {
    marks: Vec<Mark>,
    bodies: Vec<u8>,
}

impl Draft {
    /// Adds an event that stands after those that are there, in the same epoch.
    pub(super) fn add(&mut self, mark: Mark, body: &[u8]) {
        self.marks.push(mark);
        self.bodies.extend_from_slice(body);
    }

    /// True when the next event begins another block.
    pub(super) fn is_full(&self) -> bool {
        self.marks.len() >= BLOCK_EVENTS_MAX || self.bodies.len() >= BLOCK_BYTES_MAX
    }

    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    pub(super) fn bodies(&self) -> &[u8] {
        &self.bodies
    }

    /// Goes on with an empty one, in the same memory.
    pub(super) fn clear(&mut self) {
        self.marks.clear();
        self.bodies.clear();
    }
}

/// The marks of a block as bytes: the ids, what else there is of each event told from the one before, and a check sum.
pub(super) fn encode(marks: &[Mark]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(marks.len() * 2 * ID_BYTES + CRC_BYTES);
    for mark in marks {
        bytes.extend_from_slice(mark.id.as_bytes());
    }
    let mut before = before(marks.first().map_or(0, |mark| mark.row));
    for mark in marks {
        let Mark { row, id: _, received_us, time_us, kind, run_no, crc, bytes: length } = *mark;
        bytes.push(kind);
        bytes.extend_from_slice(&crc.to_le_bytes());
        put(&mut bytes, row.wrapping_sub(before.row + 1) as u64);
        put(&mut bytes, length);
        put_signed(&mut bytes, received_us.wrapping_sub(before.received_us));
        put_signed(&mut bytes, time_us.wrapping_sub(before.time_us));
        put_signed(&mut bytes, run_no.unwrap_or(0).wrapping_sub(before.run_no.unwrap_or(0)));
        before = *mark;
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// What the first mark of a block is told from.
fn before(first_row: i64) -> Mark {
    Mark {
        row: first_row - 1,
        id: EventId::from_bytes([0; ID_BYTES]),
        received_us: 0,
        time_us: 0,
        kind: 0,
        run_no: None,
        crc: 0,
        bytes: 0,
    }
}

/// Reads the marks of a block whose first event stands at `first_row`; none where the bytes are not what was written.
pub(super) fn decode(bytes: &[u8], first_row: i64, events: usize) -> Option<Vec<Mark>> {
    let (ids, mut rest) = split(bytes, events)?;
    let mut marks = Vec::with_capacity(events);
    let mut before = before(first_row);
    for id in ids.chunks_exact(ID_BYTES) {
        let kind = *take_bytes(&mut rest, 1)?.first()?;
        let crc = u32::from_le_bytes(take_bytes(&mut rest, CRC_BYTES as u64)?.try_into().ok()?);
        let step = i64::try_from(take(&mut rest)?).ok()?;
        let length = take(&mut rest)?;
        let mut number = |before: i64| Some(before.wrapping_add(take_signed(&mut rest)?));
        before = Mark {
            row: before.row.checked_add(1)?.checked_add(step)?,
            id: EventId::from_slice(id)?,
            received_us: number(before.received_us)?,
            time_us: number(before.time_us)?,
            kind,
            run_no: Some(number(before.run_no.unwrap_or(0))?).filter(|no| *no != 0),
            crc,
            bytes: length,
        };
        marks.push(before);
    }
    rest.is_empty().then_some(marks)
}

/// The ids alone, in order.
pub(super) fn ids(bytes: &[u8], events: usize) -> Option<impl Iterator<Item = EventId>> {
    let (ids, _) = split(bytes, events)?;
    Some(ids.chunks_exact(ID_BYTES).filter_map(EventId::from_slice))
}

/// The ids and the rest of marks that are whole.
fn split(bytes: &[u8], events: usize) -> Option<(&[u8], &[u8])> {
    let (marks, sum) = bytes.split_last_chunk::<CRC_BYTES>()?;
    if crc32fast::hash(marks) != u32::from_le_bytes(*sum) {
        return None;
    }
    marks.split_at_checked(events.checked_mul(ID_BYTES)?)
}

/// The body of each event, in order; none where the bytes are not those of these marks.
pub(super) fn bodies<'a>(marks: &[Mark], bytes: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let mut rest = bytes;
    let bodies = marks.iter().map(|mark| take_bytes(&mut rest, mark.bytes)).collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Marks in order of place, and a body for each.
    fn events() -> impl Strategy<Value = Vec<(Mark, Vec<u8>)>> {
        let body = proptest::collection::vec(any::<u8>(), 0..300);
        let numbers = (any::<i64>(), any::<i64>(), proptest::option::of(1..i64::MAX));
        let event = (0_i64..3, any::<[u8; 16]>(), numbers, 0_u8..5, body);
        proptest::collection::vec(event, 1..9).prop_map(|events| {
            let mut row = 1 << 40;
            let mark = |(step, id, (received_us, time_us, run_no), kind, body): (_, _, _, _, Vec<u8>)| {
                row += 1 + step;
                let (crc, bytes) = (crc32fast::hash(&body), body.len() as u64);
                let id = EventId::from_bytes(id);
                (Mark { row, id, received_us, time_us, kind, run_no, crc, bytes }, body)
            };
            events.into_iter().map(mark).collect()
        })
    }

    proptest! {
        #[test]
        fn a_block_reads_back_and_no_changed_byte_of_its_marks_is_believed(
            events in events(),
            at in any::<proptest::sample::Index>(),
            bits in 1_u8..=255,
        ) {
            let mut draft = Draft::default();
            for (mark, body) in &events {
                draft.add(*mark, body);
            }
            let marks: Vec<Mark> = events.iter().map(|(mark, _)| *mark).collect();
            let mut bytes = encode(draft.marks());
            prop_assert_eq!(decode(&bytes, marks[0].row, marks.len()), Some(marks.clone()));
            let found: Vec<EventId> = ids(&bytes, marks.len()).unwrap().collect();
            prop_assert_eq!(found, marks.iter().map(|mark| mark.id).collect::<Vec<_>>());
            let expected: Vec<&[u8]> = events.iter().map(|(_, body)| body.as_slice()).collect();
            prop_assert_eq!(bodies(&marks, draft.bodies()), Some(expected));
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            prop_assert_eq!(decode(&bytes, marks[0].row, marks.len()), None);
            prop_assert!(ids(&bytes, marks.len()).is_none());
        }

        #[test]
        fn any_bytes_are_marks_or_none(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), events in 0_usize..6) {
            // What a sum holds for, whatever it is.
            let sum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            prop_assert!(decode(&bytes, 1, events).is_none_or(|marks| marks.len() == events));
        }
    }
}
