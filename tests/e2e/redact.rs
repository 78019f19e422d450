//! Secrets that scripts report are kept and shown nowhere, and those of a site's own files are not said either.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use hume_tests::{Agent, SOON, Site, process, wait_until};
use serde_json::{Value, json};

/// What nobody may ever see.
const SECRET: &str = "hunter2Zq7";
/// What stands beside it and must arrive.
const BESIDE: &str = "canary";

/// The bytes of every file below a folder that the agent or the master keeps.
fn kept(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        bytes.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[track_caller]
fn assert_hidden(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what}: {text}");
}

/// One event through each way in.
fn report_everywhere(agent: &Agent) {
    let message = format!("{BESIDE} password={SECRET}");
    agent.hume(&["--strict", "-t", "MESSAGE", "-m", &message]).ok();
    let extra = format!("db_password={SECRET} and more,note=https://joe:{SECRET}@a/b");
    agent.hume(&["--strict", "-t", "EXTRA", "-x", &extra, "-m", BESIDE]).ok();
    let tree = format!("1 init\n 2 mysql mysql -uroot -p{SECRET} db");
    agent.submit(&json!({"task": "TREE", "message": BESIDE, "tree": tree}));
    // The words of the job stand in the tree and its output in the event of its end.
    let job = format!("echo {BESIDE} token: {SECRET}; echo Authorization: Bearer {SECRET} >&2; exit 3");
    let script = agent.script("job.sh", &format!("hume -a -t WORDS -m {BESIDE}; {job}\n"));
    process::run(&mut agent.shell(&["hume", "exec", "-t", "EXEC", "--", "bash", &script, "--token", SECRET]))
        .with_code(3);
    let mut pipe = agent.reporting(process::command("hume"));
    let pipe = pipe.args(["pipe", "--strict", "-t", "PIPE"]).stdin(Stdio::piped()).spawn();
    let mut pipe = pipe.unwrap();
    pipe.stdin.take().unwrap().write_all(format!("{BESIDE}\napi_key={SECRET}\n").as_bytes()).unwrap();
    assert!(pipe.wait().unwrap().success());
}

#[test]
fn a_secret_that_a_script_reports_is_on_no_disk_and_in_no_answer() {
    let site = Site::new();
    let agent = site.agent("web1");
    report_everywhere(&agent);

    // The drop folder has it for as long as the agent is away, readable to its reporter and the agent.
    agent.stop();
    agent.hume(&["--strict", "-t", "DROPPED", "-m", &format!("{BESIDE} secret={SECRET}")]).ok();
    let dropped = fs::read_dir(agent.drop_dir()).unwrap().map(|entry| entry.unwrap().path());
    let dropped: Vec<_> = dropped.filter(|path| path.is_file()).collect();
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert!(holds(&fs::read(&dropped[0]).unwrap(), SECRET));
    assert_eq!(fs::metadata(&dropped[0]).unwrap().permissions().mode() & 0o777, 0o640);
    // A file that is no event: the reason does not repeat it.
    fs::write(agent.drop_dir().join("bad.json"), format!("{{\"password={SECRET}\":1}}")).unwrap();
    agent.start();
    agent.wait_until_folder_is_empty(SOON);
    agent.wait_for_log("set a dropped file aside");
    agent.wait_until_drained(SOON);

    let redacted = agent.metrics()["hume_agent_events_redacted_total"];
    assert_eq!(redacted, 1, "what came since this start");
    for task in ["MESSAGE", "EXTRA", "TREE", "WORDS", "EXEC", "PIPE", "DROPPED"] {
        let words = ["-t", task];
        for (who, events) in
            [("agent", agent.query_json(&words)), ("master", site.master().query_json(&words))]
        {
            let text = events.to_string();
            assert!(text.contains(BESIDE) && text.contains("***"), "{who}, {task}: {text}");
            assert_hidden(who, &text);
            let flags = |event: &Value| event["flags"].as_array().unwrap().contains(&json!("redacted"));
            assert!(events["events"].as_array().unwrap().iter().any(flags), "{who}, {task}: {text}");
        }
        for format in ["table", "csv"] {
            let said = site.master().query(&["-t", task, "--format", format]);
            assert_hidden(format, &said.ok().stdout);
        }
    }
    let table = site.master().query(&["-t", "MESSAGE"]);
    assert!(table.ok().stdout.contains("[redacted] canary password=***"), "{table:#?}");
    let runs = site.master().query(&["--latest", "--format", "json"]);
    assert_hidden("runs", &runs.ok().stdout);

    for (what, log) in [("the agent's log", agent.log()), ("the master's log", site.master().log())] {
        assert!(!log.is_empty());
        assert_hidden(what, &log);
    }
    let spool = kept(&agent.dir().join("state"));
    assert!(holds(&spool, BESIDE), "the spool can be searched");
    assert!(!holds(&spool, SECRET), "the spool has it");
    assert!(!holds(&kept(site.master().store().parent().unwrap()), SECRET), "the store has it");
}

#[test]
fn a_configuration_adds_patterns_and_a_wrong_one_keeps_the_agent_from_starting() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let with = |pattern: &str| {
        agent.configure(|toml| {
            let mut section = toml::Table::new();
            section.insert("defaults".to_owned(), false.into());
            section.insert("patterns".to_owned(), vec![pattern].into());
            toml.insert("redact".to_owned(), section.into());
        });
    };
    with("card (\\d+");
    for words in [vec![], vec!["check-config"]] {
        let said =
            process::run(process::command("humed-agent").args(words).arg("--config").arg(agent.config()));
        said.with_code(78);
        assert!(said.stderr.contains("`card (\\d+` has no meaning at character 6"), "{said:#?}");
    }
    with("card (\\d+)");
    agent.start();
    agent.submit(&json!({"task": "X", "message": "card 4711, password=shown"}));
    let events = agent.query_json(&["-t", "X"]);
    assert_eq!(events["events"][0]["message"], "card ***, password=shown", "{events}");
}

#[test]
fn neither_check_config_nor_a_log_says_a_secret_of_the_site() {
    let site = Site::new();
    let agent = site.agent("web1");
    let master = site.master();
    let token = fs::read_to_string(master.dir().join("admin.token")).unwrap();
    let mut secrets = vec![SECRET.to_owned(), token.trim().to_owned()];
    for key in [master.dir().join("pki/master.key"), agent.dir().join("pki/agent.key")] {
        let text = fs::read_to_string(key).unwrap();
        secrets.extend(text.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
    }
    assert!(secrets.len() > 4 && secrets.iter().all(|secret| secret.len() > 3), "{}", secrets.len());
    let mut said = vec![agent.log(), master.log()];
    master.query(&["-t", "X"]).ok();
    agent.submit(&json!({"task": "X", "message": "x", "token": SECRET}));
    agent.wait_until_drained(SOON);
    for (program, config, wrong) in [
        (
            "humed-agent",
            agent.config(),
            [
                format!("[spool]\nbytes_max = \"{SECRET}\"\n"),
                format!("[master]\naddress = \"a:1\"\nkey = [\"{SECRET}\"]\n"),
            ],
        ),
        (
            "humed-master",
            master.config(),
            [
                format!("[[web.token]]\nname = \"a\"\nsha256 = \"{SECRET}\"\n"),
                format!("[web]\ntoken = \"{SECRET}\"\n"),
            ],
        ),
    ] {
        let check = |file: &Path| {
            process::run(process::command(program).args(["check-config", "--config"]).arg(file))
        };
        let good = check(config);
        said.push(good.ok().stdout.clone());
        for text in wrong {
            let file = config.with_file_name("wrong.toml");
            fs::write(&file, text).unwrap();
            let bad = check(&file);
            said.extend([bad.with_code(78).stderr.clone(), bad.stdout.clone()]);
        }
        // A key that is none, or not alone in its file.
        let key = config.with_file_name("pki").join(if program == "humed-agent" {
            "agent.key"
        } else {
            "master.key"
        });
        let whole = fs::read_to_string(&key).unwrap();
        for text in [SECRET.to_owned(), whole.replace("PRIVATE KEY", SECRET), whole.replacen('\n', SECRET, 2)]
        {
            fs::write(&key, text).unwrap();
            let bad = check(config);
            assert_ne!(bad.code, Some(0), "{bad:#?}");
            said.extend([bad.stderr, bad.stdout]);
        }
        fs::write(&key, whole).unwrap();
    }
    wait_until("the agent is as before", SOON, || agent.is_ready());
    said.extend([agent.log(), master.log()]);
    for text in &said {
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
