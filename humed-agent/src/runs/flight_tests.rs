//! Groups that follow each other closely, in front of a real spool.

use std::collections::BTreeMap;
use std::time::Duration;

use hume_core::event::Process;
use hume_core::filter::{EventFilter, RunFilter};
use hume_core::policy::Policies;
use hume_core::process::Chain;
use hume_core::{Draft, ErrorClass, EventId, HostName, Seq, TaskName, Timestamp};
use hume_runtime::random;
use hume_runtime::task_group::TaskGroup;
use hume_transfer::Board;
use tempfile::TempDir;

use super::super::{Answers, Pulse, Records, Reporter, Submission, now, open};
use crate::spool::{Config, RunEvents, Spool, SpoolReader, Viewer};

/// A recorder at work.
struct Desk {
    records: Records,
    reader: SpoolReader,
    tasks: TaskGroup,
    spool: Spool,
}

async fn desk(dir: &TempDir, config: &Config) -> Desk {
    let mut tasks = TaskGroup::new();
    let spool = Spool::open(dir.path(), config, None, Board::default(), &mut tasks).unwrap();
    let pulse = Pulse::open(dir.path());
    let (writer, reader) = (spool.writer.clone(), spool.reader.clone());
    let (records, recorder) = open(writer, reader.clone(), Policies::default().into(), pulse).await.unwrap();
    tasks.spawn("recorder", |stop| recorder.run(stop));
    Desk { records, reader, tasks, spool }
}

fn submission(id: EventId, bytes: usize) -> Submission {
    let mut draft = Draft::new(id, TaskName::parse("BACKUP").unwrap());
    draft.message = "x".repeat(bytes);
    let process = Process { uid: Some(7), ..Process::default() };
    Submission {
        draft,
        reporter: Reporter { process, chain: Chain::default() },
        received: now(),
        host: HostName::parse("web1").unwrap(),
        redacted: false,
    }
}

fn ids(count: usize) -> Vec<EventId> {
    (0..count).map(|_| EventId::mint(Timestamp::EPOCH, random::bytes())).collect()
}

impl Desk {
    fn submit(&self, ids: &[EventId], bytes: usize) -> tokio::sync::oneshot::Receiver<Answers> {
        let submissions = ids.iter().map(|id| submission(*id, bytes)).collect();
        self.records.submit(submissions, self.records.receive()).unwrap()
    }

    async fn close(self) {
        let Desk { records, reader, tasks, spool } = self;
        drop((records, reader, spool));
        let _ = tasks.run(async {}, Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn an_id_that_comes_again_while_its_event_is_on_its_way_is_stored_once_and_answered_alike() {
    let dir = TempDir::new().unwrap();
    let desk = desk(&dir, &Config::default()).await;
    let groups: Vec<Vec<EventId>> = (0..10).map(|_| ids(100)).collect();
    // Each again right behind itself, and once more behind the next one.
    let order: Vec<usize> = (0_usize..10).flat_map(|at| [at, at, at.saturating_sub(1)]).collect();
    let answers: Vec<_> = order.iter().map(|at| desk.submit(&groups[*at], 10)).collect();
    let mut places: BTreeMap<EventId, Seq> = BTreeMap::new();
    for answer in answers {
        for receipt in answer.await.unwrap() {
            let receipt = receipt.unwrap();
            assert_eq!(*places.entry(receipt.id).or_insert(receipt.seq), receipt.seq);
        }
    }
    let in_order: Vec<Seq> = groups.iter().flatten().map(|id| places[id]).collect();
    assert!(in_order.is_sorted(), "in the order in which they came");
    let count = desk.reader.count_events(EventFilter::default(), Viewer::Administrator).await.unwrap();
    assert_eq!(count, 1000);
    desk.close().await;
}

#[tokio::test]
async fn what_was_stamped_behind_a_group_that_is_refused_is_refused_as_well_and_then_it_goes_on() {
    let dir = TempDir::new().unwrap();
    let config =
        Config { bytes_max: 600 * 1024, ballast_bytes: 0, alone_bytes_max: 300 * 1024, ..Config::default() };
    let desk = desk(&dir, &config).await;
    let (mut asked, mut kept, mut refused) = (Vec::new(), BTreeMap::new(), 0);
    let mut went_on = 0;
    // Until some were refused, and some were taken after that.
    for _ in 0..1000 {
        let groups: Vec<Vec<EventId>> = (0..4).map(|_| ids(80)).collect();
        let answers: Vec<_> = groups.iter().map(|group| desk.submit(group, 400)).collect();
        asked.extend(groups.into_iter().flatten());
        for answer in answers {
            for receipt in answer.await.unwrap() {
                match receipt {
                    Ok(receipt) => {
                        assert_eq!(kept.insert(receipt.id, receipt.seq), None);
                        went_on += u64::from(refused > 0);
                    }
                    Err(error) => {
                        assert_eq!(error.class, ErrorClass::Full, "{error}");
                        refused += 1;
                    }
                }
            }
        }
        if went_on > 0 {
            break;
        }
    }
    assert!(refused > 0 && went_on > 0, "{refused} refused, then {went_on} taken");
    // What was refused is not there; what was taken is there once, or was forgotten by the retention.
    let known = desk.reader.known(asked).await.unwrap();
    assert!(
        known.iter().all(|(id, seq, _)| kept.get(id) == Some(seq)),
        "kept without an answer, or elsewhere"
    );
    let page =
        desk.reader.runs(RunFilter::default(), Viewer::Administrator, None, 100, RunEvents::Include).await;
    let events: u64 = page.unwrap().items.iter().map(|run| run.state.events()).sum();
    assert_eq!(events, kept.len() as u64, "the folds know of what was taken and of nothing else");
    desk.close().await;
}
