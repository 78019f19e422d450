//! One event by `hume`: what it says, what it sends, where events go, and every exit code.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Instant;

use crate::support::{DEADLINE, Manner, OK, Site, code, parsed, stderr};
use hume_core::event::{Command, Exit, KeySource, MESSAGE_BYTES_MAX, TREE_BYTES_MAX};
use hume_core::{Level, Tag};
use hume_proto::intake::SocketToken;

const INVALID: Manner =
    Manner::Answer("{\"ok\":false,\"code\":\"invalid\",\"error\":\"bad\\nlevel\",\"field\":\"level\"}\n");
const DENIED: Manner = Manner::Answer("{\"ok\":false,\"code\":\"denied\",\"error\":\"not you\"}\n");
const FULL: Manner = Manner::Answer("{\"ok\":false,\"code\":\"full\",\"error\":\"the spool is full\"}\n");
const BUSY: Manner = Manner::Answer("{\"ok\":false,\"code\":\"busy\",\"error\":\"too many\"}\n");
const INTERNAL: Manner = Manner::Answer("{\"ok\":false,\"code\":\"internal\",\"error\":\"oops\"}\n");
const HALF: Manner = Manner::Answer("{\"ok\":tr");
const GARBAGE: Manner = Manner::Answer("\u{1b}]0;220 mail ready\r\n");

/// Calls it without and with `--strict` and returns both codes; stderr must hold `lines` lines each time.
fn codes(site: &Site, words: &[&str], lines: usize) -> (i32, i32) {
    let [plain, strict] = [&[][..], &["--strict"]].map(|more| {
        let output = site.hume(words.iter().chain(more));
        assert_eq!(stderr(&output).lines().count(), lines, "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        code(&output)
    });
    (plain, strict)
}

#[test]
fn a_stored_event_ends_with_0_and_nothing_is_said() {
    let site = Site::new(OK);
    assert_eq!(codes(&site, &["-t", "X", "hi"], 0), (0, 0));
    let draft = site.draft();
    assert_eq!((draft.task.as_str(), draft.message.as_str(), draft.level), ("X", "hi", Level::Info));
    assert!(site.dropped().is_empty());
}

#[test]
fn a_session_that_began_outside_the_container_has_no_number() {
    let site = Site::new(OK);
    // In a process namespace of its own; root needs no user namespace for that.
    let unshare = |words: &[&str]| {
        let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user"] };
        site.command("unshare").args(user).args(["--pid", "--fork"]).args(words).output()
    };
    if !unshare(&["true"]).is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine lets nobody make a process namespace (unshare --pid)");
        return;
    }
    let output = unshare(&[env!("CARGO_BIN_EXE_hume"), "-t", "X", "hi"]).unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(site.draft().caller.session, None);
    assert_eq!(code(&site.hume(["hi"])), 0);
    let own = nix::unistd::getsid(None).unwrap().as_raw().unsigned_abs();
    assert_eq!(site.draft().caller.session.unwrap_or(0), own);
}

#[test]
fn a_refused_event_is_told_in_one_line_and_never_goes_to_the_drop_folder() {
    for (manner, strict, cause) in [
        (INVALID, 65, "the agent answered invalid: bad level"),
        (DENIED, 77, "the agent answered denied: not you"),
    ] {
        let site = Site::new(manner);
        assert_eq!(codes(&site, &["-t", "X", "hi"], 1), (0, strict), "{manner:?}");
        let said = stderr(&site.hume(["hi"]));
        assert!(said.starts_with(&format!("hume: nothing stored: {cause}; ")), "{said}");
        assert!(site.dropped().is_empty());
    }
}

#[test]
fn what_the_agent_does_not_take_goes_to_the_drop_folder_silently() {
    for manner in [FULL, BUSY, INTERNAL, HALF, GARBAGE, Manner::HangUp, Manner::CloseAtOnce] {
        let site = Site::new(manner);
        assert_eq!(codes(&site, &["-t", "X", "hi"], 0), (0, 0), "{manner:?}");
        assert_eq!(site.dropped().len(), 2, "{manner:?}");
    }
}

#[test]
fn without_a_drop_folder_the_cause_decides_the_strict_code() {
    for (manner, strict) in [
        (FULL, 75),
        (BUSY, 75),
        (INTERNAL, 69),
        (HALF, 69),
        (GARBAGE, 69),
        (Manner::HangUp, 69),
        (Manner::CloseAtOnce, 69),
    ] {
        let site = Site::new(manner).without_drop_folder();
        assert_eq!(codes(&site, &["-t", "X", "hi"], 1), (0, strict), "{manner:?}");
    }
    let site = Site::without_agent().without_drop_folder();
    assert_eq!(codes(&site, &["hi"], 1), (0, 69));
    let said = stderr(&site.hume(["hi"]));
    assert!(
        said.starts_with("hume: nothing stored: no agent at ") && said.contains("HUME_DROP_DIR"),
        "{said}"
    );
}

#[test]
fn a_drop_folder_that_is_no_folder_is_named() {
    let site = Site::without_agent().without_drop_folder();
    std::fs::write(site.drop_dir(), "").unwrap();
    let said = stderr(&site.hume(["hi"]));
    assert!(said.contains("drop cannot be opened: Not a directory"), "{said}");
}

#[test]
fn a_socket_that_nobody_listens_on_is_as_none() {
    let site = Site::without_agent();
    drop(UnixListener::bind(site.socket()).unwrap());
    assert_eq!(codes(&site, &["hi"], 0), (0, 0));
    assert_eq!(site.dropped().len(), 2);
}

#[test]
fn the_dropped_event_is_the_one_that_was_sent_and_knows_its_callers() {
    let site = Site::new(Manner::Silence);
    let started = Instant::now();
    let output = site.sh(r#"umask 077; "$HUME" --recv-timeout 500 -c counter-start -t X -T a -m hi; true"#);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert!(started.elapsed() < DEADLINE);
    let (sent, dropped) = (site.draft(), site.dropped().remove(0));
    assert_eq!((dropped.id, dropped.time), (sent.id, sent.time));
    assert_eq!((&dropped.task, &dropped.message, dropped.command), (&sent.task, &sent.message, sent.command));
    assert_eq!(sent.caller.chain, None);
    let chain = dropped.caller.chain.unwrap();
    assert_eq!(Some(chain.links()[0].process.pid), dropped.caller.pid);
    assert_eq!(Some(chain.links()[1].process.pid), dropped.caller.ppid);
    assert_eq!(chain.links()[1].comm, "bash");
    assert_eq!(dropped.caller.boot_clock.unwrap().micros, sent.caller.boot_clock.unwrap().micros);
    assert!(dropped.caller.boot_clock.unwrap().boot.as_bytes() != &[0; 16]);
    let file = site.drop_dir().join(format!("{}.json", dropped.id));
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640, "whatever the umask");
}

#[test]
fn the_script_is_named_in_the_drop_folder() {
    let site = Site::without_agent();
    let script = site.socket().with_file_name("backup.sh");
    std::fs::write(&script, "cd /\n\"$HUME\" -t X hi\ntrue\n").unwrap();
    let output = site.command("bash").arg(&script).output().unwrap();
    assert_eq!(code(&output), 0);
    assert_eq!(site.dropped()[0].caller.script.as_deref(), script.to_str());
}

#[test]
fn verbose_says_what_became_of_the_event() {
    let said = stderr(&Site::new(OK).hume(["--verbose", "hi"]));
    assert!(said.starts_with("hume: stored by the agent: id "), "{said}");
    assert!(said.ends_with(", seq 42, run 019abc00-0000-7000-8000-000000000002\n"), "{said}");
    let site = Site::new(FULL);
    let said = stderr(&site.hume(["--verbose", "hi"]));
    let file = site.drop_dir().join(format!("{}.json", site.dropped()[0].id));
    assert_eq!(
        said,
        format!(
            "hume: the agent answered full: the spool is full; stored in the drop folder: {}\n",
            file.display()
        )
    );
}

#[test]
fn a_mangled_event_is_stored_and_only_strict_minds() {
    let site = Site::new(OK);
    let plain = site.hume(["-t", "X", "-L", "loud", "hi"]);
    assert_eq!((code(&plain), stderr(&plain).as_str()), (0, ""));
    let draft = site.draft();
    assert_eq!((draft.level, draft.mangled), (Level::Unknown, true));
    assert_eq!(draft.extra, [("hume.level".to_owned(), "loud".to_owned())]);
    let strict = site.hume(["-t", "X", "-L", "loud", "hi", "--strict"]);
    assert_eq!(code(&strict), 65);
    assert!(stderr(&strict).ends_with("; changed to fit: level\n"), "{}", stderr(&strict));
    assert!(site.draft().mangled, "it is stored all the same");
    let site = Site::without_agent();
    let dropped = site.hume(["--exit", "?", "hi", "--strict"]);
    assert_eq!((code(&dropped), site.dropped()[0].mangled), (65, true));
    assert!(stderr(&dropped).contains("; stored in the drop folder: "), "{}", stderr(&dropped));
}

#[test]
fn strict_can_come_from_the_environment() {
    let site = Site::without_agent().without_drop_folder();
    for (word, expected) in [("1", 69), ("0", 0), ("", 0)] {
        let output =
            site.command(env!("CARGO_BIN_EXE_hume")).arg("hi").env("HUME_STRICT", word).output().unwrap();
        assert_eq!(code(&output), expected, "HUME_STRICT={word}");
    }
}

#[test]
fn wrong_use_is_64_in_one_line_and_nothing_is_stored() {
    let site = Site::without_agent();
    for words in [
        &["--levl", "error", "hi"][..],
        &["-Q"],
        &["-m", "one", "two"],
        &["-m", "one", "-m", "two"],
        &["--detach", "-t", "X", "-m", "hi"],
        &["--detach", "-t", "X", "-c", "counter-stop"],
        &["exec", "true"],
        &["template", "get", "x"],
        &["sign"],
        &["verify"],
        &["maint"],
        &["doctor"],
    ] {
        assert_eq!(codes(&site, words, 1), (64, 64), "{words:?}");
    }
    let said = stderr(&site.hume(["sign", "x"]));
    assert!(said.starts_with("hume: `sign` is not part of this version"), "{said}");
    assert!(site.dropped().is_empty());
}

#[test]
fn without_any_argument_the_short_help_is_shown_on_stderr() {
    let output = Site::without_agent().hume([""; 0]);
    assert_eq!(code(&output), 64);
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("Usage: hume [OPTIONS] [MESSAGE]"));
}

#[test]
fn the_short_help_fits_a_screen() {
    let output = Site::without_agent().hume(["-h"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.lines().count() <= 40 && help.lines().all(|line| line.len() <= 110));
    insta::assert_snapshot!("help_short", help);
}

#[test]
fn the_long_help_shows_examples_first() {
    let output = Site::without_agent().hume(["--help"]);
    assert_eq!(code(&output), 0);
    insta::assert_snapshot!("help_long", String::from_utf8(output.stdout).unwrap());
}

#[test]
fn the_version_is_the_one_of_the_workspace() {
    for flag in ["-V", "--version"] {
        let output = Site::without_agent().hume([flag]);
        let expected = concat!("hume ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!((code(&output), output.stdout.as_slice()), (0, expected.as_bytes()));
    }
}

#[test]
fn every_option_reaches_the_agent() {
    let site = Site::new(OK);
    let output = site.hume([
        "--task",
        "BACKUP",
        "--level",
        "ERR",
        "--hume-cmd",
        "counter-stop",
        "--tags",
        "a,b",
        "-T",
        "c",
        "--extra",
        "k=v",
        "-x",
        "u:1",
        "--flag",
        "half",
        "--exit",
        "3",
        "--hostname",
        "web1",
        "--run-id",
        "r",
        "--append-pstree",
        "--auth-token",
        "secret",
        "--message",
        "done",
    ]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let line = site.line();
    let token = hume_proto::intake::parse(&line, || unreachable!()).unwrap().token;
    assert_eq!(token, Some(SocketToken("secret".to_owned())));
    let draft = parsed(&line);
    assert_eq!((draft.task.as_str(), draft.level, draft.message.as_str()), ("BACKUP", Level::Error, "done"));
    assert_eq!((draft.command, draft.exit), (Some(Command::CounterStop), Some(Exit::Code(3))));
    assert_eq!(draft.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(draft.extra, [("k".into(), "v".into()), ("u".into(), "1".into())]);
    assert_eq!(draft.host.unwrap().as_str(), "web1");
    assert_eq!(draft.key.unwrap().source, KeySource::Flag);
    let tree = draft.tree.unwrap();
    assert!(tree.len() <= TREE_BYTES_MAX && tree.starts_with("1 "), "{tree}");
    assert!(tree.lines().last().unwrap().contains(&format!(" {} ", std::process::id())), "{tree}");
    assert!(!tree.contains("secret"), "{tree}");
    assert!(!draft.mangled);
}

#[test]
fn a_detached_start_says_so() {
    let site = Site::new(OK);
    assert_eq!(codes(&site, &["-c", "counter-start", "--detach", "-t", "X"], 0), (0, 0));
    assert!(site.draft().detach);
}

#[test]
fn task_tags_key_and_line_come_from_the_environment() {
    let site = Site::new(OK);
    let output = site.sh(
        r#"export HTASK=T HTAGS=x,b HUME_TAGS=b,c HUME_RUN_ID=k HUME_RUN_TASK=OTHER HUME_TOKEN=secret
           export LINENO
           "$HUME" -T a,b hi"#,
    );
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let line = site.line();
    let token = hume_proto::intake::parse(&line, || unreachable!()).unwrap().token;
    assert_eq!(token, Some(SocketToken("secret".to_owned())));
    let draft = parsed(&line);
    assert_eq!(draft.task.as_str(), "T");
    assert_eq!(draft.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c", "x"]);
    let key = draft.key.unwrap();
    assert_eq!((key.source, key.task.unwrap().as_str()), (KeySource::Environment, "OTHER"));
    assert!(draft.line.is_some());
    site.sh(r#"HUME_TASKNAME=A HTASK=B LINENO=12 "$HUME" hi"#);
    let draft = site.draft();
    assert_eq!(draft.task.as_str(), "A");
    site.sh(r#"HUME_TASKNAME=A "$HUME" -t C hi"#);
    assert_eq!(site.draft().task.as_str(), "C");
}

#[test]
fn a_line_number_in_the_environment_is_recorded() {
    let site = Site::new(OK);
    site.command(env!("CARGO_BIN_EXE_hume")).arg("hi").env("LINENO", "12").output().unwrap();
    assert_eq!(site.draft().line, Some(12));
}

#[test]
fn a_variable_that_does_not_parse_never_stops_the_script() {
    let site = Site::new(OK);
    let mut command = site.command(env!("CARGO_BIN_EXE_hume"));
    command.arg("hi").env("LINENO", "x").env("HUME_RECVTIMEOUT", "abc");
    let output = command.output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let said = stderr(&command.arg("--verbose").output().unwrap());
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.contains("HUME_RECVTIMEOUT=abc is not a number of milliseconds; 250 is used"), "{said}");
}

#[test]
fn arguments_and_variables_of_any_bytes_are_stored() {
    let site = Site::new(OK);
    let raw = || OsString::from_vec(b"a\xff\x01\xc3".to_vec());
    for flag in [
        "-t",
        "-L",
        "-c",
        "-T",
        "-x",
        "-m",
        "--flag",
        "--exit",
        "--hostname",
        "--run-id",
        "--recv-timeout",
        "--auth-token",
    ] {
        let output = site.hume([flag.into(), raw()]);
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{flag}");
        let draft = site.draft();
        assert_eq!(draft.mangled, flag != "--auth-token", "{flag}");
    }
    let output = site.hume([raw(), raw()]);
    assert_eq!(code(&output), 0);
    assert_eq!(site.draft().message, "a\\xFF\u{1}\\xC3 a\\xFF\u{1}\\xC3");
    let mut command = site.command(env!("CARGO_BIN_EXE_hume"));
    command.arg("hi");
    for name in ["HTASK", "HTAGS", "HUME_RUN_ID", "HUME_RUN_TASK", "HUME_TOKEN", "LINENO", "INVOCATION_ID"] {
        command.env(name, raw());
    }
    let output = command.output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(site.draft().task.as_str(), "a\\xFF \\xC3");
}

#[test]
fn a_mebibyte_on_stdin_is_cut_and_its_length_kept() {
    let site = Site::new(OK);
    let output = site.hume_reading(&["-t", "X", "-m", "-"], &vec![b'x'; 1 << 20]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let draft = site.draft();
    assert_eq!((draft.message.len(), draft.truncated_from), (MESSAGE_BYTES_MAX, Some(1 << 20)));
    assert!(draft.mangled);
    site.hume_reading(&["-m", "-"], b"one\ntwo\0\n");
    assert_eq!(site.draft().message, "one\ntwo\0");
}

#[test]
fn stdin_is_read_only_when_asked_for() {
    let site = Site::new(OK);
    let output =
        site.sh(r#"printf 'a\nb\n' | while read -r word; do "$HUME" "$word"; done; "$HUME" -m - </dev/null"#);
    assert_eq!(code(&output), 0);
    assert_eq!([site.draft(), site.draft(), site.draft()].map(|draft| draft.message), ["a", "b", ""]);
}

#[test]
fn a_terminal_on_stdin_is_not_waited_for() {
    let site = Site::new(OK);
    let mut child = site
        .command("script")
        .args(["-qec", r#""$HUME" -t X -m -"#, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Its stdin stays open: only the program itself can end this.
    let draft = site.draft();
    assert_eq!(draft.extra, [("hume.message".to_owned(), "stdin is a terminal".to_owned())]);
    assert!(draft.mangled && draft.message.is_empty());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn ten_thousand_tags_are_cut_to_those_that_fit() {
    let site = Site::new(OK);
    let words: Vec<String> = (0..10_000).flat_map(|n| ["-T".to_owned(), format!("t{n}")]).collect();
    let output = site.hume(&words);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let draft = site.draft();
    assert_eq!((draft.tags.len(), draft.mangled), (32, true));
}

#[test]
fn a_socket_path_of_108_bytes_is_told_with_its_length_and_the_limit() {
    let site = Site::without_agent();
    let path = format!("/{}", "x".repeat(107));
    let output = site.hume(["--socket", path.as_str(), "hi"]);
    assert_eq!(code(&output), 0);
    let said = stderr(&output);
    let expected =
        format!("hume: the socket path {path} has 108 bytes; a Unix socket has at most 107; stored in ");
    assert!(said.starts_with(&expected) && said.lines().count() == 1, "{said}");
    assert_eq!(site.dropped().len(), 1, "the event is safe all the same");
    let site = site.sh(&format!(r#"rm -r "$HUME_DROP_DIR"; "$HUME" --strict --socket {path} hi"#));
    assert_eq!(code(&site), 69);
}

#[test]
fn closed_descriptors_and_broken_pipes_change_nothing() {
    let site = Site::new(OK);
    let output = site.sh(r#"exec "$HUME" --verbose -t X hi <&- >&- 2>&-"#);
    assert_eq!(code(&output), 0);
    assert_eq!(site.draft().message, "hi");
    for words in ["--help", "--version", "--verbose hi", "--no-such-option"] {
        let expected = if words == "--no-such-option" { 64 } else { 0 };
        let script = format!(r#""$HUME" {words} 2>&1 | true; exit "${{PIPESTATUS[0]}}""#);
        assert_eq!(code(&site.sh(&script)), expected, "{words}");
    }
    let output = site.sh(r#""$HUME" --verbose hi >/dev/full 2>/dev/full"#);
    assert_eq!(code(&output), 0);
}

#[test]
fn an_unquoted_empty_variable_does_not_stop_the_script() {
    let site = Site::new(OK);
    let output =
        site.sh(r#"set -eu; NAME=; "$HUME" -m hi -t $NAME; "$HUME" -t "$NAME" -L "$NAME" -m "$NAME""#);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let drafts = [site.draft(), site.draft()];
    assert!(drafts.iter().all(|draft| draft.mangled && draft.task.is_none()));
}

#[test]
fn many_at_once_are_all_stored_each_once() {
    let site = Site::new(OK);
    let output = site.sh(r#"for n in $(seq 40); do "$HUME" -t X "$n" & done; wait"#);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let mut ids: Vec<_> = (0..40).map(|_| site.draft().id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
}
