//! Many agents in one process, each with its own certificate and a real session: the agent's own session machine, its own
//! way to connect, the true protocol. Only the spool is missing: events wait in memory.
//!
//! In [`run`] all connect first; then all send at once, and each says when its last event was acknowledged. In
//! [`storm::run`] they live through kills of the master.

mod life;
mod member;
pub(crate) mod storm;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hume_core::name::Seq;
use hume_proto::relay::{AgentFrame, MasterFrame};
use hume_runtime::pki::Authority;
use hume_runtime::secret::SecretText;
use hume_runtime::task_group::TaskGroup;
use humed_agent::uplink::session::Session;
use tokio::runtime::Runtime;
use tokio::sync::{Barrier, mpsc};

use self::member::{Member, Opened, receive};
use crate::site::Site;
use crate::talk::{Progress, tell};

/// A swarm takes no longer.
const TIME_MAX: Duration = Duration::from_mins(10);
/// Time for all tasks to end at the end.
const GRACE: Duration = Duration::from_secs(5);

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
    let runtime = Runtime::new().context("could not start a runtime")?;
    let members = members(site, agents, events)?;
    tell(format_args!("swarm: {agents} agents, {events} events each"));
    runtime.block_on(swarm(members))
}

/// So many agents of this site with so many events each.
fn members(site: &Site, agents: usize, events: usize) -> anyhow::Result<Vec<Member>> {
    let master = site.master_dir();
    let read = |name: &str| {
        let path = master.join("pki").join(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let authority = Authority::load(&read("ca.pem")?, &SecretText::new(read("ca.key")?))?;
    let folder = site.scratch().path().join(format!("swarm-{agents}"));
    let mut progress = Progress::new("agents made", agents as u64);
    let member = |number: usize| {
        progress.at(number as u64);
        Member::new(&authority, site, &folder.join(number.to_string()), number, events)
    };
    (0..agents).map(member).collect()
}

async fn swarm(members: Vec<Member>) -> anyhow::Result<Swarmed> {
    let tasks = TaskGroup::new();
    let spawner = tasks.spawner(members.len());
    // One more than agents: the start is seen from here too.
    let start = Arc::new(Barrier::new(members.len() + 1));
    let (done, mut finished) = mpsc::channel(members.len());
    let (count, events) = (members.len(), members.iter().map(|member| member.len() as u64).sum());
    let began = Instant::now();
    for member in members {
        let (done, start) = (done.clone(), Arc::clone(&start));
        let session = async move {
            // Nobody listens when another one has failed.
            let _ = done.send(bring_all(&member, &start).await).await;
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

/// One session, from the connection to the last acknowledgement; when that came.
async fn bring_all(member: &Member, start: &Barrier) -> anyhow::Result<Instant> {
    let last = Seq::ZERO.plus(member.len() as u64);
    let state = member.state(Seq::ZERO, last);
    let Opened { outgoing, mut incoming, first, .. } = member.open(state).await?;
    let welcome = match first {
        Some(MasterFrame::Welcome(welcome)) => welcome,
        other => bail!("the first answer was {other:?}"),
    };
    let mut session = Session::begin(&[state], &welcome)?;
    start.wait().await;
    while session.cursors().first().is_none_or(|cursor| cursor.seq < last) {
        member.send_all(last, &mut session, &outgoing, &mut incoming).await?;
        receive(incoming.next().await?, &mut session)?;
    }
    let finished = Instant::now();
    outgoing.send(AgentFrame::Goodbye("the swarm is done".to_owned())).await?;
    while incoming.next().await?.is_some() {}
    Ok(finished)
}
