//! `humeconfig api-token`: who may ask the master of this machine over the network. A secret is made here, shown once, and the master
//! is told its SHA-256.

use std::io::Write;
use std::time::Duration;

use hume_core::duration;
use hume_proto::admin::{AdminApiToken, AdminApiTokens, NewAdminApiToken};
use hume_runtime::clock;
use serde::Serialize;

use crate::admin::Master;
use crate::failure::Failure;
use crate::orders::{ApiTokenArgs, ApiTokenOrder};
use crate::report::{Report, minute};
use crate::token;

/// An order without particulars.
#[derive(Serialize)]
struct Nothing {}

/// Does what is asked and says it.
pub fn run(args: &ApiTokenArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let master = Master::of(&args.dir)?;
    let mut report = Report::default();
    match &args.order {
        ApiTokenOrder::New { name, role, tasks, hosts, ttl } => {
            let secret = token::mint();
            let micros = |ttl: &Duration| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
            let some = |patterns: &[String]| (!patterns.is_empty()).then(|| patterns.to_vec());
            let wanted = NewAdminApiToken {
                name: name.clone(),
                sha256: token::digest(&secret),
                role: role.clone(),
                tasks: some(tasks),
                hosts: some(hosts),
                expires_at: ttl.as_ref().map(|ttl| clock::now().plus_micros(micros(ttl))),
            };
            let _: AdminApiToken = master.post("/api-tokens", &wanted)?;
            // Alone, so that it can go into a file; `list` has the rest.
            report.line(secret.expose());
        }
        ApiTokenOrder::List { json } => {
            let listed: AdminApiTokens = master.get("/api-tokens")?;
            if *json {
                report.json(&listed);
            } else {
                report.table(
                    &["NAME", "ROLE", "TASKS", "HOSTS", "UNTIL", "LAST USED", "MADE", "BY"],
                    rows(&listed),
                );
            }
        }
        ApiTokenOrder::Revoke { name } => {
            let revoked: AdminApiToken = master.post(&format!("/api-tokens/{name}/revoke"), &Nothing {})?;
            report.line(format!("token {} of a {} is revoked", revoked.name, revoked.role));
        }
    }
    report.write(out)
}

fn rows(listed: &AdminApiTokens) -> Vec<Vec<String>> {
    let row = |token: &AdminApiToken| {
        let patterns = |texts: &Option<Vec<String>>| {
            texts.as_ref().map_or_else(|| "all".to_owned(), |texts| texts.join(","))
        };
        let until = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", minute(at)),
            (None, Some(at)) if at <= clock::now() => format!("ended {}", minute(at)),
            (None, Some(at)) => minute(at),
            (None, None) => "revoked".to_owned(),
        };
        let (tasks, hosts) = (patterns(&token.tasks), patterns(&token.hosts));
        vec![
            token.name.clone(),
            token.role.clone(),
            tasks,
            hosts,
            until,
            token.used_at.map_or_else(|| "never".to_owned(), minute),
            minute(token.made_at),
            token.made_by.clone(),
        ]
    };
    listed.tokens.iter().map(row).collect()
}

/// A duration of a command line.
pub(crate) fn ttl(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|ttl| !ttl.is_zero())
        .ok_or_else(|| format!("`{text}` is not a duration: write 90d, 12h or 30m"))
}
