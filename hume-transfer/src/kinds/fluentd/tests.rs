//! What each answer of a server is for the notices, and that it understands what it gets.

mod real;
mod server;

use std::sync::{Arc, Mutex};

use hume_core::{HostName, Level};
use hume_runtime::config;
use serde::Deserialize;
use tempfile::TempDir;

use self::server::{Got, Security as Guard, Value, ack, drain, hex512, message, pong, take_all, welcome};
use super::*;
use crate::net::peer::{Site, accept, listen, nowhere, over_tls, reset, run};
use crate::options::{TransferName, Transfers};
use crate::testing::{documented, open, stored, whole};

const KEY: &str = "s3cret-key";
const PASSWORD: &str = "hunter2-unsecret";

/// As it is opened, but with a type that lets a test have less patience.
fn fluentd(dir: &TempDir, address: impl std::fmt::Display, keys: &str) -> Fluentd {
    #[derive(Deserialize)]
    struct Whole {
        transfer: Transfers,
    }
    let file = dir.path().join("agent.toml");
    let text = format!("[transfer.logs.fluentd]\naddress = \"{address}\"\n{keys}\n");
    let whole: Whole = config::parse(&file, &text).unwrap();
    let (name, options): (TransferName, _) = whole.transfer.0.into_iter().next().unwrap();
    let crate::kinds::Options::Fluentd(options) = options else { panic!("not a fluentd") };
    let host = HostName::parse("web1").unwrap();
    Fluentd::of(&options, &Setting { name: &name, config_file: &file, host: &host, program: "humed-agent" })
        .unwrap()
}

fn notices(texts: &[&str]) -> Vec<Notice> {
    texts.iter().map(|text| Notice::of(stored(Level::Error, "BACKUP", "db1", text))).collect()
}

/// A delivery; nothing that is told of it has a secret.
async fn deliver(transfer: &mut Fluentd, notices: &[Notice]) -> Delivery {
    let told = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&told);
    let mut trail = Trail::to(move |step| to.lock().unwrap().extend([step, "\n"]));
    let delivery = transfer.deliver(notices, &mut trail).await;
    let told = format!("{} {delivery:?}", told.lock().unwrap());
    assert!(!told.contains(KEY) && !told.contains(PASSWORD), "{told}");
    delivery
}

fn later(delivery: &Delivery, settled: usize) -> (&str, Option<Duration>) {
    match &delivery.trouble {
        Some(Trouble::Later { reason, after }) if delivery.settled == settled => (reason, *after),
        _ => panic!("{delivery:?}"),
    }
}

fn texts(got: &[Got]) -> Vec<String> {
    let text = |entry: &Value| entry.list()[1].get("text").text().to_owned();
    got.iter().flat_map(|got| got.entries.iter().map(text)).collect()
}

#[tokio::test]
async fn a_batch_arrives_in_order_with_its_times_and_records_and_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || take_all(accept(&listener)));
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), "");
    let mut batch = notices(&["one", "two"]);
    batch.push(Notice::of(stored(Level::Ok, "", "db1", "three")));
    batch.push(Notice::of(documented()));
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    let more = notices(&["four"]);
    assert_eq!(deliver(&mut transfer, &more).await, Delivery::all(&more));
    drop(transfer);
    let got = peer.join().unwrap();
    let tags: Vec<&str> = got.iter().map(|got| got.tag.as_str()).collect();
    let error = "hume.error.BACKUP";
    assert_eq!(tags, [error, "hume.ok.none", "hume.error.BACKUP_DB", error], "over one connection");
    assert_eq!(texts(&got), ["one", "two", "three", &documented().event.message, "four"]);
    let [time, record] = got[2].entries[0].list() else { panic!("{got:?}") };
    assert_eq!(time, &Value::Ext(0, vec![0x69, 0x24, 0x81, 0x00, 0, 0, 0, 0]));
    let event = record.get("event");
    assert_eq!(event.get("host").text(), "db1");
    assert_eq!(event.get("extra").get("database").text(), "shop");
    assert_eq!(event.get("pid"), &Value::Int(4711));
    assert_eq!(event.get("tags").list()[0].text(), "backup");
    assert_eq!(record.get("digest"), &Value::Nil);
}

#[tokio::test]
async fn a_large_batch_goes_in_chunks_that_a_server_takes() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || take_all(accept(&listener)));
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), "tag = \"hume\"");
    let message = "x".repeat(16 * 1024);
    let batch: Vec<Notice> =
        (0..256).map(|at| Notice::of(stored(Level::Ok, "A", "db1", &format!("{at} {message}")))).collect();
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    drop(transfer);
    let got = peer.join().unwrap();
    assert_eq!(got.iter().map(|got| got.entries.len()).sum::<usize>(), 256);
    assert!(
        got.len() > 4 && got.iter().all(|got| got.entries.len() * 32 * 1024 < 4 * CHUNK_BYTES_MAX),
        "{}",
        got.len()
    );
}

#[tokio::test]
async fn what_was_not_acknowledged_before_a_reset_is_sent_again_in_the_same_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = accept(&listener);
        let first = message(&mut stream).unwrap();
        ack(&mut stream, &first.chunk);
        let lost = message(&mut stream).unwrap();
        reset(stream);
        (first, lost, take_all(accept(&listener)))
    });
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), "");
    let mut batch = notices(&["one", "two"]);
    batch.push(Notice::of(stored(Level::Ok, "A", "db1", "three")));
    batch.push(Notice::of(stored(Level::Ok, "A", "db1", "four")));
    let delivery = deliver(&mut transfer, &batch).await;
    later(&delivery, 2);
    // More has come meanwhile; it does not go into the chunk.
    let mut rest = batch.split_off(2);
    rest.push(Notice::of(stored(Level::Ok, "A", "db1", "five")));
    assert_eq!(deliver(&mut transfer, &rest).await, Delivery::all(&rest));
    drop(transfer);
    let (first, lost, again) = peer.join().unwrap();
    assert_eq!((first.entries.len(), lost.entries.len()), (2, 2));
    assert_eq!(again[0].chunk, lost.chunk);
    assert_eq!(again[0].entries, lost.entries);
    assert_eq!(texts(&again), ["three", "four", "five"]);
    assert_ne!(again[1].chunk, lost.chunk);
}

#[tokio::test]
async fn only_the_acknowledgement_of_its_chunk_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || {
        let endless = [b"\x81\xa3ack\xdb\x00\x0f\x00\x00", &vec![b'x'; 2 * ANSWER_BYTES_MAX][..]].concat();
        let answers = [&b"\x81\xa3ack\xa5other"[..], b"\xc1garbage", b"\x81\xa3nak\xa1x", &endless];
        for answer in answers {
            let mut stream = accept(&listener);
            message(&mut stream).unwrap();
            std::io::Write::write_all(&mut stream, answer).unwrap();
            drain(stream);
        }
        // An end without a word.
        drop(message(&mut accept(&listener)));
    });
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), "");
    let batch = notices(&["one"]);
    let garbage = "not of this protocol";
    for told in ["acknowledged `other`, not chunk", garbage, garbage, "has more than"] {
        let delivery = deliver(&mut transfer, &batch).await;
        assert!(later(&delivery, 0).0.contains(told), "{delivery:?}");
    }
    let delivery = deliver(&mut transfer, &batch).await;
    later(&delivery, 0);
    peer.join().unwrap();
}

#[tokio::test]
async fn a_server_that_acknowledges_nothing_or_is_not_there_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || drain(accept(&listener)));
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), "");
    transfer.time_max = Duration::from_millis(500);
    let batch = notices(&["one"]);
    let delivery = deliver(&mut transfer, &batch).await;
    assert!(later(&delivery, 0).0.contains("did not answer in time"), "{delivery:?}");
    drop(transfer);
    peer.join().unwrap();
    let mut transfer = fluentd(&dir, format!("tcp://{}", nowhere()), "");
    later(&deliver(&mut transfer, &batch).await, 0);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_ended_is_made_anew_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let peer = run(move || {
        let mut stream = accept(&listener);
        let got = message(&mut stream).unwrap();
        ack(&mut stream, &got.chunk);
        drop(stream);
        ended.send(()).unwrap();
        take_all(accept(&listener))
    });
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), "");
    let batch = notices(&["one"]);
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    has_ended.recv().unwrap();
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    drop(transfer);
    assert_eq!(peer.join().unwrap().len(), 1);
}

const GUARD: Guard = Guard { shared_key: KEY, user: Some(("hume", PASSWORD)) };

#[tokio::test]
async fn over_tls_both_prove_that_they_know_the_key_and_the_user_logs_in() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path(), "ca");
    let server = site.tls();
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = over_tls(&server, accept(&listener));
        assert!(welcome(&mut stream, GUARD));
        take_all(stream)
    });
    std::fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    let keys = format!(
        "ca = \"{}\"\nshared_key = \"{KEY}\"\nuser = \"hume\"\npassword = {{ file = \"password\" }}",
        site.ca.display()
    );
    let mut transfer = fluentd(&dir, format!("tls://{place}"), &keys);
    for text in ["one", "two"] {
        let batch = notices(&[text]);
        assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    }
    drop(transfer);
    assert_eq!(texts(&peer.join().unwrap()), ["one", "two"]);
}

#[tokio::test]
async fn what_is_wrong_with_key_or_user_waits_and_says_what_to_do_and_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let key = format!("shared_key = \"{KEY}\"");
    let user = format!("user = \"hume\"\npassword = \"{PASSWORD}\"");
    let login = |password| Guard { shared_key: KEY, user: Some(("hume", password)) };
    for (guard, keys, told) in [
        (
            Guard { shared_key: "other", user: None },
            key.clone(),
            "(shared_key mismatch): look at `shared_key`",
        ),
        (login("other"), format!("{key}\n{user}"), "(username/password mismatch): look at"),
        (GUARD, key.clone(), "asks for a user: set `user` and `password`"),
        (GUARD, String::new(), "asks for a shared key: set `shared_key`"),
    ] {
        let (listener, place) = listen();
        let peer = run(move || {
            let mut stream = accept(&listener);
            // One that knows of no keys sends its notices at once, and they are no PING.
            let is_in =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| welcome(&mut stream, guard)));
            drain(stream);
            is_in.unwrap_or(false)
        });
        let mut transfer = fluentd(&dir, format!("tcp://{place}"), &keys);
        let delivery = deliver(&mut transfer, &notices(&["one"])).await;
        let (reason, after) = later(&delivery, 0);
        assert!(reason.contains(told) && after == Some(MEND_TIME), "{delivery:?}");
        drop(transfer);
        assert!(!peer.join().unwrap());
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_that_it_knows_the_key_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || {
        let mut stream = accept(&listener);
        std::io::Write::write_all(&mut stream, b"\x92\xa4HELO\x81\xa5nonce\xa1n").unwrap();
        server::read(&mut stream).unwrap();
        pong(&mut stream, "", "stranger", &hex512(&[b"guess"]));
        message(&mut stream).is_none()
    });
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), &format!("shared_key = \"{KEY}\""));
    let delivery = deliver(&mut transfer, &notices(&["one"])).await;
    let (reason, after) = later(&delivery, 0);
    assert!(reason.contains("does not know the shared key") && after == Some(MEND_TIME), "{reason}");
    assert!(peer.join().unwrap());
}

#[tokio::test]
async fn a_server_without_a_key_where_one_is_expected_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = run(move || drain(accept(&listener)));
    let mut transfer = fluentd(&dir, format!("tcp://{place}"), &format!("shared_key = \"{KEY}\""));
    transfer.time_max = Duration::from_millis(500);
    let delivery = deliver(&mut transfer, &notices(&["one"])).await;
    assert!(later(&delivery, 0).0.ends_with("leave `shared_key` out"), "{delivery:?}");
    drop(transfer);
    peer.join().unwrap();
}

#[test]
fn what_cannot_be_meant_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, told) in [
        ("address = \"udp://logs:24224\"", "`address`: this kind speaks no UDP"),
        ("address = \"tcp://logs:24224\"\ntag = \"hume..x\"", "`tag`: is parts of letters"),
        ("address = \"tcp://logs:24224\"\nca = \"ca.pem\"", "`ca`: is for an `address`"),
        (
            "address = \"tcp://logs:24224\"\nshared_key = { file = \"no\" }",
            "`shared_key`: could not read the secret",
        ),
        ("address = \"tcp://logs:24224\"\nuser = \"u\"\npassword = \"p\"", "`shared_key`: is missing"),
        ("address = \"tcp://logs:24224\"\nshared_key = \"k\"\nuser = \"u\"", "`password`: is missing"),
    ] {
        let error = whole(open(dir.path(), &format!("[transfer.x.fluentd]\n{keys}\n")).err().unwrap());
        assert!(error.starts_with(told), "{error}");
    }
}
