//! The growth quota.

use super::guest::{Called, Guest};
use crate::SharePolicy;
use fuse_backend_rs::api::filesystem::FileSystem;
use std::fs;
use std::path::Path;

const MIB: usize = 1 << 20;

fn guest(path: &Path, size_bytes: u64) -> Guest {
    Guest::new(path, SharePolicy { size_bytes: Some(size_bytes), ..SharePolicy::default() })
}

/// Writes a file in requests of 64 KiB, and returns its size.
fn fill(guest: &Guest, path: &str, bytes: usize) -> (usize, Called<()>) {
    let open = match guest.create(path, libc::O_WRONLY, 0o644) {
        Ok(open) => open,
        Err(error) => return (0, Err(error)),
    };
    let mut written = 0;
    let mut result = Ok(());
    while written < bytes && result.is_ok() {
        match guest.write_at(open, &[b'x'; 64 << 10], written as u64, 0) {
            Ok(count) => written += count,
            Err(error) => result = Err(error),
        }
    }
    guest.close(open);
    (written, result)
}

fn left(guest: &Guest) -> u64 {
    let root = guest.fs.roots[0];
    guest.fs.inodes.get(root).unwrap().share.quota.as_ref().unwrap().left()
}

#[test]
fn growth_ends_at_the_quota_and_removing_gives_it_back() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = guest(scratch.path(), 2 * MIB as u64);
    let whole = left(&guest);
    assert_eq!(fill(&guest, "first", MIB), (MIB, Ok(())));
    let (written, result) = fill(&guest, "second", 2 * MIB);
    assert_eq!(result, Err(libc::ENOSPC));
    assert!((MIB / 2..MIB).contains(&written), "{written}");
    assert_eq!(guest.read("second").unwrap().len(), written);
    // Overwriting takes no space.
    let open = guest.open("first", libc::O_WRONLY).unwrap();
    assert_eq!(guest.write_at(open, &[b'y'; 64 << 10], 0, 0), Ok(64 << 10));
    guest.close(open);
    guest.truncate("first", 0).unwrap();
    assert_eq!(fill(&guest, "third", MIB / 2), (MIB / 2, Ok(())));
    for name in ["first", "second", "third"] {
        guest.unlink(name).unwrap();
    }
    assert_eq!(left(&guest), whole);
}

#[test]
fn an_open_file_keeps_its_space_after_it_is_unlinked() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = guest(scratch.path(), 2 * MIB as u64);
    let whole = left(&guest);
    fill(&guest, "file", MIB).1.unwrap();
    let open = guest.open("file", libc::O_RDWR).unwrap();
    guest.unlink("file").unwrap();
    assert!(left(&guest) <= MIB as u64);
    assert_eq!(guest.write_at(open, &[b'x'; 4096], MIB as u64, 0), Ok(4096));
    // A hostile guest forgets the inode before it closes the file.
    guest.forget(open.inode);
    assert!(left(&guest) <= MIB as u64);
    guest.fs.release(&guest.context, open.inode, 0, open.handle, false, false, None).unwrap();
    assert_eq!(left(&guest), whole);
}

#[test]
fn space_is_given_back_with_the_last_link_and_by_a_rename() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = guest(scratch.path(), 4 * MIB as u64);
    let whole = left(&guest);
    fill(&guest, "file", MIB).1.unwrap();
    guest.link("file", "second").unwrap();
    // Renaming one link to the other does nothing.
    guest.rename("file", "second", 0).unwrap();
    let used = whole - left(&guest);
    guest.unlink("file").unwrap();
    assert!(whole - left(&guest) >= MIB as u64 && whole - left(&guest) < used);
    fill(&guest, "third", MIB).1.unwrap();
    guest.rename("third", "second", 0).unwrap();
    assert!(whole - left(&guest) < used);
    guest.unlink("second").unwrap();
    assert_eq!(left(&guest), whole);
}

#[test]
fn empty_files_are_not_free() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = guest(scratch.path(), 16 << 10);
    let made = (0..100).take_while(|index| guest.mkdir(&format!("d{index}"), 0o755).is_ok()).count();
    assert_eq!(made, 32);
    assert_eq!(guest.mknod("node", libc::S_IFCHR, 1).unwrap_err(), libc::ENOSPC);
    assert_eq!(guest.symlink("x", "link").unwrap_err(), libc::ENOSPC);
    assert_eq!(guest.create("file", libc::O_RDWR, 0o644).unwrap_err(), libc::ENOSPC);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 32);
    guest.rmdir("d0").unwrap();
    guest.mkdir("d0", 0o755).unwrap();
}

#[test]
fn what_was_there_before_is_not_counted() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("old"), vec![b'x'; 3 * MIB]).unwrap();
    let guest = guest(scratch.path(), MIB as u64);
    let statistics = guest.with("", |inode| guest.fs.statfs(&guest.context, inode)).unwrap();
    assert_eq!(statistics.f_blocks * statistics.f_frsize, MIB as u64);
    assert_eq!(statistics.f_bavail * statistics.f_frsize, MIB as u64);
    assert_eq!(fill(&guest, "new", 2 * MIB).1, Err(libc::ENOSPC));
    guest.unlink("new").unwrap();
    // The guest can write as much as it removes.
    guest.unlink("old").unwrap();
    assert_eq!(fill(&guest, "new", 3 * MIB), (3 * MIB, Ok(())));
}
