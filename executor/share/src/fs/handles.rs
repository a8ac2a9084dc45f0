//! Open files and directories.

use super::host::Answer;
use super::inode::Opened;
use super::listing::Stream;
use crate::{read, write};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// An open regular file.
#[derive(Debug)]
pub struct OpenFile {
    /// The file, opened without `O_APPEND`, with which pages of a mapping would be written to the end.
    pub file: File,
    /// The same file for writes to its end, if the guest has opened it with `O_APPEND`.
    pub append: Option<File>,
    /// The claim on the inode; it is dropped after the files, whose space it gives back.
    pub opened: Opened,
}

/// An open directory.
#[derive(Debug)]
pub struct OpenDirectory {
    /// Its entries.
    pub stream: Mutex<Stream>,
    /// The claim on the inode; `None` for the synthetic root.
    pub opened: Option<Opened>,
}

/// An open file or directory.
#[derive(Clone, Debug)]
pub enum Handle {
    /// A regular file.
    File(Arc<OpenFile>),
    /// A directory.
    Directory(Arc<OpenDirectory>),
}

/// The table of handles.
#[derive(Debug)]
pub struct Handles {
    table: RwLock<HashMap<u64, Handle>>,
    next: AtomicU64,
    most: usize,
}

impl Handles {
    /// Creates an empty table for at most `most` handles.
    pub fn new(most: usize) -> Self {
        Self { table: RwLock::default(), next: AtomicU64::new(1), most: most.max(1) }
    }

    /// Checks that there is room for one more handle.
    ///
    /// # Errors
    ///
    /// `ENFILE` if there is not.
    pub fn check_room(&self) -> Answer<()> {
        if read(&self.table).len() >= self.most { Err(Errno::NFILE) } else { Ok(()) }
    }

    /// Adds a handle and returns its number.
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(&self.table).insert(number, handle);
        number
    }

    /// Returns an open file of an inode.
    ///
    /// # Errors
    ///
    /// `EBADF` if the handle is not one.
    pub fn file(&self, number: u64, inode: u64) -> Answer<Arc<OpenFile>> {
        match read(&self.table).get(&number) {
            Some(Handle::File(file)) if file.opened.inode().number == inode => Ok(file.clone()),
            _ => Err(Errno::BADF),
        }
    }

    /// Returns an open directory of an inode.
    ///
    /// # Errors
    ///
    /// `EBADF` if the handle is not one.
    pub fn directory(&self, number: u64, inode: u64) -> Answer<Arc<OpenDirectory>> {
        match read(&self.table).get(&number) {
            Some(Handle::Directory(directory)) if directory.number() == inode => Ok(directory.clone()),
            _ => Err(Errno::BADF),
        }
    }

    /// Removes a handle.
    ///
    /// # Errors
    ///
    /// `EBADF` if there is none.
    pub fn remove(&self, number: u64) -> Answer<()> {
        let removed = write(&self.table).remove(&number);
        // Closed after the lock is released.
        removed.map(drop).ok_or(Errno::BADF)
    }

    /// Removes all handles.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *write(&self.table));
        drop(removed);
    }

    /// Returns the number of handles.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        read(&self.table).len()
    }
}

impl OpenDirectory {
    /// Returns the number of its inode.
    fn number(&self) -> u64 {
        self.opened.as_ref().map_or(super::ROOT, |opened| opened.inode().number)
    }
}
