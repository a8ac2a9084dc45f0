//! Pulling: from a reference to the blobs of an image in the content store.
//!
//! [`Registry::resolve`] says which image a reference stands for now, [`Registry::fetch`] gets one that is
//! pinned already, [`Registry::pull`] brings the layers. What is in the store already is not asked for again,
//! so an image that is whole and named by its digest needs no network at all. `executor-image` makes a root
//! file system of it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use executor_registry::{Registry, Settings};
//! let blobs = executor_image::Blobs::open("images".as_ref())?;
//! let registry = Registry::new(Settings::default(), blobs.clone())?;
//! // Until the image is recorded somewhere, nobody may sweep its blobs away.
//! let held = blobs.lock_shared()?;
//! let reference = "debian:12".parse()?;
//! let found = registry.resolve(&reference, schemas::lockfile::Platform::LinuxAmd64).await?;
//! registry.pull(&reference, &found.image, &|progress| println!("{progress:?}")).await?;
//! drop(held);
//! # Ok(()) }
//! ```
//!
//! Futures may be dropped at any time: what came stays, and the next pull goes on from there. Several
//! processes, and several futures of one, may pull the same image: each layer comes once, the others wait for
//! it. All of it wants a tokio runtime with time and network; files are written and hashed by its blocking
//! threads.
//!
//! An error has its causes below it, and [`RegistryError::hint`] says what to do: print both.
//!
//! Architecture invariant: registries, mirrors, proxies and token servers are hostile. Every answer has a
//! bound in bytes and time, nothing is believed that has no digest, and credentials go to the host they are
//! for and nobody else. Nothing here reads the environment: [`Settings`] come in as values.

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
pub use settings::{Auth, HostSettings, Limits, Proxies, Secret, Settings};

use client::Client;
use executor_image::{Blobs, OciImage};
use rules::reference::Reference;
use schemas::digest::Digest;
use schemas::lockfile::Platform;

/// Registries, and the store that images are pulled into.
pub struct Registry {
    client: Client,
    blobs: Blobs,
}

impl Registry {
    /// Reads the certificates that the settings name. Nobody is asked yet.
    pub fn new(settings: Settings, blobs: Blobs) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::new(settings)?, blobs })
    }

    /// Which image a reference stands for now on a platform. Its manifest and config are in the store then.
    pub async fn resolve(
        &self,
        reference: &Reference,
        platform: Platform,
    ) -> Result<ResolvedImage, RegistryError> {
        manifests::resolve(&self.client, &self.blobs, reference, platform).await
    }

    /// The image with this manifest, or the one that this index has for the platform, whatever the reference's
    /// tag stands for now. Its manifest and config are in the store then.
    pub async fn fetch(
        &self,
        reference: &Reference,
        digest: &Digest,
        platform: Platform,
    ) -> Result<ResolvedImage, RegistryError> {
        manifests::fetch(&self.client, &self.blobs, reference, digest, platform).await
    }

    /// Brings all layers of an image into the store, several at once. `progress` is called when something
    /// begins or ends, and some twenty times a second for each layer in between.
    pub async fn pull(
        &self,
        reference: &Reference,
        image: &OciImage,
        progress: &(dyn Fn(LayerProgress<'_>) + Sync),
    ) -> Result<(), RegistryError> {
        layers::pull(&self.client, &self.blobs, reference, image, progress).await
    }
}
