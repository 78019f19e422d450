//! One question over HTTP, one answer or an error that says what to do.
//!
//! Bounds: `--timeout` for connecting and for the whole of an answer, [`ANSWER_BYTES_MAX`] for its size, no redirects.
//! What is shown of us leaves only towards the place it was given for, and never in the clear beyond this machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hume_core::ErrorClass;
use hume_proto::rest::Problem;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::papers::{self, Paper, Shown};
use crate::whom::{self, Place, Proof, Whom};

/// Largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no answer. [`ClientError::advice`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file that the flags name cannot be read.
    #[error("could not read the {what} {path}", path = path.display())]
    Read {
        /// What it should be.
        what: Paper,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that the flags name holds something else.
    #[error("the {what} {path} {reason}", path = path.display())]
    Content {
        /// What it should be.
        what: Paper,
        /// The file.
        path: PathBuf,
        /// What is wrong; continues the sentence.
        reason: String,
    },
    /// The client could not be set up.
    #[error("could not prepare the question to {place}")]
    Setup {
        /// Who was to be asked.
        place: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody could be reached, or the connection broke.
    #[error("could not ask {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
        /// What to do about it.
        advice: Option<String>,
    },
    /// The connection broke in the middle: what the layers below call that says no more.
    #[error("could not ask {url}: the connection broke off")]
    BrokeOff {
        /// What was asked.
        url: String,
        /// What was shown.
        shown: Shown,
    },
    /// It took too long.
    #[error("no answer from {url} within {limit:?}")]
    Timeout {
        /// What was asked.
        url: String,
        /// `--timeout`.
        limit: Duration,
    },
    /// The daemon refused, in the words of problem+json.
    #[error(
        "{url} refused ({status}): {detail}{}",
        field.as_ref().map(|field| format!(" (parameter {field})")).unwrap_or_default()
    )]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// Its class.
        class: ErrorClass,
        /// What happened.
        detail: String,
        /// Which parameter was wrong.
        field: Option<String>,
        /// What was shown.
        shown: Shown,
    },
    /// Somebody else answered.
    #[error("{url} did not answer as hume does: {what}")]
    Foreign {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What came instead.
        what: String,
    },
    /// The answer is not the JSON that was asked for.
    #[error("{url} answered with something that is no answer to the question")]
    Garbage {
        /// What was asked.
        url: String,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The answer is larger than [`ANSWER_BYTES_MAX`].
    #[error("{url} answered with more than {} MiB", ANSWER_BYTES_MAX / (1024 * 1024))]
    TooLarge {
        /// What was asked.
        url: String,
    },
    /// The pages do not follow on each other.
    #[error("{url} answered with pages that do not fit together: {what}")]
    Pages {
        /// What was asked.
        url: String,
        /// How.
        what: &'static str,
    },
}

impl ClientError {
    /// True for what may be otherwise in a while, without anybody doing something here.
    pub fn may_pass(&self) -> bool {
        match self {
            ClientError::Unreachable { source, .. } => !matches!(
                causes(source).1,
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
            ),
            ClientError::Timeout { .. } | ClientError::BrokeOff { .. } => true,
            ClientError::Refused { class, .. } => match class {
                ErrorClass::Full | ErrorClass::Busy | ErrorClass::Unavailable | ErrorClass::Internal => true,
                ErrorClass::Invalid
                | ErrorClass::Unauthenticated
                | ErrorClass::Denied
                | ErrorClass::NotFound
                | ErrorClass::Conflict => false,
            },
            // Somebody between: what stands there says that the other end is away.
            ClientError::Foreign { status, .. } => *status >= 500,
            ClientError::Read { .. }
            | ClientError::Content { .. }
            | ClientError::Setup { .. }
            | ClientError::Garbage { .. }
            | ClientError::TooLarge { .. }
            | ClientError::Pages { .. } => false,
        }
    }

    /// What to do about it, where that is known; continues the message after a semicolon.
    pub fn advice(&self) -> Option<String> {
        match self {
            ClientError::Read { what, .. } | ClientError::Content { what, .. } => {
                Some(what.advice().to_owned())
            }
            ClientError::Setup { .. } => Some("name the master's CA with --ca FILE".to_owned()),
            ClientError::Unreachable { advice, .. } => advice.clone(),
            ClientError::Timeout { .. } => Some("raise --timeout, or ask for less".to_owned()),
            ClientError::Refused { class: ErrorClass::Unauthenticated, shown, .. } => Some(
                match shown {
                    Shown::Token => "the token is not known there: check --token-file",
                    Shown::Certificate => {
                        "the certificate is not good there, or not any more: check --certificate, or ask for another one"
                    }
                    Shown::Nothing => {
                        "name the file with the token with --token-file (or HUMEQUERY_TOKEN_FILE), or a certificate with --certificate and --key"
                    }
                }
                .to_owned(),
            ),
            ClientError::BrokeOff { shown: Shown::Certificate, .. } => {
                Some("perhaps the certificate is not good there: check --certificate".to_owned())
            }
            ClientError::Refused { class: ErrorClass::Conflict, .. } => {
                Some("what came in between is not known: begin anew".to_owned())
            }
            ClientError::Refused { .. } | ClientError::BrokeOff { .. } | ClientError::Pages { .. } => None,
            ClientError::Foreign { .. } => Some(
                "is it the web address of a humed-master (port 4864), or a daemon's api.sock?".to_owned(),
            ),
            ClientError::Garbage { .. } => Some("do both ends have the same version of hume?".to_owned()),
            ClientError::TooLarge { .. } => Some("ask for less: --limit, --since, or --run".to_owned()),
        }
    }
}

/// Asks one place.
pub struct Client {
    http: reqwest::Client,
    place: Place,
    timeout: Duration,
    with_ca: bool,
    shown: Shown,
}

/// A client, and what the user should hear about its papers.
pub struct Opened {
    /// The client.
    pub client: Client,
    /// A warning, such as a token that everybody can read.
    pub warning: Option<String>,
}

impl Client {
    /// Reads CA and token. Connects to nobody yet.
    ///
    /// # Errors
    /// [`ClientError::Read`], [`ClientError::Content`] or [`ClientError::Setup`].
    pub fn open(whom: Whom, timeout: Duration) -> Result<Opened, ClientError> {
        let Whom { place, ca, proof, found: _ } = whom;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (mut warning, mut identity) = (None, None);
        let shown = match &proof {
            Proof::Nothing => Shown::Nothing,
            Proof::Token(path) => {
                let token = papers::read_token(path)?;
                warning = token.warning;
                headers.insert(AUTHORIZATION, token.bearer);
                Shown::Token
            }
            Proof::Certificate { certificate, key } => {
                identity = Some(papers::read_identity(certificate, key)?);
                Shown::Certificate
            }
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("humequery/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .http1_only();
        builder = match (&place, &ca) {
            // Without TLS no CA is loaded: the machine may have none.
            (Place::Socket(path), _) => builder.tls_certs_only([]).no_proxy().unix_socket(path.as_path()),
            (Place::Web(url), _) if url.scheme() == "http" => builder.tls_certs_only([]),
            (Place::Web(_), Some(ca)) => builder.tls_certs_only(papers::read_ca(ca)?),
            (Place::Web(_), None) => builder,
        };
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        // What is on this machine is not behind a proxy, whatever the environment says.
        if let Place::Web(url) = &place
            && whom::is_loopback(url)
        {
            builder = builder.no_proxy();
        }
        let http =
            builder.build().map_err(|source| ClientError::Setup { place: place.to_string(), source })?;
        let client = Client { http, place, timeout, with_ca: ca.is_some(), shown };
        Ok(Opened { client, warning })
    }

    /// Asks `/api/v1/<what>` with these parameters.
    ///
    /// # Errors
    /// [`ClientError`], with the URL that was asked.
    pub async fn get<Q, A>(&self, what: &'static str, query: &Q) -> Result<A, ClientError>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        self.get_within(what, query, Duration::ZERO).await
    }

    /// The same for an answer that may be so much longer in coming.
    ///
    /// # Errors
    /// [`ClientError`], with the URL that was asked.
    pub async fn get_within<Q, A>(
        &self,
        what: &'static str,
        query: &Q,
        longer: Duration,
    ) -> Result<A, ClientError>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        let url = self.name(what);
        let target = match &self.place {
            // Over a socket the host of the URL is only a header.
            Place::Socket(_) => format!("http://localhost/api/v1/{what}"),
            Place::Web(base) => format!("{base}api/v1/{what}"),
        };
        let limit = self.timeout.saturating_add(longer);
        let request = self.http.get(target).query(query).timeout(limit);
        let response = request.send().await.map_err(|error| self.broken(&url, error, limit))?;
        let status = response.status();
        let is_json = has_json(&response);
        let moved = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let body = self.body(&url, response, limit).await?;
        if status == StatusCode::OK && is_json {
            return serde_json::from_slice(&body).map_err(|source| ClientError::Garbage { url, source });
        }
        Err(self.refused(url, status, moved.as_deref(), &body))
    }

    /// What an error calls the thing that was asked.
    pub fn name(&self, what: &str) -> String {
        match &self.place {
            Place::Socket(path) => format!("unix:{} /api/v1/{what}", path.display()),
            Place::Web(base) => format!("{base}api/v1/{what}"),
        }
    }

    async fn body(&self, url: &str, mut response: Response, limit: Duration) -> Result<Vec<u8>, ClientError> {
        let too_large = || ClientError::TooLarge { url: url.to_owned() };
        if response.content_length().is_some_and(|bytes| bytes > ANSWER_BYTES_MAX as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(url, error, limit))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn broken(&self, url: &str, error: reqwest::Error, limit: Duration) -> ClientError {
        let url = url.to_owned();
        if error.is_timeout() {
            return ClientError::Timeout { url, limit };
        }
        let source = error.without_url();
        if let (Some(kind), None) = causes(&source)
            && broke_off(kind)
        {
            return ClientError::BrokeOff { url, shown: self.shown };
        }
        let advice = advice(&self.place, &source, self.with_ca);
        ClientError::Unreachable { url, source, advice }
    }

    fn refused(&self, url: String, status: StatusCode, moved: Option<&str>, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => ClientError::Refused {
                url,
                status: status.as_u16(),
                class: problem.class(),
                detail: problem.detail,
                field: problem.field,
                shown: self.shown,
            },
            Err(_) => ClientError::Foreign {
                url,
                status: status.as_u16(),
                what: match moved {
                    Some(to) if status.is_redirection() => format!("status {status}, it moved to {to}"),
                    _ => format!("status {status} and no JSON"),
                },
            },
        }
    }
}

fn has_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// What to do about a connection that failed.
fn advice(place: &Place, error: &reqwest::Error, with_ca: bool) -> Option<String> {
    let (io_kind, tls) = causes(error);
    if let Some(tls) = tls {
        return tls_advice(tls, with_ca).map(str::to_owned);
    }
    let advice = match (place, io_kind?) {
        (Place::Socket(_), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            "is the daemon of this socket running?"
        }
        (Place::Socket(_), io::ErrorKind::PermissionDenied) => "is this user in the group hume?",
        (Place::Web(_), io::ErrorKind::ConnectionRefused) => {
            "is humed-master running there? Its web port is 4864 unless configured otherwise"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// The kind of the I/O error and the TLS error in the chain of causes.
fn causes(error: &reqwest::Error) -> (Option<io::ErrorKind>, Option<&rustls::Error>) {
    let mut io_kind = None;
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return (io_kind, Some(tls));
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            io_kind = Some(error.kind());
            if let Some(tls) = wrapped_tls(error) {
                return (io_kind, Some(tls));
            }
        }
        next = cause.source();
    }
    (io_kind, None)
}

/// True for a peer that went away without a word.
fn broke_off(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(kind, Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe)
}

/// The TLS error in an I/O error, however often it was wrapped: an I/O error names the cause of what it wraps as its own.
fn wrapped_tls(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<rustls::Error>().or_else(|| wrapped_tls(inner.downcast_ref::<io::Error>()?))
}

fn tls_advice(error: &rustls::Error, with_ca: bool) -> Option<&'static str> {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            // A CA of the same name but another key shows as a bad signature.
            Bad::UnknownIssuer | Bad::BadSignature => Some(if with_ca {
                "its certificate is of another CA: check --ca"
            } else {
                "name the CA of this master with --ca FILE"
            }),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                Some("ask it by a name that its certificate has")
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                Some("its certificate has expired, or the clock here is wrong")
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                Some("its certificate is not valid yet, or the clock here is wrong")
            }
            _ => None,
        },
        rustls::Error::AlertReceived(alert) => alert_advice(*alert),
        rustls::Error::InvalidMessage(_) => {
            Some("that port does not speak TLS; the web port of a master is 4864")
        }
        _ => None,
    }
}

/// What the other end did not like; it is our certificate that it judges.
fn alert_advice(alert: rustls::AlertDescription) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::CertificateExpired => Some("the certificate of --certificate has ended: ask for another one"),
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::DecryptError => {
            Some("it does not take the certificate of --certificate: is it one of this master's site?")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_for_a_foreign_ca_depends_on_whether_one_was_named() {
        for bad in [rustls::CertificateError::UnknownIssuer, rustls::CertificateError::BadSignature] {
            let error = rustls::Error::InvalidCertificate(bad);
            assert!(tls_advice(&error, true).unwrap().contains("check --ca"));
            assert!(tls_advice(&error, false).unwrap().contains("--ca FILE"));
        }
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert!(tls_advice(&expired, true).unwrap().contains("expired"));
    }
}
