//! Every event lands in the run of its own copy of a script, whichever way the script calls `hume`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};

use hume_tests::events::{by_run, items, json_lines, messages, text};
use hume_tests::{Agent, SOON, Site, process, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// One copy. `$1` is its number, `$2` the file by which it says that it has started; then it waits for a line on stdin,
/// so that both copies have started before either goes on.
const COPY: &str = r#"
copy=$1
say() { hume -t TWINS -x copy="$copy" -m "$1"; }
hume -c counter-start -t TWINS -x copy="$copy" -m "start"
: > "$2"
read -r _
hume -t TWINS -x copy="$copy" -m "direct call"
( hume -t TWINS -x copy="$copy" -m "subshell" )
( true; hume -t TWINS -x copy="$copy" -m "subshell of several commands"; true )
( ( true; hume -t TWINS -x copy="$copy" -m "subshell in a subshell"; true ); true )
echo "first of a pipeline" | hume -t TWINS -x copy="$copy" -m -
true | hume -t TWINS -x copy="$copy" -m "last of a pipeline" | cat
true | { true; hume -t TWINS -x copy="$copy" -m "group in a pipeline"; true; }
ignored=$(hume -t TWINS -x copy="$copy" -m "substitution")
ignored=$(true; hume -t TWINS -x copy="$copy" -m "substitution of several commands"; echo done)
cat <(hume -t TWINS -x copy="$copy" -m "process substitution")
hume -t TWINS -x copy="$copy" -m "background" &
wait
( true; hume -t TWINS -x copy="$copy" -m "subshell in the background"; true ) &
wait
say "function"
say "function in the background" &
wait
echo "xargs" | xargs -I{} hume -t TWINS -x copy="$copy" -m "{}"
printf '%s\n' "xargs one of two at once" "xargs two of two at once" | xargs -P 2 -I{} hume -t TWINS -x copy="$copy" -m "{}"
timeout 60 hume -t TWINS -x copy="$copy" -m "timeout"
timeout 60 sh -c 'hume -t TWINS -x copy="$1" -m "shell under timeout"; true' _ "$copy"
setsid -w hume -t TWINS -x copy="$copy" -m "setsid"
setsid -w sh -c 'hume -t TWINS -x copy="$1" -m "shell under setsid"; true' _ "$copy"
nice nohup env hume -t TWINS -x copy="$copy" -m "nice nohup env" 2> /dev/null
sh -c 'hume -t TWINS -x copy="$1" -m "shell text"' _ "$copy"
sh -c 'sh -c "hume -t TWINS -x copy=$1 -m \"nested shells\"; true"; true' _ "$copy"
bash -c '( sh -c "hume -t TWINS -x copy=$1 -m \"all of it nested\"; true"; true ) | cat; true' _ "$copy"
find / -maxdepth 0 -exec hume -t TWINS -x copy="$copy" -m "find" \;
hume -t TWINS -x copy="$copy" -L ok -c flag --flag half -m "flag"
hume -c counter-stop -t TWINS -x copy="$copy" -m "stop"
"#;

/// What each copy says, once.
const MESSAGES: [&str; 29] = [
    "start",
    "direct call",
    "subshell",
    "subshell of several commands",
    "subshell in a subshell",
    "first of a pipeline",
    "last of a pipeline",
    "group in a pipeline",
    "substitution",
    "substitution of several commands",
    "process substitution",
    "background",
    "subshell in the background",
    "function",
    "function in the background",
    "xargs",
    "xargs one of two at once",
    "xargs two of two at once",
    "timeout",
    "shell under timeout",
    "setsid",
    "shell under setsid",
    "nice nohup env",
    "shell text",
    "nested shells",
    "all of it nested",
    "find",
    "flag",
    "stop",
];

/// Times that two copies are started at once.
const ROUNDS: usize = 4;

/// Starts a copy, up to where it waits for the other one.
fn start_copy(agent: &Agent, script: &str, number: usize) -> Child {
    let ready = agent.dir().join(format!("ready.{number}"));
    let ready_text = ready.to_str().unwrap();
    let words = ["bash", script, &number.to_string(), ready_text];
    let mut copy = process::start(agent.shell(&words).stdin(Stdio::piped()));
    wait_until("the copy has started", SOON, || {
        ready.exists() || copy.try_wait().is_ok_and(|ended| ended.is_some())
    });
    copy
}

/// Runs two copies at once, `ROUNDS` times. `started` is called when both have started.
fn run_copies(agent: &Agent) {
    let script = agent.script("copy.sh", COPY);
    for round in 0..ROUNDS {
        let mut copies = [2 * round, 2 * round + 1].map(|number| start_copy(agent, &script, number));
        for copy in &mut copies {
            copy.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        for copy in copies {
            let output = process::finish(copy, "a copy");
            output.ok();
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "hume says nothing");
        }
    }
}

/// Every run holds all that its own copy said and nothing else.
#[track_caller]
fn check_copies(events: &[Value]) {
    assert_eq!(events.len(), 2 * ROUNDS * MESSAGES.len());
    let mut copy_of_run = BTreeMap::new();
    let mut strays = Vec::new();
    for event in events {
        let (run, copy) = (text(event, "run"), text(&event["extra"], "copy"));
        if *copy_of_run.entry(run).or_insert(copy) != copy {
            strays.push(format!("{:?} of copy {copy}", event["message"]));
        }
    }
    assert!(strays.is_empty(), "in the wrong run: {strays:#?}");
    assert_eq!(copy_of_run.len(), 2 * ROUNDS);
    let expected = BTreeSet::from(MESSAGES);
    for events in by_run(events).values() {
        assert_eq!(events.len(), MESSAGES.len());
        assert_eq!(events.iter().map(|event| text(event, "message")).collect::<BTreeSet<_>>(), expected);
    }
}

/// Each run has ended by its stop, and in each pair the one that started later is the overlapping one.
#[track_caller]
fn check_runs(runs: &[Value]) {
    assert_eq!(runs.len(), 2 * ROUNDS);
    for run in runs {
        assert_eq!((&run["phase"], &run["reason"]), (&json!("ended"), &Value::Null), "{run:#}");
        assert_eq!((&run["correlation"], &run["complete"]), (&json!("ancestry"), &json!(true)), "{run:#}");
    }
    // Newest first.
    for pair in runs.chunks(2) {
        assert_eq!(pair[0]["flags"], json!(["overlapped"]), "{:#}", pair[0]);
        assert_eq!(pair[0]["status"], "warning");
        assert_eq!(pair[1]["flags"], json!([]), "{:#}", pair[1]);
        assert_eq!(pair[1]["status"], "ok");
    }
}

#[test]
fn two_copies_of_one_script_at_once_never_mix_whichever_way_they_call() {
    let site = Site::new();
    let agent = site.agent("web1");
    run_copies(&agent);
    check_copies(&agent.query_lines(&["-t", "TWINS"]));
    agent.wait_until_drained(SOON);
    check_copies(&site.master().query_lines(&["-t", "TWINS"]));
    check_runs(&site.master().query_lines(&["--runs", "-t", "TWINS"]));
    check_runs(&agent.query_lines(&["--runs", "-t", "TWINS"]));
}

#[test]
fn two_copies_that_report_while_the_agent_is_away_do_not_mix_either() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    run_copies(&agent);
    let files = fs::read_dir(agent.drop_dir()).unwrap().count();
    assert_eq!(files, 2 * ROUNDS * MESSAGES.len());
    agent.start();
    agent.wait_until_drained(SOON);
    check_copies(&site.master().query_lines(&["-t", "TWINS"]));
    check_runs(&site.master().query_lines(&["--runs", "-t", "TWINS"]));
}

#[test]
fn two_copies_do_not_mix_while_the_agent_is_killed_again_and_again() {
    let site = Site::new();
    let agent = site.agent("web1");
    std::thread::scope(|scope| {
        let copies = scope.spawn(|| run_copies(&agent));
        let mut kills = 0;
        while !copies.is_finished() || kills < 3 {
            agent.kill9();
            kills += 1;
            agent.start();
        }
    });
    agent.wait_until_drained(SOON);
    check_copies(&site.master().query_lines(&["-t", "TWINS"]));
}

/// Runs a bash script that reports to the agent, to its end.
fn run_script(agent: &Agent, text: &str) {
    let script = agent.script("script.sh", text);
    process::run(&mut agent.shell(&["bash", &script])).ok();
}

/// The runs of a task at the agent, oldest first, with their events.
fn runs_of(agent: &Agent, task: &str) -> Vec<Value> {
    let mut runs = agent.query_lines(&["--runs", "--events", "-t", task]);
    runs.reverse();
    runs
}

#[test]
fn a_second_start_by_the_same_script_ends_the_first_run_as_superseded() {
    let site = Site::new();
    let agent = site.agent("web1");
    run_script(
        &agent,
        "hume -c counter-start -t TWICE -m one
         hume -t TWICE -m 'in one'
         hume -c counter-start -t TWICE -m two
         hume -t TWICE -m 'in two'
         hume -c counter-stop -t TWICE -m done",
    );
    agent.wait_until_drained(SOON);
    let mut of_master = site.master().query_lines(&["--runs", "--events", "-t", "TWICE"]);
    of_master.reverse();
    for runs in [runs_of(&agent, "TWICE"), of_master] {
        let [first, second] = runs.as_slice() else { unreachable!("two runs: {runs:#?}") };
        assert_eq!((&first["outcome"], &first["reason"]), (&json!("aborted"), &json!("superseded")));
        assert_eq!((&first["status"], &first["severity"]), (&json!("failed"), &json!(2)));
        assert_eq!(first["summary"]["events"], 2, "what nobody reported is not counted");
        let said = |run: &Value| -> Vec<String> {
            let reported = items(run, "events").iter().filter(|event| event["kind"] == "reported");
            reported.map(|event| text(event, "message").to_owned()).collect()
        };
        assert_eq!(
            (said(first), said(second)),
            (vec!["one".into(), "in one".into()], vec!["two".into(), "in two".into(), "done".into()])
        );
        assert_eq!((&second["outcome"], &second["flags"]), (&json!("ok"), &json!([])));
    }
    // The end that nobody reported is an event of its own kind, shown only when asked for.
    assert_eq!(site.master().query_lines(&["-t", "TWICE"]).len(), 5);
    let found = site.master().query_lines(&["-t", "TWICE", "--kind", "run"]);
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["kind"], &found[0]["reason"]), (&json!("run"), &json!("superseded")));
    assert_eq!(site.master().query_lines(&["-t", "TWICE", "--kind", "all"]).len(), 6);
}

#[test]
fn a_start_from_a_subshell_a_wrapper_or_a_shell_text_is_owned_by_the_script() {
    let site = Site::new();
    let agent = site.agent("web1");
    let open = |name: &str, text: &str| {
        let script = agent.script(name, text);
        process::start(agent.shell(&["bash", &script]).stdin(Stdio::piped()))
    };
    let mut script = open(
        "wrapped.sh",
        "( true; hume -c counter-start -t WRAPPED -m one; true )
         timeout 60 sh -c 'hume -c counter-start -t WRAPPED -m two; true'
         sh -c 'true; hume -c counter-start -t WRAPPED -m three; true'
         read -r _; true",
    );
    wait_until("all three have started", SOON, || runs_of(&agent, "WRAPPED").len() == 3);
    // Who goes away later than the callers is aborted: there was time for a verdict on them.
    let mut witness = open("witness.sh", "hume -c counter-start -t WITNESS; read -r _; true");
    wait_until("the witness has started", SOON, || runs_of(&agent, "WITNESS").len() == 1);
    drop(witness.stdin.take());
    process::finish(witness, "the witness").ok();
    wait_until("the witness is aborted", SOON, || runs_of(&agent, "WITNESS")[0]["phase"] == "ended");
    let reasons = || runs_of(&agent, "WRAPPED").iter().map(|run| run["reason"].clone()).collect::<Vec<_>>();
    assert_eq!(reasons(), [json!("superseded"), json!("superseded"), Value::Null]);
    drop(script.stdin.take());
    process::finish(script, "the script").ok();
    wait_until("the end of the script ends the last", SOON, || {
        reasons() == ["superseded", "superseded", "process_gone"].map(Value::from)
    });
}

/// Two scripts that nobody here started: each waits for a line in its own pipe, but not forever.
#[test]
fn a_stop_that_fits_none_of_several_runs_is_kept_flagged_and_in_no_run() {
    let site = Site::new();
    let agent = site.agent("web1");
    let pipes = ["one", "two"].map(|name| {
        let pipe = agent.dir().join(name);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let text = format!(
            "hume -c counter-start -t SEVERAL -m start\nread -t 100 -r _ <> '{}'\nhume -c counter-stop -t SEVERAL",
            pipe.display()
        );
        let script = agent.script(&format!("{name}.sh"), &text);
        let quiet = format!("exec bash '{script}' < /dev/null > /dev/null 2>&1");
        process::run(&mut agent.shell(&["setsid", "-f", "bash", "-c", &quiet])).ok();
        pipe
    });
    wait_until("both are open", SOON, || runs_of(&agent, "SEVERAL").len() == 2);
    let answer = agent.submit(&json!({"task": "SEVERAL", "command": "counter-stop", "message": "whose?"}));
    assert_eq!(answer["ok"], true);
    agent.wait_until_drained(SOON);
    let events = site.master().query_lines(&["-t", "SEVERAL"]);
    assert_eq!(events.len(), 3);
    assert_eq!((&events[0]["message"], &events[0]["run"]), (&json!("whose?"), &Value::Null));
    assert_eq!(events[0]["flags"], json!(["unmatched_stop"]));
    let open = || site.master().query_lines(&["--runs", "-t", "SEVERAL"]);
    assert!(open().iter().all(|run| run["phase"] == "running"), "{:#?}", open());
    for pipe in pipes {
        fs::File::options().write(true).open(pipe).unwrap().write_all(b"go\n").unwrap();
    }
    wait_until("each has stopped its own", SOON, || open().iter().all(|run| run["outcome"] != Value::Null));
    assert!(open().iter().all(|run| run["reason"].is_null()), "{:#?}", open());
}

#[test]
fn a_script_that_goes_away_without_a_stop_is_aborted_and_its_error_is_kept() {
    let site = Site::new();
    let agent = site.agent("web1");
    run_script(
        &agent,
        "hume -c counter-start -t GONE -m start; hume -t GONE -L error -m 'disk is full'; exit 0",
    );
    let run = wait_for("the run is aborted", SOON, || {
        site.master().query_lines(&["--runs", "-t", "GONE"]).pop().filter(|run| run["phase"] == "ended")
    });
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("aborted"), &json!("process_gone")));
    assert_eq!((&run["status"], &run["severity"]), (&json!("failed"), &json!(2)));
    assert_eq!(run["summary"]["first_error"]["message"], "disk is full");
}

#[test]
fn a_script_that_is_gone_before_the_agent_comes_back_is_aborted_too() {
    let site = Site::new();
    let agent = site.agent("web1");
    let script = agent.script("gone.sh", "hume -c counter-start -t GONE; read -r _; true");
    let mut script = process::start(agent.shell(&["bash", &script]).stdin(Stdio::piped()));
    wait_until("the run is open", SOON, || runs_of(&agent, "GONE").len() == 1);
    agent.kill9();
    drop(script.stdin.take());
    process::finish(script, "a script").ok();
    agent.start();
    let run = wait_for("the run is aborted", SOON, || {
        site.master().query_lines(&["--runs", "-t", "GONE"]).pop().filter(|run| run["phase"] == "ended")
    });
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("aborted"), &json!("process_gone")));
}

#[test]
fn a_running_script_survives_a_restart_of_the_agent_and_its_run_goes_on() {
    let site = Site::new();
    let agent = site.agent("web1");
    let text = "hume -c counter-start -t LONG -m start; read -r _; hume -t LONG -m middle; read -r _
                hume -c counter-stop -t LONG -m stop";
    let script = agent.script("long.sh", text);
    let mut script = process::start(agent.shell(&["bash", &script]).stdin(Stdio::piped()));
    let mut stdin = script.stdin.take().unwrap();
    for events in [1, 2] {
        wait_until("it has reported", SOON, || agent.count(&["-t", "LONG"]) == events);
        if events == 1 {
            agent.kill9();
        } else {
            assert_eq!(agent.stop(), 0);
        }
        agent.start();
        assert_eq!(runs_of(&agent, "LONG")[0]["phase"], "running");
        stdin.write_all(b"go\n").unwrap();
    }
    process::finish(script, "a script").ok();
    let runs = runs_of(&agent, "LONG");
    let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
    assert_eq!(messages(items(run, "events")), ["start", "middle", "stop"]);
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("ok"), &Value::Null));
}

#[test]
fn a_run_key_joins_processes_that_have_nothing_to_do_with_each_other() {
    let site = Site::new();
    let agent = site.agent("web1");
    // Another run of the task is open all the time.
    let bystander = "hume -c counter-start -t KEYED -m bystander; read -r _; hume -c counter-stop -t KEYED";
    let script = agent.script("bystander.sh", bystander);
    let mut bystander = process::start(agent.shell(&["bash", &script]).stdin(Stdio::piped()));
    wait_until("the other run is open", SOON, || agent.count(&["-t", "KEYED"]) == 1);
    let mut hume = agent.shell(&["bash", "-c", "hume -c counter-start -t KEYED -m start; true"]);
    process::run(hume.env("HUME_RUN_ID", "build 7")).ok();
    process::run(
        agent
            .reporting(process::command("hume"))
            .args(["-t", "KEYED", "-m", "by variable"])
            .env("HUME_RUN_ID", "build 7"),
    )
    .ok();
    agent.hume(&["-t", "KEYED", "--run-id", "build 7", "-m", "by flag"]).ok();
    agent.submit(&json!({"task": "KEYED", "run_key": "build 7", "message": "by socket"}));
    agent.hume(&["-t", "KEYED", "--run-id", "build 7", "-c", "counter-stop", "-m", "stop"]).ok();
    agent.hume(&["-t", "KEYED", "--run-id", "build 8", "-c", "counter-start", "-m", "another"]).ok();
    drop(bystander.stdin.take());
    process::finish(bystander, "the other script").ok();
    let runs = runs_of(&agent, "KEYED");
    assert_eq!(runs.len(), 3, "{runs:#?}");
    let keyed = &runs[1];
    assert_eq!(messages(items(keyed, "events")), ["start", "by variable", "by flag", "by socket", "stop"]);
    assert_eq!((&keyed["correlation"], &keyed["phase"]), (&json!("explicit"), &json!("ended")));
    assert_eq!(messages(items(&runs[2], "events")), ["another"]);
}

#[test]
fn a_run_key_of_another_task_is_ignored_from_the_environment_and_refused_from_the_flag() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.hume(&["-t", "ONE", "--run-id", "k", "-c", "counter-start", "-m", "start"]).ok();
    let inherited = |words: &[&str]| {
        let mut hume = agent.reporting(process::command("hume"));
        process::run(hume.env("HUME_RUN_ID", "k").env("HUME_RUN_TASK", "ONE").args(words))
    };
    inherited(&["-t", "ONE", "-m", "same task"]).ok();
    inherited(&["--strict", "-t", "TWO", "-m", "other task"]).ok();
    inherited(&["--strict", "-t", "THREE", "--run-id", "k", "-m", "handed on"]).with_code(65);
    let [one, two] = ["ONE", "TWO"].map(|task| runs_of(&agent, task));
    assert_eq!((one.len(), two.len()), (1, 1), "{one:#?} {two:#?}");
    assert_eq!(messages(items(&one[0], "events")), ["start", "same task"]);
    assert_eq!((&one[0]["correlation"], &two[0]["correlation"]), (&json!("explicit"), &json!("implicit")));
    assert_eq!(items(&two[0], "events")[0]["flags"], json!(["key_ignored"]));
    assert_eq!(agent.count(&["-t", "THREE"]), 0, "what is refused is not stored");
}

#[test]
fn an_ended_run_is_not_opened_again_by_its_key_and_two_tasks_may_use_one_key() {
    let site = Site::new();
    let agent = site.agent("web1");
    for (task, message) in [("ONE", "start"), ("ONE", "stop")] {
        let command = format!("counter-{message}");
        agent.hume(&["-t", task, "--run-id", "k", "-c", &command, "-m", message]).ok();
    }
    agent.hume(&["-t", "ONE", "--run-id", "k", "-c", "counter-start", "-m", "again"]).ok();
    let runs = runs_of(&agent, "ONE");
    assert_eq!(runs.len(), 2, "an ended run stays ended: {runs:#?}");
    // The same key in two tasks, say the number of a build, is two runs.
    agent.hume(&["-t", "TWO", "--run-id", "k", "-m", "other task"]).ok();
    assert_eq!(messages(items(&runs_of(&agent, "TWO")[0], "events")), ["other task"]);
    assert_eq!(runs_of(&agent, "ONE").len(), 2);
}

#[test]
fn a_thousand_runs_of_one_task_are_open_at_once_and_each_has_its_events() {
    const RUNS: u64 = 1000;
    let site = Site::new();
    let agent = site.agent("web1");
    let say = |command: Option<&str>| {
        let lines = (0..RUNS).map(|number| {
            let key = format!("job {number}");
            match command {
                Some(command) => json!({"task": "MANY", "run_key": key, "command": command}),
                None => json!({"task": "MANY", "run_key": key, "message": key}),
            }
        });
        let answers = agent.socket_lines(json_lines(lines).as_bytes());
        assert!(answers.iter().all(|answer| answer["ok"] == true));
    };
    say(Some("counter-start"));
    say(None);
    agent.wait_until_drained(SOON);
    assert_eq!(
        (agent.count(&["--runs", "-t", "MANY"]), site.master().count(&["--runs", "-t", "MANY"])),
        (RUNS, RUNS)
    );
    say(Some("counter-stop"));
    agent.wait_until_drained(SOON);
    let words = ["--runs", "-t", "MANY", "--limit", "2000"];
    for runs in [agent.query_lines(&words), site.master().query_lines(&words)] {
        assert_eq!(runs.len() as u64, RUNS);
        assert!(runs.iter().all(|run| run["phase"] == "ended" && run["summary"]["events"] == 3));
        let overlapped = runs.iter().filter(|run| run["flags"] == json!(["overlapped"])).count();
        assert_eq!(overlapped as u64, RUNS - 1, "all but the first");
    }
}

#[test]
fn events_without_a_start_get_an_implicit_run_for_each_script() {
    let site = Site::new();
    let agent = site.agent("web1");
    run_script(
        &agent,
        "hume -t NOSTART -m one; ( true; hume -t NOSTART -m two; true ); true | hume -t NOSTART -L warning -m three",
    );
    let runs = runs_of(&agent, "NOSTART");
    let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
    assert_eq!(messages(&items(run, "events")[..3]), ["one", "two", "three"]);
    assert_eq!((&run["correlation"], &run["flags"]), (&json!("implicit"), &json!(["implicit"])));
    assert_eq!(run["summary"]["by_level"]["warning"], 1);
}

#[test]
fn a_pause_is_no_active_time_and_a_stop_without_a_start_is_a_run_of_its_own() {
    let site = Site::new();
    let agent = site.agent("web1");
    run_script(
        &agent,
        "hume -c counter-start -t PAUSED -m start
         hume -c counter-pause -t PAUSED -m pause
         hume -c counter-start -t PAUSED -m resume
         hume -c counter-stop -t PAUSED --exit 3 -m stop
         hume -c counter-stop -t ENDONLY -x duration=12.5 -m 'only the end'",
    );
    let runs = runs_of(&agent, "PAUSED");
    let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
    assert_eq!(messages(items(run, "events")), ["start", "pause", "resume", "stop"]);
    assert_eq!(run["exit"], json!({"code": 3, "signal": null}));
    assert_eq!((&run["status"], &run["outcome"]), (&json!("failed"), &json!("failed")));
    let ms = |key: &str| run[key].as_u64().unwrap();
    assert!(ms("active_ms") <= ms("duration_ms"));
    let runs = runs_of(&agent, "ENDONLY");
    let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
    assert_eq!((&run["phase"], &run["flags"]), (&json!("ended"), &json!(["stop_without_start"])));
    assert_eq!(run["duration_ms"], 12_500, "the start is dated back");
}
