//! `humeconfig wizard`: asks what an agent or a master needs, shows what would change, and makes it after a yes.
//!
//! Nothing is written before that. Without a terminal the answers are lines of the standard input, so that a wizard can be scripted;
//! if there are none, it says so and ends.

mod ask;
mod interview;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use hume_runtime::{exit, files};

use crate::change::{Checker, Daemon};
use crate::failure::Failure;
use crate::init::{self, absolute};
use crate::join;
use crate::report::{Report, shell};
use crate::set::Prepared;
use crate::systemd;
use ask::Asker;
use interview::{Interview, Join, Plan, Role};

/// `humeconfig wizard`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct WizardArgs {
    /// The configuration [default: /etc/hume/agent.toml or /etc/hume/master.toml, as the role has it].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon that judges the change before it is made [default: the one that is installed].
    #[arg(long, value_name = "PROGRAM")]
    pub check_with: Option<PathBuf>,
    /// Only ask and show: nothing is written.
    #[arg(long)]
    pub dry: bool,
}

/// The wizard came to no end.
#[derive(Debug, thiserror::Error)]
pub enum WizardError {
    /// The answers ended.
    #[error(
        "no answer to `{word}`, nothing was changed: the wizard wants a terminal, or an answer for each question \
         on a line of its standard input; `humeconfig set --help` has flags for scripts"
    )]
    NoAnswer {
        /// The question.
        word: String,
    },
    /// An answer that makes no sense, and nobody to ask again.
    #[error("the answer to `{word}`: {reason}; nothing was changed")]
    Answer {
        /// The question.
        word: String,
        /// What is wrong.
        reason: String,
    },
    /// Too many of these.
    #[error("no usable answer to `{word}`, nothing was changed")]
    Patience {
        /// The question.
        word: String,
    },
    /// The conversation broke off.
    #[error("could not ask")]
    Talk(#[source] io::Error),
}

impl WizardError {
    /// The code of sysexits(3) for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            WizardError::NoAnswer { .. } | WizardError::Answer { .. } | WizardError::Patience { .. } => {
                exit::USAGE
            }
            WizardError::Talk(_) => exit::IO,
        }
    }
}

/// Asks at the standard input, with questions on the standard error.
pub fn run(args: &WizardArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let (mut input, mut talk) = (stdin.lock(), anstream::stderr());
    let mut asker = Asker { input: &mut input, talk: &mut talk, is_terminal };
    let plan = Interview::new(args.config.as_deref()).hold(&mut asker)?;
    carry_out(args, &plan, &mut asker, out)
}

fn carry_out(
    args: &WizardArgs,
    plan: &Plan,
    asker: &mut Asker<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let checker = Checker::named(args.check_with.as_deref());
    let path = absolute(&plan.config)?;
    if let Role::NewMaster(site) = &plan.role {
        let mut report = Report::default();
        report.line("this will be run:");
        report.line(format!("  {}", interview::command(site)));
        report.write(out)?;
        if args.dry || !confirmed(asker)? {
            return nothing(out);
        }
        init::run(site, out)?;
        if plan.wishes.is_empty() {
            return Ok(());
        }
    }
    let daemon = match plan.role {
        Role::Agent => Daemon::Agent,
        Role::NewMaster(_) | Role::Master => Daemon::Master,
    };
    let dir = files::parent_of(&path).to_owned();
    let join = match &plan.join {
        Some(join) if !join::has_joined(&dir, &join.token)? => Some(join),
        Some(_) | None => None,
    };
    let prepared = Prepared::new(daemon, path, &plan.beginning(), &plan.wishes, None)?;
    let mut report = Report::default();
    if prepared.is_done() && join.is_none() {
        prepared.say_done(&mut report);
        return report.write(out);
    }
    prepared.show(&mut report);
    if let Some(Join { token, host, master: _ }) = join {
        let doors = token.addresses.join(", ");
        report.line(format!(
            "pki: a key, made here, and its certificate, for which {host} is asked to join at {doors}"
        ));
    }
    report.write(out)?;
    // The site was agreed to with its transfers.
    let is_agreed = matches!(plan.role, Role::NewMaster(_));
    if args.dry || !(is_agreed || confirmed(asker)?) {
        return nothing(out);
    }
    if let Some(Join { token, host, master }) = join {
        // Before the configuration, which the daemon judges together with what it names.
        join::identity(&dir, token, host, master, out)?;
    }
    let mut report = Report::default();
    prepared.make(&checker, &mut report)?;
    report.line("");
    report.line("next:");
    if !is_agreed {
        report.line(match (daemon, systemd::is_live() && plan.config == daemon.config()) {
            (Daemon::Agent, true) => "  humeconfig --install-systemd".to_owned(),
            (Daemon::Master, true) => "  humeconfig --install-systemd --of master".to_owned(),
            (_, false) => format!("  {} --config {}", daemon.program(), shell(&absolute(&plan.config)?)),
        });
    }
    prepared.advise(&mut report);
    report.write(out)
}

fn confirmed(asker: &mut Asker<'_>) -> Result<bool, WizardError> {
    asker.confirm("Write this", "Until now nothing was changed.", "no")
}

fn nothing(out: &mut dyn Write) -> Result<(), Failure> {
    let mut report = Report::default();
    report.line("nothing was written");
    report.write(out)
}
