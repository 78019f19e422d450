//! The oracle: a store that was opened after a fault has everything acknowledged, once, and its cursors say what is there. When all
//! agents have come back it has all they have.

use std::collections::BTreeMap;
use std::path::Path;

use hume_core::filter::{EventFilter, KindFilter, RunFilter};
use hume_core::page::{After, EventCursor};
use hume_core::run::RunState;
use hume_core::{AgentId, StoredEvent};
use hume_crash_tests::{Record, disk, losses};
use hume_runtime::sqlite::{self, SqliteOptions};
use humed_master::store::{
    CommitOutcome, EventReader as _, EventWriter as _, Inventory as _, RunEvents, RunReader as _, SessionNo,
    Sessions as _, StoreError,
};
use tempfile::TempDir;

use crate::sender::{Open, Place, Sender, entrance};

pub(crate) type Findings = Vec<String>;

/// Loses the power at every boundary in every way, and judges what is left.
pub(crate) async fn judge_all_losses(record: &Record, senders: &[Sender], seed: u64) -> Findings {
    let mut findings = Findings::new();
    for loss in losses(record, seed) {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        loss.image.write_into(folder.path()).unwrap();
        let found = judge(folder.path(), senders, loss.at).await;
        let place = format!("seed {seed}, lost at {} of {}, {:?}", loss.at, record.end(), loss.way);
        findings.extend(found.into_iter().map(|finding| format!("{place}: {finding}")));
    }
    findings
}

/// Judges the store in the folder by what was known at this position.
pub(crate) async fn judge(folder: &Path, senders: &[Sender], at: usize) -> Findings {
    judge_and_go_on(folder, senders, at).await.unwrap_or_else(|error| vec![format!("{error}: {error:?}")])
}

async fn judge_and_go_on(folder: &Path, senders: &[Sender], at: usize) -> Result<Findings, StoreError> {
    let open = Open::at(folder)?;
    let mut findings = Findings::new();
    let reader = sqlite::open_reader(&folder.join("store.db"), &SqliteOptions::default())?;
    if let Err(error) = sqlite::quick_check(&reader) {
        findings.push(error.to_string());
    }
    let stored = stored(&open).await?;
    let mut cursors = Vec::new();
    for sender in senders {
        let entered = open.store.enter(entrance(sender.agent)).await?;
        let cursor = entered.cursors[0].seq.get();
        findings.extend(compare_sender(sender, cursor, entered.session, &stored, at));
        cursors.push((entered.session, cursor));
    }
    findings.extend(compare_runs(&open, &stored).await?);
    for (sender, (session, cursor)) in senders.iter().zip(cursors) {
        let sender = Sender { session, ..sender.clone() };
        // A bit of what is there already is sent as well: an Ack was lost.
        let again = cursor.saturating_sub(5).min(sender.places.len() as u64);
        let outcomes = open.store.commit(sender.admissions(again)).await?;
        let taken = |outcome: &CommitOutcome| {
            matches!(outcome, CommitOutcome::Stored { .. } | CommitOutcome::Known { .. })
        };
        if !outcomes.iter().all(taken) {
            findings.push(format!("what {} sent again was not taken: {outcomes:?}", sender.agent));
        }
    }
    let all = self::stored(&open).await?;
    for sender in senders {
        let count = sender.places.len() as u64;
        findings.extend(compare_places(sender, count, &all).map(|finding| format!("in the end {finding}")));
    }
    findings.extend(compare_runs(&open, &all).await?);
    drop(reader);
    open.close().await?;
    Ok(findings)
}

fn known_at<T: Copy + Ord>(noted: &[(usize, T)], at: usize) -> Option<T> {
    noted.iter().filter(|(since, _)| *since <= at).map(|(_, value)| *value).max()
}

fn compare_sender(sender: &Sender, cursor: u64, session: SessionNo, stored: &Stored, at: usize) -> Findings {
    let (acked, tried) = (known_at(&sender.acked, at).unwrap_or(0), known_at(&sender.tried, at).unwrap_or(0));
    let mut findings = Findings::new();
    if cursor < acked || cursor > tried {
        findings
            .push(format!("the cursor of {} is {cursor}, acknowledged {acked}, tried {tried}", sender.agent));
    }
    if known_at(&sender.sessions, at).is_some_and(|given| session <= given) {
        findings.push(format!("session {} of {} was given out a second time", session.0, sender.agent));
    }
    findings.extend(compare_places(sender, cursor, stored));
    findings
}

/// The events of an agent are those of its first places, each once.
fn compare_places(sender: &Sender, cursor: u64, stored: &Stored) -> Option<String> {
    let mut expected = (1..).zip(&sender.places[..cursor as usize]).filter_map(|(seq, place)| match place {
        Place::Event(event) => Some((seq, &**event)),
        Place::Poison(_) | Place::Hole => None,
    });
    let mut found = stored.get(&Some(sender.agent)).into_iter().flatten();
    loop {
        let (expected, found) =
            (expected.next(), found.next().map(|one| (one.position.seq.get(), &one.event)));
        if expected != found {
            let seqs = (expected.map(|one| one.0), found.map(|one| one.0));
            return Some(format!("{}: expected and found differ first at places {seqs:?}", sender.agent));
        }
        found?;
    }
}

/// All events in the order of the log, by agent.
type Stored = BTreeMap<Option<AgentId>, Vec<StoredEvent>>;

async fn stored(open: &Open) -> Result<Stored, StoreError> {
    let everything = EventFilter { kind: KindFilter::All, ..EventFilter::default() };
    let (mut stored, mut count, mut after) = (Stored::new(), 0, EventCursor::START);
    loop {
        let stretch = open.store.events_after(everything.clone(), 1000, After::Cursor(after)).await?;
        count += stretch.items.len() as u64;
        for event in stretch.items {
            stored.entry(event.position.agent).or_default().push(event);
        }
        after = stretch.next;
        if stretch.at_end {
            break;
        }
    }
    assert_eq!(open.store.size().await?.events, count, "the store counts what it lists");
    Ok(stored)
}

/// The fold of a run is that of its events.
async fn compare_runs(open: &Open, stored: &Stored) -> Result<Findings, StoreError> {
    let mut folds: Vec<RunState> = Vec::new();
    for event in stored.values().flatten() {
        let of = |fold: &&mut RunState| {
            event.event.run.is_some_and(|run| run.id == fold.id()) && event.position.agent == fold.agent()
        };
        match folds.iter_mut().find(of) {
            Some(fold) => fold.apply(event),
            None => folds.extend(RunState::open(event)),
        }
    }
    let page = open.store.runs(RunFilter::default(), 1000, None, RunEvents::Omit).await?;
    let runs: Vec<_> = page.items.into_iter().map(|record| record.state).collect();
    let mut findings = Findings::new();
    if runs.len() != folds.len() {
        findings.push(format!("{} runs, and the events make {}", runs.len(), folds.len()));
    }
    for fold in folds.iter().filter(|fold| !runs.contains(fold)) {
        findings.push(format!("the fold of run {} is not that of its events", fold.id()));
    }
    Ok(findings)
}
