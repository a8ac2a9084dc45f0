//! Errors of images.

use crate::blobs::BlobError;
use crate::layer::LayerError;
use crate::oci::OciError;
use crate::tree::TreeError;
use schemas::digest::Digest;
use std::io;
use std::path::PathBuf;

/// Why an image cannot be read or built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// An error of the content store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// An invalid or unsupported manifest, index or config.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// An invalid layer.
    #[error(transparent)]
    Layer(Box<LayerError>),
    /// The path does not exist.
    #[error("the image {} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path is neither a directory nor a file.
    #[error("the image {} is neither a directory nor an archive", path.display())]
    NotAnImage {
        /// The path.
        path: PathBuf,
    },
    /// The image itself cannot be read.
    #[error("cannot read the image {}", path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file in the image cannot be read.
    #[error("cannot read {entry:?} of the image {}", path.display())]
    ReadEntry {
        /// The image.
        path: PathBuf,
        /// The file.
        entry: String,
        /// The cause.
        source: io::Error,
    },
    /// An entry is not allowed in an image.
    #[error("{entry:?} of the image {} is refused", path.display())]
    Entry {
        /// The image.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// The reason.
        source: TreeError,
    },
    /// The archive is malformed or truncated.
    #[error("the image {} is not a complete tar archive", path.display())]
    BadArchive {
        /// The image.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The archive has an unsupported format.
    #[error("the image {} is {form}, which is not supported; a directory, a tar archive or a disk with ext4 is", path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// The detected format.
        form: &'static str,
    },
    /// An entry of the archive has an unsupported type.
    #[error("{entry:?} of the image {} is {form}, which is not supported", path.display())]
    UnsupportedEntry {
        /// The image.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// Its type.
        form: &'static str,
    },
    /// A file that a layout references is missing.
    #[error("there is no {entry} in {}", path.display())]
    NotInLayout {
        /// The layout.
        path: PathBuf,
        /// The file.
        entry: String,
    },
    /// The layout contains no image.
    #[error("{} contains no image", path.display())]
    EmptyLayout {
        /// The layout.
        path: PathBuf,
    },
    /// The layout contains several images.
    #[error("{} contains several images, and only one can be booted: {}", path.display(), schemas::listing::names(names))]
    SeveralImages {
        /// The layout.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// The path contains no images with layers.
    #[error("{} contains no images with layers: it is neither an OCI layout nor an archive of `docker save`", path.display())]
    NoImages {
        /// The path.
        path: PathBuf,
    },
    /// The archive of saved images cannot be written.
    #[error("cannot write the archive of images")]
    Save {
        /// The cause.
        source: io::Error,
    },
    /// Images do not run on this machine.
    #[error("no images run on a processor of the kind {processor}")]
    NoPlatform {
        /// Its processor.
        processor: &'static str,
    },
    /// The image has changed since its digest was computed.
    #[error("the image {} changed while it was read (it was {expected})", path.display())]
    Changed {
        /// The image.
        path: PathBuf,
        /// The expected digest.
        expected: Digest,
    },
    /// The image kept changing while it was read.
    #[error("the image {} keeps changing while it is read: {entry:?}", path.display())]
    ChangedWhileReading {
        /// The image.
        path: PathBuf,
        /// The last entry that changed.
        entry: String,
    },
    /// The store cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The size of a disk is not possible.
    #[error("cannot make the disk {}", path.display())]
    DiskSize {
        /// The disk.
        path: PathBuf,
        /// The reason.
        source: crate::ext4::UnusableSize,
    },
}

impl From<LayerError> for ImageError {
    fn from(error: LayerError) -> Self {
        Self::Layer(Box::new(error))
    }
}
