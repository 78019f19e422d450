//! Agents that send to a store in a watched folder; every answer goes into the notes, at its position in the record.

use std::future::Future;
use std::path::Path;
use std::thread::JoinHandle;

use fastrand::Rng;
use hume_core::event::{Command, Correlation, EventKind, Process, RunRef};
use hume_core::{AgentId, Epoch, Event, EventId, HostName, Level, RunId, Seq, TaskName, Timestamp};
use hume_crash_tests::{Disk, disk};
use hume_proto::event::EventBytes;
use hume_proto::relay::GapReason;
use humed_master::metrics::Metrics;
use humed_master::store::{
    Admission, Content, Entrance, Entry, EpochClaim, EventWriter as _, HostWord, QueueStatus, SessionNo,
    Sessions as _, SqliteStore, StoreError,
};
use tempfile::TempDir;

/// The one epoch of every agent.
const EPOCH: [u8; 16] = [3; 16];
/// Agents of a site.
pub(crate) const AGENTS: usize = 3;

/// What stands at one place of an agent's epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Event(Box<Event>),
    /// Bytes that are no event.
    Poison(Vec<u8>),
    /// Nothing.
    Hole,
}

/// One agent: what it has, and what is known of it at which position.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) agent: AgentId,
    pub(crate) places: Vec<Place>,
    pub(crate) session: SessionNo,
    /// Since when so many places may be stored.
    pub(crate) tried: Vec<(usize, u64)>,
    /// Since when so many places must be.
    pub(crate) acked: Vec<(usize, u64)>,
    /// Since when a session has this number.
    pub(crate) sessions: Vec<(usize, SessionNo)>,
}

/// An opened store, its writer on a thread.
pub(crate) struct Open {
    pub(crate) store: SqliteStore,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Open {
    pub(crate) fn at(folder: &Path) -> Result<Open, StoreError> {
        let (store, writer) = SqliteStore::open(&folder.join("store.db"), Metrics::new(Timestamp::EPOCH))?;
        Ok(Open { store, thread: std::thread::spawn(|| writer.run()) })
    }

    /// The end, however the disk is.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        self.store.close().await;
        drop(self.store);
        self.thread.join().unwrap()
    }
}

/// A watched folder with a store, and the agents that send to it.
pub(crate) struct Site {
    pub(crate) disk: Disk,
    pub(crate) folder: TempDir,
    pub(crate) senders: Vec<Sender>,
    pub(crate) chance: Rng,
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Site {
    pub(crate) fn new(seed: u64) -> Site {
        let folder = TempDir::new_in(disk::roomy()).unwrap();
        let senders = (0..AGENTS).map(|number| Sender {
            agent: AgentId::from_bytes([number as u8 + 1; 16]),
            places: Vec::new(),
            session: SessionNo(0),
            tried: Vec::new(),
            acked: Vec::new(),
            sessions: Vec::new(),
        });
        Site {
            disk: Disk::watch(folder.path()).unwrap(),
            folder,
            senders: senders.collect(),
            chance: Rng::with_seed(seed),
        }
    }

    pub(crate) fn open(&self) -> Open {
        Open::at(self.folder.path()).unwrap()
    }

    /// Every agent says Hello.
    pub(crate) async fn enter(&mut self, open: &Open) -> Result<(), StoreError> {
        for sender in &mut self.senders {
            sender.session = open.store.enter(entrance(sender.agent)).await?.session;
            sender.sessions.push((self.disk.now(), sender.session));
        }
        Ok(())
    }

    /// Some agents get something new, and send it with a bit of what they sent before.
    pub(crate) async fn send_some(&mut self, open: &Open) -> Result<(), StoreError> {
        let of = (0..AGENTS).filter(|_| self.chance.u32(..3) > 0).collect();
        self.send(open, of).await
    }

    /// The same of all agents.
    pub(crate) async fn send_all(&mut self, open: &Open) -> Result<(), StoreError> {
        self.send(open, (0..AGENTS).collect()).await
    }

    async fn send(&mut self, open: &Open, of: Vec<usize>) -> Result<(), StoreError> {
        let mut admissions = Vec::new();
        for number in of.iter().copied() {
            let sender = &mut self.senders[number];
            let known = sender.places.len() as u64;
            sender.grow(number as u64, &mut self.chance);
            let from = known.saturating_sub(self.chance.u64(..4));
            admissions.extend(sender.admissions(from));
            sender.tried.push((self.disk.now(), sender.places.len() as u64));
        }
        open.store.commit(admissions).await?;
        let now = self.disk.now();
        for number in of {
            let sender = &mut self.senders[number];
            sender.acked.push((now, sender.places.len() as u64));
        }
        Ok(())
    }

    /// What every agent does when it comes back: it says Hello and sends what is beyond the cursor.
    pub(crate) async fn come_back(&mut self, open: &Open) -> Result<(), StoreError> {
        self.enter(open).await?;
        for sender in &mut self.senders {
            let cursor = open.store.enter(entrance(sender.agent)).await?;
            sender.session = cursor.session;
            sender.sessions.push((self.disk.now(), sender.session));
            open.store.commit(sender.admissions(cursor.cursors[0].seq.get())).await?;
            sender.acked.push((self.disk.now(), sender.places.len() as u64));
        }
        Ok(())
    }
}

impl Sender {
    /// The agent has a few more events, now and then one that nobody can read, or a hole.
    fn grow(&mut self, number: u64, chance: &mut Rng) {
        for _ in 0..chance.u64(1..=40) {
            let at = self.places.len() as u64;
            let place = match chance.u32(..40) {
                0 => Place::Poison(vec![0xff; chance.usize(1..50)]),
                1 => Place::Hole,
                _ => Place::Event(Box::new(event(number, at, chance.usize(5..400)))),
            };
            self.places.push(place);
        }
    }

    /// All that stands beyond so many places.
    pub(crate) fn admissions(&self, beyond: u64) -> Vec<Admission> {
        let holes_apart = |one: &Place, next: &Place| (*one == Place::Hole) == (*next == Place::Hole);
        let mut first = beyond + 1;
        let pieces = self.places[beyond as usize..].chunk_by(holes_apart);
        pieces
            .map(|piece| {
                let through = first + piece.len() as u64 - 1;
                let content = if piece[0] == Place::Hole {
                    Content::Gap { through: seq(through), reason: GapReason::Purged }
                } else {
                    Content::Entries(piece.iter().filter_map(entry).collect())
                };
                let admission = self.admission(first, content);
                first = through + 1;
                admission
            })
            .collect()
    }

    fn admission(&self, first: u64, content: Content) -> Admission {
        Admission {
            agent: self.agent,
            session: self.session,
            epoch: Epoch::from_bytes(EPOCH),
            first: seq(first),
            arrived_at: Timestamp::from_micros(1_000_000),
            content,
        }
    }
}

pub(crate) fn seq(value: u64) -> Seq {
    Seq::new(value).unwrap()
}

pub(crate) fn entrance(agent: AgentId) -> Entrance {
    Entrance {
        agent,
        host: HostName::parse("web1").unwrap(),
        version: "0.1.0".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        certificate_expires_at: Timestamp::from_micros(9_000_000),
        epochs: vec![EpochClaim {
            epoch: Epoch::from_bytes(EPOCH),
            last_assigned: Seq::ZERO,
            predecessor: None,
            restamped: Seq::ZERO,
        }],
        queue: QueueStatus::default(),
        about: HostWord::default(),
        behind_us: 0,
        at: Timestamp::from_micros(1_000),
    }
}

fn entry(place: &Place) -> Option<Entry> {
    match place {
        Place::Event(event) => Some(Entry::Event { event: event.clone(), body: EventBytes::encode(event) }),
        Place::Poison(bytes) => Some(Entry::Quarantined {
            code: "shape",
            detail: "no event".to_owned(),
            body: EventBytes::from_raw(bytes.clone()),
        }),
        Place::Hole => None,
    }
}

/// The event at a place of an agent; five runs, each begun, a few ended.
fn event(agent: u64, at: u64, message_bytes: usize) -> Event {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&agent.to_be_bytes());
    id[8..].copy_from_slice(&at.to_be_bytes());
    let run = RunId::from_bytes([(at / 30) as u8 + 1; 16]);
    let command = match at % 30 {
        0 => Some(Command::CounterStart),
        29 => Some(Command::CounterStop),
        _ => None,
    };
    Event {
        id: EventId::from_bytes(id),
        kind: EventKind::Reported,
        time: Timestamp::from_micros(at as i64 * 1_000),
        received_at: Timestamp::from_micros(at as i64 * 1_000 + 1),
        boot_clock: None,
        host: HostName::parse(if agent == 0 { "web1" } else { "web2" }).unwrap(),
        task: TaskName::parse(["BACKUP", "SYNC"][at as usize / 30 % 2]).unwrap(),
        tags: Vec::new(),
        level: Level::ALL[at as usize % Level::ALL.len()],
        command,
        flag: None,
        message: format!("{agent}-{at} ").chars().cycle().take(message_bytes).collect(),
        truncated_from: None,
        extra: Vec::new(),
        exit: None,
        line: None,
        process: Process::default(),
        run: Some(RunRef { id: run, correlation: Correlation::Explicit }),
        finding: None,
        not_before: None,
        flags: Vec::new(),
    }
}
