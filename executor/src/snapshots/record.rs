//! Records of snapshots, which give their names to digests.

use super::SnapshotError;
use executor_fs::atomic::{self, Sync};
use executor_fs::file::{if_present, read_start};
use executor_host::home::{Home, SNAPSHOT_SUFFIX, make_private_folder};
use executor_image::{Contents, StoredSnapshot};
use rules::suggest::nearest;
use schemas::digest::Digest;
use schemas::name::SnapshotName;
use schemas::spec::PinnedImage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;

/// The version of the records.
const VERSION: u32 = 1;
/// The largest record in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// A snapshot of a sandbox's disk.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The version of the record.
    version: u32,
    /// The digest that names its files in the store.
    pub digest: Digest,
    /// The image that the sandbox booted from.
    pub base: PinnedImage,
    /// The full name of the sandbox.
    pub sandbox: String,
    /// The time of its creation, in seconds since 1970.
    pub created_unix: i64,
    /// The root file system of the image.
    pub root: Contents,
    /// The sandbox's disk.
    pub disk: Contents,
}

impl Snapshot {
    /// Describes a snapshot in the store.
    pub(super) fn new(stored: StoredSnapshot, base: PinnedImage, sandbox: String, created_unix: i64) -> Self {
        let StoredSnapshot { digest, root, disk } = stored;
        Self { version: VERSION, digest, base, sandbox, created_unix, root, disk }
    }

    /// Writes the record.
    pub(super) fn write(&self, home: &Home, name: &SnapshotName) -> Result<(), SnapshotError> {
        let path = home.snapshot(name);
        make_private_folder(&home.snapshots()).map_err(SnapshotError::io(home.snapshots()))?;
        let text = serde_json::to_vec(self).unwrap_or_default();
        atomic::write(&path, &text, Sync::Yes).map_err(SnapshotError::io(path))
    }
}

/// Returns a snapshot by its name.
///
/// # Errors
///
/// If there is none, or its record cannot be read.
pub fn find(home: &Home, name: &SnapshotName) -> Result<Snapshot, SnapshotError> {
    if let Some(snapshot) = read(home, name)? {
        return Ok(snapshot);
    }
    let known = list(home)?;
    let nearest = nearest(name.as_str(), known.keys().map(SnapshotName::as_str)).map(str::to_owned);
    Err(SnapshotError::Unknown { name: name.clone(), nearest })
}

/// Returns all snapshots by their names.
///
/// # Errors
///
/// If a record cannot be read.
pub fn list(home: &Home) -> Result<BTreeMap<SnapshotName, Snapshot>, SnapshotError> {
    let failed = || SnapshotError::io(home.snapshots());
    let mut snapshots = BTreeMap::new();
    let Some(entries) = if_present(fs::read_dir(home.snapshots())).map_err(failed())? else {
        return Ok(snapshots);
    };
    for entry in entries {
        let file = entry.map_err(failed())?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(SNAPSHOT_SUFFIX));
        let Some(name) = name.and_then(|name| SnapshotName::new(name).ok()) else { continue };
        // Another msb may remove it meanwhile.
        if let Some(snapshot) = read(home, &name)? {
            snapshots.insert(name, snapshot);
        }
    }
    Ok(snapshots)
}

/// Reads a record; `None` if there is none.
pub(super) fn read(home: &Home, name: &SnapshotName) -> Result<Option<Snapshot>, SnapshotError> {
    let path = home.snapshot(name);
    let bytes = read_start(&path, RECORD_BYTES_MAX).map_err(SnapshotError::io(&path))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let snapshot = serde_json::from_slice::<Snapshot>(&bytes).map_err(|error| error.to_string());
    match snapshot {
        Ok(snapshot) if snapshot.version == VERSION => Ok(Some(snapshot)),
        Ok(Snapshot { version, .. }) => {
            Err(SnapshotError::Record { path, reason: format!("it has version {version}") })
        }
        Err(reason) => Err(SnapshotError::Record { path, reason }),
    }
}
