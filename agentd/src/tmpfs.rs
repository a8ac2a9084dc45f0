//! Directories in memory, which are empty at each start.

use std::fmt::Write;
use std::io::{Error, ErrorKind};

use protocol::latest::TmpfsMount;
use rustix::mount::{MountFlags, mount};

use crate::mounts::make_mount_point;
use crate::root::{RootError, step};

/// Mounts one directory over what is at its path.
pub fn mount_at_path(tmpfs: &TmpfsMount) -> Result<(), RootError> {
    let destination = tmpfs.destination.as_str();
    make_mount_point(destination)?;
    let mut flags = MountFlags::NOATIME;
    for (is_set, flag) in [
        (tmpfs.read_only, MountFlags::RDONLY),
        (tmpfs.noexec, MountFlags::NOEXEC),
        (tmpfs.nosuid, MountFlags::NOSUID),
        (tmpfs.nodev, MountFlags::NODEV),
    ] {
        flags.set(flag, is_set);
    }
    let what = format!("mount the directory in memory at {destination}");
    let options = std::ffi::CString::new(options(tmpfs));
    let options = step(options.map_err(|error| Error::new(ErrorKind::InvalidInput, error)), what.as_str())?;
    step(mount("tmpfs", destination, "tmpfs", flags, Some(options.as_c_str())), what)
}

/// Returns the options of the file system. Without a size, the kernel's default is half of the memory.
fn options(tmpfs: &TmpfsMount) -> String {
    let mut options = format!("mode={:o}", tmpfs.mode);
    for (name, value) in
        [("size", tmpfs.size_bytes), ("uid", tmpfs.uid.map(u64::from)), ("gid", tmpfs.gid.map(u64::from))]
    {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(options, ",{name}={value}");
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_is_an_option() {
        let plain = TmpfsMount {
            destination: "/run".to_owned(),
            size_bytes: None,
            mode: 0o1777,
            uid: None,
            gid: None,
            read_only: true,
            noexec: true,
            nosuid: true,
            nodev: true,
        };
        assert_eq!(options(&plain), "mode=1777");
        let full =
            TmpfsMount { size_bytes: Some(64 << 20), mode: 0o750, uid: Some(0), gid: Some(7), ..plain };
        assert_eq!(options(&full), "mode=750,size=67108864,uid=0,gid=7");
    }
}
