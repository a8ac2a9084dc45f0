//! Notifications of the FUSE protocol (`linux/fuse.h`): the kernel that has mounted the device is told which of its caches
//! are out of date. A virtio-fs device has none.

use crate::fs::HostChange;
use rustix::io::{Errno, write};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// `FUSE_NOTIFY_INVAL_INODE`.
const INVALIDATE_INODE: i32 = 2;
/// `FUSE_NOTIFY_INVAL_ENTRY`.
const INVALIDATE_ENTRY: i32 = 3;
/// The size of `fuse_out_header` in bytes.
const HEADER_BYTES: usize = 16;

/// Tells the kernel of changed files. It has not cached what it does not know, so errors mean nothing.
pub fn invalidate(device: impl AsFd, changes: &[HostChange]) {
    for HostChange { change: _, entry, inode } in changes {
        if let Some((directory, name)) = entry {
            let _ = notify(&device, INVALIDATE_ENTRY, &entry_body(*directory, name));
            // The directory has another time of change.
            let _ = notify(&device, INVALIDATE_INODE, &attributes_body(*directory));
        }
        if let Some(inode) = inode {
            let _ = notify(&device, INVALIDATE_INODE, &inode_body(*inode));
        }
    }
}

fn notify(device: impl AsFd, code: i32, body: &[u8]) -> Result<(), Errno> {
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| Errno::NAMETOOLONG)?;
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&code.to_ne_bytes());
    // Notifications answer no request.
    message.extend_from_slice(&0_u64.to_ne_bytes());
    message.extend_from_slice(body);
    write(device, &message).map(drop)
}

/// `fuse_notify_inval_inode_out` for attributes and all data.
fn inode_body(inode: u64) -> [u8; 24] {
    inode_out(inode, 0)
}

/// `fuse_notify_inval_inode_out` for attributes alone: a negative offset stands for no data.
fn attributes_body(inode: u64) -> [u8; 24] {
    inode_out(inode, -1)
}

fn inode_out(inode: u64, offset: i64) -> [u8; 24] {
    let mut body = [0; 24];
    body[..8].copy_from_slice(&inode.to_ne_bytes());
    body[8..16].copy_from_slice(&offset.to_ne_bytes());
    // The length, zero, stands for all that follows.
    body
}

/// `fuse_notify_inval_entry_out`, followed by the name and a NUL.
fn entry_body(directory: u64, name: &CStr) -> Vec<u8> {
    let mut body = directory.to_ne_bytes().to_vec();
    let length = u32::try_from(name.count_bytes()).unwrap_or(u32::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    // No flags.
    body.extend_from_slice(&0_u32.to_ne_bytes());
    body.extend_from_slice(name.to_bytes_with_nul());
    body
}
