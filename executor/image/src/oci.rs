//! Manifests, indexes and configs of OCI and docker images, as far as msb needs them. Their bytes are hostile.

#[cfg(test)]
mod tests;

use crate::blobs::Blobs;
use crate::config::ImageConfig;
use crate::error::ImageError;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest manifest or index that is read, in bytes: what registries themselves accept.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The largest config that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The largest layer, in bytes as it is transferred.
pub const LAYER_BYTES_MAX: u64 = 64 << 30;
/// The most bytes of all layers of one image, as they are transferred: as many as one layer may have.
pub const LAYERS_BYTES_MAX: u64 = LAYER_BYTES_MAX;
/// The most layers an image has. Docker itself ends at 127.
pub const LAYERS_MAX: usize = 512;
/// The most images an index names.
const INDEX_ENTRIES_MAX: usize = 1024;

/// The types of documents that a registry is asked for.
pub const MANIFEST_MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The type of a manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The type of a config.
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// How the media types of layers of root file systems begin, those that cannot be read included.
const LAYER_FAMILIES: [&str; 2] =
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
/// Marks an entry of an index that describes another entry: an attestation, an SBOM.
const REFERENCE_ANNOTATION: &str = "vnd.docker.reference.type";

/// Why a document of an image is refused.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// Not JSON, or not of this form.
    #[error("the {what} is not one")]
    Malformed {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// More of something than any sound image has.
    #[error("the {what} names {count} {of}, and at most {max} are read")]
    TooMany {
        /// Which document.
        what: &'static str,
        /// How many.
        count: usize,
        /// Of what.
        of: &'static str,
        /// How many are read.
        max: usize,
    },
    /// Could be read as two things.
    #[error("the manifest is ambiguous: {0}")]
    Ambiguous(&'static str),
    /// The form of before 2016.
    #[error("the manifest has the old form of docker's version 1, which is not supported")]
    Outdated,
    /// Something else than an image: a chart, a signature.
    #[error("this is no image of a root file system, but {media_type:?}")]
    NotAnImage {
        /// What it says it is.
        media_type: String,
    },
    /// A layer that cannot be read.
    #[error("layer {number} has the type {media_type:?}, which is not supported")]
    UnsupportedLayer {
        /// Which, from 1.
        number: usize,
        /// What it is.
        media_type: String,
    },
    /// A size that cannot be.
    #[error("{what} is declared with {size} bytes, and at most {max} are read")]
    Size {
        /// Of what.
        what: String,
        /// As declared.
        size: u64,
        /// What is read.
        max: u64,
    },
    /// No image for this machine.
    #[error("there is no image for {platform}; there is one for {}", schemas::listing::names(offered))]
    NoPlatform {
        /// What was looked for.
        platform: Platform,
        /// What there is.
        offered: Vec<String>,
    },
    /// One image, for another machine.
    #[error("the image is for {offered}, and this machine is {platform}")]
    OtherPlatform {
        /// This machine.
        platform: Platform,
        /// What it is for.
        offered: String,
    },
    /// A text that no command can be given.
    #[error("the config of the image holds a NUL: {text:?}")]
    Nul {
        /// The text, its NULs made visible.
        text: String,
    },
    /// Manifest and config disagree.
    #[error("the manifest has {layers} layers, but the config lists {diff_ids}")]
    LayerCount {
        /// Of the manifest.
        layers: usize,
        /// Of the config.
        diff_ids: usize,
    },
}

/// A digest, a size and a type: how one document names another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What is named.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of thing it is.
    #[serde(default)]
    pub media_type: String,
}

/// What one image consists of, as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// How to run it.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<(Descriptor, LayerMediaType)>,
}

/// The images of several platforms.
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

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One a platform.
    Index(Index),
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerMediaType {
    /// Not at all.
    Tar,
    /// With gzip.
    TarGzip,
    /// With zstd.
    TarZstd,
}

/// An image that was chosen for one platform: its manifest, and what that names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciImage {
    /// The manifest, which stands for the image.
    pub manifest: Digest,
    /// How to run it.
    pub config: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its bytes as they are transferred and stored.
    pub digest: Digest,
    /// How many those are.
    pub size: u64,
    /// How they are packed.
    pub media_type: LayerMediaType,
    /// The digest of the unpacked archive.
    pub diff_id: Digest,
}

/// Everything that may stand in a manifest or an index; what else does is not looked at.
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

/// Reads a manifest or an index, whichever it is.
pub fn parse_document(bytes: &[u8]) -> Result<Document, OciError> {
    let raw: Raw =
        serde_json::from_slice(bytes).map_err(|source| OciError::Malformed { what: "manifest", source })?;
    let Raw { schema_version, media_type, config, layers, manifests, fs_layers } = raw;
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
        (true, ..) => Err(OciError::Ambiguous("it says that it is an index, and names no images")),
        (false, ..) => {
            Err(OciError::Ambiguous("it says that it is a manifest, and names no config or layers"))
        }
    }
}

/// Reads a manifest; an index is refused.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, OciError> {
    match parse_document(bytes)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(OciError::Ambiguous("an index stands where a manifest must be")),
    }
}

/// Reads an index; a manifest is refused.
pub fn parse_index(bytes: &[u8]) -> Result<Index, OciError> {
    match parse_document(bytes)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(OciError::Ambiguous("a manifest stands where an index must be")),
    }
}

fn check_count(what: &'static str, count: usize, of: &'static str, max: usize) -> Result<(), OciError> {
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
        // Attestations and other artifacts come with the config of an image.
        if !LAYER_FAMILIES.iter().any(|family| layer.media_type.starts_with(family)) {
            return Err(OciError::NotAnImage { media_type: layer.media_type });
        }
        check_size(|| format!("layer {number}"), layer.size, LAYER_BYTES_MAX)?;
        let packed = LayerMediaType::of(&layer.media_type)
            .ok_or_else(|| OciError::UnsupportedLayer { number, media_type: layer.media_type.clone() })?;
        Ok((layer, packed))
    };
    let layers: Vec<_> = layers.into_iter().enumerate().map(layer).collect::<Result<_, OciError>>()?;
    let bytes = layers.iter().fold(0_u64, |sum, (layer, _)| sum.saturating_add(layer.size));
    check_size(|| "the sum of all layers".to_owned(), bytes, LAYERS_BYTES_MAX)?;
    Ok(Manifest { config, layers })
}

impl LayerMediaType {
    /// How a layer of a media type is packed. Layers that lie elsewhere, or are encrypted, have none.
    pub fn of(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                Self::Tar
            }
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Self::TarGzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::TarZstd,
            _ => return None,
        })
    }
}

impl LayerMediaType {
    /// The media type of layers that are packed so.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::TarGzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::TarZstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

impl NamedPlatform {
    fn is(&self, platform: Platform) -> bool {
        let Self { architecture, os, variant } = self;
        let (wanted, variants): (_, &[&str]) = match platform {
            // A higher level than the first runs only on some machines.
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

/// What an image of a layout is called: its tag, or the whole reference.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

impl IndexEntry {
    /// Whether it describes an image instead of being one.
    fn is_attestation(&self) -> bool {
        let is_unknown =
            |platform: &NamedPlatform| platform.os == "unknown" && platform.architecture == "unknown";
        self.annotations.contains_key(REFERENCE_ANNOTATION) || self.platform.as_ref().is_some_and(is_unknown)
    }
}

impl Index {
    /// The images of the index, whatever platform they are for, and their names there.
    pub fn entries(&self) -> impl Iterator<Item = (&Descriptor, Option<&str>)> {
        self.images().map(move |entry| {
            let name = NAME_ANNOTATIONS.iter().find_map(|key| entry.annotations.get(*key));
            (&entry.descriptor, name.map(String::as_str))
        })
    }

    fn images(&self) -> impl Iterator<Item = &IndexEntry> {
        self.entries.iter().filter(|entry| !entry.is_attestation())
    }

    /// The only image that names no platform; its config tells.
    fn unlabelled(&self) -> Option<&IndexEntry> {
        let mut unlabelled = self.images().filter(|entry| entry.platform.is_none());
        let only = unlabelled.next()?;
        unlabelled.next().is_none().then_some(only)
    }

    /// The first image for a platform, else the only one whose platform is not named.
    pub fn choose(&self, platform: Platform) -> Result<&Descriptor, OciError> {
        let is_for = |entry: &&IndexEntry| entry.platform.as_ref().is_some_and(|named| named.is(platform));
        if let Some(entry) = self.images().find(is_for).or_else(|| self.unlabelled()) {
            check_size(|| "the manifest".to_owned(), entry.descriptor.size, MANIFEST_BYTES_MAX)?;
            return Ok(&entry.descriptor);
        }
        /// The most platforms that a message lists.
        const LISTED_MAX: usize = 20;
        let named = self.images().filter_map(|entry| entry.platform.as_ref());
        let offered: Vec<_> = named.map(NamedPlatform::text).take(LISTED_MAX).collect();
        let offered = if offered.is_empty() { vec!["none that is named".to_owned()] } else { offered };
        Err(OciError::NoPlatform { platform, offered })
    }
}

/// The part of a config that is about layers.
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

impl ConfigOfLayers {
    fn parse(config: &[u8]) -> Result<Self, OciError> {
        serde_json::from_slice(config)
            .map_err(|source| OciError::Malformed { what: "config of the image", source })
    }
}

/// The digests of the unpacked layers that a config names, lowest first.
pub(crate) fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, OciError> {
    Ok(ConfigOfLayers::parse(config)?.rootfs.diff_ids)
}

impl OciImage {
    /// Puts an image together from its manifest and its config, which must agree.
    pub fn new(
        digest: Digest,
        manifest: &Manifest,
        config: &[u8],
        platform: Platform,
    ) -> Result<Self, OciError> {
        let ConfigOfLayers { platform: named, rootfs: RootFs { diff_ids } } = ConfigOfLayers::parse(config)?;
        if !named.is(platform) {
            return Err(OciError::OtherPlatform { platform, offered: named.text() });
        }
        if diff_ids.len() != manifest.layers.len() {
            return Err(OciError::LayerCount { layers: manifest.layers.len(), diff_ids: diff_ids.len() });
        }
        let layer = |((layer, media_type), diff_id): (&(Descriptor, LayerMediaType), Digest)| Layer {
            digest: layer.digest.clone(),
            size: layer.size,
            media_type: *media_type,
            diff_id,
        };
        let layers = manifest.layers.iter().zip(diff_ids).map(layer).collect();
        Ok(Self { manifest: digest, config: manifest.config.digest.clone(), layers })
    }

    /// Reads an image from the store, whose manifest and config must be there; the layers need not.
    pub fn load(blobs: &Blobs, digest: &Digest, platform: Platform) -> Result<Self, ImageError> {
        let manifest = parse_manifest(&blobs.read_bounded(digest, MANIFEST_BYTES_MAX)?)?;
        let config = blobs.read_bounded(&manifest.config.digest, CONFIG_BYTES_MAX)?;
        Ok(Self::new(digest.clone(), &manifest, &config, platform)?)
    }

    /// How it is run, as its config in the store says.
    pub fn run_config(&self, blobs: &Blobs) -> Result<ImageConfig, ImageError> {
        Ok(ImageConfig::parse(&blobs.read_bounded(&self.config, CONFIG_BYTES_MAX)?)?)
    }

    /// Whether all its layers are in the store.
    pub fn is_whole(&self, blobs: &Blobs) -> bool {
        self.layers.iter().all(|layer| blobs.path(&layer.digest).is_some())
    }

    /// Its size as it is transferred, in bytes.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}
