//! A guest for tests: does what its kernel does with paths, handles and lookups.
#![allow(unsafe_code, reason = "buffers for the zero-copy interface of the transports")]

use crate::fs::{ROOT, ShareFs};
use crate::{Limits, Share, SharePolicy};
use fuse_backend_rs::abi::fuse_abi::{Attr, CreateIn, stat64};
use fuse_backend_rs::api::filesystem::{
    Context, Entry, FileSystem, GetxattrReply, ListxattrReply, SetattrValid, ZeroCopyReader, ZeroCopyWriter,
};
use fuse_backend_rs::file_buf::FileVolatileSlice;
use fuse_backend_rs::file_traits::FileReadWriteVolatile;
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::path::Path;

/// The result of a system call in the guest; the error is an errno.
pub type Called<T> = Result<T, i32>;

/// A guest with one share.
pub struct Guest {
    /// The file system.
    pub fs: ShareFs,
    /// The user who calls.
    pub context: Context,
}

/// An open file.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The number of the inode, which counts as looked up.
    pub inode: u64,
    /// The number of the handle.
    pub handle: u64,
    /// The flags that the guest's kernel keeps.
    pub flags: u32,
}

/// Opens a directory or file of the host as the source of a share.
pub fn share(path: &Path, policy: SharePolicy) -> Share {
    let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    Share { name: path.display().to_string(), source, policy }
}

/// Converts a name or a target.
pub fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Returns the errno of an error.
pub fn errno<T>(result: io::Result<T>) -> Called<T> {
    result.map_err(|error| error.raw_os_error().unwrap_or(-1))
}

impl Guest {
    /// Mounts one share.
    pub fn new(path: &Path, policy: SharePolicy) -> Self {
        Self::limited(path, policy, Limits::default())
    }

    /// Mounts one share with other limits.
    pub fn limited(path: &Path, policy: SharePolicy, limits: Limits) -> Self {
        let fs = ShareFs::new(vec![share(path, policy)], limits).unwrap();
        Self { fs, context: Context { uid: 1000, gid: 1000, pid: 1 } }
    }

    /// Returns the inode of a path in the share, which counts as looked up once.
    pub fn walk(&self, path: &str) -> Called<u64> {
        let mut inode = errno(self.fs.lookup(&self.context, ROOT, c"0"))?.inode;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let next = errno(self.fs.lookup(&self.context, inode, &c(name)));
            self.forget(inode);
            inode = next?.inode;
        }
        Ok(inode)
    }

    /// Calls a function with the inode of a path, and forgets it.
    pub fn with<T>(&self, path: &str, call: impl FnOnce(u64) -> io::Result<T>) -> Called<T> {
        let inode = self.walk(path)?;
        let result = errno(call(inode));
        self.forget(inode);
        result
    }

    /// Calls a function with the directory of a path and the last name, and forgets the directory.
    pub fn with_parent<T>(&self, path: &str, call: impl FnOnce(u64, CString) -> io::Result<T>) -> Called<T> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.with(parent, |parent| call(parent, c(name)))
    }

    pub fn forget(&self, inode: u64) {
        self.fs.forget(&self.context, inode, 1);
    }

    /// Forgets the inode of an entry.
    fn made(&self, entry: Entry) -> stat64 {
        self.forget(entry.inode);
        entry.attr
    }

    pub fn stat(&self, path: &str) -> Called<stat64> {
        self.with(path, |inode| Ok(self.fs.getattr(&self.context, inode, None)?.0))
    }

    pub fn create(&self, path: &str, flags: i32, mode: u32) -> Called<Opened> {
        let wanted =
            CreateIn { flags: (flags | libc::O_CREAT).cast_unsigned(), mode, umask: 0, fuse_flags: 0 };
        self.with_parent(path, |parent, name| {
            let (entry, handle, _, _) = self.fs.create(&self.context, parent, &name, wanted)?;
            Ok(Opened { inode: entry.inode, handle: handle.unwrap(), flags: flags.cast_unsigned() })
        })
    }

    pub fn open(&self, path: &str, flags: i32) -> Called<Opened> {
        let inode = self.walk(path)?;
        match errno(self.fs.open(&self.context, inode, flags.cast_unsigned(), 0)) {
            Ok((handle, _, _)) => Ok(Opened { inode, handle: handle.unwrap(), flags: flags.cast_unsigned() }),
            Err(error) => {
                self.forget(inode);
                Err(error)
            }
        }
    }

    pub fn close(&self, open: Opened) {
        self.fs.release(&self.context, open.inode, 0, open.handle, false, false, None).unwrap();
        self.forget(open.inode);
    }

    pub fn write_at(&self, open: Opened, bytes: &[u8], offset: u64, fuse_flags: u32) -> Called<usize> {
        let mut from = Bytes(bytes.to_vec());
        let size = u32::try_from(bytes.len()).unwrap();
        errno(self.fs.write(
            &self.context,
            open.inode,
            open.handle,
            &mut from,
            size,
            offset,
            None,
            false,
            open.flags,
            fuse_flags,
        ))
    }

    pub fn read_at(&self, open: Opened, size: u32, offset: u64) -> Called<Vec<u8>> {
        let mut to = Room { bytes: Vec::new(), room: size as usize };
        errno(self.fs.read(&self.context, open.inode, open.handle, &mut to, size, offset, None, 0))?;
        Ok(to.bytes)
    }

    /// Creates or replaces a file.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Called<()> {
        let open = self.create(path, libc::O_WRONLY | libc::O_TRUNC, 0o644)?;
        let written = self.write_at(open, bytes, 0, 0);
        self.close(open);
        written.map(drop)
    }

    pub fn read(&self, path: &str) -> Called<Vec<u8>> {
        let open = self.open(path, libc::O_RDONLY)?;
        let bytes = self.read_at(open, 1 << 20, 0);
        self.close(open);
        bytes
    }

    pub fn mkdir(&self, path: &str, mode: u32) -> Called<stat64> {
        self.with_parent(path, |parent, name| self.fs.mkdir(&self.context, parent, &name, mode, 0))
            .map(|entry| self.made(entry))
    }

    pub fn mknod(&self, path: &str, mode: u32, rdev: u32) -> Called<stat64> {
        self.with_parent(path, |parent, name| self.fs.mknod(&self.context, parent, &name, mode, rdev, 0))
            .map(|entry| self.made(entry))
    }

    pub fn symlink(&self, target: &str, path: &str) -> Called<stat64> {
        self.with_parent(path, |parent, name| self.fs.symlink(&self.context, &c(target), parent, &name))
            .map(|entry| self.made(entry))
    }

    pub fn readlink(&self, path: &str) -> Called<String> {
        let target = self.with(path, |inode| self.fs.readlink(&self.context, inode))?;
        Ok(String::from_utf8(target).unwrap())
    }

    pub fn link(&self, path: &str, new: &str) -> Called<stat64> {
        let inode = self.walk(path)?;
        let made = self.with_parent(new, |parent, name| self.fs.link(&self.context, inode, parent, &name));
        self.forget(inode);
        made.map(|entry| self.made(entry))
    }

    pub fn unlink(&self, path: &str) -> Called<()> {
        self.with_parent(path, |parent, name| self.fs.unlink(&self.context, parent, &name))
    }

    pub fn rmdir(&self, path: &str) -> Called<()> {
        self.with_parent(path, |parent, name| self.fs.rmdir(&self.context, parent, &name))
    }

    pub fn rename(&self, from: &str, to: &str, flags: u32) -> Called<()> {
        let (to_parent, to_name) = to.rsplit_once('/').unwrap_or(("", to));
        let to_parent = self.walk(to_parent)?;
        let renamed = self.with_parent(from, |parent, name| {
            self.fs.rename(&self.context, parent, &name, to_parent, &c(to_name), flags)
        });
        self.forget(to_parent);
        renamed
    }

    pub fn setattr(&self, path: &str, wanted: stat64, valid: SetattrValid) -> Called<stat64> {
        self.with(path, |inode| Ok(self.fs.setattr(&self.context, inode, wanted, None, valid)?.0))
    }

    pub fn chmod(&self, path: &str, mode: u32) -> Called<()> {
        let wanted = Attr { mode, ..Attr::default() }.into();
        self.setattr(path, wanted, SetattrValid::MODE).map(drop)
    }

    pub fn chown(&self, path: &str, uid: u32, gid: u32) -> Called<()> {
        let wanted = Attr { uid, gid, ..Attr::default() }.into();
        self.setattr(path, wanted, SetattrValid::UID | SetattrValid::GID).map(drop)
    }

    pub fn truncate(&self, path: &str, size: i64) -> Called<()> {
        let wanted = Attr { size: size.cast_unsigned(), ..Attr::default() }.into();
        self.setattr(path, wanted, SetattrValid::SIZE | SetattrValid::KILL_SUIDGID).map(drop)
    }

    pub fn utimens(&self, path: &str, access: u64, modification: u64) -> Called<()> {
        let wanted = Attr { atime: access, mtime: modification, ..Attr::default() }.into();
        self.setattr(path, wanted, SetattrValid::ATIME | SetattrValid::MTIME).map(drop)
    }

    pub fn setxattr(&self, path: &str, name: &str, value: &[u8]) -> Called<()> {
        self.with(path, |inode| self.fs.setxattr(&self.context, inode, &c(name), value, 0))
    }

    pub fn getxattr(&self, path: &str, name: &str) -> Called<Vec<u8>> {
        match self.with(path, |inode| self.fs.getxattr(&self.context, inode, &c(name), 1024))? {
            GetxattrReply::Value(value) => Ok(value),
            GetxattrReply::Count(_) => panic!("a value was expected"),
        }
    }

    pub fn removexattr(&self, path: &str, name: &str) -> Called<()> {
        self.with(path, |inode| self.fs.removexattr(&self.context, inode, &c(name)))
    }

    pub fn listxattr(&self, path: &str) -> Called<String> {
        match self.with(path, |inode| self.fs.listxattr(&self.context, inode, 1024))? {
            ListxattrReply::Names(names) => Ok(String::from_utf8(names).unwrap().replace('\0', " ")),
            ListxattrReply::Count(_) => panic!("names were expected"),
        }
    }

    /// Lists a directory with as many requests as a small buffer needs: names and kinds of entries.
    pub fn list(&self, path: &str) -> Called<Vec<(String, u32)>> {
        self.with(path, |inode| {
            let handle = self.fs.opendir(&self.context, inode, 0)?.0.unwrap();
            let (mut all, mut offset) = (Vec::new(), 0);
            loop {
                let before = all.len();
                self.fs.readdir(&self.context, inode, handle, 0, offset, &mut |entry| {
                    if all.len() == before + 3 {
                        return Ok(0);
                    }
                    offset = entry.offset;
                    all.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.type_));
                    Ok(1)
                })?;
                if all.len() == before {
                    break;
                }
            }
            self.fs.releasedir(&self.context, inode, 0, handle)?;
            all.retain(|(name, _)| name != "." && name != "..");
            all.sort();
            Ok(all)
        })
    }

    /// Lists a directory as [`Guest::list`] does, with attributes: names, the numbers of inodes, which count as looked
    /// up, and modes.
    pub fn list_with_attributes(&self, path: &str) -> Called<Vec<(String, u64, u32)>> {
        self.with(path, |inode| {
            let handle = self.fs.opendir(&self.context, inode, 0)?.0.unwrap();
            let (mut all, mut offset) = (Vec::new(), 0);
            loop {
                let before = all.len();
                self.fs.readdirplus(&self.context, inode, handle, 0, offset, &mut |listed, entry| {
                    if all.len() == before + 3 {
                        return Ok(0);
                    }
                    offset = listed.offset;
                    let name = String::from_utf8(listed.name.to_vec()).unwrap();
                    all.push((name, entry.inode, entry.attr.st_mode));
                    Ok(1)
                })?;
                if all.len() == before {
                    break;
                }
            }
            self.fs.releasedir(&self.context, inode, 0, handle)?;
            all.retain(|(_, inode, _)| *inode != 0);
            all.sort();
            Ok(all)
        })
    }
}

/// Attributes that are all zero.
pub fn no_attributes() -> stat64 {
    Attr::default().into()
}

/// Bytes that the guest writes.
pub struct Bytes(pub Vec<u8>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.0.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0.drain(..length);
        Ok(length)
    }
}

impl ZeroCopyReader for Bytes {
    fn read_to(
        &mut self,
        file: &mut dyn FileReadWriteVolatile,
        count: usize,
        offset: u64,
    ) -> io::Result<usize> {
        let length = count.min(self.0.len());
        // SAFETY: The buffer is not used otherwise during the call.
        let slice = unsafe { FileVolatileSlice::from_mut_slice(&mut self.0[..length]) };
        let written = file.write_at_volatile(slice, offset)?;
        self.0.drain(..written);
        Ok(written)
    }
}

/// Room for bytes that the guest reads.
pub struct Room {
    /// The bytes that were read.
    pub bytes: Vec<u8>,
    /// The number of bytes that have room.
    pub room: usize,
}

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.room);
        self.bytes.extend_from_slice(&bytes[..length]);
        self.room -= length;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ZeroCopyWriter for Room {
    fn write_from(
        &mut self,
        file: &mut dyn FileReadWriteVolatile,
        count: usize,
        offset: u64,
    ) -> io::Result<usize> {
        let mut bytes = vec![0; count.min(self.room)];
        // SAFETY: The buffer is not used otherwise during the call.
        let slice = unsafe { FileVolatileSlice::from_mut_slice(&mut bytes) };
        let length = file.read_at_volatile(slice, offset)?;
        self.write(&bytes[..length])
    }

    fn available_bytes(&self) -> usize {
        self.room
    }
}
