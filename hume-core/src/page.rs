//! Paging by key: a cursor names a place between items, so new items never shift an old page.

use std::fmt;
use std::str::FromStr;

use crate::error::BoundError;
use crate::name::RunId;
use crate::time::Timestamp;

/// Most items of one page.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// Items of one page when the asker does not say.
pub const PAGE_ITEMS_DEFAULT: usize = 100;

/// A border in the log of events: before this row of the store. A listing, newest first, goes on below it; whoever follows
/// the log goes on above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventCursor(pub i64);

impl EventCursor {
    /// Below every row.
    pub const START: EventCursor = EventCursor(0);

    /// The border right above a row.
    pub fn above(row: i64) -> EventCursor {
        EventCursor(row.saturating_add(1))
    }
}

/// Where one who follows the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// With the oldest event.
    Start,
    /// With what comes from now on.
    Now,
    /// Above this border.
    Cursor(EventCursor),
}

/// Where a listing of runs, newest first, goes on: after this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCursor {
    /// When that run started.
    pub started_at: Timestamp,
    /// That run.
    pub run: RunId,
}

/// One page: the items, and where the next page begins if there may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where to go on; none at the end.
    pub next: Option<C>,
}

/// A piece of the log from a border on, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch<T> {
    /// What was asked for, oldest first.
    pub items: Vec<T>,
    /// The border above everything that was looked at, asked for or not: where to go on.
    pub next: EventCursor,
    /// True when nothing was left above it.
    pub at_end: bool,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e1.{}", self.0)
    }
}

impl FromStr for EventCursor {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<EventCursor, BoundError> {
        let row = text.strip_prefix("e1.").and_then(|row| row.parse().ok()).filter(|row| *row >= 0);
        row.map(EventCursor).ok_or_else(foreign)
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Start => f.write_str("start"),
            After::Now => f.write_str("now"),
            After::Cursor(cursor) => cursor.fmt(f),
        }
    }
}

impl FromStr for After {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<After, BoundError> {
        match text {
            "start" => Ok(After::Start),
            "now" => Ok(After::Now),
            cursor => cursor.parse().map(After::Cursor).map_err(|_| {
                BoundError::new("after", "must be `now`, `start`, or a cursor that a list of events gave out")
            }),
        }
    }
}

impl fmt::Display for RunCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r1.{}.{}", self.started_at.as_micros(), self.run)
    }
}

impl FromStr for RunCursor {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<RunCursor, BoundError> {
        let (micros, run) =
            text.strip_prefix("r1.").and_then(|rest| rest.split_once('.')).ok_or_else(foreign)?;
        let started_at = Timestamp::from_micros(micros.parse().map_err(|_| foreign())?);
        Ok(RunCursor { started_at, run: RunId::parse(run).map_err(|_| foreign())? })
    }
}

fn foreign() -> BoundError {
    BoundError::new("cursor", "is not one that this kind of listing gave out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_foreign_ones_are_refused() {
        let event = EventCursor(42);
        assert_eq!(event.to_string().parse::<EventCursor>().unwrap(), event);
        let run = RunCursor { started_at: Timestamp::from_micros(-7), run: RunId::from_bytes([1; 16]) };
        assert_eq!(run.to_string().parse::<RunCursor>().unwrap(), run);
        for foreign in ["", "e1.", "e1.x", "e1.-4", "r1.1", "r1.1.x", "e2.4", "1'; drop table event"] {
            assert!(foreign.parse::<EventCursor>().is_err());
            assert!(foreign.parse::<RunCursor>().is_err());
        }
    }

    #[test]
    fn one_may_follow_from_the_start_from_now_or_from_a_cursor() {
        for after in [After::Start, After::Now, After::Cursor(EventCursor::above(41))] {
            assert_eq!(after.to_string().parse::<After>().unwrap(), after);
        }
        for wrong in ["", "later", "e1.-4", "r1.1.x"] {
            assert_eq!(wrong.parse::<After>().unwrap_err().field, "after");
        }
    }
}
