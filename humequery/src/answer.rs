//! What came back: one page of a listing, or a whole small report.

use hume_core::status::Severity;
use hume_proto::rest::{
    AgentList, AuditList, Count, EventList, HostList, LIST_ITEMS_MAX, RunJson, RunList, SlotList, Source,
    StatusReport, TaskList, WatchList,
};
use serde::Serialize;

use crate::check;
use crate::diff::{DiffList, RunDiff};
use crate::fleet::FleetReport;
use crate::timeline::TimelineList;

/// One answer, as it is handed to a format.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Events, newest first.
    Events(EventList),
    /// Runs, newest first.
    Runs(RunList),
    /// One run of each task on each host, newest first, with its events.
    Latest(LatestList),
    /// The latest runs by task, and how many are how.
    Fleet(FleetReport),
    /// Runs along their time.
    Timeline(TimelineList),
    /// Runs beside earlier ones that were ok.
    Diff(DiffList),
    /// A number.
    Count(Count),
    /// Tasks by name.
    Tasks(TaskList),
    /// Hosts by name.
    Hosts(HostList),
    /// Agents by host.
    Agents(AgentList),
    /// How the daemon is.
    Status(StatusReport),
    /// Who changed what, newest first.
    Audit(AuditList),
    /// Watches by name.
    Watches(WatchList),
    /// Expected runs, newest first.
    Slots(SlotList),
}

/// What `--latest --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatestList {
    /// Who answers.
    pub source: Source,
    /// Newest first, with their events.
    pub runs: Vec<RunJson>,
    /// True when `--limit` cut it short; not printed.
    #[serde(skip)]
    pub more: bool,
}

/// `7 more events: humequery --run ID --format ndjson`, for a run that did not fit into its answer.
pub fn more_events(run: &RunJson) -> Option<String> {
    let s = if run.more_events == 1 { "" } else { "s" };
    let text = format!("{} more event{s}: humequery --run {} --format ndjson", run.more_events, run.id);
    (run.more_events > 0).then_some(text)
}

impl Answer {
    /// True when nothing was found. A number is an answer, and so is a status.
    pub fn is_empty(&self) -> bool {
        match self {
            Answer::Events(list) => list.events.is_empty(),
            Answer::Runs(list) => list.runs.is_empty(),
            Answer::Latest(list) => list.runs.is_empty(),
            Answer::Fleet(report) => report.tasks.is_empty(),
            Answer::Timeline(list) => list.runs.is_empty(),
            Answer::Diff(list) => list.diffs.is_empty(),
            Answer::Tasks(list) => list.tasks.is_empty(),
            Answer::Hosts(list) => list.hosts.is_empty(),
            Answer::Agents(list) => list.agents.is_empty(),
            Answer::Audit(list) => list.lines.is_empty(),
            Answer::Watches(list) => list.watches.is_empty(),
            Answer::Slots(list) => list.slots.is_empty(),
            Answer::Count(_) | Answer::Status(_) => false,
        }
    }

    /// What the answer leaves out because it is too much for one, and how to see it.
    pub fn left_out(&self) -> Vec<String> {
        let cut = |what: &str, truncated: bool| {
            let text = format!("there are more than {LIST_ITEMS_MAX} {what}: the list is cut");
            truncated.then_some(text).into_iter().collect()
        };
        match self {
            Answer::Runs(RunList { runs, .. }) | Answer::Latest(LatestList { runs, .. }) => {
                runs.iter().filter_map(more_events).collect()
            }
            Answer::Tasks(list) => cut("tasks", list.truncated),
            Answer::Hosts(list) => cut("hosts", list.truncated),
            Answer::Agents(list) => cut("agents", list.truncated),
            Answer::Watches(list) => cut("watches", list.truncated),
            Answer::Status(report) => cut("agents", report.truncated),
            Answer::Timeline(list) => list.runs.iter().filter_map(|line| more_events(&line.shown)).collect(),
            Answer::Diff(list) => {
                let both = |diff: &'_ RunDiff| {
                    let runs = [Some(&diff.latest), diff.last_ok.as_ref()];
                    runs.into_iter().flatten().filter_map(more_events).collect::<Vec<_>>()
                };
                list.diffs.iter().flat_map(both).collect()
            }
            Answer::Events(_) | Answer::Fleet(_) | Answer::Count(_) | Answer::Audit(_) | Answer::Slots(_) => {
                Vec::new()
            }
        }
    }

    /// What the runs of the answer say to `--exit-status`; none for an answer without runs.
    pub fn severities(&self) -> Vec<Severity> {
        let of = |runs: &[RunJson]| runs.iter().map(check::severity).collect();
        match self {
            Answer::Runs(RunList { runs, .. }) | Answer::Latest(LatestList { runs, .. }) => of(runs),
            Answer::Fleet(report) => {
                report.tasks.iter().flat_map(|task| &task.runs).map(check::severity).collect()
            }
            Answer::Timeline(list) => list.runs.iter().map(|line| check::severity(&line.shown)).collect(),
            Answer::Diff(list) => list.diffs.iter().map(|diff| check::severity(&diff.latest)).collect(),
            Answer::Events(_)
            | Answer::Count(_)
            | Answer::Tasks(_)
            | Answer::Hosts(_)
            | Answer::Agents(_)
            | Answer::Status(_)
            | Answer::Audit(_)
            | Answer::Watches(_)
            | Answer::Slots(_) => Vec::new(),
        }
    }

    /// How to see what `--limit` cut off, when there is more.
    pub fn more(&self) -> Option<String> {
        let next = match self {
            Answer::Events(list) => list.next.as_deref(),
            Answer::Runs(list) => list.next.as_deref(),
            Answer::Audit(list) => list.next.as_deref(),
            Answer::Latest(LatestList { more, .. })
            | Answer::Timeline(TimelineList { more, .. })
            | Answer::Diff(DiffList { more, .. }) => {
                return more.then(|| "there is more: raise --limit".to_owned());
            }
            Answer::Slots(list) => return list.truncated.then(|| "there is more: raise --limit".to_owned()),
            Answer::Fleet(_)
            | Answer::Count(_)
            | Answer::Tasks(_)
            | Answer::Hosts(_)
            | Answer::Agents(_)
            | Answer::Watches(_)
            | Answer::Status(_) => None,
        };
        next.map(|next| format!("there is more: raise --limit, or go on with --cursor {next}"))
    }
}
