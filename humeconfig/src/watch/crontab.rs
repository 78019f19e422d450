//! What stands in a crontab, as cron reads it: jobs with their time, zone, user and command. Pure.
//!
//! Both forms: a user's, and the system's (`/etc/crontab`, `/etc/cron.d`) with a user after the time. Settings hold from their
//! line on. What cannot be read is told with its line and holds up nothing else.

use std::collections::BTreeMap;

/// Whose crontab it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With a user after the time.
    System,
    /// Without.
    User,
}

/// One line that runs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Its line, from 1.
    pub(super) line: usize,
    /// Five fields or a word such as `@daily`, as they stand there, with single spaces.
    pub(super) time: String,
    /// `CRON_TZ` at that line (cronie); cron of Debian takes no notice of it.
    pub(super) zone: Option<String>,
    /// Who runs it; none where that is the owner of the crontab.
    pub(super) user: Option<String>,
    /// What the shell gets: up to the first percent sign, which would begin its input.
    pub(super) command: String,
    /// Settings at that line.
    pub(super) settings: BTreeMap<String, String>,
}

/// A line that says nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its line, from 1.
    pub(super) line: usize,
    /// Why, in words.
    pub(super) why: &'static str,
}

/// What stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crontab {
    /// In order.
    pub(super) jobs: Vec<Job>,
    /// Likewise.
    pub(super) faults: Vec<Fault>,
}

/// Reads a crontab.
pub(super) fn read(text: &str, form: Form) -> Crontab {
    let mut crontab = Crontab::default();
    let mut settings = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line_no = at + 1;
        let line = line.trim_start_matches([' ', '\t']).trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = setting(line) {
            settings.insert(name, value);
            continue;
        }
        match job(line, form) {
            Ok((time, user, command)) => crontab.jobs.push(Job {
                line: line_no,
                time,
                zone: settings.get("CRON_TZ").filter(|zone| !zone.is_empty()).cloned(),
                user,
                command,
                settings: settings.clone(),
            }),
            Err(why) => crontab.faults.push(Fault { line: line_no, why }),
        }
    }
    crontab
}

/// `NAME = value`, where name and value may stand in quotes; a job never has an equals sign before its second word.
fn setting(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let name = unquoted(name.trim());
    let is_name = name
        .chars()
        .enumerate()
        .all(|(at, c)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()));
    (is_name && !name.is_empty()).then(|| (name.to_owned(), unquoted(value.trim()).to_owned()))
}

fn unquoted(text: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}

fn job(line: &str, form: Form) -> Result<(String, Option<String>, String), &'static str> {
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let mut rest = line;
    let mut time = Vec::with_capacity(fields);
    for _ in 0..fields {
        time.push(word(&mut rest).ok_or("it ends before the time does")?);
    }
    let user = match form {
        Form::System => Some(word(&mut rest).ok_or("it has no user")?.to_owned()),
        Form::User => None,
    };
    let command = before_input(rest.trim());
    if command.is_empty() {
        return Err("it has no command");
    }
    Ok((time.join(" "), user, command))
}

/// Takes the next word.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    (!word.is_empty()).then_some(word)
}

/// A percent sign ends the command, unless a backslash stands before it.
fn before_input(text: &str) -> String {
    let mut command = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'%') => {
                command.push('%');
                chars.next();
            }
            '%' => break,
            other => command.push(other),
        }
    }
    command.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `/etc/crontab` of Debian 12.
    const DEBIAN: &str = "\
# /etc/crontab: system-wide crontab
SHELL=/bin/sh
# You can also override PATH, but by default, newer versions inherit it from the environment
#PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin

# m h dom mon dow user\tcommand
17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }
47 6\t* * 7\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }
52 6\t1 * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.monthly; }
#
";

    #[test]
    fn the_crontab_of_debian_12_is_read_as_it_stands() {
        let read = read(DEBIAN, Form::System);
        assert_eq!(read.faults, []);
        let told: Vec<_> =
            read.jobs.iter().map(|job| (job.line, job.time.as_str(), job.user.as_deref())).collect();
        assert_eq!(
            told,
            [
                (7, "17 * * * *", Some("root")),
                (8, "25 6 * * *", Some("root")),
                (9, "47 6 * * 7", Some("root")),
                (10, "52 6 1 * *", Some("root")),
            ]
        );
        assert_eq!(read.jobs[0].command, "cd / && run-parts --report /etc/cron.hourly");
        assert_eq!(read.jobs[0].settings.get("SHELL").map(String::as_str), Some("/bin/sh"));
    }

    #[test]
    fn files_of_packages_in_cron_d_are_read() {
        // e2scrub_all, php, sysstat and certbot of Debian 12.
        let text = "\
30 3 * * 0 root test -e /run/systemd/system || SERVICE_MODE=1 /usr/libexec/e2fsprogs/e2scrub_all_cron
09,39 *     * * *     root   [ -x /usr/lib/php/sessionclean ] && if [ ! -d /run/systemd/system ]; then /usr/lib/php/sessionclean; fi
5-55/10 * * * * root command -v debian-sa1 > /dev/null && debian-sa1 1 1
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin
0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep int(rand(43200))' && certbot -q renew --no-random-sleep-on-renew
";
        let read = read(text, Form::System);
        assert_eq!(read.faults, []);
        let times: Vec<&str> = read.jobs.iter().map(|job| job.time.as_str()).collect();
        assert_eq!(times, ["30 3 * * 0", "09,39 * * * *", "5-55/10 * * * *", "0 */12 * * *"]);
        assert!(read.jobs[0].settings.is_empty() && read.jobs[3].settings.len() == 2);
    }

    #[test]
    fn a_users_crontab_has_settings_words_zones_and_input() {
        let text = "\
MAILTO = \"ops@example.org\"
  CRON_TZ=Europe/Berlin
\t30 2 * * mon-fri  hume exec -t BACKUP -- /srv/backup.sh
@daily /usr/local/bin/sync
CRON_TZ=
0 0 1 jan * date +\\%Y > /tmp/year % first line % second
@reboot /usr/bin/agent\r
";
        let read = read(text, Form::User);
        assert_eq!(read.faults, []);
        let told: Vec<_> = read
            .jobs
            .iter()
            .map(|job| (job.time.as_str(), job.zone.as_deref(), job.command.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("30 2 * * mon-fri", Some("Europe/Berlin"), "hume exec -t BACKUP -- /srv/backup.sh"),
                ("@daily", Some("Europe/Berlin"), "/usr/local/bin/sync"),
                ("0 0 1 jan *", None, "date +%Y > /tmp/year"),
                ("@reboot", None, "/usr/bin/agent"),
            ]
        );
        assert_eq!(read.jobs[0].settings.get("MAILTO").map(String::as_str), Some("ops@example.org"));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line_and_the_rest_goes_on() {
        let read =
            read("0 2 * *\n0 2 * * * root\n@daily\n0 3 * * * root true\n* * * * * root %x\n", Form::System);
        assert_eq!(read.jobs.len(), 1);
        let told: Vec<_> = read.faults.iter().map(|fault| (fault.line, fault.why)).collect();
        let no_command = "it has no command";
        assert_eq!(
            told,
            [(1, "it ends before the time does"), (2, no_command), (3, "it has no user"), (5, no_command)]
        );
    }

    proptest! {
        #[test]
        fn every_line_is_a_job_a_fault_a_setting_or_nothing(text in "[ -~\\n\\t%\\\\=@]{0,200}") {
            for form in [Form::System, Form::User] {
                let read = read(&text, form);
                prop_assert!(read.jobs.len() + read.faults.len() <= text.lines().count());
                prop_assert!(read.jobs.iter().all(|job| !job.command.is_empty() && !job.time.is_empty()));
            }
        }
    }
}
