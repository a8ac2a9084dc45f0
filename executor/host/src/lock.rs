//! File locks of the kernel, which end with their holder, and the holder's description inside the file.

use crate::process::ProcessIdentity;
use executor_fs::file::open_locked;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The pause between two attempts: `flock` has no timeout of its own.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// The most that is read of a holder's description, in bytes.
const HOLDER_BYTES_MAX: u64 = 4096;

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: ProcessIdentity,
    /// The command that took the lock.
    pub command: String,
    /// The time of taking the lock, in seconds since 1970.
    pub since_unix: u64,
}

/// A failure to take a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is locked", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, if its description could be read.
        holder: Option<Holder>,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A held lock; dropping it releases the lock.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes a lock, waiting at most `timeout` for its holder.
    ///
    /// # Errors
    ///
    /// If the lock is still held then, or the file cannot be opened or locked.
    pub fn acquire(path: &Path, command: &str, timeout: Duration) -> Result<Self, LockError> {
        let deadline = Instant::now() + timeout;
        let error = |source: io::Error| LockError::Io { path: path.to_owned(), source };
        loop {
            if let Some(file) = open_locked(path).map_err(error)? {
                let mut lock = Self { file, path: path.to_owned() };
                // The description is for messages only: the lock itself works on a full disk as well.
                if let Err(error) = lock.write_holder(command) {
                    tracing::debug!("{}: {error}", path.display());
                }
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(LockError::Held { path: path.to_owned(), holder: read_holder(path) });
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    fn write_holder(&mut self, command: &str) -> io::Result<()> {
        let Some(process) = ProcessIdentity::current() else { return Ok(()) };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let holder = Holder { process, command: command.to_owned(), since_unix: now.as_secs() };
        let text = serde_json::to_vec(&holder)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.set_len(text.len() as u64)
    }

    /// Removes the lock file and releases the lock.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads the last holder's description from a lock file. `None` if there is none; the holder may have released the lock
/// since.
pub fn read_holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::acquire(&path, "msb up", Duration::ZERO).unwrap();
        match FileLock::acquire(&path, "msb down", Duration::from_millis(30)) {
            Err(LockError::Held { holder: Some(holder), .. }) => assert_eq!(holder.command, "msb up"),
            other => panic!("{other:?}"),
        }
        drop(held);
        FileLock::acquire(&path, "msb down", Duration::ZERO).unwrap().remove();
        assert!(!path.exists());
    }

    #[test]
    fn removing_a_lock_never_lets_two_in() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while entered.load(Ordering::SeqCst) < 2000 {
                        // A holder removes the file when it releases the lock; a lock on the removed file
                        // must not count.
                        let lock = match FileLock::acquire(&path, "msb up", Duration::ZERO) {
                            Err(LockError::Held { .. }) => continue,
                            lock => lock.unwrap(),
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                        entered.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        lock.remove();
                    }
                });
            }
        });
    }
}
