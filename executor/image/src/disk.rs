//! The writable disk of a sandbox or a volume: an empty ext4 file system, almost all of it a hole.

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

/// Makes a sandbox's writable disk, or a volume's; false when it is there already. What has the name is whole.
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

/// Lets a writable disk's file system fill its file, after the file was made longer. Nobody may have it
/// mounted meanwhile.
pub fn grow_disk(disk: &File) -> io::Result<Growth> {
    crate::ext4::grow(disk)
}
