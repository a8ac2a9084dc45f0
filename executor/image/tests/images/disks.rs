//! Writable disks.

use crate::support::{cat, check, debugfs, debugfs_write, stat};
use executor_image::{Growth, ImageError, grow_disk, writable_disk};
use std::os::unix::fs::MetadataExt;

/// A typical size.
const DISK_BYTES: u64 = 4 << 30;

#[test]
fn disks_of_all_sizes_are_valid_and_sparse() {
    let folder = tempfile::tempdir().unwrap();
    // Odd sizes: a last group that is nearly empty, nearly full, or not a multiple of the block size.
    let sizes = [32 << 20, (128 << 20) + 4096, (256 << 20) - 4096, (1 << 30) + 12_345, DISK_BYTES, 100 << 30];
    for (index, size) in sizes.into_iter().enumerate() {
        let path = folder.path().join(format!("disk-{index}.ext4"));
        assert!(writable_disk(&path, size).unwrap());
        check(&path);
        let metadata = std::fs::metadata(&path).unwrap();
        assert!(
            metadata.len() <= size && metadata.len() > size - (64 << 12) - 4096,
            "{size}: {}",
            metadata.len()
        );
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(stat(&path, "/").starts_with("directory 0755 0:0"));
        assert!(debugfs(&path, "stats").contains("has_journal"));
        if size == DISK_BYTES {
            assert!(metadata.blocks() * 512 < 300_000, "{} bytes on disk", metadata.blocks() * 512);
        }
    }
}

#[test]
fn an_existing_disk_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.ext4");
    std::fs::write(&path, "precious").unwrap();
    assert!(!writable_disk(&path, DISK_BYTES).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert!(matches!(writable_disk(&folder.path().join("x"), 1000), Err(ImageError::DiskSize { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Extends a disk's file and grows its file system.
fn grow(path: &std::path::Path, size: u64) -> Growth {
    let disk = std::fs::File::options().read(true).write(true).open(path).unwrap();
    disk.set_len(size).unwrap();
    grow_disk(&disk).unwrap()
}

fn blocks(path: &std::path::Path) -> u64 {
    let text = debugfs(path, "stats");
    let line = text.lines().find(|line| line.starts_with("Block count:")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn disks_grow_and_keep_their_contents() {
    const MIB: u64 = 1 << 20;
    // Within the first group, into new ones, past one descriptor block (16 GiB), twice.
    let rows = [
        (32, &[33, 64, 127, 140][..]),
        (128, &[256, 300][..]),
        (4096, &[5000, 16 * 1024, 17 * 1024, 40 * 1024][..]),
        (20 * 1024, &[33 * 1024 + 7][..]),
    ];
    for (first, sizes) in rows {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.ext4");
        writable_disk(&path, first * MIB).unwrap();
        let kept = folder.path().join("kept");
        std::fs::write(&kept, vec![b'k'; 100_000]).unwrap();
        debugfs_write(&path, &format!("write {} kept", kept.display()));
        for size in sizes {
            assert_eq!(grow(&path, size * MIB), Growth::Grown, "{first} to {size} MiB");
            check(&path);
            assert_eq!(blocks(&path), size * MIB / 4096, "{first} to {size} MiB");
            assert_eq!(grow(&path, size * MIB), Growth::NotNeeded);
            assert_eq!(cat(&path, "/kept"), vec![b'k'; 100_000]);
        }
        // The new space is writable.
        for number in 0..3 {
            debugfs_write(&path, &format!("write {} new{number}", kept.display()));
        }
        check(&path);
    }
}

#[test]
fn a_disk_that_cannot_grow_is_unchanged() {
    use std::os::unix::fs::FileExt;
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.ext4");
    writable_disk(&path, 64 * MIB).unwrap();
    let sound = std::fs::read(&path).unwrap();
    // No magic, another block size, a journal to replay, a checksum, errors, a bitmap past the end.
    let damages: [(usize, &[u8]); 6] = [
        (1024 + 56, &[0, 0]),
        (1024 + 24, &[1]),
        (1024 + 96, &[0x46]),
        (1024 + 101, &[4]),
        (1024 + 58, &[3]),
        (4096, &[0xff; 4]),
    ];
    for (at, bytes) in damages {
        std::fs::write(&path, &sound).unwrap();
        let disk = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        disk.write_all_at(bytes, at as u64).unwrap();
        let damaged = std::fs::read(&path).unwrap();
        assert_eq!(grow(&path, 256 * MIB), Growth::LeftAlone, "{at}");
        assert!(std::fs::read(&path).unwrap()[..damaged.len()] == damaged[..], "{at}");
    }
    // A size that would leave a last group of little but tables is rounded down.
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(grow(&path, 129 * MIB), Growth::Grown);
    assert_eq!(blocks(&path), 128 * MIB / 4096);
    check(&path);
}

#[test]
fn hostile_disks_never_make_growing_panic() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.ext4");
    writable_disk(&path, 32 << 20).unwrap();
    let disk = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut sound = vec![0; 8192];
    disk.read_exact_at(&mut sound, 0).unwrap();
    for at in (1024..2048).chain(4096..4128) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            disk.write_all_at(&bytes, 0).unwrap();
            disk.set_len(40 << 20).unwrap();
            let _ = grow_disk(&disk);
        }
    }
}
