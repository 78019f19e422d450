//! An agent that was taken over says whatever it likes: frames that are none, batches of others, places that are not its own, other hosts.
//!
//! Its frames are made by hand, from the numbers of `proto/hume/v1`.

use hume_runtime::clock;
use hume_tests::evidence;
use hume_tests::http2::Http2;
use hume_tests::tls::Pair;

use super::{Port, Siege, join, stolen};

/// Kinds of a master's frames.
const WELCOME: u8 = 1;
const ACK: u8 = 2;
const RESYNC: u8 = 3;
const QUARANTINED: u8 = 4;
const GO_AWAY: u8 = 6;
const RENEWAL_REFUSED: u8 = 9;
/// Times that each is tried.
const TIMES: u64 = 2;
const OWN: [u8; 16] = [0x0e; 16];
const NEVER_NAMED: [u8; 16] = [0x77; 16];

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that says its length.
fn part(field: u8, content: &[u8]) -> Vec<u8> {
    [vec![field << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn fixed(field: u8, value: i64) -> Vec<u8> {
    [vec![field << 3 | 1], value.to_le_bytes().to_vec()].concat()
}

/// The opening of an agent of this version of the protocol, for this host, with these epochs.
fn hello(version: u64, host: &str, epochs: &[[u8; 16]]) -> Vec<u8> {
    let epochs = epochs
        .iter()
        .map(|epoch| part(7, &[part(1, epoch), number(2, 1), number(5, 1000), number(8, 1)].concat()));
    let head = [number(1, version), part(3, b"0.1.0"), part(6, host.as_bytes())].concat();
    part(1, &[head, epochs.collect::<Vec<_>>().concat()].concat())
}

/// An event of this host.
fn event(place: u8, host: &str, message: &str) -> Vec<u8> {
    let now = clock::now().as_micros();
    let mut id = *b"\x01\x93\x6b\x1e\x7c\x00\x70\x00\x80\x00\x00\x00\x00\x00\x00\x00";
    id[15] = place;
    [
        part(1, &id),
        number(2, 1),
        fixed(3, now),
        fixed(4, now),
        part(7, host.as_bytes()),
        part(8, b"FORGED"),
        number(10, 2),
        part(13, message.as_bytes()),
    ]
    .concat()
}

fn batch(epoch: [u8; 16], first: u64, events: &[Vec<u8>]) -> Vec<u8> {
    counted(epoch, first, events.len() as u64, events)
}

fn counted(epoch: [u8; 16], first: u64, count: u64, events: &[Vec<u8>]) -> Vec<u8> {
    let payload: Vec<u8> =
        events.iter().flat_map(|event| [varint(event.len() as u64), event.clone()].concat()).collect();
    let length = payload.len() as u64;
    raw(epoch, first, (count, 1, length), &payload)
}

/// With this count, codec, and length as it is said.
fn raw(epoch: [u8; 16], first: u64, (count, codec, length): (u64, u64, u64), payload: &[u8]) -> Vec<u8> {
    let fields = [
        part(1, &epoch),
        number(2, first),
        number(3, count),
        number(4, codec),
        number(5, length),
        part(6, payload),
    ];
    part(2, &fields.concat())
}

fn gap(epoch: [u8; 16], from: u64, to: u64) -> Vec<u8> {
    part(4, &[part(1, &epoch), number(2, from), number(3, to), number(4, 2)].concat())
}

/// What the taken agent's connection is.
struct Taken<'a> {
    siege: &'a Siege,
    pair: Pair,
}

impl Taken<'_> {
    fn connect(&self) -> Http2 {
        let config = self.siege.client(Some(&self.pair), "h2");
        let mut peer = Http2::connect(self.siege.connect(Port::Relay), config).unwrap();
        peer.session().unwrap();
        peer
    }

    /// A session that has begun, with these epochs.
    fn session(&self, epochs: &[[u8; 16]]) -> Http2 {
        let mut peer = self.connect();
        peer.message(&hello(1, "taken", epochs)).unwrap();
        let welcome = next(&mut peer);
        assert_eq!(welcome.first().map(|first| first >> 3), Some(WELCOME), "{welcome:?}");
        peer
    }

    /// The session ends for what was said: the agent broke the protocol.
    fn breaks(&self, name: &str, why: &str, said: impl Fn(&Self) -> Http2) {
        for _ in 0..TIMES {
            let before = self.siege.refused("protocol");
            let mut peer = said(self);
            let away = until(&mut peer, GO_AWAY);
            assert!(text(&away).contains(why), "{name}: {}", text(&away));
            self.siege.wait_for("protocol", before, 1);
        }
        self.siege.assert_logged_once(&["session ended", why]);
    }
}

/// The next frame of the master.
fn next(peer: &mut Http2) -> Vec<u8> {
    peer.next_message().unwrap().unwrap_or_default()
}

/// The first frame of this kind that comes.
fn until(peer: &mut Http2, kind: u8) -> Vec<u8> {
    loop {
        let frame = next(peer);
        assert!(!frame.is_empty(), "the session ended before a frame of kind {kind}");
        if frame.first().map(|first| first >> 3) == Some(kind) {
            return frame;
        }
    }
}

fn text(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame).into_owned()
}

#[test]
fn an_agent_that_was_taken_over_hurts_nobody_with_forged_frames_batches_places_and_hosts() {
    Siege::new().hold(&["taken"], |siege| {
        let taken = Taken { siege, pair: stolen(&join(&siege.site, "taken")) };
        frames_that_break_the_protocol(&taken);
        batches_that_are_none(&taken);
        other_hosts(&taken);
        places_of_others(&taken);
        let master = siege.site.master();
        assert_eq!(master.count(&["-t", "FORGED", "--hostname", "taken"]), 2);
        assert_eq!(master.count(&["-t", "FORGED"]), 2, "and of no other host");
    });
}

fn frames_that_break_the_protocol(taken: &Taken<'_>) {
    let say = |frames: Vec<Vec<u8>>| {
        move |taken: &Taken<'_>| {
            let mut peer = taken.connect();
            // The master may have gone after the first of them.
            let _ = frames.iter().try_for_each(|frame| peer.message(frame));
            peer
        }
    };
    let hello = |epochs: &[[u8; 16]]| hello(1, "taken", epochs);
    taken.breaks(
        "a batch before the Hello",
        "the first frame was no Hello",
        say(vec![batch(OWN, 1, &[vec![]])]),
    );
    taken.breaks("no protobuf", "it is not protobuf of the right shape", say(vec![vec![0xff; 100]]));
    taken.breaks("a frame of nothing", "a frame of an unknown kind", say(vec![vec![]]));
    taken.breaks("too many fields", "it has too many fields", say(vec![part(1, &part(7, b"").repeat(2000))]));
    taken.breaks("too many epochs", "too many epochs", say(vec![hello(&[OWN; 65])]));
    taken.breaks("another version", "speaks version 99", say(vec![self::hello(99, "taken", &[OWN])]));
    taken.breaks(
        "a host that is none",
        "the agent's Hello is wrong",
        say(vec![self::hello(1, "a b", &[OWN])]),
    );
    taken.breaks("two of them", "a second Hello came", say(vec![hello(&[OWN]), hello(&[OWN])]));
    taken.breaks("a frame that is too long", "it has too many bytes", |taken| {
        let mut peer = taken.session(&[OWN]);
        peer.frame(hume_tests::http2::DATA, 0, 1, &[0, 0, 0xff, 0xff, 0xff, 0, 0]).unwrap();
        peer
    });
}

fn batches_that_are_none(taken: &Taken<'_>) {
    let say = |frame: Vec<u8>| {
        move |taken: &Taken<'_>| {
            let mut peer = taken.session(&[OWN]);
            peer.message(&frame).unwrap();
            peer
        }
    };
    let one = [event(1, "taken", "x")];
    taken.breaks(
        "an epoch that was not named",
        "an epoch that the Hello did not name",
        say(batch(NEVER_NAMED, 1, &one)),
    );
    taken.breaks("a gap in one", "an epoch that the Hello did not name", say(gap(NEVER_NAMED, 1, 9)));
    taken.breaks("a gap backwards", "a gap without places", say(gap(OWN, 9, 1)));
    taken.breaks("no place", "sequence numbers begin at 1", say(batch(OWN, 0, &one)));
    taken.breaks("a place beyond all", "a sequence number is below 2^63", say(batch(OWN, u64::MAX, &one)));
    taken.breaks("no event", "a batch has 1 to 1000 events", say(batch(OWN, 1, &[])));
    taken.breaks(
        "more than it says",
        "a batch has bytes after its last event",
        say(counted(OWN, 1, 1, &[one[0].clone(), one[0].clone()])),
    );
    taken.breaks("less than it says", "a batch ends within a length", say(counted(OWN, 1, 900, &one)));
    taken.breaks("another length", "another length than said", say(raw(OWN, 1, (1, 1, 9999), b"xx")));
    taken.breaks("a bomb", "a batch of too many bytes", say(raw(OWN, 1, (1, 2, u64::from(u32::MAX)), b"xx")));
    taken.breaks("no zstd", "not compressed as it says", say(raw(OWN, 1, (1, 2, 100), b"xx")));
}

/// It is not let in as another host, and what it says of others is set aside.
fn other_hosts(taken: &Taken<'_>) {
    for _ in 0..TIMES {
        let before = taken.siege.refused("agent");
        let mut peer = taken.connect();
        peer.message(&hello(1, "web1", &[OWN])).unwrap();
        let away = until(&mut peer, GO_AWAY);
        assert!(text(&away).contains("for which it may not report"), "{}", text(&away));
        taken.siege.wait_for("agent", before, 1);
    }
    taken.siege.assert_logged_once(&["session ended", "for which it may not report"]);

    let before = taken.siege.figures()["hume_master_quarantined_events_total"];
    let mut peer = taken.session(&[OWN]);
    let forged = [
        event(1, "taken", "its own"),
        event(2, "web1", "another's"),
        event(3, "db1", "another's"),
        vec![0xff; 9],
    ];
    peer.message(&batch(OWN, 1, &forged)).unwrap();
    assert!(text(&until(&mut peer, QUARANTINED)).contains("may not report for host"));
    until(&mut peer, ACK);
    assert_eq!(taken.siege.figures()["hume_master_quarantined_events_total"], before + 3);
    taken.siege.assert_logged_once(&["put an event into quarantine", "may not report for host"]);
}

/// It names the epochs of another agent, sends what was sent, leaves holes, and tells of places that never were.
fn places_of_others(taken: &Taken<'_>) {
    let stored = evidence::stored(taken.siege.site.master());
    let of_web1 = stored.iter().find(|stored| stored.host == "web1").expect("it has reported");
    let mut epoch = [0; 16];
    for (byte, pair) in epoch.iter_mut().zip(of_web1.epoch.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    let mut peer = taken.session(&[OWN, epoch]);
    // Again, and with another text at the same place: known, and dropped.
    peer.message(&batch(OWN, 1, &[event(9, "taken", "in place of the first")])).unwrap();
    until(&mut peer, ACK);
    // Far beyond the cursor, of its own and of what bears the name of another's: a hole is told and nothing is kept.
    peer.message(&batch(OWN, 900, &[event(10, "taken", "beyond")])).unwrap();
    until(&mut peer, RESYNC);
    peer.message(&batch(epoch, of_web1.seq + 1, &[event(11, "taken", "in another's name")])).unwrap();
    until(&mut peer, RESYNC);
    // A name alone is its own: its first place is the first, and changes nothing of the other agent's.
    peer.message(&batch(epoch, 1, &[event(12, "taken", "under a name of its choice")])).unwrap();
    until(&mut peer, ACK);
    // A key that it cannot prove gets no certificate.
    peer.message(&part(6, &[part(1, &[4; 91]), part(2, &[5; 70])].concat())).unwrap();
    assert!(text(&until(&mut peer, RENEWAL_REFUSED)).contains("the proof is not one of that key"));
}
