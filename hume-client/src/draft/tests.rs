//! What becomes of values, good and bad; and that no value at all is refused.

use super::*;
use crate::args::{self, Asked};
use hume_core::Level;
use hume_core::event::{
    Command, Draft, EXTRA_BYTES_MAX, EXTRA_PAIRS_MAX, Exit, KeySource, LINE_BYTES_MAX, MESSAGE_BYTES_MAX,
    TREE_BYTES_MAX,
};
use hume_proto::intake;
use proptest::prelude::*;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

type Variables = HashMap<&'static str, OsString>;

fn prepared(words: Vec<OsString>, variables: &Variables, tree: Option<String>) -> Prepared {
    let words: Vec<OsString> = std::iter::once(OsString::from("hume")).chain(words).collect();
    let args = match args::parse(&words) {
        Ok(Asked::Report(args)) => args,
        Ok(Asked::Show(_)) => panic!("a page"),
        Err(error) => panic!("{error}"),
    };
    let lookup = |name: &str| variables.get(name).cloned();
    let text = args.text().map(Message::from).unwrap_or_default();
    prepare(&args, &Environment(&lookup), text, tree, Surroundings::capture())
}

fn of(words: &[&str]) -> Prepared {
    prepared(words.iter().map(OsString::from).collect(), &Variables::new(), None)
}

fn with(words: &[&str], variables: &[(&'static str, &str)]) -> Prepared {
    let variables = variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    prepared(words.iter().map(OsString::from).collect(), &variables, None)
}

/// What the agent makes of it.
fn accepted(prepared: &Prepared) -> Draft {
    let line = serde_json::to_vec(&prepared.line).unwrap();
    assert!(line.len() < LINE_BYTES_MAX, "{} bytes", line.len());
    intake::parse(&line, || unreachable!("it has an id")).unwrap().draft
}

fn extra<'a>(prepared: &'a Prepared, key: &str) -> Option<&'a str> {
    prepared.line.extra.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

#[test]
fn every_good_value_arrives_as_it_was_given() {
    let prepared = of(&[
        "-t",
        "BACKUP",
        "-L",
        "warn",
        "-c",
        "counter-stop",
        "-T",
        "a,b",
        "-T",
        "c",
        "-x",
        "k=v=w",
        "-x",
        "u:v",
        "--flag",
        "half",
        "--exit",
        "3",
        "--hostname",
        "web1",
        "--run-id",
        "r1",
        "--auth-token",
        "secret",
        "done",
    ]);
    assert_eq!(prepared.changed, [""; 0]);
    let draft = accepted(&prepared);
    assert_eq!(
        (draft.task.as_str(), draft.level, draft.message.as_str()),
        ("BACKUP", Level::Warning, "done")
    );
    assert_eq!(draft.command, Some(Command::CounterStop));
    assert_eq!(draft.tags.iter().map(hume_core::Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(draft.extra, [("k".into(), "v=w".into()), ("u".into(), "v".into())]);
    assert_eq!((draft.exit, draft.mangled), (Some(Exit::Code(3)), false));
    assert_eq!(draft.host.unwrap().as_str(), "web1");
    assert_eq!(draft.flag.unwrap().as_str(), "half");
    let key = draft.key.unwrap();
    assert_eq!((key.key.as_str(), key.source), ("r1", KeySource::Flag));
    assert_eq!(prepared.line.token, Some(SocketToken("secret".to_owned())));
}

#[test]
fn the_caller_is_described() {
    let caller = accepted(&with(&["x"], &[("INVOCATION_ID", "0123456789abcdef0123456789abcdef")])).caller;
    assert_eq!(caller.pid, Some(std::process::id()));
    assert_eq!(caller.ppid, Some(std::os::unix::process::parent_id()));
    let session = nix::unistd::getsid(None).unwrap().as_raw().unsigned_abs();
    assert_eq!(caller.session.unwrap_or(0), session, "0 is a session led from outside");
    assert_eq!(caller.unit.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    assert_eq!(caller.cwd.as_deref(), std::env::current_dir().unwrap().to_str());
    assert!(caller.boot_clock.unwrap().micros > 0);
}

#[test]
fn ids_are_of_version_7_and_never_twice_the_same() {
    let ids: std::collections::HashSet<_> = (0..100).map(|_| of(&["x"]).line.id.unwrap()).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.as_bytes()[14] == b'7'));
}

#[test]
fn a_bad_word_is_stored_beside_the_event_and_the_event_flagged() {
    let bad = of(&["-t", "X", "-L", "loud", "-c", "go", "--exit", "one", "--recv-timeout", "soon", "hi"]);
    let draft = accepted(&bad);
    assert_eq!((draft.level, draft.command, draft.exit, draft.mangled), (Level::Unknown, None, None, true));
    for (key, word) in
        [("hume.level", "loud"), ("hume.command", "go"), ("hume.exit", "one"), ("hume.recv_timeout", "soon")]
    {
        assert_eq!(extra(&bad, key), Some(word), "{key}");
    }
    assert_eq!(bad.changed, ["level", "exit", "command", "recv_timeout"]);
}

#[test]
fn an_exit_code_that_cannot_be_read_leaves_the_outcome_unknown_unless_the_level_says_worse() {
    for (words, level) in [
        (&["--exit", ""][..], Level::Unknown),
        (&["--exit", "0x1"], Level::Unknown),
        (&["--exit", "abc", "-L", "ok"], Level::Unknown),
        (&["--exit", "abc", "-L", "error"], Level::Error),
        (&["--exit", " 3 "], Level::Info),
    ] {
        let draft = accepted(&of(&[&["-t", "X", "-c", "counter-stop"], words].concat()));
        assert_eq!(draft.level, level, "{words:?}");
    }
}

#[test]
fn a_counter_without_a_task_and_a_flag_without_a_name_are_set_aside() {
    assert_eq!(extra(&of(&["-c", "counter-start"]), "hume.command"), Some("counter-start"));
    assert_eq!(extra(&of(&["-t", "X", "-c", "flag"]), "hume.command"), Some("flag"));
    assert_eq!(accepted(&of(&["-t", "X", "--flag", "half"])).command, Some(Command::Flag));
    assert_eq!(accepted(&of(&["-t", "X", "-c", "COUNTER-START"])).command, Some(Command::CounterStart));
}

#[test]
fn an_option_without_its_value_flags_the_event() {
    let prepared = of(&["hi", "-t"]);
    assert_eq!(prepared.changed, ["options"]);
    assert!(accepted(&prepared).task.is_none());
}

#[test]
fn what_is_no_pair_is_kept_all_the_same() {
    let prepared = of(&["-x", "lonely", "-x", "=v", "-x", "", "-x", "good:1"]);
    assert_eq!(prepared.changed, ["extra"]);
    assert_eq!(extra(&prepared, "lonely"), Some(""));
    assert_eq!(extra(&prepared, "hume.extra"), Some("=v"));
    assert_eq!(extra(&prepared, "good"), Some("1"));
    accepted(&prepared);
}

#[test]
fn the_task_is_taken_from_the_flag_then_hume_taskname_then_htask() {
    let both = [("HUME_TASKNAME", "B"), ("HTASK", "C")];
    assert_eq!(with(&["-t", "A"], &both).line.task, "A");
    assert_eq!(with(&["x"], &both).line.task, "B");
    assert_eq!(with(&["x"], &both[1..]).line.task, "C");
    assert_eq!(with(&["x"], &[("HUME_TASKNAME", ""), ("HTASK", "C")]).line.task, "C");
    assert_eq!(with(&["-t", "", "x"], &both).line.task, "", "an empty flag asks for a plain note");
}

#[test]
fn tags_of_flags_and_both_variables_are_merged_and_the_first_of_each_stays() {
    let prepared = with(&["-T", "a,b", "-T", "c"], &[("HUME_TAGS", "b,d"), ("HTAGS", "a, e")]);
    assert_eq!(prepared.line.tags, ["a", "b", "c", "d", "e"]);
    assert!(!prepared.line.mangled);
}

#[test]
fn an_inherited_key_says_so_and_names_its_task() {
    let prepared = with(&["-t", "X"], &[("HUME_RUN_ID", "k"), ("HUME_RUN_TASK", "OTHER")]);
    let key = accepted(&prepared).key.unwrap();
    assert_eq!((key.source, key.task.unwrap().as_str()), (KeySource::Environment, "OTHER"));
    let prepared = with(&["-t", "X", "--run-id", "f"], &[("HUME_RUN_ID", "k"), ("HUME_RUN_TASK", "OTHER")]);
    let key = accepted(&prepared).key.unwrap();
    assert_eq!((key.key.as_str(), key.source, key.task), ("f", KeySource::Flag, None));
    assert_eq!(accepted(&with(&["x"], &[("HUME_RUN_ID", "")])).key, None);
}

#[test]
fn an_exported_key_handed_on_by_the_flag_is_refused_for_another_task() {
    let exported = [("HUME_RUN_ID", "k"), ("HUME_RUN_TASK", "X")];
    let same = accepted(&with(&["-t", "X", "--run-id", "k"], &exported)).key.unwrap();
    assert_eq!((same.source, same.task.unwrap().as_str()), (KeySource::Flag, "X"));
    let other = serde_json::to_vec(&with(&["-t", "Y", "--run-id", "k"], &exported).line).unwrap();
    let refused = intake::parse(&other, || unreachable!("it has an id")).unwrap_err();
    assert_eq!(refused.field(), Some("run_key"));
}

#[test]
fn the_host_of_an_exported_run_is_the_host_of_what_joins_it_and_of_nothing_else() {
    let exported = [("HUME_RUN_ID", "k"), ("HUME_RUN_TASK", "X"), ("HUME_RUN_HOST", "web2")];
    let host = |words: &[&str]| accepted(&with(words, &exported)).host.map(|host| host.as_str().to_owned());
    assert_eq!(host(&["-t", "X", "hi"]).as_deref(), Some("web2"));
    assert_eq!(host(&["-t", "X", "--run-id", "k"]).as_deref(), Some("web2"));
    assert_eq!(host(&["-t", "X", "--hostname", "web3"]).as_deref(), Some("web3"));
    assert_eq!(host(&["-t", "Y", "hi"]), None);
    assert_eq!(host(&["-t", "X", "--run-id", "other"]), None);
}

#[test]
fn a_start_can_be_detached_and_a_bad_command_takes_the_wish_with_it() {
    assert!(accepted(&of(&["-t", "X", "-c", "counter-start", "--detach"])).detach);
    let bad = of(&["-t", "X", "-c", "counter-strat", "--detach"]);
    assert_eq!(bad.changed, ["command", "detach"]);
    assert!(!accepted(&bad).detach);
    assert!(!accepted(&of(&["-c", "counter-start", "--detach"])).detach, "it has no task");
}

#[test]
fn events_of_the_same_words_differ_in_text_level_time_and_id() {
    let first = of(&["-t", "X", "-T", "a", "-x", "k=v", "-L", "ok"]);
    let surroundings = Surroundings::capture();
    let long = Message::from(OsString::from("y".repeat(MESSAGE_BYTES_MAX + 1)));
    let again = first.again(long, Some(Level::Error), &surroundings);
    let (one, two) = (accepted(&first), accepted(&again));
    assert_eq!((two.task, two.tags, two.extra), (one.task, one.tags, one.extra));
    assert_eq!((two.id, two.level, two.mangled), (surroundings.id(), Level::Error, true));
    assert_eq!(two.truncated_from, Some(MESSAGE_BYTES_MAX as u64 + 1));
    assert_eq!(accepted(&first.again(Message::default(), None, &surroundings)).level, Level::Ok);
}

#[test]
fn the_line_of_the_script_is_recorded_when_it_is_a_number() {
    assert_eq!(with(&["x"], &[("LINENO", "12")]).line.line, Some(12));
    let odd = with(&["x"], &[("LINENO", "twelve")]);
    assert_eq!((odd.line.line, odd.line.mangled), (None, false));
    assert_eq!(odd.remarks, ["LINENO=twelve is not the number of a line; it is left out"]);
}

#[test]
fn a_long_message_is_cut_and_its_length_told() {
    let long = "é".repeat(MESSAGE_BYTES_MAX);
    let prepared = of(&["-m", &long]);
    assert_eq!(
        (prepared.line.message.len(), prepared.line.truncated_from),
        (MESSAGE_BYTES_MAX, Some(32_768))
    );
    assert_eq!(prepared.changed, ["message"]);
}

#[test]
fn bytes_that_are_no_text_are_escaped_in_every_field() {
    let raw = || OsString::from_vec(b"a\xff".to_vec());
    for (flag, field) in [("-t", "task"), ("-m", "message"), ("-T", "tags"), ("--flag", "flag")] {
        let prepared = prepared(vec![flag.into(), raw()], &Variables::new(), None);
        assert_eq!(prepared.changed, [field]);
        let json = serde_json::to_string(&prepared.line).unwrap();
        assert!(json.contains(r"a\\xFF"), "{json}");
        accepted(&prepared);
    }
}

#[test]
fn ten_thousand_tags_are_cut_to_those_that_fit() {
    let list = (0..10_000).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
    let prepared = of(&["-T", &list]);
    assert_eq!((prepared.line.tags.len(), prepared.changed.as_slice()), (32, &["tags"][..]));
}

#[test]
fn what_was_set_aside_is_not_pushed_out_by_many_extras() {
    let words: Vec<String> = (0..100).flat_map(|n| ["-x".to_owned(), format!("k{n}=v")]).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend(["-L", "loud"]);
    let prepared = of(&words);
    assert_eq!(prepared.line.extra.0.len(), EXTRA_PAIRS_MAX);
    assert_eq!(extra(&prepared, "hume.level"), Some("loud"));
}

#[test]
fn the_worst_that_json_can_make_of_it_still_fits_a_line() {
    let worst = |bytes: usize| OsString::from("\u{1}".repeat(bytes));
    let mut words = vec!["-m".into(), worst(MESSAGE_BYTES_MAX)];
    for _ in 0..EXTRA_PAIRS_MAX {
        let mut pair = OsString::from("k=");
        pair.push(worst(EXTRA_BYTES_MAX / EXTRA_PAIRS_MAX - 1));
        words.extend(["-x".into(), pair]);
    }
    words.extend(["--auth-token".into(), worst(100_000)]);
    for flag in ["-t", "-T", "-L", "--hostname", "--run-id", "--flag"] {
        words.extend([flag.into(), worst(100_000)]);
    }
    let variables = Variables::from([("INVOCATION_ID", worst(100_000))]);
    let prepared = prepared(words, &variables, Some("\u{1}".repeat(TREE_BYTES_MAX)));
    let draft = accepted(&prepared);
    assert_eq!((draft.message.len(), draft.tree, draft.mangled), (MESSAGE_BYTES_MAX, None, true));
    assert!(!draft.extra.is_empty());
}

#[test]
fn a_stamped_line_keeps_what_it_had() {
    let line = stamped(DraftLine { id: Some("x".into()), task: "T".into(), ..DraftLine::default() });
    assert_eq!((line.id.as_deref(), line.task.as_str()), (Some("x"), "T"));
    assert!(line.time.is_some() && line.caller.is_some());
    assert_eq!(stamped(DraftLine::default()).id.unwrap().len(), 36);
}

/// What an argument can hold: anything but NUL, often things that look like options or numbers.
fn any_value() -> impl Strategy<Value = OsString> {
    prop_oneof![
        proptest::collection::vec(1..=255_u8, 0..300).prop_map(OsString::from_vec),
        ".{0,300}".prop_map(|text| OsString::from(text.replace('\0', "\u{1}"))),
        "-{1,2}[a-zA-Z=]{0,8}".prop_map(OsString::from),
        "-?[0-9]{1,20}".prop_map(OsString::from),
        (1..=255_u8, 0..60_000_usize).prop_map(|(byte, count)| OsString::from_vec(vec![byte; count])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_value_is_ever_refused(
        flags in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "-t", "--task", "-L", "--level", "-c", "--hume-cmd", "-T", "--tags", "-x", "--extra", "--flag",
                    "--exit", "--hostname", "--run-id", "--socket", "--recv-timeout", "--auth-token",
                ]),
                any_value(),
            ),
            0..12,
        ),
        message in proptest::option::of(any_value()),
        variables in proptest::collection::hash_map(
            proptest::sample::select(vec![
                "HUME_TASKNAME", "HTASK", "HUME_TAGS", "HTAGS", "HUME_RUN_ID", "HUME_RUN_TASK",
                "HUME_RUN_HOST", "HUME_TOKEN", "LINENO", "INVOCATION_ID",
            ]),
            any_value(),
            0..10,
        ),
        drops_last_value in any::<bool>(),
    ) {
        let mut words: Vec<OsString> = vec!["--verbose".into()];
        words.extend(message.into_iter().flat_map(|text| ["-m".into(), text]));
        words.extend(flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]));
        if drops_last_value && words.len() > 1 {
            words.pop();
        }
        let prepared = prepared(words, &variables, None);
        let draft = accepted(&prepared);
        prop_assert_eq!(draft.mangled, !prepared.changed.is_empty());
        prop_assert_eq!(Some(draft.id.to_string()), prepared.line.id);
    }
}
