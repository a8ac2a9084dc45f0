//! Locks on volumes: on a disk, which one sandbox may write to, or several may read, and on a directory, which any number
//! of sandboxes use.
//!
//! The lock is on the opened disk or directory itself. A virtual machine inherits the descriptor, so the lock ends when both the
//! supervisor and the machine have ended: no second machine mounts a disk that the first one may still write to. Files
//! beside it name its users, for messages only.

use crate::home::{VolumeFolder, make_private_folder};
use crate::process::ProcessIdentity;
use crate::state::read_json;
use executor_fs::atomic::{self, Sync};
use executor_fs::file::{if_present, is_at, try_lock};
use rustix::fs::FlockOperation;
use schemas::name::VolumeName;
use schemas::spec::VolumeKind;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The use of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Shared: other sandboxes may read it as well.
    Read,
    /// Exclusive.
    Write,
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
        (VolumeKind::Disk, Access::Read) => "while one sandbox may write to it, no other has it",
        (VolumeKind::Disk, Access::Write) => {
            "a sandbox that may write to it must be the only one that has it"
        }
        (VolumeKind::Directory, Access::Read) => "it is being removed",
        (VolumeKind::Directory, Access::Write) => "it can be removed once no sandbox runs with it",
    }
}

/// A volume, opened and locked.
#[derive(Debug)]
pub struct HeldVolume {
    file: File,
    note: Option<PathBuf>,
}

impl HeldVolume {
    /// Opens and locks a disk without waiting. `holder` is the full name of the sandbox, noted for messages; `None` notes
    /// nothing.
    ///
    /// # Errors
    ///
    /// If another sandbox uses the volume, or the disk is missing or cannot be opened.
    pub fn take(
        volume: &VolumeName,
        folder: &VolumeFolder,
        access: Access,
        holder: Option<&str>,
    ) -> Result<Self, VolumeError> {
        Self::open(volume, folder, VolumeKind::Disk, access, holder)
    }

    /// Opens and locks a directory without waiting: shared with [`Access::Read`], whatever a sandbox does with it, and
    /// with [`Access::Write`] to remove it. `holder` is the full name of the sandbox, noted for messages; `None` notes
    /// nothing.
    ///
    /// # Errors
    ///
    /// If the directory is being removed, is in use and would be removed, is missing, or cannot be opened.
    pub fn take_directory(
        volume: &VolumeName,
        folder: &VolumeFolder,
        access: Access,
        holder: Option<&str>,
    ) -> Result<Self, VolumeError> {
        Self::open(volume, folder, VolumeKind::Directory, access, holder)
    }

    fn open(
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
        let writes = kind == VolumeKind::Disk && access == Access::Write;
        let opened = OpenOptions::new().read(true).write(writes).open(&path);
        let file = if_present(opened).map_err(failed)?.ok_or_else(missing)?;
        let operation = match access {
            Access::Read => FlockOperation::NonBlockingLockShared,
            Access::Write => FlockOperation::NonBlockingLockExclusive,
        };
        if !try_lock(&file, operation).map_err(failed)? {
            let (volume, holders) = (volume.clone(), holders(folder));
            return Err(VolumeError::InUse { volume, kind, access, holders });
        }
        // It may have been removed between open and lock.
        if !is_at(&file, &path).map_err(failed)? {
            return Err(missing());
        }
        let note = holder.map(|holder| write_note(folder, holder)).transpose().map_err(failed)?;
        Ok(Self { file, note })
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

fn write_note(folder: &VolumeFolder, holder: &str) -> io::Result<PathBuf> {
    make_private_folder(&folder.holders())?;
    let note = folder.holders().join(holder);
    let process = ProcessIdentity::current().ok_or(io::ErrorKind::Other)?;
    atomic::write(&note, &serde_json::to_vec(&process)?, Sync::Yes)?;
    Ok(note)
}

/// Returns the noted sandboxes whose supervisors run. A killed supervisor leaves its note behind.
fn holders(folder: &VolumeFolder) -> Vec<String> {
    let is_alive =
        |note: &Path| matches!(read_json::<ProcessIdentity>(note), Ok(Some(process)) if process.is_alive());
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
        let take = |access, holder| HeldVolume::take(&name, &folder, access, Some(holder));
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
        let held = HeldVolume::take(&name, &folder, Access::Write, Some("shop-db")).unwrap();
        let of_the_machine = held.disk().try_clone().unwrap();
        drop(held);
        match HeldVolume::take(&name, &folder, Access::Write, None) {
            Err(VolumeError::InUse { holders, .. }) => assert!(holders.is_empty()),
            other => panic!("{other:?}"),
        }
        drop(of_the_machine);
        HeldVolume::take(&name, &folder, Access::Write, None).unwrap();
    }

    #[test]
    fn several_use_a_directory_until_it_is_removed() {
        let (_scratch, name, folder) = volume();
        make_private_folder(&folder.directory()).unwrap();
        let take = |access, holder| HeldVolume::take_directory(&name, &folder, access, holder);
        let users =
            [take(Access::Read, Some("shop-a")).unwrap(), take(Access::Read, Some("shop-b")).unwrap()];
        let error = take(Access::Write, None).unwrap_err().to_string();
        assert!(
            error.starts_with("the volume data is in use by shop-a, shop-b: it can be removed"),
            "{error}"
        );
        drop(users);
        let removal = take(Access::Write, None).unwrap();
        let error = take(Access::Read, Some("shop-a")).unwrap_err().to_string();
        assert_eq!(error, "the volume data is in use: it is being removed");
        drop(removal);
        std::fs::remove_dir(folder.directory()).unwrap();
        let error = take(Access::Read, None).unwrap_err().to_string();
        assert!(error.starts_with("the volume data has no directory at /"), "{error}");
    }

    #[test]
    fn a_volume_that_is_gone_is_named() {
        let (_scratch, name, folder) = volume();
        std::fs::remove_file(folder.disk()).unwrap();
        let error = HeldVolume::take(&name, &folder, Access::Read, None).unwrap_err();
        assert!(error.to_string().starts_with("the volume data has no disk at /"), "{error}");
    }
}
