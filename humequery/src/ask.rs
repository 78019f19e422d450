//! From a question to its answer: fetches as many pages as `--limit` needs, merged or one by one.
//!
//! A page is at most [`PAGE_ITEMS_MAX`] items ([`PAGE_RUNS_WITH_EVENTS`] for runs with their events). One that turns out
//! larger than an answer may be is asked for again with half the items, down to one.

use std::io;

use hume_core::page::PAGE_ITEMS_MAX;
use hume_core::status::Status;
use hume_proto::rest::{EventList, EventQuery, RunJson, RunList, RunQuery};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, LatestList};
use crate::client::{Client, ClientError};
use crate::diff::{DiffList, RunDiff};
use crate::fleet::FleetReport;
use crate::question::{Paging, Question, Whose};
use crate::timeline::TimelineList;

/// Runs of one page when each brings its events.
pub const PAGE_RUNS_WITH_EVENTS: usize = 100;

/// Earlier runs of one page, and in all, among which one that was ok is looked for.
const PAGE_EARLIER: usize = 100;
const EARLIER_MAX: usize = 10_000;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It did not come.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be written down.
    #[error("could not write the answer")]
    Write(#[from] io::Error),
}

/// How pages reach the one who shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// All at once, as one answer.
    Merged,
    /// Each as it comes; at least one, which may be empty.
    AsTheyCome,
}

/// Asks, and hands every answer to `show`.
///
/// # Errors
/// [`AskError`]; what was shown before it remains true.
pub async fn ask(
    client: &Client,
    question: &Question,
    pages: Pages,
    show: &mut dyn FnMut(&Answer) -> io::Result<()>,
) -> Result<(), AskError> {
    let answer = match question {
        Question::Events(query, paging) => {
            let with = |limit, cursor| EventQuery { limit: Some(limit), cursor, ..query.clone() };
            let listing = Listing { what: "events", page_items: PAGE_ITEMS_MAX, paging };
            return fetch(client, &listing, with, pages, &mut |list| show(&Answer::Events(list))).await;
        }
        Question::Runs(query, paging) => {
            let with = |limit, cursor| RunQuery { limit: Some(limit), cursor, ..query.clone() };
            let listing = Listing { what: "runs", page_items: page_of_runs(query), paging };
            return fetch(client, &listing, with, pages, &mut |list| show(&Answer::Runs(list))).await;
        }
        Question::Latest(query, paging) => {
            let with = |limit, cursor| RunQuery { limit: Some(limit), cursor, ..query.clone() };
            let listing = Listing { what: "latest", page_items: page_of_runs(query), paging };
            return fetch(client, &listing, with, pages, &mut |RunList { source, runs, next }| {
                show(&Answer::Latest(LatestList { source, runs, more: next.is_some() }))
            })
            .await;
        }
        Question::Fleet(query) => {
            let list = all(client, "latest", query, &Paging::default()).await?;
            Answer::Fleet(FleetReport::new(list))
        }
        Question::Timeline(Whose::Latest(query), paging) => {
            Answer::Timeline(TimelineList::new(all(client, "latest", query, paging).await?))
        }
        Question::Timeline(Whose::Run(query), paging) => {
            Answer::Timeline(TimelineList::new(all(client, "runs", query, paging).await?))
        }
        Question::Diff(query, paging) => Answer::Diff(diff(client, query, paging).await?),
        // What comes is no answer: `follow` asks by itself.
        Question::Follow(_) => return Ok(()),
        Question::CountEvents(query) => Answer::Count(client.get("events", query).await?),
        Question::CountRuns(query) => Answer::Count(client.get("runs", query).await?),
        Question::Tasks => Answer::Tasks(client.get("tasks", &()).await?),
        Question::Hosts => Answer::Hosts(client.get("hosts", &()).await?),
        Question::Agents => Answer::Agents(client.get("agents", &()).await?),
        Question::Status => Answer::Status(client.get("status", &()).await?),
        Question::Watches => Answer::Watches(client.get("watches", &()).await?),
        Question::Slots(query) => Answer::Slots(client.get("slots", query).await?),
        Question::Audit(query) => Answer::Audit(client.get("audit", query).await?),
    };
    Ok(show(&answer)?)
}

/// All runs that are asked for, as one list.
pub(crate) async fn all(
    client: &Client,
    what: &'static str,
    query: &RunQuery,
    paging: &Paging,
) -> Result<RunList, AskError> {
    let with = |limit, cursor| RunQuery { limit: Some(limit), cursor, ..query.clone() };
    let listing = Listing { what, page_items: page_of_runs(query), paging };
    let mut whole = None;
    fetch(client, &listing, with, Pages::Merged, &mut |list: RunList| {
        whole = Some(list);
        Ok(())
    })
    .await?;
    let nothing = || ClientError::Pages { url: client.name(what), what: "there is none" };
    Ok(whole.ok_or_else(nothing)?)
}

/// Of the runs that started before this one on its host: the first that fits, newest first. Without its events.
pub(crate) async fn earlier(
    client: &Client,
    run: &RunJson,
    fits: impl Fn(&RunJson) -> bool,
) -> Result<Option<RunJson>, ClientError> {
    let mut query = RunQuery {
        task: Some(run.task.clone()),
        host: Some(run.host.clone()),
        until: Some(run.started_at.to_string()),
        limit: Some(PAGE_EARLIER),
        ..RunQuery::default()
    };
    let mut looked_at = 0;
    loop {
        let RunList { source: _, runs, next } = client.get("runs", &query).await?;
        looked_at += runs.len();
        if let Some(found) = runs.into_iter().find(&fits) {
            return Ok(Some(found));
        }
        if next.is_none() || next == query.cursor || looked_at >= EARLIER_MAX {
            return Ok(None);
        }
        query.cursor = next;
    }
}

async fn diff(client: &Client, query: &RunQuery, paging: &Paging) -> Result<DiffList, AskError> {
    let RunList { source, runs, next } = all(client, "latest", query, paging).await?;
    let mut diffs = Vec::with_capacity(runs.len());
    for run in runs {
        let ok = earlier(client, &run, |run| run.status == Status::Ok.as_str()).await?;
        let last_ok = match ok {
            Some(ok) => with_events(client, &ok).await?,
            None => None,
        };
        diffs.push(RunDiff::new(run, last_ok));
    }
    Ok(DiffList { source, diffs, more: next.is_some() })
}

async fn with_events(client: &Client, run: &RunJson) -> Result<Option<RunJson>, ClientError> {
    let query = RunQuery {
        run: Some(run.id.to_string()),
        task: Some(run.task.clone()),
        host: Some(run.host.clone()),
        events: Some(true),
        limit: Some(1),
        ..RunQuery::default()
    };
    let RunList { mut runs, .. } = client.get("runs", &query).await?;
    Ok(runs.pop())
}

fn page_of_runs(query: &RunQuery) -> usize {
    match query.events {
        Some(true) => PAGE_RUNS_WITH_EVENTS,
        Some(false) | None => PAGE_ITEMS_MAX,
    }
}

/// What is listed, and how much of it.
struct Listing<'a> {
    what: &'static str,
    page_items: usize,
    paging: &'a Paging,
}

/// A page that can be joined to the one before.
trait List: DeserializeOwned {
    fn items(&self) -> usize;
    fn next(&self) -> Option<&str>;
    fn append(&mut self, later: Self);
}

impl List for EventList {
    fn items(&self) -> usize {
        self.events.len()
    }

    fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    fn append(&mut self, mut later: EventList) {
        self.events.append(&mut later.events);
        self.next = later.next;
    }
}

impl List for RunList {
    fn items(&self) -> usize {
        self.runs.len()
    }

    fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    fn append(&mut self, mut later: RunList) {
        self.runs.append(&mut later.runs);
        self.next = later.next;
    }
}

async fn fetch<L: List, Q: Serialize + Sync>(
    client: &Client,
    listing: &Listing<'_>,
    with: impl Fn(usize, Option<String>) -> Q,
    pages: Pages,
    show: &mut dyn FnMut(L) -> io::Result<()>,
) -> Result<(), AskError> {
    let Listing { what, page_items, paging: Paging { limit, cursor } } = listing;
    let wrong = |how| ClientError::Pages { url: client.name(what), what: how };
    let mut page_items = *page_items;
    let mut left = *limit;
    let mut cursor = cursor.clone();
    let mut whole: Option<L> = None;
    loop {
        let wanted =
            left.map_or(page_items, |left| usize::try_from(left).unwrap_or(usize::MAX).min(page_items));
        let page: L = match client.get(what, &with(wanted, cursor.clone())).await {
            Err(ClientError::TooLarge { .. }) if wanted > 1 => {
                page_items = wanted / 2;
                continue;
            }
            other => other?,
        };
        if page.items() > wanted {
            return Err(wrong("one has more items than were asked for").into());
        }
        left = left.map(|left| left.saturating_sub(page.items() as u64));
        let next = page.next().map(str::to_owned);
        if next.is_some() && next == cursor {
            return Err(wrong("the cursor of the next one does not advance").into());
        }
        match (pages, &mut whole) {
            (Pages::AsTheyCome, _) => show(page)?,
            (Pages::Merged, Some(whole)) => whole.append(page),
            (Pages::Merged, None) => whole = Some(page),
        }
        if next.is_none() || left == Some(0) {
            break;
        }
        cursor = next;
    }
    Ok(whole.map_or(Ok(()), show)?)
}
