//! `humeconfig --install-systemd`: units, user, folders, and the daemon's own files given to it; then the service is started.
//!
//! With `--root DIR` the same in the folder of an image, without a systemd that runs. A second time changes nothing, and what is
//! replaced is kept. Files of a package under `/usr/lib` are left to it.

mod folders;
mod packaged;
mod property;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hume_runtime::config;
use hume_runtime::files::{self, FileError};
use hume_runtime::{clock, exit};

use crate::change::{ChangeError, Daemon, Diff, exchange};
use crate::child;
use crate::failure::Failure;
use crate::init::absolute;
use crate::report::Report;
use crate::staging::Published;
use folders::Folder;
use packaged::File;
use property::{Given, Owned, User};
use toml::Table;

/// A program of systemd's has so long; the start of a daemon is among them, which may look through a large file.
const STEP_TIME_MAX: Duration = Duration::from_mins(5);
/// There while systemd runs the host.
const LIVE: &str = "/run/systemd/system";
/// Where the units look for daemons, and where else they may be.
const FOLDERS: [&str; 4] = ["usr/sbin", "usr/local/sbin", "usr/bin", "usr/local/bin"];
const MODE: u32 = 0o644;

/// Flags of `--install-systemd`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InstallArgs {
    /// Install the daemon's units, user and folders, and start it; `--of master` for the master.
    #[arg(long)]
    pub install_systemd: bool,
    /// In the folder of an image: nothing is started.
    #[arg(long, value_name = "DIR", requires = "install_systemd")]
    pub root: Option<PathBuf>,
}

/// The service was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No systemd to install it for.
    #[error("systemd does not run this host: for an image, name its folder with --root DIR")]
    NotLive,
    /// The units name the file.
    #[error("the unit reads {}: leave --config away, or change the unit by a drop-in", path.display())]
    Config {
        /// Which.
        path: &'static Path,
    },
    /// What is set is set in the image's own configuration.
    #[error(
        "--root is for --install-systemd alone: set what is in the image with --config in a call of its own"
    )]
    RootAndOthers,
    /// A daemon without configuration does not start.
    #[error("{} does not exist: make it first, by `humeconfig agent`, `humeconfig init` or `humeconfig set`", path.display())]
    NoConfig {
        /// The configuration.
        path: PathBuf,
    },
    /// The daemon is not there.
    #[error("{program} is in none of /{} below {}: install the programs first", FOLDERS.join(", /"), root.display())]
    NoProgram {
        /// Which.
        program: &'static str,
        /// Below which folder.
        root: PathBuf,
    },
    /// A program of systemd's failed.
    #[error(
        "{command} failed{}; what stands above is made, run this again when it is mended",
        last_line(said)
    )]
    Step {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// A program of systemd's could not be run.
    #[error("could not run {command}; what stands above is made, run this again when it is mended")]
    Run {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The user is not there though systemd-sysusers made it.
    #[error("there is no user {user} in {}", path.display())]
    NoUser {
        /// Who.
        user: &'static str,
        /// Where users are.
        path: PathBuf,
    },
}

fn last_line(text: &str) -> String {
    text.lines().last().map(|line| format!(": {line}")).unwrap_or_default()
}

impl InstallError {
    /// The code of sysexits(3) for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            InstallError::Config { .. } | InstallError::RootAndOthers => exit::USAGE,
            InstallError::NotLive | InstallError::Step { .. } | InstallError::Run { .. } => exit::UNAVAILABLE,
            InstallError::NoConfig { .. } | InstallError::NoProgram { .. } | InstallError::NoUser { .. } => {
                exit::CONFIG
            }
        }
    }
}

/// Whether systemd runs this host.
pub(crate) fn is_live() -> bool {
    Path::new(LIVE).exists()
}

/// Nothing, if systemd runs this host.
pub(crate) fn is_possible() -> Result<(), InstallError> {
    if is_live() { Ok(()) } else { Err(InstallError::NotLive) }
}

/// Installs the agent on this host, for one that has just joined.
pub(crate) fn run_agent(out: &mut dyn Write) -> Result<(), Failure> {
    let args = InstallArgs { install_systemd: true, root: None };
    run(&args, Daemon::Agent, None, How { is_dry: false, is_quiet: false }, out)
}

/// Installs the service of this daemon.
pub(crate) fn run(
    args: &InstallArgs,
    daemon: Daemon,
    config: Option<&Path>,
    how: How,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if config.is_some_and(|config| config != daemon.config()) {
        return Err(InstallError::Config { path: daemon.config() }.into());
    }
    if args.root.is_none() {
        is_possible()?;
    }
    let root = absolute(args.root.as_deref().unwrap_or(Path::new("/")))?;
    let place = Place { daemon, is_image: args.root.is_some(), root };
    let mut report = Report::default();
    // What was done is told also when a later step fails.
    let done = place.install(how, &mut report);
    if !how.is_quiet {
        report.write(out)?;
    }
    done
}

/// How much is done and said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Nothing is done.
    pub(crate) is_dry: bool,
    /// Nothing is said.
    pub(crate) is_quiet: bool,
}

struct Place {
    daemon: Daemon,
    root: PathBuf,
    is_image: bool,
}

impl Place {
    fn install(&self, how: How, report: &mut Report) -> Result<(), Failure> {
        let config = self.below(self.daemon.config());
        if !config.exists() {
            return Err(InstallError::NoConfig { path: config }.into());
        }
        let program = self.program()?;
        let table = config::load(&config)?;
        let (folders, notes) = folders::beyond(&table, self.daemon);
        let mut changes = Vec::new();
        for file in packaged::files(self.daemon) {
            let text = file.text.replace(&format!("/usr/sbin/{}", self.daemon.program()), &program);
            changes.extend(self.change(file, text, report)?);
        }
        if !folders.is_empty() {
            let text = folders::drop_in(&folders, self.daemon);
            let name = format!("systemd/system/{}.service.d/folders.conf", self.daemon.program());
            changes.extend(changed(self.root.join("etc").join(name), text)?);
        }
        let has_changes = !changes.is_empty();
        for (path, text) in changes {
            if how.is_dry {
                let before = fs::read_to_string(&path).unwrap_or_default();
                report.text(Diff::of_units(&path, &before, &text).as_str());
                continue;
            }
            report.steps(&[put(&path, &text)?], |_| String::new());
        }
        for note in notes {
            report.line(format!("note: {note}"));
        }
        let of_root = format!("--root={}", self.root.display());
        let name = format!("{}.conf", self.daemon.program());
        step(how, report, "systemd-sysusers", &[&of_root, &name])?;
        if self.daemon == Daemon::Agent {
            step(how, report, "systemd-tmpfiles", &[&of_root, "--create", &name])?;
        }
        self.give(how, &config, &table, &folders, report)?;
        self.start(how, has_changes, report)
    }

    /// What of the daemon's files is not its own yet becomes so.
    fn give(
        &self,
        how: How,
        config: &Path,
        table: &Table,
        folders: &[Folder],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let mut paths = property::of_daemon(table, self.daemon, config, &self.root);
        if how.is_dry {
            let beside = folders.iter().filter(|folder| self.is_beside(folder));
            for folder in beside.map(|folder| self.below(&folder.path)).filter(|folder| !folder.exists()) {
                report.line(format!("would make {}", folder.display()));
            }
            for path in paths.iter().filter(|owned| owned.path.exists()) {
                report.line(format!("would give to {}: {}", self.daemon.user(), path.path.display()));
            }
            return Ok(());
        }
        let passwd = self.root.join("etc/passwd");
        let user = User::find(&passwd, self.daemon.user())
            .ok_or(InstallError::NoUser { user: self.daemon.user(), path: passwd })?;
        paths.extend(self.folders_of_daemon(user, folders, report)?);
        for owned in paths {
            let path = owned.path.display();
            match property::give(&owned, user)? {
                Given::Before => {}
                Given::Now => report.line(format!("gave to {}: {path}", self.daemon.user())),
                Given::NotAlone => report.line(format!(
                    "note: {path} holds keys of others as well, and stays whose it is: better give {} a folder of its own",
                    self.daemon.program()
                )),
            }
        }
        Ok(())
    }

    /// What is in the folders beside the configuration, which are made; others are the administrator's.
    fn folders_of_daemon(
        &self,
        user: User,
        folders: &[Folder],
        report: &mut Report,
    ) -> Result<Vec<Owned>, FileError> {
        let mut found = Vec::new();
        for folder in folders {
            let place = self.below(&folder.path);
            if !self.is_beside(folder) {
                let (path, user) = (folder.path.display(), self.daemon.user());
                report.line(format!("note: {path} must be a folder of {user}"));
                continue;
            }
            if !place.exists() {
                files::create_dir(&place, folder.mode)?;
                report.line(format!("made {}", place.display()));
            }
            found.extend(folders::with_content(&place, user.id).into_iter().map(Owned::own));
        }
        Ok(found)
    }

    fn is_beside(&self, folder: &Folder) -> bool {
        self.daemon.config().parent().is_some_and(|beside| folder.path.starts_with(beside))
    }

    fn start(&self, how: How, has_changes: bool, report: &mut Report) -> Result<(), Failure> {
        let units = packaged::units(self.daemon);
        if self.is_image {
            let of_root = format!("--root={}", self.root.display());
            return step(how, report, "systemctl", &[&[of_root.as_str(), "enable"], units].concat());
        }
        step(how, report, "systemctl", &["daemon-reload"])?;
        step(how, report, "systemctl", &[&["enable", "--now"], units].concat())?;
        if has_changes {
            // One that ran already runs by the new unit now.
            let service = format!("{}.service", self.daemon.program());
            step(how, report, "systemctl", &["try-restart", &service])?;
        }
        Ok(())
    }

    /// The file as it is to be; none if it is so, or if a package has it.
    fn change(
        &self,
        file: &File,
        text: String,
        report: &mut Report,
    ) -> Result<Option<(PathBuf, String)>, Failure> {
        let (folder, name) = (file.folder, file.name);
        let packages = self.root.join("usr/lib").join(folder).join(name);
        if packages.exists() {
            report.line(format!("kept {}: it is a package's", packages.display()));
            return Ok(None);
        }
        let path = self.root.join("etc").join(folder).join(name);
        changed(path, text)
    }

    /// The daemon, as the unit names it: what is installed, and not what was built in somebody's home, which the unit hides.
    fn program(&self) -> Result<String, InstallError> {
        let program = self.daemon.program();
        let found = FOLDERS.iter().find(|folder| self.root.join(folder).join(program).is_file());
        found
            .map(|folder| format!("/{folder}/{program}"))
            .ok_or_else(|| InstallError::NoProgram { program, root: self.root.clone() })
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn step(how: How, report: &mut Report, program: &str, words: &[&str]) -> Result<(), Failure> {
    let command = format!("{program} {}", words.join(" "));
    if how.is_dry {
        report.line(format!("would run: {command}"));
        return Ok(());
    }
    match child::run(Command::new(program).args(words), STEP_TIME_MAX) {
        Ok((status, _)) if status.success() => {
            report.line(format!("ran: {command}"));
            Ok(())
        }
        Ok((_, said)) => Err(InstallError::Step { command, said }.into()),
        Err(source) => Err(InstallError::Run { command, source }.into()),
    }
}

/// The file and its text, unless it has it.
fn changed(path: PathBuf, text: String) -> Result<Option<(PathBuf, String)>, Failure> {
    match fs::read_to_string(&path) {
        Ok(found) if found == text => Ok(None),
        Ok(_) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some((path, text))),
        Err(source) => Err(Failure::Read { path, source }),
    }
}

fn put(path: &Path, text: &str) -> Result<Published, ChangeError> {
    files::create_dir(files::parent_of(path), 0o755)?;
    let staged = files::temporary_beside(path);
    files::write(&staged, text.as_bytes(), MODE)?;
    exchange(&staged, path, clock::now()).inspect_err(|_| {
        // The first error is the one to report.
        let _ = files::remove(&staged);
    })
}

/// A step on a file failed.
fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError { step, path: path.to_owned(), source }
}
