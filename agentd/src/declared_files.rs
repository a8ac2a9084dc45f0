//! Files that the Sandboxfile declares: written to a tmpfs at each boot, and bound over their paths.
//!
//! The disk never contains them. What the image has at such a path is covered, and is there again at the first boot
//! without the file. Where there is nothing, the file needs an empty one as its mount point, see
//! [`mount_points`](crate::mount_points).

use std::fs::{Permissions, metadata, read_link, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use protocol::latest::{BootFile, MAX_BOOT_FILES, MAX_BOOT_FILES_BYTES};
use rustix::mount::MountFlags;

use crate::mount_points::MountPoints;
use crate::mounts::{HiddenMount, Restrictions, bind};
use crate::root::{RootError, step};

/// The path of the hidden mount.
const DIRECTORY: &str = "/files";
/// The most links at a path that are followed, as by the kernel.
const LINKS_MAX: usize = 40;
/// What the files may not do; whether they can be written to and executed is up to their modes.
const RESTRICTIONS: Restrictions =
    Restrictions { read_only: false, noexec: false, nosuid: true, nodev: true };

/// The files on their own file system.
pub struct DeclaredFiles<'a> {
    files: &'a [BootFile],
    mount: HiddenMount,
}

impl<'a> DeclaredFiles<'a> {
    /// Writes the files, before the root is moved; `None` if there are none.
    pub fn write(files: &'a [BootFile]) -> Result<Option<Self>, RootError> {
        if files.is_empty() {
            return Ok(None);
        }
        let bytes: usize = files.iter().map(|file| file.contents.len()).sum();
        if files.len() > MAX_BOOT_FILES || bytes > MAX_BOOT_FILES_BYTES {
            return Err(RootError::TooManyFiles);
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let mount =
            HiddenMount::new("tmpfs", DIRECTORY, "tmpfs", flags, "the file system of declared files")?;
        for (index, file) in files.iter().enumerate() {
            let path = Path::new(DIRECTORY).join(index.to_string());
            step(write_one(&path, file), format!("write the file {}", file.destination))?;
        }
        Ok(Some(Self { files, mount }))
    }

    /// Binds each file to its path in the new root, where missing directories and mount points are created.
    pub fn bind(&self, points: &mut MountPoints<'_>) -> Result<(), RootError> {
        for (index, BootFile { destination, .. }) in self.files.iter().enumerate() {
            let target = target_of(destination);
            match metadata(&target) {
                Ok(found) if found.is_dir() => {
                    return Err(RootError::FileOverDirectory { destination: destination.clone() });
                }
                // Not opened, as it may be of any kind.
                Ok(_) => {}
                Err(_) => {
                    let what = format!("make the mount point of the file {destination}");
                    step(points.create(destination, &target), what)?;
                }
            }
            bind(&format!("{}/{index}", self.mount.path()), destination, RESTRICTIONS)?;
        }
        Ok(())
    }
}

fn write_one(path: &Path, file: &BootFile) -> std::io::Result<()> {
    let BootFile { destination: _, contents, mode, uid, gid } = file;
    write(path, contents)?;
    chown(path, Some(*uid), Some(*gid))?;
    set_permissions(path, Permissions::from_mode(mode & 0o777))
}

/// Returns the path that a path leads to if its last part is a link, even a dangling one, whose target can then be
/// created.
fn target_of(destination: &str) -> PathBuf {
    let mut target = PathBuf::from(destination);
    for _ in 0..LINKS_MAX {
        let Ok(link) = read_link(&target) else { break };
        target = target.parent().unwrap_or(Path::new("/")).join(link);
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::create_dir_all;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_file_has_its_contents_and_mode_whatever_the_mask() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let owner = metadata(scratch.path()).unwrap();
        for mode in [0o777, 0o600, 0o000] {
            let contents: Vec<u8> = (0..=u8::MAX).collect();
            let (uid, gid) = (owner.uid(), owner.gid());
            let file = BootFile { destination: "/x".to_owned(), contents, mode: mode | 0o4000, uid, gid };
            write_one(&path, &file).unwrap();
            assert_eq!(metadata(&path).unwrap().mode() & 0o7777, mode);
            set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), file.contents);
        }
    }

    #[test]
    fn more_than_the_host_may_send_is_refused() {
        let file = |bytes: usize| BootFile {
            destination: "/x".to_owned(),
            contents: vec![0; bytes],
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        let many = vec![file(0); MAX_BOOT_FILES + 1];
        let large = [file(MAX_BOOT_FILES_BYTES), file(1)];
        for files in [many.as_slice(), &large] {
            assert!(matches!(DeclaredFiles::write(files), Err(RootError::TooManyFiles)));
        }
        assert!(DeclaredFiles::write(&[]).unwrap().is_none());
    }

    #[test]
    fn links_are_followed_to_where_a_file_can_be_created() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        create_dir_all(at("etc")).unwrap();
        symlink("../run/missing/resolv.conf", at("etc/dangling")).unwrap();
        symlink("dangling", at("etc/again")).unwrap();
        symlink("loop", at("etc/loop")).unwrap();
        write(at("etc/plain"), "").unwrap();
        let target = |name: &str| target_of(at(name).to_str().unwrap());
        assert_eq!(target("etc/plain"), at("etc/plain"));
        assert_eq!(target("etc/missing"), at("etc/missing"));
        assert_eq!(target("etc/again"), at("etc/../run/missing/resolv.conf"));
        assert_eq!(target("etc/loop"), at("etc/loop"));
    }
}
