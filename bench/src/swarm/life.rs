//! An agent of a swarm through many sessions: it comes back by itself after the same pauses as a real one, and sends heartbeats.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use hume_core::Timestamp;
use hume_core::name::Seq;
use hume_proto::relay::{AgentFrame, Heartbeat, MasterFrame, SpoolStatus, Verdict};
use hume_runtime::backoff::Backoff;
use humed_agent::uplink::session::Session;
use tokio::sync::watch;
use tokio::time::Instant;

use super::member::{Away, Member, Opened, clocks, receive};

/// A session of this length with an acknowledgement makes the pauses start anew, as at the agent.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// Heartbeats are spread by this part of their interval, as at the agent.
const HEARTBEAT_SPREAD: f64 = 0.2;

/// How all of them fare, as it changes.
#[derive(Default)]
pub(super) struct Board {
    connected: AtomicUsize,
    acked: AtomicU64,
    tries: AtomicU64,
    failure: Mutex<Option<String>>,
    trouble: Mutex<Option<String>>,
}

impl Board {
    /// Agents that have a session.
    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Events that were acknowledged, of all agents.
    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Connections that were tried.
    pub(super) fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }

    /// What can only be a fault of the master, if there was something.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a session last ended.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, why: String) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// Counts an agent as connected until it is dropped.
struct Connected(Arc<Board>);

impl Connected {
    fn new(board: &Arc<Board>) -> Connected {
        board.connected.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(board))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An agent that lives.
pub(super) struct Life {
    member: Member,
    board: Arc<Board>,
    /// How many events there are by now; closed at the end.
    orders: watch::Receiver<usize>,
    acked: Seq,
    /// The session that goes on has had an acknowledgement.
    has_ack: bool,
}

impl Life {
    /// One that has not connected yet.
    pub(super) fn new(member: Member, board: Arc<Board>, orders: watch::Receiver<usize>) -> Life {
        Life { member, board, orders, acked: Seq::ZERO, has_ack: false }
    }

    /// Holds sessions until the orders end.
    pub(super) async fn run(mut self) {
        let (min, max) = (self.member.config.retry_min_ms, self.member.config.retry_max_ms);
        let mut backoff = Backoff::new(Duration::from_millis(min), 2.0, Duration::from_millis(max));
        loop {
            let began = Instant::now();
            self.has_ack = false;
            self.board.tries.fetch_add(1, Ordering::Relaxed);
            let Err(error) = self.session().await else { return };
            if self.has_ack && began.elapsed() >= HEALTHY_AFTER {
                backoff.reset();
            }
            *self.board.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
            let away = error.downcast_ref::<Away>().map(|away| away.pause).filter(|pause| !pause.is_zero());
            let pause = tokio::time::sleep(away.unwrap_or_else(|| backoff.next_delay()));
            tokio::select! {
                () = pause => {}
                () = ended(&mut self.orders) => return,
            }
        }
    }

    /// One session. Ok when the orders have ended.
    async fn session(&mut self) -> anyhow::Result<()> {
        let state = self.member.state(self.acked, given(&mut self.orders));
        let Opened { outgoing, mut incoming, first, certificate_expires_at } =
            self.member.open(state).await?;
        let welcome = match first {
            Some(MasterFrame::Welcome(welcome)) => welcome,
            Some(MasterFrame::GoAway(away)) => return Err(Away::from(away).into()),
            other => bail!("the first answer was {other:?}"),
        };
        for resume in &welcome.resume {
            if resume.verdict != Verdict::Continue {
                let why = format!(
                    "{:?} at {}, after {} was acknowledged",
                    resume.verdict, resume.cursor, self.acked
                );
                self.board.fail(why.clone());
                bail!(why);
            }
        }
        let mut session = Session::begin(&[state], &welcome)?;
        self.note(&session);
        let _connected = Connected::new(&self.board);
        let every = Duration::from_millis(u64::from(welcome.heartbeat_ms));
        let mut beat = Instant::now() + spread(every);
        loop {
            let last = given(&mut self.orders);
            session.appended(self.member.epoch, last);
            self.member.send_all(last, &mut session, &outgoing, &mut incoming).await?;
            tokio::select! {
                frame = incoming.next() => {
                    let frame = frame?;
                    self.has_ack |= matches!(frame, Some(MasterFrame::Ack(_)));
                    receive(frame, &mut session)?;
                }
                changed = self.orders.changed() => if changed.is_err() {
                    outgoing.send(AgentFrame::Goodbye("the swarm is done".to_owned())).await?;
                    while incoming.next().await?.is_some() {}
                    return Ok(());
                },
                () = tokio::time::sleep_until(beat) => {
                    let beating = Heartbeat {
                        clock: clocks(),
                        tails: session.tails(),
                        watermark: Timestamp::EPOCH,
                        spool: SpoolStatus::default(),
                        certificate_expires_at,
                    };
                    outgoing.send(AgentFrame::Heartbeat(beating)).await?;
                    beat = Instant::now() + spread(every);
                }
            }
            self.note(&session);
        }
    }

    /// Counts what was acknowledged since the last look.
    fn note(&mut self, session: &Session) {
        let acked = session.cursors().first().map_or(Seq::ZERO, |cursor| cursor.seq);
        let more = acked.get().saturating_sub(self.acked.get());
        self.acked = self.acked.max(acked);
        self.board.acked.fetch_add(more, Ordering::Relaxed);
    }
}

/// The place of the last event there is.
fn given(orders: &mut watch::Receiver<usize>) -> Seq {
    Seq::ZERO.plus(*orders.borrow_and_update() as u64)
}

/// Completes when the orders end.
async fn ended(orders: &mut watch::Receiver<usize>) {
    while orders.changed().await.is_ok() {}
}

fn spread(every: Duration) -> Duration {
    every.mul_f64(1.0 + HEARTBEAT_SPREAD * (2.0 * fastrand::f64() - 1.0))
}
