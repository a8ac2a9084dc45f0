//! Layer semantics: our image has the same tree as `umoci unpack` makes of the same layers.
//!
//! `golden/tricks.txt` contains umoci's trees. Our images are compared with it on every machine, without privilege; the
//! golden file itself is checked where umoci is installed and the test is root, which umoci needs to set owners.
//! `UPDATE_GOLDEN=1` rewrites it.

use crate::listing;
use crate::oci::{Store, umoci_unpack};
use crate::support::check;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tests::layers::{Packing, TestLayer, Trick, tricks};
use tests::listing::{agree, of_directory};
use tests::oci::Layout;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/images/golden/tricks.txt")
}

/// The sections of the golden file by title.
fn sections(text: &str) -> BTreeMap<&str, &str> {
    let sections = text.split("== ").skip(1);
    sections.map(|section| section.split_once(" ==\n").unwrap()).collect()
}

fn of_umoci(Trick { name: _, layers }: &Trick) -> String {
    let folder = tempfile::tempdir().unwrap();
    // Debian's umoci has no zstd; it gets the same archives with another compression.
    let layers: Vec<_> =
        layers.iter().map(|layer| TestLayer { tar: layer.tar.clone(), packing: Packing::Gzip }).collect();
    Layout::new(&folder.path().join("layout")).add("latest", &layers, &serde_json::json!({}));
    of_directory(&umoci_unpack(&folder.path().join("layout"), &folder.path().join("bundle")), &[])
}

#[test]
fn layer_semantics_match_umoci() {
    let expected = std::fs::read_to_string(golden()).unwrap();
    let expected = sections(&expected);
    let tricks = tricks();
    assert_eq!(tricks.len(), expected.len(), "tricks and sections of the golden file");
    let mut wrong = Vec::new();
    for Trick { name, layers } in &tricks {
        let store = Store::new(layers);
        let image = store.build().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        check(&image);
        let found = listing::of_image(&image);
        if !agree(expected[name], &found) {
            wrong.push(format!("{name}\n--- umoci\n{}--- ours\n{found}", expected[name]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tricks.len(), wrong.join("\n"));
}

#[test]
fn the_golden_trees_are_those_of_umoci() {
    let is_root = rustix::process::geteuid().is_root();
    let is_installed = std::process::Command::new("umoci").arg("--version").output().is_ok();
    if !is_root || !is_installed {
        eprintln!("not compared with umoci: it needs root, and umoci");
        return;
    }
    let text: String =
        tricks().iter().map(|trick| format!("== {} ==\n{}", trick.name, of_umoci(trick))).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden().parent().unwrap()).unwrap();
        std::fs::write(golden(), &text).unwrap();
    }
    let expected = std::fs::read_to_string(golden()).unwrap();
    let (found, expected) = (sections(&text), sections(&expected));
    let differ: Vec<_> = found.keys().filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(differ.is_empty(), "other than the golden file says, which UPDATE_GOLDEN=1 writes: {differ:?}");
}
