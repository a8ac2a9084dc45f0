//! Space that is kept for msb itself: `MSB_HOME/reserve`.
//!
//! To stop and to remove sandboxes takes lock files and rows of the catalog: a little space and a few inodes, on a
//! disk that is full perhaps just because of these sandboxes. So a few files hold both. They are removed while such a
//! command writes, and made again afterwards.

use crate::home::make_private_folder;
use executor_fs::atomic::allocate;
use executor_fs::space::{Space, space};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// How many files there are: an inode each.
const FILES: u64 = 8;
/// The size of each, in bytes.
const FILE_BYTES: u64 = 128 * 1024;
/// The size of all of them, in bytes.
pub const RESERVE_BYTES: u64 = FILES * FILE_BYTES;
/// With less than this the reserve is given up.
const LOW: Space = Space { bytes: RESERVE_BYTES, inodes: FILES, total_bytes: 0 };
/// With this the reserve is made. Far enough from [`LOW`] that it is not made of what it has just given up.
const PLENTY: Space = Space { bytes: 4 * RESERVE_BYTES, inodes: 4 * FILES, total_bytes: 0 };

/// The reserve of one home, for one use. Dropping it takes back what it gave up, as far as that is still free.
#[derive(Debug)]
pub struct Reserve {
    folder: PathBuf,
    given_up: AtomicBool,
}

impl Reserve {
    /// The reserve in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, given_up: AtomicBool::new(false) }
    }

    /// Makes it where there is plenty of space. A host where that cannot be done is no reason to do nothing.
    pub fn make_if_plenty(&self) {
        let is_plenty = |left: Space| left.bytes >= PLENTY.bytes && left.inodes >= PLENTY.inodes;
        if self.left().is_some_and(is_plenty)
            && let Err(error) = make(&self.folder)
        {
            tracing::debug!("reserve: {error}");
        }
    }

    /// Gives it up where there is little space. For those who are about to write what frees space in the end; readers
    /// leave it alone, or guests would have it before it is needed.
    pub fn give_up_if_low(&self) {
        if self.left().is_some_and(|left| left.bytes < LOW.bytes || left.inodes < LOW.inodes) {
            self.given_up.store(true, Ordering::Relaxed);
            if let Err(error) = remove(&self.folder) {
                tracing::debug!("reserve: {error}");
            }
        }
    }

    fn left(&self) -> Option<Space> {
        space(self.folder.parent()?).ok()
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if *self.given_up.get_mut() {
            let _ = make(&self.folder);
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    for number in 0..FILES {
        match fs::remove_file(file(folder, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn make(folder: &Path) -> io::Result<()> {
    for number in 0..FILES {
        let path = file(folder, number);
        if path.exists() {
            continue;
        }
        make_private_folder(folder)?;
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let made = match made {
            // Another msb is at it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        if let Err(error) = allocate(&made, FILE_BYTES) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
    }
    Ok(())
}

fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(number.to_string())
}
