//! A folder for a site, with a path so short that every socket in it can be bound.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The longest path of a Unix socket, without the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Room for the longest socket path in the site and a process id as long as they get.
const LONGEST_TAIL: &str = "/hume-demo-4194304-99/webserver/run/hume.sock";

/// Folders of this process tried before giving up.
const TRIES_MAX: u32 = 100;

/// Makes a new folder that only this user may enter, under `TMPDIR` if its path is good enough, else in `/tmp`.
pub(super) fn create() -> anyhow::Result<PathBuf> {
    let base = base(std::env::var_os("TMPDIR").as_deref());
    let pid = std::process::id();
    for attempt in 0..TRIES_MAX {
        let name =
            if attempt == 0 { format!("hume-demo-{pid}") } else { format!("hume-demo-{pid}-{attempt}") };
        let folder = base.join(name);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context(format!("could not create {}", folder.display())),
        }
    }
    anyhow::bail!("could not find a free name for a folder in {}", base.display())
}

/// `TMPDIR` if a socket path under it stays short enough and the script, which quotes nothing, can use it.
fn base(wanted: Option<&OsStr>) -> PathBuf {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    match wanted.and_then(OsStr::to_str) {
        Some(path)
            if path.starts_with('/')
                && path.len() + LONGEST_TAIL.len() <= SOCKET_PATH_BYTES_MAX
                && path.as_bytes().iter().all(plain) =>
        {
            Path::new(path).to_path_buf()
        }
        Some(_) | None => PathBuf::from("/tmp"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpdir_is_used_only_if_a_socket_path_fits_under_it() {
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX - LONGEST_TAIL.len() - 1));
        assert_eq!(base(Some(OsStr::new(&longest))), Path::new(&longest));
        assert_eq!(base(Some(OsStr::new(&format!("{longest}x")))), Path::new("/tmp"));
        assert_eq!(base(Some(OsStr::new("/with a space"))), Path::new("/tmp"));
        assert_eq!(base(Some(OsStr::new("relative"))), Path::new("/tmp"));
        assert_eq!(base(None), Path::new("/tmp"));
    }
}
