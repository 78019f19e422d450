//! The flags of `humeconfig set`, with the names that the Python tool had; the top level takes them as well.

use std::io::Write;
use std::path::PathBuf;

use hume_core::Level;
use hume_runtime::secret::SecretText;

use crate::change::{Checker, Daemon};
use crate::failure::Failure;
use crate::from_url::FromUrlArgs;
use crate::report::Report;
use crate::set::Prepared;
use crate::systemd::{How, InstallArgs};

/// Where a secret of the command line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// On the command line, where others may see it as long as this runs.
    Here(SecretText),
    /// `@FILE`
    File(PathBuf),
    /// `-`: a line of the standard input.
    Stdin,
}

impl From<&str> for Given {
    fn from(text: &str) -> Given {
        match text.strip_prefix('@') {
            Some(path) => Given::File(path.into()),
            None if text == "-" => Given::Stdin,
            None => Given::Here(SecretText::new(text)),
        }
    }
}

/// Which file, and how much is done and said.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FileArgs {
    /// The configuration [default: /etc/hume/agent.toml, or /etc/hume/master.toml with --of master].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whose configuration it is [default: master if FILE is called master.toml, else agent].
    #[arg(long, value_name = "DAEMON")]
    pub of: Option<Daemon>,
    /// The daemon that judges the change before it is made [default: the one that is installed].
    #[arg(long, value_name = "PROGRAM", hide_short_help = true)]
    pub check_with: Option<PathBuf>,
    /// Only show what would change: nothing is written, and the daemon is not asked.
    #[arg(long)]
    pub dry: bool,
    /// Say nothing at all; the exit code tells.
    #[arg(long)]
    pub quiet: bool,
}

impl FileArgs {
    /// Whose configuration it is.
    pub(crate) fn daemon(&self) -> Daemon {
        let of_file = self.config.as_deref().map(Daemon::of_file);
        self.of.or(of_file).unwrap_or(Daemon::Agent)
    }

    /// How much is done and said.
    pub(crate) fn how(&self) -> How {
        How { is_dry: self.dry, is_quiet: self.quiet }
    }

    /// Shows what would change, and makes it unless this is dry.
    pub(crate) fn carry_out(&self, prepared: &Prepared, out: &mut dyn Write) -> Result<(), Failure> {
        let mut report = Report::default();
        if prepared.is_done() {
            prepared.say_done(&mut report);
        } else {
            prepared.show(&mut report);
            if self.dry {
                let program = self.daemon().program();
                report.line(format!("dry run: nothing was written, and {program} was not asked"));
            } else {
                prepared.make(&Checker::named(self.check_with.as_deref()), &mut report)?;
                report.line("");
                report.line("next:");
                prepared.advise(&mut report);
            }
        }
        if self.quiet { Ok(()) } else { report.write(out) }
    }
}

/// `humeconfig set`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SetArgs {
    /// Tell Slack, by this incoming webhook. It is kept in a file of its own; `@FILE` reads it from one, `-` from the
    /// standard input, where nobody sees it in the list of processes.
    #[arg(long, value_name = "URL")]
    pub slack: Option<Given>,
    /// Webhooks by level.
    #[command(flatten)]
    pub by_level: SlackLevels,
    /// Tell syslog or the journal of this host.
    #[arg(long)]
    pub syslog: bool,
    /// Tell syslog of another host: udp, tcp or tls.
    #[arg(long, value_name = "PROTO://HOST:PORT")]
    pub rsyslog: Option<String>,
    /// Tell Logstash: tcp or tls.
    #[arg(long, value_name = "PROTO://HOST:PORT")]
    pub logstash: Option<String>,
    /// Tell Fluentd or Fluent Bit: tcp or tls.
    #[arg(long, value_name = "PROTO://HOST:PORT")]
    pub fluentd: Option<String>,
    /// The socket of the agent at which scripts report, such as `unix:/run/hume/hume.sock`.
    #[arg(long, value_name = "unix:PATH")]
    pub endpoint: Option<String>,
    /// The configuration of a server.
    #[command(flatten)]
    pub from: FromUrlArgs,
    /// The service.
    #[command(flatten)]
    pub install: InstallArgs,
    /// Name of the transfer [default: the one of this kind that is there, else the kind].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Which file, and how much is done and said.
    #[command(flatten)]
    pub file: FileArgs,
}

/// A webhook for each level.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SlackLevels {
    /// Another webhook for warnings; likewise --slack-error, -critical, -debug, -info, -ok and -unknown.
    #[arg(long, value_name = "URL")]
    pub slack_warning: Option<Given>,
    /// For errors.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub slack_error: Option<Given>,
    /// For what is critical.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub slack_critical: Option<Given>,
    /// For debug messages.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub slack_debug: Option<Given>,
    /// For news.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub slack_info: Option<Given>,
    /// For successes.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub slack_ok: Option<Given>,
    /// For what nobody can judge.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub slack_unknown: Option<Given>,
}

impl SetArgs {
    /// Whether no flag sets a single thing.
    pub(crate) fn sets_nothing(&self) -> bool {
        let SetArgs {
            slack,
            by_level: _,
            syslog,
            rsyslog,
            logstash,
            fluentd,
            endpoint,
            name,
            from: _,
            install: _,
            file: _,
        } = self;
        let has_slack = slack.is_some() || !self.slack_levels().is_empty();
        let texts = [rsyslog, logstash, fluentd, endpoint, name];
        !has_slack && !syslog && texts.iter().all(|text| text.is_none())
    }

    /// The webhooks that were given for a level.
    pub(crate) fn slack_levels(&self) -> Vec<(Level, &Given)> {
        let SlackLevels {
            slack_warning,
            slack_error,
            slack_critical,
            slack_debug,
            slack_info,
            slack_ok,
            slack_unknown,
        } = &self.by_level;
        let all = [
            (Level::Debug, slack_debug),
            (Level::Info, slack_info),
            (Level::Ok, slack_ok),
            (Level::Warning, slack_warning),
            (Level::Error, slack_error),
            (Level::Critical, slack_critical),
            (Level::Unknown, slack_unknown),
        ];
        all.into_iter().filter_map(|(level, given)| given.as_ref().map(|given| (level, given))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_may_stand_in_a_file_or_come_by_standard_input() {
        assert_eq!(Given::from("@/etc/hook"), Given::File("/etc/hook".into()));
        assert_eq!(Given::from("-"), Given::Stdin);
        assert_eq!(format!("{:?}", Given::from("https://hooks.slack.com/x")), "Here(***)");
    }
}
