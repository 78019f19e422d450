//! A swarm that loses its master by `kill -9`, again and again: how soon all are back, what they cost the master, and
//! whether the store has what was acknowledged, once and in order, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hume_runtime::task_group::TaskGroup;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::life::{Board, HEALTHY_AFTER, Life};
use super::{GRACE, members};
use crate::proc;
use crate::site::{Master, Site};
use crate::talk::{Progress, tell};
use crate::wait::{rest, wait_for};

/// All are there, or have what they sent, within this time, or it is said that they are not.
const PATIENCE: Duration = Duration::from_mins(5);
/// Before memory is looked at, and before a kill: heartbeats come, buffers go.
const SETTLED_AFTER: Duration = Duration::from_secs(20);
/// The master is killed when this part of a round's events is acknowledged: the rest is on its way.
const KILLED_AT: f64 = 0.2;
/// Events of one page.
const PAGE_EVENTS: usize = 1000;

/// How a swarm came through.
pub(crate) struct Weathered {
    /// Until all were connected for the first time.
    pub(crate) connected: Duration,
    /// Memory of the master for each session: without work, after the first work, and after the last storm.
    pub(crate) idle_bytes: [u64; 3],
    /// Per storm, from the kill until all were back and everything was acknowledged.
    pub(crate) back: Vec<Duration>,
    /// And how many connections were tried meanwhile.
    pub(crate) tries: Vec<u64>,
    /// What the store has.
    pub(crate) verdict: Verdict,
}

/// What a store has of what was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Events sent, and acknowledged.
    pub(crate) sent: u64,
    /// Of these not in the store.
    pub(crate) lost: u64,
    /// In the store more than once.
    pub(crate) doubled: u64,
    /// In the store and never sent.
    pub(crate) phantom: u64,
    /// Behind a later event of the same agent.
    pub(crate) disordered: u64,
}

/// The swarm as it is driven.
struct Swarm<'a> {
    site: &'a Site,
    agents: usize,
    board: Arc<Board>,
    orders: watch::Sender<usize>,
}

/// Lets so many agents live through so many kills; each sends so many events at first and in each storm.
/// # Errors
/// If they do not come back, or the store cannot be read.
pub(crate) fn run(site: &Site, agents: usize, storms: usize, events: usize) -> anyhow::Result<Weathered> {
    let runtime = Runtime::new().context("could not start a runtime")?;
    let all = members(site, agents, events * (storms + 1))?;
    let mut expected = HashMap::with_capacity(agents * events * (storms + 1));
    for (number, member) in all.iter().enumerate() {
        expected.extend(member.ids.iter().enumerate().map(|(place, id)| (id.to_string(), (number, place))));
    }
    let mut master = site.start_master()?;
    let bare = proc::memory(master.process.pid()?, "VmRSS")?;

    let tasks = TaskGroup::new();
    let spawner = tasks.spawner(agents);
    let (orders, ordered) = watch::channel(0);
    let swarm = Swarm { site, agents, board: Arc::default(), orders };
    let began = Instant::now();
    runtime.block_on(async {
        for member in all {
            let life = Life::new(member, Arc::clone(&swarm.board), ordered.clone());
            spawner.spawn("swarm agent", life.run()).await.context("could not start an agent")?;
        }
        anyhow::Ok(())
    })?;
    drop(ordered);
    let weathered = swarm.weather(&mut master, bare, began, storms, events);
    let weathered = weathered.with_context(|| master.process.tail());
    // Whoever still lives says goodbye.
    let Swarm { orders, .. } = swarm;
    drop(orders);
    runtime.block_on(tasks.run(std::future::ready(()), GRACE))?;
    let (connected, idle_bytes, back, tries) = weathered?;
    let verdict = judge(&master, &expected)?;
    Ok(Weathered { connected, idle_bytes, back, tries, verdict })
}

type Course = (Duration, [u64; 3], Vec<Duration>, Vec<u64>);

impl Swarm<'_> {
    fn weather(
        &self,
        master: &mut Master,
        bare: u64,
        began: Instant,
        storms: usize,
        events: usize,
    ) -> anyhow::Result<Course> {
        self.wait("all are connected", 0)?;
        let connected = began.elapsed();
        tell(format_args!("swarm: all are connected after {:.1} s", connected.as_secs_f64()));
        let unused = self.per_session(master, bare)?;
        self.orders.send_replace(events);
        self.wait("the first events are acknowledged", events)?;
        let worked = self.per_session(master, bare)?;
        let (mut back, mut tries) = (Vec::new(), Vec::new());
        let mut calm_since = Instant::now();
        for storm in 1..=storms {
            rest(HEALTHY_AFTER.saturating_sub(calm_since.elapsed()));
            let (acked, tried) = (self.board.acked(), self.board.tries());
            self.orders.send_replace(events * (storm + 1));
            let enough = acked + ((self.agents * events) as f64 * KILLED_AT) as u64;
            wait_for("some of the next events are acknowledged", PATIENCE, || {
                Ok((self.board.acked() > enough).then_some(()))
            })?;
            master.process.kill9()?;
            let killed = Instant::now();
            *master = self.site.start_master()?;
            let started = killed.elapsed();
            self.wait("all are back and everything is acknowledged", events * (storm + 1))?;
            let took = killed.elapsed();
            let more = self.board.tries() - tried;
            tell(format_args!(
                "swarm: storm {storm} of {storms}: the master was back after {:.1} s, all agents after {:.1} s and \
                 {more} tries",
                started.as_secs_f64(),
                took.as_secs_f64()
            ));
            back.push(took);
            tries.push(more);
            calm_since = Instant::now();
        }
        let stormed = self.per_session(master, bare)?;
        Ok((connected, [unused, worked, stormed], back, tries))
    }

    /// Until all are connected and have so many events each acknowledged.
    fn wait(&self, what: &str, events: usize) -> anyhow::Result<()> {
        let wanted = (self.agents * events) as u64;
        let mut connected = Progress::new("agents connected", self.agents as u64);
        let mut acked = Progress::new("events acknowledged", wanted);
        let arrived = wait_for(what, PATIENCE, || {
            if let Some(failure) = self.board.failure() {
                bail!(failure);
            }
            connected.at(self.board.connected() as u64);
            acked.at(self.board.acked());
            Ok((self.board.connected() == self.agents && self.board.acked() == wanted).then_some(()))
        });
        arrived.with_context(|| {
            format!(
                "{} of {} agents are connected, {} of {wanted} events acknowledged; a session last ended because: {}",
                self.board.connected(),
                self.agents,
                self.board.acked(),
                self.board.trouble().unwrap_or_default()
            )
        })
    }

    /// Memory of the master beyond what it has without sessions, by their number, when all are quiet.
    fn per_session(&self, master: &Master, bare: u64) -> anyhow::Result<u64> {
        rest(SETTLED_AFTER);
        let bytes = proc::memory(master.process.pid()?, "VmRSS")?;
        let each = bytes.saturating_sub(bare) / self.agents as u64;
        tell(format_args!("swarm: {} KiB of the master for each idle session", each / 1024));
        Ok(each)
    }
}

/// Reads the whole store and compares: `expected` has the agent and the place of each id.
fn judge(master: &Master, expected: &HashMap<String, (usize, usize)>) -> anyhow::Result<Verdict> {
    let mut api = master.https()?;
    let mut progress = Progress::new("events of the store read", expected.len() as u64);
    let (mut ids, mut after) = (Vec::with_capacity(expected.len()), "start".to_owned());
    loop {
        let page = api.get(&format!("/api/v1/events?limit={PAGE_EVENTS}&kind=all&after={after}"))?.json()?;
        let events = page.get("events").and_then(Value::as_array).context("a page has no events")?;
        let id = |event: &Value| event.get("id").and_then(Value::as_str).map(str::to_owned);
        ids.extend(events.iter().filter_map(id));
        let next = page.get("next").and_then(Value::as_str).context("a page has no next")?;
        if next == after {
            break;
        }
        ensure!(ids.len() <= 2 * expected.len() + PAGE_EVENTS, "the store has no end");
        next.clone_into(&mut after);
        progress.at(ids.len() as u64);
    }
    Ok(compare(&ids, expected))
}

fn compare(ids: &[String], expected: &HashMap<String, (usize, usize)>) -> Verdict {
    let mut verdict = Verdict { sent: expected.len() as u64, ..Verdict::default() };
    let mut seen: HashMap<&str, u64> = HashMap::with_capacity(ids.len());
    let mut last: HashMap<usize, usize> = HashMap::new();
    for id in ids {
        let times = seen.entry(id).or_default();
        *times += 1;
        match expected.get(id) {
            None => verdict.phantom += 1,
            Some(_) if *times > 1 => verdict.doubled += 1,
            Some((agent, place)) => {
                let before = last.insert(*agent, *place);
                verdict.disordered += u64::from(before.is_some_and(|before| before >= *place));
            }
        }
    }
    verdict.lost = expected.keys().filter(|id| !seen.contains_key(id.as_str())).count() as u64;
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_foreign_or_out_of_order_is_counted() {
        let expected = [("a", (0, 0)), ("b", (0, 1)), ("c", (0, 2)), ("d", (1, 0))];
        let expected = expected.into_iter().map(|(id, place)| (id.to_owned(), place)).collect();
        let judged =
            |ids: &[&str]| compare(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), &expected);
        assert_eq!(judged(&["a", "d", "b", "c"]), Verdict { sent: 4, ..Verdict::default() });
        assert_eq!(
            judged(&["b", "a", "a", "x"]),
            Verdict { sent: 4, lost: 2, doubled: 1, phantom: 1, disordered: 1 }
        );
    }
}
