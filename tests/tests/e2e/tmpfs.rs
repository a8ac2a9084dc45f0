//! Directories in the memory of a guest.

use tests::{Project, leftovers};

const FILE: &str = r#"
project "memory"
sandbox "web" {
    image "@image"
    memory "128M"
    mount "./src" to="/srv/app"
    tmpfs "/srv/app/cache" size="2M" mode="750" uid=7 gid=8 noexec=#true nosuid=#true nodev=#true
    tmpfs "/run/small:size=1M"
    tmpfs "/mnt/plain"
    tmpfs "/mnt/plain/sealed" readonly=#true
}
"#;

#[test]
fn directories_in_memory_have_their_size_and_mode_and_are_empty_at_each_start() {
    let project = Project::new(FILE);
    std::fs::create_dir_all(project.directory().join("src/cache")).expect("a new directory");
    project.write("src/cache/covered", "the host's");
    project.up();
    let stat = |path: &str| project.exec("web", &["stat", "-c", "%a %u %g", path]);
    assert_eq!(stat("/srv/app/cache"), "750 7 8");
    assert_eq!(stat("/mnt/plain"), "1777 0 0");
    let mount = |path: &str| project.exec("web", &["grep", &format!(" {path} "), "/proc/mounts"]);
    assert!(mount("/srv/app/cache").starts_with("tmpfs /srv/app/cache tmpfs rw,nosuid,nodev,noexec"));
    assert!(mount("/mnt/plain/sealed").starts_with("tmpfs /mnt/plain/sealed tmpfs ro,"));
    let room = |path: &str| {
        let room =
            project.exec("web", &["sh", "-c", &format!("df -k {path} | tail -1 | awk '{{print $2}}'")]);
        room.parse::<u32>().expect("a number of KiB")
    };
    assert_eq!((room("/srv/app/cache"), room("/run/small")), (2048, 1024));
    // Half of the memory, of which the kernel keeps some.
    assert!((48 << 10..=64 << 10).contains(&room("/mnt/plain")), "{} KiB", room("/mnt/plain"));
    let full =
        project.run(&["exec", "web", "--", "dd", "if=/dev/zero", "of=/run/small/x", "bs=1M", "count=2"]);
    full.exits(1).says("No space left");
    project.exec("web", &["sh", "-c", "echo guest > /srv/app/cache/new && echo guest > /srv/app/new"]);
    let files = |path: &str| project.exec("web", &["ls", path]);
    assert_eq!((files("/srv/app/cache"), files("/srv/app")), ("new".to_owned(), "cache\nnew".to_owned()));
    assert!(!project.directory().join("src/cache/new").exists(), "nothing in it is on the host");
    project.ok(&["restart", "web"]);
    assert_eq!((files("/srv/app/cache"), files("/run/small")), (String::new(), String::new()));

    // Another size is a restart.
    project.write("Sandboxfile", &FILE.replace("2M", "3M"));
    project.ok(&["plan"]).prints_some("restart").prints_some("tmpfs./srv/app/cache").prints_some("size 3M");
    project.up();
    assert_eq!(room("/srv/app/cache"), 3072);
    let shown = project.exec("web", &["grep", "tmpfs", "/.msb/Sandboxfile"]);
    assert!(shown.contains(r#"tmpfs "/run/small" size="1M""#), "{shown}");
    project.ok(&["down"]);
    project.own_image();
    let script = "stat -c %a /scratch; grep -c ' /scratch tmpfs .*noexec.*size=1024k' /proc/mounts";
    let flag = "--tmpfs=/scratch:size=1M,mode=700,noexec";
    project.ok(&["run", flag, "./image", "--", "sh", "-c", script]).prints("700\n1\n");
    leftovers::assert_none(project.home());
}
