//! What is said on stdout: one line per step, then the commands to run next, ready to be copied.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use hume_core::Timestamp;

use crate::failure::Failure;
use crate::staging::Published;

/// Collects lines and writes them at the end, when everything they say is true.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<String>);

impl Report {
    /// A line for each published piece; `about` says what is in it.
    pub(crate) fn steps(&mut self, published: &[Published], about: impl Fn(&str) -> String) {
        for piece in published {
            let (path, line) = match piece {
                Published::Made(path) => (path, format!("made {}", path.display())),
                Published::Kept(path) => (path, format!("kept {}", path.display())),
                Published::Replaced { path, old } => {
                    (path, format!("replaced {} (the old one is {})", path.display(), old.display()))
                }
            };
            let about = about(&path.file_name().unwrap_or_default().to_string_lossy());
            self.0.push(if about.is_empty() { line } else { format!("{line}: {about}") });
        }
    }

    /// Lines that end each with a line break.
    pub(crate) fn text(&mut self, text: &str) {
        self.0.extend(text.lines().map(str::to_owned));
    }

    /// One line.
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }

    /// A value as JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) {
        self.0.push(serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// Rows in columns, with a head.
    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| all.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        for row in &all {
            let cells = row.iter().enumerate();
            let padded: Vec<String> = cells
                .map(|(column, cell)| format!("{cell:<wide$}", wide = width(column).unwrap_or(0)))
                .collect();
            self.0.push(padded.join("  ").trim_end().to_owned());
        }
    }

    /// Writes all lines. A reader that has gone away is not a failure.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let written = self.0.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            _ => Ok(()),
        }
    }
}

/// The day of a moment, as in 2026-11-22.
pub(crate) fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// A moment to the minute, as in 2026-11-22 10:00 UTC.
pub(crate) fn minute(time: Timestamp) -> String {
    let text: String = time.to_string().chars().take(16).collect();
    format!("{} UTC", text.replace('T', " "))
}

/// A path as a word of the shell.
pub(crate) fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A text as a TOML string.
pub(crate) fn toml_string(text: &str) -> Cow<'static, str> {
    toml::Value::from(text).to_string().into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The sections `[[runs]]` of a configuration whose commented keys are uncommented.
    pub(crate) fn uncommented_runs(text: &str) -> hume_core::policy::Policies {
        #[derive(serde::Deserialize)]
        struct File {
            runs: hume_core::policy::Policies,
        }
        let plain: Vec<&str> = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .collect();
        toml::from_str::<File>(&plain.join("\n")).unwrap().runs
    }

    #[test]
    fn a_path_with_odd_characters_is_one_word() {
        assert_eq!(shell(Path::new("/etc/hume/master.toml")), "/etc/hume/master.toml");
        assert_eq!(shell(Path::new("/my files/it's")), "'/my files/it'\\''s'");
    }

    #[test]
    fn a_text_with_quotes_is_one_toml_string() {
        let line = format!("host = {}", toml_string("we\"b\\1"));
        let table: toml::Table = line.parse().unwrap();
        assert_eq!(table["host"].as_str(), Some("we\"b\\1"));
    }
}
