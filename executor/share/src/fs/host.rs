//! System calls on files of the host by their descriptors.
#![allow(
    unsafe_code,
    reason = "file handles, statistics and borrowed descriptors, which rustix does not offer"
)]

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Stat, XattrFlags, chmodat, getxattr, linkat, listxattr, openat,
    openat2, removexattr, setxattr,
};
use rustix::io::Errno;
use rustix::path::DecInt;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The result of a system call.
pub type Answer<T> = Result<T, Errno>;

/// The longest name of a directory entry in bytes.
pub const NAME_MAX: usize = 255;

/// The longest target of a symbolic link in bytes.
pub const TARGET_MAX: usize = 4095;

/// The longest value and the longest list of extended attributes in bytes.
pub const XATTR_MAX: usize = 64 * 1024;

/// The size of a unit of [`Stat::st_blocks`] in bytes.
pub const BLOCK_BYTES: u64 = 512;

/// The bits of a mode that are the kind of the file.
pub const KIND: u32 = libc::S_IFMT;

/// The bits of a mode that are not the kind of the file.
pub const PERMISSIONS: u32 = 0o7777;

/// The descriptors of this process as a directory, through which a file that is open with `O_PATH` is opened again.
#[derive(Debug)]
pub struct Descriptors(OwnedFd);

impl Descriptors {
    /// Opens the directory of this process.
    ///
    /// # Errors
    ///
    /// If there is no `/proc`.
    pub fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?))
    }

    /// Opens the file of a descriptor again. The caller has checked that it is a regular file or a directory.
    pub fn reopen(&self, file: impl AsFd, flags: OFlags) -> Answer<OwnedFd> {
        openat(
            &self.0,
            DecInt::from_fd(file.as_fd()),
            flags | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        )
    }

    /// Sets the permissions of the file of a descriptor.
    pub fn chmod(&self, file: impl AsFd, mode: u32) -> Answer<()> {
        chmodat(&self.0, DecInt::from_fd(file.as_fd()), Mode::from_raw_mode(mode), AtFlags::empty())
    }

    /// Creates a hard link to the file of a descriptor.
    pub fn link(&self, file: impl AsFd, directory: impl AsFd, name: &CStr) -> Answer<()> {
        linkat(&self.0, DecInt::from_fd(file.as_fd()), directory, name, AtFlags::SYMLINK_FOLLOW)
    }
}

/// Opens an entry of a directory with `O_PATH`, and does not follow it if it is a link.
///
/// # Errors
///
/// If the name is not that of an entry, or the entry is missing.
pub fn open_child(directory: impl AsFd, name: &CStr) -> Answer<OwnedFd> {
    check_name(name)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    openat2(directory, name, flags, Mode::empty(), resolve)
}

/// Checks that a name is that of one entry of a directory.
///
/// # Errors
///
/// `EINVAL` or `ENAMETOOLONG` if it is not.
pub fn check_name(name: &CStr) -> Answer<()> {
    let bytes = name.to_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    if bytes.len() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    Ok(())
}

/// Returns the kind of a file as the bits of its mode.
pub fn kind_of(stat: &Stat) -> u32 {
    stat.st_mode & KIND
}

/// Returns the number of bytes that a file occupies on the disk.
pub fn occupied(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES)
}

/// The path of a descriptor for system calls that take no descriptor that is open with `O_PATH`.
struct DescriptorPath([u8; 32]);

impl DescriptorPath {
    fn of(file: impl AsFd) -> Self {
        let mut bytes = [0; 32];
        // The longest one has 25 bytes, so the rest is zero.
        let _ = write!(&mut bytes[..31], "/proc/self/fd/{}", file.as_fd().as_raw_fd());
        Self(bytes)
    }

    fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Reads an extended attribute into a buffer, and returns its length.
pub fn get_xattr(file: impl AsFd, name: &CStr, buffer: &mut [u8]) -> Answer<usize> {
    getxattr(DescriptorPath::of(file).text(), name, buffer)
}

/// Sets an extended attribute.
pub fn set_xattr(file: impl AsFd, name: &CStr, value: &[u8], flags: XattrFlags) -> Answer<()> {
    setxattr(DescriptorPath::of(file).text(), name, value, flags)
}

/// Removes an extended attribute.
pub fn remove_xattr(file: impl AsFd, name: &CStr) -> Answer<()> {
    removexattr(DescriptorPath::of(file).text(), name)
}

/// Reads the names of all extended attributes, each with a NUL after it.
pub fn list_xattrs(file: impl AsFd) -> Answer<Vec<u8>> {
    let mut names = vec![0; XATTR_MAX];
    let length = listxattr(DescriptorPath::of(file).text(), names.as_mut_slice())?;
    names.truncate(length);
    Ok(names)
}

/// Calls a function with an open file as the transports take it, exclusively. Positions of the file are not used.
pub fn with_file<T>(file: &File, call: impl FnOnce(&mut File) -> T) -> T {
    // SAFETY: The descriptor is open for the whole call, because `file` is borrowed, and the copy does not close it.
    let mut copy = ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) });
    call(&mut copy)
}

/// Reads the statistics of the file system of a file.
pub fn statistics(file: BorrowedFd<'_>) -> Answer<libc::statvfs64> {
    let mut statistics = MaybeUninit::<libc::statvfs64>::zeroed();
    // SAFETY: The pointer is valid for the call, which writes one value.
    let result = unsafe { libc::fstatvfs64(file.as_raw_fd(), statistics.as_mut_ptr()) };
    if result != 0 {
        return Err(last_error());
    }
    // SAFETY: All zeros are a value, and the call has written one.
    Ok(unsafe { statistics.assume_init() })
}

/// Returns statistics without any space.
pub fn no_statistics() -> libc::statvfs64 {
    // SAFETY: The structure consists of integers, for which zero is a value.
    let mut statistics: libc::statvfs64 = unsafe { MaybeUninit::zeroed().assume_init() };
    statistics.f_bsize = 4096;
    statistics.f_frsize = 4096;
    statistics.f_namemax = NAME_MAX as u64;
    statistics
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The largest file handle in bytes: `MAX_HANDLE_SZ` of the kernel.
const HANDLE_MAX: usize = 128;

/// The layout of `struct file_handle` with room for the largest one.
#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; HANDLE_MAX],
}

unsafe extern "C" {
    /// Writes the handle of a file, as name_to_handle_at(2).
    fn name_to_handle_at(
        directory: libc::c_int,
        path: *const libc::c_char,
        handle: *mut RawHandle,
        mount: *mut libc::c_int,
        flags: libc::c_int,
    ) -> libc::c_int;

    /// Opens the file of a handle, as open_by_handle_at(2).
    fn open_by_handle_at(mount: libc::c_int, handle: *mut RawHandle, flags: libc::c_int) -> libc::c_int;
}

/// The persistent identity of a file in its file system, by which a privileged process opens it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHandle {
    kind: i32,
    mount: i32,
    bytes: Box<[u8]>,
}

impl FileHandle {
    /// Returns the handle of a file.
    ///
    /// # Errors
    ///
    /// If the file system has no handles.
    pub fn of(file: impl AsFd) -> Answer<Self> {
        let mut raw = RawHandle { bytes: HANDLE_MAX as u32, kind: 0, handle: [0; HANDLE_MAX] };
        let mut mount = 0;
        // SAFETY: The path is a C string, and both pointers are valid for the call, which writes at most `bytes` bytes
        // of the handle.
        let result = unsafe {
            name_to_handle_at(
                file.as_fd().as_raw_fd(),
                c"".as_ptr(),
                &raw mut raw,
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        if result != 0 {
            return Err(last_error());
        }
        let length = (raw.bytes as usize).min(HANDLE_MAX);
        Ok(Self { kind: raw.kind, mount, bytes: raw.handle[..length].into() })
    }

    /// Whether two files are on the same mount.
    pub fn same_mount(&self, other: &Self) -> bool {
        self.mount == other.mount
    }

    /// Opens the file with `O_PATH`; `anchor` is an open file of the same mount.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the file is gone, `EPERM` if the process is not privileged.
    pub fn open(&self, anchor: BorrowedFd<'_>) -> Answer<OwnedFd> {
        let mut raw = RawHandle { bytes: 0, kind: self.kind, handle: [0; HANDLE_MAX] };
        raw.bytes = u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        raw.handle[..self.bytes.len()].copy_from_slice(&self.bytes);
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: The pointer is valid for the call, which reads `bytes` bytes of the handle.
        let result = unsafe { open_by_handle_at(anchor.as_raw_fd(), &raw mut raw, flags) };
        if result < 0 {
            return Err(last_error());
        }
        // SAFETY: The kernel has just returned this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(result) })
    }
}
