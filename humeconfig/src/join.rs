//! `humeconfig join`: a host becomes an agent of a site by a token. Its key is made here and never leaves.
//!
//! The key is on disk before it is asked about, so that a lost answer can be asked for again; a run that fails leaves nothing else.
//! The master is known by the pin in the token, and its answer is checked before anything is written.

use std::io::{self, Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hume_core::HostName;
use hume_proto::join::{JOIN_PATH, JoinAnswer, JoinRequest};
use hume_runtime::pki::join::{CHANNEL_BYTES, CHANNEL_LABEL, JoinToken, TOKEN_BYTES_MAX};
use hume_runtime::pki::{PublicKey, Request};
use hume_runtime::recovery::has_ended;
use hume_runtime::secret::SecretText;
use hume_runtime::tls::{self, Identity, PeerAgent, Roots};
use hume_runtime::{clock, files, pinned, socket};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Stream};

use crate::admin;
use crate::agent::{self, Agent, Places};
use crate::args::split_address;
use crate::failure::Failure;
use crate::http;
use crate::init::absolute;
use crate::orders::JoinArgs;
use crate::report::{Report, day, shell};
use crate::staging::{IfPresent, Staging};

/// Where an agent of the system has its configuration.
const SYSTEM: &str = "/etc/hume";
/// Where an agent looks for the enrolment port unless its configuration says more.
const ENROLL_PORT: u16 = 4865;
/// Who runs the agent of the system.
const SYSTEM_USER: &str = "hume";
/// Connecting, and each step of talking, may take this long.
const STEP_TIME_MAX: Duration = Duration::from_secs(20);
/// A connection that broke is tried again so often: the same key gets the same answer.
const TRIES_MAX: u32 = 3;
/// How often a host that waits for approval asks again, and for how long.
const APPROVAL_EVERY: Duration = Duration::from_secs(2);
const APPROVAL_TIME_MAX: Duration = Duration::from_hours(1);

/// Joins and says so.
pub fn run(args: &JoinArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let token = token(args)?;
    let (dir, places) = match &args.out {
        Some(out) => (absolute(out)?, Places::Below),
        None => (PathBuf::from(SYSTEM), Places::System),
    };
    if places == Places::Below {
        socket::check_path(&dir.join("run/hume.sock"))?;
    }
    let key_file = dir.join(format!(".join-{}.key", token.id));
    if let Some(peer) = joined_already(&dir, &token, args.force)? {
        // Left there by a run that was broken off at its very end.
        files::remove(&key_file)?;
        let mut report = Report::default();
        report.line(format!("joined already: agent {} until {}", peer.id, day(peer.not_after)));
        // Its certificate says nothing of that, and to ask with it would be to use it.
        report.line("whether it may speak, the master knows: `humeconfig agents list` there. If it was revoked, --force");
        report.line("gives the host a new identity, which needs a token and an empty spool.dir");
        if has_ended(peer.not_after, clock::now()) {
            report.line("note: if its agent has not renewed this certificate, it does so by itself, up to `enroll.grace` of the master after");
            report.line("the end");
        }
        return report.write(out);
    }
    let host = match &args.host {
        Some(host) => host.clone(),
        None => machine()?,
    };
    let request = key(&dir, &key_file)?;
    let (answer, address) = approved(&token, &host, &request, out)?;
    let joined = Joined::check(&token, &request, answer, &address)?;
    joined.write(&dir, places, &host, args.force, out)?;
    files::remove(&key_file)?;
    Ok(())
}

/// Whether the host has joined the site of this token; another identity is in the way.
pub(crate) fn has_joined(dir: &Path, token: &JoinToken) -> Result<bool, Failure> {
    Ok(joined_already(dir, token, false)?.is_some())
}

/// Joins, and writes the identity of the agent and nothing else; somebody else writes its configuration, which says that the relay is
/// at `master`.
pub(crate) fn identity(
    dir: &Path,
    token: &JoinToken,
    host: &HostName,
    master: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let key_file = dir.join(format!(".join-{}.key", token.id));
    let request = key(dir, &key_file)?;
    let (answer, address) = approved(token, host, &request, out)?;
    let joined = Joined::check(token, &request, answer, &address)?;
    let published = joined.staged(dir)?.publish(&[("pki", IfPresent::Replace)], clock::now())?;
    if dir == Path::new(SYSTEM) {
        give_to_system_user(&dir.join("pki"))?;
    }
    files::remove(&key_file)?;
    let mut report = Report::default();
    report.steps(&published, |_| joined.told());
    let port = |address: &str| split_address(address).map(|(_, port)| port);
    if port(&joined.master) != port(master) {
        report.line(format!(
            "note: the master says that its relay is at {}, and not at {master}",
            joined.master
        ));
    }
    report.write(out)
}

/// The token, from where it is said to be. A token in a file or on the standard input is in no list of processes.
fn token(args: &JoinArgs) -> Result<JoinToken, Failure> {
    let text = match (&args.file, args.token.as_deref()) {
        (Some(path), _) => return of_file(path),
        (None, Some("-")) => return read(&mut io::stdin().lock(), Path::new("the standard input")),
        (None, Some(text)) => text.to_owned(),
        (None, None) => return Err(Failure::NoToken),
    };
    Ok(JoinToken::parse(text.trim())?)
}

/// The token that this file holds.
pub(crate) fn of_file(path: &Path) -> Result<JoinToken, Failure> {
    let mut file =
        std::fs::File::open(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    read(&mut file, path)
}

fn read(reader: &mut dyn io::Read, from: &Path) -> Result<JoinToken, Failure> {
    let mut text = String::new();
    let bytes_max = TOKEN_BYTES_MAX as u64 + 2;
    reader
        .take(bytes_max)
        .read_to_string(&mut text)
        .map_err(|source| Failure::Read { path: from.to_owned(), source })?;
    Ok(JoinToken::parse(text.trim())?)
}

/// The agent that is here, if it is one of the token's site; another one is in the way.
fn joined_already(dir: &Path, token: &JoinToken, force: bool) -> Result<Option<PeerAgent>, Failure> {
    let pki = dir.join("pki");
    if ["ca.key", "master.key"].iter().any(|name| pki.join(name).exists()) {
        return Err(Failure::OutIsMaster { path: dir.to_owned() });
    }
    if force || !pki.join("agent.pem").exists() {
        return Ok(None);
    }
    let is_of_site = std::fs::read_to_string(pki.join("ca.pem"))
        .is_ok_and(|ca| pinned::pin_of_pem(&ca) == Some(token.pin));
    if !is_of_site {
        return Err(Failure::AgentExists { path: pki });
    }
    let certificates = tls::load_certificates(&pki.join("agent.pem"))?;
    Ok(certificates.first().map(tls::agent_of).transpose()?)
}

fn machine() -> Result<HostName, Failure> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    HostName::parse(&name).map_err(|error| Failure::Machine { why: error.to_string() })
}

/// The key of an earlier try with this token, or a new one.
fn key(dir: &Path, file: &Path) -> Result<Request, Failure> {
    if file.exists() {
        return Ok(Request::for_key(&tls::load_key(file)?)?);
    }
    let request = Request::create()?;
    files::create_dir(dir, 0o755)?;
    files::write(file, request.key_pem.expose().as_bytes(), 0o600)?;
    Ok(request)
}

/// Asks until there is a certificate, or a reason why there will be none.
fn approved(
    token: &JoinToken,
    host: &HostName,
    request: &Request,
    out: &mut dyn Write,
) -> Result<(JoinAnswer, String), Failure> {
    let until = Instant::now() + APPROVAL_TIME_MAX;
    let mut has_told = false;
    loop {
        let (answer, address) = answered(token, host, request)?;
        if answer.certificate.is_some() {
            return Ok((answer, address));
        }
        if !has_told {
            let key = PublicKey::of_request(&request.request_pem)?.fingerprint();
            let mut report = Report::default();
            report.line(format!("agent {} waits for approval, on the master:", answer.agent));
            report.line(format!("  humeconfig agents approve {}", answer.agent));
            report.line(format!("  (this host's key is {key})"));
            report.write(out)?;
            has_told = true;
        }
        if Instant::now() >= until {
            return Err(Failure::NotApproved);
        }
        pause(APPROVAL_EVERY);
    }
}

/// Lets time pass.
fn pause(time: Duration) {
    let (_kept, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// Asks the master at each of its addresses, and again if the connection broke.
fn answered(token: &JoinToken, host: &HostName, request: &Request) -> Result<(JoinAnswer, String), Failure> {
    let mut last = None;
    for _ in 0..TRIES_MAX {
        for address in &token.addresses {
            match ask(token, address, host, request) {
                Ok(answer) => return Ok((answer, address.clone())),
                Err(Failure::Unreached { address, source }) => {
                    last = Some(Failure::Unreached { address, source });
                }
                Err(error) => return Err(error),
            }
        }
    }
    Err(last.unwrap_or(Failure::NoToken))
}

fn ask(token: &JoinToken, address: &str, host: &HostName, request: &Request) -> Result<JoinAnswer, Failure> {
    let failed = |source: io::Error| match source.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            Failure::NotTheMaster { address: address.to_owned(), source }
        }
        _ => Failure::Unreached { address: address.to_owned(), source },
    };
    let (mut tcp, mut tls) = connect(token, address).map_err(failed)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(failed)?;
    }
    let mut channel = [0; CHANNEL_BYTES];
    tls.export_keying_material(&mut channel, CHANNEL_LABEL, None)
        .map_err(|error| failed(io::Error::other(error)))?;
    let spki = PublicKey::of_request(&request.request_pem)?.spki();
    let wish = JoinRequest {
        token: token.id.clone(),
        host: host.as_str().to_owned(),
        request: request.request_pem.clone(),
        proof: tls::hex(&token.prove(&channel, &spki)?),
    };
    let body = serde_json::to_vec(&wish).map_err(|error| failed(error.into()))?;
    let answer = http::ask(&mut Stream::new(&mut tls, &mut tcp), "POST", JOIN_PATH, Some(&body));
    let answer = answer.map_err(failed)?;
    if answer.status != 200 {
        return Err(admin::refused(&answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| failed(error.into()))
}

fn connect(token: &JoinToken, address: &str) -> io::Result<(TcpStream, ClientConnection)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "the token has a wrong address");
    let (name, _) = split_address(address).ok_or_else(wrong)?;
    let name = ServerName::try_from(name.to_owned()).map_err(|_| wrong())?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP_TIME_MAX) {
            Ok(tcp) => {
                tcp.set_read_timeout(Some(STEP_TIME_MAX))?;
                tcp.set_write_timeout(Some(STEP_TIME_MAX))?;
                let config = pinned::join_client(token.pin).map_err(io::Error::other)?;
                let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
                return Ok((tcp, tls));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What the master said, found to be right.
struct Joined {
    peer: PeerAgent,
    certificate_pem: String,
    key_pem: SecretText,
    root_pem: String,
    /// Where the relay is.
    master: String,
    /// Where the master was asked.
    enroll: String,
}

impl Joined {
    fn check(
        token: &JoinToken,
        request: &Request,
        answer: JoinAnswer,
        address: &str,
    ) -> Result<Joined, Failure> {
        let wrong = |why: &'static str| Failure::WrongAnswer { why };
        let JoinAnswer { agent, certificate, certificate_expires_at: _, root, relay_port } = answer;
        let certificate_pem = certificate.ok_or_else(|| wrong("has no certificate"))?;
        if pinned::pin_of_pem(&root) != Some(token.pin) {
            return Err(wrong("has another root than the token says"));
        }
        let identity = Identity::from_pem(&certificate_pem, request.key_pem.expose())?;
        tls::relay_client(&identity, &Roots::from_pem(&root)?, None)
            .map_err(|_| wrong("has a certificate for another key"))?;
        let certificate = identity.certificate().ok_or_else(|| wrong("has no certificate"))?;
        let peer = tls::agent_of(certificate)?;
        if peer.id.as_bytes() != agent.as_bytes() {
            return Err(wrong("names another agent than its certificate"));
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let (key_pem, master) = (request.key_pem.clone(), format!("{host}:{relay_port}"));
        let enroll = address.to_owned();
        Ok(Joined { peer, certificate_pem, key_pem, root_pem: root, master, enroll })
    }

    /// The identity alone, on its way into its folder.
    fn staged(&self, dir: &Path) -> Result<Staging, Failure> {
        let staging = Staging::new(dir)?;
        staging.folder("pki", 0o700)?;
        staging.file("pki/ca.pem", &self.root_pem, 0o644)?;
        staging.file("pki/agent.pem", &self.certificate_pem, 0o644)?;
        staging.file("pki/agent.key", self.key_pem.expose(), 0o600)?;
        Ok(staging)
    }

    fn told(&self) -> String {
        format!("agent {} until {}", self.peer.id, day(self.peer.not_after))
    }

    fn write(
        &self,
        dir: &Path,
        places: Places,
        host: &HostName,
        force: bool,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let is_usual = split_address(&self.enroll).is_some_and(|(_, port)| port == ENROLL_PORT);
        let enroll = (!is_usual).then(|| self.enroll.clone());
        let agent = Agent { id: self.peer.id, master: self.master.clone(), enroll, server_name: None };
        let staging = self.staged(dir)?;
        staging.file(
            "agent.toml",
            &agent::agent_toml("humeconfig join", host.as_str(), &agent, places),
            0o644,
        )?;
        let kept = if force { IfPresent::Replace } else { IfPresent::Keep };
        let mut pieces = vec![("pki", IfPresent::Replace), ("agent.toml", kept)];
        if places == Places::Below {
            for (name, mode) in agent::FOLDERS {
                staging.folder(name, mode)?;
                pieces.push((name, IfPresent::Keep));
            }
        }
        let had_config = dir.join("agent.toml").exists() && !force;
        let published = staging.publish(&pieces, clock::now())?;
        if places == Places::System {
            give_to_system_user(&dir.join("pki"))?;
        }
        let mut report = Report::default();
        report.steps(&published, |name| match name {
            "pki" => self.told(),
            "agent.toml" => format!("host {}, master {}", host.as_str(), self.master),
            _ => String::new(),
        });
        if had_config {
            report.line("note: agent.toml was here and is as it was; for this master it needs:");
            report.line(agent::master_section(&agent).trim_end());
        }
        report.line("");
        report.line("next:");
        report.line(match places {
            Places::Below => format!("  humed-agent --config {}", shell(&dir.join("agent.toml"))),
            Places::System => "  systemctl enable --now humed-agent.socket humed-agent.service".to_owned(),
        });
        report.write(out)
    }
}

/// The agent of the system runs as a user of its own, who must be able to read and renew what is here. Only root can see to that.
fn give_to_system_user(pki: &Path) -> Result<(), Failure> {
    let Ok(Some(user)) = nix::unistd::User::from_name(SYSTEM_USER) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let names = ["", "ca.pem", "agent.pem", "agent.key"];
    names.iter().map(|name| pki.join(name)).try_for_each(|path| {
        std::os::unix::fs::chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(|source| files::FileError { step: "give away", path, source }.into())
    })
}
