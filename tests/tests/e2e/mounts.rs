//! Files of the host and directory volumes in a guest: what the guest sees, and what the host has.
//!
//! The policies in all their combinations are the file system's own tests; these show that each part of the way to it
//! works in a real guest.

use rustix::fs::getxattr;
use rustix::io::Errno;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use tests::wait::retry;
use tests::{Project, leftovers};

/// The mounts that only show how many there can be.
const MORE: usize = 20;

/// The attribute with the guest's owner and mode.
const OVERRIDE: &str = "user.msb.override_stat";

fn sandboxfile() -> String {
    let more: String =
        (0..MORE).map(|n| format!("mount \"./more/{n}\" to=\"/more/{n}\" readonly=#true\n")).collect();
    format!(
        r#"
        project "mounts"
        volume "data"
        volume "modules" size="64M" kind="directory"
        volume "disk" size="64M"
        sandbox "box" {{
            image "@image"
            start "sh" "/code/serve"
            restart "on-failure"
            healthcheck {{ exec "test" "-e" "/rw/started"; interval "100ms" }}
            mount "./rw" to="/rw" noexec=#true nosuid=#true nodev=#true
            mount "./code" to="/code" readonly=#true
            mount "./settings" to="/etc/app/settings"
            mount "./hosts" to="/etc/hosts"
            mount "./mirror" to="/mirror" host-perms="mirror"
            mount "./relaxed" to="/relaxed" stat-virt="relaxed"
            mount "./off" to="/off" stat-virt="off"
            mount "./foreign" to="/foreign" readonly=#true stat-virt="off"
            mount "./quota" to="/quota" size="4M"
            mount "./owned" to="/owned" uid=1000 gid=1000
            mount "modules" to="/tmp"
            mount "data" to="/data"
            mount "./seed" to="/data/seed"
            mount "disk" to="/rw/disk"
            {more}
        }}
        sandbox "other" {{
            image "@image"
            mount "data" to="/shared" readonly=#true
        }}
        "#
    )
}

const FOLDERS: [&str; 8] = ["rw", "code", "mirror", "relaxed", "off", "foreign", "quota", "owned"];

/// The project with the host's files, not started yet.
fn project() -> Project {
    let project = Project::new(&sandboxfile());
    let path = |name: &str| project.directory().join(name);
    for folder in FOLDERS.iter().chain(&["seed", "more"]) {
        fs::create_dir(path(folder)).expect("a new directory");
    }
    for n in 0..MORE {
        fs::create_dir(path("more").join(n.to_string())).expect("a new directory");
        project.write(&format!("more/{n}/number"), &n.to_string());
    }
    project.write("code/serve", "echo served from the host; touch /rw/started; exec sleep 1000000\n");
    project.write("settings", "colour = blue\n");
    project.write("hosts", "127.0.0.1 localhost\n10.9.8.7 elsewhere\n");
    project.write("rw/seen", "from the host\n");
    project.write("seed/first", "seed\n");
    project.write("owned/file", "owned\n");
    project.write("foreign/file", "foreign\n");
    set_mode(&path("rw/seen"), 0o640);
    // Only root can give files away; the policy is the same for files of one's own.
    let _ = std::os::unix::fs::chown(path("foreign"), Some(4321), Some(4322));
    set_mode(&path("foreign"), 0o1777);
    project
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of this user");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("a file").mode() & 0o7777
}

/// Runs a script in the sandbox and returns its output.
fn sh(project: &Project, script: &str) -> String {
    project.exec("box", &["sh", "-c", script])
}

/// Runs a script that fails, and asserts on its message.
fn refused(project: &Project, script: &str, message: &str) {
    let run = project.run(&["exec", "box", "--", "sh", "-c", script]);
    if run.code == 0 {
        run.fail("expected a failure");
    }
    run.says(message);
}

/// Returns the owner, the mode and the device that a host file has for the guest.
fn overridden(path: &Path) -> [u32; 4] {
    let mut bytes = [0; 64];
    let length = getxattr(path, OVERRIDE, &mut bytes[..]).expect("an attribute");
    assert_eq!((length, &bytes[..4]), (20, &[1, 0, 0, 0][..]));
    [4, 8, 12, 16].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

#[test]
fn files_of_the_host_and_volumes_are_mounted_as_declared() {
    let project = project();
    let path = |name: &str| project.directory().join(name);
    project.up();
    project.ok(&["logs", "box"]).prints("served from the host\n");

    mounted(&project);
    strict(&project, &path("rw"));
    mirror(&project, &path("mirror"));
    relaxed(&project, &path("relaxed"));
    off(&project, &path("off"));
    read_only(&project, &path("code"));
    limited_and_owned(&project, &path("quota"));
    copied(&project, &path("rw"));
    volumes(&project);
    killed(&project, &path("rw"));

    project.ok(&["down"]);
    assert_eq!(
        fs::read_to_string(path("hosts")).expect("a file"),
        "127.0.0.1 localhost\n10.9.8.7 elsewhere\n"
    );
    project.up();
    assert_eq!(sh(&project, "cat /data/kept /data/seed/first; ls -A /rw/disk /tmp"), KEPT);
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
    // Files of the host stay.
    assert_eq!(fs::read_to_string(path("seed/first")).expect("a file"), "seed\n");
}

const KEPT: &str = "kept\nseed\n/rw/disk:\non-disk\n\n/tmp:\nmodule";

/// All mounts are there, with their flags, one device for all.
fn mounted(project: &Project) {
    let mounts = sh(project, "grep ' virtiofs ' /proc/mounts");
    let of = |destination: &str| {
        let is_of = |line: &&str| line.split(' ').nth(1) == Some(destination);
        mounts.lines().find(is_of).unwrap_or_else(|| panic!("{destination} is missing:\n{mounts}"))
    };
    assert_eq!(mounts.lines().count(), MORE + 13, "{mounts}");
    assert!(of("/rw").starts_with("msb-mounts /rw virtiofs rw,nosuid,nodev,noexec,"), "{mounts}");
    assert!(of("/code").starts_with("msb-mounts /code virtiofs ro,noatime"), "{mounts}");
    assert!(of("/etc/app/settings").contains(" rw,"), "{mounts}");
    // One request of the largest size instead of several.
    let ahead =
        "device=$(stat -c %d /rw); cat /sys/class/bdi/$((device >> 8)):$((device & 255))/read_ahead_kb";
    assert_eq!(sh(project, ahead), "1024");
    let numbers: Vec<_> = (0..MORE).map(|n| n.to_string()).collect();
    let all = (0..MORE).map(|n| format!("/more/{n}/number")).collect::<Vec<_>>().join(" ");
    let read = sh(project, &format!("for file in {all}; do cat $file; echo; done"));
    assert_eq!(read.lines().collect::<Vec<_>>(), numbers);
    // A single file, a mount point of which was not in the image, and one that was.
    assert_eq!(sh(project, "cat /etc/app/settings; grep -c . /etc/hosts"), "colour = blue\n2");
    sh(project, "echo 'colour = red' > /etc/app/settings");
    assert_eq!(fs::read_to_string(project.directory().join("settings")).expect("a file"), "colour = red\n");
}

/// Owners, modes and devices are in an attribute, and the host's files private.
fn strict(project: &Project, folder: &Path) {
    let seen = sh(
        project,
        "cd /rw; cat seen; stat -c '%u:%g %a' seen
        echo new > new; chown 1000:1001 new; chmod 4711 new; stat -c '%u:%g %a' new
        mkdir dir; chmod 2711 dir; stat -c '%u:%g %a' dir
        ln -s ../target link; readlink link
        mknod null c 1 3; stat -c '%F %t,%T' null; mkfifo pipe; stat -c %F pipe
        echo secret > secret; chmod 600 secret; su app -c 'cat /rw/secret' 2>&1 || echo denied
        ls -A",
    );
    assert_eq!(
        seen,
        "from the host\n0:0 640\n1000:1001 4711\n0:0 2711\n../target\ncharacter special file 1,3\nfifo\n\
         cat: can't open '/rw/secret': Permission denied\ndenied\n\
         dir\ndisk\nlink\nnew\nnull\npipe\nsecret\nseen\nstarted"
    );
    let path = |name: &str| folder.join(name);
    let me = fs::metadata(folder).expect("a directory");
    for name in ["new", "link", "null", "pipe", "secret"] {
        let file = fs::symlink_metadata(path(name)).expect("a file");
        assert!(file.is_file(), "{name}");
        assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (0o600, me.uid(), me.gid()), "{name}");
    }
    assert_eq!((mode(&path("dir")), mode(&path("seen"))), (0o700, 0o640));
    assert_eq!(overridden(&path("new")), [1000, 1001, 0o104_711, 0]);
    assert_eq!(overridden(&path("dir")), [0, 0, 0o042_711, 0]);
    assert_eq!(overridden(&path("link"))[2], 0o120_777);
    assert_eq!(overridden(&path("null"))[2..], [0o020_644, 0x103]);
    assert_eq!(overridden(&path("pipe"))[2] & 0o170_000, 0o010_000);
    // The flags of the mount hold: `nodev` and `noexec`.
    refused(project, "cat /rw/null", "Permission denied");
    refused(
        project,
        "cp /bin/busybox /rw/busybox && chmod 755 /rw/busybox && /rw/busybox true",
        "Permission denied",
    );
    fs::remove_file(path("busybox")).expect("a file");
}

/// The host's modes follow, but never owners or special bits.
fn mirror(project: &Project, folder: &Path) {
    sh(project, "cd /mirror; mkdir dir; touch file; chown 1000 file; chmod 4004 file; chmod 1055 dir");
    assert_eq!((mode(&folder.join("file")), mode(&folder.join("dir"))), (0o604, 0o755));
    let file = fs::metadata(folder.join("file")).expect("a file");
    assert_eq!(file.uid(), fs::metadata(folder).expect("a directory").uid());
    assert_eq!(overridden(&folder.join("file"))[..3], [1000, 0, 0o104_004]);
}

/// Links are the host's own.
fn relaxed(project: &Project, folder: &Path) {
    let seen = sh(
        project,
        "cd /relaxed; ln -s target link; readlink link; touch file; chown 7:8 file; stat -c %u:%g file",
    );
    assert_eq!(seen, "target\n7:8");
    assert_eq!(fs::read_link(folder.join("link")).expect("a link"), Path::new("target"));
    assert_eq!(overridden(&folder.join("file"))[..2], [7, 8]);
}

/// Everything is the host's own.
fn off(project: &Project, folder: &Path) {
    symlink("target", folder.join("link")).expect("a new link");
    let owner =
        fs::metadata(folder).map(|found| format!("{}:{}", found.uid(), found.gid())).expect("a directory");
    let seen = sh(
        project,
        "cd /off; readlink link; touch file; chmod 4751 file; stat -c '%u:%g %a' file
        stat -c '%u:%g %a' /foreign; cat /foreign/file",
    );
    let foreign = fs::metadata(folder.with_file_name("foreign")).expect("a directory");
    assert_eq!(
        seen,
        format!(
            "target\n{owner} {:o}\n{}:{} 1777\nforeign",
            mode(&folder.join("file")),
            foreign.uid(),
            foreign.gid()
        )
    );
    assert_eq!(mode(&folder.join("file")) & 0o777, 0o751);
    refused(project, "chown 1000 /off/file", "Operation not permitted");
    refused(project, "mknod /off/null c 1 3", "Operation not supported");
    refused(project, "touch /foreign/new", "Read-only file system");
    let attribute = getxattr(folder.join("file"), OVERRIDE, &mut [0; 64][..]);
    assert_eq!(attribute, Err(Errno::NODATA));
}

/// The host decides, whatever root does in the guest.
fn read_only(project: &Project, folder: &Path) {
    let before = fs::metadata(folder).and_then(|found| found.modified()).expect("a directory");
    refused(project, "echo > /code/new", "Read-only file system");
    for change in ["touch /code/new", "rm /code/serve", "chmod 777 /code/serve", "ln /code/serve /code/link"]
    {
        refused(project, &format!("mount -o remount,bind,rw /code && {change}"), "Read-only file system");
    }
    sh(project, "mount -o remount,bind,ro /code");
    assert_eq!(fs::metadata(folder).and_then(|found| found.modified()).expect("a directory"), before);
    assert_eq!(fs::read_dir(folder).expect("a directory").count(), 1);
}

/// A mount that is full leaves the others alone; files without an owner have the declared one.
fn limited_and_owned(project: &Project, quota: &Path) {
    refused(project, "dd if=/dev/zero of=/quota/large bs=1M count=8", "No space left on device");
    let large = fs::metadata(quota.join("large")).expect("a file");
    assert!(large.len() <= 4 << 20, "{} bytes", large.len());
    assert_eq!(sh(project, "echo > /rw/after && rm /rw/after; stat -c %u:%g /owned/file"), "1000:1000");
    sh(project, "rm /quota/large; dd if=/dev/zero of=/quota/again bs=1M count=3");
}

/// `msb cp` goes through mounts in both directions.
fn copied(project: &Project, folder: &Path) {
    project.write("sent", "sent by cp\n");
    project.ok(&["cp", "sent", "box:/rw/sent"]);
    assert_eq!(fs::read_to_string(folder.join("sent")).expect("a file"), "sent by cp\n");
    project.ok(&["cp", "box:/rw/new", "received"]);
    let received = fs::read_to_string(project.directory().join("received")).expect("a file");
    assert_eq!(received, "new\n");
}

/// Directories are shared by sandboxes; mounts nest in each other whatever they are.
fn volumes(project: &Project) {
    // A new volume is root's, unless it covers a directory of the image, whose owner and mode it gets then.
    assert_eq!(sh(project, "stat -c '%u:%g %a' /data /tmp"), "0:0 755\n0:0 1777");
    sh(project, "echo kept > /data/kept; echo > /tmp/module; echo > /rw/disk/on-disk; sync");
    assert_eq!(project.exec("other", &["cat", "/shared/kept"]), "kept");
    let run = project.run(&["exec", "other", "--", "touch", "/shared/new"]);
    run.exits(1).says("Read-only file system");
    let data = project.home().join("volumes/mounts-data");
    assert_eq!((mode(&data), mode(&data.join("data/kept"))), (0o700, 0o600));
    // The mount point is in the volume, what is mounted there is not.
    assert_eq!(fs::read_dir(data.join("data/seed")).expect("a directory").count(), 0);
    assert_eq!(sh(project, "cat /data/seed/first"), "seed");
    let in_use = project.run(&["exec", "box", "--", "rmdir", "/data/seed"]);
    in_use.exits(1).says("Device or resource busy");
}

/// Without its file server a sandbox ends with the reason, and its policy restarts it; both end with their supervisor.
/// Synced data are on the host.
fn killed(project: &Project, folder: &Path) {
    let boot = project.boot_id("box");
    sh(project, "dd if=/dev/zero of=/rw/synced bs=64k count=10 conv=fsync");
    project.file_server("box").kill();
    let reason = "the file server of the mounts was ended by signal 9";
    project.wait_for_output(&["logs", "box", "--source", "system"], reason);
    retry(|| {
        let run = project.run(&["exec", "box", "--", "cat", "/proc/sys/kernel/random/boot_id", "/rw/seen"]);
        let is_new = run.code == 0 && run.out() != format!("{boot}\nfrom the host\n");
        if is_new { Ok(()) } else { Err(format!("{run:?}")) }
    });
    assert_eq!(fs::metadata(folder.join("synced")).expect("a file").len(), 640 << 10);
    assert_eq!(sh(project, "stat -c '%u:%g %a' /rw/new; rm /rw/synced"), "1000:1001 4711");

    sh(project, "dd if=/dev/zero of=/rw/again bs=64k count=10 conv=fsync");
    let (server, processes) = (project.file_server("box"), project.processes("box"));
    processes.supervisor.kill();
    // Nothing outlives its supervisor, and the next command takes over.
    server.wait_for_end();
    processes.vmm.wait_for_end();
    assert_eq!(fs::metadata(folder.join("again")).expect("a file").len(), 640 << 10);
    fs::remove_file(folder.join("again")).expect("a file");
}
