//! The live sessions: at most one per agent, and the newest wins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hume_core::AgentId;
use hume_runtime::task_group::Stop;

use crate::intake::SessionNo;

/// All live sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory(Arc<Mutex<HashMap<AgentId, (SessionNo, Stop)>>>);

/// A session's place in the directory, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    directory: Directory,
    agent: AgentId,
    session: SessionNo,
}

impl Directory {
    /// Enters a session, whose `superseded` is set when a newer one comes. Whoever is older is told at once.
    pub(super) fn enter(&self, agent: AgentId, session: SessionNo, superseded: &Stop) -> Place {
        let mut sessions = self.sessions();
        match sessions.get(&agent) {
            Some((newer, _)) if *newer > session => superseded.set(),
            Some((_, older)) => {
                older.set();
                sessions.insert(agent, (session, superseded.clone()));
            }
            None => drop(sessions.insert(agent, (session, superseded.clone()))),
        }
        Place { directory: self.clone(), agent, session }
    }

    /// Tells every session whose agent `may_not` speak any more.
    pub(super) fn cut(&self, may_not: impl Fn(AgentId) -> bool) {
        self.sessions().iter().filter(|(agent, _)| may_not(**agent)).for_each(|(_, (_, stop))| stop.set());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions().len()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<AgentId, (SessionNo, Stop)>> {
        // Every statement leaves the map whole, so a poisoned lock is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = self.directory.sessions();
        if sessions.get(&self.agent).is_some_and(|(session, _)| *session == self.session) {
            sessions.remove(&self.agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_may_not_speak_are_told_and_the_others_are_not() {
        let directory = Directory::default();
        let agents = [AgentId::from_bytes([1; 16]), AgentId::from_bytes([2; 16])];
        let stops = [Stop::new(), Stop::new()];
        let places = [0, 1].map(|one| directory.enter(agents[one], SessionNo(1), &stops[one]));
        directory.cut(|agent| agent == agents[1]);
        assert_eq!([stops[0].is_set(), stops[1].is_set()], [false, true]);
        drop(places);
    }

    #[test]
    fn the_newest_session_of_an_agent_wins_in_whatever_order_they_come() {
        let directory = Directory::default();
        let agent = AgentId::from_bytes([1; 16]);
        let stops: Vec<Stop> = (0..3).map(|_| Stop::new()).collect();
        let second = directory.enter(agent, SessionNo(2), &stops[1]);
        let first = directory.enter(agent, SessionNo(1), &stops[0]);
        assert!(stops[0].is_set() && !stops[1].is_set());
        let third = directory.enter(agent, SessionNo(3), &stops[2]);
        assert!(stops[1].is_set() && !stops[2].is_set());
        drop((first, second));
        assert_eq!(directory.len(), 1);
        drop(third);
        assert_eq!(directory.len(), 0);
    }
}
