//! An agent of a few lines that behaves as told, and `hume` called against it with a clean environment.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hume_core::Draft;
use tempfile::TempDir;

/// Longest wait for anything that should happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the agent does with each connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Reads a line and answers so.
    Answer(&'static str),
    /// Reads the line and says nothing.
    Silence,
    /// Reads the line and hangs up.
    HangUp,
    /// Hangs up before it reads.
    CloseAtOnce,
    /// Answers every line, with its own id, until the caller hangs up.
    Store,
    /// The same, but the first line it ever reads is answered only after another one was read.
    StoreLate,
    /// The same as [`Manner::Store`], until so many lines were read: then it answers no more and hangs up, once.
    HangUpOnceAfter(usize),
    /// The same, but it is gone for good.
    VanishAfter(usize),
}

pub(crate) const OK: Manner = Manner::Answer(
    "{\"ok\":true,\"id\":\"019abc00-0000-7000-8000-000000000001\",\"seq\":42,\"run\":\"019abc00-0000-7000-8000-000000000002\"}\n",
);

pub(crate) struct Site {
    folder: TempDir,
    lines: Option<Receiver<Vec<u8>>>,
}

impl Site {
    /// A site with an agent.
    pub(crate) fn new(manner: Manner) -> Site {
        let mut site = Site::without_agent();
        let listener = UnixListener::bind(site.socket()).unwrap();
        let (seen, lines) = channel();
        site.lines = Some(lines);
        let socket = site.socket();
        // Ends with the test: its listener is all it holds.
        std::thread::spawn(move || {
            let count = Arc::new((Mutex::new(0), Condvar::new()));
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let seen = seen.clone();
                let agent = Agent { manner, socket: socket.clone(), count: Arc::clone(&count) };
                std::thread::spawn(move || {
                    let seen = |line| seen.send(line).unwrap_or_default();
                    match manner {
                        Manner::Answer(_) | Manner::Silence | Manner::HangUp | Manner::CloseAtOnce => {
                            serve(&stream, manner, seen);
                        }
                        Manner::Store
                        | Manner::StoreLate
                        | Manner::HangUpOnceAfter(_)
                        | Manner::VanishAfter(_) => agent.store(&stream, seen),
                    }
                });
            }
        });
        site
    }

    /// A site with a drop folder and nobody at the socket.
    pub(crate) fn without_agent() -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("drop")).unwrap();
        Site { folder, lines: None }
    }

    /// Takes the drop folder away.
    pub(crate) fn without_drop_folder(self) -> Site {
        std::fs::remove_dir(self.folder.path().join("drop")).unwrap();
        self
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(crate) fn drop_dir(&self) -> PathBuf {
        self.folder.path().join("drop")
    }

    /// `hume`, with nothing in its environment but where this site is. Whoever started the tests may ignore what a terminal
    /// sends, as a shell does for its jobs in the background.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT,QUIT")
            .arg(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HUME", env!("CARGO_BIN_EXE_hume"))
            .env("HUME_SOCKET", self.socket())
            .env("HUME_DROP_DIR", self.drop_dir())
            .env("HUME_RECVTIMEOUT", "20000")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn hume<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        self.command(env!("CARGO_BIN_EXE_hume")).args(words).output().unwrap()
    }

    /// Runs a shell script in which `"$HUME"` is the program.
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.command("bash").args(["-c", script]).output().unwrap()
    }

    /// `hume` with this on its stdin.
    pub(crate) fn hume_reading(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(env!("CARGO_BIN_EXE_hume"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The next line the agent read.
    pub(crate) fn line(&self) -> Vec<u8> {
        self.lines.as_ref().unwrap().recv_timeout(DEADLINE).unwrap()
    }

    /// The next event the agent read.
    pub(crate) fn draft(&self) -> Draft {
        parsed(&self.line())
    }

    /// The next event the agent read, if one comes without being waited for.
    pub(crate) fn draft_at_hand(&self) -> Option<Draft> {
        self.lines.as_ref().unwrap().try_recv().ok().map(|line| parsed(&line))
    }

    /// The events in the drop folder in the order of their ids, and nothing else may be in it.
    pub(crate) fn dropped(&self) -> Vec<Draft> {
        let Ok(entries) = std::fs::read_dir(self.drop_dir()) else { return Vec::new() };
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let draft = parsed(&std::fs::read(&path).unwrap());
                let name = OsString::from(format!("{}.json", draft.id));
                assert_eq!(path.file_name(), Some(name.as_os_str()));
                (draft.id, draft)
            })
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect()
    }
}

pub(crate) fn parsed(line: &[u8]) -> Draft {
    hume_proto::intake::parse(line, || unreachable!("it has an id")).unwrap().draft
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code; a signal is a failure of the test.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn serve(stream: &UnixStream, manner: Manner, seen: impl Fn(Vec<u8>)) {
    if let Manner::CloseAtOnce = manner {
        return;
    }
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).unwrap();
    assert_eq!(line.pop(), Some(b'\n'));
    seen(line);
    match manner {
        Manner::Answer(answer) => {
            let mut writer = stream;
            writer.write_all(answer.as_bytes()).unwrap();
        }
        Manner::Silence => {
            // Until the caller gives up.
            let _ = reader.read_to_end(&mut Vec::new());
        }
        Manner::HangUp
        | Manner::CloseAtOnce
        | Manner::Store
        | Manner::StoreLate
        | Manner::HangUpOnceAfter(_)
        | Manner::VanishAfter(_) => {}
    }
}

/// An agent that answers line by line.
struct Agent {
    manner: Manner,
    socket: PathBuf,
    /// Lines read on all connections.
    count: Arc<(Mutex<usize>, Condvar)>,
}

impl Agent {
    fn store(&self, stream: &UnixStream, seen: impl Fn(Vec<u8>)) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(count) if count > 0 && line.pop() == Some(b'\n') => {}
                Ok(_) | Err(_) => return,
            }
            let id = parsed(&line).id;
            seen(line);
            let number = self.number();
            match self.manner {
                Manner::HangUpOnceAfter(limit) if number == limit => return,
                Manner::VanishAfter(limit) if number >= limit => {
                    let _ = std::fs::remove_file(&self.socket);
                    return;
                }
                Manner::StoreLate if number == 1 => self.wait_for_another(),
                _ => {}
            }
            let answer = format!("{{\"ok\":true,\"id\":\"{id}\",\"seq\":{number}}}\n");
            let mut writer = stream;
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn number(&self) -> usize {
        let (count, changed) = &*self.count;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_all();
        *count
    }

    fn wait_for_another(&self) {
        let (count, changed) = &*self.count;
        let count = count.lock().unwrap();
        let (_count, waited) = changed.wait_timeout_while(count, DEADLINE, |count| *count < 2).unwrap();
        assert!(!waited.timed_out());
    }
}
