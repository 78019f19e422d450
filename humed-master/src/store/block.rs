//! The log in blocks: consecutive events of one epoch that came together, as bytes.
//!
//! A block has two byte strings: the bodies exactly as agents encoded them, and a few bytes for each event by which most
//! questions pass over it without decoding it. An index of the log names blocks, not events, so it is small. Pure.

use std::ops::Range;

use hume_core::varint::{put, put_signed, take, take_bytes, take_signed};
use hume_core::{Event, Seq, Timestamp};
use hume_proto::event::EventBytes;

/// Events of one block. More make the index smaller, and a question for one of them read more in vain.
pub(super) const BLOCK_EVENTS_MAX: i64 = if cfg!(test) { 4 } else { 128 };
/// A block ends with the event that reaches this size.
const BLOCK_BYTES_MAX: usize = 32 * 1024;
/// Blocks whose first ids are the same by so many bits lie in one zone, which knows the bounds of all of them.
pub(super) const ZONE_BITS: u32 = if cfg!(test) { 3 } else { 12 };

/// What events are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Task,
    Host,
    Tag,
    Run,
}

impl Field {
    /// The stable number used in stores.
    pub(super) fn index(self) -> i64 {
        match self {
            Field::Task => 0,
            Field::Host => 1,
            Field::Tag => 2,
            Field::Run => 3,
        }
    }
}

/// What is kept of an event beside its bytes; names by the numbers they have in this store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// By the event's own word, in microseconds.
    pub(super) time_us: i64,
    /// [`EventKind::index`](hume_core::event::EventKind::index).
    pub(super) kind: u8,
    /// [`Level::rank`](hume_core::Level::rank).
    pub(super) rank: u8,
    pub(super) task_no: i64,
    pub(super) host_no: i64,
    pub(super) run_no: Option<i64>,
}

impl Mark {
    /// The mark of an event whose names have these numbers.
    pub(super) fn of(event: &Event, task_no: i64, host_no: i64, run_no: Option<i64>) -> Mark {
        let (kind, rank) = (event.kind.index() as u8, event.level.rank());
        Mark { time_us: event.time.as_micros(), kind, rank, task_no, host_no, run_no }
    }
}

/// Bounds of some events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) rank_max: u8,
}

impl Bounds {
    fn of(mark: &Mark) -> Bounds {
        Bounds { from_us: mark.time_us, to_us: mark.time_us, rank_max: mark.rank }
    }

    /// The bounds of these events and those.
    pub(super) fn and(self, other: Bounds) -> Bounds {
        Bounds {
            from_us: self.from_us.min(other.from_us),
            to_us: self.to_us.max(other.to_us),
            rank_max: self.rank_max.max(other.rank_max),
        }
    }
}

/// A block to which events are being added; never empty.
#[derive(Debug)]
pub(super) struct Draft {
    /// The place of its first event.
    pub(super) first: Seq,
    pub(super) arrived_at: Timestamp,
    pub(super) events: i64,
    pub(super) bounds: Bounds,
    pub(super) marks: Vec<u8>,
    pub(super) bodies: Vec<u8>,
    /// What its events are found by, each once.
    pub(super) mentions: Vec<(Field, i64)>,
    last: Mark,
}

impl Draft {
    /// A block that begins with this event.
    pub(super) fn begin(
        first: Seq,
        arrived_at: Timestamp,
        mark: Mark,
        tag_nos: &[i64],
        body: &EventBytes,
    ) -> Draft {
        let mut draft = Draft {
            first,
            arrived_at,
            events: 0,
            bounds: Bounds::of(&mark),
            marks: Vec::with_capacity(16 * BLOCK_EVENTS_MAX as usize),
            bodies: Vec::with_capacity(256 * BLOCK_EVENTS_MAX as usize),
            mentions: Vec::new(),
            last: Mark::default(),
        };
        draft.add(mark, tag_nos, body);
        draft
    }

    /// Adds the event at the next place.
    pub(super) fn add(&mut self, mark: Mark, tag_nos: &[i64], body: &EventBytes) {
        put_mark(&mut self.marks, mark, self.last);
        put(&mut self.bodies, body.len() as u64);
        self.bodies.extend_from_slice(body.as_slice());
        self.bounds = self.bounds.and(Bounds::of(&mark));
        self.events += 1;
        // Most events have the names of the one before.
        if mark.task_no != self.last.task_no {
            self.mention(Field::Task, mark.task_no);
        }
        if mark.host_no != self.last.host_no {
            self.mention(Field::Host, mark.host_no);
        }
        if let Some(run_no) = mark.run_no.filter(|_| mark.run_no != self.last.run_no) {
            self.mention(Field::Run, run_no);
        }
        for tag_no in tag_nos {
            self.mention(Field::Tag, *tag_no);
        }
        self.last = mark;
    }

    /// True when the next event begins another block.
    pub(super) fn is_full(&self) -> bool {
        self.events >= BLOCK_EVENTS_MAX || self.bodies.len() >= BLOCK_BYTES_MAX
    }

    fn mention(&mut self, field: Field, no: i64) {
        if !self.mentions.contains(&(field, no)) {
            self.mentions.push((field, no));
        }
    }
}

/// A mark, told from the one before.
fn put_mark(to: &mut Vec<u8>, mark: Mark, before: Mark) {
    let Mark { time_us, kind, rank, task_no, host_no, run_no } = mark;
    to.push(kind << 4 | rank);
    put_signed(to, time_us.wrapping_sub(before.time_us));
    put_signed(to, task_no.wrapping_sub(before.task_no));
    put_signed(to, host_no.wrapping_sub(before.host_no));
    put_signed(to, run_no.unwrap_or(0).wrapping_sub(before.run_no.unwrap_or(0)));
}

/// Reads the marks of a block; none where the bytes are no marks.
pub(super) fn marks(mut bytes: &[u8], events: i64) -> Option<Vec<Mark>> {
    let mut marks = Vec::with_capacity(events.clamp(0, BLOCK_EVENTS_MAX) as usize);
    let mut before = Mark::default();
    let from = &mut bytes;
    for _ in 0..events {
        let kind_and_rank = *take_bytes(from, 1)?.first()?;
        let mut number = |before: i64| Some(before.wrapping_add(take_signed(from)?));
        before = Mark {
            kind: kind_and_rank >> 4,
            rank: kind_and_rank & 0xf,
            time_us: number(before.time_us)?,
            task_no: number(before.task_no)?,
            host_no: number(before.host_no)?,
            run_no: Some(number(before.run_no.unwrap_or(0))?).filter(|no| *no != 0),
        };
        marks.push(before);
    }
    bytes.is_empty().then_some(marks)
}

/// Where the bodies of a block's events lie; none where the bytes are no bodies.
pub(super) fn bodies(bytes: &[u8], events: usize) -> Option<Vec<Range<usize>>> {
    let mut rest = bytes;
    let found = (0..events).map(|_| {
        let length = take(&mut rest)?;
        let begin = bytes.len() - rest.len();
        take_bytes(&mut rest, length).map(|body| begin..begin + body.len())
    });
    let found = found.collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark() -> impl Strategy<Value = Mark> {
        let names = (1_i64..4, 1..i64::MAX, proptest::option::of(1..i64::MAX));
        (any::<i64>(), 0_u8..5, 0_u8..7, names).prop_map(
            |(time_us, kind, rank, (task_no, host_no, run_no))| Mark {
                time_us,
                kind,
                rank,
                task_no,
                host_no,
                run_no,
            },
        )
    }

    proptest! {
        #[test]
        fn a_block_reads_back_and_mentions_what_it_holds(
            events in proptest::collection::vec(
                (mark(), proptest::collection::vec(0_i64..3, 0..3), proptest::collection::vec(any::<u8>(), 0..300)), 1..9),
        ) {
            let mut draft: Option<Draft> = None;
            for (mark, tags, body) in &events {
                let body = EventBytes::from_raw(body.clone());
                match &mut draft {
                    Some(draft) => draft.add(*mark, tags, &body),
                    None => draft = Some(Draft::begin(Seq::ZERO, Timestamp::EPOCH, *mark, tags, &body)),
                }
            }
            let draft = draft.unwrap();
            let expected: Vec<Mark> = events.iter().map(|(mark, _, _)| *mark).collect();
            prop_assert_eq!(marks(&draft.marks, draft.events), Some(expected.clone()));
            let ranges = bodies(&draft.bodies, events.len()).unwrap();
            for (range, (_, _, body)) in ranges.into_iter().zip(&events) {
                prop_assert_eq!(&draft.bodies[range], body.as_slice());
            }
            for (mark, tags, _) in &events {
                prop_assert!(draft.mentions.contains(&(Field::Task, mark.task_no)));
                prop_assert!(draft.mentions.contains(&(Field::Host, mark.host_no)));
                prop_assert!(mark.run_no.is_none_or(|no| draft.mentions.contains(&(Field::Run, no))));
                prop_assert!(tags.iter().all(|no| draft.mentions.contains(&(Field::Tag, *no))));
                prop_assert!(draft.bounds.from_us <= mark.time_us && mark.time_us <= draft.bounds.to_us);
                prop_assert!(mark.rank <= draft.bounds.rank_max);
            }
            let once: std::collections::HashSet<_> =
                draft.mentions.iter().map(|(field, no)| (field.index(), *no)).collect();
            prop_assert_eq!(once.len(), draft.mentions.len());
        }

        #[test]
        fn any_bytes_are_a_block_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..100), events in 0_i64..9) {
            prop_assert!(marks(&bytes, events).is_none_or(|marks| marks.len() as i64 == events));
            let found = bodies(&bytes, events as usize);
            prop_assert!(found.is_none_or(|bodies| bodies.len() as i64 == events));
        }
    }
}
