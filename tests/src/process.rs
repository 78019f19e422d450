//! Programs of the workspace as child processes: found beside the test, run with a clean environment and a deadline.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// No command of a test takes longer.
const COMMAND_TIME_MAX: Duration = Duration::from_mins(2);

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The words it was started with.
    pub words: String,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout; what is not UTF-8 is replaced.
    pub stdout: String,
    /// What it wrote to stderr; what is not UTF-8 is replaced.
    pub stderr: String,
}

impl Output {
    /// The same, if the program ended with 0.
    #[track_caller]
    pub fn ok(&self) -> &Output {
        self.with_code(0)
    }

    /// The same, if the program ended with this code.
    #[track_caller]
    pub fn with_code(&self, code: i32) -> &Output {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        assert!(parsed.is_ok(), "not JSON: {self:#?}");
        parsed.unwrap_or_default()
    }

    /// Its stdout, one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parsed = self.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        assert!(parsed.is_ok(), "not a JSON value a line: {parsed:?} of `{}`", self.words);
        parsed.unwrap_or_default()
    }
}

/// The folder of the programs: `target/<profile>`.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own executable");
    // target/<profile>/deps/e2e-0123456789abcdef, or target/<profile>/hume-chaos
    let folder = test.parent().expect("the executable is in a folder");
    let is_test = folder.ends_with("deps");
    folder.parent().filter(|_| is_test).unwrap_or(folder).to_path_buf()
}

/// The program of this name. `cargo test` alone does not build every one of them anew, and then an old one would be judged.
pub fn program(name: &str) -> PathBuf {
    static LOOKED_AT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let path = programs().join(name);
    let is_new = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
    if is_new {
        assert!(path.exists(), "{} does not exist: run `cargo build --workspace` first", path.display());
        if let Some(source) = newer_source(&path) {
            let (path, source) = (path.display(), source.display());
            unreachable!("{path} is older than {source}: run `cargo build --workspace` first");
        }
    }
    path
}

/// A source of a program that was changed after it was built, by cargo's list beside it.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let built = changed(program)?;
    // What build scripts make is written anew without being different.
    let made = program.parent()?.join("build");
    let list = fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = list.split_once(": ")?;
    // A space within a path is `\ ` there.
    let sources = sources.trim().replace("\\ ", "\0");
    let sources = sources.split(' ').map(|source| PathBuf::from(source.replace('\0', " ")));
    sources
        .filter(|source| !source.starts_with(&made))
        .find(|source| changed(source).is_some_and(|changed| changed > built))
}

/// A command for a program of the workspace.
pub fn command(name: &str) -> Command {
    clean(Command::new(program(name)))
}

/// A command whose first `hume` is ours.
pub fn shell(words: &[&str]) -> Command {
    let mut all = words.iter();
    let mut command = clean(Command::new(all.next().expect("a command has a first word")));
    command.args(all);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(programs()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).expect("no folder of PATH has a colon"));
    drop(program("hume"));
    command
}

/// The command without variables that change what hume's programs and shells do.
fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if meddles(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    command
}

/// Whether a variable of this name changes what hume's programs or shells do: where they report, what they are asked
/// through, what a script runs before its first line.
fn meddles(name: &str) -> bool {
    name.starts_with("HUME")
        || name.to_ascii_lowercase().ends_with("_proxy")
        || ["HTASK", "HTAGS", "LINENO", "INVOCATION_ID", "NOTIFY_SOCKET", "CLICOLOR_FORCE", "BASH_ENV", "ENV"]
            .contains(&name)
}

/// Runs a command to its end, with nothing on stdin.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    finish(start(command.stdin(Stdio::null())), &words(command))
}

/// Runs a command to its end, with this on stdin.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = start(command.stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // Who does not read all of it closes the pipe.
    let _ = stdin.write_all(input);
    drop(stdin);
    finish(child, &words(command))
}

/// Starts a command whose output is kept for [`finish`].
pub fn start(command: &mut Command) -> Child {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    assert!(started.is_ok(), "could not start {command:?}: {started:?}");
    started.expect("it was just looked at")
}

/// Waits for the end of a command, and ends it when it takes too long.
#[track_caller]
pub fn finish(child: Child, words: &str) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (tell, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        // Whoever gave up does not listen any more.
        let _ = tell.send(child.wait_with_output());
    });
    let Ok(output) = ended.recv_timeout(COMMAND_TIME_MAX) else {
        // Not reaped yet, so the id is still its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        assert!(words.is_empty(), "`{words}` did not end within {COMMAND_TIME_MAX:?}");
        unreachable!("commands have words");
    };
    waiter.join().expect("the waiting thread ends");
    let output = output.expect("a child can be waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output {
        words: words.to_owned(),
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The words of a command, as one text.
pub fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_older_than_one_of_its_sources_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let [program, old, new] = ["tool", "an old.rs", "new.rs"].map(|name| folder.path().join(name));
        for path in [&program, &old, &new] {
            fs::write(path, "").unwrap();
        }
        let list = |sources: &[&Path]| {
            let names = sources.iter().map(|path| path.display().to_string().replace(' ', "\\ "));
            let text = format!("{}: {}\n", program.display(), names.collect::<Vec<_>>().join(" "));
            fs::write(program.with_extension("d"), text).unwrap();
        };
        let date = |path: &Path, seconds| {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        date(&old, 1_000);
        date(&program, 2_000);
        date(&new, 3_000);
        list(&[&old]);
        assert_eq!(newer_source(&program), None);
        list(&[&old, &new]);
        assert_eq!(newer_source(&program), Some(new.clone()));
        fs::create_dir(folder.path().join("build")).unwrap();
        let made = folder.path().join("build/made.rs");
        fs::write(&made, "").unwrap();
        list(&[&old, &made]);
        assert_eq!(newer_source(&program), None, "made by a build script");
        list(&[&old, &new]);
        date(&old, 4_000);
        assert_eq!(newer_source(&program), Some(old.clone()), "its name has a space");
    }

    #[test]
    fn variables_that_would_change_a_command_are_taken_away_and_others_stay() {
        for name in [
            "HUME_SOCKET",
            "HTASK",
            "https_proxy",
            "ALL_PROXY",
            "no_proxy",
            "BASH_ENV",
            "ENV",
            "CLICOLOR_FORCE",
        ] {
            assert!(meddles(name), "{name}");
        }
        for name in ["PATH", "HOME", "TMPDIR", "ENVIRONMENT", "proxy", "NO_COLOR"] {
            assert!(!meddles(name), "{name}");
        }
    }

    #[test]
    fn a_command_says_what_it_said() {
        let output = run_with_input(&mut shell(&["sh", "-c", "cat; echo oops >&2; exit 3"]), b"in");
        output.with_code(3);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("in", "oops\n"));
    }
}
