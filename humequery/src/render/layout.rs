//! Columns of text that fit the terminal: each as wide as its widest cell, the last one wrapped, or put below the
//! others when it would be too narrow. No line ends in spaces.

use std::io::{self, Write};

use super::text::{Colour, Ink, Span};

/// Space between columns.
const GAP: usize = 2;
/// The last column stays beside the others when this many columns are left for it, or all that it needs.
const LAST_COLUMNS_MIN: usize = 30;
/// Where the last column begins when it stands below.
const BELOW_INDENT: usize = 4;

/// Pieces of text, each at its column.
#[derive(Default)]
pub(super) struct Line(Vec<(usize, Span)>);

impl Line {
    /// Puts a piece at this column, or after the piece before it if that reaches so far.
    pub(super) fn put(&mut self, column: usize, span: Span) {
        self.0.push((column, span));
    }

    /// Where its last piece ends.
    pub(super) fn end(&self) -> usize {
        self.0.iter().fold(0, |end, (column, span)| end.max(*column) + span.width())
    }

    /// Writes it and a line break.
    pub(super) fn write(&self, colour: Colour, to: &mut dyn Write) -> io::Result<()> {
        let mut at = 0;
        for (column, span) in self.0.iter().filter(|(_, span)| span.width() > 0) {
            let spaces = column.saturating_sub(at);
            write!(to, "{:spaces$}", "")?;
            span.write(colour, to)?;
            at += spaces + span.width();
        }
        to.write_all(b"\n")
    }
}

/// `spans` as lines from column `indent` on, the first of them on `first`, wrapped at `width`.
pub(super) fn hang(first: Line, indent: usize, spans: &[Span], width: Option<usize>) -> Vec<Line> {
    let mut lines = vec![first];
    let mut is_first = true;
    for span in spans {
        let wrapped = match width {
            Some(width) => span.wrap(width.saturating_sub(indent).max(1)),
            None => vec![span.clone()],
        };
        for piece in wrapped {
            if !is_first {
                lines.push(Line::default());
            }
            is_first = false;
            if let Some(line) = lines.last_mut() {
                line.put(indent, piece);
            }
        }
    }
    lines
}

/// On which side a column is flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Left,
    Right,
}

/// A heading and its side.
pub(super) struct Column {
    title: Span,
    flush: Flush,
}

impl Column {
    /// For words.
    pub(super) fn left(title: &str) -> Column {
        Column { title: Span::new(Ink::Strong, title), flush: Flush::Left }
    }

    /// For numbers.
    pub(super) fn right(title: &str) -> Column {
        Column { title: Span::new(Ink::Strong, title), flush: Flush::Right }
    }
}

/// Whether the headings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    Show,
    Omit,
}

/// Rows under headings.
pub(super) struct Grid {
    columns: Vec<Column>,
    last: Span,
    rows: Vec<(Vec<Span>, Vec<Span>)>,
}

impl Grid {
    /// `last` is the heading of the column of text.
    pub(super) fn new(columns: Vec<Column>, last: &str) -> Grid {
        Grid { columns, last: Span::new(Ink::Strong, last), rows: Vec::new() }
    }

    /// Adds an item: a cell for each column, and lines of text for the last one.
    pub(super) fn push(&mut self, cells: Vec<Span>, last: Vec<Span>) {
        self.rows.push((cells, last));
    }

    /// Writes it. `width` is that of the terminal; none: unlimited.
    pub(super) fn write(&self, width: Option<usize>, colour: Colour, to: &mut dyn Write) -> io::Result<()> {
        let mut widths = vec![0; self.columns.len()];
        self.write_on(&mut widths, Heading::Show, width, colour, to)
    }

    /// Writes it below other rows: columns are at least as wide as `widths`, which grow with them.
    pub(super) fn write_on(
        &self,
        widths: &mut [usize],
        heading: Heading,
        width: Option<usize>,
        colour: Colour,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let head =
            (self.columns.iter().map(|column| column.title.clone()).collect(), vec![self.last.clone()]);
        let head = match heading {
            Heading::Show => Some(&head),
            Heading::Omit => None,
        };
        let rows = || head.into_iter().chain(&self.rows);
        for (cells, _) in rows() {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.width().max(*width);
            }
        }
        let beside: usize = widths.iter().map(|width| width + GAP).sum();
        let needed = rows().flat_map(|(_, last)| last).map(Span::width).max().unwrap_or(0);
        let fits = width.is_none_or(|width| width.saturating_sub(beside) >= needed.min(LAST_COLUMNS_MIN));
        for (cells, last) in rows() {
            let line = self.line(cells, widths);
            let lines = if fits {
                hang(line, beside, last, width)
            } else {
                let mut lines = vec![line];
                if last.iter().any(|span| span.width() > 0) {
                    lines.append(&mut hang(Line::default(), BELOW_INDENT, last, width));
                }
                lines
            };
            lines.iter().try_for_each(|line| line.write(colour, to))?;
        }
        Ok(())
    }

    fn line(&self, cells: &[Span], widths: &[usize]) -> Line {
        let mut line = Line::default();
        let mut start = 0;
        for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
            let spare = match column.flush {
                Flush::Left => 0,
                Flush::Right => width.saturating_sub(cell.width()),
            };
            line.put(start + spare, cell.clone());
            start += width + GAP;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::text::width;
    use proptest::prelude::*;

    fn grid(message: &str) -> Grid {
        let mut grid = Grid::new(vec![Column::left("LEVEL"), Column::right("N")], "MESSAGE");
        grid.push(
            vec![Span::plain("warning"), Span::plain("7")],
            vec![Span::plain(message), Span::plain("second line")],
        );
        grid.push(vec![Span::plain("ok"), Span::plain("12")], vec![Span::plain("")]);
        grid
    }

    fn text(grid: &Grid, width: Option<usize>) -> String {
        let mut out = Vec::new();
        grid.write(width, Colour::Off, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_they_need_and_no_line_ends_in_spaces() {
        assert_eq!(
            text(&grid("first line"), None),
            "LEVEL     N  MESSAGE\nwarning   7  first line\n             second line\nok       12\n"
        );
    }

    #[test]
    fn a_long_text_is_wrapped_beside_the_columns_or_put_below_them() {
        let grid = grid("a long text that has to be wrapped somewhere");
        assert_eq!(
            text(&grid, Some(45)),
            "LEVEL     N  MESSAGE\n\
             warning   7  a long text that has to be\n             wrapped somewhere\n             second line\n\
             ok       12\n"
        );
        assert_eq!(
            text(&grid, Some(30)),
            "LEVEL     N\n    MESSAGE\n\
             warning   7\n    a long text that has to be\n    wrapped somewhere\n    second line\n\
             ok       12\n"
        );
    }

    proptest! {
        #[test]
        fn text_never_leaves_the_terminal(message in "[a-z漢 ]{0,80}", columns in 14usize..100) {
            for line in text(&grid(&message), Some(columns)).lines() {
                prop_assert!(width(line) <= columns, "{:?}", line);
            }
        }
    }
}
