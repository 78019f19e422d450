//! Many agents in one process, each with its own certificate and a real session: the agent's own session machine, its own
//! way to connect, the true protocol. Only the spool is missing: events wait in memory.
//!
//! All connect first; then all send at once, and each says when its last event was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hume_core::name::{Epoch, Seq};
use hume_core::{AgentId, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{
    self, AgentFrame, Batch, ClockSample, EpochReason, EpochState, FEATURE_ZSTD, Hello, MasterFrame,
    MasterFrames, PROTOCOL_MAJOR, PROTOCOL_MINOR, SpoolStatus,
};
use hume_runtime::pki::{self, Authority};
use hume_runtime::secret::SecretText;
use hume_runtime::task_group::TaskGroup;
use hume_runtime::{clock, random};
use humed_agent::uplink::session::{Found, Session, Want};
use humed_agent::uplink::{Config, connect};
use tokio::runtime::Runtime;
use tokio::sync::{Barrier, mpsc};

use crate::fleet::{RUN_EVENTS, Reporter};
use crate::site::Site;
use crate::talk::{Progress, tell};

/// Frames that wait to be written to a stream; as many as the agent has.
const OUTGOING_MAX: usize = 8;
/// A swarm takes no longer.
const TIME_MAX: Duration = Duration::from_mins(10);
/// Time for all tasks to end at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Between two events of one agent.
const STEP_US: i64 = 1000;

/// How a swarm fared.
pub(crate) struct Swarmed {
    /// Events of all agents.
    pub(crate) events: u64,
    /// Until all were connected.
    pub(crate) connected: Duration,
    /// Per agent, from the common start until its last event was acknowledged.
    pub(crate) finished: Vec<Duration>,
}

/// Lets so many agents send so many events each to the master of this site, which runs.
/// # Errors
/// If one of them did not bring all of its events.
pub(crate) fn run(site: &Site, agents: usize, events: usize) -> anyhow::Result<Swarmed> {
    let master = site.master_dir();
    let read = |name: &str| {
        let path = master.join("pki").join(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let authority = Authority::load(&read("ca.pem")?, &SecretText::new(read("ca.key")?))?;
    let folder = site.scratch().path().join(format!("swarm-{agents}"));
    let runtime = Runtime::new().context("could not start a runtime")?;
    let members = (0..agents)
        .map(|number| Member::new(&authority, site, &folder.join(number.to_string()), number, events))
        .collect::<anyhow::Result<Vec<_>>>()?;
    tell(format_args!("swarm: {agents} agents, {events} events each"));
    runtime.block_on(swarm(members))
}

async fn swarm(members: Vec<Member>) -> anyhow::Result<Swarmed> {
    let tasks = TaskGroup::new();
    let spawner = tasks.spawner(members.len());
    // One more than agents: the start is seen from here too.
    let start = Arc::new(Barrier::new(members.len() + 1));
    let (done, mut finished) = mpsc::channel(members.len());
    let (count, events) = (members.len(), members.iter().map(|member| member.events.len() as u64).sum());
    let began = Instant::now();
    for member in members {
        let (done, start) = (done.clone(), Arc::clone(&start));
        let session = async move {
            // Nobody listens when another one has failed.
            let _ = done.send(member.run(&start).await).await;
        };
        spawner.spawn("swarm agent", session).await.context("could not start an agent")?;
    }
    drop(done);
    let gathered = gather(count, &start, &mut finished, began);
    let outcome = tokio::time::timeout(TIME_MAX, gathered).await;
    tasks.run(std::future::ready(()), GRACE).await?;
    let (connected, finished) =
        outcome.with_context(|| format!("not done within {} s", TIME_MAX.as_secs()))??;
    Ok(Swarmed { events, connected, finished })
}

/// When all were connected, and how long each took from there on.
async fn gather(
    count: usize,
    start: &Barrier,
    finished: &mut mpsc::Receiver<anyhow::Result<Instant>>,
    began: Instant,
) -> anyhow::Result<(Duration, Vec<Duration>)> {
    tokio::select! {
        _ = start.wait() => {}
        failed = finished.recv() => match failed {
            Some(Err(error)) => return Err(error.context("an agent of the swarm did not connect")),
            Some(Ok(_)) | None => bail!("an agent of the swarm ended before all had begun"),
        }
    }
    let connected = began.elapsed();
    let started = Instant::now();
    let mut progress = Progress::new("agents done", count as u64);
    let mut times = Vec::with_capacity(count);
    while let Some(at) = finished.recv().await {
        times.push(at.context("an agent of the swarm failed")?.saturating_duration_since(started));
        progress.at(times.len() as u64);
    }
    ensure!(times.len() == count, "{} of {count} agents ended without a word", count - times.len());
    Ok((connected, times))
}

/// One agent before it connects.
struct Member {
    config: Config,
    host: String,
    epoch: Epoch,
    events: Vec<EventBytes>,
}

impl Member {
    /// A new identity, in files below `folder`, and events.
    fn new(
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
            ca: site.master_dir().join("pki/ca.pem"),
            certificate: path("agent.pem"),
            key: path("agent.key"),
            retry_min_ms: 1000,
            retry_max_ms: 1000,
            boot_delay_max_ms: 0,
        };
        let run = |run: usize| {
            let begin = now.plus_micros(run as i64 * RUN_EVENTS as i64 * STEP_US);
            reporter.run(begin, STEP_US).iter().map(EventBytes::encode).collect::<Vec<_>>()
        };
        let mut encoded: Vec<_> = (0..events.div_ceil(RUN_EVENTS)).flat_map(run).collect();
        encoded.truncate(events);
        Ok(Member { config, host, epoch: Epoch::from_bytes(random::bytes()), events: encoded })
    }

    /// The session, from the connection to the last acknowledgement; when that came.
    async fn run(&self, start: &Barrier) -> anyhow::Result<Instant> {
        let (channel, identity) = connect::channel(&self.config, None).await?;
        let state = EpochState {
            epoch: self.epoch,
            first_retained: Seq::new(1),
            acked: Seq::ZERO,
            acked_event: None,
            last_assigned: self.last(),
            predecessor: None,
            restamped_through: Seq::ZERO,
            reason: EpochReason::Created,
        };
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        outgoing.send(AgentFrame::Hello(self.hello(state, identity.not_after))).await?;
        let mut incoming = relay::open(channel, frames).await?;
        let welcome = match incoming.next().await? {
            Some(MasterFrame::Welcome(welcome)) => welcome,
            other => bail!("agent {} was answered {other:?}", AgentId::from(identity.id)),
        };
        let mut session = Session::begin(&[state], &welcome)?;
        start.wait().await;
        let mut acked = Seq::ZERO;
        while acked < self.last() {
            self.send_all(&mut session, &outgoing, &mut incoming).await?;
            receive(incoming.next().await?, &mut session)?;
            acked = session.cursors().first().map_or(Seq::ZERO, |cursor| cursor.seq);
        }
        let finished = Instant::now();
        outgoing.send(AgentFrame::Goodbye("the swarm is done".to_owned())).await?;
        while incoming.next().await?.is_some() {}
        Ok(finished)
    }

    fn last(&self) -> Seq {
        Seq::ZERO.plus(self.events.len() as u64)
    }

    fn hello(&self, state: EpochState, certificate_expires_at: Timestamp) -> Hello {
        Hello {
            protocol_major: PROTOCOL_MAJOR,
            protocol_minor: PROTOCOL_MINOR,
            features: vec![FEATURE_ZSTD.to_owned()],
            instance: Some(random::bytes()),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: None,
            host: self.host.clone(),
            epochs: vec![state],
            clock: ClockSample { wall: clock::now(), boottime_us: clock::boottime_us() },
            spool: SpoolStatus::default(),
            certificate_expires_at,
        }
    }

    /// Sends what the window allows, and takes answers as they come, as the agent does.
    async fn send_all(
        &self,
        session: &mut Session,
        outgoing: &mpsc::Sender<AgentFrame>,
        incoming: &mut MasterFrames,
    ) -> anyhow::Result<()> {
        while let Some(want) = session.wants() {
            let events = self.batch(want);
            let bytes = events.iter().map(EventBytes::len).sum();
            session.loaded(want, Found::Events { events: events.len(), bytes });
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
    fn batch(&self, want: Want) -> Vec<EventBytes> {
        let mut bytes = 0;
        let from = want.from.get().saturating_sub(1) as usize;
        let events = self.events.iter().skip(from).take(want.events_max).enumerate();
        let fitting = events.take_while(|(place, event)| {
            bytes += event.len();
            *place == 0 || bytes <= want.bytes_max
        });
        fitting.map(|(_, event)| event.clone()).collect()
    }
}

fn receive(frame: Option<MasterFrame>, session: &mut Session) -> anyhow::Result<()> {
    match frame.context("the master ended the stream")? {
        MasterFrame::Ack(ack) => drop(session.acked(&ack)?),
        MasterFrame::Resync(resync) => session.resync(&resync)?,
        MasterFrame::GoAway(away) => bail!("the master ended the session: {}", away.detail),
        MasterFrame::Quarantined(one) => bail!("the master cannot read an event: {}", one.detail),
        MasterFrame::Welcome(_) => bail!("a second Welcome"),
        MasterFrame::Throttle(_) | MasterFrame::HeartbeatReply(_) => {}
    }
    Ok(())
}
