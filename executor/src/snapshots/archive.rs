//! Exports snapshots to a file, and imports them.

use super::create::{UnfinishedDisk, now_unix};
use super::record::{Snapshot, read};
use super::{SnapshotError, find};
use executor_fs::space::space;
use executor_host::home::Home;
use executor_image::{
    ArchiveError, ArchiveHeader, ArchiveReader, Blobs, Contents, StoredSnapshot, image_config,
    publish_snapshot, rootfs_path, snapshot_disk, write_archive,
};
use schemas::name::SnapshotName;
use std::fs::File;
use std::io::{Read, Write};

/// The space that an import leaves free, in bytes.
const KEPT_FREE_BYTES: u64 = 64 << 20;

/// A failure to export or import.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The snapshot or the state folder.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The file.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is too little space.
    #[error(
        "the snapshot needs {needed_bytes} bytes, and the file system of the state folder has {free_bytes} free"
    )]
    Space {
        /// The bytes that it needs.
        needed_bytes: u64,
        /// The free bytes.
        free_bytes: u64,
    },
}

impl TransferError {
    /// Returns the next step for the user, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Snapshot(error) => error.hint(),
            Self::Space { .. } => Some("`msb image prune` removes images that nothing uses".to_owned()),
            Self::Archive(_) => None,
        }
    }
}

/// Writes a snapshot with its root file system to one file.
///
/// # Errors
///
/// If there is no such snapshot, or a file cannot be read or written.
pub fn export(home: &Home, name: &SnapshotName, to: &mut dyn Write) -> Result<(), TransferError> {
    let store = home.images();
    let blobs = Blobs::open(&store).map_err(SnapshotError::from)?;
    let _held = blobs.lock_shared().map_err(SnapshotError::from)?;
    let Snapshot { digest, base, sandbox, created_unix, root, disk, .. } = find(home, name)?;
    let damaged = || SnapshotError::Damaged { name: name.clone() };
    let paths = [rootfs_path(&store, &digest), snapshot_disk(&store, &digest).ok_or_else(damaged)?];
    let [root_file, disk_file] = paths.map(|path| File::open(&path).map_err(SnapshotError::io(path)));
    let config = image_config(&store, &digest).map_err(SnapshotError::from)?;
    let header =
        ArchiveHeader { name: name.clone(), digest, base, sandbox, created_unix, config, root, disk };
    Ok(write_archive(&header, [&root_file?, &disk_file?], to)?)
}

/// Adds the snapshot in a file, which may be hostile, under a name or its own. With `replace`, the name may be taken.
///
/// # Errors
///
/// If the file is invalid, the name is taken, there is too little space, or a file cannot be read or written.
pub fn import(
    home: &Home,
    from: &mut dyn Read,
    name: Option<&SnapshotName>,
    replace: bool,
) -> Result<(SnapshotName, Snapshot), TransferError> {
    let store = home.images();
    let blobs = Blobs::open(&store).map_err(SnapshotError::from)?;
    let _held = blobs.lock_shared().map_err(SnapshotError::from)?;
    let archive = ArchiveReader::open(from)?;
    let name = name.unwrap_or(&archive.header().name).clone();
    if !replace && read(home, &name)?.is_some() {
        return Err(SnapshotError::Exists { name }.into());
    }
    let disk = UnfinishedDisk::create(home, "disk")?;
    let root = UnfinishedDisk::create(home, "root")?;
    let needed =
        [&archive.header().root, &archive.header().disk].map(|Contents { data_bytes, .. }| *data_bytes);
    let needed_bytes = needed[0].saturating_add(needed[1]);
    let free = space(&home.snapshots()).map_err(SnapshotError::io(home.snapshots()))?;
    if free.bytes < needed_bytes.saturating_add(KEPT_FREE_BYTES) {
        return Err(TransferError::Space { needed_bytes, free_bytes: free.bytes });
    }
    let header = archive.unpack([&root.file, &disk.file])?;
    let ArchiveHeader {
        name: _,
        digest: _,
        base,
        sandbox,
        created_unix,
        config,
        root: of_root,
        disk: of_disk,
    } = header;
    let stored = StoredSnapshot::new(&config, of_root, of_disk);
    publish_snapshot(&store, &stored.digest, &config, root.named(), disk.named())
        .map_err(SnapshotError::from)?;
    let snapshot = Snapshot::new(stored, base, sandbox, created_unix.clamp(0, now_unix()));
    snapshot.write(home, &name)?;
    Ok((name, snapshot))
}
