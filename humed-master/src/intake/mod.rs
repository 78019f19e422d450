//! The one door to the store: whatever comes in is planned, committed and only then answered.
//!
//! Deciding is pure (`plan.rs`, `verdict.rs`); this file acts. A call waits while the writer's queue is full, and whoever
//! calls stops reading meanwhile: nothing is buffered without a bound.

mod findings;
mod plan;
mod verdict;

use std::sync::Arc;

use hume_core::host_patterns::HostPatterns;
use hume_core::{AgentId, BoundError, Epoch, ErrorClass, HostName, Seq, Timestamp};
use hume_proto::relay::{self, EpochState, Heartbeat, Hello, Quarantined, Resume, SpoolStatus};

use crate::store::{
    CommitOutcome, Cursor, Departure, Entered, Entrance, EpochClaim, EventWriter, HostWord, QueueStatus,
    Sessions, Sighting, StoreError,
};

pub use self::findings::Findings;
pub use self::plan::Parcel;
pub use crate::store::SessionNo;

/// Longest version of an agent that is kept, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    writer: Arc<dyn EventWriter>,
    sessions: Arc<dyn Sessions>,
}

/// Who connects, by certificate and socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The agent.
    pub agent: AgentId,
    /// When its certificate ends.
    pub certificate_expires_at: Timestamp,
    /// The serial number of its certificate.
    pub serial: Vec<u8>,
    /// Where it connects from.
    pub address: String,
}

/// A session that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its number.
    pub session: SessionNo,
    /// Names the store.
    pub store_id: [u8; 16],
    /// How each epoch goes on.
    pub resume: Vec<Resume>,
    /// For which hosts its agent may report.
    pub hosts: HostPatterns,
}

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its epoch.
    pub epoch: Epoch,
    /// What the store says.
    pub verdict: ReceiptVerdict,
    /// What of it was put into quarantine.
    pub quarantined: Vec<Quarantined>,
}

/// What the store says of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptVerdict {
    /// Durable through this place, whether it was new or not.
    Durable(Seq),
    /// It leaves a hole after this place.
    Beyond(Seq),
    /// A newer session of the agent exists.
    Superseded,
    /// The agent did not name this epoch in its Hello.
    UnknownEpoch,
}

/// Nothing was let in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntakeError {
    /// What the agent says of itself breaks a bound.
    #[error("the agent's Hello is wrong: {0}")]
    Hello(#[from] BoundError),
    /// What the master found out itself does.
    #[error("what was found is no event: {0}")]
    Finding(#[source] BoundError),
    /// It was let in for another host.
    #[error(
        "this agent says that it is of host \"{0}\", for which it may not report: `humeconfig agents allow-host` on the master, or `host` in its agent.toml"
    )]
    OtherHost(HostName),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntakeError {
    /// What the other end can do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            IntakeError::Hello(_) | IntakeError::Finding(_) => ErrorClass::Invalid,
            IntakeError::OtherHost(_) => ErrorClass::Denied,
            IntakeError::Store(error) => error.class(),
        }
    }
}

impl Intake {
    /// A door to this store.
    pub fn new(writer: Arc<dyn EventWriter>, sessions: Arc<dyn Sessions>) -> Intake {
        Intake { writer, sessions }
    }

    /// Lets an agent in that may report for these hosts, its own among them: it is entered in the list of agents, and each of its epochs gets a verdict.
    /// # Errors
    /// [`IntakeError`]; the agent has no session then.
    pub async fn enter(
        &self,
        visitor: Visitor,
        hello: Hello,
        hosts: HostPatterns,
        now: Timestamp,
    ) -> Result<Admitted, IntakeError> {
        let Visitor { agent, certificate_expires_at, serial: _, address } = visitor;
        let host = HostName::parse(&hello.host)?;
        if !hosts.allow(&host) {
            return Err(IntakeError::OtherHost(host));
        }
        let entrance = Entrance {
            agent,
            host,
            version: hume_core::fit::cut(&hello.agent_version, VERSION_BYTES_MAX).to_owned(),
            address,
            certificate_expires_at,
            epochs: hello.epochs.iter().map(claim).collect(),
            queue: queue_of(hello.spool),
            about: HostWord { boot: hello.boot, zone: hello.zone, tags: hello.tags },
            behind_us: if hello.clock.wall == Timestamp::EPOCH {
                0
            } else {
                now.micros_since(hello.clock.wall)
            },
            at: now,
        };
        let Entered { session, cursors } = self.sessions.enter(entrance).await?;
        let resume = hello.epochs.iter().zip(cursors).map(|(state, cursor): (_, Cursor)| Resume {
            epoch: state.epoch,
            cursor: cursor.seq,
            cursor_event: cursor.event,
            verdict: verdict::verdict(state, relay::is_closed(state.epoch, &hello.epochs), cursor),
        });
        Ok(Admitted { session, store_id: self.sessions.store_id(), resume: resume.collect(), hosts })
    }

    /// Lets parcels of an agent that may report for these `hosts` in, in their order; one receipt each, after the commit.
    /// # Errors
    /// [`IntakeError::Store`]: none of them was kept.
    pub async fn admit(
        &self,
        (agent, hosts): (AgentId, &HostPatterns),
        session: SessionNo,
        parcels: Vec<Parcel>,
        now: Timestamp,
    ) -> Result<Vec<Receipt>, IntakeError> {
        let admissions: Vec<_> =
            parcels.into_iter().map(|parcel| plan::plan((agent, hosts), session, parcel, now)).collect();
        let set_aside: Vec<_> =
            admissions.iter().map(|admission| (admission.epoch, plan::quarantined(admission))).collect();
        let outcomes = self.writer.commit(admissions).await?;
        let receipts = set_aside.into_iter().zip(outcomes).map(|((epoch, quarantined), outcome)| {
            let (verdict, quarantined) = match outcome {
                CommitOutcome::Stored { cursor, .. } => (ReceiptVerdict::Durable(cursor.seq), quarantined),
                CommitOutcome::Known { cursor } => (ReceiptVerdict::Durable(cursor.seq), Vec::new()),
                CommitOutcome::Beyond { cursor } => (ReceiptVerdict::Beyond(cursor.seq), Vec::new()),
                CommitOutcome::Superseded => (ReceiptVerdict::Superseded, Vec::new()),
                CommitOutcome::UnknownEpoch => (ReceiptVerdict::UnknownEpoch, Vec::new()),
            };
            Receipt { epoch, verdict, quarantined }
        });
        Ok(receipts.collect())
    }

    /// Notes that an agent lives, and what it says of itself.
    pub fn seen(&self, agent: AgentId, session: SessionNo, beat: Option<Heartbeat>, now: Timestamp) {
        let behind_us = beat.as_ref().map(|beat| now.micros_since(beat.clock.wall));
        let watermark = beat.as_ref().map(|beat| beat.watermark);
        let (tails, queue) = beat.map(|beat| (beat.tails, queue_of(beat.spool))).unzip();
        let tails = tails.unwrap_or_default();
        self.sessions.seen(Sighting { agent, session, queue, tails, behind_us, watermark, at: now });
    }

    /// Notes that a session has ended, and whether the agent said goodbye.
    /// # Errors
    /// [`IntakeError::Store`].
    pub async fn leave(
        &self,
        agent: AgentId,
        session: SessionNo,
        error: Option<String>,
        goodbye: bool,
        now: Timestamp,
    ) -> Result<(), IntakeError> {
        Ok(self.sessions.leave(Departure { agent, session, error, goodbye, at: now }).await?)
    }
}

fn queue_of(spool: SpoolStatus) -> QueueStatus {
    let SpoolStatus {
        unacked_events,
        unacked_bytes: _,
        oldest_unacked,
        last_error,
        refused_events,
        lost_events,
    } = spool;
    let (last_error, last_error_at) = last_error.unzip();
    QueueStatus {
        events: unacked_events,
        since: oldest_unacked,
        last_error,
        last_error_at,
        refused_events,
        lost_events,
    }
}

fn claim(state: &EpochState) -> EpochClaim {
    let EpochState {
        epoch,
        first_retained: _,
        acked: _,
        acked_event: _,
        last_assigned,
        predecessor,
        restamped_through: restamped,
        reason: _,
    } = *state;
    EpochClaim { epoch, last_assigned, predecessor, restamped }
}
