//! One item a line: events, runs, tasks, hosts, agents, time lines or differences. A number and a status are one line.

use std::io::{self, Write};

use serde::Serialize;

use super::escape;
use super::format::Format;
use crate::answer::Answer;
use crate::ask::Pages;

/// `--format ndjson`.
#[derive(Debug)]
pub struct Ndjson;

impl Format for Ndjson {
    fn pages(&self) -> Pages {
        Pages::AsTheyCome
    }

    fn write(&mut self, answer: &Answer, to: &mut dyn Write) -> io::Result<()> {
        match answer {
            Answer::Events(list) => lines(&list.events, to),
            Answer::Runs(list) => lines(&list.runs, to),
            Answer::Latest(list) => lines(&list.runs, to),
            Answer::Fleet(report) => lines(&report.tasks, to),
            Answer::Timeline(list) => lines(&list.runs, to),
            Answer::Diff(list) => lines(&list.diffs, to),
            Answer::Count(count) => line(&count.count, to),
            Answer::Tasks(list) => lines(&list.tasks, to),
            Answer::Hosts(list) => lines(&list.hosts, to),
            Answer::Agents(list) => lines(&list.agents, to),
            Answer::Status(report) => line(report, to),
            Answer::Watches(list) => lines(&list.watches, to),
            Answer::Slots(list) => lines(&list.slots, to),
            Answer::Audit(list) => lines(&list.lines, to),
        }
    }
}

pub(super) fn lines<T: Serialize>(items: &[T], to: &mut dyn Write) -> io::Result<()> {
    items.iter().try_for_each(|item| line(item, to))
}

fn line<T: Serialize>(item: &T, to: &mut dyn Write) -> io::Result<()> {
    escape::compact(item, to)?;
    to.write_all(b"\n")
}
