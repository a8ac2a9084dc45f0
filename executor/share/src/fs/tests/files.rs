//! Inodes, handles, listings and data.

use super::guest::{Bytes, Guest};
use crate::SharePolicy;
use fuse_backend_rs::api::filesystem::{FileSystem, OpenOptions};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The size of a sparse file in bytes.
const SPARSE: u64 = 1 << 24;

#[test]
fn inodes_have_the_same_number_while_they_are_looked_up_and_files_always() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    guest.write("file", b"data").unwrap();
    let first = guest.walk("file").unwrap();
    assert_eq!(guest.walk("file").unwrap(), first);
    guest.link("file", "second").unwrap();
    let linked = guest.walk("second").unwrap();
    assert_eq!(linked, first, "hard links share an inode");
    let number = guest.stat("file").unwrap().st_ino;
    assert_eq!(number, fs::metadata(scratch.path().join("file")).unwrap().ino());
    for _ in 0..2 {
        guest.forget(first);
        assert_eq!(guest.walk("second").unwrap(), first);
        guest.forget(first);
    }
    guest.fs.batch_forget(&guest.context, vec![(first, 1), (999, 5), (1, 1)]);
    let again = guest.walk("file").unwrap();
    assert_ne!(again, first, "a number is not used twice");
    assert_eq!(guest.stat("file").unwrap().st_ino, number);
    guest.forget(again);
    guest.forget(again);
    assert_eq!(guest.fs.inodes.usage(), (1, 1));
}

#[test]
fn listings_are_complete_in_small_parts() {
    let scratch = tempfile::tempdir().unwrap();
    let names: BTreeSet<String> = (0..1000).map(|index| format!("a-rather-long-name-{index}")).collect();
    for name in &names {
        fs::write(scratch.path().join(name), "").unwrap();
    }
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    let listed = guest.list("").unwrap();
    assert_eq!(listed.len(), 1000);
    assert_eq!(listed.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>(), names);
    let listed = guest.list_with_attributes("").unwrap();
    assert_eq!(listed.len(), 1000);
    // Entries that had no room were not counted as looked up.
    listed.iter().for_each(|(_, inode, _)| guest.forget(*inode));
    assert_eq!(guest.fs.inodes.usage(), (1, 1));
}

#[test]
fn a_listing_has_the_kinds_of_files_that_the_guest_knows_and_of_others() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    guest.write("file", b"data").unwrap();
    guest.symlink("target", "link").unwrap();
    guest.mknod("pipe", libc::S_IFIFO | 0o600, 0).unwrap();
    let kinds = || {
        let mut all = guest.list("").unwrap();
        all.sort();
        all.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>()
    };
    let right = [libc::DT_REG, libc::DT_LNK, libc::DT_FIFO].map(u32::from);
    assert_eq!(guest.fs.inodes.usage().0, 1, "no file is known");
    assert_eq!(kinds(), right);
    let known = ["file", "link", "pipe"].map(|path| guest.walk(path).unwrap());
    assert_eq!(kinds(), right);
    // A known name that is another file now.
    guest.unlink("link").unwrap();
    fs::write(scratch.path().join("link"), "").unwrap();
    assert_eq!(kinds(), [libc::DT_REG, libc::DT_REG, libc::DT_FIFO].map(u32::from));
    known.iter().for_each(|inode| guest.forget(*inode));
}

#[test]
fn a_listing_continues_where_the_guest_says() {
    let scratch = tempfile::tempdir().unwrap();
    for index in 0..100 {
        fs::write(scratch.path().join(index.to_string()), "").unwrap();
    }
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    let root = guest.walk("").unwrap();
    let handle = guest.fs.opendir(&guest.context, root, 0).unwrap().0.unwrap();
    let list = |offset, most: usize| {
        let mut all = Vec::new();
        let add = &mut |entry: fuse_backend_rs::api::filesystem::DirEntry<'_>| {
            if all.len() == most {
                return Ok(0);
            }
            all.push((entry.name.to_vec(), entry.offset));
            Ok(1)
        };
        guest.fs.readdir(&guest.context, root, handle, 0, offset, add).unwrap();
        all
    };
    let all = list(0, usize::MAX);
    assert_eq!(all.len(), 102);
    assert_eq!(list(all[9].1, 5), all[10..15]);
    assert_eq!(list(all[14].1, 5), all[15..20]);
    assert_eq!(list(all[50].1, 500), all[51..]);
    assert_eq!(list(0, 3), all[..3]);
    assert_eq!(list(all[101].1, 3), []);
    // A new file is seen from the start on.
    fs::write(scratch.path().join("new"), "").unwrap();
    assert_eq!(list(0, usize::MAX).len(), 103);
    for offset in [u64::MAX, 1 << 63] {
        let refused = guest.fs.readdir(&guest.context, root, handle, 0, offset, &mut |_| Ok(1));
        assert!(refused.is_err());
    }
}

#[test]
fn pages_of_a_mapping_keep_their_place_in_append_mode() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    guest.write("file", b"0123456789").unwrap();
    let open = guest.open("file", libc::O_RDWR | libc::O_APPEND).unwrap();
    // Another writer on the host: the guest's offset is too small.
    fs::write(scratch.path().join("file"), "0123456789host").unwrap();
    guest.write_at(open, b"end", 10, 0).unwrap();
    let mut page = Bytes(b"xx".to_vec());
    let (context, fs) = (&guest.context, &guest.fs);
    fs.write(context, open.inode, open.handle, &mut page, 2, 0, None, true, 0, 0).unwrap();
    // The program has turned the append mode off.
    let mut start = Bytes(b"y".to_vec());
    fs.write(context, open.inode, open.handle, &mut start, 1, 1, None, false, 0, 0).unwrap();
    guest.close(open);
    assert_eq!(guest.read("file").unwrap(), b"xy23456789hostend");
}

#[test]
fn the_page_cache_is_kept_while_a_file_is_unchanged() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    fs::write(&path, "first").unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    let inode = guest.walk("file").unwrap();
    let keeps = || {
        let (handle, options, _) = guest.fs.open(&guest.context, inode, 0, 0).unwrap();
        guest.fs.release(&guest.context, inode, 0, handle.unwrap(), false, false, None).unwrap();
        options.contains(OpenOptions::KEEP_CACHE)
    };
    // The file has just changed, and may change again without another time.
    assert!(!keeps() && !keeps());
    let known = guest.fs.inodes.get(inode).unwrap();
    assert_eq!(*known.cached.lock().unwrap(), None);
    // As if the file had been opened long after its last change.
    let stat = fs::metadata(&path).unwrap();
    let version = crate::fs::inode::Version {
        modified: (stat.mtime(), stat.mtime_nsec().cast_unsigned()),
        changed: (stat.ctime(), stat.ctime_nsec().cast_unsigned()),
        size: 5,
    };
    *known.cached.lock().unwrap() = Some(version);
    assert!(keeps());
    *known.cached.lock().unwrap() = Some(version);
    fs::write(&path, "other").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(stat.modified().unwrap() + std::time::Duration::from_secs(1)).unwrap();
    assert!(!keeps());
}

#[test]
fn requests_of_many_threads_leave_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let guest =
        Guest::new(scratch.path(), SharePolicy { size_bytes: Some(1 << 30), ..SharePolicy::default() });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let guest = &guest;
            scope.spawn(move || {
                for round in 0..200 {
                    let own = format!("{thread}-{round}");
                    guest.write(&own, own.as_bytes()).unwrap();
                    // These collide with those of the other threads.
                    let shared = format!("shared-{}", round % 3);
                    let _ = guest.write(&shared, b"shared");
                    let _ = guest.read(&shared);
                    let _ = guest.link(&own, &format!("link-{}", round % 5));
                    let _ = guest.unlink(&format!("link-{}", (round + 2) % 5));
                    let _ = guest.rename(&shared, "target", 0);
                    let _ = guest.mkdir("dir", 0o755);
                    let _ = guest.rmdir("dir");
                    assert_eq!(guest.read(&own).unwrap(), own.as_bytes());
                    guest.unlink(&own).unwrap();
                }
            });
        }
    });
    assert_eq!((guest.fs.handles.len(), guest.fs.inodes.usage()), (0, (1, 1)));
}

#[test]
fn holes_are_found_where_no_data_of_a_mapping_can_be_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    guest.write("file", b"data").unwrap();
    let host = fs::File::options().write(true).open(scratch.path().join("file")).unwrap();
    host.set_len(SPARSE).unwrap();
    let seeks = |flags| {
        let open = guest.open("file", flags).unwrap();
        let seek = |offset, whence: i32| {
            let found =
                guest.fs.lseek(&guest.context, open.inode, open.handle, offset, whence.cast_unsigned());
            found.map_err(|error| error.raw_os_error())
        };
        let found = [(0, libc::SEEK_HOLE), (SPARSE / 2, libc::SEEK_DATA), (SPARSE, libc::SEEK_DATA)]
            .map(|(offset, whence)| seek(offset, whence));
        guest.close(open);
        found
    };
    let nothing = Err(Some(libc::ENXIO));
    let sparse = seeks(libc::O_RDONLY);
    assert!(sparse[0].unwrap() < SPARSE && sparse[1] == nothing, "{sparse:?}");
    let whole = [Ok(SPARSE), Ok(SPARSE / 2), nothing];
    assert_eq!(seeks(libc::O_RDWR), whole);
    let mapped = guest.open("file", libc::O_RDWR).unwrap();
    assert_eq!(seeks(libc::O_RDONLY), whole, "by another handle");
    guest.close(mapped);
    assert_eq!(seeks(libc::O_WRONLY), sparse);
}
