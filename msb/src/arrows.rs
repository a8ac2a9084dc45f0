//! Crates that must stay apart, directly and by way of others. `docs/architecture.md` lists all direct arrows, and the
//! end-to-end tests compare it with the manifests.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Further arrows for tests. Every crate's tests may use `tests`.
const ALLOWED_IN_TESTS: &[(&str, &str)] = &[("planner", "sandboxfile")];

/// Crates that are never below a crate, by whatever way.
const NEVER_BELOW: &[(&str, &[&str])] = &[
    ("executor", &["planner", "sandboxfile"]),
    (
        "executor-client",
        &["executor-image", "executor-net", "executor-registry", "executor-vm", "sandboxfile"],
    ),
    ("planner", &["executor-fs", "executor-host", "protocol", "sandboxfile"]),
    ("agentd", &["schemas"]),
];

/// Crates of others that one crate alone may depend on.
const SOLE_USERS: &[(&str, &str)] = &[
    ("clap", "msb"),
    ("granit-parser", "sandboxfile"),
    ("libkrun", "executor-vm"),
    ("rusqlite", "executor"),
    ("smoltcp", "executor-net"),
];

/// The dependencies of one crate, by name.
#[derive(Default)]
struct Dependencies {
    normal: BTreeSet<String>,
    dev: BTreeSet<String>,
}

/// Reads the manifests of the workspace.
fn workspace() -> BTreeMap<String, Dependencies> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies: &mut Dependencies = crates.entry(name(package)).or_default();
        for dependency in package["dependencies"].as_array().unwrap() {
            let of_kind = match dependency["kind"].as_str() {
                Some("dev") => &mut dependencies.dev,
                _ => &mut dependencies.normal,
            };
            of_kind.insert(name(dependency));
        }
    }
    crates
}

#[test]
fn tests_add_no_other_arrows() {
    let crates = workspace();
    for (from, dependencies) in &crates {
        for to in dependencies.dev.iter().filter(|to| crates.contains_key(*to)) {
            let is_allowed = to == "tests" || ALLOWED_IN_TESTS.contains(&(from.as_str(), to.as_str()));
            assert!(is_allowed, "a new arrow for tests: {from} -> {to}");
        }
    }
}

#[test]
fn rooms_stay_apart() {
    let crates = workspace();
    for (top, never) in NEVER_BELOW {
        let (mut below, mut next) = (BTreeSet::new(), vec![*top]);
        while let Some(name) = next.pop() {
            let dependencies = crates[name].normal.iter().map(String::as_str);
            next.extend(dependencies.filter(|to| crates.contains_key(*to) && below.insert(*to)));
        }
        for name in *never {
            assert!(crates.contains_key(*name), "there is no crate {name}");
            assert!(!below.contains(name), "{name} is below {top}");
        }
    }
    for (name, user) in SOLE_USERS {
        let users: Vec<_> =
            crates.iter().filter(|(_, dependencies)| dependencies.normal.contains(*name)).collect();
        assert!(users.iter().all(|(other, _)| other == user), "{name} is used outside {user}");
        assert!(!users.is_empty(), "nothing uses {name} any more");
    }
}
