//! What a notice knows, as pairs of plain texts: for peers that have names and values and nothing deeper.
//!
//! The most important come first, so that who has room for some takes the first. What is not known has no pair; what there is several of,
//! such as tags, has several.

use hume_core::event::Exit;

use crate::notice::{About, Digest, Notice, RunNotice};

/// A name of lower-case letters, digits and `_`, and its value.
pub(crate) type Fact = (&'static str, String);

/// The pairs of a notice, without the extras of its event.
pub(crate) fn facts(notice: &Notice) -> Vec<Fact> {
    let event = &notice.event.event;
    let mut facts: Vec<Fact> =
        vec![("id", event.id.to_string()), ("level", notice.level().as_str().to_owned())];
    let mut add = |name: &'static str, value: Option<String>| {
        facts.extend(value.map(|value| (name, value)));
    };
    add("task", (!event.task.is_none()).then(|| event.task.to_string()));
    add("host", Some(event.host.to_string()));
    add("via", notice.via.clone());
    add("run", event.run.map(|run| run.id.to_string()));
    add("missed", (notice.missed > 0).then(|| notice.missed.to_string()));
    add("about", Some(notice.about.as_str().to_owned()));
    add("kind", Some(event.kind.as_str().to_owned()));
    for tag in &event.tags {
        add("tag", Some(tag.to_string()));
    }
    add("command", event.command.map(|command| command.as_str().to_owned()));
    add("flag", event.flag.as_ref().map(ToString::to_string));
    match event.exit {
        Some(Exit::Code(code)) => add("exit_code", Some(code.to_string())),
        Some(Exit::Signal(signal)) => add("exit_signal", Some(signal.to_string())),
        None => {}
    }
    add("reason", event.finding.map(|finding| finding.as_str().to_owned()));
    match &notice.about {
        About::Event | About::Test => {}
        About::Run(run) => of_run(run, &mut add),
        About::Digest(digest) => of_digest(digest, &mut add),
    }
    let process = &event.process;
    add("user", process.user.clone());
    add("uid", process.uid.map(|uid| uid.to_string()));
    add("pid", process.pid.map(|pid| pid.to_string()));
    add("script", process.script.clone());
    add("line", event.line.map(|line| line.to_string()));
    add("unit", process.unit.clone());
    add("captured_by", process.captured_by_cli.then(|| "cli".to_owned()));
    for flag in &event.flags {
        add("event_flag", Some(flag.as_str().to_owned()));
    }
    add("truncated_from", event.truncated_from.map(|bytes| bytes.to_string()));
    add("received_at", Some(event.received_at.to_string()));
    add("not_before", event.not_before.map(|time| time.to_string()));
    add("tree", process.tree.clone());
    facts
}

fn of_run(run: &RunNotice, add: &mut impl FnMut(&'static str, Option<String>)) {
    let RunNotice {
        id: _,
        status,
        started_at,
        ended_at,
        duration_us,
        by_level,
        first_error,
        exit_code,
        reason,
    } = run;
    add("run_status", Some(status.as_str().to_owned()));
    add("run_started_at", Some(started_at.to_string()));
    add("run_ended_at", ended_at.map(|time| time.to_string()));
    add("run_duration_us", Some(duration_us.to_string()));
    add("run_levels", Some(counts(by_level.iter())));
    add("run_exit_code", exit_code.map(|code| code.to_string()));
    add("run_reason", reason.clone());
    add("run_first_error", first_error.clone());
}

fn of_digest(digest: &Digest, add: &mut impl FnMut(&'static str, Option<String>)) {
    let Digest { count, first, last, by_level, by_host, by_task, other_hosts, other_tasks, samples } = digest;
    add("digest_count", Some(count.to_string()));
    add("digest_first", Some(first.to_string()));
    add("digest_last", Some(last.to_string()));
    add("digest_levels", Some(counts(by_level.iter())));
    add("digest_hosts", Some(counts(by_host.iter())));
    add("digest_other_hosts", (*other_hosts > 0).then(|| other_hosts.to_string()));
    add("digest_tasks", Some(counts(by_task.iter())));
    add("digest_other_tasks", (*other_tasks > 0).then(|| other_tasks.to_string()));
    for sample in samples {
        let text = format!("{} {} {}: {}", sample.host, sample.task, sample.level, sample.message);
        add("digest_sample", Some(text));
    }
}

/// `error=2 info=36`
fn counts<'a>(counted: impl Iterator<Item = (impl AsRef<str>, &'a u64)>) -> String {
    let parts: Vec<String> = counted.map(|(name, count)| format!("{}={count}", name.as_ref())).collect();
    parts.join(" ")
}
