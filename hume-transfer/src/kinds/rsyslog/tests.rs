//! Against peers of the test, and against rsyslogd over UDP, TCP and TLS where it is installed.

use std::fmt::Write as _;
use std::io::Read;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hume_core::Level;

use super::*;
use crate::net::peer::{
    LOOK_EVERY, SOON, Site, accept, gather, listen, nowhere, over_tls, read_all, reset, run, written,
};
use crate::syslog_text::tests::{digest_notice, parse, run_notice};
use crate::testing::{assert_documented, documented, open, skip, stored};

fn config(keys: &str) -> String {
    format!("[transfer.logs.rsyslog]\n{keys}\n")
}

fn notices(texts: &[&str]) -> Vec<Notice> {
    texts.iter().map(|text| Notice::of(stored(Level::Error, "BACKUP", "web1", text))).collect()
}

async fn deliver(transfer: &mut Box<dyn Transfer>, batch: &[Notice]) -> Delivery {
    transfer.deliver(batch, &mut Trail::silent()).await
}

/// Frames of octet counting, by RFC 6587.
fn frames(mut stream: &str) -> Vec<&str> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_once(' ') {
        let (frame, rest) = rest.split_at(length.parse().unwrap());
        frames.push(frame);
        stream = rest;
    }
    assert_eq!(stream, "");
    frames
}

#[tokio::test]
async fn messages_are_counted_frames_of_one_connection_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = gather(listener, 1);
    let mut transfer = open(dir.path(), &config(&format!("address = \"tcp://{place}\""))).unwrap();
    for batch in [notices(&["one", "zwei ü\nlines"]), notices(&["three"])] {
        assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    }
    drop(transfer);
    let heard = peer.join().unwrap().concat();
    let messages: Vec<String> =
        frames(&heard).into_iter().map(|frame| parse(frame).unwrap().message).collect();
    assert_eq!(messages, ["one", "zwei ü#012lines", "three"]);
}

#[tokio::test]
async fn messages_end_with_a_line_break_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, place) = listen();
    let peer = gather(listener, 1);
    let keys = format!(
        "address = \"tcp://{place}\"\nframing = \"newline\"\nformat = \"rfc3164\"\nfacility = \"local3\"\nident = \"jobs\""
    );
    let mut transfer = open(dir.path(), &config(&keys)).unwrap();
    let batch = notices(&["one\ntwo", "three"]);
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    drop(transfer);
    let heard = peer.join().unwrap().concat();
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("<155>Nov 24 ") && lines[0].ends_with(" web1 jobs: BACKUP error: one#012two"),
        "{heard}"
    );
}

#[tokio::test]
async fn messages_over_tls_reach_a_peer_with_a_good_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path(), "ca");
    let server = site.tls();
    let (listener, place) = listen();
    let peer = run(move || read_all(&mut over_tls(&server, accept(&listener))));
    // Relative to the configuration.
    let keys = format!("address = \"tls://{place}\"\nca = \"ca.pem\"\nserver_name = \"localhost\"");
    let mut transfer = open(dir.path(), &config(&keys)).unwrap();
    let batch = [Notice::of(documented())];
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    drop(transfer);
    let heard = peer.join().unwrap();
    assert_documented(frames(&heard)[0]);
}

#[tokio::test]
async fn datagrams_have_one_message_each_and_are_not_longer_than_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let keys = format!("address = \"udp://{}\"\nenterprise = 12345", peer.local_addr().unwrap());
    let mut transfer = open(dir.path(), &config(&keys)).unwrap();
    let batch = notices(&["one", &"long ".repeat(3000)]);
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    let mut buffer = vec![0; 65_536];
    let mut heard = || {
        let bytes = peer.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..bytes].to_vec()).unwrap()
    };
    assert_eq!(parse(&heard()).unwrap().values("hume@12345", "task"), ["BACKUP"]);
    let long = heard();
    assert!(long.len() == 2048 && parse(&long).unwrap().message.ends_with("[cut, 15000 bytes in all]"));
}

#[tokio::test]
async fn a_peer_that_is_away_or_breaks_off_is_tried_again_and_nothing_counts_as_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let batch = notices(&["one", "two"]);
    for scheme in ["tcp", "udp"] {
        let address = format!("{scheme}://{}", nowhere());
        let mut transfer = open(dir.path(), &config(&format!("address = \"{address}\""))).unwrap();
        let delivery = deliver(&mut transfer, &batch).await;
        assert_eq!(delivery.settled, 0);
        let reason = delivery.trouble.as_ref().unwrap().reason();
        assert!(reason.contains(&address) && reason.contains("refused"), "{reason}");
    }
    let (listener, place) = listen();
    let peer = run(move || {
        reset(accept(&listener));
        read_all(&mut accept(&listener))
    });
    let mut transfer = open(dir.path(), &config(&format!("address = \"tcp://{place}\""))).unwrap();
    let delivery = deliver(&mut transfer, &batch).await;
    assert!(matches!(delivery, Delivery { settled: 0, trouble: Some(Trouble::Later { after: None, .. }) }));
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    drop(transfer);
    assert_eq!(frames(&peer.join().unwrap()).len(), 2);
}

#[test]
fn keys_that_make_no_sense_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, told) in [
        ("address = \"udp://logs:514\"\nca = \"ca.pem\"", "`ca`: is for an `address`"),
        ("address = \"tcp://logs:514\"\nbytes_max = 479", "`bytes_max`: 479 is not from 480 to 60000"),
        ("address = \"tls://logs:6514\"\nca = \"missing.pem\"", "`ca`: could not read "),
    ] {
        let error = open(dir.path(), &config(keys)).err().unwrap().to_string();
        assert!(error.starts_with(told), "{error}");
    }
}

/// rsyslogd of this machine with a configuration of the test, in a folder of its own; it ends with the value.
pub(in crate::kinds) struct Rsyslogd {
    child: Child,
    dir: tempfile::TempDir,
}

impl Rsyslogd {
    /// None if it is not installed, which is told.
    pub(in crate::kinds) fn start(modules: &[&str], inputs: &str) -> Option<Rsyslogd> {
        let program = Path::new("/usr/sbin/rsyslogd");
        let drivers =
            ["/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog", "/usr/lib64/rsyslog"];
        let has =
            |name: &str| drivers.iter().any(|folder| Path::new(folder).join(format!("{name}.so")).exists());
        if !program.exists() || !modules.iter().all(|name| has(name)) {
            skip("rsyslogd is not installed, or its gnutls driver");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().display();
        let mut text = format!("global(workDirectory=\"{folder}\" processInternalMessages=\"on\")\n");
        text.push_str(&inputs.replace("DIR", &folder.to_string()));
        // Everything that a message has, as JSON.
        let _ = write!(
            text,
            "\ntemplate(name=\"all\" type=\"string\" string=\"%jsonmesg%\\n\")\nif $app-name == \"hume\" then action(type=\"omfile\" file=\"{folder}/out\" template=\"all\" asyncWriting=\"off\")\n\
             else action(type=\"omfile\" file=\"{folder}/internal\")\n"
        );
        std::fs::write(dir.path().join("rsyslog.conf"), text).unwrap();
        Some(Rsyslogd { child: Rsyslogd::run(dir.path()), dir })
    }

    fn run(dir: &Path) -> Child {
        Command::new("/usr/sbin/rsyslogd")
            .args(["-n", "-f"])
            .arg(dir.join("rsyslog.conf"))
            .arg("-i")
            .arg(dir.join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("stderr")).unwrap())
            .spawn()
            .unwrap()
    }

    /// Where its configuration and files are.
    pub(in crate::kinds) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The messages in its file, as soon as there are `count` of them.
    pub(in crate::kinds) fn messages(&self, count: usize) -> Vec<serde_json::Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let text = std::fs::read_to_string(self.dir.path().join("out")).unwrap_or_default();
            if text.lines().count() >= count {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(
                Instant::now() < deadline,
                "{} of {count}: {text}\n{}",
                text.lines().count(),
                self.said()
            );
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// What it said of itself.
    fn said(&self) -> String {
        let read = |name: &str| {
            let mut text = String::new();
            if let Ok(mut file) = std::fs::File::open(self.dir.path().join(name)) {
                let _ = file.read_to_string(&mut text);
            }
            text
        };
        read("stderr") + &read("internal")
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Delivers until it is taken: the daemon may still be starting.
pub(in crate::kinds) async fn deliver_soon(transfer: &mut Box<dyn Transfer>, batch: &[Notice]) {
    let deadline = Instant::now() + SOON;
    let mut left = batch;
    while !left.is_empty() {
        let delivery = deliver(transfer, left).await;
        left = &left[delivery.settled..];
        if !left.is_empty() {
            std::thread::park_timeout(LOOK_EVERY);
        }
        assert!(Instant::now() < deadline, "{:?}", delivery.trouble);
    }
}

/// An event, a run and a digest, each to be known by its text, and one with everything that is awkward.
fn all_sorts() -> Vec<Notice> {
    let mut awkward = stored(Level::Critical, "ümlaut task", "web1", "first \"line\"\nsecond ] \\ ü");
    awkward.event.extra = vec![("a=b".to_owned(), "] \\ \" ü\t".to_owned())];
    vec![Notice::of(documented()), run_notice(), digest_notice(), Notice::of(awkward)]
}

/// What rsyslogd made of [`all_sorts`].
fn assert_understood(messages: &[serde_json::Value]) {
    let texts: Vec<&str> =
        messages.iter().map(|one| one["msg"].as_str().unwrap().trim_start_matches('\u{feff}')).collect();
    assert_eq!(
        texts,
        [
            "pg_dump: connection to server failed",
            "BACKUP on db1: failed, ended after 3m 5s: disk full",
            "+40 more from db1",
            "first \"line\"#012second ] \\ ü"
        ]
    );
    let first = &messages[0];
    for (field, value) in [
        ("hostname", "db1"),
        ("app-name", "hume"),
        ("procid", "4711"),
        ("msgid", "BACKUP_DB"),
        ("syslogfacility", "3"),
        ("syslogseverity", "3"),
        ("timereported", "2025-11-24T16:00:00.000000+00:00"),
    ] {
        let told = first[field].as_str().unwrap().replace('Z', "+00:00");
        assert_eq!(told, value, "{field}");
    }
    let data = messages[3]["structured-data"].as_str().unwrap();
    assert!(data.contains("task=\"ümlaut task\"") && data.contains("a_b=\"\\] \\\\ \\\" ü#011\""), "{data}");
    assert_eq!(messages[3]["msgid"], "_mlaut_task");
}

fn free_port() -> u16 {
    nowhere().port()
}

#[tokio::test]
async fn rsyslogd_understands_what_comes_over_tcp_and_gets_the_rest_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let input =
        format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n");
    let Some(mut peer) = Rsyslogd::start(&["imtcp"], &input) else { return };
    let mut transfer = open(dir.path(), &config(&format!("address = \"tcp://127.0.0.1:{port}\""))).unwrap();
    deliver_soon(&mut transfer, &all_sorts()).await;
    assert_understood(&peer.messages(4));
    // All that was sent is in its file: now it goes, and comes back.
    peer.child.kill().unwrap();
    peer.child.wait().unwrap();
    peer.child = Rsyslogd::run(peer.dir.path());
    let texts: Vec<String> = (0..300).map(|at| format!("number {at}")).collect();
    let more: Vec<Notice> =
        texts.iter().map(|text| Notice::of(stored(Level::Info, "BACKUP", "web1", text))).collect();
    deliver_soon(&mut transfer, &more).await;
    let heard = peer.messages(304);
    let heard: Vec<&str> = heard[4..].iter().map(|one| one["msg"].as_str().unwrap()).collect();
    assert_eq!(heard, texts);
}

#[tokio::test]
async fn rsyslogd_understands_what_comes_over_udp() {
    let dir = tempfile::tempdir().unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let input =
        format!("module(load=\"imudp\")\ninput(type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\")\n");
    let Some(peer) = Rsyslogd::start(&["imudp"], &input) else { return };
    let mut transfer = open(dir.path(), &config(&format!("address = \"udp://127.0.0.1:{port}\""))).unwrap();
    deliver_soon(&mut transfer, &all_sorts()).await;
    assert_understood(&peer.messages(4));
}

#[tokio::test]
async fn rsyslogd_understands_the_older_form_in_lines() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let input =
        format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n");
    let Some(peer) = Rsyslogd::start(&["imtcp"], &input) else { return };
    let keys = format!(
        "address = \"tcp://127.0.0.1:{port}\"\nformat = \"rfc3164\"\nframing = \"newline\"\nfacility = \"local7\""
    );
    let mut transfer = open(dir.path(), &config(&keys)).unwrap();
    deliver_soon(&mut transfer, &[Notice::of(documented())]).await;
    let heard = &peer.messages(1)[0];
    assert_eq!(heard["msg"], " BACKUP_DB error: pg_dump: connection to server failed");
    let fields = ["hostname", "programname", "procid", "syslogfacility", "syslogseverity"];
    assert_eq!(fields.map(|field| heard[field].as_str().unwrap()), ["db1", "hume", "4711", "23", "3"]);
}

#[tokio::test]
async fn rsyslogd_understands_what_comes_over_tls_and_wants_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path(), "ca");
    let (server, server_key) = written(dir.path(), "server", &site.server());
    site.client(dir.path(), "client");
    let port = free_port();
    let input = format!(
        "global(defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"x509/certvalid\")\n\
         input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n",
        site.ca.display(),
        server.display(),
        server_key.display()
    );
    let Some(peer) = Rsyslogd::start(&["imtcp", "lmnsd_gtls"], &input) else { return };
    let trusted = format!("address = \"tls://127.0.0.1:{port}\"\nca = \"ca.pem\"");
    let shown = format!("{trusted}\ncertificate = \"client.crt\"\nkey = \"client.key\"");
    let mut transfer = open(dir.path(), &config(&shown)).unwrap();
    deliver_soon(&mut transfer, &all_sorts()).await;
    assert_understood(&peer.messages(4));
    // Without one, nothing counts as delivered.
    let mut stranger = open(dir.path(), &config(&trusted)).unwrap();
    let batch = notices(&["from a stranger"]);
    let delivery = deliver(&mut stranger, &batch).await;
    assert_eq!(delivery.settled, 0, "{}", peer.said());
    drop(stranger);
    deliver_soon(&mut transfer, &notices(&["last"])).await;
    let heard = peer.messages(5);
    assert_eq!((heard.len(), &heard[4]["msg"]), (5, &"last".into()));
}
