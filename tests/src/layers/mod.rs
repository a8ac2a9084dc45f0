//! Archives as registries hand them out, and the tricks that they play.

mod maker;
mod tricks;

pub use maker::{MODIFIED, Maker};
pub use tricks::{Trick, tricks};

use std::io::Write;

/// How a layer's archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Tar,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packing {
    /// The media type of such a layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// One layer's archive, and how it is packed.
#[derive(Clone, Debug)]
pub struct TestLayer {
    /// The archive.
    pub tar: Vec<u8>,
    /// How it is packed.
    pub packing: Packing,
}

impl From<Vec<u8>> for TestLayer {
    fn from(tar: Vec<u8>) -> Self {
        Self { tar, packing: Packing::Gzip }
    }
}

impl TestLayer {
    /// A layer that is not packed.
    pub fn plain(tar: Vec<u8>) -> Self {
        Self { tar, packing: Packing::Tar }
    }

    /// Its bytes in a registry.
    pub fn packed(&self) -> Vec<u8> {
        match self.packing {
            Packing::Tar => self.tar.clone(),
            Packing::Gzip => gzip(&self.tar),
            Packing::Zstd => zstd::encode_all(&self.tar[..], 1).expect("it is packed in memory"),
        }
    }
}

/// Packs with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("it is packed in memory");
    gzip.finish().expect("it is packed in memory")
}
