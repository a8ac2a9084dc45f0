//! Asynchronous access to the content store.

use crate::error::RegistryError;
use executor_image::{BlobError, BlobWriter, Blobs, ImageError};
use schemas::digest::Digest;
use std::io;
use std::time::Duration;

/// How often a blob of another writer is checked.
const RETRY_INTERVAL: Duration = Duration::from_millis(25);

/// Runs file I/O on a blocking thread.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let source = io::Error::other(error.to_string());
        Err(BlobError::Write { path: "the image store".into(), source }.into())
    })
}

/// Starts or resumes writing a blob. While another writer has it, `waiting` is called once.
pub async fn begin(
    blobs: &Blobs,
    digest: &Digest,
    size: u64,
    mut waiting: impl FnMut(),
) -> Result<BlobWriter, ImageError> {
    let mut waits = false;
    loop {
        let (blobs, digest) = (blobs.clone(), digest.clone());
        if let Some(writer) = blocking(move || blobs.try_begin(&digest, size)).await? {
            return Ok(writer);
        }
        if !waits {
            waits = true;
            waiting();
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Stores a document.
pub async fn put(blobs: &Blobs, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
    let (blobs, digest, bytes) = (blobs.clone(), digest.clone(), bytes.to_vec());
    blocking(move || blobs.put(&digest, &bytes).map(drop)).await
}

/// Reads a document; `None` if it is missing or damaged.
pub fn read(blobs: &Blobs, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
    match blobs.read_bounded(digest, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        // A damaged one was removed and is fetched again.
        Err(ImageError::Blob(BlobError::Missing { .. } | BlobError::Damaged { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Wraps an error of the store.
pub fn failed(image: &str, what: &str) -> impl Fn(ImageError) -> RegistryError {
    move |error| {
        let (image, what) = (image.to_owned(), what.to_owned());
        RegistryError::Store { image, what, source: Box::new(error) }
    }
}
