//! `humed-agent check-config`: where its verdict goes, and how it ends.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, also what stands outside of a test function"
)]

use std::process::{Command, Output};

fn check(text: &str) -> (String, Output) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_humed-agent"));
    let output = command.env_clear().args(["check-config", "--config"]).arg(&file).output().unwrap();
    (file.display().to_string(), output)
}

#[test]
fn a_good_configuration_is_ok_on_stdout_and_a_bad_one_is_said_on_stderr() {
    let (file, good) = check("host = \"web1\"\n");
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert_eq!((String::from_utf8(good.stdout).unwrap(), good.stderr), (format!("{file}: ok\n"), vec![]));
    for text in [
        "[log]\nlevel = \"loud\"\n",
        "[[runs]]\ntasks = []\n",
        "[runs]\nmax_runtime = \"2h\"\n",
        "[master]\n",
    ] {
        let (_, bad) = check(text);
        let said = String::from_utf8(bad.stderr).unwrap();
        assert_eq!((bad.status.code(), bad.stdout), (Some(78), vec![]), "{text}: {said}");
        assert!(said.starts_with("humed-agent: ") && said.lines().count() == 1, "{said}");
    }
}
