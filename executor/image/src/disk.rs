//! Writable disks of sandboxes and volumes: sparse files with an empty ext4 file system.

use crate::error::ImageError;
use crate::ext4::{FileSystem, Growth};
use crate::store::{create, uuid_from};
use crate::tree::{Attributes, Tree};
use executor_fs::atomic;
use schemas::digest::Digest;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Creates a writable disk atomically; returns false if it exists already.
///
/// # Errors
///
/// If the size is not possible, or the file cannot be written.
pub fn writable_disk(path: &Path, size_bytes: u64) -> Result<bool, ImageError> {
    if path.exists() {
        return Ok(false);
    }
    let written = |source: io::Error| ImageError::Write { path: path.to_owned(), source };
    let tree = Tree::new(Attributes::default());
    let uuid = uuid_from(&Digest::of_bytes(path.as_os_str().as_bytes()));
    let system = FileSystem::writable(&tree, uuid, size_bytes)
        .map_err(|source| ImageError::DiskSize { path: path.to_owned(), source })?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let made = create(partial).and_then(|file| {
        system.write(&file)?;
        atomic::publish(&file, partial, path)
    });
    made.map_err(|source| {
        let _ = fs::remove_file(partial);
        written(source)
    })?;
    Ok(true)
}

/// Grows the file system of a writable disk to the size of its file. It must not be mounted.
///
/// # Errors
///
/// If the file cannot be read or written.
pub fn grow_disk(disk: &File) -> io::Result<Growth> {
    crate::ext4::grow(disk)
}
