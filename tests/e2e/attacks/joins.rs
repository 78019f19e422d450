//! Hosts that join with something less than a token: forged, stolen on the way, used, or with a request that is none.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;

use hume_runtime::pki::join::{CHANNEL_BYTES, CHANNEL_LABEL, JoinToken};
use hume_runtime::pki::{PublicKey, Request};
use hume_runtime::tls::hex;
use hume_tests::tls::{self, TlsStream};
use serde_json::{Value, json};

use super::{ATTACKER, Port, Siege, connect_from, join};

/// Failures in a minute that an address is allowed.
const FAILURES_MAX: u64 = 5;

/// A connection to the enrolment port, from an address of its own so that nobody waits for what another one did.
struct Visitor {
    stream: TlsStream,
    address: Ipv4Addr,
}

impl Visitor {
    fn new(siege: &Siege, number: u8) -> Visitor {
        let address = Ipv4Addr::new(127, 0, 1, number);
        Visitor { stream: encrypted(siege, address), address }
    }

    fn channel(&self) -> [u8; CHANNEL_BYTES] {
        self.stream.conn.export_keying_material([0; CHANNEL_BYTES], CHANNEL_LABEL, None).unwrap()
    }

    /// Sends this as the body: the status, and what was said.
    fn ask(&mut self, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST /join/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // Who sends too much may be hung up on after the answer.
        let _ = self.stream.write_all(&[head.as_bytes(), body].concat());
        let _ = self.stream.flush();
        let mut answer = Vec::new();
        let _ = self.stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        (status.unwrap_or_default(), answer)
    }
}

fn encrypted(siege: &Siege, from: Ipv4Addr) -> TlsStream {
    let stream = connect_from(from, siege.address(Port::Enrolment)).unwrap();
    tls::shake_hands(stream, siege.client(None, "http/1.1")).unwrap()
}

fn spki(request: &Request) -> Vec<u8> {
    PublicKey::of_request(&request.request_pem).unwrap().spki()
}

/// What an honest host would say on this connection.
fn honest(visitor: &Visitor, token: &JoinToken, request: &Request, host: &str) -> Value {
    let proof = token.prove(&visitor.channel(), &spki(request)).unwrap();
    json!({"token": token.id, "host": host, "request": request.request_pem, "proof": hex(&proof)})
}

/// What the attackers have: a token that is good, one with its name and another secret, one that nobody made, one that was used; keys;
/// and a proof that they overheard.
struct Loot {
    good: JoinToken,
    forged: JoinToken,
    unknown: JoinToken,
    used: JoinToken,
    request: Request,
    other: Request,
    overheard: String,
}

impl Loot {
    fn new(siege: &Siege) -> Loot {
        let good = JoinToken::parse(&siege.site.token(&["--host", "guest"])).unwrap();
        let mint = || JoinToken::mint(good.pin, good.addresses.clone());
        let (mut forged, unknown) = (mint(), mint());
        forged.id.clone_from(&good.id);
        let used = siege.site.token(&["--host", "web9"]);
        siege.site.join("web9", &used).ok();
        let used = JoinToken::parse(&used).unwrap();
        let (request, other) = (Request::create().unwrap(), Request::create().unwrap());
        let elsewhere = Visitor::new(siege, 200).channel();
        let overheard = hex(&good.prove(&elsewhere, &spki(&request)).unwrap());
        Loot { good, forged, unknown, used, request, other, overheard }
    }

    /// An honest request with one word changed.
    fn but(&self, visitor: &Visitor, field: &str, value: impl Into<Value>) -> Vec<u8> {
        let mut said = honest(visitor, &self.good, &self.request, "guest");
        said[field] = value.into();
        said.to_string().into_bytes()
    }

    /// An honest request with this token, for this host.
    fn with(&self, visitor: &Visitor, token: &JoinToken, host: &str) -> Vec<u8> {
        honest(visitor, token, &self.request, host).to_string().into_bytes()
    }
}

/// A name, the status it is answered, and what is said on a connection.
type Forgery = (&'static str, u16, fn(&Loot, &Visitor) -> Vec<u8>);

const FORGERIES: [Forgery; 15] = [
    ("no JSON", 400, |_, _| b"\0\xffgarbage".to_vec()),
    ("deep JSON", 400, |_, _| "[".repeat(30_000).into_bytes()),
    ("a body beyond its bound", 400, |_, _| vec![b' '; 100_000]),
    ("one word more", 400, |loot, visitor| loot.but(visitor, "role", "admin")),
    ("no certificate request", 400, |loot, visitor| loot.but(visitor, "request", "-----BEGIN X-----")),
    ("a host that is none", 400, |loot, visitor| loot.but(visitor, "host", "a host")),
    ("a proof that is none", 400, |loot, visitor| loot.but(visitor, "proof", "xyz")),
    ("an empty proof", 401, |loot, visitor| loot.but(visitor, "proof", "")),
    ("a proof of zeros", 401, |loot, visitor| loot.but(visitor, "proof", "00".repeat(64))),
    ("a proof that was overheard", 401, |loot, visitor| loot.but(visitor, "proof", loot.overheard.as_str())),
    ("the proof of another key", 401, |loot, visitor| {
        loot.but(visitor, "request", loot.other.request_pem.as_str())
    }),
    ("another secret", 401, |loot, visitor| loot.with(visitor, &loot.forged, "guest")),
    ("a token that nobody made", 401, |loot, visitor| loot.with(visitor, &loot.unknown, "guest")),
    ("a token that was used", 403, |loot, visitor| loot.with(visitor, &loot.used, "web9")),
    ("a token for another host", 403, |loot, visitor| loot.with(visitor, &loot.good, "web1")),
];

#[test]
fn forged_and_used_tokens_proofs_and_requests_let_nobody_join() {
    Siege::new().hold(&["guest"], |siege| {
        let loot = Loot::new(siege);
        for (number, (name, status, forge)) in (1_u8..).zip(FORGERIES) {
            let before = siege.refused("join");
            let mut visitor = Visitor::new(siege, number);
            let said = forge(&loot, &visitor);
            let (answered, text) = visitor.ask(&said);
            assert!(answered == status && !text.contains("BEGIN CERTIFICATE"), "{name}: {text}");
            siege.wait_for("join", before, 1);
            let address = format!("address={} ", visitor.address);
            siege.assert_logged_once(&["refused to let a host join", &address]);
        }
        who_fails_too_often_waits_alone(siege, &loot.good);
        // None of it has used the token up.
        let mut visitor = Visitor::new(siege, 201);
        let (status, text) = visitor.ask(&loot.with(&visitor, &loot.good, "guest"));
        assert!(status == 200 && text.contains("BEGIN CERTIFICATE"), "{text}");
    });
}

fn who_fails_too_often_waits_alone(siege: &Siege, good: &JoinToken) {
    let before = siege.refused("join");
    let request = Request::create().unwrap();
    for _ in 0..FAILURES_MAX {
        let mut visitor = Visitor { stream: encrypted(siege, ATTACKER), address: ATTACKER };
        assert_eq!(visitor.ask(b"{}").0, 400);
    }
    for _ in 0..3 {
        let mut visitor = Visitor { stream: encrypted(siege, ATTACKER), address: ATTACKER };
        let said = honest(&visitor, good, &request, "guest").to_string();
        assert_eq!(visitor.ask(said.as_bytes()).0, 429);
    }
    siege.wait_for("join", before, FAILURES_MAX + 3);
    for why in ["it failed too often", "the request is not one of hume"] {
        siege.assert_logged_once(&[why, &ATTACKER.to_string()]);
    }
    join(&siege.site, "guest2");
}
