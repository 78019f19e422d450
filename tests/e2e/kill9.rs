//! `kill -9` of agent or master at any moment: every confirmed event is at the master exactly once, and no other.
//!
//! The ledger holds what was confirmed: by an answer of the agent, or by `hume` with exit code 0, which is also given for
//! the drop folder. It is judged after the killing has stopped. A kill counts when its victim had become ready since its
//! start; the killing goes on until enough was hit, however long a slow machine takes. `HUME_TEST_SEED` repeats a sequence
//! of kills.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use hume_tests::events::text;
use hume_tests::{Agent, Master, SOON, Site, process, wait_until};
use serde_json::{Value, json};

/// Kills of a process that was ready, in all and of each of the two.
const KILLS_MIN: usize = 100;
const KILLS_OF_EACH_MIN: usize = 20;
/// Confirmations that came from the agent itself.
const ANSWERS_MIN: usize = 100;
/// Rounds of killing after which something is wrong with the test.
const ROUNDS_MAX: usize = 2_000;
/// Threads that call the real `hume`.
const CALLERS: usize = 2;
/// Threads that write JSON Lines with ids of their own.
const WRITERS: usize = 2;
/// Lines that a writer has on their way at once.
const PIPELINED: usize = 25;
/// Longest time between two kills, and longest absence, in milliseconds.
const PAUSE_MS_MAX: u64 = 250;
const ABSENCE_MS_MAX: u64 = 150;
/// Longest time between two calls of `hume` by one thread, in milliseconds: scripts have other things to do, too.
const CALL_PAUSE_MS_MAX: u64 = 60;
/// Everything is at the master within this time after the last kill.
const DRAIN_TIME_MAX: Duration = Duration::from_mins(2);

/// What was tried and what was confirmed; the message is unique to each event.
#[derive(Default)]
struct Ledger {
    /// What was sent, by message.
    attempted: Mutex<HashMap<String, Sent>>,
    /// What was confirmed, and the position if one was given.
    confirmed: Mutex<HashMap<String, Option<u64>>>,
    /// Events that were sent more than once.
    repeated: AtomicUsize,
    /// Confirmations that came from the drop folder.
    dropped: AtomicUsize,
}

/// What must be found at the master.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    id: Option<String>,
    level: &'static str,
    tags: Vec<String>,
    extra: String,
}

/// How long the reporting goes on.
#[derive(Default)]
struct Stage {
    /// The killing is over: finish what was begun.
    is_over: AtomicBool,
    /// The test has failed: nothing that was begun will be finished.
    is_lost: AtomicBool,
}

impl Stage {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

/// Ends the reporting when it is dropped, also by a panic: the threads would be waited for.
struct Curtain<'a>(&'a Stage);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.is_lost.store(thread::panicking(), Ordering::Relaxed);
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

const LEVELS: [&str; 7] = ["debug", "info", "ok", "warning", "error", "critical", "unknown"];

impl Ledger {
    fn attempt(&self, message: &str, sent: Sent) {
        let before = self.attempted.lock().unwrap().insert(message.to_owned(), sent);
        assert!(before.is_none(), "messages are unique");
    }

    fn confirm(&self, message: &str, seq: Option<u64>) {
        self.confirmed.lock().unwrap().insert(message.to_owned(), seq);
    }
}

/// A random payload: some events are tiny, a few are as large as they may be.
fn payload(rng: &mut Rng) -> String {
    let length = if rng.u8(..) == 0 { 7_000 } else { rng.usize(0..200) };
    // Without what stands between a name and its value: chance finds `pw=`, and what follows would be hidden.
    let is_plain = |found: &char| !found.is_control() && !matches!(found, ':' | '=');
    std::iter::repeat_with(|| rng.char('!'..='ÿ')).filter(is_plain).take(length).collect()
}

/// Calls `hume --strict` until the killing is over.
fn call(name: usize, agent: &Agent, ledger: &Ledger, stage: &Stage, mut rng: Rng) {
    let task = format!("CALLER_{name}");
    let mut number = 0;
    while !stage.is_over() {
        pause(&mut rng, CALL_PAUSE_MS_MAX);
        number += 1;
        let message = format!("caller {name} event {number} {}", payload(&mut rng));
        let level = *rng.choice(&LEVELS).unwrap();
        let (tag, extra) = (format!("tag{number}"), payload(&mut rng));
        let pair = format!("note={extra}");
        let sent = Sent { id: None, level, tags: vec![tag.clone()], extra };
        ledger.attempt(&message, sent);
        let words =
            ["--strict", "--verbose", "-t", &task, "-L", level, "-T", &tag, "-x", &pair, "-m", &message];
        let output = process::run(
            agent
                .reporting(process::command("hume"))
                .args(words)
                // Short, so that a kill in the middle of an answer leads to the drop folder now and then.
                .env("HUME_RECVTIMEOUT", "2000"),
        );
        assert_eq!(output.code, Some(0), "the drop folder takes what the agent cannot: {output:?}");
        if output.stderr.contains("drop folder") {
            ledger.dropped.fetch_add(1, Ordering::Relaxed);
        }
        ledger.confirm(&message, None);
    }
}

/// Writes pipelined lines, the same ones again until each is confirmed, until the killing is over.
fn write(name: usize, agent: &Agent, ledger: &Ledger, stage: &Stage, mut rng: Rng) {
    let task = format!("WRITER_{name}");
    let mut number = 0;
    while !stage.is_over() {
        let mut open: Vec<(String, Value)> = (0..rng.usize(1..=PIPELINED))
            .map(|_| {
                number += 1;
                let message = format!("writer {name} event {number} {}", payload(&mut rng));
                let level = *rng.choice(&LEVELS).unwrap();
                let (id, extra) = (uuid(&mut rng), payload(&mut rng));
                let line = json!({
                    "id": id, "task": task, "message": message, "level": level, "tags": ["pipelined"],
                    "extra": {"note": extra},
                });
                let sent = Sent { id: Some(id), level, tags: vec!["pipelined".to_owned()], extra };
                ledger.attempt(&message, sent);
                (message, line)
            })
            .collect();
        while !stage.is_lost() {
            pause(&mut rng, CALL_PAUSE_MS_MAX / 4);
            let Some(answered) = exchange(agent, &open) else { continue };
            for ((message, _), answer) in open.iter().zip(&answered) {
                if answer["ok"] == true {
                    ledger.confirm(message, answer["seq"].as_u64());
                } else {
                    assert!(["busy", "internal", "full"].contains(&text(answer, "code")), "{answer}");
                }
            }
            let mut answers = answered.iter();
            open.retain(|_| answers.next().is_none_or(|answer| answer["ok"] != true));
            if open.is_empty() {
                break;
            }
            ledger.repeated.fetch_add(open.len(), Ordering::Relaxed);
        }
    }
}

/// Sends the lines on one connection; as many answers as came before it broke. None if nothing was sent.
fn exchange(agent: &Agent, lines: &[(String, Value)]) -> Option<Vec<Value>> {
    let mut stream = agent.try_connect().ok()?;
    let text = hume_tests::events::json_lines(lines.iter().map(|(_, line)| line.clone()));
    if stream.write_all(text.as_bytes()).is_err() {
        return Some(Vec::new());
    }
    let answers = BufReader::new(stream).lines().take(lines.len()).map_while(Result::ok);
    // The last line may be half of one.
    Some(answers.map_while(|line| serde_json::from_str(&line).ok()).collect())
}

/// A version 7 UUID, by chance alone.
fn uuid(rng: &mut Rng) -> String {
    let hex = format!("{:032x}", rng.u128(..));
    format!("{}-{}-7{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// A wait for nobody, with a random bound: the moment of what comes next must be random.
fn pause(rng: &mut Rng, ms_max: u64) {
    let (_alarm, bell) = mpsc::channel::<()>();
    let rung = bell.recv_timeout(Duration::from_millis(rng.u64(0..=ms_max)));
    assert_eq!(rung, Err(mpsc::RecvTimeoutError::Timeout), "the bell is never rung");
}

/// What was hit.
#[derive(Debug, Default)]
struct Kills {
    /// Processes that had become ready, by name.
    ready: BTreeMap<&'static str, usize>,
    /// Processes in the middle of their start.
    early: BTreeMap<&'static str, usize>,
}

impl Kills {
    fn note(&mut self, name: &'static str, was_ready: bool, was_alive: bool) {
        if was_alive {
            let kills = if was_ready { &mut self.ready } else { &mut self.early };
            *kills.entry(name).or_default() += 1;
        }
    }

    /// What is still wanting; empty when the test has something to judge.
    fn wanting(&self, ledger: &Ledger) -> Vec<String> {
        let of = |name| self.ready.get(name).copied().unwrap_or_default();
        let answers = ledger.confirmed.lock().unwrap().values().filter(|seq| seq.is_some()).count();
        [
            ("kills", self.ready.values().sum(), KILLS_MIN),
            ("kills of the agent", of("agent"), KILLS_OF_EACH_MIN),
            ("kills of the master", of("master"), KILLS_OF_EACH_MIN),
            ("answers of the agent", answers, ANSWERS_MIN),
            ("events sent again", ledger.repeated.load(Ordering::Relaxed), 1),
            ("events in the drop folder", ledger.dropped.load(Ordering::Relaxed), 1),
        ]
        .into_iter()
        .filter(|(_, found, wanted)| found < wanted)
        .map(|(what, found, wanted)| format!("{what}: {found} of {wanted}"))
        .collect()
    }
}

/// Kills one of the two or both at a random moment, and starts them again after a random absence, until nothing is wanting.
fn kill(agent: &Agent, master: &Master, ledger: &Ledger, mut rng: Rng) -> Kills {
    let mut kills = Kills::default();
    for _ in 0..ROUNDS_MAX {
        let (is_agent, is_master) = *rng.choice(&[(true, false), (false, true), (true, true)]).unwrap();
        // Mostly it is let live first; now and then the middle of a start is hit.
        if rng.u8(..) > 50 {
            wait_until("the next victims are ready", SOON, || {
                (!is_agent || agent.is_ready()) && (!is_master || master.is_ready())
            });
        }
        pause(&mut rng, PAUSE_MS_MAX);
        if is_agent {
            kills.note("agent", agent.is_ready(), agent.kill9());
        }
        if is_master {
            kills.note("master", master.is_ready(), master.kill9());
        }
        pause(&mut rng, ABSENCE_MS_MAX);
        let mut starts: [&dyn Fn(); 2] = [
            &|| {
                if !agent.is_running() {
                    agent.spawn();
                }
            },
            &|| {
                if !master.is_running() {
                    master.spawn();
                }
            },
        ];
        rng.shuffle(&mut starts);
        for start in starts {
            start();
        }
        if kills.wanting(ledger).is_empty() {
            break;
        }
    }
    kills
}

/// Positions are dense from 1 in every epoch: nothing was lost and nothing renumbered.
fn check_positions(all: &[Value]) {
    let mut epochs: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in all {
        epochs.entry(text(event, "epoch")).or_default().push(event["seq"].as_u64().unwrap());
    }
    assert_eq!(epochs.len(), 1, "a crash begins no new epoch");
    for seqs in epochs.values_mut() {
        // Listed newest first; at the master as at the agent, the order is that of the positions.
        assert!(
            seqs.is_sorted_by(|newer, older| newer > older),
            "the order of arrival is that of the positions"
        );
        assert_eq!((seqs.last(), seqs.first()), (Some(&1), Some(&(seqs.len() as u64))), "there is a hole");
    }
}

#[test]
fn after_a_hundred_kills_every_confirmed_event_is_at_the_master_exactly_once() {
    let seed = std::env::var("HUME_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("HUME_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let site = Site::new();
    let agent = site.agent("web1");
    let (ledger, stage) = (Ledger::default(), Stage::default());
    let kills = thread::scope(|scope| {
        let _curtain = Curtain(&stage);
        for name in 0..CALLERS {
            let rng = rng.fork();
            let (agent, ledger, stage) = (&agent, &ledger, &stage);
            scope.spawn(move || call(name, agent, ledger, stage, rng));
        }
        for name in 0..WRITERS {
            let rng = rng.fork();
            let (agent, ledger, stage) = (&agent, &ledger, &stage);
            scope.spawn(move || write(name, agent, ledger, stage, rng));
        }
        let kills = kill(&agent, site.master(), &ledger, rng.fork());
        wait_until("the agent is ready again", SOON, || agent.is_ready());
        wait_until("the master is ready again", SOON, || site.master().is_ready());
        kills
    });
    wait_until("the drop folder is empty", SOON, || {
        let entries = std::fs::read_dir(agent.drop_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name != "rejected").all(|name| name.to_string_lossy().starts_with('.'))
    });
    agent.wait_until_drained(DRAIN_TIME_MAX);

    assert_eq!(kills.wanting(&ledger), [""; 0], "after {ROUNDS_MAX} rounds: {kills:?}");
    let stored = site.master().query_lines(&[]);
    let attempted = ledger.attempted.into_inner().unwrap();
    let confirmed = ledger.confirmed.into_inner().unwrap();
    let (repeated, dropped) = (ledger.repeated.into_inner(), ledger.dropped.into_inner());
    let answered = confirmed.values().filter(|seq| seq.is_some()).count();
    println!(
        "{kills:?}, events confirmed {} ({answered} by the agent) of {} tried, stored {}, sent again {repeated}, dropped {dropped}",
        confirmed.len(),
        attempted.len(),
        stored.len(),
    );

    // P2 and P4: once each, and nothing that nobody sent.
    let mut by_message: HashMap<&str, &Value> = HashMap::new();
    let mut ids = HashSet::new();
    for event in &stored {
        let message = text(event, "message");
        assert!(by_message.insert(message, event).is_none(), "stored twice: {event:#}");
        assert!(ids.insert(text(event, "id")), "an id is stored twice: {event:#}");
        assert!(attempted.contains_key(message), "nobody sent {event:#}");
    }
    // P1: all that was confirmed, at the place that was confirmed.
    let lost: Vec<&String> = confirmed.keys().filter(|key| !by_message.contains_key(key.as_str())).collect();
    assert!(lost.is_empty(), "{} confirmed events are lost: {lost:#?}", lost.len());
    for (message, seq) in &confirmed {
        if let Some(seq) = seq {
            assert_eq!(by_message[message.as_str()]["seq"], *seq, "confirmed at another place: {message}");
        }
    }
    // P3: as it was sent.
    for (message, event) in &by_message {
        let Sent { id, level, tags, extra } = &attempted[*message];
        assert!(id.as_ref().is_none_or(|id| event["id"] == **id), "{event:#}");
        assert_eq!((&event["level"], &event["tags"]), (&json!(level), &json!(tags)));
        assert_eq!(event["extra"], json!({ "note": extra }));
        assert!(event["run"].is_string() && event["truncated_from"].is_null());
    }
    // P6 and P7, over what nobody reported, too.
    let all = site.master().query_lines(&["--kind", "all"]);
    check_positions(&all);
    let of_agent = agent.query_lines(&["--kind", "all"]);
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&of_agent), ids(&all), "agent and master tell the same story");
    // P5: it goes on.
    agent.hume(&["--strict", "-t", "AFTER", "-m", "fresh"]).ok();
    wait_until("a fresh event arrives", SOON, || site.master().count(&["-t", "AFTER"]) == 1);
    assert_eq!((agent.stop(), site.master().stop()), (0, 0));
}
