//! How long one event takes from an agent's socket until somebody who follows the master sees it, at a calm pace.

use std::io::{BufRead as _, BufReader, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use hume_runtime::clock;
use serde_json::Value;

use super::relay::wait_until_connected;
use super::{Context, Findings};
use crate::args::Part;
use crate::disk::Syncs;
use crate::http::Connection;
use crate::row::{Quantity, Row};
use crate::site::{Agent, Company, Master, Site};
use crate::stats::{median, percentile};
use crate::talk::tell;
use crate::wait::rest;
use crate::{lines, load};

/// Syncs timed before, and as many after.
const SYNCS: usize = 100;
const PACE: Duration = Duration::from_millis(10);
const P50_SYNCS_MAX: u32 = 4;
const P50_MORE: Duration = Duration::from_millis(1);
const P99_MAX: Duration = Duration::from_millis(50);
/// The last event is seen so long after it was written, at the latest.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(30);
/// How messages begin; the number of the event follows.
const MARK: &str = "event ";

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let seconds = context.extent.pick(3, 10);
    tell(format_args!("latency: one event each {} ms for {seconds} s", PACE.as_millis()));
    let site = Site::new(&context.programs)?;
    let mut syncs = Syncs::new(site.scratch().path())?;
    let master = site.start_master()?;
    let agent = site.start_agent("web1", Company::WithMaster)?;
    wait_until_connected(&agent)?;
    syncs.time(SYNCS)?;
    let times = times(&agent, &master, seconds)?;
    syncs.time(SYNCS)?;
    let sync = syncs.median()?;
    let p50_max = sync * P50_SYNCS_MAX + P50_MORE;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let row = |what: &str, time: Option<Duration>| {
        let row = Row::new(
            Part::Latency,
            format!("socket to follower: {what}"),
            Quantity::time(time.unwrap_or_default()),
        );
        row.beside("one fdatasync, median", Quantity::time(sync))
    };
    Ok(Findings {
        rows: vec![
            row("p50", median(&times)).at_most(micros(p50_max), "4 syncs + 1 ms"),
            row("p99", percentile(&times, 99)).at_most(micros(P99_MAX), ""),
        ],
        skipped: Vec::new(),
    })
}

/// How long each event took from the agent's socket to a follower of the master, one each [`PACE`] for so many seconds.
pub(super) fn times(agent: &Agent, master: &Master, seconds: u64) -> anyhow::Result<Vec<Duration>> {
    let events = (Duration::from_secs(seconds).as_micros() / PACE.as_micros()) as usize;
    let mut api = master.https()?;
    let border = follow(&mut api, "now", 0)?.1;
    let socket = agent.socket();
    let (written, seen) = thread::scope(|scope| {
        let following = scope.spawn(move || see(&mut api, border, events));
        let written = write(&socket, events)?;
        let seen = following.join().map_err(|_| anyhow!("the thread that follows failed"))??;
        anyhow::Ok((written, seen))
    })
    .with_context(|| format!("{}\n{}", agent.process.tail(), master.process.tail()))?;
    Ok(written.iter().zip(&seen).map(|(written, seen)| seen.saturating_duration_since(*written)).collect())
}

/// Writes one event at a time, and says when each was written. Answers are read by another thread.
fn write(socket: &std::path::Path, events: usize) -> anyhow::Result<Vec<Instant>> {
    let mut stream = load::connect(socket)?;
    let answers = BufReader::new(stream.try_clone().context("could not share a socket")?);
    thread::scope(|scope| {
        let reading = scope.spawn(move || answers.lines().take(events).try_for_each(|line| check(&line?)));
        let began = Instant::now();
        let mut written = Vec::with_capacity(events);
        for number in 0..events {
            let mut draft = lines::draft(clock::now(), clock::boottime_us());
            lines::fit(&mut draft, &format!("{MARK}{number} "))?;
            let mut line = serde_json::to_vec(&draft).context("could not write a line")?;
            line.push(b'\n');
            rest((began + PACE * number as u32).saturating_duration_since(Instant::now()));
            written.push(Instant::now());
            stream.write_all(&line).context("could not write to the agent")?;
        }
        reading.join().map_err(|_| anyhow!("the thread that reads answers failed"))??;
        Ok(written)
    })
}

fn check(answer: &str) -> anyhow::Result<()> {
    ensure!(answer.starts_with("{\"ok\":true"), "refused: {answer}");
    Ok(())
}

/// Follows the master until all events were seen, and says when each was.
fn see(api: &mut Connection, mut border: String, events: usize) -> anyhow::Result<Vec<Instant>> {
    let mut seen: Vec<Option<Instant>> = vec![None; events];
    let mut left = events;
    let mut last_at = Instant::now();
    while left > 0 {
        let (found, next) = follow(api, &border, 5)?;
        let now = Instant::now();
        border = next;
        for event in &found {
            let number = event["message"].as_str().and_then(number_of);
            let number = number.with_context(|| format!("a stranger's event: {event}"))?;
            let place = seen.get_mut(number).with_context(|| format!("there is no event {number}"))?;
            if place.replace(now).is_some() {
                bail!("event {number} was seen twice");
            }
            left -= 1;
            last_at = now;
        }
        ensure!(last_at.elapsed() < FOLLOW_TIME_MAX, "{left} events were never seen");
    }
    seen.into_iter().collect::<Option<_>>().context("an event was never seen")
}

/// What is above a border, and the next border.
fn follow(api: &mut Connection, after: &str, wait: u32) -> anyhow::Result<(Vec<Value>, String)> {
    let mut answer = api.get(&format!("/api/v1/events?after={after}&wait={wait}&limit=1000"))?.json()?;
    let next = answer["next"].as_str().context("an answer without a border")?.to_owned();
    match answer["events"].take() {
        Value::Array(events) => Ok((events, next)),
        other => bail!("events are {other}"),
    }
}

fn number_of(message: &str) -> Option<usize> {
    message.strip_prefix(MARK)?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_the_number_of_its_event() {
        assert_eq!(number_of("event 17  of the tree"), Some(17));
        assert_eq!(number_of("something else"), None);
    }
}
