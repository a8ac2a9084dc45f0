//! Removing, renaming and linking entries.

use super::ShareFs;
use super::create::Target;
use super::host::{self, Answer};
use super::inode::{FileId, Inode, Place};
use super::quota::ENTRY_BYTES;
use fuse_backend_rs::api::filesystem::Entry;
use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl ShareFs {
    /// Removes an entry: a directory with [`AtFlags::REMOVEDIR`], else anything but one.
    pub(super) fn remove(&self, parent: u64, name: &CStr, flags: AtFlags) -> Answer<()> {
        let target = self.target(parent, name)?;
        let held = self.held(&target)?;
        unlinkat(&target, name, flags)?;
        self.name_removed(held);
        Ok(())
    }

    /// Renames an entry.
    pub(super) fn rename_entry(&self, from: (u64, &CStr), to: (u64, &CStr), flags: u32) -> Answer<()> {
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL);
        }
        let (from, to) = (self.target(from.0, from.1)?, self.target(to.0, to.1)?);
        if from.parent.file.share != to.parent.file.share {
            return Err(Errno::XDEV);
        }
        let exchanges = flags.contains(RenameFlags::EXCHANGE);
        let replaced = if exchanges { None } else { self.held_replaced(&from, &to)? };
        renameat_with(&from, from.name, &to, to.name, flags)?;
        self.name_removed(replaced);
        self.note_place(&to);
        if exchanges {
            self.note_place(&from);
        }
        Ok(())
    }

    /// Creates a hard link.
    pub(super) fn link_entry(&self, number: u64, parent: u64, name: &CStr) -> Answer<Entry> {
        let target = self.target(parent, name)?;
        let inode = self.inodes.get(number)?;
        if inode.file.share != target.parent.file.share {
            return Err(Errno::XDEV);
        }
        if inode.is_directory() {
            return Err(Errno::PERM);
        }
        let descriptor = self.inodes.descriptor(&inode)?;
        self.reserve(&inode, ENTRY_BYTES)?;
        self.descriptors
            .link(&descriptor, &target, name)
            .inspect_err(|_| self.give_back(&inode, ENTRY_BYTES))?;
        self.look_up(parent, name)
    }

    /// Returns the inode of an entry that is about to be removed, if its space is counted.
    fn held(&self, target: &Target<'_>) -> Answer<Option<Arc<Inode>>> {
        if target.parent.share.quota.is_none() {
            return Ok(None);
        }
        match self.find(&target.parent, target.name) {
            Ok((found, _)) => Ok(Some(self.inodes.hold(found))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the inode of an entry that is about to be replaced by another file, if its space is counted.
    fn held_replaced(&self, from: &Target<'_>, to: &Target<'_>) -> Answer<Option<Arc<Inode>>> {
        let Some(replaced) = self.held(to)? else { return Ok(None) };
        let same = match host::open_child(from, from.name) {
            Ok(file) => super::inode::is_same(&replaced, &file)?,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error),
        };
        // Renaming one link of a file to another one does nothing.
        Ok((!same).then_some(replaced))
    }

    /// Gives the space of a removed name back, and that of the file with its last reference.
    fn name_removed(&self, held: Option<Arc<Inode>>) {
        if let Some(inode) = held {
            self.give_back(&inode, ENTRY_BYTES);
            inode.removed.store(true, Ordering::Release);
        }
    }

    /// Notes the place of a renamed file.
    fn note_place(&self, target: &Target<'_>) {
        if let Ok(stat) = rustix::fs::statat(target, target.name, AtFlags::SYMLINK_NOFOLLOW) {
            let file = FileId { share: target.parent.file.share, device: stat.st_dev, number: stat.st_ino };
            self.inodes.moved(file, Place { parent: target.parent.number, name: target.name.to_owned() });
        }
    }
}
