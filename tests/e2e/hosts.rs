//! For which hosts an agent may report: the administrator says it, the agent refuses the rest, and the master looks again.

use std::time::Duration;

use hume_tests::process::Output;
use hume_tests::{SOON, Site, process, wait_until};

/// The next heartbeat of the agent, and a new session.
const TOLD: Duration = Duration::from_mins(1);

fn allow(site: &Site, words: &[&str]) -> String {
    let command = &mut process::command("humeconfig");
    let words = command.args(["agents", "--dir"]).arg(site.master().dir()).arg("allow-host").args(words);
    process::run(words).ok().stdout.clone()
}

#[test]
fn an_agent_reports_for_its_own_host_and_for_those_that_were_allowed_also_without_its_master() {
    let site = Site::new();
    let agent = site.agent("gate");
    agent.hume(&["-t", "A", "-m", "own"]).ok();
    agent.wait_until_drained(SOON);
    let said = allow(&site, &["gate", "printer-*"]);
    assert!(said.contains("of gate may report for its own host, printer-*"), "{said}");
    agent.wait_for_log("the hosts that this agent may report for have changed");

    let report =
        |host: &str| -> Output { agent.hume(&["--strict", "-t", "B", "-m", "x", "--hostname", host]) };
    wait_until("the agent was told", TOLD, || report("bank").code == Some(77));
    report("printer-3").ok();
    let refused = report("bank").with_code(77).stderr.clone();
    assert!(refused.contains("may not report for host \"bank\", but for gate, printer-*"), "{refused}");

    // A restart without the master changes nothing, and neither does the drop folder.
    assert_eq!(site.master().stop(), 0);
    assert_eq!(agent.stop(), 0);
    agent.hume(&["-t", "B", "-m", "dropped", "--hostname", "bank"]).ok();
    agent.hume(&["-t", "B", "-m", "dropped", "--hostname", "printer-4"]).ok();
    agent.start();
    report("printer-5").ok();
    report("bank").with_code(77);
    assert!(agent.metrics()["hume_agent_events_refused_total{reason=\"denied\"}"] > 0);

    site.master().start();
    agent.wait_until_drained(SOON);
    for host in ["printer-3", "printer-4", "printer-5"] {
        assert_eq!(site.master().count(&["-t", "B", "--hostname", host]), 1, "{host}");
    }
    let said = allow(&site, &["gate", "--remove", "printer-*"]);
    assert!(said.contains("of gate may report for its own host\n"), "{said}");
    wait_until("the agent was told", TOLD, || report("printer-3").code == Some(77));
}

#[test]
fn events_of_other_hosts_from_an_agent_that_lets_them_pass_are_set_aside_and_counted() {
    let site = Site::new();
    let agent = site.agent("gate");
    agent.hume(&["-t", "A", "-m", "own"]).ok();
    agent.wait_until_drained(SOON);
    allow(&site, &["gate", "printer-*"]);
    // The agent is as it was before it was told: it takes any host.
    assert_eq!(site.master().stop(), 0);
    assert_eq!(agent.stop(), 0);
    std::fs::write(agent.dir().join("state/allowed-hosts"), "*\n").unwrap();
    agent.start();
    agent.hume(&["--strict", "-t", "B", "-m", "forged", "--hostname", "bank"]).ok();
    agent.hume(&["-t", "A", "-m", "own"]).ok();
    site.master().start();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "B"]), 0);
    assert_eq!(site.master().count(&["-t", "A"]), 2);
    assert_eq!(site.master().metrics()["hume_master_quarantined_events_total"], 1);
    site.master().wait_for_log("the agent may not report for host");
    agent.wait_for_log("the master set an event aside");
}

#[test]
fn an_agent_that_says_it_is_another_host_keeps_its_events_until_that_is_allowed() {
    let site = Site::new();
    let agent = site.agent("gate");
    agent.hume(&["-t", "A", "-m", "own"]).ok();
    agent.wait_until_drained(SOON);
    allow(&site, &["gate", "printer-*"]);
    assert_eq!(agent.stop(), 0);
    agent.configure(|config| {
        config.insert("host".to_owned(), "bank".into());
    });
    agent.start();
    agent.hume(&["-t", "A", "-m", "renamed"]).ok();
    agent.wait_for_log("this agent says that it is of host");
    assert_eq!(agent.state()["queued_events"], 1);
    allow(&site, &["gate", "bank"]);
    assert_eq!(agent.stop(), 0);
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "A", "--hostname", "bank"]), 1);
}
