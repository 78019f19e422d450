//! `humeconfig --from-url`: says to a server what this host is, and takes its configuration from the answer.
//!
//! HTTPS unless asked otherwise, to whom the system trusts, or a CA, or the one who has a pinned key. The answer is bounded in size and
//! time, judged by the daemon like any other change, and kept from other users, because it may hold secrets.

mod fetch;
mod host;
mod pin;

use std::io::{self, Write};
use std::path::PathBuf;

use hume_runtime::config::ConfigError;
use hume_runtime::exit;

use crate::failure::Failure;
use crate::init::absolute;
use crate::set::Prepared;
use crate::set::args::{FileArgs, Given};
use crate::set::wish;
pub use pin::Pin;

/// Where a droplet learns who it is.
const METADATA_URL: &str = "http://169.254.169.254/metadata/v1.json";

/// Flags of `--from-url`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FromUrlArgs {
    /// Take the whole configuration from the answer of this server, to which the host's metadata is posted. `@FILE` and `-`
    /// as for --slack.
    #[arg(long, value_name = "URL")]
    pub from_url: Option<Given>,
    /// Say also which droplet this is, as `DigitalOcean` tells it.
    #[arg(long, requires = "from_url")]
    pub digitalocean: bool,
    /// Trust the server that has this key and no other, whoever issued its certificate; may be repeated.
    #[arg(long, value_name = "sha256:HEX", requires = "from_url", conflicts_with = "url_ca")]
    pub pin: Vec<Pin>,
    /// Trust servers of this CA alone.
    #[arg(long = "url-ca", id = "url_ca", value_name = "FILE", requires = "from_url")]
    pub ca: Option<PathBuf>,
    /// Allow http://: whoever is on the way sees and writes the configuration.
    #[arg(long, requires = "from_url")]
    pub insecure_http: bool,
    /// Where the droplet's metadata is.
    #[arg(long, value_name = "URL", requires = "digitalocean", hide_short_help = true, default_value = METADATA_URL)]
    pub metadata_url: String,
}

/// The configuration of a server was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FromUrlError {
    /// Other flags say what the configuration shall be.
    #[error("--from-url brings the whole configuration: set single things in a call of their own, after it")]
    AndOthers,
    /// No URL of a server.
    #[error("--from-url: expected a URL that begins with https://, or with http:// and --insecure-http")]
    Url,
    /// A pin is about TLS.
    #[error("--pin is about the key of an https:// server, and over http:// there is none")]
    PinWithoutTls,
    /// The file of `--url-ca`.
    #[error("could not use {}: {reason}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It could not be asked, or did not answer in time.
    #[error("could not ask {server}")]
    Unreachable {
        /// Scheme, host and port.
        server: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It answered something else.
    #[error("{server} answered {status}{more}")]
    Status {
        /// Scheme, host and port.
        server: String,
        /// The status.
        status: u16,
        /// What to do.
        more: &'static str,
    },
    /// No configuration is as large.
    #[error("{server} answered more than {bytes_max} bytes")]
    TooLarge {
        /// Scheme, host and port.
        server: String,
        /// The bound.
        bytes_max: usize,
    },
    /// What it answered is no configuration.
    #[error("{server} answered {what}, and no configuration; nothing was changed")]
    Answer {
        /// Scheme, host and port.
        server: String,
        /// What.
        what: String,
    },
    /// Whoever is on the way could have it run anything.
    #[error(
        "the configuration names a program to run ({what}): over http:// anybody could have written that; use https://"
    )]
    Program {
        /// The transfer.
        what: String,
    },
    /// There is no metadata.
    #[error(
        "this does not look like a droplet: leave --digitalocean away, or name the service with --metadata-url"
    )]
    Metadata(#[source] Box<FromUrlError>),
    /// The client could not be made.
    #[error("could not prepare the request")]
    Setup(#[source] io::Error),
}

impl FromUrlError {
    /// The code of sysexits(3) for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            FromUrlError::AndOthers | FromUrlError::Url | FromUrlError::PinWithoutTls => exit::USAGE,
            FromUrlError::Unreachable { .. } | FromUrlError::Status { .. } | FromUrlError::Metadata(_) => {
                exit::UNAVAILABLE
            }
            FromUrlError::Ca { .. }
            | FromUrlError::TooLarge { .. }
            | FromUrlError::Answer { .. }
            | FromUrlError::Program { .. } => exit::CONFIG,
            FromUrlError::Setup(_) => exit::SOFTWARE,
        }
    }
}

/// Asks the server, and makes what it answers the configuration.
pub(crate) fn run(
    args: &FromUrlArgs,
    given: &Given,
    file: &FileArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let url = wish::read("--from-url", given, &mut io::stdin().lock())?;
    let daemon = file.daemon();
    let text = fetch::configuration(args, &url, daemon)?;
    let path = absolute(file.config.as_deref().unwrap_or(daemon.config()))?;
    let prepared = Prepared::whole(daemon, path, text)?;
    file.carry_out(&prepared, out)
}

/// What may be taken of an answer, before the daemon is asked.
fn accepted(server: &str, body: Vec<u8>, is_encrypted: bool) -> Result<String, FromUrlError> {
    let no = |what: &str| FromUrlError::Answer { server: server.to_owned(), what: what.to_owned() };
    let text = String::from_utf8(body).map_err(|_| no("no UTF-8"))?;
    let table: toml::Table =
        hume_runtime::config::parse(std::path::Path::new("line"), &text).map_err(|error| match error {
            ConfigError::Content { line, message, .. } => no(&format!("no TOML (line {line}: {message})")),
            ConfigError::Read { .. } | ConfigError::TooLarge { .. } => no("no TOML"),
        })?;
    if table.is_empty() {
        return Err(no("nothing"));
    }
    match program(&table) {
        Some(what) if !is_encrypted => Err(FromUrlError::Program { what }),
        Some(_) | None => Ok(text),
    }
}

/// A transfer that runs a program.
fn program(table: &toml::Table) -> Option<String> {
    let transfers = table.get("transfer")?.as_table()?;
    transfers.iter().find_map(|(name, kinds)| {
        let runs = kinds.get("exec").is_some()
            || kinds.get("email").is_some_and(|email| email.get("sendmail").is_some());
        runs.then(|| format!("transfer.{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_toml_that_says_something_is_taken() {
        let of = |body: &[u8]| accepted("https://s", body.to_vec(), true);
        assert_eq!(of(b"host = \"a\"\n").unwrap(), "host = \"a\"\n");
        for (body, part) in [
            (&b""[..], "answered nothing"),
            (b"# only a comment\n", "answered nothing"),
            (b"\xff", "no UTF-8"),
            (b"<html>\n<p>password = hunter2", "no TOML (line 1: "),
        ] {
            let error = of(body).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_program_to_run_is_taken_only_from_a_server_that_is_known() {
        for text in
            ["[transfer.x.exec]\ncommand = ['/bin/sh']\n", "[transfer.x.email]\nsendmail = '/tmp/evil'\n"]
        {
            assert!(accepted("https://s", text.into(), true).is_ok());
            let error = accepted("http://s", text.into(), false).unwrap_err().to_string();
            assert!(error.contains("transfer.x"), "{error}");
        }
    }
}
