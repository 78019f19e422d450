//! `humequery check`: the runs that decide about a task on its hosts. The rules are those of [`hume_core::check`], the words
//! those of [`plugin`], which [`object`] says to programs.

pub mod object;
pub mod plugin;

use std::time::Duration;

use hume_core::check::{Because, Rules, Running, Seen, Shown, Verdict};
use hume_core::status::{Severity, Status};
use hume_core::{HostName, Timestamp};
use hume_proto::rest::{RunJson, RunList, RunQuery};

use crate::args::CheckArgs;
use crate::ask::{AskError, all, earlier};
use crate::client::{Client, ClientError};
use crate::question::Paging;

/// What is known of the task on one host, and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCheck {
    /// The host.
    pub host: String,
    /// The run that decided; the latest when none did, none when there is none.
    pub run: Option<RunJson>,
    /// How old it is, as far as somebody looked.
    pub age: Option<Age>,
    /// What is said.
    pub verdict: Verdict,
}

/// Since when nothing has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Since the latest end.
    OfEnd(Duration),
    /// Since the latest start: none has ended yet.
    OfStart(Duration),
}

impl Age {
    fn span(self) -> Duration {
        match self {
            Age::OfEnd(span) | Age::OfStart(span) => span,
        }
    }
}

/// What a run says by itself.
pub fn severity(run: &RunJson) -> Severity {
    Rules::default().of_host(&Seen::only(shown(run))).severity
}

fn shown(run: &RunJson) -> Shown {
    // A newer daemon may know more words; the number says what they amount to.
    let status = Status::from_word(&run.status).unwrap_or(Status::Unknown);
    Shown { status, severity: Severity::from_code(run.severity) }
}

/// Asks for every run that decides.
///
/// # Errors
/// [`AskError`]: then nobody can tell.
pub async fn gather(client: &Client, args: &CheckArgs, now: Timestamp) -> Result<Vec<HostCheck>, AskError> {
    let query = |host| RunQuery { task: Some(args.task.as_str().to_owned()), host, ..RunQuery::default() };
    let rules = args.rules();
    let mut checks = Vec::new();
    if args.hosts.is_empty() {
        let mut latest = all(client, "latest", &query(None), &Paging::default()).await?;
        latest.runs.sort_by(|one, other| one.host.cmp(&other.host));
        for run in latest.runs {
            checks.push(check(client, rules, run, now).await?);
        }
        return Ok(checks);
    }
    let mut hosts: Vec<&str> = args.hosts.iter().map(HostName::as_str).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for host in hosts {
        let query = RunQuery { limit: Some(1), ..query(Some(host.to_owned())) };
        let RunList { mut runs, .. } = client.get("latest", &query).await?;
        checks.push(match runs.pop() {
            Some(run) => check(client, rules, run, now).await?,
            None => without_run(rules, host),
        });
    }
    Ok(checks)
}

fn without_run(rules: Rules, host: &str) -> HostCheck {
    let verdict = rules.of_host(&Seen { latest: None, finished: None, age: None });
    HostCheck { host: host.to_owned(), run: None, age: None, verdict }
}

async fn check(
    client: &Client,
    rules: Rules,
    latest: RunJson,
    now: Timestamp,
) -> Result<HostCheck, ClientError> {
    let asks_before = rules.running == Running::PreviousDecides || rules.max_age.is_some();
    let previous = match latest.ended_at {
        None if asks_before => earlier(client, &latest, |run| run.ended_at.is_some()).await?,
        None | Some(_) => None,
    };
    Ok(judge(rules, latest, previous, now))
}

/// What is said of a host with this latest run, and this one before it if somebody looked for one. Pure.
pub fn judge(rules: Rules, latest: RunJson, previous: Option<RunJson>, now: Timestamp) -> HostCheck {
    let is_over = latest.ended_at.is_some();
    let finished = if is_over { Some(&latest) } else { previous.as_ref() };
    let since = |at: Timestamp| Duration::from_micros(u64::try_from(now.micros_since(at)).unwrap_or(0));
    let age = match finished.and_then(|run| run.ended_at) {
        Some(end) => Some(Age::OfEnd(since(end))),
        // Nothing has ended: as long as that is within the limit, so be it.
        None => rules.max_age.map(|_| Age::OfStart(since(latest.started_at))),
    };
    let seen = Seen { latest: Some(shown(&latest)), finished: finished.map(shown), age: age.map(Age::span) };
    let verdict = rules.of_host(&seen);
    let host = latest.host.clone();
    let run = match verdict.because {
        Because::Previous => previous.or(Some(latest)),
        Because::Latest | Because::Age | Because::NoneFinished | Because::NoRun => Some(latest),
    };
    HostCheck { host, run, age, verdict }
}
