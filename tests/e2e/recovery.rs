//! Certificates that ended while their agents were away: recovered within the grace, and refused with the way out after it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hume_runtime::sqlite::{self, SqliteOptions};
use hume_tests::{Agent, SOON, Site, http, tls, wait_until};

const DAY_S: i64 = 86_400;

/// A site that is six weeks old, whose master makes certificates of a week; its own is half used up after 45 days.
fn site() -> Site {
    site_of(42)
}

fn site_of(days: i64) -> Site {
    let (site, _) = Site::enrolling();
    restart(&site, days, |config| {
        fs::remove_dir_all(site.master().dir().join("state/ca")).unwrap();
        set(config, "ca", "certificate_life", "7d");
    });
    site
}

/// Changes a key of the master's configuration.
fn with(site: &Site, section: &str, key: &str, value: &str) {
    restart(site, 0, |config| set(config, section, key, value));
}

fn set(config: &mut toml::Table, section: &str, key: &str, value: &str) {
    let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
    section.as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

/// Starts the master anew, so many days ago by its clock.
fn restart(site: &Site, days_ago: i64, change: impl FnOnce(&mut toml::Table)) {
    assert_eq!(site.master().stop(), 0);
    site.master().configure(change);
    let faults = if days_ago == 0 { String::new() } else { format!("clock=shift({})", -days_ago * DAY_S) };
    site.master().set_variable("HUME_FAULTS", &faults);
    site.master().start();
}

/// An agent that joined so many days ago, for a week, and was not started.
fn joined(site: &Site, host: &str, days_ago: i64) -> Agent {
    restart(site, days_ago, |_| {});
    site.join(host, &site.token(&["--host", host])).ok();
    restart(site, 0, |_| {});
    site.joined(host)
}

fn figure(site: &Site, name: &str) -> u64 {
    site.master().metrics().get(name).copied().unwrap_or_default()
}

/// Outcomes of the audit log for this action, the oldest first.
fn audited(site: &Site, action: &str) -> Vec<String> {
    let file = site.master().dir().join("state/registry.db");
    let file = sqlite::open_reader(&file, &SqliteOptions::default()).unwrap();
    let mut lines = file.prepare("SELECT outcome FROM audit WHERE action = ?1 ORDER BY number").unwrap();
    let outcomes = lines.query_map([action], |row| row.get(0)).unwrap();
    outcomes.map(Result::unwrap).collect()
}

/// Waits until the agent says in its state why it is not connected.
#[track_caller]
fn wait_for_error(agent: &Agent, words: &str) {
    wait_until(&format!("the agent says: {words}"), SOON, || {
        agent.state()["last_error"].as_str().is_some_and(|error| error.contains(words))
    });
}

#[test]
fn an_agent_whose_certificate_ended_recovers_by_itself_and_brings_everything_once() {
    let site = site();
    let agent = joined(&site, "web1", 20);
    agent.hume(&["-t", "AWAY", "-m", "in the folder"]).ok();
    // Meanwhile another issuing CA has taken over.
    site.order(&["ca", "rotate"]).ok();
    agent.start();
    agent.hume(&["-t", "AWAY", "-m", "at the socket"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "AWAY"]), 2);
    agent.wait_for_log("the certificate had ended, and the master gave another one");
    agent.wait_for_log("the renewed certificate has had its first session");
    assert_eq!(figure(&site, "hume_master_recovered_agents_total"), 1);
    assert_eq!(figure(&site, "hume_master_refused_total{reason=\"expired\"}"), 0, "it did not even try");
    assert_eq!(audited(&site, "recover"), ["done"]);
    let identity = agent.dir().join("state/identity");
    assert!(identity.join("current.pem").exists() && !identity.join("next.key").exists());
    // The new one is as good as any, after a restart as well.
    assert_eq!(agent.stop(), 0);
    agent.start();
    agent.hume(&["-t", "AWAY", "-m", "again"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!((site.master().count(&["-t", "AWAY"]), audited(&site, "recover").len()), (3, 1));
}

#[test]
fn an_agent_whose_clock_is_behind_learns_from_the_master_that_its_certificate_ended() {
    let site = site();
    let agent = joined(&site, "web1", 20);
    agent.set_variable("HUME_FAULTS", &format!("clock=shift({})", -19 * DAY_S));
    agent.hume(&["-t", "AWAY", "-m", "one"]).ok();
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "AWAY"]), 1);
    assert!(figure(&site, "hume_master_refused_total{reason=\"expired\"}") >= 1);
    assert_eq!(audited(&site, "recover"), ["done"]);
}

#[test]
fn an_agent_that_starts_in_1970_recovers_also_when_its_master_has_a_newer_certificate() {
    let site = site_of(60);
    let agent = joined(&site, "web1", 20);
    agent.set_variable("HUME_FAULTS", &format!("clock=shift({})", -20_000 * DAY_S));
    agent.start();
    agent.hume(&["-t", "AWAY", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "AWAY"]), 1);
    assert_eq!(audited(&site, "recover"), ["done"]);
}

#[test]
fn an_agent_whose_clock_is_ahead_is_told_so_and_keeps_its_certificate() {
    let site = site();
    let agent = joined(&site, "web1", 0);
    agent.set_variable("HUME_FAULTS", &format!("clock=shift({})", 20 * DAY_S));
    agent.start();
    agent.hume(&["-t", "AHEAD", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    agent.wait_for_log("the clock of this host is wrong");
    assert_eq!(site.master().count(&["-t", "AHEAD"]), 1);
    assert_eq!(figure(&site, "hume_master_recovered_agents_total"), 0);
    assert!(!agent.dir().join("state/identity/next.pem").exists());
    // The enrolment port is not needed for that.
    assert_eq!(agent.stop(), 0);
    agent.configure(|config| {
        let master = config["master"].as_table_mut().unwrap();
        master.insert("enroll_address".to_owned(), "127.0.0.1:1".into());
    });
    agent.start();
    agent.hume(&["-t", "AHEAD", "-m", "two"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "AHEAD"]), 2);
}

#[test]
fn a_certificate_that_a_master_made_whose_clock_was_ahead_is_replaced_when_the_clock_is_right() {
    let site = site_of(10);
    let agent = joined(&site, "web1", -20);
    agent.start();
    agent.hume(&["-t", "AHEAD", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "AHEAD"]), 1);
    assert_eq!(audited(&site, "recover"), ["done"]);
}

#[test]
fn when_the_grace_is_over_the_agent_keeps_everything_and_says_the_way_out() {
    let site = site();
    let agent = joined(&site, "web1", 40);
    agent.start();
    agent.hume(&["-t", "KEPT", "-m", "for later"]).ok();
    wait_for_error(&agent, "it ended too long ago: raise `enroll.grace` on the master");
    let state = agent.state();
    assert!(state["last_error"].as_str().unwrap().contains("humeconfig join --force"), "{state}");
    assert_eq!((&state["state"], &state["queued_events"]), (&"disconnected".into(), &1.into()));
    let status = agent.query_json(&["status"]);
    assert!(status["state"].as_str().unwrap().contains("the certificate of this host ended at"), "{status}");
    let refused = || figure(&site, "hume_master_refused_total{reason=\"recovery\"}");
    wait_until("it asks again", SOON, || refused() >= 3);
    assert_eq!(audited(&site, "recover").len(), 1, "told once");
    assert_eq!(site.master().log().matches("refused to recover an agent").count(), 1);
    assert_eq!(agent.log().matches("no session with the master").count(), 1);
    let again = site.join("web1", &site.token(&[]));
    assert!(
        again.ok().stdout.contains("joined already") && again.stdout.contains("enroll.grace"),
        "{again:?}"
    );
    // What the way out says.
    with(&site, "enroll", "grace", "60d");
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "KEPT"]), 1);
}

#[test]
fn a_revoked_agent_and_a_copy_of_an_older_certificate_recover_nothing() {
    let site = site();
    let (agent, other) = (joined(&site, "web1", 20), joined(&site, "web2", 20));
    site.order(&["agents", "revoke", "web2"]).ok();
    other.start();
    wait_for_error(&other, "it is revoked: its host must join again");
    assert_eq!(other.stop(), 0);

    let copy = site.clone_of(&agent);
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(agent.stop(), 0);
    copy.start();
    wait_for_error(&copy, "it is suspended");
    site.master().wait_for_log("locked: an older certificate than the last one asks");
    let list = site.order(&["agents", "show", "web1"]);
    assert!(list.ok().stdout.contains("state        suspended"), "{list:?}");
}

#[test]
fn an_agent_that_is_killed_while_it_recovers_is_back_with_one_certificate() {
    let site = site();
    let agent = joined(&site, "web1", 20);
    // As if the answer had been lost: the key is there, and the master has made its certificate.
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!(agent.stop(), 0);
    let identity = agent.dir().join("state/identity");
    let pair = fs::read_to_string(identity.join("current.pem")).unwrap();
    let key = pair.find("-----BEGIN PRIVATE").unwrap()..pair.find("-----BEGIN CERTIFICATE").unwrap();
    let origin = pair.lines().next().unwrap().strip_prefix("descends-from: ").unwrap();
    fs::write(identity.join("next.key"), format!("follows: {origin}\n{}", &pair[key])).unwrap();
    fs::remove_file(identity.join("current.pem")).unwrap();
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(identity.join("next.key"), mode).unwrap();
    // No session has shown it yet.
    assert_eq!(site.master().stop(), 0);
    let file = site.master().dir().join("state/registry.db");
    let file = sqlite::open_writer(&file, &SqliteOptions::default()).unwrap();
    file.execute("UPDATE agent SET confirmed = 1", []).unwrap();
    drop(file);
    site.master().start();
    agent.start();
    agent.hume(&["-t", "BACK", "-m", "again"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "BACK"]), 1);
    assert_eq!(audited(&site, "recover"), ["done", "answered again"]);
}

#[test]
fn who_proves_nothing_at_the_door_of_recovery_waits_after_five_tries() {
    let (site, enroll) = Site::enrolling();
    let ask = |body: &str| {
        let stream = TcpStream::connect(enroll).unwrap();
        let stream = tls::connect(stream, tls::https(&site.master().ca())).unwrap();
        http::post(stream, "/recover/v1", body).unwrap()
    };
    for body in ["", "{}", "{\"chain\":[],\"request\":\"\",\"proof\":\"\"}", "[]", "null"] {
        let answer = ask(body);
        assert_eq!(answer.status, 401, "{body}: {answer:?}");
    }
    assert_eq!(ask("{}").status, 429);
    assert_eq!(figure(&site, "hume_master_refused_total{reason=\"recovery\"}"), 6);
    assert_eq!(audited(&site, "recover").last().unwrap(), "failed too often");
}

/// A certificate that lives for a minute has ended within this time.
const ENDED: Duration = Duration::from_mins(3);

#[test]
fn a_link_that_was_cut_beyond_the_end_of_the_certificate_is_taken_up_again_with_everything() {
    let (site, _) = Site::enrolling();
    with(&site, "ca", "certificate_life", "1m");
    site.join("web1", &site.token(&[])).ok();
    let agent = site.joined("web1");
    agent.start();
    agent.hume(&["-t", "CUT", "-m", "before"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().stop(), 0);
    let mut reported = 1;
    wait_until("the certificate has ended", ENDED, || {
        agent.hume(&["-t", "CUT", "-m", "meanwhile"]).ok();
        reported += 1;
        let status = agent.query_json(&["status"]);
        status["state"].as_str().unwrap().contains("the certificate of this host ended at")
    });
    site.master().start();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "CUT"]), reported);
    assert_eq!(audited(&site, "recover"), ["done"]);
}
