//! Snapshots of the disks of sandboxes: creating, listing, removing, and moving them between machines.
//!
//! The store of images has a snapshot's disks, under the digest of their contents. A record in the state folder gives
//! that a name:
//!
//! ```text
//! snapshots/<name>.json ─► digest ─► images/rootfs/<digest>/{root.ext4,disk.ext4,config.json}
//! ```
//!
//! A sandbox that boots from a snapshot has a disk of its own, a copy of the snapshot's.

mod archive;
mod create;
mod hold;
mod record;

pub use archive::{TransferError, export, import};
pub use create::{DiskUse, Source, create};
pub use record::{Snapshot, find, list};

use crate::catalog::Catalog;
use crate::images::{self, ImagesError};
use executor_client::agent::AgentError;
use executor_fs::file::remove_if_present;
use executor_host::disk::DiskError;
use executor_host::home::Home;
use executor_image::{BlobError, Blobs, ImageError};
use schemas::name::SnapshotName;
use std::io;
use std::path::PathBuf;

/// A failure of an operation on snapshots.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No snapshot has this name.
    #[error("there is no snapshot {name}")]
    Unknown {
        /// The name.
        name: SnapshotName,
        /// A similar name.
        nearest: Option<String>,
    },
    /// The name is taken.
    #[error("there is a snapshot {name} already")]
    Exists {
        /// The name.
        name: SnapshotName,
    },
    /// Sandboxes boot from it.
    #[error("the snapshot {name} is used by {}", schemas::listing::names(by))]
    InUse {
        /// The name.
        name: SnapshotName,
        /// The full names of the sandboxes.
        by: Vec<String>,
    },
    /// Its files are not in the store.
    #[error("the files of the snapshot {name} are missing")]
    Damaged {
        /// The name.
        name: SnapshotName,
    },
    /// Its record is invalid.
    #[error("the record {} is invalid: {reason}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The sandbox's disk is in use.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The supervisor of a sandbox that is up failed.
    #[error("no answer from the sandbox's supervisor: {0}")]
    Supervisor(io::Error),
    /// The guest of a sandbox that is up cannot hold its writes, or did not.
    #[error("the sandbox cannot hold the writes to its disk")]
    Guest(#[source] Box<AgentError>),
    /// The store failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The images of the store are unknown.
    #[error(transparent)]
    Images(Box<ImagesError>),
    /// A file in the state folder cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl From<ImagesError> for SnapshotError {
    fn from(error: ImagesError) -> Self {
        Self::Images(Box::new(error))
    }
}

impl From<BlobError> for SnapshotError {
    fn from(error: BlobError) -> Self {
        Self::Image(error.into())
    }
}

impl SnapshotError {
    /// Returns the next step for the user, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest}?")),
            Self::Unknown { nearest: None, .. } => {
                Some("`msb snapshot ls` lists those that there are".to_owned())
            }
            Self::Exists { name } => {
                Some(format!("choose another name, or remove it with `msb snapshot rm {name}`"))
            }
            Self::InUse { .. } => Some(
                "--force removes its name; `msb image prune` removes its files once no sandbox has them"
                    .to_owned(),
            ),
            Self::Damaged { name } => {
                Some(format!("remove it with `msb snapshot rm {name}`, or import it again"))
            }
            Self::Record { .. } => Some("use the msb that wrote it, or remove the record".to_owned()),
            Self::Images(error) => error.hint(),
            Self::Guest(_) => {
                Some("stop the sandbox first; `msb snapshot create` then needs no guest".to_owned())
            }
            Self::Disk(_) | Self::Image(_) | Self::Io { .. } | Self::Supervisor(_) => None,
        }
    }

    fn guest(error: AgentError) -> Self {
        Self::Guest(Box::new(error))
    }

    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Removes the name of a snapshot, and its files unless something else uses them; returns the freed bytes. With `force`,
/// sandboxes may use it.
///
/// # Errors
///
/// If there is no such snapshot, a sandbox uses it, or a file cannot be removed.
pub fn remove(
    home: &Home,
    catalog: &Catalog,
    name: &SnapshotName,
    force: bool,
) -> Result<u64, SnapshotError> {
    let blobs = Blobs::open(&home.images())?;
    let _alone = blobs.lock_exclusive()?;
    let digest = find(home, name)?.digest;
    let has_other_name =
        list(home)?.iter().any(|(other, snapshot)| other != name && snapshot.digest == digest);
    let users = images::users(catalog)?.remove(&digest);
    if let Some(by) = users.filter(|_| !force && !has_other_name) {
        return Err(SnapshotError::InUse { name: name.clone(), by });
    }
    let record = home.snapshot(name);
    remove_if_present(&record).map_err(SnapshotError::io(record))?;
    Ok(images::remove_unused(home, catalog, &digest)?)
}
