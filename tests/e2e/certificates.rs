//! Certificates that follow each other while their agents run: renewed in the session, kept over restarts, and worth nothing as a copy.

use std::time::Duration;

use hume_tests::{Agent, SOON, Site, wait_until};

/// A new certificate is due at half of its life, and asked for at the heartbeat after that.
const RENEWED: Duration = Duration::from_mins(3);

/// A site whose master makes certificates that live for this time.
fn site(life: &str) -> Site {
    let (site, _) = Site::enrolling();
    assert_eq!(site.master().stop(), 0);
    site.master().configure(|config| {
        let ca = config.entry("ca").or_insert_with(|| toml::Table::new().into());
        ca.as_table_mut().unwrap().insert("certificate_life".to_owned(), life.into());
    });
    site.master().start();
    site
}

/// An agent that has joined and was not started.
fn agent(site: &Site, host: &str) -> Agent {
    site.join(host, &site.token(&["--host", host])).ok();
    site.joined(host)
}

fn renewals(agent: &Agent) -> usize {
    agent.log().matches("the certificate was renewed").count()
}

#[test]
fn a_certificate_is_renewed_under_load_in_one_session_and_the_next_connection_shows_the_new_one() {
    let site = site("1m");
    let agent = agent(&site, "web1");
    agent.start();
    let mut reported = 0;
    wait_until("two certificates follow each other under load", RENEWED, || {
        agent.hume(&["--strict", "-t", "LOAD", "-m", "goes on"]).ok();
        reported += 1;
        renewals(&agent) >= 2
    });
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "LOAD"]), reported);
    assert_eq!(agent.metrics()["hume_agent_uplink_sessions_total"], 1, "the session never broke");
    assert!(!agent.log().contains("no session with the master"), "{}", agent.log());
    site.master().wait_for_log("renewed the certificate of an agent");

    // After a restart of either the new one is shown, and what it took the place of is gone.
    let identity = agent.dir().join("state/identity");
    assert!(identity.join("next.pem").exists());
    assert_eq!(agent.stop(), 0);
    agent.start();
    agent.wait_for_log("the renewed certificate has had its first session");
    assert!(identity.join("current.pem").exists() && !identity.join("next.pem").exists());
    agent.hume(&["--strict", "-t", "LOAD", "-m", "after"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "LOAD"]), reported + 1);
}

#[test]
fn a_copied_key_locks_the_agent_and_says_so() {
    let site = site("1m");
    let agent = agent(&site, "web1");
    // The host is copied before its certificate is renewed.
    let copy = site.clone_of(&agent);
    agent.start();
    wait_until("the certificate is renewed", RENEWED, || renewals(&agent) == 1);
    agent.wait_until_drained(SOON);
    assert_eq!(agent.stop(), 0);
    copy.start();
    copy.wait_for_log("this agent is suspended");
    site.master().wait_for_log("locked: an older certificate than the last one asks");
    let list = site.order(&["agents", "show", "web1"]);
    assert!(list.ok().stdout.contains("state        suspended"), "{list:?}");
    // The one with the newest certificate is locked as well, until somebody has looked.
    agent.start();
    agent.wait_for_log("this agent is suspended");
    agent.hume(&["--strict", "-t", "KEPT", "-m", "for later"]).ok();
    assert_eq!(agent.state()["queued_events"], 1);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_and_locks_nobody() {
    let site = site("1m");
    let agent = agent(&site, "web1");
    agent.start();
    wait_until("the certificate is renewed", RENEWED, || renewals(&agent) == 1);
    assert_eq!(agent.stop(), 0);
    agent.start();
    agent.wait_for_log("the renewed certificate has had its first session");
    // Killed again and again around its renewals, it always comes back.
    for _ in 0..2 {
        let before = renewals(&agent);
        wait_until("the next one is there", RENEWED, || renewals(&agent) > before);
        assert!(agent.kill9());
        agent.start();
        agent.hume(&["--strict", "-t", "BACK", "-m", "again"]).ok();
        agent.wait_until_drained(SOON);
    }
    assert_eq!(site.master().count(&["-t", "BACK"]), 2);
    assert!(!site.master().log().contains("locked:"), "{}", site.master().log());
}
