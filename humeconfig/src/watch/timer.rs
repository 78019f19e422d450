//! What a timer of systemd says about when its service runs, as expectations. Pure.
//!
//! `OnCalendar=` is a time; `OnUnitActiveSec=` and its like are an interval. `RandomizedDelaySec=` and `AccuracySec=` let the service
//! start later, so they are part of the grace. What comes once after a boot or a start of the unit is no expectation.

use std::time::Duration;

use hume_core::watch::START_GRACE;

/// systemd's own default of `AccuracySec=`.
const ACCURACY: Duration = Duration::from_mins(1);

/// A timer as its unit file and the files beside it say it, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timer {
    /// `OnCalendar=`.
    pub(super) calendar: Vec<String>,
    /// The shortest of `OnUnitActiveSec=` and `OnUnitInactiveSec=`.
    pub(super) every: Option<Duration>,
    /// Something only runs it once: `OnBootSec=`, `OnStartupSec=`, `OnActiveSec=`.
    pub(super) once: bool,
    /// `RandomizedDelaySec=` and `AccuracySec=` together.
    pub(super) later_by: Duration,
    /// What was missed while the machine was off is made up for: `Persistent=`.
    pub(super) persistent: bool,
    /// `Unit=`; else the service of its name.
    pub(super) unit: Option<String>,
    /// Values that cannot be read.
    pub(super) faults: Vec<String>,
}

impl Timer {
    /// Reads unit files, the one of the vendor first: what comes later counts, and an empty value takes back a list.
    pub(super) fn read<'a>(files: impl IntoIterator<Item = &'a str>) -> Timer {
        let mut timer = Timer::default();
        let (mut accuracy, mut delay) = (ACCURACY, Duration::ZERO);
        for (key, value) in files.into_iter().flat_map(|file| entries(file, "Timer")) {
            let mut read_span = || {
                let read = span_of(&value);
                if read.is_none() && !value.is_empty() {
                    timer.faults.push(format!("{key}={value}"));
                }
                read
            };
            match key.as_str() {
                "OnCalendar" if value.is_empty() => {
                    // An empty value takes back every trigger.
                    timer.calendar.clear();
                    (timer.every, timer.once) = (None, false);
                }
                "OnCalendar" => timer.calendar.push(value),
                "OnUnitActiveSec" | "OnUnitInactiveSec" => {
                    let read = read_span();
                    timer.every = timer.every.into_iter().chain(read).min();
                }
                "OnBootSec" | "OnStartupSec" | "OnActiveSec" => timer.once = !value.is_empty(),
                "RandomizedDelaySec" => delay = read_span().unwrap_or_default(),
                "AccuracySec" => accuracy = read_span().unwrap_or(ACCURACY),
                "Persistent" => {
                    timer.persistent = matches!(value.as_str(), "1" | "yes" | "y" | "true" | "t" | "on");
                }
                "Unit" => timer.unit = Some(value).filter(|unit| !unit.is_empty()),
                _ => {}
            }
        }
        timer.later_by = accuracy.saturating_add(delay);
        timer
    }

    /// What is expected, as `hume watch` takes it.
    /// # Errors
    /// Why nothing can be, in words.
    pub(super) fn expectation(&self) -> Result<String, String> {
        let grace = seconds(START_GRACE.saturating_add(self.later_by));
        match (self.calendar.as_slice(), self.every) {
            ([], None) if self.once => {
                Err("it runs once after a boot or a start, at no time of its own".to_owned())
            }
            ([], None) => Err("it says no time".to_owned()),
            ([], Some(every)) => Ok(format!("every {}; start_grace={grace}", seconds(every))),
            (_, Some(_)) => Err("it has times and an interval, which cannot be told apart".to_owned()),
            (lines, None) => {
                let lines: Vec<String> = lines.iter().map(|line| format!("OnCalendar={line}")).collect();
                Ok(format!("{}; start_grace={grace}", lines.join("; ")))
            }
        }
    }
}

/// The commands of a service: its `ExecStart=`, without the marks before the path.
pub(super) fn commands<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut commands = Vec::new();
    for (key, value) in files.into_iter().flat_map(|file| entries(file, "Service")) {
        match (key.as_str(), value.trim_start_matches(['@', '-', ':', '+', '!'])) {
            ("ExecStart", "") => commands.clear(),
            ("ExecStart", command) => commands.push(command.to_owned()),
            _ => {}
        }
    }
    commands
}

/// Keys and values of a section, continued lines as one.
fn entries(file: &str, section: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut is_within = false;
    let mut lines = file.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_within = name == section;
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            whole = match lines.next() {
                Some(next) if next.starts_with(['#', ';']) => format!("{begun}\\"),
                Some(next) => format!("{begun} {next}"),
                None => begun.to_owned(),
            };
        }
        if let Some((key, value)) = whole.split_once('=').filter(|_| is_within) {
            entries.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    entries
}

/// A time span of systemd: numbers with units, or bare seconds.
fn span_of(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_us: u64 = match unit {
            "us" | "usec" | "µs" => 1,
            "ms" | "msec" => 1000,
            "" | "s" | "sec" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            "w" | "week" | "weeks" => 604_800_000_000,
            "M" | "month" | "months" => 2_629_800_000_000,
            "y" | "year" | "years" => 31_557_600_000_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(unit_us)?;
        total = total.checked_add(Duration::from_micros(part))?;
        rest = after.trim_start();
    }
    Some(total)
}

/// As `hume watch` reads it: whole seconds, the longest units first.
fn seconds(duration: Duration) -> String {
    let mut left = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let mut text = String::new();
    for (unit, length) in [("h", 3600), ("m", 60), ("s", 1)] {
        if left >= length {
            text.push_str(&(left / length).to_string());
            text.push_str(unit);
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expectation(text: &str) -> Result<String, String> {
        Timer::read([text]).expectation()
    }

    #[test]
    fn the_timers_of_debian_12_say_when_they_are_expected() {
        for (text, expected) in [
            // apt-daily.timer
            (
                "[Unit]\nDescription=Daily apt download activities\n\n[Timer]\nOnCalendar=*-*-* 6,18:00\nRandomizedDelaySec=12h\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n",
                Ok("OnCalendar=*-*-* 6,18:00; start_grace=12h6m".to_owned()),
            ),
            // logrotate.timer
            (
                "[Timer]\nOnCalendar=daily\nRandomizedDelaySec=1h\nPersistent=true\n",
                Ok("OnCalendar=daily; start_grace=1h6m".to_owned()),
            ),
            // fstrim.timer
            (
                "[Timer]\nOnCalendar=weekly\nAccuracySec=1h\nPersistent=true\nRandomizedDelaySec=100min\n",
                Ok("OnCalendar=weekly; start_grace=2h45m".to_owned()),
            ),
            // systemd-tmpfiles-clean.timer
            ("[Timer]\nOnBootSec=15min\nOnUnitActiveSec=1d\n", Ok("every 24h; start_grace=6m".to_owned())),
            (
                "[Timer]\nOnBootSec=5min\n",
                Err("it runs once after a boot or a start, at no time of its own".to_owned()),
            ),
            (
                "[Timer]\nOnCalendar=daily\nOnUnitActiveSec=6h\n",
                Err("it has times and an interval, which cannot be told apart".to_owned()),
            ),
            ("[Unit]\nOnCalendar=daily\n", Err("it says no time".to_owned())),
        ] {
            assert_eq!(expectation(text), expected, "{text}");
        }
        assert!(Timer::read(["[Timer]\nOnCalendar=daily\nPersistent=yes\nUnit=x.service"]).persistent);
    }

    #[test]
    fn what_is_said_later_counts_and_nothing_takes_back_what_was_said() {
        let timer = Timer::read([
            "[Timer]\nOnCalendar=daily\nOnCalendar=Mon 03:00\nAccuracySec=1us\n",
            "[Timer]\n# by us\nOnCalendar=\nOnCalendar=*-*-* 04:00 \\\n   Europe/Berlin\nUnit=other.service\n",
        ]);
        assert_eq!(timer.calendar, ["*-*-* 04:00  Europe/Berlin"]);
        assert_eq!(
            (timer.unit.as_deref(), timer.later_by),
            (Some("other.service"), Duration::from_micros(1))
        );
        let odd = Timer::read(["[Timer]\nOnCalendar=daily\nRandomizedDelaySec=soon\n"]);
        assert_eq!(odd.faults, ["RandomizedDelaySec=soon"]);
    }

    #[test]
    fn the_commands_of_a_service_are_those_that_are_left() {
        let vendor = "[Service]\nType=oneshot\nExecStart=/usr/sbin/logrotate /etc/logrotate.conf\n";
        assert_eq!(commands([vendor]), ["/usr/sbin/logrotate /etc/logrotate.conf"]);
        let own = "[Service]\nExecStart=\nExecStart=-@/usr/bin/hume exec -t LOGROTATE -- \\\n  /usr/sbin/logrotate\n";
        assert_eq!(commands([vendor, own]), ["/usr/bin/hume exec -t LOGROTATE --  /usr/sbin/logrotate"]);
    }

    #[test]
    fn spans_are_read_as_systemd_has_them() {
        for (text, seconds) in
            [("90", 90), ("2h 30min", 9000), ("1h30m", 5400), ("1d", 86_400), ("1week 1s", 604_801)]
        {
            assert_eq!(span_of(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!((span_of("soon"), span_of(""), span_of("1 fortnight")), (None, None, None));
        assert_eq!(
            (seconds(Duration::ZERO), seconds(Duration::from_millis(1500))),
            ("0s".into(), "2s".into())
        );
    }

    proptest! {
        #[test]
        fn any_file_is_read(text in "(\\[Timer\\]\\n)?([A-Za-z]{0,12}=?[ -~]{0,20}\\\\?\\n){0,8}") {
            let _ = Timer::read([text.as_str()]).expectation();
            let _ = commands([text.as_str()]);
        }
    }
}
