//! Against sockets of the test, and against journald and rsyslogd where this machine has them.

use std::io::{IoSliceMut, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram as Peer;
use std::process::{Child, Command, Stdio};

use hume_core::{HostName, Level};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};

use super::*;
use crate::kinds::rsyslog::tests::{Rsyslogd, deliver_soon};
use crate::net::peer::{LOOK_EVERY, SOON};
use crate::options::TransferName;
use crate::syslog_text::tests::{digest_notice, parse, run_notice};
use crate::testing::{assert_documented, documented, open, skip, stored};

fn config(keys: &str) -> String {
    format!("[transfer.local.syslog]\njournal_socket = \"journal\"\nsocket = \"log\"\n{keys}\n")
}

fn peer(dir: &Path, name: &str) -> Peer {
    let peer = Peer::bind(dir.join(name)).unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    peer
}

fn heard(peer: &Peer) -> Vec<u8> {
    let mut buffer = vec![0; 256 * 1024];
    let bytes = peer.recv(&mut buffer).unwrap();
    buffer.truncate(bytes);
    buffer
}

async fn deliver(transfer: &mut Box<dyn Transfer>, batch: &[Notice]) -> Delivery {
    transfer.deliver(batch, &mut Trail::silent()).await
}

/// Reads an entry by journald's own description of its protocol.
fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
        let (line, rest) = (std::str::from_utf8(&entry[..end]).unwrap(), &entry[end + 1..]);
        let (name, value) = if let Some((name, value)) = line.split_once('=') {
            entry = rest;
            (name, value.to_owned())
        } else {
            let (length, rest) = rest.split_at(8);
            let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
            assert_eq!(rest[length], b'\n');
            entry = &rest[length + 1..];
            (line, String::from_utf8(rest[..length].to_vec()).unwrap())
        };
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.len() <= 64 && !name.starts_with('_') && name.bytes().all(is_name), "{name}");
        fields.push((name.to_owned(), value));
    }
    fields
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test]
async fn journald_gets_every_fact_as_a_field() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _log) = (peer(dir.path(), "journal"), peer(dir.path(), "log"));
    let mut transfer = open(dir.path(), &config("")).unwrap();
    let batch = [Notice::of(documented()), run_notice(), digest_notice()];
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    let entry = heard(&journal);
    assert_documented(std::str::from_utf8(&entry).unwrap());
    let event = fields(&entry);
    for (name, expected) in [
        ("MESSAGE", &["pg_dump: connection to server failed"][..]),
        ("PRIORITY", &["3"]),
        ("SYSLOG_IDENTIFIER", &["hume"]),
        ("HUME_TASK", &["BACKUP_DB"]),
        ("HUME_HOST", &["db1"]),
        ("HUME_LEVEL", &["error"]),
        ("HUME_TAG", &["backup", "nightly"]),
        ("HUME_EXTRA_DATABASE", &["shop"]),
    ] {
        assert_eq!(values(&event, name), expected, "{name}");
    }
    let run = fields(&heard(&journal));
    assert_eq!(values(&run, "MESSAGE"), ["BACKUP on db1: failed, ended after 3m 5s: disk full"]);
    assert_eq!((values(&run, "HUME_RUN_STATUS"), values(&run, "HUME_VIA")), (vec!["failed"], vec!["relay1"]));
    let digest = fields(&heard(&journal));
    assert_eq!(values(&digest, "MESSAGE"), ["+40 more from db1"]);
    assert_eq!(values(&digest, "HUME_DIGEST_COUNT"), ["40"]);
}

#[tokio::test]
async fn values_with_line_breaks_and_names_of_any_kind_reach_journald_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = peer(dir.path(), "journal");
    let mut transfer = open(dir.path(), &config("to = \"journal\"")).unwrap();
    let mut event = stored(Level::Warning, "ümlaut", "web1", "one\ntwo=3\n\n");
    let long = "k".repeat(100);
    event.event.extra = [("a b=ü", "x\ny"), (long.as_str(), ""), ("_", "=\n")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    let batch = [Notice::of(event)];
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    let told = fields(&heard(&journal));
    assert_eq!(values(&told, "MESSAGE"), ["one\ntwo=3\n\n"]);
    assert_eq!(values(&told, "HUME_EXTRA_A_B__"), ["x\ny"]);
    assert_eq!(values(&told, "HUME_EXTRA__"), ["=\n"]);
    assert_eq!(values(&told, &format!("HUME_EXTRA_{}", "K".repeat(53))), [""]);
}

fn bare(dir: &Path, keys: &str) -> Local {
    #[derive(Deserialize)]
    struct Whole {
        syslog: Options,
    }
    let text = config(keys).replace("[transfer.local.syslog]", "[syslog]");
    let whole: Whole = toml::from_str(&text).unwrap();
    let (name, host) = (TransferName::parse("local").unwrap(), HostName::parse("web1").unwrap());
    let file = dir.join("agent.toml");
    let setting = Setting { name: &name, config_file: &file, host: &host, program: "humed-agent" };
    local(&whole.syslog, &setting).unwrap()
}

#[tokio::test]
async fn an_entry_that_is_too_large_for_a_datagram_comes_in_a_sealed_file() {
    let dir = tempfile::tempdir().unwrap();
    let journal = peer(dir.path(), "journal");
    let mut transfer = bare(dir.path(), "");
    let (door, socket) = transfer.connect(&mut Trail::silent()).unwrap();
    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
    transfer.open = Some((door, socket));
    let text = "long ".repeat(3000);
    let batch = [Notice::of(stored(Level::Info, "BACKUP", "web1", &text))];
    assert_eq!(transfer.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&journal, &mut [IoSliceMut::new(&mut [0; 16])], &mut attached, RecvFlags::empty());
    assert_eq!(received.unwrap().bytes, 0);
    let mut files = attached.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let mut file = std::fs::File::from(files.next().unwrap().next().unwrap());
    assert!(file.set_len(0).is_err(), "it is sealed");
    let mut entry = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut entry).unwrap();
    assert_eq!(values(&fields(&entry), "MESSAGE"), [text]);
}

#[tokio::test]
async fn without_journald_the_other_daemon_gets_lines_of_either_form() {
    let dir = tempfile::tempdir().unwrap();
    let log = peer(dir.path(), "log");
    let mut event = stored(Level::Ok, "BACKUP", "web1", &"ü".repeat(10_000));
    event.event.process.pid = Some(7);
    let batch = [Notice::of(documented()), Notice::of(event)];
    let mut transfer = open(dir.path(), &config("facility = \"local0\"")).unwrap();
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    let text = String::from_utf8(heard(&log)).unwrap();
    assert!(text.starts_with("<131>Nov 24 "), "{text}");
    assert!(text.ends_with(" hume[4711]: BACKUP_DB error: pg_dump: connection to server failed"), "{text}");
    let cut = String::from_utf8(heard(&log)).unwrap();
    assert!(cut.len() <= 8192 && cut.ends_with("ü [cut, 20011 bytes in all]"), "{cut}");
    let mut transfer = open(dir.path(), &config("to = \"socket\"\nformat = \"rfc5424\"")).unwrap();
    assert_eq!(deliver(&mut transfer, &batch[..1]).await, Delivery::all(&batch[..1]));
    let text = String::from_utf8(heard(&log)).unwrap();
    assert_eq!(parse(&text).unwrap().values("hume@32473", "task"), ["BACKUP_DB"]);
}

#[tokio::test]
async fn a_daemon_that_is_away_is_told_by_its_socket_and_one_that_came_back_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut transfer = open(dir.path(), &config("")).unwrap();
    let batch = [Notice::of(documented())];
    let delivery = deliver(&mut transfer, &batch).await;
    let Delivery { settled: 0, trouble: Some(Trouble::Later { reason, after: None }) } = delivery else {
        panic!("{delivery:?}");
    };
    assert!(reason.contains("journal: ") && reason.contains("log: No such file"), "{reason}");
    let journal = peer(dir.path(), "journal");
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    heard(&journal);
    drop(journal);
    std::fs::remove_file(dir.path().join("journal")).unwrap();
    let journal = peer(dir.path(), "journal");
    assert_eq!(deliver(&mut transfer, &batch).await, Delivery::all(&batch));
    assert_eq!(values(&fields(&heard(&journal)), "HUME_TASK"), ["BACKUP_DB"]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_reads_nothing_is_given_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let _deaf = peer(dir.path(), "log");
    let mut transfer = open(dir.path(), &config("")).unwrap();
    // More than any queue of datagrams holds.
    let batch = vec![Notice::of(documented()); 5000];
    let delivery = deliver(&mut transfer, &batch).await;
    assert!(delivery.settled < 5000);
    let reason = delivery.trouble.as_ref().unwrap().reason();
    assert!(reason.ends_with("log: the daemon did not take it in time"), "{reason}");
}

#[tokio::test]
async fn rsyslogd_understands_what_comes_through_its_local_socket() {
    let input = "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
                 input(type=\"imuxsock\" Socket=\"DIR/log\" useSysTimeStamp=\"off\")\n\
                 input(type=\"imuxsock\" Socket=\"DIR/log5424\" useSpecialParser=\"off\" parseHostname=\"on\")\n";
    let Some(daemon) = Rsyslogd::start(&["imuxsock"], input) else { return };
    let batch = [Notice::of(documented())];
    let folder = daemon.folder().to_owned();
    let mut transfer = open(&folder, &config("")).unwrap();
    deliver_soon(&mut transfer, &batch).await;
    let told = &daemon.messages(1)[0];
    assert_eq!(told["msg"], " BACKUP_DB error: pg_dump: connection to server failed");
    let header = ["programname", "procid", "syslogfacility", "syslogseverity"];
    assert_eq!(header.map(|field| told[field].as_str().unwrap()), ["hume", "4711", "3", "3"]);
    let keys = config("format = \"rfc5424\"").replace("\"log\"", "\"log5424\"");
    let mut transfer = open(&folder, &keys).unwrap();
    deliver_soon(&mut transfer, &batch).await;
    let told = &daemon.messages(2)[1];
    assert_eq!(
        (&told["msg"], &told["msgid"]),
        (&"pg_dump: connection to server failed".into(), &"BACKUP_DB".into())
    );
}

/// journald with a `/run` of its own, in a mount namespace of its own; it ends with the value.
struct Journald {
    child: Child,
    dir: tempfile::TempDir,
}

impl Journald {
    /// None if this machine has none, or lets us make no namespace, which is told.
    fn start() -> Option<Journald> {
        let places = ["/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-journald"];
        let program = places.iter().find(|path| Path::new(path).exists());
        let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
        let has_id = std::fs::read_to_string("/etc/machine-id").is_ok_and(|id| id.trim().len() == 32);
        let (Some(program), true, true) = (program, may.is_ok_and(|status| status.success()), has_id) else {
            skip("there is no journald, or no mount namespace to run it in");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let settings = dir.path().join("run/systemd/journald.conf.d");
        std::fs::create_dir_all(&settings).unwrap();
        std::fs::write(
            settings.join("test.conf"),
            "[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nRateLimitBurst=0\n",
        )
        .unwrap();
        let run = dir.path().join("run");
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", "mount --bind \"$1\" /run && exec \"$2\"", "sh"])
            .args([run.as_os_str(), program.as_ref()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Journald { child, dir })
    }

    /// What `journalctl` finds, as soon as there are `count` entries.
    fn find(&self, what: &str, count: usize) -> Vec<serde_json::Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let found = Command::new("journalctl")
                .args(["--no-pager", "-q", "-a", "-o", "json", "-D"])
                .arg(self.dir.path().join("run/log/journal"))
                .arg(what)
                .output()
                .unwrap();
            let text = String::from_utf8(found.stdout).unwrap();
            if text.lines().count() >= count {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(Instant::now() < deadline, "{text} {}", String::from_utf8_lossy(&found.stderr));
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn journalctl_finds_an_event_by_its_task_and_shows_every_field() {
    let Some(journald) = Journald::start() else { return };
    let socket = journald.dir.path().join("run/systemd/journal/socket");
    let dir = tempfile::tempdir().unwrap();
    let keys =
        format!("[transfer.local.syslog]\nto = \"journal\"\njournal_socket = \"{}\"\n", socket.display());
    let mut transfer = open(dir.path(), &keys).unwrap();
    let mut large = stored(Level::Info, "OTHER", "web1", "one\ntwo");
    large.event.extra = vec![("note".to_owned(), "n".repeat(30_000))];
    deliver_soon(&mut transfer, &[Notice::of(documented()), Notice::of(large)]).await;
    let found = journald.find("HUME_TASK=BACKUP_DB", 1);
    for (field, value) in [
        ("MESSAGE", "pg_dump: connection to server failed"),
        ("PRIORITY", "3"),
        ("SYSLOG_IDENTIFIER", "hume"),
        ("SYSLOG_FACILITY", "3"),
        ("HUME_HOST", "db1"),
        ("HUME_EXTRA_DATABASE", "shop"),
    ] {
        assert_eq!(found[0][field], value, "{field}");
    }
    assert_eq!(found[0]["HUME_TAG"], serde_json::json!(["backup", "nightly"]));
    let found = journald.find("HUME_TASK=OTHER", 1);
    assert_eq!(
        (&found[0]["MESSAGE"], &found[0]["HUME_EXTRA_NOTE"]),
        (&"one\ntwo".into(), &"n".repeat(30_000).into())
    );
    // One that has no room in a datagram.
    let mut transfer = bare(dir.path(), "").with_doors(vec![Door::Journal(socket)]);
    let (door, socket) = transfer.connect(&mut Trail::silent()).unwrap();
    sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
    transfer.open = Some((door, socket));
    let batch = [Notice::of(stored(Level::Info, "LARGE", "web1", &"l".repeat(15_000)))];
    assert_eq!(transfer.deliver(&batch, &mut Trail::silent()).await, Delivery::all(&batch));
    assert_eq!(journald.find("HUME_TASK=LARGE", 1)[0]["MESSAGE"], "l".repeat(15_000));
}

impl Local {
    fn with_doors(self, doors: Vec<Door>) -> Local {
        Local { doors, ..self }
    }
}
