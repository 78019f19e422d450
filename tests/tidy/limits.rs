//! The limits that a user can meet stand in the tables of the documents, each with the value that the program holds.
//!
//! [`LIMITS`] names the constant and the row; the value is read from the source, so a changed constant asks for its row.

use crate::docs::OPERATIONS;
use crate::markdown::{self, read};
use crate::none_of;
use crate::source::{self, Source, has_word};

const PROTOCOL: &str = "docs/PROTOCOL.md";

/// A document's chapter.
#[derive(Clone, Copy)]
struct Chapter(&'static str, &'static str);

const LOCAL: Chapter = Chapter(OPERATIONS, "Limits");
const LINE: Chapter = Chapter(PROTOCOL, "1. hume");
const RELAY: Chapter = Chapter(PROTOCOL, "2. Agent");

/// Chapter, a word of the row's first cell, file and constant.
type Limit = (Chapter, &'static str, &'static str, &'static str);

const LIMITS: &[Limit] = &[
    (LOCAL, "line at the agent's socket", "hume-core/src/event.rs", "LINE_BYTES_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "MESSAGE_BYTES_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "EXTRA_PAIRS_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "EXTRA_BYTES_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "TAGS_MAX"),
    (LOCAL, "message;", "hume-core/src/name.rs", "TAG_BYTES_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "TREE_BYTES_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "SURROUNDINGS_BYTES_MAX"),
    (LOCAL, "message;", "hume-core/src/event.rs", "USER_BYTES_MAX"),
    (LOCAL, "names", "hume-core/src/name.rs", "TASK_BYTES_MAX"),
    (LOCAL, "names", "hume-core/src/name.rs", "HOST_BYTES_MAX"),
    (LOCAL, "names", "hume-core/src/name.rs", "RUN_KEY_BYTES_MAX"),
    (LOCAL, "names", "hume-core/src/name.rs", "FLAG_BYTES_MAX"),
    (LOCAL, "what a script says", "hume-core/src/watch/expect.rs", "EXPECT_BYTES_MAX"),
    (LOCAL, "file that `humeconfig watch import`", "humeconfig/src/watch/found.rs", "FILE_BYTES_MAX"),
    (LOCAL, "`hume` waits", "hume-client/src/settings.rs", "RECV_TIMEOUT_MS"),
    (LOCAL, "`hume` waits", "hume-client/src/settings.rs", "RECV_TIMEOUT_MS_MAX"),
    (LOCAL, "connections at the agent's socket", "humed-agent/src/intake/mod.rs", "CONNECTIONS_MAX"),
    (
        LOCAL,
        "connections at the agent's socket",
        "humed-agent/src/intake/places.rs",
        "CONNECTIONS_PER_USER_MAX",
    ),
    (LOCAL, "connections at the agent's socket", "humed-agent/src/intake/places.rs", "CONNECTIONS_FOR_ROOT"),
    (LOCAL, "users whose events are counted", "humed-agent/src/intake/allowance.rs", "USERS_MAX"),
    (LOCAL, "users whose events are counted", "humed-agent/src/intake/crowd.rs", "USERS_MAX"),
    (LOCAL, "files of the drop folder", "humed-agent/src/intake/drop_folder.rs", "FILES_MAX"),
    (LOCAL, "files of the drop folder", "humed-agent/src/intake/drop_folder.rs", "FILES_PER_USER_MAX"),
    (LOCAL, "files of the drop folder", "humed-agent/src/intake/drop_folder.rs", "REJECTED_FILES_MAX"),
    (LOCAL, "begun line", "humed-agent/src/intake/connection.rs", "LINE_TIME_MAX"),
    (LOCAL, "begun line", "humed-agent/src/intake/connection.rs", "ANSWER_TIME_MAX"),
    (LOCAL, "begun line", "humed-agent/src/intake/connection.rs", "IDLE_TIME_MAX"),
    (LOCAL, "patterns of `[redact]`", "humed-agent/src/redact/config.rs", "PATTERNS_MAX"),
    (LOCAL, "patterns of `[redact]`", "humed-agent/src/redact/config.rs", "PATTERN_BYTES_MAX"),
    (LOCAL, "patterns of `[redact]`", "humed-agent/src/redact/config.rs", "COMPILED_BYTES_MAX"),
    (LOCAL, "patterns of `[redact]`", "humed-agent/src/redact/rules.rs", "LOOKS_MAX"),
    (LOCAL, "events waiting for the spool", "humed-agent/src/runs/mod.rs", "WAITING_MAX"),
    (LOCAL, "acknowledgement", "humed-agent/src/spool/writer.rs", "ACK_WAIT"),
    (LOCAL, "acknowledgement", "humed-agent/src/spool/housekeeping.rs", "RETENTION_EVERY"),
    (LOCAL, "between two repairs", "humed-agent/src/spool/disk.rs", "REPAIR_EVERY"),
    (LOCAL, "between two repairs", "humed-master/src/store/sqlite/disk.rs", "REPAIR_EVERY"),
    (LOCAL, "Unix socket path", "hume-runtime/src/socket.rs", "SOCKET_PATH_BYTES_MAX"),
    (LOCAL, "configuration file", "hume-runtime/src/config.rs", "CONFIG_BYTES_MAX"),
    (LOCAL, "configuration file", "hume-runtime/src/secret.rs", "SECRET_BYTES_MAX"),
    (LOCAL, "server of `--from-url`", "humeconfig/src/from_url/fetch.rs", "CONNECT_TIME_MAX"),
    (LOCAL, "server of `--from-url`", "humeconfig/src/from_url/fetch.rs", "ANSWER_TIME_MAX"),
    (LOCAL, "server of `--from-url`", "humeconfig/src/from_url/fetch.rs", "METADATA_TIME_MAX"),
    (LOCAL, "a program of systemd's", "humeconfig/src/systemd/mod.rs", "STEP_TIME_MAX"),
    (LOCAL, "a daemon's judgement", "humeconfig/src/change/daemon.rs", "JUDGE_TIME_MAX"),
    (LOCAL, "connections that ask", "humed-master/src/web/mod.rs", "CONNECTIONS_MAX"),
    (LOCAL, "connections that ask", "humed-master/src/web/mod.rs", "CONNECTIONS_OF_ADDRESS_MAX"),
    (LOCAL, "connections that ask", "humed-agent/src/web/mod.rs", "CONNECTIONS_MAX"),
    (LOCAL, "of them those that follow", "humed-master/src/web/state.rs", "FOLLOWERS_MAX"),
    (LOCAL, "of them those that follow", "humed-agent/src/web/mod.rs", "FOLLOWERS_MAX"),
    (LOCAL, "of them those that follow", "proto/src/rest/query.rs", "WAIT_SECONDS_MAX"),
    (LOCAL, "between two looks whether a certificate", "humed-master/src/ca/mod.rs", "LOOK_EVERY"),
    (LOCAL, "tokens of the API", "humed-master/src/registry/passes.rs", "PASSES_MAX"),
    (LOCAL, "tokens of the API", "humed-master/src/registry/passes.rs", "USED_EVERY"),
    (LOCAL, "wrong tokens", "humed-master/src/web/failures.rs", "FAILURES_PER_MINUTE_MAX"),
    (LOCAL, "wrong tokens", "humed-master/src/web/failures.rs", "ADDRESSES_MAX"),
    (LOCAL, "token, certificate and key", "humequery/src/papers.rs", "TOKEN_BYTES_MAX"),
    (LOCAL, "token, certificate and key", "humequery/src/papers.rs", "PEM_BYTES_MAX"),
    (LOCAL, "lines of the audit log", "humed-master/src/web/failures.rs", "AUDITED_PER_MINUTE_MAX"),
    (LOCAL, "head of a request", "hume-runtime/src/serve.rs", "HEAD_TIME_MAX"),
    (LOCAL, "head of a request", "hume-runtime/src/serve.rs", "HEAD_BYTES_MAX"),
    (LOCAL, "head of a request", "proto/src/web.rs", "URI_BYTES_MAX"),
    (LOCAL, "head of a request", "hume-runtime/src/serve.rs", "FINISH_TIME_MAX"),
    (LOCAL, "page of `/api/v1`", "hume-core/src/page.rs", "PAGE_ITEMS_MAX"),
    (LOCAL, "page of `/api/v1`", "humed-master/src/store/sqlite/events.rs", "SCAN_EVENTS_MAX"),
    (LOCAL, "page of `/api/v1`", "humed-agent/src/spool/query.rs", "ROWS_LOOKED_AT_MAX"),
    (LOCAL, "time of a question", "humed-master/src/store/sqlite/mod.rs", "QUESTION_TIME_MAX"),
    (LOCAL, "time of a question", "humed-agent/src/spool/reader.rs", "READ_TIME_MAX"),
    (LOCAL, "time of a question", "humed-master/src/store/sqlite/readers.rs", "QUESTIONS_MAX"),
    (LOCAL, "watches;", "hume-core/src/watch.rs", "WATCHES_MAX"),
    (LOCAL, "watches;", "hume-core/src/watch.rs", "SCHEDULES_MAX"),
    (LOCAL, "watches;", "humed-master/src/store/sqlite/watches.rs", "SLOTS_PER_COURSE_MAX"),
    (LOCAL, "hosts that an agent", "hume-core/src/host_patterns.rs", "HOST_PATTERNS_MAX"),
    (LOCAL, "lists of tasks", "proto/src/rest.rs", "LIST_ITEMS_MAX"),
    (LOCAL, "events that come with one run", "humed-master/src/store/mod.rs", "RUN_EVENTS_MAX"),
    (LOCAL, "events that come with one run", "humed-agent/src/spool/run_query.rs", "RUN_EVENTS_MAX"),
    (LOCAL, "tokens", "humed-master/src/admin/tokens.rs", "USES_MAX"),
    (LOCAL, "tokens", "hume-runtime/src/pki/join.rs", "TOKEN_BYTES_MAX"),
    (LOCAL, "hosts that join", "humed-master/src/enroll/mod.rs", "CONNECTIONS_MAX"),
    (LOCAL, "hosts that join", "humed-master/src/enroll/mod.rs", "CONNECTIONS_OF_ADDRESS_MAX"),
    (LOCAL, "hosts that join", "humed-master/src/enroll/mod.rs", "BODY_BYTES_MAX"),
    (LOCAL, "hosts that join", "humed-master/src/enroll/mod.rs", "REQUEST_TIME_MAX"),
    (LOCAL, "failures to join", "humed-master/src/enroll/throttle.rs", "FAILURES_MAX"),
    (LOCAL, "failures to join", "humed-master/src/enroll/throttle.rs", "ALL_FAILURES_MAX"),
    (LOCAL, "the same answer", "humed-master/src/registry/join.rs", "ASK_AGAIN_MAX"),
    (LOCAL, "a host waits", "humeconfig/src/join.rs", "APPROVAL_TIME_MAX"),
    (LINE, "`task`", "hume-core/src/name.rs", "TASK_BYTES_MAX"),
    (LINE, "`host`", "hume-core/src/name.rs", "HOST_BYTES_MAX"),
    (LINE, "`run_key`", "hume-core/src/name.rs", "RUN_KEY_BYTES_MAX"),
    (RELAY, "event", "hume-core/src/event.rs", "EVENT_BYTES_MAX"),
    (RELAY, "batch", "proto/src/relay.rs", "BATCH_BYTES_MAX"),
    (RELAY, "batch", "proto/src/relay.rs", "BATCH_EVENTS_MAX"),
    (RELAY, "window", "proto/src/relay.rs", "WINDOW_BYTES_DEFAULT"),
    (RELAY, "window", "proto/src/relay.rs", "WINDOW_EVENTS_DEFAULT"),
    (RELAY, "in flight", "humed-agent/src/uplink/pace.rs", "START_BYTES"),
    (RELAY, "in flight", "humed-agent/src/uplink/pace.rs", "SOON"),
    (RELAY, "in flight", "humed-agent/src/uplink/pace.rs", "LATE"),
    (RELAY, "frame", "proto/src/relay.rs", "FRAME_BYTES_MAX"),
    (RELAY, "frame", "proto/src/relay.rs", "FRAME_FIELDS_MAX"),
    (RELAY, "frame", "proto/src/relay.rs", "TEXT_BYTES_MAX"),
    (RELAY, "renewal", "proto/src/relay/renewal.rs", "PUBLIC_KEY_BYTES_MAX"),
    (RELAY, "renewal", "proto/src/relay/renewal.rs", "PROOF_BYTES_MAX"),
    (RELAY, "renewal", "proto/src/relay/renewal.rs", "CHAIN_BYTES_MAX"),
    (RELAY, "renewal", "humed-agent/src/uplink/renewal.rs", "AGAIN_MIN"),
    (RELAY, "renewal", "humed-agent/src/uplink/renewal.rs", "AGAIN_MAX"),
    (RELAY, "epochs in a Hello", "proto/src/relay.rs", "EPOCHS_MAX"),
    (RELAY, "sessions", "humed-master/src/relay/mod.rs", "SESSIONS_MAX"),
    (RELAY, "sessions", "humed-master/src/relay/mod.rs", "SESSION_AGE"),
    (RELAY, "connections of one agent", "humed-master/src/relay/peer.rs", "CONNECTIONS_OF_AGENT_MAX"),
    (RELAY, "connections of one agent", "humed-master/src/relay/peer.rs", "IDLE_TIME_MAX"),
    (RELAY, "first words", "humed-master/src/relay/session.rs", "HELLO_TIME_MAX"),
    (RELAY, "first words", "humed-agent/src/uplink/mod.rs", "WELCOME_TIME_MAX"),
    (RELAY, "answers", "humed-master/src/relay/session.rs", "ACK_INTERVAL"),
    (RELAY, "answers", "humed-master/src/relay/drive.rs", "SEND_TIME_MAX"),
    (RELAY, "handshakes", "hume-runtime/src/accept/room.rs", "SHAKE_TIME_MIN"),
    (RELAY, "backlogs", "humed-master/src/relay/turns.rs", "TURNS_BYTES"),
    (RELAY, "backlogs", "humed-master/src/relay/turns.rs", "LIVE_BYTES"),
    (RELAY, "store that takes nothing", "humed-master/src/relay/session.rs", "THROTTLE_MS"),
    (RELAY, "store that takes nothing", "humed-master/src/relay/session.rs", "RESYNC_AGAIN"),
];

#[test]
fn every_limit_stands_in_its_table_with_the_value_that_holds() {
    let mut violations = Vec::new();
    let sources = source::all();
    for (Chapter(document, heading), key, path, name) in LIMITS.iter().copied() {
        let source = sources.iter().find(|source| source.path == path);
        let Some(value) = source.and_then(|source| value(source, name)) else {
            violations.push(format!("{path}: {name} is no constant with a number"));
            continue;
        };
        let rows = markdown::rows(&read(document, &mut violations), heading);
        let Some(row) = rows.iter().find(|row| row.first().is_some_and(|first| first.starts_with(key)))
        else {
            violations
                .push(format!("{document}, {heading}: no row begins with {key:?}, for {name} of {path}"));
            continue;
        };
        let spellings = value.spellings();
        let limit = row.get(1..).unwrap_or_default().join(" ");
        if !spellings.iter().any(|spelling| has_word(&limit, spelling)) {
            violations.push(format!(
                "{document}, {heading}: the row {key:?} does not say {}, which is {name} of {path}",
                spellings.join(" or ")
            ));
        }
    }
    none_of(&violations);
}

/// What a constant holds.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Count(u64),
    Bytes(u64),
    Millis(u64),
}

impl Value {
    /// As it may stand in a table: `16,384 bytes` or `16 KiB`, `5,000 ms` or `5 s`.
    fn spellings(&self) -> Vec<String> {
        let (number, units): (u64, &[(&str, u64)]) = match self {
            Value::Count(number) => (*number, &[("", 1)]),
            Value::Bytes(number) => (*number, &[(" bytes", 1), (" KiB", 1024), (" MiB", 1024 * 1024)]),
            Value::Millis(number) => {
                (*number, &[(" ms", 1), (" s", 1000), (" min", 60_000), (" h", 3_600_000)])
            }
        };
        let fitting = units.iter().filter(|(_, size)| number >= *size && number.is_multiple_of(*size));
        fitting.map(|(unit, size)| format!("{}{unit}", grouped(number / size))).collect()
    }
}

/// `1,000,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The value of a constant; what holds outside of tests where there are two.
fn value(source: &Source, name: &str) -> Option<Value> {
    let head = format!("const {name}: ");
    let line = source.lines.iter().find(|line| !line.is_test && line.code.contains(&head))?;
    let (_, expression) = line.code.split_once(" = ")?;
    let expression = expression.trim().trim_end_matches(';');
    let expression = match expression.split_once(" else { ") {
        Some((_, rest)) => rest.trim_end_matches([' ', '}']),
        None => expression,
    };
    let durations =
        [("from_millis", 1), ("from_secs", 1000), ("from_mins", 60_000), ("from_hours", 3_600_000)];
    for (unit, millis) in durations {
        if let Some(inside) = expression.strip_prefix(&format!("Duration::{unit}(")) {
            return Some(Value::Millis(product(source, inside.strip_suffix(')')?)? * millis));
        }
    }
    let number = product(source, expression)?;
    let has_part = |part: &str| name.split('_').any(|one| one == part);
    Some(match (has_part("BYTES"), has_part("MS"), has_part("SECONDS")) {
        (true, ..) => Value::Bytes(number),
        (_, true, _) => Value::Millis(number),
        (.., true) => Value::Millis(number * 1000),
        _ => Value::Count(number),
    })
}

/// `4 * 1024` or `2 * OTHER_MAX`, whose names are of the same file.
fn product(source: &Source, expression: &str) -> Option<u64> {
    expression.split(" * ").try_fold(1, |product, factor| {
        let number = match factor.replace('_', "").parse() {
            Ok(number) => number,
            Err(_) => match value(source, factor)? {
                Value::Count(number) | Value::Bytes(number) | Value::Millis(number) => number,
            },
        };
        Some(product * number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_read_with_its_unit() {
        let text = "const A_BYTES_MAX: usize = 16 * 1024;\npub const B_MAX: usize = 4 * C_MAX;\nconst C_MAX: usize = 1_000;\n\
                    const D_WAIT: Duration = Duration::from_mins(2);\nconst E_MS: u32 = 5_000;\nconst F_SECONDS_MAX: u64 = 30;\n\
                    const G_MAX: i64 = if cfg!(test) { 7 } else { 100_000 };\n";
        let source = Source::new("one/src/lib.rs", text);
        let spelt = |name| value(&source, name).unwrap().spellings();
        assert_eq!(spelt("A_BYTES_MAX"), ["16,384 bytes", "16 KiB"]);
        assert_eq!(spelt("B_MAX"), ["4,000"]);
        assert_eq!(spelt("D_WAIT"), ["120,000 ms", "120 s", "2 min"]);
        assert_eq!(spelt("E_MS"), ["5,000 ms", "5 s"]);
        assert_eq!(spelt("F_SECONDS_MAX"), ["30,000 ms", "30 s"]);
        assert_eq!(spelt("G_MAX"), ["100,000"]);
        assert_eq!(value(&source, "H_MAX"), None);
    }
}
