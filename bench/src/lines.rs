//! Events as scripts send them: JSON lines of one length, made before the clock runs.

use anyhow::{Context as _, ensure};
use hume_core::{EventId, Timestamp};
use hume_proto::intake::{CallerLine, DraftLine};
use hume_runtime::clock;

/// Bytes of one line without its end.
pub(crate) const LINE_BYTES: usize = 230;

/// The task of all lines.
pub(crate) const TASK: &str = "BACKUP";

/// Lines, one after the other, each with an id of its own.
pub(crate) struct Lines {
    pub(crate) text: Vec<u8>,
    pub(crate) ids: Vec<EventId>,
}

impl Lines {
    /// So many, of [`LINE_BYTES`] each. The first begins the run that the others belong to, the last ends it.
    pub(crate) fn of_one_run(count: usize) -> anyhow::Result<Lines> {
        let (start, boot_us) = (clock::now(), clock::boottime_us());
        let mut lines =
            Lines { text: Vec::with_capacity(count * (LINE_BYTES + 1)), ids: Vec::with_capacity(count) };
        for number in 0..count {
            // A few microseconds apart, as from a script that is in a hurry.
            let later = number as u64 * 10;
            let time = Timestamp::from_micros(start.as_micros() + later as i64);
            let mut draft = draft(time, boot_us + later);
            let command = if number == 0 {
                Some("counter-start")
            } else if number + 1 == count {
                Some("counter-stop")
            } else {
                None
            };
            draft.command = command.map(str::to_owned);
            lines.push(draft, number)?;
        }
        Ok(lines)
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.ids.len()
    }

    /// The line at this place, with its end.
    pub(crate) fn line(&self, place: usize) -> &[u8] {
        let begin = place * (LINE_BYTES + 1);
        self.text.get(begin..begin + LINE_BYTES + 1).unwrap_or_default()
    }

    fn push(&mut self, mut draft: DraftLine, number: usize) -> anyhow::Result<()> {
        let id = draft.id.as_deref().and_then(|id| EventId::parse(id).ok());
        fit(&mut draft, &format!("file {number} copied"))?;
        serde_json::to_writer(&mut self.text, &draft).context("could not write a line")?;
        self.text.push(b'\n');
        self.ids.push(id.context("a line was made without an id")?);
        Ok(())
    }
}

/// A line as `hume` writes it, still without a message.
pub(crate) fn draft(time: Timestamp, boottime_us: u64) -> DraftLine {
    let mut random = [0; 10];
    random.fill_with(|| fastrand::u8(..));
    DraftLine {
        id: Some(EventId::mint(time, random).to_string()),
        time: Some(time.to_string()),
        task: TASK.to_owned(),
        level: Some("info".to_owned()),
        caller: Some(CallerLine {
            pid: Some(std::process::id()),
            boottime_us: Some(boottime_us),
            ..CallerLine::default()
        }),
        ..DraftLine::default()
    }
}

/// Gives it a message that begins with `text` and makes the line [`LINE_BYTES`] long.
/// # Errors
/// If it is longer already.
pub(crate) fn fit(draft: &mut DraftLine, text: &str) -> anyhow::Result<()> {
    text.clone_into(&mut draft.message);
    let length = serde_json::to_string(draft).context("could not write a line")?.len();
    let left = LINE_BYTES.checked_sub(length);
    let left = left.with_context(|| format!("a line has {length} bytes already"))?;
    draft.message.extend(" of the tree".chars().cycle().take(left));
    ensure!(!draft.message.is_empty(), "a line without a message");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_same_length_and_is_a_draft_with_the_id_it_says() {
        let lines = Lines::of_one_run(3).unwrap();
        assert_eq!(lines.text.len(), 3 * (LINE_BYTES + 1));
        for (place, id) in lines.ids.iter().enumerate() {
            let line = lines.line(place).strip_suffix(b"\n").unwrap();
            assert_eq!(line.len(), LINE_BYTES);
            let parsed = hume_proto::intake::parse(line, || EventId::from_bytes([0; 16])).unwrap();
            assert_eq!(parsed.draft.id, *id);
            assert_eq!(parsed.draft.command.is_some(), place != 1);
        }
        assert_ne!(lines.ids[0], lines.ids[1]);
    }
}
