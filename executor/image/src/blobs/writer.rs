//! One blob on its way into the store.

use super::{BlobError, Blobs};
use crate::error::ImageError;
use executor_fs::atomic;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How much of what an earlier writer left is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 18;
/// The mode of a whole blob: nothing writes to it again.
const COMPLETE_MODE: u32 = 0o400;

/// A blob that is being written. Dropping it keeps what came, for whoever goes on.
#[derive(Debug)]
pub struct BlobWriter {
    digest: Digest,
    size: u64,
    final_path: PathBuf,
    /// Nothing for a blob that is whole already.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    /// Its lock goes with it.
    file: File,
    path: PathBuf,
    offset: u64,
    hasher: Sha256,
}

impl BlobWriter {
    /// Takes the blob's lock, unless it is held or the blob is whole.
    pub(super) fn open(blobs: &Blobs, digest: &Digest, size: u64) -> Result<Option<Self>, ImageError> {
        let (final_path, path) = (blobs.final_path(digest), blobs.partial_path(digest));
        let written = |source: io::Error| BlobError::Write { path: path.clone(), source };
        let writer = |partial| Self { digest: digest.clone(), size, final_path: final_path.clone(), partial };
        loop {
            if final_path.is_file() {
                return Ok(Some(writer(None)));
            }
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|errno| written(errno.into()))?;
            let file = File::from(file);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(written(errno.into()).into()),
            }
            // The holder before may have given the file its final name between our open and our lock.
            if !is_named(&file, &path).map_err(written)? {
                continue;
            }
            // It may have done so between our look for the whole blob and our open, which then made this file.
            if final_path.is_file() {
                fs::remove_file(&path).map_err(written)?;
                return Ok(Some(writer(None)));
            }
            let partial = Partial::resume(file, path.clone(), size).map_err(written)?;
            return Ok(Some(writer(Some(partial))));
        }
    }

    /// Whether the blob is whole already, and there is nothing to write.
    pub fn is_complete(&self) -> bool {
        self.partial.is_none()
    }

    /// How many bytes are there; the next ones written go behind them.
    pub fn offset(&self) -> u64 {
        self.partial.as_ref().map_or(self.size, |partial| partial.offset)
    }

    /// How many bytes there will be.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes. More than were declared are refused, and none of them is written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        if bytes.len() as u64 > self.size - partial.offset {
            return Err(BlobError::TooLarge { digest: self.digest.clone(), limit: self.size }.into());
        }
        let written = |source| BlobError::Write { path: partial.path.clone(), source };
        partial.file.write_all(bytes).map_err(written)?;
        partial.hasher.update(bytes);
        partial.offset += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all that came, to begin anew.
    pub fn restart(&mut self) -> Result<(), ImageError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        let written = |source| BlobError::Write { path: partial.path.clone(), source };
        partial.file.set_len(0).and_then(|()| partial.file.rewind()).map_err(written)?;
        (partial.offset, partial.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Verifies the blob and puts it into the store. One that is too short stays for the next writer; one
    /// with another digest is thrown away.
    pub fn finish(self) -> Result<PathBuf, ImageError> {
        let Self { digest, size, final_path, partial } = self;
        let Some(Partial { file, path, offset, hasher }) = partial else { return Ok(final_path) };
        if offset < size {
            return Err(BlobError::TooShort { digest, found: offset, size }.into());
        }
        let found = Digest::from_sha256(hasher.finalize().into());
        if found != digest {
            let _ = fs::remove_file(&path);
            return Err(BlobError::WrongDigest { digest, found }.into());
        }
        let stored = atomic::publish(&file, &path, &final_path)
            // Last: what has a final name and may still be written to is no harm, but the other way round
            // the next writer could not go on with what a killed one left.
            .and_then(|()| file.set_permissions(Permissions::from_mode(COMPLETE_MODE)));
        stored.map_err(|source| BlobError::Write { path: final_path.clone(), source })?;
        Ok(final_path)
    }
}

impl Partial {
    /// Takes over what is in the file, unless it is more than there can be.
    fn resume(mut file: File, path: PathBuf, size: u64) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        if file.metadata()?.len() > size {
            file.set_len(0)?;
        }
        let mut reader = file.try_clone()?;
        reader.rewind()?;
        crate::hash_all(&mut reader, &mut hasher, &mut vec![0; CHUNK_BYTES])?;
        let offset = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, path, offset, hasher })
    }
}

/// Whether a path leads to this very file.
pub(super) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let ours = rustix::fs::fstat(file)?;
    match rustix::fs::stat(path) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
