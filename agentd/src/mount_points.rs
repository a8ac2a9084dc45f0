//! Mount points of declared files that were created on the sandbox's disk, and are removed once they are not needed.
//!
//! Their paths are recorded on the disk, out of the guest's sight. Only what is still empty is removed, so a stale record
//! does no harm. Mount points on other file systems, such as volumes, stay.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, canonicalize, metadata};
use std::io::{Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use protocol::latest::BootFile;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat, unlinkat};
use rustix::io::Errno;

/// The name of the record in the root of the writable disk.
const RECORD: &str = "mount-points";
/// The largest record, in bytes. A larger one is not msb's.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// The mount points of a disk.
pub struct MountPoints<'a> {
    /// The root of the writable disk's own file system.
    disk: BorrowedFd<'a>,
    /// The root of the sandbox.
    root: &'a Path,
    /// Which paths below the root were created, and for which file. A directory comes before its contents.
    created: Vec<(PathBuf, PathBuf)>,
}

impl<'a> MountPoints<'a> {
    /// Reads the record, and removes the mount points of files that are not declared any more, before anything is mounted
    /// into the root.
    pub fn tidy(disk: &'a OwnedFd, root: &'a Path, files: &[BootFile]) -> Result<Self> {
        let disk = disk.as_fd();
        let recorded = read_record(disk)?;
        let is_declared = |path: &Path| files.iter().any(|file| Path::new(&file.destination) == path);
        let opened = File::open(root)?;
        let mut created = Vec::new();
        // Contents first.
        for (destination, point) in recorded.iter().rev() {
            if is_declared(destination) || remove(opened.as_fd(), point) == Err(Errno::NOTEMPTY) {
                created.push((destination.clone(), point.clone()));
            }
        }
        created.reverse();
        let points = Self { disk, root, created };
        if points.created != recorded {
            points.record()?;
        }
        Ok(points)
    }

    /// Creates an empty file at `target`, and the directories that lead to it, for the file that is declared for
    /// `destination`.
    pub fn create(&mut self, destination: &str, target: &Path) -> Result<()> {
        let mut missing: Vec<&Path> = target.ancestors().take_while(|path| metadata(path).is_err()).collect();
        missing.reverse();
        if let Some(parent) = target.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        OpenOptions::new().write(true).create_new(true).open(target)?;
        let device = metadata(self.root)?.dev();
        let mut is_changed = false;
        for path in missing {
            let path = canonicalize(path)?;
            // The device of a file may be that of a layer, that of a directory is not.
            let directory = path.parent().unwrap_or(Path::new("/"));
            if let Ok(point) = path.strip_prefix(self.root)
                && metadata(directory)?.dev() == device
            {
                self.created.push((PathBuf::from(destination), point.to_owned()));
                is_changed = true;
            }
        }
        if is_changed { self.record() } else { Ok(()) }
    }

    fn record(&self) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(self.disk, RECORD, flags, Mode::RUSR | Mode::WUSR)?);
        for (destination, point) in &self.created {
            for path in [destination, point] {
                file.write_all(path.as_os_str().as_bytes())?;
                file.write_all(&[0])?;
            }
        }
        // The mount points may be written to the disk at any time.
        file.sync_data()
    }
}

/// Returns the pairs in the record; none if there is no record.
fn read_record(disk: BorrowedFd<'_>) -> Result<Vec<(PathBuf, PathBuf)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(disk, RECORD, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Ok(Vec::new());
    }
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut paths = bytes.split(|byte| *byte == 0).map(path);
    let mut pairs = Vec::new();
    while let (Some(destination), Some(point)) = (paths.next(), paths.next()) {
        pairs.push((destination, point));
    }
    Ok(pairs)
}

/// Removes an empty file or an empty directory below a root, in which no link is followed.
fn remove(root: BorrowedFd<'_>, point: &Path) -> rustix::io::Result<()> {
    let inside: PathBuf = point.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let (Some(parent), Some(name)) = (inside.parent(), inside.file_name()) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = openat2(root, parent, flags, Mode::empty(), resolve)?;
    let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => unlinkat(&parent, name, AtFlags::REMOVEDIR),
        FileType::RegularFile if found.st_size == 0 => unlinkat(&parent, name, AtFlags::empty()),
        // The sandbox has put something of its own there.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, create_dir_all, read_dir, write};
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A disk, and the root of a sandbox.
    struct Scene {
        scratch: TempDir,
        disk: OwnedFd,
        root: PathBuf,
    }

    impl Scene {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let root = canonicalize(scratch.path()).unwrap().join("root");
            create_dir_all(root.join("etc")).unwrap();
            create_dir(scratch.path().join("disk")).unwrap();
            let disk = File::open(scratch.path().join("disk")).unwrap().into();
            Self { scratch, disk, root }
        }

        /// Boots with these files declared, as far as mount points are concerned.
        fn boot(&self, paths: &[&str]) {
            let file = |path: &&str| BootFile {
                destination: (*path).to_owned(),
                contents: Vec::new(),
                mode: 0o644,
                uid: 0,
                gid: 0,
            };
            let files: Vec<_> = paths.iter().map(file).collect();
            let mut points = MountPoints::tidy(&self.disk, &self.root, &files).unwrap();
            for BootFile { destination, .. } in &files {
                let target = self.at(destination);
                if metadata(&target).is_err() {
                    points.create(destination, &target).unwrap();
                }
            }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.join(path.trim_start_matches('/'))
        }

        fn exists(&self, path: &str) -> bool {
            self.at(path).symlink_metadata().is_ok()
        }

        fn has_record(&self) -> bool {
            read_dir(self.scratch.path().join("disk")).unwrap().count() > 0
        }
    }

    #[test]
    fn what_was_created_is_removed_once_its_file_is_not_declared() {
        let scene = Scene::new();
        scene.boot(&["/opt/app/a.conf", "/opt/app/b.conf"]);
        scene.boot(&["/opt/app/a.conf", "/opt/app/b.conf"]);
        assert!(scene.exists("/opt/app/a.conf") && scene.exists("/opt/app/b.conf"));
        // The directories were created for the first one.
        scene.boot(&["/opt/app/b.conf"]);
        assert!(!scene.exists("/opt/app/a.conf") && scene.exists("/opt/app/b.conf"));
        scene.boot(&[]);
        assert!(!scene.exists("/opt") && scene.exists("/etc"));
        scene.boot(&[]);
    }

    #[test]
    fn nothing_is_recorded_where_something_is_there() {
        let scene = Scene::new();
        write(scene.at("/etc/app.conf"), "").unwrap();
        scene.boot(&["/etc/app.conf"]);
        assert!(!scene.has_record());
        scene.boot(&[]);
        assert!(scene.exists("/etc/app.conf"));
    }

    #[test]
    fn what_the_sandbox_has_put_there_stays() {
        let scene = Scene::new();
        scene.boot(&["/opt/a/file", "/opt/b/file", "/opt/c/file"]);
        // A file of its own beside one, contents in the next, and a link in place of the last one's directory.
        write(scene.at("/opt/a/own"), "").unwrap();
        write(scene.at("/opt/b/file"), "own").unwrap();
        write(scene.at("/etc/file"), "").unwrap();
        std::fs::remove_dir_all(scene.at("/opt/c")).unwrap();
        symlink("../etc", scene.at("/opt/c")).unwrap();
        scene.boot(&[]);
        assert!(!scene.exists("/opt/a/file"));
        for path in ["/opt/a/own", "/opt/b/file", "/opt/c", "/etc/file"] {
            assert!(scene.exists(path), "{path}");
        }
        // A directory that is empty later goes then.
        std::fs::remove_file(scene.at("/opt/a/own")).unwrap();
        scene.boot(&[]);
        assert!(!scene.exists("/opt/a"));
    }

    #[test]
    fn a_record_of_anything_removes_nothing_outside_of_the_root() {
        let scene = Scene::new();
        let outside = scene.scratch.path().join("outside");
        for record in ["/x\0../outside\0", "/x\0/../outside\0", "/x\0", "\0\0\0", "/x\0.\0", "/x\0/\0"] {
            write(&outside, "").unwrap();
            write(scene.scratch.path().join("disk").join(RECORD), record).unwrap();
            scene.boot(&[]);
            assert!(outside.exists() && scene.exists("/etc"), "{record:?}");
        }
        let large = vec![b'x'; usize::try_from(RECORD_BYTES_MAX).unwrap() + 1];
        write(scene.scratch.path().join("disk").join(RECORD), large).unwrap();
        scene.boot(&[]);
    }
}
