//! Who asks: the bearer of a token, known by its SHA-256 alone and compared in constant time, or whoever has shown a client
//! certificate that the registry knows. Each has a role and a scope.
//!
//! A token belongs to a request and a certificate to a connection: where there is a token, it alone decides, right or wrong. Every
//! request is judged anew. A refusal gives no hint, and who shows too much that is wrong waits.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hume_core::ErrorClass;
use hume_core::policy::TaskPatterns;
use hume_core::scope::{HostPatterns, Role, Scope};
use hume_proto::web::Refusal;
use hume_runtime::accept::RefusalLog;
use hume_runtime::{clock, tls};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, de};

use super::failures::{Failure, Failures};
use super::{MetricsAccess, WebConfig};
use crate::metrics::{Metrics, Refused};
use crate::registry::{Actor, PassKind, Passes};

const DIGEST_BYTES: usize = 32;

/// One `[[web.token]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who has it; for people.
    pub name: String,
    /// What it is known by.
    pub sha256: TokenDigest,
    /// What it is good for.
    #[serde(default = "admin")]
    pub role: Role,
    /// Only for tasks of these names.
    #[serde(default)]
    pub tasks: Option<TaskPatterns>,
    /// Only for hosts of these names.
    #[serde(default)]
    pub hosts: Option<HostPatterns>,
}

/// As tokens were before there were roles.
fn admin() -> Role {
    Role::Admin
}

/// SHA-256 of a token. Debug does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; DIGEST_BYTES]);

impl TokenDigest {
    /// 64 hexadecimal digits.
    fn parse(text: &str) -> Option<TokenDigest> {
        tls::sha256_of_hex(text).map(TokenDigest)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<TokenDigest, D::Error> {
        let text = String::deserialize(from)?;
        // The value is not repeated: it may be the token itself, put here by mistake.
        TokenDigest::parse(&text).ok_or_else(|| de::Error::custom("`sha256` must have 64 hexadecimal digits"))
    }
}

/// Who asks, as the guard has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// The name of the token or of the certificate.
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    /// A part of every question.
    pub(super) scope: Scope,
}

impl Asker {
    /// # Errors
    /// [`Refusal`] for whoever has a lesser role.
    pub(super) fn needs(&self, role: Role) -> Result<(), Refusal> {
        if self.role >= role {
            return Ok(());
        }
        let (has, needed) = (self.role.as_str(), role.as_str());
        let detail = format!("this takes the role {needed}, and \"{}\" has the role {has}", self.name);
        Err(Refusal::new(ErrorClass::Denied, detail, None))
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    address: IpAddr,
    certificate: Option<Shown>,
}

/// A certificate that the site's CA has signed, and whose key the other end has.
#[derive(Clone, Debug)]
struct Shown {
    sha256: [u8; 32],
    /// Whose it is; none if it is no person's.
    person: Option<Arc<str>>,
}

impl Peer {
    /// Who is at this address and has shown these certificates, its own first.
    pub(super) fn new(address: IpAddr, certificates: &[CertificateDer<'_>]) -> Peer {
        let certificate = certificates.first().map(|own| Shown {
            sha256: tls::sha256(own),
            person: tls::person_of(own).ok().map(|(_, name)| name.into()),
        });
        Peer { address, certificate }
    }
}

/// Who may ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    /// None: whoever can open the socket.
    keys: Option<Arc<Keys>>,
    access: MetricsAccess,
    metrics: Metrics,
}

/// What is let in over the network.
#[derive(Debug)]
struct Keys {
    configured: Vec<TokenConfig>,
    /// Made by `humeconfig api-token`: nobody can guess one.
    made: Passes,
    failures: Failures,
    /// Addresses that asked without a token.
    tokenless: Mutex<RefusalLog<IpAddr>>,
}

/// Why somebody is not let in. Which token was close, has ended or never was is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotAdmitted {
    Nothing,
    Wrong(PassKind, Failure),
    TooMany(PassKind),
}

impl Guard {
    /// For the network: a token or a certificate is needed.
    pub fn of_network(config: &WebConfig, made: Passes, metrics: Metrics) -> Guard {
        let (failures, tokenless) = (Failures::default(), Mutex::default());
        let keys = Keys { configured: config.token.clone(), made, failures, tokenless };
        Guard { keys: Some(Arc::new(keys)), access: config.metrics, metrics }
    }

    /// For a socket whose file mode says who may ask.
    pub fn of_socket(metrics: Metrics) -> Guard {
        Guard { keys: None, access: MetricsAccess::Open, metrics }
    }

    /// Who may read the figures.
    pub(super) fn metrics(&self) -> MetricsAccess {
        self.access
    }

    fn admit(&self, headers: &HeaderMap, peer: &Peer, now: Instant) -> Result<Asker, NotAdmitted> {
        let Some(keys) = &self.keys else {
            return Ok(Asker { name: "local".into(), role: Role::Admin, scope: Scope::default() });
        };
        let (kind, sha256) = match (headers.get(AUTHORIZATION), &peer.certificate) {
            (Some(token), _) => {
                (PassKind::Token, Some(tls::sha256(bearer(token).ok_or(NotAdmitted::Nothing)?)))
            }
            (None, Some(Shown { sha256, person })) => {
                (PassKind::Certificate, person.is_some().then_some(*sha256))
            }
            (None, None) => return Err(NotAdmitted::Nothing),
        };
        // Whoever has one of these has not guessed it, whatever others at his address do.
        let made = sha256.and_then(|sha256| keys.made.find(kind, &sha256, clock::now()));
        if let Some(made) = made {
            return Ok(Asker { name: made.name.into(), role: made.role, scope: made.scope });
        }
        if keys.failures.is_over(peer.address, now) {
            return Err(NotAdmitted::TooMany(kind));
        }
        let configured = match kind {
            PassKind::Token => sha256.and_then(|sha256| keys.find(&sha256)),
            PassKind::Certificate => None,
        };
        configured.ok_or_else(|| NotAdmitted::Wrong(kind, keys.failures.count(peer.address, now)))
    }

    /// Counts a refusal; logs and audits what is not a repetition.
    fn tell(&self, why: NotAdmitted, peer: &Peer, now: Instant) {
        let (kind, failure) = match why {
            NotAdmitted::Wrong(kind, failure) => (kind, failure),
            NotAdmitted::TooMany(kind) => (kind, Failure::Another),
            NotAdmitted::Nothing => {
                self.metrics.refused(Refused::Token);
                return self.tell_tokenless(peer.address, now);
            }
        };
        self.metrics.refused(match kind {
            PassKind::Token => Refused::Token,
            PassKind::Certificate => Refused::Certificate,
        });
        let outcome = match (failure, kind) {
            (Failure::First, PassKind::Token) => "a wrong token was shown",
            (Failure::First, PassKind::Certificate) => "a certificate was shown that is not good here",
            (Failure::Last, _) => {
                "too many wrong tokens or certificates: none of this address is compared for a minute"
            }
            (Failure::Another, _) => return,
        };
        let certificate = peer.certificate.as_ref().filter(|_| kind == PassKind::Certificate);
        let person =
            certificate.map(|shown| shown.person.as_deref().unwrap_or("not a person's")).unwrap_or_default();
        let address = peer.address;
        if let Some(Shown { sha256, .. }) = certificate {
            tracing::warn!(peer = %address, person, fingerprint = tls::hex(sha256), "{outcome}");
        } else {
            tracing::warn!(peer = %address, "{outcome}");
        }
        if let Some(keys) = &self.keys
            && keys.failures.may_audit(now)
        {
            let actor = Actor { name: "a stranger".to_owned(), address: address.to_string() };
            keys.made.note_refusal(actor, person.to_owned(), outcome, clock::now());
        }
    }

    /// Whoever asks without a token changes nothing and guesses nothing: a line a minute.
    fn tell_tokenless(&self, peer: IpAddr, now: Instant) {
        let Some(keys) = &self.keys else { return };
        let is_news = keys.tokenless.lock().unwrap_or_else(PoisonError::into_inner).admit(peer, now);
        if let Some(left_out) = is_news {
            tracing::warn!(%peer, left_out, "a question came without a token");
        }
    }
}

impl Keys {
    fn find(&self, shown: &[u8]) -> Option<Asker> {
        // All are compared, so that the time does not tell which one was close.
        let matching = |one: &&TokenConfig| verify_slices_are_equal(&one.sha256.0, shown).is_ok();
        let found: Vec<&TokenConfig> = self.configured.iter().filter(matching).collect();
        found.first().map(|TokenConfig { name, sha256: _, role, tasks, hosts }| Asker {
            name: name.as_str().into(),
            role: *role,
            scope: Scope { tasks: tasks.clone(), hosts: hosts.clone() },
        })
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Lets requests through that the guard admits, and says who asks.
pub(super) async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.unwrap_or(Peer { address: IpAddr::from([0; 4]), certificate: None });
    let why = match guard.admit(request.headers(), &peer, Instant::now()) {
        Ok(asker) => {
            request.extensions_mut().insert(asker);
            return next.run(request).await;
        }
        Err(why) => why,
    };
    guard.tell(why, &peer, Instant::now());
    if matches!(why, NotAdmitted::TooMany(_)) {
        let detail = "too many wrong tokens or certificates: try again in a minute";
        let mut response = Refusal::new(ErrorClass::Busy, detail, None).into_response();
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        return response;
    }
    let detail = "a valid token is needed, or a certificate";
    let mut response = Refusal::new(ErrorClass::Unauthenticated, detail, None).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::Timestamp;
    use std::net::Ipv4Addr;
    use std::path::Path;
    use std::time::Duration;

    const PEER: Peer = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None };

    fn guard(token: &str) -> Guard {
        let sha256 = TokenDigest::parse(&tls::sha256_hex(token.as_bytes())).unwrap();
        let token =
            TokenConfig { name: "ops".to_owned(), sha256, role: Role::Viewer, tasks: None, hosts: None };
        let config = WebConfig { token: vec![token], ..WebConfig::default() };
        Guard::of_network(&config, Passes::default(), Metrics::new(Timestamp::EPOCH))
    }

    fn admit(guard: &Guard, header: &str) -> Result<Asker, NotAdmitted> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(header).unwrap())]);
        guard.admit(&headers, &PEER, Instant::now())
    }

    #[test]
    fn only_the_whole_token_after_the_scheme_is_let_in() {
        let guard = guard("hume_secret");
        assert_eq!(admit(&guard, "Bearer hume_secret").unwrap().role, Role::Viewer);
        assert!(admit(&guard, "bearer hume_secret").is_ok());
        for wrong in ["Bearer hume_secre", "Bearer hume_secret "] {
            assert!(matches!(admit(&guard, wrong), Err(NotAdmitted::Wrong(PassKind::Token, _))), "{wrong:?}");
        }
        for none in ["Bearer ", "Basic hume_secret", "hume_secret", ""] {
            assert_eq!(admit(&guard, none), Err(NotAdmitted::Nothing), "{none:?}");
        }
        assert!(guard.admit(&HeaderMap::new(), &PEER, Instant::now()).is_err());
    }

    #[test]
    fn without_tokens_nobody_is_let_in_and_on_the_socket_everybody() {
        let nobody =
            Guard::of_network(&WebConfig::default(), Passes::default(), Metrics::new(Timestamp::EPOCH));
        assert!(admit(&nobody, "Bearer x").is_err());
        let local = Guard::of_socket(Metrics::new(Timestamp::EPOCH));
        assert_eq!(local.admit(&HeaderMap::new(), &PEER, Instant::now()).unwrap().role, Role::Admin);
    }

    #[test]
    fn who_shows_too_many_wrong_tokens_waits_even_with_the_right_one() {
        let guard = guard("hume_secret");
        while admit(&guard, "Bearer wrong") != Err(NotAdmitted::TooMany(PassKind::Token)) {}
        assert_eq!(admit(&guard, "Bearer hume_secret"), Err(NotAdmitted::TooMany(PassKind::Token)));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer hume_secret"))]);
        let elsewhere = Peer { address: IpAddr::from([192, 0, 2, 1]), ..PEER };
        let later = Instant::now() + Duration::from_mins(1);
        assert!(guard.admit(&headers, &elsewhere, Instant::now()).is_ok());
        assert!(guard.admit(&headers, &PEER, later).is_ok());
    }

    #[test]
    fn a_certificate_that_the_registry_does_not_know_opens_nothing_and_a_token_beside_one_decides_alone() {
        let guard = guard("hume_secret");
        for person in [Some("ana".into()), None] {
            let certificate = Some(Shown { sha256: tls::sha256(b"hume_secret"), person });
            let peer = Peer { certificate, ..PEER };
            let with = |header: &'static str| {
                let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
                guard.admit(&headers, &peer, Instant::now())
            };
            // Its SHA-256 is that of a token, and still it is none.
            let alone = guard.admit(&HeaderMap::new(), &peer, Instant::now());
            assert!(matches!(alone, Err(NotAdmitted::Wrong(PassKind::Certificate, _))));
            assert!(with("Bearer hume_secret").is_ok());
            assert!(matches!(with("Bearer wrong"), Err(NotAdmitted::Wrong(PassKind::Token, _))));
            assert_eq!(with("Basic hume_secret"), Err(NotAdmitted::Nothing));
        }
    }

    #[test]
    fn a_token_of_the_configuration_is_an_administrators_unless_it_says_otherwise() {
        let sha256 = "0".repeat(64);
        let read = |more: &str| {
            hume_runtime::config::parse::<TokenConfig>(
                Path::new("m.toml"),
                &format!("name = \"x\"\nsha256 = \"{sha256}\"\n{more}"),
            )
        };
        assert_eq!(read("").unwrap().role, Role::Admin);
        let viewer = read("role = \"viewer\"\ntasks = [\"BACKUP*\"]\nhosts = [\"web?\"]").unwrap();
        assert!(viewer.role == Role::Viewer && viewer.tasks.is_some() && viewer.hosts.is_some());
        for wrong in ["role = \"root\"", "hosts = []", "hosts = [\"a b\"]", "tasks = \"X\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
