//! Events that come one after the other, as lines: a table that cannot know what will come, or ndjson.

use std::io::{self, Write};

use hume_proto::rest::EventJson;

use super::layout::{Column, Grid, Heading};
use super::moment::Local;
use super::ndjson;
use super::table::{View, message, task_name};
use super::text::Span;

/// Columns before the message.
const COLUMNS: usize = 4;

/// The two forms that can be written without an end.
#[derive(Debug)]
pub enum Stream {
    /// For people.
    Table(TableStream),
    /// For programs.
    Ndjson,
}

/// A table that grows: its columns get wider when they must, and never narrower.
#[derive(Debug)]
pub struct TableStream {
    view: View,
    widths: [usize; COLUMNS],
    /// The offset of the times under the latest heading.
    offset: Option<String>,
}

impl Stream {
    /// A table for this view.
    pub fn table(view: View) -> Stream {
        Stream::Table(TableStream { view, widths: [0; COLUMNS], offset: None })
    }

    /// Writes the next events, the oldest first.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&mut self, events: &[EventJson], to: &mut dyn Write) -> io::Result<()> {
        match self {
            Stream::Table(table) => table.write(events, to),
            Stream::Ndjson => ndjson::lines(events, to),
        }
    }
}

impl TableStream {
    /// A heading stands before the first event, and again where the offset of local time changes.
    fn write(&mut self, events: &[EventJson], to: &mut dyn Write) -> io::Result<()> {
        let mut rest = events;
        while let Some(first) = rest.first() {
            let offset = Local::of(first.time, &self.view.zone).offset;
            let same = |event: &&EventJson| Local::of(event.time, &self.view.zone).offset == offset;
            let (piece, later) = rest.split_at(rest.iter().take_while(same).count());
            let heading = if self.offset.as_ref() == Some(&offset) { Heading::Omit } else { Heading::Show };
            self.piece(piece, &offset, heading, to)?;
            self.offset = Some(offset);
            rest = later;
        }
        Ok(())
    }

    fn piece(
        &mut self,
        events: &[EventJson],
        offset: &str,
        heading: Heading,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = vec![
            Column::left(&format!("TIME {offset}")),
            Column::left("LEVEL"),
            Column::left("HOST"),
            Column::left("TASK"),
        ];
        let mut grid = Grid::new(columns, "MESSAGE");
        for event in events {
            let cells = vec![
                Span::plain(&Local::of(event.time, &self.view.zone).date_time()),
                Span::word(&event.level),
                Span::plain(&event.host),
                Span::plain(task_name(&event.task)),
            ];
            grid.push(cells, message(event));
        }
        grid.write_on(&mut self.widths, heading, self.view.width, self.view.colour, to)
    }
}
