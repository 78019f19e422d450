//! JSON lines in a file of this host, one notice each, appended in order.
//!
//! The file is opened at the first line and after every SIGHUP, so that logrotate may move it away. What a full disk cut off is cut
//! back before the next try; what a kill cut off is ended when the file is opened, so that the next line stands alone. With `sync = "always"` a line is on disk before it counts as delivered.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::notice::Notice;
use crate::options::options;
use crate::transfer::{BoxFuture, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble};

pub(super) const MANNER: Manner = Manner::PIPELINE;
/// A pipe that nobody reads is refused, and not waited for.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

options! {
    /// `[transfer.NAME.file]`
    pub struct Options {
        /// The file; relative to the folder of the configuration. Its folder must exist.
        pub path: PathBuf,
        /// Mode of a file that is made, as octal text.
        #[serde(default = "mode_default")]
        pub mode: Mode,
        /// When lines are synced to disk.
        #[serde(default)]
        pub sync: Sync,
    }
}

/// When lines are synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// Before they count as delivered.
    #[default]
    Always,
    /// When the kernel likes to: a power loss may cost lines that count as delivered.
    Never,
}

/// Permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

fn mode_default() -> Mode {
    Mode(0o640)
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(from)?;
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Mode).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no mode: write \"0640\"")))
    }
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    let path = hume_runtime::config::resolve(setting.config_file, &options.path);
    if !path.parent().is_some_and(Path::is_dir) {
        return Err(OpenError::value("path", format!("the folder of {} does not exist", path.display())));
    }
    Ok(Box::new(Lines { path, mode: options.mode, sync: options.sync, file: None }))
}

struct Lines {
    path: PathBuf,
    mode: Mode,
    sync: Sync,
    file: Option<File>,
}

impl Transfer for Lines {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            match self.append(notices, trail).await {
                Ok(()) => Delivery::all(notices),
                Err(error) => {
                    self.file = None;
                    Delivery::stopped(0, Trouble::later(format!("{}: {error}", self.path.display())))
                }
            }
        })
    }
}

impl Lines {
    async fn append(&mut self, notices: &[Notice], trail: &mut Trail) -> std::io::Result<()> {
        let mut lines = Vec::new();
        for notice in notices {
            serde_json::to_writer(&mut lines, &notice.view())?;
            lines.push(b'\n');
        }
        if self.file.is_none() {
            self.file = Some(open_file(&self.path, self.mode).await?);
            trail.say(|| format!("opened {}", self.path.display()));
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let before = file.seek(SeekFrom::End(0)).await?;
        let written = write(file, &lines, self.sync).await;
        if written.is_err() {
            // A part of a line would spoil the next one.
            let _ = file.set_len(before).await;
        }
        written?;
        trail.say(|| format!("appended {} bytes", lines.len()));
        Ok(())
    }
}

/// Opens the file at the end of its last line; never waits for the other end of a pipe.
async fn open_file(path: &Path, mode: Mode) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(mode.0).custom_flags(NONBLOCK);
    let mut file = options.open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(std::io::Error::other("is no regular file: for a pipe there is [transfer.NAME.exec]"));
    }
    if file.seek(SeekFrom::End(0)).await? > 0 {
        file.seek(SeekFrom::End(-1)).await?;
        if file.read_u8().await? != b'\n' {
            file.write_all(b"\n").await?;
        }
    }
    Ok(file)
}

async fn write(file: &mut File, lines: &[u8], sync: Sync) -> std::io::Result<()> {
    file.write_all(lines).await?;
    file.flush().await?;
    match sync {
        Sync::Always => file.sync_data().await,
        Sync::Never => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hume_core::Level;

    use super::*;
    use crate::testing::{assert_documented, documented, open, stored};

    const CONFIG: &str = "[transfer.lines.file]\npath = \"lines.json\"\n";

    fn notices(texts: &[&str]) -> Vec<Notice> {
        texts.iter().map(|text| Notice::of(stored(Level::Error, "BACKUP", "web1", text))).collect()
    }

    #[tokio::test]
    async fn each_notice_is_a_line_appended_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut transfer = open(dir.path(), CONFIG).unwrap();
        let mut trail = Trail::silent();
        for batch in [notices(&["one", "two\nlines"]), notices(&["three"])] {
            assert_eq!(transfer.deliver(&batch, &mut trail).await, Delivery::all(&batch));
        }
        let path = dir.path().join("lines.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<&str> =
            lines.iter().map(|line| line["event"]["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["one", "two\nlines", "three"]);
        assert_eq!((&lines[0]["level"], &lines[0]["event"]["task"]), (&"error".into(), &"BACKUP".into()));
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[tokio::test]
    async fn what_a_kill_cut_off_spoils_no_other_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.json");
        std::fs::write(&path, "{\"half").unwrap();
        let batch = notices(&["one"]);
        let mut transfer = open(dir.path(), CONFIG).unwrap();
        assert_eq!(transfer.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
        let text = std::fs::read_to_string(&path).unwrap();
        let (half, whole) = text.split_once('\n').unwrap();
        assert_eq!(half, "{\"half");
        assert!(serde_json::from_str::<serde_json::Value>(whole).is_ok(), "{text}");
    }

    #[tokio::test]
    async fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.json");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let batch = notices(&["one"]);
        let mut transfer = open(dir.path(), CONFIG).unwrap();
        let delivery = transfer.deliver(&batch, &mut Trail::silent()).await;
        let reason = delivery.trouble.unwrap().reason().to_owned();
        assert!(reason.contains("lines.json: is no regular file"), "{reason}");
    }

    #[tokio::test]
    async fn a_line_is_as_the_document_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let batch = [Notice::of(documented())];
        let delivery = open(dir.path(), CONFIG).unwrap().deliver(&batch, &mut Trail::silent()).await;
        assert_eq!(delivery, Delivery::all(&batch));
        assert_documented(&std::fs::read_to_string(dir.path().join("lines.json")).unwrap());
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_with_its_file_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut transfer = open(dir.path(), CONFIG).unwrap();
        let path = dir.path().join("lines.json");
        std::fs::create_dir(&path).unwrap();
        let batch = notices(&["one"]);
        let delivery = transfer.deliver(&batch, &mut Trail::silent()).await;
        assert_eq!(delivery.settled, 0);
        assert!(
            matches!(&delivery.trouble, Some(Trouble::Later { reason, .. }) if reason.contains("lines.json"))
        );
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(transfer.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
    }

    #[test]
    fn a_folder_that_is_missing_is_named_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(dir.path(), "[transfer.x.file]\npath = \"no/lines\"\n").err().unwrap().to_string();
        assert!(error.starts_with("`path`: the folder of ") && error.contains("no/lines"), "{error}");
    }
}
