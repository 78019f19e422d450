//! Requests to webhooks: one client, bounded in time and in what it reads, and what an answer means for a notice.
//!
//! No redirect is followed, so a peer cannot send hume, with its tokens, to another place. No text that leaves here holds more of an
//! address than its host, nor any of the secrets of the request, not even when the peer repeats them.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use hume_core::Timestamp;
use hume_runtime::clock;
use hume_runtime::secret::SecretText;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, Response, Url, redirect};

use crate::text;
use crate::transfer::{OpenError, Setting, Trail, Trouble};

#[cfg(test)]
pub(crate) mod server;

/// A peer has so long to answer.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(25);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// So much of an answer is read.
const ANSWER_BYTES_MAX: usize = 4096;
/// So much of it is told.
const QUOTE_CHARACTERS_MAX: usize = 200;
/// What is wrong with the whole transfer is tried again so seldom: somebody has to mend it.
const MEND_EVERY: Duration = Duration::from_mins(5);
/// Shorter words are no secrets but parts of any address.
const SECRET_BYTES_MIN: usize = 6;

/// The client of one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client,
    answer_time_max: Duration,
}

/// Where a request goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    url: Url,
    /// Of the address and of what goes with it: never told.
    secrets: Vec<String>,
}

/// One request.
pub(crate) struct Request<'a> {
    pub(crate) target: &'a Target,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What an answer means for the notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The peer has it.
    Taken,
    /// It passes.
    Later(Option<Duration>),
    /// It is the transfer that is wrong, and what to do.
    Mend(&'static str),
    /// This notice will never be taken.
    Never,
}

/// What the answer means. `retry_after` is the header of that name: seconds or a date.
pub(crate) fn judge(status: u16, retry_after: Option<&str>, now: Timestamp) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        300..=399 => Verdict::Mend("redirects are not followed: configure the address that it leads to"),
        400 | 413 | 422 => Verdict::Never,
        401 | 403 => Verdict::Mend("check the token, and whether it may do this"),
        404 | 410 => Verdict::Mend("check the address: the webhook may be revoked, the channel gone"),
        408 | 425 | 429 | 500..=599 => Verdict::Later(retry_after.and_then(|text| pause(text, now))),
        _ => Verdict::Mend("this is no answer to a notice: check address and method"),
    }
}

fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    then.checked_sub(Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or_default()))
}

impl Http {
    /// A client that trusts the system's roots, or with `ca` those in that file alone.
    pub(crate) fn open(
        ca: Option<&Path>,
        setting: &Setting<'_>,
        answer_time_max: Duration,
    ) -> Result<Http, OpenError> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("hume/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX.min(answer_time_max))
            .timeout(answer_time_max);
        if let Some(ca) = ca {
            let path = hume_runtime::config::resolve(setting.config_file, ca);
            let wrong = |reason: String| OpenError::value("ca", format!("{}: {reason}", path.display()));
            let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(chain(&error)))?;
            if roots.is_empty() {
                return Err(wrong("has no certificate in PEM".to_owned()));
            }
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|error| OpenError::value("ca", chain(&error)))?;
        Ok(Http { client, answer_time_max })
    }

    /// Sends it, once.
    pub(crate) async fn send(&self, request: Request<'_>, trail: &mut Trail) -> Result<(), Trouble> {
        let Request { target, method, headers, body } = request;
        trail.say(|| format!("{method} {target}, {} bytes", body.len()));
        let sent = self.client.request(method, target.url.clone()).headers(headers).body(body).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.no_answer(target, error)),
        };
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let verdict = judge(status.as_u16(), retry_after, clock::now());
        // What follows the status does not change it; read in part, so that the connection may be used again.
        let said = target.without_secrets(&read(&mut response).await);
        let said = text::truncate(&text::one_line(&said), QUOTE_CHARACTERS_MAX);
        let answer = match said.as_str() {
            "" => format!("{target} answered {}", status.as_u16()),
            said => format!("{target} answered {}: {said}", status.as_u16()),
        };
        trail.say(|| answer.clone());
        match verdict {
            Verdict::Taken => Ok(()),
            Verdict::Later(after) => Err(Trouble::Later { reason: answer, after }),
            Verdict::Mend(what) => Err(Trouble::after(format!("{answer}; {what}"), MEND_EVERY)),
            Verdict::Never => Err(Trouble::never(answer)),
        }
    }

    fn no_answer(&self, target: &Target, error: reqwest::Error) -> Trouble {
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            return Trouble::later(format!("{target} did not answer in {:?}", self.answer_time_max));
        }
        let reason = target.without_secrets(&chain(&error));
        let reason = format!("{target}: {}", text::truncate(&reason, 2 * QUOTE_CHARACTERS_MAX));
        if reason.contains("certificate") {
            return Trouble::after(format!("{reason}; check its certificate and `ca`"), MEND_EVERY);
        }
        Trouble::later(reason)
    }
}

async fn read(response: &mut Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

impl Target {
    /// An address whose every part but the host may be a secret.
    pub(crate) fn parse(
        key: &'static str,
        secret: &SecretText,
        schemes: &[&str],
    ) -> Result<Target, OpenError> {
        let allowed = schemes.join("://` or `");
        let wrong = || OpenError::value(key, format!("is no address that begins with `{allowed}://`"));
        let url = Url::parse(secret.expose().trim()).map_err(|_| wrong())?;
        if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let mut target = Target { secrets: Vec::new(), url };
        let url = target.url.clone();
        target.hide(secret.expose().trim());
        target.hide(url.as_str());
        target.hide(url.path());
        url.path().split('/').for_each(|part| target.hide(part));
        url.query().into_iter().for_each(|part| target.hide(part));
        url.query_pairs().for_each(|(_, value)| target.hide(&value));
        url.password().into_iter().chain([url.username()]).for_each(|part| target.hide(part));
        Ok(target)
    }

    /// What goes with the request and is never told.
    pub(crate) fn hide(&mut self, secret: &str) {
        if secret.len() >= SECRET_BYTES_MIN && !self.secrets.iter().any(|known| known == secret) {
            self.secrets.push(secret.to_owned());
            // The whole before its parts.
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// Its path, if it has none of its own.
    pub(crate) fn with_path(mut self, path: &str) -> Target {
        if matches!(self.url.path(), "" | "/") {
            self.url.set_path(path);
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &str {
        self.url.path()
    }

    pub(crate) fn without_secrets(&self, said: &str) -> String {
        self.secrets.iter().fold(said.to_owned(), |said, secret| said.replace(secret, "***"))
    }
}

/// `https://hooks.slack.com/***`
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.url.host_str().unwrap_or_default())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str("/***")
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A header whose value is never told.
pub(crate) fn header(
    key: &'static str,
    name: &str,
    value: &str,
) -> Result<(HeaderName, HeaderValue), OpenError> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| OpenError::value(key, format!("`{name}` is no name of a header")))?;
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        OpenError::value(key, format!("the value of `{name}` has characters that no header has"))
    })?;
    value.set_sensitive(true);
    Ok((header, value))
}

#[cfg(test)]
mod tests;
