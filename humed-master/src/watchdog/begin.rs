//! Brings what is kept in line with what is declared: watches that are new, gone or changed, and hosts that came.

use std::collections::{BTreeMap, HashMap};
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
use crate::store::{
    CourseKey, CourseRecord, HostNo, Note, RunEvents, RunRecord, WatchDeclared, WatchNo, WatchRow,
};

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
        self.reach.know(self.store.reach().await?);
        self.sessions.begin(now, self.reach.len(), self.config.reconnect_grace);
        self.roster = Roster::new(watched.collect(), hosts);
        self.begin_courses(now).await
    }

    /// Hosts may have come, be reported for by others, or say something else of themselves.
    pub(super) async fn meet_hosts(&mut self) -> Result<(), WatchdogError> {
        let now = clock::now();
        for no in self.roster.meet(self.store.watched_hosts().await?) {
            let watches: Vec<WatchNo> = self.roster.watches().map(|(no, _)| no).collect();
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
            let lines: Vec<String> = watch.schedule.iter().map(ToString::to_string).collect();
            let (task, schedule) = (watch.told_as().as_str().to_owned(), lines.join("; "));
            let is_known =
                |row: &WatchRow| (&row.meaning, &row.task, &row.schedule) == (&meaning, &task, &schedule);
            if !known.is_some_and(is_known) {
                declared.push(WatchDeclared { name: watch.name.clone(), meaning, task, schedule });
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
            let keys = hosts.iter().map(|(host, _)| CourseKey { watch: no, host: *host }).collect();
            let mut step = Step::new(now);
            for record in self.store.courses(keys).await? {
                let (key, zone) = (record.key, record.zone.clone());
                let rules = watched.rules(zone.as_deref());
                let mut held = Held::begin_anew(record, zone, rules, now);
                held.look(&quiet(now));
                step.hold(key, held);
            }
            let (found, note) = step.finish();
            self.door.admit(found, note).await?;
        }
        Ok(())
    }

    /// Every watch has a course on each of its hosts, in its zone, and on no other.
    async fn begin_courses(&mut self, now: Timestamp) -> Result<(), WatchdogError> {
        let mut differing: BTreeMap<HostNo, Vec<WatchNo>> = BTreeMap::new();
        for (no, watched) in self.roster.watches() {
            let known: BTreeMap<HostNo, Option<String>> =
                self.store.hosts_of(no).await?.into_iter().collect();
            for host in self.roster.hosts() {
                let is_right = match known.get(&host.no) {
                    None => !watched.is_for(host),
                    Some(zone) => watched.is_for(host) && *zone == watched.zone(host),
                };
                if !is_right {
                    differing.entry(host.no).or_default().push(no);
                }
            }
        }
        for (host, watches) in differing {
            for watches in watches.chunks(COURSES_PER_STEP) {
                self.begin_on(host, watches, now).await?;
            }
        }
        Ok(())
    }

    /// Courses of these watches on a host: those that are missing begin, and know what ran there before; those that are read in
    /// another zone begin anew; those of watches that are not for the host end.
    async fn begin_on(&self, host: HostNo, watches: &[WatchNo], now: Timestamp) -> Result<(), WatchdogError> {
        let Some(on) = self.roster.host(host) else { return Ok(()) };
        let filter =
            RunFilter { host: Some(on.name.clone()), latest: Latest::PerTaskAndHost, ..RunFilter::default() };
        let runs: Vec<RunRecord> =
            self.store.runs(filter, PAGE_ITEMS_MAX, None, RunEvents::Omit).await?.items;
        let keys = watches.iter().map(|watch| CourseKey { watch: *watch, host }).collect();
        let records = self.store.courses(keys).await?;
        let mut known: HashMap<WatchNo, CourseRecord> =
            records.into_iter().map(|record| (record.key.watch, record)).collect();
        let mut step = Step::new(now);
        for no in watches {
            let Some(watched) = self.roster.watched(*no) else { continue };
            let (key, zone) = (CourseKey { watch: *no, host }, watched.zone(on));
            let rules = watched.rules(zone.as_deref());
            let mut held = match known.remove(no) {
                Some(_) if !watched.is_for(on) => {
                    step.end(key);
                    continue;
                }
                None if !watched.is_for(on) => continue,
                Some(record) if record.zone == zone => {
                    step.hold(key, Held::resume(record, rules));
                    continue;
                }
                Some(record) => Held::begin_anew(record, zone, rules, now),
                None => Held::begin(key, zone, rules, now),
            };
            for run in runs.iter().filter(|run| watched.watch.tasks.has(&run.state.task())) {
                held.run(self.seen(run, now), None, &quiet(now));
            }
            held.look(&quiet(now));
            step.hold(key, held);
        }
        let (found, note) = step.finish();
        if note.courses.is_empty() && note.ended.is_empty() {
            return Ok(());
        }
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
