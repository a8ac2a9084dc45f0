//! An open directory: everything below it is reached by descriptors, and nothing outside.

use rustix::fs::{
    AtFlags, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, mkdirat, openat, openat2, readlinkat, renameat,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The size of a buffer for directory entries in bytes.
const LISTING_BYTES: usize = 32 * 1024;

/// The kind of a file.
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
    /// Reads the kind from a file's metadata.
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

/// The names in a directory, in one buffer: most directories are small, and there are many.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// Returns the names, sorted by their bytes.
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
    /// Opens the directory at a trusted path. Links in the path are followed.
    ///
    /// # Errors
    ///
    /// If it is missing, unreadable or no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, directory_flags(), Mode::empty())?))
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    ///
    /// If the name is missing, a link or no directory.
    pub fn open_directory(&self, name: &CStr) -> io::Result<Self> {
        Ok(Self(openat(&self.0, name, directory_flags() | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens a directory below this one; an empty path is the directory itself.
    ///
    /// # Errors
    ///
    /// If the path is missing, contains a link or leaves the directory.
    pub fn open_directory_below(&self, path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self(self.0.try_clone()?));
        }
        Ok(Self(openat2(&self.0, path, directory_flags(), Mode::empty(), beneath())?))
    }

    /// Opens a file below this directory for reading. The file may be a pipe or a device: the open never blocks, and
    /// the caller checks the kind of the opened file.
    ///
    /// # Errors
    ///
    /// If the path is missing, contains a link or leaves the directory.
    pub fn open_file_below(&self, path: impl rustix::path::Arg) -> io::Result<File> {
        Ok(File::from(openat2(&self.0, path, file_flags(), Mode::empty(), beneath())?))
    }

    /// Opens a file below this directory as [`open_file_below`](Self::open_file_below) does, and follows links that stay
    /// below it.
    ///
    /// # Errors
    ///
    /// If the path is missing or leaves the directory.
    pub fn open_linked_file_below(&self, path: impl rustix::path::Arg) -> io::Result<File> {
        let flags = file_flags().difference(OFlags::NOFOLLOW);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(File::from(openat2(&self.0, path, flags, Mode::empty(), resolve)?))
    }

    /// Creates a directory in this one unless it exists, and opens it.
    ///
    /// # Errors
    ///
    /// If it cannot be created, or the name is a link or no directory.
    pub fn make_directory(&self, name: &CStr, mode: Mode) -> io::Result<Self> {
        match mkdirat(&self.0, name, mode) {
            Ok(()) | Err(Errno::EXIST) => self.open_directory(name),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a file in this directory for writing.
    ///
    /// # Errors
    ///
    /// If the name exists, even as a link, or cannot be created.
    pub fn create_file(&self, name: &CStr, mode: Mode) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.0, name, flags, mode)?))
    }

    /// Creates a symbolic link in this directory.
    ///
    /// # Errors
    ///
    /// If the name exists or cannot be created.
    pub fn make_link(&self, target: &[u8], name: &CStr) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }

    /// Renames a temporary file or link in this directory; one that has the final name is replaced, never followed.
    /// The temporary name is removed on failure.
    ///
    /// # Errors
    ///
    /// If the final name is a directory, or the rename fails otherwise.
    pub fn replace(&self, temporary: &CStr, name: &CStr) -> io::Result<()> {
        renameat(&self.0, temporary, &self.0, name).map_err(|error| {
            self.remove_file(temporary);
            error.into()
        })
    }

    /// Removes a file or link from this directory if it exists; failures are ignored.
    pub fn remove_file(&self, name: &CStr) {
        let _ = unlinkat(&self.0, name, AtFlags::empty());
    }

    /// Returns the metadata of the directory itself.
    ///
    /// # Errors
    ///
    /// If the file system fails.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(fstat(&self.0)?)
    }

    /// Returns the metadata of a name in this directory; links are not followed.
    ///
    /// # Errors
    ///
    /// If the name is missing.
    pub fn stat(&self, name: &CStr) -> io::Result<Stat> {
        Ok(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Reads the target of a link in this directory.
    ///
    /// # Errors
    ///
    /// If the name is missing or no link.
    pub fn read_link(&self, name: &CStr) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Lists this directory, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn names(&self) -> io::Result<Names> {
        let mut names = Names::default();
        let mut buffer = Vec::with_capacity(LISTING_BYTES);
        let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        // An earlier listing has moved the descriptor's position to the end.
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

/// Converts a file name for system calls.
///
/// # Errors
///
/// If the name contains a NUL byte.
pub fn c_name(name: &OsStr) -> io::Result<CString> {
    Ok(CString::new(name.as_bytes())?)
}

/// Whether an error means that a path no longer exists, or contains a link now.
pub fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
}

/// Opens a file at a path for reading; its last component must not be a link. The open never blocks, see
/// [`Directory::open_file_below`].
///
/// # Errors
///
/// If the path is missing, unreadable or a link.
pub fn open_file(path: &Path) -> io::Result<File> {
    Ok(File::from(rustix::fs::open(path, file_flags(), Mode::empty())?))
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
        // A second listing starts from the beginning.
        assert_eq!(directory.names().unwrap().sorted().len(), 2);
        assert_eq!(Kind::of(&directory.stat(c"link").unwrap()), Kind::Link);
        assert_eq!(directory.read_link(c"link").unwrap(), b"../out");
        assert_eq!(open_file(&inside.join("link")).unwrap_err().raw_os_error(), Some(40));
    }

    #[test]
    fn links_are_replaced_and_never_written_through() {
        let scratch = tempfile::tempdir().unwrap();
        let (inside, outside) = (scratch.path().join("in"), scratch.path().join("out"));
        for folder in [&inside, &outside] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(outside.join("file"), "kept").unwrap();
        symlink("../out/file", inside.join("file")).unwrap();
        symlink("../out", inside.join("sub")).unwrap();
        let directory = Directory::open(&inside).unwrap();
        assert!(is_gone(&directory.make_directory(c"sub", Mode::RWXU).unwrap_err()));
        assert!(directory.create_file(c"file", Mode::RUSR | Mode::WUSR).is_err());
        directory.create_file(c"new", Mode::RUSR | Mode::WUSR).unwrap();
        directory.replace(c"new", c"file").unwrap();
        assert!(fs::symlink_metadata(inside.join("file")).unwrap().is_file());
        directory.make_link(b"anywhere", c"new").unwrap();
        assert!(directory.replace(c"new", c"missing/x").is_err());
        assert!(fs::symlink_metadata(inside.join("new")).is_err(), "the temporary name is left");
        // A directory that exists is opened as it is.
        directory.make_directory(c"new", Mode::RWXU).unwrap();
        directory.make_directory(c"new", Mode::RWXU).unwrap().create_file(c"x", Mode::RUSR).unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
}
