//! The table of outcomes, lines and exit codes.

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
