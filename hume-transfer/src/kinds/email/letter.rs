//! What a notice looks like as a mail: subject, body, and headers by which programs know it and mailers thread it.
//!
//! Pure. Text of events is data: what goes into a header has no control characters, and the body no others than line breaks and
//! tabs. The same notice of the same transfer has the same Message-ID however often it is written.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hume_core::event::Exit;
use hume_core::{HostName, Timestamp};
use hume_runtime::tls::sha256_hex;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};

use crate::notice::{About, Digest, Notice, RunNotice, span};
use crate::options::TransferName;

/// Longest subject, in characters; the rest of a message is in the body anyway.
pub(super) const SUBJECT_CHARACTERS_MAX: usize = 140;
/// Longest value of a header of hume's own, in characters.
const HEADER_CHARACTERS_MAX: usize = 256;
/// Width of the names of facts in the body.
const NAME_WIDTH: usize = 11;

/// The lines of a mail that a template may write in place of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// One line.
    pub(super) subject: String,
    /// Plain text.
    pub(super) body: String,
}

/// Who sends, to whom, and from which daemon.
#[derive(Clone, Debug)]
pub(super) struct Letterhead {
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
    pub(super) transfer: TransferName,
    pub(super) host: HostName,
    pub(super) program: &'static str,
}

impl Text {
    /// The built-in text.
    pub(super) fn of(notice: &Notice, head: &Letterhead) -> Text {
        Text { subject: subject(notice), body: body(notice, head) }
    }
}

/// What a template made: `Subject: …` on its first line, if it says one, then the body.
pub(super) fn templated(text: &str, notice: &Notice) -> Text {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let said = first.split_once(':').filter(|(name, _)| name.trim().eq_ignore_ascii_case("subject"));
    match said {
        Some((_, subject)) => {
            let subject = one_line(subject, SUBJECT_CHARACTERS_MAX);
            let rest = rest.strip_prefix('\r').unwrap_or(rest);
            Text { subject, body: rest.strip_prefix('\n').unwrap_or(rest).to_owned() }
        }
        None => Text { subject: subject(notice), body: text.to_owned() },
    }
}

fn subject(notice: &Notice) -> String {
    let event = &notice.event.event;
    let place = match (event.task.is_none(), event.host.as_str()) {
        (true, host) => host.to_owned(),
        (false, host) => format!("{} on {host}", event.task.as_str()),
    };
    let said = match &notice.about {
        About::Event => format!("{}: {place}: {}", event.level.as_str(), first_line(&event.message)),
        About::Test => "test of a transfer".to_owned(),
        About::Run(run) => {
            let state = if run.ended_at.is_some() { "after" } else { "goes on after" };
            let time = span(run.duration_us / 1_000_000);
            let why = run.first_error.as_deref().or(run.reason.as_deref());
            let why = why.map(|why| format!(": {}", first_line(why))).unwrap_or_default();
            format!("{}: {place} {state} {time}{why}", run.status.as_str())
        }
        About::Digest(digest) => format!("{}: {}", notice.level().as_str(), digest.sentence()),
    };
    one_line(&format!("[hume] {said}"), SUBJECT_CHARACTERS_MAX)
}

fn first_line(text: &str) -> &str {
    text.trim_start().lines().next().unwrap_or_default()
}

fn body(notice: &Notice, head: &Letterhead) -> String {
    let mut body = String::new();
    body.push_str(notice.text().trim_end());
    body.push_str("\n\n");
    match &notice.about {
        About::Event | About::Test => {}
        About::Run(run) => facts_of_run(&mut body, run),
        About::Digest(digest) => facts_of_digest(&mut body, digest),
    }
    if !matches!(notice.about, About::Digest(_)) {
        facts_of_event(&mut body, notice);
    }
    let Letterhead { transfer, host, program, .. } = head;
    let _ = write!(body, "\n-- \nhume: {program} on {}, transfer {transfer}\n", host.as_str());
    body.chars().filter_map(harmless).collect()
}

fn harmless(character: char) -> Option<char> {
    match character {
        '\r' => None,
        '\n' | '\t' => Some(character),
        control if control.is_control() => Some('\u{fffd}'),
        other => Some(other),
    }
}

fn fact(body: &mut String, name: &str, value: &str) {
    // What continues a value on the next line stands below it.
    let value = value.trim_end().replace('\n', &format!("\n{:NAME_WIDTH$} ", ""));
    let _ = writeln!(body, "{name:NAME_WIDTH$} {value}");
}

fn facts_of_event(body: &mut String, notice: &Notice) {
    let event = &notice.event.event;
    let host = event.host.as_str();
    let told_of_run = matches!(notice.about, About::Run(_));
    if told_of_run {
        fact(body, "Told by", &format!("{}: {}", event.level.as_str(), event.message));
    } else {
        fact(body, "Level", event.level.as_str());
    }
    if !event.task.is_none() {
        fact(body, "Task", event.task.as_str());
    }
    match &notice.via {
        Some(via) => fact(body, "Host", &format!("{host}, told by the agent on {via}")),
        None => fact(body, "Host", host),
    }
    fact(body, "Time", &seconds(event.time));
    if !event.tags.is_empty() {
        fact(body, "Tags", &event.tags.iter().map(hume_core::Tag::as_str).collect::<Vec<_>>().join(", "));
    }
    match event.exit {
        Some(Exit::Code(code)) => fact(body, "Exit", &format!("code {code}")),
        Some(Exit::Signal(signal)) => fact(body, "Exit", &format!("signal {signal}")),
        None => {}
    }
    if let Some(script) = &event.process.script {
        let line = event.line.map(|line| format!(", line {line}")).unwrap_or_default();
        fact(body, "Script", &format!("{script}{line}"));
    }
    for (name, value) in [("User", &event.process.user), ("Unit", &event.process.unit)] {
        if let Some(value) = value {
            fact(body, name, value);
        }
    }
    if let (Some(run), false) = (&event.run, told_of_run) {
        fact(body, "Run", &run.id.to_string());
    }
    for (key, value) in &event.extra {
        fact(body, key, value);
    }
    if let Some(bytes) = event.truncated_from {
        fact(body, "Cut", &format!("the message had {bytes} bytes"));
    }
    fact(body, "Event", &event.id.to_string());
}

fn facts_of_run(body: &mut String, run: &RunNotice) {
    let RunNotice {
        id,
        status,
        started_at,
        ended_at,
        duration_us,
        by_level,
        first_error: _,
        exit_code,
        reason,
    } = run;
    fact(body, "Status", status.as_str());
    fact(body, "Started", &seconds(*started_at));
    match ended_at {
        Some(ended_at) => fact(body, "Ended", &seconds(*ended_at)),
        None => fact(body, "Ended", "not yet"),
    }
    fact(body, "Took", &span(duration_us / 1_000_000));
    if let Some(code) = exit_code {
        fact(body, "Exit", &format!("code {code}"));
    }
    if let Some(reason) = reason {
        fact(body, "Reason", reason);
    }
    let levels: Vec<String> = by_level.iter().map(|(level, count)| format!("{count} {level}")).collect();
    if !levels.is_empty() {
        fact(body, "Events", &levels.join(", "));
    }
    fact(body, "Run", &id.to_string());
}

fn facts_of_digest(body: &mut String, digest: &Digest) {
    let Digest { count, first, last, by_level, by_host, by_task, other_hosts, other_tasks, samples } = digest;
    fact(body, "Events", &count.to_string());
    fact(body, "From", &seconds(*first));
    fact(body, "To", &seconds(*last));
    let levels: Vec<String> = by_level.iter().map(|(level, count)| format!("{count} {level}")).collect();
    fact(body, "Levels", &levels.join(", "));
    for (name, counts, others) in [("Hosts", by_host, other_hosts), ("Tasks", by_task, other_tasks)] {
        let mut counts: Vec<(&str, u64)> =
            counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        if *others > 0 {
            counts.push(("others", *others));
        }
        let word = |(name, count): &(&str, u64)| match *name {
            "" => format!("{count} without a task"),
            name => format!("{count} {name}"),
        };
        fact(body, name, &counts.iter().map(word).collect::<Vec<_>>().join("\n"));
    }
    body.push_str("\nThe worst of them:\n");
    for sample in samples {
        let task = if sample.task.is_empty() { String::new() } else { format!(" {}", sample.task) };
        let line = first_line(&sample.message);
        let _ =
            writeln!(body, "  {} {}{task} on {}: {line}", seconds(sample.time), sample.level, sample.host);
    }
}

/// `2026-11-28 01:10:20 UTC`: nobody reads microseconds in a mail.
fn seconds(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{} UTC", seconds.replace('T', " ")),
        None => text,
    }
}

/// The text without control characters or runs of white space, cut with an ellipsis.
pub(super) fn one_line(text: &str, characters_max: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.chars().count() <= characters_max {
        return plain;
    }
    let mut cut: String = plain.chars().take(characters_max - 1).collect();
    cut.push('…');
    cut
}

/// The same for the same notice of the same transfer, so that a mail that came twice is known as one.
pub(super) fn message_id(notice: &Notice, head: &Letterhead) -> String {
    let what = match &notice.about {
        About::Event => "event".to_owned(),
        About::Test => "test".to_owned(),
        About::Run(_) => "run".to_owned(),
        // The worst event of a digest may stay the same while the digest grows.
        About::Digest(digest) => format!("digest{}", digest.count),
    };
    format!("<{}.{what}.{}@{}>", notice.event.event.id, head.transfer, domain(&head.host))
}

/// A message that never was, which all mails on one task of one host answer.
fn thread(notice: &Notice, head: &Letterhead) -> Option<String> {
    let event = &notice.event.event;
    match &notice.about {
        About::Event | About::Run(_) => {}
        About::Digest(_) | About::Test => return None,
    }
    let name = sha256_hex(format!("{}\0{}", event.host.as_str(), event.task.as_str()).as_bytes());
    Some(format!("<task-{}.{}@{}>", &name[..24], head.transfer, domain(&head.host)))
}

/// A host's name as it may stand in a Message-ID and in EHLO.
pub(super) fn domain(host: &HostName) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let plain: String = host.as_str().chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let labels: Vec<&str> = plain.split('.').filter(|label| !label.is_empty()).collect();
    labels.join(".")
}

/// The whole mail, as it is sent.
///
/// # Errors
/// A text that no mail can hold; none is known.
pub(super) fn write(
    notice: &Notice,
    text: &Text,
    head: &Letterhead,
    now: Timestamp,
) -> Result<Vec<u8>, lettre::error::Error> {
    let event = &notice.event.event;
    let date =
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or_default());
    let mut mail = Message::builder()
        .from(head.from.clone())
        .subject(one_line(&text.subject, SUBJECT_CHARACTERS_MAX))
        .date(date)
        .message_id(Some(message_id(notice, head)));
    for to in &head.to {
        mail = mail.to(to.clone());
    }
    if let Some(thread) = thread(notice, head) {
        mail = mail.in_reply_to(thread.clone()).references(thread);
    }
    let own = [
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("X-Hume-About", notice.view().about),
        ("X-Hume-Level", notice.level().as_str()),
        ("X-Hume-Host", event.host.as_str()),
        ("X-Hume-Task", event.task.as_str()),
    ];
    for (name, value) in own.into_iter().filter(|(_, value)| !value.is_empty()) {
        let name = HeaderName::new_from_ascii_str(name);
        mail = mail.raw_header(HeaderValue::new(name, one_line(value, HEADER_CHARACTERS_MAX)));
    }
    let body: String = text.body.chars().filter_map(harmless).collect();
    Ok(mail.header(ContentType::TEXT_PLAIN).body(body)?.formatted())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hume_core::event::StoredEvent;
    use hume_core::status::Status;
    use hume_core::{Level, RunId, Tag, TaskName};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::stored;

    fn head() -> Letterhead {
        Letterhead {
            from: "hume <hume@example.org>".parse().unwrap(),
            to: vec!["ops@example.org".parse().unwrap(), "Dba <dba@example.org>".parse().unwrap()],
            transfer: TransferName::parse("mail").unwrap(),
            host: HostName::parse("web1").unwrap(),
            program: "humed-agent",
        }
    }

    fn failure() -> StoredEvent {
        let mut event = stored(Level::Error, "BACKUP", "db1", "pg_dump failed\nno space left on device");
        event.event.tags = vec![Tag::parse("cron").unwrap(), Tag::parse("pg").unwrap()];
        event.event.exit = Some(Exit::Code(2));
        event.event.extra = vec![("free".to_owned(), "0 B".to_owned())];
        event.event.process.script = Some("/usr/local/bin/backup.sh".to_owned());
        event.event.line = Some(12);
        event
    }

    #[test]
    fn the_mail_of_an_event_reads_well() {
        let text = Text::of(&Notice { via: Some("gate".to_owned()), ..Notice::of(failure()) }, &head());
        assert_eq!(text.subject, "[hume] error: BACKUP on db1: pg_dump failed");
        let id = failure().event.id;
        assert_eq!(
            text.body,
            format!(
                "pg_dump failed\nno space left on device\n\n\
                 Level       error\n\
                 Task        BACKUP\n\
                 Host        db1, told by the agent on gate\n\
                 Time        2025-11-24 16:00:00 UTC\n\
                 Tags        cron, pg\n\
                 Exit        code 2\n\
                 Script      /usr/local/bin/backup.sh, line 12\n\
                 free        0 B\n\
                 Event       {id}\n\
                 \n-- \nhume: humed-agent on web1, transfer mail\n"
            )
        );
    }

    #[test]
    fn a_note_without_a_task_is_told_by_its_host_and_a_long_message_is_cut_in_the_subject() {
        let text = Text::of(&Notice::of(stored(Level::Info, "", "db1", &"long ".repeat(100))), &head());
        assert!(text.subject.starts_with("[hume] info: db1: long long"), "{}", text.subject);
        assert!(text.subject.ends_with('…') && text.subject.chars().count() == SUBJECT_CHARACTERS_MAX);
        assert!(text.body.contains(&"long ".repeat(99)));
    }

    fn run() -> RunNotice {
        let started_at = Timestamp::from_micros(1_764_000_000_000_000);
        RunNotice {
            id: RunId::from_bytes([7; 16]),
            status: Status::Failed,
            started_at,
            ended_at: Some(started_at.plus_micros(185_000_000)),
            duration_us: 185_000_000,
            by_level: BTreeMap::from([("error", 1), ("info", 12)]),
            first_error: Some("pg_dump failed\nno space left".to_owned()),
            exit_code: Some(2),
            reason: None,
        }
    }

    #[test]
    fn the_mail_of_a_run_tells_its_end_before_the_event() {
        let text = Text::of(&Notice { about: About::Run(run()), ..Notice::of(failure()) }, &head());
        assert_eq!(text.subject, "[hume] failed: BACKUP on db1 after 3m 5s: pg_dump failed");
        let facts = "Status      failed\n\
             Started     2025-11-24 16:00:00 UTC\n\
             Ended       2025-11-24 16:03:05 UTC\n\
             Took        3m 5s\n\
             Exit        code 2\n\
             Events      1 error, 12 info\n\
             Run         07070707-0707-0707-0707-070707070707\n\
             Told by     error: pg_dump failed\n            no space left on device\n";
        assert!(text.body.contains(facts), "{}", text.body);
        let open = RunNotice { ended_at: None, first_error: None, status: Status::Running, ..run() };
        let text = Text::of(&Notice { about: About::Run(open), ..Notice::of(failure()) }, &head());
        assert_eq!(text.subject, "[hume] running: BACKUP on db1 goes on after 3m 5s");
    }

    #[test]
    fn the_mail_of_a_digest_counts_and_quotes() {
        let mut digest = Digest::default();
        for at in 0..38 {
            let level = if at == 3 { Level::Critical } else { Level::Error };
            digest.add(&Notice::of(stored(
                level,
                if at % 2 == 0 { "BACKUP" } else { "" },
                "db1",
                &format!("event {at}\nmore"),
            )));
        }
        let event = stored(Level::Critical, "", "db1", "event 3");
        let text = Text::of(&Notice { about: About::Digest(digest), ..Notice::of(event) }, &head());
        assert_eq!(text.subject, "[hume] critical: +38 more from db1");
        for part in [
            "Events      38\n",
            "Levels      1 critical, 37 error\n",
            "Hosts       38 db1\n",
            "Tasks       19 without a task\n            19 BACKUP\n",
            "The worst of them:\n  2025-11-24 16:00:00 UTC critical on db1: event 3\n",
            "  2025-11-24 16:00:00 UTC error BACKUP on db1: event 0\n",
        ] {
            assert!(text.body.contains(part), "{part:?} in {}", text.body);
        }
    }

    fn written(notice: &Notice) -> String {
        let bytes =
            write(notice, &Text::of(notice, &head()), &head(), Timestamp::from_micros(1_764_000_060_000_000));
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    /// Headers, unfolded, in their order.
    fn headers(mail: &str) -> Vec<(String, String)> {
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let line = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim_start().to_owned())
        };
        unfolded.split("\r\n").map(line).collect()
    }

    #[test]
    fn programs_and_mailers_know_it_by_its_headers() {
        let mail = written(&Notice::of(failure()));
        let id = failure().event.id;
        let thread = "<task-224ab7cfe6e58f810a5c3a82.mail@web1>";
        let names: Vec<(String, String)> = headers(&mail);
        let value = |name: &str| {
            let found: Vec<&str> =
                names.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
            assert_eq!(found.len(), 1, "{name} in {mail}");
            found[0].to_owned()
        };
        assert_eq!(value("From"), "hume <hume@example.org>");
        assert_eq!(value("To"), "ops@example.org, Dba <dba@example.org>");
        assert_eq!(value("Subject"), "[hume] error: BACKUP on db1: pg_dump failed");
        assert_eq!(value("Date"), "Mon, 24 Nov 2025 16:01:00 +0000");
        assert_eq!(value("Message-ID"), format!("<{id}.event.mail@web1>"));
        assert_eq!(value("Auto-Submitted"), "auto-generated");
        assert_eq!((value("X-Hume-Task"), value("X-Hume-Host")), ("BACKUP".to_owned(), "db1".to_owned()));
        assert_eq!((value("X-Hume-Level"), value("X-Hume-About")), ("error".to_owned(), "event".to_owned()));
        assert_eq!((value("References"), value("In-Reply-To")), (thread.to_owned(), thread.to_owned()));
    }

    #[test]
    fn mails_on_one_task_of_one_host_are_one_thread_and_others_are_not() {
        let of = |task, host, message| thread(&Notice::of(stored(Level::Info, task, host, message)), &head());
        assert_eq!(of("BACKUP", "db1", "a"), of("BACKUP", "db1", "b"));
        assert_ne!(of("BACKUP", "db1", "a"), of("BACKUP", "db2", "a"));
        assert_ne!(of("BACKUP", "db1", "a"), of("UPDATE", "db1", "a"));
        let run = Notice { about: About::Run(run()), ..Notice::of(failure()) };
        assert_eq!(thread(&run, &head()), of("BACKUP", "db1", "a"));
        assert_ne!(message_id(&run, &head()), message_id(&Notice::of(failure()), &head()));
        assert_eq!(thread(&Notice { about: About::Test, ..run }, &head()), None);
    }

    #[test]
    fn a_template_may_say_the_subject_on_its_first_line() {
        let notice = Notice::of(failure());
        let of = |text: &str| {
            let Text { subject, body } = templated(text, &notice);
            (subject, body)
        };
        let is = |subject: &str, body: &str| (subject.to_owned(), body.to_owned());
        assert_eq!(of("Subject: disk  of db1\n\nis full\n"), is("disk of db1", "is full\n"));
        assert_eq!(of("subject:x\r\n\r\nbody"), is("x", "body"));
        assert_eq!(of("Subject: x"), is("x", ""));
        let usual = "[hume] error: BACKUP on db1: pg_dump failed";
        assert_eq!(of("no subject: here\n"), is(usual, "no subject: here\n"));
    }

    #[test]
    fn a_message_id_has_no_character_that_does_not_belong_there() {
        let host = HostName::parse("büro>.<x@y..").unwrap();
        assert_eq!(domain(&host), "b-ro-.-x-y");
    }

    proptest! {
        #[test]
        fn no_text_of_an_event_adds_a_header_or_ends_one_early(
            message in any::<String>(),
            lines in "(\r\n|\n|\r|\u{85}|\u{2028}|Bcc: a@b|\t| |x|é|=\\?|\0){0,60}",
            task in "[^\\p{Cc}\\s]([^\\p{Cc}]{0,80}[^\\p{Cc}\\s])?",
            host in "[^\\p{Cc}\\s]{1,80}",
        ) {
            let plain = headers(&written(&Notice::of(failure())));
            let mut event = stored(Level::Error, "BACKUP", "db1", &format!("{message}{lines}"));
            event.event.task = TaskName::parse(&task).unwrap();
            event.event.host = HostName::parse(&host).unwrap();
            let notices = [
                Notice::of(event.clone()),
                Notice { via: Some(lines.clone()), about: About::Run(RunNotice {
                    first_error: Some(lines.clone()), reason: Some(message.clone()), ..run()
                }), ..Notice::of(event.clone()) },
            ];
            for notice in notices {
                let mail = written(&notice);
                let names = |of: &[(String, String)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                let found = headers(&mail);
                prop_assert_eq!(names(&found), names(&plain));
                prop_assert!(mail.is_ascii(), "any server takes it");
                prop_assert!(!mail.replace("\r\n", "").contains(['\r', '\n', '\0']), "{:?}", mail);
                prop_assert!(mail.split("\r\n").all(|line| line.len() <= 998));
            }
        }
    }
}
