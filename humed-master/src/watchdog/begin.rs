//! Brings what is kept in line with what is declared: watches that are new, gone or changed, and hosts that came.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hume_core::Timestamp;
use hume_core::filter::{Latest, RunFilter};
use hume_core::page::PAGE_ITEMS_MAX;
use hume_core::slot::Circumstances;
use hume_core::watch::Watch;
use hume_runtime::clock;

use super::hand::Held;
use super::roster::{Roster, Watched};
use super::step::Step;
use super::{COURSES_PER_STEP, Watchdog, WatchdogError};
use crate::store::{CourseKey, HostNo, Note, RunEvents, RunRecord, WatchDeclared, WatchNo, WatchedHost};

impl Watchdog {
    /// Takes up these watches, and where the log was left.
    pub(super) async fn begin(&mut self, watches: &[Watch]) -> Result<(), WatchdogError> {
        let now = clock::now();
        self.declare(watches, now).await?;
        let by_name: HashMap<&str, &Watch> =
            watches.iter().map(|watch| (watch.name.as_str(), watch)).collect();
        let rows = self.store.watches().await?;
        let watched = rows.into_iter().filter_map(|row| {
            let watch = by_name.get(row.name.as_str())?;
            Some((row.no, Arc::new(Watched::new((*watch).clone()))))
        });
        let hosts = self.store.watched_hosts().await?;
        let agents: BTreeSet<_> = hosts.iter().map(|host| host.agent).collect();
        self.sessions.begin(now, agents.len(), self.config.reconnect_grace);
        self.roster = Roster::new(watched.collect(), hosts);
        self.begin_courses(now).await
    }

    /// Hosts may have come, or be reported for by others: courses begin where nobody was known.
    pub(super) async fn meet_hosts(&mut self) -> Result<(), WatchdogError> {
        let now = clock::now();
        for no in self.roster.meet(self.store.watched_hosts().await?) {
            let Some(host) = self.roster.host(no) else { continue };
            let meant = self.roster.watches().filter(|(_, watched)| watched.is_for(&host.name));
            let watches: Vec<WatchNo> = meant.map(|(no, _)| no).collect();
            for watches in watches.chunks(COURSES_PER_STEP) {
                self.begin_on(no, watches, now).await?;
            }
        }
        Ok(())
    }

    async fn declare(&mut self, watches: &[Watch], now: Timestamp) -> Result<(), WatchdogError> {
        let rows = self.store.watches().await?;
        if rows.is_empty() {
            // Nothing was expected until now, so nothing that stands in the log can be late.
            self.cursor = *self.store.end().borrow();
            let note = Note { cursor: Some(self.cursor), at: now, ..Note::default() };
            self.door.admit(Vec::new(), note).await?;
        } else {
            self.cursor = self.store.cursor().await?.unwrap_or(self.cursor);
        }
        let meant = |name: &str| watches.iter().find(|watch| watch.name.as_str() == name);
        let dropped =
            rows.iter().filter(|row| meant(row.name.as_str()).is_none()).map(|row| row.no).collect();
        let mut declared = Vec::new();
        for watch in watches {
            let meaning = watch.meaning();
            let known = rows.iter().find(|row| row.name == watch.name);
            if let Some(known) = known.filter(|known| known.meaning != meaning) {
                self.begin_anew(known.no, watch, now).await?;
            }
            if known.is_none_or(|known| known.meaning != meaning) {
                declared.push(WatchDeclared { name: watch.name.clone(), meaning });
            }
        }
        let note = Note { declared, dropped, at: now, ..Note::default() };
        Ok(self.door.admit(Vec::new(), note).await?)
    }

    /// A watch means something else than before. The note that says so comes last: a crash on the way begins all of it again.
    async fn begin_anew(&self, no: WatchNo, watch: &Watch, now: Timestamp) -> Result<(), WatchdogError> {
        let watched = Watched::new(watch.clone());
        let hosts = self.store.hosts_of(no).await?;
        for hosts in hosts.chunks(COURSES_PER_STEP) {
            let keys = hosts.iter().map(|host| CourseKey { watch: no, host: *host }).collect();
            let mut step = Step::new(now);
            for record in self.store.courses(keys).await? {
                let key = record.key;
                let mut held = Held::begin_anew(record, watched.rules(), now);
                held.look(&quiet(now));
                step.hold(key, held);
            }
            let (found, note) = step.finish();
            self.door.admit(found, note).await?;
        }
        Ok(())
    }

    /// Every watch has a course on each of its hosts, and on no other.
    async fn begin_courses(&mut self, now: Timestamp) -> Result<(), WatchdogError> {
        let mut missing: BTreeMap<HostNo, Vec<WatchNo>> = BTreeMap::new();
        let watches: Vec<_> = self.roster.watches().map(|(no, watched)| (no, Arc::clone(watched))).collect();
        for (no, watched) in watches {
            let meant = self.roster.hosts().filter(|host| watched.is_for(&host.name));
            let meant: BTreeSet<HostNo> = meant.map(|host| host.no).collect();
            let known: BTreeSet<HostNo> = self.store.hosts_of(no).await?.into_iter().collect();
            for host in meant.difference(&known) {
                missing.entry(*host).or_default().push(no);
            }
            let ended: Vec<_> =
                known.difference(&meant).map(|host| CourseKey { watch: no, host: *host }).collect();
            if !ended.is_empty() {
                let note = Note { ended, at: now, ..Note::default() };
                self.door.admit(Vec::new(), note).await?;
            }
        }
        for (host, watches) in missing {
            for watches in watches.chunks(COURSES_PER_STEP) {
                self.begin_on(host, watches, now).await?;
            }
        }
        Ok(())
    }

    /// Courses of these watches on a host, which know what ran there before.
    async fn begin_on(&self, host: HostNo, watches: &[WatchNo], now: Timestamp) -> Result<(), WatchdogError> {
        let Some(WatchedHost { name, .. }) = self.roster.host(host) else { return Ok(()) };
        let filter =
            RunFilter { host: Some(name.clone()), latest: Latest::PerTaskAndHost, ..RunFilter::default() };
        let runs: Vec<RunRecord> =
            self.store.runs(filter, PAGE_ITEMS_MAX, None, RunEvents::Omit).await?.items;
        let mut step = Step::new(now);
        for no in watches {
            let Some(watched) = self.roster.watched(*no) else { continue };
            let key = CourseKey { watch: *no, host };
            let mut held = Held::begin(key, watched.rules(), now);
            let of_tasks = runs.iter().filter(|run| watched.watch.tasks.has(&run.state.task()));
            for run in of_tasks {
                held.run(self.seen(run, now), None, &quiet(now));
            }
            held.look(&quiet(now));
            step.hold(key, held);
        }
        let (found, note) = step.finish();
        Ok(self.door.admit(found, note).await?)
    }
}

/// Nothing is concluded yet.
fn quiet(now: Timestamp) -> Circumstances<'static> {
    Circumstances {
        now,
        watermark: Timestamp::EPOCH,
        is_held: true,
        off: &[],
        down_after: hume_core::reach::AGENT_DOWN_AFTER,
        has_run: false,
    }
}
