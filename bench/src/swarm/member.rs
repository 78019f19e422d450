//! One agent of a swarm: its identity in files, its events in memory, and what it says of them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hume_core::name::{Epoch, EventId, Seq};
use hume_core::{Event, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    self, AgentFrame, Batch, ClockSample, EpochReason, EpochState, FEATURE_ZSTD, GoAway, Hello, MasterFrame,
    MasterFrames, PROTOCOL_MAJOR, PROTOCOL_MINOR, SpoolStatus,
};
use hume_runtime::pki::{self, Authority};
use hume_runtime::{clock, random};
use humed_agent::uplink::session::{Found, Session, Want};
use humed_agent::uplink::{Config, connect};
use tokio::sync::mpsc;

use crate::fleet::{RUN_EVENTS, Reporter};
use crate::site::Site;

/// Frames that wait to be written to a stream; as many as the agent has.
const OUTGOING_MAX: usize = 8;
/// The master's first answer must come within this time, as for the agent.
const WELCOME_TIME_MAX: Duration = Duration::from_secs(20);
/// Between two events of one agent.
const STEP_US: i64 = 1000;
/// What the agent has when nobody configures it.
const RETRY_MIN_MS: u64 = 1000;
const RETRY_MAX_MS: u64 = 120_000;

/// One agent.
pub(super) struct Member {
    pub(super) config: Config,
    host: String,
    pub(super) epoch: Epoch,
    /// This start of it.
    instance: [u8; 16],
    /// All events it will ever have, in order.
    events: Vec<EventBytes>,
    /// Their ids.
    pub(super) ids: Vec<EventId>,
}

/// A stream to the master, and its first answer.
pub(super) struct Opened {
    pub(super) outgoing: mpsc::Sender<AgentFrame>,
    pub(super) incoming: MasterFrames,
    pub(super) first: Option<MasterFrame>,
    pub(super) certificate_expires_at: Timestamp,
}

/// The master ended the session, and said when to come back.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) pause: Duration,
    detail: String,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the master ended the session: {}", self.detail)
    }
}

impl std::error::Error for Away {}

impl From<GoAway> for Away {
    fn from(away: GoAway) -> Away {
        let GoAway { reason: _, reconnect_min_ms, reconnect_max_ms, detail } = away;
        let spread = f64::from(reconnect_max_ms.saturating_sub(reconnect_min_ms)) * fastrand::f64();
        let pause =
            Duration::from_millis(u64::from(reconnect_min_ms)) + Duration::from_secs_f64(spread / 1000.0);
        Away { pause, detail }
    }
}

impl Member {
    /// A new identity, in files below `folder`, and at least so many events.
    pub(super) fn new(
        authority: &Authority,
        site: &Site,
        folder: &Path,
        number: usize,
        events: usize,
    ) -> anyhow::Result<Member> {
        let now = clock::now();
        let mut reporter = Reporter::new(number, 1).context("a host of the fleet has no name")?;
        let host = reporter.host.as_str().to_owned();
        let issued = authority.issue_agent(random::uuid(), &host, now)?;
        let path = |name: &str| -> PathBuf { folder.join(name) };
        fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        fs::write(path("agent.pem"), &issued.certificate_pem)
            .with_context(|| format!("could not write {}", path("agent.pem").display()))?;
        pki::write_secret(&path("agent.key"), issued.key_pem.expose().as_bytes())?;
        let config = Config {
            address: site.grpc().to_string(),
            server_name: None,
            enroll_address: None,
            ca: site.master_dir().join("pki/ca.pem"),
            certificate: path("agent.pem"),
            key: path("agent.key"),
            retry_min_ms: RETRY_MIN_MS,
            retry_max_ms: RETRY_MAX_MS,
            boot_delay_max_ms: 0,
        };
        let run = |run: usize| {
            let begin = now.plus_micros(run as i64 * RUN_EVENTS as i64 * STEP_US);
            reporter.run(begin, STEP_US)
        };
        let mut all: Vec<Event> = (0..events.div_ceil(RUN_EVENTS)).flat_map(run).collect();
        all.truncate(events);
        Ok(Member {
            config,
            host,
            epoch: Epoch::from_bytes(random::bytes()),
            instance: random::bytes(),
            events: all.iter().map(EventBytes::encode).collect(),
            ids: all.iter().map(|event| event.id).collect(),
        })
    }

    /// How many events it will ever have.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// What it has of its one epoch, when so many were acknowledged and so many given out.
    pub(super) fn state(&self, acked: Seq, last: Seq) -> EpochState {
        let before = usize::try_from(acked.get()).unwrap_or(usize::MAX).checked_sub(1);
        EpochState {
            epoch: self.epoch,
            first_retained: Seq::new(1),
            acked,
            acked_event: before.and_then(|place| self.ids.get(place)).copied(),
            last_assigned: last,
            predecessor: None,
            restamped_through: Seq::ZERO,
            reason: EpochReason::Created,
        }
    }

    /// Connects and says Hello, until the first answer.
    pub(super) async fn open(&self, state: EpochState) -> anyhow::Result<Opened> {
        let (identity, agent) = connect::identity(&self.config)?;
        let dial = std::sync::Arc::new(connect::Tcp);
        let channel = connect::channel(&self.config, &identity, None, &dial).await?;
        let certificate_expires_at = agent.not_after;
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        outgoing.send(AgentFrame::Hello(self.hello(state, certificate_expires_at))).await?;
        let opened = async {
            let mut incoming = relay::open(channel, frames).await?;
            let first = incoming.next().await?;
            anyhow::Ok((incoming, first))
        };
        let opened = tokio::time::timeout(WELCOME_TIME_MAX, opened).await;
        let (incoming, first) = opened.context("the master did not answer")??;
        Ok(Opened { outgoing, incoming, first, certificate_expires_at })
    }

    fn hello(&self, state: EpochState, certificate_expires_at: Timestamp) -> Hello {
        Hello {
            protocol_major: PROTOCOL_MAJOR,
            protocol_minor: PROTOCOL_MINOR,
            features: vec![FEATURE_ZSTD.to_owned()],
            instance: Some(self.instance),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: None,
            host: self.host.clone(),
            zone: None,
            tags: Vec::new(),
            epochs: vec![state],
            clock: clocks(),
            spool: SpoolStatus::default(),
            certificate_expires_at,
        }
    }

    /// Sends what the window allows of the events through `last`, and takes answers as they come, as the agent does.
    pub(super) async fn send_all(
        &self,
        last: Seq,
        session: &mut Session,
        outgoing: &mpsc::Sender<AgentFrame>,
        incoming: &mut MasterFrames,
    ) -> anyhow::Result<()> {
        while let Some(want) = session.wants() {
            let events = self.batch(want, last);
            let bytes = events.iter().map(EventBytes::len).sum();
            session.loaded(want, Found::Events { events: events.len(), bytes }, Instant::now());
            let frame = AgentFrame::Batch(Batch {
                epoch: want.epoch,
                first: want.from,
                events,
                codec: session.codec(),
            });
            loop {
                tokio::select! {
                    biased;
                    permit = outgoing.reserve() => {
                        permit?.send(frame);
                        break;
                    }
                    answer = incoming.next() => receive(answer?, session)?,
                }
            }
        }
        Ok(())
    }

    /// At least one event, and as many more as are wanted.
    fn batch(&self, want: Want, last: Seq) -> Vec<EventBytes> {
        let mut bytes = 0;
        let from = want.from.get().saturating_sub(1) as usize;
        let events = self.events.iter().take(last.get() as usize);
        let events = events.skip(from).take(want.events_max).enumerate();
        let fitting = events.take_while(|(place, event)| {
            bytes += event.len();
            *place == 0 || bytes <= want.bytes_max
        });
        fitting.map(|(_, event)| event.clone()).collect()
    }
}

/// Both clocks, now.
pub(super) fn clocks() -> ClockSample {
    ClockSample { wall: clock::now(), boottime_us: clock::boottime_us() }
}

/// Takes an answer of the master.
pub(super) fn receive(frame: Option<MasterFrame>, session: &mut Session) -> anyhow::Result<()> {
    match frame.context("the master ended the stream")? {
        MasterFrame::Ack(ack) => drop(session.acked(&ack, Instant::now())?),
        MasterFrame::Resync(resync) => session.resync(&resync)?,
        MasterFrame::GoAway(away) => return Err(Away::from(away).into()),
        MasterFrame::Quarantined(one) => bail!("the master cannot read an event: {}", one.detail),
        MasterFrame::Welcome(_) => bail!("a second Welcome"),
        MasterFrame::Certificate(_) => bail!("a certificate that nobody asked for"),
        MasterFrame::Throttle(_) | MasterFrame::HeartbeatReply(_) | MasterFrame::RenewalRefused(_) => {}
    }
    Ok(())
}
