//! A directory, held open: everything below it is reached by descriptors, and nothing beyond it.

use rustix::fs::{
    AtFlags, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How much of a directory is listed by one system call, in bytes.
const LISTING_BYTES: usize = 32 * 1024;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket or a pipe.
    Other,
}

impl Kind {
    /// The kind in a file's metadata.
    pub fn of(stat: &Stat) -> Self {
        match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::RegularFile => Self::File,
            rustix::fs::FileType::Directory => Self::Directory,
            rustix::fs::FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// A directory's names, end to end: most directories are small and many.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// The names, sorted by their bytes.
    pub fn sorted(&self) -> Vec<&CStr> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut names: Vec<&CStr> = starts
            .zip(&self.ends)
            .filter_map(|(start, &end)| CStr::from_bytes_with_nul(&self.bytes[start..end]).ok())
            .collect();
        names.sort_unstable();
        names
    }
}

impl Directory {
    /// Opens the directory at a path. Links in the path are followed: it is the caller's own.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, directory_flags(), Mode::empty())?))
    }

    /// Opens a directory in this one; a link is an error.
    pub fn open_directory(&self, name: &CStr) -> io::Result<Self> {
        Ok(Self(openat(&self.0, name, directory_flags() | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens a directory below this one; a link anywhere in the path is an error. An empty path is the directory
    /// itself.
    pub fn open_directory_below(&self, path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self(self.0.try_clone()?));
        }
        Ok(Self(openat2(&self.0, path, directory_flags(), Mode::empty(), beneath())?))
    }

    /// Opens a file below this directory for reading; a link anywhere in the path is an error. Never waits for the
    /// other end of a pipe, so look at what was opened.
    pub fn open_file_below(&self, path: impl rustix::path::Arg) -> io::Result<File> {
        Ok(File::from(openat2(&self.0, path, file_flags(), Mode::empty(), beneath())?))
    }

    /// The metadata of the directory itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(fstat(&self.0)?)
    }

    /// The metadata of a name in it, of a link itself.
    pub fn stat(&self, name: &CStr) -> io::Result<Stat> {
        Ok(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Where a link in it leads.
    pub fn read_link(&self, name: &CStr) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// The names in it, without `.` and `..`.
    pub fn names(&self) -> io::Result<Names> {
        let mut names = Names::default();
        let mut buffer = Vec::with_capacity(LISTING_BYTES);
        let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        // An earlier listing has moved the descriptor to the end.
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0))?;
        let mut listing = RawDir::new(&self.0, room);
        while let Some(entry) = listing.next() {
            let entry = entry?;
            if entry.file_name() != c"." && entry.file_name() != c".." {
                names.bytes.extend_from_slice(entry.file_name().to_bytes_with_nul());
                names.ends.push(names.bytes.len());
            }
        }
        drop(buffer);
        Ok(names)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A name as system calls want it; an error for one with a NUL in it.
pub fn c_name(name: &OsStr) -> io::Result<CString> {
    Ok(CString::new(name.as_bytes())?)
}

/// Whether an error says that a path is not there any more, or leads elsewhere by now.
pub fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn file_flags() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_a_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let (inside, outside) = (scratch.path().join("in"), scratch.path().join("out"));
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("key"), "secret").unwrap();
        fs::write(inside.join("sub/file"), "x").unwrap();
        symlink("../out", inside.join("link")).unwrap();
        let directory = Directory::open(&inside).unwrap();
        assert!(directory.open_file_below("sub/file").is_ok());
        for path in ["link/key", "link", "../out/key", "sub/../../out/key", "/etc/passwd"] {
            let error = directory.open_file_below(path).unwrap_err();
            assert!(is_gone(&error), "{path}: {error}");
        }
        assert!(is_gone(&directory.open_directory(c"link").unwrap_err()));
        assert!(is_gone(&directory.open_directory_below(Path::new("link")).unwrap_err()));
        let names = directory.names().unwrap();
        assert_eq!(names.sorted(), [c"link", c"sub"]);
        // Once more: a listing leaves no trace.
        assert_eq!(directory.names().unwrap().sorted().len(), 2);
        assert_eq!(Kind::of(&directory.stat(c"link").unwrap()), Kind::Link);
        assert_eq!(directory.read_link(c"link").unwrap(), b"../out");
    }
}
