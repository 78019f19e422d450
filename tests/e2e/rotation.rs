//! The CA changes hands while agents are connected, away, and about to join; and its root goes off line.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hume_runtime::sqlite::{self, SqliteOptions};
use hume_tests::{Agent, SOON, Site, let_pass, process, tls, wait_until};
use rustls::version::TLS13;
use serde_json::Value;

/// How long certificates of agents live here: long enough for an agent to be away meanwhile.
const LIFE: &str = "90s";
/// A new certificate is due at half of its life, and asked for at the heartbeat after that.
const RENEWED: Duration = Duration::from_mins(4);
/// Rounds in which the master is killed while it rotates.
const KILLS: u64 = 6;

fn site() -> (Site, SocketAddr) {
    let (site, enroll) = Site::enrolling();
    assert_eq!(site.master().stop(), 0);
    site.master().configure(|config| {
        let ca = config.entry("ca").or_insert_with(|| toml::Table::new().into());
        ca.as_table_mut().unwrap().insert("certificate_life".to_owned(), LIFE.into());
    });
    site.master().start();
    (site, enroll)
}

fn join(site: &Site, host: &str) -> Agent {
    site.join(host, &site.token(&["--host", host])).ok();
    let agent = site.joined(host);
    agent.start();
    agent
}

fn report(agent: &Agent, message: &str) {
    agent.hume(&["-t", "ROTATION", "-m", message]).ok();
}

fn show(site: &Site) -> Value {
    site.order(&["ca", "show", "--json"]).ok().json()
}

fn issuing(ca: &Value) -> String {
    ca["issuing"]["fingerprint"].as_str().unwrap().to_owned()
}

/// By which issuing CAs the certificates of a host were made, the first one first.
fn issuers(site: &Site, host: &str) -> Vec<String> {
    let file = site.master().dir().join("state/registry.db");
    let file = sqlite::open_reader(&file, &SqliteOptions::default()).unwrap();
    let sql = "SELECT certificate.issuer FROM certificate JOIN agent ON agent.id = certificate.agent \
               WHERE agent.host = ?1 ORDER BY generation";
    let mut found = file.prepare(sql).unwrap();
    found.query_map([host], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn audited(site: &Site) -> Vec<String> {
    let lines = site.master().query_json(&["audit", "--limit", "100"]);
    let told =
        |line: &Value| format!("{}: {}", line["action"].as_str().unwrap(), line["outcome"].as_str().unwrap());
    let mut told: Vec<String> = lines["lines"].as_array().unwrap().iter().map(told).collect();
    told.retain(|line| line.starts_with("ca "));
    told.reverse();
    told
}

#[test]
fn the_ca_rotates_with_one_agent_off_line_which_comes_back_and_delivers_everything() {
    let (site, enroll) = site();
    let (here, away) = (join(&site, "web1"), join(&site, "web2"));
    for agent in [&here, &away] {
        report(agent, "before");
        agent.wait_until_drained(SOON);
    }
    assert_eq!(away.stop(), 0);
    report(&away, "while it is off line");

    let before = show(&site);
    let said = site.order(&["ca", "rotate"]).ok().stdout.clone();
    let after = show(&site);
    assert_ne!(issuing(&after), issuing(&before));
    assert!(said.contains(&format!("{} signs from now on", issuing(&after))), "{said}");
    assert_eq!(after["earlier"][0]["fingerprint"], before["issuing"]["fingerprint"]);
    assert_eq!(after["root"], before["root"]);
    // Every port shows the new certificate at once, and the session that is open goes on.
    let (master, ca) = (site.master(), site.master().ca());
    for (port, config) in [
        (master.grpc(), tls::relay(&ca, None, &TLS13)),
        (master.http(), tls::https(&ca)),
        (enroll, tls::https(&ca)),
    ] {
        assert_eq!(tls::shown_at(port, config).unwrap(), after["master"]["fingerprint"], "{port}");
    }
    report(&here, "after");
    here.wait_until_drained(SOON);

    // The old certificate opens a session with the master that shows a new one.
    report(&away, "before it is back");
    away.start();
    report(&away, "back");
    away.wait_until_folder_is_empty(SOON);
    away.wait_until_drained(SOON);
    assert_eq!(issuers(&site, "web2"), [issuing(&before)], "by its old certificate");
    let late = join(&site, "web3");
    report(&late, "new");
    late.wait_until_drained(SOON);
    assert_eq!(master.count(&["-t", "ROTATION"]), 7);
    assert_eq!(issuers(&site, "web3"), [issuing(&after)]);

    // The next renewal of each is by the CA that took over.
    for agent in [&here, &away] {
        wait_until("its certificate is renewed", RENEWED, || {
            issuers(&site, agent.host()).get(1) == Some(&issuing(&after))
        });
        report(agent, "renewed");
        agent.wait_until_drained(SOON);
        assert_eq!(agent.metrics()["hume_agent_uplink_sessions_total"], 1, "its session never broke");
    }
    assert_eq!(master.count(&["-t", "ROTATION"]), 9);
    // The inventory tells which CA issued what, and what the agent has for sure.
    let shown = site.order(&["agents", "show", "web2"]).ok().stdout.clone();
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .skip_while(|line| !line.contains("ISSUER"))
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let told: Vec<_> = rows.iter().map(|row| (row[0], row[row.len() - 4], row[row.len() - 1])).collect();
    assert_eq!(
        told,
        [("2", "yes", &issuing(&after)[..16]), ("1", "yes", &issuing(&before)[..16])],
        "{shown}"
    );
    assert_eq!(audited(&site), ["ca rotate: begun", "ca rotate: done"]);
}

#[test]
fn the_root_goes_off_line_and_comes_back_for_one_rotation() {
    let (site, _) = Site::enrolling();
    let agent = join(&site, "web1");
    let key = site.master().dir().join("state/ca/root.key");
    let copy = site.folder().path().join("safe.key");
    let path = copy.display().to_string();
    // Only to a file that can be read back, and never over another one.
    let export = |words: &[&str]| site.order(&[&["ca", "export-root"], words].concat());
    let refused = export(&["--remove", "-"]).with_code(64).stderr.clone();
    assert!(refused.contains("wants a file that can be read back"), "{refused}");
    fs::write(&copy, "mine").unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    export(&["--remove", &path]).with_code(73);
    assert_eq!((fs::read_to_string(&copy).unwrap(), key.exists()), ("mine".to_owned(), true));
    fs::remove_file(&copy).unwrap();
    let printed = export(&["-"]).ok().stdout.clone();
    assert_eq!(printed, fs::read_to_string(&key).unwrap());
    export(&[&path]).ok();
    assert!(key.exists(), "it was not asked to go");
    let said = export(&["--remove", &path]).ok().stdout.clone();
    assert!(said.contains("the master has it no more") && !said.contains("PRIVATE"), "{said}");
    assert_eq!((key.exists(), fs::read_to_string(&copy).unwrap()), (false, printed.clone()));
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    export(&["--remove", &path]).ok();

    let before = show(&site);
    assert_eq!(before["root_key_here"], false);
    let refused = site.order(&["ca", "rotate"]).with_code(75).stderr.clone();
    assert!(refused.contains("`humeconfig ca rotate --root-key FILE`"), "{refused}");
    let stranger = process::run(
        process::command("humeconfig")
            .args(["init", "--by-hand", "--dir"])
            .arg(site.folder().path().join("other")),
    );
    stranger.ok();
    let wrong = site.folder().path().join("other/pki/ca.key").display().to_string();
    let refused = site.order(&["ca", "rotate", "--root-key", &wrong]).with_code(64).stderr.clone();
    assert!(refused.contains("is not that of this CA's root"), "{refused}");
    assert_eq!(show(&site), before);
    site.order(&["ca", "rotate", "--root-key", &path]).ok();
    let after = show(&site);
    assert_eq!((issuing(&after) != issuing(&before), after["root_key_here"].clone()), (true, false.into()));
    assert!(!key.exists(), "it was for one order alone");
    let shown = site.order(&["ca", "show"]).ok().stdout.clone();
    assert!(shown.contains("its key is elsewhere") && shown.contains("earlier"), "{shown}");

    report(&agent, "never noticed");
    agent.wait_until_drained(SOON);
    assert_eq!(agent.metrics()["hume_agent_uplink_sessions_total"], 1);
    let told: Vec<String> = audited(&site).iter().map(|line| line.chars().take(30).collect()).collect();
    let expected = [
        "ca export-root: done",
        "ca export-root: done",
        "ca export-root: done",
        "ca export-root: done",
        "ca remove-root: done",
        "ca export-root: the key of the",
        "ca rotate: begun",
        "ca rotate: the key of the root",
        "ca rotate: begun",
        "ca rotate: the key that was gi",
        "ca rotate: begun",
        "ca rotate: done",
    ];
    assert_eq!(told, expected);
    let secret = printed.lines().nth(1).unwrap();
    assert!(!site.master().log().contains(secret) && !agent.log().contains(secret));
}

#[test]
fn a_master_that_is_killed_while_the_ca_rotates_comes_back_with_a_whole_one() {
    let (site, _) = Site::enrolling();
    let agent = join(&site, "web1");
    let mut seen = vec![issuing(&show(&site))];
    for round in 0..KILLS {
        let mut order = process::command("humeconfig");
        order.args(["ca", "rotate", "--dir"]).arg(site.master().dir());
        let order = process::start(&mut order);
        let_pass(Duration::from_millis(fastrand::u64(0..40)), || false);
        assert!(site.master().kill9());
        process::finish(order, "humeconfig ca rotate");
        site.master().start();
        let ca = show(&site);
        let master = tls::shown_at(site.master().http(), tls::https(&site.master().ca())).unwrap();
        assert_eq!(ca["master"]["fingerprint"], master);
        if seen.last() != Some(&issuing(&ca)) {
            seen.push(issuing(&ca));
        }
        report(&agent, &format!("round {round}"));
        agent.wait_until_drained(SOON);
        // Whoever asks again gets one.
        site.order(&["ca", "rotate"]).ok();
        seen.push(issuing(&show(&site)));
    }
    let earlier = show(&site)["earlier"].as_array().unwrap().len();
    assert_eq!(earlier, seen.len() - 1, "each that ever signed is remembered: {seen:?}");
    let late = join(&site, "web2");
    report(&late, "new");
    late.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "ROTATION"]), KILLS + 1);
}

#[test]
fn a_master_with_certificates_of_another_ca_says_that_it_has_none_of_its_own() {
    let site = Site::new();
    for order in [&["ca", "show"][..], &["ca", "rotate"], &["ca", "export-root", "-"]] {
        let refused = site.order(order).with_code(75).stderr.clone();
        assert!(refused.contains("[tls] in master.toml names certificates of another one"), "{refused}");
    }
}
