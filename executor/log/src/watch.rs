//! Watches logs for growth with inotify.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Watches the log folders of many sandboxes with one descriptor, as a user has few of them.
///
/// The descriptor becomes readable after a change; then [`LogWatch::woken`] says where.
#[derive(Debug)]
pub struct LogWatch {
    inotify: OwnedFd,
    folders: HashMap<i32, usize>,
}

/// The folders that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// These folders, by their numbers.
    Some(Vec<usize>),
    /// The kernel's queue has overflowed: any folder may have changed.
    All,
}

impl LogWatch {
    /// Watches no folder.
    ///
    /// # Errors
    ///
    /// If the user has no inotify instance left.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, folders: HashMap::new() })
    }

    /// Watches a log folder under a number; it is created, mode 0700, if it is missing. To miss nothing, read the logs
    /// afterwards.
    ///
    /// # Errors
    ///
    /// If it cannot be created or watched.
    pub fn add(&mut self, folder: &Path, number: usize) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.inotify, folder, flags)?;
        self.folders.insert(watch, number);
        Ok(())
    }

    /// The changes since the last call.
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
