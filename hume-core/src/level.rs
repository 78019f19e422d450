//! How serious an event is: seven words, their order and their severity.

use std::fmt;
use std::str::FromStr;

/// What a script says of its event. Declared in the order of the documentation; see [`Level::rank`] for the order of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Level {
    /// For the one who wrote the script.
    Debug,
    /// Something happened, as it should.
    #[default]
    Info,
    /// A check or a step succeeded.
    Ok,
    /// Somebody should look, not now.
    Warning,
    /// A step failed.
    Error,
    /// Everything else can wait.
    Critical,
    /// The script could not tell.
    Unknown,
}

/// How many levels there are.
pub const LEVEL_COUNT: usize = 7;

impl Level {
    /// All levels, in the order of the documentation.
    pub const ALL: [Level; LEVEL_COUNT] =
        [Level::Debug, Level::Info, Level::Ok, Level::Warning, Level::Error, Level::Critical, Level::Unknown];

    /// The word used in flags, JSON and documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Unknown => "unknown",
        }
    }

    /// Place in [`Level::ALL`], 0 to 6: the stable number used in stores.
    pub fn index(self) -> usize {
        match self {
            Level::Debug => 0,
            Level::Info => 1,
            Level::Ok => 2,
            Level::Warning => 3,
            Level::Error => 4,
            Level::Critical => 5,
            Level::Unknown => 6,
        }
    }

    /// The level with this [`index`](Level::index), if there is one.
    pub fn from_index(index: usize) -> Option<Level> {
        Level::ALL.get(index).copied()
    }

    /// Order of badness used for `worst` and for level filters: debug < info < ok < unknown < warning < error < critical.
    pub fn rank(self) -> u8 {
        match self {
            Level::Debug => 0,
            Level::Info => 1,
            Level::Ok => 2,
            Level::Unknown => 3,
            Level::Warning => 4,
            Level::Error => 5,
            Level::Critical => 6,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text was none of the seven levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a level; use debug, info, ok, warning, error, critical or unknown")]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    /// Case does not matter; `warn`, `err` and `crit` are understood.
    fn from_str(text: &str) -> Result<Level, LevelError> {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Level::Debug),
            "info" => Ok(Level::Info),
            "ok" => Ok(Level::Ok),
            "warning" | "warn" => Ok(Level::Warning),
            "error" | "err" => Ok(Level::Error),
            "critical" | "crit" => Ok(Level::Critical),
            "unknown" => Ok(Level::Unknown),
            _ => Err(LevelError(text.chars().take(32).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_back_what_it_writes() {
        for (index, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(level.as_str().parse::<Level>().unwrap(), level);
            assert_eq!(level.index(), index);
            assert_eq!(Level::from_index(index), Some(level));
        }
        assert_eq!(Level::from_index(LEVEL_COUNT), None);
    }

    #[test]
    fn levels_are_ordered_by_how_bad_they_are_and_what_nobody_could_tell_is_no_warning() {
        let mut by_rank = Level::ALL;
        by_rank.sort_by_key(|level| level.rank());
        let words = by_rank.map(Level::as_str);
        assert_eq!(words, ["debug", "info", "ok", "unknown", "warning", "error", "critical"]);
        let ranks: std::collections::BTreeSet<_> = Level::ALL.iter().map(|level| level.rank()).collect();
        assert_eq!(ranks.len(), LEVEL_COUNT, "no two are equally bad");
    }
}
