//! A folder for one measurement and the processes in it: all of them are ended and the folder is removed on every way
//! out, be it the end, an error, Ctrl-C or even `kill -9`.
//!
//! The folder lies below `target/bench`, on the disk that is measured, and is reached by a short link in `/tmp`, for
//! the path of a Unix socket has 107 bytes. A shell waits on a pipe that only this process holds; when it closes, the
//! shell ends what is left by its id and removes both.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_for;

const SCRIPT: &str = include_str!("../guardian.sh");
/// Time for a process to end after SIGTERM.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when something failed.
const TAIL_LINES: usize = 20;
/// Where the short links are.
const LINKS: &str = "/tmp";

/// A folder with its guardian. Clones are handles; the last one removes it.
#[derive(Clone)]
pub(crate) struct Scratch(Arc<Inner>);

struct Inner {
    link: PathBuf,
    guardian: Mutex<Guardian>,
}

struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
}

/// A process that was started here. Dropping it ends it.
pub(crate) struct Process {
    name: String,
    child: Option<Child>,
    log: PathBuf,
    scratch: Scratch,
}

impl Scratch {
    /// A new folder in `base`, which is made if it is missing.
    pub(crate) fn new(base: &Path) -> anyhow::Result<Scratch> {
        fs::create_dir_all(base).with_context(|| format!("could not make {}", base.display()))?;
        let name = format!("hb-{}-{:04x}", std::process::id(), fastrand::u16(..));
        let (folder, link) = (base.join(&name), Path::new(LINKS).join(&name));
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "hume-bench-guardian"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Out of reach of Ctrl-C, which ends the others.
            .process_group(0)
            .spawn()
            .context("could not start /bin/sh")?;
        let mut guardian = Guardian { pipe: shell.stdin.take(), shell };
        guardian.tell(&format!("folder {}", link.display()))?;
        guardian.tell(&format!("folder {}", folder.display()))?;
        let scratch = Scratch(Arc::new(Inner { link: link.clone(), guardian: Mutex::new(guardian) }));
        let made = DirBuilder::new().mode(0o700).create(&folder).and_then(|()| symlink(&folder, &link));
        made.with_context(|| format!("could not make {} and {}", folder.display(), link.display()))?;
        Ok(scratch)
    }

    /// Its path, short enough for sockets.
    pub(crate) fn path(&self) -> &Path {
        &self.0.link
    }

    /// Starts a process with its output in a log named after it.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> anyhow::Result<Process> {
        let log = self.path().join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log);
        let out = open().with_context(|| format!("could not open {}", log.display()))?;
        let err = out.try_clone().context("could not share a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        let told = format!("started {}", child.id());
        let process = Process { name: name.to_owned(), child: Some(child), log, scratch: self.clone() };
        self.tell(&told)?;
        Ok(process)
    }

    fn tell(&self, text: &str) -> anyhow::Result<()> {
        self.0.guardian.lock().unwrap_or_else(PoisonError::into_inner).tell(text)
    }
}

impl Guardian {
    fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        let pipe = self.pipe.as_mut().context("the guardian is gone")?;
        writeln!(pipe, "{text}").context("could not tell the guardian")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It cleans up by itself; an error of the call leaves nothing to be done.
        let _ = self.shell.wait();
    }
}

impl Process {
    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.as_ref().map(Child::id).with_context(|| format!("{} does not run", self.name))
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { bail!("{} does not run", self.name) };
        let Some(status) = child.try_wait().with_context(|| format!("could not wait for {}", self.name))?
        else {
            return Ok(None);
        };
        self.forget()?;
        Ok(Some(status))
    }

    /// Waits until `is_ready`.
    /// # Errors
    /// If it ends instead, or takes longer than `limit`.
    pub(crate) fn wait_until_ready(
        &mut self,
        limit: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let what = format!("{} is ready", self.name);
        wait_for(&what, limit, || match self.ended()? {
            Some(status) => bail!("{} ended at once ({status})", self.name),
            None => Ok(is_ready().then_some(())),
        })
    }

    /// SIGTERM, and waits until it has ended.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        kill_process(Pid::from_child(child), Signal::TERM)
            .with_context(|| format!("could not send SIGTERM to {}", self.name))?;
        let what = format!("{} has ended after SIGTERM", self.name);
        wait_for(&what, STOP_TIME_MAX, || self.ended()).map(drop)
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill9(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { bail!("{} does not run", self.name) };
        child.kill().with_context(|| format!("could not kill {}", self.name))?;
        child.wait().with_context(|| format!("could not wait for {}", self.name))?;
        self.forget()
    }

    /// The last lines it wrote.
    pub(crate) fn tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
        format!("--- the end of the log of {}\n{}", self.name, tail.join("\n"))
    }

    fn forget(&mut self) -> anyhow::Result<()> {
        match self.child.take() {
            Some(child) => self.scratch.tell(&format!("ended {}", child.id())),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop().is_err()
            && let Some(child) = &mut self.child
        {
            // Not reaped yet, so the id is still its own. If even this fails, the guardian tries again.
            let _ = child.kill();
            let _ = child.wait();
            let _ = self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_ends_with_its_handle_and_the_folder_with_the_last_one() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(&base.path().join("a b")).unwrap();
        let link = scratch.path().to_path_buf();
        let folder = fs::read_link(&link).unwrap();
        let process = scratch.start("sleeper", Command::new("sleep").arg("600")).unwrap();
        let pid = process.pid().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(scratch);
        assert!(folder.exists());
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!folder.exists() && fs::symlink_metadata(&link).is_err());
    }

    #[test]
    fn a_process_that_ends_instead_of_being_ready_is_named() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(base.path()).unwrap();
        let mut process =
            scratch.start("quitter", Command::new("sh").args(["-c", "echo why; exit 3"])).unwrap();
        let error = process.wait_until_ready(STOP_TIME_MAX, || false).unwrap_err();
        assert!(error.to_string().contains("quitter ended at once"), "{error}");
        assert!(process.tail().contains("why"));
    }
}
