//! `humeconfig api-token` and `api-cert`: who may ask the master of this machine over the network.
//!
//! A token's secret is made here, shown once, and the master is told its SHA-256. A key is made here or elsewhere and stays; the master
//! is told a request for its certificate. What is made for a certificate is a whole folder or nothing.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hume_core::{Timestamp, duration};
use hume_proto::admin::{AdminApiCert, AdminPass, AdminPasses, NewAdminApiCert, NewAdminApiToken, Rights};
use hume_runtime::clock;
use hume_runtime::pki::Request;
use serde::Serialize;

use crate::admin::Master;
use crate::agents::escaped;
use crate::failure::Failure;
use crate::orders::{ApiCertArgs, ApiCertOrder, ApiTokenArgs, ApiTokenOrder, RightsArgs};
use crate::report::{Report, minute, shell, toml_string};
use crate::staging::{IfPresent, Staging};
use crate::token;

/// A request for a certificate is read up to here; the master says what it may have.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
const KEY: &str = "key.pem";
const REQUEST: &str = "request.pem";
const CERTIFICATE: &str = "certificate.pem";
const CA: &str = "ca.pem";
const CONFIG: &str = "query.toml";

/// An order without particulars.
#[derive(Serialize)]
struct Nothing {}

/// Does what is asked of tokens and says it.
pub fn run_token(args: &ApiTokenArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let master = Master::of(&args.dir)?;
    match &args.order {
        ApiTokenOrder::New { name, rights, ttl } => {
            let secret = token::mint();
            let wanted = NewAdminApiToken {
                name: name.clone(),
                sha256: token::digest(&secret),
                rights: wanted(rights),
                expires_at: ttl.map(|ttl| clock::now().plus_micros(micros(ttl))),
            };
            let _: AdminPass = master.post("/api-tokens", &wanted)?;
            let mut report = Report::default();
            // Alone, so that it can go into a file; `list` has the rest.
            report.line(secret.expose());
            report.write(out)
        }
        ApiTokenOrder::List { json } => list(&master, *json, out),
        ApiTokenOrder::Revoke { name } => revoke(&master, name, out),
    }
}

/// Does what is asked of certificates and says it.
pub fn run_cert(args: &ApiCertArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let master = || Master::of(&args.dir);
    match &args.order {
        ApiCertOrder::New { name, rights, ttl, csr, out: folder } => {
            let folder = folder.clone().unwrap_or_else(|| PathBuf::from(name));
            let wanted = |request: String| NewAdminApiCert {
                name: name.clone(),
                request,
                rights: wanted(rights),
                ttl_s: ttl.as_secs(),
            };
            certificate(&master()?, &folder, csr.as_deref(), wanted, out)
        }
        ApiCertOrder::Request { name, out: folder } => {
            request(name, &folder.clone().unwrap_or_else(|| PathBuf::from(name)), out)
        }
        ApiCertOrder::List { json } => list(&master()?, *json, out),
        ApiCertOrder::Revoke { name } => revoke(&master()?, name, out),
    }
}

fn wanted(rights: &RightsArgs) -> Rights {
    let some = |patterns: &[String]| (!patterns.is_empty()).then(|| patterns.to_vec());
    Rights { role: rights.role.clone(), tasks: some(&rights.tasks), hosts: some(&rights.hosts) }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn list(master: &Master, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let listed: AdminPasses = master.get("/api-tokens")?;
    let mut report = Report::default();
    if json {
        report.json(&listed);
    } else {
        let head = ["NAME", "BY", "ROLE", "TASKS", "HOSTS", "UNTIL", "LAST USED", "MADE", "MADE BY"];
        report.table(&head, rows(&listed, clock::now()));
    }
    report.write(out)
}

fn revoke(master: &Master, name: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let revoked: AdminPass = master.post(&format!("/api-tokens/{}/revoke", escaped(name)), &Nothing {})?;
    let mut report = Report::default();
    report.line(format!("{} {} of role {} is revoked", kind(&revoked), revoked.name, revoked.role));
    report.write(out)
}

fn kind(pass: &AdminPass) -> &'static str {
    if pass.fingerprint.is_some() { "certificate" } else { "token" }
}

/// Has the master make a certificate, and puts it in the folder with all that humequery needs.
fn certificate(
    master: &Master,
    folder: &Path,
    csr: Option<&Path>,
    wanted: impl FnOnce(String) -> NewAdminApiCert,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (request, key) = if let Some(file) = csr {
        (read_request(file)?, None)
    } else {
        let Request { request_pem, key_pem } = Request::create()?;
        (request_pem, Some(key_pem))
    };
    let names: Vec<&str> = key.iter().map(|_| KEY).chain([CERTIFICATE, CA, CONFIG]).collect();
    is_free(folder, &names)?;
    let staging = Staging::new(folder)?;
    if let Some(key) = &key {
        // On disk before the master knows of it: what most often fails has not failed then.
        staging.file(KEY, key.expose(), 0o600)?;
    }
    let made: AdminApiCert = master.post("/api-certs", &wanted(request))?;
    let AdminApiCert { pass, certificate, root, url } = made;
    staging.file(CERTIFICATE, &certificate, 0o644)?;
    staging.file(CA, &root, 0o644)?;
    staging.file(CONFIG, &query_toml(&url), 0o644)?;
    let pieces: Vec<(&str, IfPresent)> = names.iter().map(|name| (*name, IfPresent::Replace)).collect();
    let published = staging.publish(&pieces, clock::now())?;
    let mut report = Report::default();
    report.steps(&published, |name| match name {
        KEY => "the key, for its owner alone".to_owned(),
        CERTIFICATE => {
            format!("{} {}, until {}", pass.role, pass.name, pass.expires_at.map(minute).unwrap_or_default())
        }
        CONFIG => format!("asks {url}"),
        _ => String::new(),
    });
    report.line("");
    report.line("next, for who is to ask:");
    match csr {
        None => report.line(format!("  mv {} ~/.config/hume      humequery finds it there", shell(folder))),
        Some(_) => report.line(format!(
            "  cp {}/*.pem {}/{CONFIG} ~/.config/hume      beside its {KEY}; humequery finds it there",
            shell(folder),
            shell(folder)
        )),
    }
    report.write(out)
}

/// Makes a key and the request for its certificate.
fn request(name: &str, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    is_free(folder, &[KEY, REQUEST])?;
    let Request { request_pem, key_pem } = Request::create()?;
    let staging = Staging::new(folder)?;
    staging.file(KEY, key_pem.expose(), 0o600)?;
    staging.file(REQUEST, &request_pem, 0o644)?;
    let pieces = [KEY, REQUEST].map(|name| (name, IfPresent::Replace));
    let published = staging.publish(&pieces, clock::now())?;
    let mut report = Report::default();
    report.steps(&published, |name| match name {
        KEY => "the key, which stays here".to_owned(),
        _ => String::new(),
    });
    report.line("");
    report.line("next, on the master:");
    report.line(format!("  humeconfig api-cert new {} --csr {REQUEST}", shell(Path::new(name))));
    report.write(out)
}

/// Nothing that is there is replaced.
fn is_free(folder: &Path, names: &[&str]) -> Result<(), Failure> {
    let taken = names.iter().map(|name| folder.join(name)).find(|path| path.symlink_metadata().is_ok());
    taken.map_or(Ok(()), |path| Err(Failure::PassExists { path }))
}

fn read_request(file: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::Read { path: file.to_owned(), source };
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = File::open(file).map_err(failed)?;
        file.take(REQUEST_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

/// What humequery reads; the files are beside it.
fn query_toml(url: &str) -> String {
    let url = toml_string(url);
    format!(
        "# Whom humequery asks, and with which certificate. Made by humeconfig api-cert.\n\
         url = {url}\nca = \"{CA}\"\ncertificate = \"{CERTIFICATE}\"\nkey = \"{KEY}\"\n"
    )
}

/// All who may ask or might, by name.
fn rows(listed: &AdminPasses, now: Timestamp) -> Vec<Vec<String>> {
    let mut all: Vec<&AdminPass> = listed.tokens.iter().chain(&listed.certificates).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let row = |pass: &&AdminPass| {
        let patterns = |texts: &Option<Vec<String>>| {
            texts.as_ref().map_or_else(|| "all".to_owned(), |texts| texts.join(","))
        };
        let until = match (pass.revoked_at, pass.expires_at) {
            (Some(at), _) => format!("revoked {}", minute(at)),
            (None, Some(at)) if at <= now => format!("ended {}", minute(at)),
            (None, Some(at)) => minute(at),
            (None, None) => "no end".to_owned(),
        };
        vec![
            pass.name.clone(),
            kind(pass).to_owned(),
            pass.role.clone(),
            patterns(&pass.tasks),
            patterns(&pass.hosts),
            until,
            pass.used_at.map_or_else(|| "never".to_owned(), minute),
            minute(pass.made_at),
            pass.made_by.clone(),
        ]
    };
    all.iter().map(row).collect()
}

/// A duration of a command line.
pub(crate) fn ttl(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|ttl| !ttl.is_zero())
        .ok_or_else(|| format!("`{text}` is not a duration: write 90d, 12h or 30m"))
}
