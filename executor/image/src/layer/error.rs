//! What goes wrong with layers: always which layer, and which entry of it.

use crate::tree::TreeError;
use schemas::digest::Digest;
use std::fmt;
use std::io;

/// One layer in a message: `layer 2 of 5 (sha256:1234…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerName {
    /// From 1, the lowest layer first.
    pub number: usize,
    /// How many there are.
    pub count: usize,
    /// The digest that it is known by.
    pub digest: Option<Digest>,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, count, digest } = self;
        write!(f, "layer {number} of {count}")?;
        digest.as_ref().map_or(Ok(()), |digest| write!(f, " ({})", digest.short()))
    }
}

/// Why an image's layers cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Something in a layer is not allowed in one.
    #[error("{entry:?} in {layer} is refused")]
    Entry {
        /// Which layer.
        layer: LayerName,
        /// What in it.
        entry: String,
        /// Why.
        source: TreeError,
    },
    /// Something in a layer has a form that is not read.
    #[error("{entry:?} in {layer} is {form}, which is not supported")]
    UnsupportedEntry {
        /// Which layer.
        layer: LayerName,
        /// What in it.
        entry: String,
        /// What it is.
        form: &'static str,
    },
    /// A layer that is not a tar archive, or not whole.
    #[error("{layer} is not a whole tar archive{}", behind(entry))]
    Damaged {
        /// Which layer.
        layer: LayerName,
        /// The last entry that was read.
        entry: String,
        /// What is wrong.
        source: io::Error,
    },
    /// A layer's file cannot be read.
    #[error("cannot read {layer}")]
    Read {
        /// Which layer.
        layer: LayerName,
        /// Why.
        source: io::Error,
    },
    /// A layer is not what the manifest says.
    #[error("{layer} is damaged: its bytes have the digest {found}, not {expected}")]
    WrongDigest {
        /// Which layer.
        layer: LayerName,
        /// What the manifest says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// A layer does not unpack to what the image's config says.
    #[error("{layer} is not the image's: unpacked, it has the digest {found}, and the image says {expected}")]
    WrongContents {
        /// Which layer.
        layer: LayerName,
        /// What the config says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// A layer grows without end.
    #[error(
        "{layer} is refused: {packed_bytes} bytes of it unpack to more than {unpacked_bytes}, \
         as only an archive does that is meant to fill a disk"
    )]
    Bomb {
        /// Which layer.
        layer: LayerName,
        /// What was read.
        packed_bytes: u64,
        /// What came of it.
        unpacked_bytes: u64,
    },
}

fn behind(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(", at {entry:?}") }
}
