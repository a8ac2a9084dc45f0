//! Layers of images, and layers that are difficult to unpack.

mod maker;
mod tricks;

pub use maker::{MODIFIED, Maker};
pub use tricks::{Trick, tricks};

use std::io::Write;

/// The compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// None.
    Tar,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Packing {
    /// Returns the media type of such a layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A layer.
#[derive(Clone, Debug)]
pub struct TestLayer {
    /// Its archive.
    pub tar: Vec<u8>,
    /// Its compression.
    pub packing: Packing,
}

impl From<Vec<u8>> for TestLayer {
    fn from(tar: Vec<u8>) -> Self {
        Self { tar, packing: Packing::Gzip }
    }
}

impl TestLayer {
    /// Returns a layer without compression.
    pub fn plain(tar: Vec<u8>) -> Self {
        Self { tar, packing: Packing::Tar }
    }

    /// Returns its compressed bytes.
    pub fn packed(&self) -> Vec<u8> {
        match self.packing {
            Packing::Tar => self.tar.clone(),
            Packing::Gzip => gzip(&self.tar),
            Packing::Zstd => zstd::encode_all(&self.tar[..], 1).expect("it is packed in memory"),
        }
    }
}

/// Compresses with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("it is packed in memory");
    gzip.finish().expect("it is packed in memory")
}
