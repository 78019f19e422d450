//! What questions cost at the API of a real master that has millions of events.
//!
//! A page is asked for as people do: with `next` until it has 100 events or there are no more.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hume_core::Timestamp;

use super::{Context, Findings};
use crate::args::Part;
use crate::fleet::{self, HOSTS, TAGS, TASKS};
use crate::http::Connection;
use crate::kept::Kept;
use crate::row::{Quantity, Row, Unit};
use crate::site::{Master, Site};
use crate::stats::{median, percentile};
use crate::talk::tell;

const LATEST_TIME_MAX: Duration = Duration::from_millis(5);
const LATEST_GROWTH_MAX: f64 = 1.3;
const PAGE_TIME_MAX: Duration = Duration::from_millis(20);
const PAGE_ITEMS: usize = 100;

/// What a page is asked by.
#[derive(Clone, Copy, Debug)]
enum By {
    Task,
    Host,
    Level,
    Tag,
}

impl By {
    const ALL: [By; 4] = [By::Task, By::Host, By::Level, By::Tag];

    fn name(self) -> &'static str {
        match self {
            By::Task => "task",
            By::Host => "host",
            By::Level => "level",
            By::Tag => "tag",
        }
    }

    /// A value of the fleet's.
    fn value(self) -> String {
        match self {
            By::Task => fleet::task_name(fastrand::usize(..TASKS)),
            By::Host => fleet::host_name(fastrand::usize(..HOSTS)),
            By::Level => ["warning", "error"][fastrand::usize(..2)].to_owned(),
            By::Tag => TAGS[fastrand::usize(..TAGS.len())].to_owned(),
        }
    }
}

/// See the parent.
pub(super) fn measure(context: &Context) -> anyhow::Result<Findings> {
    let [small, big] = context.stores()?;
    let sites = [Site::new(&context.programs)?, site_with(context, &small)?, site_with(context, &big)?];
    let masters = sites.iter().map(Site::start_master).collect::<anyhow::Result<Vec<_>>>()?;
    let mut findings = Findings::default();
    latest(context, &masters, [small.events, big.events], &mut findings).context("the latest run")?;
    // The others have nothing to do from here on.
    let master = masters.last().context("no master was started")?;
    for by in By::ALL {
        pages(context, master, &big, by, &mut findings)
            .with_context(|| format!("a page by {}", by.name()))?;
    }
    Ok(findings)
}

/// The latest run of one task on one host, with its events, on an empty, a smaller and a larger store in turns: what
/// else goes on meets all of them alike.
fn latest(
    context: &Context,
    masters: &[Master],
    [small, big]: [u64; 2],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let questions = context.extent.pick(1000, 3000);
    tell(format_args!("query: {questions} times the latest run, of three stores in turns"));
    let mut apis = masters.iter().map(Master::https).collect::<anyhow::Result<Vec<_>>>()?;
    let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(questions); apis.len()];
    for _ in 0..questions {
        let question =
            format!("/api/v1/latest?task={}&host={}&events=true", By::Task.value(), By::Host.value());
        for (api, times) in apis.iter_mut().zip(&mut times) {
            let began = Instant::now();
            api.get(&question)?.json()?;
            times.push(began.elapsed());
        }
    }
    let [of_empty, of_small, of_big] = times.as_slice() else { bail!("there are three stores") };
    let of = |times: &[Duration], percent| percentile(times, percent).context("nothing was asked");
    let row = |percent| -> anyhow::Result<Row> {
        let what = format!("--latest of one task and host, {big} events: p{percent}");
        let row = Row::new(Part::Query, what, Quantity::time(of(of_big, percent)?));
        Ok(row.beside("empty store", Quantity::time(of(of_empty, percent)?)))
    };
    findings.rows.push(row(50)?);
    findings.rows.push(row(99)?.at_most(micros(LATEST_TIME_MAX), ""));
    for percent in [50, 99] {
        let growth = of(of_big, percent)?.as_secs_f64() / of(of_small, percent)?.as_secs_f64().max(1e-9);
        let what = format!("--latest: p{percent} at {big} events by p{percent} at {small}");
        let row = Row::new(Part::Query, what, Quantity::new(growth, Unit::Factor));
        findings.rows.push(row.at_most(LATEST_GROWTH_MAX, ""));
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A site whose master has this store, where it lies.
fn site_with(context: &Context, kept: &Kept) -> anyhow::Result<Site> {
    let site = Site::new(&context.programs)?;
    let path = kept.path.display().to_string();
    site.configure_master(|toml| {
        let store = toml.entry("store").or_insert_with(|| toml::Table::new().into());
        if let Some(store) = store.as_table_mut() {
            store.insert("path".to_owned(), path.into());
        }
    })?;
    Ok(site)
}

/// Pages in random ranges of time.
fn pages(
    context: &Context,
    master: &Master,
    kept: &Kept,
    by: By,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let questions = context.extent.pick(50, 200);
    // Where one takes seconds, fewer tell as much.
    let limit = Duration::from_secs(context.extent.pick(10, 40));
    tell(format_args!("query: up to {questions} pages by {}, for {} s at most", by.name(), limit.as_secs()));
    let mut api = master.https()?;
    let (mut times, mut refused) = (Vec::new(), 0);
    let began = Instant::now();
    while times.len() < questions && began.elapsed() < limit {
        let (since, until) = range(kept);
        let question = format!(
            "/api/v1/events?{}={}&since={since}&until={until}&limit={PAGE_ITEMS}",
            by.name(),
            by.value()
        );
        let began = Instant::now();
        refused += u32::from(page(&mut api, &question)? == Page::Refused);
        times.push(began.elapsed());
    }
    if refused > 0 {
        let text = format!("{refused} of {} pages by {}: the master gave up on them", times.len(), by.name());
        findings.skipped.push(text);
    }
    let what = format!("a page of {PAGE_ITEMS} events by {}, any time", by.name());
    let row = |name, time| Row::new(Part::Query, format!("{what}: {name}"), Quantity::time(time));
    findings.rows.push(row("p50", median(&times).unwrap_or_default()));
    findings
        .rows
        .push(row("p99", percentile(&times, 99).unwrap_or_default()).at_most(micros(PAGE_TIME_MAX), ""));
    Ok(())
}

/// Two moments of the store, the earlier one first.
fn range(kept: &Kept) -> (Timestamp, Timestamp) {
    let moment = || fastrand::i64(kept.from.as_micros()..=kept.to.as_micros());
    let (one, other) = (moment(), moment());
    (Timestamp::from_micros(one.min(other)), Timestamp::from_micros(one.max(other)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Answered,
    /// It took the master too long.
    Refused,
}

/// Asks until the page is full or nothing is left.
fn page(api: &mut Connection, question: &str) -> anyhow::Result<Page> {
    let mut found = 0;
    let mut cursor = String::new();
    loop {
        let answer = api.get(&format!("{question}{cursor}"))?;
        if answer.status == 429 {
            return Ok(Page::Refused);
        }
        let answer = answer.json()?;
        found += answer["events"].as_array().map_or(0, Vec::len);
        match answer["next"].as_str() {
            Some(next) if found < PAGE_ITEMS => cursor = format!("&cursor={next}"),
            Some(_) | None => return Ok(Page::Answered),
        }
    }
}
