//! Ends every process that the demo started and removes its folder, on every way out: the end, an error, Ctrl-C,
//! even `kill -9`.
//!
//! A shell waits on a pipe that only this process holds. When the pipe closes it sends SIGTERM to all that it was
//! told of, SIGKILL ten seconds later to what is left, and removes the folder. So there is one way of cleaning up
//! and no signal handler.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::wait;

const SCRIPT: &str = include_str!("../../demo/guardian.sh");

/// Time for a process to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Owner of the demo's processes and its folder.
pub(super) struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
    processes: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
}

impl Guardian {
    /// Starts to guard `folder`.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "hume-demo-guardian"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Out of reach of Ctrl-C, which ends the others.
            .process_group(0)
            .spawn()
            .context("could not start /bin/sh")?;
        let pipe = shell.stdin.take();
        let mut guardian = Self { shell, pipe, processes: Vec::new() };
        guardian.tell(&format!("folder {}", folder.display()))?;
        Ok(guardian)
    }

    /// Starts a daemon with its output in the file `log`.
    pub(super) fn start(&mut self, name: &str, log: &Path, command: &mut Command) -> anyhow::Result<()> {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().with_context(|| format!("could not open {}", log.display()))?;
        let err = out.try_clone().context("could not share a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        let told = format!("started {}", child.id());
        self.processes.push(Process { name: name.to_owned(), child });
        self.tell(&told)
    }

    /// Runs a command in the foreground to its end.
    pub(super) fn run(&mut self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        let mut child = command.stdin(Stdio::null()).spawn().context("could not start it")?;
        self.tell(&format!("started {}", child.id()))?;
        let status = child.wait().context("could not wait for it")?;
        self.tell(&format!("ended {}", child.id()))?;
        Ok(status)
    }

    /// How the daemon `name` ended, if it did; it is forgotten then.
    pub(super) fn ended(&mut self, name: &str) -> anyhow::Result<Option<ExitStatus>> {
        let Some(index) = self.processes.iter().position(|process| process.name == name) else {
            bail!("{name} was not started")
        };
        let Some(process) = self.processes.get_mut(index) else { return Ok(None) };
        let Some(status) = process.child.try_wait().context("could not wait for a process")? else {
            return Ok(None);
        };
        let process = self.processes.remove(index);
        self.tell(&format!("ended {}", process.child.id()))?;
        Ok(Some(status))
    }

    /// Stops the daemon `name` with SIGTERM and waits until it has ended.
    pub(super) fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid(name).with_context(|| format!("{name} does not run"))?;
        let kill = ["-c", "kill -TERM \"$0\"", &pid.to_string()].map(str::to_owned);
        let status = Command::new("/bin/sh").args(kill).status().context("could not start /bin/sh")?;
        if !status.success() {
            bail!("could not send SIGTERM to {name}");
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        wait::until(&format!("{name} has ended"), deadline, || Ok(self.ended(name)?.is_some()))
    }

    /// The process id of the daemon `name`, if it runs.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.processes.iter().find(|process| process.name == name).map(|process| process.child.id())
    }

    /// All process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.child.id()).collect()
    }

    /// Leaves everything as it is from now on.
    pub(super) fn dismiss(mut self) -> anyhow::Result<()> {
        self.tell("keep")?;
        self.processes.clear();
        Ok(())
    }

    fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        let pipe = self.pipe.as_mut().context("the guardian is gone")?;
        writeln!(pipe, "{text}").context("could not tell the guardian")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // The shell sees to it that all of them end; the errors of these calls leave nothing to be done.
        for process in &mut self.processes {
            let _ = process.child.wait();
        }
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline() -> Instant {
        Instant::now() + STOP_TIMEOUT
    }

    #[test]
    fn a_dropped_guardian_leaves_no_process_and_no_folder() {
        let folder = super::super::folder::create().expect("a folder");
        let mut guardian = Guardian::new(&folder).expect("a shell");
        let log = folder.join("log");
        guardian.start("first", &log, Command::new("sleep").arg("600")).expect("starts");
        guardian.start("second", &log, Command::new("sleep").arg("600")).expect("starts");
        let pids = guardian.pids();
        assert_eq!(pids.len(), 2);
        drop(guardian);
        assert!(!folder.exists());
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
        }
    }

    #[test]
    fn a_stopped_process_is_no_longer_guarded() {
        let folder = super::super::folder::create().expect("a folder");
        let mut guardian = Guardian::new(&folder).expect("a shell");
        guardian.start("one", &folder.join("log"), Command::new("sleep").arg("600")).expect("starts");
        guardian.stop("one").expect("ends");
        assert_eq!(guardian.pid("one"), None);
    }

    #[test]
    fn a_dismissed_guardian_leaves_everything_as_it_is() {
        let folder = super::super::folder::create().expect("a folder");
        let mut guardian = Guardian::new(&folder).expect("a shell");
        guardian.start("one", &folder.join("log"), Command::new("sleep").arg("600")).expect("starts");
        let pid = guardian.pid("one").expect("runs").to_string();
        guardian.dismiss().expect("is told");
        assert!(folder.exists());
        assert!(Path::new("/proc").join(&pid).exists());

        let status = Command::new("/bin/sh").args(["-c", "kill \"$0\"", &pid]).status().expect("a shell");
        assert!(status.success());
        // Nobody waits for it any more, so what is left of it is a zombie until this test ends.
        let stat = Path::new("/proc").join(&pid).join("stat");
        wait::until("it is gone", deadline(), || {
            Ok(std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")))
        })
        .expect("ends");
        std::fs::remove_dir_all(&folder).expect("a folder");
    }
}
