//! Documents against the repository: links, the length of the README, the table of crates.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use tests::document::{self, Document};
use tests::installation;

#[test]
fn the_readme_is_short_and_begins_with_the_two_commands() {
    let readme = Document::open("README.md");
    assert!(readme.text.len() <= 10_000, "{} bytes", readme.text.len());
    let first = readme.blocks().into_iter().next().expect("it has blocks");
    assert!(
        first.line <= 20 && first.text.contains("make up") && first.text.contains("make test"),
        "{first:?}"
    );
}

#[test]
fn links_have_targets() {
    for name in document::all() {
        let document = Document::open(&name);
        for (path, anchor) in document.links() {
            let target = document.resolve(&path);
            assert!(target.exists(), "{name}: {path} does not exist");
            if !anchor.is_empty() {
                let target =
                    Document { name: path.clone(), text: fs::read_to_string(&target).expect("a document") };
                assert!(target.anchors().contains(&anchor), "{name}: {path} has no heading {anchor}");
            }
        }
    }
}

#[test]
fn dependencies_between_crates_are_those_of_the_architecture() {
    let text = Document::open("docs/architecture.md").text;
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let described: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            (cells[1].trim().trim_matches('`').to_owned(), code(cells[3]))
        })
        .collect();

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output =
        Command::new(cargo).args(arguments).current_dir(installation::root()).output().expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let actual: BTreeMap<_, _> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("a list").iter();
            let own = dependencies
                .filter(|dependency| dependency["kind"].is_null() && !dependency["path"].is_null());
            (name(package), own.map(name).collect::<BTreeSet<_>>())
        })
        .collect();
    assert_eq!(described, actual, "left: docs/architecture.md, right: the manifests");
}
