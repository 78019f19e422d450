//! A command of the administrator, bounded in time and in what it may say, that leaves no process behind.
//!
//! It runs in a process group of its own, in `/`, with the variables it is given and no others. At its deadline the group gets
//! SIGTERM, and SIGKILL [`GRACE`] later; so does what is left of the group when the command has ended by itself, or when the
//! future is dropped. What has left the group on purpose (`setsid`) is not followed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{Instant, timeout, timeout_at};

/// Between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// The last bytes of each of its outputs that are kept; the rest is read and forgotten.
pub(crate) const SAID_BYTES_MAX: usize = 1024;
/// Its outputs are read for so long after its end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Where it is looked for, and what it is told to look in.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run, and what it is given.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// The program.
    pub(crate) program: &'a OsStr,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// Its variables, beside `PATH`.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Its standard input; it need not read it.
    pub(crate) input: &'a [u8],
    /// It may take so long.
    pub(crate) time_max: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It had to be ended at its deadline.
    TooLong,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) end: End,
    /// The end of what it wrote to its standard error, else of what it wrote to its standard output.
    pub(crate) said: String,
}

/// Runs it to its end.
///
/// # Errors
/// It could not be started, or the kernel would not say how it ended.
pub(crate) async fn run(job: &Job<'_>) -> io::Result<Outcome> {
    let deadline = Instant::now() + job.time_max;
    // Listened to before there is a child, so that its end cannot be missed.
    let mut ends = signal(SignalKind::child())?;
    let mut child = spawn(job)?;
    // Dropped before `child`, so that the group still has its number when it is killed.
    let mut group = Group::of(&child)?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let is_too_long = {
        let mut input = child.stdin.take();
        let feed = async move {
            if let Some(pipe) = &mut input {
                // A command that does not read its input may all the same do its work.
                let _ = pipe.write_all(job.input).await;
            }
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let pipes = async { tokio::join!(feed, hear(stdout, &mut out), hear(stderr, &mut err)) };
        tokio::pin!(pipes);
        let mut is_silent = false;
        let course = group.to_its_end(&mut ends, deadline);
        tokio::pin!(course);
        let is_too_long = loop {
            tokio::select! {
                course = &mut course => break course?,
                _ = &mut pipes, if !is_silent => is_silent = true,
            }
        };
        if !is_silent {
            let _ = timeout(LAST_WORDS, pipes).await;
        }
        is_too_long
    };
    let status = timeout(GRACE, child.wait()).await.map_err(io::Error::from)??;
    group.is_reaped = true;
    let said = if err.is_empty() { out } else { err };
    Ok(Outcome { end: end(status, is_too_long), said: String::from_utf8_lossy(&said).trim().to_owned() })
}

fn end(status: ExitStatus, is_too_long: bool) -> End {
    match (is_too_long, status.code(), status.signal()) {
        (true, ..) => End::TooLong,
        (false, Some(code), _) => End::Code(code),
        (false, None, signal) => End::Signal(signal.unwrap_or_default()),
    }
}

fn spawn(job: &Job<'_>) -> io::Result<Child> {
    let Job { program, args, variables, input: _, time_max: _ } = job;
    Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into()))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(Path::new("/"))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Reads to the end, and keeps the last [`SAID_BYTES_MAX`] bytes.
async fn hear(pipe: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        said.extend_from_slice(&piece[..count]);
        said.drain(..said.len().saturating_sub(SAID_BYTES_MAX));
    }
}

/// The processes of a job. Until their first one is reaped, their number is nobody else's.
struct Group {
    number: Pid,
    is_reaped: bool,
}

impl Group {
    fn of(child: &Child) -> io::Result<Group> {
        let number = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        number.map(|number| Group { number, is_reaped: false }).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Waits until the first process has ended, and does not reap it.
    async fn has_ended(&self, ends: &mut unix::Signal) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(self.number), look)?.is_none() {
            ends.recv().await;
        }
        Ok(())
    }

    /// Waits for the end of the first process, hastens it at the deadline, and ends the others. Whether it took too long.
    async fn to_its_end(&self, ends: &mut unix::Signal, deadline: Instant) -> io::Result<bool> {
        let on_time = timeout_at(deadline, self.has_ended(ends)).await;
        let is_too_long = on_time.is_err();
        on_time.unwrap_or(Ok(()))?;
        if is_too_long {
            self.signal(Signal::TERM);
            let _ = timeout(GRACE, self.has_ended(ends)).await;
        }
        self.signal(Signal::KILL);
        Ok(is_too_long)
    }

    fn signal(&self, signal: Signal) {
        // Nothing is left of it: that is what was wanted.
        let _ = kill_process_group(self.number, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.signal(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::until;

    async fn shell(script: &str, input: &[u8], time_max: Duration) -> Outcome {
        run(&job(script, input, time_max)).await.unwrap()
    }

    fn job<'a>(script: &str, input: &'a [u8], time_max: Duration) -> Job<'a> {
        let args = vec!["-c".into(), script.into()];
        Job {
            program: OsStr::new("/bin/sh"),
            args,
            variables: vec![("HUME_TASK", "x".into())],
            input,
            time_max,
        }
    }

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn its_code_its_signal_and_its_last_words_are_told() {
        let code = |code, said: &str| Outcome { end: End::Code(code), said: said.to_owned() };
        assert_eq!(shell("exit 0", b"", LONG).await, code(0, ""));
        assert_eq!(shell("cat; exit 75", b"read", LONG).await, code(75, "read"));
        assert_eq!(shell("echo out; echo err >&2; exit 1", b"", LONG).await, code(1, "err"));
        assert_eq!(shell("kill -9 $$", b"", LONG).await.end, End::Signal(9));
        let error = run(&Job { program: OsStr::new("/no/such"), ..job("", b"", LONG) }).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn input_that_is_not_read_and_output_without_end_hold_nothing_up() {
        let large = vec![b'x'; 1 << 20];
        assert_eq!(shell("exit 3", &large, LONG).await.end, End::Code(3));
        let outcome = shell("head -c 3000000 /dev/zero | tr '\\0' a; echo end", &large, LONG).await;
        assert_eq!(outcome.end, End::Code(0));
        assert!(outcome.said.len() <= SAID_BYTES_MAX && outcome.said.ends_with("aaaend"), "{outcome:?}");
    }

    #[tokio::test]
    async fn it_sees_its_own_variables_and_no_others() {
        let outcome = shell(
            "/usr/bin/env | grep -v ^PWD= | grep -v ^SHLVL= | grep -v ^_= | cut -d= -f1 | sort; pwd",
            b"",
            LONG,
        );
        assert_eq!(outcome.await.said, "HUME_TASK\nPATH\n/");
    }

    /// The processes of this test that have `mark` in their command line.
    fn living(mark: &str) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").unwrap();
        let lines = entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| line.contains(mark)).collect()
    }

    /// The zombies among the children of this process.
    fn zombies() -> usize {
        let own = std::process::id().to_string();
        let entries = std::fs::read_dir("/proc").unwrap();
        let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        let is_zombie = |stat: &String| {
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(own.as_str())
        };
        stats.filter(is_zombie).count()
    }

    /// Seconds for `sleep` that no other test uses.
    fn mark(number: u32) -> String {
        format!("{}.{number}", 100_000 + std::process::id())
    }

    #[tokio::test]
    async fn at_its_deadline_it_ends_with_all_that_it_started_also_when_it_does_not_want_to() {
        for (number, trap) in [(1, ""), (2, "trap '' TERM; ")] {
            let mark = mark(number);
            let outcome = shell(&format!("{trap}sleep {mark} & sleep {mark}; wait"), b"", SHORT).await;
            assert_eq!(outcome.end, End::TooLong);
            until("all of it is gone", async || living(&mark).is_empty()).await;
        }
        until("nothing waits to be reaped", async || zombies() == 0).await;
    }

    #[tokio::test]
    async fn what_it_left_in_the_background_ends_with_it() {
        let mark = mark(3);
        assert_eq!(shell(&format!("sleep {mark} & exit 0"), b"", LONG).await.end, End::Code(0));
        until("the background is gone", async || living(&mark).is_empty()).await;
    }

    #[tokio::test]
    async fn a_future_that_is_dropped_leaves_no_orphan_and_no_zombie() {
        let mark = mark(4);
        let script = format!("trap '' TERM; sleep {mark} & sleep {mark}; wait");
        let job = job(&script, b"", LONG);
        {
            let running = run(&job);
            tokio::pin!(running);
            let started = until("both run", async || {
                living(&mark).iter().filter(|line| line.starts_with("sleep")).count() == 2
            });
            tokio::select! {
                outcome = &mut running => panic!("{outcome:?}"),
                () = started => {}
            }
        }
        until("all of it is gone", async || living(&mark).is_empty()).await;
        until("nothing waits to be reaped", async || zombies() == 0).await;
    }
}
