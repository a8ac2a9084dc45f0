//! Locks on volumes: on a disk, which one sandbox may write to, or several may read, and on a directory, which any number
//! of sandboxes may read and one may write to, or several if it is shared.
//!
//! The lock is on the opened disk or directory itself. A virtual machine inherits the descriptor of a disk, so the lock ends
//! when both the supervisor and the machine have ended: no second machine mounts a disk that the first one may still write
//! to. The users of a directory share its lock, and its writers lock a file beside it too. Other files there name the
//! users, for messages only.

use crate::home::{VolumeFolder, make_private_folder};
use crate::process::ProcessIdentity;
use crate::state::read_json;
use executor_fs::atomic::{self, Sync};
use executor_fs::file::{if_present, is_at, try_lock};
use rustix::fs::FlockOperation;
use schemas::name::VolumeName;
use schemas::spec::VolumeKind;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The use of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Other sandboxes may read it as well, and write to it if it is a directory.
    Read,
    /// No other sandbox may write to it, nor read it if it is a disk.
    Write,
    /// Other sandboxes may read and write to it as well; a directory only.
    WriteShared,
    /// Nothing else may use it.
    Remove,
}

impl Access {
    /// Returns the lock of a disk or a directory.
    pub fn lock(self, kind: VolumeKind) -> FlockOperation {
        match (kind, self) {
            (VolumeKind::Disk, Self::Read) => FlockOperation::NonBlockingLockShared,
            (VolumeKind::Disk, _) | (_, Self::Remove) => FlockOperation::NonBlockingLockExclusive,
            (VolumeKind::Directory, _) => FlockOperation::NonBlockingLockShared,
        }
    }

    /// Returns the lock among the writers; `None` without one.
    fn writers_lock(self, kind: VolumeKind) -> Option<FlockOperation> {
        match (kind, self) {
            (VolumeKind::Directory, Self::Write) => Some(FlockOperation::NonBlockingLockExclusive),
            (VolumeKind::Directory, Self::WriteShared) => Some(FlockOperation::NonBlockingLockShared),
            _ => None,
        }
    }

    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteShared)
    }
}

/// A failure to lock a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another sandbox uses it.
    #[error("the volume {volume} is in use{}: {}", by(holders), rule(*kind, *access))]
    InUse {
        /// The volume.
        volume: VolumeName,
        /// Its kind.
        kind: VolumeKind,
        /// The requested access.
        access: Access,
        /// The full names of the sandboxes that use it, as far as they are known.
        holders: Vec<String>,
    },
    /// It does not exist.
    #[error("the volume {volume} has no {kind} at {}", path.display())]
    Missing {
        /// The volume.
        volume: VolumeName,
        /// Its kind.
        kind: VolumeKind,
        /// The expected path.
        path: PathBuf,
    },
    /// It cannot be opened or locked.
    #[error("cannot use {} of the volume {volume}", path.display())]
    Io {
        /// The volume.
        volume: VolumeName,
        /// Its disk or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn by(holders: &[String]) -> String {
    match holders {
        [] => String::new(),
        holders => format!(" by {}", schemas::listing::names(holders)),
    }
}

fn rule(kind: VolumeKind, access: Access) -> &'static str {
    match (kind, access) {
        (_, Access::Remove) => "it can be removed once no sandbox runs with it",
        (VolumeKind::Disk, Access::Read) => "while one sandbox may write to it, no other has it",
        (VolumeKind::Disk, Access::Write | Access::WriteShared) => {
            "a sandbox that may write to it must be the only one that has it"
        }
        (VolumeKind::Directory, Access::Read) => "it is being removed",
        (VolumeKind::Directory, Access::Write) => {
            "only one sandbox at a time may write to it, unless it is declared as `shared`"
        }
        (VolumeKind::Directory, Access::WriteShared) => {
            "a sandbox that began to write to it before it was `shared` must be restarted first"
        }
    }
}

/// A volume, opened and locked.
#[derive(Debug)]
pub struct HeldVolume {
    file: File,
    /// The lock among the writers of a directory.
    _writers: Option<File>,
    note: Option<PathBuf>,
}

/// A user of a volume, as noted for messages.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    process: ProcessIdentity,
    /// Whether it may write.
    #[serde(default)]
    writes: bool,
}

impl HeldVolume {
    /// Opens and locks a volume without waiting. `holder` is the full name of the sandbox, noted for messages; `None` notes
    /// nothing.
    ///
    /// # Errors
    ///
    /// If another sandbox uses the volume in a way that excludes this one, or its disk or directory is missing, is being
    /// removed or cannot be opened.
    pub fn take(
        volume: &VolumeName,
        folder: &VolumeFolder,
        kind: VolumeKind,
        access: Access,
        holder: Option<&str>,
    ) -> Result<Self, VolumeError> {
        let path = folder.contents(kind);
        let failed =
            |source: io::Error| VolumeError::Io { volume: volume.clone(), path: path.clone(), source };
        let missing = || VolumeError::Missing { volume: volume.clone(), kind, path: path.clone() };
        let in_use = |access, holders| VolumeError::InUse { volume: volume.clone(), kind, access, holders };
        let writes = kind == VolumeKind::Disk && access.writes();
        let opened = OpenOptions::new().read(true).write(writes).open(&path);
        let file = if_present(opened).map_err(failed)?.ok_or_else(missing)?;
        if !try_lock(&file, access.lock(kind)).map_err(failed)? {
            // A user of a directory is only excluded by its removal.
            let access = if kind == VolumeKind::Directory && access.writes() { Access::Read } else { access };
            return Err(in_use(access, holders(folder, |_| true)));
        }
        // It may have been removed between open and lock.
        if !is_at(&file, &path).map_err(failed)? {
            return Err(missing());
        }
        let writers = access.writers_lock(kind).map(|operation| lock_writers(folder, operation));
        let writers = match writers.transpose().map_err(failed)? {
            Some(None) => return Err(in_use(access, holders(folder, |note| note.writes))),
            writers => writers.flatten(),
        };
        let note = holder.map(|holder| write_note(folder, holder, access.writes()));
        let note = note.transpose().map_err(failed)?;
        Ok(Self { file, _writers: writers, note })
    }

    /// Returns the disk or the directory. The lock is held until every duplicate of the descriptor is closed.
    pub fn disk(&self) -> &File {
        &self.file
    }
}

impl Drop for HeldVolume {
    fn drop(&mut self) {
        if let Some(note) = &self.note {
            let _ = std::fs::remove_file(note);
        }
    }
}

/// Takes the lock among the writers of a directory; `None` if another one excludes this one.
fn lock_writers(folder: &VolumeFolder, operation: FlockOperation) -> io::Result<Option<File>> {
    // It stays as long as the volume, which cannot be removed while the directory is locked.
    let path = folder.writers();
    let lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(try_lock(&lock, operation)?.then_some(lock))
}

fn write_note(folder: &VolumeFolder, holder: &str, writes: bool) -> io::Result<PathBuf> {
    make_private_folder(&folder.holders())?;
    let note = folder.holders().join(holder);
    let process = ProcessIdentity::current().ok_or(io::ErrorKind::Other)?;
    atomic::write(&note, &serde_json::to_vec(&Note { process, writes })?, Sync::Yes)?;
    Ok(note)
}

/// Returns the noted sandboxes that `fits` selects and whose supervisors run. A killed supervisor leaves its note behind.
fn holders(folder: &VolumeFolder, fits: impl Fn(&Note) -> bool) -> Vec<String> {
    let is_alive = |path: &Path| matches!(read_json::<Note>(path), Ok(Some(note)) if fits(&note) && note.process.is_alive());
    let notes = std::fs::read_dir(folder.holders()).into_iter().flatten().flatten();
    let mut holders: Vec<_> = notes
        .filter(|note| is_alive(&note.path()))
        .map(|note| note.file_name().to_string_lossy().into_owned())
        .collect();
    holders.sort();
    holders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use schemas::name::ProjectName;

    const DISK: VolumeKind = VolumeKind::Disk;

    fn volume() -> (tempfile::TempDir, VolumeName, VolumeFolder) {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().to_owned()).unwrap();
        let name = VolumeName::new("data").unwrap();
        let folder = home.volume(&ProjectName::new("shop").unwrap(), &name);
        make_private_folder(folder.path()).unwrap();
        std::fs::write(folder.disk(), "disk").unwrap();
        (scratch, name, folder)
    }

    #[test]
    fn one_writes_or_several_read() {
        let (_scratch, name, folder) = volume();
        let take = |access, holder| HeldVolume::take(&name, &folder, DISK, access, Some(holder));
        let writer = take(Access::Write, "shop-db").unwrap();
        for access in [Access::Read, Access::Write] {
            match take(access, "shop-web") {
                Err(VolumeError::InUse { holders, .. }) => assert_eq!(holders, ["shop-db"]),
                other => panic!("{other:?}"),
            }
        }
        drop(writer);
        let readers = [take(Access::Read, "shop-a").unwrap(), take(Access::Read, "shop-b").unwrap()];
        match take(Access::Write, "shop-web") {
            Err(VolumeError::InUse { holders, .. }) => assert_eq!(holders, ["shop-a", "shop-b"]),
            other => panic!("{other:?}"),
        }
        drop(readers);
        take(Access::Write, "shop-web").unwrap();
    }

    #[test]
    fn a_copy_of_the_descriptor_keeps_the_lock() {
        let (_scratch, name, folder) = volume();
        let held = HeldVolume::take(&name, &folder, DISK, Access::Write, Some("shop-db")).unwrap();
        let of_the_machine = held.disk().try_clone().unwrap();
        drop(held);
        match HeldVolume::take(&name, &folder, DISK, Access::Write, None) {
            Err(VolumeError::InUse { holders, .. }) => assert!(holders.is_empty()),
            other => panic!("{other:?}"),
        }
        drop(of_the_machine);
        HeldVolume::take(&name, &folder, DISK, Access::Write, None).unwrap();
    }

    #[test]
    fn several_use_a_directory_until_it_is_removed() {
        let (_scratch, name, folder) = volume();
        make_private_folder(&folder.directory()).unwrap();
        let take = |access, holder| HeldVolume::take(&name, &folder, VolumeKind::Directory, access, holder);
        let users =
            [take(Access::Read, Some("shop-a")).unwrap(), take(Access::Write, Some("shop-b")).unwrap()];
        let error = take(Access::Remove, None).unwrap_err().to_string();
        assert!(
            error.starts_with("the volume data is in use by shop-a, shop-b: it can be removed"),
            "{error}"
        );
        drop(users);
        let removal = take(Access::Remove, None).unwrap();
        for access in [Access::Read, Access::Write, Access::WriteShared] {
            let error = take(access, Some("shop-a")).unwrap_err().to_string();
            assert_eq!(error, "the volume data is in use: it is being removed");
        }
        drop(removal);
        std::fs::remove_dir(folder.directory()).unwrap();
        let error = take(Access::Read, None).unwrap_err().to_string();
        assert!(error.starts_with("the volume data has no directory at /"), "{error}");
    }

    #[test]
    fn one_writes_to_a_directory_unless_it_is_shared_and_any_number_reads_it() {
        let (_scratch, name, folder) = volume();
        make_private_folder(&folder.directory()).unwrap();
        let take =
            |access, holder| HeldVolume::take(&name, &folder, VolumeKind::Directory, access, Some(holder));
        let refused = |access, holder| take(access, holder).unwrap_err().to_string();
        let writer = take(Access::Write, "shop-a").unwrap();
        let reader = take(Access::Read, "shop-b").unwrap();
        // Readers are not named.
        assert_eq!(
            refused(Access::Write, "shop-c"),
            "the volume data is in use by shop-a: only one sandbox at a time may write to it, unless it is declared as \
             `shared`"
        );
        // It has become shared while it was in use.
        assert_eq!(
            refused(Access::WriteShared, "shop-c"),
            "the volume data is in use by shop-a: a sandbox that began to write to it before it was `shared` must be \
             restarted first"
        );
        drop(writer);
        let shared = ["shop-a", "shop-c"].map(|holder| take(Access::WriteShared, holder).unwrap());
        assert!(
            refused(Access::Write, "shop-d").starts_with("the volume data is in use by shop-a, shop-c: ")
        );
        drop(shared);
        let _writer = take(Access::Write, "shop-d").unwrap();
        drop(reader);
    }

    #[test]
    fn a_volume_that_is_gone_is_named() {
        let (_scratch, name, folder) = volume();
        std::fs::remove_file(folder.disk()).unwrap();
        let error = HeldVolume::take(&name, &folder, DISK, Access::Read, None).unwrap_err();
        assert!(error.to_string().starts_with("the volume data has no disk at /"), "{error}");
    }
}
