//! Section `[redact]` of agent.toml: what is hidden in texts before they are kept.

use regex::{Regex, RegexBuilder};
use serde::de::{self, Deserialize, Deserializer};

/// Patterns of a configuration.
pub const PATTERNS_MAX: usize = 100;
/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// Memory of one compiled pattern, in bytes.
pub(super) const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Memory that looking for one pattern may take, in bytes and for each thread; with less it is slower.
pub(super) const CACHE_BYTES_MAX: usize = 256 * 1024;

/// Section `[redact]`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether hume's own rules are used.
    pub defaults: bool,
    /// More that is hidden: what the groups of a pattern hold, or all that it matches when it has none.
    pub patterns: Vec<Pattern>,
    /// More names of extras whose whole value is hidden, in upper or lower case.
    pub keys: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config { defaults: true, patterns: Vec::new(), keys: Vec::new() }
    }
}

/// A regular expression that compiles, within its bounds, and that does not match the empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A pattern could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has no meaning.
    #[error("the pattern `{pattern}` has no meaning at character {character}: {what}")]
    Syntax {
        /// As written.
        pattern: String,
        /// From 1.
        character: usize,
        /// What is wrong there.
        what: String,
    },
    /// It is longer than [`PATTERN_BYTES_MAX`].
    #[error("a pattern has {bytes} bytes; at most {PATTERN_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Compiled it would need too much memory, as with large counts of repetition.
    #[error("the pattern `{pattern}` needs more than {COMPILED_BYTES_MAX} bytes of memory")]
    TooLarge {
        /// As written.
        pattern: String,
    },
    /// It matches the empty text.
    #[error("the pattern `{pattern}` matches the empty text")]
    MatchesNothing {
        /// As written.
        pattern: String,
    },
}

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`PatternError`], whose text is for the administrator as it stands.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong { bytes: text.len() });
        }
        let pattern = || text.to_owned();
        let syntax = |start: usize, what: String| {
            let character = text.get(..start).map_or(1, |before| before.chars().count() + 1);
            PatternError::Syntax { pattern: pattern(), character, what }
        };
        let parsed = regex_syntax::parse(text).map_err(|error| match error {
            regex_syntax::Error::Parse(error) => syntax(error.span().start.offset, error.kind().to_string()),
            regex_syntax::Error::Translate(error) => {
                syntax(error.span().start.offset, error.kind().to_string())
            }
            other => syntax(0, other.to_string()),
        })?;
        if parsed.properties().minimum_len() == Some(0) {
            return Err(PatternError::MatchesNothing { pattern: pattern() });
        }
        compile(text).map_err(|_| PatternError::TooLarge { pattern: pattern() })?;
        Ok(Pattern(pattern()))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pattern, D::Error> {
        Pattern::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// A regular expression within its bounds of memory.
///
/// # Errors
/// It has no meaning, or is too large.
pub(super) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(CACHE_BYTES_MAX).build()
}
