//! Images of layers that the tests make: in the content store for msb, as a layout for `umoci`.

use executor_image::{Blobs, ImageError, Layer, LayerMediaType, OciImage, build_oci};
use schemas::digest::Digest;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One layer's archive, and how it is packed.
pub struct TestLayer {
    pub tar: Vec<u8>,
    pub packing: LayerMediaType,
}

impl From<Vec<u8>> for TestLayer {
    fn from(tar: Vec<u8>) -> Self {
        Self { tar, packing: LayerMediaType::TarGzip }
    }
}

impl TestLayer {
    pub fn packed(&self) -> Vec<u8> {
        match self.packing {
            LayerMediaType::Tar => self.tar.clone(),
            LayerMediaType::TarGzip => gzip(&self.tar),
            LayerMediaType::TarZstd => zstd::encode_all(&self.tar[..], 1).unwrap(),
        }
    }

    pub fn in_store(&self, blobs: &Blobs) -> Layer {
        let packed = self.packed();
        let digest = Digest::of_bytes(&packed);
        blobs.put(&digest, &packed).unwrap();
        let diff_id = Digest::of_bytes(&self.tar);
        Layer { digest, size: packed.len() as u64, media_type: self.packing, diff_id }
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// An image store with one image in it.
pub struct Store {
    pub folder: tempfile::TempDir,
    pub blobs: Blobs,
    pub image: OciImage,
}

impl Store {
    pub fn new(layers: &[TestLayer]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let layers: Vec<Layer> = layers.iter().map(|layer| layer.in_store(&blobs)).collect();
        let manifest = Digest::of_json(&layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>());
        let image = OciImage { manifest, config: Digest::of_bytes(b"{}"), layers };
        blobs.put(&image.config, b"{}").unwrap();
        Self { folder, blobs, image }
    }

    /// Builds the image. What a failure leaves behind is checked: nothing but the blobs as they were.
    pub fn build(&self) -> Result<PathBuf, ImageError> {
        let before = self.blobs.list().unwrap();
        let result = build_oci(&self.blobs, &self.image, self.folder.path(), &mut |_| {});
        assert_eq!(self.blobs.list().unwrap(), before);
        if result.is_err() {
            let left = files(&self.folder.path().join("rootfs"));
            assert!(left.is_empty(), "left behind: {left:?}");
        }
        result
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Writes an OCI layout with one image of these layers, named `latest`.
pub fn write_layout(folder: &Path, layers: &[TestLayer], config: &serde_json::Value) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of_bytes(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| {
            let packing = match layer.packing {
                LayerMediaType::Tar => "",
                LayerMediaType::TarGzip => "+gzip",
                LayerMediaType::TarZstd => "+zstd",
            };
            put(&layer.packed(), &format!("application/vnd.oci.image.layer.v1.tar{packing}"))
        })
        .collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": config,
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| Digest::of_bytes(&layer.tar)).collect::<Vec<_>>(),
        },
        "history": layers.iter().map(|_| serde_json::json!({ "created_by": "a test" })).collect::<Vec<_>>(),
    });
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": descriptors });
    let mut manifest = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Unpacks an OCI layout with `umoci`. Returns the root file system's folder.
pub fn umoci_unpack(layout: &Path, bundle: &Path) -> PathBuf {
    let image = format!("{}:latest", layout.display());
    let output = Command::new("umoci").args(["unpack", "--image", &image]).arg(bundle).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle.join("rootfs")
}
