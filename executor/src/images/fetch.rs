//! Pulls an image and builds its root file system.

use super::ImagesError;
use crate::snapshots::SnapshotError;
use executor_host::home::Home;
use executor_image::{Blobs, OciImage, Progress, build, build_oci, is_built};
use executor_registry::{LayerProgress, Registry, Settings};
use rules::reference::Reference;
use schemas::digest::Digest;
use schemas::spec::{ImageReference, PinnedImage};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The progress of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Its layers are pulled from a registry.
    Pulling {
        /// The complete layers.
        layers: usize,
        /// All layers.
        of: usize,
        /// The pulled bytes.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// Its root file system is built.
    Unpacking {
        /// The read bytes.
        done: u64,
        /// All bytes, if they are known.
        total: Option<u64>,
    },
}

/// Ensures that an image's root file system is built; returns whether that was needed. The caller must hold the store.
///
/// # Errors
///
/// If the image is unavailable or invalid, or there is too little space.
pub fn ensure_built(
    home: &Home,
    image: &PinnedImage,
    registries: &Settings,
    progress: &(dyn Fn(Fetched) + Sync),
) -> Result<bool, ImagesError> {
    let store = home.images();
    if is_built(&store, &image.digest) {
        return Ok(false);
    }
    let mut unpacking = |step: Progress| {
        let (done, total) = match step {
            Progress::Copying { done_bytes, total_bytes } => (done_bytes, Some(total_bytes)),
            Progress::Waiting | Progress::Scanning => (0, None),
        };
        progress(Fetched::Unpacking { done, total });
    };
    match &image.reference {
        ImageReference::Local { path } => build(Path::new(path), &image.digest, &store, &mut unpacking)?,
        ImageReference::Registry { name } => {
            let blobs = Blobs::open(&store)?;
            let _held = blobs.lock_shared()?;
            let whole = pull(&blobs, name, &image.digest, registries, progress)?;
            build_oci(&blobs, &whole, &store, &mut unpacking)?
        }
        ImageReference::Snapshot { name } => return Err(SnapshotError::Damaged { name: name.clone() }.into()),
    };
    Ok(true)
}

/// Pulls a whole image into the content store.
fn pull(
    blobs: &Blobs,
    reference: &Reference,
    digest: &Digest,
    registries: &Settings,
    progress: &(dyn Fn(Fetched) + Sync),
) -> Result<OciImage, ImagesError> {
    let platform = executor_image::platform()?;
    let stored = OciImage::load(blobs, digest, platform).ok();
    if let Some(image) = stored.filter(|image| image.is_whole(blobs)) {
        return Ok(image);
    }
    let registry = Registry::new(Settings::clone(registries), blobs.clone())?;
    Ok(blocking(|| async {
        let image = registry.fetch(reference, digest, platform).await?.image;
        let sums = Mutex::new(Sums::default());
        let total = image.bytes();
        let report = |layer: LayerProgress<'_>| {
            let (layers, done) = sums.lock().unwrap_or_else(PoisonError::into_inner).add(&layer);
            progress(Fetched::Pulling { layers, of: layer.of, done: done.min(total), total });
        };
        registry.pull(reference, &image, &report).await?;
        Ok::<_, executor_registry::RegistryError>(image)
    })??)
}

/// The progress of all layers.
#[derive(Default)]
struct Sums {
    /// By the layer's index: its pulled bytes, and whether it is complete.
    layers: BTreeMap<usize, (u64, bool)>,
}

impl Sums {
    fn add(&mut self, progress: &LayerProgress<'_>) -> (usize, u64) {
        let is_here = progress.bytes >= progress.layer.size;
        self.layers.insert(progress.number, (progress.bytes, is_here));
        let here = self.layers.values().filter(|(_, is_here)| *is_here).count();
        (here, self.layers.values().map(|(bytes, _)| bytes).sum())
    }
}

/// Runs a future of a registry client to its end, on a thread with an event loop of its own.
pub(crate) fn blocking<T: Send, F: Future<Output = T>>(
    work: impl FnOnce() -> F + Send,
) -> Result<T, ImagesError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(ImagesError::EventLoop)?;
            Ok(runtime.block_on(work()))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
