//! What an administrator gives up is gone, is said, and nothing else is.

use hume_tests::events::{json_lines, messages};
use hume_tests::process::{self, Output};
use hume_tests::{Agent, SOON, Site, wait_until};
use serde_json::json;

fn report(agent: &Agent, task: &str, numbers: std::ops::RangeInclusive<u32>) {
    let lines = numbers.map(|number| json!({"task": task, "message": format!("event {number}")}));
    let answers = agent.socket_lines(json_lines(lines).as_bytes());
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
}

fn discard(agent: &Agent, words: &[&str]) -> Output {
    process::run(
        process::command("humed-agent").args(["discard", "--config"]).arg(agent.config()).args(words),
    )
}

#[test]
fn what_is_given_up_is_counted_as_lost_and_all_else_arrives() {
    let site = Site::new();
    let agent = site.agent("web1");
    report(&agent, "JOB", 1..=3);
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().stop(), 0);
    report(&agent, "FLOOD", 1..=500);
    report(&agent, "JOB", 4..=6);
    report(&agent, "FLOOD", 501..=600);

    let refused = discard(&agent, &["--task", "FLOOD", "--yes"]);
    assert!(refused.with_code(75).stderr.contains("one daemon per folder"), "{refused:?}");
    assert_eq!(agent.stop(), 0);
    let shown = discard(&agent, &["--task", "FLOOD"]);
    assert!(shown.ok().stdout.starts_with("would be given up: 600 events, "), "{shown:?}");
    let done = discard(&agent, &["--task", "FLOOD", "--yes"]);
    assert!(done.ok().stdout.starts_with("given up: 600 events, "), "{done:?}");
    assert!(done.stdout.contains("\"FLOOD\"; 3 of other tasks wait"), "{done:?}");
    assert!(discard(&agent, &[]).ok().stdout.starts_with("would be given up: 3 events, "));

    site.master().start();
    agent.start();
    report(&agent, "JOB", 7..=7);
    agent.wait_until_drained(SOON);
    let jobs = || messages(&site.master().query_lines(&["-t", "JOB"])).len();
    wait_until("the others are there", SOON, || jobs() == 7);
    assert_eq!(site.master().query_lines(&["-t", "FLOOD"]).len(), 0);
    let lost = || site.master().query_json(&["agents"])["agents"][0]["lost_events"].as_u64();
    wait_until("the loss is counted", SOON, || lost() == Some(600));
    assert!(agent.log().contains("purged"), "{}", agent.log());
}
