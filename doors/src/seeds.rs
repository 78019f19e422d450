//! Where the search of every door begins: what the programs themselves write, and the edges of what they take.
//!
//! `fuzz/corpus/` has them as files, where libFuzzer wants them, beside what was found; the tests take both.

use hume_core::event::{
    BootClock, Command, Correlation, EVENT_BYTES_MAX, EXTRA_BYTES_MAX, EXTRA_PAIRS_MAX, Event, EventFlag,
    EventKind, Exit, Finding, MESSAGE_BYTES_MAX, Process, RunRef, SURROUNDINGS_BYTES_MAX, TAGS_MAX,
    TREE_BYTES_MAX, USER_BYTES_MAX,
};
use hume_core::name::{BootId, FlagName};
use hume_core::page::{After, EventCursor, RunCursor};
use hume_core::{EventId, HostName, Level, RunId, Tag, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::relay::{EPOCHS_MAX, FRAME_FIELDS_MAX};

/// One input of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Which.
    pub door: &'static str,
    /// Name of its file.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All seeds.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |door, name: &str, bytes: Vec<u8>| seeds.push(Seed { door, name: name.to_owned(), bytes });
    for (place, frame) in golden(include_bytes!("../../proto/golden/agent-frames-0.1.bin")).enumerate() {
        add("agent_frame", &format!("golden-{place}"), frame.to_vec());
    }
    for (place, frame) in golden(include_bytes!("../../proto/golden/master-frames-0.1.bin")).enumerate() {
        add("master_frame", &format!("golden-{place}"), frame.to_vec());
    }
    // Lists of empty elements, one above what a frame or an epoch list may have.
    add("agent_frame", "hello-of-empty-epochs", list(1, 7, FRAME_FIELDS_MAX));
    add("agent_frame", "heartbeat-of-too-many-tails", list(3, 2, EPOCHS_MAX + 1));
    add("master_frame", "welcome-of-too-many-epochs", list(1, 3, EPOCHS_MAX + 1));
    for (name, bytes) in batches() {
        add("batch", name, bytes);
    }
    add("event", "golden", include_bytes!("../../proto/golden/event-0.1.bin").to_vec());
    for (name, event) in [
        ("largest", largest()),
        ("plain", plain()),
        ("first-moment", at(i64::MIN)),
        ("last-moment", at(i64::MAX)),
        ("aborted-run", aborted()),
        ("stop-without-start", stopped()),
    ] {
        add("event", name, EventBytes::encode(&event).as_slice().to_vec());
    }
    for (name, text) in LINES {
        add("lines", name, text.as_bytes().to_vec());
        add("drop_file", name, [b"01936b1e-7c00-7000-8000-000000000001.json\0", text.as_bytes()].concat());
    }
    add("lines", "deep", [b"{\"extra\":".to_vec(), vec![b'['; 10_000]].concat());
    add("agent_toml", "example", include_bytes!("../../humed-agent/agent.example.toml").to_vec());
    add("master_toml", "example", include_bytes!("../../humed-master/master.example.toml").to_vec());
    for (name, text) in AGENT_TOML {
        add("agent_toml", name, text.as_bytes().to_vec());
    }
    for (name, text) in MASTER_TOML {
        add("master_toml", name, text.as_bytes().to_vec());
    }
    for (name, text) in QUERIES {
        add("query", name, text.as_bytes().to_vec());
    }
    for (name, bytes) in JOIN_REQUESTS {
        add("join_request", name, bytes.to_vec());
    }
    for (name, bytes) in RECOVER_REQUESTS {
        add("recover_request", name, bytes.to_vec());
    }
    for (name, text) in JOIN_TOKENS {
        add("join_token", name, text.as_bytes().to_vec());
    }
    let run = RunCursor { started_at: Timestamp::from_micros(i64::MAX), run: RunId::from_bytes([1; 16]) };
    let cursors = [EventCursor(0).to_string(), EventCursor::above(i64::MAX).to_string(), run.to_string()];
    for (place, text) in
        cursors.into_iter().chain([After::Now.to_string(), After::Start.to_string()]).enumerate()
    {
        add("cursor", &format!("given-out-{place}"), text.into_bytes());
    }
    seeds
}

const LINES: [(&str, &str); 9] = [
    ("plain", "{\"task\":\"X\",\"message\":\"hi\"}\n"),
    (
        "whole",
        "{\"id\":\"01936b1e-7c00-7000-8000-000000000001\",\"time\":\"2026-11-22T10:00:00.000001Z\",\"host\":\"web1\",\
         \"task\":\"BACKUP\",\"tags\":[\"a\",\"b\",\"a\"],\"level\":\"error\",\"command\":\"flag\",\"flag\":\"half\",\
         \"message\":\"m\",\"truncated_from\":20000,\"extra\":{\"k\":\"v\",\"n\":1.5,\"b\":true},\"signal\":9,\"line\":12,\
         \"tree\":\"a\\nb\",\"run_key\":\"k\",\"run_key_inherited\":true,\"run_key_task\":\"OTHER\",\"mangled\":true,\
         \"caller\":{\"pid\":1,\"ppid\":2,\"session\":3,\"unit\":\"u\",\"cwd\":\"/\",\"boottime_us\":5,\
         \"boot_id\":\"01936b1e-7c00-7000-8000-000000000002\",\"chain\":[{\"pid\":1,\"start\":2,\"comm\":\"sh\"}],\
         \"script\":\"/x.sh\"},\"token\":\"t\"}\n",
    ),
    ("start", "{\"task\":\"X\",\"command\":\"counter-start\",\"detach\":true,\"overlap\":\"forbid\"}\n"),
    (
        "stop",
        "{\"task\":\"X\",\"command\":\"counter-stop\",\"exit\":3,\"extra\":{\"duration\":\"3.2e9\"}}\r\n\n{}\n",
    ),
    ("last-moment", "{\"task\":\"X\",\"time\":\"9999-12-30T22:00:00.999999999Z\"}\n"),
    ("first-moment", "{\"task\":\"X\",\"time\":\"-009999-01-02T01:59:59Z\"}\n"),
    (
        "boot-clock",
        "{\"task\":\"X\",\"command\":\"counter-pause\",\"caller\":{\"boottime_us\":18446744073709551615}}\n",
    ),
    ("surrogate", "{\"message\":\"\\ud800\",\"task\":\"\\u0000\"}"),
    ("several", "{\"task\":\"A\"}\n\n \n[]\n{\"task\":\"B\"}"),
];

const AGENT_TOML: [(&str, &str); 4] = [
    ("master", "[master]\naddress = \"[::1]:4863\"\nretry_min_ms = 0\n"),
    (
        "runs",
        "[[runs]]\ntask = \"BACKUP_*\"\nmax_runtime = \"2h\"\nmax_pause = \"never\"\nidle_gap = \"10m\"\n\
         exit_map = { 0 = \"ok\", 1 = \"warning\", other = \"failed\" }\nstatus_by = \"final\"\noverlap = \"forbid\"\n",
    ),
    ("misspelt", "[spool]\nbytes_mx = 1\n"),
    ("two-lines", "[intake]\nsocket = \"a\nb\"\n"),
];

const MASTER_TOML: [(&str, &str); 3] = [
    ("token", "[[web.token]]\nname = \"ops\"\nsha256 = \"00\"\n"),
    ("relay", "[relay]\nlisten = \"[::]:4863\"\n[web]\nlisten = \"127.0.0.1:0\"\nmetrics = \"token\"\n"),
    ("retention", "[retention]\nage_max = \"90d\"\n[store]\npath = \"x.db\"\n[log]\nlevel = \"debug\"\n"),
];

const QUERIES: [(&str, &str); 7] = [
    (
        "whole",
        "task=BACKUP%20DB&host=web1&level=warning&tag=a,b&since=2026-01-01T00:00:00Z&until=9999-12-30T22:00:00.999999Z\
         &run=01936b1e-7c00-7000-8000-000000000001&grep=%25x&kind=all&limit=1000&cursor=e1.42&count=true",
    ),
    ("follow", "after=e1.9223372036854775807&wait=30&limit=1"),
    ("now", "after=now&wait=31"),
    ("runs", "events=true&cursor=r1.-7.01936b1e-7c00-7000-8000-000000000001&until=-009999-01-02T01:59:59Z"),
    ("twice", "limit=1&limit=2"),
    ("unknown", "tsk=x&%00=%ff"),
    ("tags", "tag=a,a,b,b&level=loud"),
];

/// Of a host that joins, on a connection of ones.
const JOIN_REQUESTS: [(&str, &[u8]); 3] = [
    ("honest", include_bytes!("seeds/join-request.json")),
    ("empty", b"{\"token\":\"\",\"host\":\"\",\"request\":\"\",\"proof\":\"\"}"),
    ("no-request", b"{\"token\":\"a\",\"host\":\"web1\",\"request\":\"-----BEGIN CERTIFICATE REQUEST-----\",\"proof\":\"00\"}"),
];

/// Of an agent of the root in `seeds/root.pem`, on such a connection as well.
const RECOVER_REQUESTS: [(&str, &[u8]); 2] = [
    ("honest", include_bytes!("seeds/recover-request.json")),
    ("no-certificates", b"{\"chain\":[\"\",\"30\",\"3082ffff\"],\"request\":\"\",\"proof\":\"\"}"),
];

const JOIN_TOKENS: [(&str, &str); 3] =
    [("made", include_str!("seeds/join-token.txt")), ("newer", "hume2-a-b-c-d:1"), ("no-parts", "hume1----")];

/// Frames that each stand behind their length.
fn golden(mut bytes: &'static [u8]) -> impl Iterator<Item = &'static [u8]> {
    std::iter::from_fn(move || {
        let length = hume_core::varint::take(&mut bytes)?;
        let (frame, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
        bytes = rest;
        Some(frame)
    })
}

/// A frame of this kind with so many empty elements in a list.
fn list(kind: u8, field: u8, count: usize) -> Vec<u8> {
    let message = [field << 3 | 2, 0].repeat(count);
    let mut bytes = vec![kind << 3 | 2];
    hume_core::varint::put(&mut bytes, message.len() as u64);
    bytes.extend(message);
    bytes
}

/// As `batch` takes them: codec, count, length, payload. The compressed ones were made by zstd 1.5.7.
fn batches() -> [(&'static str, Vec<u8>); 5] {
    let plain = [3, 1, 2, 3, 0];
    [
        ("two-plain", [&[1, 2, 0, 5, 0, 0][..], &plain].concat()),
        ("compressed", [&[2, 1, 0, 2, 4, 0][..], include_bytes!("seeds/one-event-of-zeros.zst")].concat()),
        // Four million bytes that say to be 512 KiB.
        ("bomb", [&[2, 1, 0, 0, 0, 8][..], include_bytes!("seeds/4-mib-of-zeros.zst")].concat()),
        ("of-another-length", [&[1, 2, 0, 9, 0, 0][..], &plain].concat()),
        ("too-many", [&[1, 0xff, 0xff, 5, 0, 0][..], &plain].concat()),
    ]
}

fn plain() -> Event {
    let host = HostName::parse("web1").expect("it is one");
    let time = Timestamp::from_micros(1_800_000_000_000_000);
    Event { received_at: time.plus_micros(1), ..Event::new(EventId::from_bytes([1; 16]), host, time) }
}

fn of_run() -> Event {
    let run = RunRef { id: RunId::from_bytes([3; 16]), correlation: Correlation::Ancestry };
    Event { task: TaskName::parse("BACKUP").expect("it is one"), run: Some(run), ..plain() }
}

/// Everything as long as it may be.
fn largest() -> Event {
    let tag = |n: usize| Tag::parse(&format!("{n:0>64}")).expect("64 bytes are a tag");
    let pair_bytes = EXTRA_BYTES_MAX / EXTRA_PAIRS_MAX;
    let event = Event {
        host: HostName::parse(&"h".repeat(253)).expect("253 bytes are a host"),
        task: TaskName::parse(&"t".repeat(200)).expect("200 bytes are a task"),
        tags: (0..TAGS_MAX).map(tag).collect(),
        command: Some(Command::Flag),
        flag: FlagName::parse(&"f".repeat(64)).ok(),
        message: "m".repeat(MESSAGE_BYTES_MAX),
        truncated_from: Some(u64::MAX),
        extra: (0..EXTRA_PAIRS_MAX).map(|n| (format!("{n:0>8}"), "v".repeat(pair_bytes - 8))).collect(),
        exit: Some(Exit::Code(i32::MIN)),
        line: Some(u32::MAX),
        process: Process {
            pid: Some(u32::MAX),
            uid: Some(u32::MAX),
            user: Some("u".repeat(USER_BYTES_MAX)),
            script: Some("s".repeat(SURROUNDINGS_BYTES_MAX)),
            unit: Some("i".repeat(SURROUNDINGS_BYTES_MAX)),
            tree: Some("p".repeat(TREE_BYTES_MAX)),
            captured_by_cli: true,
        },
        boot_clock: Some(BootClock { boot: BootId::from_bytes([2; 16]), micros: u64::MAX }),
        flags: EventFlag::ALL.to_vec(),
        ..of_run()
    };
    debug_assert!(EventBytes::encode(&event).len() < EVENT_BYTES_MAX);
    event
}

fn at(micros: i64) -> Event {
    let time = Timestamp::from_micros(micros);
    Event { time, received_at: time, not_before: Some(time), ..of_run() }
}

fn aborted() -> Event {
    let not_before = Some(Timestamp::from_micros(5));
    Event {
        kind: EventKind::Run,
        level: Level::Error,
        finding: Some(Finding::ProcessGone),
        not_before,
        ..of_run()
    }
}

fn stopped() -> Event {
    let extra = vec![("duration".to_owned(), "3.1e9".to_owned())];
    Event { command: Some(Command::CounterStop), extra, ..at(i64::MIN) }
}
