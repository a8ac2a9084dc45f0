//! Tells which logs have grown, woken by inotify and never by a clock.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Watches the folders of many sandboxes' logs, with one descriptor for all: a user has few of them.
///
/// The descriptor becomes readable when something has happened; then [`LogWatch::woken`] tells where.
#[derive(Debug)]
pub struct LogWatch {
    inotify: OwnedFd,
    folders: HashMap<i32, usize>,
}

/// Where something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// In these folders, by the numbers that they were given.
    Some(Vec<usize>),
    /// So much that the kernel has lost count: look everywhere.
    All,
}

impl LogWatch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, folders: HashMap::new() })
    }

    /// Watches a folder of logs, to be called by this number; it is made, mode 0700, where it is missing. To miss
    /// nothing, read the logs only afterwards.
    pub fn add(&mut self, folder: &Path, number: usize) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.inotify, folder, flags)?;
        self.folders.insert(watch, number);
        Ok(())
    }

    /// Where something has happened since this was asked last.
    pub fn woken(&self) -> Woken {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut woken = Vec::new();
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => return Woken::All,
                Ok(event) => {
                    if let Some(&number) = self.folders.get(&event.wd())
                        && woken.last() != Some(&number)
                    {
                        woken.push(number);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Woken::Some(woken),
            }
        }
    }
}

impl AsFd for LogWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for LogWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}
