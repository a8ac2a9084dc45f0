//! Saves images of the content store to an archive: an OCI layout that `docker load` reads as well.

use crate::blobs::{BlobError, Blobs};
use crate::error::ImageError;
use crate::layout::blob_name;
use crate::oci::{CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX, OCI_MANIFEST, OciImage};
use schemas::digest::Digest;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

/// Entries differ in name and size alone, so that the archive is reproducible.
const MODE: u32 = 0o644;

/// Writes the archive. Each image has a list of names, which are whole references. The caller must hold the store's
/// lock.
///
/// # Errors
///
/// If a blob is missing or damaged, or the archive cannot be written.
pub fn save(blobs: &Blobs, images: &[(OciImage, Vec<String>)], to: &mut dyn Write) -> Result<(), ImageError> {
    let mut archive = Archive { builder: tar::Builder::new(to), written: BTreeSet::new() };
    let (mut index, mut docker) = (Vec::new(), Vec::new());
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    for (image, names) in images {
        let manifest = blobs.read_bounded(&image.manifest, MANIFEST_BYTES_MAX)?;
        let config = blobs.read_bounded(&image.config, CONFIG_BYTES_MAX)?;
        for layer in &image.layers {
            let path =
                blobs.path(&layer.digest).ok_or(BlobError::Missing { digest: layer.digest.clone() })?;
            let file = File::open(&path).map_err(|source| BlobError::Read { path, source })?;
            archive.blob(&layer.digest, layer.size, &mut file.take(layer.size))?;
        }
        archive.blob(&image.config, config.len() as u64, &mut &config[..])?;
        archive.blob(&image.manifest, manifest.len() as u64, &mut &manifest[..])?;
        let entry = |name: Option<&String>| {
            let mut entry = json!({
                "mediaType": media_type(&manifest),
                "digest": image.manifest,
                "size": manifest.len(),
            });
            if let Some(name) = name {
                let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
                entry["annotations"] = json!({
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": tag,
                });
            }
            entry
        };
        if names.is_empty() {
            index.push(entry(None));
        } else {
            index.extend(names.iter().map(|name| entry(Some(name))));
        }
        docker.push(json!({
            "Config": blob_name(&image.config),
            "RepoTags": names,
            "Layers": image.layers.iter().map(|layer| blob_name(&layer.digest)).collect::<Vec<_>>(),
        }));
    }
    archive.file("index.json", json!({ "schemaVersion": 2, "manifests": index }).to_string().as_bytes())?;
    archive.file("manifest.json", Value::Array(docker).to_string().as_bytes())?;
    archive.finish()
}

/// The media type in a manifest.
fn media_type(manifest: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(manifest).ok();
    let stated = parsed.as_ref().and_then(|manifest| manifest["mediaType"].as_str());
    stated.unwrap_or(OCI_MANIFEST).to_owned()
}

struct Archive<'a> {
    builder: tar::Builder<&'a mut dyn Write>,
    /// The blobs written so far, as layers are shared.
    written: BTreeSet<Digest>,
}

impl Archive<'_> {
    fn blob(&mut self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<(), ImageError> {
        if !self.written.insert(digest.clone()) {
            return Ok(());
        }
        self.entry(&blob_name(digest), size, from)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.entry(name, bytes.len() as u64, &mut &*bytes)
    }

    fn entry(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<(), ImageError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.builder.append_data(&mut header, name, from).map_err(failed)
    }

    fn finish(self) -> Result<(), ImageError> {
        self.builder.into_inner().and_then(|to| to.flush()).map_err(failed)
    }
}

fn failed(source: io::Error) -> ImageError {
    ImageError::Save { source }
}
