//! Which questions are put, in which order, and the plan that comes of the answers. Reads the configuration, writes nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hume_core::{HostName, Level};
use hume_runtime::files;
use hume_runtime::pki::join::JoinToken;
use toml::Table;

use super::WizardError;
use super::ask::{Asker, Question};
use crate::args::{ENROLL_PORT, InitArgs, host_and_port, split_address};
use crate::change::Daemon;
use crate::join;
use crate::report::{shell, toml_string};
use crate::set::args::Given;
use crate::set::wish::{self, Kind, Wish};

/// What comes of an interview.
pub(super) struct Plan {
    pub(super) role: Role,
    pub(super) config: PathBuf,
    pub(super) wishes: Vec<Wish>,
    /// The host joins a site first.
    pub(super) join: Option<Join>,
}

/// How a host becomes an agent of a site.
pub(super) struct Join {
    pub(super) token: JoinToken,
    pub(super) host: HostName,
    /// Where the relay is, as the configuration will say.
    pub(super) master: String,
}

impl Plan {
    /// What stands on top of a file that is not there yet: the keys above all sections.
    pub(super) fn beginning(&self) -> String {
        let keys = self.wishes.iter().filter_map(|wish| match wish {
            Wish::Key { section: None, key, text } => Some(format!("\n{key} = {}\n", toml_string(text))),
            Wish::Key { .. } | Wish::Transfer { .. } | Wish::Webhook { .. } => None,
        });
        keys.collect()
    }
}

/// What this host is to be.
pub(super) enum Role {
    /// It keeps what its scripts report, and may send it on.
    Agent,
    /// A master that is there already.
    Master,
    /// One that is to be made.
    NewMaster(InitArgs),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Agent,
    Alone,
    Master,
}

/// What is known before the first question.
pub(super) struct Interview<'a> {
    config: Option<&'a Path>,
}

impl<'a> Interview<'a> {
    pub(super) fn new(config: Option<&'a Path>) -> Interview<'a> {
        Interview { config }
    }

    /// Puts the questions.
    pub(super) fn hold(&self, asker: &mut Asker<'_>) -> Result<Plan, WizardError> {
        asker.say(
            "An empty answer takes what stands in brackets. Nothing is written before you say yes.\n\n",
        )?;
        let choice = self.choice(asker)?;
        let daemon = if choice == Choice::Master { Daemon::Master } else { Daemon::Agent };
        let config = self.config.unwrap_or(daemon.config()).to_owned();
        let known = known(&config);
        let (mut wishes, mut join) = (Vec::new(), None);
        let role = match choice {
            Choice::Master if config.exists() => Role::Master,
            Choice::Master => Role::NewMaster(site(asker, &config)?),
            Choice::Agent | Choice::Alone => {
                let host = host(asker, &known)?;
                wishes.push(text(None, "host", host.as_str().to_owned()));
                if choice == Choice::Agent {
                    join = master(asker, &config, &known, host, &mut wishes)?;
                }
                Role::Agent
            }
        };
        transfers(asker, &known, &mut wishes)?;
        Ok(Plan { role, config, wishes, join })
    }

    fn choice(&self, asker: &mut Asker<'_>) -> Result<Choice, WizardError> {
        let agent = known(self.config.unwrap_or(Daemon::Agent.config()));
        let default = match self.config.map(Daemon::of_file) {
            Some(Daemon::Master) => "master",
            _ if agent.contains_key("master") => "agent",
            Some(Daemon::Agent) | None => "alone",
        };
        let question = Question {
            word: "Role",
            about: "agent: sends what this host reports to a master; alone: keeps it here; master: gathers it from all hosts.",
            default,
        };
        asker.ask(question, |answer| match answer {
            "agent" | "1" => Ok(Choice::Agent),
            "alone" | "2" => Ok(Choice::Alone),
            "master" | "3" => Ok(Choice::Master),
            _ => Err("expected agent, alone or master".to_owned()),
        })
    }
}

/// The configuration as far as it can be read: for defaults alone, since the daemon has the last word.
fn known(config: &Path) -> Table {
    std::fs::read_to_string(config).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn word<'a>(table: &'a Table, section: &str, key: &str) -> Option<&'a str> {
    table.get(section)?.get(key)?.as_str()
}

fn text(section: Option<&'static str>, key: &'static str, text: String) -> Wish {
    Wish::Key { section, key, text }
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn host(asker: &mut Asker<'_>, known: &Table) -> Result<HostName, WizardError> {
    let machine = machine();
    let default = known.get("host").and_then(|host| host.as_str()).unwrap_or(&machine);
    let question = Question { word: "Host", about: "Name of this host in all its events.", default };
    asker.ask(question, |answer| HostName::parse(answer).map_err(|error| error.to_string()))
}

/// Asks for a token and for the master; how the host joins, if it does.
fn master(
    asker: &mut Asker<'_>,
    config: &Path,
    known: &Table,
    host: HostName,
    wishes: &mut Vec<Wish>,
) -> Result<Option<Join>, WizardError> {
    let there = ["ca", "certificate"].iter().any(|key| word(known, "master", key).is_some());
    let question = Question {
        word: "Token",
        about: "What `humeconfig token new` on the master prints, or @FILE that holds it; none, if the certificates are here.",
        default: if there { "none" } else { "" },
    };
    let token = asker.ask(question, token)?;
    let offered = token.as_ref().and_then(relay);
    let default = offered.as_deref().or(word(known, "master", "address")).unwrap_or_default();
    let question = Question {
        word: "Master",
        about: "Where the master's relay is, as HOST:PORT; its port is 4863 by default.",
        default,
    };
    let address = asker.ask(question, host_and_port)?;
    wishes.push(text(Some("master"), "address", address.clone()));
    let Some(token) = token else {
        wishes.extend(certificates(asker, config, known)?);
        return Ok(None);
    };
    // Where a certificate that has ended is recovered.
    let door = token
        .addresses
        .first()
        .filter(|door| split_address(door).is_some_and(|(_, port)| port != ENROLL_PORT));
    wishes.extend(door.map(|door| text(Some("master"), "enroll_address", door.clone())));
    wishes.extend(FILES.map(|(key, file)| text(Some("master"), key, format!("pki/{file}"))));
    Ok(Some(Join { token, host, master: address }))
}

/// Keys of the certificates, and the names of their files.
const FILES: [(&str, &str); 3] = [("ca", "ca.pem"), ("certificate", "agent.pem"), ("key", "agent.key")];

/// Where the certificates are that somebody has put here.
fn certificates(asker: &mut Asker<'_>, config: &Path, known: &Table) -> Result<[Wish; 3], WizardError> {
    let default = match word(known, "master", "ca").and_then(|ca| ca.strip_suffix("/ca.pem")) {
        Some(folder) => folder.to_owned(),
        None if config.starts_with("/etc/hume") => "/etc/hume/pki".to_owned(),
        None => "pki".to_owned(),
    };
    let question = Question {
        word: "Certificates",
        about: "Folder of ca.pem, agent.pem and agent.key, as `humeconfig agent` makes it at the master.",
        default: &default,
    };
    let folder = asker.ask(question, |answer| Ok(answer.trim_end_matches('/').to_owned()))?;
    Ok(FILES.map(|(key, file)| text(Some("master"), key, format!("{folder}/{file}"))))
}

/// A token, or none. What is wrong with one is said without it.
fn token(answer: &str) -> Result<Option<JoinToken>, String> {
    match (answer, answer.strip_prefix('@')) {
        ("", _) => Err("expected a token, @FILE or none".to_owned()),
        ("none", _) => Ok(None),
        (_, Some(file)) => join::of_file(Path::new(file)).map(Some).map_err(|error| error.explained()),
        (_, None) => JoinToken::parse(answer).map(Some).map_err(|error| error.to_string()),
    }
}

/// Where the relay is, if it is beside the door where hosts join, at its usual port.
fn relay(token: &JoinToken) -> Option<String> {
    let (host, _) = token.addresses.first()?.rsplit_once(':')?;
    Some(format!("{host}:{RELAY_PORT}"))
}

/// The usual port of the relay.
const RELAY_PORT: u16 = 4863;

fn site(asker: &mut Asker<'_>, config: &Path) -> Result<InitArgs, WizardError> {
    let dir = files::parent_of(config).to_owned();
    let machine = machine();
    let question = Question {
        word: "Names",
        about: "Names and addresses under which agents and people reach this master, with commas between them.",
        default: &machine,
    };
    let names = asker.ask(question, |answer| {
        Ok(answer.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
    })?;
    let address = |answer: &str| {
        answer.parse::<SocketAddr>().map_err(|_| "expected IP:PORT, such as 0.0.0.0:4863".to_owned())
    };
    let question = Question {
        word: "Agents",
        about: "Address at which agents connect; 0.0.0.0 is every address.",
        default: "0.0.0.0:4863",
    };
    let grpc = asker.ask(question, address)?;
    let question = Question {
        word: "Questions",
        about: "Address of the API, for humequery on other hosts.",
        default: "0.0.0.0:4864",
    };
    let http = asker.ask(question, address)?;
    let question = Question {
        word: "Site",
        about: "Name of the site in all its certificates; it stays for good.",
        default: "hume",
    };
    let trust_domain = asker.ask(question, |answer| Ok(answer.to_owned()))?;
    Ok(InitArgs { dir, names, grpc, http, enroll: None, trust_domain, by_hand: false, force: false })
}

/// The command that makes this site.
pub(super) fn command(site: &InitArgs) -> String {
    let InitArgs { dir, names, grpc, http, enroll: _, trust_domain, by_hand: _, force: _ } = site;
    let enroll = site.enroll_address();
    let names = names.iter().fold(String::new(), |all, name| all + " --name " + &shell(Path::new(name)));
    let (dir, domain) = (shell(dir), shell(Path::new(trust_domain)));
    format!(
        "humeconfig init --dir {dir}{names} --grpc {grpc} --http {http} --enroll {enroll} --trust-domain {domain}"
    )
}

fn transfers(asker: &mut Asker<'_>, known: &Table, wishes: &mut Vec<Wish>) -> Result<(), WizardError> {
    let there = |kind: Kind| has(known, kind);
    let kept = |kind: Kind| if there(kind) { "as it is" } else { "none" };
    let question = Question {
        word: "Slack",
        about: "Webhook that people are told by, or @FILE that holds it; it is kept in a file of its own.",
        default: kept(Kind::Slack),
    };
    let webhook = asker.ask(question, |answer| match answer {
        "none" | "as it is" => Ok(None),
        given => wish::webhook("webhook", None, &as_given(given), &mut std::io::empty())
            .map(Some)
            .map_err(|error| error.to_string()),
    })?;
    if let Some(webhook) = webhook {
        wishes.push(webhook);
        let question =
            Question { word: "From", about: "The mildest level that Slack is told.", default: "warning" };
        let level = asker.ask(question, |answer| {
            Level::ALL
                .into_iter()
                .find(|level| level.as_str() == answer)
                .ok_or_else(|| format!("expected one of {}", Level::ALL.map(Level::as_str).join(", ")))
        })?;
        wishes
            .push(Wish::Transfer { kind: Kind::Slack, keys: vec![("level_min", level.as_str().to_owned())] });
    }
    let syslog = if there(Kind::Syslog) { "yes" } else { "no" };
    if asker.confirm("Syslog", "Whether the journal or syslog of this host is told.", syslog)? {
        wishes.push(Wish::Transfer { kind: Kind::Syslog, keys: Vec::new() });
    }
    let question = Question {
        word: "Rsyslog",
        about: "Syslog of another host, as udp://, tcp:// or tls://HOST:PORT.",
        default: kept(Kind::Rsyslog),
    };
    let rsyslog = asker.ask(question, |answer| match answer {
        "none" | "as it is" => Ok(None),
        address => wish::peer(Kind::Rsyslog, address).map(Some).map_err(|error| error.to_string()),
    })?;
    wishes.extend(rsyslog);
    Ok(())
}

/// There is one standard input, and it is for answers.
fn as_given(answer: &str) -> Given {
    match Given::from(answer) {
        Given::Stdin => Given::from("no webhook"),
        given => given,
    }
}

fn has(known: &Table, kind: Kind) -> bool {
    let transfers = known.get("transfer").and_then(|transfers| transfers.as_table());
    transfers.is_some_and(|transfers| transfers.values().any(|kinds| kinds.get(kind.word()).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(answers: &str, config: &Path) -> Result<Plan, WizardError> {
        let (mut input, mut talk) = (answers.as_bytes(), Vec::new());
        let mut asker = Asker { input: &mut input, talk: &mut talk, is_terminal: false };
        Interview::new(Some(config)).hold(&mut asker)
    }

    #[test]
    fn a_host_alone_is_asked_for_its_name_and_whom_to_tell() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("agent.toml");
        let plan = held("\nweb1\nhttps://h.example/x\nerror\nyes\nudp://l:514\n", &config).unwrap();
        assert!(matches!(plan.role, Role::Agent));
        let kinds: Vec<_> = plan.wishes.iter().map(Wish::kind).collect();
        let slack = Some(Kind::Slack);
        assert_eq!(kinds, [None, slack, slack, Some(Kind::Syslog), Some(Kind::Rsyslog)]);
    }

    #[test]
    fn what_the_configuration_says_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("agent.toml");
        let text = "host = \"db1\"\n[master]\naddress = \"m:4863\"\nca = \"certs/ca.pem\"\n[transfer.local.syslog]\n";
        std::fs::write(&config, text).unwrap();
        let plan = held(&"\n".repeat(8), &config).unwrap();
        let texts: Vec<&str> = plan
            .wishes
            .iter()
            .filter_map(|wish| match wish {
                Wish::Key { text, .. } => Some(text.as_str()),
                Wish::Transfer { .. } | Wish::Webhook { .. } => None,
            })
            .collect();
        assert_eq!(texts, ["db1", "m:4863", "certs/ca.pem", "certs/agent.pem", "certs/agent.key"]);
        assert_eq!(plan.wishes.last().and_then(Wish::kind), Some(Kind::Syslog));
    }

    #[test]
    fn a_master_that_is_not_there_is_asked_for_its_names_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("master.toml");
        let plan = held("master\nm.example, 10.0.0.1\n\n127.0.0.1:1\nexample.org\n\n\n\n", &config).unwrap();
        let Role::NewMaster(site) = plan.role else { unreachable!("a master was asked for") };
        assert!(plan.wishes.is_empty());
        let dir = dir.path().display();
        assert_eq!(
            command(&site),
            format!(
                "humeconfig init --dir {dir} --name m.example --name 10.0.0.1 --grpc 0.0.0.0:4863 --http 127.0.0.1:1 --enroll 0.0.0.0:4865 --trust-domain example.org"
            )
        );
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_named_and_shows_no_secret() {
        let config = Path::new("/no/such/agent.toml");
        for (answers, part) in [
            ("slave\n", "`Role`: expected agent, alone or master"),
            ("\nbad host\n", "`Host`: "),
            ("agent\nweb1\nhunter2\n", "`Token`: "),
            ("agent\nweb1\nnone\nmaster\n", "`Master`: "),
            ("\nweb1\nhttp://h.example/hunter2\n", "`Slack`: "),
            ("\nweb1\n-\n", "`Slack`: "),
            ("\nweb1\n", "no answer to `Slack`"),
        ] {
            let error = held(answers, config).err().unwrap().to_string();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
    }
}
