//! Events that were handed to the agent and are not answered yet, in their order, within bounds. Pure.

use std::collections::VecDeque;

use crate::draft::Prepared;

/// Most events that wait for an answer.
pub(super) const EVENTS_MAX: usize = 256;
/// Most bytes of events that wait for an answer; one event may always be on its way.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often an event is sent: once more over a new connection, where the first was lost.
const TRIES_MAX: u8 = 2;

/// One event on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) prepared: Prepared,
    line: Vec<u8>,
    tries: u8,
}

/// All events on their way.
#[derive(Debug, Default)]
pub(super) struct Window {
    events: VecDeque<Sent>,
    bytes: usize,
    /// How many of them, from the first on, are sent on this connection.
    sent: usize,
    /// How much of the next one is.
    sent_bytes: usize,
}

impl Window {
    /// One more may come.
    pub(super) fn has_room(&self) -> bool {
        self.events.len() < EVENTS_MAX && (self.bytes < BYTES_MAX || self.events.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event and its line.
    pub(super) fn push(&mut self, prepared: Prepared, line: Vec<u8>) {
        self.bytes += line.len();
        self.events.push_back(Sent { prepared, line, tries: 0 });
    }

    /// What is to be sent next.
    pub(super) fn unsent(&self) -> Option<&[u8]> {
        self.events.get(self.sent)?.line.get(self.sent_bytes..)
    }

    /// So much of that was sent.
    pub(super) fn was_sent(&mut self, bytes: usize) {
        let Some(event) = self.events.get_mut(self.sent) else { return };
        if self.sent_bytes == 0 && bytes > 0 {
            event.tries += 1;
        }
        self.sent_bytes += bytes;
        if self.sent_bytes >= event.line.len() {
            self.sent += 1;
            self.sent_bytes = 0;
        }
    }

    /// The event that the next answer is about; none when none was sent.
    pub(super) fn answered(&mut self) -> Option<Sent> {
        self.sent = self.sent.checked_sub(1)?;
        let event = self.events.pop_front()?;
        self.bytes -= event.line.len();
        Some(event)
    }

    /// The connection was lost: all that is here is to be sent anew, except what was sent often enough.
    pub(super) fn start_anew(&mut self) -> Vec<Sent> {
        let (given_up, kept) = self.take_all().into_iter().partition(|event| event.tries >= TRIES_MAX);
        self.events = VecDeque::from(kept);
        self.bytes = self.events.iter().map(|event| event.line.len()).sum();
        given_up
    }

    /// Everything that is here.
    pub(super) fn take_all(&mut self) -> Vec<Sent> {
        std::mem::take(self).events.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_proto::intake::DraftLine;
    use proptest::prelude::*;

    fn event(number: usize) -> Prepared {
        let line = DraftLine { message: number.to_string(), ..DraftLine::default() };
        Prepared { line, changed: Vec::new(), remarks: Vec::new() }
    }

    fn number(event: &Sent) -> usize {
        event.prepared.line.message.parse().unwrap()
    }

    #[test]
    fn there_is_room_for_so_many_events_and_so_many_bytes_and_always_for_one() {
        let mut window = Window::default();
        for n in 0..EVENTS_MAX {
            assert!(window.has_room());
            window.push(event(n), vec![0; 10]);
        }
        assert!(!window.has_room());
        let mut window = Window::default();
        window.push(event(0), vec![0; BYTES_MAX]);
        assert!(!window.has_room());
        window.was_sent(BYTES_MAX);
        window.answered();
        assert!(window.has_room() && window.is_empty());
    }

    #[test]
    fn what_was_sent_twice_is_given_up_and_what_was_never_sent_is_not() {
        let mut window = Window::default();
        for n in 0..3 {
            window.push(event(n), vec![0; 10]);
        }
        window.was_sent(10);
        window.was_sent(4);
        assert!(window.start_anew().is_empty());
        assert_eq!(window.unsent().map(<[u8]>::len), Some(10), "from the beginning of the first");
        window.was_sent(10);
        let given_up = window.start_anew();
        assert_eq!(given_up.iter().map(number).collect::<Vec<_>>(), [0]);
        assert_eq!(window.events.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn an_answer_to_nothing_is_noticed() {
        let mut window = Window::default();
        window.push(event(0), vec![0; 10]);
        window.was_sent(9);
        assert!(window.answered().is_none());
    }

    proptest! {
        #[test]
        fn whatever_happens_every_event_leaves_once_and_in_its_order_and_is_sent_twice_at_most(
            steps in proptest::collection::vec((0..4_u8, 1..30_usize), 0..200),
        ) {
            let mut window = Window::default();
            let mut pushed = 0;
            let mut left: Vec<usize> = Vec::new();
            for (step, count) in steps {
                match step {
                    0 if window.has_room() => {
                        window.push(event(pushed), vec![0; count]);
                        pushed += 1;
                    }
                    1 => {
                        let most = window.unsent().map_or(0, <[u8]>::len);
                        window.was_sent(count.min(most));
                    }
                    2 => left.extend(window.answered().iter().map(number)),
                    _ => {
                        let given_up = window.start_anew();
                        prop_assert!(given_up.iter().all(|event| event.tries == TRIES_MAX));
                        left.extend(given_up.iter().map(number));
                    }
                }
                let bytes: usize = window.events.iter().map(|event| event.line.len()).sum();
                prop_assert_eq!(window.bytes, bytes);
            }
            left.extend(window.take_all().iter().map(number));
            left.sort_unstable();
            prop_assert_eq!(left, (0..pushed).collect::<Vec<_>>());
        }
    }
}
