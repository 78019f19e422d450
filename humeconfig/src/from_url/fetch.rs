//! The request to a server of configurations, and its answer: no redirects, bounded in size and time.

use std::io;
use std::time::Duration;

use hume_runtime::config::CONFIG_BYTES_MAX;
use hume_runtime::secret::SecretText;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Url, redirect};

use super::host::{Droplet, Metadata};
use super::{FromUrlArgs, FromUrlError, accepted, pin};
use crate::change::Daemon;

/// For the connection, and for all of the answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The service of a droplet is on its own host: it answers at once or not at all.
const METADATA_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest answer: a configuration may have as many.
const ANSWER_BYTES_MAX: usize = CONFIG_BYTES_MAX as usize;

/// The text of the answer.
pub(super) fn configuration(
    args: &FromUrlArgs,
    url: &SecretText,
    daemon: Daemon,
) -> Result<String, FromUrlError> {
    let url = Url::parse(url.expose()).map_err(|_| FromUrlError::Url)?;
    let is_encrypted = url.scheme() == "https";
    if url.host().is_none() || !(is_encrypted || url.scheme() == "http" && args.insecure_http) {
        return Err(FromUrlError::Url);
    }
    if !is_encrypted && !args.pin.is_empty() {
        return Err(FromUrlError::PinWithoutTls);
    }
    let client = client(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(FromUrlError::Setup)?.block_on(async {
        let droplet = if args.digitalocean { Some(droplet(&args.metadata_url).await?) } else { None };
        let said = serde_json::to_vec(&Metadata::gather(daemon, droplet))
            .map_err(|error| FromUrlError::Setup(io::Error::other(error)))?;
        let request = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/toml, text/plain")
            .body(said);
        let body = ask(request, &shown(&url)).await?;
        accepted(&shown(&url), body, is_encrypted)
    })
}

fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("humeconfig/", env!("CARGO_PKG_VERSION")))
}

fn client(args: &FromUrlArgs) -> Result<Client, FromUrlError> {
    let mut builder = builder().connect_timeout(CONNECT_TIME_MAX).timeout(ANSWER_TIME_MAX);
    if !args.pin.is_empty() {
        let tls = pin::client(&args.pin).map_err(|error| FromUrlError::Setup(io::Error::other(error)))?;
        builder = builder.tls_backend_preconfigured(tls);
    }
    if let Some(path) = &args.ca {
        let wrong = |reason: String| FromUrlError::Ca { path: path.clone(), reason };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        if roots.is_empty() {
            return Err(wrong("it has no certificate in PEM".to_owned()));
        }
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(|error| FromUrlError::Setup(io::Error::other(error)))
}

/// Which droplet this is; never through a proxy.
async fn droplet(url: &str) -> Result<Droplet, FromUrlError> {
    let boxed = |error| FromUrlError::Metadata(Box::new(error));
    let url = Url::parse(url).map_err(|_| boxed(FromUrlError::Url))?;
    let client = builder()
        .no_proxy()
        .timeout(METADATA_TIME_MAX)
        .build()
        .map_err(|error| FromUrlError::Setup(io::Error::other(error)))?;
    let body = ask(client.get(url.clone()), &shown(&url)).await.map_err(boxed)?;
    let unread = |_| boxed(FromUrlError::Answer { server: shown(&url), what: "no droplet_id".to_owned() });
    serde_json::from_slice(&body).map_err(unread)
}

async fn ask(request: RequestBuilder, server: &str) -> Result<Vec<u8>, FromUrlError> {
    // The rest of a URL may be a secret.
    let unreachable = |source: reqwest::Error| FromUrlError::Unreachable {
        server: server.to_owned(),
        source: source.without_url(),
    };
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if status.as_u16() != 200 {
        let more = match status.as_u16() {
            300..=399 => ": redirects are not followed, give the URL that it leads to",
            401 | 403 => ": it does not give this host a configuration",
            _ => "",
        };
        return Err(FromUrlError::Status { server: server.to_owned(), status: status.as_u16(), more });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(FromUrlError::TooLarge { server: server.to_owned(), bytes_max: ANSWER_BYTES_MAX });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A URL without what may be a secret in it: user, password, path and query.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_server_is_shown() {
        let url = Url::parse("https://user:hunter2@conf.example.org:8443/hunter2?token=hunter2").unwrap();
        assert_eq!(shown(&url), "https://conf.example.org:8443");
    }

    #[test]
    fn without_a_word_only_https_is_asked() {
        for (url, insecure_http, pins) in [
            ("http://127.0.0.1:1/", false, 0),
            ("ftp://127.0.0.1:1/", true, 0),
            ("file:///etc/passwd", true, 0),
            ("nonsense", true, 0),
            ("http://127.0.0.1:1/", true, 1),
        ] {
            let pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
            let args = FromUrlArgs { insecure_http, pin: vec![pin; pins], ..FromUrlArgs::default() };
            let error = configuration(&args, &SecretText::new(url), Daemon::Agent).unwrap_err();
            assert!(matches!(error, FromUrlError::Url | FromUrlError::PinWithoutTls), "{url}: {error}");
        }
    }
}
