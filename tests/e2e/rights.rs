//! Users of a host: tasks that are reserved, who gets in at all, how much each may report, and what is left for root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hume_tests::{Agent, Output, SOON, Site, process, skip, wait_until};

/// A user that no rule names, and one that a rule names.
const STRANGER: u32 = 61_001;
const NAMED: u32 = 61_002;

fn let_others_in(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

/// Adds keys to the section `[intake]`.
fn configure_intake(agent: &Agent, keys: &str) {
    agent.configure(|config| {
        let intake = config.entry("intake").or_insert_with(|| toml::Table::new().into());
        intake.as_table_mut().expect("a table").extend(toml::from_str::<toml::Table>(keys).unwrap());
    });
}

fn agent_with_a_rule(site: &Site) -> (Agent, PathBuf) {
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    configure_intake(&agent, &format!("[[allow]]\ntasks = [\"BACKUP*\"]\nusers = [{NAMED}]"));
    let hume = start_for_all(site, &agent);
    (agent, hume)
}

/// Starts the agent in folders that other users can enter, and gives a `hume` that they can run.
fn start_for_all(site: &Site, agent: &Agent) -> PathBuf {
    agent.start();
    let socket = agent.socket();
    let way_to_socket =
        socket.ancestors().skip(1).take_while(|folder| folder.starts_with(site.folder().path()));
    way_to_socket.for_each(|folder| let_others_in(folder, 0o755));
    let_others_in(agent.dir(), 0o755);
    let hume = site.folder().path().join("hume");
    fs::copy(process::program("hume"), &hume).unwrap();
    hume
}

fn hume_as(agent: &Agent, hume: &Path, uid: u32, words: &[&str]) -> Output {
    let mut command = agent.reporting(Command::new(hume));
    process::run(command.uid(uid).gid(uid).args(words))
}

#[test]
fn a_reserved_task_is_refused_to_strangers_and_taken_from_those_who_are_named() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can report as somebody else");
    }
    let site = Site::without_master();
    let (agent, hume) = agent_with_a_rule(&site);
    let refused = hume_as(&agent, &hume, STRANGER, &["--strict", "-t", "BACKUP_DB", "-m", "forged"]);
    refused.with_code(77);
    let words =
        "task \"BACKUP_DB\" is reserved, and user (uid 61001) is not among those whom [[intake.allow]] names";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    // A script goes on, and is told.
    let lenient = hume_as(&agent, &hume, STRANGER, &["-t", "BACKUP_DB", "-m", "forged"]);
    assert!(lenient.ok().stderr.contains("is reserved"), "{}", lenient.stderr);
    hume_as(&agent, &hume, STRANGER, &["--strict", "-t", "UPDATE", "-m", "own"]).ok();
    hume_as(&agent, &hume, NAMED, &["--strict", "-t", "BACKUP_DB", "-m", "true"]).ok();
    agent.hume(&["--strict", "-t", "BACKUP_DB", "-m", "root"]).ok();
    assert_eq!((agent.count(&["-t", "BACKUP_DB"]), agent.count(&["-t", "UPDATE"])), (2, 1));
    let metrics = agent.get("/metrics").body;
    assert!(metrics.contains("{reason=\"denied\"} 2"), "{metrics}");
    assert_eq!(agent.waiting(), [] as [String; 0], "what is denied never goes to the folder");
}

#[test]
fn a_file_of_a_stranger_for_a_reserved_task_is_set_aside() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can report as somebody else");
    }
    let site = Site::without_master();
    let (agent, hume) = agent_with_a_rule(&site);
    assert_eq!(agent.stop(), 0);
    for (uid, message) in [(STRANGER, "forged"), (NAMED, "true")] {
        hume_as(&agent, &hume, uid, &["-t", "BACKUP_DB", "-m", message]).ok();
    }
    assert_eq!(agent.waiting().len(), 2);
    agent.start();
    wait_until("the one is taken", SOON, || agent.count(&["-t", "BACKUP_DB"]) == 1);
    let aside = fs::read_dir(agent.drop_dir().join("rejected")).unwrap().count();
    assert_eq!((aside, agent.waiting().len()), (1, 0));
}

#[test]
fn a_rule_for_somebody_whom_this_host_does_not_know_is_told_by_check_config() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    configure_intake(&agent, "[[allow]]\nusers = [\"no-such-user\"]");
    let checked =
        process::run(process::command("humed-agent").args(["check-config", "--config"]).arg(agent.config()));
    checked.with_code(78);
    let words = "intake.allow: this host knows no user \"no-such-user\"";
    assert!(checked.stderr.contains(words), "{}", checked.stderr);
}

/// How often something was refused for this reason.
fn refused(agent: &Agent, reason: &str) -> u64 {
    let name = format!("hume_agent_events_refused_total{{reason=\"{reason}\"}}");
    agent.metrics().get(&name).copied().unwrap_or(0)
}

#[test]
fn mode_and_group_of_the_socket_say_who_may_report_and_the_drop_folder_follows() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can report as somebody else");
    }
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    configure_intake(&agent, &format!("socket_mode = \"0660\"\nsocket_group = {NAMED}"));
    let hume = start_for_all(&site, &agent);
    hume_as(&agent, &hume, NAMED, &["--strict", "-t", "OWN", "-m", "hi"]).ok();
    let shut_out = hume_as(&agent, &hume, STRANGER, &["--strict", "-t", "OWN", "-m", "hi"]);
    shut_out.with_code(69);
    assert!(shut_out.stderr.contains("nothing stored"), "{}", shut_out.stderr);
    assert_eq!(agent.stop(), 0);
    // Nor by the folder, where those of the group go meanwhile.
    hume_as(&agent, &hume, STRANGER, &["--strict", "-t", "OWN", "-m", "hi"]).with_code(69);
    hume_as(&agent, &hume, NAMED, &["--strict", "-t", "OWN", "-m", "later"]).ok();
    assert_eq!(agent.waiting().len(), 1);
    agent.start();
    wait_until("the file is taken", SOON, || agent.count(&["-t", "OWN"]) == 2);
}

#[test]
fn a_token_that_is_asked_for_must_be_shown_at_the_socket_and_is_written_nowhere() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    fs::write(agent.dir().join("intake.token"), "hunter2-hunter2\n").unwrap();
    configure_intake(&agent, "auth_token = { file = \"intake.token\" }");
    agent.start();
    for words in [&["--strict", "-m", "hi"][..], &["--strict", "-m", "hi", "--auth-token", "hunter2"]] {
        let refused = agent.hume(words);
        refused.with_code(77);
        assert!(refused.stderr.contains("asks for a token"), "{}", refused.stderr);
    }
    let mut command = agent.reporting(process::command("hume"));
    process::run(command.env("HUME_TOKEN", "hunter2-hunter2").args(["--strict", "-m", "let in"])).ok();
    let answer = agent.submit(&serde_json::json!({"message": "hi", "token": "wrong"}));
    assert_eq!((&answer["code"], &answer["field"]), (&"denied".into(), &"token".into()));
    assert_eq!((agent.count(&[]), refused(&agent, "denied"), agent.waiting().len()), (1, 3, 0));
    // A file has an owner instead.
    assert_eq!(agent.stop(), 0);
    let mut command = agent.reporting(process::command("hume"));
    process::run(command.env("HUME_TOKEN", "hunter2-hunter2").args(["--strict", "-m", "by the folder"])).ok();
    let file = fs::read_to_string(agent.drop_dir().join(&agent.waiting()[0])).unwrap();
    agent.start();
    wait_until("the file is taken", SOON, || agent.count(&[]) == 2);
    assert!(![file, agent.log()].concat().contains("hunter2"));
}

#[test]
fn who_reports_more_than_his_share_waits_in_the_drop_folder_and_nobody_with_him() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can report as somebody else");
    }
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    configure_intake(&agent, "user_events_per_minute = 20\nuser_bytes_per_day = 100000");
    let hume = start_for_all(&site, &agent);
    // One comes back every three seconds: on a slow machine some more go through.
    let mut taken = 0;
    let over = loop {
        let one = hume_as(&agent, &hume, STRANGER, &["--strict", "--verbose", "-t", "FLOOD", "-m", "x"]);
        if one.ok().stderr.contains("drop folder") {
            break one;
        }
        taken += 1;
    };
    let words = "this user has reported 20 events within a minute";
    assert!(taken >= 20 && over.stderr.contains(words), "{taken} {}", over.stderr);
    assert_eq!(refused(&agent, "rate"), 1);
    // The others, and root, go on beside the file that waits; runs that end are told.
    hume_as(&agent, &hume, NAMED, &["--strict", "-t", "OTHER", "-m", "x"]).ok();
    for _ in 0..10 {
        agent.hume(&["--strict", "-t", "ROOT", "-m", "x"]).ok();
    }
    let script = agent.script("killed.sh", "hume -t KILLED -c counter-start -m begin\nkill -9 $$\n");
    process::run(&mut agent.shell(&["bash", &script]));
    wait_until("the end of a run is told", SOON, || agent.count(&["-t", "KILLED", "--kind", "all"]) == 2);
    assert_eq!(agent.count(&["-t", "ROOT"]), 10);
    wait_until("the file is taken", SOON, || agent.count(&["-t", "FLOOD"]) == taken + 1);
    let large = "x".repeat(16_000);
    let answers = (0..10).map(|_| hume_as(&agent, &hume, NAMED, &["--verbose", "-t", "OTHER", "-m", &large]));
    assert!(answers.filter(|answer| answer.stderr.contains("drop folder")).count() == 4);
}

#[test]
fn when_the_spool_is_pressed_what_is_left_is_for_root() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can report as somebody else");
    }
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.configure(|config| {
        let spool = config.get_mut("spool").and_then(toml::Value::as_table_mut).expect("a section");
        spool.insert("bytes_max".to_owned(), 1_000_000.into());
    });
    let hume = start_for_all(&site, &agent);
    let line = format!("{{\"task\":\"BACKLOG\",\"message\":\"{}\"}}\n", "x".repeat(4000));
    let is_reserved = || agent.metrics().get("hume_agent_spool_reserved") == Some(&1);
    while !is_reserved() {
        let answers = agent.socket_lines(line.repeat(3).as_bytes());
        assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    }
    let refusal = hume_as(&agent, &hume, STRANGER, &["--strict", "--verbose", "-t", "OTHER", "-m", "x"]);
    let words = "the spool is nearly full: what is left is for root";
    assert!(
        refusal.ok().stderr.contains(words) && refusal.stderr.contains("drop folder"),
        "{}",
        refusal.stderr
    );
    assert_eq!((refused(&agent, "reserve"), agent.count(&["-t", "OTHER"]), agent.waiting().len()), (1, 0, 1));
    agent.hume(&["--strict", "-t", "ROOT", "-m", "x"]).ok();
    assert_eq!((agent.count(&["-t", "ROOT"]), agent.waiting().len()), (1, 1));
    let status = agent.query(&["status"]).stdout;
    assert!(status.contains("what is left is for root"), "{status}");
}
