//! The store of built images: `<store>/rootfs/<digest in hex>/root.ext4`.
//!
//! An image is written under another name, synced, and renamed: what has the final name is whole. The
//! image's own folder is the lock, so that two processes build it once; what a killed one left behind
//! is overwritten by the next.

use crate::error::ImageError;
use crate::ext4::{BLOCK_BYTES, FileSystem};
use crate::tree::{Kind, NodeId, Tree};
use crate::{archive, directory};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The built image's name.
const IMAGE_NAME: &str = "root.ext4";
/// Its name until it is whole.
const PARTIAL_NAME: &str = "root.ext4.partial";
/// How much is copied at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds the same image.
    Waiting,
    /// A compressed archive is unpacked.
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

/// Builds the image of a source whose digest is this one, unless it is there already. Returns where it is.
pub fn build(
    source: &Path,
    digest: &Digest,
    store: &Path,
    progress: &mut dyn FnMut(Progress),
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
    let build = Build { source, digest, folder: &folder, partial: &partial, progress };
    build.run().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })?;
    fs::rename(&partial, &target).map_err(written(&target))?;
    rustix::fs::fsync(&lock).map_err(|errno| written(&folder)(errno.into()))?;
    Ok(target)
}

struct Build<'a> {
    source: &'a Path,
    digest: &'a Digest,
    folder: &'a Path,
    partial: &'a Path,
    progress: &'a mut dyn FnMut(Progress),
}

impl Build<'_> {
    fn run(mut self) -> Result<(), ImageError> {
        let is_directory = crate::kind_of(self.source)? == crate::SourceKind::Directory;
        let image = create(self.partial).map_err(|source| self.write_error(source))?;
        if is_directory {
            self.copy_directory(&image)?
        } else {
            self.copy_archive(&image)?
        }
        image
            .set_permissions(fs::Permissions::from_mode(0o400))
            .and_then(|()| image.sync_all())
            .map_err(|source| self.write_error(source))
    }

    fn copy_directory(&mut self, image: &File) -> Result<(), ImageError> {
        (self.progress)(Progress::Scanning);
        let scanned = directory::scan(self.source)?;
        crate::check_is_root_file_system(self.source, &scanned.tree)?;
        let system = FileSystem::read_only(&scanned.tree, self.uuid());
        system.write(image).map_err(|source| self.write_error(source))?;
        let mut digests = HashMap::new();
        let mut copier = Copier::new(image, &scanned.tree, &mut *self.progress);
        for (id, node) in scanned.tree.nodes().iter().enumerate() {
            let Kind::File { size } = node.kind else { continue };
            let mut hasher = Sha256::new();
            if size > 0 {
                let mut file = scanned.open(id)?;
                copier.copy(&mut file, size, system.content_offset(id), Some(&mut hasher)).map_err(
                    |failure| match failure {
                        CopyError::Read(source) => scanned.failed(id, source),
                        CopyError::Write(source) => {
                            ImageError::Write { path: self.partial.to_owned(), source }
                        }
                    },
                )?;
                scanned.check(id, &file)?;
            }
            digests.insert(id, hasher.finalize().into());
        }
        self.check_digest(&scanned.tree.digest(|id: NodeId| digests[&id]))
    }

    fn copy_archive(&mut self, image: &File) -> Result<(), ImageError> {
        let read_error = |source| ImageError::Read { path: self.source.to_owned(), source };
        (self.progress)(Progress::Scanning);
        let mut file = File::open(self.source).map_err(read_error)?;
        let packing = archive::recognize(self.source, &file)?;
        let found = crate::digest_of_file(&mut file).map_err(read_error)?;
        self.check_digest(&found)?;
        let before = crate::file_fingerprint(self.source, &file)?;
        if packing == archive::Packing::Gzip {
            (self.progress)(Progress::Unpacking);
            io::Seek::rewind(&mut file).map_err(read_error)?;
            let unpacked = archive::unpack_gzip(self.source, &file, self.folder)?;
            return self.copy_plain_archive(unpacked, image);
        }
        let again = file.try_clone().map_err(read_error)?;
        self.copy_plain_archive(file, image)?;
        if crate::file_fingerprint(self.source, &again)? == before { Ok(()) } else { Err(self.changed()) }
    }

    fn copy_plain_archive(&mut self, mut file: File, image: &File) -> Result<(), ImageError> {
        let scanned = archive::scan(self.source, &mut file)?;
        crate::check_is_root_file_system(self.source, &scanned.tree)?;
        let system = FileSystem::read_only(&scanned.tree, self.uuid());
        system.write(image).map_err(|source| self.write_error(source))?;
        let mut copier = Copier::new(image, &scanned.tree, &mut *self.progress);
        scanned.for_each_file(self.source, &mut file, |id, mut contents| {
            let Kind::File { size } = scanned.tree.nodes()[id].kind else { return Ok(()) };
            copier.copy(&mut contents, size, system.content_offset(id), None).map_err(|failure| match failure
            {
                CopyError::Read(source) => ImageError::BadArchive { path: self.source.to_owned(), source },
                CopyError::Write(source) => ImageError::Write { path: self.partial.to_owned(), source },
            })
        })
    }

    fn check_digest(&self, found: &Digest) -> Result<(), ImageError> {
        if found == self.digest { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> ImageError {
        ImageError::Changed { path: self.source.to_owned(), expected: self.digest.clone() }
    }

    /// The same image has the same UUID everywhere.
    fn uuid(&self) -> [u8; 16] {
        uuid_from(self.digest)
    }

    fn write_error(&self, source: io::Error) -> ImageError {
        ImageError::Write { path: self.partial.to_owned(), source }
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

struct Copier<'a> {
    image: &'a File,
    progress: &'a mut dyn FnMut(Progress),
    chunk: Vec<u8>,
    done_bytes: u64,
    total_bytes: u64,
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl<'a> Copier<'a> {
    fn new(image: &'a File, tree: &Tree, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { image, progress, chunk: vec![0; CHUNK_BYTES], done_bytes: 0, total_bytes: tree.bytes() }
    }

    /// Copies exactly `size` bytes. Blocks of zeros stay holes of the image.
    fn copy(
        &mut self,
        from: &mut dyn Read,
        size: u64,
        offset: u64,
        mut hasher: Option<&mut Sha256>,
    ) -> Result<(), CopyError> {
        let mut done = 0;
        while done < size {
            let length = (size - done).min(CHUNK_BYTES as u64) as usize;
            let chunk = &mut self.chunk[..length];
            from.read_exact(chunk).map_err(CopyError::Read)?;
            if let Some(hasher) = hasher.as_mut() {
                hasher.update(&*chunk);
            }
            write_sparse(self.image, chunk, offset + done).map_err(CopyError::Write)?;
            done += length as u64;
            self.done_bytes += length as u64;
            (self.progress)(Progress::Copying { done_bytes: self.done_bytes, total_bytes: self.total_bytes });
        }
        Ok(())
    }
}

/// Writes whole runs of blocks that are not all zero.
fn write_sparse(image: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let block = BLOCK_BYTES as usize;
    let is_zero = |index: usize| {
        bytes[index * block..bytes.len().min((index + 1) * block)].iter().all(|&byte| byte == 0)
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
