//! What outlives the command and holds its output: a process of its own passes on what such children still write.
//!
//! `hume exec` ends when the command does, as if it had not been there. The pipe has to be read by somebody all the same,
//! or the next write of such a child would fail, as it would not without us.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};

use crate::outlet::Outlet;

/// The only word after `exec` of such a process.
pub(super) const WORD: &str = "--pass-on-the-rest";
/// Its name, as that of the process it comes from.
pub(super) const NAME: &std::ffi::CStr = c"hume-exec";
/// What a pipe holds.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Leaves what still comes out of `pipe` to another process that writes it to `target`.
///
/// # Errors
/// Whatever kept that process from starting; the pipe is closed.
pub(super) fn leave(pipe: OwnedFd, target: Stdio) -> std::io::Result<()> {
    fcntl_setfl(&pipe, OFlags::empty())?;
    // By this name it is found even after the file was replaced by a newer version.
    let mut command = Command::new("/proc/self/exe");
    command.args(["exec", WORD]).stdin(pipe).stdout(target).stderr(Stdio::null()).current_dir("/");
    // Nobody waits for it: it ends after us, with those whose output it passes on.
    command.spawn().map(drop)
}

/// Writes everything that comes from standard input to standard output, until its writers or its reader are gone.
pub(super) fn pass_on() {
    let _ = nix::sys::prctl::set_name(NAME);
    let mut outlet = Outlet::new(stdout());
    let mut chunk = vec![0; READ_BYTES_MAX];
    while !outlet.is_closed() {
        match rustix::io::read(stdin(), &mut chunk) {
            Ok(0) => return,
            Ok(count) => outlet.push(chunk.get(..count).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
        while !outlet.is_empty() {
            let _ = poll(&mut [PollFd::from_borrowed_fd(outlet.waits_on(), PollFlags::OUT)], None);
            outlet.flush();
        }
    }
}
