//! Volumes outlive sandboxes and are removed by `down -v`.

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
fn a_volume_outlives_its_sandboxes_grows_and_is_trimmed() {
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

    // The host gets trimmed space back.
    project.exec("db", &["sh", "-c", "dd if=/dev/zero of=/data/large bs=1M count=40 && sync"]);
    let disk = project.home().join("volumes/shop-data/disk.ext4");
    let allocated = || std::fs::metadata(&disk).expect("a disk").blocks() * 512;
    assert!(allocated() > 40 << 20, "{}", allocated());
    project.exec("db", &["sh", "-c", "rm /data/large && sync && fstrim /data"]);
    assert!(allocated() < 20 << 20, "{}", allocated());
    project.ok(&["down", "-v"]);
    leftovers::assert_none(project.home());
}
