//! The check whether a source's file system can store owners and modes of files in extended attributes.

use rustix::fs::{
    AtFlags, Mode, OFlags, XattrFlags, fsetxattr, getxattr_query, openat, removexattr, setxattr, unlinkat,
};
use rustix::io::Errno;
use std::fs::read_to_string;
use std::os::fd::{AsRawFd, OwnedFd};

/// The attribute that is set for the check. Guests see no name that begins with `user.msb.`.
const PROBE: &str = "user.msb.probe";
/// The temporary names that are tried, on file systems without nameless files.
const NAMES_TRIED_MAX: u32 = 16;

/// Checks that files of a source can have user extended attributes, and unless it is read-only, that this user can set
/// them. Nothing is left behind, and a read-only source is not changed.
pub fn check(source: &OwnedFd, is_directory: bool, read_only: bool) -> Result<(), Errno> {
    // The descriptor itself cannot be used for attributes.
    let path = format!("/proc/self/fd/{}", source.as_raw_fd());
    if read_only {
        return match getxattr_query(&path, PROBE) {
            Err(error @ Errno::OPNOTSUPP) => Err(error),
            // Without the attribute, or without permission to read it.
            _ => Ok(()),
        };
    }
    if is_directory {
        return fsetxattr(create_nameless(source)?, PROBE, b"1", XattrFlags::empty());
    }
    setxattr(&path, PROBE, b"1", XattrFlags::empty())?;
    removexattr(&path, PROBE)
}

/// Creates a file without a name in a directory; the kernel removes it when it is closed.
fn create_nameless(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let nameless = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(directory, ".", nameless, mode) {
        // Not every file system has such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        opened => return opened,
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
    for attempt in 0..NAMES_TRIED_MAX {
        let name = format!(".msb-probe-{}-{attempt}", std::process::id());
        match openat(directory, &name, flags, mode) {
            Err(Errno::EXIST) => {}
            opened => {
                let file = opened?;
                unlinkat(directory, &name, AtFlags::empty())?;
                return Ok(file);
            }
        }
    }
    Err(Errno::EXIST)
}

/// Returns the kind of a file's file system, as `ext4` or `nfs4`; `None` if the kernel does not tell.
pub fn file_system(file: &OwnedFd) -> Option<String> {
    let info = read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mounts = read_to_string("/proc/self/mountinfo").ok()?;
    kind_of_mount(&mounts, mount).map(str::to_owned)
}

/// Finds the kind of a mount's file system by the mount's id, see proc_pid_mountinfo(5).
fn kind_of_mount<'a>(mounts: &'a str, id: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{listxattr, open};
    use std::path::Path;
    use std::time::SystemTime;

    fn open_path(path: &Path) -> OwnedFd {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn checks_leave_nothing_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        std::fs::write(&file, "contents").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH;
        std::fs::File::open(scratch.path()).unwrap().set_modified(long_ago).unwrap();
        check(&open_path(scratch.path()), true, false).unwrap();
        check(&open_path(scratch.path()), true, true).unwrap();
        check(&open_path(&file), false, false).unwrap();
        check(&open_path(&file), false, true).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        assert_eq!(std::fs::metadata(scratch.path()).unwrap().modified().unwrap(), long_ago);
        let mut names = [0; 256];
        assert_eq!(listxattr(&file, &mut names[..]).unwrap(), 0);
    }

    #[test]
    fn a_file_system_without_attributes_is_found_out() {
        let proc = open_path(Path::new("/proc/self"));
        check(&proc, true, false).unwrap_err();
        assert_eq!(file_system(&proc).as_deref(), Some("proc"));
    }

    #[test]
    fn the_kind_is_that_of_the_mount_with_the_whole_id() {
        let mounts =
            "128 1 0:2 / /a rw shared:1 - nfs4 host:/x rw\n28 1 0:1 / /mnt\\040- rw - ext4 /dev/vda rw\n";
        assert_eq!(kind_of_mount(mounts, "28"), Some("ext4"));
        assert_eq!(kind_of_mount(mounts, "128"), Some("nfs4"));
        assert_eq!(kind_of_mount(mounts, "8"), None);
        assert_eq!(kind_of_mount("28 no separator", "28"), None);
    }
}
