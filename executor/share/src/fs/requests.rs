//! The requests of the FUSE protocol. Those that are not here have the answer `ENOSYS`, after which the guest's kernel
//! does the same by other means, as with locks.

use super::create::New;
use super::data::Range;
use super::host::{self, KIND};
use super::{CACHE_TIME, ROOT, ShareFs, WATCHED_CACHE_TIME};
use fuse_backend_rs::abi::fuse_abi::{CreateIn, stat64, statvfs64};
use fuse_backend_rs::api::filesystem::{
    Context, DirEntry, Entry, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions,
    SetattrValid, ZeroCopyReader, ZeroCopyWriter,
};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// What is used of the protocol, if the guest's kernel has it.
const WANTED: FsOptions = FsOptions::ASYNC_READ
    .union(FsOptions::ATOMIC_O_TRUNC)
    .union(FsOptions::BIG_WRITES)
    .union(FsOptions::MAX_PAGES)
    .union(FsOptions::AUTO_INVAL_DATA)
    .union(FsOptions::ASYNC_DIO)
    .union(FsOptions::DO_READDIRPLUS)
    .union(FsOptions::READDIRPLUS_AUTO)
    .union(FsOptions::PARALLEL_DIROPS)
    .union(FsOptions::CACHE_SYMLINKS)
    .union(FsOptions::HANDLE_KILLPRIV_V2);

impl FileSystem for ShareFs {
    type Inode = u64;
    type Handle = u64;

    fn init(&self, _capable: FsOptions) -> io::Result<FsOptions> {
        self.reset();
        Ok(WANTED)
    }

    fn destroy(&self) {
        self.reset();
    }

    fn lookup(&self, _context: &Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        Ok(self.look_up_by_name(parent, name)?)
    }

    fn forget(&self, _context: &Context, inode: u64, count: u64) {
        self.forget_inode(inode, count);
    }

    fn getattr(
        &self,
        _context: &Context,
        inode: u64,
        _handle: Option<u64>,
    ) -> io::Result<(stat64, Duration)> {
        if inode == ROOT {
            return Ok((self.root_attributes().into(), WATCHED_CACHE_TIME));
        }
        let inode = self.inodes.get(inode)?;
        let attributes = self.attributes(&inode)?;
        let timeout = self.attribute_time(&inode, attributes.nlink);
        Ok((attributes.into(), timeout))
    }

    fn setattr(
        &self,
        _context: &Context,
        inode: u64,
        wanted: stat64,
        handle: Option<u64>,
        valid: SetattrValid,
    ) -> io::Result<(stat64, Duration)> {
        Ok((self.change_attributes(inode, &wanted, handle, valid)?.into(), CACHE_TIME))
    }

    fn readlink(&self, _context: &Context, inode: u64) -> io::Result<Vec<u8>> {
        Ok(self.link_target(inode)?)
    }

    fn symlink(&self, context: &Context, target: &CStr, parent: u64, name: &CStr) -> io::Result<Entry> {
        Ok(self.make_link(context, target, parent, name)?)
    }

    fn mknod(
        &self,
        context: &Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        rdev: u32,
        _umask: u32,
    ) -> io::Result<Entry> {
        Ok(self.make_node(parent, name, New { context: *context, mode, rdev })?)
    }

    fn mkdir(
        &self,
        context: &Context,
        parent: u64,
        name: &CStr,
        mode: u32,
        _umask: u32,
    ) -> io::Result<Entry> {
        Ok(self.make_directory(parent, name, New { context: *context, mode: mode & !KIND, rdev: 0 })?)
    }

    fn unlink(&self, _context: &Context, parent: u64, name: &CStr) -> io::Result<()> {
        Ok(self.remove(parent, name, AtFlags::empty())?)
    }

    fn rmdir(&self, _context: &Context, parent: u64, name: &CStr) -> io::Result<()> {
        Ok(self.remove(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn rename(
        &self,
        _context: &Context,
        parent: u64,
        name: &CStr,
        new_parent: u64,
        new_name: &CStr,
        flags: u32,
    ) -> io::Result<()> {
        Ok(self.rename_entry((parent, name), (new_parent, new_name), flags)?)
    }

    fn link(&self, _context: &Context, inode: u64, parent: u64, name: &CStr) -> io::Result<Entry> {
        Ok(self.link_entry(inode, parent, name)?)
    }

    fn open(
        &self,
        _context: &Context,
        inode: u64,
        flags: u32,
        fuse_flags: u32,
    ) -> io::Result<(Option<u64>, OpenOptions, Option<u32>)> {
        let (handle, options) = self.open_file(inode, flags, fuse_flags)?;
        Ok((Some(handle), options, None))
    }

    fn create(
        &self,
        context: &Context,
        parent: u64,
        name: &CStr,
        wanted: CreateIn,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions, Option<u32>)> {
        let (entry, handle, options) = self.create_file(context, parent, name, wanted)?;
        Ok((entry, Some(handle), options, None))
    }

    fn read(
        &self,
        _context: &Context,
        inode: u64,
        handle: u64,
        to: &mut dyn ZeroCopyWriter,
        size: u32,
        offset: u64,
        _lock_owner: Option<u64>,
        _flags: u32,
    ) -> io::Result<usize> {
        self.read_file(Range { inode, handle, offset, size: size.into() }, to)
    }

    fn write(
        &self,
        _context: &Context,
        inode: u64,
        handle: u64,
        from: &mut dyn ZeroCopyReader,
        size: u32,
        offset: u64,
        _lock_owner: Option<u64>,
        delayed_write: bool,
        flags: u32,
        fuse_flags: u32,
    ) -> io::Result<usize> {
        // Pages of a mapping have their place also in a file that others append to.
        let appends = !delayed_write && flags & libc::O_APPEND.cast_unsigned() != 0;
        self.write_file(Range { inode, handle, offset, size: size.into() }, from, appends, fuse_flags)
    }

    // Not `flush`: every write is on the host before its answer, so a `close` in the guest need not ask.

    fn fsync(&self, _context: &Context, inode: u64, data_only: bool, handle: u64) -> io::Result<()> {
        Ok(self.sync_file(inode, handle, data_only)?)
    }

    fn fallocate(
        &self,
        _context: &Context,
        inode: u64,
        handle: u64,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        Ok(self.allocate(Range { inode, handle, offset, size: length }, mode)?)
    }

    fn release(
        &self,
        _context: &Context,
        _inode: u64,
        _flags: u32,
        handle: u64,
        _flush: bool,
        _flock_release: bool,
        _lock_owner: Option<u64>,
    ) -> io::Result<()> {
        Ok(self.handles.remove(handle)?)
    }

    fn statfs(&self, _context: &Context, inode: u64) -> io::Result<statvfs64> {
        let number = if inode == ROOT { self.roots.first().copied() } else { Some(inode) };
        let Some(number) = number else { return Ok(host::no_statistics()) };
        let inode = self.inodes.get(number)?;
        let mut statistics = host::statistics(self.inodes.descriptor(&inode)?.as_fd())?;
        if let Some(quota) = &inode.share.quota {
            let unit = statistics.f_frsize.max(1);
            statistics.f_bavail = statistics.f_bavail.min(quota.left() / unit);
            statistics.f_bfree = statistics.f_bfree.min(quota.left() / unit);
            statistics.f_blocks = quota.limit().max(quota.left()) / unit;
        }
        Ok(statistics)
    }

    fn setxattr(
        &self,
        _context: &Context,
        inode: u64,
        name: &CStr,
        value: &[u8],
        flags: u32,
    ) -> io::Result<()> {
        Ok(self.set_attribute(inode, name, value, flags)?)
    }

    fn getxattr(&self, _context: &Context, inode: u64, name: &CStr, size: u32) -> io::Result<GetxattrReply> {
        if inode == ROOT {
            return Err(Errno::NODATA.into());
        }
        Ok(self.get_attribute(inode, name, size)?)
    }

    fn listxattr(&self, _context: &Context, inode: u64, size: u32) -> io::Result<ListxattrReply> {
        match (inode, size) {
            (ROOT, 0) => Ok(ListxattrReply::Count(0)),
            (ROOT, _) => Ok(ListxattrReply::Names(Vec::new())),
            _ => Ok(self.list_attributes(inode, size)?),
        }
    }

    fn removexattr(&self, _context: &Context, inode: u64, name: &CStr) -> io::Result<()> {
        Ok(self.remove_attribute(inode, name)?)
    }

    fn opendir(&self, _context: &Context, inode: u64, _flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        Ok((Some(self.open_directory(inode)?), OpenOptions::empty()))
    }

    fn readdir(
        &self,
        _context: &Context,
        inode: u64,
        handle: u64,
        _size: u32,
        offset: u64,
        add_entry: &mut dyn FnMut(DirEntry<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.list(inode, handle, offset, add_entry)
    }

    fn readdirplus(
        &self,
        _context: &Context,
        inode: u64,
        handle: u64,
        _size: u32,
        offset: u64,
        add_entry: &mut dyn FnMut(DirEntry<'_>, Entry) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.list_with_attributes(inode, handle, offset, add_entry)
    }

    fn fsyncdir(&self, _context: &Context, inode: u64, _data_only: bool, handle: u64) -> io::Result<()> {
        Ok(self.sync_directory(inode, handle)?)
    }

    fn releasedir(&self, _context: &Context, _inode: u64, _flags: u32, handle: u64) -> io::Result<()> {
        Ok(self.handles.remove(handle)?)
    }

    fn lseek(
        &self,
        _context: &Context,
        inode: u64,
        handle: u64,
        offset: u64,
        whence: u32,
    ) -> io::Result<u64> {
        Ok(self.find_extent(inode, handle, offset, whence)?)
    }
}
