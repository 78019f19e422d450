//! Mails to people, through an SMTP server or the `sendmail` of this host, one for each notice.
//!
//! A mail that may have come twice has the same Message-ID both times. What all recipients refuse for good is a dead letter; who
//! refuses while others take it, is named in the log; what is wrong with the server or the login waits.

mod letter;
mod smtp;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hume_runtime::clock;
use hume_runtime::config::resolve;
use hume_runtime::secret::Secret;
use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::warn;

use self::letter::{Letterhead, Text, domain, message_id, one_line, templated, write};
use self::smtp::{Fate, MEND_TIME, Parcel, Security, Server};
use crate::child::{self, End, Job};
use crate::notice::Notice;
use crate::options::options;
use crate::template::{Sources, Templates};
use crate::transfer::{BoxFuture, Delivery, Manner, OpenError, Setting, Trail, Transfer, Trouble};

pub(super) const MANNER: Manner = Manner::PEOPLE;

/// A mail may take so long.
const MAIL_TIME_MAX: Duration = Duration::from_secs(25);
/// Without a template of the administrator, `letter` words the mail, which knows the headers too.
const BUILT_IN: &str = "{{ body }}";
/// Most recipients of one transfer.
const RECIPIENTS_MAX: usize = 100;

options! {
    /// `[transfer.NAME.email]`
    pub struct Options {
        /// The sender: `hume@example.org` or `hume <hume@example.org>`. (`from` is where a transfer begins.)
        pub sender: String,
        /// The recipients, in the same form.
        pub to: Vec<String>,
        /// `smtp://HOST[:PORT]` or, encrypted from the first byte, `smtps://HOST[:PORT]`.
        #[serde(default)]
        pub smtp: Option<String>,
        /// Whether an `smtp://` connection is encrypted; `required`, and on this host `opportunistic`, when missing.
        #[serde(default)]
        pub starttls: Option<Starttls>,
        /// Logs in as this user.
        #[serde(default)]
        pub user: Option<String>,
        /// With this password.
        #[serde(default)]
        pub password: Option<Secret>,
        /// Certificates that the server's must come from, in place of those that this host trusts.
        #[serde(default)]
        pub ca: Option<PathBuf>,
        /// In place of `smtp`: a program that takes mails as sendmail does.
        #[serde(default)]
        pub sendmail: Option<PathBuf>,
    }
}

/// Whether STARTTLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Starttls {
    /// There is no mail without it, and the certificate must be good.
    Required,
    /// If the server offers it, whatever its certificate.
    Opportunistic,
    /// Never.
    None,
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    Ok(Box::new(Email::of(options, setting)?))
}

struct Email {
    head: Letterhead,
    from: Address,
    to: Vec<Address>,
    way: Way,
    templates: Templates,
    time_max: Duration,
    /// The mail that some recipients have and others not yet, and who has it.
    partly: Option<(String, BTreeSet<usize>)>,
    /// Those whose refusal was told in the log.
    refused: BTreeSet<usize>,
}

enum Way {
    Smtp(Box<Server>),
    Sendmail(PathBuf),
}

impl Email {
    fn of(options: &Options, setting: &Setting<'_>) -> Result<Email, OpenError> {
        let from = mailbox("sender", &options.sender)?;
        if options.to.is_empty() || options.to.len() > RECIPIENTS_MAX {
            return Err(OpenError::value("to", format!("has 1 to {RECIPIENTS_MAX} addresses")));
        }
        let to = options.to.iter().map(|to| mailbox("to", to)).collect::<Result<Vec<_>, _>>()?;
        let base = options.template.as_deref();
        let sources = Sources { kind: "email", base, inline: None, built_in: BUILT_IN };
        let templates = Templates::open(&sources, setting);
        Ok(Email {
            from: from.email.clone(),
            to: to.iter().map(|to| to.email.clone()).collect(),
            way: way(options, setting)?,
            templates,
            head: Letterhead {
                from,
                to,
                transfer: setting.name.clone(),
                host: setting.host.clone(),
                program: setting.program,
            },
            time_max: MAIL_TIME_MAX,
            partly: None,
            refused: BTreeSet::new(),
        })
    }

    /// Its words: a template's, or our own.
    fn text(&self, notice: &Notice, trail: &mut Trail) -> Text {
        let rendered = self.templates.render(notice);
        if let Some(fault) = &rendered.fault {
            trail.say(|| format!("{fault}; the built-in is used"));
        }
        match rendered.from {
            Some(_) => templated(&rendered.text, notice),
            None => Text::of(notice, &self.head),
        }
    }

    async fn tell(&mut self, notice: &Notice, trail: &mut Trail) -> Result<(), Trouble> {
        let text = self.text(notice, trail);
        let mail = write(notice, &text, &self.head, clock::now())
            .map_err(|error| Trouble::never(format!("no mail can say this: {error}")))?;
        trail.say(|| format!("{} bytes for {} recipients: {}", mail.len(), self.to.len(), text.subject));
        match &self.way {
            Way::Sendmail(program) => {
                sendmail(program, &self.from, &self.to, &mail, self.time_max, trail).await
            }
            Way::Smtp(_) => self.by_smtp(&message_id(notice, &self.head), &mail, trail).await,
        }
    }

    /// To those that do not have it already.
    async fn by_smtp(&mut self, id: &str, mail: &[u8], trail: &mut Trail) -> Result<(), Trouble> {
        let Way::Smtp(server) = &self.way else { return Ok(()) };
        let have =
            self.partly.take().filter(|(partly, _)| partly == id).map(|(_, have)| have).unwrap_or_default();
        let waiting: Vec<usize> = (0..self.to.len()).filter(|at| !have.contains(at)).collect();
        let to: Vec<Address> = waiting.iter().map(|at| self.to[*at].clone()).collect();
        // SMTP ends the last line itself.
        let mail = mail.strip_suffix(b"\r\n").unwrap_or(mail);
        let parcel = Parcel { from: &self.from, to: &to, mail };
        let sent = timeout(self.time_max, server.send(&parcel, trail)).await.unwrap_or_else(|_| {
            let seconds = self.time_max.as_secs();
            Err(Trouble::later(format!("{}:{} did not answer within {seconds} s", server.host, server.port)))
        });
        let fates = match sent {
            Ok(fates) => fates,
            Err(trouble) => {
                self.partly = (!have.is_empty()).then(|| (id.to_owned(), have));
                // For those who do not have it; the others do.
                return match trouble {
                    Trouble::Never { reason } if self.partly.take().is_some() => {
                        let transfer = &self.head.transfer;
                        warn!(%transfer, reason, "a mail reached some of its recipients only");
                        Ok(())
                    }
                    trouble => Err(trouble),
                };
            }
        };
        self.settle(id, have, waiting.into_iter().zip(fates).collect())
    }

    /// What the fates of the recipients are for the notice.
    fn settle(
        &mut self,
        id: &str,
        mut have: BTreeSet<usize>,
        fates: Vec<(usize, Fate)>,
    ) -> Result<(), Trouble> {
        let (mut later, mut never) = (Vec::new(), Vec::new());
        for (at, fate) in fates {
            match fate {
                Fate::Taken => {
                    have.insert(at);
                    self.refused.remove(&at);
                }
                Fate::Later(reason) => later.push(reason),
                Fate::Never(reason) => {
                    if self.refused.insert(at) {
                        warn!(transfer = %self.head.transfer, reason, "a recipient is refused for good");
                    }
                    never.push(reason);
                }
            }
        }
        if !later.is_empty() {
            let reason = later.join("; ");
            self.partly = (!have.is_empty()).then(|| (id.to_owned(), have));
            return Err(Trouble::later(reason));
        }
        if have.is_empty() { Err(Trouble::never(never.join("; "))) } else { Ok(()) }
    }
}

impl Transfer for Email {
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

    fn templates(&self) -> Option<&Templates> {
        Some(&self.templates)
    }

    fn preview(&self, notice: &Notice) -> String {
        let text = self.text(notice, &mut Trail::silent());
        write(notice, &text, &self.head, notice.event.event.time).map_or_else(
            |error| format!("no mail can say this: {error}"),
            |mail| String::from_utf8_lossy(&mail).replace("\r\n", "\n"),
        )
    }
}

/// Codes of sysexits.h by which a sendmail says that it will never take the mail: bad data, no such user, no such host.
const SENDMAIL_NEVER: [i32; 3] = [65, 67, 68];
/// A temporary failure.
const TEMPFAIL: i32 = 75;

async fn sendmail(
    program: &Path,
    from: &Address,
    to: &[Address],
    mail: &[u8],
    time_max: Duration,
    trail: &mut Trail,
) -> Result<(), Trouble> {
    let mut args: Vec<OsString> = ["-i", "-f", from.as_ref(), "--"].map(OsString::from).into();
    args.extend(to.iter().map(|to| OsString::from(to.to_string())));
    let job = Job { program: program.as_os_str(), args, variables: Vec::new(), input: mail, time_max };
    let name = program.display();
    let outcome = child::run(&job)
        .await
        .map_err(|error| Trouble::after(format!("{name} cannot be run: {error}"), MEND_TIME))?;
    let said =
        if outcome.said.is_empty() { String::new() } else { format!(": {}", one_line(&outcome.said, 300)) };
    match outcome.end {
        End::Code(0) => {
            trail.say(|| format!("{name} took it"));
            Ok(())
        }
        End::Code(code) if SENDMAIL_NEVER.contains(&code) => {
            Err(Trouble::never(format!("{name} refuses the mail (exit {code}){said}")))
        }
        End::Code(TEMPFAIL) => {
            Err(Trouble::later(format!("{name} cannot take the mail now (exit {TEMPFAIL}){said}")))
        }
        End::Code(code) => Err(Trouble::after(format!("{name} failed (exit {code}){said}"), MEND_TIME)),
        End::Signal(signal) => Err(Trouble::later(format!("{name} was ended by signal {signal}{said}"))),
        End::TooLong => {
            Err(Trouble::later(format!("{name} took more than {} s and was ended{said}", time_max.as_secs())))
        }
    }
}

fn mailbox(key: &'static str, text: &str) -> Result<Mailbox, OpenError> {
    let wrong = || {
        let form = "write `ops@example.org` or `Operations <ops@example.org>`";
        OpenError::value(key, format!("`{}` is no address: {form}", one_line(text, 100)))
    };
    let mailbox: Mailbox = text.parse().map_err(|_| wrong())?;
    // Not every server takes others.
    let is_plain = AsRef::<str>::as_ref(&mailbox.email).is_ascii() && !text.chars().any(char::is_control);
    if is_plain { Ok(mailbox) } else { Err(wrong()) }
}

fn way(options: &Options, setting: &Setting<'_>) -> Result<Way, OpenError> {
    match (&options.smtp, &options.sendmail) {
        (Some(address), None) => Ok(Way::Smtp(Box::new(server(address, options, setting)?))),
        (None, Some(program)) => {
            let of_smtp = options.starttls.is_some() || options.user.is_some() || options.ca.is_some();
            if of_smtp || options.password.is_some() {
                let reason =
                    "goes with `smtp`, not with `starttls`, `user`, `password` or `ca`: leave them out";
                return Err(OpenError::value("sendmail", format!("{reason}, or write `smtp` in its place")));
            }
            if !program.is_absolute() {
                return Err(OpenError::value(
                    "sendmail",
                    "is the whole path of a program, such as /usr/sbin/sendmail",
                ));
            }
            Ok(Way::Sendmail(program.clone()))
        }
        (None, None) => {
            Err(OpenError::value("smtp", "is missing: write \"smtp://HOST:PORT\", or `sendmail`"))
        }
        (Some(_), Some(_)) => {
            Err(OpenError::value("sendmail", "and `smtp` exclude each other: leave out one"))
        }
    }
}

/// Scheme, host and port of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    is_wrapped: bool,
    host: String,
    port: u16,
}

fn place(address: &str) -> Option<Place> {
    let (is_wrapped, rest) = match address.split_once("://")? {
        ("smtp", rest) => (false, rest),
        ("smtps", rest) => (true, rest),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let default = if is_wrapped { 465 } else { 25 };
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(if port.is_empty() { Some("") } else { None })?)
        }
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || !host.chars().all(is_plain) {
        return None;
    }
    let port = if port.is_empty() { default } else { port.parse().ok().filter(|port| *port > 0)? };
    Some(Place { is_wrapped, host: host.to_owned(), port })
}

fn server(address: &str, options: &Options, setting: &Setting<'_>) -> Result<Server, OpenError> {
    // The text is not repeated: it may hold a password.
    let form = "is no address: write \"smtp://HOST:PORT\" or \"smtps://HOST:PORT\"; `user` and `password` are keys of their own";
    let Place { is_wrapped, host, port } = place(address).ok_or_else(|| OpenError::value("smtp", form))?;
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let starttls = match (is_wrapped, options.starttls) {
        (true, Some(_)) => {
            return Err(OpenError::value(
                "starttls",
                "goes with smtp://; smtps:// is encrypted from the first byte",
            ));
        }
        (false, Some(starttls)) => starttls,
        (false, None) if is_here => Starttls::Opportunistic,
        (_, None) => Starttls::Required,
    };
    let login = login(options, setting)?;
    if login.is_some() && starttls != Starttls::Required && !is_here {
        let reason = "must be `required` where there is a password: anybody on the way could read it";
        return Err(OpenError::value("starttls", reason));
    }
    let security = match starttls {
        Starttls::None => Security::Plain,
        Starttls::Opportunistic => Security::Opportunistic(tls(&host, options, setting, starttls)?),
        Starttls::Required if is_wrapped => Security::Wrapped(tls(&host, options, setting, starttls)?),
        Starttls::Required => Security::Required(tls(&host, options, setting, starttls)?),
    };
    Ok(Server { host, port, security, login, hello: ClientId::Domain(domain(setting.host)) })
}

fn login(options: &Options, setting: &Setting<'_>) -> Result<Option<Credentials>, OpenError> {
    match (&options.user, &options.password) {
        (Some(user), Some(password)) => {
            let password = password.read(setting.config_file).map_err(OpenError::secret("password"))?;
            Ok(Some(Credentials::new(user.clone(), password.expose().to_owned())))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(OpenError::value("password", "is missing; it goes with `user`")),
        (None, Some(_)) => Err(OpenError::value("user", "is missing; it goes with `password`")),
    }
}

fn tls(
    host: &str,
    options: &Options,
    setting: &Setting<'_>,
    starttls: Starttls,
) -> Result<TlsParameters, OpenError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(ca) = &options.ca {
        let path = resolve(setting.config_file, ca);
        let wrong = |error: String| OpenError::value("ca", format!("{}: {error}", path.display()));
        let text = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_pem(&text).map_err(|error| wrong(error.to_string()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    } else if starttls == Starttls::Opportunistic {
        // Encrypted to whoever it is, where otherwise it would not be encrypted at all (RFC 7435).
        builder = builder.dangerous_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| OpenError::value("ca", error.to_string()))
}
