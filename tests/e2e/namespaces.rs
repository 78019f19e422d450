//! Callers whose ancestors the agent cannot see: their events find the only open run of their user, and say so.

use hume_tests::events::{items, messages};
use hume_tests::{Agent, Site, process};
use serde_json::{Value, json};

/// A process namespace of its own, with its own /proc.
const OTHER_PIDS: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
/// A /proc in which there is nothing.
const NO_PROC: [&str; 5] =
    ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\""];

/// False, and says so, where this machine does not let its user do that.
fn is_possible(within: &[&str]) -> bool {
    let words = [within, &["true"]].concat();
    let is_possible = process::run(&mut process::shell(&words)).code == Some(0);
    if !is_possible {
        #[expect(clippy::print_stdout, reason = "a test that was not made says so")]
        {
            println!("skipped: this machine does not allow `{}`", words.join(" "));
        }
    }
    is_possible
}

/// What a script, which the agent cannot look at, becomes there.
fn run_of_a_script(within: &[&'static str]) -> (Agent, Value) {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.within(within);
    agent.start();
    let script = agent.script(
        "unseen.sh",
        "hume --strict -c counter-start -t UNSEEN -m start
         hume --strict -t UNSEEN -m middle
         hume --strict -c counter-stop -t UNSEEN -m stop",
    );
    process::run(&mut agent.shell(&["bash", &script])).ok();
    let mut runs = agent.query_lines(&["--runs", "--events", "-t", "UNSEEN"]);
    assert_eq!(runs.len(), 1, "{runs:#?}");
    (agent, runs.remove(0))
}

#[track_caller]
fn assert_only_open(run: &Value) {
    let events = items(run, "events");
    assert_eq!(messages(events), ["start", "middle", "stop"]);
    for event in events {
        assert_eq!(event["correlation"], "only-open", "{event:#}");
        assert_eq!(event["script"], Value::Null, "nobody saw it: {event:#}");
    }
    assert_eq!((&run["outcome"], &run["reason"]), (&json!("ok"), &Value::Null));
}

#[test]
fn a_caller_in_another_pid_namespace_joins_the_only_open_run_and_its_correlation_says_so() {
    if !is_possible(&OTHER_PIDS) {
        return;
    }
    let (_agent, run) = run_of_a_script(&OTHER_PIDS);
    assert_only_open(&run);
    assert!(
        items(&run, "events").iter().all(|event| event["pid"].is_null()),
        "its number means another there"
    );
}

#[test]
fn a_caller_of_whom_proc_tells_nothing_joins_the_only_open_run_and_its_correlation_says_so() {
    if !is_possible(&NO_PROC) {
        return;
    }
    let (_agent, run) = run_of_a_script(&NO_PROC);
    assert_only_open(&run);
    assert!(items(&run, "events").iter().all(|event| event["pid"].is_u64()), "the kernel's word");
}
