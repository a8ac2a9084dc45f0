//! Errors of layers, with the layer and the entry.

use crate::tree::TreeError;
use schemas::digest::Digest;
use std::fmt;
use std::io;

/// A layer in a message: `layer 2 of 5 (sha256:1234…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerName {
    /// Its number from 1, the lowest layer first.
    pub number: usize,
    /// The number of layers.
    pub count: usize,
    /// Its digest, if it is known.
    pub digest: Option<Digest>,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, count, digest } = self;
        write!(f, "layer {number} of {count}")?;
        digest.as_ref().map_or(Ok(()), |digest| write!(f, " ({})", digest.short()))
    }
}

/// Why layers cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An entry is not allowed in a layer.
    #[error("{entry:?} in {layer} is refused")]
    Entry {
        /// The layer.
        layer: LayerName,
        /// The entry.
        entry: String,
        /// The reason.
        source: TreeError,
    },
    /// An entry has an unsupported format.
    #[error("{entry:?} in {layer} is {form}, which is not supported")]
    UnsupportedEntry {
        /// The layer.
        layer: LayerName,
        /// The entry.
        entry: String,
        /// Its format.
        form: &'static str,
    },
    /// The layer is malformed or truncated.
    #[error("{layer} is not a complete tar archive{}", after_entry(entry))]
    Damaged {
        /// The layer.
        layer: LayerName,
        /// The last entry that was read.
        entry: String,
        /// The cause.
        source: io::Error,
    },
    /// The layer's file cannot be read.
    #[error("cannot read {layer}")]
    Read {
        /// The layer.
        layer: LayerName,
        /// The cause.
        source: io::Error,
    },
    /// The layer's digest is not the manifest's.
    #[error("{layer} is damaged: its bytes have the digest {found}, not {expected}")]
    WrongDigest {
        /// The layer.
        layer: LayerName,
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// The unpacked layer's digest is not the config's.
    #[error("{layer} is not the image's: unpacked, it has the digest {found}, and the image says {expected}")]
    WrongContents {
        /// The layer.
        layer: LayerName,
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// The layer is a decompression bomb.
    #[error(
        "{layer} is refused: {packed_bytes} bytes of it unpack to more than {unpacked_bytes}, \
         as only an archive does that is meant to fill a disk"
    )]
    Bomb {
        /// The layer.
        layer: LayerName,
        /// The compressed bytes read.
        packed_bytes: u64,
        /// The unpacked bytes.
        unpacked_bytes: u64,
    },
}

fn after_entry(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(", at {entry:?}") }
}
