//! What `check --format json` prints: the same as the plugin's output, for programs. Pure.

use hume_core::RunId;
use hume_core::check::Rules;
use hume_core::status::Severity;
use serde::Serialize;

use super::HostCheck;
use super::plugin;

/// One object, whatever came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// The task that was asked for.
    pub task: String,
    /// `OK`, `WARNING`, `CRITICAL`, `UNKNOWN`.
    pub verdict: &'static str,
    /// The exit code.
    pub severity: u8,
    /// The plugin's first line, without the performance data.
    pub line: String,
    /// The performance data of that line.
    pub perfdata: Vec<String>,
    /// The worst first; none when nobody can tell.
    pub hosts: Vec<HostReport>,
}

/// What is said of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostReport {
    /// The host.
    pub host: String,
    /// One of the four words.
    pub verdict: &'static str,
    /// As a number.
    pub severity: u8,
    /// The status of the run that decided; null when there is no run.
    pub status: Option<String>,
    /// What decided, in words.
    pub why: String,
    /// The run that decided.
    pub run: Option<RunId>,
    /// Its figures.
    pub perfdata: Vec<String>,
}

impl CheckReport {
    /// For a task on these hosts.
    pub fn new(task: &str, checks: &[HostCheck], rules: &Rules) -> CheckReport {
        let plugin::First { severity, line, figures } = plugin::first(task, checks, rules);
        let hosts = plugin::worst_first(checks).into_iter().map(|check| host(check, rules)).collect();
        CheckReport {
            task: task.to_owned(),
            verdict: severity.as_str(),
            severity: severity.code(),
            line,
            perfdata: figures,
            hosts,
        }
    }

    /// When nobody can tell.
    pub fn unknown(task: &str, why: &str) -> CheckReport {
        let severity = Severity::Unknown;
        CheckReport {
            task: task.to_owned(),
            verdict: severity.as_str(),
            severity: severity.code(),
            line: plugin::status_line(severity, why),
            perfdata: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

fn host(check: &HostCheck, rules: &Rules) -> HostReport {
    let HostCheck { host, run, age: _, verdict } = check;
    HostReport {
        host: host.clone(),
        verdict: verdict.severity.as_str(),
        severity: verdict.severity.code(),
        status: run.as_ref().map(|run| run.status.clone()),
        why: plugin::why(check, rules),
        run: run.as_ref().map(|run| run.id),
        perfdata: plugin::figures(check, rules),
    }
}
