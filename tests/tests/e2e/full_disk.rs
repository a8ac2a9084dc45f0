//! A full disk of the host: the guest waits for space under QEMU, its writes fail under libkrun, and msb removes it.

use std::fs;
use tests::Project;

const SANDBOXFILE: &str = r#"
project "full"
sandbox "box" { image "@image"; memory "128M"; disk "256M"; start "sleep" "1000000"; healthcheck { exec "true" } }
"#;

/// Creates a project on a small file system. `None` if none can be mounted, or if the host uses another driver.
fn project_of(driver: &str, mib: u32, inodes: u32) -> Option<Project> {
    Project::with_small_home(SANDBOXFILE, mib, inodes).filter(|project| project.driver() == driver)
}

/// Writes more than the host's free space.
const WRITE: [&str; 6] = [
    "exec",
    "box",
    "--",
    "sh",
    "-c",
    "dd if=/dev/urandom of=/data bs=1M count=20 && sync && md5sum </data >/sum",
];

#[test]
fn a_guest_waits_for_space_on_the_host_and_goes_on() {
    let Some(project) = project_of("qemu", 64, 2000) else { return };
    project.up();
    let ballast = project.small_home().fill();
    // A little space, so that the guest begins to write.
    let length = fs::metadata(&ballast).expect("a file").len();
    let file = fs::File::options().write(true).open(&ballast).expect("a file");
    file.set_len(length - (5 << 20)).expect("a file of this user");
    // The space is free when the file is closed.
    drop(file);
    let writing = project.msb(&WRITE).start();
    project.wait_for_output(&["ps"], "waiting (the host's disk is full)");
    assert_eq!(project.list()[0]["host_disk_full"], "guest_waits");
    for arguments in [&["logs", "box", "--source", "kernel"][..], &["ps", "--all"], &["inspect", "box"]] {
        project.ok(arguments);
    }
    project.wait_for_output(&["events"], "the host's disk is full: the guest waits until there is space");
    project
        .run(&["exec", "box", "--", "true"])
        .exits(11)
        .says("box does not answer: the host's disk is full");

    fs::remove_file(&ballast).expect("a file of this user");
    writing.finish().ok();
    project.wait_for_output(&["ps"], "running");
    project.wait_for_output(&["events"], "the host's disk has space again");
    // No write is lost.
    let sums = project.exec("box", &["sh", "-c", "cat /sum; md5sum </data"]);
    let (written, read) = sums.split_once('\n').expect("two lines");
    assert_eq!(written, read);

    // A waiting guest cannot shut down and is stopped without a grace period.
    project.small_home().fill();
    let writing = project.msb(&WRITE).start();
    project.wait_for_output(&["ps"], "waiting (the host's disk is full)");
    project.ok(&["stop", "box"]);
    drop(writing.finish());
    project.ok(&["image", "prune"]);
    project.ok(&["down"]);
    fs::remove_file(&ballast).expect("a file of this user");
    project.down();
}

#[test]
fn a_waiting_sandbox_is_removed_from_a_full_disk() {
    for down in [&["rm", "-f", "box"][..], &["down"]] {
        let Some(project) = project_of("qemu", 40, 2000) else { return };
        project.up();
        let ballast = project.small_home().fill();
        let writing = project.msb(&WRITE).start();
        project.wait_for_output(&["ps"], "waiting (the host's disk is full)");
        project.ok(down);
        drop(writing.finish());
        fs::remove_file(&ballast).expect("a file of this user");
        project.down();
    }
}

#[test]
fn writes_fail_under_libkrun_and_the_sandbox_is_removed() {
    let Some(project) = project_of("krun", 64, 2000) else { return };
    project.up();
    let ballast = project.small_home().fill();
    let writing = project.run(&WRITE);
    assert_ne!(writing.code, 0, "{}", writing.out());
    project.wait_for_output(&["ps"], "running (the host's disk is full)");
    project.wait_for_output(&["events"], "the host's disk is full: the guest's writes fail");
    for arguments in [&["logs", "box", "--source", "kernel"][..], &["ps", "--all"], &["inspect", "box"]] {
        project.ok(arguments);
    }
    project.ok(&["stop", "box"]);
    project.ok(&["image", "prune"]);
    project.ok(&["down"]);
    fs::remove_file(&ballast).expect("a file of this user");

    // With free space it starts and writes again.
    project.up();
    project.ok(&WRITE);
    project.down();
}

#[test]
fn a_sandbox_is_inspected_and_removed_without_free_inodes() {
    let Some(project) = Project::with_small_home(SANDBOXFILE, 64, 200) else { return };
    project.up();
    let crowd = project.small_home().use_up_inodes();
    project.wait_for_output(&["ps"], "running");
    assert_eq!(project.exec("box", &["hostname"]), "box");
    project.ok(&["logs", "box"]);
    project.ok(&["stop", "box"]);
    project.ok(&["down"]);
    fs::remove_dir_all(&crowd).expect("files of this user");
    project.down();
}
