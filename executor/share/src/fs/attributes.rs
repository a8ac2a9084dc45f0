//! Reading and changing attributes.

use super::host::{Answer, PERMISSIONS};
use super::inode::Inode;
use super::share::PRIVILEGES;
use super::{ROOT, ShareFs};
use crate::lock;
use crate::stat_override::StatOverride;
use fuse_backend_rs::abi::fuse_abi::{Attr, SetattrValid, stat64};
use rustix::fs::{AtFlags, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fstat, utimensat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A change of owner and permissions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// The permissions.
    pub mode: Option<u32>,
    /// The user id.
    pub uid: Option<u32>,
    /// The group id.
    pub gid: Option<u32>,
    /// Whether the set-user-id and set-group-id bits are cleared.
    pub clear_privileges: bool,
}

impl ShareFs {
    /// Returns the attributes of an inode.
    pub(super) fn attributes(&self, inode: &Inode) -> Answer<Attr> {
        let descriptor = self.inodes.descriptor(inode)?;
        let stat = fstat(&descriptor)?;
        let replacement = inode.share.read_override(&descriptor, &stat);
        Ok(self.numbered(inode, inode.share.present(&stat, replacement.as_ref())))
    }

    /// Adds its number to the attributes of an inode.
    pub(super) fn numbered(&self, inode: &Inode, attributes: Attr) -> Attr {
        Attr { ino: inode.stat_number(self.short_device(&inode.share, inode.file.device)), ..attributes }
    }

    /// Changes attributes of an inode, and returns all of them.
    pub(super) fn change_attributes(
        &self,
        number: u64,
        wanted: &stat64,
        handle: Option<u64>,
        valid: SetattrValid,
    ) -> Answer<Attr> {
        if number != ROOT && valid == SetattrValid::MODE {
            let inode = self.inodes.get(number)?;
            let attributes = self.attributes(&inode)?;
            // The guest's agent raises events with a change that is none, also where nothing can be changed.
            if inode.share.policy.read_only && (attributes.mode ^ wanted.st_mode) & PERMISSIONS == 0 {
                return Ok(attributes);
            }
        }
        let inode = self.writable(number)?;
        inode.check_changeable()?;
        self.changed_by_guest(&inode);
        let resized = valid.contains(SetattrValid::SIZE);
        if resized {
            let size = u64::try_from(wanted.st_size).map_err(|_| Errno::INVAL)?;
            self.resize(&inode, handle, size)?;
        }
        let given = |bit: SetattrValid, value: u32| valid.contains(bit).then_some(value);
        let change = Change {
            mode: given(SetattrValid::MODE, wanted.st_mode & PERMISSIONS),
            uid: given(SetattrValid::UID, wanted.st_uid),
            gid: given(SetattrValid::GID, wanted.st_gid),
            clear_privileges: resized && valid.contains(SetattrValid::KILL_SUIDGID),
        };
        let descriptor = self.inodes.descriptor(&inode)?;
        self.change_owner_and_mode(&inode, &descriptor, change)?;
        if let Some(times) = times(wanted, valid) {
            utimensat(&descriptor, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        self.attributes(&inode)
    }

    /// Clears the set-user-id and set-group-id bits of a file that is written.
    pub(super) fn clear_privileges(&self, inode: &Arc<Inode>) -> Answer<()> {
        let descriptor = self.inodes.descriptor(inode)?;
        let change = Change { clear_privileges: true, ..Change::default() };
        self.change_owner_and_mode(inode, &descriptor, change)
    }

    fn change_owner_and_mode(&self, inode: &Inode, descriptor: &Arc<OwnedFd>, change: Change) -> Answer<()> {
        let Change { mode, uid, gid, clear_privileges } = change;
        if mode.is_none() && uid.is_none() && gid.is_none() && !clear_privileges {
            return Ok(());
        }
        let _changing = lock(&inode.metadata);
        let stat = fstat(descriptor)?;
        if !inode.share.virtualizes() {
            return self.change_on_host(inode, descriptor, &stat, change);
        }
        if !super::share::can_have_override(inode.host_kind) {
            // A link or special file of the host.
            return match inode.share.policy.stat_virt {
                rules::mount_text::StatVirt::Relaxed => Ok(()),
                _ => Err(Errno::PERM),
            };
        }
        let stored = inode.share.read_override(descriptor, &stat);
        let shown = inode.share.present(&stat, stored.as_ref());
        let mut next = StatOverride { uid: shown.uid, gid: shown.gid, mode: shown.mode, rdev: shown.rdev };
        let owner_changes = uid.is_some() || gid.is_some();
        if clear_privileges || (owner_changes && !inode.is_directory()) {
            next.mode = without_privileges(next.mode);
        }
        next.uid = uid.unwrap_or(next.uid);
        next.gid = gid.unwrap_or(next.gid);
        if let Some(mode) = mode {
            next.mode = inode.kind | mode;
        }
        if let Some(mode) = mode.and_then(|mode| inode.share.host_mode(inode.kind, mode)) {
            self.descriptors.chmod(descriptor, mode)?;
        }
        let unchanged =
            stored == Some(next) || (stored.is_none() && clear_privileges && next.mode == shown.mode);
        // A change of owner sets the time of change even if it changes nothing, as chown(2) does elsewhere.
        if unchanged && !owner_changes {
            return Ok(());
        }
        self.store(inode, descriptor, &stat, next)
    }

    /// Stores an override, for which the host's file must be writable by its owner.
    fn store(&self, inode: &Inode, descriptor: &Arc<OwnedFd>, stat: &Stat, next: StatOverride) -> Answer<()> {
        self.growing(inode, descriptor, 0, || match inode.share.write_override(descriptor, next) {
            Err(Errno::ACCESS) if stat.st_mode & 0o200 == 0 => {
                self.descriptors.chmod(descriptor, stat.st_mode & 0o777 | 0o600)?;
                inode.share.write_override(descriptor, next)
            }
            result => result,
        })
    }

    fn change_on_host(
        &self,
        inode: &Inode,
        descriptor: &Arc<OwnedFd>,
        stat: &Stat,
        change: Change,
    ) -> Answer<()> {
        let Change { mode, uid, gid, clear_privileges } = change;
        if uid.is_some() || gid.is_some() {
            return Err(Errno::PERM);
        }
        if let Some(mode) = mode.and_then(|mode| inode.share.host_mode(inode.kind, mode)) {
            // The host alone decides whether new entries of a directory have its group.
            let kept = if inode.is_directory() { stat.st_mode & libc::S_ISGID } else { 0 };
            self.descriptors.chmod(descriptor, mode | kept)?;
        } else if clear_privileges && stat.st_mode & PRIVILEGES != 0 {
            self.descriptors.chmod(descriptor, without_privileges(stat.st_mode & PERMISSIONS))?;
        }
        Ok(())
    }

    /// Sets the size of a file.
    fn resize(&self, inode: &Arc<Inode>, handle: Option<u64>, size: u64) -> Answer<()> {
        if !inode.is_file() {
            return Err(if inode.is_directory() { Errno::ISDIR } else { Errno::INVAL });
        }
        if let Some(open) = handle.map(|handle| self.handles.file(handle, inode.number)).transpose()? {
            match self.growing(inode, &open.file, 0, || rustix::fs::ftruncate(&open.file, size)) {
                // The handle is open for reading only.
                Err(Errno::INVAL | Errno::BADF) => {}
                result => return result,
            }
        }
        let file = self.open_on_host(inode, OFlags::WRONLY)?;
        self.growing(inode, &file, 0, || rustix::fs::ftruncate(&file, size))
    }
}

/// Returns permissions without the bits that a write or a change of owner clears. Without execution by the group, the
/// set-group-id bit stands for mandatory locks.
fn without_privileges(mode: u32) -> u32 {
    let group = if mode & libc::S_IXGRP != 0 { libc::S_ISGID } else { 0 };
    mode & !(libc::S_ISUID | group)
}

/// Returns the times that are set; `None` if none is.
fn times(wanted: &stat64, valid: SetattrValid) -> Option<Timestamps> {
    let time = |given: SetattrValid, now: SetattrValid, seconds: i64, nanoseconds: i64| {
        let tv_nsec = if valid.contains(now) {
            UTIME_NOW
        } else if valid.contains(given) {
            nanoseconds
        } else {
            UTIME_OMIT
        };
        Timespec { tv_sec: seconds, tv_nsec }
    };
    let last_access =
        time(SetattrValid::ATIME, SetattrValid::ATIME_NOW, wanted.st_atime, wanted.st_atime_nsec);
    let last_modification =
        time(SetattrValid::MTIME, SetattrValid::MTIME_NOW, wanted.st_mtime, wanted.st_mtime_nsec);
    let any = [last_access.tv_nsec, last_modification.tv_nsec] != [UTIME_OMIT; 2];
    any.then_some(Timestamps { last_access, last_modification })
}
