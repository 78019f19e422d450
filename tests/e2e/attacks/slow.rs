//! Slowloris at every port, at every step, and more connections than there may be; meanwhile those who belong come and go as they like.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use hume_tests::tls::{self, Pair, TlsStream};
use hume_tests::{SOON, Site};
use rustls::ClientConfig;

use super::{ATTACKER, PORTS, Port, Siege, connect_from, join, stolen};

/// Connections of each kind at each port before the handshake.
const BEFORE: usize = 5;
/// And after it: they hold places among the open ones.
const AFTER: usize = 3;
/// Requests to join that never end.
const BODIES: usize = 2;
/// More than any port lets one address or agent have.
const TOO_MANY: usize = 300;
const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: local";
const HALF_A_BODY: &[u8] =
    b"POST /join/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"token\":";

/// Connections that stay as they are.
#[derive(Default)]
struct Held {
    plain: Vec<TcpStream>,
    encrypted: Vec<TlsStream>,
}

#[test]
fn whoever_is_slow_at_any_step_of_any_port_goes_in_time_and_nobody_who_belongs_waits_for_him() {
    Siege::new().hold(&["taken", "late1"], |siege| {
        let taken = stolen(&join(&siege.site, "taken"));
        let [deadlines, joins] = ["deadline", "join"].map(|reason| siege.refused(reason));
        let mut held = Held::default();
        let mut expected = 0;
        let http = siege.client(None, "http/1.1");
        for _ in 0..BODIES {
            held.encrypted.push(says(siege, Port::Enrolment, &http, HALF_A_BODY));
        }
        for port in PORTS {
            expected += before_the_handshake(siege, port, &mut held);
            expected += after_it(siege, port, &taken, &mut held);
            expected += too_many(siege, port, &taken, &mut held);
        }
        those_who_belong_come_and_go(&siege.site);
        siege.wait_for("deadline", deadlines, expected as u64);
        siege.wait_for("join", joins, BODIES as u64);
        for port in PORTS {
            siege.assert_refusal_logged_once(port, "deadline");
        }
        siege.assert_logged_once(&["the request took too long", &ATTACKER.to_string()]);
    });
}

/// Nothing, half of the first words, and all of them without an answer to what comes back.
fn before_the_handshake(siege: &Siege, port: Port, held: &mut Held) -> usize {
    let words = tls::first_words(siege.client(None, if port == Port::Enrolment { "http/1.1" } else { "h2" }));
    for said in [&[][..], &words[..words.len() / 2], &words] {
        for _ in 0..BEFORE {
            let mut stream = siege.connect(port);
            stream.write_all(said).unwrap();
            held.plain.push(stream);
        }
    }
    3 * BEFORE
}

/// The handshake, and then nothing, or half a head.
fn after_it(siege: &Siege, port: Port, taken: &Pair, held: &mut Held) -> usize {
    let of = |shown, protocol| siege.client(shown, protocol);
    let slow: Vec<(Arc<ClientConfig>, &[u8])> = match port {
        Port::Relay => vec![(of(Some(taken), "h2"), b"")],
        Port::Https => {
            vec![(of(None, "h2"), b""), (of(None, "http/1.1"), b""), (of(None, "http/1.1"), HALF_A_HEAD)]
        }
        Port::Enrolment => vec![(of(None, "http/1.1"), b""), (of(None, "http/1.1"), HALF_A_HEAD)],
    };
    for (config, words) in &slow {
        for _ in 0..AFTER {
            held.encrypted.push(says(siege, port, config, words));
        }
    }
    AFTER * slow.len()
}

fn says(siege: &Siege, port: Port, config: &Arc<ClientConfig>, words: &[u8]) -> TlsStream {
    let mut stream = tls::shake_hands(siege.connect(port), Arc::clone(config)).unwrap();
    stream.write_all(words).unwrap();
    stream.flush().unwrap();
    stream
}

/// Until the port has no place for this address, or this agent; how many got one.
fn too_many(siege: &Siege, port: Port, taken: &Pair, held: &mut Held) -> usize {
    let before = siege.refused("too_many");
    let shown = (port == Port::Relay).then_some(taken);
    let config = siege.client(shown, "h2");
    // The enrolment does not speak it.
    let config = if port == Port::Enrolment { siege.client(None, "http/1.1") } else { config };
    for kept in 0..TOO_MANY {
        let stream = connect_from(ATTACKER, siege.address(port)).unwrap();
        let shaken = tls::shake_hands(stream, Arc::clone(&config));
        if siege.refused("too_many") > before {
            siege.assert_refusal_logged_once(port, "too_many");
            return kept;
        }
        held.encrypted.push(shaken.unwrap());
    }
    unreachable!("{port:?} takes {TOO_MANY} connections of one address or agent");
}

/// A host joins, its agent reports, and somebody asks.
fn those_who_belong_come_and_go(site: &Site) {
    let late = join(site, "late1");
    late.start();
    late.hume(&["--strict", "-t", "LATE", "-m", "in spite of all"]).ok();
    late.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "LATE"]), 1);
}
