//! Which run an event belongs to, with real processes: two copies of one script at once, through every way a shell calls.

use std::collections::BTreeSet;
use std::process::Stdio;

use hume_tests::events::{by_run, items, messages, text};
use hume_tests::{SOON, Site, process};
use serde_json::Value;

/// Reports in every way a shell knows, each event with the number of its copy. The copies meet at two files, so that
/// both have started before either reports, and both have reported before either stops.
const EVERY_WAY: &str = r#"#!/bin/bash
copy=$1; meet=$2
say() { hume -t EVERY_WAY -x copy="$copy" -m "$1"; }
wait_for() { for _ in $(seq 3000); do [ "$(ls "$meet" | grep -c "^$1")" = 2 ] && return; read -rt 0.01 < "$meet/../pipe"; done; exit 9; }
hume -c counter-start -t EVERY_WAY -x copy="$copy" -m start
touch "$meet/started-$copy"; wait_for started
hume -t EVERY_WAY -x copy="$copy" -m direct
( hume -t EVERY_WAY -x copy="$copy" -m subshell; : )
( ( hume -t EVERY_WAY -x copy="$copy" -m "subshell in a subshell"; : ); : )
echo text | hume -t EVERY_WAY -x copy="$copy" -m "end of a pipeline"
hume -t EVERY_WAY -x copy="$copy" -m "start of a pipeline" | cat
ignored=$(hume -t EVERY_WAY -x copy="$copy" -m "command substitution")
hume -t EVERY_WAY -x copy="$copy" -m background & wait $!
( sleep 0.05; hume -t EVERY_WAY -x copy="$copy" -m "background subshell" ) & wait $!
say function
$(say "function in a substitution")
echo xargs | xargs hume -t EVERY_WAY -x copy="$copy" -m
timeout 60 hume -t EVERY_WAY -x copy="$copy" -m timeout
setsid -w hume -t EVERY_WAY -x copy="$copy" -m setsid
setsid -w sh -c 'hume -t EVERY_WAY -x copy="$0" -m "setsid and a shell"' "$copy"
sh -c 'hume -t EVERY_WAY -x copy="$0" -m "nested sh"; :' "$copy"
sh -c 'sh -c "hume -t EVERY_WAY -x copy=$0 -m \"sh in sh\"; :"; :' "$copy"
nice nohup env hume -t EVERY_WAY -x copy="$copy" -m "nice nohup env" 2>/dev/null
timeout 60 sh -c 'echo x | ( xargs -I{} hume -t EVERY_WAY -x copy="$0" -m "all together"; : )' "$copy"
hume -t EVERY_WAY -x copy="$copy" --flag reported -m flag
touch "$meet/reported-$copy"; wait_for reported
hume -c counter-stop -t EVERY_WAY -x copy="$copy" -m stop
"#;

/// Events of one copy.
const EVENTS_PER_COPY: usize = 21;
const ROUNDS: usize = 3;

#[test]
fn two_copies_of_one_script_at_once_never_share_an_event() {
    let site = Site::new();
    let agent = site.agent("web1");
    for round in 0..ROUNDS {
        let meet = agent.dir().join(format!("meet{round}"));
        std::fs::create_dir(&meet).unwrap();
        let pipe = agent.dir().join("pipe");
        if !pipe.exists() {
            process::run(agent.shell(&["mkfifo", pipe.to_str().unwrap()]).stdin(Stdio::null())).ok();
        }
        // A pipe that somebody holds open and nobody writes to: reading from it is a wait that ends by its limit.
        let hold = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let script = agent.script("every_way.sh", EVERY_WAY);
        let copies: Vec<_> = (0..2)
            .map(|copy| {
                let name = format!("{round}-{copy}");
                let mut command = agent.shell(&["bash", &script, &name, meet.to_str().unwrap()]);
                process::start(command.stdin(Stdio::null()))
            })
            .collect();
        for copy in copies {
            process::finish(copy, "bash every_way.sh").ok();
        }
        drop(hold);
    }
    agent.wait_until_drained(SOON);
    let events = site.master().query_lines(&["-t", "EVERY_WAY"]);
    assert_eq!(events.len(), 2 * ROUNDS * EVENTS_PER_COPY, "{:?}", messages(&events));
    let runs = by_run(&events);
    assert_eq!(runs.len(), 2 * ROUNDS);
    for (run, events) in &runs {
        let copies: BTreeSet<&str> = events.iter().map(|event| text(&event["extra"], "copy")).collect();
        assert_eq!(copies.len(), 1, "run {run} holds events of several copies: {events:#?}");
        assert_eq!(events.len(), EVENTS_PER_COPY, "run {run} lacks events: {events:#?}");
        assert!(events.iter().all(|event| text(event, "correlation") == "ancestry"), "{events:#?}");
    }
    let shown = site.master().query_json(&["-t", "EVERY_WAY", "--runs"]);
    for run in items(&shown, "runs") {
        assert_eq!((text(run, "phase"), run["complete"].as_bool()), ("ended", Some(true)), "{run:#}");
    }
    let overlapped =
        items(&shown, "runs").iter().filter(|run| run["flags"] == serde_json::json!(["overlapped"]));
    assert_eq!(overlapped.count(), ROUNDS, "the newer of each two is flagged: {shown:#}");
}

#[track_caller]
fn latest(site: &Site, task: &str) -> Value {
    let answer = site.master().query_json(&["-t", task, "--latest"]);
    let runs = items(&answer, "runs");
    assert_eq!(runs.len(), 1, "{answer:#}");
    runs[0].clone()
}

#[test]
fn a_second_start_by_the_same_script_supersedes_its_first_run() {
    let site = Site::new();
    let agent = site.agent("web1");
    let script = agent.script(
        "again.sh",
        "#!/bin/bash\nfor try in 1 2; do hume -c counter-start -t AGAIN -m \"try $try\"; done\nhume -c counter-stop -t AGAIN\n",
    );
    process::run(&mut agent.shell(&["bash", &script])).ok();
    agent.wait_until_drained(SOON);
    let answer = site.master().query_json(&["-t", "AGAIN", "--runs"]);
    let runs = items(&answer, "runs");
    assert_eq!(runs.len(), 2, "{answer:#}");
    assert_eq!((text(&runs[0], "status"), &runs[0]["reason"]), ("ok", &Value::Null));
    assert_eq!((text(&runs[1], "outcome"), text(&runs[1], "reason")), ("aborted", "superseded"));
    let told = site.master().query_lines(&["-t", "AGAIN", "--kind", "run"]);
    assert_eq!(told.len(), 1);
    assert_eq!(
        site.master().query_lines(&["-t", "AGAIN"]).len(),
        3,
        "only what was reported is listed and counted"
    );
}

#[test]
fn a_run_key_joins_processes_that_have_nothing_in_common() {
    let site = Site::new();
    let agent = site.agent("web1");
    for (words, expected) in [
        (vec!["-c", "counter-start", "-t", "KEYED", "--run-id", "k1", "-m", "start"], 1),
        (vec!["-t", "KEYED", "--run-id", "k1", "-m", "middle"], 1),
        (vec!["-t", "KEYED", "--run-id", "k2", "-m", "another key"], 2),
        (vec!["-c", "counter-stop", "-t", "KEYED", "--run-id", "k1", "-m", "stop"], 2),
    ] {
        agent.hume(&words).ok();
        assert_eq!(agent.query_json(&["-t", "KEYED", "--runs", "--count"])["count"], expected);
    }
    let events = agent.query_lines(&["-t", "KEYED"]);
    let sizes: BTreeSet<usize> = by_run(&events).values().map(Vec::len).collect();
    assert_eq!(sizes, BTreeSet::from([1, 3]));
    assert!(events.iter().all(|event| text(event, "correlation") == "explicit"));
}

#[test]
fn a_script_that_never_starts_a_run_gets_one_and_a_plain_note_does_not() {
    let site = Site::new();
    let agent = site.agent("web1");
    let script =
        agent.script("plain.sh", "#!/bin/bash\nhume -t PLAIN -m one\n(hume -t PLAIN -m two; :)\nhume note\n");
    process::run(&mut agent.shell(&["bash", &script])).ok();
    agent.wait_until_drained(SOON);
    let run = latest(&site, "PLAIN");
    assert_eq!(messages(items(&run, "events")), ["one", "two"]);
    assert_eq!(run["flags"], serde_json::json!(["implicit"]));
    let notes = site.master().query_lines(&["--grep", "note"]);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0]["run"], Value::Null);
}

#[test]
fn a_script_that_is_killed_leaves_an_aborted_run_also_after_the_agent_was_started_anew() {
    let site = Site::new();
    let agent = site.agent("web1");
    let pipe = agent.dir().join("never");
    process::run(&mut agent.shell(&["mkfifo", pipe.to_str().unwrap()])).ok();
    let text_of = format!("#!/bin/bash\nhume -c counter-start -t DIES\nread -r _ < '{}'\n", pipe.display());
    let script = agent.script("dies.sh", &text_of);
    for restart in [false, true] {
        let mut command = agent.shell(&["bash", &script]);
        let mut child = process::start(command.stdin(Stdio::null()));
        hume_tests::wait_until("the run is open", SOON, || {
            agent.query_json(&["-t", "DIES", "--latest"])["runs"][0]["phase"] == "running"
        });
        if restart {
            agent.kill9();
            agent.start();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        hume_tests::wait_until("the master knows that the script is gone", SOON, || {
            let answer = site.master().query_json(&["-t", "DIES", "--latest"]);
            let run = &answer["runs"][0];
            run["outcome"] == "aborted" && run["reason"] == "process_gone" && run["status"] == "failed"
        });
    }
    assert_eq!(site.master().query_json(&["-t", "DIES", "--runs", "--count"])["count"], 2);
}
