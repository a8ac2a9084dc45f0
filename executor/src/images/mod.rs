//! Images, as far as sandboxes have to do with them: what references stand for, what is at hand, what is kept.
//!
//! ```text
//! reference ─► pin of the lock file ─┐
//!           ─► what the catalog knows ├─► digest ─► built? ─► (documents in the store?) ─► registry
//!           ─► registry ─────────────┘
//! ```

mod fetch;
mod keep;
mod known;
mod sought;

pub use fetch::{Fetched, ensure_built};
pub use keep::{Removed, Usage, prune, remove, usage, users};
pub use known::{KnownImage, known_images, load_archive, named};
pub use sought::{Pull, Sought, observe_image};

use crate::catalog::CatalogError;
use executor_image::ImageError;
use executor_registry::RegistryError;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The image, or the store, is not as it must be.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The registry did not give it.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Nobody may ask the registry, and the image is not here.
    #[error("the image {reference} is not on this machine, and registries are not asked with --pull never")]
    NotHere {
        /// Which.
        reference: String,
    },
    /// A reference that is none: the catalog or a plan holds what no Sandboxfile can say.
    #[error("{reference:?} is no reference of an image")]
    Reference {
        /// Which.
        reference: String,
        /// Why.
        source: rules::reference::InvalidReference,
    },
    /// Nothing is known by this name.
    #[error("there is no image {name:?} on this machine")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Sandboxes need it.
    #[error("the image {name} is used by {}", schemas::listing::names(by))]
    InUse {
        /// Which.
        name: String,
        /// The sandboxes, by their full names.
        by: Vec<String>,
    },
    /// The event loop for the registry does not start.
    #[error("cannot start the event loop for registries")]
    EventLoop(#[source] std::io::Error),
}

impl From<RegistryError> for ImagesError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl ImagesError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::NotHere { reference } => Some(format!("`msb image pull {reference}` brings it")),
            Self::Unknown { .. } => Some("`msb image ls` lists those that there are".to_owned()),
            Self::InUse { .. } => Some("`msb down` removes the sandboxes of a project".to_owned()),
            Self::Catalog(_) | Self::Image(_) | Self::Reference { .. } | Self::EventLoop(_) => None,
        }
    }
}
