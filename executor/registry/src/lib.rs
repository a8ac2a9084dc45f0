//! Pulls images from registries into the content store (OCI distribution specification).
//!
//! [`Registry::resolve`] resolves a reference, [`Registry::fetch`] fetches a pinned image, [`Registry::pull`] pulls the
//! layers. Blobs in the store are not requested again, so a complete image that is named by its digest needs no network
//! at all. `executor-image` makes a root file system of it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use executor_registry::{Registry, Settings};
//! let blobs = executor_image::Blobs::open("images".as_ref())?;
//! let registry = Registry::new(Settings::default(), blobs.clone())?;
//! // Prevents a sweep of the blobs until the image is recorded somewhere.
//! let held = blobs.lock_shared()?;
//! let reference = "debian:12".parse()?;
//! let found = registry.resolve(&reference, schemas::lockfile::Platform::LinuxAmd64).await?;
//! registry.pull(&reference, &found.image, &|progress| println!("{progress:?}")).await?;
//! drop(held);
//! # Ok(()) }
//! ```
//!
//! Futures may be dropped at any time: received bytes are kept, and the next pull resumes. Several processes, and several
//! futures of one, may pull the same image: each layer is downloaded once, and the others wait for it. Everything needs a
//! tokio runtime with time and network; its blocking threads write and hash files.
//!
//! An error has a chain of sources, and [`RegistryError::hint`] has the next step: print both.
//!
//! Architecture invariant: registries, mirrors, proxies and token servers are hostile. Every response is bounded in bytes
//! and time, nothing without a digest is trusted, and credentials are sent to their own host alone. Nothing here reads
//! the environment: [`Settings`] are passed as values.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::missing_errors_doc)]

mod auth;
mod client;
mod connect;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
mod http;
mod layers;
mod manifests;
mod settings;
mod store;
mod tls;

pub use error::{Cause, RegistryError};
pub use layers::{LayerProgress, LayerState};
pub use manifests::ResolvedImage;
pub use settings::{Auth, HostSettings, Limits, Proxies, Settings};
pub use tls::read_certificates;

use client::Client;
use executor_image::Blobs;

/// A client of registries and the store that it pulls into.
pub struct Registry {
    client: Client,
    blobs: Blobs,
}

impl Registry {
    /// Reads the CA files that the settings name. Sends no request.
    ///
    /// # Errors
    ///
    /// If a host's name is invalid or a CA file cannot be read.
    pub fn new(settings: Settings, blobs: Blobs) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::new(settings)?, blobs })
    }
}
