//! From the flags of `hume watch` to the one text that says when a task is expected. Pure.

use super::args::When;

/// Takes back what was said.
pub(super) const NEVER: &str = "never";

/// The text.
/// # Errors
/// What contradicts what, in words, with an example.
pub(super) fn text(when: &When) -> Result<String, String> {
    let When { schedule, every, hourly, daily, weekly, monthly, at, on, grace, max_runtime, keys, never } =
        when;
    if *never {
        return Ok(NEVER.to_owned());
    }
    let mut parts = schedule.clone();
    parts.extend(every.as_ref().map(|every| format!("every {every}")));
    let period = [(*hourly, "hourly"), (*daily, "daily"), (*weekly, "weekly"), (*monthly, "monthly")]
        .into_iter()
        .find(|(is, _)| *is);
    match (period, at.as_slice()) {
        (None, []) => {}
        (None, _) => return Err("--at needs --daily, --weekly or --monthly".to_owned()),
        (Some((_, word)), []) => parts.push(word.to_owned()),
        (Some((_, "weekly")), _) if on.is_none() => {
            return Err("--weekly with --at needs a day, such as --on sun".to_owned());
        }
        (Some((_, word)), times) => {
            let day = if word == "monthly" { "1" } else { "*" };
            let days = on.as_deref().unwrap_or("*");
            for time in times {
                let (hour, minute) = clock(time)?;
                parts.push(format!("{minute} {hour} {day} * {days}"));
            }
        }
    }
    parts.extend(grace.as_ref().map(|grace| format!("start_grace={grace}")));
    parts.extend(max_runtime.as_ref().map(|max| format!("max_runtime={max}")));
    parts.extend(keys.iter().cloned());
    match parts.iter().find(|part| part.contains(';')) {
        Some(part) => Err(format!("`{part}` has a semicolon: give each time and key by itself")),
        None => Ok(parts.join("; ")),
    }
}

fn clock(text: &str) -> Result<(u8, u8), String> {
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let is_short = (1..=2).contains(&hour.len()) && minute.len() == 2;
        is_short.then(|| Some((hour.parse().ok()?, minute.parse().ok()?))).flatten()
    });
    let sound = parsed.filter(|(hour, minute): &(u8, u8)| *hour < 24 && *minute < 60);
    sound.ok_or_else(|| format!("`{text}` is no time of the day, such as 02:00"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Args;
    use crate::args::Command;
    use clap::Parser as _;

    fn said(words: &[&str]) -> Result<String, String> {
        let words = ["humeconfig", "watch", "-t", "BACKUP"].iter().chain(words);
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        let Some(Command::Watch(watch)) = args.command else { panic!("a watch was asked for") };
        text(&watch.when)
    }

    #[test]
    fn flags_become_one_text() {
        for (words, expected) in [
            (&["--daily", "--at", "02:00", "--grace", "30m"][..], "0 2 * * *; start_grace=30m"),
            (&["--daily"], "daily"),
            (
                &["--daily", "--at", "6:05", "--at", "18:30", "--on", "mon-fri"],
                "5 6 * * mon-fri; 30 18 * * mon-fri",
            ),
            (&["--weekly", "--on", "sun", "--at", "03:00"], "0 3 * * sun"),
            (&["--monthly", "--at", "04:15"], "15 4 1 * *"),
            (&["--every", "6h", "--max-runtime", "2h"], "every 6h; max_runtime=2h"),
            (
                &["--schedule", "30 2 * * *", "--schedule", "Sat 06:00", "--set", "tolerate=1 of 4"],
                "30 2 * * *; Sat 06:00; tolerate=1 of 4",
            ),
            (&["--never"], "never"),
        ] {
            assert_eq!(said(words).as_deref(), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_an_example() {
        for (words, expected) in [
            (&["--daily", "--at", "24:00"][..], "such as 02:00"),
            (&["--daily", "--at", "2"], "such as 02:00"),
            (&["--weekly", "--at", "02:00"], "--on sun"),
            (&["--schedule", "30 2 * * *; x=1"], "semicolon"),
            (&["--daily", "--weekly"], "cannot be used with"),
            (&["--every", "6h", "--at", "02:00"], "cannot be used with"),
            (&["--daily", "--never"], "cannot be used with"),
            (&["--daily", "--on", "sun"], "--at"),
            (&[], "required"),
        ] {
            let error = said(words).unwrap_err();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }
}
