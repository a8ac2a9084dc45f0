//! For each trick of layers a guest sees the tree that `umoci unpack` creates. The golden file of these trees belongs to
//! the tests of the image store.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::layers::{TestLayer, tricks};
use tests::listing::agree;
use tests::oci::Layout;
use tests::{Project, installation};

/// Names in a guest's root that are not of its image: the lister and those of msb.
const BESIDE: [&str; 8] = ["lister", ".msb", "dev", "proc", "sys", "run", "etc", "tmp"];

/// Returns a layer with the lister and its libraries.
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
    TestLayer::plain(builder.into_inner().expect("it is in memory"))
}

/// The name of the dynamic loader in that layer.
const LOADER: &str =
    if cfg!(target_arch = "aarch64") { "ld-linux-aarch64.so.1" } else { "ld-linux-x86-64.so.2" };

/// Returns the trees of umoci by the tricks' names, without the root's time: msb creates directories there.
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

/// Tricks whose trees consist of ordinary files, directories and links, but are large or merged.
const ORDINARY: [&str; 3] = [
    "an opaque directory",
    "symbolic links of all lengths",
    "a large file, replaced by a small one, and an empty one",
];

/// Whether a tree has an entry that a kernel might read differently: anything but ordinary modes, owners and times.
fn is_special(tree: &str) -> bool {
    let is_ordinary = |line: &str| {
        let has_mode = [" 0644 0:0 ", " 0755 0:0 ", " 0777 0:0 "].iter().any(|mode| line.contains(mode));
        has_mode && (line.ends_with(" -") || line.ends_with(".000000000"))
    };
    !tree.lines().all(is_ordinary)
}

/// The image store's tests compare the trees of all tricks. Guests are booted for those that a kernel might read
/// differently.
#[test]
fn a_guest_sees_the_tree_of_umoci() {
    let project = Project::new("");
    let (expected, lister) = (expected(), lister());
    let mut text = String::from("project \"tricks\"\n");
    let mut tricks = tricks();
    tricks.retain(|trick| is_special(&expected[trick.name]) || ORDINARY.contains(&trick.name));
    assert!(tricks.len() > 15, "{}", tricks.len());
    for (number, trick) in tricks.iter().enumerate() {
        let tree = &expected[trick.name];
        let beside: Vec<_> =
            BESIDE.iter().filter(|name| !tree.contains(&format!("\n/{name} "))).copied().collect();
        let layers: Vec<_> = trick.layers.iter().cloned().chain([lister.clone()]).collect();
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
