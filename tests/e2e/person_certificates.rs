//! Client certificates of people and programs in place of tokens: good for their role until they end or are revoked, and nothing else is one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use hume_tests::process::{self, Output};
use hume_tests::tls::{self, Pair, TlsStream, Wish};
use hume_tests::{HttpAnswer, SOON, Site, Token, http, wait_until};
use rustls::version::TLS13;

/// A new certificate, in a folder of its own that humequery can be given as its configuration.
fn certificate(site: &Site, name: &str, words: &[&str]) -> PathBuf {
    let folder = folder(site, name);
    let out = folder.to_str().unwrap();
    site.order(&[&["api-cert", "new", name, "--out", out], words].concat()).ok();
    folder
}

/// Where humequery looks for its configuration, below the home of that person.
fn folder(site: &Site, name: &str) -> PathBuf {
    site.folder().path().join(format!("home-{name}/hume"))
}

/// Asks as whoever has this folder, without any flag that says whom.
fn ask(folder: &Path, words: &[&str]) -> Output {
    process::run(process::command("humequery").env("XDG_CONFIG_HOME", folder.parent().unwrap()).args(words))
}

fn pair(folder: &Path) -> Pair {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    Pair { certificate: read("certificate.pem"), key: read("key.pem") }
}

/// A connection to the web port that shows this certificate.
fn connect(site: &Site, shown: &Pair) -> TlsStream {
    let stream = TcpStream::connect(site.master().http()).unwrap();
    tls::connect(stream, tls::web(&site.master().ca(), shown)).unwrap()
}

fn get(site: &Site, shown: &Pair, token: Option<&str>) -> HttpAnswer {
    http::get(connect(site, shown), "/api/v1/events", token).unwrap()
}

/// The status of one request on a connection that stays open.
fn status(stream: &mut TlsStream) -> u16 {
    stream.write_all(b"GET /api/v1/events?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.flush().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    stream.read_exact(&mut vec![0; length.unwrap().parse().unwrap()]).unwrap();
    head[9..12].parse().unwrap()
}

fn refused(site: &Site, reason: &str) -> u64 {
    let name = format!("hume_master_refused_total{{reason=\"{reason}\"}}");
    site.master().metrics().get(&name).copied().unwrap_or_default()
}

/// The CA that signs for this site, which only a thief of its key would use like this.
fn stolen_ca(site: &Site) -> Pair {
    let text = fs::read_to_string(site.master().dir().join("state/ca/issuing.pem")).unwrap();
    let (certificate, key) = text.split_at(text.find("-----BEGIN PRIVATE KEY").unwrap());
    Pair { certificate: certificate.to_owned(), key: key.to_owned() }
}

/// A certificate that this CA makes, with the chain that leads to the root.
fn forged(ca: &Pair, uris: &[&str], years: (i32, i32)) -> Pair {
    let Pair { certificate, key } = ca.issue(&Wish { uris, years });
    Pair { certificate: format!("{certificate}{}", ca.certificate), key }
}

#[test]
fn a_certificate_asks_for_its_part_until_it_is_revoked_also_on_a_connection_that_is_open() {
    let (site, _) = Site::enrolling();
    site.join("web1", &site.token(&[])).ok();
    let agent = site.joined("web1");
    agent.start();
    for task in ["BACKUP_DB", "UPDATE"] {
        agent.hume(&["-t", task, "-m", "done"]).ok();
    }
    agent.wait_until_drained(SOON);
    let viewer = certificate(&site, "ana", &["--task", "BACKUP*"]);
    let admin = certificate(&site, "root@ops", &["--role", "admin", "--ttl", "1h"]);
    assert_eq!(ask(&viewer, &["--count"]).ok().stdout, "1\n");
    assert_eq!(ask(&admin, &["--count"]).ok().stdout, "2\n");
    let denied = ask(&viewer, &["status"]);
    assert!(denied.with_code(3).stderr.contains("takes the role operator"), "{}", denied.stderr);
    ask(&admin, &["audit"]).ok();

    let mut open = connect(&site, &pair(&viewer));
    assert_eq!((status(&mut open), status(&mut open)), (200, 200));
    let revoked = site.order(&["api-cert", "revoke", "ana"]).ok().stdout.clone();
    assert_eq!(revoked, "certificate ana of role viewer is revoked\n");
    assert_eq!(status(&mut open), 401);
    let gone = ask(&viewer, &["--count"]);
    assert!(
        gone.with_code(3).stderr.contains("a valid token is needed, or a certificate"),
        "{}",
        gone.stderr
    );
    assert!(gone.stderr.contains("not good there, or not any more"), "{}", gone.stderr);

    // Over a restart, and in the list and the log.
    assert_eq!(site.master().stop(), 0);
    site.master().start();
    assert_eq!(ask(&admin, &["--count"]).ok().stdout, "2\n");
    ask(&viewer, &["--count"]).with_code(3);
    let listed = site.order(&["api-token", "list"]).ok().stdout.clone();
    assert!(listed.contains("ana       certificate  viewer  BACKUP*  all    revoked "), "{listed}");
    assert!(!listed.contains("never"), "both were used: {listed}");
    let listed = site.order(&["api-cert", "list", "--json"]).ok().json();
    let print = listed["certificates"][0]["fingerprint"].as_str().unwrap();
    site.master().wait_for_log(&format!("fingerprint=\"{print}\""));
    let told = ask(&admin, &["audit", "--format", "json"]).ok().json();
    let of = |line: &serde_json::Value| {
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        (word("action"), word("subject"))
    };
    let lines: Vec<_> = told["lines"].as_array().unwrap().iter().map(of).collect();
    for (action, subject) in [("api-cert new", "ana"), ("api-cert revoke", "ana"), ("api", "ana")] {
        assert!(lines.contains(&(action.to_owned(), subject.to_owned())), "{lines:?}");
    }
}

#[test]
fn a_certificate_that_ends_is_refused_at_the_next_request_and_at_the_next_handshake() {
    let (site, _) = Site::enrolling();
    let brief = certificate(&site, "brief", &["--ttl", "3s"]);
    let mut open = connect(&site, &pair(&brief));
    assert_eq!(status(&mut open), 200);
    wait_until("it has ended", SOON, || status(&mut open) == 401);
    wait_until("it is not even looked at", SOON, || {
        let ended = ask(&brief, &["--count"]);
        ended.with_code(3);
        ended.stderr.contains("has ended: ask for another one") || ended.stderr.contains("broke off")
    });
    assert!(refused(&site, "expired") > 0);
}

#[test]
fn what_is_no_certificate_of_a_person_opens_nothing_and_tells_nothing() {
    let (site, _) = Site::enrolling();
    site.join("web1", &site.token(&[])).ok();
    let person = certificate(&site, "ana", &[]);
    let (ca, now) = (stolen_ca(&site), (2025, 2035));
    let agent = Pair {
        certificate: fs::read_to_string(site.host_dir("web1").join("pki/agent.pem")).unwrap(),
        key: fs::read_to_string(site.host_dir("web1").join("pki/agent.key")).unwrap(),
    };
    let none = site.master().get("/api/v1/events", Token::None);
    let id = "0190a000-0000-7000-8000-000000000001";
    for wrong in [
        agent.clone(),
        // Whoever has the key of the CA still has nobody's certificate.
        forged(&ca, &["hume://hume/person/ana"], now),
        forged(&ca, &["hume://hume/person/ana", &format!("hume://hume/agent/{id}")], now),
        forged(&ca, &["hume://elsewhere/person/ana"], now),
        forged(&ca, &[], now),
    ] {
        let answer = get(&site, &wrong, None);
        assert_eq!((answer.status, &answer.body), (401, &none.body), "no hint");
        assert_eq!(http::get(connect(&site, &wrong), "/healthz", None).unwrap().status, 200);
    }
    assert_eq!(refused(&site, "certificate"), 5);
    let log = site.master().log();
    assert_eq!(log.matches("a certificate was shown that is not good here").count(), 1, "{log}");

    // Another CA's, and one that has ended, do not come through the handshake.
    let foreign =
        Pair::authority("another CA").issue(&Wish { uris: &["hume://hume/person/ana"], years: now });
    let ended = forged(&ca, &["hume://hume/person/ana"], (2020, 2021));
    for (reason, wrong) in [("unknown_issuer", &foreign), ("expired", &ended)] {
        for _ in 0..3 {
            assert!(http::get(connect(&site, wrong), "/api/v1/events", None).is_err(), "{reason}");
        }
        wait_until(reason, SOON, || refused(&site, reason) == 3);
        let lines = site.master().log();
        assert_eq!(lines.matches(&format!("reason=\"{reason}\"")).count(), 1, "{lines}");
    }

    // Nor is a person an agent, whoever signed.
    for wrong in [pair(&person), forged(&ca, &[&format!("hume://hume/person/x/agent/{id}")], now)] {
        let shown = tls::with_chain(&site.master().ca(), &wrong, &TLS13, b"h2");
        assert!(tls::knock(site.master().grpc(), shown).is_some(), "it was let in as an agent");
    }
    assert_eq!(refused(&site, "bad_certificate"), 2);

    // A token beside a certificate decides alone; who shows too much that is wrong waits, and who is good does not.
    let token = site.order(&["api-token", "new", "icinga"]).ok().stdout.clone();
    assert_eq!(get(&site, &agent, Some(token.trim())).status, 200);
    assert_eq!(get(&site, &pair(&person), Some("hume_wrong")).status, 401);
    for _ in 0..4 {
        get(&site, &agent, None);
    }
    let waits = get(&site, &agent, None);
    assert!(waits.status == 429 && waits.body.contains("too many wrong tokens or certificates"), "{waits:?}");
    assert_eq!(get(&site, &pair(&person), None).status, 200);
    assert_eq!(ask(&person, &["--count"]).ok().stdout, "0\n");
}

#[test]
fn a_key_that_was_made_elsewhere_never_travels_and_nothing_that_is_there_is_replaced() {
    let (site, _) = Site::enrolling();
    let folder = folder(&site, "ana");
    let out = folder.to_str().unwrap();
    let requested = site.order(&["api-cert", "request", "ana", "--out", out]).ok().stdout.clone();
    assert!(requested.contains("humeconfig api-cert new ana --csr request.pem"), "{requested}");
    let key = fs::read(folder.join("key.pem")).unwrap();
    let csr = folder.join("request.pem");
    let csr = csr.to_str().unwrap();
    site.order(&["api-cert", "new", "ana", "--csr", csr, "--out", out]).ok();
    assert_eq!(fs::read(folder.join("key.pem")).unwrap(), key);
    assert_eq!(ask(&folder, &["--count"]).ok().stdout, "0\n");
    site.order(&["ca", "rotate"]).ok();
    assert_eq!(ask(&folder, &["--count"]).ok().stdout, "0\n", "another CA signs, and this one is as good");

    let again = site.order(&["api-cert", "new", "ana", "--csr", csr, "--out", out]);
    assert!(again.with_code(73).stderr.contains("certificate.pem exists already"), "{again:#?}");
    site.order(&["api-cert", "request", "ana", "--out", out]).with_code(73);
    let elsewhere = site.folder().path().join("other");
    let there = elsewhere.to_str().unwrap();
    let taken = site.order(&["api-cert", "new", "ana", "--out", there]);
    assert!(taken.with_code(75).stderr.contains("there is one of this name"), "{taken:#?}");
    site.order(&["api-token", "new", "ana"]).with_code(75);
    let garbage = site.folder().path().join("garbage.pem");
    for text in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        fs::write(&garbage, text).unwrap();
        let words = ["api-cert", "new", "bob", "--csr", garbage.to_str().unwrap(), "--out", there];
        let refused = site.order(&words);
        assert!(refused.with_code(64).stderr.contains("the certificate request"), "{refused:#?}");
    }
    site.order(&["api-cert", "new", "bob", "--csr", "/nonexistent", "--out", there]).with_code(74);
    for wrong in [&["a/agent/b"][..], &["bob", "--role", "ingest"], &["bob", "--ttl", "0s"]] {
        site.order(&[&["api-cert", "new", "--out", there], wrong].concat()).with_code(64);
    }
    assert!(!elsewhere.exists(), "nothing is left of what failed");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_before_or_after_the_master_was_asked() {
    let (site, _) = Site::enrolling();
    let folder = certificate(&site, "ana", &[]);
    let file = |name: &str| folder.join(name).display().to_string();
    let url = format!("https://{}", site.master().http());
    let ask = |words: &[&str]| {
        let fixed = ["--count", "--url", &url, "--ca", &file("ca.pem")];
        let asked = process::run(process::command("humequery").args(fixed).args(words));
        (asked.code, asked.stderr)
    };
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    assert_eq!(ask(&["--certificate", &certificate, "--key", &key]), (Some(0), String::new()));
    let foreign = Pair::authority("another CA").issue(&Wish { uris: &[], years: (2025, 2035) });
    let (other, other_key) = (file("other.pem"), file("other.key"));
    fs::write(&other, &foreign.certificate).unwrap();
    fs::write(&other_key, &foreign.key).unwrap();
    for (words, part) in [
        (&["--certificate", &certificate][..], "add --key FILE"),
        (&["--key", &key], "add --certificate FILE"),
        (&["--certificate", &certificate, "--key", &certificate], "holds no private key"),
        (&["--certificate", &certificate, "--key", &other_key], "chmod 600"),
        (&["--certificate", &certificate, "--key", &key, "--token-file", &key], "leave one of them out"),
    ] {
        let (code, text) = ask(words);
        assert!(code == Some(3) && text.contains(part), "{words:?}: {text}");
    }
    fs::set_permissions(&other_key, fs::metadata(&key).unwrap().permissions()).unwrap();
    let (_, text) = ask(&["--certificate", &certificate, "--key", &other_key]);
    assert!(text.contains("is not that of the certificate"), "{text}");
    let (code, text) = ask(&["--certificate", &other, "--key", &other_key]);
    assert!(code == Some(3) && text.contains("--certificate") && text.lines().count() == 1, "{text}");
}

#[test]
fn where_another_ca_makes_the_certificates_there_are_none_for_people_and_it_is_said() {
    let site = Site::new();
    let out = site.folder().path().join("ana");
    let refused = site.order(&["api-cert", "new", "ana", "--out", out.to_str().unwrap()]);
    let text = &refused.with_code(75).stderr;
    assert!(text.contains("[tls] in master.toml") && text.contains("api-token new"), "{text}");
    assert!(!out.exists());
    // One is not asked for, so whoever has one is nobody.
    let ca = site.master().dir().join("pki");
    let read = |name: &str| fs::read_to_string(ca.join(name)).unwrap();
    let ca = Pair { certificate: read("ca.pem"), key: read("ca.key") };
    let person = ca.issue(&Wish { uris: &["hume://hume/person/ana"], years: (2025, 2035) });
    assert_eq!(get(&site, &person, None).status, 401);
    assert_eq!(refused_count(&site), (1, 0));
}

fn refused_count(site: &Site) -> (u64, u64) {
    (refused(site, "token"), refused(site, "certificate"))
}
