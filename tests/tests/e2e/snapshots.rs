//! Snapshots of disks: created from a stopped sandbox, booted from, exported and imported.

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
    project.run(&["snapshot", "create", "db", "seeded"]).exits(1).says("is running").says("msb stop db");
    project.ok(&["stop", "db"]);
    project.ok(&["snapshot", "create", "db", "seeded"]).says("created snapshot seeded");
    project.run(&["snapshot", "create", "db", "seeded"]).exits(1).says("already").says("snapshot rm seeded");
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
    project.run(&["snapshot", "rm", "seeded"]).exits(1).says("used by shop-copy").says("--force");
    project.ok(&["image", "prune", "--all"]);
    project.ok(&["restart", "copy"]);
    assert_eq!(project.exec("copy", &["cat", "/srv/file"]), "copy");

    // A changed snapshot replaces the sandbox; the plan says so.
    project.ok(&["stop", "db"]);
    project.ok(&["snapshot", "create", "db", "seeded", "--replace"]);
    project.ok(&["plan", "--trust", "copy"]).prints_some("replace");
    project.ok(&["down"]);
    project.ok(&["snapshot", "rm", "seeded"]).says("removed snapshot seeded");
    project.run(&["snapshot", "inspect", "seeded"]).exits(1).says("no snapshot seeded");
    project.run(&["plan", "--trust"]).exits(1).says("no snapshot seeded");
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
