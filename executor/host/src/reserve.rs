//! Space that is reserved for msb itself: `MSB_HOME/reserve`.
//!
//! Stopping and removing sandboxes needs lock files and rows of the catalog: a little space and a few inodes, on a disk
//! that may be full because of these sandboxes. A few files reserve both. They are removed while such a command writes,
//! and created again afterwards.

use crate::home::make_private_folder;
use executor_fs::atomic::allocate;
use executor_fs::file::remove_if_present;
use executor_fs::space::{Space, space};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of files, of one inode each.
const FILES: u64 = 8;
/// The size of one file in bytes.
const FILE_BYTES: u64 = 128 * 1024;
/// The size of all files in bytes.
pub const RESERVE_BYTES: u64 = FILES * FILE_BYTES;
/// The reserve is released below this.
const LOW: Space = Space { bytes: RESERVE_BYTES, inodes: FILES, total_bytes: 0 };
/// The reserve is created above this. More than [`LOW`] and the reserve together, so that a release does not cause it.
const PLENTY: Space = Space { bytes: 4 * RESERVE_BYTES, inodes: 4 * FILES, total_bytes: 0 };

/// The reserve of one state folder, for one command. Dropping it restores what it released, if that is still free.
#[derive(Debug)]
pub struct Reserve {
    folder: PathBuf,
    given_up: AtomicBool,
}

impl Reserve {
    /// Describes the reserve in this folder; creates nothing.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, given_up: AtomicBool::new(false) }
    }

    /// Creates the reserve if there is plenty of space. Failures are logged only: a command works without it.
    pub fn make_if_plenty(&self) {
        let is_plenty = |left: Space| left.bytes >= PLENTY.bytes && left.inodes >= PLENTY.inodes;
        if self.left().is_some_and(is_plenty)
            && let Err(error) = make(&self.folder)
        {
            tracing::debug!("reserve: {error}");
        }
    }

    /// Releases the reserve if there is little space. For commands that are about to free space; others must not call
    /// it, or guests use up the reserve before it is needed.
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
        remove_if_present(&file(folder, number))?;
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
            // Another msb creates it.
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
