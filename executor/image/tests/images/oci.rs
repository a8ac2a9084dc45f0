//! Generated images with layers: in the content store, and as a layout for `umoci`.

use executor_image::{Blobs, Compression, ImageError, Layer, OciImage, build_oci};
use schemas::digest::Digest;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::layers::{Packing, TestLayer};

/// Stores a layer.
pub fn in_store(layer: &TestLayer, blobs: &Blobs) -> Layer {
    let packed = layer.packed();
    let digest = Digest::of_bytes(&packed);
    blobs.put(&digest, &packed).unwrap();
    let compression = match layer.packing {
        Packing::Tar => Compression::Plain,
        Packing::Gzip => Compression::Gzip,
        Packing::Zstd => Compression::Zstd,
    };
    Layer { digest, size: packed.len() as u64, compression, diff_id: Digest::of_bytes(&layer.tar) }
}

/// An image store with one image.
pub struct Store {
    pub folder: tempfile::TempDir,
    pub blobs: Blobs,
    pub image: OciImage,
}

impl Store {
    pub fn new(layers: &[TestLayer]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let layers: Vec<Layer> = layers.iter().map(|layer| in_store(layer, &blobs)).collect();
        let manifest = Digest::of_json(&layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>());
        let image = OciImage { manifest, config: Digest::of_bytes(b"{}"), layers };
        blobs.put(&image.config, b"{}").unwrap();
        Self { folder, blobs, image }
    }

    /// Builds the image. After a failure only the blobs may be left.
    pub fn build(&self) -> Result<PathBuf, ImageError> {
        let before = self.blobs.list().unwrap();
        let result = build_oci(&self.blobs, &self.image, self.folder.path(), &mut |_| {});
        assert_eq!(self.blobs.list().unwrap(), before);
        if result.is_err() {
            let left = files(&self.folder.path().join("rootfs"));
            assert!(left.is_empty(), "not removed: {left:?}");
        }
        result
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Unpacks an OCI layout with `umoci`. Returns the root file system's folder.
pub fn umoci_unpack(layout: &Path, bundle: &Path) -> PathBuf {
    let image = format!("{}:latest", layout.display());
    let output = Command::new("umoci").args(["unpack", "--image", &image]).arg(bundle).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle.join("rootfs")
}
