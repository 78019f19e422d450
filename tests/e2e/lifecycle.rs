//! The life of a run as the team sees it: who dies is known at once, who takes too long is overdue, on both ends alike.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hume_tests::events::{items, messages};
use hume_tests::{Agent, SOON, Site, process, wait_for, wait_until};
use serde_json::{Value, json};

/// A script that dies is known at the master within this time.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
/// The machine may be busy with something else: one try of so many must be in time.
const TRIES: usize = 5;

/// Starts a script whose run is open until it is told to go on.
fn open_run(agent: &Agent, task: &str) -> Child {
    let text = format!("hume -c counter-start -t {task} -m start; read -r _; hume -c counter-stop -t {task}");
    let script = agent.script(&format!("{task}.sh"), &text);
    process::start(agent.shell(&["bash", &script]).stdin(Stdio::piped()))
}

fn kill(script: &mut Child) {
    script.kill().unwrap();
    script.wait().unwrap();
}

fn runs(site: &Site, task: &str) -> Vec<Value> {
    items(&site.master().query_json(&["--runs", "-t", task]), "runs").to_vec()
}

/// Kills what `prepare` starts, until the master knows of the end of all its runs in time.
fn is_known_in_time(site: &Site, mut prepare: impl FnMut(&str) -> Vec<Child>, between: impl Fn()) {
    let mut took = Vec::new();
    for attempt in 0..TRIES {
        let task = format!("KILLED_{attempt}");
        let mut scripts = prepare(&task);
        wait_until("the master knows of the open runs", SOON, || runs(site, &task).len() == scripts.len());
        let killed = Instant::now();
        scripts.iter_mut().for_each(kill);
        between();
        let ended = wait_for("the runs are aborted at the master", SOON, || {
            Some(runs(site, &task)).filter(|runs| runs.iter().all(|run| run["phase"] == "ended"))
        });
        took.push(killed.elapsed());
        for run in ended {
            assert_eq!((&run["outcome"], &run["reason"]), (&json!("aborted"), &json!("process_gone")));
            assert_eq!((&run["status"], &run["severity"]), (&json!("failed"), &json!(2)));
        }
        if took.last().is_some_and(|took| *took <= KNOWN_WITHIN) {
            return;
        }
    }
    unreachable!("never known within {KNOWN_WITHIN:?}: {took:?}");
}

#[test]
fn a_script_that_is_killed_is_aborted_at_the_master_within_two_seconds() {
    let site = Site::new();
    let agent = site.agent("web1");
    is_known_in_time(&site, |task| vec![open_run(&agent, task)], || {});
}

#[test]
fn two_copies_that_are_killed_are_both_aborted_within_two_seconds() {
    let site = Site::new();
    let agent = site.agent("web1");
    is_known_in_time(&site, |task| vec![open_run(&agent, task), open_run(&agent, task)], || {});
}

#[test]
fn a_script_that_is_killed_while_the_agent_starts_anew_is_aborted_with_an_interval_for_its_end() {
    let site = Site::new();
    let agent = site.agent("web1");
    let prepare = |task: &str| {
        let script = open_run(&agent, task);
        wait_until("its run is open", SOON, || agent.count(&["--runs", "-t", task]) == 1);
        agent.kill9();
        // It comes back before it can be seen that the script is killed: the pidfd is opened anew.
        agent.start();
        vec![script]
    };
    is_known_in_time(&site, prepare, || {});
    let mut script = open_run(&agent, "AWAY");
    wait_until("its run is open", SOON, || agent.count(&["--runs", "-t", "AWAY"]) == 1);
    agent.kill9();
    kill(&mut script);
    agent.start();
    let run = wait_for("the run is aborted at the master", SOON, || {
        runs(&site, "AWAY").pop().filter(|run| run["phase"] == "ended")
    });
    assert_eq!(run["reason"], "process_gone");
    let (after, at) = (run["ended_after"].as_str().unwrap(), run["ended_at"].as_str().unwrap());
    assert!(run["started_at"].as_str().unwrap() <= after && after <= at, "{run}");
}

#[test]
fn a_survivor_is_named_and_its_word_withdraws_the_verdict() {
    let site = Site::new();
    let agent = site.agent("web1");
    // The script ends; what it left in the background reports later and stops the run.
    let text = "hume -c counter-start -t LEFT -m start
                { read -r _; hume -t LEFT -m late; hume -c counter-stop -t LEFT -m stop; } <&3 >/dev/null 2>&1 &
                exit 0";
    let script = agent.script("left.sh", text);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut shell =
        agent.shell(&["setsid", "-w", "bash", "-c", "exec 3<&0; exec bash \"$0\" < /dev/null", &script]);
    let left = process::start(shell.stdin(reader));
    process::finish(left, "the script").ok();
    let run = wait_for("the run is aborted", SOON, || {
        runs(&site, "LEFT").pop().filter(|run| run["phase"] == "ended")
    });
    assert_eq!(run["outcome"], "aborted");
    let found = site.master().query_lines(&["-t", "LEFT", "--kind", "run"]);
    assert!(messages(&found)[0].contains("still there: bash (pid "), "{found:?}");
    std::io::Write::write_all(&mut &writer, b"go on\n").unwrap();
    let run = wait_for("the verdict is withdrawn", SOON, || {
        runs(&site, "LEFT").pop().filter(|run| run["outcome"] == "ok")
    });
    assert_eq!((&run["reason"], &run["summary"]["events"]), (&Value::Null, &json!(3)));
}

#[test]
fn a_detached_run_outlives_the_process_that_started_it() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.submit(&json!({"task": "DETACHED", "command": "counter-start", "detach": true, "run_key": "d"}));
    let mut other = open_run(&agent, "OTHER");
    wait_until("the other run is open", SOON, || agent.count(&["--runs", "-t", "OTHER"]) == 1);
    kill(&mut other);
    // The verdict on the later one has been given: there was time for one on the earlier.
    wait_until("the other run is aborted", SOON, || {
        runs(&site, "OTHER").first().is_some_and(|run| run["phase"] == "ended")
    });
    let run = &runs(&site, "DETACHED")[0];
    assert_eq!((&run["status"], &run["flags"]), (&json!("running"), &json!(["detached"])));
    agent.submit(&json!({"task": "DETACHED", "command": "counter-stop", "run_key": "d"}));
    wait_until("it is ok", SOON, || runs(&site, "DETACHED")[0]["status"] == "ok");
}

#[test]
fn a_detached_run_outlives_its_script_and_only_its_longest_time_speaks() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let limit = |toml: &mut toml::Table| {
        let section: toml::Table = toml::from_str("tasks = [\"LIMITED\"]\nmax_runtime = \"1ms\"").unwrap();
        toml.insert("runs".to_owned(), vec![toml::Value::Table(section)].into());
    };
    site.master().configure(limit);
    assert_eq!(site.master().stop(), 0);
    site.master().start();
    agent.start();
    for task in ["FREE", "LIMITED"] {
        let text = format!("hume -c counter-start -t {task} --detach -m start; exit 0");
        let script = agent.script("detached.sh", &text);
        process::run(&mut agent.shell(&["bash", &script])).ok();
    }
    // Who dies later than they is aborted: there was time for a verdict on them.
    let mut witness = open_run(&agent, "WITNESS");
    wait_until("the witness is there", SOON, || agent.count(&["--runs", "-t", "WITNESS"]) == 1);
    kill(&mut witness);
    wait_until("the witness is aborted", SOON, || {
        runs(&site, "WITNESS").first().is_some_and(|run| run["phase"] == "ended")
    });
    for (task, status, severity) in [("FREE", "running", 0), ("LIMITED", "overdue", 1)] {
        let run = &runs(&site, task)[0];
        assert_eq!((&run["status"], &run["severity"]), (&json!(status), &json!(severity)));
        assert_eq!((&run["phase"], &run["flags"]), (&json!("running"), &json!(["detached"])));
    }
}

#[test]
fn a_script_whose_start_fell_into_the_folder_is_aborted_when_it_is_killed() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let mut script = open_run(&agent, "FELL");
    let is_whole = |name: std::ffi::OsString| !name.to_string_lossy().starts_with('.');
    wait_until("its start is in the folder", SOON, || {
        let mut names = std::fs::read_dir(agent.drop_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(is_whole)
    });
    agent.start();
    wait_until("its run is open", SOON, || runs(&site, "FELL").len() == 1);
    assert_eq!(runs(&site, "FELL")[0]["phase"], "running");
    kill(&mut script);
    let run = wait_for("the run is aborted", SOON, || {
        runs(&site, "FELL").pop().filter(|run| run["phase"] == "ended")
    });
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("aborted"), &json!("process_gone")));
}

#[test]
fn an_event_sent_into_the_background_before_the_stop_belongs_to_the_run_however_late_it_comes() {
    let site = Site::new();
    let agent = site.agent("web1");
    let text = "hume -c counter-start -t HASTY -m start
                for n in 1 2 3 4 5 6 7 8; do hume -t HASTY -m \"step $n\" & done
                hume -c counter-stop -t HASTY -m stop
                wait";
    let script = agent.script("hasty.sh", text);
    process::run(&mut agent.shell(&["bash", &script])).ok();
    let runs = items(&agent.query_json(&["--runs", "--events", "-t", "HASTY"]), "runs").to_vec();
    let started: Vec<&Value> = runs.iter().filter(|run| run["correlation"] == "ancestry").collect();
    assert_eq!(started.len(), 1, "{runs:#?}");
    // One that was made after the stop, though written before it in the script, is a run of its own: the shell started
    // it later. None may be lost.
    let all: u64 = runs.iter().map(|run| run["summary"]["events"].as_u64().unwrap()).sum();
    assert_eq!(all, 10, "{runs:#?}");
}

#[test]
fn expectations_are_judged_alike_by_master_and_agent() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let expect = |toml: &mut toml::Table| {
        let section: toml::Table =
            toml::from_str("tasks = [\"SLOW*\"]\nmax_runtime = \"1ms\"\n[exit_map]\n7 = \"warning\"\n")
                .unwrap();
        toml.insert("runs".to_owned(), vec![toml::Value::Table(section)].into());
    };
    agent.configure(expect);
    site.master().configure(expect);
    assert_eq!(site.master().stop(), 0);
    site.master().start();
    agent.start();
    let mut script = open_run(&agent, "SLOW_1");
    agent.hume(&["-t", "SLOW_2", "-c", "counter-stop", "--exit", "7"]).ok();
    agent.hume(&["-t", "QUICK", "-c", "counter-stop", "--exit", "7"]).ok();
    let told = |answer: &Value| -> Vec<(String, u64)> {
        let mut told: Vec<_> = items(answer, "tasks")
            .iter()
            .map(|task| {
                let text = format!("{} {}", task["task"].as_str().unwrap(), task["status"].as_str().unwrap());
                (text, task["severity"].as_u64().unwrap())
            })
            .collect();
        told.sort();
        told
    };
    let expected = [("QUICK failed", 2), ("SLOW_1 overdue", 1), ("SLOW_2 warning", 1)]
        .map(|(text, severity)| (text.to_owned(), severity));
    for ask in [
        &|| agent.query_json(&["tasks"]) as Value,
        &(|| site.master().query_json(&["tasks"])) as &dyn Fn() -> Value,
    ] {
        wait_until("both tell the same", SOON, || told(&ask()) == expected);
    }
    drop(script.stdin.take());
    process::finish(script, "the slow one").ok();
    wait_until("it has overran at the master", SOON, || {
        let run = &runs(&site, "SLOW_1")[0];
        run["status"] == "warning" && run["flags"] == json!(["overran"])
    });
}

#[test]
fn hume_exec_does_not_start_what_may_not_overlap_and_the_refusal_is_kept() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    agent.configure(|toml| {
        let section: toml::Table = toml::from_str("tasks = [\"ALONE\"]\noverlap = \"forbid\"").unwrap();
        toml.insert("runs".to_owned(), vec![toml::Value::Table(section)].into());
    });
    agent.start();
    let mark = agent.dir().join("ran").to_str().unwrap().to_owned();
    for (task, flags, code) in [
        ("ALONE", &[][..], 75),
        ("ALONE", &["--overlap", "warn"], 0),
        ("SHARED", &[], 0),
        ("SHARED", &["--overlap", "forbid"], 75),
    ] {
        let mut first = open_run(&agent, task);
        wait_until("the first run is open", SOON, || {
            let open = agent.query_json(&["--runs", "-t", task]);
            items(&open, "runs").iter().filter(|run| run["phase"] == "running").count() == 1
        });
        let words = [&["exec", "-t", task], flags, &["--", "touch", &mark]].concat();
        let second = agent.hume(&words);
        assert_eq!(second.code, Some(code), "{second:#?}");
        assert_eq!(std::fs::remove_file(&mark).is_ok(), code == 0, "{task} {flags:?}");
        assert_eq!(second.stderr.lines().count(), usize::from(code == 75), "{second:#?}");
        drop(first.stdin.take());
        process::finish(first, "the first").ok();
    }
    let refused = |task: &str| {
        let events = agent.query_lines(&["-t", task]);
        events
            .iter()
            .filter(|event| event["flags"] == json!(["overlap_refused"]) && event["run"].is_null())
            .count()
    };
    assert_eq!((refused("ALONE"), refused("SHARED")), (1, 1));
}

#[test]
fn calls_of_hume_and_lines_of_a_pipe_inside_hume_exec_belong_to_its_run_and_its_death_aborts_it() {
    let site = Site::new();
    let agent = site.agent("web1");
    let script = agent.script(
        "inside.sh",
        "hume -t NESTED -m inside; printf 'ERROR: one\\ntwo\\n' | hume pipe -t NESTED --level-from prefix",
    );
    process::run(&mut agent.shell(&["hume", "exec", "-t", "NESTED", "--", "bash", &script])).ok();
    let answer = agent.query_json(&["-t", "NESTED", "--latest"]);
    let [run] = items(&answer, "runs") else { unreachable!("one run: {answer:#}") };
    let said = messages(items(run, "events"));
    assert_eq!(said[1..4], ["inside", "ERROR: one", "two"]);
    assert_eq!((&run["correlation"], &run["summary"]["events"]), (&json!("explicit"), &json!(5)));
    assert_eq!((&run["status"], &run["summary"]["by_level"]["error"]), (&json!("failed"), &json!(1)));
    assert_eq!(items(run, "events")[0]["script"], json!(script));
    let mut exec = process::start(
        agent
            .reporting(process::command("hume"))
            .args(["exec", "-t", "SLAIN", "--tail", "0", "--", "cat"])
            .stdin(Stdio::piped()),
    );
    wait_until("its run is open", SOON, || runs(&site, "SLAIN").len() == 1);
    kill(&mut exec);
    let run =
        wait_for("it is aborted", SOON, || runs(&site, "SLAIN").pop().filter(|run| run["phase"] == "ended"));
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("aborted"), &json!("process_gone")));
}
