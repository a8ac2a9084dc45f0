//! Images in files: OCI image layouts (OCI image specification, "Image Layout"), and archives of `docker save`.
//!
//! ```text
//! oci-layout, index.json ─► manifest ─► config, layers      at blobs/sha256/<hex>
//! manifest.json ──────────────────────► config, layers      at any path; the manifest is synthesized
//! ```

mod docker;
mod root;

pub use root::LayoutRoot;

use crate::blobs::BlobError;
use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::layer::{FileRange, LayerSource};
use crate::oci::{
    CONFIG_BYTES_MAX, Descriptor, Document, Layer, MANIFEST_BYTES_MAX, OciError, OciImage, parse_document,
    parse_index,
};
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use std::path::Path;

/// The file that marks an OCI layout.
const LAYOUT: &str = "oci-layout";
/// The index of an OCI layout.
const INDEX: &str = "index.json";
/// The index of `docker save`.
const MANIFEST: &str = "manifest.json";
/// The limit of nested indexes.
const INDEX_DEPTH_MAX: u32 = 3;
/// The limit of images per layout.
const IMAGES_MAX: usize = 256;

/// A layout: several images in files.
#[derive(Debug)]
pub struct Layout {
    root: LayoutRoot,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Oci,
    Docker,
}

/// An image of a layout for one platform.
#[derive(Debug)]
pub struct Contained {
    /// Its names there: tags, or whole references.
    pub names: Vec<String>,
    /// Its documents and layers.
    pub image: OciImage,
    /// Its execution parameters.
    pub config: ImageConfig,
    /// The bytes of its manifest and config.
    pub documents: [Vec<u8>; 2],
    /// The location of each layer.
    pub layers: Vec<FileRange>,
}

impl Layout {
    /// Opens a folder as a layout; `None` if it is not one. A folder with a root file system is none, whatever else it
    /// contains.
    pub fn in_folder(path: &Path) -> Result<Option<Self>, ImageError> {
        if ["bin", "usr", "etc"].iter().any(|name| path.join(name).exists()) {
            return Ok(None);
        }
        Self::at(LayoutRoot::folder(path)?)
    }

    /// Opens a folder or archive as a layout; `None` if it is not one.
    pub fn at(root: LayoutRoot) -> Result<Option<Self>, ImageError> {
        let is_there = |name: &str| Ok::<_, ImageError>(root.find(name)?.is_some());
        let form = if is_there(LAYOUT)? && is_there(INDEX)? {
            Form::Oci
        } else if is_there(MANIFEST)? {
            Form::Docker
        } else {
            return Ok(None);
        };
        Ok(Some(Self { root, form }))
    }

    /// The files that change whenever an image does.
    pub fn marker_files() -> [&'static str; 3] {
        [LAYOUT, INDEX, MANIFEST]
    }

    /// All images for a platform, without duplicates.
    pub fn images(&self, platform: Platform) -> Result<Vec<Contained>, ImageError> {
        let found = match self.form {
            Form::Oci => self.oci(platform)?,
            Form::Docker => docker::images(&self.root, platform)?,
        };
        let mut images: Vec<Contained> = Vec::new();
        for contained in found {
            match images.iter_mut().find(|image| image.image.manifest == contained.image.manifest) {
                Some(known) => known.names.extend(contained.names),
                None => images.push(contained),
            }
        }
        Ok(images)
    }

    /// The only image for a platform.
    pub fn only(&self, platform: Platform) -> Result<Contained, ImageError> {
        let mut images = self.images(platform)?;
        match (images.pop(), images.is_empty()) {
            (Some(image), true) => Ok(image),
            (Some(last), false) => {
                let names = images.into_iter().chain([last]).map(|image| match image.names.first() {
                    Some(name) => name.clone(),
                    None => image.image.manifest.short().to_owned(),
                });
                Err(ImageError::SeveralImages { path: self.root.path().to_owned(), names: names.collect() })
            }
            (None, _) => Err(ImageError::EmptyLayout { path: self.root.path().to_owned() }),
        }
    }

    fn oci(&self, platform: Platform) -> Result<Vec<Contained>, ImageError> {
        let index = parse_index(&self.root.read(INDEX, MANIFEST_BYTES_MAX)?)?;
        let images = index.entries().take(IMAGES_MAX).map(|(descriptor, name)| {
            let image = self.image(descriptor, platform, INDEX_DEPTH_MAX)?;
            Ok(Contained { names: name.into_iter().map(str::to_owned).collect(), ..image })
        });
        usable(images)
    }

    fn image(
        &self,
        descriptor: &Descriptor,
        platform: Platform,
        depth: u32,
    ) -> Result<Contained, ImageError> {
        let manifest = self.blob(&descriptor.digest, MANIFEST_BYTES_MAX)?;
        match parse_document(&manifest)? {
            Document::Index(index) if depth > 0 => self.image(index.choose(platform)?, platform, depth - 1),
            Document::Index(_) => Err(OciError::Ambiguous("its indexes name indexes").into()),
            Document::Manifest(parsed) => {
                let config = self.blob(&parsed.config.digest, CONFIG_BYTES_MAX)?;
                let image = OciImage::new(descriptor.digest.clone(), &parsed, &config, platform)?;
                let layer = |layer: &Layer| self.root.require(&blob_name(&layer.digest));
                let layers = image.layers.iter().map(layer).collect::<Result<_, _>>()?;
                let run = ImageConfig::parse(&config)?;
                Ok(Contained { names: Vec::new(), image, config: run, documents: [manifest, config], layers })
            }
        }
    }

    /// Reads a document and verifies its digest.
    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let bytes = self.root.read(&blob_name(digest), limit)?;
        let found = Digest::of_bytes(&bytes);
        if found != *digest {
            return Err(BlobError::WrongDigest { digest: digest.clone(), found }.into());
        }
        Ok(bytes)
    }
}

/// The images without those for another platform and what is no image, a signature for example. If nothing else is
/// there, it is an error.
fn usable(found: impl Iterator<Item = Result<Contained, ImageError>>) -> Result<Vec<Contained>, ImageError> {
    let (mut images, mut other) = (Vec::new(), None);
    for image in found {
        match image {
            Ok(image) => images.push(image),
            Err(ImageError::Oci(
                error @ (OciError::NoPlatform { .. }
                | OciError::OtherPlatform { .. }
                | OciError::NotAnImage { .. }),
            )) => other = Some(error),
            Err(error) => return Err(error),
        }
    }
    match other {
        Some(error) if images.is_empty() => Err(error.into()),
        _ => Ok(images),
    }
}

/// The path of a blob in an OCI layout.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Contained {
    /// The layers as sources for unpacking.
    pub fn sources(&self) -> Vec<LayerSource> {
        let layers = self.image.layers.iter().zip(&self.layers);
        layers.map(|(layer, range)| LayerSource::new(layer, range.file.clone(), range.offset)).collect()
    }
}
