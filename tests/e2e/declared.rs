//! Hosts say themselves when their tasks are expected: by `hume watch`, with a start, and out of their crontabs.

use std::fs;
use std::path::Path;

use hume_tests::{Agent, Master, Output, SOON, Site, process, wait_for, wait_until};
use serde_json::Value;

/// Every five seconds.
const OFTEN: &str = "*-*-* *:*:0/5";

fn first_finding(master: &Master, task: &str) -> Value {
    wait_for(&format!("the master finds that {task} does not run"), SOON, || {
        master.query_lines(&["-t", task, "--kind", "watchdog"]).into_iter().next()
    })
}

/// `humeconfig watch`, at the agent's socket.
fn watch(agent: &Agent, words: &[&str]) -> Output {
    let mut command = agent.reporting(process::command("humeconfig"));
    process::run(command.arg("watch").args(words))
}

#[test]
fn a_task_that_its_host_expects_is_found_when_it_does_not_run_until_the_host_takes_it_back() {
    let site = Site::new();
    let (master, agent) = (site.master(), site.agent("web1"));
    // The sibling does it, as git has it.
    agent.hume(&["watch", "--schedule", OFTEN, "--grace", "1s", "-t", "BACKUP"]).ok();
    let found = first_finding(master, "BACKUP");
    assert_eq!((&found["reason"], &found["host"]), (&"never_ran".into(), &"web1".into()), "{found}");
    assert_eq!(found["extra"]["watch"], "BACKUP.web1");
    // It is no event of the task, and in no run.
    assert_eq!((master.count(&["-t", "BACKUP"]), agent.count(&["-t", "BACKUP"])), (0, 0));
    let said = master.query_lines(&["-t", "BACKUP", "--kind", "system"]).remove(0);
    assert_eq!(said["message"], format!("this task is expected: {OFTEN}; start_grace=1s"));
    assert!(said["run"].is_null(), "{said}");

    // With a start it is the same, and the start a start.
    agent.hume(&["-c", "counter-start", "-t", "SYNC", "--expect", &format!("{OFTEN}; grace=1s")]).ok();
    agent.hume(&["-c", "counter-stop", "-t", "SYNC"]).ok();
    assert_eq!(first_finding(master, "SYNC")["reason"], "missed");
    assert_eq!(master.count(&["-t", "SYNC"]), 2);

    watch(&agent, &["--never", "-t", "BACKUP"]).ok();
    watch(&agent, &["--never", "-t", "SYNC"]).ok();
    wait_until("both are taken back", SOON, || {
        let said = master.query_lines(&["--kind", "system"]);
        said.iter().filter(|event| event["extra"]["hume.expect"] == "never").count() == 2
    });
}

#[test]
fn what_makes_no_sense_is_refused_by_the_agent_with_the_key_and_an_example() {
    let site = Site::without_master();
    let agent = site.prepare_agent("web1");
    agent.be_alone();
    agent.start();
    let refused = agent.hume(&["--strict", "-c", "counter-start", "-t", "X", "--expect", "30 2 30 2 *"]);
    let words = "day of `30 2 30 2 *` never comes; write a day that its months have, such as `30 2 28 2 *`";
    assert!(refused.with_code(65).stderr.contains(words), "{}", refused.stderr);
    let refused = watch(&agent, &["--daily", "--at", "02:00", "--grace", "30", "-t", "X"]);
    let words = "the agent says: start_grace `30` is no duration; write `start_grace=30m`";
    assert!(refused.with_code(64).stderr.contains(words), "{}", refused.stderr);
    let nameless = agent.submit(&serde_json::json!({"extra": {"hume.expect": "daily"}}));
    assert_eq!((&nameless["code"], &nameless["field"]), (&"invalid".into(), &"task".into()), "{nameless}");
    assert_eq!(agent.count(&["--kind", "all"]), 0);
    assert_eq!(agent.stop(), 0);
    let away = watch(&agent, &["--daily", "-t", "X"]);
    assert!(away.with_code(69).stderr.contains("could not ask the agent on"), "{}", away.stderr);
}

#[test]
fn crontabs_and_timers_are_imported_and_what_they_say_otherwise_later_is_told() {
    let site = Site::new();
    let (master, agent) = (site.master(), site.agent("web1"));
    let root = site.folder().path().join("root");
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(
        "etc/cron.d/backup",
        "0 2 * * * root hume exec -t BACKUP -- /srv/backup.sh\n0 3 * * * root /srv/silent\n",
    );
    put("etc/systemd/system/sync.timer", "[Timer]\nOnCalendar=*-*-* *:*:0/5\nAccuracySec=1s\n");
    put("etc/systemd/system/sync.service", "[Service]\nExecStart=/usr/bin/hume exec -t SYNC -- sync\n");
    put("etc/systemd/system/timers.target.wants/sync.timer", "");
    let record = site.folder().path().join("imported.toml");
    let import = |more: &[&str]| {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (root, record) = (path(&root), path(&record));
        let words = ["import", "--root", &root, "--record", &record];
        watch(&agent, &words.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let shown = import(&[]);
    for words in [
        "BACKUP  0 2 * * *",
        "SYNC    OnCalendar=*-*-* *:*:0/5; start_grace=5m1s",
        "nothing of /etc/cron.d/backup:2: it names no task",
        "nothing was declared: --create does it",
    ] {
        assert!(shown.ok().stdout.contains(words), "{words}: {}", shown.stdout);
    }
    assert!(!record.exists() && agent.count(&["--kind", "all"]) == 0);
    assert!(import(&["--create"]).ok().stdout.contains("declared 2 to the agent"));
    wait_until("the master has both", SOON, || master.count(&["--kind", "system"]) == 2);
    import(&["--check"]).ok();
    put("etc/cron.d/backup", "0 3 * * * root hume exec -t BACKUP -- /srv/backup.sh\n");
    let drifted = import(&["--check"]);
    let words = "BACKUP: the watch says `0 2 * * *`, /etc/cron.d/backup:1 now says `0 3 * * *`";
    assert!(drifted.with_code(78).stdout.contains(words), "{}{}", drifted.stdout, drifted.stderr);
    import(&["--create"]).ok();
    import(&["--check"]).ok();
}
