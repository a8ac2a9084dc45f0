//! Brings an image here and makes its root file system.

use super::ImagesError;
use executor_host::home::Home;
use executor_image::{Blobs, OciImage, Progress, build, build_oci, is_built};
use executor_registry::{LayerProgress, Registry, Settings};
use rules::reference::Reference;
use schemas::spec::{ImageReference, PinnedImage};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

/// How far an image is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Layers come from a registry.
    Pulling {
        /// How many of them are here.
        layers: usize,
        /// Of how many.
        of: usize,
        /// How many bytes are here.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// Its root file system is made.
    Unpacking {
        /// How many bytes are read.
        done: u64,
        /// Of how many, when that is known.
        total: Option<u64>,
    },
}

/// Makes sure that an image's root file system is built; says whether it had to be. Whoever calls this keeps the
/// store from being swept.
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
            let whole = pull(&blobs, name, image, registries, progress)?;
            build_oci(&blobs, &whole, &store, &mut unpacking)?
        }
    };
    Ok(true)
}

/// Brings all of an image into the content store.
fn pull(
    blobs: &Blobs,
    name: &str,
    PinnedImage { reference: _, digest }: &PinnedImage,
    registries: &Settings,
    progress: &(dyn Fn(Fetched) + Sync),
) -> Result<OciImage, ImagesError> {
    let reference: Reference =
        name.parse().map_err(|source| ImagesError::Reference { reference: name.to_owned(), source })?;
    let platform = executor_image::platform()?;
    let stored = OciImage::load(blobs, digest, platform).ok();
    if let Some(image) = stored.filter(|image| image.is_whole(blobs)) {
        return Ok(image);
    }
    let registry = Registry::new(Settings::clone(registries), blobs.clone())?;
    Ok(blocking(|| async {
        let image = registry.fetch(&reference, digest, platform).await?.image;
        let sums = Mutex::new(Sums::default());
        let total = image.bytes();
        let tell = |layer: LayerProgress<'_>| {
            let (layers, done) = sums.lock().unwrap_or_else(PoisonError::into_inner).add(&layer);
            progress(Fetched::Pulling { layers, of: layer.of, done: done.min(total), total });
        };
        registry.pull(&reference, &image, &tell).await?;
        Ok::<_, executor_registry::RegistryError>(image)
    })??)
}

/// What is here of all layers together.
#[derive(Default)]
struct Sums {
    /// By number: how many bytes, and whether that is all.
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

/// Runs what talks to registries to its end, wherever it is called: on a thread with an event loop of its own.
pub(super) fn blocking<T: Send, F: Future<Output = T>>(
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
