//! Removal of whole trees, whatever their depth and modes.

use crate::beneath::Directory;
use rustix::fs::{AtFlags, Mode, OFlags, chmod, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;

/// Removes a directory with everything in it, unless it is missing. Links are removed, never followed, and directories
/// that their owner may not read or write are made accessible first.
///
/// Contents of a directory in the tree are moved to the top before the directory is removed, so two open descriptors and
/// no recursion are enough, however deep someone has made it. After a failure it can be called again.
///
/// # Errors
///
/// If the name is no directory, or something cannot be removed: a mount point, an immutable file, or a directory in which
/// someone creates files meanwhile.
pub fn remove_tree(parent: &Directory, name: &CStr) -> io::Result<()> {
    let top = match open_accessible(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut moved = 0;
    loop {
        let names = top.names()?;
        let names = names.sorted();
        if names.is_empty() {
            break;
        }
        for name in names {
            if !remove_file(&top, name)? {
                let directory = open_accessible(&top, name)?;
                for child in directory.names()?.sorted() {
                    if !remove_file(&directory, child)? {
                        move_to_top(&directory, child, &top, &mut moved)?;
                    }
                }
                remove_empty(&top, name)?;
            }
        }
    }
    remove_empty(parent, name)
}

/// Removes anything but a directory; false for a directory.
fn remove_file(directory: &Directory, name: &CStr) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        // POSIX's error for a directory, and that for a file which may not be removed.
        Err(Errno::PERM) => match directory.open_directory(name) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Errno::PERM.into()),
            _ => Ok(false),
        },
        Err(error) => Err(error.into()),
    }
}

fn remove_empty(parent: &Directory, name: &CStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Moves a directory to the top of the tree under a new name. `moved` counts the names that were tried.
fn move_to_top(directory: &Directory, name: &CStr, top: &Directory, moved: &mut u64) -> io::Result<()> {
    loop {
        let new = CString::new(format!(".removed-{moved}"))?;
        match renameat(directory, name, top, &new) {
            Ok(()) => {
                *moved += 1;
                return Ok(());
            }
            // Something of that name is there; an empty directory would have been replaced, as it is to be removed too.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            // A directory that changes its parent must be writable itself.
            Err(Errno::ACCESS) => {
                open_accessible(directory, name)?;
                return Ok(renameat(directory, name, top, &new)?);
            }
            Err(error) => return Err(error.into()),
        }
        *moved += 1;
    }
}

/// Opens a directory in another one, and gives its owner all permissions.
fn open_accessible(parent: &Directory, name: &CStr) -> io::Result<Directory> {
    let directory = match parent.open_directory(name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let path = openat(parent, name, flags, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", path.as_raw_fd()), Mode::RWXU)?;
            parent.open_directory(name)?
        }
        opened => opened?,
    };
    if directory.stat_self()?.st_mode & Mode::RWXU.bits() != Mode::RWXU.bits() {
        fchmod(&directory, Mode::RWXU)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set_mode(path: &std::path::Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn trees_of_any_mode_and_depth_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let (tree, outside) = (scratch.path().join("tree"), scratch.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "kept").unwrap();
        // Names that the removal itself would use, and a directory between files.
        for path in ["closed/deep/er", "closed/empty", "b/.removed-0", ".removed-0/x", ".removed-2"] {
            fs::create_dir_all(tree.join(path)).unwrap();
        }
        for path in ["a", "z", "closed/deep/file", ".removed-1"] {
            fs::write(tree.join(path), "").unwrap();
        }
        symlink(&outside, tree.join("closed/link")).unwrap();
        symlink("nowhere", tree.join("link")).unwrap();
        set_mode(&tree.join("a"), 0);
        set_mode(&tree.join("closed/deep"), 0o500);
        set_mode(&tree.join("closed"), 0);
        // Deeper than descriptors or the stack would allow, and longer than a path may be.
        let mut below = Directory::open(&tree).unwrap();
        for _ in 0..2000 {
            below = below.make_directory(c"level", Mode::RWXU).unwrap();
        }
        below.create_file(c"bottom", Mode::empty()).unwrap();
        drop(below);
        set_mode(&tree, 0o500);

        let parent = Directory::open(scratch.path()).unwrap();
        remove_tree(&parent, c"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"kept");
        // A second time there is nothing to do.
        remove_tree(&parent, c"tree").unwrap();
    }

    #[test]
    fn only_directories_are_trees() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("target")).unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        symlink("target", scratch.path().join("link")).unwrap();
        let parent = Directory::open(scratch.path()).unwrap();
        for name in [c"file", c"link"] {
            assert!(remove_tree(&parent, name).is_err(), "{name:?}");
        }
        assert_eq!(parent.names().unwrap().sorted(), [c"file", c"link", c"target"]);
    }
}
