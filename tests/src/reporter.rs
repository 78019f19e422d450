//! Senders that go on whatever becomes of their agent: calls of the real `hume`, and JSON Lines with ids of their own.
//!
//! Each notes in the ledger before it sends and after it is answered. A caller takes what `hume` says; a writer sends the same
//! lines again until each is confirmed, so once the faults are over nothing it began is left open.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::ledger::{By, Ledger, Payload, key_of};
use crate::{Agent, Output, events, let_pass, process};

const LEVELS: [&str; 7] = ["debug", "info", "ok", "warning", "error", "critical", "unknown"];
/// `hume` ends with one of these when neither the agent nor the drop folder took the event: no agent, a fault of it, no room.
const NOT_KEPT: [i32; 3] = [69, 70, 75];

/// How long the senders go on.
#[derive(Debug, Default)]
pub struct Stage {
    is_over: AtomicBool,
    is_lost: AtomicBool,
}

impl Stage {
    /// Nothing new is begun: what was begun is finished.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The test has failed: nothing that was begun will be finished.
    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// What ends the reporting when it is dropped, also by a panic: the senders would be waited for.
    pub fn curtain(&self) -> Curtain<'_> {
        Curtain(self)
    }

    /// Gives up, also what was begun.
    pub fn abandon(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// See [`Stage::curtain`].
#[derive(Debug)]
pub struct Curtain<'a>(&'a Stage);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abandon();
        }
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Longest time between two calls of `hume`, and between two batches of a writer, in milliseconds.
    pub pause_ms_max: u64,
    /// Lines that a writer has on their way at most.
    pub pipelined_max: usize,
    /// Characters of a message at most; one in 256 is as long as it may be.
    pub message_max: usize,
    /// How long `hume` waits for an answer, in milliseconds.
    pub patience_ms: u64,
    /// What they are about.
    pub about: About,
}

/// What events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A task of each sender, so that they are in runs, and every third nothing.
    Tasks,
    /// Nothing: plain notes.
    Nothing,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            pause_ms_max: 60,
            pipelined_max: 25,
            message_max: 200,
            patience_ms: 2_000,
            about: About::Tasks,
        }
    }
}

/// One sender.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// To this agent.
    pub agent: &'a Agent,
    /// Here it is noted.
    pub ledger: &'a Ledger,
    /// Until this is over.
    pub stage: &'a Stage,
    /// So much.
    pub load: Load,
    /// Unlike that of any other sender to the agent, without white space.
    pub name: &'a str,
}

/// Which way events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By `hume --strict`.
    Hume,
    /// By the agent's socket.
    Socket,
}

impl Reporter<'_> {
    /// Sends until the stage is over.
    pub fn run(self, way: Way, mut rng: Rng) {
        let mut number = 0;
        while !self.stage.is_over() {
            self.pause(&mut rng);
            match way {
                Way::Hume => self.call(&mut number, &mut rng),
                Way::Socket => self.write(&mut number, &mut rng),
            }
        }
    }

    /// Sends one event by `hume`.
    pub fn once(self, rng: &mut Rng) {
        self.call(&mut 0, rng);
    }

    fn pause(&self, rng: &mut Rng) {
        let time = Duration::from_millis(rng.u64(0..=self.load.pause_ms_max));
        let_pass(time, || self.stage.is_over());
    }

    fn payload(&self, number: u64, rng: &mut Rng) -> Payload {
        let key = format!("{}-{}-{number}", self.agent.host(), self.name);
        let message = format!("{key} {}", text(self.load.message_max, rng));
        let level = rng.choice(LEVELS).unwrap_or("info").to_owned();
        Payload { message, level, tags: vec![format!("tag{}", number % 7)], note: text(40, rng) }
    }

    /// A task, or none: a plain note.
    fn task(&self, number: u64) -> Option<String> {
        (self.load.about == About::Tasks && !number.is_multiple_of(3)).then(|| self.name.to_uppercase())
    }

    /// One call of `hume`.
    fn call(&self, number: &mut u64, rng: &mut Rng) {
        *number += 1;
        let payload = self.payload(*number, rng);
        let Payload { message, level, tags, note } = &payload;
        let (pair, tag) = (format!("note={note}"), tags.join(","));
        let mut words = vec!["--strict", "--verbose", "-L", level, "-T", &tag, "-x", &pair, "-m", message];
        let task = self.task(*number);
        if let Some(task) = &task {
            words.extend(["-t", task]);
        }
        let mut command = self.agent.reporting(process::command("hume"));
        command.args(words).env("HUME_RECVTIMEOUT", self.load.patience_ms.to_string());
        self.ledger.attempt(self.agent.host(), None, &payload);
        let output = process::run(&mut command);
        match output.code {
            Some(0) => {
                let (by, id) = said(&output);
                self.ledger.confirm(key_of(message), by, Some(&id));
            }
            Some(code) if NOT_KEPT.contains(&code) => self.ledger.refuse(),
            _ => unreachable!("the event is well formed: {output:#?}"),
        }
    }

    /// One batch of lines, until each is confirmed.
    fn write(&self, number: &mut u64, rng: &mut Rng) {
        let mut open: Vec<(Payload, String)> = (0..rng.usize(1..=self.load.pipelined_max))
            .map(|_| {
                *number += 1;
                (self.payload(*number, rng), uuid(rng))
            })
            .collect();
        let first = *number + 1 - open.len() as u64;
        let lines: Vec<Value> =
            (first..).zip(&open).map(|(number, (payload, id))| self.line(number, payload, id)).collect();
        let mut lines = lines;
        while !open.is_empty() && !self.stage.is_lost() {
            for (payload, id) in &open {
                self.ledger.attempt(self.agent.host(), Some(id), payload);
            }
            let answers = self.exchange(&lines);
            for ((payload, id), answer) in open.iter().zip(&answers) {
                if answer["ok"] == true {
                    let seq = answer["seq"].as_u64().expect("a confirmation names the place");
                    self.ledger.confirm(key_of(&payload.message), By::Agent { seq }, Some(id));
                } else {
                    let code = events::text(answer, "code");
                    assert!(["busy", "internal", "full"].contains(&code), "{answer}");
                    self.ledger.refuse();
                }
            }
            let mut kept = answers.iter();
            let is_open: Vec<bool> =
                open.iter().map(|_| kept.next().is_none_or(|answer| answer["ok"] != true)).collect();
            let mut still = is_open.iter();
            open.retain(|_| still.next().copied().unwrap_or(true));
            let mut still = is_open.iter();
            lines.retain(|_| still.next().copied().unwrap_or(true));
            if !open.is_empty() {
                self.pause(rng);
                // An agent that is away is not asked as fast as the machine can.
                let_pass(Duration::from_millis(10), || self.stage.is_lost());
            }
        }
    }

    fn line(&self, number: u64, payload: &Payload, id: &str) -> Value {
        let Payload { message, level, tags, note } = payload;
        let mut line =
            json!({"id": id, "message": message, "level": level, "tags": tags, "extra": {"note": note}});
        if let Some(task) = self.task(number) {
            line["task"] = task.into();
        }
        line
    }

    /// Sends the lines on one connection: the answers that came before it broke.
    fn exchange(&self, lines: &[Value]) -> Vec<Value> {
        let Ok(mut stream) = self.agent.try_connect() else { return Vec::new() };
        let text = events::json_lines(lines.iter().cloned());
        let Ok(answers) = stream.try_clone() else { return Vec::new() };
        let limit = Duration::from_millis(self.load.patience_ms);
        if stream.set_read_timeout(Some(limit)).and(stream.set_write_timeout(Some(limit))).is_err() {
            return Vec::new();
        }
        thread::scope(|scope| {
            scope.spawn(move || {
                // Whoever only writes, and reads later, may wait for the other end; one that has gone closes the connection.
                let _ = stream.write_all(text.as_bytes());
            });
            let answers = BufReader::new(answers).lines().take(lines.len()).map_while(Result::ok);
            // The last line may be half of one.
            answers.map_while(|line| serde_json::from_str(&line).ok()).collect()
        })
    }
}

/// What `hume --verbose` says of an event that is kept.
fn said(output: &Output) -> (By, String) {
    let found = kept(&output.stderr);
    assert!(found.is_some(), "hume does not say where the event is: {output:#?}");
    found.unwrap_or((By::Folder, String::new()))
}

fn kept(stderr: &str) -> Option<(By, String)> {
    if let Some((_, rest)) = stderr.split_once("stored by the agent: id ") {
        let (id, rest) = rest.split_once(", seq ")?;
        let digits = rest.split(|one: char| !one.is_ascii_digit()).next()?;
        return Some((By::Agent { seq: digits.parse().ok()? }, id.to_owned()));
    }
    let (_, path) = stderr.split_once("stored in the drop folder: ")?;
    let name = path.lines().next()?.rsplit('/').next()?;
    Some((By::Folder, name.strip_suffix(".json")?.to_owned()))
}

/// Random characters: mostly few, and now and then as many as an event may have. None stands between a name and its value: chance
/// finds `pw=` in a few hundred long texts, and the agent would hide what follows.
fn text(length_max: usize, rng: &mut Rng) -> String {
    let length = if length_max > 100 && rng.u8(..) == 0 { 7_000 } else { rng.usize(0..length_max) };
    std::iter::repeat_with(|| rng.char('!'..='ÿ'))
        .filter(|found| !found.is_control() && !matches!(found, ':' | '='))
        .take(length)
        .collect()
}

/// A version 7 UUID, by chance alone.
fn uuid(rng: &mut Rng) -> String {
    let hex = format!("{:032x}", rng.u128(..));
    format!("{}-{}-7{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hume_says_of_an_event_is_understood() {
        let id = "01970000-0000-7000-8000-000000000001";
        assert_eq!(
            kept(&format!("hume: stored by the agent: id {id}, seq 42, run 01\n")),
            Some((By::Agent { seq: 42 }, id.to_owned()))
        );
        assert_eq!(
            kept(&format!("hume: no agent at /x; stored in the drop folder: /a/drop/{id}.json\n")),
            Some((By::Folder, id.to_owned()))
        );
        assert_eq!(kept("hume: no agent at /x\n"), None);
    }

    #[test]
    fn a_stage_that_is_over_ends_a_pause() {
        let stage = Stage::default();
        drop(stage.curtain());
        assert!(stage.is_over() && !stage.is_lost());
        let_pass(Duration::from_hours(1), || stage.is_over());
    }
}
