//! Writes a blob into the store.

use super::{BlobError, Blobs};
use crate::error::ImageError;
use executor_fs::atomic;
use executor_fs::file::open_locked;
use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The mode of a complete blob, which is never written again.
const COMPLETE_MODE: u32 = 0o400;

/// A blob that is being written. Dropping it keeps the bytes for the next writer.
#[derive(Debug)]
pub struct BlobWriter {
    digest: Digest,
    size: u64,
    final_path: PathBuf,
    /// `None` if the blob is complete already.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    /// Holds the lock.
    file: File,
    path: PathBuf,
    offset: u64,
    hasher: Sha256,
}

impl Blobs {
    /// Begins a blob of `size` bytes as [`begin`](Self::begin) does, but does not wait; `None` while another writer has
    /// the lock of its partial file.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn try_begin(&self, digest: &Digest, size: u64) -> Result<Option<BlobWriter>, ImageError> {
        let (final_path, path) = (self.final_path(digest), self.partial_path(digest));
        let written = |source: io::Error| BlobError::Write { path: path.clone(), source };
        let mut partial = None;
        if !final_path.is_file() {
            let Some(file) = open_locked(&path).map_err(written)? else { return Ok(None) };
            // The previous writer may have completed the blob before the open, which then created this file.
            if final_path.is_file() {
                fs::remove_file(&path).map_err(written)?;
            } else {
                partial = Some(Partial::resume(file, path.clone(), size).map_err(written)?);
            }
        }
        Ok(Some(BlobWriter { digest: digest.clone(), size, final_path, partial }))
    }
}

impl BlobWriter {
    /// Whether the blob is complete already, so that nothing needs to be written.
    pub fn is_complete(&self) -> bool {
        self.partial.is_none()
    }

    /// The bytes written so far, which is the offset of the next ones.
    pub fn offset(&self) -> u64 {
        self.partial.as_ref().map_or(self.size, |partial| partial.offset)
    }

    /// The final size, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// If there are more than declared, in which case none is written, or the store cannot be written.
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

    /// Discards all bytes and starts over.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn restart(&mut self) -> Result<(), ImageError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        let written = |source| BlobError::Write { path: partial.path.clone(), source };
        partial.file.set_len(0).and_then(|()| partial.file.rewind()).map_err(written)?;
        (partial.offset, partial.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Verifies the blob and moves it into the store; returns its path.
    ///
    /// # Errors
    ///
    /// If it is too short, in which case it is kept for the next writer, if it has another digest, in which case it is
    /// discarded, or if the store cannot be written.
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
            // Last: a complete blob that is still writable does no harm, but a partial one that is not could not be
            // resumed.
            .and_then(|()| file.set_permissions(Permissions::from_mode(COMPLETE_MODE)));
        stored.map_err(|source| BlobError::Write { path: final_path.clone(), source })?;
        Ok(final_path)
    }
}

impl Partial {
    /// Takes over a partial file, unless it is longer than the blob.
    fn resume(mut file: File, path: PathBuf, size: u64) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        if file.metadata()?.len() > size {
            file.set_len(0)?;
        }
        let mut reader = file.try_clone()?;
        reader.rewind()?;
        crate::hash_all(reader, &mut hasher)?;
        let offset = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, path, offset, hasher })
    }
}
