//! A spool that is put back, copied or lost: nothing new is swallowed, nothing is doubled, and what is gone is said.

use std::fs;

use hume_tests::disk::copy_folder;
use hume_tests::events::{messages, text};
use hume_tests::{Agent, Master, SOON, Site, wait_until};
use serde_json::json;

fn report(agent: &Agent, numbers: std::ops::RangeInclusive<u32>) {
    let lines = numbers.map(|number| json!({"task": "COUNT", "message": format!("event {number}")}));
    let answers = agent.socket_lines(hume_tests::events::json_lines(lines).as_bytes());
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
}

/// The numbers of the events at the master, in order of their arrival.
fn stored(master: &Master) -> Vec<u32> {
    let events = master.query_lines(&["-t", "COUNT"]);
    let number = |message: &str| message.strip_prefix("event ").unwrap().parse().unwrap();
    messages(&events).into_iter().rev().map(number).collect()
}

#[test]
fn a_spool_that_is_put_back_to_an_earlier_state_is_noticed_and_nothing_new_is_swallowed() {
    let site = Site::new();
    let agent = site.agent("web1");
    let (state, copy) = (agent.dir().join("state"), agent.dir().join("copy"));
    report(&agent, 1..=50);
    agent.wait_until_drained(SOON);
    // The copy has 20 that the master does not have yet; they arrive, and 30 more.
    assert_eq!(site.master().stop(), 0);
    report(&agent, 51..=70);
    assert_eq!(agent.stop(), 0);
    copy_folder(&state, &copy).unwrap();
    site.master().start();
    agent.start();
    report(&agent, 71..=100);
    agent.wait_until_drained(SOON);
    assert_eq!(agent.stop(), 0);

    fs::rename(&state, agent.dir().join("aside")).unwrap();
    fs::rename(&copy, &state).unwrap();
    // Fewer than the places that the master has already.
    agent.start();
    report(&agent, 101..=110);
    agent.wait_until_drained(SOON);
    wait_until("all is there", SOON, || stored(site.master()).len() == 110);
    assert_eq!(stored(site.master()), (1..=110).collect::<Vec<_>>());
    assert!(agent.log().contains("a new epoch took over"), "{}", agent.log());
    let events = site.master().query_lines(&["-t", "COUNT"]);
    assert_ne!(text(&events[0], "epoch"), text(&events[109], "epoch"));
    assert_eq!(agent.state()["lost_events"], 0);

    // It goes on, also after a restart of both.
    assert_eq!((agent.stop(), site.master().stop()), (0, 0));
    site.master().start();
    agent.start();
    report(&agent, 111..=120);
    agent.wait_until_drained(SOON);
    assert_eq!(stored(site.master()), (1..=120).collect::<Vec<_>>());
}

#[test]
fn a_spool_that_is_lost_does_not_stop_its_agent_and_arrives_when_it_is_found() {
    let site = Site::new();
    let agent = site.agent("web1");
    report(&agent, 1..=10);
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().stop(), 0);
    report(&agent, 11..=17);
    assert_eq!(agent.stop(), 0);
    let state = agent.dir().join("state");
    copy_folder(&state, &agent.dir().join("copy")).unwrap();
    fs::rename(&state, agent.dir().join("lost")).unwrap();
    site.master().start();
    agent.start();
    report(&agent, 21..=25);
    agent.wait_until_drained(SOON);
    wait_until("the new ones are there", SOON, || stored(site.master()).len() == 15);
    // And the disk is found again.
    assert_eq!(agent.stop(), 0);
    fs::rename(&state, agent.dir().join("second")).unwrap();
    fs::rename(agent.dir().join("copy"), &state).unwrap();
    agent.start();
    agent.wait_until_drained(SOON);
    wait_until("all are there", SOON, || stored(site.master()).len() == 22);
    let expected: Vec<u32> = (1..=10).chain(21..=25).chain(11..=17).collect();
    assert_eq!(stored(site.master()), expected);
}

#[test]
fn two_hosts_with_one_identity_are_noticed_and_keep_what_they_cannot_send_yet() {
    let site = Site::new();
    let agent = site.agent("web1");
    report(&agent, 1..=10);
    agent.wait_until_drained(SOON);
    assert_eq!(agent.stop(), 0);
    let copy = site.clone_of(&agent);
    agent.start();
    report(&agent, 11..=20);
    agent.wait_until_drained(SOON);
    copy.start();
    // The copy has other events at places that the master has: they get an epoch of their own.
    report(&copy, 21..=30);
    wait_until("the copy's events arrive", SOON, || stored(site.master()).len() == 30);
    let noticed = "two processes use one agent's identity";
    wait_until("the master says so", SOON, || site.master().log().contains(noticed));
    report(&agent, 31..=35);
    report(&copy, 36..=40);
    wait_until("what is not there waits in one of the two", SOON, || {
        let queued = |agent: &Agent| agent.state()["queued_events"].as_u64().unwrap();
        stored(site.master()).len() as u64 + queued(&agent) + queued(&copy) == 40
    });
}
