//! What becomes of the output when a command of `hume exec` leaves children behind that hold it.

use std::io::BufReader;
use std::process::{Child, ChildStdout};

use hume_core::event::Exit;
use nix::sys::signal::Signal;

use super::exec::{begun, fifo, line_of, rest_of, send};
use crate::support::{Manner, Site};

/// A command that ends with 5 and leaves a child that holds its output and writes when a byte comes through the pipe.
fn leaving_a_child(site: &Site) -> (Child, BufReader<ChildStdout>, String) {
    let go = fifo(site, "go");
    let job = format!("echo early; {{ read x <{go}; echo late; }} & exit 5");
    let (child, mut out) = begun(site, &["--tail", "100", "--", "sh", "-c", &job]);
    assert_eq!(line_of(&mut out), "early");
    site.draft();
    let stop = site.draft();
    assert_eq!((stop.exit, stop.message.lines().last()), (Some(Exit::Code(5)), Some("early")));
    (child, out, go)
}

#[test]
fn it_ends_with_the_command_and_what_children_still_write_is_passed_on_all_the_same() {
    let site = Site::new(Manner::Store);
    let (mut child, mut out, go) = leaving_a_child(&site);
    assert_eq!(child.wait().unwrap().code(), Some(5), "while its child holds the output");
    std::fs::write(go, "go\n").unwrap();
    assert_eq!(rest_of(&mut out), "late\n");
}

#[test]
fn a_job_that_was_told_to_end_leaves_its_children_their_output() {
    let site = Site::new(Manner::Store);
    let go = fifo(&site, "go");
    let job = format!("{{ read x <{go}; echo late; }} & echo ready; wait");
    let (mut child, mut out) = begun(&site, &["--", "sh", "-c", &job]);
    assert_eq!(line_of(&mut out), "ready");
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    std::fs::write(go, "go\n").unwrap();
    assert_eq!(rest_of(&mut out), "late\n");
}

#[test]
fn children_of_a_silent_job_that_went_well_may_go_on_writing() {
    let site = Site::new(Manner::Store);
    let (go, done) = (fifo(&site, "go"), fifo(&site, "done"));
    let job = format!("{{ read x <{go}; echo late && echo fine >{done}; }} &");
    let (mut child, mut out) = begun(&site, &["--chronic", "--", "sh", "-c", &job]);
    assert_eq!((child.wait().unwrap().code(), rest_of(&mut out).as_str()), (Some(0), ""));
    std::fs::write(go, "go\n").unwrap();
    assert_eq!(std::fs::read_to_string(done).unwrap(), "fine\n", "its write did not fail");
}

#[test]
fn what_ignores_the_end_of_a_command_that_had_its_time_is_killed_as_well() {
    let site = Site::new(Manner::Store);
    let held = fifo(&site, "held");
    let job = format!(r#"(trap "" TERM; exec sleep 1000 >{held}) & echo ready; sleep 1000"#);
    let reader = std::thread::spawn(move || std::fs::read(held).unwrap());
    let (mut child, mut out) =
        begun(&site, &["--timeout", "1s", "--kill-after", "200ms", "--", "sh", "-c", &job]);
    assert_eq!(line_of(&mut out), "ready");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(reader.join().unwrap().is_empty(), "it is gone, or this would never end");
}
