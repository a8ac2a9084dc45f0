//! Programs that put a file system to the test, on a mount and on a directory volume: git, tar, rm and SQLite.
//!
//! `make suites ARGS=tools` does the same with npm and PostgreSQL as well.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tests::process::Process;
use tests::wait::retry;
use tests::{Project, installation, leftovers};

/// The descriptors that a file server may have more of than at its start.
const SPARE: usize = 8;

#[test]
fn git_tar_rm_and_sqlite_work_and_leave_no_descriptors() {
    let project = Project::new("");
    let image = project.image_of("devserver", "image");
    add_programs(&image, &["git", "tar"]);
    // A clone starts it by this name.
    symlink("git", image.join("usr/bin/git-upload-pack")).expect("a new link");
    symlink("git", image.join("usr/bin/git-receive-pack")).expect("a new link");
    project.write(
        "Sandboxfile",
        r#"
        project "tools"
        volume "data"
        sandbox "box" {
            image "./image"
            mount "./guest" to="/tools" readonly=#true
            mount "./files" to="/files"
            mount "data" to="/data"
        }
        "#,
    );
    let path = |name: &str| project.directory().join(name);
    fs::create_dir(path("files")).expect("a new directory");
    fs::create_dir(path("guest")).expect("a new directory");
    for script in ["tools.sh", "wal.py"] {
        let from = installation::root().join("tests/guest").join(script);
        fs::copy(from, path("guest").join(script)).expect("the file can be copied");
    }
    project.up();
    let server = project.file_server("box");
    let before = descriptors(server);
    for _round in ["first", "second"] {
        for folder in ["/files", "/data"] {
            project.ok(&["exec", "box", "--", "sh", "/tools/tools.sh", folder]).prints_some("done\n");
        }
    }
    // The guest forgets all files that it knows.
    project.exec("box", &["sh", "-c", "sync; echo 3 >/proc/sys/vm/drop_caches"]);
    retry(|| match descriptors(server) {
        count if count <= before + SPARE => Ok(()),
        count => Err(format!("{count} descriptors, {before} at the start")),
    });
    assert_eq!(fs::read_dir(path("files")).expect("a directory").count(), 0);
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

/// Copies programs of this machine into an image.
fn add_programs(image: &Path, programs: &[&str]) {
    let script = installation::root().join("tests/add-programs");
    let output = Command::new(script).arg(image).args(programs).output().expect("it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the number of open files of a process.
fn descriptors(process: Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.pid)).expect("a process of this user").count()
}
