//! Hosts join with tokens: real programs, a real CA, and everybody who tries with something less.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hume_runtime::sqlite::{self, SqliteOptions};
use hume_tests::{SOON, Site, process, wait_until};
use serde_json::Value;

/// A session of an agent that may not speak any more is cut within this time.
const CUT_TIME_MAX: Duration = Duration::from_secs(5);

fn listed(site: &Site) -> Vec<Value> {
    let listed = site.order(&["agents", "list", "--json"]).ok().json();
    listed["agents"].as_array().unwrap().clone()
}

fn of_host(site: &Site, host: &str) -> Value {
    listed(site).into_iter().find(|agent| agent["host"] == host).expect("the agent is listed")
}

fn refused(site: &Site, reason: &str) -> u64 {
    let name = format!("hume_master_refused_total{{reason=\"{reason}\"}}");
    site.master().metrics().get(&name).copied().unwrap_or_default()
}

#[test]
fn three_hosts_join_by_tokens_and_one_that_is_revoked_is_cut_and_cannot_come_back() {
    let (site, _) = Site::enrolling();
    let agents: Vec<_> = ["web1", "web2", "db1"]
        .iter()
        .map(|host| {
            let joined = site.join(host, &site.token(&["--host", host]));
            assert!(joined.ok().stdout.contains("agent.toml: host "), "{}", joined.stdout);
            let agent = site.joined(host);
            agent.start();
            agent.hume(&["-t", "HELLO", "-m", "here"]).ok();
            agent.wait_until_drained(SOON);
            agent
        })
        .collect();
    assert_eq!(site.master().count(&["-t", "HELLO"]), 3);
    let states: Vec<_> = listed(&site).iter().map(|agent| agent["state"].clone()).collect();
    assert_eq!(states, ["active", "active", "active"]);
    let pki = site.host_dir("web1").join("pki");
    let mode = |name: &str| pki.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(""), mode("agent.key")], [0o700, 0o600]);
    let left: Vec<_> =
        fs::read_dir(site.host_dir("web1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "nothing else stays: {left:?}");

    let revoked = site.order(&["agents", "revoke", "web2"]).ok().stdout.clone();
    assert!(revoked.contains("is revoked, its session is cut"), "{revoked}");
    wait_until("its session is cut", CUT_TIME_MAX, || of_host(&site, "web2")["connection"] == "disconnected");
    agents[1].hume(&["-t", "HELLO", "-m", "again"]).ok();
    assert_eq!(agents[1].stop(), 0);
    agents[1].start();
    agents[1].wait_for_log("this agent is revoked");
    // A new identity is a new agent, and the old one stays what it is.
    let again = site.join("web2", &site.token(&["--host", "web2"]));
    again.ok();
    // What is here does not tell, so nothing is claimed.
    for words in ["joined already", "whether it may speak, the master knows", "If it was revoked, --force"] {
        assert!(again.stdout.contains(words), "{}", again.stdout);
    }
    assert_eq!(of_host(&site, "web2")["state"], "revoked");
    agents[0].hume(&["-t", "HELLO", "-m", "calm"]).ok();
    agents[0].wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "HELLO"]), 4);
}

#[test]
fn tokens_that_are_used_expired_for_another_host_or_taken_back_let_nobody_in() {
    let (site, _) = Site::enrolling();
    let once = site.token(&["--host", "web*"]);
    let wrong = site.join("db1", &once).with_code(77).stderr.clone();
    assert!(wrong.contains("the token is for another host"), "{wrong}");
    assert!(!site.host_dir("db1").join("agent.toml").exists(), "nothing was written");
    site.join("web1", &once).ok();
    let used = site.join("web2", &once).with_code(77).stderr.clone();
    assert!(used.contains("the token was used already"), "{used}");

    let back = site.token(&[]);
    let id = back.split('-').nth(1).unwrap();
    site.order(&["token", "revoke", id]).ok();
    let taken = site.join("web2", &back).with_code(77).stderr.clone();
    assert!(taken.contains("taken back"), "{taken}");
    let tokens = site.order(&["token", "list", "--json"]).ok().json();
    let states: Vec<_> =
        tokens["tokens"].as_array().unwrap().iter().map(|token| token["state"].clone()).collect();
    assert_eq!(states, ["revoked", "used"]);
    let secret = back.split('-').nth(2).unwrap();
    assert!(!tokens.to_string().contains(secret) && !site.master().log().contains(secret));

    let short = site.token(&["--ttl", "1s"]);
    wait_until("it has expired", SOON, || {
        site.order(&["token", "list", "--json"]).ok().json()["tokens"][0]["state"] == "expired"
    });
    let expired = site.join("web2", &short);
    let expired = expired.with_code(77).stderr.clone();
    assert!(expired.contains("the token has expired"), "{expired}");
    assert_eq!(refused(&site, "join"), 4);
    site.order(&["token", "new", "--ttl", "100d"]).with_code(64);
}

#[test]
fn a_token_that_was_changed_is_noticed_before_anything_is_told() {
    let (site, enroll) = Site::enrolling();
    let token = site.token(&[]);
    let parts: Vec<&str> = token.splitn(5, '-').collect();
    let turned = |part: &str| {
        let first = if part.starts_with('a') { 'b' } else { 'a' };
        format!("{first}{}", &part[1..])
    };
    let pin = [parts[0], parts[1], parts[2], &turned(parts[3]), parts[4]].join("-");
    let other = site.join("web1", &pin).with_code(77).stderr.clone();
    assert!(other.contains("is not the master of this token"), "{other}");
    assert_eq!(refused(&site, "join"), 0, "nobody was asked");
    let secret = [parts[0], parts[1], &turned(parts[2]), parts[3], parts[4]].join("-");
    let wrong = site.join("web1", &secret).with_code(77).stderr.clone();
    assert!(wrong.contains("the token is unknown"), "{wrong}");
    site.join("web1", "hume1-nonsense").with_code(65);
    let nobody = [parts[0], parts[1], parts[2], parts[3], "127.0.0.1:1"].join("-");
    site.join("web1", &nobody).with_code(69);
    // The one that was not changed is as good as before.
    site.join("web1", &token).ok();
    assert!(TcpStream::connect(enroll).is_ok());
}

#[test]
fn whoever_guesses_waits_and_every_attempt_is_in_the_audit_log() {
    let (site, _) = Site::enrolling();
    let token = site.token(&[]);
    let parts: Vec<&str> = token.splitn(5, '-').collect();
    let guess = [parts[0], "aaaaaaaa", parts[2], parts[3], parts[4]].join("-");
    for _ in 0..5 {
        site.join("web1", &guess).with_code(77);
    }
    let waits = site.join("web1", &token).with_code(75).stderr.clone();
    assert!(waits.contains("too many failures"), "{waits}");
    assert_eq!(site.master().stop(), 0);
    let file = site.master().dir().join("state/registry.db");
    let file = sqlite::open_reader(&file, &SqliteOptions::default()).unwrap();
    let count = |outcome: &str| {
        let sql = "SELECT count(*) FROM audit WHERE action = 'join' AND outcome LIKE ?1";
        file.query_row(sql, [outcome], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((count("the token is unknown%"), count("failed too often")), (5, 1));
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_with_the_same_key() {
    let (site, _) = Site::enrolling();
    let token = site.token(&[]);
    site.join("web1", &token).ok();
    let dir = site.host_dir("web1");
    let id = token.split('-').nth(1).unwrap();
    let certificate = fs::read(dir.join("pki/agent.pem")).unwrap();
    // As if the answer had never come: the key is there, and nothing else.
    fs::rename(dir.join("pki/agent.key"), dir.join(format!(".join-{id}.key"))).unwrap();
    fs::remove_dir_all(dir.join("pki")).unwrap();
    site.join("web1", &token).ok();
    assert_eq!(fs::read(dir.join("pki/agent.pem")).unwrap(), certificate);
    assert_eq!(listed(&site).len(), 1);
    let agent = site.joined("web1");
    agent.start();
    agent.hume(&["-t", "HELLO", "-m", "here"]).ok();
    agent.wait_until_drained(SOON);
    // With another key the token is used.
    site.join("web2", &token).with_code(77);
}

#[test]
fn a_host_that_needs_approval_waits_for_it() {
    let (site, _) = Site::enrolling();
    let token = site.token(&["--approve"]);
    let mut command = process::command("humeconfig");
    command.args(["join", &token, "--host", "web1", "--out"]).arg(site.host_dir("web1"));
    let joining = process::start(&mut command);
    wait_until("it is listed", SOON, || listed(&site).iter().any(|agent| agent["state"] == "pending"));
    site.order(&["agents", "approve", "web1"]).ok();
    let joined = process::finish(joining, "humeconfig join");
    assert!(joined.ok().stdout.contains("waits for approval"), "{}", joined.stdout);
    let agent = site.joined("web1");
    agent.start();
    agent.hume(&["-t", "HELLO", "-m", "here"]).ok();
    agent.wait_until_drained(SOON);
}

#[test]
fn a_site_of_another_ca_lets_nobody_join() {
    let site = Site::new();
    let refused = site.order(&["token", "new"]).with_code(75).stderr.clone();
    assert!(refused.contains("hosts cannot join here"), "{refused}");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 4865));
    assert_ne!(site.master().grpc(), nobody);
}
