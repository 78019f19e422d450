//! What an administrator does with what the master keeps, beside the running master: `backup` and `restore`, each from words to exit code.
//!
//! What was done is said on standard output; how far it is, on a terminal alone.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hume_runtime::sqlite::{self, CopyProgress, LockError, SqliteError};
use hume_runtime::{clock, exit};

use super::enclosures::{self, Extent, Gathering, Keys};
use crate::config::Config;
use crate::registry::Actor;
use crate::store::{self, BackupError, CopyReport, Restored, Taken};

/// Between two words of how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// A backup or a restore was not done.
#[derive(Debug, thiserror::Error)]
pub enum CopiesError {
    /// A master has the store, or its folder cannot be taken.
    #[error("nothing was restored: stop the master first")]
    Lock(#[source] LockError),
    /// It was not made.
    #[error("nothing was done")]
    Backup(#[source] Box<BackupError>),
    /// It was done, and nobody could be told.
    #[error("could not write what was done")]
    Say(#[source] io::Error),
}

impl CopiesError {
    /// After sysexits(3).
    pub fn exit_code(&self) -> u8 {
        match self {
            CopiesError::Lock(LockError::Held { .. }) => exit::TEMPORARY,
            CopiesError::Backup(error) => match &**error {
                BackupError::Missing { .. }
                | BackupError::Unusable { source: SqliteError::Open { .. }, .. } => exit::NO_INPUT,
                BackupError::Exists { .. } => exit::CANNOT_CREATE,
                BackupError::NoRoom { .. } | BackupError::LogGrew { .. } => exit::TEMPORARY,
                BackupError::Unusable { .. } => exit::DATA,
                BackupError::Damaged { .. } | BackupError::Copy(_) | BackupError::File(_) => exit::IO,
            },
            CopiesError::Lock(_) | CopiesError::Say(_) => exit::IO,
        }
    }
}

impl From<BackupError> for CopiesError {
    fn from(error: BackupError) -> CopiesError {
        CopiesError::Backup(Box::new(error))
    }
}

/// Copies the store, the registry and, unless its keys are left out, the CA to `to`, and says what the copy holds.
/// # Errors
/// [`CopiesError`].
pub fn backup(config: &Config, to: &Path, taken: Taken, keys: Keys) -> Result<(), CopiesError> {
    let (mut progress, mut gathering) = (Progress::new(), Gathering::new(config, keys));
    let mut gather = |folder: &Path| gathering.gather(folder);
    let report = store::backup(&config.store.path, to, taken, &mut |at| progress.at(at), Some(&mut gather));
    progress.end();
    say(&format!("{}: {}{}\n", to.display(), told(report?), gathering.said))
}

/// Puts a copy of `from` in the place of the store, and of registry and CA as far as `extent` says; says what was done and what
/// happens next.
/// # Errors
/// [`CopiesError`].
pub fn restore(config: &Config, from: &Path, extent: Extent) -> Result<(), CopiesError> {
    let path = &config.store.path;
    let lock = sqlite::lock(path.parent().unwrap_or(Path::new("."))).map_err(CopiesError::Lock)?;
    let mut progress = Progress::new();
    let (now, mut beside) = (clock::now(), String::new());
    let uid = rustix::process::getuid().as_raw();
    let actor = Actor { name: format!("uid {uid}"), address: "restore".to_owned() };
    let mut put_back = || {
        beside = enclosures::put_back(config, from, extent, &actor, now)?;
        Ok(())
    };
    let restored = store::restore(&lock, from, path, now, &mut |at| progress.at(at), Some(&mut put_back));
    progress.end();
    let Restored { report, replaced } = restored?;
    let mut text = format!("{}: {}\n{beside}", path.display(), told(report));
    if let Some(replaced) = replaced {
        // Writing into a String does not fail.
        let _ = writeln!(text, "The store that was there is kept as {}", replaced.display());
    }
    text.push_str(NEXT);
    say(&text)
}

const NEXT: &str = "\
Now start the master. Each agent sends again what came after the backup, as far as its retained tail
reaches (by default 72 hours, at most 256 MiB); what no tail has is shown as a gap. Whoever follows the
log is told that the store was restored, and begins anew.
";

fn told(report: CopyReport) -> String {
    let CopyReport { events, bytes, through } = report;
    match through {
        Some(through) => format!("{events} events, {bytes} bytes, through {through}"),
        None => format!("{events} events, {bytes} bytes"),
    }
}

fn say(text: &str) -> Result<(), CopiesError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CopiesError::Say)
}

/// A line on a terminal that changes while a copy is made; nothing elsewhere.
struct Progress {
    is_terminal: bool,
    said_at: Option<Instant>,
}

impl Progress {
    fn new() -> Progress {
        Progress { is_terminal: io::stderr().is_terminal(), said_at: None }
    }

    fn at(&mut self, CopyProgress { copied_bytes, all_bytes }: CopyProgress) {
        let is_due = self.said_at.is_none_or(|said| said.elapsed() >= PROGRESS_EVERY);
        if self.is_terminal && is_due {
            self.said_at = Some(Instant::now());
            let percent = copied_bytes.saturating_mul(100) / all_bytes.max(1);
            let (copied, all) = (copied_bytes / 1_048_576, all_bytes / 1_048_576);
            // Who cannot see it does without.
            let _ = write!(io::stderr().lock(), "\r{percent:3} %  {copied} of {all} MiB");
        }
    }

    /// Clears the line.
    fn end(&self) {
        if self.said_at.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
