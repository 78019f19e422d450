//! The command line, as others script against it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use hume_core::HostName;

use crate::orders::{
    AGENTS_EXAMPLES, API_CERT_EXAMPLES, API_TOKEN_EXAMPLES, AgentsArgs, ApiCertArgs, ApiTokenArgs,
    CA_EXAMPLES, CaArgs, JOIN_EXAMPLES, JoinArgs, TOKEN_EXAMPLES, TokenArgs,
};
use crate::set::args::SetArgs;
use crate::watch::args::{WATCH_EXAMPLES, WatchArgs};
use crate::wizard::WizardArgs;

/// Order of the parts, as hume has it.
const TEMPLATE: &str = "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}{all-args}{after-help}";

const MORE: &str = "\
Environment:
  NO_COLOR switches colours off, HTTPS_PROXY is used by --from-url; HUME_SOCKET and HUME_TOKEN by watch; nothing else is
  read from it, and no configuration of its own either.

Exit codes:
  0   made or so already, and said on standard output what and what to do next
  64  the command line is wrong
  65  the token is none, or was changed
  66  there is no such agent or token
  69  a server cannot be asked, or has no configuration for this host; systemd does not run, or refused
  70  a fault of the program
  73  a file or folder cannot be made, or exists already: nothing was changed
  74  reading or writing failed
  75  another humeconfig changes the same files, or somebody did meanwhile: try again; or the master says no
  77  not permitted
  78  what is needed of the site is missing or wrong, or the daemon would refuse the configuration; `watch import --check`:
      a crontab or a timer says something else by now";

/// The port at which hosts join.
pub(crate) const ENROLL_PORT: u16 = 4865;

const EXAMPLES: &str = "\
Examples:
  humeconfig init --dir /etc/hume --name master.example.org --grpc 0.0.0.0:4863 --http 0.0.0.0:4864
  humeconfig token new --host web1          on the master
  humeconfig join TOKEN                     on web1";
const INIT_EXAMPLES: &str = "\
Examples:
  humeconfig init --dir /etc/hume --name master.example.org --grpc 0.0.0.0:4863 --http 0.0.0.0:4864
  humeconfig init --dir site            everything on this machine";
const SET_EXAMPLES: &str = "\
Examples:
  humeconfig set --slack @webhook.txt --slack-error @oncall.txt --dry
  humeconfig set --of master --rsyslog tls://logs.example.org:6514
  humeconfig set --install-systemd --of master
  humeconfig set --from-url https://conf.example.org/hume --digitalocean
  humeconfig --syslog --rsyslog udp://logs.example.org:514      as with the Python humeconfig";
const WIZARD_EXAMPLES: &str = "\
Examples:
  humeconfig wizard
  humeconfig wizard --config site/agent.toml --dry";
const AGENT_EXAMPLES: &str = "\
Examples:
  humeconfig agent --dir /etc/hume --out agents/web1 --host web1 --master master.example.org:4863
  humeconfig agent --dir site --out web1 --host web1            everything on this machine";

/// Set up hume: the master's certificates and configuration, then one agent after the other.
#[derive(Debug, Parser)]
#[command(name = "humeconfig", version, before_help = EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
#[command(disable_help_subcommand = true, max_term_width = 100, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// As `humeconfig set`.
    #[command(flatten, next_help_heading = "Options of `humeconfig set`, as the Python humeconfig had them")]
    pub set: SetArgs,
}

impl Args {
    /// Whether not even a failure is told.
    pub fn is_quiet(&self) -> bool {
        match &self.command {
            Some(Command::Set(set)) => set.file.quiet,
            Some(
                Command::Init(_)
                | Command::Agent(_)
                | Command::Wizard(_)
                | Command::Agents(_)
                | Command::Token(_)
                | Command::Join(_)
                | Command::ApiToken(_)
                | Command::ApiCert(_)
                | Command::Ca(_)
                | Command::Watch(_),
            ) => false,
            None => self.set.file.quiet,
        }
    }
}

/// What to make.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a site: the master's configuration and the administrator's token. The master makes the CA at its first start.
    #[command(before_help = INIT_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Init(InitArgs),
    /// Make an agent of a site that was made by hand: its certificate, configuration and folders, to be copied to its host.
    ///
    /// Works while the master runs; the master needs no reload.
    #[command(before_help = AGENT_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Agent(AgentArgs),
    /// Say in a configuration who is told (Slack, syslog, Logstash, Fluentd) and where scripts report.
    ///
    /// What is there stays, with its comments and in its order; the daemon judges the change before it is made.
    #[command(before_help = SET_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Set(Box<SetArgs>),
    /// Ask what an agent or a master needs, one question after the other, and show what would change.
    ///
    /// Writes only after a yes. Without a terminal, each line of the standard input is an answer.
    #[command(before_help = WIZARD_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Wizard(WizardArgs),
    /// List the agents of the master of this machine, and say which of them may speak.
    #[command(before_help = AGENTS_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Agents(AgentsArgs),
    /// Make, list and take back the tokens with which hosts join.
    #[command(before_help = TOKEN_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Token(TokenArgs),
    /// Make this host an agent of a site, with a token of its master.
    ///
    /// The key is made here and never leaves. Again with the same token gives the same answer, if it was lost.
    #[command(before_help = JOIN_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Join(JoinArgs),
    /// Make, list and revoke tokens of the API of the master of this machine.
    #[command(before_help = API_TOKEN_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    ApiToken(ApiTokenArgs),
    /// Make, list and revoke client certificates for the API of the master of this machine, in place of tokens.
    #[command(before_help = API_CERT_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    ApiCert(ApiCertArgs),
    /// Show the CA of the master of this machine, let another one sign, and take the key of the root elsewhere.
    #[command(before_help = CA_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Ca(CaArgs),
    /// Say to the agent of this host when a task is expected; `hume watch` is the same.
    ///
    /// The last word on a task counts. The agent checks it, and the master takes it where `watchdog.from_hosts` allows that.
    #[command(before_help = WATCH_EXAMPLES, after_long_help = MORE, help_template = TEMPLATE)]
    Watch(Box<WatchArgs>),
}

/// `humeconfig init`.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// Folder of the master: gets master.toml and admin.token.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// A name or address under which agents and people reach the master; may be repeated. The certificate always
    /// names localhost, the loopback addresses and the addresses of --grpc and --http.
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Address on which agents connect (gRPC with mutual TLS).
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:4863", value_parser = socket_address)]
    pub grpc: SocketAddr,
    /// Address of the REST API (HTTPS).
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:4864", value_parser = socket_address)]
    pub http: SocketAddr,
    /// Address on which hosts join with a token (TLS) [default: the IP of --grpc, port 4865].
    #[arg(long, value_name = "IP:PORT", value_parser = socket_address)]
    pub enroll: Option<SocketAddr>,
    /// Name of the site in all its certificates; cannot be changed later.
    #[arg(long, value_name = "DOMAIN", default_value = "hume")]
    pub trust_domain: String,
    /// Make the CA and the certificates here instead of in the master, for agents that are made by `humeconfig agent` and copied
    /// to their hosts. Hosts cannot join then.
    #[arg(long, conflicts_with = "enroll")]
    pub by_hand: bool,
    /// Replace what exists; the old files are kept beside the new ones. All agents need new certificates then.
    #[arg(long)]
    pub force: bool,
}

impl InitArgs {
    /// Where hosts join: where agents connect, unless it is said.
    pub(crate) fn enroll_address(&self) -> SocketAddr {
        self.enroll.unwrap_or_else(|| SocketAddr::new(self.grpc.ip(), ENROLL_PORT))
    }
}

/// `humeconfig agent`.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentArgs {
    /// Folder of the master, made by `humeconfig init --by-hand`.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Folder of the agent: gets agent.toml, pki/, run/, drop/ and state/.
    #[arg(long, value_name = "ADIR")]
    pub out: PathBuf,
    /// Name of the host in all its events.
    #[arg(long, value_name = "HOST", value_parser = HostName::parse)]
    pub host: HostName,
    /// Where the agent reaches the master [default: the relay's address in DIR/master.toml].
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub master: Option<String>,
    /// Replace what exists: a new certificate, the same agent id; the old files are kept beside the new ones.
    #[arg(long)]
    pub force: bool,
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port, such as 127.0.0.1:4863 or [::1]:4863".to_owned())
}

pub(crate) fn host_and_port(text: &str) -> Result<String, String> {
    match split_address(text) {
        Some((_, port)) if port != 0 => Ok(text.to_owned()),
        _ => {
            Err("expected a name or address and a port, such as master.example.org:4863 or [::1]:4863"
                .to_owned())
        }
    }
}

/// Name or address (without brackets) and port.
pub(crate) fn split_address(text: &str) -> Option<(&str, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let (host, _) = text.rsplit_once(':')?;
        return Some((host.trim_start_matches('[').trim_end_matches(']'), address.port()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let named =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    port.parse().ok().filter(|_| named).map(|port| (host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let args = Args::try_parse_from(["humeconfig", "init", "--dir", "d"]).unwrap();
        let Some(Command::Init(init)) = args.command else { panic!("init was asked for") };
        assert_eq!(
            (init.grpc.to_string(), init.http.to_string()),
            ("127.0.0.1:4863".into(), "127.0.0.1:4864".into())
        );
        assert_eq!((init.trust_domain.as_str(), init.force, init.names.len()), ("hume", false, 0));
    }

    #[test]
    fn names_repeat_and_a_bad_address_is_explained() {
        let args =
            Args::try_parse_from(["humeconfig", "init", "--dir=d", "--name=a", "--name", "b"]).unwrap();
        let Some(Command::Init(init)) = args.command else { panic!("init was asked for") };
        assert_eq!(init.names, ["a", "b"]);
        let error =
            Args::try_parse_from(["humeconfig", "init", "--dir=d", "--grpc=4863"]).unwrap_err().to_string();
        assert!(error.contains("such as 127.0.0.1:4863"), "{error}");
    }

    #[test]
    fn a_master_is_a_name_or_an_address_with_a_port() {
        for (text, host) in
            [("m.example:1", "m.example"), ("10.0.0.5:4863", "10.0.0.5"), ("[::1]:4863", "::1")]
        {
            assert_eq!(split_address(text).map(|(host, _)| host), Some(host));
            assert!(host_and_port(text).is_ok());
        }
        for text in ["m.example", ":4863", "a b:1", "::1:4863x", "m:0", "m:70000", "https://m:4863"] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_name_out_of_bounds_is_refused_by_name() {
        let line = ["humeconfig", "agent", "--dir=d", "--out=o", "--host", "web 1"];
        let error = Args::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("must not contain white space"), "{error}");
    }
}
