//! What runs on a host by the clock: its crontabs, the folders that they run, and the timers of systemd that are enabled.
//!
//! Reads below a root and changes nothing. What cannot be read, or is of no use, is told with its place and holds up nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::crontab::{self, Form, Job};
use super::job::{self, Named};
use super::timer::{self, Timer};

/// Longest file that is read, in bytes; of a longer one nothing is.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Folders of `run-parts`, and in which period anacron runs them where it is there.
const PARTS: [(&str, &str); 4] = [
    ("/etc/cron.hourly", "hourly"),
    ("/etc/cron.daily", "daily"),
    ("/etc/cron.weekly", "weekly"),
    ("/etc/cron.monthly", "monthly"),
];
/// Where units are, the vendor's first.
const UNITS: [&str; 3] = ["/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"];

/// Something that runs by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it stands: `/etc/cron.d/backup:3`, `backup.timer`.
    pub(super) place: String,
    /// The task that it reports under.
    pub(super) named: Named,
    /// When it is expected, as `hume watch` takes it; or why nobody can say.
    pub(super) expected: Result<String, String>,
}

/// A host, below its root.
pub(super) struct Host<'a> {
    root: &'a Path,
}

impl Host<'_> {
    /// The host whose files are below `root`.
    pub(super) fn below(root: &Path) -> Host<'_> {
        Host { root }
    }

    /// All that runs there by the clock, in order of place.
    pub(super) fn found(&self) -> Vec<Found> {
        let mut found = self.crontab("/etc/crontab", Form::System);
        for name in self.names("/etc/cron.d").into_iter().filter(|name| is_run(name)) {
            found.extend(self.crontab(&format!("/etc/cron.d/{name}"), Form::System));
        }
        // Debian's place; elsewhere crontabs lie in the folder itself.
        for folder in ["/var/spool/cron/crontabs", "/var/spool/cron"] {
            for name in self.names(folder) {
                found.extend(self.crontab(&format!("{folder}/{name}"), Form::User));
            }
        }
        found.extend(self.enabled().into_iter().map(|timer| self.timer(&timer)));
        found
    }

    fn crontab(&self, path: &str, form: Form) -> Vec<Found> {
        let Some(text) = self.text(path) else { return Vec::new() };
        let read = crontab::read(&text, form);
        let mut found = Vec::new();
        for job in &read.jobs {
            let place = format!("{path}:{}", job.line);
            match PARTS.into_iter().find(|(folder, _)| runs(&job.command, folder)) {
                Some((folder, period)) => found.extend(self.parts(folder, period, job)),
                None => found.push(Found {
                    place,
                    named: self.task_of(job, &job.command),
                    expected: expected(job),
                }),
            }
        }
        found.extend(read.faults.into_iter().map(|fault| Found {
            place: format!("{path}:{}", fault.line),
            named: Named::Nothing,
            expected: Err(fault.why.to_owned()),
        }));
        found
    }

    /// The scripts of a folder that `run-parts` runs at the time of a job, or anacron in its period.
    fn parts(&self, folder: &str, period: &str, job: &Job) -> Vec<Found> {
        let by_anacron = job.command.contains("anacron") && self.path("/usr/sbin/anacron").exists();
        let names = self.names(folder).into_iter().filter(|name| is_run(name));
        names
            .map(|name| {
                let place = format!("{folder}/{name}");
                let named = self.task_of(job, &place);
                let expected = if by_anacron { Ok(period.to_owned()) } else { expected(job) };
                Found { place, named, expected }
            })
            .collect()
    }

    fn task_of(&self, job: &Job, command: &str) -> Named {
        job::task(command, &job.settings, |path| self.script(path))
    }

    fn timer(&self, name: &str) -> Found {
        let files = self.unit(name);
        let timer = Timer::read(files.iter().map(String::as_str));
        let service = timer.unit.clone().unwrap_or_else(|| name.replace(".timer", ".service"));
        let files = self.unit(&service);
        let commands = timer::commands(files.iter().map(String::as_str)).join(" ; ");
        let named = job::task(&commands, &BTreeMap::new(), |path| self.script(path));
        let expected = match timer.faults.first() {
            Some(fault) => Err(format!("`{fault}` cannot be read")),
            None => timer.expectation(),
        };
        Found { place: name.to_owned(), named, expected }
    }

    /// Timers that are started with the machine.
    fn enabled(&self) -> Vec<String> {
        let wanted =
            UNITS.into_iter().flat_map(|folder| self.names(&format!("{folder}/timers.target.wants")));
        let mut timers: Vec<String> = wanted.filter(|name| is_a(name, "timer")).collect();
        timers.sort_unstable();
        timers.dedup();
        timers
    }

    /// The files of a unit: the one that counts, and what was put beside it.
    fn unit(&self, name: &str) -> Vec<String> {
        let own = UNITS.into_iter().rev().find_map(|folder| self.text(&format!("{folder}/{name}")));
        let mut files: Vec<String> = own.into_iter().collect();
        for folder in UNITS {
            let beside = format!("{folder}/{name}.d");
            let names = self.names(&beside).into_iter().filter(|name| is_a(name, "conf"));
            files.extend(names.filter_map(|name| self.text(&format!("{beside}/{name}"))));
        }
        files
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file that is not too long.
    fn text(&self, path: &str) -> Option<String> {
        let path = self.path(path);
        // Whatever else it may be, nobody waits for it.
        if !path.metadata().is_ok_and(|about| about.is_file() && about.len() <= FILE_BYTES_MAX) {
            return None;
        }
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same, of a script: a program has zeros in it.
    fn script(&self, path: &str) -> Option<String> {
        self.text(path).filter(|text| !text.contains('\0'))
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }
}

/// A file of this kind, by what its name ends with.
fn is_a(name: &str, kind: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| end == kind)
}

/// Names that cron and run-parts take: no dot, so no backup of an editor or of dpkg.
fn is_run(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn runs(command: &str, folder: &str) -> bool {
    command.contains("run-parts")
        && command.split([' ', ';', '}']).any(|word| word.trim_end_matches('/') == folder)
}

fn expected(job: &Job) -> Result<String, String> {
    if job.time == "@reboot" {
        return Err("it runs once after a boot, at no time of its own".to_owned());
    }
    Ok(match &job.zone {
        Some(zone) => format!("{}; zone={zone}", job.time),
        None => job.time.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crontabs_folders_and_enabled_timers_of_a_host_are_found() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "/etc/crontab",
            "17 * * * * root cd / && run-parts --report /etc/cron.hourly\n25 6 * * * root test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }\n",
        );
        put("/etc/cron.hourly/sync", "#!/bin/sh\nhume exec -t SYNC -- rsync\n");
        put("/etc/cron.daily/backup", "#!/bin/sh\nhume -c counter-start -t BACKUP\n");
        put("/etc/cron.daily/backup.dpkg-old", "hume -t OLD\n");
        put(
            "/etc/cron.d/renew",
            "CRON_TZ=Europe/Berlin\n30 3 * * 0 root hume exec -t RENEW -- certbot\n@reboot root hume -t UP\nbad line\n",
        );
        put("/etc/cron.d/renew~", "0 0 * * * root hume -t EDITOR\n");
        put("/var/spool/cron/crontabs/web", "*/5 * * * * /srv/poll\n");
        put("/usr/lib/systemd/system/clean.timer", "[Timer]\nOnCalendar=daily\nRandomizedDelaySec=1h\n");
        put(
            "/usr/lib/systemd/system/clean.service",
            "[Service]\nExecStart=/usr/bin/hume exec -t CLEAN -- /usr/bin/clean\n",
        );
        put("/etc/systemd/system/clean.timer.d/later.conf", "[Timer]\nRandomizedDelaySec=2h\n");
        put("/etc/systemd/system/timers.target.wants/clean.timer", "");
        put("/usr/lib/systemd/system/idle.timer", "[Timer]\nOnCalendar=daily\n");
        let told = || -> Vec<String> {
            let found = Host::below(root.path()).found();
            found.iter().map(|one| format!("{} {:?} {:?}", one.place, one.named, one.expected)).collect()
        };
        let mut expected = vec![
            "/etc/cron.hourly/sync Task(\"SYNC\") Ok(\"17 * * * *\")",
            "/etc/cron.daily/backup Task(\"BACKUP\") Ok(\"25 6 * * *\")",
            "/etc/cron.d/renew:2 Task(\"RENEW\") Ok(\"30 3 * * 0; zone=Europe/Berlin\")",
            "/etc/cron.d/renew:3 Task(\"UP\") Err(\"it runs once after a boot, at no time of its own\")",
            "/etc/cron.d/renew:4 Nothing Err(\"it ends before the time does\")",
            "/var/spool/cron/crontabs/web:1 Nothing Ok(\"*/5 * * * *\")",
            "clean.timer Task(\"CLEAN\") Ok(\"OnCalendar=daily; start_grace=2h6m\")",
        ];
        assert_eq!(told(), expected);
        put("/usr/sbin/anacron", "");
        expected[1] = "/etc/cron.daily/backup Task(\"BACKUP\") Ok(\"daily\")";
        assert_eq!(told(), expected);
        fs::remove_dir_all(root.path().join("etc")).unwrap();
        assert_eq!(told().len(), 1, "what is not there is no failure");
    }
}
