//! `hume pipe`: every line arrives once, whatever becomes of the agent, and what is passed on is what came.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use hume_core::event::{KeySource, MESSAGE_BYTES_MAX};
use hume_core::{Draft, EventId, Level};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Manner, OK, Site, code, stderr};

const FULL: Manner = Manner::Answer("{\"ok\":false,\"code\":\"full\",\"error\":\"the spool is full\"}\n");
const DENIED: Manner = Manner::Answer("{\"ok\":false,\"code\":\"denied\",\"error\":\"not you\"}\n");

/// Numbered lines.
fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat()
}

/// Everything the agent read until now; no more comes, for the program has ended.
fn at_the_agent(site: &Site) -> Vec<Draft> {
    std::iter::from_fn(|| site.draft_at_hand()).collect()
}

/// Every event at the agent or in the drop folder, each once by its id.
fn everywhere(site: &Site) -> BTreeMap<EventId, Draft> {
    at_the_agent(site).into_iter().chain(site.dropped()).map(|draft| (draft.id, draft)).collect()
}

fn messages(drafts: &[Draft]) -> Vec<&str> {
    drafts.iter().map(|draft| draft.message.as_str()).collect()
}

/// `hume pipe` that is still fed.
fn begun(site: &Site, words: &[&str]) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut child = site
        .command(env!("CARGO_BIN_EXE_hume"))
        .arg("pipe")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, stdin, BufReader::new(stdout))
}

#[test]
fn ten_thousand_lines_each_arrive_once_in_their_order_and_with_their_level() {
    let site = Site::new(Manner::Store);
    let prefixes = ["", "ERROR: ", "[warn] ", "<3>", "INFO "];
    let input: Vec<String> = (0..10_000).map(|n| format!("{}line {n}\n", prefixes[n % 5])).collect();
    let output = site
        .hume_reading(&["pipe", "-t", "X", "-T", "a", "--level-from", "prefix"], input.concat().as_bytes());
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert!(output.stdout.is_empty() && site.dropped().is_empty());
    let drafts = at_the_agent(&site);
    assert_eq!(drafts.len(), 10_000);
    let levels = [Level::Info, Level::Error, Level::Warning, Level::Error, Level::Info];
    for (n, draft) in drafts.iter().enumerate() {
        let kept = prefixes[n % 5].replace("<3>", "");
        assert_eq!(
            (draft.message.as_str(), draft.level),
            (format!("{kept}line {n}").as_str(), levels[n % 5])
        );
        assert_eq!((draft.task.as_str(), draft.tags[0].as_str(), draft.command), ("X", "a", None));
        assert!(!draft.mangled);
    }
    let ids: Vec<EventId> = drafts.iter().map(|draft| draft.id).collect();
    assert!(ids.is_sorted() && ids.iter().collect::<BTreeSet<_>>().len() == ids.len());
}

#[test]
fn each_line_is_reported_when_it_comes() {
    let site = Site::new(Manner::Store);
    let (mut child, mut stdin, _) = begun(&site, &["-t", "X", "-L", "warning"]);
    for word in ["one", "two"] {
        writeln!(stdin, "{word}").unwrap();
        let draft = site.draft();
        assert_eq!((draft.message.as_str(), draft.level), (word, Level::Warning));
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn blank_lines_are_skipped_and_half_a_line_at_the_end_is_one() {
    let site = Site::new(Manner::Store);
    let output = site.hume_reading(&["pipe", "--verbose"], b"\n one\r\n\n  \n\t\ntwo");
    assert_eq!(code(&output), 0);
    assert_eq!(
        stderr(&output),
        "hume pipe: 2 lines: 2 stored by the agent, 0 in the drop folder, 0 not stored\n"
    );
    assert_eq!(messages(&at_the_agent(&site)), [" one", "two"]);
    let output = site.hume_reading(&["pipe", "-t", "X"], b"");
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert!(at_the_agent(&site).is_empty());
}

#[test]
fn everything_is_passed_on_byte_by_byte_and_bytes_that_are_no_text_are_escaped_in_the_event() {
    let site = Site::new(Manner::Store);
    let mut input = b"\n\na\xff\x00b\r\n\xc3\x28\n   \nlast \xe2\x82".to_vec();
    let output = site.hume_reading(&["pipe", "-t", "X", "--tee"], &input);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert!(output.stdout == input);
    let drafts = at_the_agent(&site);
    assert_eq!(messages(&drafts), ["a\\xFF\0b", "\\xC3(", "last \\xE2\\x82"]);
    assert!(drafts.iter().all(|draft| draft.mangled));
    input = (0..400_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    let (mut child, mut stdin, mut out) = begun(&site, &["--tee"]);
    let fed = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&fed).unwrap());
    let mut passed = Vec::new();
    out.read_to_end(&mut passed).unwrap();
    writer.join().unwrap();
    assert!(passed == input && child.wait().unwrap().success());
}

#[test]
fn of_a_line_that_is_too_long_the_beginning_is_stored_and_all_is_passed_on() {
    let site = Site::new(Manner::Store);
    let mut input = b"<4>".to_vec();
    input.extend(vec![b'x'; 1 << 20]);
    input.extend(b"\nnext\n");
    let (mut child, mut stdin, mut out) = begun(&site, &["--tee", "--level-from", "prefix"]);
    let fed = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&fed).unwrap());
    let mut passed = Vec::new();
    out.read_to_end(&mut passed).unwrap();
    writer.join().unwrap();
    assert!(passed == input && child.wait().unwrap().success());
    let drafts = at_the_agent(&site);
    assert_eq!((drafts[0].message.len(), drafts[0].truncated_from), (MESSAGE_BYTES_MAX, Some(1 << 20)));
    assert_eq!((drafts[0].level, drafts[0].mangled), (Level::Warning, true));
    assert_eq!((drafts[1].message.as_str(), drafts[1].mangled), ("next", false));
}

#[test]
fn lines_of_json_tell_level_and_text() {
    let site = Site::new(Manner::Store);
    let long = "x".repeat(100_000);
    let input = format!(
        "{}\n{}\nnot JSON\n{{\"severity\":\"crit\",\"text\":\"{long}\"}}\n",
        r#"{"severity":50,"text":"five","msg":"no"}"#, r#"{"severity":"Warn","msg":"other"}"#
    );
    let words = ["pipe", "-L", "debug", "--level-from", "json:severity,message:text"];
    assert_eq!(code(&site.hume_reading(&words, input.as_bytes())), 0);
    let drafts = at_the_agent(&site);
    let found: Vec<_> = drafts.iter().map(|draft| draft.level).collect();
    assert_eq!(found, [Level::Error, Level::Warning, Level::Debug, Level::Critical]);
    assert_eq!(messages(&drafts)[..3], ["five", r#"{"severity":"Warn","msg":"other"}"#, "not JSON"]);
    assert_eq!((drafts[3].message.len(), drafts[3].truncated_from), (MESSAGE_BYTES_MAX, Some(100_000)));
}

#[test]
fn lines_inside_hume_exec_are_of_its_run() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#""$HUME" exec -t X -- sh -c 'echo a | "$HUME" pipe; echo b | "$HUME" pipe -t Y'"#);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let (start, line, other) = (site.draft(), site.draft(), site.draft());
    let key = line.key.unwrap();
    assert_eq!((line.task.as_str(), &key.key), ("X", &start.key.unwrap().key));
    assert_eq!((key.source, key.task.unwrap().as_str()), (KeySource::Environment, "X"));
    assert_eq!((other.task.as_str(), other.key.unwrap().task.unwrap().as_str()), ("Y", "X"));
}

#[test]
fn without_an_agent_every_line_is_in_the_drop_folder_in_its_order() {
    let site = Site::without_agent();
    let output = site.hume_reading(&["pipe", "-t", "X", "--tee", "--verbose"], numbered(100).as_bytes());
    assert_eq!(code(&output), 0);
    assert_eq!(
        stderr(&output),
        "hume pipe: 100 lines: 0 stored by the agent, 100 in the drop folder, 0 not stored\n"
    );
    assert_eq!(output.stdout, numbered(100).as_bytes());
    let expected: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    assert_eq!(messages(&site.dropped()), expected, "their ids are in their order");
}

#[test]
fn an_agent_that_is_killed_in_the_middle_costs_no_line_and_doubles_none() {
    let site = Site::new(Manner::VanishAfter(300));
    let output = site.hume_reading(&["pipe", "-t", "X", "--tee"], numbered(600).as_bytes());
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(output.stdout, numbered(600).as_bytes());
    let events = everywhere(&site);
    let lines: BTreeSet<&str> = events.values().map(|draft| draft.message.as_str()).collect();
    assert_eq!((events.len(), lines.len()), (600, 600));
    assert!(site.dropped().len() >= 300, "the last line it read was not answered");
}

#[test]
fn a_lost_connection_is_made_good_over_another_one() {
    let site = Site::new(Manner::HangUpOnceAfter(700));
    let output = site.hume_reading(&["pipe", "-t", "X", "--strict"], numbered(1500).as_bytes());
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert!(site.dropped().is_empty());
    let read = at_the_agent(&site);
    let ids: BTreeSet<EventId> = read.iter().map(|draft| draft.id).collect();
    assert_eq!(ids.len(), 1500);
    assert!(read.len() > 1500, "what was not answered came once more");
}

#[test]
fn a_connection_that_the_agent_closes_while_nothing_comes_is_made_anew() {
    let site = Site::new(Manner::HangUpOnceAfter(2));
    let (mut child, mut stdin, _) = begun(&site, &["-t", "X"]);
    for word in ["one", "two"] {
        writeln!(stdin, "{word}").unwrap();
        assert_eq!(site.draft().message, word);
    }
    assert_eq!(site.draft().message, "two", "it was not answered, and comes once more");
    writeln!(stdin, "three").unwrap();
    assert_eq!(site.draft().message, "three");
    drop(stdin);
    assert!(child.wait().unwrap().success() && site.dropped().is_empty());
}

#[test]
fn an_agent_that_never_answers_holds_the_lines_for_one_time_limit_only() {
    let site = Site::new(Manner::Silence);
    let words = ["pipe", "-t", "X", "--tee", "--recv-timeout", "200"];
    let output = site.hume_reading(&words, numbered(300).as_bytes());
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(output.stdout, numbered(300).as_bytes());
    assert_eq!(site.dropped().len(), 300);
}

#[test]
fn an_agent_that_speaks_nonsense_or_of_other_events_is_not_believed() {
    for manner in [OK, Manner::Answer("nonsense\n"), Manner::CloseAtOnce, Manner::HangUp] {
        let site = Site::new(manner);
        let output = site.hume_reading(&["pipe", "-t", "X"], numbered(20).as_bytes());
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{manner:?}");
        assert_eq!(site.dropped().len(), 20, "{manner:?}");
    }
}

#[test]
fn a_line_that_is_refused_is_told_once_and_counted() {
    let site = Site::new(DENIED);
    for (words, expected) in [(&["pipe", "-t", "X"][..], 0), (&["pipe", "-t", "X", "--strict"], 77)] {
        // One after the other, since this agent hangs up after each.
        let output = site.hume_reading(words, b"one\n");
        assert_eq!(code(&output), expected);
        let said = stderr(&output);
        assert!(
            said.starts_with("hume pipe: nothing stored: the agent answered denied: not you; "),
            "{said}"
        );
        assert!(said.ends_with("\nhume pipe: 1 of 1 lines were not stored\n"), "{said}");
    }
    assert!(site.dropped().is_empty());
}

#[test]
fn what_the_agent_has_no_room_for_goes_to_the_drop_folder() {
    let site = Site::new(FULL);
    let output = site.hume_reading(&["pipe", "-t", "X", "--strict"], b"one\n");
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(messages(&site.dropped()), ["one"]);
    let site = Site::without_agent().without_drop_folder();
    let output = site.hume_reading(&["pipe", "-t", "X", "--strict"], numbered(300).as_bytes());
    let said = stderr(&output);
    assert_eq!((code(&output), said.lines().count()), (69, 2), "{said}");
    assert!(said.ends_with("hume pipe: 300 of 300 lines were not stored\n"), "{said}");
}

#[test]
fn with_strict_a_line_that_had_to_be_changed_is_65() {
    let site = Site::new(Manner::Store);
    assert_eq!(code(&site.hume_reading(&["pipe", "--strict"], b"a\xff\nb\n")), 65);
    assert_eq!(code(&site.hume_reading(&["pipe"], b"a\xff\nb\n")), 0);
    assert_eq!(at_the_agent(&site).len(), 4);
}

#[test]
fn a_reader_that_is_gone_ends_it_so_that_the_writer_notices() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#"yes | "$HUME" pipe -t X --tee | head -n 1; echo "${PIPESTATUS[*]}""#);
    assert_eq!((code(&output), output.stdout.as_slice()), (0, &b"y\n141 0 0\n"[..]));
    assert!(!at_the_agent(&site).is_empty());
}

#[test]
fn a_signal_ends_it_when_what_was_read_is_reported() {
    let site = Site::new(Manner::Store);
    for (signal, expected) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let (mut child, mut stdin, mut out) = begun(&site, &["--tee", "-t", "X"]);
        stdin.write_all(b"whole\nhalf").unwrap();
        let mut passed = String::new();
        out.read_line(&mut passed).unwrap();
        assert_eq!((passed.as_str(), site.draft().message.as_str()), ("whole\n", "whole"));
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(site.draft().message, "half");
        assert_eq!(child.wait().unwrap().code(), Some(expected));
        drop(stdin);
    }
}

#[test]
fn a_signal_that_the_caller_ignores_does_not_end_it() {
    let site = Site::new(Manner::Store);
    let mut child = site
        .command("nohup")
        .args([env!("CARGO_BIN_EXE_hume"), "pipe", "-t", "X"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(site.draft().message, "one");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGHUP).unwrap();
    stdin.write_all(b"two\n").unwrap();
    assert_eq!(site.draft().message, "two");
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_stdin_that_cannot_be_read_is_told() {
    let site = Site::new(Manner::Store);
    let output = site.sh(r#""$HUME" pipe -t X </"#);
    assert_eq!(code(&output), 0);
    assert_eq!(stderr(&output), "hume pipe: stdin could not be read: Is a directory (os error 21)\n");
    assert_eq!(code(&site.sh(r#""$HUME" pipe -t X <&-"#)), 0);
}

#[test]
fn wrong_use_is_64_in_one_line_and_nothing_is_read() {
    let site = Site::new(Manner::Store);
    for words in [&["pipe", "--level-from", "colour"][..], &["pipe", "--tea"], &["pipe", "file"]] {
        let output = site.hume(words);
        assert_eq!((code(&output), stderr(&output).lines().count()), (64, 1), "{words:?}");
    }
    assert!(at_the_agent(&site).is_empty());
}

#[test]
fn the_help_of_pipe_fits_a_screen_and_the_long_one_shows_examples_first() {
    let site = Site::without_agent();
    let help = |flag| String::from_utf8(site.hume(["pipe", flag]).stdout).unwrap();
    let short = help("-h");
    assert!(short.lines().count() <= 40 && short.lines().all(|line| line.len() <= 110), "{short}");
    insta::assert_snapshot!("pipe_help_short", short);
    let long = help("--help");
    assert!(long.lines().all(|line| line.chars().count() <= 100), "{long}");
    insta::assert_snapshot!("pipe_help_long", long);
}
