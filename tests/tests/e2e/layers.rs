//! For each trick of layers: the tree that a guest sees is the one that `umoci unpack` makes of the same
//! layers. What umoci makes lies in a file beside the tests of the image store, which keep it true.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::layers::{Packing, TestLayer, tricks};
use tests::listing::agree;
use tests::oci::Layout;
use tests::{Project, installation};

/// What a guest finds right in its root beyond its image: what it lists with, and what msb puts there.
const BESIDE: [&str; 8] = ["lister", ".msb", "dev", "proc", "sys", "run", "etc", "tmp"];

/// A layer with the program that lists, and with what it is linked against.
fn lister() -> TestLayer {
    let program = installation::program().with_file_name("list");
    let linked = Command::new("ldd").arg(&program).output().expect("ldd is part of the C library");
    let linked = String::from_utf8(linked.stdout).expect("it prints paths");
    let mut files = vec![("list", program.display().to_string())];
    for path in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        files.push((path.rsplit('/').next().unwrap_or(path), path.to_owned()));
    }
    let mut builder = tar::Builder::new(Vec::new());
    for (name, path) in files {
        builder.append_path_with_name(&path, format!("lister/{name}")).expect("it can be read");
    }
    TestLayer { tar: builder.into_inner().expect("it is in memory"), packing: Packing::Zstd }
}

/// The name of the program that loads others, among the files of the layer.
const LOADER: &str =
    if cfg!(target_arch = "aarch64") { "ld-linux-aarch64.so.1" } else { "ld-linux-x86-64.so.2" };

/// The trees of umoci by the tricks' names. Nobody states when the root was last changed: msb puts folders there.
fn expected() -> BTreeMap<String, String> {
    let file = Path::new("executor/image/tests/images/golden/tricks.txt");
    let text = fs::read_to_string(installation::root().join(file)).expect("it is part of the tree");
    let sections = text.split("== ").skip(1).filter_map(|section| section.split_once(" ==\n"));
    sections
        .map(|(name, tree)| {
            let (root, rest) = tree.split_once('\n').expect("a root");
            let root = root.rsplit_once(' ').expect("it ends with a time").0;
            (name.to_owned(), format!("{root} -\n{rest}"))
        })
        .collect()
}

#[test]
fn a_guest_sees_the_tree_of_umoci_whatever_the_layers_play() {
    let project = Project::new("");
    let expected = expected();
    let mut text = String::from("project \"tricks\"\n");
    let tricks = tricks();
    for (number, trick) in tricks.iter().enumerate() {
        let tree = &expected[trick.name];
        let beside: Vec<_> =
            BESIDE.iter().filter(|name| !tree.contains(&format!("\n/{name} "))).copied().collect();
        let layers: Vec<_> = trick.layers.iter().cloned().chain([lister()]).collect();
        let folder = format!("t{number}");
        Layout::new(&project.directory().join(&folder)).add("latest", &layers, &serde_json::json!({}));
        let argv = format!("\"/lister/{LOADER}\" \"--library-path\" \"/lister\" \"/lister/list\"");
        let beside = beside.join("\" \"");
        let _ = writeln!(text, "job \"{folder}\" {{ image \"./{folder}\"; start {argv} \"{beside}\" }}");
    }
    project.write("Sandboxfile", &text);
    project.up();
    let mut wrong = Vec::new();
    for (number, trick) in tricks.iter().enumerate() {
        let found = project.ok(&["logs", "--raw", &format!("t{number}")]);
        if !agree(&expected[trick.name], found.out()) {
            wrong.push(format!(
                "{}\n--- umoci\n{}--- the guest\n{}",
                trick.name,
                expected[trick.name],
                found.out()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tricks.len(), wrong.join("\n"));
    project.down();
}
