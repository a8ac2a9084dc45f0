//! Copies the contents of a directory of the root into an empty volume that covers it, once for each volume.
//!
//! ```text
//! empty ──► .msb-copy.partial ──rename──► .msb-copy.complete ──► entries moved out ──► removed
//! ```
//!
//! A copy that is interrupted before the renaming starts over at the next boot, and after it the move is completed. What
//! is in the volume under any other name is therefore complete, or the user's own.
//!
//! Several sandboxes may share the volume: paths in it are never resolved through links.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use protocol::latest::{COPY_COMPLETE, COPY_PARTIAL};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chmod, chownat, fchmod, fchown, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fsetxattr,
    fstat, fsync, ftruncate, futimens, linkat, mkdirat, mknodat, open, openat, readlinkat, renameat_with,
    statat, symlinkat, syncfs, utimensat,
};
use rustix::io::Errno;
use rustix::path::Arg;

/// The directory that some programs for ext4 create in a new file system.
const LOST_AND_FOUND: &str = "lost+found";
/// The attribute of a volume that had its copy, which is not filled again after it was emptied.
const COPIED: &str = "user.msb-copied";

/// The deepest nesting of directories that is copied, each with three open descriptors.
const DEPTH_MAX: usize = 512;
/// The size of the buffer for the contents of files, in bytes. Zeros that fill it become a hole.
const BUFFER_BYTES: usize = 256 * 1024;
/// The most bytes of remembered paths of files with several links. Further links become files of their own.
const LINKS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest list of names, and the largest value of an extended attribute, in bytes: the kernel's limits.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// The number of entries that are moved out of the complete copy between two readings of it.
const MOVED_AT_ONCE: usize = 1024;

/// A failure to fill a volume.
#[derive(Debug)]
pub struct CopyFailure {
    /// The path of the failed file in the directory that is copied; empty for the directory itself.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl CopyFailure {
    /// Returns whether the volume is too small.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }
}

type Copied<T = ()> = Result<T, CopyFailure>;

/// Adds the path of a file to an error.
fn at<T, E: Into<io::Error>>(result: Result<T, E>, path: &Path) -> Copied<T> {
    result.map_err(|source| CopyFailure { path: path.to_owned(), source: source.into() })
}

/// Returns whether a directory has no entries but those of a copy in progress and of an empty file system.
pub fn is_unused(directory: &Path) -> io::Result<bool> {
    let directory = open_directory(directory)?;
    Ok(only_contains(&directory, &[LOST_AND_FOUND, COPY_PARTIAL, COPY_COMPLETE])?)
}

/// Completes an interrupted copy into a volume, and then copies the directory at `covered` into it if it is empty and was
/// not filled before. `progress` is called again and again meanwhile, with the number of copied bytes.
pub fn fill(volume: &Path, covered: Option<&Path>, progress: &mut dyn FnMut(u64)) -> Copied {
    let own = Path::new("");
    let root = at(open_directory(volume), own)?;
    if at(exists(&root, COPY_COMPLETE), own)? {
        move_out(&root)?;
    }
    if at(exists(&root, COPY_PARTIAL), own)? {
        at(remove(&root, COPY_PARTIAL), own)?;
    }
    let Some(covered) = covered else { return Ok(()) };
    let covered = at(open_directory(covered), own)?;
    let is_needed = !at(only_contains(&covered, &[LOST_AND_FOUND]), own)?
        && at(only_contains(&root, &[LOST_AND_FOUND]), own)?
        && fgetxattr_query(&root, COPIED).is_err();
    if !is_needed {
        return Ok(());
    }
    if let Err(failure) = copy(&root, &covered, progress) {
        // Best effort: the next boot removes it otherwise.
        let _ = remove(&root, COPY_PARTIAL);
        return Err(failure);
    }
    move_out(&root)
}

/// Copies a directory to [`COPY_COMPLETE`].
fn copy(root: &OwnedFd, covered: &OwnedFd, progress: &mut dyn FnMut(u64)) -> Copied {
    let own = Path::new("");
    at(mkdirat(root, COPY_PARTIAL, Mode::RWXU), own)?;
    let staging = at(open_beneath(root, COPY_PARTIAL), own)?;
    let mut copier = Copier {
        staging: staging.as_fd(),
        device: at(fstat(covered), own)?.st_dev,
        links: Links::default(),
        buffer: vec![0; BUFFER_BYTES],
        copied_bytes: 0,
        lost_attributes: 0,
        progress,
    };
    copier.directory(covered.as_fd(), staging.as_fd(), own, 0)?;
    if copier.lost_attributes > 0 {
        crate::log(format_args!(
            "{} extended attributes of copied files are not supported by the volume",
            copier.lost_attributes
        ));
    }
    // The name must not say more than what is on the disk.
    at(syncfs(root), own)?;
    if let Err(error) = fsetxattr(root, COPIED, b"1", XattrFlags::empty())
        && error != Errno::OPNOTSUPP
    {
        return at(Err(error), own);
    }
    at(renameat_with(root, COPY_PARTIAL, root, COPY_COMPLETE, RenameFlags::NOREPLACE), own)?;
    at(fsync(root), own)
}

/// Moves the entries of a complete copy into the volume and removes it. What has appeared in the volume meanwhile stays.
fn move_out(root: &OwnedFd) -> Copied {
    let own = Path::new("");
    let complete = at(open_beneath(root, COPY_COMPLETE), own)?;
    loop {
        let mut moved = 0;
        for name in at(names(&complete, MOVED_AT_ONCE), own)? {
            match renameat_with(&complete, &name, root, &name, RenameFlags::NOREPLACE) {
                Ok(()) => moved += 1,
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(error) => return at(Err(error), Path::new(OsStr::from_bytes(name.to_bytes()))),
            }
        }
        if moved == 0 {
            break;
        }
    }
    at(fsync(root), own)?;
    at(remove(root, COPY_COMPLETE), own)
}

/// Removes a directory of the volume with its contents.
fn remove(root: &OwnedFd, name: &str) -> io::Result<()> {
    std::fs::remove_dir_all(descriptor_path(root).join(name))
}

fn descriptor_path(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    // A link in /proc names a directory only with a path after it.
    open(path.join("."), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory in another one, unless it is a link.
fn open_beneath(parent: impl AsFd, name: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn exists(directory: &OwnedFd, name: &str) -> rustix::io::Result<bool> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn only_contains(directory: &OwnedFd, names: &[&str]) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_self_or_parent(name) && !names.iter().any(|known| known.as_bytes() == name.to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the names of at most `most` entries.
fn names(directory: &OwnedFd, most: usize) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !is_self_or_parent(entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == most {
            break;
        }
    }
    Ok(names)
}

fn is_self_or_parent(name: &CStr) -> bool {
    name == c"." || name == c".."
}

/// The paths in the copy of files with several links, until all of the links are copied.
#[derive(Default)]
struct Links {
    known: BTreeMap<(u64, u64), (PathBuf, u32)>,
    bytes: usize,
}

impl Links {
    /// Remembers the first link of a file.
    fn add(&mut self, stat: &Stat, path: &Path) {
        let (left, length) = ((stat.st_nlink as u32).saturating_sub(1), path.as_os_str().len());
        if left > 0 && self.bytes + length <= LINKS_BYTES_MAX {
            self.bytes += length;
            self.known.insert((stat.st_dev, stat.st_ino), (path.to_owned(), left));
        }
    }

    /// Returns the first link of a file; `None` if this is the first.
    fn take(&mut self, stat: &Stat) -> Option<PathBuf> {
        let key = (stat.st_dev, stat.st_ino);
        let (path, left) = self.known.get_mut(&key)?;
        *left -= 1;
        if *left > 0 {
            return Some(path.clone());
        }
        let (path, _) = self.known.remove(&key)?;
        self.bytes -= path.as_os_str().len();
        Some(path)
    }
}

/// A copy in progress.
struct Copier<'a> {
    /// The directory of the copy.
    staging: BorrowedFd<'a>,
    /// The device of the directory that is copied; what is mounted in it is not.
    device: u64,
    links: Links,
    buffer: Vec<u8>,
    copied_bytes: u64,
    /// The number of extended attributes that the volume cannot have.
    lost_attributes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Copier<'_> {
    /// Copies the contents of a directory, and then its attributes.
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path, depth: usize) -> Copied {
        if depth > DEPTH_MAX {
            let message = format!("directories are nested more than {DEPTH_MAX} deep");
            return at(Err(io::Error::other(message)), path);
        }
        for entry in at(Dir::read_from(from), path)? {
            let entry = at(entry, path)?;
            let name = entry.file_name();
            if is_self_or_parent(name) || (depth == 0 && name.to_bytes() == LOST_AND_FOUND.as_bytes()) {
                continue;
            }
            let inner = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = at(statat(from, name, AtFlags::SYMLINK_NOFOLLOW), &inner)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let source = at(open_beneath(from, name), &inner)?;
                at(mkdirat(to, name, Mode::RWXU), &inner)?;
                let copy = at(open_beneath(to, name), &inner)?;
                if stat.st_dev == self.device {
                    self.directory(source.as_fd(), copy.as_fd(), &inner, depth + 1)?;
                }
                at(self.attributes(&source, &copy, &stat), &inner)?;
            } else if !self.link(&stat, to, name) {
                at(self.file(from, to, name, &stat), &inner)?;
                self.links.add(&stat, &inner);
            }
            (self.progress)(self.copied_bytes);
        }
        Ok(())
    }

    /// Makes a further link of a copied file. Returns false if it is none, or the volume allows no more links.
    fn link(&mut self, stat: &Stat, to: BorrowedFd<'_>, name: &CStr) -> bool {
        let first = if stat.st_nlink > 1 { self.links.take(stat) } else { None };
        first.is_some_and(|first| linkat(self.staging, first, to, name, AtFlags::empty()).is_ok())
    }

    /// Copies anything but a directory.
    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = openat(from, name, flags, Mode::empty())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let copy = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
                let (source, copy) = (File::from(source), File::from(copy));
                self.contents(&source, &copy)?;
                return self.attributes(&source.into(), &copy.into(), stat);
            }
            FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
            _ => mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?,
        }
        let (user, group) = owner(stat);
        chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            // Opened without effects, and not through a link that another sandbox has put there.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = openat(to, name, flags, Mode::empty())?;
            chmod(descriptor_path(&node), Mode::from_raw_mode(stat.st_mode))?;
        }
        Ok(utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn contents(&mut self, mut source: &File, copy: &File) -> io::Result<()> {
        let mut offset = 0;
        loop {
            let count = match source.read(&mut self.buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            let piece = &self.buffer[..count];
            if piece.iter().any(|byte| *byte != 0) {
                copy.write_all_at(piece, offset)?;
            }
            offset += count as u64;
            self.copied_bytes += count as u64;
            (self.progress)(self.copied_bytes);
        }
        Ok(ftruncate(copy, offset)?)
    }

    /// Copies the attributes of a regular file or a directory.
    fn attributes(&mut self, source: &OwnedFd, copy: &OwnedFd, stat: &Stat) -> io::Result<()> {
        let (user, group) = owner(stat);
        // In this order: a new owner clears set-user-id bits and capabilities.
        fchown(copy, Some(user), Some(group))?;
        fchmod(copy, Mode::from_raw_mode(stat.st_mode))?;
        self.extended(source, copy)?;
        Ok(futimens(copy, &times(stat))?)
    }

    fn extended(&mut self, source: &OwnedFd, copy: &OwnedFd) -> io::Result<()> {
        let length = match flistxattr_query(source) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            length => length?,
        };
        let mut names = vec![0u8; length.min(XATTR_BYTES_MAX)];
        let length = flistxattr(source, &mut names[..])?;
        let mut value = Vec::new();
        for name in names[..length].split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            let size = fgetxattr_query(source, name)?;
            value.resize(size.min(XATTR_BYTES_MAX), 0);
            let size = fgetxattr(source, name, &mut value[..])?;
            match fsetxattr(copy, name, &value[..size], XattrFlags::empty()) {
                Ok(()) => {}
                // A directory of the host has those of users only.
                Err(Errno::OPNOTSUPP | Errno::PERM) => self.lost_attributes += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |tv_sec: i64, nanoseconds: u64| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests;
