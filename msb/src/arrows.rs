//! Tests of the dependencies between crates, direct and indirect. `docs/architecture.md` lists the direct ones, and the
//! end-to-end tests compare it with the manifests.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Additional dependencies of tests. The tests of every crate may use `tests`.
const ALLOWED_IN_TESTS: &[(&str, &str)] = &[("executor-share", "executor-vm"), ("planner", "sandboxfile")];

/// Crates that a crate must not depend on, not even indirectly.
const NEVER_BELOW: &[(&str, &[&str])] = &[
    ("executor", &["planner", "sandboxfile"]),
    (
        "executor-client",
        &["executor-image", "executor-net", "executor-registry", "executor-vm", "sandboxfile"],
    ),
    ("planner", &["executor-fs", "executor-host", "protocol", "sandboxfile"]),
    ("agentd", &["schemas"]),
];

/// External crates that only one crate may depend on.
const SOLE_USERS: &[(&str, &str)] = &[
    ("clap", "msb"),
    ("granit-parser", "sandboxfile"),
    ("libkrun", "executor-vm"),
    ("rusqlite", "executor"),
    ("smoltcp", "executor-net"),
];

/// Names of the dependencies of one crate.
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
fn tests_add_only_allowed_dependencies() {
    let crates = workspace();
    for (from, dependencies) in &crates {
        for to in dependencies.dev.iter().filter(|to| crates.contains_key(*to)) {
            let is_allowed = to == "tests" || ALLOWED_IN_TESTS.contains(&(from.as_str(), to.as_str()));
            assert!(is_allowed, "a new dependency of tests: {from} -> {to}");
        }
    }
}

#[test]
fn crates_stay_independent() {
    let crates = workspace();
    for (top, never) in NEVER_BELOW {
        let (mut below, mut next) = (BTreeSet::new(), vec![*top]);
        while let Some(name) = next.pop() {
            let dependencies = crates[name].normal.iter().map(String::as_str);
            next.extend(dependencies.filter(|to| crates.contains_key(*to) && below.insert(*to)));
        }
        for name in *never {
            assert!(crates.contains_key(*name), "there is no crate {name}");
            assert!(!below.contains(name), "{top} depends on {name}");
        }
    }
    for (name, user) in SOLE_USERS {
        let users: Vec<_> =
            crates.iter().filter(|(_, dependencies)| dependencies.normal.contains(*name)).collect();
        assert!(users.iter().all(|(other, _)| other == user), "{name} is used outside {user}");
        assert!(!users.is_empty(), "nothing uses {name} any more");
    }
}
