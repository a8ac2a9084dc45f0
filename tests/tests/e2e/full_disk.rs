//! The host's disk becomes full: the guest waits for space and goes on, msb says so, and always gets it down.
//!
//! QEMU holds the machine; under libkrun the guest's writes fail.

use std::fs;
use std::time::{Duration, Instant};
use tests::Project;

/// How long it may take until something is told of, on a busy host.
const TOLD_WITHIN: Duration = Duration::from_secs(120);

const SANDBOXFILE: &str = r#"
project "full"
sandbox "box" { image "@image"; memory "128M"; disk "256M"; start "sleep" "1000000"; healthcheck { exec "true" } }
"#;

/// Waits until `ps` says this of the sandbox.
fn until_ps_says(project: &Project, text: &str) {
    until_says(project, &["ps"], text);
}

fn until_says(project: &Project, arguments: &[&str], text: &str) {
    let began = Instant::now();
    loop {
        let run = project.ok(arguments);
        if run.out().contains(text) {
            return;
        }
        if began.elapsed() > TOLD_WITHIN {
            run.fail(&format!("it was to say {text:?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A project on a small file system, whose machines this driver runs; otherwise there is nothing to test here.
fn project_of(driver: &str, mib: u32, inodes: u32) -> Option<Project> {
    Project::with_small_home(SANDBOXFILE, mib, inodes).filter(|project| project.driver() == driver)
}

/// Writes more than the host has space for.
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
    // Some of it is given back, so that the guest begins.
    let length = fs::metadata(&ballast).expect("a file").len();
    let file = fs::File::options().write(true).open(&ballast).expect("a file");
    file.set_len(length - (5 << 20)).expect("a file can be cut");
    // Space is free once nobody has the file open.
    drop(file);
    let writing = project.msb(&WRITE).start();
    until_ps_says(&project, "waiting (the host's disk is full)");
    let ps = project.ok(&["ps", "--json"]).json();
    assert_eq!(ps["sandboxes"][0]["host_disk_full"], "guest_waits", "{ps}");
    for arguments in [&["logs", "box", "--source", "kernel"][..], &["ps", "--all"], &["inspect", "box"]] {
        project.ok(arguments);
    }
    until_says(&project, &["events"], "the host's disk is full: the guest waits until there is space");
    project.run(&["exec", "box", "--", "true"]).exits(1).says("box does not answer: the host's disk is full");

    fs::remove_file(&ballast).expect("a file can be removed");
    writing.finish().ok();
    until_ps_says(&project, "running");
    until_says(&project, &["events"], "the host's disk has space again");
    // Nothing of what was written is lost.
    let sums = project.exec("box", &["sh", "-c", "cat /sum; md5sum </data"]);
    let (written, read) = sums.split_once('\n').expect("two lines");
    assert_eq!(written, read);

    // Stopped while it waits: at once, since it hears nothing.
    project.small_home().fill();
    let writing = project.msb(&WRITE).start();
    until_ps_says(&project, "waiting (the host's disk is full)");
    project.ok(&["stop", "box"]);
    drop(writing.finish());
    project.ok(&["image", "prune"]);
    project.ok(&["down"]);
    fs::remove_file(&ballast).expect("a file can be removed");
    project.down();
}

#[test]
fn a_waiting_sandbox_is_removed_from_a_full_disk() {
    for down in [&["rm", "-f", "box"][..], &["down"]] {
        let Some(project) = project_of("qemu", 40, 2000) else { return };
        project.up();
        let ballast = project.small_home().fill();
        let writing = project.msb(&WRITE).start();
        until_ps_says(&project, "waiting (the host's disk is full)");
        project.ok(down);
        drop(writing.finish());
        fs::remove_file(&ballast).expect("a file can be removed");
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
    until_ps_says(&project, "running (the host's disk is full)");
    until_says(&project, &["events"], "the host's disk is full: the guest's writes fail");
    for arguments in [&["logs", "box", "--source", "kernel"][..], &["ps", "--all"], &["inspect", "box"]] {
        project.ok(arguments);
    }
    project.ok(&["stop", "box"]);
    project.ok(&["image", "prune"]);
    project.ok(&["down"]);
    fs::remove_file(&ballast).expect("a file can be removed");

    // With space again it starts anew, and keeps what it writes.
    project.up();
    project.ok(&WRITE);
    project.down();
}

#[test]
fn a_sandbox_is_looked_at_and_removed_without_an_inode_left() {
    let Some(project) = Project::with_small_home(SANDBOXFILE, 64, 200) else { return };
    project.up();
    let crowd = project.small_home().use_up_inodes();
    until_ps_says(&project, "running");
    assert_eq!(project.exec("box", &["hostname"]), "box");
    project.ok(&["logs", "box"]);
    project.ok(&["stop", "box"]);
    project.ok(&["down"]);
    fs::remove_dir_all(&crowd).expect("files can be removed");
    project.down();
}
