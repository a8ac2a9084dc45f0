//! Lists the store, and removes unused blobs without disturbing pulls.

use super::{BlobError, Blobs};
use crate::error::ImageError;
use crate::store::digest_of;
use executor_fs::file::is_at;
use rustix::fs::{FlockOperation, flock};
use schemas::digest::Digest;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;

/// A lock of the store: shared while blobs are pulled and used, exclusive while unused ones are removed.
#[derive(Debug)]
pub struct StoreLock {
    _folder: File,
}

/// A complete blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size, in bytes.
    pub size: u64,
}

impl Blobs {
    /// Takes the shared lock, which prevents sweeps until it is dropped. Waits for a running sweep.
    ///
    /// # Errors
    ///
    /// If the store cannot be locked.
    pub fn lock_shared(&self) -> Result<StoreLock, ImageError> {
        self.lock(FlockOperation::LockShared)
    }

    /// Takes the exclusive lock. Waits for all other holders.
    ///
    /// # Errors
    ///
    /// If the store cannot be locked.
    pub fn lock_exclusive(&self) -> Result<StoreLock, ImageError> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, operation: FlockOperation) -> Result<StoreLock, ImageError> {
        let failed = |source| BlobError::Write { path: self.folder.clone(), source };
        let folder = File::open(&self.folder).map_err(failed)?;
        rustix::io::retry_on_intr(|| flock(&folder, operation)).map_err(|errno| failed(errno.into()))?;
        Ok(StoreLock { _folder: folder })
    }

    /// All complete blobs, ordered by digest.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<StoredBlob>, ImageError> {
        let folder = self.complete_folder();
        let mut blobs = Vec::new();
        for entry in entries(&folder)? {
            let failed = |source| BlobError::Read { path: folder.clone(), source };
            if let Some(digest) = digest_of(&entry) {
                blobs.push(StoredBlob { digest, size: entry.metadata().map_err(failed)?.len() });
            }
        }
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(blobs)
    }

    /// The size of all partial blobs, in bytes.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn unfinished_bytes(&self) -> Result<u64, ImageError> {
        let sizes = entries(&self.partial_folder())?.into_iter().filter_map(|entry| entry.metadata().ok());
        Ok(sizes.map(|metadata| metadata.len()).sum())
    }

    /// Removes every blob that is not in `keep`, and every partial one without a writer. Returns the bytes freed.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or written.
    pub fn sweep(&self, _alone: &StoreLock, keep: &BTreeSet<Digest>) -> Result<u64, ImageError> {
        let mut freed = 0;
        for StoredBlob { digest, size } in self.list()? {
            if !keep.contains(&digest) {
                let path = self.final_path(&digest);
                fs::remove_file(&path).map_err(|source| BlobError::Write { path, source })?;
                freed += size;
            }
        }
        for entry in entries(&self.partial_folder())? {
            freed += remove_abandoned(&entry.path());
        }
        Ok(freed)
    }
}

/// Removes a partial blob without a writer. Failures are ignored.
fn remove_abandoned(path: &Path) -> u64 {
    let removed = || -> io::Result<u64> {
        let file = File::open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        if !is_at(&file, path)? {
            return Ok(0);
        }
        let size = file.metadata()?.len();
        fs::remove_file(path)?;
        Ok(size)
    };
    removed().unwrap_or(0)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, BlobError> {
    fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|source| BlobError::Read { path: folder.to_owned(), source })
}
