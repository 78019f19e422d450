//! `humeconfig ca`: the CA of the master of this machine, what signs next, and where the key of its root is.
//!
//! The key is written for its owner alone, never over another file, and goes from the master only after the copy is on disk and was
//! read back.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use hume_core::ErrorClass;
use hume_proto::admin::{AdminCa, AdminCertificate, AdminRootKey, AdminRootKeyRemoval, AdminRotation};
use hume_runtime::files;
use hume_runtime::pki::Authority;
use hume_runtime::secret::SecretText;
use hume_runtime::tls;
use serde::Serialize;

use crate::admin::Master;
use crate::failure::Failure;
use crate::orders::{CaArgs, CaOrder};
use crate::report::{Report, minute};

/// A key has at most this many bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;
const KEY_MODE: u32 = 0o600;
/// Stands for standard input or output.
const STANDARD: &str = "-";

/// An order without particulars.
#[derive(Serialize)]
struct Nothing {}

/// Does what is asked and says it.
pub fn run(args: &CaArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let master = Master::of(&args.dir)?;
    let mut report = Report::default();
    match &args.order {
        CaOrder::Show { json } => {
            let ca: AdminCa = master.get("/ca")?;
            if *json { report.json(&ca) } else { show(&ca, &mut report) }
        }
        CaOrder::Rotate { root_key } => rotate(&master, root_key.as_deref(), &mut report)?,
        CaOrder::ExportRoot { file, remove } => match file.as_deref() {
            Some(file) if file != Path::new(STANDARD) => export(&master, file, *remove, &mut report)?,
            given => return print_key(&master, given.is_some(), *remove, out),
        },
    }
    report.write(out)
}

fn show(ca: &AdminCa, report: &mut Report) {
    let AdminCa {
        trust_domain,
        root,
        root_pem: _,
        root_key_here,
        issuing,
        rotation_due_at,
        earlier,
        master,
        trouble,
    } = ca;
    let line = |name: &str, of: &AdminCertificate, more: &str| {
        format!("  {name:<8}  {}  until {}{more}", of.fingerprint, minute(of.ends_at))
    };
    report.line(format!("the CA of {trust_domain}"));
    let key = if *root_key_here { ", its key is on this machine" } else { ", its key is elsewhere" };
    report.line(line("root", root, key));
    let due = if *root_key_here { "is rotated by itself from" } else { "is to be rotated from" };
    report.line(line("issuing", issuing, &format!(", {due} {}", minute(*rotation_due_at))));
    for one in earlier {
        report.line(line("earlier", one, ", signs no more"));
    }
    report.line(line("master", master, ""));
    if let Some(trouble) = trouble {
        report.line(format!("  to do     {trouble}"));
    }
}

fn rotate(master: &Master, root_key: Option<&Path>, report: &mut Report) -> Result<(), Failure> {
    let root_key = root_key.map(read_key).transpose()?;
    let before: AdminCa = master.get("/ca")?;
    let root_key = root_key.map(|key| key.expose().to_owned());
    let order = AdminRotation { instead_of: Some(before.issuing.fingerprint), root_key };
    let ca: AdminCa = master.post("/ca/rotate", &order)?;
    report.line(format!("the issuing CA {} signs from now on", ca.issuing.fingerprint));
    report.line("sessions go on; what the one before issued stays good until it ends, and agents get theirs by the new one at the next renewal");
    if !ca.root_key_here {
        report.line("the key of the root was not kept here");
    }
    Ok(())
}

/// Writes the key to a file that nobody else reads.
fn export(master: &Master, file: &Path, remove: bool, report: &mut Report) -> Result<(), Failure> {
    let given = master.post::<AdminRootKey>("/ca/root-key", &Nothing {});
    let key = match given {
        Ok(AdminRootKey { key }) => SecretText::new(key),
        Err(away @ Failure::Refused { class: ErrorClass::Conflict, .. }) if file.exists() => {
            let ca: AdminCa = master.get("/ca")?;
            // Said again after an answer that was lost: nothing is left to be done.
            return if is_root_key(&ca, &read_key(file)?) {
                report.line(format!(
                    "{} holds the key of the root already, and the master has none",
                    file.display()
                ));
                Ok(())
            } else {
                Err(away)
            };
        }
        Err(error) => return Err(error),
    };
    let copy = write_copy(file, &key)?;
    report.line(format!("{}: the key of the root; keep it where no network leads", file.display()));
    if remove {
        let order = AdminRootKeyRemoval { copy_sha256: tls::sha256_hex(copy.expose().as_bytes()) };
        let _: AdminCa = master.post("/ca/root-key/remove", &order)?;
        report
            .line("the master has it no more: `humeconfig ca rotate --root-key FILE` uses it for one order");
    } else {
        report.line("the master has it still: the same with --remove takes it away");
    }
    Ok(())
}

/// Prints the key alone, if somebody has asked for that or a program reads it.
fn print_key(master: &Master, asked: bool, remove: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if remove {
        return Err(Failure::NoCopy);
    }
    if !asked && io::stdout().is_terminal() {
        return Err(Failure::KeyOnTerminal);
    }
    let AdminRootKey { key } = master.post("/ca/root-key", &Nothing {})?;
    out.write_all(key.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// The copy as it was read back; a file that has another content stays.
fn write_copy(file: &Path, key: &SecretText) -> Result<SecretText, Failure> {
    if file.exists() {
        let there = read_key(file)?;
        return if there == *key { Ok(there) } else { Err(Failure::KeyFileExists { path: file.to_owned() }) };
    }
    files::write(file, key.expose().as_bytes(), KEY_MODE)?;
    read_key(file)
}

fn is_root_key(ca: &AdminCa, key: &SecretText) -> bool {
    Authority::load(&ca.root_pem, key).is_ok()
}

/// A key from a file that its owner alone can read, or from standard input.
fn read_key(file: &Path) -> Result<SecretText, Failure> {
    if file != Path::new(STANDARD) {
        return Ok(tls::load_key(file)?);
    }
    let mut text = String::new();
    let failed = |source| Failure::Read { path: PathBuf::from("the standard input"), source };
    io::stdin().take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(SecretText::new(text))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_copy_is_its_owners_alone_and_never_takes_the_place_of_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("root.key");
        let key = SecretText::new("the key\n");
        assert_eq!(write_copy(&file, &key).unwrap(), key);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write_copy(&file, &key).unwrap(), key, "again is no other");
        let other = write_copy(&file, &SecretText::new("another"));
        assert!(matches!(other, Err(Failure::KeyFileExists { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "the key\n");
    }
}
