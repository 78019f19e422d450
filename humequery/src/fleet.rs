//! How a task is on all its hosts: their latest runs, the worst first, and how many are how. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hume_core::check::Rules;
use hume_core::status::{Severity, Status};
use hume_proto::rest::{RunJson, RunList, Source};
use serde::Serialize;

/// What `--fleet --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetReport {
    /// Who answers.
    pub source: Source,
    /// By name.
    pub tasks: Vec<FleetTask>,
}

/// One task and its hosts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetTask {
    /// The task.
    pub task: String,
    /// Hosts it has run on.
    pub hosts: u64,
    /// The severity of all of them together.
    pub severity: u8,
    /// Hosts by the status of their latest run: every status has its number.
    pub counts: BTreeMap<String, u64>,
    /// The latest run of each host without its events, the worst first.
    pub runs: Vec<RunJson>,
}

impl FleetReport {
    /// From the latest run of each task on each host.
    pub fn new(latest: RunList) -> FleetReport {
        let RunList { source, runs, next: _ } = latest;
        let mut by_task: BTreeMap<String, Vec<RunJson>> = BTreeMap::new();
        for run in runs {
            by_task.entry(run.task.clone()).or_default().push(run);
        }
        FleetReport { source, tasks: by_task.into_iter().map(|(task, runs)| fleet(task, runs)).collect() }
    }
}

fn fleet(task: String, mut runs: Vec<RunJson>) -> FleetTask {
    let rank = |run: &RunJson| {
        // A newer daemon may know more words.
        let status = Status::from_word(&run.status).unwrap_or(Status::Unknown);
        Reverse(status.rank(Severity::from_code(run.severity)))
    };
    runs.sort_by(|one, other| (rank(one), &one.host).cmp(&(rank(other), &other.host)));
    let mut counts: BTreeMap<String, u64> =
        Status::ALL.iter().map(|status| (status.as_str().to_owned(), 0)).collect();
    for run in &runs {
        *counts.entry(run.status.clone()).or_default() += 1;
    }
    let severities: Vec<Severity> = runs.iter().map(|run| Severity::from_code(run.severity)).collect();
    let severity = Rules::default().together(&severities).code();
    FleetTask { task, hosts: runs.len() as u64, severity, counts, runs }
}

impl FleetTask {
    /// `14 hosts: 12 ok, 1 failed, 1 running`
    pub fn summary(&self) -> String {
        // What is well, what is not from the worst on, what goes on.
        let mut known = Status::ALL;
        known.sort_by_key(|status| (*status != Status::Ok, Reverse(status.rank(Severity::Critical))));
        let known = known.iter().map(|status| status.as_str());
        // A newer daemon may know more words.
        let others = self.counts.keys().map(String::as_str).filter(|word| Status::from_word(word).is_none());
        let counts: Vec<String> = known
            .chain(others)
            .filter_map(|word| self.counts.get(word).filter(|count| **count > 0).map(|count| (word, count)))
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        let s = if self.hosts == 1 { "" } else { "s" };
        format!("{} host{s}: {}", self.hosts, counts.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of this task on this host, of which only the status matters.
    pub(crate) fn run(task: &str, host: &str, status: &str, severity: u8) -> RunJson {
        serde_json::from_value(serde_json::json!({
            "id": "01936f2e-0000-7000-8000-000000000001", "task": task, "host": host, "agent": null,
            "phase": "ended", "status": status, "outcome": null, "reason": null, "severity": severity, "flags": [],
            "correlation": "ancestry", "started_at": "2026-11-22T10:00:00Z", "ended_at": "2026-11-22T10:03:12Z",
            "ended_after": null, "duration_ms": 192_000, "active_ms": 192_000, "paused_ms": 0, "exit": null,
            "complete": true, "gaps": [],
            "summary": {"events": 0, "by_level": {"debug": 0, "info": 0, "ok": 0, "warning": 0, "error": 0,
                        "critical": 0, "unknown": 0}, "first_error": null},
            "events": []
        }))
        .unwrap()
    }

    #[test]
    fn the_worst_host_stands_first_and_counts_are_complete() {
        let source = Source { kind: hume_proto::rest::SourceKind::Master, name: "m".to_owned() };
        let runs = vec![
            run("B", "web2", "ok", 0),
            run("A", "web1", "overdue", 1),
            run("A", "web3", "lost", 3),
            run("A", "web2", "failed", 2),
            run("A", "db1", "ok", 0),
            run("A", "db0", "running", 0),
        ];
        let report = FleetReport::new(RunList { source, runs, next: None });
        let task = &report.tasks[0];
        let hosts: Vec<_> = task.runs.iter().map(|run| run.host.as_str()).collect();
        assert_eq!(hosts, ["web2", "web3", "web1", "db0", "db1"]);
        assert_eq!((task.severity, task.counts.len()), (2, 8));
        assert_eq!(task.summary(), "5 hosts: 1 ok, 1 failed, 1 overdue, 1 lost, 1 running");
        assert_eq!(report.tasks[1].summary(), "1 host: 1 ok");
    }

    #[test]
    fn the_first_host_is_the_worst_state_and_the_severity_is_that_of_the_exit_code() {
        let source = Source { kind: hume_proto::rest::SourceKind::Master, name: "m".to_owned() };
        let runs = vec![run("A", "web1", "warning", 1), run("A", "web2", "lost", 3)];
        let report = FleetReport::new(RunList { source, runs, next: None });
        let task = &report.tasks[0];
        assert_eq!((task.runs[0].host.as_str(), task.severity), ("web2", 1));
    }
}
