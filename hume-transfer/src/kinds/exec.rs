//! A command of the administrator for each notice, which it reads as JSON; one at a time, bounded in time and output.
//!
//! Without a shell, in a process group of its own, in `/`, with `PATH` and the variables of the notice and no others. Its code
//! says what became of the notice, in the words of sysexits.h that mail filters use; what fails for no reason that it tells is
//! tried again, but not for ever.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use hume_core::EventId;
use serde::Deserialize;

use crate::child::{self, End, Job, Outcome};
use crate::notice::Notice;
use crate::options::options;
use crate::text::{one_line, truncate};
use crate::transfer::{BoxFuture, Delivery, Excess, Manner, OpenError, Setting, Trail, Transfer, Trouble};

/// One notice at a time, so that after a kill only one may come twice; each of them.
pub(super) const MANNER: Manner = Manner { batch_max: 1, rate: None, excess: Excess::Wait };

/// What an administrator has to mend is tried again after this.
const MEND_TIME: Duration = Duration::from_mins(5);
/// Longest text of a command that is told, in characters.
const SAID_CHARACTERS_MAX: usize = 300;

/// `EX_DATAERR`: the notice is not what the command can take.
const DATA_WRONG: i32 = 65;
/// `EX_TEMPFAIL`.
const TEMPFAIL: i32 = 75;
/// `EX_CONFIG`, and a shell's "cannot execute" and "not found": whatever the notice.
const MISCONFIGURED: [i32; 3] = [78, 126, 127];

options! {
    /// `[transfer.NAME.exec]`
    pub struct Options {
        /// The program, by its whole path, and its arguments.
        pub command: Vec<String>,
        /// Seconds that it may take, 1 to 25.
        #[serde(default)]
        pub timeout_s: Timeout,
        /// So often a notice is tried whose command fails, before it becomes a dead letter; 1 to 1,000.
        #[serde(default)]
        pub tries: Tries,
    }
}

/// Seconds for one command. With its grace it fits into the time of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(u64);

impl Default for Timeout {
    fn default() -> Timeout {
        Timeout(10)
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Timeout, D::Error> {
        within(from, 1..=25).map(Timeout)
    }
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries(u64);

impl Default for Tries {
    fn default() -> Tries {
        Tries(5)
    }
}

impl<'de> Deserialize<'de> for Tries {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Tries, D::Error> {
        within(from, 1..=1000).map(Tries)
    }
}

fn within<'de, D>(from: D, bounds: std::ops::RangeInclusive<u64>) -> Result<u64, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let number = u64::deserialize(from)?;
    let (least, most) = (bounds.start(), bounds.end());
    let wrong = || serde::de::Error::custom(format!("`{number}` is not between {least} and {most}"));
    if bounds.contains(&number) { Ok(number) } else { Err(wrong()) }
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    let Some((program, args)) = options.command.split_first() else {
        return Err(OpenError::value(
            "command",
            "is a list: write [\"/usr/local/bin/notify\", \"argument\"]",
        ));
    };
    if !Path::new(program).is_absolute() {
        let reason = format!("`{program}` is not the whole path of a program, such as /usr/local/bin/notify");
        return Err(OpenError::value("command", reason));
    }
    if options.command.iter().any(|word| word.contains('\0')) {
        return Err(OpenError::value("command", "has a zero byte in it"));
    }
    Ok(Box::new(Exec {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        transfer: setting.name.to_string(),
        time_max: Duration::from_secs(options.timeout_s.0),
        tries_max: options.tries.0,
        failed: None,
    }))
}

struct Exec {
    program: OsString,
    args: Vec<OsString>,
    transfer: String,
    time_max: Duration,
    tries_max: u64,
    /// The notice whose command failed, and how often.
    failed: Option<(EventId, u64)>,
}

impl Transfer for Exec {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            for (settled, notice) in notices.iter().enumerate() {
                if let Err(trouble) = self.tell(notice, trail).await {
                    return Delivery::stopped(settled, trouble);
                }
            }
            Delivery::all(notices)
        })
    }
}

impl Exec {
    async fn tell(&mut self, notice: &Notice, trail: &mut Trail) -> Result<(), Trouble> {
        let name = Path::new(&self.program).display().to_string();
        let mut input = serde_json::to_vec(&notice.view())
            .map_err(|error| Trouble::never(format!("the notice is no JSON: {error}")))?;
        input.push(b'\n');
        let job = Job {
            program: OsStr::new(&self.program),
            args: self.args.clone(),
            variables: self.variables(notice),
            input: &input,
            time_max: self.time_max,
        };
        trail.say(|| format!("{name} gets {} bytes", input.len()));
        let outcome = child::run(&job)
            .await
            .map_err(|error| Trouble::after(format!("{name} cannot be run: {error}"), MEND_TIME))?;
        trail.say(|| format!("{name} {}", words(&outcome)));
        let told = format!("{name} {}", words(&outcome));
        self.judge(notice.event.event.id, outcome.end, told)
    }

    /// What it is for the notice.
    fn judge(&mut self, id: EventId, end: End, told: String) -> Result<(), Trouble> {
        let before = self.failed.take().filter(|(failed, _)| *failed == id).map_or(0, |(_, times)| times);
        match end {
            End::Code(0) => Ok(()),
            End::Code(TEMPFAIL) => {
                self.failed = Some((id, before));
                Err(Trouble::later(told))
            }
            End::Code(DATA_WRONG) => Err(Trouble::never(told)),
            End::Code(code) if MISCONFIGURED.contains(&code) => {
                self.failed = Some((id, before));
                Err(Trouble::after(told, MEND_TIME))
            }
            End::Code(_) | End::Signal(_) | End::TooLong => {
                let times = before + 1;
                if times >= self.tries_max {
                    return Err(Trouble::never(format!("{told}; tried {times} times")));
                }
                self.failed = Some((id, times));
                Err(Trouble::later(told))
            }
        }
    }

    fn variables(&self, notice: &Notice) -> Vec<(&'static str, String)> {
        let event = &notice.event.event;
        vec![
            ("HUME_ABOUT", notice.view().about.to_owned()),
            ("HUME_EVENT", event.id.to_string()),
            ("HUME_HOST", event.host.as_str().to_owned()),
            ("HUME_LEVEL", notice.level().as_str().to_owned()),
            ("HUME_TASK", event.task.as_str().to_owned()),
            ("HUME_TRANSFER", self.transfer.clone()),
        ]
    }
}

fn words(outcome: &Outcome) -> String {
    let end = match outcome.end {
        End::Code(code) => format!("ended with {code}"),
        End::Signal(signal) => format!("was ended by signal {signal}"),
        End::TooLong => "took too long and was ended".to_owned(),
    };
    let said = truncate(&one_line(&outcome.said), SAID_CHARACTERS_MAX);
    if said.is_empty() { end } else { format!("{end}: {said}") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hume_core::Level;
    use tempfile::TempDir;

    use super::*;
    use crate::testing::{assert_documented, documented, open, stored};

    fn notice(message: &str) -> [Notice; 1] {
        [Notice::of(stored(Level::Error, "BACKUP", "db1", message))]
    }

    /// A program with this text, and a transfer that runs it.
    fn exec(dir: &TempDir, script: &str, keys: &str) -> Box<dyn Transfer> {
        let path = dir.path().join("notify");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let command =
            format!("[transfer.hook.exec]\ncommand = [\"{}\", \"a b\", \"$HOME\"]\n", path.display());
        open(dir.path(), &format!("{command}{keys}\n")).unwrap()
    }

    async fn deliver(transfer: &mut Box<dyn Transfer>, notices: &[Notice]) -> Delivery {
        transfer.deliver(notices, &mut Trail::silent()).await
    }

    #[tokio::test]
    async fn the_command_reads_the_notice_as_json_and_knows_the_most_from_its_variables() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let script =
            format!("cat >{at}/read; printf '%s\\n' \"$@\" >{at}/args; env | grep ^HUME_ | sort >{at}/env");
        let mut transfer = exec(&dir, &script, "");
        let notices = [Notice::of(documented())];
        assert_eq!(deliver(&mut transfer, &notices).await, Delivery::all(&notices));
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&read("read")).unwrap();
        assert_eq!(json, serde_json::to_value(notices[0].view()).unwrap());
        assert_eq!(read("read").lines().count(), 1);
        assert_eq!(read("args"), "a b\n$HOME\n", "no shell has looked at them");
        assert_documented(&read("env"));
    }

    #[tokio::test]
    async fn its_code_says_what_becomes_of_the_notice() {
        let dir = tempfile::tempdir().unwrap();
        let of = async |script: &str| deliver(&mut exec(&dir, script, ""), &notice("x")).await;
        let name = format!("{}/notify", dir.path().display());
        let later = |told: &str| Delivery::stopped(0, Trouble::later(format!("{name} {told}")));
        let mend = |told: &str| Delivery::stopped(0, Trouble::after(format!("{name} {told}"), MEND_TIME));
        assert_eq!(of("exit 75").await, later("ended with 75"));
        assert_eq!(of("echo 'no\tway' >&2; exit 1").await, later("ended with 1: no way"));
        assert_eq!(of("kill -15 $$").await, later("was ended by signal 15"));
        assert_eq!(of("exit 78").await, mend("ended with 78"));
        assert_eq!(of("exit 127").await, mend("ended with 127"));
        let never = Trouble::never(format!("{name} ended with 65: what is this?"));
        assert_eq!(of("echo 'what is this?'; exit 65").await, Delivery::stopped(0, never));
        let mut gone = exec(&dir, "", "");
        std::fs::remove_file(&name).unwrap();
        let delivery = deliver(&mut gone, &notice("x")).await;
        assert!(delivery.trouble.unwrap().reason().starts_with(&format!("{name} cannot be run: ")));
    }

    #[tokio::test]
    async fn a_command_that_goes_on_failing_gives_up_one_notice_and_has_the_next_tried_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut transfer = exec(&dir, "exit 1", "tries = 3");
        for message in ["x", "y"] {
            for _ in 0..2 {
                let trouble = deliver(&mut transfer, &notice(message)).await.trouble;
                assert!(matches!(trouble, Some(Trouble::Later { .. })), "{trouble:?}");
            }
            let trouble = deliver(&mut transfer, &notice(message)).await.trouble;
            assert!(
                matches!(&trouble, Some(Trouble::Never { reason }) if reason.ends_with("ended with 1; tried 3 times")),
                "{trouble:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_command_that_says_later_is_never_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut transfer = exec(&dir, "exit 75", "tries = 1");
        for _ in 0..3 {
            let trouble = deliver(&mut transfer, &notice("x")).await.trouble;
            assert!(matches!(trouble, Some(Trouble::Later { after: None, .. })), "{trouble:?}");
        }
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut transfer = exec(&dir, "echo begun; while :; do :; done", "timeout_s = 1");
        let trouble = deliver(&mut transfer, &notice("x")).await.trouble.unwrap();
        assert!(trouble.reason().ends_with("took too long and was ended: begun"), "{trouble:?}");
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (command, told) in
            [("[]", "`command`: is a list"), ("[\"notify\"]", "`command`: `notify` is not the whole path")]
        {
            let error = open(dir.path(), &format!("[transfer.x.exec]\ncommand = {command}\n")).err().unwrap();
            assert!(error.to_string().starts_with(told), "{error}");
        }
        for key in ["timeout_s = 0", "timeout_s = 26", "tries = 0"] {
            let keys = toml::from_str::<Options>(&format!("command = [\"/x\"]\n{key}\n"));
            assert!(keys.unwrap_err().message().contains("is not between"), "{key}");
        }
    }
}
