//! `humeconfig set`: who is told, and where scripts report, from flags into a configuration that people wrote.
//!
//! Comments and order of the file stay; what changes is shown as a diff, judged by the daemon, and the old file is kept.

pub mod args;
mod edit;
#[cfg(test)]
mod edit_tests;
mod prepared;
pub(crate) mod wish;

use std::io::{self, Write};

use hume_runtime::exit;
use hume_runtime::secret::SecretError;

use crate::change::Daemon;
use crate::failure::Failure;
use crate::from_url::{self, FromUrlError};
use crate::init::absolute;
use crate::systemd::{self, InstallError};
use args::SetArgs;
pub(crate) use prepared::Prepared;

/// The flags ask for nothing that can be done.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No flag says what.
    #[error(
        "nothing to set: say what with --slack, --syslog, --rsyslog, --logstash, --fluentd, --endpoint or --from-url, or --install-systemd"
    )]
    Nothing,
    /// A webhook that no Slack has. Its text is not shown.
    #[error("{flag}: expected a URL that begins with https://, or `@FILE`, or `-` for the standard input")]
    Webhook {
        /// The flag.
        flag: String,
    },
    /// The address of a peer.
    #[error("--{kind} {address}: expected PROTO://HOST:PORT with one of {protocols}")]
    Address {
        /// The kind of transfer.
        kind: &'static str,
        /// What was given.
        address: String,
        /// What the kind speaks.
        protocols: String,
    },
    /// No socket.
    #[error(
        "--endpoint {endpoint}: scripts report at a Unix socket now: give its path, such as unix:/run/hume/hume.sock"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The agent has a socket for scripts, the master has not.
    #[error("--endpoint is the agent's: the master has no socket for scripts")]
    EndpointOfMaster,
    /// A name that no transfer can have.
    #[error("--name {name}: expected 1 to 64 letters, digits, `-` and `_`")]
    Name {
        /// What was given.
        name: String,
    },
    /// A name for several transfers.
    #[error("--name is for one transfer: set the others in a call of their own")]
    NameForSeveral,
    /// There is one standard input.
    #[error("`-` can stand for one webhook: put the others into files, and give them as @FILE")]
    TwiceStdin,
    /// The standard input could not be read.
    #[error("{flag}: could not read the standard input")]
    Secret {
        /// The flag.
        flag: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `@FILE` could not be read.
    #[error(transparent)]
    SecretFile(SecretError),
}

impl SetError {
    /// The code of sysexits(3) for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            SetError::Secret { .. } => exit::IO,
            SetError::SecretFile(SecretError::Read { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                exit::NO_PERMISSION
            }
            SetError::SecretFile(_) => exit::CONFIG,
            SetError::Nothing
            | SetError::Webhook { .. }
            | SetError::Address { .. }
            | SetError::Endpoint { .. }
            | SetError::EndpointOfMaster
            | SetError::Name { .. }
            | SetError::NameForSeveral
            | SetError::TwiceStdin => exit::USAGE,
        }
    }
}

/// Makes it so, and says what it did; then installs the service, if that was asked as well.
pub fn run(args: &SetArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let SetArgs { from, install, file, .. } = args;
    let sets_nothing = args.sets_nothing();
    if install.root.is_some() && !(sets_nothing && from.from_url.is_none()) {
        return Err(InstallError::RootAndOthers.into());
    }
    match &from.from_url {
        Some(_) if !sets_nothing => return Err(FromUrlError::AndOthers.into()),
        Some(url) => from_url::run(from, url, file, out)?,
        None if sets_nothing && install.install_systemd => {}
        None => set(args, out)?,
    }
    if install.install_systemd {
        systemd::run(install, file.daemon(), file.config.as_deref(), file.how(), out)?;
    }
    Ok(())
}

fn set(args: &SetArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let wishes = wish::all(args, &mut io::stdin().lock())?;
    let daemon = args.file.daemon();
    let mut kinds: Vec<_> = wishes.iter().filter_map(wish::Wish::kind).collect();
    kinds.dedup();
    if args.name.is_some() && kinds.len() > 1 {
        return Err(SetError::NameForSeveral.into());
    }
    if let Some(name) = args.name.as_deref().filter(|name| !edit::is_name(name)) {
        return Err(SetError::Name { name: name.to_owned() }.into());
    }
    if args.endpoint.is_some() && daemon == Daemon::Master {
        return Err(SetError::EndpointOfMaster.into());
    }
    let path = absolute(args.file.config.as_deref().unwrap_or(daemon.config()))?;
    let prepared = Prepared::new(daemon, path, "", &wishes, args.name.as_deref())?;
    args.file.carry_out(&prepared, out)
}
