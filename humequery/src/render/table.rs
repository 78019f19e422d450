//! The form for people: columns that fit the terminal, local times, colour that never stands alone.

use std::io::{self, Write};

use hume_core::status::{Severity, Status};
use hume_proto::rest::{EventJson, EventList, RunJson, RunList};
use jiff::tz::TimeZone;

use super::diff;
use super::fleet;
use super::format::Format;
use super::latest;
use super::layout::{Column, Grid};
use super::moment::{Times, duration};
use super::report;
use super::text::{Colour, Span, lines};
use super::timeline;
use crate::answer::Answer;
use crate::ask::Pages;

/// What the reader looks at.
#[derive(Clone, Debug)]
pub struct View {
    /// Columns of the terminal; none: unlimited.
    pub width: Option<usize>,
    /// Whether colour is used.
    pub colour: Colour,
    /// In which zone times are shown.
    pub zone: TimeZone,
}

/// `--format table`.
#[derive(Debug)]
pub struct Table {
    view: View,
}

impl Table {
    /// For this view.
    pub fn new(view: View) -> Table {
        Table { view }
    }
}

impl Format for Table {
    fn pages(&self) -> Pages {
        Pages::Merged
    }

    fn write(&mut self, answer: &Answer, to: &mut dyn Write) -> io::Result<()> {
        let view = &self.view;
        // What was not found is said on stderr; a heading over nothing says nothing.
        if answer.is_empty() {
            return Ok(());
        }
        match answer {
            Answer::Events(list) => events(list, view, to),
            Answer::Runs(list) if list.runs.iter().any(|run| !run.events.is_empty()) => {
                latest::runs(&list.source, &list.runs, view, to)
            }
            Answer::Runs(list) => runs(list, view, to),
            Answer::Latest(list) => latest::runs(&list.source, &list.runs, view, to),
            Answer::Fleet(report) => fleet::fleet(report, view, to),
            Answer::Timeline(list) => timeline::timelines(list, view, to),
            Answer::Diff(list) => diff::diffs(list, view, to),
            Answer::Count(count) => writeln!(to, "{}", count.count),
            Answer::Tasks(list) => report::tasks(list, view, to),
            Answer::Hosts(list) => report::hosts(list, view, to),
            Answer::Agents(list) => report::agents(&list.agents, view, to),
            Answer::Status(status) => report::status(status, view, to),
            Answer::Watches(list) => report::watches(&list.watches, view, to),
            Answer::Slots(list) => report::slots(&list.slots, view, to),
            Answer::Audit(list) => report::audit(&list.lines, view, to),
        }
    }
}

fn events(list: &EventList, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let times = Times::new(&view.zone, list.events.iter().map(|event| event.time));
    let columns = vec![
        Column::left(&times.heading("TIME")),
        Column::left("LEVEL"),
        Column::left("HOST"),
        Column::left("TASK"),
    ];
    let mut grid = Grid::new(columns, "MESSAGE");
    for event in &list.events {
        let cells = vec![
            Span::plain(&times.text(event.time)),
            Span::word(&event.level),
            Span::plain(&event.host),
            Span::plain(task_name(&event.task)),
        ];
        grid.push(cells, message(event));
    }
    grid.write(view.width, view.colour, to)
}

fn runs(list: &RunList, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let times = Times::new(&view.zone, list.runs.iter().map(|run| run.started_at));
    let columns = vec![
        Column::left(&times.heading("STARTED")),
        Column::left("STATUS"),
        Column::left("HOST"),
        Column::left("TASK"),
        Column::right("TOOK"),
        Column::right("ERRORS"),
    ];
    let mut grid = Grid::new(columns, "RUN");
    for run in &list.runs {
        let errors = run.summary.by_level.error + run.summary.by_level.critical;
        let cells = vec![
            Span::plain(&times.text(run.started_at)),
            Span::word(&run.status),
            Span::plain(&run.host),
            Span::plain(task_name(&run.task)),
            Span::plain(&duration(run.duration_ms)),
            Span::plain(&errors.to_string()),
        ];
        let mut note = match run.summary.events {
            1 => format!("{}, 1 event", run.id),
            events => format!("{}, {events} events", run.id),
        };
        if let Some(why) = why(run) {
            note.push_str(", ");
            note.push_str(why);
        }
        grid.push(cells, vec![Span::plain(&note)]);
    }
    grid.write(view.width, view.colour, to)
}

/// What the status alone does not say: why it ended, when nobody reported that, beyond which limit it is, or that it is
/// paused.
pub(super) fn why(run: &RunJson) -> Option<&str> {
    let paused = (run.phase == "paused").then_some("paused");
    run.reason.as_deref().or_else(|| beyond(&run.status, run.severity)).or(paused)
}

/// The limit that an overdue run is beyond: its severity tells them apart.
pub(crate) fn beyond(status: &str, severity: u8) -> Option<&'static str> {
    let limit =
        if severity == Severity::Critical.code() { "beyond hard_runtime" } else { "beyond max_runtime" };
    (status == Status::Overdue.as_str()).then_some(limit)
}

/// How long a run that goes on has lasted: `running for 3m12s`, `paused, active for 1.0s of 7.2s`.
pub(super) fn so_far(run: &RunJson) -> String {
    let lasts = duration(run.duration_ms);
    match run.phase.as_str() {
        "paused" => format!("paused, active for {} of {lasts}", duration(run.active_ms)),
        phase => format!("{phase} for {lasts}"),
    }
}

/// The task, or what stands in for none.
pub(super) fn task_name(task: &str) -> &str {
    if task.is_empty() { "-" } else { task }
}

/// The message by lines, its marks before it.
pub(super) fn message(event: &EventJson) -> Vec<Span> {
    let marks = marks(event);
    let text = if marks.is_empty() { event.message.clone() } else { format!("{marks} {}", event.message) };
    lines(text.trim_end_matches(' ')).map(Span::plain).collect()
}

/// What an event does or is beside its message: `[counter-start]`, `[flag NAME]`, `[exit 1]`, `[run: process_gone]`, …
fn marks(event: &EventJson) -> String {
    let mut marks = Vec::new();
    if event.kind != "reported" {
        marks.push(match &event.reason {
            Some(reason) => format!("[{}: {reason}]", event.kind),
            None => format!("[{}]", event.kind),
        });
    }
    match (event.command.as_deref(), event.flag.as_deref()) {
        (Some("flag") | None, Some(flag)) => marks.push(format!("[flag {flag}]")),
        (Some(command), None) => marks.push(format!("[{command}]")),
        (Some(command), Some(flag)) => marks.push(format!("[{command} {flag}]")),
        (None, None) => {}
    }
    match event.exit.map(|exit| (exit.code, exit.signal)) {
        Some((_, Some(signal))) => marks.push(format!("[signal {signal}]")),
        Some((Some(code), None)) => marks.push(format!("[exit {code}]")),
        Some((None, None)) | None => {}
    }
    if let Some(bytes) = event.truncated_from {
        marks.push(format!("[cut, had {bytes} bytes]"));
    }
    marks.extend(event.flags.iter().map(|flag| format!("[{flag}]")));
    marks.join(" ")
}
