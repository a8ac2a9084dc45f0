//! Output files that the user names: reports, plans, archives, the lock file.
//!
//! Regular files are replaced atomically. Anything else (a device, a pipe, the target of `/dev/stdout`) is written in
//! place, as by `>` in a shell. Symbolic links are followed and stay.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// Mode of a new file, before the umask is applied.
const MODE: u32 = 0o666;

/// A file being written. Unless [`OutputFile::finish`] is called, a regular file stays unchanged.
pub struct OutputFile {
    file: File,
    /// The path of the file, if it is temporary, and the path that it is renamed to at the end.
    renamed: Option<(TempPath, PathBuf)>,
}

impl OutputFile {
    /// Opens a path for output. A regular file keeps its mode.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::open(path, None)
    }

    /// Opens a path for output that only the owner may read.
    pub fn create_private(path: &Path) -> io::Result<Self> {
        Self::open(path, Some(0o600))
    }

    fn open(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let found = match fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(stream) = found.as_ref().and_then(own_stream) {
            // Reopening would truncate the file that the shell redirected to, and fails for sockets.
            return Ok(Self { file: stream?, renamed: None });
        }
        if found.as_ref().is_some_and(|found| !found.is_file()) {
            return in_place(path);
        }
        // The target of a link is replaced, not the link. A dangling link gets its target created.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(_) if fs::symlink_metadata(path).is_ok() => return in_place(path),
            Err(_) => path.to_owned(),
        };
        let folder =
            target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".msb-").permissions(Permissions::from_mode(mode.unwrap_or(MODE)));
        let (file, temporary) = match builder.tempfile_in(folder) {
            Ok(file) => file.into_parts(),
            // The file may be writable in a folder that is not.
            Err(_) if found.is_some() => return in_place(path),
            Err(error) => return Err(error),
        };
        if let Some(mode) = found.map(|found| found.mode() & 0o777).filter(|_| mode.is_none()) {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(Self { file, renamed: Some((temporary, target)) })
    }

    /// Makes the written bytes the contents of the path.
    pub fn finish(self) -> io::Result<()> {
        let Some((temporary, path)) = self.renamed else { return Ok(()) };
        self.file.sync_all()?;
        match temporary.persist(&path) {
            // A file that is a mount point, as in containers, cannot be replaced.
            Err(failed) if failed.error.kind() == io::ErrorKind::ResourceBusy => {
                io::copy(&mut File::open(&failed.path)?, &mut File::create(&path)?).map(drop)
            }
            persisted => persisted.map_err(|failed| failed.error),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn in_place(path: &Path) -> io::Result<OutputFile> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    Ok(OutputFile { file, renamed: None })
}

/// Returns a duplicate of this process's stdout or stderr if the path refers to it, as `/dev/stdout` does.
fn own_stream(found: &Metadata) -> Option<io::Result<File>> {
    // Terminals and `/dev/null` can be opened again.
    if found.file_type().is_char_device() {
        return None;
    }
    let (stdout, stderr) = (io::stdout(), io::stderr());
    [stdout.as_fd(), stderr.as_fd()].into_iter().find(|stream| is_same(*stream, found)).map(|stream| {
        io::stdout().flush()?;
        Ok(File::from(stream.try_clone_to_owned()?))
    })
}

fn is_same(stream: BorrowedFd<'_>, found: &Metadata) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| stat.st_dev == found.dev() && stat.st_ino == found.ino())
}

/// Writes a file in one go. See [`OutputFile::create`].
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OutputFile::create(path)?;
    file.write_all(contents)?;
    file.finish()
}

/// Removes the output of an earlier run, so that it is not mistaken for that of this one. Only regular files are
/// removed.
pub fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mkfifoat};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_regular_file_is_replaced_atomically_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.xml");
        write(&path, b"one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let first = fs::metadata(&path).unwrap().ino();
        let mut abandoned = OutputFile::create(&path).unwrap();
        abandoned.write_all(b"half").unwrap();
        drop(abandoned);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let found = fs::metadata(&path).unwrap();
        assert_ne!(found.ino(), first);
        assert_eq!(found.mode() & 0o777, 0o640);
        OutputFile::create_private(&path).unwrap().finish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["report.xml"]);
    }

    #[test]
    fn a_pipe_is_written_to_and_stays_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut text = String::new();
                File::open(path).unwrap().read_to_string(&mut text).unwrap();
                text
            })
        };
        remove_stale(&path).unwrap();
        write(&path, b"through it").unwrap();
        assert_eq!(reader.join().unwrap(), "through it");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_device_is_written_to_and_stays_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("null");
        let null = rustix::fs::makedev(1, 3);
        // Only root may create devices.
        if rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, null).is_err()
        {
            return;
        }
        remove_stale(&path).unwrap();
        write(&path, b"nowhere").unwrap();
        assert!(fs::metadata(&path).unwrap().file_type().is_char_device());
        assert_eq!(names(folder.path()), ["null"]);
    }

    #[test]
    fn the_target_of_a_link_is_written_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        symlink("target", &link).unwrap();
        for contents in ["made", "replaced"] {
            remove_stale(&link).unwrap();
            write(&link, contents.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), contents);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(names(folder.path()), ["link", "target"]);
        }
    }
}
