//! One mail handed to an SMTP server: who took it, who never will, and what to do about a server that does not want us.
//!
//! A connection for each mail. The recipients are asked one by one, so that one who is gone costs the others nothing. A password
//! goes only over a connection that is encrypted to a server that was verified, or to this host.

use std::fmt;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

use super::letter::one_line;
use crate::transfer::{Trail, Trouble};

/// What an administrator has to mend is tried again after this.
pub(super) const MEND_TIME: Duration = Duration::from_mins(5);
/// Longest answer of a server that is told, in characters.
const ANSWER_CHARACTERS_MAX: usize = 300;
/// How long a farewell may take; the mail is delivered by then.
const QUIT_TIME: Duration = Duration::from_secs(1);

/// The authentication is refused, or asked for.
const CODES_AUTH: [u16; 4] = [530, 534, 535, 538];

/// A server, and how it is spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) login: Option<Credentials>,
    /// The name of this host for EHLO.
    pub(super) hello: ClientId,
}

/// How the connection is encrypted.
pub(super) enum Security {
    /// Not at all.
    Plain,
    /// By STARTTLS, if the server offers it; its certificate is not judged.
    Opportunistic(TlsParameters),
    /// By STARTTLS, or there is no mail.
    Required(TlsParameters),
    /// From the first byte.
    Wrapped(TlsParameters),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { host, port, security: _, login, hello: _ } = self;
        f.debug_struct("Server")
            .field("host", host)
            .field("port", port)
            .field("login", &login.is_some())
            .finish_non_exhaustive()
    }
}

/// A mail in its envelope.
pub(super) struct Parcel<'a> {
    pub(super) from: &'a Address,
    pub(super) to: &'a [Address],
    pub(super) mail: &'a [u8],
}

/// What became of each recipient, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server has taken the mail for it.
    Taken,
    /// Not now.
    Later(String),
    /// Never.
    Never(String),
}

impl Server {
    /// Hands over the mail. A dropped future closes the connection.
    ///
    /// # Errors
    /// The [`Trouble`] with the server, or with the mail for all recipients.
    pub(super) async fn send(&self, parcel: &Parcel<'_>, trail: &mut Trail) -> Result<Vec<Fate>, Trouble> {
        let mut connection = self.connect(trail).await?;
        let fates = transact(&mut connection, parcel, trail).await;
        // What the server says to that changes nothing.
        let _ = timeout(QUIT_TIME, connection.quit()).await;
        fates
    }

    async fn connect(&self, trail: &mut Trail) -> Result<AsyncSmtpConnection, Trouble> {
        let Server { host, port, security, login, hello } = self;
        let wrapped = match security {
            Security::Wrapped(tls) => Some(tls.clone()),
            Security::Plain | Security::Opportunistic(_) | Security::Required(_) => None,
        };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1((host.as_str(), *port), None, hello, wrapped, None)
                .await
                .map_err(|error| refused(&error, &format!("{host}:{port}")))?;
        trail.say(|| format!("connected to {host}:{port}"));
        match security {
            Security::Opportunistic(tls) if connection.can_starttls() => {
                connection.starttls(tls.clone(), hello).await.map_err(|error| refused(&error, "STARTTLS"))?;
            }
            Security::Required(_) if !connection.can_starttls() => {
                let what = "the server does not offer STARTTLS: use its port for submission (587), or `smtps://`, or allow \
                            `starttls = \"opportunistic\"` on a network that you trust";
                return Err(Trouble::after(what, MEND_TIME));
            }
            Security::Required(tls) => {
                connection.starttls(tls.clone(), hello).await.map_err(|error| refused(&error, "STARTTLS"))?;
            }
            Security::Plain | Security::Opportunistic(_) | Security::Wrapped(_) => {}
        }
        if connection.is_encrypted() {
            trail.say(|| "encrypted by TLS".to_owned());
        }
        if let Some(login) = login {
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(|error| login_refused(&error))?;
            trail.say(|| "logged in".to_owned());
        }
        Ok(connection)
    }
}

async fn transact(
    connection: &mut AsyncSmtpConnection,
    parcel: &Parcel<'_>,
    trail: &mut Trail,
) -> Result<Vec<Fate>, Trouble> {
    let Parcel { from, to, mail } = parcel;
    connection
        .command(Mail::new(Some((*from).clone()), Vec::new()))
        .await
        .map_err(|error| sender_refused(&error))?;
    let mut fates = Vec::new();
    for recipient in *to {
        let fate = match connection.command(Rcpt::new(recipient.clone(), Vec::new())).await {
            Ok(_) => Fate::Taken,
            Err(error) => recipient_refused(&error, recipient)?,
        };
        if let Fate::Later(reason) | Fate::Never(reason) = &fate {
            trail.say(|| reason.clone());
        }
        fates.push(fate);
    }
    if !fates.contains(&Fate::Taken) {
        return Ok(fates);
    }
    connection.command(Data).await.map_err(|error| mail_refused(&error))?;
    let answer = connection.message(mail).await.map_err(|error| mail_refused(&error))?;
    trail.say(|| {
        format!("the server took it: {}", one_line(&answer.message().collect::<Vec<_>>().join(" "), 200))
    });
    Ok(fates)
}

/// Before there is a mail: nothing is lost by waiting.
fn refused(error: &Error, at: &str) -> Trouble {
    let reason = format!("{at}: {}", chain(error));
    if error.is_tls() || reason.contains("certificate") {
        let advice =
            "the server's certificate must be for this name and from a root that this host trusts: see `ca`";
        return Trouble::after(format!("{reason}; {advice}"), MEND_TIME);
    }
    if error.is_permanent() { Trouble::after(reason, MEND_TIME) } else { Trouble::later(reason) }
}

/// The server's own words stay out: some repeat what they were given.
fn login_refused(error: &Error) -> Trouble {
    match code(error) {
        Some(code @ 500..) => {
            let reason = format!("the server refuses the login ({code}): look at `user` and `password`");
            Trouble::after(reason, MEND_TIME)
        }
        Some(code) => Trouble::later(format!("the server does not take the login now ({code})")),
        None if error.is_client() => {
            Trouble::after("the server offers no way to log in that hume knows (PLAIN, LOGIN)", MEND_TIME)
        }
        None => Trouble::later("the connection ended at the login"),
    }
}

/// The sender is the same for all mails, so it is the configuration that is refused.
fn sender_refused(error: &Error) -> Trouble {
    let reason = format!("the sender is refused: {}", chain(error));
    if error.is_permanent() {
        return Trouble::after(format!("{reason}; look at `sender`, `user` and `password`"), MEND_TIME);
    }
    Trouble::later(reason)
}

fn recipient_refused(error: &Error, recipient: &Address) -> Result<Fate, Trouble> {
    let reason = format!("{recipient} is refused: {}", chain(error));
    match code(error) {
        // The server says that it closes the connection.
        Some(421) | None => Err(Trouble::later(reason)),
        Some(code) if CODES_AUTH.contains(&code) => Err(Trouble::after(reason, MEND_TIME)),
        Some(500..) => Ok(Fate::Never(reason)),
        Some(_) => Ok(Fate::Later(reason)),
    }
}

fn mail_refused(error: &Error) -> Trouble {
    let reason = format!("the mail is refused: {}", chain(error));
    match code(error) {
        Some(code) if CODES_AUTH.contains(&code) => Trouble::after(reason, MEND_TIME),
        Some(500..) => Trouble::never(reason),
        Some(_) | None => Trouble::later(reason),
    }
}

fn code(error: &Error) -> Option<u16> {
    error.status().map(u16::from)
}

/// The error and its causes, as one bounded line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    one_line(&text, ANSWER_CHARACTERS_MAX)
}
