//! `hume exec`: what the command notices of it (nothing), what the agent is told, and every exit code.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Output, Stdio};

use hume_core::event::{Command as Counter, Exit, KeySource, OverlapWish};
use hume_core::policy::Overlap;
use hume_core::{Draft, Level};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::{Manner, Site, code, stderr};

const CONFLICT: Manner = Manner::Answer(
    "{\"ok\":false,\"code\":\"conflict\",\"error\":\"X runs already, since 03:00\",\"field\":\"overlap\"}\n",
);
const DENIED: Manner = Manner::Answer("{\"ok\":false,\"code\":\"denied\",\"error\":\"not you\"}\n");

/// `hume exec -t X` with these words behind it.
fn exec(site: &Site, words: &[&str]) -> Output {
    site.hume(["exec", "-t", "X"].iter().chain(words))
}

/// `hume exec -t X` with these words, still running.
pub(super) fn begun(site: &Site, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = site
        .command(env!("CARGO_BIN_EXE_hume"))
        .args(["exec", "-t", "X"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

pub(super) fn line_of(reader: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

pub(super) fn rest_of(reader: &mut impl std::io::Read) -> String {
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    rest
}

pub(super) fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(super) fn extra<'a>(draft: &'a Draft, key: &str) -> Option<&'a str> {
    draft.extra.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

/// A named pipe in the site's folder.
pub(super) fn fifo(site: &Site, name: &str) -> String {
    let path = site.socket().with_file_name(name);
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_exit_code_is_the_commands_own_and_both_events_are_told() {
    let site = Site::new(Manner::Store);
    for (command, expected, exit) in [
        (&["true"][..], 0, Exit::Code(0)),
        (&["sh", "-c", "exit 3"], 3, Exit::Code(3)),
        (&["sh", "-c", "exit 255"], 255, Exit::Code(255)),
        (&["sh", "-c", "kill -9 $$"], 137, Exit::Signal(9)),
        (&["bash", "-c", "kill -s RTMIN+3 $$"], 165, Exit::Signal(37)),
        (&["no-such-command"], 127, Exit::Code(127)),
        (&["/dev/null"], 126, Exit::Code(126)),
    ] {
        let output = exec(&site, &[&["--"], command].concat());
        assert_eq!(code(&output), expected, "{command:?}");
        let (start, stop) = (site.draft(), site.draft());
        assert_eq!((start.command, stop.command), (Some(Counter::CounterStart), Some(Counter::CounterStop)));
        assert_eq!((start.task.as_str(), stop.task.as_str(), start.exit), ("X", "X", None));
        assert_eq!((stop.exit, stop.level), (Some(exit), Level::Info), "{command:?}");
        let (opened, closed) = (start.key.unwrap(), stop.key.unwrap());
        assert_eq!((&opened, opened.source), (&closed, KeySource::Flag));
        assert_eq!(opened.task.unwrap().as_str(), "X");
        assert!(start.id < stop.id && start.time <= stop.time);
        assert_eq!(start.overlap, Some(OverlapWish::Policy));
    }
    assert!(site.dropped().is_empty());
}

#[test]
fn a_command_that_did_not_begin_is_told_on_stderr_and_in_the_stop_event() {
    let site = Site::new(Manner::Store);
    let said = stderr(&exec(&site, &["--chronic", "--", "no-such-command"]));
    assert_eq!(said, "hume exec: no-such-command: No such file or directory\n");
    assert_eq!(site.draft().message, "no-such-command");
    assert_eq!(site.draft().message, "not started: no-such-command: No such file or directory");
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_the_shell_as_from_anywhere_else() {
    let site = Site::new(Manner::Store);
    let script = site.socket().with_file_name("job");
    std::fs::write(&script, "echo \"$0 $*\"; exit 7\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = script.to_str().unwrap();
    let output = exec(&site, &["--", path, "a b"]);
    assert_eq!((code(&output), stdout(&output)), (7, format!("{path} a b\n")));
    let folder = script.parent().unwrap().to_str().unwrap();
    let output = site.sh(&format!(r#"PATH="/nowhere:{folder}:$PATH"; "$HUME" exec -t X job"#));
    assert_eq!((code(&output), stdout(&output)), (7, format!("{path} \n")));
}

#[test]
fn the_start_has_the_command_line_and_the_facts_and_the_stop_has_how_it_went() {
    let site = Site::new(Manner::Store);
    let output = site.hume([
        "exec",
        "-t",
        "X",
        "-T",
        "a,b",
        "-x",
        "k=v",
        "--hostname",
        "web2",
        "-a",
        "--",
        "sh",
        "-c",
        "echo hi",
    ]);
    assert_eq!((code(&output), stdout(&output).as_str(), stderr(&output).as_str()), (0, "hi\n", ""));
    let (start, stop) = (site.draft(), site.draft());
    assert_eq!(start.message, "sh -c 'echo hi'");
    assert_eq!(start.extra, [("k".to_owned(), "v".to_owned())]);
    assert!(start.tree.is_some() && stop.tree.is_none());
    for draft in [&start, &stop] {
        assert_eq!(draft.tags.iter().map(hume_core::Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(draft.host.as_ref().unwrap().as_str(), "web2");
        assert!(!draft.mangled);
    }
    assert!(stop.message.starts_with("exit 0 after "), "{}", stop.message);
    for key in ["wall_ms", "user_ms", "system_ms", "max_rss_kib"] {
        extra(&stop, key).unwrap().parse::<u64>().unwrap();
    }
    assert_eq!((extra(&stop, "output_bytes"), extra(&stop, "timed_out")), (Some("3"), None));
    assert_eq!(code(&exec(&site, &["-m", "nightly", "--", "true"])), 0);
    assert_eq!(site.draft().message, "nightly");
}

#[test]
fn hume_calls_inside_join_the_run_and_those_for_another_task_say_whose_key_it_is() {
    let site = Site::new(Manner::Store);
    let output = site.sh(
        r#"HTASK=X HTAGS=t "$HUME" exec --hostname web2 -- sh -c '"$HUME" inner; "$HUME" -t Y other; "$HUME" exec -t Z -- "$HUME" deep'"#,
    );
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let [start, inner, other, deep_start, deep] = std::array::from_fn(|_| site.draft());
    let key = start.key.unwrap().key;
    let joined = inner.key.unwrap();
    assert_eq!((inner.task.as_str(), &joined.key, joined.source), ("X", &key, KeySource::Environment));
    assert_eq!(joined.task.unwrap().as_str(), "X");
    assert_eq!((inner.host.unwrap().as_str(), inner.tags[0].as_str()), ("web2", "t"));
    let foreign = other.key.unwrap();
    assert_eq!((other.task.as_str(), &foreign.key, foreign.source), ("Y", &key, KeySource::Environment));
    assert_eq!((foreign.task.unwrap().as_str(), other.host), ("X", None));
    let own = deep_start.key.unwrap();
    assert_ne!(own.key, key, "a run inside a run is another one");
    assert_eq!((own.source, deep_start.host), (KeySource::Flag, None));
    assert_eq!((deep.task.as_str(), deep.key.unwrap().key), ("Z", own.key));
    assert_eq!(deep.host, None);
}

#[test]
fn a_run_of_the_same_task_around_it_is_another_run() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#""$HUME" exec -t X -- "$HUME" exec -t X -- true"#);
    assert_eq!(code(&output), 0);
    let (outer, inner) = (site.draft(), site.draft());
    assert_eq!((outer.command, inner.command), (Some(Counter::CounterStart), Some(Counter::CounterStart)));
    assert_ne!(outer.key.unwrap().key, inner.key.unwrap().key);
}

#[test]
fn the_process_is_the_runs_own_and_not_a_messenger() {
    let site = Site::without_agent();
    assert_eq!(code(&exec(&site, &["--", "sh", "-c", "exit 0"])), 0);
    let [start, stop] = site.dropped().try_into().unwrap();
    for draft in [start, stop] {
        let chain = draft.caller.chain.unwrap();
        assert_eq!(chain.links()[0].comm, "hume-exec");
        assert_eq!(chain.owner().unwrap().pid, draft.caller.pid.unwrap());
        assert_eq!(draft.caller.script, None, "`sh -c` runs no script");
    }
    let script = site.socket().with_file_name("backup.sh");
    std::fs::write(&script, "exit 0\n").unwrap();
    assert_eq!(code(&exec(&site, &["--", "sh", script.to_str().unwrap()])), 0);
    assert_eq!(site.dropped()[2].caller.script.as_deref(), script.to_str());
}

#[test]
fn without_an_agent_the_command_runs_and_both_events_are_in_the_drop_folder() {
    for site in [Site::without_agent(), Site::new(Manner::CloseAtOnce), Site::new(Manner::HangUp)] {
        for overlap in [&["--overlap", "warn"][..], &["--overlap", "forbid"], &[]] {
            let output = exec(&site, &[overlap, &["--", "sh", "-c", "echo hi; exit 3"]].concat());
            assert_eq!((code(&output), stdout(&output).as_str(), stderr(&output).as_str()), (3, "hi\n", ""));
        }
        let dropped = site.dropped();
        let commands: Vec<_> = dropped.iter().map(|draft| draft.command.unwrap().as_str()).collect();
        assert_eq!(commands, ["counter-start", "counter-stop"].repeat(3), "their ids are in their order");
        let wishes: Vec<_> = dropped.iter().filter_map(|draft| draft.overlap).collect();
        let warn = OverlapWish::Only(Overlap::Warn);
        assert_eq!(wishes, [warn, warn, OverlapWish::Begun], "it has begun: nobody may refuse it now");
    }
}

#[test]
fn without_a_drop_folder_too_one_line_says_so_and_nothing_else_changes() {
    let site = Site::without_agent().without_drop_folder();
    let output = exec(&site, &["--", "sh", "-c", "echo hi; exit 3"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (3, "hi\n"));
    let said = stderr(&output);
    assert!(
        said.starts_with("hume exec: nothing stored: no agent at ") && said.lines().count() == 1,
        "{said}"
    );
    let output = exec(&site, &["--chronic", "--", "echo", "hi"]);
    assert_eq!((code(&output), stdout(&output).as_str(), stderr(&output).as_str()), (0, "", ""));
}

#[test]
fn an_agent_that_says_no_does_not_stop_the_command() {
    let site = Site::new(DENIED);
    let output = site
        .command(env!("CARGO_BIN_EXE_hume"))
        .args(["exec", "-t", "X", "--", "sh", "-c", "echo hi; exit 3"])
        .env("HUME_STRICT", "1")
        .output()
        .unwrap();
    assert_eq!((code(&output), stdout(&output).as_str()), (3, "hi\n"));
    let said = stderr(&output);
    assert!(said.starts_with("hume exec: nothing stored: the agent answered denied: not you; "), "{said}");
    assert!(said.lines().count() == 1 && site.dropped().is_empty(), "{said}");
}

#[test]
fn an_agent_that_never_answers_does_not_change_the_command() {
    let site = Site::new(Manner::Silence);
    for overlap in [&[][..], &["--overlap", "warn"], &["--overlap", "forbid"]] {
        let words = [&["--recv-timeout", "100"], overlap, &["--", "sh", "-c", "cat; exit 3"]].concat();
        let (mut child, mut out) = begun(&site, &words);
        child.stdin.take().unwrap().write_all(b"in\n").unwrap();
        assert_eq!(rest_of(&mut out), "in\n");
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
    assert_eq!(site.dropped().len(), 6);
}

#[test]
fn with_overlap_warn_no_answer_is_waited_for_and_the_start_is_sent_before_the_command_begins() {
    // The agent answers the start only when it has read the line that the command itself sends.
    let site = Site::new(Manner::StoreLate);
    let output = site.sh(r#""$HUME" exec -t X --overlap warn -- "$HUME" inner"#);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let mut both = [site.draft(), site.draft()];
    // Each connection is read by a thread of its own.
    both.sort_by_key(|draft| draft.command.is_none());
    let [start, inner] = both;
    assert_eq!(start.overlap, Some(OverlapWish::Only(Overlap::Warn)));
    assert_eq!(inner.message, "inner");
    assert_eq!(site.draft().command, Some(Counter::CounterStop));
    assert!(site.dropped().is_empty());
}

#[test]
fn a_run_that_must_not_overlap_does_not_begin_and_the_agent_says_why() {
    let site = Site::new(CONFLICT);
    for (overlap, wish) in
        [(&["--overlap", "forbid"][..], OverlapWish::Only(Overlap::Forbid)), (&[], OverlapWish::Policy)]
    {
        let output = exec(&site, &[overlap, &["--chronic", "--", "echo", "ran"]].concat());
        assert_eq!((code(&output), stdout(&output).as_str()), (75, ""));
        assert_eq!(stderr(&output), "hume exec: not started: X runs already, since 03:00\n");
        assert_eq!(site.draft().overlap, Some(wish));
    }
    assert!(site.draft_at_hand().is_none() && site.dropped().is_empty(), "what did not begin does not stop");
}

#[test]
fn wrong_use_is_64_in_one_line_and_nothing_is_run() {
    let site = Site::without_agent();
    for words in [
        &["exec", "--", "echo", "ran"][..],
        &["exec", "-t", " ", "--", "echo", "ran"],
        &["exec", "-t", "X"],
        &["exec", "-t", "X", "--chronik", "--", "echo", "ran"],
        &["exec", "-t", "X", "--timeout", "soon", "--", "echo", "ran"],
        &["exec", "-t", "X", "--strict", "--", "echo", "ran"],
    ] {
        let output = site.hume(words);
        assert_eq!((code(&output), stdout(&output).as_str()), (64, ""), "{words:?}");
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    assert!(site.dropped().is_empty());
    let output = site.hume(["exec"]);
    assert_eq!(code(&output), 64);
    assert!(stderr(&output).contains("Usage: hume exec [OPTIONS] [-t TASK] -- COMMAND [ARG]..."));
}

#[test]
fn both_streams_are_passed_on_byte_by_byte() {
    let site = Site::new(Manner::Store);
    let bytes: Vec<u8> = (0..1_500_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = site.socket().with_file_name("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let output = exec(&site, &["--", "sh", "-c", &format!("cat {0} & cat {0} >&2; wait", file.display())]);
    assert_eq!(code(&output), 0);
    assert!(output.stdout == bytes && output.stderr == bytes);
    site.draft();
    assert_eq!(extra(&site.draft(), "output_bytes"), Some("3000000"));
}

#[test]
fn the_command_reads_our_stdin() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#"printf 'a\nb\n' | { read -r first; "$HUME" exec -t X -- cat; }"#);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "b\n"));
}

#[test]
fn with_no_tail_the_command_has_our_streams_themselves() {
    let site = Site::new(Manner::Store);
    let script = r#"readlink /proc/$$/fd/1 /proc/$$/fd/2; exec "$HUME" exec -t X --tail 0 -- readlink /proc/self/fd/1 /proc/self/fd/2"#;
    let said = stdout(&site.sh(script));
    let links: Vec<&str> = said.lines().collect();
    assert_eq!((links.len(), &links[..2]), (4, &links[2..]), "{said}");
    site.draft();
    let stop = site.draft();
    assert!(stop.message.starts_with("exit 0 after ") && extra(&stop, "output_bytes").is_none());
}

#[test]
fn the_tail_of_a_failure_has_both_streams_in_the_order_of_their_coming() {
    let site = Site::new(Manner::Store);
    let (mut child, mut out) =
        begun(&site, &["--", "sh", "-c", "echo one; read x; echo two >&2; read x; echo three; exit 1"]);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    assert_eq!(line_of(&mut out), "one");
    stdin.write_all(b"\n").unwrap();
    assert_eq!(line_of(&mut err), "two");
    stdin.write_all(b"\n").unwrap();
    assert_eq!((line_of(&mut out).as_str(), child.wait().unwrap().code()), ("three", Some(1)));
    site.draft();
    let stop = site.draft();
    assert!(stop.message.starts_with("exit 1 after "), "{}", stop.message);
    assert!(stop.message.ends_with("s\none\ntwo\nthree"), "{}", stop.message);
}

#[test]
fn where_both_streams_go_to_one_place_their_order_is_exact() {
    let site = Site::new(Manner::Store);
    let job = "for n in $(seq 500); do echo out $n; echo err $n >&2; done; exit 1";
    let expected = (1..=500).map(|n| format!("out {n}\nerr {n}\n")).collect::<Vec<_>>().concat();
    for chronic in ["", "--chronic"] {
        let output = site.sh(&format!(r#""$HUME" exec -t X {chronic} -- sh -c '{job}' 2>&1"#));
        assert_eq!((code(&output), stdout(&output)), (1, expected.clone()), "{chronic}");
        site.draft();
        assert!(site.draft().message.ends_with("out 500\nerr 500"));
    }
}

#[test]
fn of_a_long_output_the_end_is_sent_behind_a_mark() {
    let site = Site::new(Manner::Store);
    let output = exec(&site, &["--tail", "10", "--", "sh", "-c", "printf 0123456789abcdef; exit 1"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (1, "0123456789abcdef"));
    site.draft();
    let stop = site.draft();
    assert!(stop.message.ends_with("s\n[… 6 bytes cut]\n6789abcdef"), "{}", stop.message);
    assert_eq!((stop.truncated_from, stop.mangled), (None, false));
}

#[test]
fn the_largest_tail_of_bytes_that_are_no_text_fits_and_keeps_its_end() {
    let site = Site::new(Manner::Store);
    let job = r"head -c 100000 /dev/zero | tr '\0' '\377'; printf end; exit 1";
    assert_eq!(code(&exec(&site, &["--tail", "12288", "--", "sh", "-c", job])), 1);
    site.draft();
    let stop = site.draft();
    assert!(stop.message.ends_with(r"\xFF\xFFend"), "{}", stop.message.len());
    assert!(stop.truncated_from.is_none() && stop.mangled, "escaped, but not cut");
}

#[test]
fn a_tail_that_was_asked_for_is_sent_when_all_is_well_too() {
    let site = Site::new(Manner::Store);
    for (words, ends_so) in [(&["--tail", "100"][..], "s\nhi"), (&[], "s")] {
        assert_eq!(code(&exec(&site, &[words, &["--", "echo", "hi"]].concat())), 0);
        site.draft();
        let stop = site.draft();
        assert!(stop.message.ends_with(ends_so), "{}", stop.message);
    }
}

#[test]
fn chronic_is_silent_when_all_is_well() {
    let site = Site::new(Manner::Store);
    let output = exec(&site, &["--chronic", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((code(&output), stdout(&output).as_str(), stderr(&output).as_str()), (0, "", ""));
    site.draft();
    assert_eq!(extra(&site.draft(), "output_bytes"), Some("8"));
}

#[test]
fn chronic_prints_everything_to_its_own_stream_when_the_command_fails() {
    let site = Site::new(Manner::Store);
    let job = "head -c 300000 /dev/zero; echo err >&2; echo out; exit 2";
    let output = exec(&site, &["--chronic", "--", "sh", "-c", job]);
    assert_eq!((code(&output), stderr(&output).as_str()), (2, "err\n"));
    assert_eq!(output.stdout.len(), 300_004);
    assert!(output.stdout.ends_with(b"\0out\n"));
    let output = exec(&site, &["--chronic", "--", "sh", "-c", "echo out; kill -TERM $$"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (143, "out\n"));
    let output = exec(&site, &["--chronic", "--timeout", "1s", "--", "sh", "-c", "echo out; sleep 1000"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (143, "out\n"));
}

#[test]
fn of_a_flood_chronic_holds_beginning_and_end_around_a_mark() {
    let site = Site::new(Manner::Store);
    let job = "echo first; head -c 5000000 /dev/zero; echo; echo last; exit 1";
    let output = exec(&site, &["--chronic", "--", "sh", "-c", job]);
    assert!(output.stdout.starts_with(b"first\n") && output.stdout.ends_with(b"\0\nlast\n"));
    assert!(output.stdout.len() < 1_100_000, "{}", output.stdout.len());
    let mark = "[… ".as_bytes();
    assert_eq!(output.stdout.windows(mark.len()).filter(|window| *window == mark).count(), 1);
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_with_all_that_it_began() {
    let site = Site::new(Manner::Store);
    let held = fifo(&site, "held");
    let job = format!(r#"trap "" TERM; sleep 1000 >{held} & echo ready; while :; do sleep 1000; done"#);
    let reader = {
        let held = held.clone();
        std::thread::spawn(move || std::fs::read(held).unwrap())
    };
    let output = exec(&site, &["--timeout", "1s", "--kill-after", "200ms", "--", "sh", "-c", &job]);
    assert_eq!((code(&output), stdout(&output).as_str()), (137, "ready\n"));
    assert!(reader.join().unwrap().is_empty(), "its child is gone too, or this would never end");
    site.draft();
    let stop = site.draft();
    assert!(stop.message.starts_with("timed out after 1s: ended by SIGKILL after "), "{}", stop.message);
    assert!(stop.message.ends_with("\nready"), "{}", stop.message);
    assert_eq!((stop.exit, stop.level), (Some(Exit::Signal(9)), Level::Error));
    assert_eq!(extra(&stop, "timed_out"), Some("true"));
}

#[test]
fn a_command_that_has_had_its_time_and_ends_well_has_its_own_code_and_a_run_that_failed() {
    let site = Site::new(Manner::Store);
    let job = r#"trap "echo bye; exit 0" TERM; sleep 1000 >/dev/null 2>&1 & echo ready; wait"#;
    let output = exec(&site, &["--timeout", "1s", "--kill-after", "1d", "--", "sh", "-c", job]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "ready\nbye\n"));
    site.draft();
    let stop = site.draft();
    assert_eq!((stop.exit, stop.level), (Some(Exit::Code(0)), Level::Error));
}

#[test]
fn a_time_limit_that_is_not_reached_changes_nothing() {
    let site = Site::new(Manner::Store);
    let output = exec(&site, &["--timeout", "1h", "--", "sh", "-c", "exit 4"]);
    assert_eq!(code(&output), 4);
    site.draft();
    assert_eq!(extra(&site.draft(), "timed_out"), None);
}

#[test]
fn signals_go_on_to_the_command() {
    for (signal, expected) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGCONT, "CONT"),
        (Signal::SIGWINCH, "WINCH"),
    ] {
        let site = Site::new(Manner::Store);
        let job = format!(
            "trap 'echo got {expected}; kill -9 $!; exit 7' {expected}; sleep 1000 & echo ready; wait"
        );
        let (mut child, mut out) = begun(&site, &["--", "sh", "-c", &job]);
        assert_eq!(line_of(&mut out), "ready");
        send(&child, signal);
        assert_eq!(line_of(&mut out), format!("got {expected}"));
        assert_eq!(child.wait().unwrap().code(), Some(7), "{expected}");
    }
}

#[test]
fn the_command_has_the_signals_that_we_were_started_with() {
    let site = Site::new(Manner::Store);
    // Those that a C program may know of; the two above are the C library's own.
    let nothing_above = |hex: &str| u64::from_str_radix(hex.trim(), 16).unwrap() & 0x7fff_ffff;
    let show = "grep -E 'Sig(Blk|Ign):' /proc/self/status";
    for script in [
        show.to_owned(),
        format!(r#""$HUME" exec -t X -- {show}"#),
        format!(r#""$HUME" exec -t X --chronic -- sh -c "{show}; exit 1""#),
    ] {
        let said = stdout(&site.sh(&format!("trap '' HUP USR1; {script}")));
        let masks: Vec<u64> =
            said.lines().map(|line| nothing_above(line.split_once(':').unwrap().1)).collect();
        assert_eq!(masks, [0, 0x201], "{script}: {said}");
    }
}

#[test]
fn a_caller_that_ignores_the_end_of_its_children_does_not_cost_the_exit_code() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#"env --ignore-signal=CHLD "$HUME" exec -t X -- sh -c 'exit 6'"#);
    assert_eq!((code(&output), stderr(&output).as_str()), (6, ""));
    site.draft();
    assert_eq!(site.draft().exit, Some(Exit::Code(6)));
}

/// `script` gives it a terminal; what the job wrote there.
fn on_a_terminal(site: &Site, command: &str, typed: &[(&str, &[u8])]) -> String {
    let mut child = site
        .command("script")
        .args(["-qec", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    let mut seen = String::new();
    for (awaited, keys) in typed {
        while !seen.ends_with(&format!("{awaited}\r\n")) {
            assert!(out.read_line(&mut seen).unwrap() > 0, "{seen}");
        }
        stdin.write_all(keys).unwrap();
    }
    out.read_to_string(&mut seen).unwrap();
    drop(stdin);
    child.wait().unwrap();
    seen
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let site = Site::new(Manner::Store);
    // Killing what is waited for ends the wait, whether it has begun by then or not.
    let job = r"n=0; trap 'n=$((n+1)); kill -9 $!; echo interrupted' INT; sleep 1000 & echo ready; wait; read x; echo $n times";
    let script = site.socket().with_file_name("job.sh");
    std::fs::write(&script, job).unwrap();
    let command = format!(r#""$HUME" exec -t X -- sh {}"#, script.display());
    let seen = on_a_terminal(&site, &command, &[("ready", b"\x03"), ("interrupted", b"\n")]);
    assert!(seen.ends_with("1 times\r\n"), "{seen:?}");
}

#[test]
fn a_terminal_is_left_to_the_command_unless_it_is_to_be_silent() {
    let site = Site::new(Manner::Store);
    let job = "sh -c 'test -t 1 && echo out; test -t 2 && echo err; test -t 0 && echo in; exit 1'";
    let seen = on_a_terminal(&site, &format!(r#""$HUME" exec -t X -- {job}"#), &[]);
    assert_eq!(seen, "out\r\nerr\r\nin\r\n");
    site.draft();
    assert_eq!(extra(&site.draft(), "output_bytes"), None);
    let seen = on_a_terminal(&site, &format!(r#""$HUME" exec -t X --chronic -- {job}"#), &[]);
    assert_eq!(seen, "in\r\n");
    let seen = on_a_terminal(&site, &format!(r#""$HUME" exec -t X -- {job} 2>/dev/null"#), &[]);
    assert_eq!(seen, "out\r\nin\r\n");
}

#[test]
fn where_our_reader_is_gone_the_command_notices_it_itself() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#""$HUME" exec -t X -- yes | head -n 1; exit "${PIPESTATUS[0]}""#);
    assert_eq!((code(&output), stdout(&output).as_str()), (141, "y\n"));
    site.draft();
    assert_eq!(site.draft().exit, Some(Exit::Signal(13)));
}

#[test]
fn a_reader_that_takes_nothing_holds_neither_the_time_limit_nor_the_stop_event() {
    let site = Site::new(Manner::Store);
    let (mut child, mut out) = begun(&site, &["--timeout", "1s", "--", "sh", "-c", "echo x; exec yes"]);
    site.draft();
    assert_eq!(site.draft().exit, Some(Exit::Signal(15)), "nobody has read anything yet");
    let rest = rest_of(&mut out);
    assert!(rest.starts_with("x\ny\ny\n") && rest.len() >= 65_536, "{}", rest.len());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn closed_and_full_streams_change_nothing() {
    let site = Site::new(Manner::Store);
    for redirection in ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"] {
        let script = format!(r#"exec "$HUME" exec -t X -- sh -c 'echo hi; exit 3' {redirection}"#);
        assert_eq!(code(&site.sh(&script)), 3, "{redirection}");
    }
    let output = site.sh(r#"exec "$HUME" exec -t X -- echo hi >/dev/full"#);
    assert_eq!(stderr(&output), "hume exec: some output was lost: No space left on device (os error 28)\n");
}

#[test]
fn verbose_says_what_became_of_both_events() {
    let site = Site::new(Manner::Store);
    let said = stderr(&exec(&site, &["--verbose", "--chronic", "--", "true"]));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 2, "{said}");
    assert!(lines.iter().all(|line| line.starts_with("hume exec: stored by the agent: id ")), "{said}");
}

#[test]
fn many_at_once_are_kept_apart() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#"for n in $(seq 20); do "$HUME" exec -t X -- sh -c "exit $n" & done; wait"#);
    assert_eq!(code(&output), 0);
    let drafts: Vec<Draft> = (0..40).map(|_| site.draft()).collect();
    let mut keys: Vec<String> =
        drafts.iter().map(|draft| draft.key.as_ref().unwrap().key.as_str().to_owned()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 20);
}

#[test]
fn the_help_of_exec_fits_a_screen_and_the_long_one_shows_examples_first() {
    let site = Site::without_agent();
    let output = site.hume(["exec", "-h"]);
    let help = stdout(&output);
    assert!(code(&output) == 0 && help.lines().count() <= 40 && help.lines().all(|line| line.len() <= 110));
    insta::assert_snapshot!("exec_help_short", help);
    let output = site.hume(["exec", "--help"]);
    let help = stdout(&output);
    assert!(code(&output) == 0 && help.lines().all(|line| line.chars().count() <= 100), "{help}");
    insta::assert_snapshot!("exec_help_long", help);
}
