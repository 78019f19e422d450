//! What an agent claims to have delivered lies before all that has not even reached its spool.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use hume_runtime::clock;
use hume_tests::{Agent, Site, process, skip, wait_until};

/// A user with little room.
const USER: u32 = 61_003;
/// Some heartbeats.
const BEATS: Duration = Duration::from_mins(1);

fn now() -> u64 {
    clock::now().as_micros().unsigned_abs() / 1_000_000
}

/// The last claim, in seconds since 1970; 0 before there is one.
fn claim(agent: &Agent) -> u64 {
    agent.metrics().get("hume_agent_watermark_timestamp_seconds").copied().unwrap_or(0)
}

#[test]
fn a_start_that_lies_in_the_drop_folder_is_not_claimed_to_be_at_the_master() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can report as somebody else");
    }
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    agent.configure(|config| {
        let intake = config.entry("intake").or_insert_with(|| toml::Table::new().into());
        intake.as_table_mut().unwrap().insert("user_bytes_per_day".to_owned(), 4000.into());
    });
    agent.start();
    for folder in agent.socket().ancestors().skip(1).take_while(|at| at.starts_with(site.folder().path())) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(agent.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let hume = site.folder().path().join("hume");
    fs::copy(process::program("hume"), &hume).unwrap();
    let report = |words: &[&str]| {
        let mut command = agent.reporting(Command::new(&hume));
        process::run(command.uid(USER).gid(USER).args(words)).ok();
    };
    report(&["-t", "FLOOD", "-m", &"x".repeat(3500)]);
    // Beyond his share: it stays in the folder until the day is over, or the agent is started again.
    report(&["-t", "BACKUP", "-c", "counter-start", "-m", &"x".repeat(1000)]);
    let dropped_at = now();
    assert_eq!(agent.waiting().len(), 1);
    // Everything else goes on, and each heartbeat claims what it may.
    wait_until("a heartbeat claims what came before the file", BEATS, || claim(&agent) >= dropped_at - 2);
    let file = agent.drop_dir().join(&agent.waiting()[0]);
    let long_ago = UNIX_EPOCH + Duration::from_secs(now() - 3600);
    fs::File::open(&file).unwrap().set_modified(long_ago).unwrap();
    wait_until("the next one goes back to it", BEATS, || claim(&agent) < dropped_at - 3000);
    assert_eq!(agent.waiting().len(), 1);
    agent.wait_until_drained(BEATS);
    assert!(claim(&agent) <= dropped_at, "all that is in the spool is at the master, and the file is not");

    assert_eq!(agent.stop(), 0);
    agent.start();
    wait_until("the file is taken", BEATS, || site.master().count(&["-t", "BACKUP"]) == 1);
    wait_until("the claim goes on", BEATS, || claim(&agent) > dropped_at);
}

#[test]
fn while_the_drop_folder_cannot_be_read_nothing_is_claimed() {
    let site = Site::new();
    let agent = site.agent("web1");
    let started_at = now();
    wait_until("the first claim", BEATS, || claim(&agent) >= started_at);
    let (folder, away) = (agent.drop_dir(), site.folder().path().join("away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "in its place").unwrap();
    wait_until("the claim is taken back", BEATS, || claim(&agent) == 0);
    agent.wait_for_log("the drop folder cannot be looked at");
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    wait_until("the claim is made anew", BEATS, || claim(&agent) >= started_at);
}
