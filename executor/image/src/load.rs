//! Loads the images of a layout into the content store.

use crate::blobs::{BlobError, Blobs};
use crate::error::ImageError;
use crate::layer::read_full;
use crate::layout::Contained;
use crate::oci::OciImage;
use crate::source::{Source, recognize};
use schemas::lockfile::Platform;
use std::path::Path;

/// The chunk size for copying, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// An image whose blobs are all in the content store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its names in the source: tags, or whole references.
    pub names: Vec<String>,
    /// Its documents and layers.
    pub image: OciImage,
}

/// Copies every image for a platform into the store and verifies it. `progress` is called with the bytes copied and
/// their total. The caller must hold the store's lock.
///
/// # Errors
///
/// If the source is not a layout or is invalid, or the store cannot be written.
pub fn load(
    path: &Path,
    blobs: &Blobs,
    scratch: &Path,
    platform: Platform,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<LoadedImage>, ImageError> {
    let layout = match recognize(path, scratch)? {
        Source::Images(layout) => layout,
        Source::Directory | Source::Archive(..) | Source::Disk(_) => {
            return Err(ImageError::NoImages { path: path.to_owned() });
        }
    };
    let images = layout.images(platform)?;
    let total = images.iter().map(|contained| contained.image.bytes()).sum();
    let mut done = 0;
    let (mut loaded, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
    let unreadable = |source| BlobError::Read { path: path.to_owned(), source };
    for Contained { names, image, config: _, documents: [manifest, config], layers } in images {
        for (layer, range) in image.layers.iter().zip(&layers) {
            let mut writer = blobs.begin(&layer.digest, layer.size)?;
            if !writer.is_complete() {
                // All bytes are local: rereading a partial blob is not faster.
                writer.restart()?;
                let mut reader = range.reader().map_err(unreadable)?;
                while let length @ 1.. = read_full(&mut reader, &mut chunk).map_err(unreadable)? {
                    writer.write(&chunk[..length])?;
                }
            }
            writer.finish()?;
            done += layer.size;
            progress(done, total);
        }
        blobs.put(&image.config, &config)?;
        // The manifest comes last: once it is found, everything it names is there.
        blobs.put(&image.manifest, &manifest)?;
        loaded.push(LoadedImage { names, image });
    }
    Ok(loaded)
}
