//! Generated images: documents and layers.

use schemas::digest::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One image, or an index of several.
#[derive(Clone)]
pub struct TestImage {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// All documents and layers.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// The digests of the layers.
    pub layers: Vec<Digest>,
}

/// Incompressible bytes that depend on the seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl TestImage {
    /// An image for amd64 with layers of about these sizes, compressed with gzip and zstd in turn.
    pub fn new(seed: u64, sizes: &[usize]) -> Self {
        Self::of("amd64", seed, sizes)
    }

    pub fn of(architecture: &str, seed: u64, sizes: &[usize]) -> Self {
        let layers = sizes.iter().zip(seed..).enumerate().map(|(index, (size, seed))| {
            let unpacked = noise(seed, *size);
            let (packed, kind) = match index % 2 {
                0 => (gzip(&unpacked), "gzip"),
                _ => (zstd::encode_all(&unpacked[..], 1).unwrap(), "zstd"),
            };
            (packed, kind, Digest::of_bytes(&unpacked))
        });
        Self::from_layers(architecture, layers.collect())
    }

    fn from_layers(architecture: &str, layers: Vec<(Vec<u8>, &str, Digest)>) -> Self {
        let mut image = Self { digest: Digest::of_bytes(b""), blobs: BTreeMap::new(), layers: Vec::new() };
        let diff_ids: Vec<_> = layers.iter().map(|(_, _, diff_id)| diff_id.clone()).collect();
        let mut descriptors = Vec::new();
        for (bytes, kind, _) in layers {
            let descriptor = image.put(bytes, &format!("application/vnd.oci.image.layer.v1.tar+{kind}"));
            image.layers.push(Digest::try_from(descriptor["digest"].as_str().unwrap().to_owned()).unwrap());
            descriptors.push(descriptor);
        }
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = image.put(config.to_string().into(), "application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": descriptors,
        });
        image.finish(&manifest);
        image
    }

    /// An index of images.
    pub fn index(images: &[(&str, TestImage)]) -> Self {
        let mut index = Self { digest: Digest::of_bytes(b""), blobs: BTreeMap::new(), layers: Vec::new() };
        let mut entries = Vec::new();
        for (architecture, image) in images {
            index.blobs.extend(image.blobs.clone());
            index.layers.extend(image.layers.clone());
            entries.push(json!({
                "mediaType": OCI_MANIFEST,
                "digest": image.digest,
                "size": image.blobs[&image.digest].len(),
                "platform": { "architecture": architecture, "os": "linux" },
            }));
        }
        index.finish(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }));
        index
    }

    fn put(&mut self, bytes: Vec<u8>, media_type: &str) -> Value {
        let digest = Digest::of_bytes(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.blobs.insert(digest, bytes);
        descriptor
    }

    fn finish(&mut self, document: &Value) {
        let bytes = document.to_string().into_bytes();
        self.digest = Digest::of_bytes(&bytes);
        self.blobs.insert(self.digest.clone(), bytes);
    }

    /// Writes it as an OCI layout with the tag `latest`.
    pub fn write_layout(&self, folder: &Path) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in &self.blobs {
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        let bytes = &self.blobs[&self.digest];
        let document: Value = serde_json::from_slice(bytes).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": document["mediaType"],
            "digest": self.digest,
            "size": bytes.len(),
            "annotations": { "org.opencontainers.image.ref.name": "latest" },
        }] });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}
