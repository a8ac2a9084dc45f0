//! Writes OCI layouts.

use crate::layers::TestLayer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tar::HeaderMode;

/// Returns this platform's architecture in image configs.
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Returns the digest of bytes as `sha256:…`.
pub fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An OCI layout.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// Creates an empty layout.
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).expect("a new folder can be made");
        let layout = Self { path: path.to_owned(), manifests: Vec::new() };
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    /// Adds an image with a tag and returns its manifest's digest. `config` is the runtime part of the image's config.
    pub fn add(&mut self, tag: &str, layers: &[TestLayer], config: &Value) -> String {
        let kind = |what: &str| format!("application/vnd.oci.image.{what}");
        let descriptors: Vec<_> =
            layers.iter().map(|layer| self.blob(&layer.packed(), layer.packing.media_type())).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| digest_of(&layer.tar)).collect::<Vec<_>>() },
            "history": layers.iter().map(|_| json!({ "created_by": "a test" })).collect::<Vec<_>>(),
        });
        let config = self.blob(config.to_string().as_bytes(), &kind("config.v1+json"));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind("manifest.v1+json"),
            "config": config,
            "layers": descriptors,
        });
        let mut manifest = self.blob(manifest.to_string().as_bytes(), &kind("manifest.v1+json"));
        let digest = manifest["digest"].as_str().expect("a digest is text").to_owned();
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.manifests.push(manifest);
        self.write_index();
        digest
    }

    /// Adds an attestation like BuildKit's: a manifest with an image's config whose layer is no archive.
    pub fn add_attestation(&mut self) {
        let kind = |what: &str| format!("application/vnd.oci.image.{what}");
        let statement = self.blob(b"{}", "application/vnd.in-toto+json");
        let config = json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [statement["digest"]] },
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind("manifest.v1+json"),
            "config": self.blob(config.to_string().as_bytes(), &kind("config.v1+json")),
            "layers": [statement],
        });
        let mut manifest = self.blob(manifest.to_string().as_bytes(), &kind("manifest.v1+json"));
        // Some tools write neither platform nor annotation.
        self.manifests.push(manifest.clone());
        manifest["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
        manifest["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
        self.manifests.push(manifest);
        self.write_index();
    }

    fn write_index(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        self.write("index.json", index.to_string().as_bytes());
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = digest_of(bytes);
        self.write(&format!("blobs/{}", digest.replace(':', "/")), bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join(name), bytes).expect("the folder can be written to");
    }
}

/// Archives a directory; root owns all entries.
pub fn archive_of(directory: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.mode(HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    builder.append_dir_all(".", directory).expect("a directory can be archived");
    builder.into_inner().expect("it is written to memory")
}

/// Archives files, given as path, mode and text.
pub fn archive(files: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, text.as_bytes()).expect("it is written to memory");
    }
    builder.into_inner().expect("it is written to memory")
}
