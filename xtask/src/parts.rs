//! Everything that must hold before a change is taken, in the order in which mistakes are cheapest to find.
//!
//! One profile for all parts. The one optimised build is that of `hume` alone, whose instructions are counted: without it
//! there would be nothing to count. The first failure ends the run; the table at the end says what
//! was not run. What the machine lacks is skipped with a line that says how to get it, or fails with
//! `HUME_NO_SKIP=1`.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cargo::cargo;
use crate::cost::{self, Standing};
use crate::say::say;

/// Set to `1` where nothing may be skipped.
const NO_SKIP_VARIABLE: &str = "HUME_NO_SKIP";

/// A longer `TMPDIR` leaves too little of the 107 bytes of a socket's path for the folders of tests.
const TMPDIR_BYTES_MAX: usize = 60;

/// Used instead of it.
const SHORT_FOLDER: &str = "/tmp";

/// What cargo-deny says when it cannot get the list of known vulnerabilities.
const DATABASE_UNREACHABLE: &str = "failed to fetch advisory database";

/// One part of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The sources are formatted.
    Format,
    /// No lint speaks.
    Clippy,
    /// Everything builds.
    Build,
    /// Unit, property, contract, snapshot, tidy and end-to-end tests.
    Tests,
    /// The documentation builds without a warning.
    Docs,
    /// One event takes no more instructions than its budget allows.
    Cost,
    /// Dependencies keep to `deny.toml`: bans, licences, sources.
    Deny,
    /// No dependency has a known vulnerability.
    Advisories,
}

/// How a part went.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    /// The machine lacks what the part needs: a failure where nothing may be skipped.
    Lacking(String),
    /// What the part needs cannot be had here by installing anything: excused everywhere.
    OutOfReach(String),
    NotRun,
}

struct Report {
    part: Part,
    outcome: Outcome,
    took: Duration,
}

/// What a part needs beside the compiler.
struct Need {
    /// A command that succeeds where it is installed.
    probe: &'static [&'static str],
    name: &'static str,
    install: &'static str,
}

impl Part {
    /// All parts, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Format,
        Self::Clippy,
        Self::Build,
        Self::Tests,
        Self::Docs,
        Self::Cost,
        Self::Deny,
        Self::Advisories,
    ];

    /// The name for `--only`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Build => "build",
            Self::Tests => "tests",
            Self::Docs => "docs",
            Self::Cost => "cost",
            Self::Deny => "deny",
            Self::Advisories => "advisories",
        }
    }

    fn arguments(self) -> &'static str {
        match self {
            Self::Format => "fmt --all --check",
            Self::Clippy => "clippy --workspace --all-targets --locked -- -D warnings",
            Self::Build => "build --workspace --all-targets --locked",
            Self::Tests => "test --workspace --locked",
            Self::Docs => "doc --workspace --no-deps --locked",
            Self::Cost => "xtask cost",
            Self::Deny => "deny --locked check --hide-inclusion-graph bans licenses sources",
            Self::Advisories => "deny --locked check --hide-inclusion-graph advisories",
        }
    }

    fn need(self) -> Option<Need> {
        match self {
            Self::Format => Some(Need {
                probe: &["cargo", "fmt", "--version"],
                name: "rustfmt",
                install: "rustup component add rustfmt",
            }),
            Self::Clippy => Some(Need {
                probe: &["cargo", "clippy", "--version"],
                name: "clippy",
                install: "rustup component add clippy",
            }),
            Self::Cost => Some(Need {
                probe: &["valgrind", "--version"],
                name: "valgrind",
                install: "apt-get install valgrind",
            }),
            Self::Deny | Self::Advisories => Some(Need {
                probe: &["cargo", "deny", "--version"],
                name: "cargo-deny",
                install: "cargo install --locked cargo-deny",
            }),
            Self::Build | Self::Tests | Self::Docs => None,
        }
    }

    fn command(self) -> Command {
        let mut command = cargo();
        command.args(self.arguments().split(' '));
        match self {
            // Known to rustdoc alone, so nothing is compiled again for it.
            Self::Docs => drop(command.env("RUSTDOCFLAGS", "-D warnings")),
            Self::Tests if is_too_long(&std::env::temp_dir()) => drop(command.env("TMPDIR", SHORT_FOLDER)),
            Self::Tests
            | Self::Format
            | Self::Clippy
            | Self::Build
            | Self::Cost
            | Self::Deny
            | Self::Advisories => {}
        }
        command
    }
}

/// Runs the parts named in `only`, or all of them, and prints a table at the end.
/// # Errors
/// If a part could not be started. A part that fails is no error but a failing exit code.
pub(crate) fn run(only: &[Part]) -> anyhow::Result<ExitCode> {
    let nothing_may_be_skipped = std::env::var_os(NO_SKIP_VARIABLE).is_some_and(|value| value == "1");
    let mut reports: Vec<Report> = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| only.is_empty() || only.contains(part)) {
        if any_failed(&reports) {
            reports.push(Report { part, outcome: Outcome::NotRun, took: Duration::ZERO });
            continue;
        }
        let started = Instant::now();
        let outcome = match run_part(part)? {
            Outcome::Lacking(what) if nothing_may_be_skipped => {
                Outcome::Failed(format!("{what}, and with {NO_SKIP_VARIABLE}=1 nothing may be skipped"))
            }
            outcome => outcome,
        };
        let report = Report { part, outcome, took: started.elapsed() };
        say(format_args!("xtask: {}", line(&report)))?;
        reports.push(report);
    }
    say(format_args!("\n{}", table(&reports)))?;
    Ok(if any_failed(&reports) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn any_failed(reports: &[Report]) -> bool {
    reports.iter().any(|report| matches!(report.outcome, Outcome::Failed(_)))
}

fn run_part(part: Part) -> anyhow::Result<Outcome> {
    if let Some(need) = part.need()
        && !is_installed(&need)?
    {
        return Ok(Outcome::Lacking(format!("{} is not installed: {}", need.name, need.install)));
    }
    say(format_args!("xtask: {}: cargo {}", part.name(), part.arguments()))?;
    let folder = std::env::temp_dir();
    if part == Part::Tests && is_too_long(&folder) {
        say(format_args!(
            "xtask: tests: with TMPDIR={SHORT_FOLDER}, as sockets below {} would have paths that are too long",
            folder.display()
        ))?;
    }
    match part {
        Part::Advisories => check_advisories(),
        Part::Cost => Ok(check_cost()),
        Part::Format | Part::Clippy | Part::Build | Part::Tests | Part::Docs | Part::Deny => {
            let status = part.command().status().context("could not start cargo")?;
            Ok(if status.success() { Outcome::Passed } else { Outcome::Failed(status.to_string()) })
        }
    }
}

/// Whether the path of a socket in a temporary folder there may be longer than the 107 bytes it can have.
fn is_too_long(folder: &Path) -> bool {
    folder.as_os_str().len() > TMPDIR_BYTES_MAX
}

fn is_installed(need: &Need) -> anyhow::Result<bool> {
    let Some((program, arguments)) = need.probe.split_first() else { return Ok(true) };
    let mut probe = if *program == "cargo" { cargo() } else { Command::new(program) };
    match probe.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("could not start {program}")),
    }
}

fn check_cost() -> Outcome {
    match cost::check() {
        Ok(Standing::Within) => Outcome::Passed,
        Ok(Standing::Over(why)) => Outcome::Failed(why),
        Ok(Standing::NotComparable(why)) => Outcome::OutOfReach(why),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn check_advisories() -> anyhow::Result<Outcome> {
    let output = Part::Advisories.command().output().context("could not start cargo")?;
    let outcome = judge_advisories(output.status.success(), &String::from_utf8_lossy(&output.stderr));
    if !matches!(outcome, Outcome::OutOfReach(_)) {
        let mut out = std::io::stdout().lock();
        out.write_all(&output.stdout)
            .and_then(|()| out.write_all(&output.stderr))
            .context("could not write")?;
    }
    Ok(outcome)
}

fn judge_advisories(success: bool, stderr: &str) -> Outcome {
    if success {
        Outcome::Passed
    } else if stderr.contains(DATABASE_UNREACHABLE) {
        Outcome::OutOfReach("the database of advisories cannot be reached from here".to_owned())
    } else {
        Outcome::Failed("see the advisories above".to_owned())
    }
}

fn line(report: &Report) -> String {
    let Report { part, outcome, took } = report;
    let name = part.name();
    let seconds = took.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("{name} passed in {seconds:.1} s"),
        Outcome::Failed(why) => format!("{name} FAILED after {seconds:.1} s: {why}"),
        Outcome::Lacking(why) | Outcome::OutOfReach(why) => format!("{name} was skipped: {why}"),
        Outcome::NotRun => format!("{name} was not run"),
    }
}

fn table(reports: &[Report]) -> String {
    let mut table = format!("{:<12}{:<10}{:>8}\n", "part", "result", "seconds");
    for Report { part, outcome, took } in reports {
        let (result, why) = match outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(why) => ("FAILED", Some(why)),
            Outcome::Lacking(why) | Outcome::OutOfReach(why) => ("skipped", Some(why)),
            Outcome::NotRun => ("not run", None),
        };
        let why = why.map(|why| format!("  {why}")).unwrap_or_default();
        // Writing into a string cannot fail.
        let _ = writeln!(table, "{:<12}{result:<10}{:>8.1}{why}", part.name(), took.as_secs_f64());
    }
    table.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_that_cannot_be_reached_excuses_the_advisories() {
        assert_eq!(judge_advisories(true, ""), Outcome::Passed);
        let unreachable = "[ERROR] failed to fetch advisory database https://…: connection refused";
        assert!(matches!(judge_advisories(false, unreachable), Outcome::OutOfReach(_)));
        assert!(matches!(judge_advisories(false, "error[vulnerability]: …"), Outcome::Failed(_)));
    }

    #[test]
    fn only_a_long_temporary_folder_is_replaced() {
        assert!(!is_too_long(Path::new("/tmp")));
        assert!(!is_too_long(Path::new(&"x".repeat(TMPDIR_BYTES_MAX))));
        assert!(is_too_long(Path::new(&"x".repeat(TMPDIR_BYTES_MAX + 1))));
    }

    #[test]
    fn the_table_says_what_failed_and_what_was_not_run() {
        let report = |part, outcome, seconds| Report { part, outcome, took: Duration::from_secs(seconds) };
        let reports = [
            report(Part::Format, Outcome::Passed, 1),
            report(Part::Clippy, Outcome::Failed("exit status: 101".to_owned()), 62),
            report(Part::Build, Outcome::NotRun, 0),
        ];
        assert_eq!(
            table(&reports),
            "part        result     seconds\n\
             format      passed         1.0\n\
             clippy      FAILED        62.0  exit status: 101\n\
             build       not run        0.0"
        );
        assert!(any_failed(&reports));
    }
}
