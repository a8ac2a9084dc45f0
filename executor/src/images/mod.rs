//! Images of sandboxes: resolving references, pulling, listing and pruning.
//!
//! ```text
//! reference ─► pin of the lock file ─┐
//!           ─► what the catalog knows ├─► digest ─► built? ─► (documents in the store?) ─► registry
//!           ─► registry ─────────────┘
//! ```

mod fetch;
mod keep;
mod known;
mod query;

pub(crate) use fetch::blocking;
pub use fetch::{Fetched, ensure_built};
pub(crate) use keep::remove_unused;
pub use keep::{Removed, Usage, prune, remove, usage, users};
pub use known::{KnownImage, known_images, load_archive, named};
pub use query::{ImageQuery, Pull, observe_image};

use crate::catalog::CatalogError;
use crate::snapshots::SnapshotError;
use executor_image::ImageError;
use executor_registry::RegistryError;
use rules::reference::Reference;

/// A failure of an image operation.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The image or the store is invalid.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The registry failed.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// The image is not on this machine, and registries must not be asked.
    #[error("the image {reference} is not on this machine, and registries are not asked, as `pull` is never")]
    NotHere {
        /// The image's reference.
        reference: Reference,
    },
    /// No image has this name.
    #[error("there is no image {name:?} on this machine")]
    Unknown {
        /// The given name.
        name: String,
    },
    /// Sandboxes use the image.
    #[error("the image {name} is used by {}", schemas::listing::names(by))]
    InUse {
        /// The image's name.
        name: String,
        /// The full names of the sandboxes.
        by: Vec<String>,
    },
    /// A snapshot is missing, or its record is invalid.
    #[error(transparent)]
    Snapshot(Box<SnapshotError>),
    /// The event loop for the registry does not start.
    #[error("cannot start the event loop for registries")]
    EventLoop(#[source] std::io::Error),
}

impl From<RegistryError> for ImagesError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<SnapshotError> for ImagesError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(Box::new(error))
    }
}

impl ImagesError {
    /// Returns the next step for the user, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::NotHere { reference } => Some(format!("`msb image pull {reference}` brings it")),
            Self::Unknown { .. } => Some("`msb image ls` lists those that there are".to_owned()),
            Self::InUse { .. } => Some("`msb down` removes the sandboxes of a project".to_owned()),
            Self::Snapshot(error) => error.hint(),
            Self::Catalog(_) | Self::Image(_) | Self::EventLoop(_) => None,
        }
    }
}
