//! Disks of the host: raw and qcow2 files with a file system.

use std::fs;
use tests::{Project, leftovers};

const SEED: &str = r#"
project "disks"
volume "seed" size="32M"
sandbox "box" { image "@image"; mount "seed" to="/seed" }
"#;

const DISKS: &str = r#"
project "disks"
sandbox "box" {
    image "@image"
    mount "./raw.img" to="/raw" kind="disk"
    mount "./data.qcow2" to="/qcow2" kind="disk" nosuid=#true
    mount "./read-only.img" to="/ro" kind="disk" readonly=#true
}
"#;

const CLUSTER: usize = 64 * 1024;

/// Returns a qcow2 disk with these contents, of at most 512 MiB: a header, one cluster each for the table of reference
/// counts, a block of them, and both levels of the table of clusters, and then the data.
fn qcow2(raw: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 5 * CLUSTER];
    let (mut put, mut clusters) = (Vec::new(), 5_usize);
    let own = 1_u64 << 63;
    for (index, cluster) in raw.chunks(CLUSTER).enumerate() {
        if cluster.iter().any(|byte| *byte != 0) {
            put.push((4 * CLUSTER + 8 * index, own | (clusters * CLUSTER) as u64));
            bytes.extend_from_slice(cluster);
            clusters += 1;
        }
    }
    put.push((3 * CLUSTER, own | (4 * CLUSTER) as u64));
    put.push((CLUSTER, (2 * CLUSTER) as u64));
    for (at, value) in put {
        bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }
    for index in 0..clusters {
        bytes[2 * CLUSTER + 2 * index + 1] = 1;
    }
    let header = [
        &b"QFI\xfb\0\0\0\x02"[..],
        &[0; 12],
        &16_u32.to_be_bytes(),
        &(raw.len() as u64).to_be_bytes(),
        &[0; 4],
        &1_u32.to_be_bytes(),
        &((3 * CLUSTER) as u64).to_be_bytes(),
        &(CLUSTER as u64).to_be_bytes(),
        &1_u32.to_be_bytes(),
    ];
    let header = header.concat();
    bytes[..header.len()].copy_from_slice(&header);
    bytes
}

#[test]
fn raw_and_qcow2_disks_of_the_host_are_mounted_and_others_refused() {
    let project = Project::new(SEED);
    project.up();
    let sh = |script: &str| project.exec("box", &["sh", "-ec", script]);
    sh("echo seed > /seed/file; chown 7:8 /seed/file");
    project.ok(&["down"]);
    let path = |name: &str| project.directory().join(name);
    let seed = fs::read(project.home().join("volumes/disks-seed/disk.ext4")).expect("a disk");
    project.ok(&["down", "-v", "--yes"]);
    for name in ["raw.img", "read-only.img"] {
        fs::write(path(name), &seed).expect("a file");
    }
    fs::write(path("data.qcow2"), qcow2(&seed)).expect("a file");

    project.write("Sandboxfile", DISKS);
    project.up();
    for disk in ["raw", "qcow2", "ro"] {
        assert_eq!(sh(&format!("cat /{disk}/file; stat -c %u:%g /{disk}/file")), "seed\n7:8", "{disk}");
    }
    assert!(sh("grep ' /qcow2 ' /proc/mounts").contains(" ext4 rw,nosuid"));
    assert!(sh("grep ' /ro ' /proc/mounts").contains(" ext4 ro"));
    sh(
        "dd if=/dev/urandom of=/qcow2/large bs=1M count=8; cp /qcow2/large /raw/large; md5sum < /raw/large > /raw/sum",
    );
    project.ok(&["restart", "box"]);
    for disk in ["raw", "qcow2"] {
        sh(&format!("md5sum < /{disk}/large | cmp - /raw/sum"));
    }
    assert_eq!(fs::read(path("read-only.img")).expect("a file"), seed, "it is not changed");

    // One sandbox may write to a disk, or several may read it.
    project.own_image();
    let run = |disk: &str, script: &str| {
        let disk = format!("./{disk}:/disk:kind=disk");
        project.run(&["run", "-v", &disk, "./image", "--", "sh", "-c", script])
    };
    run("raw.img", "true").exits(1).says("raw.img is in use");
    project
        .ok(&["run", "-v", "./read-only.img:/disk:kind=disk,ro", "./image", "--", "cat", "/disk/file"])
        .prints("seed\n");
    run("read-only.img", "true").exits(1).says("read-only.img is in use");
    project.ok(&["down"]);

    // Nothing is mounted that names other files, or has no file system.
    let mut based = qcow2(&seed);
    (based[14], based[19]) = (2, 11);
    based[512..523].copy_from_slice(b"/etc/shadow");
    fs::write(path("based.qcow2"), based).expect("a file");
    run("based.qcow2", "true").exits(1).says("it has a backing file");
    fs::write(path("qcow2.img"), qcow2(&seed)).expect("a file");
    let unknown =
        "the disk for /disk has no file system that the guest's kernel knows (ext4, erofs, squashfs)";
    run("qcow2.img", "true").exits(1).says(unknown);
    fs::write(path("raw.qcow2"), &seed).expect("a file");
    run("raw.qcow2", "true").exits(1).says("it is not a qcow2 disk");
    leftovers::assert_none(project.home());
}

#[test]
fn more_raw_disks_than_devices_are_files_beside_qcow2_disks() {
    let project = Project::new(SEED);
    project.up();
    project.ok(&["down"]);
    let seed = fs::read(project.home().join("volumes/disks-seed/disk.ext4")).expect("a disk");
    let mounts: String = (0..6)
        .map(|n| {
            fs::write(project.directory().join(format!("{n}.img")), &seed).expect("a file");
            format!("mount \"./{n}.img\" to=\"/d/{n}\" kind=\"disk\"\n")
        })
        .collect();
    fs::write(project.directory().join("z.qcow2"), qcow2(&seed)).expect("a file");
    project.write(
        "Sandboxfile",
        &format!(
            r#"
            project "disks"
            volume "seed" size="32M"
            sandbox "box" {{
                image "@image"
                mount "seed" to="/seed"
                {mounts}
                mount "./z.qcow2" to="/d/z" kind="disk"
            }}
            "#
        ),
    );
    project.up();
    let devices = "grep -E ' /(d/.|seed) ' /proc/mounts | cut -d ' ' -f 1,2 | sed 's/[0-9a-z] / /' | sort";
    assert_eq!(
        project.exec("box", &["sh", "-c", devices]),
        "/dev/loop /d/0\n/dev/loop /d/1\n/dev/loop /d/2\n/dev/loop /d/3\n/dev/loop /d/4\n/dev/loop /d/5\n\
         /dev/vd /d/z\n/dev/vd /seed"
    );
    project.ok(&["down", "-v", "--yes"]);
    leftovers::assert_none(project.home());
}
