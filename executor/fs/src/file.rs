//! Operations on single files and folders.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Returns the value of an operation on a file; `None` if the file is missing.
///
/// # Errors
///
/// The operation's own, other than [`ErrorKind::NotFound`].
pub fn if_present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Removes a file, unless it is missing.
///
/// # Errors
///
/// If it cannot be removed.
pub fn remove_if_present(path: &Path) -> io::Result<()> {
    if_present(fs::remove_file(path)).map(drop)
}

/// Reads the first `limit` bytes of a file; `None` if it is missing.
///
/// # Errors
///
/// If it cannot be read.
pub fn read_start(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    Ok(if_present(read)?.map(|_| bytes))
}

/// Takes the lock of an open file without waiting; false if another process has a conflicting one.
///
/// # Errors
///
/// If it cannot be locked.
pub fn try_lock(file: impl AsFd, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens the file at a path, or creates it with mode 0600, and locks it exclusively; `None` if another process has the
/// lock.
///
/// # Errors
///
/// If the path is a link, or the file cannot be opened or locked.
pub fn open_locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(None);
        }
        // The last holder may have removed or renamed the file between the open and the lock.
        if is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
}

/// Returns whether a path still leads to this open file. After a lock is acquired it may not: the last holder may have
/// removed or replaced the file.
///
/// # Errors
///
/// If the path cannot be reached, though not if nothing is there.
pub fn is_at(file: impl AsFd, path: &Path) -> io::Result<bool> {
    let ours = rustix::fs::fstat(file)?;
    match rustix::fs::stat(path) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Creates a folder and the missing ones above it, with mode 0700.
///
/// # Errors
///
/// If one of them cannot be created.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
