//! Nothing that was confirmed is lost or doubled when agent and master are killed at any moment.
//!
//! The oracle: an id enters the ledger only after `hume` exited 0 under `--strict`, or the socket answered ok. At the
//! end every id of the ledger is at the master exactly once with the text it was sent with, and nothing is there that
//! was never tried. The seed is printed; HUME_TEST_SEED repeats it.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hume_tests::events::{items, text};
use hume_tests::{Agent, SOON, Site, wait_until};
use serde_json::{Value, json};

const KILLS: u64 = 110;
const DRAIN_TIME_MAX: Duration = Duration::from_mins(3);

/// What was tried, and of that what was confirmed: text by id.
#[derive(Default)]
struct Ledger {
    tried: Mutex<HashMap<String, String>>,
    confirmed: Mutex<HashMap<String, String>>,
    resent: AtomicU64,
    dropped: AtomicU64,
}

/// Writes JSON lines, several at once, each until it is confirmed: the same id again after every broken connection.
fn write_lines(agent: &Agent, writer: u64, ledger: &Ledger, done: &AtomicBool) {
    let mut number = 0_u64;
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    while !done.load(Ordering::Relaxed) {
        while open.len() < 8 {
            number += 1;
            let id = format!("01900000-0000-7000-8{writer:03x}-{number:012x}");
            let message = format!("writer {writer} number {number}");
            ledger.tried.lock().unwrap().insert(id.clone(), message.clone());
            open.insert(id, message);
        }
        let Ok(mut stream) = agent.try_connect() else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        let lines: String = open
            .iter()
            .map(|(id, message)| format!("{}\n", json!({"id": id, "task": "KILL", "message": message})))
            .collect();
        if stream.write_all(lines.as_bytes()).is_err() {
            continue;
        }
        let mut answers = BufReader::new(stream);
        for _ in 0..open.len() {
            let mut line = String::new();
            if answers.read_line(&mut line).is_err() || !line.ends_with('\n') {
                ledger.resent.fetch_add(open.len() as u64, Ordering::Relaxed);
                break;
            }
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["ok"] == true {
                let id = text(&answer, "id").to_owned();
                let message = open.remove(&id).unwrap();
                ledger.confirmed.lock().unwrap().insert(id, message);
            } else {
                assert_eq!(answer["code"], "busy", "{answer}");
            }
        }
    }
}

/// Calls the real `hume`, which may use the drop folder.
fn call_hume(agent: &Agent, ledger: &Ledger, done: &AtomicBool) {
    let mut number = 0_u64;
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let message = format!("hume number {number}");
        let output = agent.hume(&["--strict", "--verbose", "-t", "KILL", "-m", &message]);
        output.ok();
        // The id stands in what --verbose says, wherever it was stored.
        let id = output
            .stderr
            .split(|c: char| !c.is_ascii_hexdigit() && c != '-')
            .find(|word| word.len() == 36 && word.matches('-').count() == 4)
            .unwrap_or_else(|| panic!("no id in {output:#?}"))
            .to_owned();
        if output.stderr.contains("drop folder") {
            ledger.dropped.fetch_add(1, Ordering::Relaxed);
        }
        ledger.tried.lock().unwrap().insert(id.clone(), message.clone());
        ledger.confirmed.lock().unwrap().insert(id, message);
    }
}

#[test]
fn every_confirmed_event_is_at_the_master_exactly_once_after_a_hundred_kills() {
    let seed =
        std::env::var("HUME_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(fastrand::u64(..));
    println!("HUME_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let agent = site.agent("web1");
    let ledger = Ledger::default();
    let done = AtomicBool::new(false);
    let (mut agent_kills, mut master_kills) = (0, 0);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (agent, ledger, done) = (&agent, &ledger, &done);
            scope.spawn(move || write_lines(agent, writer, ledger, done));
        }
        let (agent, ledger, done) = (&agent, &ledger, &done);
        scope.spawn(move || call_hume(agent, ledger, done));
        let stop = StopOnDrop(done);
        while agent_kills + master_kills < KILLS {
            // Between the kills as much happens as the seed says: a moment, or a few dozen confirmed events.
            let target = ledger.confirmed.lock().unwrap().len() + random.usize(0..40);
            wait_until("events are confirmed", SOON, || ledger.confirmed.lock().unwrap().len() >= target);
            if random.bool() {
                agent_kills += u64::from(agent.kill9());
                agent.start();
            } else {
                master_kills += u64::from(site.master().kill9());
                site.master().start();
            }
        }
        drop(stop);
    });
    assert!(
        agent_kills + master_kills >= 100,
        "only {agent_kills} and {master_kills} kills hit a running process"
    );
    assert!(agent_kills > 0 && master_kills > 0);

    // The folder is read before the next line is answered: after this one it is empty.
    agent.hume(&["--strict", "-t", "LAST"]).ok();
    agent.wait_until_drained(DRAIN_TIME_MAX);
    let stored = site.master().query_lines(&["-t", "KILL"]);
    let (tried, confirmed) = (ledger.tried.into_inner().unwrap(), ledger.confirmed.into_inner().unwrap());
    println!(
        "{agent_kills} kills of the agent, {master_kills} of the master; {} events tried, {} confirmed ({} by way of the drop \
         folder), {} sent again, {} stored",
        tried.len(),
        confirmed.len(),
        ledger.dropped.load(Ordering::Relaxed),
        ledger.resent.load(Ordering::Relaxed),
        stored.len(),
    );
    let mut times: HashMap<&str, u64> = HashMap::new();
    for event in &stored {
        let id = text(event, "id");
        *times.entry(id).or_default() += 1;
        let sent = tried.get(id).unwrap_or_else(|| panic!("a phantom: {event:#}"));
        assert_eq!(text(event, "message"), sent, "changed on the way");
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "stored more than once: {doubled:?}");
    let lost: Vec<_> = confirmed.iter().filter(|(id, _)| !times.contains_key(id.as_str())).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    let places: Vec<u64> = stored.iter().rev().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(places.is_sorted(), "the master's order is the agent's");
    for run in items(&site.master().query_json(&["-t", "KILL", "--runs"]), "runs") {
        assert_eq!(run["complete"], true, "{run:#}");
    }
}

/// Ends the writers also when the test fails in the middle: they are waited for.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
