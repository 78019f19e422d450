//! The oracle: a spool that was opened after a fault holds what was answered, once, at its place, with its bytes; and nothing
//! that was never attempted. It goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use hume_core::RunId;
use hume_core::filter::RunFilter;
use hume_core::name::{EventId, Seq};
use hume_core::run::RunState;
use hume_crash_tests::{Record, disk, losses};
use hume_proto::event::EventBytes;
use hume_runtime::sqlite::{self, SqliteOptions};
use humed_agent::spool::{Config, EpochRow, RunChange, RunEvents, SpoolError, Stretch, Viewer};
use tempfile::TempDir;

use crate::events::event;
use crate::ledger::{Attempt, Ledger, Moment};
use crate::site::{Open, Site, known};

/// An event that comes after the fault.
const FRESH: u64 = 1 << 40;

/// What is wrong.
pub(crate) type Findings = Vec<String>;

/// Loses the power at every boundary in every way, and judges what is left.
pub(crate) async fn judge_all_losses(record: &Record, ledger: &Ledger, seed: u64) -> Findings {
    let mut findings = Findings::new();
    for loss in losses(record, seed) {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        loss.image.write_into(folder.path()).unwrap();
        let found = judge(folder.path(), ledger.at(loss.at)).await;
        let place = format!("seed {seed}, lost at {} of {}, {:?}", loss.at, record.end(), loss.way);
        findings.extend(found.into_iter().map(|finding| format!("{place}: {finding}")));
    }
    findings
}

/// Nothing is wrong with what is there, nor with what any power loss would have left.
pub(crate) async fn judge_all(site: &Site, seed: u64) {
    let mut findings = judge_all_losses(&site.disk.record(), &site.ledger, seed).await;
    findings.extend(judge(site.folder.path(), site.ledger.at(usize::MAX)).await);
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Judges the spool in the folder, as it is and after one more session in which everybody comes back.
pub(crate) async fn judge(folder: &Path, moment: Moment) -> Findings {
    judge_and_go_on(folder, moment).await.unwrap_or_else(|error| vec![format!("{error}: {error:?}")])
}

async fn judge_and_go_on(folder: &Path, moment: Moment) -> Result<Findings, SpoolError> {
    let open = Open::at(folder, &Config::default())?;
    let mut findings = Findings::new();
    if let Err(error) = check_file(folder) {
        findings.push(error);
    }
    let contents = Contents::read(&open).await?;
    findings.extend(contents.compare(&moment));
    if contents.epochs.len() > 1 {
        // It was found to be damaged, which is a finding: there is nothing to go on with as if it were whole.
        open.close().await;
        return Ok(findings);
    }
    findings.extend(compare_runs(&open).await?);
    // What was not answered is tried again, what is new comes after all that was.
    let mut moment = moment;
    for attempt in &mut moment.attempts {
        let answer = match known(&open, &attempt.ids()).await {
            Some(known) => known,
            // The master has it, and it was forgotten.
            None if attempt.answered.is_some() => continue,
            None => open.spool.writer.append(attempt.events.clone(), vec![attempt.change.clone()]).await?,
        };
        attempt.answered.get_or_insert((0, answer));
    }
    let last = moment.attempts.iter().filter_map(Attempt::last).map(|(_, last)| last).max();
    let fresh = open.spool.writer.append(vec![event(FRESH, 10)], vec![]).await?;
    if last.is_some_and(|last| fresh.first <= last) {
        findings.push(format!("place {} was given out a second time", fresh.first.get()));
    }
    open.close().await;
    let open = Open::at(folder, &Config::default())?;
    let mut contents = Contents::read(&open).await?;
    if contents.rows.pop().is_none_or(|(seq, _)| seq != fresh.first) {
        findings.push("what came after the fault is not there at the end".to_owned());
    }
    contents.epochs[0].next = fresh.first;
    findings.extend(contents.compare(&moment).into_iter().map(|finding| format!("in the end {finding}")));
    open.close().await;
    Ok(findings)
}

fn check_file(folder: &Path) -> Result<(), String> {
    let file = folder.join("spool.db");
    let reader = sqlite::open_reader(&file, &SqliteOptions::default()).map_err(|error| error.to_string())?;
    // The one that also compares indexes and tables: the file is small.
    let finding: Result<String, _> = reader.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
    sqlite::quick_check(&reader).map_err(|error| error.to_string())?;
    match finding {
        Ok(finding) if finding == "ok" => Ok(()),
        other => Err(format!("the integrity check says {other:?}")),
    }
}

/// What a spool holds.
struct Contents {
    epochs: Vec<EpochRow>,
    /// Of all epochs, in order.
    rows: Vec<(Seq, EventBytes)>,
    open_runs: BTreeSet<RunId>,
}

impl Contents {
    async fn read(open: &Open) -> Result<Contents, SpoolError> {
        let reader = &open.spool.reader;
        let epochs = reader.epochs().await?;
        let mut rows: Vec<(Seq, EventBytes)> = Vec::new();
        for EpochRow { epoch, .. } in &epochs {
            let mut from = Seq::ZERO.next();
            loop {
                match reader.stretch(*epoch, from, 10_000, usize::MAX).await? {
                    Stretch::Hole { through, .. } => from = through.next(),
                    Stretch::Events(events) if events.is_empty() => break,
                    Stretch::Events(events) => {
                        for bytes in events {
                            rows.push((from, bytes));
                            from = from.next();
                        }
                    }
                }
            }
        }
        let open_runs = reader.open_runs().await?.into_iter().map(|row| row.run.id).collect();
        Ok(Contents { epochs, rows, open_runs })
    }

    fn compare(&self, moment: &Moment) -> Findings {
        let mut findings = Findings::new();
        let expected = Expected::new(moment);
        let [epoch] = &self.epochs[..] else { return self.compare_ids(moment) };
        let mut there = HashMap::new();
        for (seq, bytes) in &self.rows {
            match expected.at(*seq, bytes) {
                Ok(id) => {
                    if let Some(other) = there.insert(id, *seq) {
                        findings.push(format!("{id} stands at {} and at {}", other.get(), seq.get()));
                    }
                }
                Err(finding) => findings.push(finding),
            }
        }
        findings.extend(self.compare_places(epoch, moment));
        findings.extend(moment.attempts.iter().filter_map(|attempt| missing(attempt, &there, moment.acked)));
        findings.extend(self.compare_open_runs(moment, &there));
        findings.extend(compare_ack(epoch, moment));
        findings
    }

    /// A spool that gave way to another one: places say nothing any more, and what was answered must be there all the same.
    fn compare_ids(&self, moment: &Moment) -> Findings {
        let mut findings = vec![format!("{} epochs", self.epochs.len())];
        let ids = self.rows.iter().filter_map(|(seq, bytes)| Some((bytes.decode().ok()?.id, *seq)));
        let there: HashMap<EventId, Seq> = ids.collect();
        findings.extend(moment.attempts.iter().filter_map(|attempt| missing(attempt, &there, moment.acked)));
        findings
    }

    fn compare_places(&self, epoch: &EpochRow, moment: &Moment) -> Findings {
        let mut findings = Findings::new();
        let mut before = Seq::ZERO;
        for seq in self.rows.iter().map(|(seq, _)| *seq).chain([epoch.next]) {
            // What the master has may be forgotten.
            if seq != before.next() && seq > moment.acked.next() {
                findings.push(format!("a hole between {} and {}", before.get(), seq.get()));
            }
            before = seq;
        }
        if epoch.next <= moment.seen {
            findings.push(format!("a reader saw {}, and {} is next", moment.seen.get(), epoch.next.get()));
        }
        findings
    }

    fn compare_open_runs(&self, moment: &Moment, there: &HashMap<EventId, Seq>) -> Option<String> {
        let mut expected = BTreeSet::new();
        let is_there = |attempt: &&Attempt| {
            attempt.answered.is_some() || attempt.ids().iter().any(|id| there.contains_key(id))
        };
        let mut done: Vec<_> = moment.attempts.iter().filter(is_there).collect();
        done.sort_by_key(|attempt| match attempt.last() {
            Some((_, last)) => last,
            None => attempt.ids().iter().filter_map(|id| there.get(id)).copied().max().unwrap_or_default(),
        });
        for attempt in done {
            match &attempt.change {
                RunChange::Put(row) => expected.insert(row.run.id),
                RunChange::Remove(run) => expected.remove(run),
            };
        }
        (self.open_runs != expected).then(|| format!("open runs are {:?}, not {expected:?}", self.open_runs))
    }
}

/// What may stand where.
struct Expected<'a> {
    by_id: HashMap<EventId, (&'a Attempt, usize)>,
}

impl Expected<'_> {
    fn new(moment: &Moment) -> Expected<'_> {
        let all = moment.attempts.iter().flat_map(|attempt| {
            attempt.events.iter().enumerate().map(move |(at, event)| (event.id, (attempt, at)))
        });
        Expected { by_id: all.collect() }
    }

    /// The event that stands there, as it should.
    fn at(&self, seq: Seq, bytes: &EventBytes) -> Result<EventId, String> {
        let id = bytes.decode().map_err(|error| format!("place {}: {error}", seq.get()))?.id;
        let Some((attempt, at)) = self.by_id.get(&id) else {
            return Err(format!("place {} holds {id}, which was never attempted", seq.get()));
        };
        if EventBytes::encode(&attempt.events[*at]) != *bytes {
            return Err(format!("place {} holds other bytes than {id} had", seq.get()));
        }
        match &attempt.answered {
            Some((_, appended)) if appended.first.plus(*at as u64) != seq => {
                Err(format!("{id} was answered another place than {}", seq.get()))
            }
            _ => Ok(id),
        }
    }
}

/// What of an attempt is missing and must not.
fn missing(attempt: &Attempt, there: &HashMap<EventId, Seq>, acked: Seq) -> Option<String> {
    let count = attempt.ids().iter().filter(|id| there.contains_key(id)).count();
    match &attempt.answered {
        None => (count > 0 && count < attempt.events.len())
            .then(|| format!("{count} of {} events that came together are there", attempt.events.len())),
        Some((_, appended)) => {
            let places = (0..).map(|at| appended.first.plus(at)).zip(attempt.ids());
            let mut lost = places.filter(|(seq, id)| *seq > acked && !there.contains_key(id));
            lost.next().map(|(seq, id)| format!("{id} was answered place {} and is lost", seq.get()))
        }
    }
}

fn compare_ack(epoch: &EpochRow, moment: &Moment) -> Option<String> {
    let EpochRow { acked, acked_event, .. } = epoch;
    let places: BTreeMap<Seq, EventId> = moment
        .attempts
        .iter()
        .filter_map(|attempt| Some((attempt.answered.as_ref()?.1.first, attempt.ids())))
        .flat_map(|(first, ids)| (0..).map(move |at| first.plus(at)).zip(ids))
        .collect();
    let fits = *acked <= moment.acked && (*acked == Seq::ZERO || *acked_event == places.get(acked).copied());
    (!fits).then(|| {
        format!("acknowledged is {} with {acked_event:?}, told was {}", acked.get(), moment.acked.get())
    })
}

/// The fold of a run is that of its events.
async fn compare_runs(open: &Open) -> Result<Findings, SpoolError> {
    let reader = &open.spool.reader;
    let page =
        reader.runs(RunFilter::default(), Viewer::Administrator, None, 1000, RunEvents::Include).await?;
    let mut findings = Findings::new();
    for record in page.items.into_iter().filter(|record| record.forgotten.is_empty()) {
        let mut events = record.events.iter();
        let fold = events.next().and_then(RunState::open).map(|mut fold| {
            events.for_each(|event| fold.apply(event));
            fold
        });
        if fold.as_ref() != Some(&record.state) {
            findings.push(format!("the fold of run {} is not that of its events", record.state.id()));
        }
    }
    Ok(findings)
}
