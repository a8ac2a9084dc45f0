//! Atomic writes: a reader sees the old contents or the new ones, never a part.

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The attempts at a temporary name; a killed process may have left files of such names.
const NAMES_TRIED_MAX: u32 = 64;
/// The size of a spare file in bytes.
const SPARE_BYTES: u64 = 16 * 1024;

/// The durability of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It is on the disk when the write returns, and outlasts a power cut.
    Yes,
    /// A power cut may lose it.
    No,
}

/// Writes a file with mode 0600 under a temporary name, and renames it to `path`.
///
/// # Errors
///
/// If the folder is missing or full; the file is unchanged then.
pub fn write(path: &Path, contents: &[u8], sync: Sync) -> io::Result<()> {
    let (mut file, temporary) = create_temporary(path)?;
    let written = file.write_all(contents).and_then(|()| match sync {
        Sync::Yes => publish(&file, &temporary, path),
        Sync::No => fs::rename(&temporary, path),
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Syncs a finished file and renames it to its final name, so that both outlast a power cut.
///
/// # Errors
///
/// If the file cannot be synced or renamed.
pub fn publish(file: &File, temporary: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(temporary, path)?;
    sync_folder_of(path)
}

/// Waits until the names in a file's folder are on the disk.
///
/// # Errors
///
/// If the folder cannot be opened or synced.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A file that can be replaced on a full file system: a spare file beside it reserves space and an inode.
#[derive(Clone, Debug)]
pub struct Spared {
    path: PathBuf,
    spare: PathBuf,
}

impl Spared {
    /// Describes the file at this path; creates nothing.
    pub fn new(path: PathBuf) -> Self {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".spare");
        let spare = path.with_file_name(name);
        Self { path, spare }
    }

    /// Creates the spare file unless it exists. Call it while there is space.
    ///
    /// # Errors
    ///
    /// If there is no space for it.
    pub fn prepare(&self) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&self.spare, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        allocate(&file, SPARE_BYTES)
    }

    /// Writes the file as [`write`] does, with the spare file's space if there is no other.
    ///
    /// # Errors
    ///
    /// As [`write`]; also if the spare file is missing or too small on a full disk.
    pub fn write(&self, contents: &[u8], sync: Sync) -> io::Result<()> {
        match write(&self.path, contents, sync) {
            Err(error) if is_no_space(&error) => self.write_by_spare(contents, sync),
            done => done,
        }
    }

    fn write_by_spare(&self, contents: &[u8], sync: Sync) -> io::Result<()> {
        let mut file = File::options().write(true).open(&self.spare)?;
        file.write_all(contents)?;
        file.set_len(contents.len() as u64)?;
        match sync {
            Sync::Yes => publish(&file, &self.spare, &self.path)?,
            Sync::No => fs::rename(&self.spare, &self.path)?,
        }
        // The replaced file has freed space for the next spare one.
        let _ = self.prepare();
        Ok(())
    }
}

/// Whether an error means that the file system is full or the user's quota is exhausted.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Allocates space for an empty file; it reads as zeros.
///
/// # Errors
///
/// If there is too little space.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // A file system without `fallocate` allocates what is written.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let mut file = file;
            file.write_all(&vec![0; usize::try_from(bytes).unwrap_or(0)])
        }
        done => Ok(done?),
    }
}

/// Creates a temporary file beside `path`.
fn create_temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?.to_string_lossy();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut tried = 0;
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}.{number}", std::process::id()));
        match rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((File::from(file), temporary)),
            Err(Errno::EXIST) if tried < NAMES_TRIED_MAX => tried += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_write_replaces_the_file_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write(&path, b"one", Sync::Yes).unwrap();
        write(&path, b"two", Sync::No).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("none/x"), b"x", Sync::Yes).is_err());
    }

    #[test]
    fn threads_do_not_share_a_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for letter in [b'a', b'b', b'c', b'd'] {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..200 {
                        write(path, &[letter; 5000], Sync::No).unwrap();
                        let read = fs::read(path).unwrap();
                        assert!(read.len() == 5000 && read.iter().all(|byte| *byte == read[0]));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftover_temporary_names_are_skipped_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        // Every name that the next write could try first.
        for number in 0..20 {
            let name = format!(".file.{}.{number}", std::process::id());
            let _ = std::os::unix::fs::symlink(&victim, folder.path().join(name));
        }
        write(&path, b"new", Sync::Yes).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&victim).unwrap()),
            (b"new".to_vec(), b"precious".to_vec())
        );
    }
}
