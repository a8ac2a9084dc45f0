//! Snapshots of disks: created from stopped, running and paused sandboxes, booted from, exported and imported.

use tests::{Msb, Project, leftovers};

const FILE: &str = "project \"shop\"\nsandbox \"db\" {\n    image \"@image\"\n    disk \"64M\"\n}\n";
const FROM_SNAPSHOT: &str = r#"
project "shop"
sandbox "db" {
    image "@image"
    disk "64M"
}
sandbox "copy" {
    image "snapshot:seeded"
    disk "300M"
}
"#;

#[test]
fn a_sandbox_boots_from_a_snapshot_with_a_disk_of_its_own() {
    let project = Project::new(FILE);
    project.up();
    project.exec("db", &["sh", "-c", "echo seeded > /srv/file"]);
    project.ok(&["stop", "db"]);
    project.ok(&["snapshot", "create", "db", "seeded"]).says("created snapshot seeded");
    project.run(&["snapshot", "create", "db", "seeded"]).exits(7).says("already").says("snapshot rm seeded");
    let listed = project.ok(&["snapshot", "ls", "--json"]).json();
    let snapshot = &listed["snapshots"][0];
    assert_eq!((&snapshot["name"], &snapshot["sandbox"]), (&"seeded".into(), &"shop-db".into()));

    // What happens to the sandbox and to a copy afterwards does not change it.
    project.ok(&["start", "db"]);
    project.exec("db", &["sh", "-c", "echo changed > /srv/file"]);
    project.write("Sandboxfile", FROM_SNAPSHOT);
    project.run(&["plan"]).exits(3).says("boots from, and can read, the snapshot seeded");
    project.up_trusted();
    assert_eq!(project.exec("copy", &["cat", "/srv/file"]), "seeded");
    let room = project.exec("copy", &["sh", "-c", "df -m / | tail -1 | awk '{print $2}'"]);
    assert!(room.parse::<u32>().is_ok_and(|mib| mib > 250), "{room} MiB");
    project.exec("copy", &["sh", "-c", "echo copy > /srv/file"]);
    project.ok(&["plan", "--trust"]).prints_some("2 unchanged");

    // It is the image of a sandbox from flags, too.
    let run = project.ok(&["run", "--quiet", "snapshot:seeded", "--", "cat", "/srv/file"]);
    assert_eq!(run.out().trim(), "seeded");
    project.run(&["snapshot", "rm", "seeded"]).exits(8).says("used by shop-copy").says("--force");
    project.ok(&["image", "prune", "--all"]);
    project.ok(&["restart", "copy"]);
    assert_eq!(project.exec("copy", &["cat", "/srv/file"]), "copy");

    // A changed snapshot replaces the sandbox; the plan says so.
    project.ok(&["stop", "db"]);
    project.ok(&["snapshot", "create", "db", "seeded", "--replace"]);
    project.ok(&["plan", "--trust", "copy"]).prints_some("replace");
    project.ok(&["down"]);
    project.ok(&["snapshot", "rm", "seeded"]).says("removed snapshot seeded");
    project.run(&["snapshot", "inspect", "seeded"]).exits(6).says("no snapshot seeded");
    project.run(&["plan", "--trust"]).exits(6).says("no snapshot seeded");
    leftovers::assert_none(project.home());
}

/// Writes numbered records, each to a file of its own, and the number to `/srv/last` once it is on the disk.
const WRITER: &str = "i=0; mkdir /srv/records; while :; do i=$((i+1)); \
                      dd if=/dev/urandom of=/srv/records/$i bs=1k count=8 conv=fsync 2>/dev/null; \
                      echo $i > /srv/new; mv /srv/new /srv/last; sync; done";
/// Checks that each record up to the last one is complete.
const CHECK: &str = "n=$(cat /srv/last); for i in $(seq $n); do \
                     [ $(stat -c %s /srv/records/$i) = 8192 ] || exit 1; done; echo $n";

#[test]
fn the_disk_of_a_sandbox_that_is_up_is_copied_without_its_half_written_data() {
    let project = Project::new(FILE);
    project.up();
    let last = |name: &str| -> u32 {
        let printed = project.exec(name, &["sh", "-c", "cat /srv/last 2>/dev/null || echo 0"]);
        printed.parse().expect("a number")
    };
    let wait_for_more = |than: u32| {
        let wait = format!("until [ $(cat /srv/last || echo 0) -gt {than} ]; do sleep 0.1; done");
        project.exec("db", &["timeout", "60", "sh", "-c", &wait]);
    };
    project.ok(&["exec", "-d", "db", "--", "sh", "-c", WRITER]);
    wait_for_more(3);
    let before = last("db");
    project.ok(&["snapshot", "create", "db", "running"]);
    wait_for_more(last("db"));

    project.ok(&["pause", "db"]);
    project.ok(&["snapshot", "create", "db", "paused"]);
    assert_eq!(project.list()[0]["state"], "paused");
    project.ok(&["resume", "db"]);
    wait_for_more(last("db"));

    for name in ["running", "paused"] {
        let image = format!("snapshot:{name}");
        let checked = project.ok(&["run", "--quiet", &image, "--", "sh", "-c", CHECK]);
        let records: u32 = checked.out().trim().parse().expect("a number");
        assert!(records >= before, "{records} of {before} at least in {name}");
        // The file system is as after an orderly stop, so it grows.
        let grown = ["run", "--quiet", "--disk", "300M", &image, "--", "sh", "-c", "df -m / | tail -1"];
        let printed = project.ok(&grown);
        let size = printed.out().split_whitespace().nth(1).and_then(|mib| mib.parse::<u32>().ok());
        assert!(size.is_some_and(|mib| mib > 250), "{}", printed.out());
    }
    project.ok(&["down"]);
    project.ok(&["snapshot", "rm", "running", "paused"]);
    leftovers::assert_none(project.home());
}

#[test]
fn a_snapshot_moves_to_another_machine() {
    let project = Project::new(FILE);
    project.up();
    project.exec(
        "db",
        &["sh", "-c", "dd if=/dev/urandom of=/srv/random bs=1k count=300; md5sum /srv/random > /srv/sum"],
    );
    project.ok(&["stop", "db"]);
    project.ok(&["snapshot", "create", "db"]);
    project.ok(&["down"]);
    project.ok(&["snapshot", "export", "db", "-o", "db.snapshot"]);
    let digest = |text: serde_json::Value| text["digest"].clone();
    let exported = digest(project.ok(&["snapshot", "inspect", "db", "--json"]).json());
    project.ok(&["snapshot", "rm", "db"]);

    let other = project.directory().join("other");
    std::fs::create_dir(&other).expect("a writable directory");
    let msb = |arguments: &[&str]| Msb::new(&other, project.directory(), arguments).with_guest().run();
    let path = project.directory().join("db.snapshot");
    let bytes = std::fs::read(&path).expect("the file");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("a writable directory");
    msb(&["snapshot", "import", "db.snapshot"]).exits(1).says("archive");
    std::fs::write(&path, &bytes).expect("a writable directory");
    assert_eq!(msb(&["snapshot", "ls", "--json"]).json()["snapshots"], serde_json::json!([]));
    msb(&["snapshot", "import", "db.snapshot", "moved"]).ok();
    assert_eq!(digest(msb(&["snapshot", "inspect", "moved", "--json"]).json()), exported);
    msb(&["run", "--quiet", "snapshot:moved", "--", "md5sum", "-c", "/srv/sum"]).ok();
    msb(&["snapshot", "rm", "moved"]).ok();
    // Nothing but the store's own folders and the catalog is left.
    let left = std::fs::read_dir(other.join("images/rootfs")).expect("the store").count();
    assert_eq!(left, 0);
    let records = std::fs::read_dir(other.join("snapshots")).expect("the records").count();
    assert_eq!(records, 0);
}
