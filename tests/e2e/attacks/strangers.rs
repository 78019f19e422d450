//! Whoever does not belong: other protocols, older ones, and certificates that open nothing.

use std::io::{Read as _, Write as _};

use hume_tests::tls::{self, Pair, Wish};
use hume_tests::{SOON, wait_until};
use rustls::version::{TLS12, TLS13};

use super::{ATTACKER, PORTS, Port, Siege, stolen};

const AGENT: &str = "hume://hume/agent/0190a000-0000-7000-8000-000000000001";
/// Times that each is tried: refused each time, and logged once.
const TIMES: u64 = 3;
const QUESTION: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const JOIN: &[u8] =
    b"POST /join/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn strangers_at_every_port_are_refused_counted_and_logged_once_and_no_agent_notices() {
    Siege::new().hold(&[], |siege| {
        for port in PORTS {
            speaks_no_tls(siege, port);
            speaks_tls_1_2(siege, port);
            trusts_another_ca(siege, port);
        }
        shows_no_certificate_of_ours(siege);
        shows_what_opens_nothing(siege);
    });
}

fn speaks_no_tls(siege: &Siege, port: Port) {
    let before = siege.refused("not_tls");
    let noise: Vec<u8> =
        (0..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let words: [&[u8]; 4] =
        [QUESTION, b"SSH-2.0-OpenSSH_9.2\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &noise];
    for said in words {
        let mut stream = siege.connect(port);
        // Who is hung up on may not have said all of it.
        let _ = stream.write_all(said);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() <= 7, "an alert at most: {answer:?}");
    }
    siege.wait_for("not_tls", before, words.len() as u64);
    siege.assert_refusal_logged_once(port, "not_tls");
}

fn speaks_tls_1_2(siege: &Siege, port: Port) {
    let before = siege.refused("old_tls");
    let own = stolen(&siege.agents[0]);
    let old = tls::client(&siege.site.master().ca(), Some(&own), &TLS12, b"http/1.1");
    for _ in 0..TIMES {
        let answer = siege.say(port, &old, QUESTION);
        assert!(answer.is_err(), "{port:?}: {answer:?}");
    }
    siege.wait_for("old_tls", before, TIMES);
    siege.assert_refusal_logged_once(port, "old_tls");
}

fn trusts_another_ca(siege: &Siege, port: Port) {
    let before = siege.refused("other");
    let other = Pair::authority("another CA").certificate;
    let config = tls::client(&other, None, &TLS13, b"h2");
    for _ in 0..TIMES {
        assert!(siege.say(port, &config, QUESTION).is_err(), "{port:?}");
    }
    siege.wait_for("other", before, TIMES);
    siege.assert_refusal_logged_once(port, "other");
}

fn shows_no_certificate_of_ours(siege: &Siege) {
    let foreign = Pair::authority("another CA").issue(&Wish { uris: &[AGENT], years: (2025, 2035) });
    for (reason, shown) in [("no_certificate", None), ("unknown_issuer", Some(&foreign))] {
        let before = siege.refused(reason);
        let config = siege.client(shown, "h2");
        for _ in 0..TIMES {
            let answer =
                siege.say(Port::Relay, &config, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            assert!(answer.is_err(), "{reason}: {answer:?}");
        }
        siege.wait_for(reason, before, TIMES);
        siege.assert_refusal_logged_once(Port::Relay, reason);
    }
}

/// At the ports of people and of hosts without a certificate nobody gets in by one that is not for them.
fn shows_what_opens_nothing(siege: &Siege) {
    let foreign = Pair::authority("another CA").issue(&Wish { uris: &[AGENT], years: (2025, 2035) });
    let own = stolen(&siege.agents[0]);
    for (port, words, reason) in [(Port::Https, QUESTION, "token"), (Port::Enrolment, JOIN, "join")] {
        for shown in [None, Some(&foreign), Some(&own)] {
            let before = siege.refused_in_all();
            // A certificate that is asked for and is not one of ours ends the handshake; one that nobody asked for is no token.
            if let Ok(answer) = siege.say(port, &siege.client(shown, "http/1.1"), words) {
                let is_no = ["HTTP/1.1 400", "HTTP/1.1 401"].iter().any(|no| answer.starts_with(no));
                assert!(is_no, "{port:?}: {answer}");
            }
            wait_until("the refusal is counted", SOON, || siege.refused_in_all() > before);
        }
        assert!(siege.refused(reason) >= 1);
    }
    siege.assert_logged_once(&["a question came without a token", &ATTACKER.to_string()]);
    siege.assert_logged_once(&["refused to let a host join", &ATTACKER.to_string()]);
}
