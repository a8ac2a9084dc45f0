//! A share while it is served, and what the guest sees of the metadata of its files.

use super::host::{self, Answer, FileHandle, KIND, PERMISSIONS};
use super::quota::Quota;
use crate::stat_override::{self, StatOverride};
use crate::{Share, ShareError, SharePolicy};
use fuse_backend_rs::abi::fuse_abi::Attr;
use rules::mount_text::{HostPerms, StatVirt};
use rustix::fs::{Mode, OFlags, Stat, XattrFlags, fstat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// The bits of a mode that give a program the rights of a file's owner or group.
pub const PRIVILEGES: u32 = libc::S_ISUID | libc::S_ISGID;

/// A share while it is served.
#[derive(Debug)]
pub struct Served {
    /// Its position among the shares.
    pub index: u16,
    /// Its policy.
    pub policy: SharePolicy,
    /// Its growth quota.
    pub quota: Option<Quota>,
    /// The device number of its root.
    pub device: u64,
    /// An open file on the mount of its root, and the handle of the root; `None` if files cannot be opened by handle.
    pub anchor: Option<(OwnedFd, FileHandle)>,
    /// The user that the server runs as.
    user: u32,
}

/// The root of a share.
pub struct Root {
    /// Its descriptor.
    pub descriptor: OwnedFd,
    /// Its metadata.
    pub stat: Stat,
}

impl Served {
    /// Starts to serve a share; `by_handle` allows to open files by handle where the process may.
    ///
    /// # Errors
    ///
    /// If the share is neither a directory nor a regular file, or its metadata cannot be read.
    pub fn new(index: u16, share: Share, by_handle: bool) -> Result<(Self, Root), ShareError> {
        let Share { name, source, policy } = share;
        let stat = match fstat(&source) {
            Ok(stat) => stat,
            Err(error) => return Err(ShareError::Open { name, source: error.into() }),
        };
        if !matches!(host::kind_of(&stat), libc::S_IFDIR | libc::S_IFREG) {
            return Err(ShareError::Kind { name });
        }
        let served = Self {
            index,
            policy,
            quota: policy.size_bytes.map(Quota::new),
            device: stat.st_dev,
            anchor: if by_handle { anchor(&source) } else { None },
            user: rustix::process::geteuid().as_raw(),
        };
        Ok((served, Root { descriptor: source, stat }))
    }

    /// Whether owners, modes and devices of the guest are in attributes of the host's files.
    pub fn virtualizes(&self) -> bool {
        self.policy.stat_virt != StatVirt::Off
    }

    /// Whether the guest's permissions are set on the host's files.
    pub fn mirrors(&self) -> bool {
        self.virtualizes() && self.policy.host_perms == HostPerms::Mirror
    }

    /// Returns the permissions on the host of a file whose permissions in the guest are `mode`; `None` for unchanged.
    /// The owner can always read and write, and enter directories, unless the guest sees the host's own modes.
    pub fn host_mode(&self, kind: u32, mode: u32) -> Option<u32> {
        if !self.virtualizes() {
            let allowed = if kind == libc::S_IFDIR { 0o1777 } else { 0o777 };
            return Some(mode & allowed);
        }
        let floor = if kind == libc::S_IFDIR { 0o700 } else { 0o600 };
        (self.mirrors() && matches!(kind, libc::S_IFDIR | libc::S_IFREG)).then_some(mode & 0o777 | floor)
    }

    /// Reads what the guest sees instead of the host's metadata; `None` if it sees those.
    pub fn read_override(&self, file: impl AsFd, stat: &Stat) -> Option<StatOverride> {
        if !self.virtualizes() || !can_have_override(host::kind_of(stat)) {
            return None;
        }
        let mut value = [0; stat_override::LENGTH];
        // A longer value, a missing one, and one that the server cannot read are all none.
        let length = host::get_xattr(file, stat_override::NAME, &mut value).ok()?;
        StatOverride::from_bytes(&value[..length])
    }

    /// Stores what the guest sees instead of the host's metadata. Where the host's file system has no attributes, the
    /// relaxed policy ignores that, except for kinds of files that only the attribute expresses.
    pub fn write_override(&self, file: impl AsFd, value: StatOverride) -> Answer<()> {
        match host::set_xattr(file, stat_override::NAME, &value.to_bytes(), XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM)
                if self.policy.stat_virt == StatVirt::Relaxed
                    && matches!(value.mode & KIND, libc::S_IFREG | libc::S_IFDIR) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Returns what the guest sees of a file, without its inode number.
    pub fn present(&self, stat: &Stat, replacement: Option<&StatOverride>) -> Attr {
        let kind = presented_kind(stat, replacement);
        let virtual_kind = kind != host::kind_of(stat);
        let (uid, gid) = self.default_owner(stat);
        let mut attributes = Attr {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            atime: stat.st_atime.cast_unsigned(),
            mtime: stat.st_mtime.cast_unsigned(),
            ctime: stat.st_ctime.cast_unsigned(),
            atimensec: truncated(stat.st_atime_nsec),
            mtimensec: truncated(stat.st_mtime_nsec),
            ctimensec: truncated(stat.st_ctime_nsec),
            mode: kind | stat.st_mode & PERMISSIONS,
            nlink: stat.st_nlink as u32,
            uid,
            gid,
            rdev: truncated(stat.st_rdev),
            blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
            ..Attr::default()
        };
        if let Some(replacement) = replacement {
            let StatOverride { uid, gid, mode, rdev } = *replacement;
            attributes.uid = uid;
            attributes.gid = gid;
            attributes.mode = kind | mode & PERMISSIONS;
            attributes.rdev = rdev;
        }
        if virtual_kind && kind != libc::S_IFLNK {
            attributes.size = 0;
            attributes.blocks = 0;
        }
        if !matches!(kind, libc::S_IFCHR | libc::S_IFBLK) {
            attributes.rdev = 0;
        }
        attributes
    }

    /// Returns the owner of a file that has no override.
    fn default_owner(&self, stat: &Stat) -> (u32, u32) {
        let own = stat.st_uid == self.user;
        match self.policy.owner {
            Some(owner) if own => (owner.uid, owner.gid),
            None if own && self.virtualizes() => (0, 0),
            _ => (stat.st_uid, stat.st_gid),
        }
    }
}

/// Returns the kind of a file in the guest as the bits of its mode: only regular files of the host can be of another
/// kind in the guest.
pub fn presented_kind(stat: &Stat, replacement: Option<&StatOverride>) -> u32 {
    let kind = host::kind_of(stat);
    match replacement.map(|replacement| replacement.mode & KIND) {
        Some(other @ (libc::S_IFLNK | libc::S_IFCHR | libc::S_IFBLK | libc::S_IFIFO | libc::S_IFSOCK))
            if kind == libc::S_IFREG =>
        {
            other
        }
        _ => kind,
    }
}

/// Whether files of a kind of the host can have extended attributes of users.
pub fn can_have_override(kind: u32) -> bool {
    matches!(kind, libc::S_IFREG | libc::S_IFDIR)
}

/// Returns the low 32 bits of a number, which is what FUSE carries of it.
fn truncated(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

/// Opens a directory for opening files by handle; `None` if that is impossible.
fn anchor(source: &OwnedFd) -> Option<(OwnedFd, FileHandle)> {
    let handle = FileHandle::of(source).ok()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let anchor = openat(source, c".", flags, Mode::empty()).ok()?;
    handle.open(anchor.as_fd()).ok()?;
    Some((anchor, handle))
}

/// Checks that a directory or file can hold the guest's owners and modes, as [`StatVirt::Strict`] needs it. A share that
/// is read only need not be writable.
///
/// # Errors
///
/// If its file system has no extended attributes of users, or they cannot be written.
pub fn check_attributes(source: impl AsFd, read_only: bool) -> std::io::Result<()> {
    const PROBE: &std::ffi::CStr = c"user.msb.probe";
    if read_only {
        return match host::get_xattr(&source, PROBE, &mut [0; 1]) {
            Ok(_) | Err(Errno::NODATA | Errno::RANGE | Errno::ACCESS) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    host::set_xattr(&source, PROBE, b"1", XattrFlags::empty())?;
    Ok(host::remove_xattr(&source, PROBE)?)
}
