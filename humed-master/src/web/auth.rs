//! Bearer tokens: known by their SHA-256 alone, compared in constant time. A refusal gives no hint.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hume_core::ErrorClass;
use hume_proto::web::Refusal;
use serde::{Deserialize, Deserializer, de};

use super::{MetricsAccess, WebConfig};
use crate::metrics::{Metrics, Refused};

const DIGEST_BYTES: usize = 32;

/// One `[[web.token]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who has it; for people.
    pub name: String,
    /// What it is known by.
    pub sha256: TokenDigest,
}

/// SHA-256 of a token. Debug does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; DIGEST_BYTES]);

impl TokenDigest {
    /// 64 hexadecimal digits.
    fn parse(text: &str) -> Option<TokenDigest> {
        let digits = text.as_bytes();
        if digits.len() != 2 * DIGEST_BYTES {
            return None;
        }
        let mut bytes = [0; DIGEST_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(TokenDigest(bytes))
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

/// Who may ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    /// None: whoever can open the socket.
    tokens: Option<Arc<[TokenConfig]>>,
    access: MetricsAccess,
    metrics: Metrics,
}

impl Guard {
    /// For the network: a token is needed.
    pub fn with_tokens(config: &WebConfig, metrics: Metrics) -> Guard {
        Guard { tokens: Some(config.token.clone().into()), access: config.metrics, metrics }
    }

    /// For a socket whose file mode says who may ask.
    pub fn of_socket(metrics: Metrics) -> Guard {
        Guard { tokens: None, access: MetricsAccess::Open, metrics }
    }

    /// Who may read the figures.
    pub(super) fn metrics(&self) -> MetricsAccess {
        self.access
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(tokens) = &self.tokens else { return true };
        let Some(token) = headers.get(AUTHORIZATION).and_then(bearer) else { return false };
        let shown = digest(&SHA256, token);
        // All are compared, so that the time does not tell which one was close.
        let matching = |one: &&TokenConfig| verify_slices_are_equal(&one.sha256.0, shown.as_ref()).is_ok();
        tokens.iter().filter(matching).count() > 0
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Lets requests through that the guard admits.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers()) {
        return next.run(request).await;
    }
    guard.metrics.refused(Refused::Token);
    let refusal = Refusal::new(ErrorClass::Unauthenticated, "a valid token is needed", None);
    let mut response = refusal.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use hume_core::Timestamp;

    fn guard(token: &str) -> Guard {
        let sha256 = TokenDigest::parse(&hume_runtime::tls::sha256_hex(token.as_bytes())).unwrap();
        let token = vec![TokenConfig { name: "admin".to_owned(), sha256 }];
        let config = WebConfig { token, ..WebConfig::default() };
        Guard::with_tokens(&config, Metrics::new(Timestamp::EPOCH))
    }

    fn admits(guard: &Guard, header: &str) -> bool {
        guard.admits(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(header).unwrap())]))
    }

    #[test]
    fn only_the_whole_token_after_the_scheme_is_let_in() {
        let guard = guard("hume_secret");
        assert!(admits(&guard, "Bearer hume_secret"));
        assert!(admits(&guard, "bearer hume_secret"));
        for wrong in
            ["Bearer hume_secre", "Bearer hume_secret ", "Bearer ", "Basic hume_secret", "hume_secret", ""]
        {
            assert!(!admits(&guard, wrong), "{wrong:?}");
        }
        assert!(!guard.admits(&HeaderMap::new()));
    }

    #[test]
    fn without_tokens_nobody_is_let_in_and_on_the_socket_everybody() {
        let nobody = Guard::with_tokens(&WebConfig::default(), Metrics::new(Timestamp::EPOCH));
        assert!(!admits(&nobody, "Bearer x"));
        assert!(Guard::of_socket(Metrics::new(Timestamp::EPOCH)).admits(&HeaderMap::new()));
    }
}
