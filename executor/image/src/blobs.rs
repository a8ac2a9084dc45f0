//! The content store: `<images>/blobs/sha256/<hex>`, the blobs of registries, each under its digest.
//!
//! A blob with its final name is complete and verified; it got there by an fsync and a rename. Until then it is at
//! `<images>/blobs/incoming/<hex>`, locked by its writer. The partial file of a killed writer is unlocked, and the next
//! writer resumes it: the digest is computed over all of it again.

mod sweep;
#[cfg(test)]
mod tests;
mod writer;

pub use sweep::{StoreLock, StoredBlob};
pub use writer::BlobWriter;

use crate::error::ImageError;
use executor_fs::file::{make_private_folder, read_start};
use schemas::digest::Digest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a locked blob is checked, as `flock` has no timeout.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// An error of the content store.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The blob is not in the store.
    #[error("the blob {digest} is not in the image store")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// The store cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The store cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The blob is larger than declared, or than its kind of document may be.
    #[error("the blob {digest} has more than {limit} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The blob is shorter than declared. Its bytes are kept.
    #[error("the blob {digest} ended after {found} of {size} bytes")]
    TooShort {
        /// The blob.
        digest: Digest,
        /// The bytes received.
        found: u64,
        /// The bytes declared.
        size: u64,
    },
    /// The blob has another digest. Its bytes are discarded.
    #[error("the blob {digest} arrived as {found}: its source sent other bytes")]
    WrongDigest {
        /// The expected digest.
        digest: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// A stored blob was damaged. It was removed.
    #[error("the blob {digest} was damaged in the image store, and has been removed from it")]
    Damaged {
        /// The blob.
        digest: Digest,
    },
}

/// The blobs of an image store.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Opens the blobs of an image store; creates missing folders.
    ///
    /// # Errors
    ///
    /// If a folder cannot be created.
    pub fn open(images_folder: &Path) -> Result<Self, ImageError> {
        let blobs = Self { folder: images_folder.join("blobs") };
        for folder in [blobs.complete_folder(), blobs.partial_folder()] {
            make_private_folder(&folder).map_err(|source| BlobError::Write { path: folder, source })?;
        }
        Ok(blobs)
    }

    fn complete_folder(&self) -> PathBuf {
        self.folder.join("sha256")
    }

    fn partial_folder(&self) -> PathBuf {
        self.folder.join("incoming")
    }

    fn final_path(&self, digest: &Digest) -> PathBuf {
        self.complete_folder().join(digest.hex())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.partial_folder().join(digest.hex())
    }

    /// The path of a complete blob; `None` if there is none.
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.final_path(digest);
        path.is_file().then_some(path)
    }

    /// Reads a blob and verifies it again.
    ///
    /// # Errors
    ///
    /// If it is missing, has more than `limit` bytes, or is damaged; a damaged blob is removed.
    pub fn read_bounded(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let path = self.final_path(digest);
        let failed = |source| BlobError::Read { path: path.clone(), source };
        let Some(bytes) = read_start(&path, limit.saturating_add(1)).map_err(failed)? else {
            return Err(BlobError::Missing { digest: digest.clone() }.into());
        };
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLarge { digest: digest.clone(), limit }.into());
        }
        if Digest::of_bytes(&bytes) != *digest {
            // Otherwise every later pull would find it and fail in the same way.
            let _ = fs::remove_file(&path);
            return Err(BlobError::Damaged { digest: digest.clone() }.into());
        }
        Ok(bytes)
    }

    /// Starts or resumes writing a blob of exactly `size` bytes. Waits for another writer of the same blob; after it
    /// has finished, [`BlobWriter::is_complete`].
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub fn begin(&self, digest: &Digest, size: u64) -> Result<BlobWriter, ImageError> {
        loop {
            if let Some(writer) = self.try_begin(digest, size)? {
                return Ok(writer);
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Stores a small blob.
    ///
    /// # Errors
    ///
    /// If the store cannot be written, or the bytes have another digest.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<PathBuf, ImageError> {
        match self.complete(digest, bytes) {
            // The partial file of an earlier writer had other bytes, and is removed.
            Err(ImageError::Blob(BlobError::WrongDigest { .. })) => self.complete(digest, bytes),
            stored => stored,
        }
    }

    fn complete(&self, digest: &Digest, bytes: &[u8]) -> Result<PathBuf, ImageError> {
        let mut writer = self.begin(digest, bytes.len() as u64)?;
        let rest = usize::try_from(writer.offset()).ok().and_then(|offset| bytes.get(offset..));
        writer.write(rest.unwrap_or_default())?;
        writer.finish()
    }
}
