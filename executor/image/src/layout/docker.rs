//! The format of `docker save`: `manifest.json` lists configs and layers by path. It contains no OCI manifest, so one
//! is synthesized, which depends on config and layers alone.

use super::{Contained, IMAGES_MAX, LayoutRoot, MANIFEST, usable};
use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::layer::{Compression, FileRange};
use crate::oci::{
    CONFIG_BYTES_MAX, LAYERS_MAX, MANIFEST_BYTES_MAX, OCI_CONFIG, OCI_MANIFEST, OciError, OciImage,
    check_count, diff_ids, parse_json, parse_manifest,
};
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use serde::Deserialize;
use serde_json::json;
use std::io::Read;

/// An image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// All images for a platform.
pub fn images(root: &LayoutRoot, platform: Platform) -> Result<Vec<Contained>, ImageError> {
    let named: Vec<Named> = parse_json(MANIFEST, &root.read(MANIFEST, MANIFEST_BYTES_MAX)?)?;
    usable(named.into_iter().take(IMAGES_MAX).map(|named| image(root, named, platform)))
}

fn image(root: &LayoutRoot, named: Named, platform: Platform) -> Result<Contained, ImageError> {
    let Named { config: config_name, repo_tags, layers } = named;
    let config = root.read(&config_name, CONFIG_BYTES_MAX)?;
    let unpacked = diff_ids(&config)?;
    check_count(MANIFEST, layers.len(), "layers", LAYERS_MAX)?;
    if layers.len() != unpacked.len() {
        return Err(OciError::LayerCount { layers: layers.len(), diff_ids: unpacked.len() }.into());
    }
    let mut pieces = Vec::with_capacity(layers.len());
    let mut descriptors = Vec::with_capacity(layers.len());
    for (name, diff_id) in layers.iter().zip(&unpacked) {
        let range = root.require(name)?;
        let failed =
            |source| ImageError::ReadEntry { path: root.path().to_owned(), entry: name.clone(), source };
        let compression = compression_of(&range).map_err(failed)?;
        // An uncompressed layer has the digest in the config, which is verified when it is unpacked.
        let digest = match compression {
            Compression::Plain => diff_id.clone(),
            _ => range.reader().and_then(crate::digest_of).map_err(failed)?,
        };
        let media_type = compression.media_type();
        descriptors.push(json!({ "mediaType": media_type, "digest": digest, "size": range.size }));
        pieces.push(range);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": Digest::of_bytes(&config), "size": config.len() },
        "layers": descriptors,
    });
    let manifest = manifest.to_string().into_bytes();
    let parsed = parse_manifest(&manifest)?;
    let image = OciImage::new(Digest::of_bytes(&manifest), &parsed, &config, platform)?;
    let run = ImageConfig::parse(&config)?;
    let names = repo_tags.unwrap_or_default();
    Ok(Contained { names, image, config: run, documents: [manifest, config], layers: pieces })
}

/// Detects the compression by the first bytes, as there is no media type.
fn compression_of(range: &FileRange) -> std::io::Result<Compression> {
    let mut start = Vec::new();
    range.reader()?.take(4).read_to_end(&mut start)?;
    Ok(Compression::of_start(&start))
}
