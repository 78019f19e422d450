//! Configuration files: TOML, one typed struct each, and errors that point at the line and the nearest key.
//!
//! The structs deny unknown fields; this file turns serde's list of expected names into "did you mean". A file is at
//! most [`CONFIG_BYTES_MAX`] bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use crate::secret::{Secret, SecretError, SecretText};

/// A configuration file may have this many bytes.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Names less alike than this (Jaro-Winkler, 1 is equal) are not suggested.
const ALIKE_MIN: f64 = 0.75;

/// A configuration file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any configuration.
    #[error("{} is larger than {CONFIG_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its content is wrong at this place.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong, and what was meant if one can tell.
        message: String,
    },
}

/// Reads `path` into `T`.
/// # Errors
/// [`ConfigError`], whose text is for the administrator as it stands.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    parse(path, &text)
}

/// Reads `text` as if it were the content of `path`.
/// # Errors
/// [`ConfigError::Content`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let (line, column) = place(text, start);
        ConfigError::Content { path: path.to_owned(), line, column, message: explain(error.message()) }
    })
}

/// `path` as meant in `base_file`: relative paths are relative to the folder of that file.
pub fn resolve(base_file: &Path, path: &Path) -> PathBuf {
    match base_file.parent() {
        Some(folder) => folder.join(path),
        None => path.to_owned(),
    }
}

/// Line and column, from 1, of the byte at `offset`.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// serde's message in our words: "unknown field `a`, expected one of `b`, `c`" and its kin.
fn explain(message: &str) -> String {
    let message = message.trim_end().replace('\n', ": ");
    for (kind, word) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        let Some((found, rest)) = message.strip_prefix(kind).and_then(|rest| rest.split_once('`')) else {
            continue;
        };
        return suggest(word, found, &quoted(rest));
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("missing key {rest}");
    }
    // A text in a wrong place may be a secret, and where it stands is said already.
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = message.strip_prefix(kind).and_then(|rest| rest.strip_prefix("string \""))
            && let Some((_, expected)) = rest.rsplit_once("\", expected ")
        {
            return format!("{kind}a text, expected {expected}");
        }
    }
    message
}

fn suggest(word: &str, found: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, name)) => format!("unknown {word} `{found}`, did you mean `{name}`?"),
        None if known.is_empty() => format!("unknown {word} `{found}`, none is allowed here"),
        None => format!("unknown {word} `{found}`, allowed here: `{}`", known.join("`, `")),
    }
}

/// The words between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        spool: Spool,
        #[serde(default)]
        level: Option<Level>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Spool {
        path: Option<PathBuf>,
        #[serde(default)]
        bytes_max: u64,
        password: Option<Secret>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Info,
        Debug,
    }

    fn error(text: &str) -> String {
        parse::<Settings>(Path::new("/etc/hume/agent.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_nearest_key() {
        assert_eq!(
            error("# agent\n\n[spool]\n  pathh = \"x\"\n"),
            "/etc/hume/agent.toml:4:3: unknown key `pathh`, did you mean `path`?"
        );
    }

    #[test]
    fn a_misspelt_section_is_named() {
        assert_eq!(error("[spol]\n"), "/etc/hume/agent.toml:1:2: unknown key `spol`, did you mean `spool`?");
    }

    #[test]
    fn a_key_like_no_other_gets_the_list() {
        assert_eq!(
            error("[spool]\nzzz = 1\n"),
            "/etc/hume/agent.toml:2:1: unknown key `zzz`, allowed here: `path`, `bytes_max`, `password`"
        );
    }

    #[test]
    fn a_misspelt_value_is_named() {
        assert_eq!(
            error("level = \"inof\"\n"),
            "/etc/hume/agent.toml:1:9: unknown value `inof`, did you mean `info`?"
        );
        assert!(parse::<Settings>(Path::new("a"), "level = \"debug\"").is_ok());
        assert!(parse::<Settings>(Path::new("a"), "level = \"info\"").is_ok());
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place_and_not_with_the_text_that_may_be_a_secret() {
        assert_eq!(
            error("[spool]\npath = \"ü\"\nbytes_max = \"many\"\n"),
            "/etc/hume/agent.toml:3:13: invalid type: a text, expected u64"
        );
    }

    #[test]
    fn broken_toml_is_one_line_with_its_place() {
        let text = error("[spool]\npath = \n");
        assert!(text.starts_with("/etc/hume/agent.toml:2:"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn a_wrong_secret_does_not_show_itself_in_the_error() {
        let text = error("[spool]\npassword = { flie = \"x\" }\n");
        assert!(text.ends_with("unknown key `flie`, did you mean `file`?"), "{text}");
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(place("a = 1\nü = x", 11), (2, 5));
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent.toml");
        let text = load::<Settings>(&path).unwrap_err().to_string();
        assert_eq!(text, format!("could not read {}", path.display()));
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let file = Path::new("/etc/hume/agent.toml");
        assert_eq!(resolve(file, Path::new("pki/ca.pem")), Path::new("/etc/hume/pki/ca.pem"));
        assert_eq!(resolve(file, Path::new("/run/hume.sock")), Path::new("/run/hume.sock"));
        assert_eq!(resolve(Path::new("agent.toml"), Path::new("state")), Path::new("state"));
    }

    #[test]
    fn a_good_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, "[spool]\npath = \"state\"\nbytes_max = 7\npassword = \"x\"\n").unwrap();
        let settings: Settings = load(&path).unwrap();
        assert_eq!((settings.spool.path, settings.spool.bytes_max), (Some("state".into()), 7));
        assert!(settings.spool.password.is_some() && settings.level.is_none());
    }
}
