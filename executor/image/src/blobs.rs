//! The content store: `<images>/blobs/sha256/<hex>`, what registries call blobs, each under its own digest.
//!
//! What has the final name is whole and was verified; it got there by a rename, after an fsync. Until then a
//! blob lies in `<images>/blobs/incoming/<hex>`, locked by whoever writes it. A writer that was killed leaves
//! it there unlocked, and the next one goes on where it ended: the digest is taken over all of it again.

mod sweep;
#[cfg(test)]
mod tests;
mod writer;

pub use sweep::{StoreLock, StoredBlob};
pub use writer::BlobWriter;

use crate::error::ImageError;
use rustix::fs::Mode;
use schemas::digest::Digest;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a blob that another writer holds is looked at: `flock` has no time limit of its own.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// What goes wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not in the store.
    #[error("the blob {digest} is not in the image store")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// The store cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More bytes came than were declared, or a document is larger than any sound one.
    #[error("the blob {digest} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// How many it may have.
        limit: u64,
    },
    /// Fewer bytes came than were declared. What came is kept.
    #[error("the blob {digest} ended after {found} of {size} bytes")]
    TooShort {
        /// Which.
        digest: Digest,
        /// How many bytes came.
        found: u64,
        /// How many were declared.
        size: u64,
    },
    /// The bytes are others than were asked for. They are thrown away.
    #[error("the blob {digest} arrived as {found}: its source sent other bytes")]
    WrongDigest {
        /// What was asked for.
        digest: Digest,
        /// What came.
        found: Digest,
    },
    /// A blob that was whole once is not any more. It is taken out of the store.
    #[error("the blob {digest} was damaged in the image store, and has been removed from it")]
    Damaged {
        /// Which.
        digest: Digest,
    },
}

/// The blobs of one image store.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Opens the blobs of an image store, making what is missing.
    pub fn open(images_folder: &Path) -> Result<Self, ImageError> {
        let blobs = Self { folder: images_folder.join("blobs") };
        for folder in [blobs.complete_folder(), blobs.partial_folder()] {
            make_private(&folder).map_err(|source| BlobError::Write { path: folder, source })?;
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

    /// Where a blob is, once it is whole.
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.final_path(digest);
        path.is_file().then_some(path)
    }

    /// A blob of at most so many bytes, verified anew. One that is damaged is removed.
    pub fn read_bounded(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let path = self.final_path(digest);
        let failed = |source| BlobError::Read { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing { digest: digest.clone() }.into());
            }
            Err(error) => return Err(failed(error).into()),
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLarge { digest: digest.clone(), limit }.into());
        }
        if Digest::of_bytes(&bytes) != *digest {
            // Otherwise every later pull would find it, and fail as this one does.
            let _ = fs::remove_file(&path);
            return Err(BlobError::Damaged { digest: digest.clone() }.into());
        }
        Ok(bytes)
    }

    /// Begins to write a blob of exactly so many bytes, or goes on where a writer before ended. Another
    /// writer of the same blob is awaited; when it has finished, [`BlobWriter::is_complete`].
    pub fn begin(&self, digest: &Digest, size: u64) -> Result<BlobWriter, ImageError> {
        loop {
            if let Some(writer) = self.try_begin(digest, size)? {
                return Ok(writer);
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    /// One attempt at [`begin`](Self::begin); nothing while another writer holds the blob.
    pub fn try_begin(&self, digest: &Digest, size: u64) -> Result<Option<BlobWriter>, ImageError> {
        BlobWriter::open(self, digest, size)
    }

    /// Puts a small blob into the store whose bytes are at hand.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<PathBuf, ImageError> {
        let mut writer = self.begin(digest, bytes.len() as u64)?;
        let rest = usize::try_from(writer.offset()).ok().and_then(|offset| bytes.get(offset..));
        writer.write(rest.unwrap_or_default())?;
        match writer.finish() {
            // What an earlier writer left was something else.
            Err(ImageError::Blob(BlobError::WrongDigest { .. })) => {
                let mut writer = self.begin(digest, bytes.len() as u64)?;
                let rest = usize::try_from(writer.offset()).ok().and_then(|offset| bytes.get(offset..));
                writer.write(rest.unwrap_or_default())?;
                writer.finish()
            }
            finished => finished,
        }
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(Mode::RWXU.bits()).create(folder)
}
