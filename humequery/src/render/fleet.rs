//! A task on all its hosts as a person reads it: the counts on top, then a line for each host, the worst first.

use std::io::{self, Write};

use hume_proto::rest::Source;

use super::layout::{Column, Grid, Line};
use super::moment::{Times, duration};
use super::report::source_words;
use super::table::{View, task_name, why};
use super::text::{Ink, Span};
use crate::fleet::{FleetReport, FleetTask};

pub(super) fn fleet(report: &FleetReport, view: &View, to: &mut dyn Write) -> io::Result<()> {
    for task in &report.tasks {
        one(task, view, to)?;
        writeln!(to)?;
    }
    source(&report.source, view, to)
}

/// Who answered, below everything.
pub(super) fn source(source: &Source, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let mut line = Line::default();
    line.put(0, Span::new(Ink::Faint, &format!("source: {}", source_words(source))));
    line.write(view.colour, to)
}

fn one(task: &FleetTask, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let name = if task.task.is_empty() { "(no task)" } else { task_name(&task.task) };
    let title = Span::new(Ink::Strong, &format!("{name}: "));
    let mut line = Line::default();
    let after = title.width();
    line.put(0, title);
    line.put(after, Span::plain(&task.summary()));
    line.write(view.colour, to)?;
    let times = Times::new(&view.zone, task.runs.iter().map(|run| run.started_at));
    let columns = vec![
        Column::left("HOST"),
        Column::left("STATUS"),
        Column::left(&times.heading("STARTED")),
        Column::right("TOOK"),
        Column::right("ERRORS"),
    ];
    // No run's id: a host has one line, also on a terminal of 80 columns.
    let mut grid = Grid::new(columns, "NOTE");
    for run in &task.runs {
        let errors = run.summary.by_level.error + run.summary.by_level.critical;
        let cells = vec![
            Span::plain(&run.host),
            Span::word(&run.status),
            Span::plain(&times.text(run.started_at)),
            Span::plain(&duration(run.duration_ms)),
            Span::plain(&errors.to_string()),
        ];
        let notes: Vec<&str> = why(run).into_iter().chain(run.flags.iter().map(String::as_str)).collect();
        grid.push(cells, vec![Span::plain(&notes.join(", "))]);
    }
    grid.write(view.width, view.colour, to)
}
