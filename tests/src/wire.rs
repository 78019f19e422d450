//! A wire between two network namespaces of its own, on which packets are lost, late, in disorder, slow or changed.
//!
//! A process made from `wire.c` holds both namespaces and carries every packet between them; with it they are gone. That takes
//! root, `/dev/net/tun`, a C compiler and `ip`, and no `netem` in the kernel. Nothing outside of the two namespaces is touched.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const SOURCE: &str = include_str!("wire.c");

/// One end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the agent lives.
    Agent,
    /// Where the master lives.
    Master,
}

/// What happens to packets on their way to one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand packets so many are lost.
    pub lost_per_mille: u32,
    /// Each takes so long.
    pub delay_ms: u32,
    /// And up to so much longer, each by itself: so they overtake each other.
    pub jitter_ms: u32,
    /// So many bytes pass in a second; 0 for no bound.
    pub bytes_per_second: u32,
    /// Of a thousand packets so many are changed where TCP does not notice.
    pub changed_per_mille: u32,
}

impl Weather {
    /// Nothing arrives.
    pub const CUT: Weather = Weather {
        lost_per_mille: 1000,
        delay_ms: 0,
        jitter_ms: 0,
        bytes_per_second: 0,
        changed_per_mille: 0,
    };
}

/// What happened on the way to one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets that arrived.
    pub passed: u64,
    /// Packets that did not.
    pub lost: u64,
    /// Packets that were changed.
    pub changed: u64,
    /// Packets that were overtaken.
    pub overtaken: u64,
}

/// What happened on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// On the way to the agent.
    pub to_agent: Traffic,
    /// On the way to the master.
    pub to_master: Traffic,
    /// Times of four seconds or more in which nothing passed, and that a packet ended.
    pub silences: u64,
    /// Packets that were lost because the connection had been forgotten.
    pub forgotten: u64,
}

/// The wire. Dropping it ends the process and takes the namespaces away.
#[derive(Debug)]
pub struct Wire {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    keepers: [u32; 2],
}

impl Wire {
    /// A new one, made in this folder. Fails with the reason on a machine that cannot have one.
    ///
    /// # Errors
    /// In words what is missing.
    pub fn new(folder: &Path) -> Result<Wire, String> {
        let (source, program) = (folder.join("wire.c"), folder.join("wire"));
        std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
        let made = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(&source).status();
        if !made.is_ok_and(|status| status.success()) {
            return Err("there is no C compiler for a wire between network namespaces".to_owned());
        }
        let spawned = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("the wire does not start: {error}"))?;
        let input = child.stdin.take().expect("it is a pipe");
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        // An error leaves the line empty, as the end does.
        let _ = output.read_line(&mut line);
        let keepers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [agent, master] = keepers[..] else {
            drop(child.wait());
            return Err(
                "this machine does not allow network namespaces with a wire between them (that takes root, \
                        /dev/net/tun and iproute2)"
                    .to_owned(),
            );
        };
        Ok(Wire { child, pipes: Mutex::new((input, output)), keepers: [agent, master] })
    }

    /// The address of an end; the namespace may be given more in 10.63.0.0/24.
    pub fn address(end: End) -> Ipv4Addr {
        Ipv4Addr::new(10, 63, 0, if end == End::Agent { 1 } else { 2 })
    }

    /// Words that let what follows them run at this end.
    pub fn at(&self, end: End) -> Vec<String> {
        let keeper = self.keepers[usize::from(end == End::Master)];
        vec!["nsenter".to_owned(), format!("--net=/proc/{keeper}/ns/net")]
    }

    /// From now on the way to this end is so.
    pub fn set(&self, to: End, weather: Weather) {
        let Weather { lost_per_mille, delay_ms, jitter_ms, bytes_per_second, changed_per_mille } = weather;
        let to = u8::from(to == End::Master);
        self.tell(&format!(
            "to {to} loss {lost_per_mille} delay {delay_ms} jitter {jitter_ms} rate {bytes_per_second} corrupt {changed_per_mille}"
        ));
    }

    /// The same for both ways.
    pub fn set_both(&self, weather: Weather) {
        self.set(End::Agent, weather);
        self.set(End::Master, weather);
    }

    /// From now on a connection is forgotten when nothing passed for so long.
    pub fn forget_after_ms(&self, idle_ms: u32) {
        self.tell(&format!("idle {idle_ms}"));
    }

    /// What happened so far.
    pub fn figures(&self) -> Figures {
        let line = self.tell("stats");
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let traffic = |from: usize| Traffic {
            passed: numbers[from],
            lost: numbers[from + 1],
            changed: numbers[from + 2],
            overtaken: numbers[from + 3],
        };
        assert_eq!(numbers.len(), 10, "{line}");
        Figures { to_agent: traffic(0), to_master: traffic(4), silences: numbers[8], forgotten: numbers[9] }
    }

    fn tell(&self, command: &str) -> String {
        let (input, output) = &mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = String::new();
        writeln!(input, "{command}")
            .and_then(|()| output.read_line(&mut line))
            .expect("the wire lives as long as its owner");
        line
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It has ended by itself, or is ended here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
