//! Tasks that are reserved: who is not named is refused at the socket and in the drop folder, and nothing of it is stored.

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

/// An agent with one rule, in folders that other users can enter, and a `hume` that they can run.
fn agent_with_a_rule(site: &Site) -> (Agent, PathBuf) {
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.configure(|config| {
        let rule = format!("[[allow]]\ntasks = [\"BACKUP*\"]\nusers = [{NAMED}]");
        let rule = toml::from_str::<toml::Table>(&rule).unwrap();
        let intake = config.entry("intake").or_insert_with(|| toml::Table::new().into());
        intake.as_table_mut().expect("a table").extend(rule);
    });
    agent.start();
    let socket = agent.socket();
    let way_to_socket =
        socket.ancestors().skip(1).take_while(|folder| folder.starts_with(site.folder().path()));
    way_to_socket.for_each(|folder| let_others_in(folder, 0o755));
    let_others_in(agent.dir(), 0o755);
    let hume = site.folder().path().join("hume");
    fs::copy(process::program("hume"), &hume).unwrap();
    (agent, hume)
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
    agent.configure(|config| {
        let rule = toml::from_str::<toml::Table>("[[allow]]\nusers = [\"no-such-user\"]").unwrap();
        let intake = config.entry("intake").or_insert_with(|| toml::Table::new().into());
        intake.as_table_mut().expect("a table").extend(rule);
    });
    let checked =
        process::run(process::command("humed-agent").args(["check-config", "--config"]).arg(agent.config()));
    checked.with_code(78);
    let words = "intake.allow: this host knows no user \"no-such-user\"";
    assert!(checked.stderr.contains(words), "{}", checked.stderr);
}
