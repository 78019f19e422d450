//! Who may speak, by the administrator's word: an agent that is suspended or revoked is cut at once and does not come back.

use std::time::Duration;

use hume_tests::process::Output;
use hume_tests::{SOON, Site, process, wait_until};

/// A session of an agent that may not speak any more is cut within this time.
const CUT_TIME_MAX: Duration = Duration::from_secs(5);

fn agents(site: &Site, words: &[&str]) -> Output {
    process::run(
        process::command("humeconfig").args(["agents", "--dir"]).arg(site.master().dir()).args(words),
    )
}

fn connection(site: &Site, host: &str) -> String {
    let listed = agents(site, &["list", "--json"]).ok().json();
    let of_host = |agent: &&serde_json::Value| agent["host"] == host;
    let found = listed["agents"].as_array().unwrap().iter().find(of_host).expect("the agent is listed");
    found["connection"].as_str().unwrap().to_owned()
}

#[test]
fn a_revoked_agent_is_cut_within_five_seconds_and_cannot_come_back() {
    let site = Site::new();
    let (agent, other) = (site.agent("web1"), site.agent("db1"));
    for (agent, task) in [(&agent, "A"), (&other, "B")] {
        agent.hume(&["-t", task, "-m", "before"]).ok();
        agent.wait_until_drained(SOON);
    }
    let revoked = agents(&site, &["revoke", "web1"]).ok().stdout.clone();
    assert!(revoked.contains("is revoked, its session is cut"), "{revoked}");
    wait_until("its session is cut", CUT_TIME_MAX, || connection(&site, "web1") == "disconnected");
    agent.wait_for_log("this agent is revoked: its host must join again");

    // Neither by another start nor by one of the master.
    agent.hume(&["-t", "A", "-m", "after"]).ok();
    assert_eq!(agent.stop(), 0);
    agent.start();
    agent.wait_for_log("no session with the master");
    // Counted since the start of a master, whom the agent asks again only after a pause.
    let figures = site.master().metrics();
    assert!(figures["hume_master_refused_total{reason=\"agent\"}"] > 0);
    assert_eq!(site.master().stop(), 0);
    site.master().start();
    other.hume(&["-t", "B", "-m", "after"]).ok();
    other.wait_until_drained(SOON);
    assert_eq!((site.master().count(&["-t", "A"]), site.master().count(&["-t", "B"])), (1, 2));
    assert_eq!(agent.state()["queued_events"], 1, "nothing is lost at the agent");

    let shown = agents(&site, &["show", "web1"]).ok().stdout.clone();
    assert!(shown.contains("state        revoked since "), "{shown}");
    let shown = agents(&site, &["show", "web1", "--json"]).ok().json();
    assert_eq!(shown["agents"][0]["state"], "revoked", "{shown}");
    assert_eq!(shown["agents"].as_array().map(Vec::len), Some(1), "{shown}");
    let refused = agents(&site, &["approve", "web1"]).with_code(75).stderr.clone();
    assert!(refused.contains("which is for good"), "{refused}");
    agents(&site, &["suspend", "nobody"]).with_code(66);
}

#[test]
fn a_suspended_agent_keeps_its_events_and_sends_them_when_it_is_approved_again() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.hume(&["-t", "A", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    agents(&site, &["suspend", "web1"]).ok();
    wait_until("its session is cut", CUT_TIME_MAX, || connection(&site, "web1") == "disconnected");
    agent.hume(&["-t", "A", "-m", "two"]).ok();
    let approved = agents(&site, &["approve", "web1"]).ok().stdout.clone();
    assert!(approved.contains("is active"), "{approved}");
    assert_eq!(agent.stop(), 0);
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "A"]), 2);
}
