//! A run along its time as a person reads it: a bar from its start to its end, and below it what happened when.

use std::io::{self, Write};

use super::fleet::source;
use super::latest::header_of;
use super::layout::{Line, hang};
use super::moment::{duration, offset};
use super::table::View;
use super::text::{Ink, Span, lines};
use crate::timeline::{Mark, MarkKind, Segment, SegmentKind, Timeline, TimelineList};

/// Where the lines under a heading begin.
const INDENT: usize = 2;
/// Space between pieces of one line.
const GAP: usize = 2;
/// Columns of the bar: what is there, up to this; without a terminal the second.
const BAR_COLUMNS_MAX: usize = 100;
const BAR_COLUMNS_DEFAULT: usize = 78;
const BAR_COLUMNS_MIN: usize = 10;

const ACTIVE: char = '=';
const PAUSED: char = '.';
const GOES_ON: char = '>';

pub(super) fn timelines(list: &TimelineList, view: &View, to: &mut dyn Write) -> io::Result<()> {
    for line in &list.runs {
        header_of(&line.shown, view, to)?;
        writeln!(to)?;
        if line.length_ms > 0 {
            bar(line, view, to)?;
            writeln!(to)?;
        }
        marks(line, view, to)?;
        writeln!(to)?;
    }
    source(&list.source, view, to)
}

/// What a mark is on the bar and before its line: the stronger of two in one place is shown. None for what only the
/// clock shows.
fn sign(mark: &Mark) -> Option<(u8, char, Ink, &'static str)> {
    match (mark.level.as_str(), mark.kind) {
        ("critical", _) => Some((6, 'X', Ink::Worst, "critical")),
        ("error", _) => Some((5, 'x', Ink::Bad, "error")),
        ("warning", _) => Some((4, '!', Ink::Warning, "warning")),
        ("unknown", _) => Some((3, '?', Ink::Unsure, "unknown")),
        (_, MarkKind::Flag) => Some((2, '^', Ink::Strong, "flag")),
        (_, MarkKind::Reset) => Some((1, 'R', Ink::Strong, "reset")),
        _ => None,
    }
}

/// The cells of the bar, and what the legend must explain.
fn cells(line: &Timeline, columns: usize) -> (Vec<(char, Ink)>, Vec<String>) {
    let mut legend: Vec<String> = Vec::new();
    let mut explain = |sign: char, word: &str| {
        let text = format!("{sign} {word}");
        if !legend.contains(&text) {
            legend.push(text);
        }
    };
    let place = |ms: u64| {
        let place = u128::from(ms) * columns as u128 / u128::from(line.length_ms.max(1));
        usize::try_from(place).unwrap_or(columns).min(columns - 1)
    };
    let mut cells = vec![(ACTIVE, Ink::Plain); columns];
    for Segment { kind, from_ms, to_ms } in &line.segments {
        let (shown, ink, word) = match kind {
            SegmentKind::Active => (ACTIVE, Ink::Plain, "active"),
            SegmentKind::Paused => (PAUSED, Ink::Faint, "paused"),
        };
        explain(shown, word);
        cells[place(*from_ms)..=place(to_ms.saturating_sub(1))].fill((shown, ink));
    }
    if line.ended_at.is_none() {
        explain(GOES_ON, "goes on");
        cells[columns - 1] = (GOES_ON, Ink::Plain);
    }
    let mut strongest = vec![0; columns];
    for mark in &line.marks {
        let Some((strength, shown, ink, word)) = sign(mark) else { continue };
        let at = place(u64::try_from(mark.offset_ms).unwrap_or(0));
        if strength > strongest[at] {
            strongest[at] = strength;
            cells[at] = (shown, ink);
        }
        explain(shown, word);
    }
    (cells, legend)
}

fn bar(line: &Timeline, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let room = view.width.map_or(BAR_COLUMNS_DEFAULT, |width| width.saturating_sub(INDENT));
    let columns = room.clamp(BAR_COLUMNS_MIN, BAR_COLUMNS_MAX);
    let end = Span::new(Ink::Faint, &duration(line.length_ms));
    let mut scale = Line::default();
    scale.put(INDENT, Span::new(Ink::Faint, "0s"));
    scale.put((INDENT + columns).saturating_sub(end.width()).max(INDENT + 3), end);
    scale.write(view.colour, to)?;

    let (cells, legend) = cells(line, columns);
    let mut bar = Line::default();
    let mut at = INDENT;
    for same in cells.chunk_by(|(_, one), (_, other)| one == other) {
        let text: String = same.iter().map(|(shown, _)| *shown).collect();
        bar.put(at, Span::new(same[0].1, &text));
        at += same.len();
    }
    bar.write(view.colour, to)?;
    let legend = [Span::new(Ink::Faint, &legend.join(", "))];
    let legend = hang(Line::default(), INDENT, &legend, view.width);
    legend.iter().try_for_each(|line| line.write(view.colour, to))
}

fn marks(line: &Timeline, view: &View, to: &mut dyn Write) -> io::Result<()> {
    let offsets: Vec<String> =
        line.marks.iter().map(|mark| offset(mark.offset_ms.saturating_mul(1000))).collect();
    let offset_columns = offsets.iter().map(String::len).max().unwrap_or(0);
    let word = |mark: &Mark| match mark.kind {
        MarkKind::Event => String::new(),
        kind => kind.as_str().to_owned(),
    };
    let word_columns = line.marks.iter().map(|mark| word(mark).len()).max().unwrap_or(0);
    let level_columns = line.marks.iter().map(|mark| Span::word(&mark.level).width()).max().unwrap_or(0);
    for (mark, offset) in line.marks.iter().zip(&offsets) {
        let mut first = Line::default();
        let mut column = INDENT;
        first.put(column + offset_columns - offset.len(), Span::new(Ink::Faint, offset));
        column += offset_columns + GAP;
        if let Some((_, shown, ink, _)) = sign(mark) {
            first.put(column, Span::new(ink, &shown.to_string()));
        }
        column += 1 + GAP;
        if word_columns > 0 {
            first.put(column, Span::new(Ink::Strong, &word(mark)));
            column += word_columns + GAP;
        }
        first.put(column, Span::word(&mark.level));
        column += level_columns + GAP;
        let text = match &mark.flag {
            Some(flag) => format!("[{flag}] {}", mark.message),
            None => mark.message.clone(),
        };
        let text: Vec<Span> = lines(text.trim_end_matches(' ')).map(Span::plain).collect();
        let shown = hang(first, column, &text, view.width);
        shown.iter().try_for_each(|line| line.write(view.colour, to))?;
    }
    Ok(())
}
