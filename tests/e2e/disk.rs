//! Disks in trouble (faults 5 to 8, 11, 12, 14, 37, 38): what was confirmed is at the master once, all is said, and it goes
//! on by itself.
//!
//! A full disk is a small tmpfs of its own, which takes root. A disk that fails is a library between the daemon and the
//! C library, made by `cc`, that lets writes or syncs of the spool fail as a file tells it to.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use hume_tests::disk::Disk;
use hume_tests::events::{json_lines, messages, text};
use hume_tests::{Agent, Output, SOON, Site, process, skip, wait_until};
use serde_json::json;

const EIO: i32 = 5;
const EROFS: i32 = 30;
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The control file says `sync|write ERRNO ONCE`; without it nothing fails. */
static int fails(const char *call, int fd) {
    char text[64], link[64], path[4096], name[32];
    const char *control = getenv("HUME_TEST_FAULT");
    int number, once = 0, file;
    ssize_t length;
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "spool.db")) return 0;
    file = open(control, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    if (sscanf(text, "%31s %d %d", name, &number, &once) < 2 || strcmp(name, call)) return 0;
    if (once) unlink(control);
    errno = number;
    return 1;
}

int fsync(int fd) { return fails("sync", fd) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails("sync", fd) ? -1 : (int)syscall(SYS_fdatasync, fd); }
ssize_t write(int fd, const void *bytes, size_t count) {
    return fails("write", fd) ? -1 : syscall(SYS_write, fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) {
    return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, offset);
}
"#;

/// None, and says so, where this machine does not let its user do that.
fn mount(path: &Path) -> Option<Disk> {
    let disk = Disk::mount(path);
    if disk.is_none() {
        skip("this machine does not allow a tmpfs to be mounted");
    }
    disk
}

/// Lets calls on the spool of an agent fail.
struct Fault {
    control: PathBuf,
}

impl Fault {
    /// None, and says so, without a compiler.
    fn prepare(agent: &Agent) -> Option<Fault> {
        let (source, library) = (agent.dir().join("shim.c"), agent.dir().join("shim.so"));
        fs::write(&source, SHIM).unwrap();
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
        if !made.is_ok_and(|status| status.success()) {
            skip("there is no C compiler for a library that lets calls fail");
            return None;
        }
        let control = agent.dir().join("fault");
        agent.set_variable("LD_PRELOAD", library.to_str().unwrap());
        agent.set_variable("HUME_TEST_FAULT", control.to_str().unwrap());
        Some(Fault { control })
    }

    fn arm(&self, call: &str, errno: i32, times: Times) {
        let once = i32::from(times == Times::Once);
        let aside = self.control.with_extension("new");
        fs::write(&aside, format!("{call} {errno} {once}\n")).unwrap();
        fs::rename(aside, &self.control).unwrap();
    }

    /// True when it has not happened yet.
    fn is_armed(&self) -> bool {
        self.control.exists()
    }

    fn disarm(&self) {
        fs::remove_file(&self.control).unwrap();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    Always,
}

/// An agent whose spool and drop folder are on this disk.
fn move_to(agent: &Agent, disk: &Disk) {
    agent.configure(|toml| {
        for (section, key, name) in [("spool", "dir", "spool"), ("intake", "drop_dir", "drop")] {
            let section = toml.get_mut(section).and_then(toml::Value::as_table_mut).unwrap();
            section.insert(key.to_owned(), disk.path().join(name).to_str().unwrap().into());
        }
    });
}

fn hume(agent: &Agent, disk: &Disk, words: &[&str]) -> Output {
    let mut command = agent.reporting(process::command("hume"));
    process::run(command.env("HUME_DROP_DIR", disk.path().join("drop")).args(words))
}

fn state(agent: &Agent) -> String {
    text(&agent.query_json(&["status"]), "state").to_owned()
}

fn figure(agent: &Agent, name: &str) -> u64 {
    agent.metrics()[name]
}

fn report(agent: &Agent, task: &str, numbers: std::ops::Range<u32>, bytes: usize) {
    let padding = "x".repeat(bytes);
    let lines = numbers.map(|number| json!({"task": task, "message": format!("{number} {padding}")}));
    let answers = agent.socket_lines(json_lines(lines).as_bytes());
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
}

/// The first words of the messages that the master has, each once.
fn at_master(site: &Site, task: &str) -> BTreeSet<String> {
    let events = site.master().query_lines(&["-t", task]);
    let all = messages(&events);
    let once: BTreeSet<String> =
        all.iter().map(|message| message.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(once.len(), all.len(), "something is there twice");
    once
}

#[test]
fn a_full_disk_is_told_what_was_confirmed_is_sent_and_the_agent_goes_on_when_there_is_room() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let Some(disk) = mount(&agent.dir().join("disk")) else { return };
    move_to(&agent, &disk);
    site.master().kill9();
    agent.start();
    report(&agent, "FULL", 0..500, 4000);
    disk.fill().unwrap();
    // What the log has room for is still taken; then the drop folder takes what the ballast held, until that is gone as well.
    let mut confirmed: BTreeSet<String> = (0..500).map(|number| number.to_string()).collect();
    let refused = (500..10_000).find_map(|number| {
        let message = format!("{number} {}", "y".repeat(8000));
        let output = hume(&agent, &disk, &["--strict", "-t", "FULL", "-m", &message]);
        disk.fill().unwrap();
        match output.code {
            Some(0) => {
                confirmed.insert(number.to_string());
                None
            }
            _ => Some(output),
        }
    });
    let refused = refused.expect("a disk that is full takes no event");
    refused.with_code(75);
    assert!(refused.stderr.contains("full") && refused.stderr.contains("drop folder"), "{refused:?}");
    assert!(
        agent.is_running() && state(&agent).contains("the disk of the spool is full"),
        "{}",
        state(&agent)
    );
    assert!(figure(&agent, "hume_agent_spool_refused_total") > 0);
    // Questions are answered, and what is there is sent.
    assert!(agent.count(&["-t", "FULL"]) >= 500);
    site.master().start();
    agent.wait_until_drained(SOON);
    assert!(at_master(&site, "FULL").len() >= 500);
    disk.empty().unwrap();
    wait_until("the agent takes events again", SOON, || {
        agent.submit(&json!({"task": "FULL", "message": "again"}))["ok"] == true
    });
    confirmed.insert("again".to_owned());
    wait_until("it is ready again", SOON, || state(&agent) == "ready");
    assert_eq!(fs::metadata(disk.path().join("spool/ballast")).unwrap().len(), 4 * 1024 * 1024);
    agent.wait_until_drained(SOON);
    wait_until("all that was confirmed is at the master", SOON, || {
        let found = at_master(&site, "FULL");
        confirmed.is_subset(&found)
    });
    // The same after a restart: nothing that was answered was only in memory.
    agent.kill9();
    agent.start();
    agent.wait_until_drained(SOON);
    assert!(confirmed.is_subset(&at_master(&site, "FULL")));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_master_on_a_full_disk_answers_holds_its_sessions_and_catches_up_when_there_is_room() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    let Some(disk) = mount(&site.master().dir().join("disk")) else { return };
    site.master().configure(|toml| {
        let store = toml.get_mut("store").and_then(toml::Value::as_table_mut).unwrap();
        store.insert("path".to_owned(), disk.path().join("store.db").to_str().unwrap().into());
    });
    site.master().start();
    agent.start();
    report(&agent, "FULL", 0..50, 1000);
    agent.wait_until_drained(SOON);
    disk.fill().unwrap();
    report(&agent, "FULL", 50..3000, 8000);
    wait_until("the master says that it is full", SOON, || {
        text(&site.master().query_json(&["status"]), "state").contains("full")
    });
    assert!(site.master().count(&["-t", "FULL"]) >= 50, "questions are answered");
    assert_eq!(agent.state()["state"], "connected");
    disk.empty().unwrap();
    agent.wait_until_drained(SOON);
    assert_eq!(at_master(&site, "FULL").len(), 3000);
    assert_eq!(text(&site.master().query_json(&["status"]), "state"), "ready");
    assert_eq!((agent.stop(), site.master().stop()), (0, 0));
}

#[test]
fn a_sync_that_fails_once_confirms_nothing_and_the_spool_is_repaired_at_once() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let Some(fault) = Fault::prepare(&agent) else { return };
    site.master().kill9();
    agent.start();
    report(&agent, "SYNC", 0..20, 100);
    fault.arm("sync", EIO, Times::Once);
    let line = json!({"id": "019abc00-0000-7000-8000-000000000001", "task": "SYNC", "message": "20"});
    let refused = agent.submit(&line);
    assert_eq!((&refused["ok"], &refused["code"]), (&json!(false), &json!("internal")), "{refused}");
    assert!(!fault.is_armed());
    let taken = agent.submit(&line);
    assert_eq!((&taken["ok"], &taken["seq"]), (&json!(true), &json!(21)), "{taken}");
    assert_eq!(
        (figure(&agent, "hume_agent_spool_repairs_total"), state(&agent).contains("fails")),
        (1, false)
    );
    agent.kill9();
    agent.start();
    assert_eq!(agent.count(&["-t", "SYNC"]), 21);
    site.master().start();
    agent.wait_until_drained(SOON);
    assert_eq!(at_master(&site, "SYNC").len(), 21);
}

#[test]
fn a_disk_that_may_not_be_written_to_is_told_and_the_agent_goes_on_when_it_may() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let Some(fault) = Fault::prepare(&agent) else { return };
    agent.start();
    report(&agent, "READ_ONLY", 0..20, 100);
    agent.wait_until_drained(SOON);
    fault.arm("write", EROFS, Times::Always);
    // Refused, and in the drop folder.
    agent.hume(&["--strict", "-t", "READ_ONLY", "-m", "20"]).ok();
    assert!(agent.is_running() && state(&agent).contains("the disk of the spool fails"), "{}", state(&agent));
    assert_eq!(figure(&agent, "hume_agent_spool_failing"), 1);
    assert_eq!(agent.count(&["-t", "READ_ONLY"]), 20, "questions are answered");
    fault.disarm();
    wait_until("the agent goes on", SOON, || agent.count(&["-t", "READ_ONLY"]) == 21);
    assert_eq!(state(&agent), "ready");
    agent.wait_until_drained(SOON);
    assert_eq!(at_master(&site, "READ_ONLY").len(), 21);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_disk_that_fails_while_the_agent_stops_does_not_hold_it() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    let Some(fault) = Fault::prepare(&agent) else { return };
    agent.be_alone();
    agent.start();
    report(&agent, "STOP", 0..20, 100);
    fault.arm("write", EIO, Times::Always);
    assert_eq!(agent.submit(&json!({"task": "STOP", "message": "20"}))["ok"], false);
    assert_eq!(agent.stop(), 0);
    fault.disarm();
    agent.start();
    assert_eq!(agent.count(&["-t", "STOP"]), 20);
}

/// Names in the folder of the spool that say of what was set aside.
fn set_aside(agent: &Agent) -> usize {
    let names = fs::read_dir(agent.dir().join("state")).unwrap();
    let is_aside = |name: &str| {
        name.starts_with("spool.db.damaged-") && !name.contains("-wal") && !name.contains("-shm")
    };
    names.filter(|entry| is_aside(entry.as_ref().unwrap().file_name().to_str().unwrap())).count()
}

fn spoil(path: &Path, from: u64, bytes: u64) {
    let file = File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0x5a; bytes as usize], from).unwrap();
}

#[test]
fn a_damaged_spool_is_set_aside_and_what_can_be_read_of_it_is_at_the_master() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    site.master().kill9();
    agent.start();
    report(&agent, "DAMAGED", 0..2000, 300);
    assert_eq!(agent.stop(), 0);
    let database = agent.dir().join("state/spool.db");
    let bytes = fs::metadata(&database).unwrap().len();
    spoil(&database, bytes / 2 / 4096 * 4096, 4 * 4096);
    agent.start();
    let said = state(&agent);
    assert!(said.contains("1 damaged spools lie beside"), "{said}");
    let (saved, lost) =
        (figure(&agent, "hume_agent_spool_saved_total"), figure(&agent, "hume_agent_spool_unreadable_total"));
    assert!(saved + lost == 2000 && saved > 1500, "{saved} saved, {lost} lost");
    agent.hume(&["--strict", "-t", "DAMAGED", "-m", "after"]).ok();
    site.master().start();
    agent.wait_until_drained(SOON);
    let found = at_master(&site, "DAMAGED");
    assert_eq!((found.len() as u64, found.contains("after")), (saved + 1, true));
    assert_eq!(set_aside(&agent), 1);
    // Once more: a header that is none.
    assert_eq!(agent.stop(), 0);
    spoil(&database, 0, 100);
    agent.start();
    agent.hume(&["--strict", "-t", "DAMAGED", "-m", "again"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!((at_master(&site, "DAMAGED").len() as u64, set_aside(&agent)), (saved + 2, 2));
}

#[test]
fn a_spool_that_is_removed_while_the_agent_runs_comes_again_with_all_it_had() {
    let site = Site::new();
    let agent = site.agent("web1");
    report(&agent, "REMOVED", 0..200, 100);
    for name in ["spool.db", "spool.db-wal", "spool.db-shm"] {
        fs::remove_file(agent.dir().join("state").join(name)).unwrap();
    }
    wait_until("it takes events again", SOON, || {
        agent.submit(&json!({"task": "REMOVED", "message": "after"}))["ok"] == true
    });
    assert!(agent.log().contains("its file is gone"), "it is said");
    agent.wait_until_drained(SOON);
    let found = at_master(&site, "REMOVED");
    let expected: BTreeSet<String> =
        (0..200).map(|number| number.to_string()).chain(["after".to_owned()]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_damaged_store_is_not_used_and_the_agents_keep_what_they_have() {
    let site = Site::new();
    let agent = site.agent("web1");
    report(&agent, "STORE", 0..500, 300);
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().stop(), 0);
    let store = site.master().dir().join("state/store.db");
    spoil(&store, 4096 * 8, 4096 * 4);
    site.master().spawn();
    let code = hume_tests::wait_for("the master has ended", SOON, || site.master().ended()).code();
    assert_eq!(code, Some(74), "{}", site.master().log());
    assert!(site.master().log().contains("humed-master restore"), "{}", site.master().log());
    report(&agent, "STORE", 500..510, 300);
    assert_eq!(agent.count(&["-t", "STORE"]), 510);
}

#[test]
fn a_spool_in_which_the_oldest_give_way_tells_the_master_what_is_missing() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    agent.configure(|toml| {
        let spool = toml.get_mut("spool").and_then(toml::Value::as_table_mut).unwrap();
        spool.insert("when_full".to_owned(), "evict".into());
        spool.insert("bytes_max".to_owned(), (4 * 1024 * 1024).into());
    });
    site.master().kill9();
    agent.start();
    // Refused ones are tried again, as the drop folder would.
    for number in 0..3000 {
        let line = json!({"task": "EVICT", "message": format!("{number} {}", "x".repeat(4000))});
        wait_until("it is taken", SOON, || agent.submit(&line)["ok"] == true);
    }
    let evicted = figure(&agent, "hume_agent_spool_evicted_total");
    assert!(evicted > 500, "{evicted}");
    site.master().start();
    agent.wait_until_drained(SOON);
    let found = at_master(&site, "EVICT");
    let expected: BTreeSet<String> = (evicted..3000).map(|number| number.to_string()).collect();
    assert_eq!(found, expected, "the newest, and no hole");
}
