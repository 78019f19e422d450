//! The table of outcomes, lines and exit codes; and what is read from stdin.

use super::*;
use hume_proto::intake::DraftLine;
use std::path::Path;
use std::time::Duration;

fn prepared(changed: &[&'static str]) -> Prepared {
    let line = DraftLine { id: Some("019abc00".into()), ..DraftLine::default() };
    Prepared { line, changed: changed.to_vec(), remarks: Vec::new() }
}

fn settings(is_strict: bool, is_verbose: bool) -> Settings {
    Settings {
        socket: PathBuf::from("/s"),
        drop_dir: PathBuf::from("/d"),
        timeout: Duration::from_millis(1),
        is_strict,
        is_verbose,
        remarks: Vec::new(),
    }
}

fn stored() -> Outcome {
    Outcome::Stored(Receipt { id: None, seq: Some(42), run: None })
}

fn refused(class: ErrorClass) -> SubmitError {
    SubmitError::Refused { class, error: "no".into(), field: None }
}

fn lost(class: ErrorClass) -> Outcome {
    let folder = DropError::Folder { path: PathBuf::from("/d"), source: io::Error::other("gone") };
    let cause = refused(class);
    let folder = cause.may_retry().then_some(folder);
    Outcome::Lost { cause, folder }
}

fn code(outcome: &Outcome, changed: &[&'static str], is_strict: bool) -> u8 {
    verdict(outcome, &prepared(changed), &settings(is_strict, false)).code
}

#[test]
fn without_strict_every_verdict_is_zero() {
    for class in ErrorClass::ALL {
        assert_eq!(code(&lost(class), &[], false), 0);
    }
    assert_eq!(code(&stored(), &["level"], false), 0);
}

#[test]
fn with_strict_each_kind_of_failure_has_its_code() {
    for (class, expected) in [
        (ErrorClass::Invalid, 65),
        (ErrorClass::Denied, 77),
        (ErrorClass::Unauthenticated, 77),
        (ErrorClass::Full, 75),
        (ErrorClass::Busy, 75),
        (ErrorClass::Unavailable, 69),
        (ErrorClass::Internal, 69),
        (ErrorClass::NotFound, 69),
        (ErrorClass::Conflict, 69),
    ] {
        assert_eq!(code(&lost(class), &[], true), expected, "{class:?}");
    }
    assert_eq!(code(&stored(), &[], true), 0);
    assert_eq!(code(&stored(), &["level"], true), 65);
}

#[test]
fn what_was_stored_as_given_is_not_talked_about() {
    let dropped = || Outcome::Dropped { file: PathBuf::from("/d/x.json"), cause: refused(ErrorClass::Busy) };
    for strict in [false, true] {
        for outcome in [stored(), dropped()] {
            assert_eq!(
                verdict(&outcome, &prepared(&[]), &settings(strict, false)),
                Verdict { code: 0, line: None }
            );
        }
    }
    let line = verdict(&stored(), &prepared(&[]), &settings(false, true)).line.unwrap();
    assert_eq!(line, "stored by the agent: id 019abc00, seq 42, no run");
    let line = verdict(&dropped(), &prepared(&["tags"]), &settings(false, true)).line.unwrap();
    assert_eq!(
        line,
        "the agent answered busy: no; stored in the drop folder: /d/x.json; changed to fit: tags"
    );
}

#[test]
fn with_strict_a_changed_event_says_what_was_changed() {
    let Verdict { code, line } = verdict(&stored(), &prepared(&["level", "tags"]), &settings(true, false));
    assert_eq!(code, 65);
    assert!(line.unwrap().ends_with("; changed to fit: level, tags"));
}

#[test]
fn a_path_that_no_socket_can_have_is_told_even_when_the_drop_folder_helped() {
    let cause = SubmitError::PathTooLong { path: Path::new("/x").to_owned() };
    let outcome = Outcome::Dropped { file: PathBuf::from("/d/x.json"), cause };
    let line = verdict(&outcome, &prepared(&[]), &settings(false, false)).line.unwrap();
    assert!(line.starts_with("the socket path /x has 2 bytes; "), "{line}");
}

#[test]
fn nothing_stored_names_cause_and_fix() {
    let line = verdict(&lost(ErrorClass::Full), &prepared(&[]), &settings(false, false)).line.unwrap();
    assert_eq!(
        line,
        "nothing stored: the agent answered full: no; the drop folder /d cannot be opened: gone; make room on this host"
    );
}

#[test]
fn stdin_is_read_to_its_end_and_the_end_of_the_last_line_taken_off() {
    let message = read_message(&b"one\ntwo\n\n"[..]);
    assert_eq!((message.bytes.as_slice(), message.bytes_total), (&b"one\ntwo"[..], 7));
    assert_eq!(read_message(&b"\n\n"[..]).bytes_total, 0);
    assert_eq!(read_message(&b""[..]).bytes_total, 0);
}

#[test]
fn of_a_long_stdin_the_length_is_counted_and_no_more_kept_than_fits() {
    let message = read_message(io::repeat(b'x').take(1 << 20).chain(&b"\n"[..]));
    assert_eq!((message.bytes.len(), message.bytes_total), (READ_BYTES_MAX, 1 << 20));
    let ends = read_message(io::repeat(b'\n').take(1 << 20).chain(&b"x"[..]));
    assert_eq!(ends.bytes_total, (1 << 20) + 1);
}

#[test]
fn a_stdin_that_fails_is_told_with_what_was_read() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let message = read_message((&b"half"[..]).chain(Failing));
    assert_eq!((message.bytes.as_slice(), message.fault), (&b"half"[..], Some("stdin could not be read")));
}
