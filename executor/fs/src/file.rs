//! Operations on single files and folders.

use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Removes a file, unless it is missing.
///
/// # Errors
///
/// If it cannot be removed.
pub fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads the first `limit` bytes of a file; `None` if it is missing.
///
/// # Errors
///
/// If it cannot be read.
pub fn read_start(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
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
