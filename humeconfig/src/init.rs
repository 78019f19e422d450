//! `humeconfig init`: the master's configuration and the administrator's token; the master makes the CA itself.
//!
//! With `--by-hand` the CA and the master's certificate too, for agents whose certificates are made here and copied. The server
//! certificate names every `--name`, localhost, the loopback addresses and those the master listens on.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use hume_runtime::pki::{Authority, CaFolder, Issued};
use hume_runtime::secret::SecretText;
use hume_runtime::{clock, socket};

use crate::args::InitArgs;
use crate::failure::Failure;
use crate::report::{Report, day, shell, toml_string};
use crate::staging::{IfPresent, Published, Staging};
use crate::token;

/// What is made; `pki` by hand alone, and the state has the master's own CA.
const PIECES: [&str; 3] = ["pki", "admin.token", "master.toml"];
const OWN_PIECES: [&str; 2] = ["admin.token", "master.toml"];

/// Makes the site and says so.
pub fn run(args: &InitArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let dir = absolute(&args.dir)?;
    check(args, &dir)?;
    if args.by_hand { by_hand(args, &dir, out) } else { own(args, &dir, out) }
}

/// The master will make its certificates.
fn own(args: &InitArgs, dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let (names, _) = server_names(args);
    CaFolder::check_names(&args.trust_domain, &names)?;
    let token = token::mint();
    let staging = Staging::new(dir)?;
    staging.file("admin.token", &format!("{}\n", token.expose()), 0o600)?;
    let config = master_toml(args, &own_section(args), &token::digest(&token));
    staging.file("master.toml", &config, 0o644)?;
    let published = staging.publish(&OWN_PIECES.map(|name| (name, IfPresent::Replace)), clock::now())?;
    let mut report = Report::default();
    report.steps(&published, |name| match name {
        "admin.token" => "the administrator's token for the API, keep it secret".to_owned(),
        _ => format!(
            "the master's configuration; it makes the CA of \"{}\" at its first start",
            args.trust_domain
        ),
    });
    if args.enroll_address().ip().is_unspecified() && args.names.is_empty() {
        report.line(
            "note: tokens tell hosts the name of this machine; if they know it by another one, run this again with \
             --name NAME --force",
        );
    }
    let at = |name: &str| shell(&dir.join(name));
    report.line("");
    report.line("next:");
    report.line(format!("  humed-master --config {}", at("master.toml")));
    report.line(format!(
        "  humeconfig token new --dir {}         then, on a host: humeconfig join TOKEN",
        shell(dir)
    ));
    report.line(format!(
        "  humequery --url https://{} --ca {} --token-file {} status",
        reachable(args.http),
        at("state/ca.pem"),
        at("admin.token")
    ));
    report.write(out)
}

fn by_hand(args: &InitArgs, dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let now = clock::now();
    let authority = Authority::create(&args.trust_domain, now)?;
    let (names, addresses) = server_names(args);
    let server = authority.issue_server(&names, &addresses, now)?;
    let token = token::mint();
    let published = stage(args, dir, &authority, &server, &token)?
        .publish(&PIECES.map(|name| (name, IfPresent::Replace)), now)?;
    let mut report = Report::default();
    report.steps(&published, |name| about(name, &authority, &server, &names, &addresses));
    let replaced = published
        .iter()
        .any(|piece| matches!(piece, Published::Replaced { path, .. } if path.ends_with("pki")));
    if replaced {
        report.line(format!(
            "note: certificates issued before {} are no longer valid here: run `humeconfig agent --force` for each agent",
            day(now)
        ));
    }
    advise(args, dir, &mut report);
    report.write(out)
}

fn check(args: &InitArgs, dir: &Path) -> Result<(), Failure> {
    socket::check_path(&dir.join("run/api.sock"))?;
    let found = PIECES.map(|name| dir.join(name)).into_iter().find(|path| path.exists());
    match found {
        Some(path) if !args.force => Err(Failure::SiteExists { path }),
        Some(_) | None => Ok(()),
    }
}

/// Names and addresses of the server certificate, the ones the user gave first.
fn server_names(args: &InitArgs) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = args.names.clone();
    if !names.iter().any(|name| name == "localhost") {
        names.push("localhost".to_owned());
    }
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in [args.grpc.ip(), args.http.ip()] {
        if !address.is_unspecified() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    (names, addresses)
}

fn stage(
    args: &InitArgs,
    dir: &Path,
    authority: &Authority,
    server: &Issued,
    token: &SecretText,
) -> Result<Staging, Failure> {
    let staging = Staging::new(dir)?;
    staging.folder("pki", 0o700)?;
    staging.file("pki/ca.pem", authority.certificate_pem(), 0o644)?;
    staging.file("pki/ca.key", authority.key_pem().expose(), 0o600)?;
    staging.file("pki/master.pem", &server.certificate_pem, 0o644)?;
    staging.file("pki/master.key", server.key_pem.expose(), 0o600)?;
    staging.file("admin.token", &format!("{}\n", token.expose()), 0o600)?;
    staging.file("master.toml", &master_toml(args, BY_HAND, &token::digest(token)), 0o644)?;
    Ok(staging)
}

const BY_HAND: &str = r#"# The CA that issues the agents' certificates, and the certificate all ports show.
[tls]
ca = "pki/ca.pem"
certificate = "pki/master.pem"
key = "pki/master.key"
"#;

fn own_section(args: &InitArgs) -> String {
    let names: Vec<_> = args.names.iter().map(|name| toml_string(name)).collect();
    let (enroll, domain, names) = (args.enroll_address(), toml_string(&args.trust_domain), names.join(", "));
    format!(
        r#"# Hosts join here, with a token of `humeconfig token new`.
[enroll]
listen = "{enroll}"

# The CA that the master makes at its first start; state/ca.pem is its root. The names are those under which it is reached,
# the best first; none is the name of the machine.
[ca]
path = "state/ca"
trust_domain = {domain}
names = [{names}]
"#
    )
}

fn master_toml(args: &InitArgs, certificates: &str, token_sha256: &str) -> String {
    let InitArgs { grpc, http, .. } = args;
    format!(
        r#"# hume master, made by `humeconfig init`. Relative paths are relative to this file.

# Agents connect here (gRPC with mutual TLS).
[relay]
listen = "{grpc}"

# REST API, health and metrics by HTTPS; the same API without a token on the socket, for local administrators.
[web]
listen = "{http}"
socket = "run/api.sock"
metrics = "open"            # or "token": /metrics then wants a token like the API

{certificates}
[store]
path = "state/store.db"

# What is expected of the runs of tasks; the same sections in agent.toml. All keys: docs/OPERATIONS.md.
#[[runs]]
#tasks = ["BACKUP_*"]       # names of tasks, with * and ?; without this key for all
#max_runtime = "2h"         # longer is overdue, and a warning
#hard_runtime = "4h"        # longer is critical
#exit_map = {{ 24 = "warning" }}

[log]
level = "info"              # error, warn, info, debug, trace; HUME_LOG overrules it
format = "auto"             # or "text", "json"

# Who may use the API: the SHA-256 of each token, never the token itself. This one's token is in admin.token.
[[web.token]]
name = "admin"
sha256 = "{token_sha256}"
"#
    )
}

fn about(
    name: &str,
    authority: &Authority,
    server: &Issued,
    names: &[String],
    addresses: &[IpAddr],
) -> String {
    match name {
        "pki" => {
            let addresses = addresses.iter().map(IpAddr::to_string);
            let named: Vec<String> = names.iter().cloned().chain(addresses).collect();
            format!(
                "CA of \"{}\" until {}, master's certificate for {} until {}",
                authority.trust_domain(),
                day(authority.not_after()),
                named.join(", "),
                day(server.not_after)
            )
        }
        "admin.token" => "the administrator's token for the API, keep it secret".to_owned(),
        _ => "the master's configuration".to_owned(),
    }
}

fn advise(args: &InitArgs, dir: &Path, report: &mut Report) {
    if args.grpc.ip().is_unspecified() && args.names.is_empty() {
        report.line(
            "note: agents on other hosts need a name of this machine in the master's certificate; there is none, \
             so run this again with --name NAME --force",
        );
    }
    let at = |name: &str| shell(&dir.join(name));
    let folder = shell(dir);
    report.line("");
    report.line("next:");
    report.line(format!("  humed-master --config {}", at("master.toml")));
    report.line(format!("  humeconfig agent --dir {folder} --out {} --host web1", at("web1")));
    report.line(format!(
        "  humequery --url https://{} --ca {} --token-file {} status",
        reachable(args.http),
        at("pki/ca.pem"),
        at("admin.token")
    ));
}

/// An address that a program on this machine can connect to.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The path from the root, for messages and for the length of socket paths.
pub(crate) fn absolute(path: &Path) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(grpc: &str, http: &str, names: &[&str]) -> InitArgs {
        InitArgs {
            dir: "d".into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            grpc: grpc.parse().unwrap(),
            http: http.parse().unwrap(),
            enroll: None,
            trust_domain: "hume".to_owned(),
            by_hand: true,
            force: false,
        }
    }

    #[test]
    fn the_certificate_names_what_was_asked_for_and_this_machine() {
        let (names, addresses) = server_names(&args("10.0.0.5:4863", "0.0.0.0:4864", &["master.example"]));
        assert_eq!(names, ["master.example", "localhost"]);
        assert_eq!(addresses, ["127.0.0.1", "::1", "10.0.0.5"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn nothing_is_named_twice() {
        let (names, addresses) = server_names(&args("127.0.0.1:4863", "[::1]:4864", &["localhost"]));
        assert_eq!((names.len(), addresses.len()), (1, 2));
    }

    #[test]
    fn an_unspecified_address_is_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.5:1".parse().unwrap()).to_string(), "10.0.0.5:1");
    }

    #[test]
    fn the_configuration_is_toml_with_the_agreed_keys() {
        let text = master_toml(&args("[::1]:4863", "127.0.0.1:0", &[]), BY_HAND, "00ff");
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["relay"]["listen"].as_str(), Some("[::1]:4863"));
        assert_eq!(table["web"]["token"][0]["sha256"].as_str(), Some("00ff"));
        assert_eq!(table["tls"]["key"].as_str(), Some("pki/master.key"));
        let args = args("[::1]:4863", "127.0.0.1:0", &["a\"b", "c"]);
        let table: toml::Table = master_toml(&args, &own_section(&args), "00ff").parse().unwrap();
        assert_eq!(table["ca"]["names"].as_array().map(Vec::len), Some(2));
        assert_eq!(table["enroll"]["listen"].as_str(), Some("[::1]:4865"));
    }

    #[test]
    fn hosts_join_at_the_address_where_agents_connect_unless_it_is_said() {
        let mut args = args("0.0.0.0:4000", "0.0.0.0:4864", &["master.example"]);
        assert_eq!(args.enroll_address().to_string(), "0.0.0.0:4865");
        args.enroll = Some("10.0.0.5:1".parse().unwrap());
        assert_eq!(args.enroll_address().to_string(), "10.0.0.5:1");
    }

    #[test]
    fn the_example_of_expectations_holds_when_it_is_uncommented() {
        let text = master_toml(&args("[::1]:4863", "127.0.0.1:0", &[]), BY_HAND, "00ff");
        let policies = crate::report::tests::uncommented_runs(&text);
        let backup = policies.of(&hume_core::TaskName::parse("BACKUP_DB").unwrap());
        assert_eq!(backup.max_runtime, Some(std::time::Duration::from_hours(2)));
    }
}
