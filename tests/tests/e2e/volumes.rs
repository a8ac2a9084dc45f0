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
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

/// Creates files of all kinds in two directories.
const SEED: &str = "
for directory in /srv/disk /srv/directory; do
    mkdir -p $directory/inner; cd $directory
    echo contents > file; chown 1000:1001 file; chmod 4711 file; ln file inner/link
    ln -s ../file inner/symlink; mknod null c 1 3; chmod 640 null; mkfifo pipe
    touch -d '2001-02-03 04:05:06' file; chmod 2750 inner; touch -d '2002-02-03 04:05:06' inner
    chown 7:8 .; chmod 1771 .
done
mkdir /srv/large; dd if=/dev/urandom of=/srv/large/file bs=1M count=3";

/// Lists all that a copy keeps.
const LIST: &str = "
for directory in /srv/disk /srv/directory; do
    cd $directory; stat -c '%a %u:%g' .; cat inner/link
    find * ! -type d -exec stat -c '%n %F %a %u:%g %Y %h %s %t,%T' {} + | sort
    find * -type d -exec stat -c '%n %a %u:%g %Y' {} + | sort
done";

#[test]
fn an_empty_volume_gets_the_files_that_it_covers_once() {
    let file = |volumes: &str, mounts: &str| {
        format!("project \"p\"\n{volumes}\nsandbox \"box\" {{\nimage \"@image\"\n{mounts}\n}}\n")
    };
    let volumes = "volume \"disk\" size=\"64M\"\nvolume \"directory\"\nvolume \"etc\"";
    let mounts = "mount \"disk\" to=\"/srv/disk\"\nmount \"directory\" to=\"/srv/directory\"\nmount \"etc\" to=\"/etc\"";
    let project = Project::new(&file("", ""));
    project.up();
    let sh = |script: &str| project.exec("box", &["sh", "-c", script]);
    sh(SEED);
    let expected = sh(LIST);
    let users = sh("cat /etc/passwd");

    project.write("Sandboxfile", &file(volumes, mounts));
    project.ok(&["stop", "box"]);
    project.ok(&["up", "-d", "--no-start"]);
    // A copy that was interrupted.
    let directory = project.home().join("volumes/p-directory/data");
    std::fs::create_dir_all(directory.join(".msb-copy.partial/half")).expect("a directory of this user");
    project.up();
    let mounted = sh("grep -c -E ' /(srv/disk|srv/directory|etc) ' /proc/mounts");
    assert_eq!(mounted, "3");
    assert_eq!(sh(LIST), expected);
    // An image's own directory, where msb itself writes files.
    assert_eq!(
        sh("cat /etc/passwd; ls -A /srv/disk /srv/directory | grep -c msb-copy || true"),
        format!("{users}\n0")
    );

    // What the sandbox changes stays, even if that leaves nothing.
    sh("echo changed > /srv/disk/file; rm -r /srv/directory/*");
    project.ok(&["restart", "box"]);
    assert_eq!(sh("cat /srv/disk/file; ls -A /srv/directory"), "changed");

    let small = |size: &str| {
        let volumes = format!("{volumes}\nvolume \"small\" kind=\"directory\" size=\"{size}\"");
        file(&volumes, &format!("{mounts}\nmount \"small\" to=\"/srv/large\""))
    };
    project.write("Sandboxfile", &small("1M"));
    let refused = project.run(&["up", "-d"]).exits(1);
    refused.says("the image's files in /srv/large do not fit into the empty volume that is mounted there");
    let left = std::fs::read_dir(project.home().join("volumes/p-small/data")).expect("a directory").count();
    assert_eq!(left, 0);
    project.write("Sandboxfile", &small("8M"));
    project.up();
    assert_eq!(sh("stat -c %s /srv/large/file"), (3 << 20).to_string());
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

#[test]
fn a_directory_has_one_writer_until_it_is_shared() {
    let file = |volume: &str, writers: &[&str]| {
        let sandbox = |name: &&str| {
            format!(
                "sandbox \"{name}\" {{ image \"@image\"; memory \"128M\"; mount \"cache\" to=\"/cache\" }}\n"
            )
        };
        let sandboxes: String = writers.iter().map(sandbox).collect();
        format!("project \"p\"\nvolume \"cache\" {volume}\n{sandboxes}")
    };
    let project = Project::new(&file("", &["a"]));
    project.up();
    project.exec("a", &["sh", "-c", "echo from a > /cache/a"]);
    // The sandbox of an older plan keeps running.
    project.write("Sandboxfile", &file("", &["b"]));
    let refused = project.run(&["up", "-d", "--keep-orphans"]).exits(1);
    refused.says("its volume cache is in use by a, which is not changed");
    project.write("Sandboxfile", &file("shared=#true", &["a", "b"]));
    project.up();
    project.exec("b", &["sh", "-c", "cat /cache/a; echo from b > /cache/b"]);
    assert_eq!(project.exec("a", &["cat", "/cache/a", "/cache/b"]), "from a\nfrom b");
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}

/// A sandbox with this many disks, of which the last is read-only, beside two other mounts.
fn many_disks(count: usize) -> String {
    let volumes: String = (0..count).map(|n| format!("volume \"d{n:02}\" size=\"32M\"\n")).collect();
    let mount = |n: usize| {
        let options = if n + 1 == count { "readonly=#true" } else { "" };
        format!("mount \"d{n:02}\" to=\"/d/{n:02}\" {options}\n")
    };
    let mounts: String = (0..count).map(mount).collect();
    format!(
        r#"
        project "many"
        volume "folder"
        {volumes}
        sandbox "db" {{
            image "@image"
            mount "./src" to="/src"
            mount "folder" to="/folder"
            {mounts}
        }}
        "#
    )
}

#[test]
fn a_sandbox_has_as_many_disks_as_mounts() {
    // The emulated host of libkrun is slow.
    let count = if std::env::var("MSB_DRIVER").is_ok_and(|driver| driver == "krun") { 6 } else { 20 };
    let project = Project::new(&many_disks(count));
    std::fs::create_dir(project.directory().join("src")).expect("a new directory");
    project.up();
    let sh = |script: &str| project.exec("db", &["sh", "-ec", script]);
    assert_eq!(sh("grep ' /d/' /proc/mounts | grep -c ' ext4 '"), count.to_string());
    let loops = sh("grep -c '^/dev/loop.* /d/' /proc/mounts");
    assert_eq!(loops, (count - 2).to_string(), "two disks have devices beside other mounts");
    assert!(sh("grep \" /d/$(ls /d | tail -n 1) \" /proc/mounts").contains(" ro,"));
    // The last one cannot be written to, not even as a device.
    let read_only =
        "cat /sys/block/$(grep ' /d/' /proc/mounts | tail -n 1 | cut -d ' ' -f 1 | cut -d / -f 3)/ro";
    assert_eq!(sh(read_only), "1");

    // What was synced is there after the machine was killed in the middle of writes.
    let writable = "for d in $(ls -d /d/* | head -n -1); do";
    sh(&format!("{writable} echo kept $d > $d/kept; done; sync"));
    let writing = format!("{writable} dd if=/dev/zero of=$d/lost bs=64k count=100 & done; wait");
    let writing = project.msb(&["exec", "db", "--", "sh", "-c", &writing]).start();
    sh("until [ -e /d/02/lost ]; do sleep 0.1; done");
    let processes = project.processes("db");
    processes.vmm.kill();
    let _ = writing.finish();
    // Until its supervisor has noticed, the sandbox counts as running, and is not started again.
    processes.supervisor.wait_for_end();
    project.up();
    assert_eq!(
        sh(&format!("{writable} cat $d/kept; rm -f $d/lost; done | sort -u | wc -l")),
        (count - 1).to_string()
    );

    // The host gets trimmed space back, and a shutdown unmounts all of them.
    let last = format!("{:02}", count - 2);
    let disk = project.home().join(format!("volumes/many-d{last}/disk.ext4"));
    let allocated = || std::fs::metadata(&disk).expect("a disk").blocks() * 512;
    sh(&format!(
        "dd if=/dev/urandom of=/d/{last}/large bs=1M count=16; sync; md5sum < /d/{last}/large > /folder/sum"
    ));
    assert!(allocated() > 16 << 20, "{}", allocated());
    project.ok(&["restart", "db"]);
    sh(&format!(
        "md5sum < /d/{last}/large | cmp - /folder/sum; dmesg | grep -i 'recovering journal' && exit 1; true"
    ));
    sh(&format!("rm /d/{last}/large; sync; fstrim /d/{last}"));
    assert!(allocated() < 12 << 20, "{}", allocated());
    let log = project.ok(&["logs", "db", "--source", "kernel"]);
    let log = String::from_utf8_lossy(&log.stdout);
    assert!(!log.contains("stays busy"), "{log}");
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}
