//! Walks a directory in a fixed order, by descriptor: no path is resolved twice, and no link followed.

use crate::error::ImageError;
use crate::tree::{DEPTH_MAX, TreeError};
use executor_fs::{Directory, Kind};
use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// A visited entry.
pub struct Visit<'a> {
    /// The directory that contains it.
    pub directory: BorrowedFd<'a>,
    /// Its name.
    pub name: &'a CStr,
    /// Its path relative to the image's root.
    pub path: &'a [u8],
    /// Its metadata, without following links.
    pub stat: &'a Stat,
}

/// The visitor of a walk.
pub trait Visitor {
    /// Called for each entry: a directory before its entries, which are sorted by name.
    fn entry(&mut self, visit: &Visit<'_>) -> Result<(), ImageError>;
    /// Called after the entries of a directory.
    fn leave(&mut self) {}
}

/// A path for messages.
pub fn display_name(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Opens an image's root directory.
pub fn open_root(root: &Path) -> Result<Directory, ImageError> {
    Directory::open(root).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ImageError::NotFound { path: root.to_owned() },
        _ => ImageError::Read { path: root.to_owned(), source: error },
    })
}

/// Visits everything below a root.
pub fn walk(root: &Path, directory: &Directory, visitor: &mut impl Visitor) -> Result<(), ImageError> {
    let mut walk = Walk { root, path: Vec::new(), visitor };
    walk.directory(directory, 0)
}

struct Walk<'a, V> {
    root: &'a Path,
    path: Vec<u8>,
    visitor: &'a mut V,
}

impl<V: Visitor> Walk<'_, V> {
    fn directory(&mut self, directory: &Directory, depth: usize) -> Result<(), ImageError> {
        if depth > DEPTH_MAX {
            return Err(ImageError::Entry {
                path: self.root.to_owned(),
                entry: display_name(&self.path),
                source: TreeError::TooDeep,
            });
        }
        let names = directory.names().map_err(|source| self.read_error(source))?;
        let length = self.path.len();
        for name in names.sorted() {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            let stat = directory.stat(name).map_err(|error| self.read_error(error))?;
            let visit = Visit { directory: directory.as_fd(), name, path: &self.path, stat: &stat };
            self.visitor.entry(&visit)?;
            if Kind::of(&stat) == Kind::Directory {
                let below = directory.open_directory(name).map_err(|error| self.read_error(error))?;
                self.directory(&below, depth + 1)?;
                self.visitor.leave();
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn read_error(&self, source: io::Error) -> ImageError {
        read_error(self.root, &self.path, source)
    }
}

/// An error of reading an entry.
pub fn read_error(root: &Path, path: &[u8], source: io::Error) -> ImageError {
    if path.is_empty() {
        return ImageError::Read { path: root.to_owned(), source };
    }
    ImageError::ReadEntry { path: root.to_owned(), entry: display_name(path), source }
}

/// Hashes each entry's path and the metadata that any change alters.
pub struct FingerprintVisitor {
    hasher: Sha256,
    /// The newest change, in seconds and nanoseconds since 1970.
    pub newest: (i64, i64),
}

impl Default for FingerprintVisitor {
    fn default() -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"msb image fingerprint 1\0");
        // The mapping of the invoking user to root is part of the result.
        hasher.update(rustix::process::geteuid().as_raw().to_le_bytes());
        hasher.update(rustix::process::getegid().as_raw().to_le_bytes());
        Self { hasher, newest: (0, 0) }
    }
}

impl FingerprintVisitor {
    /// Adds an entry.
    pub fn add(&mut self, path: &[u8], stat: &Stat) {
        let numbers: [u64; 9] = [
            stat.st_ino,
            stat.st_size as u64,
            stat.st_mtime as u64,
            stat.st_mtime_nsec,
            stat.st_ctime as u64,
            stat.st_ctime_nsec,
            u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid),
            stat.st_rdev,
            stat.st_dev,
        ];
        self.hasher.update((path.len() as u32).to_le_bytes());
        self.hasher.update(path);
        for number in numbers {
            self.hasher.update(number.to_le_bytes());
        }
        self.hasher.update(stat.st_mode.to_le_bytes());
        self.newest = self.newest.max((stat.st_ctime, stat.st_ctime_nsec as i64));
    }

    /// Returns the fingerprint.
    pub fn finish(self) -> schemas::digest::Digest {
        schemas::digest::Digest::from_sha256(self.hasher.finalize().into())
    }
}

impl Visitor for FingerprintVisitor {
    fn entry(&mut self, visit: &Visit<'_>) -> Result<(), ImageError> {
        self.add(visit.path, visit.stat);
        Ok(())
    }
}
