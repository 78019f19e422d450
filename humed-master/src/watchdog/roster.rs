//! Which watches there are, on which hosts, and which of them are about a run. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hume_core::course::Rules;
use hume_core::watch::Watch;
use hume_core::{HostName, TaskName};
use jiff::tz::TimeZone;

use crate::store::{CourseKey, HostNo, WatchNo, WatchedHost};

/// Pairs of task and host whose watches are remembered; with more, all are looked for again.
const PAIRS_MAX: usize = 10_000;

/// A watch with all that follows from it alone.
pub(super) struct Watched {
    pub(super) watch: Watch,
    /// The task that it is told under.
    pub(super) task: TaskName,
    rules: Arc<Rules>,
}

impl Watched {
    pub(super) fn new(watch: Watch) -> Watched {
        // The zone of a host is not known: it counts as UTC.
        let (task, rules) = (watch.told_as(), Arc::new(Rules::of(&watch, &TimeZone::UTC)));
        Watched { watch, task, rules }
    }

    /// By what its courses go.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules)
    }

    /// Whether it is for this host.
    pub(super) fn is_for(&self, host: &HostName) -> bool {
        // Hosts say no tags of their own.
        self.watch.hosts.has(host, &[])
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Roster {
    watches: BTreeMap<WatchNo, Arc<Watched>>,
    hosts: HashMap<HostNo, WatchedHost>,
    by_name: HashMap<HostName, HostNo>,
    of_runs: HashMap<(TaskName, HostNo), Arc<[WatchNo]>>,
}

impl Roster {
    pub(super) fn new(watches: BTreeMap<WatchNo, Arc<Watched>>, hosts: Vec<WatchedHost>) -> Roster {
        let mut roster = Roster { watches, ..Roster::default() };
        roster.meet(hosts);
        roster
    }

    /// All hosts, as they are by now; those that nobody knew are answered.
    pub(super) fn meet(&mut self, hosts: Vec<WatchedHost>) -> Vec<HostNo> {
        let new = hosts.iter().map(|host| host.no).filter(|no| !self.hosts.contains_key(no)).collect();
        self.by_name = hosts.iter().map(|host| (host.name.clone(), host.no)).collect();
        self.hosts = hosts.into_iter().map(|host| (host.no, host)).collect();
        self.of_runs.clear();
        new
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = (WatchNo, &Arc<Watched>)> {
        self.watches.iter().map(|(no, watched)| (*no, watched))
    }

    pub(super) fn watched(&self, no: WatchNo) -> Option<Arc<Watched>> {
        self.watches.get(&no).map(Arc::clone)
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &WatchedHost> {
        self.hosts.values()
    }

    pub(super) fn host(&self, no: HostNo) -> Option<&WatchedHost> {
        self.hosts.get(&no)
    }

    pub(super) fn host_named(&self, name: &str) -> Option<HostNo> {
        let name = HostName::parse(name).ok()?;
        self.by_name.get(&name).copied()
    }

    /// The courses that a run of this task on this host is about.
    pub(super) fn courses_of(&mut self, task: &TaskName, host: HostNo) -> Vec<CourseKey> {
        let key = |watch: &WatchNo| CourseKey { watch: *watch, host };
        let pair = (task.clone(), host);
        if let Some(known) = self.of_runs.get(&pair) {
            return known.iter().map(key).collect();
        }
        let Some(name) = self.hosts.get(&host).map(|host| host.name.clone()) else { return Vec::new() };
        let is_meant = |watched: &Watched| watched.watch.tasks.has(task) && watched.is_for(&name);
        let found: Arc<[WatchNo]> =
            self.watches.iter().filter(|(_, watched)| is_meant(watched)).map(|(no, _)| *no).collect();
        let keys = found.iter().map(key).collect();
        if self.of_runs.len() >= PAIRS_MAX {
            self.of_runs.clear();
        }
        self.of_runs.insert(pair, found);
        keys
    }
}
