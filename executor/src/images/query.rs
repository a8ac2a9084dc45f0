//! Resolves references of images.

use super::ImagesError;
use super::fetch::blocking;
use crate::catalog::Catalog;
use crate::snapshots;
use executor_host::home::Home;
use executor_image::{Blobs, ImageConfig, OciImage};
use executor_registry::{Registry, Settings};
use rules::reference::Reference;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use schemas::name::{SandboxName, VolumeName};
use schemas::snapshot::{MountObstacle, ObservedImage, SecretProblem};
pub use schemas::spec::Pull;
use schemas::spec::{ImageReference, Port, ValueName};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The images and ports to observe, the settings of the lookup, and what is known of the host.
#[derive(Clone, Debug, Default)]
pub struct ImageQuery {
    /// The references of the images.
    pub references: BTreeSet<ImageReference>,
    /// The pinned digests. They only apply to references of registries.
    pub pins: BTreeMap<ImageReference, Digest>,
    /// The policy of asking registries.
    pub pull: Pull,
    /// The policy for references that have one of their own.
    pub pull_of: BTreeMap<ImageReference, Pull>,
    /// The settings of registries.
    pub registries: Arc<Settings>,
    /// The ports of the host whose users are observed.
    pub ports: BTreeSet<Port>,
    /// The full names of the volumes that are declared as external.
    pub external: BTreeSet<VolumeName>,
    /// Why the driver cannot serve mounts on this host; `None` if it can, or need not.
    pub mount_obstacle: Option<MountObstacle>,
    /// The values of the model that cannot be read, by sandbox.
    pub secret_problems: BTreeMap<SandboxName, BTreeMap<ValueName, SecretProblem>>,
    /// Whether the values of running sandboxes are compared with those of the host.
    pub compare_values: bool,
}

impl ImageQuery {
    /// Returns the query for a second lookup in the same command, which reuses the results of the first one.
    pub fn again(&self) -> Self {
        let once = |pull: Pull| if pull == Pull::Always { Pull::Missing } else { pull };
        let pull_of = self.pull_of.iter().map(|(reference, pull)| (reference.clone(), once(*pull)));
        Self { pull: once(self.pull), pull_of: pull_of.collect(), ..self.clone() }
    }

    /// Returns the policy for a reference.
    fn pull_for(&self, reference: &ImageReference) -> Pull {
        self.pull_of.get(reference).copied().unwrap_or(self.pull)
    }

    /// Resolves a registry's reference to a digest, which may not be on this machine.
    fn digest(
        &self,
        catalog: &Catalog,
        reference: &ImageReference,
        name: &Reference,
        platform: Platform,
    ) -> Result<Option<Digest>, ImagesError> {
        if let Some(pin) = self.pins.get(reference) {
            return Ok(Some(pin.clone()));
        }
        // A digest always names the same contents.
        if self.pull_for(reference) == Pull::Always && name.digest().is_none() {
            return Ok(None);
        }
        Ok(catalog.image(name.as_str(), platform)?.map(|row| row.digest))
    }
}

/// Observes one image. A registry is asked only if neither a pin nor the catalog resolves it.
///
/// # Errors
///
/// If the image is unavailable or invalid, or the store or the catalog fails.
pub fn observe_image(
    home: &Home,
    catalog: &Catalog,
    reference: &ImageReference,
    query: &ImageQuery,
) -> Result<ObservedImage, ImagesError> {
    match reference {
        ImageReference::Local { path } => observe_local(home, catalog, reference, path),
        ImageReference::Registry { name } => observe_registry(home, catalog, reference, name, query),
        ImageReference::Snapshot { name } => {
            let digest = snapshots::find(home, name)?.digest;
            let config = executor_image::image_config(&home.images(), &digest)?;
            let built = executor_image::is_built(&home.images(), &digest);
            Ok(observed(reference, digest, built, &config))
        }
    }
}

fn observe_local(
    home: &Home,
    catalog: &Catalog,
    reference: &ImageReference,
    path: &str,
) -> Result<ObservedImage, ImagesError> {
    let store = home.images();
    let known = catalog.image_source(path)?;
    let resolved = executor_image::resolve(Path::new(path), known.as_ref(), &store)?;
    if known.as_ref() != Some(&resolved) {
        catalog.remember_image_source(path, &resolved)?;
    }
    let digest = resolved.digest;
    let built = executor_image::is_built(&store, &digest);
    let config = if built {
        executor_image::image_config(&store, &digest)?
    } else {
        executor_image::source_config(Path::new(path), &store)?
    };
    Ok(observed(reference, digest, built, &config))
}

fn observe_registry(
    home: &Home,
    catalog: &Catalog,
    reference: &ImageReference,
    name: &Reference,
    query: &ImageQuery,
) -> Result<ObservedImage, ImagesError> {
    let platform = executor_image::platform()?;
    let store = home.images();
    let digest = query.digest(catalog, reference, name, platform)?;
    if let Some(digest) = &digest
        && executor_image::is_built(&store, digest)
    {
        let config = executor_image::image_config(&store, digest)?;
        return Ok(observed(reference, digest.clone(), true, &config));
    }
    let blobs = Blobs::open(&store)?;
    let _held = blobs.lock_shared()?;
    let stored = digest.as_ref().and_then(|digest| OciImage::load(&blobs, digest, platform).ok());
    let pull = query.pull_for(reference);
    let image = match stored {
        Some(image) if pull != Pull::Never || image.is_whole(&blobs) => image,
        _ if pull == Pull::Never => {
            return Err(ImagesError::NotHere { reference: name.clone() });
        }
        _ => {
            let registry = Registry::new(Settings::clone(&query.registries), blobs.clone())?;
            let found = blocking(|| async {
                match &digest {
                    Some(digest) => registry.fetch(name, digest, platform).await,
                    None => registry.resolve(name, platform).await,
                }
            })??;
            found.image
        }
    };
    let is_pinned = query.pins.contains_key(reference);
    if !is_pinned && (pull == Pull::Always || digest.as_ref() != Some(&image.manifest)) {
        catalog.remember_image(name.as_str(), platform, &image.manifest)?;
    }
    let config = image.run_config(&blobs)?;
    let built = executor_image::is_built(&store, &image.manifest);
    Ok(observed(reference, image.manifest, built, &config))
}

fn observed(reference: &ImageReference, digest: Digest, built: bool, config: &ImageConfig) -> ObservedImage {
    ObservedImage { reference: reference.clone(), digest, built, healthcheck: config.healthcheck.is_some() }
}
