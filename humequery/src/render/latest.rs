//! Runs as a person reads them: a header, the events in order, and what they come to.

use std::io::{self, Write};

use hume_core::Timestamp;
use hume_proto::rest::{ByLevel, EventJson, GapJson, RunJson, Source};

use super::fleet;
use super::layout::{Line, hang};
use super::moment::{Local, duration, offset};
use super::table::{View, message, so_far, why};
use super::text::{Ink, Span, lines};
use crate::answer::more_events;
use crate::offset::Offsets;

/// Where the lines under a heading begin.
const INDENT: usize = 2;
/// Space between pieces of one line.
const GAP: usize = 2;
/// Width of the names in the summary: `first error` and a gap.
const LABEL: usize = 13;
/// Columns of `10:00:02`.
const TIME: usize = 8;

/// Writes the runs, and who answered.
pub(super) fn runs(source: &Source, runs: &[RunJson], view: &View, to: &mut dyn Write) -> io::Result<()> {
    for run in runs {
        one(run, view, to)?;
        writeln!(to)?;
    }
    fleet::source(source, view, to)
}

/// What stands above the events of a run.
pub(super) fn header_of(run: &RunJson, view: &View, to: &mut dyn Write) -> io::Result<()> {
    header(run, &Shared::of(&run.events), view, to)
}

fn one(run: &RunJson, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let shared = Shared::of(&run.events);
    header(run, &shared, view, to)?;
    if !run.events.is_empty() {
        writeln!(to)?;
        events(run, &shared, view, to)?;
    }
    writeln!(to)?;
    summary(run, view, to)
}

/// What is said once, in the header: the script that reported first, and the tags that all reported events have.
struct Shared<'a> {
    script: Option<&'a str>,
    tags: &'a [String],
}

impl<'a> Shared<'a> {
    fn of(events: &'a [EventJson]) -> Shared<'a> {
        let script = events.iter().find_map(|event| event.script.as_deref());
        let mut tags =
            events.iter().filter(|event| event.kind == "reported").map(|event| event.tags.as_slice());
        let tags = tags.next().filter(|first| tags.all(|tags| tags == *first)).unwrap_or_default();
        Shared { script, tags }
    }
}

fn header(run: &RunJson, shared: &Shared<'_>, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let start = Local::of(run.started_at, &view.zone);
    let mut title = Line::default();
    let name = if run.task.is_empty() { "(no task)" } else { &run.task };
    let name = Span::new(Ink::Strong, &format!("{name} on {}: ", run.host));
    let after = name.width();
    title.put(0, name);
    let status = Span::word(&run.status);
    let after_status = after + status.width();
    title.put(after, status);
    if let Some(why) = why(run) {
        title.put(after_status, Span::plain(&format!(" ({why})")));
    }
    title.write(view.colour, to)?;

    let took = duration(run.duration_ms);
    let mut facts = vec![format!("started {} {}", start.date_time(), start.offset)];
    let moment = |at| {
        let at = Local::of(at, &view.zone);
        if at.date == start.date { at.time } else { at.date_time() }
    };
    match (run.ended_at, run.ended_after) {
        (Some(end), Some(after)) => {
            facts.push(format!("ended between {} and {}", moment(after), moment(end)));
            facts.push(format!("took at most {took}"));
        }
        (Some(end), None) => {
            facts.push(format!("ended {}", moment(end)));
            facts.push(format!("took {took}"));
        }
        (None, _) => facts.push(so_far(run)),
    }
    paragraph(&facts.join(", "), Ink::Plain, view, to)?;
    paragraph(&format!("run {}", run.id), Ink::Faint, view, to)?;
    let mut common = Vec::new();
    if let Some(script) = shared.script {
        common.push(format!("script {script}"));
    }
    if !shared.tags.is_empty() {
        common.push(format!("tags {}", shared.tags.join(",")));
    }
    if !run.flags.is_empty() {
        common.push(format!("flags {}", run.flags.join(",")));
    }
    if common.is_empty() { Ok(()) } else { paragraph(&common.join(", "), Ink::Faint, view, to) }
}

fn paragraph(text: &str, ink: Ink, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let text = hang(Line::default(), INDENT, &[Span::new(ink, text)], view.width);
    text.iter().try_for_each(|line| line.write(view.colour, to))
}

fn events(run: &RunJson, shared: &Shared<'_>, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let since_start = Offsets::of(run);
    let offsets: Vec<String> = run.events.iter().map(|event| offset(since_start.micros(event))).collect();
    let offset_columns = offsets.iter().map(String::len).max().unwrap_or(0);
    let level_columns = run.events.iter().map(|event| Span::word(&event.level).width()).max().unwrap_or(0);
    let mut day = Local::of(run.started_at, &view.zone);
    for (event, offset) in run.events.iter().zip(&offsets) {
        let at = Local::of(event.time, &view.zone);
        if (&at.date, &at.offset) != (&day.date, &day.offset) {
            paragraph(&format!("{} {}", at.date, at.offset), Ink::Strong, view, to)?;
        }
        let mut line = Line::default();
        let mut column = INDENT;
        line.put(column, Span::plain(&at.time));
        column += TIME + GAP;
        line.put(column + offset_columns - offset.len(), Span::new(Ink::Faint, offset));
        column += offset_columns + GAP;
        line.put(column, Span::word(&event.level));
        column += level_columns + GAP;
        let mut lines = hang(line, column, &message(event), view.width);
        let details = details(event, run, shared);
        if let Some(facts) = &details.facts {
            lines = beside_or_below(lines, column, facts, view.width);
        }
        lines.extend(
            details
                .tree
                .iter()
                .flat_map(|line| hang(Line::default(), column, std::slice::from_ref(line), view.width)),
        );
        lines.iter().try_for_each(|line| line.write(view.colour, to))?;
        day = at;
    }
    Ok(())
}

/// Puts a remark after the last line if there is room, else below it.
fn beside_or_below(mut lines: Vec<Line>, column: usize, remark: &Span, width: Option<usize>) -> Vec<Line> {
    match lines.last_mut() {
        Some(last) if width.is_none_or(|width| last.end() + GAP + remark.width() <= width) => {
            last.put((last.end() + GAP).max(column), remark.clone());
        }
        _ => lines.extend(hang(Line::default(), column, std::slice::from_ref(remark), width)),
    }
    lines
}

/// What is known of an event beside its message.
struct Details {
    /// Tags, extra, place in the script, each only when there is one.
    facts: Option<Span>,
    /// The process tree.
    tree: Vec<Span>,
}

fn details(event: &EventJson, run: &RunJson, shared: &Shared<'_>) -> Details {
    let mut facts = Vec::new();
    // Said once for the run, and again where an event was placed otherwise. A run that an event opened is joined by ancestry.
    let usual = if run.correlation == "implicit" { "ancestry" } else { &run.correlation };
    let is_unusual = |rule: &&str| *rule != usual && *rule != run.correlation;
    // What hume found out names its run itself.
    let rule = event.correlation.as_deref().filter(|_| event.kind == "reported");
    if let Some(rule) = rule.filter(is_unusual) {
        facts.push(format!("by {rule}"));
    }
    if !event.tags.is_empty() && event.tags != shared.tags {
        facts.push(format!("tags {}", event.tags.join(",")));
    }
    facts.extend(event.extra.0.iter().map(|(key, value)| format!("{key}={value}")));
    let script = event.script.as_deref().filter(|script| shared.script != Some(*script));
    match (script, event.line) {
        (Some(script), Some(line)) => facts.push(format!("{script}:{line}")),
        (Some(script), None) => facts.push(script.to_owned()),
        (None, Some(line)) => facts.push(format!("line {line}")),
        (None, None) => {}
    }
    let tree = event.tree.as_deref().into_iter().flat_map(lines);
    Details {
        facts: (!facts.is_empty()).then(|| Span::new(Ink::Faint, &format!("({})", facts.join(", ")))),
        tree: tree.map(|line| Span::new(Ink::Faint, line)).collect(),
    }
}

fn summary(run: &RunJson, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let mut say = |label: &str, ink: Ink, text: &str| {
        let mut line = Line::default();
        line.put(INDENT, Span::new(Ink::Faint, label));
        let text: Vec<Span> = lines(text).map(|text| Span::new(ink, text)).collect();
        let lines = hang(line, INDENT + LABEL, &text, view.width);
        lines.iter().try_for_each(|line| line.write(view.colour, to))
    };
    let ink = if run.complete { Ink::Plain } else { Ink::Unsure };
    say("events", ink, &whole(run))?;
    if run.summary.events > 0 {
        say("levels", Ink::Plain, &counts(&run.summary.by_level))?;
    }
    if let Some(first) = &run.summary.first_error {
        let since = offset(Offsets::of(run).micros_of(first.id, first.time));
        let text = format!("{} ({since})  {}", clock(first.time, view), first.message);
        say("first error", Ink::Bad, &text)?;
    }
    let time = format!("active {}, paused {}", duration(run.active_ms), duration(run.paused_ms));
    say("time", Ink::Plain, &time)?;
    if let Some(exit) = run.exit {
        match (exit.code, exit.signal) {
            (_, Some(signal)) => say("signal", Ink::Plain, &signal.to_string())?,
            (Some(code), None) => say("exit code", Ink::Plain, &code.to_string())?,
            (None, None) => {}
        }
    }
    say("correlation", Ink::Plain, &run.correlation)
}

fn clock(at: Timestamp, view: &View) -> String {
    Local::of(at, &view.zone).time
}

/// `14/14, complete`, or what is missing, left out, or not for the eyes of who asks.
fn whole(run: &RunJson) -> String {
    let counted = run.summary.events;
    let here = run.events.iter().filter(|event| event.kind == "reported").count() as u64;
    if !run.complete {
        return format!("{counted}, INCOMPLETE: {}", gaps(&run.gaps));
    }
    match more_events(run) {
        Some(more) => format!("{here}/{counted}, complete\n{more}"),
        None if run.events.is_empty() || here >= counted => format!("{counted}/{counted}, complete"),
        None => format!("{here}/{counted}, complete: the others are of other users"),
    }
}

/// `1 error, 1 warning, 3 info`; the worst first, only what there is.
fn counts(by_level: &ByLevel) -> String {
    let ByLevel { debug, info, ok, warning, error, critical, unknown } = *by_level;
    let parts: Vec<String> = [
        (critical, "critical"),
        (error, "error"),
        (warning, "warning"),
        (unknown, "unknown"),
        (ok, "ok"),
        (info, "info"),
        (debug, "debug"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, level)| format!("{count} {level}"))
    .collect();
    parts.join(", ")
}

/// Events that may be missing: those at the places of the gaps, of which some may belong to others.
pub(crate) fn missing_max(gaps: &[GapJson]) -> u64 {
    gaps.iter().map(|gap| gap.to.saturating_sub(gap.from).saturating_add(1)).sum()
}

/// `up to 3 events are missing, numbers 14 to 16 (evicted)`
fn gaps(gaps: &[GapJson]) -> String {
    let places: Vec<String> = gaps
        .iter()
        .map(
            |GapJson { epoch: _, from, to, reason }| {
                if from == to { format!("{from} ({reason})") } else { format!("{from} to {to} ({reason})") }
            },
        )
        .collect();
    match missing_max(gaps) {
        0 => "events are missing".to_owned(),
        1 => format!("1 event may be missing, number {}", places.join(", ")),
        missing => format!("up to {missing} events are missing, numbers {}", places.join(", ")),
    }
}
