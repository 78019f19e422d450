//! What systemd sees of both daemons: ready when they are, alive while they are, and no caller refused over a restart.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hume_tests::manager::{Manager, hold_open};
use hume_tests::{Agent, SOON, Site, Token, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Signs of life may be so far apart here.
const WATCHDOG: Duration = Duration::from_secs(2);
/// Longer than any test.
const FOREVER: &str = "pause(600000)";

#[test]
fn an_agent_is_ready_when_its_sockets_answer_and_tells_that_it_lives_until_it_is_stopped() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let mut manager = Manager::new(site.folder().path());
    manager.look_after(&agent, Some(WATCHDOG));
    agent.spawn();
    manager.wait_for("STATUS=starting: ");
    manager.wait_for("READY=1");
    assert!(agent.is_ready(), "READY=1 came before the sockets answered");
    manager.wait_for("WATCHDOG=1");
    let status = "STATUS=connected to ";
    assert!(manager.wait_for(status).ends_with(" events wait"));
    agent.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    assert!(manager.wait_for("MONOTONIC_USEC=").parse::<u64>().is_ok_and(|at| at > 0));
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    agent.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    wait_until("it has ended", SOON, || agent.ended().is_some_and(|status| status.success()));
}

#[test]
fn a_master_is_ready_when_its_ports_listen_and_tells_that_it_lives_until_it_is_stopped() {
    let site = Site::new();
    let master = site.master();
    assert_eq!(master.stop(), 0);
    let mut manager = Manager::new(site.folder().path());
    manager.look_after(master, Some(WATCHDOG));
    master.spawn();
    manager.wait_for("READY=1");
    assert!(TcpStream::connect(master.grpc()).is_ok(), "READY=1 came before the relay's port listened");
    assert_eq!(master.get("/readyz", Token::None).status, 200);
    let agent = site.agent("web1");
    agent.hume(&["-t", "SEEN", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    manager.wait_for("WATCHDOG=1");
    assert_eq!(manager.wait_for("STATUS=1 agents are connected, "), "1 events came since the start");
    master.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    master.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    wait_until("it has ended", SOON, || master.ended().is_some_and(|status| status.success()));
}

#[test]
fn without_a_socket_of_a_service_manager_nobody_is_told_anything() {
    let site = Site::new();
    let mut manager = Manager::new(site.folder().path());
    let agent = site.prepare_agent("web1");
    agent.start();
    agent.hume(&["-t", "SEEN", "-m", "one"]).ok();
    assert_eq!((agent.stop(), site.master().stop()), (0, 0));
    assert!(manager.heard_nothing());
}

#[test]
fn an_agent_whose_one_thread_hangs_gives_no_more_signs_of_life() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    let mut manager = Manager::new(site.folder().path());
    manager.look_after(&agent, Some(WATCHDOG));
    agent.ask_for(&format!("agent.after_reply={FOREVER}"));
    agent.start();
    manager.wait_for("WATCHDOG=1");
    // It lives on while nothing happens.
    manager.wait_for("WATCHDOG=1");
    let mut caller = agent.connect();
    caller.write_all(b"{\"task\":\"HANG\",\"message\":\"x\"}\n").unwrap();
    manager.wait_for_silence("WATCHDOG=1", 2 * WATCHDOG);
    assert!(agent.is_running());
}

#[test]
fn a_master_of_which_one_session_hangs_gives_no_more_signs_of_life() {
    let site = Site::new();
    let master = site.master();
    assert_eq!(master.stop(), 0);
    let mut manager = Manager::new(site.folder().path());
    manager.look_after(master, Some(WATCHDOG));
    master.ask_for(&format!("master.received={FOREVER}"));
    master.start();
    let agent = site.agent("web1");
    manager.wait_for("WATCHDOG=1");
    agent.hume(&["-t", "HANG", "-m", "x"]).ok();
    master.wait_for_log("master.received");
    // Its other threads may go on and say what is stuck; or nobody looks after timers and connections any more, because the
    // thread that hangs did.
    manager.wait_for_silence("WATCHDOG=1", 2 * WATCHDOG);
    assert!(master.is_running());
}

/// Confirms events one after the other, each on a connection of its own, until it is told to end; their ids.
fn report(agent: &Agent, caller: u64, is_over: &AtomicBool, connected: &AtomicU64) -> HashSet<String> {
    let mut confirmed = HashSet::new();
    while !is_over.load(Ordering::Relaxed) {
        let id = format!("019abc00-0000-7000-8000-{:012x}", (caller << 32) + confirmed.len() as u64);
        let line = json!({"id": id, "task": "RESTARTED", "message": "x"});
        let deadline = Instant::now() + SOON;
        loop {
            // Whoever waits at the socket of an agent that is away is not refused.
            let stream = agent.try_connect();
            assert!(stream.is_ok(), "a caller was refused: {stream:?}");
            let mut stream = stream.unwrap();
            connected.fetch_add(1, Ordering::Relaxed);
            let mut answer = String::new();
            let told =
                writeln!(stream, "{line}").and_then(|()| BufReader::new(stream).read_line(&mut answer));
            if told.is_ok() && answer.ends_with('\n') {
                let answer: Value = serde_json::from_str(&answer).unwrap();
                assert_eq!(answer["ok"], true, "{answer}");
                break;
            }
            // It was taken by an agent that ended before it answered: told again, with the same id.
            assert!(Instant::now() < deadline, "an event was not confirmed");
        }
        confirmed.insert(id);
    }
    confirmed
}

#[test]
fn a_restart_refuses_nobody_when_the_socket_is_held_open_and_every_event_is_confirmed() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    hold_open(&agent, &agent.socket());
    let inode = || std::fs::metadata(agent.socket()).unwrap().ino();
    let before = inode();
    agent.start();
    let (is_over, connected) = (AtomicBool::new(false), AtomicU64::new(0));
    let confirmed: HashSet<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (agent, is_over, connected) = (&agent, &is_over, &connected);
                scope.spawn(move || report(agent, caller, is_over, connected))
            })
            .collect();
        for round in 0..4 {
            let so_far = connected.load(Ordering::Relaxed);
            wait_until("events come", SOON, || connected.load(Ordering::Relaxed) > so_far + 20);
            if round % 2 == 0 {
                assert!(agent.kill9());
            } else {
                assert_eq!(agent.stop(), 0);
            }
            assert_eq!(inode(), before, "the socket was removed");
            // Nobody answers; whoever comes is let in, and waits.
            drop(agent.connect());
            agent.start();
        }
        is_over.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert!(confirmed.len() > 80);
    assert!(agent.log().contains("stays when it goes"));
    agent.wait_until_drained(SOON);
    let stored = site.master().query_lines(&["-t", "RESTARTED", "--limit", "1000000"]);
    let ids: Vec<&str> = stored.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<HashSet<_>>().len(), "an event is there twice");
    assert!(confirmed.iter().all(|id| ids.contains(&id.as_str())), "a confirmed event is missing");
}

#[test]
fn a_socket_that_does_not_listen_is_no_door_and_the_start_says_so() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    agent.within(&["sh", "-c", "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3</dev/null", "sh"]);
    agent.spawn();
    wait_until("it has ended", SOON, || agent.ended().is_some_and(|status| status.code() == Some(78)));
    assert!(agent.log().contains("LISTEN_FDS"), "{}", agent.log());
}
