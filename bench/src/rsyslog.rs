//! The same journey with rsyslog: a local socket, a disk queue, RELP over mutual TLS, a file at the other end.
//!
//! Two processes of their own, from configurations in a scratch folder; the rsyslog of the machine is left alone. With
//! [`Syncing::Every`] the queue and the file are synced as hume's spool and store are; with [`Syncing::Never`] neither.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::lines::LINE_BYTES;
use crate::scratch::{Process, Scratch};
use crate::site::{Site, free_port};
use crate::stats;
use crate::wait::{SOON, rest};

/// How it is installed where it is missing.
pub(crate) const INSTALL: &str = "apt-get install rsyslog rsyslog-relp";
/// Where it is on most systems, beside the folders of `PATH`.
const SBIN: &str = "/usr/sbin/rsyslogd";
/// Between two looks at the file at the end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether queue and file are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncing {
    Every,
    Never,
}

/// The program, with its modules for RELP: none if it or they are missing.
pub(crate) fn find(scratch: &Scratch) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).map(|folder| folder.join("rsyslogd"));
    let Some(program) = folders.chain([PathBuf::from(SBIN)]).find(|program| program.exists()) else {
        return Ok(None);
    };
    let probe = scratch.path().join("probe.conf");
    let sink = scratch.path().join("probe.log");
    let modules =
        ["imrelp", "omrelp", "imptcp"].map(|module| format!("module(load=\"{module}\")\n")).concat();
    let action = format!("action(type=\"omfile\" file=\"{}\")\n", sink.display());
    fs::write(&probe, modules + &action).with_context(|| format!("could not write {}", probe.display()))?;
    let output = Command::new(&program).args(["-N1", "-f"]).arg(&probe).output();
    let output = output.with_context(|| format!("could not start {}", program.display()))?;
    Ok(output.status.success().then_some(program))
}

/// Events per second that arrive in the file, of `events` or of as many as do within `limit`.
/// # Errors
/// If one of the two did not start, or nothing arrived.
pub(crate) fn rate(
    program: &Path,
    site: &Site,
    syncing: Syncing,
    events: usize,
    limit: Duration,
) -> anyhow::Result<f64> {
    let name = match syncing {
        Syncing::Every => "synced",
        Syncing::Never => "unsynced",
    };
    let dir = site.scratch().path().join(name);
    fs::create_dir(&dir).with_context(|| format!("could not make {}", dir.display()))?;
    let files = Files { pki: site.scratch().path(), dir: &dir, port: free_port()? };
    let (socket, output) = (dir.join("in.sock"), dir.join("out.log"));
    let mut receiver = start(program, site, &format!("{name}-receiver"), &files.receiver(syncing, &output))?;
    receiver.wait_until_ready(SOON, || std::net::TcpStream::connect(files.port).is_ok())?;
    let mut sender = start(program, site, &format!("{name}-sender"), &files.sender(syncing, &socket))?;
    let logs = |sender: &Process| format!("{}\n{}", sender.tail(), receiver.tail());
    sender.wait_until_ready(SOON, || UnixStream::connect(&socket).is_ok()).with_context(|| logs(&sender))?;
    let (arrived, took) = send(&socket, &output, events, limit).with_context(|| logs(&sender))?;
    ensure!(arrived > 0, "nothing arrived within {limit:?}\n{}", logs(&sender));
    Ok(stats::rate(arrived, took))
}

fn start(program: &Path, site: &Site, name: &str, config: &str) -> anyhow::Result<Process> {
    let path = |ending: &str| site.scratch().path().join(format!("{name}.{ending}"));
    fs::write(path("conf"), config).with_context(|| format!("could not write {}", path("conf").display()))?;
    let mut command = Command::new(program);
    command.args(["-n", "-f"]).arg(path("conf")).arg("-i").arg(path("pid"));
    site.scratch().start(name, &mut command)
}

/// Writes the events and waits until the file has them all; how many it has at the end, and when that was.
fn send(socket: &Path, output: &Path, events: usize, limit: Duration) -> anyhow::Result<(u64, Duration)> {
    let text: String = (0..events).map(line).collect();
    let mut stream = UnixStream::connect(socket).context("could not connect to rsyslog")?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let written = stream.try_clone().context("could not share a socket")?;
        let writing = scope.spawn(move || stream.write_all(text.as_bytes()));
        let mut counted = Counted::default();
        while counted.lines < events as u64 && began.elapsed() < limit {
            rest(LOOK_EVERY);
            counted.look(output)?;
        }
        let took = began.elapsed();
        // Whoever still writes has nothing to wait for.
        let _ = written.shutdown(std::net::Shutdown::Both);
        // An error of the writing is the end that was just made, or shows in what did not arrive.
        let _ = writing.join();
        Ok((counted.lines, took))
    })
}

/// A line of syslog as long as one of hume's.
fn line(number: usize) -> String {
    let mut line = format!("<14>Nov 25 14:00:00 web1 BACKUP: file {number} copied");
    line.extend(" of the tree".chars().cycle().take(LINE_BYTES.saturating_sub(line.len())));
    line.push('\n');
    line
}

/// The lines of a file that grows.
#[derive(Default)]
struct Counted {
    file: Option<File>,
    lines: u64,
}

impl Counted {
    fn look(&mut self, path: &Path) -> anyhow::Result<()> {
        if self.file.is_none() {
            // It is made with the first line.
            self.file = File::open(path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("could not read {}", path.display()))?;
        self.lines += (bytes.split(|byte| *byte == b'\n').count() - 1) as u64;
        Ok(())
    }
}

struct Files<'a> {
    /// The folder of a site: its certificates serve here as well.
    pki: &'a Path,
    dir: &'a Path,
    port: SocketAddr,
}

impl Files<'_> {
    fn tls(&self, folder: &str, name: &str) -> String {
        let path = |file: &str| self.pki.join(folder).join("pki").join(file).display().to_string();
        let (ca, certificate, key) =
            (path("ca.pem"), path(&format!("{name}.pem")), path(&format!("{name}.key")));
        format!(
            "tls=\"on\" tls.cacert=\"{ca}\" tls.mycert=\"{certificate}\" tls.myprivkey=\"{key}\" \
             tls.authmode=\"certvalid\""
        )
    }

    fn sender(&self, syncing: Syncing, socket: &Path) -> String {
        let sync = match syncing {
            Syncing::Every => "queue.syncqueuefiles=\"on\" queue.checkpointinterval=\"1\"",
            Syncing::Never => "queue.syncqueuefiles=\"off\"",
        };
        format!(
            "global(workDirectory=\"{dir}\")\n\
             module(load=\"imptcp\")\nmodule(load=\"omrelp\")\n\
             input(type=\"imptcp\" path=\"{socket}\" ruleset=\"out\")\n\
             ruleset(name=\"out\" queue.type=\"Direct\") {{\n  \
             action(type=\"omrelp\" target=\"{host}\" port=\"{port}\" {tls}\n    \
             queue.type=\"Disk\" queue.filename=\"queue\" {sync} queue.saveonshutdown=\"on\" \
             action.resumeretrycount=\"-1\")\n}}\n",
            dir = self.dir.display(),
            socket = socket.display(),
            host = self.port.ip(),
            port = self.port.port(),
            tls = self.tls("web1", "agent"),
        )
    }

    fn receiver(&self, syncing: Syncing, output: &Path) -> String {
        let sync = match syncing {
            Syncing::Every => "sync=\"on\"",
            Syncing::Never => "sync=\"off\"",
        };
        format!(
            "global(workDirectory=\"{dir}\")\nmodule(load=\"imrelp\")\n\
             template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             input(type=\"imrelp\" address=\"{host}\" port=\"{port}\" ruleset=\"in\" {tls})\n\
             ruleset(name=\"in\" queue.type=\"Direct\") {{\n  \
             action(type=\"omfile\" file=\"{output}\" template=\"raw\" {sync})\n}}\n",
            dir = self.dir.display(),
            host = self.port.ip(),
            port = self.port.port(),
            tls = self.tls("master", "master"),
            output = output.display(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_long_as_one_of_hume() {
        assert_eq!(line(7).len(), LINE_BYTES + 1);
        assert_eq!(line(499_999).len(), LINE_BYTES + 1);
    }

    #[test]
    fn lines_of_a_file_are_counted_as_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        let mut counted = Counted::default();
        counted.look(&path).unwrap();
        assert_eq!(counted.lines, 0);
        fs::write(&path, "a\nb").unwrap();
        counted.look(&path).unwrap();
        assert_eq!(counted.lines, 1);
        File::options().append(true).open(&path).unwrap().write_all(b"\nc\n").unwrap();
        counted.look(&path).unwrap();
        assert_eq!(counted.lines, 3);
    }
}
