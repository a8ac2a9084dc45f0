//! Extended attributes: those of users, except the ones of the policies.

use super::ShareFs;
use super::host::{self, Answer, XATTR_MAX};
use super::inode::Inode;
use crate::stat_override::{CHANGED, HIDDEN};
use fuse_backend_rs::api::filesystem::{GetxattrReply, ListxattrReply};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::ffi::CStr;

/// The start of the names of attributes of users. All others mean something to the host's kernel.
const USERS: &[u8] = b"user.";

/// The longest name in bytes.
const NAME_MAX: usize = 255;

impl ShareFs {
    pub(super) fn get_attribute(&self, number: u64, name: &CStr, size: u32) -> Answer<GetxattrReply> {
        check_visible(name, Errno::NODATA)?;
        let inode = self.inodes.get(number)?;
        if !has_attributes(&inode) {
            return Err(Errno::NODATA);
        }
        let descriptor = self.inodes.descriptor(&inode)?;
        let mut value = vec![0; if size == 0 { XATTR_MAX } else { (size as usize).min(XATTR_MAX) }];
        let length = host::get_xattr(&descriptor, name, &mut value)?;
        if size == 0 {
            return Ok(GetxattrReply::Count(u32::try_from(length).map_err(|_| Errno::OVERFLOW)?));
        }
        value.truncate(length);
        Ok(GetxattrReply::Value(value))
    }

    pub(super) fn list_attributes(&self, number: u64, size: u32) -> Answer<ListxattrReply> {
        let inode = self.inodes.get(number)?;
        let mut names = Vec::new();
        if has_attributes(&inode) {
            let descriptor = self.inodes.descriptor(&inode)?;
            let all = match host::list_xattrs(&descriptor) {
                Err(Errno::OPNOTSUPP) => Vec::new(),
                all => all?,
            };
            for name in all.split_inclusive(|byte| *byte == 0) {
                if name.starts_with(USERS) && !name.starts_with(HIDDEN) {
                    names.extend_from_slice(name);
                }
            }
        }
        let length = u32::try_from(names.len()).map_err(|_| Errno::OVERFLOW)?;
        match size {
            0 => Ok(ListxattrReply::Count(length)),
            size if size < length => Err(Errno::RANGE),
            _ => Ok(ListxattrReply::Names(names)),
        }
    }

    pub(super) fn set_attribute(&self, number: u64, name: &CStr, value: &[u8], flags: u32) -> Answer<()> {
        if name == CHANGED {
            return Ok(());
        }
        check_visible(name, Errno::PERM)?;
        let inode = self.writable(number)?;
        inode.check_changeable()?;
        if !has_attributes(&inode) {
            return Err(Errno::PERM);
        }
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if value.len() > XATTR_MAX {
            return Err(Errno::TOOBIG);
        }
        let descriptor = self.inodes.descriptor(&inode)?;
        self.growing(&inode, &descriptor, value.len() as u64, || {
            host::set_xattr(&descriptor, name, value, flags)
        })
    }

    pub(super) fn remove_attribute(&self, number: u64, name: &CStr) -> Answer<()> {
        check_visible(name, Errno::PERM)?;
        let inode = self.writable(number)?;
        inode.check_changeable()?;
        if !has_attributes(&inode) {
            return Err(Errno::PERM);
        }
        let descriptor = self.inodes.descriptor(&inode)?;
        self.growing(&inode, &descriptor, 0, || host::remove_xattr(&descriptor, name))
    }
}

/// Checks that the guest may know an attribute; `hidden` is the error for those of the policies.
fn check_visible(name: &CStr, hidden: Errno) -> Answer<()> {
    let name = name.to_bytes();
    if name.len() > NAME_MAX {
        return Err(Errno::RANGE);
    }
    if name.starts_with(HIDDEN) {
        return Err(hidden);
    }
    if name.starts_with(USERS) { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}

/// Whether a file can have attributes of users.
fn has_attributes(inode: &Inode) -> bool {
    inode.is_file() || inode.is_directory()
}
