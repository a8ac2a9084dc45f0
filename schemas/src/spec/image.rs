//! What a sandbox boots from.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an image comes from.
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
        /// Complete: registry, repository and a tag or a digest, such as `docker.io/library/alpine:latest`.
        name: String,
    },
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { path } => f.write_str(path),
            Self::Registry { name } => f.write_str(name),
        }
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
