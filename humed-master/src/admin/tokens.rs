//! Tokens with which hosts join: made and told once, listed without their secrets, taken back.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use hume_core::{ErrorClass, Timestamp};
use hume_proto::admin::{AdminToken, AdminTokenMade, AdminTokenWish, AdminTokens};
use hume_runtime::clock;
use hume_runtime::pki::join::JoinToken;

use super::problem::Trouble;
use super::{Admin, Doorway};
use crate::registry::{Actor, NewToken, TokenEntry};

/// A token is good for this long at most: a week.
const TTL_SECONDS_MAX: u64 = 604_800;
/// So many hosts may join with one token.
const USES_MAX: u32 = 10_000;
/// A pattern of hosts has at most this many bytes.
const PATTERN_BYTES_MAX: usize = 255;

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<AdminTokens>, Trouble> {
    let now = clock::now();
    let tokens = admin.registry.tokens().await?;
    Ok(Json(AdminTokens { tokens: tokens.into_iter().map(|token| told(token, now)).collect() }))
}

pub(super) async fn make(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Json(wish): Json<AdminTokenWish>,
) -> Result<Json<AdminTokenMade>, Trouble> {
    let Some(Doorway { pin, addresses }) = admin.doorway else {
        let why = "hosts cannot join here: [tls] in master.toml names certificates of another CA, which makes those of agents too";
        return Err(Trouble::new(ErrorClass::Conflict, why));
    };
    check(&wish).map_err(|why| Trouble::new(ErrorClass::Invalid, why))?;
    let AdminTokenWish { host, ttl_s, uses, approve } = wish;
    let now = clock::now();
    let ttl_us = i64::try_from(ttl_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let (token, expires_at) = (JoinToken::mint(pin, addresses), now.plus_micros(ttl_us));
    let key = token.public_key().map_err(|error| Trouble::new(ErrorClass::Internal, error.to_string()))?;
    let new = NewToken { id: token.id.clone(), key, host, approve, uses, expires_at };
    admin.registry.add_token(new, actor, now).await?;
    let text = token.text().expose().to_owned();
    Ok(Json(AdminTokenMade { id: token.id, token: text, expires_at }))
}

pub(super) async fn revoke(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    _: Bytes,
) -> Result<Json<AdminTokens>, Trouble> {
    if !admin.registry.take_token_back(id.clone(), actor, clock::now()).await? {
        return Err(Trouble::new(ErrorClass::NotFound, format!("there is no token `{id}`")));
    }
    list(State(admin)).await
}

fn check(wish: &AdminTokenWish) -> Result<(), String> {
    let AdminTokenWish { host, ttl_s, uses, approve: _ } = wish;
    if !(1..=TTL_SECONDS_MAX).contains(ttl_s) {
        return Err(format!("ttl: a token is good for 1 s to {} days", TTL_SECONDS_MAX / 86_400));
    }
    if !(1..=USES_MAX).contains(uses) {
        return Err(format!("uses: 1 to {USES_MAX} hosts may join with one token"));
    }
    let is_pattern = |host: &String| {
        (1..=PATTERN_BYTES_MAX).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match host {
        Some(host) if !is_pattern(host) => {
            Err("host: a pattern is a name with * and ?, of printable characters without white space"
                .to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

fn told(token: TokenEntry, now: Timestamp) -> AdminToken {
    let TokenEntry { id, key: _, host, approve, uses_left, expires_at, made_by, made_at, revoked } = token;
    let state = match (revoked, uses_left, now >= expires_at) {
        (true, ..) => "revoked",
        (false, 0, _) => "used",
        (false, _, true) => "expired",
        (false, _, false) => "good",
    };
    AdminToken { id, host, approve, uses_left, expires_at, state: state.to_owned(), made_by, made_at }
}
