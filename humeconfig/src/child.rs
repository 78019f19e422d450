//! Programs of others, run to their end within a time.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// So much of what a program says is read; fewer than a pipe holds, so that it need not be read meanwhile.
const SAID_BYTES_MAX: u64 = 16 * 1024;

/// How it ended, and what it said on its standard error. After `time_max` it is ended.
pub(crate) fn run(command: &mut Command, time_max: Duration) -> io::Result<(ExitStatus, String)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let ended = wait(&child, time_max);
    if !matches!(ended, Ok(true)) {
        // It has ended by itself, or does now.
        let _ = child.kill();
    }
    let status = child.wait()?;
    if !ended? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {time_max:?}")));
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(SAID_BYTES_MAX).read_to_end(&mut said)?;
    }
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

/// Whether it ended in time.
fn wait(child: &Child, time_max: Duration) -> io::Result<bool> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(id, PidfdFlags::empty())?;
    let seconds = time_max.as_secs().cast_signed();
    let time_max = Timespec { tv_sec: seconds, tv_nsec: time_max.subsec_nanos().into() };
    Ok(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&time_max))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_comes_with_how_it_ended() {
        let (status, said) =
            run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), Duration::from_secs(30)).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(3), "no"));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error = run(Command::new("sleep").arg("1000"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
