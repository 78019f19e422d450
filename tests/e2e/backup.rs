//! The master's store through an administrator's hands: copied while it works, put back to yesterday, and made to forget.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hume_tests::events::{items, json_lines, messages, text};
use hume_tests::process::Output;
use hume_tests::{Agent, Master, SOON, Site, Token, process, wait_until};
use serde_json::{Value, json};

/// Events of one report at the agent's socket.
const REPORTED: usize = 50;

/// `humed-master` with these words, for the store of this site.
fn upkeep(master: &Master, words: &[&str]) -> Output {
    process::run(process::command("humed-master").args(words).arg("--config").arg(master.config()))
}

/// Reports many events at once and notes what was confirmed.
fn report(agent: &Agent, when: &str, confirmed: &Mutex<Vec<String>>) {
    let message = |number| format!("{} {when} {number}", agent.host());
    let lines = json_lines((0..REPORTED).map(|number| json!({"task": "MANY", "message": message(number)})));
    let answers = agent.socket_lines(lines.as_bytes());
    let of_ok = answers.iter().zip(0..).filter(|(answer, _)| answer["ok"] == true);
    confirmed.lock().unwrap().extend(of_ok.map(|(_, number)| message(number)));
}

/// A run of three events.
fn run(agent: &Agent, task: &str, level: &str) {
    for words in [["--flag", "begin"], ["-m", "middle"]] {
        let command = if words[0] == "-m" { "counter-pause" } else { "counter-start" };
        agent.hume(&["--strict", "-t", task, "-c", command, words[0], words[1]]).ok();
    }
    agent.hume(&["--strict", "-t", task, "-c", "counter-stop", "-L", level, "-m", "end"]).ok();
}

/// Everything the master has, oldest first.
fn all(master: &Master) -> Vec<Value> {
    let (mut found, mut path) = (Vec::new(), "/api/v1/events?limit=1000".to_owned());
    loop {
        let page = master.get(&path, Token::Admin).json();
        found.extend(items(&page, "events").to_vec());
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/events?limit=1000&cursor={next}"),
            None => break,
        }
    }
    found.reverse();
    found
}

/// Every place of every agent is there once, from the first to the last, in order.
fn check_places(events: &[Value]) {
    let mut places: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in events {
        places.entry(text(event, "epoch")).or_default().push(event["seq"].as_u64().unwrap());
    }
    for (epoch, seqs) in places {
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "epoch {epoch}");
    }
}

#[test]
fn a_master_that_was_put_back_to_yesterday_is_refilled_by_its_agents() {
    let site = Site::new();
    let (master, agents) = (site.master(), [site.agent("web1"), site.agent("db1")]);
    let confirmed = Mutex::new(Vec::new());
    for agent in &agents {
        report(agent, "before", &confirmed);
    }
    let backup = site.folder().path().join("backup.db");
    let is_made = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        for agent in &agents {
            let (confirmed, is_made) = (&confirmed, &is_made);
            scope.spawn(move || {
                let mut round = 0;
                while !is_made.load(Ordering::Relaxed) {
                    report(agent, &format!("meanwhile {round}"), confirmed);
                    round += 1;
                }
            });
        }
        let made = upkeep(master, &["backup", "--to", &backup.display().to_string()]);
        is_made.store(true, Ordering::Relaxed);
        made
    });
    made.ok();
    assert!(made.stdout.contains(" events, ") && made.stdout.contains(", through 20"), "{made:#?}");
    for agent in &agents {
        report(agent, "after", &confirmed);
    }
    run(&agents[0], "NIGHTLY", "ok");
    for agent in &agents {
        agent.wait_until_drained(SOON);
    }
    let border = master.get("/api/v1/events?after=now", Token::Admin).json();

    // Not while a master has it.
    let restore = ["restore", "--from", &backup.display().to_string()];
    let refused = upkeep(master, &restore);
    assert!(refused.with_code(75).stderr.contains("stop the master first"), "{refused:#?}");
    assert_eq!(master.stop(), 0);
    let restored = upkeep(master, &restore);
    assert!(restored.ok().stdout.contains("The store that was there is kept as "), "{restored:#?}");
    for agent in &agents {
        report(agent, "while it was away", &confirmed);
    }
    master.start();

    let mut expected = confirmed.into_inner().unwrap();
    let count = || all(master).iter().filter(|event| event["task"] == "MANY").count();
    wait_until("all of it is back", SOON, || count() >= expected.len());
    for agent in &agents {
        agent.wait_until_drained(SOON);
        assert!(
            agent.log().contains("the master has lost events that it had acknowledged"),
            "{}",
            agent.log()
        );
    }
    wait_until("the run is back", SOON, || {
        let runs = master.query_json(&["--latest", "-t", "NIGHTLY"]);
        items(&runs, "runs").iter().any(|run| run["phase"] == "ended" && run["complete"] == true)
    });
    let events = all(master);
    check_places(&events);
    let many: Vec<Value> = events.into_iter().filter(|event| event["task"] == "MANY").collect();
    let mut found: Vec<String> = messages(&many).into_iter().map(str::to_owned).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "each confirmed event once, and no other");
    // Whoever followed the store that was replaced is told.
    let path = format!("/api/v1/events?after={}", text(&border, "next"));
    let told = master.get(&path, Token::Admin);
    assert_eq!((told.status, text(&told.json(), "code")), (409, "conflict"), "{:#}", told.json());
}

#[test]
fn a_copy_that_cannot_be_made_or_used_changes_nothing_and_says_why() {
    let site = Site::new();
    let (master, agent) = (site.master(), site.agent("web1"));
    report(&agent, "before", &Mutex::default());
    agent.wait_until_drained(SOON);
    let path = |name: &str| site.folder().path().join(name).display().to_string();
    let (good, bad, mine) = (path("good.db"), path("bad.db"), path("mine.db"));
    fs::write(&mine, "mine").unwrap();
    upkeep(master, &["backup", "--to", &mine]).with_code(73);
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    upkeep(master, &["backup", "--to", &mine, "--force"]).ok();
    upkeep(master, &["backup", "--to", &good]).ok();
    upkeep(master, &["backup", "--to", &path("none/x.db")]).with_code(74);
    assert_eq!(master.stop(), 0);
    fs::write(&bad, fs::read(&good).unwrap().split_at(20_000).0).unwrap();
    for (from, code) in [(&bad, 65), (&path("none.db"), 66), (&path("web1/agent.toml"), 65)] {
        let refused = upkeep(master, &["restore", "--from", from]);
        assert_eq!(refused.with_code(code).stderr.lines().count(), 1, "{refused:#?}");
        assert!(refused.stdout.is_empty() && refused.stderr.starts_with("humed-master: "), "{refused:#?}");
    }
    let is_replaced = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains("replaced");
    let folder = Path::new(&text_of_store(master)).parent().unwrap().to_owned();
    assert!(!fs::read_dir(folder).unwrap().any(|entry| is_replaced(entry.unwrap())));
    master.start();
    assert_eq!(master.count(&["-t", "MANY"]), REPORTED as u64);
}

/// Where the store is, by the configuration.
fn text_of_store(master: &Master) -> String {
    let config: toml::Table = fs::read_to_string(master.config()).unwrap().parse().unwrap();
    let path = config["store"]["path"].as_str().unwrap().to_owned();
    master.dir().join(path).display().to_string()
}

#[test]
fn what_is_old_goes_but_for_open_latest_and_failed_runs() {
    let site = Site::new();
    let (master, agent) = (site.master(), site.agent("web1"));
    // What comes together lies in one block of the log, and that stays or goes whole.
    let notes = json_lines((0..REPORTED).map(|number| json!({"message": format!("long ago {number}")})));
    assert_eq!(agent.socket_lines(notes.as_bytes()).len(), REPORTED);
    agent.wait_until_drained(SOON);
    agent.hume(&["--strict", "-t", "OPEN", "-c", "counter-start"]).ok();
    agent.wait_until_drained(SOON);
    for level in ["critical", "ok", "ok", "ok"] {
        run(&agent, "NIGHTLY", level);
        agent.wait_until_drained(SOON);
    }
    agent.hume(&["--strict", "-m", "the newest stays"]).ok();
    agent.wait_until_drained(SOON);
    let runs = |master: &Master| {
        let found = master.query_json(&["--runs", "-t", "NIGHTLY"]);
        items(&found, "runs").iter().map(|run| text(run, "status").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(runs(master), ["ok", "ok", "ok", "critical"]);
    master.configure(|config| {
        let retention = toml::toml! { age = "1ms" };
        config.insert("retention".to_owned(), retention.into());
    });
    assert_eq!(master.stop(), 0);
    master.start();
    wait_until("the old ones are gone", SOON, || master.count(&["--grep", "long ago"]) == 0);
    wait_until("only what must stay is left", SOON, || runs(master) == ["ok", "critical"]);
    let latest = master.query_json(&["--latest"]);
    let tasks: Vec<&str> = items(&latest, "runs").iter().map(|run| text(run, "task")).collect();
    assert_eq!(tasks, ["NIGHTLY", "OPEN"]);
    let status = master.get("/api/v1/status", Token::Admin).json();
    assert_eq!(status["state"], "ready", "{status:#}");
    // What is sent again is known all the same.
    assert_eq!(agent.state()["queued_events"], 0);
    let forgotten = master.metrics()["hume_master_forgotten_events_total"];
    assert_eq!(forgotten + status["events"].as_u64().unwrap(), agent.count(&["--kind", "all"]));
}

/// Whether a private key stands in the file.
fn holds_a_key(file: &Path) -> bool {
    fs::read(file).unwrap().windows(19).any(|bytes| bytes == b"BEGIN PRIVATE KEY--")
}

fn joined(site: &Site, host: &str) -> Agent {
    site.join(host, &site.token(&["--host", host])).ok();
    let agent = site.joined(host);
    agent.start();
    agent
}

fn state_of(site: &Site, host: &str) -> String {
    let listed = site.order(&["agents", "list", "--json"]).ok().json();
    let of_host = |agent: &&Value| agent["host"] == host;
    text(items(&listed, "agents").iter().find(of_host).unwrap(), "state").to_owned()
}

#[test]
fn a_master_whose_disk_is_gone_comes_back_from_one_file_and_its_hosts_need_not_join_again() {
    let (site, _) = Site::enrolling();
    let (master, agent) = (site.master(), joined(&site, "web1"));
    let unused = site.token(&["--ttl", "1d"]);
    report(&agent, "before", &Mutex::default());
    agent.wait_until_drained(SOON);
    let backup = site.folder().path().join("backup.db");
    let path = backup.display().to_string();
    let said = upkeep(master, &["backup", "--to", &path]).ok().stdout.clone();
    assert!(said.trim_end().ends_with(", the registry, the CA with its keys"), "{said}");
    assert_eq!(backup.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(holds_a_key(&backup));
    let late = joined(&site, "web2");
    late.wait_until_drained(SOON);
    assert_eq!(master.stop(), 0);
    let state = master.dir().join("state");
    let root = fs::read(state.join("ca/root.pem")).unwrap();
    fs::remove_dir_all(&state).unwrap();
    report(&agent, "while it was away", &Mutex::default());

    let restored = upkeep(master, &["restore", "--from", &path]).ok().stdout.clone();
    for part in
        ["registry.db: as it was at the backup; 1 tokens", "revoke again", "/ca: as it was at the backup"]
    {
        assert!(restored.contains(part), "{part}: {restored}");
    }
    let mode = |name: &str| state.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        ["ca", "ca/root.key", "ca/issuing.pem", "registry.db", "store.db"].map(mode),
        [0o700, 0o600, 0o600, 0o600, 0o600]
    );
    assert_eq!(fs::read(state.join("ca/root.pem")).unwrap(), root);
    assert!(!holds_a_key(&state.join("store.db")), "what travelled along is not left in the store");
    let left = fs::read_dir(&state)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "nothing else stays");

    master.start();
    wait_until("all of it is back", SOON, || master.count(&["-t", "MANY"]) == 2 * REPORTED as u64);
    agent.wait_until_drained(SOON);
    late.wait_for_log("the master does not know this agent: its host must join again");
    let refused = site.join("web3", &unused).with_code(77).stderr.clone();
    assert!(refused.contains("taken back"), "{refused}");
    let audit = master.query_json(&["audit", "--action", "restore"]);
    assert_eq!(text(&items(&audit, "lines")[0], "detail"), "1 tokens for joining taken back");
}

#[test]
fn what_is_there_and_whole_stays_unless_all_of_the_backup_is_wanted() {
    let (site, _) = Site::enrolling();
    let (master, agent) = (site.master(), joined(&site, "web1"));
    agent.wait_until_drained(SOON);
    let path = |name: &str| site.folder().path().join(name).display().to_string();
    upkeep(master, &["backup", "--to", &path("all.db")]).ok();
    let said = upkeep(master, &["backup", "--without-ca", "--to", &path("less.db")]).ok().stdout.clone();
    assert!(said.contains("keep the CA in ") && !holds_a_key(Path::new(&path("less.db"))), "{said}");
    site.order(&["agents", "revoke", "web1"]).ok();
    site.order(&["ca", "rotate"]).ok();
    let issuing = site.order(&["ca", "show", "--json"]).ok().json()["issuing"].clone();

    assert_eq!(master.stop(), 0);
    let restored = upkeep(master, &["restore", "--from", &path("all.db")]).ok().stdout.clone();
    assert_eq!(restored.matches(": stays, since it is whole").count(), 2, "{restored}");
    master.start();
    assert_eq!(state_of(&site, "web1"), "revoked");
    assert_eq!(site.order(&["ca", "show", "--json"]).ok().json()["issuing"], issuing);

    // A registry that is damaged is put back, and the CA that is there stays.
    assert_eq!(master.stop(), 0);
    fs::write(master.dir().join("state/registry.db"), "damaged").unwrap();
    let restored = upkeep(master, &["restore", "--from", &path("less.db")]).ok().stdout.clone();
    assert!(restored.contains("registry.db: as it was at the backup"), "{restored}");
    master.start();
    assert_eq!(state_of(&site, "web1"), "active");
    assert_eq!(site.order(&["ca", "show", "--json"]).ok().json()["issuing"], issuing);

    assert_eq!(master.stop(), 0);
    let restored = upkeep(master, &["restore", "--all", "--from", &path("all.db")]).ok().stdout.clone();
    assert!(restored.contains("The CA that was there is kept as "), "{restored}");
    master.start();
    assert_ne!(site.order(&["ca", "show", "--json"]).ok().json()["issuing"], issuing);

    // Without any CA it is said before the master makes another one.
    assert_eq!(master.stop(), 0);
    fs::remove_dir_all(master.dir().join("state/ca")).unwrap();
    let restored = upkeep(master, &["restore", "--from", &path("less.db")]).ok().stdout.clone();
    assert!(restored.contains("every host would have to join again"), "{restored}");
    let restored = upkeep(master, &["restore", "--from", &path("all.db")]).ok().stdout.clone();
    assert!(restored.contains("/ca: as it was at the backup"), "{restored}");
}
