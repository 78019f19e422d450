//! Whoever is away, nothing is lost: the agent keeps, the drop folder keeps, and each catches up by itself.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;

use hume_tests::events::{by_run, items, json_lines, messages, text};
use hume_tests::{Agent, LogTo, Master, SOON, Site, process, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The id of a test's own event, in the order of its number.
fn id(number: u64) -> String {
    format!("01970000-0000-7000-8000-{number:012x}")
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What waits in the drop folder.
fn waiting(agent: &Agent) -> Vec<String> {
    names(&agent.drop_dir()).into_iter().filter(|name| name != "rejected").collect()
}

/// Puts a file into the drop folder as `hume` does: whole, under its name at once.
fn drop_file(agent: &Agent, name: &str, content: &[u8]) {
    let unfinished = agent.drop_dir().join(format!(".{name}"));
    fs::write(&unfinished, content).unwrap();
    fs::rename(unfinished, agent.drop_dir().join(name)).unwrap();
}

/// Puts a folder with something in it into the drop folder, whole: the agent may be looking.
fn drop_folder(agent: &Agent, name: &str) {
    let unfinished = agent.drop_dir().join(format!(".{name}"));
    fs::create_dir_all(unfinished.join("inside")).unwrap();
    fs::rename(unfinished, agent.drop_dir().join(name)).unwrap();
}

/// Puts an event into the drop folder.
fn drop_event(agent: &Agent, number: u64, message: &str) {
    let line = json!({"id": id(number), "task": "DROPPED", "message": message});
    drop_file(agent, &format!("{}.json", id(number)), format!("{line}\n").as_bytes());
}

/// The messages of a task at the master, oldest first.
fn told(master: &Master, task: &str) -> Vec<String> {
    let events = master.query_lines(&["-t", task]);
    messages(&events).into_iter().rev().map(str::to_owned).collect()
}

#[test]
fn an_agent_that_never_saw_its_master_keeps_everything_and_catches_up_by_itself() {
    let site = Site::without_master();
    let agent = site.agent("web1");
    let lines =
        json_lines((0..1_500).map(|number| json!({"task": "EARLY", "message": format!("event {number}")})));
    let answers = agent.socket_lines(lines.as_bytes());
    assert!(
        answers.iter().all(|answer| answer["ok"] == true),
        "the master's absence is not the scripts' business"
    );
    wait_until("the agent says why it is not connected", SOON, || agent.state()["last_error"].is_string());
    let state = agent.state();
    assert_eq!((&state["state"], &state["queued_events"]), (&json!("disconnected"), &json!(1_500)));
    assert!(state["queued_since"].is_string() && state["last_error_at"].is_string(), "{state:#}");
    let log = agent.log();
    let complaints = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(complaints <= 2, "a master that is away is one line, not one for each try:\n{log}");

    site.master().start();
    agent.wait_until_drained(SOON);
    let expected: Vec<String> = (0..1_500).map(|number| format!("event {number}")).collect();
    assert_eq!(told(site.master(), "EARLY"), expected);
    let state = agent.state();
    assert_eq!((&state["state"], &state["queued_events"]), (&json!("connected"), &json!(0)));
    assert_eq!(state["queued_since"], Value::Null);
}

#[test]
fn a_master_that_comes_and_goes_misses_nothing() {
    let site = Site::new();
    let agent = site.agent("web1");
    let mut expected = Vec::new();
    for round in 0..4 {
        let mut report = |when: &str| {
            let message = format!("{when} {round}");
            agent.hume(&["--strict", "-t", "ROUNDS", "-m", &message]).ok();
            expected.push(message);
        };
        report("up");
        if round % 2 == 0 {
            site.master().kill9();
        } else {
            assert_eq!(site.master().stop(), 0);
        }
        report("down");
        site.master().start();
        report("up again");
    }
    agent.wait_until_drained(SOON);
    assert_eq!(told(site.master(), "ROUNDS"), expected);
}

#[test]
fn what_a_script_says_while_the_agent_is_away_is_picked_up_in_order_at_its_start() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let script = agent.script(
        "job.sh",
        "hume --strict -c counter-start -t AWAY -m start
         hume --strict -t AWAY -L error -m 'no agent'
         hume --strict -c counter-stop -t AWAY -m stop",
    );
    process::run(&mut agent.shell(&["bash", &script])).ok();
    assert_eq!(waiting(&agent).len(), 3, "nothing else is left behind: {:?}", waiting(&agent));
    agent.start();
    assert_eq!(waiting(&agent), [""; 0], "at the start, before the first line is taken");
    agent.wait_until_drained(SOON);
    let runs = site.master().query_lines(&["--runs", "--events", "-t", "AWAY"]);
    let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
    assert_eq!(messages(items(run, "events")), ["start", "no agent", "stop"]);
    assert_eq!((&run["status"], &run["reason"]), (&json!("failed"), &Value::Null));
    for event in items(run, "events") {
        assert!(
            event["uid"].is_u64() && event["pid"].is_u64(),
            "the reporter is the file's owner: {event:#}"
        );
    }
}

#[test]
fn a_start_in_the_folder_comes_before_its_stop_at_the_socket() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    let script = agent.script(
        "both.sh",
        "hume --strict -c counter-start -t HALF -m start; echo; read -r _
                                          hume --strict -c counter-stop -t HALF -m stop",
    );
    let mut script = process::start(agent.shell(&["bash", &script]).stdin(std::process::Stdio::piped()));
    wait_until("the start is in the folder", SOON, || waiting(&agent).len() == 1);
    agent.start();
    drop(script.stdin.take());
    process::finish(script, "a script").ok();
    let runs = agent.query_lines(&["--runs", "--events", "-t", "HALF"]);
    let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
    assert_eq!(messages(items(run, "events")), ["start", "stop"]);
    assert_eq!((&run["outcome"], &run["flags"]), (&json!("ok"), &json!([])));
}

#[test]
fn files_are_recorded_in_the_order_of_their_ids_whatever_order_they_were_written_in() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    for number in (0..20).rev() {
        drop_event(&agent, number, &format!("file {number}"));
    }
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(
        told(site.master(), "DROPPED"),
        (0..20).map(|number| format!("file {number}")).collect::<Vec<_>>()
    );
}

#[test]
fn what_fell_into_the_folder_goes_before_the_next_line_is_answered() {
    const ROUNDS: u64 = 50;
    let site = Site::without_master();
    let agent = site.agent("web1");
    for round in 0..ROUNDS {
        let key = format!("round {round}");
        let start = json!({"id": id(round), "task": "FELL", "run_key": key, "command": "counter-start", "message": "start"});
        drop_file(&agent, &format!("{}.json", id(round)), start.to_string().as_bytes());
        let stop = json!({"task": "FELL", "run_key": key, "command": "counter-stop", "message": "stop"});
        assert_eq!(agent.submit(&stop)["ok"], true);
    }
    let runs = agent.query_lines(&["--runs", "--events", "-t", "FELL"]);
    assert_eq!(runs.len() as u64, ROUNDS);
    for run in runs {
        assert_eq!(messages(items(&run, "events")), ["start", "stop"], "{run:#}");
        assert_eq!((&run["outcome"], &run["correlation"]), (&json!("ok"), &json!("explicit")));
        assert_eq!(run["flags"], json!([]));
    }
}

#[test]
fn a_run_from_before_the_machine_was_started_anew_is_aborted_with_an_interval() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let other_boot = json!({"boot_id": "0b007000-0000-4000-8000-000000000001", "boottime_us": 1});
    let start = json!({"id": id(1), "task": "BOOTED", "command": "counter-start", "time": "2026-01-02T03:04:05Z",
                       "caller": other_boot});
    drop_file(&agent, &format!("{}.json", id(1)), start.to_string().as_bytes());
    agent.start();
    let run = wait_for("the run is aborted at the master", SOON, || {
        site.master().query_lines(&["--runs", "-t", "BOOTED"]).pop().filter(|run| run["phase"] == "ended")
    });
    let of_agent = agent.query_lines(&["--runs", "-t", "BOOTED"]).remove(0);
    for run in [run, of_agent] {
        assert_eq!((&run["outcome"], &run["reason"]), (&json!("aborted"), &json!("reboot")));
        assert_eq!((&run["status"], &run["severity"]), (&json!("failed"), &json!(2)));
        let (started, after, at) =
            (text(&run, "started_at"), text(&run, "ended_after"), text(&run, "ended_at"));
        assert!(started < after && after <= at, "{run:#}");
    }
}

#[test]
fn files_are_picked_up_as_they_arrive_and_unfinished_ones_are_left() {
    let site = Site::new();
    let agent = site.agent("web1");
    let unfinished = format!(".{}.json", id(99));
    fs::write(agent.drop_dir().join(&unfinished), "{\"task\":").unwrap();
    for number in 0..20 {
        drop_event(&agent, number, &format!("file {number}"));
    }
    wait_until("all are at the master", SOON, || site.master().count(&["-t", "DROPPED"]) == 20);
    let mut found = told(site.master(), "DROPPED");
    found.sort_by_key(|message| message.trim_start_matches("file ").parse::<u64>().unwrap());
    assert_eq!(found, (0..20).map(|number| format!("file {number}")).collect::<Vec<_>>());
    wait_until("the files are gone", SOON, || waiting(&agent) == [unfinished.as_str()]);
}

#[test]
fn the_same_id_is_stored_once_however_often_and_by_whichever_door_it_comes() {
    let site = Site::new();
    let agent = site.agent("web1");
    let line = json!({"id": id(1), "task": "ONCE", "message": "the only one"});
    let first = agent.submit(&line);
    assert_eq!(first["ok"], true);
    for _ in 0..2 {
        let again = agent.submit(&line);
        assert_eq!(again, first, "a repeat gets the same answer");
        agent.wait_until_drained(SOON);
        agent.kill9();
        drop_file(&agent, &format!("{}.json", id(1)), line.to_string().as_bytes());
        agent.start();
    }
    // Twice in one go, before either is on disk.
    let twice = json!({"id": id(2), "task": "ONCE", "message": "twice at once"});
    let answers = agent.socket_lines(json_lines([twice.clone(), twice]).as_bytes());
    assert_eq!(answers.len(), 2);
    assert!(answers[0]["ok"] == true && answers[0] == answers[1], "{answers:?}");
    agent.submit(&json!({"task": "ONCE", "message": "last"}));
    agent.wait_until_drained(SOON);
    assert_eq!(told(site.master(), "ONCE"), ["the only one", "twice at once", "last"]);
    assert_eq!(waiting(&agent), [""; 0]);
}

#[test]
fn bad_files_are_set_aside_and_traps_are_not_read() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let secret = agent.dir().join("secret.json");
    let trap = json!({"task": "TRAP", "message": "read through a trap"}).to_string();
    fs::write(&secret, &trap).unwrap();
    let folder = agent.drop_dir();
    let lay_traps = |round: &str| {
        drop_file(&agent, &format!("a-garbage-{round}.json"), b"\0\xffnot json");
        drop_file(&agent, &format!("b-empty-{round}.json"), b"");
        drop_file(&agent, &format!("c-unknown-key-{round}.json"), br#"{"tsk":"x"}"#);
        drop_file(&agent, &format!("d-two-lines-{round}.json"), format!("{trap}\n{trap}\n").as_bytes());
        let long = format!("{}{trap}", " ".repeat(256 * 1024));
        drop_file(&agent, &format!("e-oversize-{round}.json"), long.as_bytes());
        symlink(&secret, folder.join(format!("f-symlink-{round}.json"))).unwrap();
        fs::hard_link(&secret, folder.join(format!("g-hard-link-{round}.json"))).unwrap();
        let fifo = folder.join(format!("h-fifo-{round}.json"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        drop_folder(&agent, &format!("i-folder-{round}.json"));
    };
    lay_traps("before");
    drop_event(&agent, 1, "good one");
    agent.start();
    lay_traps("while running");
    // Links make no noise; the next good file does.
    drop_event(&agent, 2, "good two");
    wait_until("both good ones are at the master", SOON, || site.master().count(&["-t", "DROPPED"]) == 2);
    // A folder cannot be an event, and may be full of somebody's things.
    let folders = ["i-folder-before.json", "i-folder-while running.json"];
    wait_until("only the folders are left", SOON, || waiting(&agent) == folders);
    let rejected = names(&folder.join("rejected"));
    assert_eq!(rejected.len(), 16, "{rejected:?}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), trap, "what a link points to is left alone");
    assert_eq!(site.master().count(&["--kind", "all"]), 2, "nothing of a trap was stored");
    let log = agent.log();
    for name in ["a-garbage", "e-oversize", "f-symlink", "g-hard-link", "h-fifo"] {
        let line = log.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains("WARN")), "{name} is not in the log:\n{log}");
    }
    assert!(agent.is_running());
}

#[test]
fn a_file_whose_name_is_not_text_does_not_block_the_others() {
    let site = Site::new();
    let agent = site.agent("web1");
    // Before all others in the order of names.
    fs::write(agent.drop_dir().join(OsStr::from_bytes(b"!\xff.json")), "garbage").unwrap();
    drop_event(&agent, 1, "behind it");
    wait_until("the good one is stored", SOON, || agent.count(&["-t", "DROPPED"]) == 1);
    agent.hume(&["--strict", "-t", "DIRECT", "-m", "not held up"]).ok();
    assert_eq!(agent.count(&["-t", "DIRECT"]), 1);
    wait_until("the folder is empty", SOON, || waiting(&agent).is_empty());
    assert_eq!(names(&agent.drop_dir().join("rejected")).len(), 1);
}

#[test]
fn a_file_named_like_one_that_was_rejected_does_not_block_the_others() {
    let site = Site::new();
    let agent = site.agent("web1");
    drop_file(&agent, "!twice.json", b"garbage");
    drop_event(&agent, 1, "one");
    wait_until("the folder is empty", SOON, || waiting(&agent).is_empty());
    drop_file(&agent, "!twice.json", b"garbage");
    drop_event(&agent, 2, "two");
    wait_until("the good one is stored", SOON, || agent.count(&["-t", "DROPPED"]) == 2);
    wait_until("the folder is empty", SOON, || waiting(&agent).is_empty());
}

#[test]
fn without_a_master_section_the_agent_is_complete_alone() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    let script = agent.script(
        "job.sh",
        "hume -c counter-start -t ALONE; hume -t ALONE -m work; hume -c counter-stop -t ALONE",
    );
    process::run(&mut agent.shell(&["bash", &script])).ok();
    let answer = agent.query_json(&["-t", "ALONE", "--latest"]);
    assert_eq!(
        (&answer["runs"][0]["status"], &answer["runs"][0]["summary"]["events"]),
        (&json!("ok"), &json!(3))
    );
    assert_eq!(answer["runs"][0]["complete"], true);
    let state = agent.state();
    assert_eq!((&state["state"], &state["queued_events"]), (&json!("alone"), &json!(0)));
    let status = agent.query_json(&["status"]);
    assert_eq!((&status["state"], &status["events"]), (&json!("ready"), &json!(3)));
    assert!(agent.query(&["status"]).ok().stdout.contains("alone"));
    assert_eq!(agent.stop(), 0);
    agent.start();
    assert_eq!(agent.count(&["-t", "ALONE"]), 3);
}

#[test]
fn an_agent_that_gets_a_master_later_tells_it_what_it_kept() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let config = fs::read_to_string(agent.config()).unwrap();
    agent.be_alone();
    agent.start();
    agent.hume(&["--strict", "-t", "LATER", "-m", "alone"]).ok();
    assert_eq!(agent.stop(), 0);
    fs::write(agent.config(), config).unwrap();
    agent.start();
    agent.hume(&["--strict", "-t", "LATER", "-m", "together"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(told(site.master(), "LATER"), ["alone", "together"]);
}

#[test]
fn sigterm_ends_both_cleanly_and_a_restart_keeps_everything() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.hume(&["--strict", "-t", "KEPT", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    let idle = agent.connect();
    for round in 2..4 {
        // Half a request on each socket for questions: nobody waits for the other half.
        let halves = [&agent.dir().join("run/api.sock"), &site.master().dir().join("run/api.sock")]
            .map(|socket| UnixStream::connect(socket).unwrap());
        for mut half in &halves {
            half.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n").unwrap();
        }
        // `stop` fails the test after ten seconds.
        assert_eq!((site.master().stop(), agent.stop()), (0, 0));
        assert!(!agent.socket().exists() || agent.try_connect().is_err());
        agent.start();
        agent.hume(&["--strict", "-t", "KEPT", "-m", &format!("event {round}")]).ok();
        assert_eq!(agent.stop(), 0, "without its master, too");
        site.master().start();
        agent.start();
        agent.wait_until_drained(SOON);
        drop(halves);
    }
    drop(idle);
    assert_eq!(told(site.master(), "KEPT"), ["one", "event 2", "event 3"]);
    assert_eq!((agent.stop(), site.master().stop()), (0, 0));
    assert!(site.master().log().contains("ended cleanly") && agent.log().contains("stopped"));
}

#[test]
fn a_stop_in_the_middle_of_work_is_clean_and_loses_nothing() {
    let site = Site::new();
    let agent = site.agent("web1");
    let lines =
        json_lines((0..20_000).map(|number| json!({"id": id(number), "task": "BUSY", "message": "x"})));
    let confirmed: Vec<Value> = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let answers = agent.socket_lines(lines.as_bytes());
            answers.into_iter().filter(|answer| answer["ok"] == true).collect()
        });
        wait_until("the master is at work", SOON, || site.master().count(&["-t", "BUSY"]) > 0);
        assert_eq!(agent.stop(), 0);
        assert_eq!(site.master().stop(), 0);
        writer.join().unwrap()
    });
    assert!(!confirmed.is_empty());
    site.master().start();
    agent.start();
    agent.wait_until_drained(SOON);
    let stored: Vec<Value> =
        site.master().query_lines(&["-t", "BUSY"]).iter().map(|event| event["id"].clone()).collect();
    let lost: Vec<&Value> = confirmed.iter().filter(|answer| !stored.contains(&answer["id"])).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn an_agent_stops_in_time_although_its_master_is_frozen() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.wait_until_drained(SOON);
    site.master().signal(Signal::STOP);
    let lines = json_lines(
        (0..400).map(|number| json!({"id": id(number), "task": "FROZEN", "message": "x".repeat(8_000)})),
    );
    assert_eq!(agent.socket_lines(lines.as_bytes()).len(), 400);
    // `stop` fails the test after ten seconds.
    assert_eq!(agent.stop(), 0);
    site.master().signal(Signal::CONT);
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "FROZEN"]), 400);
}

#[test]
fn a_log_that_nobody_can_write_ends_no_daemon() {
    for log_to in [LogTo::FullDisk, LogTo::ClosedPipe] {
        let site = Site::without_master();
        let agent = site.prepare_agent("web1");
        for daemon in [site.master() as &hume_tests::Daemon, &agent] {
            daemon.log_to(log_to);
            daemon.set_variable("HUME_LOG", "debug");
        }
        site.master().start();
        agent.start();
        agent.hume(&["--strict", "-t", "UNHEARD", "-m", "one"]).ok();
        agent.wait_until_drained(SOON);
        // Something to complain about, on both sides.
        agent.socket_lines(b"garbage\n");
        site.master().kill9();
        agent.hume(&["--strict", "-t", "UNHEARD", "-m", "two"]).ok();
        site.master().start();
        agent.wait_until_drained(SOON);
        assert_eq!(told(site.master(), "UNHEARD"), ["one", "two"], "{log_to:?}");
        assert_eq!((agent.stop(), site.master().stop()), (0, 0), "{log_to:?}");
    }
}

#[test]
fn two_agents_report_separate_hosts_and_every_list_names_both() {
    let site = Site::new();
    let (web, db) = (site.agent("web1"), site.agent("db1"));
    for (agent, level) in [(&web, "info"), (&db, "error")] {
        let text = format!(
            "hume -c counter-start -t SAME; hume -t SAME -L {level} -m work; hume -c counter-stop -t SAME"
        );
        let script = agent.script("job.sh", &text);
        process::run(&mut agent.shell(&["bash", &script])).ok();
    }
    web.wait_until_drained(SOON);
    db.wait_until_drained(SOON);
    let master = site.master();
    let events = master.query_lines(&["-t", "SAME"]);
    assert_eq!(by_run(&events).len(), 2);
    for run in by_run(&events).values() {
        assert!(run.iter().all(|event| event["host"] == run[0]["host"] && event["agent"] == run[0]["agent"]));
    }
    let hosts = master.query_json(&["hosts"]);
    let hosts = items(&hosts, "hosts");
    assert_eq!(hosts.iter().map(|host| text(host, "host")).collect::<Vec<_>>(), ["db1", "web1"]);
    for host in hosts {
        assert_eq!(
            (&host["state"], &host["tasks"], &host["events"]),
            (&json!("connected"), &json!(1), &json!(3))
        );
    }
    let agents = master.query_json(&["agents"]);
    for (found, agent) in items(&agents, "agents").iter().zip([&db, &web]) {
        assert_eq!((text(found, "host"), &found["state"]), (agent.host(), &json!("connected")));
        assert_eq!(found["agent"], agent.state()["agent"]);
        assert!(found["certificate_expires_at"].is_string() && found["version"].is_string(), "{found:#}");
        assert_eq!(found["acked_events"], 3);
    }
    let tasks = master.query_json(&["tasks"]);
    let found: Vec<_> =
        items(&tasks, "tasks").iter().map(|task| (text(task, "host"), text(task, "status"))).collect();
    assert_eq!(found, [("db1", "failed"), ("web1", "ok")]);
    let status = master.query_json(&["status"]);
    assert_eq!((&status["state"], &status["events"]), (&json!("ready"), &json!(6)));
    assert_eq!(items(&status, "agents").len(), 2);

    for word in ["agents", "hosts", "tasks", "status"] {
        for output in [master.query(&[word]), master.query_socket(&[word]), web.query(&[word])] {
            assert!(output.ok().stdout.contains("web1"), "{output:?}");
        }
        let of_agent = web.query_json(&[word]);
        assert_eq!(of_agent["source"]["kind"], "agent", "{of_agent:#}");
    }
    assert_eq!(text(&web.query_json(&["hosts"])["hosts"][0], "state"), "local");
    assert_eq!(web.query_json(&["tasks"])["tasks"][0]["status"], "ok");

    assert_eq!(db.stop(), 0);
    wait_until("the master sees that db1 is away", SOON, || {
        master.query_json(&["agents"])["agents"][0]["state"] == "disconnected"
    });
    assert_eq!(master.query_json(&["agents"])["agents"][1]["state"], "connected");
    web.kill9();
    wait_until("the master sees that web1 is away", SOON, || {
        master.query_json(&["agents"])["agents"][1]["state"] == "disconnected"
    });
}
