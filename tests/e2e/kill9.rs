//! `kill -9` of agent or master at any moment: every confirmed event is at the master exactly once, and no other.
//!
//! The ledger holds what was confirmed: by an answer of the agent, or by `hume` with exit code 0, which is also given for
//! the drop folder. It is judged after the killing has stopped. `HUME_TEST_SEED` repeats a sequence of kills.

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

/// Kills of a process that was alive.
const KILLS: usize = 120;
/// Threads that call the real `hume`.
const CALLERS: usize = 2;
/// Threads that write JSON Lines with ids of their own.
const WRITERS: usize = 2;
/// Lines that a writer has on their way at once.
const PIPELINED: usize = 25;
/// Longest time between two kills, and longest absence, in milliseconds.
const PAUSE_MS_MAX: u64 = 450;
const ABSENCE_MS_MAX: u64 = 250;
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
    std::iter::repeat_with(|| rng.char('!'..='ÿ')).filter(|found| !found.is_control()).take(length).collect()
}

/// Calls `hume --strict` until the killing is over.
fn call(name: usize, agent: &Agent, ledger: &Ledger, is_over: &AtomicBool, mut rng: Rng) {
    let task = format!("CALLER_{name}");
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
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
fn write(name: usize, agent: &Agent, ledger: &Ledger, is_over: &AtomicBool, mut rng: Rng) {
    let task = format!("WRITER_{name}");
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
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
        loop {
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

/// Kills one of the two at a random moment and starts it again after a random absence, many times.
fn kill(agent: &Agent, master: &Master, mut rng: Rng) -> BTreeMap<&'static str, usize> {
    let mut kills = BTreeMap::new();
    while kills.values().sum::<usize>() < KILLS {
        pause(&mut rng, PAUSE_MS_MAX);
        let (victim, both) = (rng.u8(..), rng.u8(..));
        let mut strike = |name, is_hit: bool| {
            if is_hit {
                *kills.entry(name).or_default() += 1;
            }
        };
        let is_agent = victim < 150;
        if is_agent || both < 25 {
            strike("agent", agent.kill9());
        }
        if !is_agent || both < 25 {
            strike("master", master.kill9());
        }
        pause(&mut rng, ABSENCE_MS_MAX);
        // Not waited for: the next kill may hit the middle of a start.
        let start = |is_up: bool, spawn: &dyn Fn()| {
            if !is_up {
                spawn();
            }
        };
        if rng.bool() {
            start(agent.is_running(), &|| agent.spawn());
            start(master.is_running(), &|| master.spawn());
        } else {
            start(master.is_running(), &|| master.spawn());
            start(agent.is_running(), &|| agent.spawn());
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
    let (ledger, is_over) = (Ledger::default(), AtomicBool::new(false));
    let kills = thread::scope(|scope| {
        for name in 0..CALLERS {
            let rng = rng.fork();
            let (agent, ledger, is_over) = (&agent, &ledger, &is_over);
            scope.spawn(move || call(name, agent, ledger, is_over, rng));
        }
        for name in 0..WRITERS {
            let rng = rng.fork();
            let (agent, ledger, is_over) = (&agent, &ledger, &is_over);
            scope.spawn(move || write(name, agent, ledger, is_over, rng));
        }
        let kills = kill(&agent, site.master(), rng.fork());
        wait_until("the agent is ready again", SOON, || agent.is_ready());
        wait_until("the master is ready again", SOON, || site.master().is_ready());
        is_over.store(true, Ordering::Relaxed);
        kills
    });
    wait_until("the drop folder is empty", SOON, || {
        let entries = std::fs::read_dir(agent.drop_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name != "rejected").all(|name| name.to_string_lossy().starts_with('.'))
    });
    agent.wait_until_drained(DRAIN_TIME_MAX);

    let stored = site.master().query_lines(&[]);
    let attempted = ledger.attempted.into_inner().unwrap();
    let confirmed = ledger.confirmed.into_inner().unwrap();
    let (repeated, dropped) = (ledger.repeated.into_inner(), ledger.dropped.into_inner());
    println!(
        "kills {kills:?}, events confirmed {} of {} tried, stored {}, sent again {repeated}, dropped {dropped}",
        confirmed.len(),
        attempted.len(),
        stored.len(),
    );
    assert!(kills.values().sum::<usize>() >= 100 && kills.len() == 2, "{kills:?}");
    assert!(repeated > 0 && dropped > 0, "the kills hit nothing that was on its way");

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
