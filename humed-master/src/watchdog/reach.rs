//! Which hosts can be reached, and whom of them to speak of: once when one falls silent, once when it is back. Pure.

use std::collections::HashMap;
use std::time::Duration;

use hume_core::event::{EventKind, Finding};
use hume_core::reach::{HostState, Sighting};
use hume_core::{AgentId, Event, EventId, HostName, Level, Timestamp};

use crate::store::{ReachRow, SessionSeen};

/// What there is to say of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It cannot be reached; heard last at this time.
    Lost(AgentId, HostName, Timestamp),
    /// It is back, after it was told as lost at this time.
    Back(AgentId, HostName, Timestamp),
}

/// All agents.
#[derive(Default)]
pub(super) struct Reach {
    known: HashMap<AgentId, Known>,
}

struct Known {
    host: HostName,
    sighting: Sighting,
    told_at: Option<Timestamp>,
}

impl Reach {
    /// What the store has of them.
    pub(super) fn know(&mut self, rows: Vec<ReachRow>) {
        let known = rows.into_iter().map(|ReachRow { agent, host, seen_at, goodbye_at, told_at }| {
            let sighting = Sighting {
                is_connected: false,
                seen_at,
                watermark: Timestamp::EPOCH,
                left_at: goodbye_at,
                is_decommissioned: false,
            };
            (agent, Known { host, sighting, told_at })
        });
        self.known = known.collect();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether the last that it said was goodbye.
    pub(super) fn said_goodbye(&self, agent: AgentId) -> bool {
        self.known.get(&agent).is_some_and(|known| known.sighting.left_at.is_some())
    }

    /// Who is connected, and when each was heard.
    pub(super) fn see(&mut self, sessions: &[SessionSeen]) {
        for session in sessions {
            if let Some(known) = self.known.get_mut(&session.agent) {
                known.sighting.is_connected = true;
                known.sighting.seen_at = session.seen_at.max(known.sighting.seen_at);
            }
        }
    }

    /// What there is to say now, and when there may be more. Hosts that are `excused` may be silent.
    pub(super) fn judge(
        &self,
        now: Timestamp,
        down_after: Duration,
        excused: impl Fn(&HostName) -> bool,
    ) -> (Vec<Turn>, Option<Timestamp>) {
        let (mut turns, mut next) = (Vec::new(), None::<Timestamp>);
        for (agent, Known { host, sighting, told_at }) in &self.known {
            // Whether it lags says the watermark of each course: here it only matters that it is heard.
            let heard = Sighting { watermark: sighting.seen_at, ..*sighting };
            let (state, until) = HostState::of(&heard, now, down_after);
            match (state, told_at) {
                (HostState::Unreachable, None) if !excused(host) => {
                    turns.push(Turn::Lost(*agent, host.clone(), sighting.seen_at));
                }
                (HostState::Connected | HostState::Lagging, Some(told_at)) if sighting.is_connected => {
                    turns.push(Turn::Back(*agent, host.clone(), *told_at));
                }
                _ => {
                    next = next.into_iter().chain(until.filter(|until| *until > now)).min();
                }
            }
        }
        (turns, next)
    }

    /// It was said.
    pub(super) fn told(&mut self, turn: &Turn, now: Timestamp) {
        let (agent, told_at) = turn.noted(now);
        if let Some(known) = self.known.get_mut(&agent) {
            known.told_at = told_at;
        }
    }
}

impl Turn {
    /// What is to be remembered: since when people think that it is lost.
    pub(super) fn noted(&self, now: Timestamp) -> (AgentId, Option<Timestamp>) {
        match self {
            Turn::Lost(agent, ..) => (*agent, Some(now)),
            Turn::Back(agent, ..) => (*agent, None),
        }
    }

    /// The event that says so.
    pub(super) fn event(&self, id: EventId, now: Timestamp) -> Event {
        let (host, level, word, message) = match self {
            Turn::Lost(_, host, seen_at) => {
                let message = format!("the host cannot be reached: its agent was last heard at {seen_at}");
                (host, Level::Error, Finding::Unreachable, message)
            }
            Turn::Back(_, host, told_at) => {
                let message = format!("the host is back, after it was told as unreachable at {told_at}");
                (host, Level::Ok, Finding::Back, message)
            }
        };
        of_host(id, host, now, (level, word, message))
    }
}

/// Many agents were lost at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    /// Now.
    Begins,
    /// Most of them are back, or it took too long.
    IsOver,
}

/// Told of the master's host, for all of them.
pub(super) fn incident(id: EventId, host: &HostName, now: Timestamp, turn: Incident) -> Event {
    let said = match turn {
        Incident::Begins => (
            Level::Error,
            Finding::ManyLost,
            "many agents were lost at once, which is no fault of theirs: nothing is concluded from their silence",
        ),
        Incident::IsOver => (
            Level::Ok,
            Finding::ManyBack,
            "silence means something again: most agents are back, or an hour is over",
        ),
    };
    let (level, word, message) = said;
    of_host(id, host, now, (level, word, message.to_owned()))
}

fn of_host(
    id: EventId,
    host: &HostName,
    now: Timestamp,
    (level, word, message): (Level, Finding, String),
) -> Event {
    let mut event = Event::new(id, host.clone(), now);
    event.kind = EventKind::Host;
    event.level = level;
    event.message = message;
    event.finding = Some(word);
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SessionNo;

    const DOWN_AFTER: Duration = Duration::from_mins(2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn row(seen: i64, goodbye: Option<i64>, told: Option<i64>) -> ReachRow {
        ReachRow {
            agent: AgentId::from_bytes([1; 16]),
            host: HostName::parse("web1").unwrap(),
            seen_at: at(seen),
            goodbye_at: goodbye.map(at),
            told_at: told.map(at),
        }
    }

    fn said(row: ReachRow, seen: Option<i64>, now: i64) -> (Vec<&'static str>, Option<i64>) {
        let mut reach = Reach::default();
        reach.know(vec![row]);
        let session = seen.map(|second| SessionSeen {
            agent: AgentId::from_bytes([1; 16]),
            session: SessionNo(1),
            seen_at: at(second),
            watermark: None,
            behind_us: 0,
        });
        reach.see(session.as_slice());
        let (turns, next) = reach.judge(at(now), DOWN_AFTER, |_| false);
        let words = turns.iter().map(|turn| match turn {
            Turn::Lost(..) => "lost",
            Turn::Back(..) => "back",
        });
        (words.collect(), next.map(|next| next.as_micros() / 1_000_000))
    }

    #[test]
    fn a_host_is_told_as_lost_once_and_as_back_once() {
        assert_eq!(said(row(0, None, None), Some(10), 129), (vec![], Some(130)));
        assert_eq!(said(row(0, None, None), Some(10), 130), (vec!["lost"], None));
        assert_eq!(said(row(0, None, Some(130)), Some(10), 500), (vec![], None), "it was told");
        assert_eq!(said(row(0, None, Some(130)), Some(500), 501), (vec!["back"], None));
        assert_eq!(said(row(500, None, Some(130)), None, 501).0, Vec::<&str>::new(), "not without a session");
    }

    #[test]
    fn who_said_goodbye_is_lost_only_when_he_does_not_come_back_for_long() {
        assert_eq!(said(row(0, Some(10), None), None, 300), (vec![], Some(610)));
        assert_eq!(said(row(0, Some(10), None), None, 610), (vec!["lost"], None));
    }

    #[test]
    fn a_laptop_may_sleep() {
        let mut reach = Reach::default();
        reach.know(vec![row(0, None, None)]);
        assert_eq!(reach.judge(at(999), DOWN_AFTER, |host| host.as_str() == "web1").0, []);
    }

    #[test]
    fn what_is_said_of_hosts_is_of_kind_host_and_names_no_task() {
        let turn = Turn::Lost(AgentId::from_bytes([1; 16]), HostName::parse("web1").unwrap(), at(5));
        for event in [
            turn.event(EventId::from_bytes([1; 16]), at(9)),
            incident(
                EventId::from_bytes([1; 16]),
                &HostName::parse("master").unwrap(),
                at(9),
                Incident::Begins,
            ),
        ] {
            event.check().unwrap();
            assert!(event.kind == EventKind::Host && event.task.is_none() && event.level == Level::Error);
        }
    }
}
