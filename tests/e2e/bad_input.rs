//! Bad input at every door of a host: a clear answer or the end of that connection, and nothing else is harmed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use hume_tests::events::{items, json_lines, messages};
use hume_tests::{Agent, SOON, Site, process, wait_until};
use serde_json::{Value, json};

/// The agent still takes a fresh event, and still has the one from before.
#[track_caller]
fn assert_unharmed(agent: &Agent) {
    let answer = agent.submit(&json!({"task": "FRESH", "message": "after the storm"}));
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(agent.count(&["-t", "BEFORE"]), 1);
    assert!(agent.is_running());
}

#[test]
fn whatever_a_line_holds_it_gets_one_answer_that_names_what_is_wrong() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.submit(&json!({"task": "BEFORE"}));
    let many_tags: Vec<String> = (0..10_000).map(|number| format!("t{number}")).collect();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(1024 * 1024));
    let cases: Vec<(Vec<u8>, Value)> = vec![
        (b"garbage".to_vec(), Value::Null),
        (b"\x00\x01\x02\xff\xfe".to_vec(), Value::Null),
        (b"{\"task\":\"X\",\"message\":\"\xff\"}".to_vec(), Value::Null),
        (b"[]".to_vec(), Value::Null),
        (b"42".to_vec(), Value::Null),
        (deep.into_bytes(), Value::Null),
        (long.into_bytes(), Value::Null),
        (br#"{"task":"X","mesage":"typo"}"#.to_vec(), Value::Null),
        (br#"{"task":"a\u0000b"}"#.to_vec(), json!("task")),
        (br#"{"task":" x"}"#.to_vec(), json!("task")),
        (format!(r#"{{"task":"{}"}}"#, "x".repeat(201)).into_bytes(), json!("task")),
        (br#"{"task":"X","level":"loud"}"#.to_vec(), json!("level")),
        (br#"{"task":"X","command":"counter-stopp"}"#.to_vec(), json!("command")),
        (br#"{"command":"counter-stop"}"#.to_vec(), json!("task")),
        (br#"{"task":"X","tags":["a,b"]}"#.to_vec(), json!("tags")),
        (json!({"task": "X", "tags": many_tags}).to_string().into_bytes(), json!("tags")),
        (
            json!({"task": "X", "message": "x".repeat(16 * 1024 + 1)}).to_string().into_bytes(),
            json!("message"),
        ),
        (br#"{"task":"X","time":"noon"}"#.to_vec(), json!("time")),
        (br#"{"task":"X","id":"7"}"#.to_vec(), json!("id")),
        (json!({"task": "X", "run_key": "k".repeat(129)}).to_string().into_bytes(), json!("run_key")),
        (br#"{"task":"X","run_key":"k","run_key_task":"Y"}"#.to_vec(), json!("run_key")),
    ];
    for (line, field) in &cases {
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        let answers = agent.socket_lines(&[line.as_slice(), b"\n"].concat());
        assert_eq!(answers.len(), 1, "{shown}: {answers:?}");
        let answer = &answers[0];
        assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("invalid")), "{shown}: {answer}");
        assert_eq!(&answer["field"], field, "{shown}: {answer}");
        assert!(!answer["error"].as_str().unwrap_or_default().is_empty(), "{shown}: {answer}");
    }
    assert_unharmed(&agent);
    assert_eq!(agent.count(&["-t", "X"]), 0, "nothing of a refused line is stored");
}

#[test]
fn good_and_bad_lines_are_answered_in_order_and_blank_ones_not_at_all() {
    let site = Site::new();
    let agent = site.agent("web1");
    let mut lines = Vec::new();
    for number in 0..1000 {
        let line = match number % 4 {
            3 => "nonsense".to_owned(),
            _ => json!({"task": "ORDER", "message": format!("line {number}")}).to_string(),
        };
        lines.extend_from_slice(format!("{line}\n\n \r\n").as_bytes());
    }
    let answers = agent.socket_lines(&lines);
    assert_eq!(answers.len(), 1000);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["ok"], json!(number % 4 != 3), "line {number}: {answer}");
    }
    let places: Vec<u64> = answers.iter().filter_map(|answer| answer["seq"].as_u64()).collect();
    assert!(places.is_sorted() && places.len() == 750);
}

#[test]
fn half_a_line_is_not_waited_for_and_holds_up_nobody() {
    let site = Site::new();
    let agent = site.agent("web1");
    agent.submit(&json!({"task": "BEFORE"}));
    let mut hanging = agent.connect();
    hanging.write_all(b"{\"task\":\"HALF\",").unwrap();
    assert_unharmed(&agent);
    let mut gone = agent.connect();
    gone.write_all(b"{\"task\":\"HALF\",").unwrap();
    drop(gone);
    let mut told = String::new();
    BufReader::new(hanging).read_line(&mut told).unwrap();
    assert!(told.contains("not ended in time"), "{told}");
    assert_eq!(agent.count(&["-t", "HALF"]), 0);
    assert_unharmed(&agent);
}

#[test]
fn three_hundred_connections_at_once_are_all_answered() {
    let site = Site::new();
    let agent = site.agent("web1");
    let mut open: Vec<_> = (0..300).map(|_| agent.connect()).collect();
    for (number, stream) in open.iter_mut().enumerate() {
        writeln!(stream, "{}", json!({"task": "MANY", "message": format!("caller {number}")})).unwrap();
    }
    for stream in open {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(line.contains("\"ok\":true"), "{line}");
    }
    assert_eq!(agent.count(&["-t", "MANY"]), 300);
}

#[test]
fn a_thousand_calls_of_hume_at_once_are_all_kept_and_the_agent_stays_small() {
    const MEMORY_KIB_MAX: u64 = 200 * 1024;
    let site = Site::new();
    let agent = site.agent("web1");
    agent.submit(&json!({"task": "BEFORE"}));
    // More at once than one user may have connections: whoever is told that the agent is busy uses the drop folder.
    let bomb =
        "for n in $(seq 1000); do hume --strict -t BOMB -m \"call $n\" || echo \"call $n: $?\" & done; wait";
    let output = process::run(&mut agent.shell(&["bash", "-c", bomb]));
    assert_eq!(
        (output.ok().stdout.as_str(), output.stderr.as_str()),
        ("", ""),
        "every call is kept, and none complains"
    );
    wait_until("the drop folder is empty", SOON, || {
        std::fs::read_dir(agent.drop_dir()).unwrap().all(|entry| entry.unwrap().file_name() == "rejected")
    });
    agent.wait_until_drained(SOON);
    let events = site.master().query_lines(&["-t", "BOMB"]);
    let kept: BTreeSet<&str> = messages(&events).into_iter().collect();
    assert_eq!((events.len(), kept.len()), (1000, 1000), "each once");
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    assert_unharmed(&agent);
}

#[test]
fn a_clock_that_jumps_ten_years_back_and_forth_changes_neither_runs_nor_their_order() {
    let site = Site::new();
    let agent = site.agent("web1");
    let say = |year: u64, seconds: u64, command: Option<&str>, message: &str| {
        let mut line = json!({"task": "JUMP", "time": format!("{year}-11-22T10:00:00Z"), "message": message,
                              "caller": {"boottime_us": seconds * 1_000_000}});
        if let Some(command) = command {
            line["command"] = json!(command);
        }
        line
    };
    let lines = [
        say(2026, 100, Some("counter-start"), "start"),
        say(2016, 101, None, "ten years back"),
        say(2036, 102, None, "ten years forth"),
        say(2016, 103, Some("counter-stop"), "stop"),
    ];
    let answers = agent.socket_lines(json_lines(lines).as_bytes());
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    agent.wait_until_drained(SOON);
    let words = ["--runs", "--events", "-t", "JUMP"];
    for runs in [agent.query_lines(&words), site.master().query_lines(&words)] {
        let [run] = runs.as_slice() else { unreachable!("one run: {runs:#?}") };
        let said = messages(items(run, "events"));
        assert_eq!(said, ["start", "ten years back", "ten years forth", "stop"]);
        assert_eq!((&run["status"], &run["reason"]), (&json!("ok"), &Value::Null));
        assert_eq!(
            (&run["duration_ms"], &run["flags"]),
            (&json!(3000), &json!([])),
            "by the clock that nobody turns"
        );
    }
}

#[test]
fn hume_never_refuses_a_value_it_cuts_escapes_and_says_so() {
    let site = Site::new();
    let agent = site.agent("web1");
    let broken = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let mut command = agent.reporting(process::command("hume"));
    command.arg("-t").arg(broken).arg("-T").arg(broken).arg("-m").arg(broken).args(["-x", "key=value"]);
    process::run(&mut command).ok();
    let mut command = agent.reporting(process::command("hume"));
    process::run_with_input(command.args(["-t", "LONG", "-m", "-"]), "é".repeat(512 * 1024).as_bytes()).ok();
    let tags: Vec<String> = (0..10_000).map(|number| format!("t{number}")).collect();
    agent.hume(&["-t", "TAGS", "-T", &tags.join(","), "-L", "loud", "-m", "text"]).ok();
    agent.wait_until_drained(SOON);
    let told = |task: &str| site.master().query_lines(&["-t", task]).remove(0);
    let event = told("caf\\xE9");
    assert_eq!((&event["message"], &event["tags"]), (&json!("caf\\xE9"), &json!(["caf\\xE9"])));
    assert_eq!(event["flags"], json!(["mangled"]));
    let event = told("LONG");
    assert_eq!(event["truncated_from"], 1024 * 1024);
    assert_eq!(event["message"].as_str().unwrap().len(), 16 * 1024);
    let event = told("TAGS");
    assert_eq!(event["tags"].as_array().unwrap().len(), 32);
    assert_eq!((&event["level"], &event["flags"]), (&json!("unknown"), &json!(["mangled"])));
}

#[test]
fn strict_says_by_the_exit_code_why_an_event_was_not_kept_as_it_was_meant() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.configure(|toml| {
        toml["spool"].as_table_mut().unwrap().insert("bytes_max".to_owned(), (400 * 1024).into());
    });
    agent.start();
    let hume = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = agent.reporting(process::command("hume"));
        process::run(command.args(words).envs(variables.iter().copied())).code
    };
    let long = "k".repeat(129);
    let exported = [("HUME_RUN_ID", "k"), ("HUME_RUN_TASK", "OTHER")];
    for (words, variables) in
        [(["-t", "X", "--run-id", &long], &[][..]), (["-t", "REFUSED", "--run-id", "k"], &exported)]
    {
        assert_eq!(hume(&[&words[..], &["--strict"]].concat(), variables), Some(65), "{words:?}");
        assert_eq!(hume(&words, variables), Some(0), "{words:?}");
    }
    assert_eq!(agent.count(&["-t", "REFUSED"]), 0);
    // Nothing can be sent and forgotten: the spool fills up, with long events and then with short ones.
    for text in ["x".repeat(16 * 1024), "x".to_owned()] {
        wait_until("the spool is full", SOON, || {
            agent.submit(&json!({"task": "FILL", "message": text}))["code"] == json!("full")
        });
    }
    assert_eq!(hume(&["--strict", "-t", "LATE", "-m", "waits in the folder"], &[]), Some(0));
    assert_eq!(
        std::fs::read_dir(agent.drop_dir())
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name() != "rejected" })
            .count(),
        1
    );
    let nowhere = agent.dir().join("no such folder");
    let nowhere = [("HUME_DROP_DIR", nowhere.to_str().unwrap())];
    assert_eq!(hume(&["--strict", "-t", "LOST"], &nowhere), Some(75));
    assert_eq!(hume(&["-t", "LOST"], &nowhere), Some(0), "a script never stops for it");
}

#[test]
fn a_misspelt_key_is_named_with_file_line_column_and_the_nearest_one() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let of_agent = agent.config().to_owned();
    let of_master = site.master().config().to_owned();
    for (program, file, line, nearest) in [
        ("humed-agent", &of_agent, "[spool]\nbytes_mx = 1\n", "bytes_max"),
        ("humed-master", &of_master, "[relay]\nlissten = \"127.0.0.1:1\"\n", "listen"),
    ] {
        let wrong = file.with_file_name("wrong.toml");
        std::fs::write(&wrong, line).unwrap();
        for words in [vec![], vec!["check-config"]] {
            let output = process::run(process::command(program).args(words).arg("--config").arg(&wrong));
            output.with_code(78);
            let place = format!("{}:2:1", wrong.display());
            assert!(output.stderr.contains(&place) && output.stderr.contains(nearest), "{output:#?}");
        }
        process::run(process::command(program).args(["check-config", "--config"]).arg(file)).ok();
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_named_with_its_length() {
    let site = Site::new();
    let agent = site.prepare_agent("web1");
    let long = agent.dir().join("x".repeat(120)).join("hume.sock");
    agent.configure(|toml| {
        toml["intake"].as_table_mut().unwrap().insert("socket".to_owned(), long.display().to_string().into());
    });
    agent.spawn();
    wait_until("the agent has given up", SOON, || agent.ended().is_some());
    let length = long.as_os_str().len().to_string();
    assert!(agent.log().contains(&length) && agent.log().contains("107"), "{}", agent.log());
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let site = Site::new();
    let agent = site.agent("web1");
    for (program, config) in [("humed-agent", agent.config()), ("humed-master", site.master().config())] {
        let mut command = process::command(program);
        let output = process::run(command.arg("--config").arg(config).stdin(Stdio::null()));
        output.with_code(75);
        assert!(output.stderr.contains("is in use by process"), "{output:#?}");
    }
    agent.submit(&json!({"task": "FIRST", "message": "goes on"}));
    agent.wait_until_drained(SOON);
    assert_eq!(site.master().count(&["-t", "FIRST"]), 1);
}
