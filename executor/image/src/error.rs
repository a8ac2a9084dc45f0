//! What goes wrong with images.

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
    /// Something is wrong with a blob of the store.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A manifest, an index or a config is not one, or is not for msb.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// One of an image's layers is not as it must be.
    #[error(transparent)]
    Layer(Box<LayerError>),
    /// There is nothing at the path.
    #[error("the image {} does not exist", path.display())]
    NotFound {
        /// Where it should be.
        path: PathBuf,
    },
    /// Neither a directory nor a file.
    #[error("the image {} is neither a directory nor an archive", path.display())]
    NotAnImage {
        /// What it is.
        path: PathBuf,
    },
    /// The image itself cannot be read.
    #[error("cannot read the image {}", path.display())]
    Read {
        /// Which image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in the image cannot be read.
    #[error("cannot read {entry:?} of the image {}", path.display())]
    ReadEntry {
        /// Which image.
        path: PathBuf,
        /// What in it.
        entry: String,
        /// Why.
        source: io::Error,
    },
    /// Something in the image is not allowed in one.
    #[error("{entry:?} of the image {} is refused", path.display())]
    Entry {
        /// Which image.
        path: PathBuf,
        /// What in it.
        entry: String,
        /// Why.
        source: TreeError,
    },
    /// An archive that is not one, or not whole.
    #[error("the image {} is not a whole tar archive", path.display())]
    BadArchive {
        /// Which image.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// An archive in a form that is not read.
    #[error("the image {} is {form}, which is not supported; a directory, a tar archive or a disk with ext4 is", path.display())]
    Unsupported {
        /// Which image.
        path: PathBuf,
        /// What it was recognized as.
        form: &'static str,
    },
    /// Something in an archive has a type that no root file system has, or that is not read.
    #[error("{entry:?} of the image {} is {form}, which is not supported", path.display())]
    UnsupportedEntry {
        /// Which image.
        path: PathBuf,
        /// What in it.
        entry: String,
        /// What it is.
        form: &'static str,
    },
    /// A file that a layout names is not in it.
    #[error("there is no {entry} in {}", path.display())]
    NotInLayout {
        /// Which layout.
        path: PathBuf,
        /// What is missing.
        entry: String,
    },
    /// A layout without any.
    #[error("{} holds no image", path.display())]
    EmptyLayout {
        /// Which layout.
        path: PathBuf,
    },
    /// A layout with more than one image.
    #[error("{} holds several images, and only one can be booted: {}", path.display(), schemas::listing::names(names))]
    SeveralImages {
        /// Which layout.
        path: PathBuf,
        /// What they are called.
        names: Vec<String>,
    },
    /// Something else than images with layers.
    #[error("{} holds no images with layers: it is no OCI layout and no archive of `docker save`", path.display())]
    NoImages {
        /// What was to be loaded.
        path: PathBuf,
    },
    /// An archive of images cannot be written.
    #[error("cannot write the archive of images")]
    Save {
        /// Why.
        source: io::Error,
    },
    /// No images run on this machine.
    #[error("no images run on a processor of the kind {processor}")]
    NoPlatform {
        /// What it is.
        processor: &'static str,
    },
    /// The image is not what it was when its digest was taken.
    #[error("the image {} changed while it was read (it was {expected})", path.display())]
    Changed {
        /// Which image.
        path: PathBuf,
        /// What it was.
        expected: Digest,
    },
    /// The image never stood still.
    #[error("the image {} keeps changing while it is read: {entry:?}", path.display())]
    Restless {
        /// Which image.
        path: PathBuf,
        /// What in it changed last.
        entry: String,
    },
    /// The store cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A disk of a size that cannot be.
    #[error("cannot make the disk {}", path.display())]
    DiskSize {
        /// Which disk.
        path: PathBuf,
        /// Why.
        source: crate::ext4::UnusableSize,
    },
}

impl From<LayerError> for ImageError {
    fn from(error: LayerError) -> Self {
        Self::Layer(Box::new(error))
    }
}
