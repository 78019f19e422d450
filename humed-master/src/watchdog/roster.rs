//! Which watches there are, on which hosts, and which of them are about a run. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use hume_core::course::Rules;
use hume_core::watch::{OfflinePolicy, Watch, Zone};
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
    /// By zone; with none for all hosts, when theirs changes nothing.
    rules: Mutex<BTreeMap<Option<String>, Arc<Rules>>>,
}

impl Watched {
    pub(super) fn new(watch: Watch) -> Watched {
        Watched { task: watch.told_as(), watch, rules: Mutex::default() }
    }

    /// In which zone its course on this host is read; none where that of the host changes nothing.
    pub(super) fn zone(&self, host: &WatchedHost) -> Option<String> {
        let is_interval = self.watch.schedule.iter().any(|line| line.every().is_some());
        match &self.watch.zone {
            Zone::Host if !is_interval => Some(host.zone.clone().unwrap_or_else(|| "UTC".to_owned())),
            Zone::Host | Zone::Of(_) => None,
        }
    }

    /// By what a course in this zone goes. One that this machine does not know counts as UTC.
    pub(super) fn rules(&self, zone: Option<&str>) -> Arc<Rules> {
        // What is inside is whole after every statement.
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rules.get(&zone.map(str::to_owned)) {
            return Arc::clone(known);
        }
        let found = zone.and_then(|zone| jiff::tz::db().get(zone).ok());
        let new = Arc::new(Rules::of(&self.watch, &found.unwrap_or(TimeZone::UTC)));
        rules.insert(zone.map(str::to_owned), Arc::clone(&new));
        new
    }

    /// Whether it is for this host.
    pub(super) fn is_for(&self, host: &WatchedHost) -> bool {
        self.watch.hosts.has(&host.name, &host.tags)
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

    /// All hosts, as they are by now; those that nobody knew, or that say something else of themselves, are answered.
    pub(super) fn meet(&mut self, hosts: Vec<WatchedHost>) -> Vec<HostNo> {
        let is_new = |host: &&WatchedHost| {
            let known = self.hosts.get(&host.no);
            known.is_none_or(|known| (&known.zone, &known.tags) != (&host.zone, &host.tags))
        };
        let new = hosts.iter().filter(is_new).map(|host| host.no).collect();
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

    /// Whether this host may be silent: all that is expected of it waits until it wakes up.
    pub(super) fn may_sleep(&self, name: &HostName) -> bool {
        let Some(host) = self.by_name.get(name).and_then(|no| self.hosts.get(no)) else { return false };
        let mut meant = self.watches.values().filter(|watched| watched.is_for(host)).peekable();
        meant.peek().is_some()
            && meant.all(|watched| watched.watch.terms.offline_policy == OfflinePolicy::Ignore)
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
        let Some(on) = self.hosts.get(&host) else { return Vec::new() };
        let is_meant = |watched: &Watched| watched.watch.tasks.has(task) && watched.is_for(on);
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
