//! Limits of descriptors, inodes and handles.

use super::guest::{Guest, errno, share};
use crate::fs::ShareFs;
use crate::{Limits, SharePolicy};
use fuse_backend_rs::api::filesystem::{Context, FileSystem};
use std::fs;
use std::path::Path;

const LIMITS: Limits = Limits { descriptors: 64, inodes: 10_000 };

/// A guest whose file system opens files again by handle, or by their names where it may not.
fn guest(path: &Path, by_handle: bool) -> Guest {
    let fs = ShareFs::build(vec![share(path, SharePolicy::default())], LIMITS, by_handle).unwrap();
    Guest { fs, context: Context { uid: 1000, gid: 1000, pid: 1 } }
}

/// Looks up many files, so that all others give their descriptors up.
fn crowd_out(guest: &Guest) {
    for _ in 0..2 {
        for index in 0..60 {
            let file = guest.walk(&format!("crowd/{index}")).unwrap();
            guest.fs.getattr(&guest.context, file, None).unwrap();
        }
    }
}

fn make_crowd(path: &Path) {
    fs::create_dir(path.join("crowd")).unwrap();
    for index in 0..60 {
        fs::write(path.join(format!("crowd/{index}")), "").unwrap();
    }
}

/// Whether an inode has no descriptor.
fn gave_up(guest: &Guest, inode: u64) -> bool {
    guest.fs.inodes.get(inode).unwrap().slot.lock().unwrap().descriptor.is_none()
}

#[test]
fn many_inodes_share_few_descriptors() {
    for by_handle in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        for index in 0..500 {
            let folder = scratch.path().join(format!("{}/{}", index % 7, index % 11));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(index.to_string()), index.to_string()).unwrap();
        }
        let guest = guest(scratch.path(), by_handle);
        // The guest's kernel keeps the directories of files that it keeps.
        for index in 0..77 {
            guest.walk(&format!("{}/{}", index % 7, index % 11)).unwrap();
        }
        for index in 0..7 {
            guest.walk(&index.to_string()).unwrap();
        }
        let files: Vec<u64> = (0..500)
            .map(|index| guest.walk(&format!("{}/{}/{index}", index % 7, index % 11)).unwrap())
            .collect();
        assert!(guest.fs.inodes.usage().1 <= 32, "{:?}", guest.fs.inodes.usage());
        for (index, file) in files.iter().enumerate() {
            let (handle, _, _) = guest.fs.open(&guest.context, *file, 0, 0).unwrap();
            let open = super::guest::Opened { inode: *file, handle: handle.unwrap(), flags: 0 };
            assert_eq!(guest.read_at(open, 10, 0).unwrap(), index.to_string().as_bytes());
            guest.close(open);
        }
        assert!(guest.fs.inodes.usage().1 <= 32, "{:?}", guest.fs.inodes.usage());
        assert_eq!(guest.fs.handles.len(), 0);
    }
}

#[test]
fn a_file_that_was_renamed_is_found_again() {
    for by_handle in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        make_crowd(scratch.path());
        let guest = guest(scratch.path(), by_handle);
        guest.mkdir("dir", 0o755).unwrap();
        guest.mkdir("other", 0o755).unwrap();
        guest.write("dir/file", b"data").unwrap();
        let (directory, file) = (guest.walk("dir").unwrap(), guest.walk("dir/file").unwrap());
        let other = guest.walk("other").unwrap();
        guest.rename("dir", "other/moved", 0).unwrap();
        guest.rename("other/moved/file", "other/moved/renamed", 0).unwrap();
        crowd_out(&guest);
        assert!(gave_up(&guest, file) && gave_up(&guest, directory), "the test needs it");
        assert_eq!(guest.fs.getattr(&guest.context, file, None).unwrap().0.st_size, 4);
        assert!(guest.fs.lookup(&guest.context, directory, c"renamed").is_ok());
        assert!(guest.fs.getattr(&guest.context, other, None).is_ok());
    }
}

#[test]
fn another_file_at_the_same_place_is_another_inode() {
    for by_handle in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        make_crowd(scratch.path());
        fs::write(scratch.path().join("file"), "first").unwrap();
        let guest = guest(scratch.path(), by_handle);
        let file = guest.walk("file").unwrap();
        crowd_out(&guest);
        assert!(gave_up(&guest, file), "the test needs it");
        // The new file exists before the old one is removed, so it has another number.
        fs::write(scratch.path().join("new"), "second").unwrap();
        fs::rename(scratch.path().join("new"), scratch.path().join("file")).unwrap();
        let stat = errno(guest.fs.getattr(&guest.context, file, None));
        assert_eq!(stat.unwrap_err(), libc::ESTALE);
        assert_eq!(guest.read("file").unwrap(), b"second");
        let mut second = None;
        if by_handle {
            // A file that has the number of one that is gone is another one, too.
            fs::remove_file(scratch.path().join("file")).unwrap();
            fs::write(scratch.path().join("file"), "third").unwrap();
            second = Some(guest.walk("file").unwrap());
            assert_ne!(second, Some(file));
        }
        assert!(second.is_none_or(|second| guest.fs.getattr(&guest.context, second, None).is_ok()));
    }
}

#[test]
fn too_many_inodes_and_handles_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    for index in 0..20 {
        fs::write(scratch.path().join(index.to_string()), "").unwrap();
    }
    let limits = Limits { descriptors: 40, inodes: 10 };
    let guest = Guest::limited(scratch.path(), SharePolicy::default(), limits);
    let files: Vec<u64> = (0..20).map_while(|index| guest.walk(&index.to_string()).ok()).collect();
    assert_eq!(files.len(), 9, "one is the root of the share");
    assert_eq!(guest.walk("19").unwrap_err(), libc::ENFILE);
    // Those that are known can be looked up again.
    guest.stat("0").unwrap();
    // A listing has no attributes of the others.
    assert_eq!(guest.list("").unwrap().len(), 20);
    let listed = guest.list_with_attributes("").unwrap();
    assert_eq!(listed.len(), 9);
    listed.iter().for_each(|(_, inode, _)| guest.forget(*inode));
    let opened: Vec<_> = (0..20).map_while(|_| guest.open("0", libc::O_RDONLY).ok()).collect();
    assert_eq!(opened.len(), 10);
    assert_eq!(guest.open("0", libc::O_RDONLY).unwrap_err(), libc::ENFILE);
    assert_eq!(guest.create("new", libc::O_RDWR, 0o600).unwrap_err(), libc::ENFILE);
    assert!(!scratch.path().join("new").exists());
    opened.into_iter().for_each(|open| guest.close(open));
    files.iter().for_each(|file| guest.forget(*file));
    assert_eq!((guest.fs.handles.len(), guest.fs.inodes.usage()), (0, (1, 1)));
    guest.stat("19").unwrap();
}

#[test]
fn descriptors_in_use_are_not_given_up() {
    let scratch = tempfile::tempdir().unwrap();
    for index in 0..20 {
        fs::write(scratch.path().join(index.to_string()), "").unwrap();
    }
    let limits = Limits { descriptors: 20, inodes: 100 };
    let guest = Guest::limited(scratch.path(), SharePolicy::default(), limits);
    // Each open file keeps its inode's descriptor; one is that of the root.
    let opened: Vec<_> =
        (0..20).map_while(|index| guest.open(&index.to_string(), libc::O_RDONLY).ok()).collect();
    assert_eq!(opened.len(), 5, "the limit of handles");
    let found = (5..20).map_while(|index| guest.walk(&index.to_string()).ok()).count();
    assert_eq!(found, 15, "the others share the rest");
    assert!(guest.fs.inodes.usage().1 <= 10);
    for open in &opened {
        assert!(!gave_up(&guest, open.inode));
    }
}

#[test]
fn a_reset_forgets_everything() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    guest.write("file", b"data").unwrap();
    let open = guest.open("file", libc::O_RDONLY).unwrap();
    guest.fs.destroy();
    assert_eq!(guest.read_at(open, 1, 0).unwrap_err(), libc::EBADF);
    assert_eq!((guest.fs.handles.len(), guest.fs.inodes.usage()), (0, (1, 1)));
    assert_eq!(guest.read("file").unwrap(), b"data");
}
