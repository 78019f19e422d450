//! Where an event goes when the agent is away: one file, named by the event's id, on disk before the call returns.
//!
//! The agent takes it from there, once: it is the same event as the one that may have reached it already.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hume_core::EventId;
use hume_core::event::LINE_BYTES_MAX;
use hume_proto::intake::DraftLine;
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::ancestors;

/// The owner writes, the agent's group reads, nobody else does.
const FILE_MODE: u32 = 0o640;

/// The event is not in the folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DropError {
    /// The event has no id, or is longer than a line may be.
    #[error("the event is not one that the drop folder takes")]
    Event,
    /// The folder cannot be opened.
    #[error("the drop folder {} cannot be opened: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("the drop folder {} cannot be written to: {source}", path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Puts the event there, with what is known of the caller, and says where it is.
///
/// # Errors
/// [`DropError`]: nothing of the event is left in the folder, unless the folder itself could not be made durable.
pub(crate) fn put(line: &DraftLine, folder: &Path) -> Result<PathBuf, DropError> {
    let id = line.id.as_deref().and_then(|id| EventId::parse(id).ok()).ok_or(DropError::Event)?;
    let caller = ancestors::captured(line.caller.clone().unwrap_or_default());
    // The owner of the file is the reporter, by the kernel's word. A token proves nothing here and must not lie on a disk.
    let line = DraftLine { caller: Some(caller), token: None, ..line.clone() };
    let mut bytes = serde_json::to_vec(&line).map_err(|_| DropError::Event)?;
    bytes.push(b'\n');
    if bytes.len() > LINE_BYTES_MAX {
        return Err(DropError::Event);
    }
    let opened =
        rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| DropError::Folder { path: folder.to_owned(), source: errno.into() })?;
    let name = OsString::from(format!("{id}.json"));
    write(&File::from(opened), &name, &bytes)
        .map_err(|source| DropError::Write { path: folder.to_owned(), source })?;
    Ok(folder.join(name))
}

/// A name is only there once the content is on disk: whoever reads the folder sees whole files.
fn write(folder: &File, name: &OsString, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(FILE_MODE);
    let mut file = File::from(rustix::fs::openat(folder, &unfinished, flags, mode)?);
    let written = (|| {
        // The umask may have taken the group's right to read away, and the agent is of the group.
        rustix::fs::fchmod(&file, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(folder, &unfinished, folder, name)?;
        Ok(())
    })();
    if written.is_err() {
        // The first error is the one to tell; what stays behind starts with a dot and is nobody's event.
        let _ = rustix::fs::unlinkat(folder, &unfinished, AtFlags::empty());
        return written;
    }
    folder.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_proto::intake::SocketToken;
    use std::os::unix::fs::PermissionsExt as _;

    fn line(id: &str) -> DraftLine {
        DraftLine { id: Some(id.to_owned()), task: "X".into(), ..DraftLine::default() }
    }

    const ID: &str = "019abc00-0000-7000-8000-000000000001";

    fn mint() -> EventId {
        unreachable!("the file has an id")
    }

    #[test]
    fn a_file_is_the_whole_event_with_the_callers_chain_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(&line(ID), folder.path()).unwrap();
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{ID}.json"));
        let draft = hume_proto::intake::parse(&std::fs::read(&path).unwrap(), mint).unwrap().draft;
        assert_eq!(draft.id.to_string(), ID);
        assert_eq!(draft.caller.chain.unwrap().links()[0].process.pid, std::process::id());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_token_does_not_get_there() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            put(&DraftLine { token: Some(SocketToken("secret".into())), ..line(ID) }, folder.path()).unwrap();
        assert!(!std::fs::read_to_string(path).unwrap().contains("secret"));
    }

    #[test]
    fn the_same_event_twice_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        put(&line(ID), folder.path()).unwrap();
        put(&line(ID), folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_trap_laid_under_the_temporary_name_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(format!(".{ID}.json"))).unwrap();
        assert!(matches!(put(&line(ID), folder.path()), Err(DropError::Write { .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn an_id_that_is_a_path_goes_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(put(&line("../x"), folder.path()), Err(DropError::Event)));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = put(&line(ID), Path::new("/nonexistent/drop")).unwrap_err().to_string();
        assert!(error.starts_with("the drop folder /nonexistent/drop cannot be opened: "), "{error}");
    }
}
