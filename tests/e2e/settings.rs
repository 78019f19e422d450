//! `humeconfig set` on files of real daemons: what they would refuse is not made, and what is made they use.

use std::fs;
use std::io::BufReader;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use hume_peers::syslog;
use hume_tests::process::{self, Output};
use hume_tests::{Folder, SOON, Site, skip, wait_until};
use rustix::process::Signal;

const SECRET: &str = "https://hooks.slack.com/services/T0/B0/hunter2";
const OTHER: &str = "https://hooks.slack.com/services/T0/B0/hunter3";

fn humeconfig(config: &Path, words: &[&str]) -> Output {
    process::run(process::command("humeconfig").args(words).arg("--config").arg(config))
}

/// All names in a folder and below it.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.display().to_string());
        if path.is_dir() {
            names.extend(self::names(&path));
        }
    }
    names.sort();
    names
}

fn file(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.path().join("agent.toml");
    fs::write(&path, text).unwrap();
    path
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn old(config: &Path) -> PathBuf {
    let name = format!("{}.old-", config.display());
    names(config.parent().unwrap()).into_iter().find(|path| path.starts_with(&name)).unwrap().into()
}

#[test]
fn an_agent_that_runs_tells_whom_the_flags_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Ok(Some(message)) = syslog::read(&mut stream) {
                hears.lock().unwrap().push(message);
            }
        }
    });
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    let made = humeconfig(agent.config(), &["--rsyslog", &address]);
    assert!(made.ok().stdout.contains("+[transfer.rsyslog.rsyslog]"), "{made:#?}");
    agent.signal(Signal::HUP);
    wait_until("the transfer is at work", SOON, || {
        agent.hume(&["-t", "BACKUP", "-m", "hello"]).ok();
        heard.lock().unwrap().iter().any(|message: &String| message.contains("hello"))
    });
}

#[test]
fn a_webhook_goes_into_a_file_for_its_reader_alone_and_is_shown_nowhere() {
    let folder = Folder::new();
    let before =
        format!("# mine\n[transfer.ops.slack]\nwebhook = \"{OTHER}\" # old\nlevel_min = \"error\"\n");
    let config = file(&folder, &before);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let made = humeconfig(&config, &["set", "--slack", SECRET, "--slack-error", SECRET]);
    made.ok();
    let said = format!("{}{}", made.stdout, made.stderr);
    assert!(!said.contains("hunter") && said.contains("-webhook = \"***\" # old"), "{said}");
    let secret = folder.path().join("credentials/ops-webhook");
    assert_eq!(text(&secret), format!("{SECRET}\n"));
    assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(
        text(&config),
        "# mine\n[transfer.ops.slack]\nwebhook = { file = \"credentials/ops-webhook\" } # old\nlevel_min = \"error\"\n\
         webhook_by_level = { error = { file = \"credentials/ops-webhook-error\" } }\n"
    );
    assert_eq!(fs::metadata(&config).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(text(&old(&config)), before);
}

#[test]
fn a_second_time_changes_nothing_and_another_webhook_keeps_the_old_one() {
    let folder = Folder::new();
    let config = file(&folder, "");
    humeconfig(&config, &["--slack", OTHER, "--syslog"]).ok();
    let (names_before, text_before) = (names(folder.path()), text(&config));
    let again = humeconfig(&config, &["--slack", OTHER, "--syslog"]);
    assert!(again.ok().stdout.contains("nothing was changed"), "{again:#?}");
    assert_eq!(names(folder.path()), names_before);
    let dry = humeconfig(&config, &["--slack", SECRET, "--dry"]);
    assert!(dry.ok().stdout.contains("credentials/slack-webhook"), "{dry:#?}");
    assert_eq!(names(folder.path()), names_before);

    humeconfig(&config, &["--slack", SECRET]).ok();
    let secret = folder.path().join("credentials/slack-webhook");
    assert_eq!(text(&secret), format!("{SECRET}\n"));
    assert_eq!(text(&old(&secret)), format!("{OTHER}\n"));
    assert_eq!(fs::metadata(old(&secret)).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(text(&config), text_before);
}

#[test]
fn what_the_daemon_would_refuse_is_not_made_and_said_in_its_words() {
    let folder = Folder::new();
    let config = file(&folder, "[intake]\nsockett = \"x\"\n");
    let before = names(folder.path());
    let refused = humeconfig(&config, &["--slack", SECRET]);
    refused.with_code(78);
    let words = format!("humed-agent would refuse it: {}:2:1: unknown key `sockett`", config.display());
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    assert_eq!((names(folder.path()), text(&config).as_str()), (before, "[intake]\nsockett = \"x\"\n"));

    // A master with certificates of another CA needs them.
    let master = folder.path().join("master.toml");
    fs::write(&master, "[tls]\nca = \"nowhere.pem\"\n").unwrap();
    let refused = humeconfig(&master, &["--syslog"]);
    refused.with_code(78);
    assert!(refused.stderr.contains("humed-master would refuse it: "), "{}", refused.stderr);
    assert_eq!(text(&master), "[tls]\nca = \"nowhere.pem\"\n");
}

#[test]
fn the_transfers_of_a_master_are_set_as_well() {
    let site = Site::without_master();
    let config = site.master().dir().join("master.toml");
    humeconfig(&config, &["--logstash", "tls://logs.example.org:5044"]).ok();
    let list =
        process::run(process::command("humed-master").args(["transfer", "list", "--config"]).arg(&config));
    assert!(list.ok().stdout.contains("logstash  logstash"), "{list:#?}");
    let refused = humeconfig(&config, &["--endpoint", "unix:/run/h.sock"]);
    assert!(refused.with_code(64).stderr.contains("the master has no socket"), "{refused:#?}");
}

#[test]
fn quiet_says_nothing_whatever_comes_of_it() {
    let folder = Folder::new();
    let config = file(&folder, "");
    for (words, code) in
        [(["--rsyslog", "udp://l:514"], 0), (["--rsyslog", "nonsense"], 64), (["--name", "x"], 64)]
    {
        let output = humeconfig(&config, &[&["--quiet"][..], &words].concat());
        output.with_code(code);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    }
}

#[test]
fn many_at_once_are_done_one_after_the_other_or_told_to_come_again() {
    let folder = Folder::new();
    let config = file(&folder, "# mine\n");
    let start = |number: usize| {
        let mut command = process::command("humeconfig");
        command.args(["--rsyslog", &format!("udp://h{number}:514"), "--name", &format!("t{number}")]);
        let command = command.arg("--config").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let running: Vec<_> = (0..8).map(start).collect();
    let codes: Vec<_> = running.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 75))), "{codes:?}");
    let done = codes.iter().filter(|code| **code == Some(0)).count();
    let table: toml::Table = text(&config).parse().unwrap();
    assert!(done > 0 && table["transfer"].as_table().unwrap().len() == done, "{codes:?}");
    assert!(names(folder.path()).iter().all(|name| !name.contains("/.")), "{:?}", names(folder.path()));
}

#[test]
fn a_link_a_folder_and_a_place_where_one_may_not_write_are_left_alone() {
    let folder = Folder::new();
    let config = file(&folder, "");
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&config, &link).unwrap();
    for path in [&link, folder.path()] {
        let refused = humeconfig(path, &["--syslog"]);
        assert!(refused.with_code(73).stderr.contains("is no regular file"), "{refused:#?}");
    }
    if !rustix::process::geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("humeconfig");
    fs::copy(process::program("humeconfig"), &program).unwrap();
    let mut command = Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut command, 61_001);
    let refused = process::run(command.args(["--syslog", "--config"]).arg(&config));
    refused.with_code(77);
    assert_eq!(text(&config), "");
}

#[test]
fn a_secret_belongs_to_whom_the_folder_of_the_configuration_belongs_to() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can give files away");
    }
    let folder = Folder::new();
    let config = file(&folder, "");
    std::os::unix::fs::chown(folder.path(), Some(61_001), Some(61_001)).unwrap();
    std::os::unix::fs::chown(&config, Some(61_001), Some(61_001)).unwrap();
    humeconfig(&config, &["--slack", SECRET]).ok();
    for path in [folder.path().join("credentials/slack-webhook"), config] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), 61_001, "{}", path.display());
    }
}

fn wizard(config: &Path, words: &[&str], answers: &str) -> Output {
    let mut command = process::command("humeconfig");
    command.arg("wizard").args(words).arg("--config").arg(config);
    process::run_with_input(&mut command, answers.as_bytes())
}

#[test]
fn the_wizard_writes_after_a_yes_what_the_daemon_takes_and_shows_it_before() {
    let folder = Folder::new();
    let config = folder.path().join("agent.toml");
    let answers = format!("alone\nweb1\n{SECRET}\nerror\nyes\nudp://logs:514\n");
    for words in [&["--dry"][..], &[]] {
        let asked = wizard(&config, words, &format!("{answers}no\n"));
        assert!(asked.ok().stdout.contains("+[transfer.slack.slack]"), "{asked:#?}");
        assert!(
            asked.stdout.contains("nothing was written") && asked.stderr.contains("Role [alone]: "),
            "{asked:#?}"
        );
        assert!(!asked.stdout.contains("hunter") && !asked.stderr.contains("hunter"), "{asked:#?}");
        assert!(!asked.stdout.contains('\u{1b}') && !asked.stderr.contains('\u{1b}'), "{asked:#?}");
        assert_eq!(names(folder.path()), [""; 0]);
    }
    let made = wizard(&config, &[], &format!("{answers}yes\n"));
    assert!(made.ok().stdout.contains("humed-agent transfer test slack"), "{made:#?}");
    assert_eq!(
        text(&config).split_once("\n\n").unwrap().1,
        "host = \"web1\"\n\n[transfer.slack.slack]\nwebhook = { file = \"credentials/slack-webhook\" }\n\
         level_min = \"error\"\n\n[transfer.syslog.syslog]\n\n[transfer.rsyslog.rsyslog]\naddress = \"udp://logs:514\"\n"
    );
    process::run(process::command("humed-agent").args(["check-config", "--config"]).arg(&config)).ok();
    // What it wrote is what it offers the next time.
    let again = wizard(&config, &[], &"\n".repeat(5));
    assert!(again.ok().stdout.contains("nothing was changed"), "{again:#?}");
}

#[test]
fn the_wizard_makes_a_master_with_its_transfers() {
    let folder = Folder::new();
    let config = folder.path().join("m/master.toml");
    let made = wizard(&config, &[], "\nlocalhost\n127.0.0.1:4863\n127.0.0.1:4864\nhume\n\nyes\n\nyes\n");
    assert!(made.ok().stdout.contains("humeconfig init --dir "), "{made:#?}");
    assert!(text(&config).contains("[transfer.syslog.syslog]"), "{}", text(&config));
    process::run(process::command("humed-master").args(["check-config", "--config"]).arg(&config)).ok();
}

#[test]
fn the_wizard_without_anybody_to_ask_says_so() {
    let folder = Folder::new();
    let config = folder.path().join("agent.toml");
    let refused = wizard(&config, &[], "");
    refused.with_code(64);
    assert!(refused.stderr.contains("no answer to `Role`, nothing was changed"), "{}", refused.stderr);
    assert!(refused.stderr.contains("humeconfig set --help"), "{}", refused.stderr);
    assert!(!config.exists());
}

/// Where the agent of a test has its sockets and its state.
const PLACES: &str = "[intake]\nsocket = \"run/hume.sock\"\ndrop_dir = \"drop\"\n\n[spool]\ndir = \"state\"\n\n[web]\nsocket = \"run/api.sock\"\n";

#[test]
fn the_wizard_joins_a_site_after_a_yes_to_what_it_will_write_and_once() {
    let (site, _) = Site::enrolling();
    let dir = site.host_dir("web1");
    fs::create_dir_all(&dir).unwrap();
    for name in ["run", "drop", "state"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let config = dir.join("agent.toml");
    fs::write(&config, PLACES).unwrap();
    let (token, relay) = (site.token(&["--host", "web1"]), site.master().grpc());
    let file = site.folder().path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let answers = |token: &str| format!("agent\nweb1\n{token}\n{relay}\n\nno\n\n");

    // What is wrong with a token is said at once, and a no changes nothing here nor at the master.
    for (wrong, words) in
        [("hume1-nonsense", "Token"), ("", "expected a token"), ("@/nonexistent", "could not read")]
    {
        let refused = wizard(&config, &[], &answers(wrong));
        assert!(refused.with_code(64).stderr.contains(words), "{refused:#?}");
    }
    let asked = wizard(&config, &[], &format!("{}no\n", answers(&token)));
    let shown = asked.ok().stdout.clone();
    assert!(
        shown.contains(&format!("+address = \"{relay}\""))
            && shown.contains("+certificate = \"pki/agent.pem\""),
        "{shown}"
    );
    assert!(
        shown.contains("web1 is asked to join at 127.0.0.1:") && shown.contains("nothing was written"),
        "{shown}"
    );
    assert!(!shown.contains(&token), "{shown}");
    assert_eq!((names(&dir).len(), text(&config).as_str()), (4, PLACES), "{:?}", names(&dir));
    assert!(site.order(&["agents", "list"]).ok().stdout.lines().count() == 1, "no agent is known");

    let made = wizard(&config, &[], &format!("{}yes\n", answers(&format!("@{}", file.display()))));
    assert!(made.ok().stdout.contains("pki: agent ") && !made.stdout.contains("note:"), "{made:#?}");
    let agent = site.joined("web1");
    agent.start();
    agent.hume(&["-t", "HELLO", "-m", "here"]).ok();
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "HELLO", "--host", "web1"]), 1);
    assert_eq!(fs::metadata(dir.join("pki/agent.key")).unwrap().mode() & 0o7777, 0o600);

    // Once more changes nothing, whether the token is given again or not.
    for answers in [answers(&token), "\n".repeat(8)] {
        let again = wizard(&config, &[], &answers);
        assert!(again.ok().stdout.contains("nothing was changed"), "{again:#?}");
    }
}

#[test]
fn a_wizard_whose_token_is_good_no_more_says_what_the_master_says_and_writes_no_configuration() {
    let (site, _) = Site::enrolling();
    let token = site.token(&[]);
    site.join("web1", &token).ok();
    let config = site.host_dir("web2").join("agent.toml");
    let answers = format!("agent\nweb2\n{token}\n\n\nno\n\nyes\n");
    let refused = wizard(&config, &[], &answers);
    assert!(refused.with_code(77).stderr.contains("the token was used already"), "{refused:#?}");
    assert!(!config.exists() && !site.host_dir("web2").join("pki").exists());
}
