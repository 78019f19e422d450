//! Who may ask: tokens with roles and patterns, made and revoked by the administrator, and the log of who changed what.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use hume_tests::process::Output;
use hume_tests::{SOON, Site, Token, process, wait_until};

fn api_token(site: &Site, words: &[&str]) -> Output {
    process::run(
        process::command("humeconfig").args(["api-token", "--dir"]).arg(site.master().dir()).args(words),
    )
}

/// A new token in a file of its own.
fn token_file(site: &Site, name: &str, words: &[&str]) -> PathBuf {
    let made = api_token(site, &[&["new", name][..], words].concat());
    let token = made.ok().stdout.clone();
    assert!(token.starts_with("hume_") && token.lines().count() == 1, "{token}");
    let file = site.folder().path().join(format!("{name}.token"));
    fs::write(&file, token).unwrap();
    file
}

/// Asks the master over the network with the token in this file.
fn ask(site: &Site, token: &PathBuf, words: &[&str]) -> Output {
    let url = format!("https://{}", site.master().http());
    let ca = site.master().dir().join("pki/ca.pem");
    process::run(
        process::command("humequery")
            .args(words)
            .args(["--url", &url, "--ca"])
            .arg(ca)
            .arg("--token-file")
            .arg(token),
    )
}

fn count(site: &Site, token: &PathBuf, words: &[&str]) -> u64 {
    let answer = ask(site, token, &[words, &["--count", "--format", "json"]].concat());
    answer.ok().json().as_u64().expect("a number")
}

#[test]
fn a_token_sees_its_part_until_it_ends_or_is_revoked_and_no_word_tells_which() {
    let site = Site::new();
    let agent = site.agent("web1");
    for task in ["BACKUP_DB", "BACKUP_WEB", "UPDATE"] {
        agent.hume(&["-t", task, "-m", "done"]).ok();
    }
    agent.wait_until_drained(SOON);
    let viewer = token_file(&site, "icinga", &["--task", "BACKUP*", "--ttl", "1h"]);
    let operator = token_file(&site, "ops", &["--role", "operator", "--host", "db*"]);
    let admin = token_file(&site, "root", &["--role", "admin"]);
    assert_eq!((count(&site, &viewer, &[]), count(&site, &viewer, &["-t", "UPDATE"])), (2, 0));
    assert_eq!((count(&site, &operator, &[]), count(&site, &admin, &[])), (0, 3));
    let denied = ask(&site, &viewer, &["status"]);
    denied.with_code(3);
    assert!(denied.stderr.contains("takes the role operator"), "{}", denied.stderr);
    ask(&site, &operator, &["status"]).ok();

    // Over a restart, and not after it is revoked; what it sees is the master's word alone.
    assert_eq!(site.master().stop(), 0);
    site.master().start();
    assert_eq!(count(&site, &viewer, &[]), 2);
    api_token(&site, &["new", "icinga"]).with_code(75);
    let brief = token_file(&site, "brief", &["--ttl", "1s"]);
    wait_until("it has ended", SOON, || ask(&site, &brief, &["--count"]).code == Some(3));
    api_token(&site, &["revoke", "icinga"]).ok();
    let wrong = site.folder().path().join("wrong.token");
    fs::write(&wrong, "hume_guess").unwrap();
    let answers: Vec<String> = [&viewer, &brief, &wrong]
        .map(|token| {
            let refused = ask(&site, token, &["--count"]);
            refused.with_code(3);
            assert!(refused.stderr.contains("a valid token is needed"), "{}", refused.stderr);
            refused.stderr.replace(token.to_str().unwrap(), "")
        })
        .to_vec();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    api_token(&site, &["revoke", "icinga"]).with_code(75);

    let listed = api_token(&site, &["list"]).ok().stdout.clone();
    let passes = api_token(&site, &["list", "--json"]).ok().json();
    let used = |token: &serde_json::Value| !token["used_at"].is_null();
    assert!(passes["tokens"].as_array().unwrap().iter().all(used), "{passes}");
    for words in [
        "icinga  token  viewer    BACKUP*  all    revoked ",
        "ops     token  operator  all      db*    no end ",
    ] {
        assert!(listed.contains(words.trim_end()), "{listed}");
    }
    let secrets = [viewer, operator, admin].map(|file| fs::read_to_string(file).unwrap());
    let kept = fs::read(site.master().dir().join("state/registry.db")).unwrap_or_default();
    let kept = format!("{listed}{}{}", site.master().log(), String::from_utf8_lossy(&kept));
    assert!(secrets.iter().all(|secret| !kept.contains(secret.trim())));
}

#[test]
fn an_address_that_guesses_waits_and_a_token_that_nobody_can_guess_does_not() {
    let site = Site::new();
    let made = token_file(&site, "ops", &["--role", "operator"]);
    let wrong = site.folder().path().join("wrong.token");
    fs::write(&wrong, "hume_guess").unwrap();
    for _ in 0..10 {
        ask(&site, &wrong, &["--count"]).with_code(3);
    }
    let waits = ask(&site, &site.master().dir().join("admin.token"), &["--count"]);
    waits.with_code(3);
    assert!(waits.stderr.contains("too many wrong tokens"), "{}", waits.stderr);
    assert_eq!(count(&site, &made, &[]), 0);
    site.master().wait_for_log("too many wrong tokens");
}

#[test]
fn who_guesses_is_in_the_audit_log_and_cannot_fill_it() {
    let site = Site::new();
    let wrong = site.folder().path().join("wrong.token");
    fs::write(&wrong, "hume_guess").unwrap();
    for _ in 0..12 {
        ask(&site, &wrong, &["--count"]).with_code(3);
    }
    let told = site.master().query_socket(&["audit", "--action", "api", "--format", "json"]).ok().json();
    let lines = told["lines"].as_array().unwrap();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert!(
        matches!(outcomes[..], [last, "a wrong token was shown"] if last.starts_with("too many wrong tokens")),
        "{outcomes:?}"
    );
    assert!(lines.iter().all(|line| line["address"] == "127.0.0.1" && line["actor"] == "a stranger"));
    assert!(!told.to_string().contains("hume_guess"));
}

#[test]
fn orders_about_tokens_are_for_the_socket_of_this_machine_alone() {
    let site = Site::new();
    assert_eq!(site.master().get("/admin/v1/api-tokens", Token::Admin).status, 404);
    // Nor is there anything else than what is known.
    let socket = site.master().dir().join("run/api.sock");
    let order = |path: &str, body: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let head = "Host: m\r\nContent-Type: application/json\r\nConnection: close";
        write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        let mut answer = String::new();
        // Who sends too much may be hung up on after the answer.
        let _ = stream.read_to_string(&mut answer);
        answer.get(9..12).and_then(|status| status.parse::<u16>().ok()).expect("an answer")
    };
    for body in ["", "{}", "[]", "{\"name\":\"x\",\"sha256\":\"hume_secret\",\"role\":\"admin\"}"] {
        assert!((400..500).contains(&order("/admin/v1/api-tokens", body)), "{body}");
    }
    assert_eq!(order("/admin/v1/api-tokens", &"x".repeat(100_000)), 413);
}

#[test]
fn who_changed_what_is_told_to_administrators_in_every_form() {
    let site = Site::new();
    let operator = token_file(&site, "ops", &["--role", "operator"]);
    let admin = token_file(&site, "root", &["--role", "admin"]);
    ask(&site, &operator, &["audit"]).with_code(3);
    api_token(&site, &["new", "ops"]).with_code(75);
    api_token(&site, &["revoke", "ops"]).ok();
    let denied = ask(&site, &admin, &["audit", "--cursor", "e1.1"]);
    denied.with_code(3);
    assert!(denied.stderr.contains("cursor"), "{}", denied.stderr);

    let told = ask(&site, &admin, &["audit", "--format", "json"]).ok().json();
    let lines = told["lines"].as_array().unwrap();
    let of = |line: &serde_json::Value| {
        [&line["action"], &line["subject"], &line["outcome"]].map(|word| word.as_str().unwrap().to_owned())
    };
    let taken = "there is one of this name: revoke it first, or choose another name";
    let expected = [
        ["api-token revoke", "ops", "done"],
        ["api-token new", "ops", taken],
        ["api-token new", "root", "done"],
        ["api-token new", "ops", "done"],
    ];
    assert_eq!(lines.iter().map(of).collect::<Vec<_>>(), expected.map(|words| words.map(str::to_owned)));
    let uid = format!("uid {}", rustix::process::geteuid().as_raw());
    assert_eq!((&lines[0]["actor"], &lines[0]["address"]), (&uid.as_str().into(), &"socket".into()));
    let first = ask(&site, &admin, &["audit", "--limit", "3", "--format", "csv"]);
    assert_eq!(first.ok().stdout.lines().count(), 4);
    assert!(first.stderr.contains("there is more"), "{}", first.stderr);
    let rest = ask(&site, &admin, &["audit", "--cursor", "a2", "--format", "ndjson"]);
    assert_eq!(rest.ok().stdout.lines().count(), 1);
    let table =
        ask(&site, &admin, &["audit", "--action", "api-token revoke", "--actor", &uid, "--since", "1h"]);
    assert!(table.ok().stdout.contains("api-token revoke"), "{}", table.stdout);
    assert_eq!(ask(&site, &admin, &["audit", "--until", "1h", "--format", "ndjson"]).ok().stdout, "");
    // The agent keeps no such log.
    let agent = site.agent("web1");
    agent.query(&["audit"]).with_code(3);
}
