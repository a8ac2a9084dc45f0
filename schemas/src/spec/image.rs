//! What a sandbox boots from.

use crate::digest::Digest;
use crate::name::{InvalidName, SnapshotName};
use rules::reference::Reference;
use serde::{Deserialize, Serialize};
use std::fmt;

rules::words! {
    /// When a registry is asked for an image.
    #[derive(Default)]
    Pull {
        /// For every reference that is not pinned.
        Always = "always",
        /// For references that are not known on this machine.
        #[default]
        Missing = "missing",
        /// Never.
        Never = "never",
    }
}

/// The source of an image.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema, Serialize, Deserialize,
)]
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
    /// A snapshot of a sandbox's disk on this host.
    Snapshot {
        /// Its name.
        name: SnapshotName,
    },
}

impl ImageReference {
    /// The prefix of a snapshot's name. A repository of that name is written with its registry,
    /// `docker.io/library/snapshot:NAME`.
    pub const SNAPSHOT_PREFIX: &str = "snapshot:";

    /// Parses the name of a snapshot after its prefix; `None` without the prefix.
    pub fn snapshot(text: &str) -> Option<Result<Self, InvalidName>> {
        let name = SnapshotName::new(text.strip_prefix(Self::SNAPSHOT_PREFIX)?);
        Some(name.map(|name| Self::Snapshot { name }))
    }
}

/// The path, the complete reference, or the snapshot's name with its prefix.
impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { path } => f.write_str(path),
            Self::Registry { name } => f.write_str(name.as_str()),
            Self::Snapshot { name } => write!(f, "{}{name}", Self::SNAPSHOT_PREFIX),
        }
    }
}

/// An image reference together with the digest of the contents it stood for when it was resolved.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedImage {
    /// As the Sandboxfile names it, made absolute.
    pub reference: ImageReference,
    /// The digest of its contents.
    pub digest: Digest,
}
