//! What comes through TLS and is no request, or one that wants to be two, or many at once: refused, and paid for by nobody but its sender.

use std::fs;
use std::io;
use std::time::Duration;

use hume_tests::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, RST_STREAM, SETTINGS,
};
use hume_tests::tls::Pair;

use super::{Port, Siege, is_no, join, stolen};

/// What the master may take at most, in KiB, whatever is sent.
const MEMORY_KIB_MAX: u64 = 300 * 1024;
/// A server that takes nothing for this time is not flooded any longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Frames of a flood.
const FLOOD: usize = 20_000;
/// Frames that are written together.
const TOGETHER: usize = 100;

#[test]
fn what_is_no_request_is_refused_counted_and_logged_once_and_costs_little() {
    Siege::new().hold(&["taken"], |siege| {
        let taken = stolen(&join(&siege.site, "taken"));
        for port in [Port::Https, Port::Enrolment] {
            heads_that_are_none(siege, port);
            heads_that_want_to_be_two(siege, port);
            siege.assert_refusal_logged_once(port, "no_request");
        }
        a_request_behind_a_good_one_needs_its_own_token(siege);
        for (port, shown) in [(Port::Https, None), (Port::Relay, Some(&taken))] {
            frames_beyond_bounds(siege, port, shown);
            floods(siege, port, shown);
            siege.assert_refusal_logged_once(port, "no_request");
        }
        let pid = siege.site.master().pid().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    });
}

fn heads_that_are_none(siege: &Siege, port: Port) {
    let (before, config) = (siege.refused("no_request"), siege.client(None, "http/1.1"));
    let (many, long) = ("a: b\r\n".repeat(5000), format!("a: {}\r\n", "b".repeat(100_000)));
    let heads = [
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GE\u{0}T / HTTP/1.1\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\n{long}\r\n"),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)),
    ];
    for head in &heads {
        let answer = siege.say(port, &config, head.as_bytes());
        assert!(is_no(&answer), "{port:?}, {:?}: {answer:?}", &head[..head.len().min(40)]);
    }
    siege.wait_for("no_request", before, heads.len() as u64);
}

/// What two servers could read in two ways: none of it is answered as two requests.
fn heads_that_want_to_be_two(siege: &Siege, port: Port) {
    let config = siege.client(None, "http/1.1");
    for head in [
        "Content-Length: 3\r\nContent-Length: 30",
        "Content-Length: +3",
        "Content-Length : 3",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        " Content-Length: 3",
    ] {
        let words = format!(
            "POST /join/v1 HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{{}}\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = siege.say(port, &config, words.as_bytes());
        assert!(is_no(&answer), "{port:?}, {head}: {answer:?}");
        let text = answer.unwrap_or_default();
        assert!(!text.contains("HTTP/1.1 2"), "{port:?}, {head}: {text}");
    }
}

/// Both ways to say a length at once: what follows is no part of it and has no share in its token.
fn a_request_behind_a_good_one_needs_its_own_token(siege: &Siege) {
    let token = fs::read_to_string(siege.site.master().dir().join("admin.token")).unwrap();
    let question = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n";
    let words = format!(
        "{question}Authorization: Bearer {}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         {question}Connection: close\r\n\r\n",
        token.trim()
    );
    let answer =
        siege.say(Port::Https, &siege.client(None, "http/1.1"), words.as_bytes()).unwrap_or_default();
    assert!(answer.matches("HTTP/1.1 200").count() <= 1, "{answer}");
}

fn speak(siege: &Siege, port: Port, shown: Option<&Pair>) -> Http2 {
    Http2::connect(siege.connect(port), siege.client(shown, "h2")).unwrap()
}

type Attack = (&'static str, fn(&mut Http2) -> io::Result<()>);

/// Each breaks a bound or a rule of HTTP/2, and the connection ends for it.
const WRONG: [Attack; 7] = [
    ("no frame at all", |peer| {
        peer.bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nand something more, as long as a head")
    }),
    ("a frame that is too long", |peer| {
        peer.bytes(&[&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 64]].concat())
    }),
    ("the body of no request", |peer| peer.frame(DATA, 0, 1, b"x")),
    ("a request of the server's number", |peer| peer.request(2, "GET", "/healthz", &[])),
    ("settings of a stream", |peer| peer.frame(SETTINGS, 0, 1, &[])),
    ("a head that is no HPACK", |peer| peer.frame(HEADERS, END_HEADERS, 1, &[0xff; 64])),
    ("a head without an end", |peer| {
        peer.frame(HEADERS, 0, 1, &http2::head("GET", "/healthz", &[]))?;
        let more = http2::literal("a", &"b".repeat(8000));
        (0..FLOOD).try_for_each(|_| peer.frame(CONTINUATION, 0, 1, &more))
    }),
];

fn frames_beyond_bounds(siege: &Siege, port: Port, shown: Option<&Pair>) {
    for (name, attack) in WRONG {
        let before = siege.refused("no_request");
        let mut peer = speak(siege, port, shown);
        peer.give_up_after(PATIENCE).unwrap();
        // Who is hung up on cannot say it all.
        let _ = attack(&mut peer);
        assert!(peer.is_refused(), "{port:?}: {name}");
        drop(peer);
        siege.wait_for("no_request", before, 1);
    }
    let mut peer = speak(siege, port, shown);
    let headers: Vec<(String, String)> =
        (0..40).map(|number| (format!("a{number}"), "b".repeat(1000))).collect();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let head = http2::head("GET", "/healthz", &headers);
    let (first, rest) = head.split_at(16_000);
    let _ = peer.frame(HEADERS, END_STREAM, 1, first);
    let pieces: Vec<&[u8]> = rest.chunks(16_000).collect();
    for (place, piece) in pieces.iter().enumerate() {
        let flags = if place + 1 == pieces.len() { END_HEADERS } else { 0 };
        let _ = peer.frame(CONTINUATION, flags, 1, piece);
    }
    assert!(peer.is_refused(), "{port:?}: a head beyond its bound");
}

/// So much that it is a burden, of what is allowed one by one.
fn floods(siege: &Siege, port: Port, shown: Option<&Pair>) {
    let before = siege.refused("no_request");
    let settings = http2::frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
    let ping = http2::frame(PING, 0, 0, &[7; 8]);
    for frame in [settings, ping] {
        let mut peer = speak(siege, port, shown);
        peer.give_up_after(PATIENCE).unwrap();
        let together = frame.repeat(TOGETHER);
        // Nobody reads the answers, so at some time the master takes no more.
        let _ = (0..FLOOD / TOGETHER).try_for_each(|_| peer.bytes(&together));
    }
    let mut peer = speak(siege, port, shown);
    peer.give_up_after(PATIENCE).unwrap();
    let reset = |number: usize| {
        let stream = u32::try_from(2 * number + 1).unwrap();
        let begun = http2::frame(HEADERS, END_HEADERS, stream, &http2::head("POST", "/healthz", &[]));
        [begun, http2::frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let _ = (0..FLOOD / TOGETHER).try_for_each(|piece| {
        let together: Vec<u8> = (piece * TOGETHER..(piece + 1) * TOGETHER).flat_map(reset).collect();
        peer.bytes(&together)
    });
    assert!(peer.is_refused(), "{port:?}: begun and taken back, again and again");
    drop(peer);
    siege.wait_for("no_request", before, 1);
}
