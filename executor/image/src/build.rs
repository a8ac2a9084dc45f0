//! Builds the root file system of a source.

use crate::blobs::{BlobError, Blobs};
use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::ext4::FileSystem;
use crate::layer::{self, Compression, FileRange, Form, LayerFile, LayerSource, LayerUnpacker};
use crate::layout::Layout;
use crate::oci::{Layer, OciImage};
use crate::source::{Source, recognize};
use crate::store::{PartialImage, Progress, publish, uuid_from, write_sparse};
use crate::tree::Tree;
use crate::{archive, directory};
use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The chunk size for copying, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Builds the image of a source, unless it exists already. Returns its path.
///
/// # Errors
///
/// If the source cannot be read, has changed since `digest` was computed, or is not allowed in an image, or if the
/// store cannot be written.
pub fn build(
    source: &Path,
    digest: &Digest,
    store: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, ImageError> {
    publish(store, digest, progress, |image, progress| {
        let mut build = Build { source, digest, image, progress };
        match recognize(source, store)? {
            Source::Directory => build.copy_directory(),
            Source::Archive(file, compression) => build.unpack_archive(file, compression),
            Source::Disk(file) => build.copy_disk(&file),
            Source::Images(layout) => return build.unpack_layers(&layout),
        }?;
        Ok(ImageConfig::default())
    })
}

/// Builds the root file system of an OCI image whose layers are all in the store, unless it exists already. Returns its
/// path, which is named by the manifest's digest.
///
/// # Errors
///
/// If a layer is missing or invalid, or the store cannot be written.
pub fn build_oci(
    blobs: &Blobs,
    image: &OciImage,
    store: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, ImageError> {
    publish(store, &image.manifest, progress, |unfinished, progress| {
        let config = image.run_config(blobs)?;
        let source = |layer: &Layer| {
            let digest = layer.digest.clone();
            let path = blobs.path(&digest).ok_or(BlobError::Missing { digest })?;
            Ok(LayerSource::new(layer, LayerFile::Path(path), 0))
        };
        let sources = image.layers.iter().map(source).collect::<Result<Vec<_>, ImageError>>()?;
        let uuid = uuid_from(&image.manifest);
        let layers = LayerUnpacker { sources: &sources, form: Form::Layer, limits: layer::LIMITS, uuid };
        layers.run(unfinished, progress, &|_| Ok(()))?;
        Ok(config)
    })
}

struct Build<'a> {
    source: &'a Path,
    digest: &'a Digest,
    image: &'a PartialImage<'a>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Build<'_> {
    fn copy_directory(&mut self) -> Result<(), ImageError> {
        (self.progress)(Progress::Scanning);
        let scanned = directory::scan(self.source)?;
        crate::check_is_root_file_system(self.source, &scanned.tree)?;
        let system = FileSystem::read_only(&scanned.tree, uuid_from(self.digest), None);
        system.write(self.image.file).map_err(|source| self.image.failed(source))?;
        let mut copier = Copier::new(self.image, scanned.tree.bytes(), &mut *self.progress);
        let digest = scanned.digest(|node, mut file, size, hasher| {
            let start = system.content_offset(node);
            copier.copy(&mut file, start..start + size, hasher, &|source| scanned.failed(node, source))
        })?;
        self.check_digest(&digest)
    }

    /// A single layer that is the whole root file system.
    fn unpack_archive(&mut self, file: Arc<File>, compression: Compression) -> Result<(), ImageError> {
        let range = FileRange::whole(file).map_err(|source| unreadable(self.source, source))?;
        let source = LayerSource { range, compression, digest: Some(self.digest.clone()), diff_id: None };
        let check = |tree: &Tree| crate::check_is_root_file_system(self.source, tree);
        let uuid = uuid_from(self.digest);
        let layer = LayerUnpacker { sources: &[source], form: Form::WholeTree, limits: layer::LIMITS, uuid };
        let unpacked = layer.run(self.image, &mut *self.progress, &check);
        unpacked.map_err(|error| archive::named(error, self.source))
    }

    /// The layers of an image in a layout.
    fn unpack_layers(&mut self, layout: &Layout) -> Result<ImageConfig, ImageError> {
        let contained = layout.only(crate::platform()?)?;
        self.check_digest(&contained.image.manifest)?;
        let sources = contained.sources();
        let uuid = uuid_from(self.digest);
        let layers = LayerUnpacker { sources: &sources, form: Form::Layer, limits: layer::LIMITS, uuid };
        layers.run(self.image, &mut *self.progress, &|_| Ok(()))?;
        Ok(contained.config)
    }

    /// Copies a disk; blocks of zeros become holes.
    fn copy_disk(&mut self, mut file: &File) -> Result<(), ImageError> {
        let size = file.metadata().map_err(|source| unreadable(self.source, source))?.len();
        self.image.file.set_len(size).map_err(|source| self.image.failed(source))?;
        let mut hasher = Sha256::new();
        file.rewind().map_err(|source| unreadable(self.source, source))?;
        let mut copier = Copier::new(self.image, size, &mut *self.progress);
        copier.copy(&mut file, 0..size, &mut hasher, &|source| unreadable(self.source, source))?;
        self.check_digest(&Digest::from_sha256(hasher.finalize().into()))
    }

    fn check_digest(&self, found: &Digest) -> Result<(), ImageError> {
        if found == self.digest {
            return Ok(());
        }
        Err(ImageError::Changed { path: self.source.to_owned(), expected: self.digest.clone() })
    }
}

fn unreadable(path: &Path, source: io::Error) -> ImageError {
    ImageError::Read { path: path.to_owned(), source }
}

struct Copier<'a> {
    image: &'a PartialImage<'a>,
    progress: &'a mut dyn FnMut(Progress),
    chunk: Vec<u8>,
    done_bytes: u64,
    total_bytes: u64,
}

impl<'a> Copier<'a> {
    fn new(image: &'a PartialImage<'a>, total_bytes: u64, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { image, progress, chunk: vec![0; CHUNK_BYTES], done_bytes: 0, total_bytes }
    }

    /// Fills a range of the image. Blocks of zeros stay holes.
    fn copy(
        &mut self,
        from: &mut dyn Read,
        range: Range<u64>,
        hasher: &mut Sha256,
        unreadable: &dyn Fn(io::Error) -> ImageError,
    ) -> Result<(), ImageError> {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(CHUNK_BYTES as u64) as usize;
            let chunk = &mut self.chunk[..length];
            from.read_exact(chunk).map_err(unreadable)?;
            hasher.update(&*chunk);
            write_sparse(self.image.file, chunk, at).map_err(|source| self.image.failed(source))?;
            at += length as u64;
            self.done_bytes += length as u64;
            (self.progress)(Progress::Copying { done_bytes: self.done_bytes, total_bytes: self.total_bytes });
        }
        Ok(())
    }
}
