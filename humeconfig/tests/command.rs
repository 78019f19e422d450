//! The built `humeconfig`, as scripts call it: files, modes, contents, refusals, exit codes.

#![expect(clippy::unwrap_used, reason = "this whole file is tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hume_runtime::tls;
use tempfile::TempDir;

fn humeconfig(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_humeconfig")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn good(args: &[&str]) -> String {
    let output = humeconfig(args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

/// The text of a refusal with this exit code; it is one line.
fn refused(code: i32, args: &[&str]) -> String {
    let output = humeconfig(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.starts_with("humeconfig: "), "{text}");
    text
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn table(path: &Path) -> toml::Table {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

struct Site {
    _temporary: TempDir,
    dir: PathBuf,
    adir: PathBuf,
}

impl Site {
    fn empty() -> Site {
        let temporary = tempfile::tempdir().unwrap();
        let (dir, adir) = (temporary.path().join("site"), temporary.path().join("web1"));
        Site { _temporary: temporary, dir, adir }
    }

    fn made() -> Site {
        let site = Site::empty();
        site.init(&[]);
        site
    }

    fn init_args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["init", "--by-hand", "--dir", self.dir.to_str().unwrap()], more].concat()
    }

    fn agent_args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let (dir, adir) = (self.dir.to_str().unwrap(), self.adir.to_str().unwrap());
        [&["agent", "--dir", dir, "--out", adir, "--host", "web1"], more].concat()
    }

    fn init(&self, more: &[&str]) -> String {
        good(&self.init_args(more))
    }

    fn agent(&self, more: &[&str]) -> String {
        good(&self.agent_args(more))
    }
}

fn certificate_names(path: &Path) -> Vec<String> {
    tls::names_of(&tls::load_certificates(path).unwrap()[0])
}

fn agent_of(adir: &Path) -> tls::PeerAgent {
    tls::agent_of(&tls::load_certificates(&adir.join("pki/agent.pem")).unwrap()[0]).unwrap()
}

#[test]
fn init_makes_a_site_whose_secrets_are_for_their_owner_alone() {
    let site = Site::made();
    assert_eq!(names(&site.dir), ["admin.token", "master.toml", "pki"]);
    assert_eq!(names(&site.dir.join("pki")), ["ca.key", "ca.pem", "master.key", "master.pem"]);
    for (name, expected) in [
        ("pki", 0o700),
        ("pki/ca.key", 0o600),
        ("pki/master.key", 0o600),
        ("pki/ca.pem", 0o644),
        ("admin.token", 0o600),
        ("master.toml", 0o644),
    ] {
        assert_eq!(mode(&site.dir.join(name)), expected, "{name}");
    }
}

#[test]
fn the_masters_files_can_be_used_as_they_are() {
    let site = Site::made();
    let config = table(&site.dir.join("master.toml"));
    let path = |key: &str| site.dir.join(config["tls"][key].as_str().unwrap());
    let identity = tls::Identity::load(&path("certificate"), &path("key")).unwrap();
    let roots = tls::Roots::load(&path("ca")).unwrap();
    tls::relay_server(&identity, &roots).unwrap();
    tls::web_server(&identity).unwrap();
    assert_eq!(roots.trust_domain(), Some("hume"));
    assert_eq!(config["relay"]["listen"].as_str(), Some("127.0.0.1:4863"));
    assert_eq!(config["web"]["listen"].as_str(), Some("127.0.0.1:4864"));
    assert_eq!(config["web"]["socket"].as_str(), Some("run/api.sock"));
    assert_eq!(config["store"]["path"].as_str(), Some("state/store.db"));

    let token = fs::read_to_string(site.dir.join("admin.token")).unwrap();
    let token = token.strip_suffix('\n').unwrap();
    assert!(token.starts_with("hume_") && token.len() == 48, "{token}");
    let kept = &config["web"]["token"][0];
    assert_eq!(kept["name"].as_str(), Some("admin"));
    assert_eq!(kept["sha256"].as_str(), Some(tls::sha256_hex(token.as_bytes()).as_str()));
}

#[test]
fn the_server_certificate_names_everything_the_master_is_reached_by() {
    let site = Site::empty();
    let names = [
        "--name",
        "master.example.org",
        "--name",
        "10.0.0.9",
        "--grpc",
        "10.0.0.5:4863",
        "--http",
        "0.0.0.0:1",
    ];
    site.init(&names);
    let mut found = certificate_names(&site.dir.join("pki/master.pem"));
    found.sort();
    assert_eq!(found, ["10.0.0.5", "10.0.0.9", "127.0.0.1", "::1", "localhost", "master.example.org"]);
}

#[test]
fn init_says_what_it_made_and_what_to_run_next() {
    let site = Site::empty();
    let said = site.init(&["--http", "0.0.0.0:8443"]);
    let dir = site.dir.display();
    for line in [
        format!("made {dir}/pki: CA of \"hume\" until "),
        format!("made {dir}/admin.token: "),
        format!("made {dir}/master.toml: "),
        format!("  humed-master --config {dir}/master.toml"),
        format!("  humeconfig agent --dir {dir} --out {dir}/web1 --host web1"),
        format!(
            "  humequery --url https://127.0.0.1:8443 --ca {dir}/pki/ca.pem --token-file {dir}/admin.token status"
        ),
    ] {
        assert!(said.lines().any(|said| said.starts_with(&line)), "{line}\n---\n{said}");
    }
    let token = fs::read_to_string(site.dir.join("admin.token")).unwrap();
    assert!(!said.contains(token.trim_end()));
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let site = Site::made();
    let before = fs::read(site.dir.join("pki/ca.pem")).unwrap();
    let text = refused(73, &site.init_args(&[]));
    assert!(text.contains(&format!("{}/pki exists already", site.dir.display())), "{text}");
    assert!(text.contains("--force"), "{text}");
    assert_eq!(fs::read(site.dir.join("pki/ca.pem")).unwrap(), before);
    assert_eq!(names(&site.dir), ["admin.token", "master.toml", "pki"]);
}

#[test]
fn init_with_force_replaces_the_site_and_keeps_the_old_one() {
    let site = Site::made();
    let before = fs::read(site.dir.join("pki/ca.key")).unwrap();
    let said = site.init(&["--force"]);
    assert!(said.contains("no longer valid"), "{said}");
    assert_ne!(fs::read(site.dir.join("pki/ca.key")).unwrap(), before);
    let old = names(&site.dir).into_iter().find(|name| name.starts_with("pki.old-")).unwrap();
    assert_eq!(fs::read(site.dir.join(old).join("ca.key")).unwrap(), before);
}

#[test]
fn agent_makes_a_folder_that_can_be_copied_to_its_host() {
    let site = Site::made();
    site.agent(&[]);
    assert_eq!(names(&site.adir), ["agent.toml", "drop", "pki", "run", "state"]);
    assert_eq!(names(&site.adir.join("pki")), ["agent.key", "agent.pem", "ca.pem"]);
    for (name, expected) in [
        ("", 0o755),
        ("run", 0o755),
        ("drop", 0o3777),
        ("state", 0o700),
        ("pki", 0o700),
        ("pki/agent.key", 0o600),
        ("agent.toml", 0o644),
    ] {
        assert_eq!(mode(&site.adir.join(name)), expected, "{name}");
    }
    let config = table(&site.adir.join("agent.toml"));
    assert_eq!(config["host"].as_str(), Some("web1"));
    assert_eq!(config["intake"]["socket"].as_str(), Some("run/hume.sock"));
    assert_eq!(config["spool"]["dir"].as_str(), Some("state"));
    let path = |key: &str| site.adir.join(config["master"][key].as_str().unwrap());
    let identity = tls::Identity::load(&path("certificate"), &path("key")).unwrap();
    tls::relay_client(&identity, &tls::Roots::load(&path("ca")).unwrap(), None).unwrap();
}

#[test]
fn the_agents_certificate_holds_its_site_and_an_id_of_its_own() {
    let site = Site::empty();
    site.init(&["--trust-domain", "example.org"]);
    site.agent(&[]);
    let first = agent_of(&site.adir);
    assert_eq!(first.trust_domain, "example.org");
    let other = site.adir.with_file_name("db1");
    good(&["agent", "--dir", site.dir.to_str().unwrap(), "--out", other.to_str().unwrap(), "--host", "db1"]);
    assert_ne!(agent_of(&other).id, first.id);
}

#[test]
fn the_master_is_the_relay_of_the_site_unless_said_otherwise() {
    for (grpc, more, address) in [
        ("127.0.0.1:14863", &[][..], "127.0.0.1:14863"),
        ("0.0.0.0:14863", &[][..], "127.0.0.1:14863"),
        ("127.0.0.1:4863", &["--master", "localhost:9"][..], "localhost:9"),
    ] {
        let site = Site::empty();
        site.init(&["--grpc", grpc]);
        site.agent(more);
        let config = table(&site.adir.join("agent.toml"));
        assert_eq!(config["master"]["address"].as_str(), Some(address));
        assert!(config["master"].get("server_name").is_none());
    }
    let site = Site::empty();
    site.init(&["--grpc", "127.0.0.1:0"]);
    let text = refused(78, &site.agent_args(&[]));
    assert!(text.contains("--master HOST:PORT"), "{text}");
}

#[test]
fn a_master_that_its_certificate_does_not_name_is_asked_for_by_a_name_it_has() {
    let site = Site::made();
    let said = site.agent(&["--master", "10.0.0.5:4863"]);
    assert!(said.contains("does not name 10.0.0.5:4863"), "{said}");
    let config = table(&site.adir.join("agent.toml"));
    assert_eq!(config["master"]["server_name"].as_str(), Some("localhost"));
}

#[test]
fn agent_says_what_it_made_and_what_to_run_next() {
    let site = Site::made();
    let said = site.agent(&[]);
    let adir = site.adir.display();
    for line in [
        format!("made {adir}/pki: agent {} until ", agent_of(&site.adir).id),
        format!("made {adir}/agent.toml: host web1, master 127.0.0.1:4863"),
        format!("made {adir}/drop"),
        format!("  humed-agent --config {adir}/agent.toml"),
        format!("  HUME_SOCKET={adir}/run/hume.sock HUME_DROP_DIR={adir}/drop hume -t HELLO"),
        format!("  humequery --url unix:{adir}/run/api.sock -t HELLO"),
    ] {
        assert!(said.lines().any(|said| said.starts_with(&line)), "{line}\n---\n{said}");
    }
}

#[test]
fn a_second_agent_in_the_folder_is_refused_and_with_force_keeps_its_id_and_its_events() {
    let site = Site::made();
    site.agent(&[]);
    let (id, certificate) = (agent_of(&site.adir).id, fs::read(site.adir.join("pki/agent.pem")).unwrap());
    fs::write(site.adir.join("state/spool.db"), "events").unwrap();
    let text = refused(73, &site.agent_args(&[]));
    assert!(text.contains(&format!("{}/agent.toml exists already", site.adir.display())), "{text}");

    let said = site.agent(&["--force"]);
    assert!(said.contains(&format!("kept {}/state", site.adir.display())), "{said}");
    assert_eq!(agent_of(&site.adir).id, id);
    assert_ne!(fs::read(site.adir.join("pki/agent.pem")).unwrap(), certificate);
    assert_eq!(fs::read_to_string(site.adir.join("state/spool.db")).unwrap(), "events");
}

#[test]
fn init_leaves_the_certificates_to_the_master_and_says_how_hosts_join() {
    let site = Site::empty();
    let dir = site.dir.to_str().unwrap();
    let said = good(&["init", "--dir", dir, "--name", "m.example", "--enroll", "0.0.0.0:4865"]);
    assert_eq!(names(&site.dir), ["admin.token", "master.toml"]);
    assert!(said.contains(&format!("humeconfig token new --dir {dir}")), "{said}");
    let config: toml::Table = fs::read_to_string(site.dir.join("master.toml")).unwrap().parse().unwrap();
    assert!(config.get("tls").is_none());
    assert_eq!(config["ca"]["names"][0].as_str(), Some("m.example"));
    refused(73, &["init", "--dir", dir]);
    refused(64, &["init", "--dir", &format!("{dir}2"), "--trust-domain", "Not/One"]);
}

#[test]
fn join_without_a_token_or_with_none_of_hume_says_so_and_makes_nothing() {
    let site = Site::empty();
    let out = site.adir.to_str().unwrap();
    let text = refused(65, &["join", "hume1-a-b-c-d:1", "--out", out]);
    assert!(text.contains("this is no token of hume") && !text.contains("a-b-c"), "{text}");
    refused(74, &["join", "--file", &format!("{out}/nothing"), "--out", out]);
    assert!(!site.adir.exists());
    let output = humeconfig(&["join"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
}

#[test]
fn agent_without_a_site_says_what_to_run_first() {
    let site = Site::empty();
    let text = refused(78, &site.agent_args(&[]));
    assert!(
        text.contains(&format!("run `humeconfig init --by-hand --dir {}` first", site.dir.display())),
        "{text}"
    );
    assert!(!site.adir.exists());
}

#[test]
fn an_agent_never_replaces_the_masters_own_files() {
    let site = Site::made();
    let dir = site.dir.to_str().unwrap();
    let text = refused(64, &["agent", "--dir", dir, "--out", dir, "--host", "web1", "--force"]);
    assert!(text.contains("choose another --out"), "{text}");
}

#[test]
fn a_folder_too_deep_for_a_socket_is_refused_before_anything_is_made() {
    let site = Site::made();
    let deep = site.adir.join("x".repeat(100));
    let text = refused(
        73,
        &["agent", "--dir", site.dir.to_str().unwrap(), "--out", deep.to_str().unwrap(), "--host", "w"],
    );
    assert!(text.contains("run/hume.sock has") && text.contains("the limit is 107"), "{text}");
    assert!(!site.adir.exists());
    let text = refused(73, &["init", "--dir", deep.to_str().unwrap()]);
    assert!(text.contains("run/api.sock has"), "{text}");
}

#[test]
fn a_wrong_name_makes_nothing() {
    let site = Site::empty();
    let text = refused(64, &site.init_args(&["--name", "no such name"]));
    assert!(text.contains("`no such name` is not a DNS name"), "{text}");
    let text = refused(64, &site.init_args(&["--trust-domain", "Hume"]));
    assert!(text.contains("`Hume` cannot be a trust domain"), "{text}");
    assert!(!site.dir.exists());
}

#[test]
fn a_ca_key_that_others_can_read_is_refused_with_the_fix() {
    let site = Site::made();
    let key = site.dir.join("pki/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let text = refused(78, &site.agent_args(&[]));
    assert!(text.contains(&format!("chmod 600 {}", key.display())), "{text}");
}

#[test]
fn a_broken_master_toml_is_named_with_its_line() {
    let site = Site::made();
    fs::write(site.dir.join("master.toml"), "[relay]\nlisten = 4863\n").unwrap();
    let text = refused(78, &site.agent_args(&[]));
    assert!(text.contains("master.toml:2:10: invalid type"), "{text}");
    fs::write(site.dir.join("master.toml"), "[relay]\nlisten = \"everywhere\"\n").unwrap();
    let text = refused(78, &site.agent_args(&[]));
    assert!(text.contains("is `everywhere`: expected an IP address and a port"), "{text}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let site = Site::made();
    let below_a_file = site.dir.join("admin.token/web1");
    let out = below_a_file.to_str().unwrap();
    let text = refused(73, &["agent", "--dir", site.dir.to_str().unwrap(), "--out", out, "--host", "web1"]);
    assert!(text.contains("admin.token") && text.contains("nothing was changed"), "{text}");
}

#[test]
fn a_wrong_command_line_exits_64_and_help_says_what_it_is_before_it_shows_examples() {
    for args in [
        &[][..],
        &["init"],
        &["init", "--dir", "d", "--grpc", "nonsense"],
        &["enroll"],
        &["init", "--drr", "d"],
        &["set"],
        &["set", "--dry"],
        &["--slack", "https://h.example/x", "init", "--dir", "d"],
    ] {
        let output = humeconfig(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert_eq!(stdout(&output), "");
    }
    for args in [&["--help"][..], &["init", "--help"], &["agent", "-h"], &["set", "-h"], &["wizard", "-h"]] {
        let help = good(args);
        let at = |part: &str| help.find(part).unwrap_or_else(|| panic!("{part}: {help}"));
        assert!(
            0 < at("Usage: humeconfig") && at("Usage: humeconfig") < at("Examples:\n  humeconfig "),
            "{help}"
        );
        assert_eq!(
            help.contains("Exit codes:") && help.contains("Environment:"),
            args.contains(&"--help"),
            "{help}"
        );
    }
    assert_eq!(good(&["-V"]), format!("humeconfig {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn flags_that_cannot_be_carried_out_touch_no_file_and_show_no_secret() {
    let site = Site::empty();
    let config = site.dir.join("agent.toml");
    for (flags, part) in [
        (
            &["--slack", "http://hooks.slack.com/hunter2"][..],
            "--slack: expected a URL that begins with https://",
        ),
        (&["--slack", "-", "--slack-error", "-"], "`-` can stand for one webhook"),
        (&["--rsyslog", "logs:514"], "PROTO://HOST:PORT with one of udp, tcp, tls"),
        (&["--endpoint", "tcp://127.0.0.1:198"], "scripts report at a Unix socket now"),
        (&["--name", "a", "--syslog", "--rsyslog", "udp://l:514"], "--name is for one transfer"),
        (&["--name", "../a", "--syslog"], "1 to 64 letters"),
    ] {
        let text = refused(64, &[flags, &["--config", config.to_str().unwrap()]].concat());
        assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
    }
    assert!(!site.dir.exists());
    let text = refused(78, &["--slack", "@/no/such/file", "--config", config.to_str().unwrap()]);
    assert!(text.contains("could not read the secret in /no/such/file"), "{text}");
}

#[test]
fn a_dry_run_shows_what_would_be_and_makes_nothing() {
    let site = Site::empty();
    let config = site.dir.join("agent.toml");
    let said = good(&["set", "--rsyslog", "udp://l:514", "--dry", "--config", config.to_str().unwrap()]);
    assert!(said.contains("+[transfer.rsyslog.rsyslog]\n+address = \"udp://l:514\"\n"), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    assert!(!site.dir.exists());
}

#[test]
fn without_a_daemon_to_judge_it_nothing_is_changed() {
    let site = Site::empty();
    let config = site.dir.join("agent.toml");
    let text = refused(
        78,
        &["--syslog", "--check-with", "/no/such/humed-agent", "--config", config.to_str().unwrap()],
    );
    assert!(text.contains("could not run /no/such/humed-agent"), "{text}");
    assert!(!config.exists());
}
