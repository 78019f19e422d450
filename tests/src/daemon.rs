//! One daemon as a child process: started, killed or asked to stop, and always ended with its owner.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hume_runtime::points;
use rustix::process::{Pid, Signal, kill_process};

use crate::process;
use crate::wait::{SOON, wait_for, wait_until};

/// A daemon that was asked to stop ends within this time: that is the contract.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Lines of its log that are printed when a test fails.
const TAIL_LINES: usize = 40;

/// Where a daemon's standard error goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTo {
    /// Into its log in the site's folder.
    #[default]
    File,
    /// Onto a disk without room.
    FullDisk,
    /// To a reader that has gone.
    ClosedPipe,
}

/// Hands a program its standard input as the first socket that a service manager gives (`sd_listen_fds(3)`).
const ACTIVATE: [&str; 4] =
    ["sh", "-c", "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=hume; exec \"$@\" 3<&0 </dev/null", "sh"];

/// A daemon, running or not. Dropping it ends the process.
#[derive(Debug)]
pub struct Daemon {
    program: &'static str,
    config: PathBuf,
    log: PathBuf,
    variables: Mutex<Vec<(&'static str, String)>>,
    log_to: Mutex<LogTo>,
    within: Mutex<Vec<String>>,
    door: Mutex<Option<UnixListener>>,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    pub(crate) fn new(program: &'static str, config: PathBuf, log: PathBuf) -> Daemon {
        Daemon {
            program,
            config,
            log,
            variables: Mutex::default(),
            log_to: Mutex::default(),
            within: Mutex::default(),
            door: Mutex::default(),
            child: Mutex::default(),
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it, without waiting until it is ready. It must not be running.
    pub fn spawn(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "{} runs already", self.program);
        let open = || File::options().create(true).append(true).open(&self.log);
        let out = open().expect("a log in the site's folder can be opened");
        let err: Stdio = match *self.log_to.lock().unwrap_or_else(PoisonError::into_inner) {
            LogTo::File => out.try_clone().expect("a file can be shared").into(),
            LogTo::FullDisk => File::create("/dev/full").expect("Linux has one").into(),
            // The other end goes with this line.
            LogTo::ClosedPipe => io::pipe().expect("a pipe can be made").1.into(),
        };
        let mut command = self.command();
        let stdin = match &*self.door.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(door) => Stdio::from(OwnedFd::from(door.try_clone().expect("a socket can be shared"))),
            None => Stdio::null(),
        };
        command.arg("--config").arg(&self.config).stdin(stdin).stdout(out).stderr(err);
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        command.envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
        *child = Some(command.spawn().expect("a program that exists can be started"));
    }

    fn command(&self) -> Command {
        let within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
        if within.is_empty() {
            return process::command(self.program);
        }
        let words: Vec<&str> = within.iter().map(String::as_str).collect();
        let mut command = process::shell(&words);
        command.arg(process::program(self.program));
        command
    }

    /// Starts it and waits for `is_ready`; false if it ended instead.
    pub(crate) fn start(&self, mut is_ready: impl FnMut() -> bool) -> bool {
        self.spawn();
        let what = format!("{} is ready, see {}", self.program, self.log.display());
        wait_for(&what, SOON, || match self.ended() {
            Some(_) => Some(false),
            None => is_ready().then_some(true),
        })
    }

    /// A variable of its environment, from the next start on.
    pub fn set_variable(&self, name: &'static str, value: &str) {
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value.to_owned()));
    }

    /// What it does to itself at its fail points, from the next start on; see [`hume_runtime::points`].
    pub fn ask_for(&self, faults: &str) {
        self.set_variable(points::VARIABLE, faults);
    }

    /// Waits until it has killed itself at a fail point, or has ended with 0 before it came to that: false.
    #[track_caller]
    pub fn wait_until_killed(&self, limit: Duration) -> bool {
        let what = format!("{} has killed itself, see {}", self.program, self.log.display());
        let status = wait_for(&what, limit, || self.ended());
        let is_killed = status.signal() == Some(Signal::KILL.as_raw());
        assert!(is_killed || status.success(), "{} ended otherwise: {status}", self.program);
        is_killed
    }

    /// What starts it, by words before its own, from the next start on: it must end with it.
    pub fn within(&self, words: &[impl ToString]) {
        *self.within.lock().unwrap_or_else(PoisonError::into_inner) =
            words.iter().map(ToString::to_string).collect();
    }

    /// Gives it this socket, bound and listening, from the next start on.
    pub(crate) fn activate(&self, door: UnixListener) {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(door);
        self.within(&ACTIVATE);
    }

    /// Where its standard error goes, from the next start on.
    pub fn log_to(&self, log_to: LogTo) {
        *self.log_to.lock().unwrap_or_else(PoisonError::into_inner) = log_to;
    }

    /// How it ended, if it did; it may be started again then.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child();
        let status = child.as_mut()?.try_wait().expect("a child can be waited for")?;
        *child = None;
        Some(status)
    }

    /// True while its process lives.
    pub fn is_running(&self) -> bool {
        let mut child = self.child();
        child.as_mut().is_some_and(|child| child.try_wait().expect("a child can be waited for").is_none())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// `kill -9`, and waits until it is gone. False if it did not run.
    pub fn kill9(&self) -> bool {
        let Some(mut child) = self.child().take() else { return false };
        let was_alive = child.try_wait().expect("a child can be waited for").is_none();
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
        was_alive
    }

    /// SIGTERM; its exit code, which must come within ten seconds.
    #[track_caller]
    pub fn stop(&self) -> i32 {
        self.signal(Signal::TERM);
        let what = format!("{} has ended after SIGTERM", self.program);
        let status = wait_for(&what, STOP_TIME_MAX, || self.ended());
        assert!(status.code().is_some(), "{} was ended by a signal: {status}", self.program);
        status.code().unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child();
        let child = child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("a child can be sent a signal");
    }

    /// Everything it logged so far, in all its lives.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it logged this.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{} logs {text:?}", self.program), SOON, || self.log().contains(text));
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            #[expect(clippy::print_stderr, reason = "the test fails, and this is why")]
            {
                eprintln!("--- the end of {}\n{}", self.log.display(), tail.join("\n"));
            }
        }
    }
}
