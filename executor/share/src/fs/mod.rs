//! The file system.

mod attributes;
mod changes;
mod create;
mod data;
mod handles;
mod host;
mod inode;
mod inodes;
mod known;
mod listing;
mod names;
mod quota;
mod requests;
mod share;
mod xattrs;

#[cfg(test)]
mod tests;

pub use changes::HostChange;
pub(crate) use changes::MAX_WATCHES;
pub use share::check_attributes;

use crate::{Limits, Share, ShareError, lock};
use changes::{Changes, WATCHED_CACHE_TIME};
use fuse_backend_rs::abi::fuse_abi::{Attr, ROOT_ID};
use fuse_backend_rs::api::filesystem::Entry;
use handles::Handles;
use host::{Answer, Descriptors};
use inode::{FileId, Inode, Place, stat_number};
use inodes::{Found, Inodes};
use rustix::fs::fstat;
use rustix::io::Errno;
use share::{Root, Served};
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The number of the synthetic root.
const ROOT: u64 = ROOT_ID;

/// The largest number of shares of a file system.
const SHARES_MAX: usize = 1024;

/// The largest number of pairs of share and device that have a short number. Inodes of others have numbers of our own.
const DEVICES_MAX: u64 = 0x7fff;

/// The number of descriptors that are kept for requests, which need them for a moment, and for the transport.
const DESCRIPTORS_KEPT: usize = 128;

/// The time for which the guest may use entries and attributes whose changes by the host are not noticed.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// The file system that serves shares.
#[derive(Debug)]
pub struct ShareFs {
    descriptors: Descriptors,
    inodes: Inodes,
    handles: Handles,
    /// The watched directories; `None` if changes of the host are not reported.
    changes: Option<Changes>,
    /// The numbers of the roots of the shares.
    roots: Vec<u64>,
    /// Short numbers of pairs of share and device, except those of the roots.
    devices: Mutex<HashMap<(u16, u64), u64>>,
}

impl ShareFs {
    /// Creates a file system whose root has an entry per share, called `0`, `1`, and so on.
    ///
    /// # Errors
    ///
    /// If a share is neither a directory nor a regular file, or cannot be opened.
    pub fn new(shares: Vec<Share>, limits: Limits) -> Result<Self, ShareError> {
        Self::build(shares, limits, true)
    }

    /// Creates a file system; `by_handle` allows to open files by handle where the process may.
    fn build(shares: Vec<Share>, limits: Limits, by_handle: bool) -> Result<Self, ShareError> {
        if shares.len() > SHARES_MAX {
            return Err(ShareError::TooMany { found: shares.len(), most: SHARES_MAX });
        }
        let descriptors = Descriptors::open().map_err(|source| ShareError::Descriptors { source })?;
        // One half for inodes, and one for handles, of which each has up to two.
        let most = limits.descriptors.min(available_descriptors());
        let inodes = Inodes::new(limits, most / 2);
        let handles = Handles::new(most / 4);
        let mut roots = Vec::with_capacity(shares.len());
        for (index, share) in (0..).zip(shares) {
            let (served, Root { descriptor, stat }) = Served::new(index, share, by_handle)?;
            let kind = host::kind_of(&stat);
            let file = FileId { share: index, device: stat.st_dev, number: stat.st_ino };
            roots.push(inodes.add_root(Found {
                share: Arc::new(served),
                descriptor,
                file,
                host_kind: kind,
                kind,
                occupied: host::occupied(&stat),
                place: None,
            }));
        }
        Ok(Self { descriptors, inodes, handles, changes: None, roots, devices: Mutex::default() })
    }

    /// Watches the directories that the guest uses, if the host allows it. The caller then runs
    /// [`ShareFs::report_changes`], because the guest relies on the reports.
    #[must_use]
    pub fn with_changes(mut self) -> Self {
        self.changes = Changes::new()
            .inspect_err(|error| tracing::warn!("changes of the host show up late: no inotify: {error}"))
            .ok();
        self
    }

    /// Forgets all that the guest has looked up and opened.
    fn reset(&self) {
        self.handles.clear();
        self.inodes.clear();
        if let Some(changes) = &self.changes {
            changes.clear();
            for root in self.roots.iter().filter_map(|root| self.inodes.get(*root).ok()) {
                root.watched.itself.store(false, Ordering::Release);
            }
        }
    }

    /// Returns an inode that may be changed.
    ///
    /// # Errors
    ///
    /// `EROFS` if it may not.
    fn writable(&self, number: u64) -> Answer<Arc<Inode>> {
        if number == ROOT {
            return Err(Errno::ROFS);
        }
        let inode = self.inodes.get(number)?;
        if inode.share.policy.read_only { Err(Errno::ROFS) } else { Ok(inode) }
    }

    /// Opens an entry of a directory, and returns it with its attributes.
    fn find(&self, parent: &Arc<Inode>, name: &CStr) -> Answer<(Found, Attr)> {
        host::check_name(name)?;
        if !parent.is_directory() {
            return Err(Errno::NOTDIR);
        }
        let directory = self.inodes.descriptor(parent)?;
        self.found(parent, name, host::open_child(&directory, name)?)
    }

    /// Returns a file that was opened by its name in a directory, with its attributes.
    fn found(&self, parent: &Arc<Inode>, name: &CStr, descriptor: OwnedFd) -> Answer<(Found, Attr)> {
        let share = parent.share.clone();
        let stat = fstat(&descriptor)?;
        let replacement = share.read_override(&descriptor, &stat);
        let attributes = share.present(&stat, replacement.as_ref());
        let found = Found {
            descriptor,
            file: FileId { share: share.index, device: stat.st_dev, number: stat.st_ino },
            host_kind: host::kind_of(&stat),
            kind: attributes.mode & host::KIND,
            occupied: host::occupied(&stat),
            place: Some(Place { parent: parent.number, name: name.to_owned() }),
            share,
        };
        Ok((found, attributes))
    }

    /// Looks an entry up by its name. A directory that the guest names is watched, as programs there may watch it.
    fn look_up_by_name(&self, parent: u64, name: &CStr) -> Answer<Entry> {
        let entry = self.look_up(parent, name)?;
        if self.changes.is_some()
            && entry.attr.st_mode & host::KIND == libc::S_IFDIR
            && let Ok(directory) = self.inodes.get(entry.inode)
        {
            self.watch(&directory);
        }
        Ok(entry)
    }

    /// Looks an entry of a directory up.
    fn look_up(&self, parent: u64, name: &CStr) -> Answer<Entry> {
        if parent == ROOT {
            let number = self.root_named(name).ok_or(Errno::NOENT)?;
            return self.entry(&self.inodes.get(number)?);
        }
        let parent = self.inodes.get(parent)?;
        // Before the lookup, so that no change after it is missed.
        let is_watched = self.watch(&parent);
        let (found, attributes) = self.find(&parent, name)?;
        let inode = self.inodes.look_up(found)?;
        inode.watched.in_directory.store(is_watched, Ordering::Release);
        let attributes = self.numbered(&inode, attributes);
        Ok(self.entry_with(&inode, attributes, self.entry_time(&parent, &inode, attributes.nlink)))
    }

    /// Forgets `count` lookups of an inode.
    fn forget_inode(&self, number: u64, count: u64) {
        let forgotten = self.inodes.forget(number, count);
        if let (Some(changes), Some(inode)) = (&self.changes, forgotten)
            && inode.watched.itself.load(Ordering::Acquire)
        {
            changes.forget(number);
        }
    }

    /// Returns the root of the share that an entry of the synthetic root stands for.
    fn root_named(&self, name: &CStr) -> Option<u64> {
        let text = name.to_str().ok()?;
        let index: usize = text.parse().ok()?;
        // Only the usual spelling of a number.
        (index.to_string() == text).then(|| self.roots.get(index).copied())?
    }

    /// Returns the entry of the root of a share, which the host does not change.
    fn entry(&self, inode: &Arc<Inode>) -> Answer<Entry> {
        Ok(self.entry_with(inode, self.attributes(inode)?, WATCHED_CACHE_TIME))
    }

    /// Returns an entry of an inode with its attributes, which the guest may cache for this time.
    fn entry_with(&self, inode: &Inode, attributes: Attr, entry_timeout: Duration) -> Entry {
        let attr_timeout = self.attribute_time(inode, attributes.nlink);
        Entry {
            inode: inode.number,
            attr: attributes.into(),
            attr_timeout,
            entry_timeout,
            ..Entry::default()
        }
    }

    /// Returns the attributes of the synthetic root.
    fn root_attributes(&self) -> Attr {
        Attr {
            ino: stat_number(None, 0, ROOT),
            mode: libc::S_IFDIR | 0o555,
            nlink: 2_u32.saturating_add(u32::try_from(self.roots.len()).unwrap_or(u32::MAX)),
            blksize: 4096,
            ..Attr::default()
        }
    }

    /// Returns a short number of a share and device; `None` if there are too many.
    fn short_device(&self, share: &Served, device: u64) -> Option<u64> {
        if device == share.device {
            return Some(u64::from(share.index));
        }
        let mut devices = lock(&self.devices);
        let next = SHARES_MAX as u64 + devices.len() as u64;
        if let Some(number) = devices.get(&(share.index, device)) {
            return Some(*number);
        }
        (next < DEVICES_MAX).then(|| *devices.entry((share.index, device)).or_insert(next))
    }
}

/// Returns the number of descriptors that the process may have, without those that requests need for a moment.
fn available_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.saturating_sub(DESCRIPTORS_KEPT)
}
