//! Every crate keeps the lints of the workspace, and `unsafe` is allowed in one crate of tests alone.
//!
//! Cargo cannot take over a table and change a line of it, so that crate repeats all of them.

use toml::Value;

use crate::none_of;
use crate::rooms::{manifest, manifests};

/// It lies under SQLite as a file system, which is a table of C functions.
const MAY_BE_UNSAFE: &str = "tests/crash/Cargo.toml";

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    let root = manifest("Cargo.toml");
    let of_workspace = &root["workspace"]["lints"];
    let crates = manifests();
    none_of(
        &crates
            .iter()
            .filter_map(|(path, own)| judge(path, own.get("lints"), of_workspace))
            .collect::<Vec<_>>(),
    );
}

fn judge(path: &str, own: Option<&Value>, of_workspace: &Value) -> Option<String> {
    let inherits = |lints: &Value| lints.get("workspace").and_then(Value::as_bool) == Some(true);
    if path != MAY_BE_UNSAFE {
        return (!own.is_some_and(inherits)).then(|| format!("{path}: [lints] must be `workspace = true`"));
    }
    let mut expected = of_workspace.clone();
    expected["rust"]["unsafe_code"] = Value::from("allow");
    (own != Some(&expected))
        .then(|| format!("{path}: [lints] must be those of the workspace, but for unsafe_code"))
}

#[test]
fn a_crate_with_lints_of_its_own_is_found() {
    let table = |text: &str| Value::Table(text.parse().expect("TOML"));
    let workspace = table("[rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n");
    let judge = |path, own: &str| judge(path, Some(&table(own)), &workspace).is_none();
    assert!(judge("hume-core/Cargo.toml", "workspace = true"));
    assert!(!judge("hume-core/Cargo.toml", "[rust]\nunsafe_code = \"allow\"\nmissing_docs = \"warn\"\n"));
    assert!(judge(MAY_BE_UNSAFE, "[rust]\nunsafe_code = \"allow\"\nmissing_docs = \"warn\"\n"));
    assert!(!judge(MAY_BE_UNSAFE, "[rust]\nunsafe_code = \"allow\"\n"), "one was forgotten");
}
