//! A fleet that reports: hosts, tasks and runs as a site has them, event after event, the same for the same seed.
//!
//! [`HOSTS`] hosts with [`TASKS`] tasks each, runs of [`RUN_EVENTS`] events one after the other. Nearly all levels are info;
//! one run in a hundred has an error and fails, one in twenty a warning. Some tasks have tags.

use fastrand::Rng;
use hume_core::event::{Command, Correlation, EventKind, Exit, Process, RunRef};
use hume_core::{AgentId, Epoch, Event, EventId, HostName, Level, RunId, Tag, TaskName, Timestamp};
use hume_proto::intake::{CallerLine, DraftLine};

/// Hosts, one agent each.
pub(crate) const HOSTS: usize = 200;
/// Tasks, the same on every host.
pub(crate) const TASKS: usize = 50;
/// Events of one run.
pub(crate) const RUN_EVENTS: usize = 10;
/// A tag that a fifth of the tasks have, and one that a single task has.
pub(crate) const TAGS: [&str; 2] = ["nightly", "payment"];
/// Every so many tasks have the first of them.
const NIGHTLY_EVERY: usize = 5;
/// The task that has the second.
const PAYMENT_TASK: usize = 7;
/// One run in so many has an error; one in so many a warning.
const ERROR_EVERY: usize = 100;
const WARNING_EVERY: usize = 20;

/// The name of a host.
pub(crate) fn host_name(host: usize) -> String {
    format!("web{host:03}.example.net")
}

/// The name of a task.
pub(crate) fn task_name(task: usize) -> String {
    format!("NIGHTLY_JOB_{task:02}")
}

/// One host and its agent.
pub(crate) struct Reporter {
    pub(crate) agent: AgentId,
    pub(crate) epoch: Epoch,
    pub(crate) host: HostName,
    tasks: Vec<(TaskName, Vec<Tag>)>,
    rng: Rng,
}

impl Reporter {
    /// The reporter of the host with this number; none if a name is out of bounds.
    pub(crate) fn new(host: usize, seed: u64) -> Option<Reporter> {
        let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(host as u64));
        let mut id = || {
            let mut bytes = [0; 16];
            bytes.fill_with(|| rng.u8(..));
            bytes
        };
        let (agent, epoch) = (AgentId::from_bytes(id()), Epoch::from_bytes(id()));
        let task = |task: usize| {
            let is_tagged = [task.is_multiple_of(NIGHTLY_EVERY), task == PAYMENT_TASK];
            let tags = TAGS.iter().zip(is_tagged).filter(|(_, is_tagged)| *is_tagged);
            let tags = tags.map(|(tag, _)| Tag::parse(tag).ok()).collect::<Option<Vec<_>>>()?;
            Some((TaskName::parse(&task_name(task)).ok()?, tags))
        };
        Some(Reporter {
            agent,
            epoch,
            host: HostName::parse(&host_name(host)).ok()?,
            tasks: (0..TASKS).map(task).collect::<Option<_>>()?,
            rng,
        })
    }

    /// One whole run of a task, its events `step_us` apart from `begin` on.
    pub(crate) fn run(&mut self, begin: Timestamp, step_us: i64) -> Vec<Event> {
        let Some((task, tags)) = self.tasks.get(self.rng.usize(..TASKS)).cloned() else { return Vec::new() };
        let bytes = self.random();
        let run = RunRef { id: RunId::mint(begin, bytes), correlation: Correlation::Ancestry };
        let fails = self.rng.usize(..ERROR_EVERY) == 0;
        let warns = self.rng.usize(..WARNING_EVERY) == 0;
        let pid = self.rng.u32(300..4_000_000);
        let event = |place: usize| {
            let time = begin.plus_micros(step_us * place as i64);
            let is_last = place + 1 == RUN_EVENTS;
            let (command, exit) = match place {
                0 => (Some(Command::CounterStart), None),
                _ if is_last => (Some(Command::CounterStop), Some(Exit::Code(i32::from(fails)))),
                _ => (None, None),
            };
            let level = match place {
                6 if fails => Level::Error,
                4 if warns => Level::Warning,
                _ => Level::Info,
            };
            let bytes = self.random();
            Event {
                id: EventId::mint(time, bytes),
                kind: EventKind::Reported,
                time,
                received_at: time,
                boot_clock: None,
                host: self.host.clone(),
                task: task.clone(),
                tags: tags.clone(),
                level,
                command,
                flag: None,
                message: format!("step {place} of the job is done, nothing else to say of it"),
                truncated_from: None,
                extra: Vec::new(),
                exit,
                line: None,
                process: Process {
                    pid: Some(pid + place as u32),
                    uid: Some(0),
                    user: Some("root".to_owned()),
                    script: Some("/usr/local/sbin/nightly".to_owned()),
                    ..Process::default()
                },
                run: Some(run),
                finding: None,
                not_before: None,
                flags: Vec::new(),
            }
        };
        (0..RUN_EVENTS).map(event).collect()
    }

    fn random(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes.fill_with(|| self.rng.u8(..));
        bytes
    }
}

/// Bytes of the line that a script's `hume` would have written for this event, without its end.
pub(crate) fn line_bytes(event: &Event) -> usize {
    let line = DraftLine {
        id: Some(event.id.to_string()),
        time: Some(event.time.to_string()),
        task: event.task.as_str().to_owned(),
        tags: event.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        level: Some(event.level.as_str().to_owned()),
        command: event.command.map(|command| command.as_str().to_owned()),
        message: event.message.clone(),
        exit: event.exit.and_then(|exit| match exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) => None,
        }),
        caller: Some(CallerLine { pid: event.process.pid, ..CallerLine::default() }),
        ..DraftLine::default()
    };
    // A line of plain values always has a text.
    serde_json::to_vec(&line).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::LINE_BYTES;

    #[test]
    fn the_same_seed_makes_the_same_fleet_and_hosts_differ() {
        let run = |host, seed| Reporter::new(host, seed).unwrap().run(Timestamp::EPOCH, 1);
        assert_eq!(run(3, 1), run(3, 1));
        assert_ne!(run(3, 1), run(3, 2));
        assert_ne!(run(3, 1)[0].id, run(4, 1)[0].id);
    }

    #[test]
    fn a_run_begins_and_ends_and_its_lines_are_about_as_long_as_all_others() {
        let run = Reporter::new(0, 0).unwrap().run(Timestamp::EPOCH, 1);
        assert_eq!(run.len(), RUN_EVENTS);
        assert_eq!(run[0].command, Some(Command::CounterStart));
        assert_eq!(run[RUN_EVENTS - 1].command, Some(Command::CounterStop));
        let bytes: usize = run.iter().map(line_bytes).sum();
        assert!(LINE_BYTES.abs_diff(bytes / RUN_EVENTS) < 20, "{}", bytes / RUN_EVENTS);
    }

    #[test]
    fn levels_and_tags_are_as_rare_as_they_should_be() {
        let mut reporter = Reporter::new(1, 1).unwrap();
        let runs: Vec<_> = (0..2000).map(|_| reporter.run(Timestamp::EPOCH, 1)).collect();
        let of = |is: fn(&Event) -> bool| runs.iter().filter(|run| run.iter().any(is)).count();
        assert!((5..60).contains(&of(|event| event.level == Level::Error)));
        assert!((50..200).contains(&of(|event| event.level == Level::Warning)));
        assert!((300..500).contains(&of(|event| event.tags.iter().any(|tag| tag.as_str() == TAGS[0]))));
        assert!((10..100).contains(&of(|event| event.tags.iter().any(|tag| tag.as_str() == TAGS[1]))));
    }
}
