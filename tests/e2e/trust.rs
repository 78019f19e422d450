//! Who may speak and who may ask: strangers are refused, counted and logged once, and those who belong never notice.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use hume_tests::http;
use hume_tests::tls::{self, Pair, Wish};
use hume_tests::{SOON, Site, process, wait_until};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

const AGENT: &str = "hume://hume/agent/0190a000-0000-7000-8000-000000000001";

fn count(site: &Site, reason: &str) -> u64 {
    let name = format!("hume_master_refused_total{{reason=\"{reason}\"}}");
    site.master().metrics().get(&name).copied().unwrap_or_default()
}

/// The CA that humeconfig made.
fn ca_of(site: &Site) -> Pair {
    let pki = site.master().dir().join("pki");
    let read = |name: &str| fs::read_to_string(pki.join(name)).unwrap();
    Pair { certificate: read("ca.pem"), key: read("ca.key") }
}

#[test]
fn strangers_at_the_relay_are_refused_counted_and_logged_once_and_the_agent_never_notices() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.wait_until_drained(SOON);
    let ca = ca_of(&site);
    let valid = (2025, 2035);
    let stranger = Pair::authority("another CA");
    let shown = |pair: &Pair| tls::relay(&ca.certificate, Some(pair), &TLS13);
    let cases = [
        ("no_certificate", tls::relay(&ca.certificate, None, &TLS13)),
        ("unknown_issuer", shown(&stranger.issue(&Wish { uris: &[AGENT], years: valid }))),
        ("expired", shown(&ca.issue(&Wish { uris: &[AGENT], years: (2020, 2021) }))),
        ("bad_certificate", shown(&ca.issue(&Wish { uris: &["hume://hume/master"], years: valid }))),
        (
            "bad_certificate",
            shown(&ca.issue(&Wish {
                uris: &["hume://elsewhere/agent/0190a000-0000-7000-8000-000000000001"],
                years: valid,
            })),
        ),
    ];
    for (reason, config) in cases {
        let before = count(&site, reason);
        for _ in 0..5 {
            assert!(tls::knock(site.master().grpc(), config.clone()).is_some(), "{reason} was let in");
        }
        wait_until(&format!("five refusals for {reason} are counted"), SOON, || {
            count(&site, reason) == before + 5
        });
    }
    let own = ca.issue(&Wish { uris: &[AGENT], years: valid });
    assert!(
        tls::knock(site.master().grpc(), tls::relay(&ca.certificate, Some(&own), &TLS12)).is_some(),
        "TLS 1.2"
    );
    wait_until("TLS 1.2 is counted", SOON, || count(&site, "old_tls") == 1);
    assert!(tls::knock(site.master().grpc(), shown(&own)).is_none(), "an agent of this CA is let in");
    let before = count(&site, "not_tls");
    let mut plain = TcpStream::connect(site.master().grpc()).unwrap();
    plain.set_read_timeout(Some(SOON)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Closed, after an alert or at once.
    let _ = plain.read_to_end(&mut Vec::new());
    wait_until("plain text is counted", SOON, || count(&site, "not_tls") == before + 1);

    let log = site.master().log();
    for reason in ["no_certificate", "unknown_issuer", "expired", "bad_certificate", "not_tls", "old_tls"] {
        let lines = log.lines().filter(|line| line.contains(&format!("reason=\"{reason}\""))).count();
        assert_eq!(lines, 1, "{reason} is logged once from one address:\n{log}");
    }
    agent.hume(&["-t", "CALM", "-m", "still here"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "CALM"]), 1);
    assert_eq!(agent.metrics()["hume_agent_uplink_sessions_total"], 1, "the agent's session never broke");
}

#[test]
fn an_agent_refuses_a_master_of_another_ca_says_so_and_loses_nothing() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let ca = agent.dir().join("pki/ca.pem");
    let right = fs::read(&ca).unwrap();
    fs::write(&ca, Pair::authority("another CA").certificate).unwrap();
    agent.start();
    agent.hume(&["-t", "KEPT", "-m", "for later"]).ok();
    wait_until("the agent says why it does not connect", SOON, || {
        let state = agent.state();
        state["last_error"].as_str().is_some_and(|text| text.contains("certificate"))
            && state["state"] == "disconnected"
            && state["queued_events"] == 1
    });
    fs::write(&ca, right).unwrap();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "KEPT"]), 1);
}

#[test]
fn the_https_port_answers_whoever_has_a_token_and_tells_the_others_nothing() {
    use hume_tests::Token;
    let site = Site::new();
    let get = |path: &str, token| site.master().get(path, token);
    for path in ["/api/v1/events", "/api/v1/latest", "/api/v1/status"] {
        assert_eq!(get(path, Token::Admin).status, 200);
        let (none, wrong) = (get(path, Token::None), get(path, Token::Text("hume_wrong")));
        assert_eq!((none.status, wrong.status), (401, 401));
        assert_eq!(none.body, wrong.body, "no hint whether the token was near");
        assert_eq!(site.master().get_socket(path).status, 200, "the socket's permissions decide");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(path, Token::None).status, 200, "{path}");
    }
    for (path, status, field) in [
        ("/api/v1/nothing", 404, Value::Null),
        ("/api/v1/events?level=loud", 400, json!("level")),
        ("/api/v1/events?limit=0", 400, json!("limit")),
        ("/api/v1/runs?cursor=e1.4", 400, json!("cursor")),
        ("/api/v1/runs?since=noon", 400, json!("since")),
    ] {
        let answer = get(path, Token::Admin);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json()["field"], field, "{path}: {answer:?}");
    }
    let unknown = get("/api/v1/events?tsk=x", Token::Admin);
    assert!(unknown.status == 400 && unknown.body.contains("tsk"), "{unknown:?}");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_fix() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let key = agent.dir().join("pki/agent.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = process::run(process::command("humed-agent").arg("--config").arg(agent.config()));
    output.with_code(78);
    assert!(output.stderr.contains("agent.key") && output.stderr.contains("chmod"), "{output:#?}");
}

#[test]
fn an_agent_with_another_id_does_not_take_over_a_spool_and_is_told_the_way_out() {
    let site = Site::new();
    let agent = site.agent("web1");
    let at = |name: &str| agent.dir().join(name);
    // Without a certificate to read its id from, `--force` gives a new one.
    let renew = |aside: &str| {
        fs::rename(at("pki"), at(aside)).unwrap();
        let out = agent.dir().to_str().unwrap();
        let words = ["agent", "--force", "--host", "web1", "--out", out, "--dir"];
        process::run(process::command("humeconfig").args(words).arg(site.master().dir())).ok();
    };
    let id = |state: &Value| state["agent"].as_str().unwrap().to_owned();
    let before = id(&agent.state());
    agent.hume(&["--strict", "-t", "ONCE", "-m", "one"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(agent.stop(), 0);

    renew("pki.first");
    let output = process::run(process::command("humed-agent").arg("--config").arg(agent.config()));
    output.with_code(78);
    assert!(output.stderr.contains(&before) && output.stderr.contains("mv "), "{output:#?}");

    // One way out: the certificate it had.
    fs::rename(at("pki"), at("pki.second")).unwrap();
    fs::rename(at("pki.first"), at("pki")).unwrap();
    agent.start();
    agent.wait_until_drained(SOON);
    assert_eq!((id(&agent.state()), site.master().count(&["-t", "ONCE"])), (before.clone(), 1));
    assert_eq!(agent.stop(), 0);

    // The other: an empty spool.
    renew("pki.first");
    fs::rename(at("state"), at("state.aside")).unwrap();
    agent.start();
    agent.hume(&["--strict", "-t", "ONCE", "-m", "two"]).ok();
    agent.wait_until_drained(SOON);
    assert_ne!(id(&agent.state()), before);
    assert_eq!(site.master().count(&["-t", "ONCE"]), 2, "nothing came a second time");
}

#[test]
fn a_renewed_certificate_is_served_after_a_hangup_without_a_restart() {
    let site = Site::new();
    let agent = site.agent("web1");
    let pki = site.master().dir().join("pki");
    let seen = || {
        let stream = TcpStream::connect(site.master().http()).unwrap();
        let mut stream = tls::connect(stream, tls::https(&site.master().ca())).unwrap();
        http::get(&mut stream, "/healthz", None).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let before = seen();
    // Another site's master has a certificate of its own; ours is issued by our CA for the same names.
    let renewed = renew(&ca_of(&site));
    fs::write(pki.join("master.pem"), renewed.certificate).unwrap();
    fs::write(pki.join("master.key"), renewed.key).unwrap();
    site.master().signal(rustix::process::Signal::HUP);
    wait_until("the new certificate is served", SOON, || seen() != before);
    agent.hume(&["-t", "GOES_ON"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "GOES_ON"]), 1);
}

/// A server certificate for localhost by this CA.
fn renew(ca: &Pair) -> Pair {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2035, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}
