//! The fold of a run in a few dozen bytes, for a store that has its names in columns of their own.
//!
//! Packing is total; [`RunState::unpack`] reads what [`RunState::pack`] of this version or an older one wrote, and nothing else.
//! Times are differences to the one before, so most take three bytes instead of eight.

use super::{FirstError, Moment, RunFlag, RunState, Span};
use crate::event::{Correlation, Finding};
use crate::level::LEVEL_COUNT;
use crate::name::{AgentId, EventId, HostName, RunId, TaskName};
use crate::time::Timestamp;
use crate::varint::{put, put_signed, take, take_bytes, take_signed};

/// The first byte. A later form has another one.
const VERSION: u8 = 1;
/// Places of the flags; the list only grows at its end.
const FLAGS: [RunFlag; 8] = [
    RunFlag::Overlapped,
    RunFlag::PreReset,
    RunFlag::StopWithoutStart,
    RunFlag::Implicit,
    RunFlag::Detached,
    RunFlag::Overran,
    RunFlag::TooShort,
    RunFlag::Incomplete,
];

/// What a packed run does not say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunNames {
    /// The run.
    pub id: RunId,
    /// Its task.
    pub task: TaskName,
    /// Its host.
    pub host: HostName,
    /// The agent that reported it.
    pub agent: Option<AgentId>,
}

/// Which of the optional parts follow, a bit each.
#[derive(Clone, Copy)]
enum Part {
    Ended,
    Paused,
    Declared,
    ExitCode,
    ExitSignal,
    EndedAfter,
    FirstError,
    /// Counted levels differ from those by level: there was a reset.
    Counted,
}

impl Part {
    fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// Bits of [`Part`] for those that are there.
fn parts_of(state: &RunState) -> u64 {
    [
        (Part::Ended, state.ended.is_some()),
        (Part::Paused, state.paused.is_some()),
        (Part::Declared, state.declared.is_some()),
        (Part::ExitCode, matches!(state.exit, Some((false, _)))),
        (Part::ExitSignal, matches!(state.exit, Some((true, _)))),
        (Part::EndedAfter, state.ended_after.is_some()),
        (Part::FirstError, state.first_error.is_some()),
        (Part::Counted, state.counted != state.by_level),
    ]
    .into_iter()
    .filter(|(_, is_there)| *is_there)
    .map(|(part, _)| part.bit())
    .sum()
}

impl RunState {
    /// All of it but its [`RunNames`].
    pub fn pack(&self) -> Vec<u8> {
        let mut to = vec![VERSION];
        put(&mut to, parts_of(self));
        put(&mut to, place(&Correlation::ALL, |known| known.as_str() == self.correlation));
        let findings = [&self.aborted, &self.closed];
        for word in findings {
            put(&mut to, place(&Finding::ALL, |known| Some(known.as_str()) == word.as_deref()));
        }
        let mut before = Moment { time: Timestamp::EPOCH, boot: None };
        let moments = [Some(self.started), Some(self.clock_from), Some(self.latest), self.ended, self.paused];
        for moment in moments.into_iter().flatten() {
            put_moment(&mut to, moment, before);
            before = moment;
        }
        for count in [self.paused_us, self.backdated_us, self.events].into_iter().chain(self.by_level) {
            put(&mut to, count);
        }
        if self.counted != self.by_level {
            self.counted.iter().for_each(|count| put(&mut to, *count));
        }
        if let Some(level) = self.declared {
            put(&mut to, level as u64);
        }
        if let Some((_, value)) = self.exit {
            put_signed(&mut to, value.into());
        }
        if let Some(time) = self.ended_after {
            put_signed(&mut to, time.as_micros());
        }
        if let Some(FirstError { id, time, message }) = &self.first_error {
            to.extend_from_slice(id.as_bytes());
            put_signed(&mut to, time.as_micros());
            put(&mut to, message.len() as u64);
            to.extend_from_slice(message.as_bytes());
        }
        let flags = FLAGS.iter().enumerate().filter(|(_, flag)| self.flags.contains(flag));
        put(&mut to, flags.map(|(place, _)| 1 << place).sum());
        put(&mut to, self.spans.len() as u64);
        for Span { epoch, first, last } in &self.spans {
            to.extend_from_slice(epoch);
            put(&mut to, *first);
            put(&mut to, last.wrapping_sub(*first));
        }
        to
    }

    /// What [`pack`](Self::pack) made of the run with these names; none if these bytes are not that.
    pub fn unpack(names: RunNames, bytes: &[u8]) -> Option<RunState> {
        let (version, mut from) = bytes.split_first()?;
        let from = &mut from;
        if *version != VERSION {
            return None;
        }
        let parts = take(from)?;
        let has = |part: Part| parts & part.bit() != 0;
        let correlation = variant(&Correlation::ALL, take(from)?)?.as_str().to_owned();
        let mut word = || match take(from)? {
            0 => Some(None),
            number => Some(Some(variant(&Finding::ALL, number)?.as_str().to_owned())),
        };
        let (aborted, closed) = (word()?, word()?);
        let mut before = Moment { time: Timestamp::EPOCH, boot: None };
        let mut moment = |from: &mut &[u8]| {
            before = take_moment(from, before)?;
            Some(before)
        };
        let (started, clock_from, latest) = (moment(from)?, moment(from)?, moment(from)?);
        let ended = if has(Part::Ended) { Some(moment(from)?) } else { None };
        let paused = if has(Part::Paused) { Some(moment(from)?) } else { None };
        let (paused_us, backdated_us, events) = (take(from)?, take(from)?, take(from)?);
        let by_level = take_levels(from)?;
        let counted = if has(Part::Counted) { take_levels(from)? } else { by_level };
        let declared = if has(Part::Declared) { Some(usize::try_from(take(from)?).ok()?) } else { None };
        let exit = if has(Part::ExitCode) || has(Part::ExitSignal) {
            Some((has(Part::ExitSignal), i32::try_from(take_signed(from)?).ok()?))
        } else {
            None
        };
        let ended_after =
            if has(Part::EndedAfter) { Some(Timestamp::from_micros(take_signed(from)?)) } else { None };
        let first_error = if has(Part::FirstError) { Some(take_error(from)?) } else { None };
        let flags = take(from)?;
        let flags = FLAGS.into_iter().enumerate().filter(|(place, _)| flags & (1 << place) != 0);
        let flags = flags.map(|(_, flag)| flag).collect();
        let spans = (0..take(from)?).map(|_| take_span(from)).collect::<Option<Vec<_>>>()?;
        let RunNames { id, task, host, agent } = names;
        from.is_empty().then(|| RunState {
            id,
            task: task.as_str().to_owned(),
            host: host.as_str().to_owned(),
            agent,
            correlation,
            started,
            clock_from,
            latest,
            ended,
            paused,
            paused_us,
            backdated_us,
            by_level,
            counted,
            events,
            declared,
            exit,
            aborted,
            closed,
            ended_after,
            first_error,
            flags,
            spans,
        })
    }
}

/// The number of the variant that is meant, from 1; 0 for none.
fn place<T>(all: &[T], is_meant: impl Fn(&T) -> bool) -> u64 {
    all.iter().position(is_meant).map_or(0, |place| place as u64 + 1)
}

/// The variant with this number.
fn variant<T: Copy>(all: &[T], number: u64) -> Option<T> {
    all.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
}

/// A moment, told from the one before: 0 without a boot, 1 in the same boot, 2 in one that is named.
fn put_moment(to: &mut Vec<u8>, moment: Moment, before: Moment) {
    put_signed(to, moment.time.as_micros().wrapping_sub(before.time.as_micros()));
    match (moment.boot, before.boot) {
        (None, _) => put(to, 0),
        (Some((boot, micros)), Some((known, then))) if boot == known => {
            put(to, 1);
            put_signed(to, micros.wrapping_sub(then) as i64);
        }
        (Some((boot, micros)), _) => {
            put(to, 2);
            to.extend_from_slice(&boot);
            put(to, micros);
        }
    }
}

fn take_moment(from: &mut &[u8], before: Moment) -> Option<Moment> {
    let time = Timestamp::from_micros(before.time.as_micros().wrapping_add(take_signed(from)?));
    let boot = match (take(from)?, before.boot) {
        (0, _) => None,
        (1, Some((boot, then))) => Some((boot, then.wrapping_add(take_signed(from)? as u64))),
        (2, _) => Some((take_id(from)?, take(from)?)),
        _ => return None,
    };
    Some(Moment { time, boot })
}

fn take_id(from: &mut &[u8]) -> Option<[u8; 16]> {
    take_bytes(from, 16)?.try_into().ok()
}

fn take_levels(from: &mut &[u8]) -> Option<[u64; LEVEL_COUNT]> {
    let mut counts = [0; LEVEL_COUNT];
    for count in &mut counts {
        *count = take(from)?;
    }
    Some(counts)
}

fn take_error(from: &mut &[u8]) -> Option<FirstError> {
    let (id, time) = (EventId::from_bytes(take_id(from)?), Timestamp::from_micros(take_signed(from)?));
    let length = take(from)?;
    let message = std::str::from_utf8(take_bytes(from, length)?).ok()?.to_owned();
    Some(FirstError { id, time, message })
}

fn take_span(from: &mut &[u8]) -> Option<Span> {
    let (epoch, first) = (take_id(from)?, take(from)?);
    Some(Span { epoch, first, last: first.wrapping_add(take(from)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moment() -> impl Strategy<Value = Moment> {
        // Few boots, so that one follows the same one now and then.
        let boot = proptest::option::of((0_u8..3, any::<u64>()));
        (any::<i64>(), boot).prop_map(|(time, boot)| Moment {
            time: Timestamp::from_micros(time),
            boot: boot.map(|(boot, micros)| ([boot; 16], micros)),
        })
    }

    fn error() -> impl Strategy<Value = FirstError> {
        (any::<[u8; 16]>(), any::<i64>(), ".{0,40}").prop_map(|(id, time, message)| FirstError {
            id: EventId::from_bytes(id),
            time: Timestamp::from_micros(time),
            message,
        })
    }

    fn state() -> impl Strategy<Value = RunState> {
        use proptest::option::of;
        let moments = (moment(), moment(), moment(), of(moment()), of(moment()));
        let counts = (any::<[u64; 3]>(), any::<[u64; LEVEL_COUNT]>(), of(any::<[u64; LEVEL_COUNT]>()));
        let word = || of(proptest::sample::select(Finding::ALL.to_vec()));
        let ends = (of(0..LEVEL_COUNT), of((any::<bool>(), any::<i32>())), of(any::<i64>()), word(), word());
        let span = (any::<[u8; 16]>(), any::<u64>(), any::<u64>());
        let span = span.prop_map(|(epoch, first, last)| Span { epoch, first, last });
        let lists =
            (proptest::sample::subsequence(FLAGS.to_vec(), 0..=8), proptest::collection::vec(span, 0..3));
        let ids =
            (any::<[u8; 16]>(), of(any::<[u8; 16]>()), proptest::sample::select(Correlation::ALL.to_vec()));
        (moments, counts, ends, of(error()), lists, ids).prop_map(
            |(moments, counts, ends, first_error, lists, ids)| {
                let (started, clock_from, latest, ended, paused) = moments;
                let ([paused_us, backdated_us, events], by_level, counted) = counts;
                let (declared, exit, ended_after, aborted, closed) = ends;
                RunState {
                    id: RunId::from_bytes(ids.0),
                    task: "BACKUP".to_owned(),
                    host: "web1".to_owned(),
                    agent: ids.1.map(AgentId::from_bytes),
                    correlation: ids.2.as_str().to_owned(),
                    started,
                    clock_from,
                    latest,
                    ended,
                    paused,
                    paused_us,
                    backdated_us,
                    by_level,
                    counted: counted.unwrap_or(by_level),
                    events,
                    declared,
                    exit,
                    aborted: aborted.map(|word| word.as_str().to_owned()),
                    closed: closed.map(|word| word.as_str().to_owned()),
                    ended_after: ended_after.map(Timestamp::from_micros),
                    first_error,
                    flags: lists.0,
                    spans: lists.1,
                }
            },
        )
    }

    fn names(state: &RunState) -> RunNames {
        let host = HostName::parse(&state.host).unwrap();
        RunNames { id: state.id(), task: state.task(), host, agent: state.agent() }
    }

    proptest! {
        #[test]
        fn every_state_reads_back_and_no_part_of_its_bytes_does(state in state(), cut in any::<prop::sample::Index>()) {
            let bytes = state.pack();
            prop_assert_eq!(RunState::unpack(names(&state), &bytes), Some(state.clone()));
            prop_assert_eq!(RunState::unpack(names(&state), &bytes[..cut.index(bytes.len())]), None);
            prop_assert_eq!(RunState::unpack(names(&state), &[bytes.as_slice(), &[0]].concat()), None);
        }

        #[test]
        fn any_bytes_are_a_state_or_none(state in state(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RunState::unpack(names(&state), &bytes);
            let _ = RunState::unpack(names(&state), &[&[VERSION], bytes.as_slice()].concat());
        }
    }

    #[test]
    fn flags_are_kept_in_their_order() {
        assert!(FLAGS.is_sorted());
    }
}
