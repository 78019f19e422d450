//! `humed-master check-config`: where its verdict goes, and how it ends.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

use std::path::Path;
use std::process::{Command, Output};

use hume_runtime::pki::{self, Authority};
use hume_runtime::{clock, tls};

fn certificates(folder: &Path) {
    tls::install_provider();
    let ca = Authority::create("hume", clock::now()).unwrap();
    let server = ca.issue_server(&["localhost".to_owned()], &[], clock::now()).unwrap();
    std::fs::write(folder.join("ca.pem"), ca.certificate_pem()).unwrap();
    std::fs::write(folder.join("master.pem"), &server.certificate_pem).unwrap();
    pki::write_secret(&folder.join("master.key"), server.key_pem.expose().as_bytes()).unwrap();
}

fn check(file: &Path, more: &str) -> Output {
    let tls = "[tls]\nca = \"ca.pem\"\ncertificate = \"master.pem\"\nkey = \"master.key\"\n";
    std::fs::write(file, format!("{tls}{more}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_humed-master"));
    command.env_clear().args(["check-config", "--config"]).arg(file).output().unwrap()
}

#[test]
fn a_good_configuration_is_ok_on_stdout_and_a_bad_one_is_said_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("master.toml");
    let is_refused = |more: &str| {
        let bad = check(&file, more);
        let said = String::from_utf8(bad.stderr).unwrap();
        assert_eq!((bad.status.code(), bad.stdout), (Some(78), vec![]), "{more}: {said}");
        assert!(said.starts_with("humed-master: ") && said.lines().count() == 1, "{said}");
    };
    // The files are not there yet.
    is_refused("");
    certificates(folder.path());
    let good = check(&file, "");
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let said = String::from_utf8(good.stdout).unwrap();
    assert_eq!((said, good.stderr), (format!("{}: ok\n", file.display()), vec![]));
    for more in ["[log]\nlevel = \"loud\"\n", "[[runs]]\ntasks = []\n", "[store]\npaht = \"x\"\n"] {
        is_refused(more);
    }
}
