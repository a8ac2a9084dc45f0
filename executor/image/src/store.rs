//! The store of built images: `<store>/rootfs/<digest in hex>/root.ext4`.
//!
//! An image is written under another name, synced, and renamed: what has the final name is whole. The
//! image's own folder is the lock, so that two processes build it once; what a killed one left behind
//! is overwritten by the next.

use crate::error::ImageError;
use crate::ext4::BLOCK_BYTES;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use schemas::digest::Digest;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The built image's name.
const IMAGE_NAME: &str = "root.ext4";
/// Its name until it is whole.
const PARTIAL_NAME: &str = "root.ext4.partial";

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds the same image.
    Waiting,
    /// A packed archive is unpacked, because its parts must be found.
    Unpacking,
    /// The source is read for what is in it.
    Scanning,
    /// Contents are copied.
    Copying {
        /// So far.
        done_bytes: u64,
        /// Of how many.
        total_bytes: u64,
    },
}

/// Where an image is once it is built.
pub fn rootfs_path(store: &Path, digest: &Digest) -> PathBuf {
    folder(store, digest).join(IMAGE_NAME)
}

/// Whether an image is built.
pub fn is_built(store: &Path, digest: &Digest) -> bool {
    rootfs_path(store, digest).exists()
}

fn folder(store: &Path, digest: &Digest) -> PathBuf {
    store.join("rootfs").join(digest.hex())
}

/// Has an image written, unless it is there already. Returns where it is.
///
/// `write` gets an empty file; what it leaves in there is synced and gets the image's name if it succeeds.
pub fn publish(
    store: &Path,
    digest: &Digest,
    progress: &mut dyn FnMut(Progress),
    write: impl FnOnce(&Unfinished<'_>, &mut dyn FnMut(Progress)) -> Result<(), ImageError>,
) -> Result<PathBuf, ImageError> {
    let target = rootfs_path(store, digest);
    if target.exists() {
        return Ok(target);
    }
    let folder = folder(store, digest);
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| ImageError::Write { path, source }
    };
    fs::create_dir_all(&folder).map_err(written(&folder))?;
    let lock = rustix::fs::open(&folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| written(&folder)(errno.into()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        progress(Progress::Waiting);
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| written(&folder)(errno.into()))?;
        if target.exists() {
            return Ok(target);
        }
    }
    let partial = folder.join(PARTIAL_NAME);
    let whole = || -> Result<(), ImageError> {
        let file = create(&partial).map_err(written(&partial))?;
        write(&Unfinished { file: &file, path: &partial }, progress)?;
        file.set_permissions(fs::Permissions::from_mode(0o400))
            .and_then(|()| file.sync_all())
            .map_err(written(&partial))
    };
    whole().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })?;
    fs::rename(&partial, &target).map_err(written(&target))?;
    rustix::fs::fsync(&lock).map_err(|errno| written(&folder)(errno.into()))?;
    Ok(target)
}

/// An image that is being written.
pub struct Unfinished<'a> {
    /// Its file.
    pub file: &'a File,
    /// What that is called until it is whole.
    pub path: &'a Path,
}

impl Unfinished<'_> {
    /// An error of writing the image.
    pub fn failed(&self, source: io::Error) -> ImageError {
        ImageError::Write { path: self.path.to_owned(), source }
    }
}

/// A UUID made of a digest's first bytes, marked as version 8 (free-form).
pub fn uuid_from(digest: &Digest) -> [u8; 16] {
    let hex = digest.hex().as_bytes();
    let nibble = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    let mut uuid: [u8; 16] =
        std::array::from_fn(|index| nibble(hex[2 * index]) << 4 | nibble(hex[2 * index + 1]));
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// Makes an empty file that only its owner may touch, whatever had the name before.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Writes whole runs of blocks that are not all zero.
pub fn write_sparse(image: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
    let block = BLOCK_BYTES as usize;
    let is_zero = |index: usize| {
        let bytes = &bytes[index * block..bytes.len().min((index + 1) * block)];
        *bytes == ZEROS[..bytes.len()]
    };
    let blocks = bytes.len().div_ceil(block);
    let mut at = 0;
    while at < blocks {
        let zero = is_zero(at);
        let end = (at + 1..blocks).find(|&index| is_zero(index) != zero).unwrap_or(blocks);
        if !zero {
            let (from, to) = (at * block, bytes.len().min(end * block));
            image.write_all_at(&bytes[from..to], offset + from as u64)?;
        }
        at = end;
    }
    Ok(())
}
