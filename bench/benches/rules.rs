//! The pure functions that every event passes, one by one: `cargo bench --package hume-bench`.

use divan::{Bencher, black_box};
use hume_core::correlate::{OpenRun, Origin, place};
use hume_core::event::{Correlation, Event, EventKind, Position, Process, RunRef, StoredEvent};
use hume_core::filter::EventFilter;
use hume_core::policy::Overlap;
use hume_core::process::Chain;
use hume_core::run::RunState;
use hume_core::{Epoch, EventId, HostName, Level, RunId, Seq, Tag, TaskName, Timestamp};
use hume_proto::event::EventBytes;
use hume_proto::intake;
use humed_agent::redact::{Config, Redactor};

/// A line as `hume` writes it.
const LINE: &[u8] = br#"{"id":"019aa5d5-dbc7-76d7-bb72-6537da510c2a","time":"2026-11-25T14:00:00.123456Z","task":"BACKUP","level":"info","message":"file 123456 copied of the tree of","caller":{"pid":12345,"boottime_us":123456789012}}"#;

fn main() {
    divan::main();
}

fn stored() -> StoredEvent {
    let time = Timestamp::from_micros(1_800_000_000_000_000);
    let event = Event {
        id: EventId::from_bytes([1; 16]),
        kind: EventKind::Reported,
        time,
        received_at: time,
        boot_clock: None,
        host: HostName::parse("web1").expect("it is within bounds"),
        task: TaskName::parse("BACKUP").expect("it is within bounds"),
        tags: vec![Tag::parse("nightly").expect("it is within bounds")],
        level: Level::Info,
        command: None,
        flag: None,
        message: "file 123456 copied of the tree of".to_owned(),
        truncated_from: None,
        extra: Vec::new(),
        exit: None,
        line: None,
        process: Process {
            pid: Some(12_345),
            uid: Some(0),
            user: Some("root".to_owned()),
            ..Process::default()
        },
        run: Some(RunRef { id: RunId::from_bytes([2; 16]), correlation: Correlation::OnlyOpen }),
        finding: None,
        not_before: None,
        flags: Vec::new(),
    };
    let position = Position {
        agent: None,
        epoch: Epoch::from_bytes([3; 16]),
        seq: Seq::new(1).expect("it is within bounds"),
    };
    StoredEvent { position, arrived_at: Some(time), event }
}

#[divan::bench]
fn a_line_is_parsed(bencher: Bencher<'_, '_>) {
    bencher.bench(|| intake::parse(black_box(LINE), || EventId::from_bytes([0; 16])));
}

/// A message of 219 bytes without anything to hide.
const CLEAN: &str = "2026-11-25 14:00:00 backup[12345]: 123456 files of /srv/www/site1 copied to backup.example.net in 00:12:34, 4711 unchanged, 12 deleted; \
                     next full copy on Sunday; see https://wiki.example.net/backup?page=2 for what to do";
/// The same with two secrets.
const SECRETS: &str = "2026-11-25 14:00:00 backup[12345]: mysqldump --password=hunter2 of /srv/www/site1 copied to ftp://joe:hunter2@backup.example.net in 00:12:34; \
                       next full copy on Sunday; see https://wiki.example.net/backup for what to do";

fn redactor() -> Redactor {
    Redactor::new(&Config::default()).expect("the defaults are within bounds")
}

#[divan::bench(args = ["none", "two"])]
fn secrets_of_a_message_are_hidden(bencher: Bencher<'_, '_>, secrets: &str) {
    let redactor = redactor();
    let text = if secrets == "none" { CLEAN } else { SECRETS };
    bencher.bench(|| redactor.text(black_box(text)).len());
}

#[divan::bench(sample_count = 20)]
fn rules_against_secrets_are_made(bencher: Bencher<'_, '_>) {
    bencher.bench(redactor);
}

#[divan::bench]
fn an_event_is_encoded(bencher: Bencher<'_, '_>) {
    let event = stored().event;
    bencher.bench(|| EventBytes::encode(black_box(&event)));
}

#[divan::bench]
fn an_event_is_decoded(bencher: Bencher<'_, '_>) {
    let bytes = EventBytes::encode(&stored().event);
    bencher.bench(|| black_box(&bytes).decode());
}

#[divan::bench]
fn an_event_is_added_to_its_run(bencher: Bencher<'_, '_>) {
    let stored = stored();
    let opened = RunState::open(&stored).expect("the event has a run");
    bencher.with_inputs(|| opened.clone()).bench_refs(|state| state.apply(black_box(&stored)));
}

#[divan::bench]
fn an_event_is_compared_with_a_filter(bencher: Bencher<'_, '_>) {
    let stored = stored();
    let filter = EventFilter {
        task: TaskName::parse("BACKUP").ok(),
        tags: vec![Tag::parse("nightly").expect("it is within bounds")],
        since: Some(Timestamp::EPOCH),
        grep: Some("tree".to_owned()),
        ..EventFilter::default()
    };
    bencher.bench(|| black_box(&filter).matches(black_box(&stored)));
}

/// Among so many open runs of its task, none of which has an ancestor of it: every rule is tried.
#[divan::bench(args = [1, 10, 100])]
fn an_event_is_placed(bencher: Bencher<'_, '_>, runs: u8) {
    let open: Vec<OpenRun> = (0..runs).map(open_run).collect();
    let origin = Origin {
        key: None,
        uid: Some(0),
        chain: Chain::default(),
        attested: true,
        unit: None,
        session: None,
        made_us: None,
    };
    bencher.bench(|| place(None, black_box(&origin), black_box(&open), Overlap::Warn, |_| true));
}

fn open_run(number: u8) -> OpenRun {
    OpenRun {
        id: RunId::from_bytes([number; 16]),
        opened_us: u64::from(number),
        touched_us: u64::from(number),
        touched_at: Timestamp::EPOCH,
        boot: None,
        key: None,
        uid: Some(0),
        chain: Chain::default(),
        watched: None,
        unit: None,
        session: None,
        implicit: false,
        paused: false,
        gone_us: None,
        stopped: None,
    }
}
