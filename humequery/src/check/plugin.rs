//! What a plugin prints: one line of ASCII with performance data, and a line for each host. Pure.
//!
//! Names and texts of scripts are made plain, so that none of them can end a line, begin performance data or look like
//! some. All of it stays below [`OUTPUT_BYTES_MAX`], where monitoring systems begin to cut.

use std::fmt::Write as _;
use std::time::Duration;

use hume_core::check::{Because, Rules};
use hume_core::status::Severity;
use hume_proto::rest::{ExitJson, RunJson};

use super::{Age, HostCheck};
use crate::render::{beyond, duration, missing_max};

/// Most bytes that are printed.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1024;
/// Most characters of the text before the performance data.
const TEXT_CHARS_MAX: usize = 2000;
/// Most characters of one host's line.
const LINE_CHARS_MAX: usize = 1000;
/// Most characters of a name inside a line.
const NAME_CHARS_MAX: usize = 200;

/// The output for a task on these hosts, and the exit code.
pub fn report(task: &str, checks: &[HostCheck], rules: &Rules) -> (String, Severity) {
    let First { severity, mut line, figures } = first(task, checks, rules);
    if !figures.is_empty() {
        line.push_str(" | ");
        line.push_str(&figures.join(" "));
    }
    let mut output = line;
    output.push('\n');
    let worst_first = worst_first(checks);
    for (shown, check) in worst_first.iter().enumerate() {
        let line = plain(&details(task, check, rules), LINE_CHARS_MAX);
        let rest = format!("... and {} more\n", worst_first.len() - shown);
        if output.len() + line.len() + 1 + rest.len() > OUTPUT_BYTES_MAX {
            output.push_str(&rest);
            break;
        }
        output.push_str(&line);
        output.push('\n');
    }
    (output, severity)
}

/// The output when nobody can tell.
pub fn unknown(why: &str) -> String {
    format!("{}\n", status_line(Severity::Unknown, why))
}

/// What the first line says.
pub(super) struct First {
    pub(super) severity: Severity,
    /// Without the figures.
    pub(super) line: String,
    /// The performance data, each with its label.
    pub(super) figures: Vec<String>,
}

/// The first line for a task on these hosts.
pub(super) fn first(task: &str, checks: &[HostCheck], rules: &Rules) -> First {
    let severities: Vec<Severity> = checks.iter().map(|check| check.verdict.severity).collect();
    let severity = rules.together(&severities);
    let (text, figures) = match checks {
        [] => (format!("{}: no run on any host", name(task)), Vec::new()),
        // Where more hosts are needed than there are, that is what is to be said.
        [only] if rules.quorum.is_none_or(|quorum| quorum.of(1) <= 1) => {
            (describe(task, only, rules), figures(only, rules))
        }
        several => (of_several(task, several, &severities, rules), figures_of_several(&severities, rules)),
    };
    First { severity, line: status_line(severity, &text), figures }
}

/// The hosts, the worst first, and by name as they came.
pub(super) fn worst_first(checks: &[HostCheck]) -> Vec<&HostCheck> {
    let mut worst_first: Vec<&HostCheck> = checks.iter().collect();
    worst_first.sort_by_key(|check| std::cmp::Reverse(check.verdict.severity.rank()));
    worst_first
}

pub(super) fn status_line(severity: Severity, text: &str) -> String {
    format!("HUME {} - {}", severity.as_str(), plain(text, TEXT_CHARS_MAX))
}

/// `BACKUP@web1 failed: 2 errors, run 0193… 3m12s, 14/14 events`
fn describe(task: &str, check: &HostCheck, rules: &Rules) -> String {
    let subject = format!("{}@{}", name(task), name(&check.host));
    match &check.run {
        Some(_) => format!("{subject} {}", why(check, rules)),
        None => format!("{subject}: {}", why(check, rules)),
    }
}

/// `failed: 2 errors, run 0193… 3m12s, 14/14 events`: what is said of a host, without its name.
pub(super) fn why(check: &HostCheck, rules: &Rules) -> String {
    let Some(run) = &check.run else { return "no run".to_owned() };
    let why = run.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let age = if check.verdict.because == Because::Age { ", but too old" } else { "" };
    plain(&format!("{}{why}{age}: {}", run.status, facts(run, check, rules).join(", ")), TEXT_CHARS_MAX)
}

fn facts(run: &RunJson, check: &HostCheck, rules: &Rules) -> Vec<String> {
    let mut facts = Vec::new();
    match check.verdict.because {
        Because::Age => {
            let text = |span: Duration| duration(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
            facts.push(match check.age {
                Some(Age::OfStart(span)) => format!("none has ended, started {} ago", text(span)),
                Some(Age::OfEnd(span)) => format!("latest end {} ago", text(span)),
                None => "latest end too long ago".to_owned(),
            });
            facts.extend(rules.max_age.map(|max| format!("{} allowed", text(max))));
        }
        Because::Previous => facts.push("a newer run goes on".to_owned()),
        Because::NoneFinished => facts.push("no run has ended yet".to_owned()),
        Because::Latest | Because::NoRun => {}
    }
    if run.status == "lost" {
        facts.push("its agent is not heard".to_owned());
    }
    facts.extend(beyond(&run.status, run.severity).map(|limit| {
        let hard = run.severity == Severity::Critical.code();
        match if hard { run.hard_runtime_s } else { run.max_runtime_s } {
            Some(seconds) => format!("{limit} {}", duration(seconds.saturating_mul(1000))),
            None => limit.to_owned(),
        }
    }));
    facts.extend(run.exit.and_then(bad_end));
    for (count, what) in [(errors(run), "error"), (run.summary.by_level.warning, "warning")] {
        let s = if count == 1 { "" } else { "s" };
        if count > 0 {
            facts.push(format!("{count} {what}{s}"));
        }
    }
    if !run.flags.is_empty() {
        facts.push(run.flags.join(" "));
    }
    facts.push(format!("run {} {}", run.id, duration(run.duration_ms)));
    let events = run.summary.events;
    facts.push(match missing_max(&run.gaps) {
        _ if run.complete => format!("{events}/{events} events"),
        0 => format!("{events} events, some are missing"),
        missing => format!("{events} events, up to {missing} are missing"),
    });
    facts
}

/// `exit 1`, `signal 9`; nothing of an exit code 0.
fn bad_end(exit: ExitJson) -> Option<String> {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => Some(format!("signal {signal}")),
        (Some(code), None) if code != 0 => Some(format!("exit {code}")),
        (Some(_) | None, None) => None,
    }
}

/// What stands in the line of a host.
fn details(task: &str, check: &HostCheck, rules: &Rules) -> String {
    let mut line = format!("[{}] {}", check.verdict.severity.as_str(), describe(task, check, rules));
    if let Some(first) = check.run.as_ref().and_then(|run| run.summary.first_error.as_ref()) {
        // Writing to a String cannot fail.
        let _ = write!(line, ", first error: {}", first.message);
    }
    line
}

/// `BACKUP: 14 hosts, 12 ok, 1 critical, 1 unknown; BACKUP@web3 failed: …`
fn of_several(task: &str, checks: &[HostCheck], severities: &[Severity], rules: &Rules) -> String {
    let hosts = if checks.len() == 1 { "host" } else { "hosts" };
    let mut text = format!("{}: {} {hosts}", name(task), checks.len());
    for (severity, count) in counts(severities) {
        if count > 0 {
            let _ = write!(text, ", {count} {}", severity.as_str().to_ascii_lowercase());
        }
    }
    if let Some(quorum) = rules.quorum {
        let _ = write!(text, ", {} ok needed", quorum.of(checks.len()));
    }
    let worst = checks.iter().max_by_key(|check| check.verdict.severity.rank());
    if let Some(worst) = worst.filter(|worst| worst.verdict.severity != Severity::Ok) {
        let _ = write!(text, "; {}", describe(task, worst, rules));
    }
    text
}

fn counts(severities: &[Severity]) -> [(Severity, usize); 4] {
    [Severity::Ok, Severity::Critical, Severity::Warning, Severity::Unknown]
        .map(|severity| (severity, severities.iter().filter(|found| **found == severity).count()))
}

fn errors(run: &RunJson) -> u64 {
    run.summary.by_level.error + run.summary.by_level.critical
}

/// `'duration'=192s;600;1200;0`, `'events'=14`, `'errors'=2`, `'warnings'=0`, `'age'=3600s;90000`; none without a run.
pub(super) fn figures(check: &HostCheck, rules: &Rules) -> Vec<String> {
    let Some(run) = &check.run else { return Vec::new() };
    let limit = |seconds: Option<u64>| seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    let age = match check.age {
        Some(Age::OfEnd(age)) => format!("{}s", age.as_secs()),
        // There is no end whose age it could be.
        Some(Age::OfStart(_)) | None => "U".to_owned(),
    };
    let max_age = rules.max_age.map(|max| format!(";{}", max.as_secs())).unwrap_or_default();
    let (max, hard) = (limit(run.max_runtime_s), limit(run.hard_runtime_s));
    vec![
        format!("'duration'={}s;{max};{hard};0", seconds(run.active_ms)),
        format!("'events'={}", run.summary.events),
        format!("'errors'={}", errors(run)),
        format!("'warnings'={}", run.summary.by_level.warning),
        format!("'age'={age}{max_age}"),
    ]
}

fn figures_of_several(severities: &[Severity], rules: &Rules) -> Vec<String> {
    let mut figures = vec![format!("'hosts'={}", severities.len())];
    figures.extend(counts(severities).map(|(severity, count)| {
        let bound = match (severity, rules.quorum) {
            // A range: below it, it is critical.
            (Severity::Ok, Some(quorum)) => format!(";;{}:", quorum.of(severities.len())),
            _ => String::new(),
        };
        format!("'{}'={count}{bound}", severity.as_str().to_ascii_lowercase())
    }));
    figures
}

/// `192`, `0.412`: no more digits than there are.
fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => (ms / 1000).to_string(),
        part => format!("{}.{part:03}", ms / 1000).trim_end_matches('0').to_owned(),
    }
}

/// A name, cut so that several fit into a line.
fn name(text: &str) -> String {
    if text.is_empty() { "(no task)".to_owned() } else { plain(text, NAME_CHARS_MAX) }
}

/// One line of printable ASCII that neither begins performance data nor ends in spaces.
fn plain(text: &str, chars_max: usize) -> String {
    let mut plain: String = text
        .chars()
        .take(chars_max)
        .map(|c| match c {
            '|' => '/',
            ' '..='~' => c,
            '\t' | '\n' | '\r' => ' ',
            _ => '?',
        })
        .collect();
    if text.chars().nth(chars_max).is_some() {
        plain.push_str("...");
    }
    plain.trim().to_owned()
}
