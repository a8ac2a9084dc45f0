//! `msb cp` in both directions.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use tests::Project;

#[test]
fn files_are_copied_into_a_sandbox_and_back() {
    let project = Project::new("sandbox \"box\" { image \"@image\"; user \"app\" }\n");
    project.up();
    let tree = project.directory().join("tree");
    fs::create_dir_all(tree.join("sub/deep")).expect("a new directory");
    let large: Vec<u8> =
        (0..3_000_000).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(tree.join("sub/large"), &large).expect("a writable directory");
    fs::write(tree.join("run.sh"), "#!/bin/sh\necho ran\n").expect("a writable directory");
    fs::set_permissions(tree.join("run.sh"), fs::Permissions::from_mode(0o750)).expect("a file of this user");
    // A directory that only root can write to.
    fs::create_dir(tree.join("sealed")).expect("a new directory");
    fs::write(tree.join("sealed/note"), "sealed\n").expect("a writable directory");
    let set_mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of this user");
    };
    set_mode(&tree.join("sub/deep"), 0o711);
    set_mode(&tree.join("sealed"), 0o550);
    symlink("sub/large", tree.join("link")).expect("a new link");
    symlink("/no/such/place", tree.join("dangling")).expect("a new link");

    // Into an existing directory, and under a new name.
    project.ok(&["cp", "tree", "box:/tmp"]).says("5 files");
    project.ok(&["cp", "-q", "tree", "box:/tmp/other"]);
    for root in ["/tmp/tree", "/tmp/other"] {
        assert_eq!(project.exec("box", &[&format!("{root}/run.sh")]), "ran");
        assert_eq!(project.exec("box", &["readlink", &format!("{root}/dangling")]), "/no/such/place");
        let size = project.exec("box", &["stat", "-c", "%s %U", &format!("{root}/sub/large")]);
        assert_eq!(size, "3000000 app");
        let folders = ["sub/deep", "sealed", "sealed/note"].map(|name| format!("{root}/{name}"));
        let modes = project.exec("box", &["stat", "-c", "%a", &folders[0], &folders[1], &folders[2]]);
        assert_eq!(modes, "711\n550\n644");
    }
    // `/.` is the contents of a directory.
    project.exec("box", &["mkdir", "/tmp/flat"]);
    project.ok(&["cp", "tree/.", "box:/tmp/flat"]);
    assert_eq!(project.exec("box", &["ls", "/tmp/flat"]), "dangling\nlink\nrun.sh\nsealed\nsub");

    project.ok(&["cp", "box:/tmp/tree", "back"]);
    let back = project.directory().join("back");
    assert!(fs::read(back.join("sub/large")).is_ok_and(|bytes| bytes == large), "the bytes differ");
    let mode = |path: &str| fs::metadata(back.join(path)).expect(path).permissions().mode() & 0o7777;
    assert_eq!(["sub/deep", "sealed", "sealed/note"].map(mode), [0o711, 0o550, 0o644]);
    assert_eq!(fs::read_link(back.join("dangling")).expect("a link"), std::path::Path::new("/no/such/place"));
    assert_eq!(fs::read_link(back.join("link")).expect("a link"), std::path::Path::new("sub/large"));
    assert_eq!(fs::metadata(back.join("run.sh")).expect("a file").permissions().mode() & 0o7777, 0o750);
    // A single file, into a directory and under a new name.
    project.ok(&["cp", "box:/tmp/tree/run.sh", "."]);
    project.ok(&["cp", "box:/tmp/tree/run.sh", "renamed"]);
    assert_eq!(fs::read(project.directory().join("run.sh")).ok(), fs::read(tree.join("run.sh")).ok());
    assert!(project.directory().join("renamed").is_file());

    mistakes(&project);
    // Ordinary users could not remove them otherwise.
    for root in [&tree, &back] {
        set_mode(&root.join("sealed"), 0o750);
    }
    project.down();
}

fn mistakes(project: &Project) {
    project.run(&["cp", "tree", "other"]).exits(64).says("NAME:/path");
    project.run(&["cp", "box:/a", "box:/b"]).exits(64).says("both");
    project.run(&["cp", "tree", "box:tmp"]).exits(64).says("starts with `/`");
    project.run(&["cp", "box:/not/there", "."]).exits(1).says("/not/there");
    project.run(&["cp", "not-there", "box:/tmp"]).exits(1).says("not-there");
    project.run(&["cp", "tree/run.sh", "box:/tmp/missing/"]).exits(1).says("/tmp/missing/");
    project.run(&["cp", "tree", "bax:/tmp"]).exits(6).says("box");
}
