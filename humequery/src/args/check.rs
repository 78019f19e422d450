//! The flags of `humequery check`, with the help text that explains them.

use std::time::Duration;

use clap::Args as Group;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hume_core::check::{Quorum, Rules, Running};
use hume_core::status::Severity;
use hume_core::{HostName, TaskName};

use super::FormatName;
use crate::when;

/// How it is called.
pub(super) const USAGE: &str = "humequery check -t TASK [OPTIONS]";

/// What its `--format` means.
pub(super) const FORMAT: &str =
    "Form of the answer: the output of a plugin, or one object that says the same";

/// What stands below the help of `check`.
pub(super) const MORE: &str = "\
Examples:
  humequery check -t BACKUP --hostname db1 --finished --max-age 25h
      The nightly backup: the last one ended well, and not longer ago than that.
  humequery check -t RENEW --quorum 80%
      Of all hosts that have this task, at least four in five.

Output (Nagios, Icinga, and what understands their plugins):
  HUME CRITICAL - BACKUP@db1 failed: 2 errors, run 0193... 3m12s, 14/14 events | 'duration'=192s;600;1200;0 ...
      One line of ASCII with performance data, then one line for each host.
      duration  seconds of activity; warning and critical are max_runtime and
                hard_runtime of the task, if they are configured
      events    events of the run          errors  of level error or critical
      warnings  of level warning           age     seconds since the latest end
      With several hosts instead: hosts, ok, warning, critical, unknown.
  --format json
      {\"task\", \"verdict\": one of the four words, \"severity\": the exit code, \"line\": the line,
      \"perfdata\", \"hosts\": [{\"host\", \"verdict\", \"severity\", \"status\", \"why\", \"run\", \"perfdata\"}]}.
      A wrong command line is the line in any form.

Exit codes:
  0  OK        ok, or running within its limits
  1  WARNING   warning; overdue beyond max_runtime
  2  CRITICAL  failed, critical, aborted; overdue beyond hard_runtime; older than --max-age
  3  UNKNOWN   lost, unknown, events missing; no such task, host or run; no answer, a wrong
               command line
  Of several hosts the worst counts, in the order 2, 1, 3, 0.";

/// `humequery check`.
#[derive(Clone, Debug, PartialEq, Eq, Group)]
pub struct CheckArgs {
    /// Exactly this task
    #[arg(short, long)]
    pub task: TaskName,
    /// Exactly this host; repeat it for several. Without it, every host that has the task
    #[arg(long = "hostname", visible_alias = "host", value_name = "HOST")]
    pub hosts: Vec<HostName>,
    /// While a run goes on within its limits, the run before it decides
    #[arg(long)]
    pub finished: bool,
    /// CRITICAL when the latest end is older than this: 25h, 90m, 2d
    ///
    /// The end of any run counts: how it ended is judged anyway. As long as none has ended, the start does.
    #[arg(long, value_name = "TIME", value_parser = when::span, allow_hyphen_values = true)]
    pub max_age: Option<Duration>,
    /// OK when so many hosts are: a number such as 3, or a share such as 80%
    ///
    /// With too few the worst counts; when all are OK and there are fewer hosts than that, it is CRITICAL.
    #[arg(long, value_name = "N|N%", allow_hyphen_values = true)]
    pub quorum: Option<Quorum>,
    /// What a run counts as whose agent is not heard: 1, 2 or 3
    #[arg(long, value_name = "CODE", default_value = "3", value_parser = offline_as, allow_hyphen_values = true)]
    pub offline_as: Severity,
}

impl CheckArgs {
    /// The rules that these flags set.
    pub fn rules(&self) -> Rules {
        let CheckArgs { task: _, hosts: _, finished, max_age, quorum, offline_as } = self;
        Rules {
            offline_as: *offline_as,
            running: if *finished { Running::PreviousDecides } else { Running::Fine },
            max_age: *max_age,
            quorum: *quorum,
        }
    }
}

/// The forms that `check` has: a plugin has no pages and no columns.
pub(super) fn format() -> impl TypedValueParser<Value = FormatName> {
    PossibleValuesParser::new(["table", "json"])
        .map(|word| if word == "json" { FormatName::Json } else { FormatName::Table })
}

fn offline_as(text: &str) -> Result<Severity, String> {
    match text {
        "1" => Ok(Severity::Warning),
        "2" => Ok(Severity::Critical),
        "3" => Ok(Severity::Unknown),
        _ => Err("must be 1, 2 or 3".to_owned()),
    }
}
