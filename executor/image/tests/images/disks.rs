//! Writable disks.

use crate::support::{check, debugfs, stat};
use executor_image::{ImageError, writable_disk};
use std::os::unix::fs::MetadataExt;

/// A usual one.
const DISK_BYTES: u64 = 4 << 30;

#[test]
fn disks_of_all_sizes_are_sound_and_sparse() {
    let folder = tempfile::tempdir().unwrap();
    // Odd sizes: a last group that is nearly empty, nearly full, or not whole blocks.
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
fn a_disk_that_is_there_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.ext4");
    std::fs::write(&path, "precious").unwrap();
    assert!(!writable_disk(&path, DISK_BYTES).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert!(matches!(writable_disk(&folder.path().join("x"), 1000), Err(ImageError::DiskSize { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
