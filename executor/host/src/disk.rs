//! Locks on a sandbox's own writable disk, which one virtual machine at a time may write to.
//!
//! As with a volume, the lock is on the opened disk itself, and the virtual machine inherits the descriptor: the lock is
//! held as long as any machine has the disk, even if its supervisor and `state.json` are gone.

use crate::process::ProcessIdentity;
use executor_fs::file::try_lock;
use rustix::fs::{FlockOperation, OFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A failure to lock a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A virtual machine uses it.
    #[error("the disk {} is in use by another virtual machine{}", path.display(), of(holders))]
    InUse {
        /// The disk.
        path: PathBuf,
        /// The processes with the lock, as far as this user may see them.
        holders: Vec<ProcessIdentity>,
    },
    /// It cannot be opened or locked.
    #[error("cannot open the disk {}", path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn of(holders: &[ProcessIdentity]) -> String {
    let pids: Vec<_> = holders.iter().map(|holder| holder.pid.to_string()).collect();
    if pids.is_empty() { String::new() } else { format!(" (process {})", pids.join(", ")) }
}

/// Opens a writable disk and locks it. The lock is held until every duplicate of the descriptor is closed.
///
/// # Errors
///
/// If another process has the lock, or the disk cannot be opened.
pub fn take(path: &Path) -> Result<File, DiskError> {
    let failed = |source: io::Error| DiskError::Io { path: path.to_owned(), source };
    let disk = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    if !try_lock(&disk, FlockOperation::NonBlockingLockExclusive).map_err(failed)? {
        let holders = holders(&disk).map_err(failed)?;
        return Err(DiskError::InUse { path: path.to_owned(), holders });
    }
    Ok(disk)
}

/// Finds the processes that inherited a descriptor with a lock on this file.
fn holders(disk: &File) -> io::Result<Vec<ProcessIdentity>> {
    let metadata = disk.metadata()?;
    let file = (metadata.dev(), metadata.ino());
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Descriptors of other users' processes cannot be read.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors.flatten().any(|descriptor| {
            let is_disk = fs::metadata(descriptor.path())
                .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == file);
            let info = process.path().join("fdinfo").join(descriptor.file_name());
            is_disk && is_inherited_lock(&fs::read(info).unwrap_or_default())
        });
        if holds && let Some(holder) = ProcessIdentity::of(pid) {
            holders.push(holder);
        }
    }
    Ok(holders)
}

/// Whether a descriptor, by its file in `/proc/<pid>/fdinfo`, carries a lock of `flock` and was inherited across an exec.
/// A close-on-exec descriptor is the opener's own, or a child's that has not called exec yet.
fn is_inherited_lock(info: &[u8]) -> bool {
    let (mut locked, mut inherited) = (false, false);
    for line in String::from_utf8_lossy(info).lines() {
        match line.split_once(':') {
            Some(("flags", flags)) => {
                let flags = u32::from_str_radix(flags.trim(), 8);
                inherited = flags.is_ok_and(|flags| flags & OFlags::CLOEXEC.bits() == 0);
            }
            Some(("lock", lock)) => locked |= lock.contains("FLOCK"),
            _ => {}
        }
    }
    locked && inherited
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn only_inherited_locks_count() {
        let lock = "lock:\t1: FLOCK  ADVISORY  WRITE 71 00:21:5 0 EOF\n";
        let of = |flags: &str, lock: &str| {
            is_inherited_lock(format!("pos:\t0\nflags:\t{flags}\n{lock}").as_bytes())
        };
        assert!(of("0100002", lock));
        assert!(!of("02100002", lock), "closed by the next exec");
        assert!(!of("0100002", ""));
        assert!(!of("0100002", "lock:\t1: POSIX  ADVISORY  WRITE 71 00:21:5 0 EOF\n"));
        assert!(!is_inherited_lock(b"flags:\t9\nlock:\xff"));
    }

    #[test]
    fn a_machine_that_inherited_the_disk_has_it_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.ext4");
        fs::write(&path, "disk").unwrap();
        let held = take(&path).unwrap();
        // A reader has no lock and does not count as a holder.
        let reader = File::open(&path).unwrap();
        let mut machine = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .stdin(Stdio::from(held.try_clone().unwrap()))
            .spawn()
            .unwrap();
        drop(held);
        match take(&path) {
            Err(error @ DiskError::InUse { .. }) => {
                let expected = format!("in use by another virtual machine (process {})", machine.id());
                assert!(error.to_string().ends_with(&expected), "{error}");
            }
            other => panic!("{other:?}"),
        }
        machine.kill().unwrap();
        machine.wait().unwrap();
        take(&path).unwrap();
        drop(reader);
    }
}
