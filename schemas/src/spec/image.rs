//! What a sandbox boots from.

use crate::digest::Digest;
use rules::reference::Reference;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The source of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageReference {
    /// A directory or a tar archive on this host, as an absolute path.
    Local {
        /// The absolute path, without `.` or `..`.
        path: String,
    },
    /// An image in a registry.
    Registry {
        /// Its reference.
        name: Reference,
    },
}

impl ImageReference {
    /// Returns the path or the complete reference.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local { path } => path,
            Self::Registry { name } => name.as_str(),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An image reference together with the digest of the contents it stood for when it was resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedImage {
    /// As the Sandboxfile names it, made absolute.
    pub reference: ImageReference,
    /// The digest of its contents.
    pub digest: Digest,
}
