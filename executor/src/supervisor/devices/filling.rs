//! Locks for the boot of a guest that may fill an empty directory volume with files of its image: two sandboxes that share
//! the volume never do so at the same time.

use executor_fs::file::{if_present, open_locked};
use executor_host::home::VolumeFolder;
use protocol::latest::{COPY_COMPLETE, COPY_PARTIAL};
use std::fs::{File, read_dir, symlink_metadata};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The directory that does not count as contents.
const LOST_AND_FOUND: &str = "lost+found";
/// The pause between two attempts to take a lock.
const RETRY: Duration = Duration::from_millis(20);

/// Locks a volume unless it has contents; waits for another guest that fills it. `None` if it has contents then.
///
/// # Errors
///
/// If the directory cannot be read, or the lock cannot be taken.
pub async fn lock(folder: &VolumeFolder) -> io::Result<Option<File>> {
    while may_be_filled(&folder.directory())? {
        if let Some(lock) = open_locked(&folder.filling())? {
            // Another guest may have filled it before the lock was taken.
            return Ok(may_be_filled(&folder.directory())?.then_some(lock));
        }
        tokio::time::sleep(RETRY).await;
    }
    Ok(None)
}

/// Returns whether a guest may copy files of its image into a directory: it is empty, or such a copy is not complete.
fn may_be_filled(directory: &Path) -> io::Result<bool> {
    for copy in [COPY_PARTIAL, COPY_COMPLETE] {
        if if_present(symlink_metadata(directory.join(copy)))?.is_some() {
            return Ok(true);
        }
    }
    for entry in read_dir(directory)? {
        if entry?.file_name() != LOST_AND_FOUND {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_host::home::{Home, make_private_folder};
    use schemas::name::{ProjectName, VolumeName};
    use std::fs::{create_dir, remove_dir, write};

    #[test]
    fn empty_directories_and_interrupted_copies_may_be_filled() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        assert!(may_be_filled(scratch.path()).unwrap());
        create_dir(path(LOST_AND_FOUND)).unwrap();
        assert!(may_be_filled(scratch.path()).unwrap());
        write(path("file"), "").unwrap();
        assert!(!may_be_filled(scratch.path()).unwrap());
        for copy in [COPY_PARTIAL, COPY_COMPLETE] {
            create_dir(path(copy)).unwrap();
            assert!(may_be_filled(scratch.path()).unwrap(), "{copy}");
            remove_dir(path(copy)).unwrap();
        }
        assert!(may_be_filled(&path("missing")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_guest_waits_until_the_first_one_has_filled_the_volume() {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().to_owned()).unwrap();
        let folder = home.volume(&ProjectName::new("shop").unwrap(), &VolumeName::new("data").unwrap());
        make_private_folder(&folder.directory()).unwrap();
        let first = lock(&folder).await.unwrap();
        assert!(first.is_some());
        let mut second = std::pin::pin!(lock(&folder));
        let waits = tokio::time::timeout(RETRY * 10, &mut second).await;
        assert!(waits.is_err());
        write(folder.directory().join("file"), "").unwrap();
        drop(first);
        assert!(second.await.unwrap().is_none());
        // One that is still empty is locked again.
        std::fs::remove_file(folder.directory().join("file")).unwrap();
        assert!(lock(&folder).await.unwrap().is_some());
    }
}
