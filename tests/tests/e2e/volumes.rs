//! Volumes outlive sandboxes, belong to one writer, and go with `down -v`.

use std::os::unix::fs::MetadataExt;
use tests::{Project, leftovers};

const FILE: &str = r#"
project "shop"
volume "data" size="64M"
sandbox "db" {
    image "@image"
    mount "data" to="/data" noexec=#true nosuid=#true nodev=#true
}
"#;

#[test]
fn a_volume_outlives_its_sandboxes_and_grows() {
    let project = Project::new(FILE);
    project.up();
    let flags = project.exec("db", &["grep", " /data ", "/proc/mounts"]);
    assert!(flags.contains(" rw,nosuid,nodev,noexec"), "{flags}");
    project.exec("db", &["sh", "-c", "echo kept > /data/file"]);
    project.ok(&["down"]);
    project.up();
    assert_eq!(project.exec("db", &["cat", "/data/file"]), "kept");
    project.write("Sandboxfile", &FILE.replace("64M", "300M"));
    project.up();
    assert_eq!(project.exec("db", &["cat", "/data/file"]), "kept");
    let room = project.exec("db", &["sh", "-c", "df -m /data | tail -1 | awk '{print $2}'"]);
    assert!(room.parse::<u32>().is_ok_and(|mib| mib > 250), "{room} MiB");
    project.ok(&["down", "-v"]);
    leftovers::assert_none(project.home());
}

#[test]
fn a_volume_has_one_writer_and_its_name_is_told() {
    let project = Project::new(&format!(
        "{FILE}\nsandbox \"web\" {{ image \"@image\"; depends-on \"db\"; mount \"data\" to=\"/data\" }}\n"
    ));
    let failed = project.run(&["up", "-d", "--wait"]);
    assert_eq!(failed.code, 1);
    failed.says("two sandboxes cannot mount one volume yet").says("db mounts data too");
    project.ok(&["down", "-v"]);
    leftovers::assert_none(project.home());
}

#[test]
fn what_a_guest_trims_is_given_back_to_the_host() {
    let project = Project::new(FILE);
    project.up();
    project.exec("db", &["sh", "-c", "dd if=/dev/zero of=/data/file bs=1M count=40 && sync"]);
    let disk = project.home().join("volumes/shop-data/disk.ext4");
    let taken = || std::fs::metadata(&disk).expect("a disk").blocks() * 512;
    assert!(taken() > 40 << 20, "{}", taken());
    project.exec("db", &["sh", "-c", "rm /data/file && sync && fstrim /data"]);
    assert!(taken() < 20 << 20, "{}", taken());
    project.ok(&["down", "-v"]);
    leftovers::assert_none(project.home());
}
