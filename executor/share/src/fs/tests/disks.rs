//! Disks: files whose contents alone can change.

use super::guest::Guest;
use crate::SharePolicy;
use fuse_backend_rs::api::filesystem::FileSystem;
use rules::mount_text::StatVirt;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const SIZE: u64 = 1 << 20;

#[test]
fn only_the_contents_of_a_disk_change() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk");
    fs::write(&path, vec![b'x'; SIZE as usize]).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let policy = SharePolicy { stat_virt: StatVirt::Off, disk: true, ..SharePolicy::default() };
    let guest = Guest::new(&path, policy);

    let open = guest.open("", libc::O_RDWR).unwrap();
    assert_eq!(guest.write_at(open, b"data", SIZE - 4, 0), Ok(4));
    assert_eq!(guest.read_at(open, 4, SIZE - 4).unwrap(), b"data");
    for (offset, length) in [(SIZE - 3, 4_usize), (SIZE, 1), (i64::MAX as u64, 1)] {
        assert_eq!(guest.write_at(open, &vec![0; length], offset, 0), Err(libc::EFBIG), "{offset}");
    }
    guest.fs.fsync(&guest.context, open.inode, false, open.handle).unwrap();

    let allocate = |mode: i32, offset: u64, length: u64| {
        let mode = mode.cast_unsigned();
        let done = guest.fs.fallocate(&guest.context, open.inode, open.handle, mode, offset, length);
        done.map_err(|error| error.raw_os_error().unwrap())
    };
    let (keep, hole) = (libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_PUNCH_HOLE);
    assert_eq!(allocate(hole | keep, 0, SIZE / 2), Ok(()));
    assert!(fs::metadata(&path).unwrap().blocks() * 512 <= SIZE / 2 + 4096);
    for mode in [0, keep, libc::FALLOC_FL_COLLAPSE_RANGE, libc::FALLOC_FL_INSERT_RANGE] {
        assert_eq!(allocate(mode, 0, 4096), Err(libc::EOPNOTSUPP), "{mode}");
    }
    assert_eq!(allocate(hole | keep, SIZE / 2, SIZE), Err(libc::EFBIG));

    assert_eq!(guest.chmod("", 0o777), Err(libc::EPERM));
    assert_eq!(guest.chown("", 7, 7), Err(libc::EPERM));
    assert_eq!(guest.utimens("", 1, 1), Err(libc::EPERM));
    for size in [0, SIZE / 2, SIZE * 2] {
        assert_eq!(guest.truncate("", size as i64), Err(libc::EPERM), "{size}");
    }
    assert_eq!(guest.setxattr("", "user.name", b"value"), Err(libc::EPERM));
    assert_eq!(guest.removexattr("", "user.name"), Err(libc::EPERM));
    assert_eq!(guest.open("", libc::O_RDWR | libc::O_TRUNC).err(), Some(libc::EPERM));
    let appending = guest.open("", libc::O_WRONLY | libc::O_APPEND).unwrap();
    assert_eq!(guest.write_at(appending, b"more", 0, 0), Err(libc::EPERM));
    guest.close(appending);
    guest.close(open);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o777), (SIZE, 0o640));
    assert!(fs::read(&path).unwrap().ends_with(b"data"));

    let read_only = Guest::new(&path, SharePolicy { read_only: true, ..policy });
    assert_eq!(read_only.open("", libc::O_RDWR).err(), Some(libc::EROFS));
    assert!(read_only.read("").unwrap().ends_with(b"data"));
}
