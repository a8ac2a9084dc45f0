//! Removes images from the store, except for those that are needed.
//!
//! An image is in use while a sandbox is recorded with it. It is also kept while the lock file of a known project pins it,
//! an existing local image has its contents, or a snapshot has its name. Applying a plan holds the store, so that no image is removed between the
//! plan and the record.

use super::ImagesError;
use super::known::KnownImage;
use crate::catalog::{Catalog, Recorded};
use crate::snapshots;
use executor_fs::file::read_start;
use executor_host::home::Home;
use executor_image::{Blobs, CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX, built_images, remove_built};
use schemas::digest::Digest;
use schemas::lockfile::{LOCK_FILE_BYTES_MAX, LOCK_FILE_NAME, LockFile};
use schemas::name::full_name;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The result of a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The forgotten references.
    pub references: Vec<String>,
    /// The number of removed root file systems.
    pub built: usize,
    /// The freed space in bytes.
    pub bytes: u64,
}

impl Removed {
    fn remove_built(&mut self, home: &Home, is_unused: impl Fn(&Digest) -> bool) -> Result<(), ImagesError> {
        for image in built_images(&home.images())?.iter().filter(|image| is_unused(&image.digest)) {
            self.bytes += remove_built(&home.images(), image)?;
            self.built += 1;
        }
        Ok(())
    }
}

/// The space that images take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of blobs, and their size in bytes.
    pub blobs: (usize, u64),
    /// The number of incomplete blobs, and their size in bytes.
    pub unfinished_bytes: u64,
    /// The number of root file systems, and their size in bytes.
    pub built: (usize, u64),
    /// The size that `prune` would free, in bytes.
    pub unused_bytes: u64,
}

/// Returns the full names of the sandboxes that use each image.
///
/// # Errors
///
/// If the catalog cannot be read.
pub fn users(catalog: &Catalog) -> Result<BTreeMap<Digest, Vec<String>>, ImagesError> {
    let Recorded { sandboxes, unreadable: _ } = catalog.sandboxes(None)?;
    let mut users: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for row in sandboxes {
        users.entry(row.spec.image.digest).or_default().push(full_name(&row.project, &row.name));
    }
    Ok(users)
}

/// The images to keep.
struct Kept {
    /// The references with their digests.
    references: BTreeSet<String>,
    digests: BTreeSet<Digest>,
    /// Whether the record of a sandbox is unreadable, and so its image unknown.
    is_unsure: bool,
}

impl Kept {
    /// Collects the images to keep. With `all`, a name alone does not keep an image, other than that of a snapshot.
    fn find(home: &Home, catalog: &Catalog, all: bool) -> Result<Self, ImagesError> {
        let is_unsure = !catalog.sandboxes(None)?.unreadable.is_empty();
        let mut digests: BTreeSet<Digest> = users(catalog)?.into_keys().collect();
        digests.extend(snapshots::list(home)?.into_values().map(|snapshot| snapshot.digest));
        for folder in catalog.project_folders()? {
            digests.extend(pinned(Path::new(&folder)));
        }
        let mut rows = catalog.images()?;
        if all {
            rows.retain(|row| digests.contains(&row.digest));
        } else {
            let local = catalog.image_sources()?.into_iter().filter(|(path, _)| Path::new(path).exists());
            digests.extend(local.map(|(_, digest)| digest));
        }
        let (references, named): (_, Vec<_>) =
            rows.into_iter().map(|row| (row.reference, row.digest)).unzip();
        digests.extend(named);
        Ok(Self { references, digests, is_unsure })
    }

    /// Returns the blobs of the images to keep.
    fn blobs(&self, blobs: &Blobs) -> BTreeSet<Digest> {
        let mut kept = BTreeSet::new();
        for digest in &self.digests {
            let Ok(manifest) = blobs.read_bounded(digest, MANIFEST_BYTES_MAX) else { continue };
            kept.insert(digest.clone());
            let Ok(manifest) = executor_image::parse_manifest(&manifest) else { continue };
            if blobs.read_bounded(&manifest.config.digest, CONFIG_BYTES_MAX).is_ok() {
                kept.insert(manifest.config.digest);
            }
            kept.extend(manifest.layers.into_iter().map(|(layer, _)| layer.digest));
        }
        kept
    }
}

/// Reads the pins of a project's lock file; an unreadable one has none.
fn pinned(folder: &Path) -> Vec<Digest> {
    let path = folder.join(LOCK_FILE_NAME);
    // A FIFO would block.
    let bytes =
        path.is_file().then(|| read_start(&path, LOCK_FILE_BYTES_MAX as u64).ok().flatten()).flatten();
    let lock_file = bytes.and_then(|bytes| LockFile::parse(&bytes).ok());
    lock_file.iter().flat_map(LockFile::digests).cloned().collect()
}

/// Removes images that are neither used nor named; with `all`, also those that are only named. Waits for running pulls and
/// applies.
///
/// # Errors
///
/// If the store or the catalog fails.
pub fn prune(home: &Home, catalog: &Catalog, all: bool) -> Result<Removed, ImagesError> {
    let blobs = Blobs::open(&home.images())?;
    let alone = blobs.lock_exclusive()?;
    let kept = Kept::find(home, catalog, all)?;
    let mut removed = Removed::default();
    if kept.is_unsure {
        return Ok(removed);
    }
    for row in catalog.images()? {
        if !kept.references.contains(&row.reference) {
            catalog.forget_image(&row.reference)?;
            removed.references.push(row.reference);
        }
    }
    removed.remove_built(home, |digest| !kept.digests.contains(digest))?;
    removed.bytes += blobs.sweep(&alone, &kept.blobs(&blobs))?;
    Ok(removed)
}

/// Forgets a reference and removes its image unless something else names or uses it.
///
/// # Errors
///
/// If a sandbox uses the image and no other reference names it, or the store or the catalog fails.
pub fn remove(home: &Home, catalog: &Catalog, image: &KnownImage) -> Result<Removed, ImagesError> {
    let blobs = Blobs::open(&home.images())?;
    let alone = blobs.lock_exclusive()?;
    let rows = catalog.images()?;
    let is_only = !rows.iter().any(|row| row.digest == image.digest && row.reference != image.reference);
    if let Some(by) = users(catalog)?.remove(&image.digest).filter(|_| is_only) {
        return Err(ImagesError::InUse { name: image.reference.clone(), by });
    }
    catalog.forget_image(&image.reference)?;
    let mut removed = Removed { references: vec![image.reference.clone()], ..Removed::default() };
    if is_only {
        let mut kept = Kept::find(home, catalog, false)?;
        if kept.is_unsure {
            return Ok(removed);
        }
        kept.digests.remove(&image.digest);
        removed.remove_built(home, |digest| *digest == image.digest)?;
        removed.bytes += blobs.sweep(&alone, &kept.blobs(&blobs))?;
    }
    Ok(removed)
}

/// Removes the root file system with this digest unless something uses or names it; returns the freed bytes. The caller
/// must hold the store alone.
pub(crate) fn remove_unused(home: &Home, catalog: &Catalog, digest: &Digest) -> Result<u64, ImagesError> {
    let kept = Kept::find(home, catalog, false)?;
    let mut removed = Removed::default();
    if !kept.is_unsure && !kept.digests.contains(digest) {
        removed.remove_built(home, |built| built == digest)?;
    }
    Ok(removed.bytes)
}

/// Measures the space that images take.
///
/// # Errors
///
/// If the store or the catalog cannot be read.
pub fn usage(home: &Home, catalog: &Catalog) -> Result<Usage, ImagesError> {
    let blobs = Blobs::open(&home.images())?;
    let _held = blobs.lock_shared()?;
    let kept = Kept::find(home, catalog, false)?;
    let whole = blobs.list()?;
    let built = built_images(&home.images())?;
    let wanted = kept.blobs(&blobs);
    let unused_blobs = whole.iter().filter(|blob| !wanted.contains(&blob.digest)).map(|blob| blob.size);
    let unused_built = built.iter().filter(|image| !kept.digests.contains(&image.digest));
    let unused: u64 = unused_blobs.chain(unused_built.map(|image| image.bytes)).sum();
    let unfinished_bytes = blobs.unfinished_bytes()?;
    Ok(Usage {
        blobs: (whole.len(), whole.iter().map(|blob| blob.size).sum()),
        unfinished_bytes,
        built: (built.len(), built.iter().map(|image| image.bytes).sum()),
        unused_bytes: if kept.is_unsure { 0 } else { unused + unfinished_bytes },
    })
}
