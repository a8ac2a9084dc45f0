//! Creates snapshots.

use super::SnapshotError;
use super::hold::HeldDisk;
use super::record::{Snapshot, read};
use executor_fs::file::{is_at, open_locked};
use executor_host::disk;
use executor_host::home::{Home, make_private_folder};
use executor_image::{Blobs, NamedFile, add_snapshot, copy_disk};
use schemas::name::{SandboxId, SnapshotName};
use schemas::spec::PinnedImage;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The pause between two attempts to lock an unfinished disk.
const RETRY: Duration = Duration::from_millis(50);

/// A sandbox whose disk is copied.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its id.
    pub id: SandboxId,
    /// Its full name.
    pub full_name: String,
    /// The image that it boots from.
    pub image: PinnedImage,
    /// The use of its disk.
    pub disk_use: DiskUse,
}

/// The use of a sandbox's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskUse {
    /// No virtual machine has it.
    None,
    /// A virtual machine writes to it, or is paused.
    Guest,
}

/// A file that becomes a disk in the store. There is one at a time: what a killed process left is overwritten. It is
/// removed on drop, unless it was moved into the store.
pub(super) struct UnfinishedDisk {
    pub file: File,
    pub path: PathBuf,
}

impl UnfinishedDisk {
    /// Creates an empty file of this name, and waits for another process that has one.
    pub fn create(home: &Home, name: &str) -> Result<Self, SnapshotError> {
        let folder = home.snapshots();
        make_private_folder(&folder).map_err(SnapshotError::io(&folder))?;
        let path = folder.join(format!(".{name}.partial"));
        loop {
            if let Some(file) = open_locked(&path).map_err(SnapshotError::io(&path))? {
                file.set_len(0).map_err(SnapshotError::io(&path))?;
                return Ok(Self { file, path });
            }
            std::thread::sleep(RETRY);
        }
    }

    pub fn named(&self) -> NamedFile<'_> {
        NamedFile { file: &self.file, path: &self.path }
    }
}

impl Drop for UnfinishedDisk {
    fn drop(&mut self) {
        // Once it was moved, another process may have a file there.
        if is_at(&self.file, &self.path).is_ok_and(|is_there| is_there) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Creates a snapshot of the disk of a sandbox. With `replace`, the name may be taken. The caller must hold the project's
/// lock.
///
/// # Errors
///
/// If the name is taken, the disk is used otherwise than said, its guest cannot hold its writes, or a file cannot be read
/// or written.
pub async fn create(
    home: &Home,
    source: Source,
    name: &SnapshotName,
    replace: bool,
) -> Result<Snapshot, SnapshotError> {
    let Source { id, full_name, image, disk_use } = source;
    let blobs = Blobs::open(&home.images())?;
    // Neither the image nor the files of the snapshot are removed before the record names them.
    let _held = blobs.lock_shared()?;
    if !replace && read(home, name)?.is_some() {
        return Err(SnapshotError::Exists { name: name.clone() });
    }
    let unfinished = UnfinishedDisk::create(home, "disk")?;
    let path = home.sandbox(&id).disk();
    let copy = |disk: &File| copy_disk(disk, &unfinished.file).map_err(SnapshotError::io(&unfinished.path));
    match disk_use {
        DiskUse::None => copy(&disk::take(&path)?)?,
        DiskUse::Guest => {
            let held = HeldDisk::hold(&home.sandbox_run(&full_name), &id).await?;
            let copied = File::open(&path).map_err(SnapshotError::io(&path)).and_then(|disk| copy(&disk));
            held.release().await?;
            copied?;
        }
    }
    let stored = add_snapshot(&home.images(), &image.digest, unfinished.named())?;
    let snapshot = Snapshot::new(stored, image, full_name, now_unix());
    snapshot.write(home, name)?;
    Ok(snapshot)
}

/// Returns the time in seconds since 1970.
pub(super) fn now_unix() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
