//! Measures the space that a tree occupies.

use crate::beneath::{Directory, Kind, is_gone};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

/// The unit of a file's `st_blocks`, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Returns the bytes that a directory and everything in it occupy, a file with several names once; `None` if they cannot
/// be counted before the deadline. Directories that this user may not read count without their contents, and a tree with
/// a path that is too long for the kernel as `u64::MAX`. What is added or removed meanwhile may count or not.
///
/// # Errors
///
/// If the file system fails.
pub fn usage(top: &Directory, deadline: Instant) -> io::Result<Option<u64>> {
    let mut bytes = 0;
    let mut linked = HashSet::new();
    // Paths take less than descriptors, of which a deep tree would need too many.
    let mut directories = vec![PathBuf::new()];
    while let Some(path) = directories.pop() {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let directory = match top.open_directory_below(&path) {
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
                return Ok(Some(u64::MAX));
            }
            opened => opened?,
        };
        bytes += occupied(&directory.stat_self()?);
        for name in directory.names()?.sorted() {
            let stat = match directory.stat(name) {
                Err(error) if is_gone(&error) => continue,
                found => found?,
            };
            if Kind::of(&stat) == Kind::Directory {
                directories.push(path.join(OsStr::from_bytes(name.to_bytes())));
            } else if stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino)) {
                bytes += occupied(&stat);
            }
        }
    }
    Ok(Some(bytes))
}

fn occupied(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::time::Duration;

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn files_count_once_whatever_their_names() {
        let scratch = tempfile::tempdir().unwrap();
        let (tree, outside) = (scratch.path().join("tree"), scratch.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(&outside, vec![1; 1 << 20]).unwrap();
        fs::write(tree.join("a/b/file"), vec![1; 100_000]).unwrap();
        fs::File::create(tree.join("hole")).unwrap().set_len(1 << 30).unwrap();
        fs::hard_link(tree.join("a/b/file"), tree.join("again")).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        // The blocks of a file are known when it is on the disk.
        fs::File::open(tree.join("again")).unwrap().sync_all().unwrap();
        let blocks = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap().blocks() * BLOCK_BYTES;
        let expected: u64 = ["", "a", "a/b", "a/b/file", "hole", "link"].map(blocks).iter().sum();
        assert!(expected >= 100_000, "{expected}");
        let directory = Directory::open(&tree).unwrap();
        assert_eq!(usage(&directory, in_a_minute()).unwrap(), Some(expected));
        assert_eq!(usage(&directory, Instant::now()).unwrap(), None);
    }

    #[test]
    fn a_tree_that_no_path_reaches_counts_as_full() {
        let scratch = tempfile::tempdir().unwrap();
        let top = Directory::open(scratch.path()).unwrap();
        let mut below = top.make_directory(c"level", Mode::RWXU).unwrap();
        for _ in 0..1000 {
            below = below.make_directory(c"level", Mode::RWXU).unwrap();
        }
        assert_eq!(usage(&top, in_a_minute()).unwrap(), Some(u64::MAX));
        crate::remove::remove_tree(&top, c"level").unwrap();
    }
}
