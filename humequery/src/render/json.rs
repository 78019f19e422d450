//! One object, indented, exactly as documented in docs/PROTOCOL.md; of a count the number.

use std::io::{self, Write};

use serde::Serialize;

use super::escape;
use super::format::Format;
use crate::answer::Answer;
use crate::ask::Pages;

/// `--format json`.
#[derive(Debug)]
pub struct Json;

impl Format for Json {
    fn pages(&self) -> Pages {
        Pages::Merged
    }

    fn write(&mut self, answer: &Answer, to: &mut dyn Write) -> io::Result<()> {
        match answer {
            Answer::Events(list) => object(list, to),
            Answer::Runs(list) => object(list, to),
            Answer::Latest(list) => object(list, to),
            Answer::Fleet(report) => object(report, to),
            Answer::Timeline(list) => object(list, to),
            Answer::Diff(list) => object(list, to),
            Answer::Count(count) => object(&count.count, to),
            Answer::Tasks(list) => object(list, to),
            Answer::Hosts(list) => object(list, to),
            Answer::Agents(list) => object(list, to),
            Answer::Status(report) => object(report, to),
            Answer::Watches(list) => object(list, to),
            Answer::Slots(list) => object(list, to),
            Answer::Audit(list) => object(list, to),
        }
    }
}

/// Any object in this form.
pub(crate) fn object<T: Serialize>(value: &T, to: &mut dyn Write) -> io::Result<()> {
    escape::pretty(value, to)?;
    to.write_all(b"\n")
}
