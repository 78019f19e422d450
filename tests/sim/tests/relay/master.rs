//! The master in the simulation: its relay, its intake and its store, behind a door that notes what comes.
//!
//! What it has not: the accept loop, which has tests of its own, the web, and the retention. The store is the real one, its
//! writer on a thread. While that works virtual time stands still, and one thing is asked of it at a time, so that the order of
//! the answers is that of the questions. A commit takes a moment of virtual time before and after it is done: what breaks may
//! break in between.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use hume_runtime::accept::Accepted;
use hume_runtime::clock;
use hume_runtime::task_group::{Spawner, Stop, TaskGroup};
use humed_master::intake::Intake;
use humed_master::metrics::Metrics;
use humed_master::registry::View;
use humed_master::relay::{Relay, SESSIONS_MAX};
use humed_master::store::{
    Admission, BoxFuture, CommitOutcome, Content, Departure, Entered, Entrance, EventWriter, Sessions,
    Sighting, SqliteStore, StoreError,
};
use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use turmoil::net::{TcpListener, TcpStream};

use crate::journal::{Entry, Journal, Outcome};
use crate::plan::Plan;
use crate::site::{self, DOMAIN};

const GRACE: Duration = Duration::from_secs(10);
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A commit takes at most so long before it is done, and after it before it is answered.
const COMMIT_MS_MAX: u64 = 40;

/// What a master is started with, again and again.
pub(crate) struct Master {
    pub(crate) store: PathBuf,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) journal: Arc<Journal>,
    agents: usize,
    seed: u64,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: Stop,
    writer: JoinHandle<Result<(), StoreError>>,
}

impl Master {
    pub(crate) fn new(store: PathBuf, tls: Arc<ServerConfig>, journal: Arc<Journal>, plan: &Plan) -> Master {
        Master { store, tls, journal, agents: plan.agents, seed: plan.seed, running: Mutex::default() }
    }

    /// One life of it, from the start to the stop.
    pub(crate) async fn live(self: Arc<Master>) -> turmoil::Result {
        let metrics = Metrics::new(clock::now());
        let (store, writer) = SqliteStore::open(&self.store, metrics.clone())?;
        let mut tasks = TaskGroup::new();
        let writer = std::thread::spawn(move || writer.run());
        *self.running.lock().unwrap() = Some(Running { stop: tasks.stop(), writer });
        let door = Arc::new(Door { store, master: Arc::clone(&self), turn: tokio::sync::Mutex::default() });
        let (accepted, receiver) = mpsc::channel(HANDSHAKES_MAX);
        let relay = Relay {
            intake: Intake::new(door.clone(), door.clone()),
            accepted: receiver,
            trust_domain: Some(DOMAIN.to_owned()),
            on_refusal: Arc::new(|_| {}),
            agents: View::of_nobody(),
            issuing: None,
            sessions: tasks.spawner(SESSIONS_MAX),
            metrics,
        };
        let listener = TcpListener::bind(site::listen()).await?;
        let (tls, handshakes) = (Arc::clone(&self.tls), tasks.spawner(HANDSHAKES_MAX));
        tasks.spawn("accept", |stop| accept(listener, tls, accepted, handshakes, stop));
        tasks.spawn("relay", |stop| relay.run(stop));
        let stop = tasks.stop();
        tasks.run(async move { stop.wait().await }, GRACE).await?;
        let _still = Still::begin();
        door.store.close().await;
        Ok(())
    }

    /// SIGTERM, as it were.
    pub(crate) fn ask_to_stop(&self) {
        if let Some(running) = &*self.running.lock().unwrap() {
            running.stop.set();
        }
    }

    /// After its life, however it ended: waits in real time until its thread has let go of the store.
    pub(crate) fn bury(&self) {
        if let Some(Running { writer, .. }) = self.running.lock().unwrap().take() {
            writer.join().unwrap().unwrap();
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    accepted: mpsc::Sender<Accepted<TlsStream<TcpStream>>>,
    handshakes: Spawner,
    stop: Stop,
) -> anyhow::Result<()> {
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            incoming = listener.accept() => incoming?,
        };
        let (tls, accepted) = (TlsAcceptor::from(Arc::clone(&tls)), accepted.clone());
        let shake = async move {
            let shaken = tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await;
            // Whatever was wrong, the agent finds out and comes back.
            let Ok(Ok(stream)) = shaken else { return };
            let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
            let _ = accepted.send(Accepted { stream, peer, certificates }).await;
        };
        let _ = handshakes.try_spawn("handshake", shake);
    }
}

/// While one lives, virtual time of this host stands still: a thread works on its behalf.
pub(crate) struct Still {
    _sender: std::sync::mpsc::Sender<()>,
}

impl Still {
    fn begin() -> Still {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Time does not advance by itself while something blocks.
        drop(tokio::task::spawn_blocking(move || receiver.recv()));
        Still { _sender: sender }
    }
}

/// The store, as the intake sees it.
struct Door {
    store: SqliteStore,
    master: Arc<Master>,
    turn: tokio::sync::Mutex<()>,
}

impl Door {
    /// A moment of virtual time, by what is given to the store.
    async fn moment(&self, salt: u64) {
        let mut chance = Rng::with_seed(self.master.seed.wrapping_mul(31).wrapping_add(salt));
        tokio::time::sleep(Duration::from_millis(chance.u64(..COMMIT_MS_MAX))).await;
    }

    fn number(&self, agent: hume_core::AgentId) -> usize {
        (0..self.master.agents).find(|number| site::agent_id(*number) == agent).unwrap()
    }

    fn note_commit(
        &self,
        admissions: &[(usize, usize, u64, usize)],
        outcomes: &Result<Vec<CommitOutcome>, StoreError>,
    ) {
        for (place, (agent, epoch, first, events)) in admissions.iter().copied().enumerate() {
            let outcome = match outcomes.as_ref().map(|outcomes| outcomes[place]) {
                Ok(CommitOutcome::Stored { .. }) => Outcome::Stored,
                Ok(CommitOutcome::Known { .. }) => Outcome::Known,
                Ok(CommitOutcome::Beyond { .. }) => Outcome::Beyond,
                Ok(CommitOutcome::Superseded) => Outcome::Superseded,
                Ok(CommitOutcome::UnknownEpoch) => Outcome::Unknown,
                Err(_) => Outcome::Failed,
            };
            self.master.journal.note(Entry::Committed { agent, epoch, first, events, outcome });
        }
    }
}

impl EventWriter for Door {
    fn commit(&self, admissions: Vec<Admission>) -> BoxFuture<'_, Result<Vec<CommitOutcome>, StoreError>> {
        Box::pin(async move {
            let told: Vec<_> = admissions
                .iter()
                .map(|admission| {
                    let events = match &admission.content {
                        Content::Entries(entries) => entries.len(),
                        Content::Gap { .. } => 0,
                    };
                    let epoch = self.master.journal.number(admission.epoch);
                    (self.number(admission.agent), epoch, admission.first.get(), events)
                })
                .collect();
            let salt = told.iter().map(|(agent, _, first, _)| first * 10 + *agent as u64).sum::<u64>();
            self.moment(salt).await;
            let outcomes = {
                let _turn = self.turn.lock().await;
                let _still = Still::begin();
                self.store.commit(admissions).await
            };
            self.note_commit(&told, &outcomes);
            self.moment(!salt).await;
            outcomes
        })
    }
}

impl Sessions for Door {
    fn store_id(&self) -> [u8; 16] {
        self.store.store_id()
    }

    fn enter(&self, entrance: Entrance) -> BoxFuture<'_, Result<Entered, StoreError>> {
        Box::pin(async move {
            let agent = self.number(entrance.agent);
            let epochs: Vec<_> =
                entrance.epochs.iter().map(|claim| self.master.journal.number(claim.epoch)).collect();
            let entered = {
                let _turn = self.turn.lock().await;
                let _still = Still::begin();
                self.store.enter(entrance).await?
            };
            let cursors = epochs.into_iter().zip(entered.cursors.iter().map(|cursor| cursor.seq.get()));
            self.master.journal.note(Entry::Entered { agent, cursors: cursors.collect() });
            Ok(entered)
        })
    }

    fn seen(&self, sighting: Sighting) {
        self.store.seen(sighting);
    }

    fn leave(&self, departure: Departure) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let agent = self.number(departure.agent);
            let _turn = self.turn.lock().await;
            let _still = Still::begin();
            let left = self.store.leave(departure).await;
            self.master.journal.note(Entry::Left { agent });
            left
        })
    }
}
