//! Manifests, indexes and configs of OCI and docker images (OCI image specification; docker's image manifest version 2,
//! schema 2), for hostile input.

mod error;
#[cfg(test)]
mod tests;

pub use error::OciError;

use crate::blobs::Blobs;
use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::layer::Compression;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The largest manifest or index, in bytes: the limit of registries.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The largest config, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The largest layer as transferred, in bytes.
pub const LAYER_BYTES_MAX: u64 = 64 << 30;
/// The limit of all layers of an image as transferred, in bytes.
pub const LAYERS_BYTES_MAX: u64 = LAYER_BYTES_MAX;
/// The limit of layers per image. Docker's own is 127.
pub const LAYERS_MAX: usize = 512;
/// The limit of entries per index.
const INDEX_ENTRIES_MAX: usize = 1024;

/// The media types that are accepted from a registry.
pub const MANIFEST_MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of a config.
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The name of a config in errors.
pub(crate) const IMAGE_CONFIG: &str = "config of the image";

/// The prefixes of media types of root file system layers, including unsupported ones.
const LAYER_FAMILIES: [&str; 2] =
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
/// The annotation of index entries that describe another entry: attestations, SBOMs.
const REFERENCE_ANNOTATION: &str = "vnd.docker.reference.type";

/// A content descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The digest.
    pub digest: Digest,
    /// The size, in bytes.
    pub size: u64,
    /// The media type.
    #[serde(default)]
    pub media_type: String,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The config.
    pub config: Descriptor,
    /// The layers, the lowest one first.
    pub layers: Vec<(Descriptor, Compression)>,
}

/// An index: the images of several platforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    entries: Vec<IndexEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct IndexEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    platform: Option<NamedPlatform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct NamedPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

/// A document that a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// An image.
    Manifest(Manifest),
    /// Images by platform.
    Index(Index),
}

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciImage {
    /// The digest of its manifest, which names the image.
    pub manifest: Digest,
    /// The digest of its config.
    pub config: Digest,
    /// Its layers, the lowest one first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its bytes as transferred and stored.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Their compression.
    pub compression: Compression,
    /// The digest of the unpacked archive.
    pub diff_id: Digest,
}

/// The fields of a manifest or an index that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<IndexEntry>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Parses a manifest or an index.
///
/// # Errors
///
/// If it is neither, or exceeds a limit.
pub fn parse_document(bytes: &[u8]) -> Result<Document, OciError> {
    let Raw { schema_version, media_type, config, layers, manifests, fs_layers } =
        parse_json("manifest", bytes)?;
    if schema_version == 1 || fs_layers.is_some() {
        return Err(OciError::Outdated);
    }
    let says_index = match media_type.as_str() {
        OCI_INDEX | DOCKER_LIST => true,
        OCI_MANIFEST | DOCKER_MANIFEST => false,
        "" => manifests.is_some(),
        _ => return Err(OciError::NotAnImage { media_type }),
    };
    match (says_index, config, layers, manifests) {
        (true, None, None, Some(entries)) => {
            check_count("index", entries.len(), "images", INDEX_ENTRIES_MAX)?;
            Ok(Document::Index(Index { entries }))
        }
        (false, Some(config), Some(layers), None) => manifest(config, layers).map(Document::Manifest),
        (_, _, Some(_), Some(_)) | (_, Some(_), _, Some(_)) => {
            Err(OciError::Ambiguous("it names layers as well as images"))
        }
        (true, ..) => Err(OciError::Ambiguous("it claims to be an index, and names no images")),
        (false, ..) => Err(OciError::Ambiguous("it claims to be a manifest, and names no config or layers")),
    }
}

/// Parses a manifest.
///
/// # Errors
///
/// If it is not one, or exceeds a limit.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, OciError> {
    match parse_document(bytes)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(OciError::Ambiguous("it is an index instead of a manifest")),
    }
}

/// Parses an index.
///
/// # Errors
///
/// If it is not one, or exceeds a limit.
pub fn parse_index(bytes: &[u8]) -> Result<Index, OciError> {
    match parse_document(bytes)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(OciError::Ambiguous("it is a manifest instead of an index")),
    }
}

/// Parses a document that `what` names in an error.
pub(crate) fn parse_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|source| OciError::Malformed { what, source })
}

pub(crate) fn check_count(
    what: &'static str,
    count: usize,
    of: &'static str,
    max: usize,
) -> Result<(), OciError> {
    if count > max { Err(OciError::TooMany { what, count, of, max }) } else { Ok(()) }
}

fn check_size(what: impl FnOnce() -> String, size: u64, max: u64) -> Result<(), OciError> {
    if size > max { Err(OciError::Size { what: what(), size, max }) } else { Ok(()) }
}

fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, OciError> {
    if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
        return Err(OciError::NotAnImage { media_type: config.media_type });
    }
    check_size(|| "the config".to_owned(), config.size, CONFIG_BYTES_MAX)?;
    check_count("manifest", layers.len(), "layers", LAYERS_MAX)?;
    let layer = |(index, layer): (usize, Descriptor)| {
        let number = index + 1;
        // Attestations and other artifacts have the config of an image.
        if !LAYER_FAMILIES.iter().any(|family| layer.media_type.starts_with(family)) {
            return Err(OciError::NotAnImage { media_type: layer.media_type });
        }
        check_size(|| format!("layer {number}"), layer.size, LAYER_BYTES_MAX)?;
        let packed = Compression::of_media_type(&layer.media_type)
            .ok_or_else(|| OciError::UnsupportedLayer { number, media_type: layer.media_type.clone() })?;
        Ok((layer, packed))
    };
    let layers: Vec<_> = layers.into_iter().enumerate().map(layer).collect::<Result<_, OciError>>()?;
    let bytes = layers.iter().fold(0_u64, |sum, (layer, _)| sum.saturating_add(layer.size));
    check_size(|| "the sum of all layers".to_owned(), bytes, LAYERS_BYTES_MAX)?;
    Ok(Manifest { config, layers })
}

impl NamedPlatform {
    fn is(&self, platform: Platform) -> bool {
        let Self { architecture, os, variant } = self;
        let (wanted, variants): (_, &[&str]) = match platform {
            // Levels above the first run only on some machines.
            Platform::LinuxAmd64 => ("amd64", &["", "v1"]),
            Platform::LinuxArm64 => ("arm64", &["", "v8"]),
        };
        os == "linux" && architecture == wanted && variants.contains(&variant.as_deref().unwrap_or_default())
    }

    fn text(&self) -> String {
        let Self { architecture, os, variant } = self;
        let variant = variant.iter().map(|variant| format!("/{variant}"));
        std::iter::once(format!("{os}/{architecture}")).chain(variant).collect()
    }
}

/// The annotations with an image's name in a layout: its tag, or the whole reference.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

impl IndexEntry {
    /// Whether the entry describes an image instead of being one.
    fn is_attestation(&self) -> bool {
        let is_unknown =
            |platform: &NamedPlatform| platform.os == "unknown" && platform.architecture == "unknown";
        self.annotations.contains_key(REFERENCE_ANNOTATION) || self.platform.as_ref().is_some_and(is_unknown)
    }
}

impl Index {
    /// All images of the index, with their names.
    pub fn entries(&self) -> impl Iterator<Item = (&Descriptor, Option<&str>)> {
        self.images().map(move |entry| {
            let name = NAME_ANNOTATIONS.iter().find_map(|key| entry.annotations.get(*key));
            (&entry.descriptor, name.map(String::as_str))
        })
    }

    fn images(&self) -> impl Iterator<Item = &IndexEntry> {
        self.entries.iter().filter(|entry| !entry.is_attestation())
    }

    /// The only image without a platform; its config has it.
    fn unlabelled(&self) -> Option<&IndexEntry> {
        let mut unlabelled = self.images().filter(|entry| entry.platform.is_none());
        let only = unlabelled.next()?;
        unlabelled.next().is_none().then_some(only)
    }

    /// The first image for a platform, else the only one without a platform.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn choose(&self, platform: Platform) -> Result<&Descriptor, OciError> {
        let is_for = |entry: &&IndexEntry| entry.platform.as_ref().is_some_and(|named| named.is(platform));
        if let Some(entry) = self.images().find(is_for).or_else(|| self.unlabelled()) {
            check_size(|| "the manifest".to_owned(), entry.descriptor.size, MANIFEST_BYTES_MAX)?;
            return Ok(&entry.descriptor);
        }
        /// The limit of platforms in a message.
        const LISTED_MAX: usize = 20;
        let named = self.images().filter_map(|entry| entry.platform.as_ref());
        let offered: Vec<_> = named.map(NamedPlatform::text).take(LISTED_MAX).collect();
        let offered = if offered.is_empty() { vec!["none that is named".to_owned()] } else { offered };
        Err(OciError::NoPlatform { platform, offered })
    }
}

/// The fields of a config about layers.
#[derive(Deserialize)]
struct ConfigOfLayers {
    #[serde(flatten)]
    platform: NamedPlatform,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// The digests of the unpacked layers in a config, the lowest one first.
pub(crate) fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, OciError> {
    Ok(parse_json::<ConfigOfLayers>(IMAGE_CONFIG, config)?.rootfs.diff_ids)
}

impl OciImage {
    /// Combines a manifest and its config.
    ///
    /// # Errors
    ///
    /// If they disagree, or are for another platform.
    pub fn new(
        digest: Digest,
        manifest: &Manifest,
        config: &[u8],
        platform: Platform,
    ) -> Result<Self, OciError> {
        let ConfigOfLayers { platform: named, rootfs: RootFs { diff_ids } } =
            parse_json(IMAGE_CONFIG, config)?;
        if !named.is(platform) {
            return Err(OciError::OtherPlatform { platform, offered: named.text() });
        }
        if diff_ids.len() != manifest.layers.len() {
            return Err(OciError::LayerCount { layers: manifest.layers.len(), diff_ids: diff_ids.len() });
        }
        let layer = |((layer, compression), diff_id): (&(Descriptor, Compression), Digest)| Layer {
            digest: layer.digest.clone(),
            size: layer.size,
            compression: *compression,
            diff_id,
        };
        let layers = manifest.layers.iter().zip(diff_ids).map(layer).collect();
        Ok(Self { manifest: digest, config: manifest.config.digest.clone(), layers })
    }

    /// Loads an image whose manifest and config are in the store; its layers need not be.
    ///
    /// # Errors
    ///
    /// If a document is missing or invalid.
    pub fn load(blobs: &Blobs, digest: &Digest, platform: Platform) -> Result<Self, ImageError> {
        let manifest = parse_manifest(&blobs.read_bounded(digest, MANIFEST_BYTES_MAX)?)?;
        let config = blobs.read_bounded(&manifest.config.digest, CONFIG_BYTES_MAX)?;
        Ok(Self::new(digest.clone(), &manifest, &config, platform)?)
    }

    /// The execution parameters in its config in the store.
    ///
    /// # Errors
    ///
    /// If the config is missing or invalid.
    pub fn run_config(&self, blobs: &Blobs) -> Result<ImageConfig, ImageError> {
        Ok(ImageConfig::parse(&blobs.read_bounded(&self.config, CONFIG_BYTES_MAX)?)?)
    }

    /// Whether all its layers are in the store.
    pub fn is_whole(&self, blobs: &Blobs) -> bool {
        self.layers.iter().all(|layer| blobs.path(&layer.digest).is_some())
    }

    /// Its size as transferred, in bytes.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}
