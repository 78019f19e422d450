//! Tokens of the API: made, listed, revoked. The secret is made by whoever asks, and never comes here.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use hume_core::ErrorClass;
use hume_core::policy::TaskPatterns;
use hume_core::scope::{HostPatterns, Role, Scope};
use hume_proto::admin::{AdminApiToken, AdminApiTokens, NewAdminApiToken};
use hume_runtime::clock;

use super::Admin;
use super::problem::Trouble;
use crate::registry::{Actor, NewPass, Pass};

/// Longest name of a token.
const NAME_BYTES_MAX: usize = 64;

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<AdminApiTokens>, Trouble> {
    let tokens = admin.registry.passes().await?;
    Ok(Json(AdminApiTokens { tokens: tokens.iter().map(shown).collect() }))
}

pub(super) async fn make(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Json(wanted): Json<NewAdminApiToken>,
) -> Result<Json<AdminApiToken>, Trouble> {
    let new = parsed(wanted).map_err(|why| Trouble::new(ErrorClass::Invalid, why))?;
    let token = admin.registry.make_pass(new, actor.clone(), clock::now()).await?;
    tracing::info!(
        token = token.name,
        role = token.role.as_str(),
        by = actor.name,
        "made a token of the API"
    );
    Ok(Json(shown(&token)))
}

pub(super) async fn revoke(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Json<AdminApiToken>, Trouble> {
    let token = admin.registry.revoke_pass(name, actor.clone(), clock::now()).await?;
    tracing::info!(token = token.name, by = actor.name, "revoked a token of the API");
    Ok(Json(shown(&token)))
}

fn parsed(wanted: NewAdminApiToken) -> Result<NewPass, String> {
    let NewAdminApiToken { name, sha256, role, tasks, hosts, expires_at } = wanted;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err(format!("the name must have 1 to {NAME_BYTES_MAX} letters, digits, - . _ or @"));
    }
    let role = Role::from_word(&role).ok_or("the role must be viewer, operator or admin")?;
    let tasks = tasks.map(|texts| TaskPatterns::parse(&texts)).transpose()?;
    let hosts = hosts.map(|texts| HostPatterns::parse(&texts)).transpose()?;
    if role == Role::Admin && (tasks.is_some() || hosts.is_some()) {
        return Err("an admin sees all: patterns are for viewers and operators".to_owned());
    }
    let sha256 = hume_runtime::tls::sha256_of_hex(&sha256).ok_or("sha256 must have 64 hexadecimal digits")?;
    Ok(NewPass { name, sha256, role, scope: Scope { tasks, hosts }, expires_at })
}

fn shown(pass: &Pass) -> AdminApiToken {
    let Pass { name, role, scope, expires_at, made_by, made_at, revoked_at, used_at } = pass;
    AdminApiToken {
        name: name.clone(),
        role: role.as_str().to_owned(),
        tasks: scope.tasks.as_ref().map(|tasks| tasks.texts().collect()),
        hosts: scope.hosts.as_ref().map(|hosts| hosts.texts().collect()),
        expires_at: *expires_at,
        made_by: made_by.clone(),
        made_at: *made_at,
        revoked_at: *revoked_at,
        used_at: *used_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_means_nothing_is_refused_with_the_reason() {
        let wanted = |name: &str, role: &str, tasks: Option<&[&str]>, sha256: &str| NewAdminApiToken {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            role: role.to_owned(),
            tasks: tasks.map(|tasks| tasks.iter().map(|task| (*task).to_owned()).collect()),
            hosts: None,
            expires_at: None,
        };
        let hash = "ab".repeat(32);
        let new = parsed(wanted("icinga@mon1", "viewer", Some(&["BACKUP*"]), &hash)).unwrap();
        assert_eq!((new.role, new.sha256, new.scope.is_all()), (Role::Viewer, [0xab; 32], false));
        for (wrong, words) in [
            (wanted("", "viewer", None, &hash), "the name"),
            (wanted("a b", "viewer", None, &hash), "the name"),
            (wanted("x", "ingest", None, &hash), "the role must be"),
            (wanted("x", "viewer", Some(&[]), &hash), "tasks"),
            (wanted("x", "viewer", Some(&["a\tb"]), &hash), "tasks"),
            (wanted("x", "admin", Some(&["A"]), &hash), "an admin sees all"),
            (wanted("x", "admin", None, "hume_secret"), "sha256"),
        ] {
            let why = parsed(wrong).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
