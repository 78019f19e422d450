//! `humeconfig watch import`: what the crontabs and timers of this host say is shown, declared, and compared with what was.
//!
//! What was declared is noted in a file, by which `--check` tells that a crontab says something else by now.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use hume_core::watch::Expectation;
use hume_core::{HostName, TaskName};
use hume_runtime::files;
use jiff::tz::TimeZoneDatabase;

use super::args::ImportArgs;
use super::found::{Found, Host};
use super::job::Named;
use super::socket::Agent;
use crate::failure::Failure;
use crate::report::Report;

/// Who reads the note.
const MODE: u32 = 0o644;

/// What is expected of a task, and where that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    places: Vec<String>,
    text: String,
}

/// What was found, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sorted {
    wanted: BTreeMap<String, Wanted>,
    /// Places, and why nothing comes of them.
    left: Vec<(String, String)>,
}

/// By task, the last word of which counts; expectations as text.
type Noted = BTreeMap<String, String>;

/// Shows, declares or compares.
/// # Errors
/// [`Failure`]; with `--check` also when something differs.
pub(super) fn run(args: &ImportArgs, agent: &Agent, report: &mut Report) -> Result<(), Failure> {
    let sorted = sorted(Host::below(&args.root).found());
    if args.check {
        return check(&sorted, &noted(&args.record)?, report);
    }
    let rows = sorted
        .wanted
        .iter()
        .map(|(task, wanted)| vec![task.clone(), wanted.text.clone(), wanted.places.join(", ")]);
    report.table(&["TASK", "EXPECTED", "FROM"], rows.collect());
    for (place, why) in &sorted.left {
        report.line(format!("nothing of {place}: {why}"));
    }
    if !args.create {
        report.line("nothing was declared: --create does it");
        return Ok(());
    }
    let mut known = noted(&args.record)?;
    for (task, wanted) in &sorted.wanted {
        agent.declare(task, None, &wanted.text)?;
        known.insert(task.clone(), wanted.text.clone());
    }
    // Those that are gone stay expected until somebody says otherwise: a crontab may be away by mistake.
    let text = toml::to_string(&known).unwrap_or_default();
    let staged = files::temporary_beside(&args.record);
    files::write(&staged, text.as_bytes(), MODE)?;
    files::rename(&staged, &args.record)?;
    report.line(format!("declared {} to the agent, noted in {}", sorted.wanted.len(), args.record.display()));
    Ok(())
}

fn check(sorted: &Sorted, noted: &Noted, report: &mut Report) -> Result<(), Failure> {
    let differences = differences(sorted, noted);
    for difference in &differences {
        report.line(difference.clone());
    }
    match differences.len() {
        0 => {
            report.line(format!("{} watches are as the crontabs and timers say", noted.len()));
            Ok(())
        }
        drifted => Err(Failure::Drifted { drifted }),
    }
}

fn differences(sorted: &Sorted, noted: &Noted) -> Vec<String> {
    let mut lines = Vec::new();
    for (task, was) in noted {
        match sorted.wanted.get(task) {
            None => {
                lines.push(format!("{task}: the watch says `{was}`, and no crontab or timer runs it now"));
            }
            Some(Wanted { text, .. }) if text == was => {}
            Some(Wanted { text, places }) => {
                lines
                    .push(format!("{task}: the watch says `{was}`, {} now says `{text}`", places.join(", ")));
            }
        }
    }
    let new = sorted.wanted.iter().filter(|(task, _)| !noted.contains_key(*task));
    lines.extend(new.map(|(task, wanted)| {
        format!("{task}: there is no watch, {} says `{}`", wanted.places.join(", "), wanted.text)
    }));
    lines
}

/// By task; several lines of a task are one expectation.
fn sorted(found: Vec<Found>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut parts: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for Found { place, named, expected } in found {
        let why = match (named, expected) {
            (_, Err(why)) => why,
            (Named::Nothing, Ok(_)) => {
                "it names no task: run it by `hume exec -t TASK -- COMMAND`, or set HTASK before it"
                    .to_owned()
            }
            (Named::Several(tasks), Ok(_)) => {
                format!("it reports several tasks ({}), and the time may be of any", tasks.join(", "))
            }
            (Named::Task(task), Ok(text)) => {
                parts.entry(task).or_default().push((place, text));
                continue;
            }
        };
        sorted.left.push((place, why));
    }
    for (task, parts) in parts {
        let (places, texts): (Vec<String>, Vec<String>) = parts.into_iter().unzip();
        let text = together(&texts);
        match is_sound(&task, &text) {
            Ok(()) => drop(sorted.wanted.insert(task, Wanted { places, text })),
            Err(why) => sorted.left.push((places.join(", "), why)),
        }
    }
    sorted
}

/// Lines first, then what is said of them, each once.
fn together(texts: &[String]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in texts.iter().flat_map(|text| text.split("; ")) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join("; ")
}

/// Whether the agent will take it: the same rules.
fn is_sound(task: &str, text: &str) -> Result<(), String> {
    let zones = [("zone=", 1), ("start_grace=", 1)];
    if let Some((key, _)) = zones.into_iter().find(|(key, most)| text.matches(key).count() > *most) {
        return Err(format!("its lines differ in `{key}`, and one watch has one"));
    }
    let task = TaskName::parse(task).map_err(|error| error.to_string())?;
    let host = HostName::parse("localhost").map_err(|error| error.to_string())?;
    let watch = Expectation::parse(text)
        .and_then(|expected| expected.watch(&task, &host, &TimeZoneDatabase::from_env()));
    watch.map(drop).map_err(|error| error.to_string())
}

fn noted(record: &Path) -> Result<Noted, Failure> {
    let text = match fs::read_to_string(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Noted::new()),
        other => other.map_err(|source| Failure::Read { path: record.to_owned(), source })?,
    };
    toml::from_str(&text).map_err(|error| {
        let source = io::Error::new(io::ErrorKind::InvalidData, error.message().to_owned());
        Failure::Read { path: record.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &str, task: &str, text: &str) -> Found {
        Found { place: place.to_owned(), named: Named::Task(task.to_owned()), expected: Ok(text.to_owned()) }
    }

    #[test]
    fn several_lines_of_a_task_are_one_expectation_and_what_is_of_no_use_is_told() {
        let nameless = Found { named: Named::Nothing, ..found("c:9", "", "* * * * *") };
        let several =
            Found { named: Named::Several(vec!["A".into(), "B".into()]), ..found("c:8", "", "@daily") };
        let sorted = sorted(vec![
            found("c:1", "SYNC", "0 2 * * *"),
            found("c:2", "SYNC", "0 14 * * *"),
            found("x.timer", "CLEAN", "OnCalendar=daily; start_grace=1h"),
            found("c:3", "ODD", "0 2 30 2 *"),
            found("c:4", "ZONES", "0 2 * * *; zone=Europe/Berlin"),
            found("c:5", "ZONES", "0 2 * * *; zone=Asia/Tokyo"),
            nameless,
            several,
        ]);
        let texts: Vec<_> =
            sorted.wanted.iter().map(|(task, wanted)| (task.as_str(), wanted.text.as_str())).collect();
        assert_eq!(texts, [("CLEAN", "OnCalendar=daily; start_grace=1h"), ("SYNC", "0 2 * * *; 0 14 * * *")]);
        let left: Vec<String> = sorted.left.iter().map(|(place, why)| format!("{place} {why}")).collect();
        assert!(
            left[0].contains("hume exec -t TASK") && left[1].contains("several tasks (A, B)"),
            "{left:?}"
        );
        assert!(left[2].contains("never comes") && left[3].contains("differ in `zone=`"), "{left:?}");
    }

    #[test]
    fn a_crontab_that_says_something_else_by_now_is_told() {
        let noted = Noted::from([
            ("BACKUP".into(), "0 2 * * *".into()),
            ("GONE".into(), "@daily".into()),
            ("SAME".into(), "@hourly".into()),
        ]);
        let now = sorted(vec![
            found("/etc/cron.d/backup:3", "BACKUP", "0 3 * * *"),
            found("c:1", "SAME", "@hourly"),
            found("c:2", "NEW", "@weekly"),
        ]);
        assert_eq!(
            differences(&now, &noted),
            [
                "BACKUP: the watch says `0 2 * * *`, /etc/cron.d/backup:3 now says `0 3 * * *`",
                "GONE: the watch says `@daily`, and no crontab or timer runs it now",
                "NEW: there is no watch, c:2 says `@weekly`",
            ]
        );
    }
}
