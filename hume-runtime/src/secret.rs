//! Texts that must never be seen: passwords, tokens, private keys. Debug and Display print `***`.
//!
//! In a configuration file a secret is the text itself or `{ file = "path" }`, so that it can stay in a systemd
//! credential. A file is read when the secret is used, at most [`SECRET_BYTES_MAX`] bytes of it.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// A secret read from a file may have this many bytes.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A text that does not print itself. `expose` is the only way to it, and easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// Where a secret of a configuration file is: in it, or in a file it names.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Text(SecretText),
    File(PathBuf),
}

/// The file with the secret could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It could not be read.
    #[error("could not read the secret in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is empty, or larger than any secret.
    #[error("the secret in {} has {bytes} bytes, allowed are 1 to {SECRET_BYTES_MAX}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size as far as it was read.
        bytes: usize,
    },
}

impl SecretText {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> SecretText {
        SecretText(text.into())
    }

    /// The text itself, for the one place that must send or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether somebody has shown this very text; the time it takes says nothing about it, its length included.
    pub fn is(&self, shown: &str) -> bool {
        let [known, shown] = [&self.0, shown].map(|text| digest(&SHA256, text.as_bytes()));
        verify_slices_are_equal(known.as_ref(), shown.as_ref()).is_ok()
    }
}

impl Secret {
    /// A secret given as text.
    pub fn text(text: impl Into<String>) -> Secret {
        Secret(Source::Text(SecretText::new(text)))
    }

    /// A secret in a file.
    pub fn file(path: impl Into<PathBuf>) -> Secret {
        Secret(Source::File(path.into()))
    }

    /// The secret; a file is relative to the folder of `config_file` and loses one line break at its end.
    pub fn read(&self, config_file: &Path) -> Result<SecretText, SecretError> {
        match &self.0 {
            Source::Text(text) => Ok(text.clone()),
            Source::File(path) => read_file(&crate::config::resolve(config_file, path)),
        }
    }
}

fn read_file(path: &Path) -> Result<SecretText, SecretError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
    let trimmed =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if trimmed.is_empty() || text.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::Size { path: path.to_owned(), bytes: text.len() });
    }
    Ok(SecretText::new(trimmed))
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        from.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or { file = \"path\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::text(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let mut file = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "file" {
                return Err(de::Error::unknown_field(&key, &["file"]));
            }
            file = Some(map.next_value::<PathBuf>()?);
        }
        file.map(|path| Secret(Source::File(path))).ok_or_else(|| de::Error::missing_field("file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Settings {
        token: Secret,
    }

    fn parse(text: &str) -> Secret {
        toml::from_str::<Settings>(text).unwrap().token
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = parse("token = \"hunter2\"");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        let text = secret.read(Path::new("/etc/hume/agent.toml")).unwrap();
        assert_eq!(format!("{text} {text:?}"), "*** ***");
        assert_eq!(text.expose(), "hunter2");
    }

    #[test]
    fn only_the_whole_text_is_the_secret() {
        let secret = SecretText::new("hunter2");
        assert!(secret.is("hunter2"));
        assert!(["", "hunter", "hunter22", "Hunter2"].iter().all(|wrong| !secret.is(wrong)));
    }

    #[test]
    fn a_file_is_found_beside_the_configuration_and_loses_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hunter2\n").unwrap();
        let secret = parse("token = { file = \"token\" }");
        assert_eq!(secret.read(&dir.path().join("agent.toml")).unwrap().expose(), "hunter2");
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        let config = dir.path().join("agent.toml");
        for (name, reason) in [("absent", "could not read the secret"), ("empty", "has 1 bytes")] {
            let error =
                parse(&format!("token = {{ file = \"{name}\" }}")).read(&config).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(reason), "{error}");
        }
    }
}
