//! Two runs beside each other as a person reads them: when, how long, and what only one of both has.

use std::io::{self, Write};

use hume_proto::rest::RunJson;

use super::fleet::source;
use super::layout::{Line, hang};
use super::moment::{Local, duration};
use super::table::{View, message, so_far, task_name, why};
use super::text::{Ink, Span};
use crate::diff::{Change, DiffList, OnlyIn, RunDiff};

/// Where the lines under a heading begin.
const INDENT: usize = 2;
/// Width of `last ok` and a gap.
const LABEL: usize = 9;
const GAP: usize = 2;

pub(super) fn diffs(list: &DiffList, view: &View, to: &mut dyn Write) -> io::Result<()> {
    for diff in &list.diffs {
        one(diff, view, to)?;
        writeln!(to)?;
    }
    source(&list.source, view, to)
}

fn one(diff: &RunDiff, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let RunDiff { latest, last_ok, longer_ms, changes } = diff;
    let mut title = Line::default();
    let name = Span::new(Ink::Strong, &format!("{} on {}: ", task_name(&latest.task), latest.host));
    let after = name.width();
    title.put(0, name);
    let status = Span::word(&latest.status);
    let after_status = after + status.width();
    title.put(after, status);
    if let Some(why) = why(latest) {
        title.put(after_status, Span::plain(&format!(" ({why})")));
    }
    title.write(view.colour, to)?;
    run("latest", latest, view, to)?;
    let Some(last_ok) = last_ok else {
        return say("last ok", Ink::Unsure, "no earlier run was ok", view, to);
    };
    run("last ok", last_ok, view, to)?;
    say("time", Ink::Plain, &longer(longer_ms.unwrap_or(0), last_ok.duration_ms), view, to)?;
    writeln!(to)?;
    if changes.is_empty() {
        return say("", Ink::Plain, "both have the same events", view, to);
    }
    let level_columns =
        changes.iter().map(|change| Span::word(&change.event.level).width()).max().unwrap_or(0);
    for Change { only_in, event } in changes {
        let (sign, ink) = match only_in {
            OnlyIn::Latest => ("+", Ink::Strong),
            OnlyIn::LastOk => ("-", Ink::Faint),
        };
        let mut line = Line::default();
        line.put(INDENT, Span::new(ink, sign));
        line.put(INDENT + GAP, Span::word(&event.level));
        let lines = hang(line, INDENT + GAP + level_columns + GAP, &message(event), view.width);
        lines.iter().try_for_each(|line| line.write(view.colour, to))?;
    }
    let count = |of| changes.iter().filter(|change| change.only_in == of).count();
    let text = format!(
        "{} only in latest (+), {} only in last ok (-)",
        count(OnlyIn::Latest),
        count(OnlyIn::LastOk)
    );
    writeln!(to)?;
    say("events", Ink::Plain, &text, view, to)
}

fn run(label: &str, run: &RunJson, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let start = Local::of(run.started_at, &view.zone);
    let took = match run.ended_at {
        Some(_) => format!("took {}", duration(run.duration_ms)),
        None => so_far(run),
    };
    let text = format!("started {} {}, {took}, run {}", start.date_time(), start.offset, run.id);
    say(label, Ink::Plain, &text, view, to)
}

/// `22.0s longer (+13 %)`
fn longer(longer_ms: i64, before_ms: u64) -> String {
    let span = duration(longer_ms.unsigned_abs());
    let share = match before_ms {
        0 => String::new(),
        before => format!(" ({:+.0} %)", longer_ms as f64 * 100.0 / before as f64),
    };
    match longer_ms {
        0 => "as long as the last ok".to_owned(),
        1.. => format!("{span} longer than the last ok{share}"),
        _ => format!("{span} shorter than the last ok{share}"),
    }
}

fn say(label: &str, ink: Ink, text: &str, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let mut line = Line::default();
    line.put(INDENT, Span::new(Ink::Faint, label));
    let column = if label.is_empty() { INDENT } else { INDENT + LABEL };
    let lines = hang(line, column, &[Span::new(ink, text)], view.width);
    lines.iter().try_for_each(|line| line.write(view.colour, to))
}
