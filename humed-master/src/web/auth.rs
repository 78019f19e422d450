//! Bearer tokens: known by their SHA-256 alone, compared in constant time, with a role and a scope. A refusal gives no hint, and who
//! shows too many wrong ones waits.

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
use serde::{Deserialize, Deserializer, de};

use super::failures::{Failure, Failures};
use super::{MetricsAccess, WebConfig};
use crate::metrics::{Metrics, Refused};
use crate::registry::{Actor, Passes};

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
    /// The name of the token.
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
        let detail =
            format!("the token is that of {has} \"{}\", and this takes the role {needed}", self.name);
        Err(Refusal::new(ErrorClass::Denied, detail, None))
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

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
    NoToken,
    Wrong(Failure),
    TooMany,
}

impl Guard {
    /// For the network: a token is needed.
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

    fn admit(&self, headers: &HeaderMap, peer: IpAddr, now: Instant) -> Result<Asker, NotAdmitted> {
        let Some(keys) = &self.keys else {
            return Ok(Asker { name: "local".into(), role: Role::Admin, scope: Scope::default() });
        };
        let token = headers.get(AUTHORIZATION).and_then(bearer).ok_or(NotAdmitted::NoToken)?;
        let shown = tls::sha256(token);
        // Whoever has one of these has not guessed it, whatever others at his address do.
        if let Some(made) = keys.made.find(&shown, clock::now()) {
            return Ok(Asker { name: made.name.into(), role: made.role, scope: made.scope });
        }
        if keys.failures.is_over(peer, now) {
            return Err(NotAdmitted::TooMany);
        }
        keys.find(&shown).ok_or_else(|| NotAdmitted::Wrong(keys.failures.count(peer, now)))
    }

    /// Logs and audits what is not a repetition.
    fn tell(&self, why: NotAdmitted, peer: IpAddr, now: Instant) {
        let outcome = match why {
            NotAdmitted::Wrong(Failure::First) => "a wrong token was shown",
            NotAdmitted::Wrong(Failure::Last) => {
                "too many wrong tokens: none of this address is compared for a minute"
            }
            NotAdmitted::NoToken => return self.tell_tokenless(peer, now),
            NotAdmitted::Wrong(Failure::Another) | NotAdmitted::TooMany => return,
        };
        tracing::warn!(%peer, "{outcome}");
        if let Some(keys) = &self.keys
            && keys.failures.may_audit(now)
        {
            let actor = Actor { name: "a stranger".to_owned(), address: peer.to_string() };
            keys.made.note_refusal(actor, outcome, clock::now());
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
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0; 4]), |Peer(address)| *address);
    let why = match guard.admit(request.headers(), peer, Instant::now()) {
        Ok(asker) => {
            request.extensions_mut().insert(asker);
            return next.run(request).await;
        }
        Err(why) => why,
    };
    guard.metrics.refused(Refused::Token);
    guard.tell(why, peer, Instant::now());
    if why == NotAdmitted::TooMany {
        let refusal = Refusal::new(ErrorClass::Busy, "too many wrong tokens: try again in a minute", None);
        let mut response = refusal.into_response();
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        return response;
    }
    let refusal = Refusal::new(ErrorClass::Unauthenticated, "a valid token is needed", None);
    let mut response = refusal.into_response();
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

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn guard(token: &str) -> Guard {
        let sha256 = TokenDigest::parse(&tls::sha256_hex(token.as_bytes())).unwrap();
        let token =
            TokenConfig { name: "ops".to_owned(), sha256, role: Role::Viewer, tasks: None, hosts: None };
        let config = WebConfig { token: vec![token], ..WebConfig::default() };
        Guard::of_network(&config, Passes::default(), Metrics::new(Timestamp::EPOCH))
    }

    fn admit(guard: &Guard, header: &str) -> Result<Asker, NotAdmitted> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(header).unwrap())]);
        guard.admit(&headers, PEER, Instant::now())
    }

    #[test]
    fn only_the_whole_token_after_the_scheme_is_let_in() {
        let guard = guard("hume_secret");
        assert_eq!(admit(&guard, "Bearer hume_secret").unwrap().role, Role::Viewer);
        assert!(admit(&guard, "bearer hume_secret").is_ok());
        for wrong in ["Bearer hume_secre", "Bearer hume_secret "] {
            assert!(matches!(admit(&guard, wrong), Err(NotAdmitted::Wrong(_))), "{wrong:?}");
        }
        for none in ["Bearer ", "Basic hume_secret", "hume_secret", ""] {
            assert_eq!(admit(&guard, none), Err(NotAdmitted::NoToken), "{none:?}");
        }
        assert!(guard.admit(&HeaderMap::new(), PEER, Instant::now()).is_err());
    }

    #[test]
    fn without_tokens_nobody_is_let_in_and_on_the_socket_everybody() {
        let nobody =
            Guard::of_network(&WebConfig::default(), Passes::default(), Metrics::new(Timestamp::EPOCH));
        assert!(admit(&nobody, "Bearer x").is_err());
        let local = Guard::of_socket(Metrics::new(Timestamp::EPOCH));
        assert_eq!(local.admit(&HeaderMap::new(), PEER, Instant::now()).unwrap().role, Role::Admin);
    }

    #[test]
    fn who_shows_too_many_wrong_tokens_waits_even_with_the_right_one() {
        let guard = guard("hume_secret");
        while admit(&guard, "Bearer wrong") != Err(NotAdmitted::TooMany) {}
        assert_eq!(admit(&guard, "Bearer hume_secret"), Err(NotAdmitted::TooMany));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer hume_secret"))]);
        let (elsewhere, later) = (IpAddr::from([192, 0, 2, 1]), Instant::now() + Duration::from_mins(1));
        assert!(guard.admit(&headers, elsewhere, Instant::now()).is_ok());
        assert!(guard.admit(&headers, PEER, later).is_ok());
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
