//! Reading and writing files.

use super::ShareFs;
use super::handles::{Handle, OpenFile};
use super::host::{self, Answer, TARGET_MAX};
use super::inode::{Inode, Opened, Version};
use super::quota::{growth, signed};
use super::share::PRIVILEGES;
use crate::lock;
use fuse_backend_rs::abi::fuse_abi::{FOPEN_IN_KILL_SUIDGID, WRITE_KILL_PRIV};
use fuse_backend_rs::api::filesystem::{OpenOptions, ZeroCopyReader, ZeroCopyWriter};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fstat, readlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file must not have changed for this many seconds before an unchanged time of change says that it is unchanged.
const SETTLED_SECONDS: i64 = 2;

/// A part of a file that is read or written.
#[derive(Clone, Copy)]
pub(super) struct Range {
    /// The number of the inode.
    pub inode: u64,
    /// The number of the handle.
    pub handle: u64,
    /// The first byte.
    pub offset: u64,
    /// The length in bytes.
    pub size: u64,
}

impl ShareFs {
    /// Opens a regular file.
    pub(super) fn open_file(&self, number: u64, flags: u32, fuse_flags: u32) -> Answer<(u64, OpenOptions)> {
        self.handles.check_room()?;
        let truncates = flags & OFlags::TRUNC.bits() != 0;
        let inode =
            if truncates || is_writing(flags) { self.writable(number)? } else { self.inodes.get(number)? };
        if !inode.is_file() {
            return Err(match inode.kind {
                libc::S_IFDIR => Errno::ISDIR,
                libc::S_IFLNK => Errno::LOOP,
                _ => Errno::NXIO,
            });
        }
        if truncates {
            inode.check_changeable()?;
        }
        let file = File::from(self.open_on_host(&inode, open_flags(flags))?);
        if truncates {
            let writing =
                if is_writing(flags) { None } else { Some(self.open_on_host(&inode, OFlags::WRONLY)?) };
            let target = writing.as_ref().map_or(file.as_fd(), AsFd::as_fd);
            self.growing(&inode, target, 0, || rustix::fs::ftruncate(target, 0))?;
            if fuse_flags & FOPEN_IN_KILL_SUIDGID != 0 {
                self.clear_privileges(&inode)?;
            }
        }
        let opened = self.opened(&inode, file, OFlags::from_bits_retain(flags))?;
        let options = if self.is_cached(&inode, &opened.file)? {
            OpenOptions::KEEP_CACHE
        } else {
            OpenOptions::empty()
        };
        Ok((self.handles.add(Handle::File(Arc::new(opened))), options))
    }

    /// Opens the file of an inode on the host. Bits that would let others run what the guest writes with the rights of
    /// the owner are cleared before.
    pub(super) fn open_on_host(&self, inode: &Arc<Inode>, flags: OFlags) -> Answer<OwnedFd> {
        if inode.host_kind != libc::S_IFREG {
            return Err(Errno::NXIO);
        }
        let descriptor = self.inodes.descriptor(inode)?;
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        if !writes {
            return self.descriptors.reopen(&descriptor, flags);
        }
        let stat = fstat(&descriptor)?;
        if stat.st_mode & PRIVILEGES != 0 {
            self.descriptors.chmod(&descriptor, stat.st_mode & 0o777)?;
        }
        match self.descriptors.reopen(&descriptor, flags) {
            // The guest's permissions decide, unless they are the host's.
            Err(Errno::ACCESS) if inode.share.virtualizes() && stat.st_mode & 0o600 != 0o600 => {
                self.descriptors.chmod(&descriptor, stat.st_mode & 0o777 | 0o600)?;
                self.descriptors.reopen(&descriptor, flags)
            }
            result => result,
        }
    }

    /// Makes the handle of an open file.
    pub(super) fn opened(&self, inode: &Arc<Inode>, file: File, flags: OFlags) -> Answer<OpenFile> {
        let append = if flags.contains(OFlags::APPEND) && is_writing(flags.bits()) {
            Some(File::from(self.descriptors.reopen(&file, OFlags::WRONLY | OFlags::APPEND)?))
        } else {
            None
        };
        Ok(OpenFile { file, append, opened: Opened::new(inode, flags.contains(OFlags::RDWR)) })
    }

    /// Whether the guest's page cache contains this version of a file. A version that changed just now is not noted,
    /// because the host's clock is too coarse to tell the next one from it.
    fn is_cached(&self, inode: &Inode, file: &File) -> Answer<bool> {
        let stat = fstat(file)?;
        let version = Version {
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            size: stat.st_size,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| signed(now.as_secs()));
        let settled = stat.st_ctime.saturating_add(SETTLED_SECONDS) <= now;
        let mut cached = lock(&inode.cached);
        let same = *cached == Some(version);
        *cached = settled.then_some(version);
        Ok(same)
    }

    /// Copies a part of a file to the guest, and returns its length.
    pub(super) fn read_file(&self, range: Range, to: &mut dyn ZeroCopyWriter) -> io::Result<usize> {
        let Range { inode, handle, offset, size } = range;
        let open = self.handles.file(handle, inode)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(to.available_bytes());
        if size == 0 {
            return Ok(0);
        }
        i64::try_from(offset).map_err(|_| Errno::INVAL)?;
        host::with_file(&open.file, |file| to.write_from(file, size, offset))
    }

    /// Copies bytes of the guest to a file, and returns their number.
    pub(super) fn write_file(
        &self,
        range: Range,
        from: &mut dyn ZeroCopyReader,
        appends: bool,
        fuse_flags: u32,
    ) -> io::Result<usize> {
        let Range { inode, handle, offset, size } = range;
        let open = self.handles.file(handle, inode)?;
        let inode = open.opened.inode();
        i64::try_from(offset).map_err(|_| Errno::FBIG)?;
        if fuse_flags & WRITE_KILL_PRIV != 0 {
            self.clear_privileges(inode)?;
        }
        // A program may have turned the append mode on or off since; where it is on, the offset is the end as the guest
        // knows it.
        let (file, start) = match &open.append {
            Some(file) if appends => (file, None),
            _ => (&open.file, Some(offset)),
        };
        if start.is_none() {
            inode.check_changeable()?;
        }
        check_within_disk(inode, file, offset, size)?;
        let most = growth_of_write(inode, file, start, size)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.growing(inode, file, most, || Ok(copy(from, file, size, offset)))?
    }

    /// Allocates or frees space of a file.
    pub(super) fn allocate(&self, range: Range, mode: u32) -> Answer<()> {
        let Range { inode: number, handle, offset, size: length } = range;
        let open = self.handles.file(handle, number)?;
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A hole behind the end changes nothing: the guest's agent uses it to raise events.
        if mode == hole && offset >= u64::try_from(fstat(&open.file)?.st_size).unwrap_or(0) {
            return Ok(());
        }
        if open.opened.inode().share.policy.disk {
            // What discards and zeroes of a disk need.
            let zeroes = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
            if mode != hole && mode != zeroes {
                return Err(Errno::OPNOTSUPP);
            }
            check_within_disk(open.opened.inode(), &open.file, offset, length)?;
        }
        let frees = mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::COLLAPSE_RANGE);
        let most = if frees { 0 } else { growth(offset, length) };
        self.growing(open.opened.inode(), &open.file, most, || {
            rustix::fs::fallocate(&open.file, mode, offset, length)
        })
    }

    /// Finds the next data or hole of a file. Where the guest may have data that is not here yet, the whole file is data:
    /// programs that copy files leave holes out.
    pub(super) fn find_extent(&self, number: u64, handle: u64, offset: u64, whence: u32) -> Answer<u64> {
        let open = self.handles.file(handle, number)?;
        i64::try_from(offset).map_err(|_| Errno::NXIO)?;
        if open.opened.inode().may_have_unsent_data() {
            let size = u64::try_from(fstat(&open.file)?.st_size).unwrap_or(0);
            return match i32::try_from(whence) {
                Ok(libc::SEEK_DATA | libc::SEEK_HOLE) if offset >= size => Err(Errno::NXIO),
                Ok(libc::SEEK_DATA) => Ok(offset),
                Ok(libc::SEEK_HOLE) => Ok(size),
                _ => Err(Errno::INVAL),
            };
        }
        let to = match i32::try_from(whence) {
            Ok(libc::SEEK_DATA) => SeekFrom::Data(offset),
            Ok(libc::SEEK_HOLE) => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        rustix::fs::seek(&open.file, to)
    }

    /// Writes a file to the disk.
    pub(super) fn sync_file(&self, number: u64, handle: u64, data_only: bool) -> Answer<()> {
        let open = self.handles.file(handle, number)?;
        if data_only { rustix::fs::fdatasync(&open.file) } else { rustix::fs::fsync(&open.file) }
    }

    /// Reads the target of a symbolic link.
    pub(super) fn link_target(&self, number: u64) -> Answer<Vec<u8>> {
        let inode = self.inodes.get(number)?;
        if inode.kind != libc::S_IFLNK {
            return Err(Errno::INVAL);
        }
        if inode.host_kind == libc::S_IFLNK {
            let descriptor = self.inodes.descriptor(&inode)?;
            return Ok(readlinkat(&descriptor, c"", Vec::new())?.into_bytes());
        }
        let file = File::from(self.open_on_host(&inode, OFlags::RDONLY)?);
        let mut target = Vec::new();
        file.take(TARGET_MAX as u64)
            .read_to_end(&mut target)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(target)
    }

    /// Runs an operation that makes a file grow by at most `most` bytes or shrink, and counts the difference.
    pub(super) fn growing<T>(
        &self,
        inode: &Inode,
        file: impl AsFd,
        most: u64,
        operation: impl FnOnce() -> Answer<T>,
    ) -> Answer<T> {
        self.changed_by_guest(inode);
        let Some(quota) = inode.share.quota.as_ref().filter(|_| inode.host_kind == libc::S_IFREG) else {
            return operation();
        };
        let mut counted = lock(&inode.counted);
        quota.reserve(most)?;
        let result = operation();
        let occupied = fstat(&file).map_or(*counted, |stat| host::occupied(&stat));
        quota.correct(signed(occupied).saturating_sub(signed(*counted)).saturating_sub(signed(most)));
        *counted = occupied;
        result
    }

    /// Counts space of a share as used.
    pub(super) fn reserve(&self, inode: &Inode, bytes: u64) -> Answer<()> {
        inode.share.quota.as_ref().map_or(Ok(()), |quota| quota.reserve(bytes))
    }

    /// Gives space of a share back.
    pub(super) fn give_back(&self, inode: &Inode, bytes: u64) {
        if let Some(quota) = &inode.share.quota {
            quota.give_back(bytes);
        }
    }
}

/// Checks that a part of a file is not behind its end, if the file is a disk.
fn check_within_disk(inode: &Inode, file: &File, offset: u64, length: u64) -> Answer<()> {
    if !inode.share.policy.disk {
        return Ok(());
    }
    let size = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
    let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
    if end > size { Err(Errno::FBIG) } else { Ok(()) }
}

/// Returns the largest number of bytes by which a write makes a file grow that starts at an offset, or at the end.
fn growth_of_write(inode: &Inode, file: &File, start: Option<u64>, size: u64) -> Answer<u64> {
    if inode.share.quota.is_none() {
        return Ok(0);
    }
    let stat = fstat(file)?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let start = start.unwrap_or(length);
    // Overwriting a file without holes takes no space.
    let within = start.saturating_add(size) <= length && host::occupied(&stat) >= length;
    Ok(if within { 0 } else { growth(start, size) })
}

/// Copies bytes of the guest to a file. After an error the number of bytes before it is returned, if there are any.
fn copy(from: &mut dyn ZeroCopyReader, file: &File, size: usize, offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < size {
        let at = offset.saturating_add(done as u64);
        match host::with_file(file, |file| from.read_to(file, size - done, at)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Whether the flags of an open ask for writing.
fn is_writing(flags: u32) -> bool {
    OFlags::from_bits_retain(flags).intersects(OFlags::WRONLY | OFlags::RDWR)
}

/// Returns the flags with which a file of the host is opened for a guest that asks for `flags`.
pub(super) fn open_flags(flags: u32) -> OFlags {
    let flags = OFlags::from_bits_retain(flags);
    let access = if flags.contains(OFlags::RDWR) {
        OFlags::RDWR
    } else if flags.contains(OFlags::WRONLY) {
        OFlags::WRONLY
    } else {
        OFlags::RDONLY
    };
    // Without O_DIRECT, for which the guest's pages would have to be aligned, and O_APPEND, see `OpenFile`. Leases of
    // other processes are not waited for.
    access | OFlags::NONBLOCK | flags & OFlags::SYNC
}
