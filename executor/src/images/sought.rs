//! What a reference stands for here and now.

use super::ImagesError;
use super::fetch::blocking;
use crate::catalog::Catalog;
use executor_host::home::Home;
use executor_image::{Blobs, ImageConfig, OciImage};
use executor_registry::{Registry, Settings};
use rules::reference::Reference;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use schemas::snapshot::ObservedImage;
use schemas::spec::{ImageReference, Port};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// When registries are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// For every reference that is not pinned, whatever is known of it.
    Always,
    /// For what is not known here.
    #[default]
    Missing,
    /// Never.
    Never,
}

/// Images and ports that somebody wants to know about, and how that is found out.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// Which.
    pub references: BTreeSet<ImageReference>,
    /// What references are pinned to. Only those of registries are looked up here: local ones are what they are.
    pub pins: BTreeMap<ImageReference, Digest>,
    /// When registries are asked.
    pub pull: Pull,
    /// How they are reached.
    pub registries: Arc<Settings>,
    /// Ports of the host of which it is asked who has them.
    pub ports: BTreeSet<Port>,
}

impl Sought {
    /// The same once more, in the course of the same command: what was found out a moment ago holds.
    pub fn again(&self) -> Self {
        let pull = if self.pull == Pull::Always { Pull::Missing } else { self.pull };
        Self { pull, ..self.clone() }
    }

    /// What a registry's reference stands for, without a look at what there is of it.
    fn digest(
        &self,
        catalog: &Catalog,
        reference: &ImageReference,
        (name, parsed, platform): (&str, &Reference, Platform),
    ) -> Result<Option<Digest>, ImagesError> {
        if let Some(pin) = self.pins.get(reference) {
            return Ok(Some(pin.clone()));
        }
        // What a digest names does not change.
        if self.pull == Pull::Always && parsed.digest().is_none() {
            return Ok(None);
        }
        Ok(catalog.image(name, platform)?.map(|row| row.digest))
    }
}

/// What an image is here and now. A registry is asked only where nothing else says so.
pub fn observe_image(
    home: &Home,
    catalog: &Catalog,
    reference: &ImageReference,
    sought: &Sought,
) -> Result<ObservedImage, ImagesError> {
    match reference {
        ImageReference::Local { path } => observe_local(home, catalog, reference, path),
        ImageReference::Registry { name } => observe_registry(home, catalog, (reference, name), sought),
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
    let config = match built {
        true => executor_image::image_config(&store, &digest)?,
        false => executor_image::source_config(Path::new(path), &store)?,
    };
    Ok(observed(reference, digest, built, &config))
}

fn observe_registry(
    home: &Home,
    catalog: &Catalog,
    (reference, name): (&ImageReference, &str),
    sought: &Sought,
) -> Result<ObservedImage, ImagesError> {
    let parsed: Reference =
        name.parse().map_err(|source| ImagesError::Reference { reference: name.to_owned(), source })?;
    let platform = executor_image::platform()?;
    let store = home.images();
    let digest = sought.digest(catalog, reference, (name, &parsed, platform))?;
    if let Some(digest) = &digest
        && executor_image::is_built(&store, digest)
    {
        let config = executor_image::image_config(&store, digest)?;
        return Ok(observed(reference, digest.clone(), true, &config));
    }
    let blobs = Blobs::open(&store)?;
    let _held = blobs.lock_shared()?;
    let stored = digest.as_ref().and_then(|digest| OciImage::load(&blobs, digest, platform).ok());
    let image = match stored {
        Some(image) if sought.pull != Pull::Never || image.is_whole(&blobs) => image,
        _ if sought.pull == Pull::Never => {
            return Err(ImagesError::NotHere { reference: name.to_owned() });
        }
        _ => {
            let registry = Registry::new(Settings::clone(&sought.registries), blobs.clone())?;
            let found = blocking(|| async {
                match &digest {
                    Some(digest) => registry.fetch(&parsed, digest, platform).await,
                    None => registry.resolve(&parsed, platform).await,
                }
            })??;
            found.image
        }
    };
    let is_pinned = sought.pins.contains_key(reference);
    if !is_pinned && (sought.pull == Pull::Always || digest.as_ref() != Some(&image.manifest)) {
        catalog.remember_image(name, platform, &image.manifest)?;
    }
    let config = image.run_config(&blobs)?;
    let built = executor_image::is_built(&store, &image.manifest);
    Ok(observed(reference, image.manifest, built, &config))
}

fn observed(reference: &ImageReference, digest: Digest, built: bool, config: &ImageConfig) -> ObservedImage {
    ObservedImage { reference: reference.clone(), digest, built, healthcheck: config.healthcheck.is_some() }
}
