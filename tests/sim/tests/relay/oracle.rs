//! Judges what came of a plan by P1 to P7: what was accepted is at the master, once, as it was, in its order, and every hole is
//! accounted for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hume_core::filter::{EventFilter, KindFilter};
use hume_core::page::{After, EventCursor};
use hume_core::{AgentId, Epoch, Event, Seq, StoredEvent, Timestamp};
use hume_runtime::sqlite::{self, SqliteOptions};
use humed_master::metrics::Metrics;
use humed_master::store::{EventReader as _, SqliteStore};

use crate::site;
use crate::world::{Course, Ledger};

/// What is wrong.
pub(crate) type Findings = Vec<String>;

/// Judges it.
pub(crate) fn judge(course: &Course) -> Findings {
    let mut findings = Findings::new();
    findings.extend(course.error.clone());
    if !findings.is_empty() {
        return findings;
    }
    if course.drained_after.is_none() {
        findings.push("P5: the master did not get everything in time".to_owned());
    }
    let stored = stored(course);
    for (number, ledger) in course.ledgers.iter().enumerate() {
        let stored = stored.get(&site::agent_id(number)).map_or(&[][..], Vec::as_slice);
        findings.extend(compare(number, ledger, stored));
    }
    findings.extend(compare_places(course, &stored));
    findings
}

type Stored = BTreeMap<AgentId, Vec<StoredEvent>>;

/// All events in the order of the log, by agent.
fn stored(course: &Course) -> Stored {
    let path = course.site.path("store").join("store.db");
    let (store, writer) = SqliteStore::open(&path, Metrics::new(Timestamp::EPOCH)).unwrap();
    let everything = EventFilter { kind: KindFilter::All, ..EventFilter::default() };
    let (mut stored, mut after) = (Stored::new(), EventCursor::START);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    loop {
        let question = store.events_after(everything.clone(), 1000, After::Cursor(after));
        let stretch = runtime.block_on(question).unwrap();
        for event in stretch.items {
            stored.entry(event.position.agent.unwrap()).or_default().push(event);
        }
        after = stretch.next;
        if stretch.at_end {
            break;
        }
    }
    drop((store, writer));
    stored
}

fn compare(number: usize, ledger: &Ledger, stored: &[StoredEvent]) -> Findings {
    let mut findings = Findings::new();
    let accepted: HashMap<_, (usize, &Event)> =
        ledger.accepted.iter().enumerate().map(|(place, event)| (event.id, (place, event))).collect();
    let mut seen = BTreeSet::new();
    let mut highest = 0;
    for StoredEvent { event, position, .. } in stored {
        let Some((place, original)) = accepted.get(&event.id) else {
            findings.push(format!("P4: agent{number} never accepted {}", event.id));
            continue;
        };
        if !seen.insert(event.id) {
            findings
                .push(format!("P2: event {place} of agent{number} is there twice, also at {}", position.seq));
        }
        if event != *original {
            findings.push(format!("P3: event {place} of agent{number} is not what it was"));
        }
        if *place < highest {
            findings.push(format!("P6: event {place} of agent{number} comes after event {highest}"));
        }
        highest = *place;
    }
    for (place, event) in ledger.accepted.iter().enumerate() {
        if !seen.contains(&event.id) && !ledger.perished.contains(&event.id) {
            findings.push(format!("P1: event {place} of agent{number} is lost"));
        }
    }
    findings
}

/// Every place of every epoch up to the last that was ever given out has an event, a gap that says why not, or was moved into the
/// epoch that took over; and a gap has no events.
fn compare_places(course: &Course, stored: &Stored) -> Findings {
    let mut findings = Findings::new();
    let path = course.site.path("store").join("store.db");
    let reader = sqlite::open_reader(&path, &SqliteOptions::default()).unwrap();
    let mut epochs = reader
        .prepare(
            "SELECT agent.id, epoch, max(acked, assigned), epoch.no FROM epoch JOIN agent ON agent.no = agent_no",
        )
        .unwrap();
    let mut gaps = reader.prepare("SELECT from_seq, to_seq, reason FROM gap WHERE epoch_no = ?1").unwrap();
    let mut moved = reader
        .prepare("SELECT forked_after, forked_after + restamped FROM epoch WHERE predecessor_no = ?1")
        .unwrap();
    let mut rows = epochs.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let agent = AgentId::from_bytes(row.get(0).unwrap());
        let epoch = Epoch::from_bytes(row.get(1).unwrap());
        let (last, no): (u64, i64) = (row.get::<_, i64>(2).unwrap() as u64, row.get(3).unwrap());
        let events = stored.get(&agent).into_iter().flatten();
        let there: BTreeSet<u64> = events
            .filter(|event| event.position.epoch == epoch)
            .map(|event| Seq::get(event.position.seq))
            .collect();
        let gaps: Vec<(u64, u64, String)> = gaps
            .query_map([no], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64, row.get(2)?))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let number = (0..course.ledgers.len()).find(|number| site::agent_id(*number) == agent).unwrap();
        let name = format!("epoch {} of agent{number}", course.journal.number(epoch));
        let has_perished = !course.ledgers[number].perished.is_empty();
        for (from, to, reason) in &gaps {
            if there.range(from..=to).next().is_some() {
                findings.push(format!("P7: {name} has events in its gap {from} to {to} ({reason})"));
            }
            if !has_perished {
                findings
                    .push(format!("P7: {name} has a gap {from} to {to} ({reason}), and nothing was lost"));
            }
        }
        let moved: Vec<(u64, u64)> = moved
            .query_map([no], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let is_covered = |seq: &u64| {
            there.contains(seq)
                || gaps.iter().any(|(from, to, _)| (from..=to).contains(&seq))
                || moved.iter().any(|(after, through)| after < seq && seq <= through)
        };
        if let Some(hole) = (1..=last).find(|seq| !is_covered(seq)) {
            let events = there.len();
            findings.push(format!(
                "P7: place {hole} of {last} of {name} is neither there nor accounted for: {events} events, gaps {gaps:?}, moved {moved:?}"
            ));
        }
    }
    findings
}
