//! Who may ask: tokens and client certificates, made, listed, revoked. Secrets and keys are made by whoever asks, and never come here.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use hume_core::ErrorClass;
use hume_core::policy::TaskPatterns;
use hume_core::scope::{HostPatterns, Role, Scope};
use hume_proto::admin::{AdminApiCert, AdminPass, AdminPasses, NewAdminApiCert, NewAdminApiToken, Rights};
use hume_runtime::pki::PublicKey;
use hume_runtime::{clock, tls};

use super::problem::Trouble;
use super::{Admin, People};
use crate::registry::{Actor, NewPass, Pass, PassKind, Proof};

/// Longest name of a token or a certificate.
const NAME_BYTES_MAX: usize = 64;

pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<AdminPasses>, Trouble> {
    let passes = admin.registry.passes().await?;
    let of = |kind| passes.iter().filter(|pass| pass.kind == kind).map(shown).collect();
    Ok(Json(AdminPasses { tokens: of(PassKind::Token), certificates: of(PassKind::Certificate) }))
}

pub(super) async fn make_token(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Json(wanted): Json<NewAdminApiToken>,
) -> Result<Json<AdminPass>, Trouble> {
    let new = token(wanted).map_err(|why| Trouble::new(ErrorClass::Invalid, why))?;
    Ok(Json(shown(&make(&admin, new, actor).await?.0)))
}

pub(super) async fn make_certificate(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Json(wanted): Json<NewAdminApiCert>,
) -> Result<Json<AdminApiCert>, Trouble> {
    let Some(people) = &admin.people else {
        let why = "this master makes no certificates: [tls] in master.toml names those of another CA; make a token instead, with humeconfig api-token new";
        return Err(Trouble::new(ErrorClass::Conflict, why));
    };
    let new = certificate(wanted, people).map_err(|why| Trouble::new(ErrorClass::Invalid, why))?;
    let (pass, certificate) = make(&admin, new, actor).await?;
    let (root, url) = (people.issuer.root_pem(), people.url.clone());
    Ok(Json(AdminApiCert { pass: shown(&pass), certificate: certificate.unwrap_or_default(), root, url }))
}

async fn make(admin: &Admin, new: NewPass, actor: Actor) -> Result<(Pass, Option<String>), Trouble> {
    let made = admin.registry.make_pass(new, actor.clone(), clock::now()).await?;
    let Pass { name, kind, role, .. } = &made.pass;
    tracing::info!(name, kind = kind.as_str(), role = role.as_str(), by = actor.name, "somebody may ask");
    Ok((made.pass, made.certificate_pem))
}

pub(super) async fn revoke(
    State(admin): State<Admin>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Json<AdminPass>, Trouble> {
    let pass = admin.registry.revoke_pass(name, actor.clone(), clock::now()).await?;
    tracing::info!(name = pass.name, kind = pass.kind.as_str(), by = actor.name, "somebody may ask no more");
    Ok(Json(shown(&pass)))
}

fn token(wanted: NewAdminApiToken) -> Result<NewPass, String> {
    let NewAdminApiToken { name, sha256, rights, expires_at } = wanted;
    let sha256 = tls::sha256_of_hex(&sha256).ok_or("sha256 must have 64 hexadecimal digits")?;
    pass(name, rights, Proof::Secret { sha256, expires_at })
}

fn certificate(wanted: NewAdminApiCert, people: &People) -> Result<NewPass, String> {
    let NewAdminApiCert { name, request, rights, ttl_s } = wanted;
    let key = PublicKey::of_request(&request).map_err(|error| error.to_string())?;
    let (issuer, life) = (people.issuer.clone(), Duration::from_secs(ttl_s));
    pass(name, rights, Proof::Key { key, issuer, life })
}

fn pass(name: String, rights: Rights, proof: Proof) -> Result<NewPass, String> {
    let Rights { role, tasks, hosts } = rights;
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
    Ok(NewPass { name, role, scope: Scope { tasks, hosts }, proof })
}

fn shown(pass: &Pass) -> AdminPass {
    let Pass { name, kind, sha256, role, scope, expires_at, made_by, made_at, revoked_at, used_at } = pass;
    AdminPass {
        name: name.clone(),
        role: role.as_str().to_owned(),
        tasks: scope.tasks.as_ref().map(|tasks| tasks.texts().collect()),
        hosts: scope.hosts.as_ref().map(|hosts| hosts.texts().collect()),
        expires_at: *expires_at,
        made_by: made_by.clone(),
        made_at: *made_at,
        revoked_at: *revoked_at,
        used_at: *used_at,
        fingerprint: match kind {
            PassKind::Token => None,
            PassKind::Certificate => Some(tls::hex(sha256)),
        },
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
            rights: Rights {
                role: role.to_owned(),
                tasks: tasks.map(|tasks| tasks.iter().map(|task| (*task).to_owned()).collect()),
                hosts: None,
            },
            expires_at: None,
        };
        let hash = "ab".repeat(32);
        let new = token(wanted("icinga@mon1", "viewer", Some(&["BACKUP*"]), &hash)).unwrap();
        assert_eq!((new.role, new.scope.is_all()), (Role::Viewer, false));
        assert!(matches!(new.proof, Proof::Secret { sha256, expires_at: None } if sha256 == [0xab; 32]));
        for (wrong, words) in [
            (wanted("", "viewer", None, &hash), "the name"),
            (wanted("a b", "viewer", None, &hash), "the name"),
            (wanted("a/agent/b", "viewer", None, &hash), "the name"),
            (wanted("x", "ingest", None, &hash), "the role must be"),
            (wanted("x", "viewer", Some(&[]), &hash), "tasks"),
            (wanted("x", "viewer", Some(&["a\tb"]), &hash), "tasks"),
            (wanted("x", "admin", Some(&["A"]), &hash), "an admin sees all"),
            (wanted("x", "admin", None, "hume_secret"), "sha256"),
        ] {
            let why = token(wrong).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
