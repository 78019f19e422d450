//! The units under packaging/systemd: they agree with the programs, systemd takes them, and they give little away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use hume_tests::process::{self, Output};
use hume_tests::{Folder, skip};

/// `systemd-analyze security` may say so much, in tenths.
const EXPOSURE_MAX: u32 = 20;
/// What would hide from the agent who reports.
const NOT_FOR_THE_AGENT: [&str; 4] = ["ProtectProc", "ProcSubset", "PrivateUsers", "PrivatePIDs"];

/// The settings of a unit, by `Section.Key`, in their order.
type Unit = BTreeMap<String, Vec<String>>;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn packaged(name: &str) -> String {
    fs::read_to_string(workspace().join("packaging/systemd").join(name)).unwrap()
}

fn unit(name: &str) -> Unit {
    let mut section = String::new();
    let mut unit = Unit::new();
    for line in
        packaged(name).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else {
            let (key, value) = line.split_once('=').unwrap();
            unit.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
        }
    }
    unit
}

fn one<'a>(unit: &'a Unit, key: &str) -> &'a str {
    match unit.get(key).map(Vec::as_slice) {
        Some([value]) => value,
        other => unreachable!("{key} is {other:?}"),
    }
}

/// A default of a daemon, as its example says it; a test of the daemon holds the two together.
fn default_of(example: &str, key: &str) -> PathBuf {
    let text = fs::read_to_string(workspace().join(example)).unwrap();
    let lines = text.lines().filter_map(|line| line.trim_start_matches(['#', ' ']).split_once(" = "));
    let mut values =
        lines.filter(|(found, _)| *found == key).map(|(_, value)| value.trim_matches('"').into());
    values.next().unwrap()
}

const AGENT: &str = "humed-agent/agent.example.toml";
const MASTER: &str = "humed-master/master.example.toml";

/// The lines of a tmpfiles.d file, by path: type, mode, user, group.
fn tmpfiles() -> BTreeMap<String, Vec<String>> {
    let text = packaged("tmpfiles.d/humed-agent.conf");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.map(|mut words| (words.remove(1), words)).collect()
}

#[test]
fn the_units_start_the_programs_with_flags_and_files_that_they_know() {
    for program in ["humed-agent", "humed-master"] {
        let unit = unit(&format!("{program}.service"));
        let start: Vec<&str> = one(&unit, "Service.ExecStart").split(' ').collect();
        let [path, flag, config] = start[..] else { unreachable!("{start:?}") };
        assert_eq!(Path::new(path).file_name().unwrap(), program);
        let help = process::run(process::command(program).arg("--help"));
        assert!(help.ok().stdout.contains(&format!("{flag} <FILE>")), "{help:#?}");
        assert!(help.stdout.contains(&format!("[default: {config}]")), "{help:#?}");
        assert_eq!(one(&unit, "Service.Type"), "notify");
        // Both are ended by SIGHUP unless they catch it, and both do.
        assert_eq!(one(&unit, "Service.ExecReload"), "/bin/kill -HUP $MAINPID");
        assert!(help.stdout.contains("SIGHUP"));
        for code in one(&unit, "Service.RestartPreventExitStatus").split(' ') {
            assert!(help.stdout.contains(&format!("\n  {code}  ")), "{program} never ends with {code}");
        }
        let wants = |key: &str| one(&unit, key).trim_end_matches("min").parse::<u64>().unwrap() * 60;
        // Half of it, and at most three wake-ups each: docs/PERFORMANCE.md has what is left of 30 a minute.
        assert!(wants("Service.WatchdogSec") >= 180);
    }
}

#[test]
fn the_units_give_the_daemons_the_folders_that_they_use_by_default() {
    let (agent, socket, master) =
        (unit("humed-agent.service"), unit("humed-agent.socket"), unit("humed-master.service"));
    let folder = |base: &str, unit: &Unit, key: &str| Path::new(base).join(one(unit, key));
    assert_eq!(default_of(AGENT, "dir"), folder("/var/lib", &agent, "Service.StateDirectory"));
    let store = default_of(MASTER, "path");
    assert_eq!(store.parent().unwrap(), folder("/var/lib", &master, "Service.StateDirectory"));
    let run = folder("/run", &agent, "Service.RuntimeDirectory");
    let (door, api) =
        (PathBuf::from(one(&socket, "Socket.ListenStream")), PathBuf::from("/run/hume/api.sock"));
    assert_eq!((door.parent(), api.parent()), (Some(run.as_path()), Some(run.as_path())));
    let example = fs::read_to_string(workspace().join(AGENT)).unwrap();
    for path in [&door, &api] {
        assert!(example.contains(&format!("# socket = \"{}\"", path.display())), "{}", path.display());
    }
    let asks = default_of(MASTER, "socket");
    assert_eq!(asks.parent().unwrap(), folder("/run", &master, "Service.RuntimeDirectory"));
    for (unit, config) in [(&agent, "/etc/hume/agent.toml"), (&master, "/etc/hume/master.toml")] {
        let configuration = folder("/etc", unit, "Service.ConfigurationDirectory");
        assert_eq!(Path::new(config).parent().unwrap(), configuration);
    }
    let tmpfiles = tmpfiles();
    let drop = default_of(AGENT, "drop_dir");
    assert_eq!(tmpfiles[drop.to_str().unwrap()], ["d", "3777", "hume", "hume", "-"]);
    let may_write = one(&agent, "Service.ReadWritePaths").trim_start_matches('-');
    assert!(drop.starts_with(may_write) && tmpfiles.contains_key(may_write));
    assert!(tmpfiles.contains_key(run.to_str().unwrap()));
    // The agent removes it not when it ends: the socket is in it.
    assert_eq!(one(&agent, "Service.RuntimeDirectoryPreserve"), "yes");
}

#[test]
fn the_units_run_as_users_that_sysusers_makes_and_the_agent_sees_who_reports() {
    for (program, user) in [("humed-agent", "hume"), ("humed-master", "hume-master")] {
        let unit = unit(&format!("{program}.service"));
        assert_eq!((one(&unit, "Service.User"), one(&unit, "Service.Group")), (user, user));
        let users = packaged(&format!("sysusers.d/{program}.conf"));
        assert!(users.lines().any(|line| line.starts_with(&format!("u {user} - "))), "{users}");
    }
    let (agent, socket) = (unit("humed-agent.service"), unit("humed-agent.socket"));
    for key in NOT_FOR_THE_AGENT {
        assert!(!agent.contains_key(&format!("Service.{key}")), "{key}");
    }
    assert_eq!(
        (one(&socket, "Socket.SocketMode"), one(&socket, "Socket.FileDescriptorName")),
        ("0666", "hume")
    );
    assert_eq!(one(&agent, "Unit.Requires"), "humed-agent.socket");
}

/// Runs a program of systemd's; none when it is not installed.
fn systemd(program: &str, words: &[&str]) -> Option<Output> {
    let version = Command::new(program).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        skip(&format!("{program} is not installed"));
        return None;
    }
    let words: Vec<&str> = [&[program], words].concat();
    Some(process::run(&mut process::shell(&words)))
}

/// The units in a folder of their own, with the programs where they were built.
fn staged(folder: &Path) -> Vec<String> {
    ["humed-agent.service", "humed-agent.socket", "humed-master.service"]
        .map(|name| {
            let built = process::programs().display().to_string();
            let text = packaged(name).replace("/usr/sbin/humed", &format!("{built}/humed"));
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .to_vec()
}

#[test]
fn systemd_takes_the_units_without_a_word() {
    let folder = Folder::new();
    let units = staged(folder.path());
    let words: Vec<&str> = ["verify"].into_iter().chain(units.iter().map(String::as_str)).collect();
    let Some(verified) = systemd("systemd-analyze", &words) else { return };
    let said = format!("{}{}", verified.ok().stdout, verified.stderr);
    // It looks at units of the system as well, and tells what is wrong with those.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("humed-")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn what_a_daemon_that_is_taken_over_could_do_is_at_most_two_of_ten() {
    let folder = Folder::new();
    for unit in staged(folder.path()).iter().filter(|unit| unit.ends_with(".service")) {
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        let words = ["security", "--offline=true", &threshold, "--no-pager", unit];
        let Some(judged) = systemd("systemd-analyze", &words) else { return };
        assert!(judged.ok().stdout.contains("Overall exposure level"), "{judged:#?}");
    }
}

#[test]
fn sysusers_and_tmpfiles_make_the_users_and_the_drop_folder_below_a_root() {
    let folder = Folder::new();
    let root = folder.path().join("root");
    for name in ["sysusers.d/humed-agent.conf", "sysusers.d/humed-master.conf", "tmpfiles.d/humed-agent.conf"]
    {
        let path = root.join("usr/lib").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, packaged(name)).unwrap();
    }
    fs::create_dir_all(root.join("etc")).unwrap();
    let of_root = format!("--root={}", root.display());
    let Some(made) = systemd("systemd-sysusers", &[&of_root]) else { return };
    made.ok();
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.contains("hume:x:") && users.contains("hume-master:x:"), "{users}");
    if !rustix::process::geteuid().is_root() {
        return skip("only root may give folders to other users");
    }
    let Some(made) = systemd("systemd-tmpfiles", &[&of_root, "--create"]) else { return };
    made.ok();
    let about = fs::metadata(root.join("var/spool/hume/drop")).unwrap();
    let owner = users.lines().find(|line| line.starts_with("hume:")).unwrap().split(':').nth(2).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o3777);
    assert_eq!(about.uid().to_string(), owner);
}
