//! What a daemon says about itself: one line per fact on stderr, for people, journald or a JSON collector.
//!
//! `HUME_LOG` overrules the configured level; both are filters such as `info` or `info,hume_runtime=debug`. Colour only
//! on a terminal without `NO_COLOR`; no time stamp when stderr is the journal, which has its own. A line that cannot be
//! written (a full disk, a reader that has gone) is left out: a daemon does not end over its log.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The environment variable that overrules `level`.
pub const LEVEL_VARIABLE: &str = "HUME_LOG";

/// The section `[log]` of every daemon.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter with modules.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text; without a time stamp when stderr is the journal.
    #[default]
    Auto,
    /// Text with a time stamp.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not a filter.
    #[error("`{filter}` in {from} is not a log level: use error, warn, info, debug or trace")]
    Level {
        /// What was given.
        filter: String,
        /// Where: the key or the variable.
        from: &'static str,
    },
    /// It was set up before.
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging for the process. Call it once, before the first event.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let overruled = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let filter = match &overruled {
        Some(level) => parse_filter(level, LEVEL_VARIABLE)?,
        None => level_of(config)?,
    };
    let look = look(config.format, Surroundings::of_process());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(look.colour)
        // It would say that it cannot write to stderr, on stderr, by a macro that panics then.
        .log_internal_errors(false);
    let filtered = tracing_subscriber::registry().with(filter);
    let done = match look.line {
        Line::Json => filtered.with(lines.json().flatten_event(true)).try_init(),
        Line::Text => filtered.with(lines.compact()).try_init(),
        Line::TextWithoutTime => filtered.with(lines.compact().without_time()).try_init(),
    };
    done.map_err(|_| LogError::Twice)
}

/// Says what is wrong with the section, whatever the environment has.
pub fn check(config: &LogConfig) -> Result<(), LogError> {
    level_of(config).map(drop)
}

fn level_of(config: &LogConfig) -> Result<Targets, LogError> {
    parse_filter(&config.level, "log.level")
}

fn parse_filter(filter: &str, from: &'static str) -> Result<Targets, LogError> {
    let refused = || LogError::Level { filter: filter.to_owned(), from };
    let parts: Vec<&str> = filter.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    // A bare misspelt word would be taken for a module with all levels on.
    let is_level = |word: &&str| word.contains('=') || word.parse::<LevelFilter>().is_ok();
    if parts.is_empty() || !parts.iter().all(is_level) {
        return Err(refused());
    }
    parts.join(",").parse().map_err(|_| refused())
}

#[derive(Clone, Copy)]
struct Surroundings {
    terminal: bool,
    journal: bool,
    no_colour: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    line: Line,
    colour: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Json,
    Text,
    TextWithoutTime,
}

impl Surroundings {
    fn of_process() -> Surroundings {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Surroundings {
            terminal: std::io::stderr().is_terminal(),
            journal: stderr_is_journal(),
            no_colour: set("NO_COLOR"),
        }
    }
}

/// `JOURNAL_STREAM` holds device and inode of the journal's socket; a child whose stderr was redirected inherits the
/// variable, so it is compared.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn look(format: LogFormat, around: Surroundings) -> Look {
    let line = match format {
        LogFormat::Json => Line::Json,
        LogFormat::Auto if around.journal => Line::TextWithoutTime,
        LogFormat::Auto | LogFormat::Text => Line::Text,
    };
    Look { line, colour: line != Line::Json && around.terminal && !around.no_colour }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Surroundings = Surroundings { terminal: false, journal: false, no_colour: false };

    #[test]
    fn colour_needs_a_terminal_and_consent() {
        let colour = |around| look(LogFormat::Auto, around).colour;
        assert!(!colour(PLAIN));
        assert!(colour(Surroundings { terminal: true, ..PLAIN }));
        assert!(!colour(Surroundings { terminal: true, no_colour: true, ..PLAIN }));
        assert!(!look(LogFormat::Json, Surroundings { terminal: true, ..PLAIN }).colour);
    }

    #[test]
    fn the_journal_gets_no_second_time_stamp() {
        let journal = Surroundings { journal: true, ..PLAIN };
        assert_eq!(look(LogFormat::Auto, journal).line, Line::TextWithoutTime);
        assert_eq!(look(LogFormat::Text, journal).line, Line::Text);
        assert_eq!(look(LogFormat::Auto, PLAIN).line, Line::Text);
        assert_eq!(look(LogFormat::Json, journal).line, Line::Json);
    }

    #[test]
    fn a_misspelt_level_is_refused_where_it_stands() {
        let error = parse_filter("inof", "log.level").unwrap_err().to_string();
        assert!(error.starts_with("`inof` in log.level is not a log level"), "{error}");
        assert!(parse_filter("info,hume_runtime=debug", LEVEL_VARIABLE).is_ok());
        assert!(parse_filter("info,hume_runtime=loud", LEVEL_VARIABLE).is_err());
        assert!(parse_filter(" , ", LEVEL_VARIABLE).is_err());
    }

    #[test]
    fn a_filter_holds_for_its_module_and_its_level_for_all_others() {
        let filter = parse_filter("warn, hume_runtime=debug,", LEVEL_VARIABLE).unwrap();
        assert!(filter.would_enable("hume_runtime::accept", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("hume_runtime::accept", &tracing::Level::TRACE));
        assert!(filter.would_enable("humed_agent", &tracing::Level::WARN));
        assert!(!filter.would_enable("humed_agent", &tracing::Level::INFO));
    }

    #[test]
    fn the_section_has_defaults_and_refuses_unknown_keys() {
        assert_eq!(toml::from_str::<LogConfig>("").unwrap(), LogConfig::default());
        let json: LogConfig = toml::from_str("format = \"json\"").unwrap();
        assert_eq!((json.level.as_str(), json.format), ("info", LogFormat::Json));
        assert!(toml::from_str::<LogConfig>("colour = true").is_err());
    }
}
