//! The table of inodes, and the bound on their descriptors.

use super::changes::Watched;
use super::host::{Answer, FileHandle, open_child};
use super::inode::{FileId, Inode, Place, Slot, is_same};
use super::share::Served;
use crate::{Limits, lock, read, write};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// The longest chain of directories that is opened again at once. A longer one fails.
const DEPTH_MAX: usize = 256;

/// The lowest number that is not reserved: 0 is invalid, 1 the synthetic root.
const FIRST_NUMBER: u64 = 2;

/// A file that was just opened.
pub struct Found {
    /// Its share.
    pub share: Arc<Served>,
    /// A descriptor that is open with `O_PATH`.
    pub descriptor: OwnedFd,
    /// Its identity.
    pub file: FileId,
    /// The kind of the host's file.
    pub host_kind: u32,
    /// Its kind in the guest.
    pub kind: u32,
    /// The number of bytes that it occupies on the disk.
    pub occupied: u64,
    /// The entry by which it was found; `None` for the root of a share.
    pub place: Option<Place>,
}

#[derive(Debug, Default)]
struct Table {
    by_number: HashMap<u64, Arc<Inode>>,
    by_file: HashMap<FileId, Arc<Inode>>,
}

/// The inodes.
#[derive(Debug)]
pub struct Inodes {
    table: RwLock<Table>,
    /// Numbers of inodes that may have a descriptor, the least recently used ones first.
    queue: Mutex<VecDeque<u64>>,
    next: AtomicU64,
    open_descriptors: Arc<AtomicUsize>,
    descriptors_max: usize,
    inodes_max: usize,
}

impl Inodes {
    /// Creates an empty table; `descriptors` is the largest number of descriptors of inodes.
    pub fn new(limits: Limits, descriptors: usize) -> Self {
        Self {
            table: RwLock::default(),
            queue: Mutex::default(),
            next: AtomicU64::new(FIRST_NUMBER),
            open_descriptors: Arc::default(),
            descriptors_max: descriptors.max(1),
            inodes_max: limits.inodes,
        }
    }

    /// Returns an inode that the guest has looked up.
    ///
    /// # Errors
    ///
    /// `ESTALE` if there is none with this number.
    pub fn get(&self, number: u64) -> Answer<Arc<Inode>> {
        read(&self.table).by_number.get(&number).cloned().ok_or(Errno::STALE)
    }

    /// Adds a root of a share, which is never forgotten.
    pub fn add_root(&self, found: Found) -> u64 {
        let inode = self.make(found, 1);
        let mut table = write(&self.table);
        table.by_file.insert(inode.file, inode.clone());
        table.by_number.insert(inode.number, inode.clone());
        drop(table);
        inode.number
    }

    /// Returns the inode of a file, and counts a lookup.
    ///
    /// # Errors
    ///
    /// `ENFILE` if a limit is reached.
    pub fn look_up(&self, found: Found) -> Answer<Arc<Inode>> {
        if let Some(inode) = self.known(&found, 1) {
            return Ok(self.refresh(inode, found));
        }
        self.check_room()?;
        let mut table = write(&self.table);
        // Another request may have added it meanwhile.
        if let Some(inode) = table.by_file.get(&found.file).filter(|inode| matches(inode, &found)) {
            inode.lookups.fetch_add(1, Ordering::AcqRel);
            return Ok(inode.clone());
        }
        let inode = self.make(found, 1);
        table.by_file.insert(inode.file, inode.clone());
        table.by_number.insert(inode.number, inode.clone());
        drop(table);
        self.enqueue(inode.number);
        Ok(inode)
    }

    /// Checks that there is room for one more inode.
    ///
    /// # Errors
    ///
    /// `ENFILE` if there is not.
    pub fn check_room(&self) -> Answer<()> {
        if read(&self.table).by_number.len() >= self.inodes_max {
            return Err(Errno::NFILE);
        }
        self.make_room()
    }

    /// Returns the inode of a file without counting a lookup, with its descriptor open; one that is not in the table if
    /// the guest has not looked it up.
    pub fn hold(&self, found: Found) -> Arc<Inode> {
        match self.known(&found, 0) {
            Some(inode) => {
                self.install(&inode, found.descriptor);
                inode
            }
            None => self.make(found, 0),
        }
    }

    /// Sets the entry of an inode, after the file was renamed.
    pub fn moved(&self, file: FileId, place: Place) {
        if let Some(inode) = read(&self.table).by_file.get(&file) {
            lock(&inode.slot).place = Some(place);
        }
    }

    /// Returns the numbers and the entries of all inodes but the roots of the shares.
    pub fn places(&self) -> Vec<(u64, Place)> {
        let all: Vec<_> = read(&self.table).by_number.values().cloned().collect();
        all.into_iter().filter_map(|inode| Some((inode.number, lock(&inode.slot).place.clone()?))).collect()
    }

    /// Returns the inode of a file if the guest knows it.
    pub fn of_file(&self, file: FileId) -> Option<Arc<Inode>> {
        read(&self.table).by_file.get(&file).cloned()
    }

    /// Returns the inode of a file if the guest knows it and its descriptor is open.
    pub fn of_open_file(&self, file: FileId) -> Option<Arc<Inode>> {
        self.of_file(file).filter(|inode| lock(&inode.slot).descriptor.is_some())
    }

    /// Forgets `count` lookups of an inode; returns it if the guest does not know it any more.
    pub fn forget(&self, number: u64, count: u64) -> Option<Arc<Inode>> {
        let mut table = write(&self.table);
        let inode = table.by_number.get(&number)?;
        let left = inode.lookups.load(Ordering::Acquire).saturating_sub(count);
        inode.lookups.store(left, Ordering::Release);
        if left > 0 || inode.root {
            return None;
        }
        let inode = inode.clone();
        table.by_number.remove(&number);
        if table.by_file.get(&inode.file).is_some_and(|other| other.number == number) {
            table.by_file.remove(&inode.file);
        }
        // The last reference closes a descriptor, which need not keep others waiting.
        Some(inode)
    }

    /// Forgets all inodes except the roots of the shares.
    pub fn clear(&self) {
        let mut table = write(&self.table);
        table.by_number.retain(|_, inode| inode.root);
        table.by_file.retain(|_, inode| inode.root);
        drop(table);
        lock(&self.queue).clear();
    }

    /// Returns the number of inodes and of their descriptors.
    #[cfg(test)]
    pub fn usage(&self) -> (usize, usize) {
        (read(&self.table).by_number.len(), self.open_descriptors.load(Ordering::Acquire))
    }

    /// Returns the descriptor of an inode, and opens it again if it was given up.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the file is not to be found any more, `ENFILE` if the limit is reached.
    pub fn descriptor(&self, inode: &Inode) -> Answer<Arc<OwnedFd>> {
        self.descriptor_within(inode, DEPTH_MAX)
    }

    fn descriptor_within(&self, inode: &Inode, depth: usize) -> Answer<Arc<OwnedFd>> {
        inode.used.store(true, Ordering::Relaxed);
        let (handle, place) = {
            let slot = lock(&inode.slot);
            if let Some(descriptor) = &slot.descriptor {
                return Ok(descriptor.clone());
            }
            (slot.handle.clone(), slot.place.clone())
        };
        let opened = match (handle, place, &inode.share.anchor) {
            (Some(handle), _, Some((anchor, _))) => handle.open(anchor.as_fd())?,
            (_, Some(place), _) => {
                let depth = depth.checked_sub(1).ok_or(Errno::STALE)?;
                let parent = self.get(place.parent)?;
                let directory = self.descriptor_within(&parent, depth)?;
                open_child(&directory, &place.name).map_err(|_| Errno::STALE)?
            }
            _ => return Err(Errno::STALE),
        };
        if !is_same(inode, &opened)? {
            return Err(Errno::STALE);
        }
        self.make_room()?;
        Ok(self.install(inode, opened))
    }

    /// Gives an inode a descriptor, unless it has one.
    fn install(&self, inode: &Inode, descriptor: OwnedFd) -> Arc<OwnedFd> {
        let mut slot = lock(&inode.slot);
        if let Some(descriptor) = &slot.descriptor {
            return descriptor.clone();
        }
        let descriptor = Arc::new(descriptor);
        slot.descriptor = Some(descriptor.clone());
        self.open_descriptors.fetch_add(1, Ordering::AcqRel);
        drop(slot);
        self.enqueue(inode.number);
        descriptor
    }

    /// Returns the inode of a file if it is in the table, with `lookups` lookups more.
    fn known(&self, found: &Found, lookups: u64) -> Option<Arc<Inode>> {
        let table = read(&self.table);
        let inode = table.by_file.get(&found.file).filter(|inode| matches(inode, found))?;
        // Under the lock, because an inode is removed from the table when its lookups are zero.
        inode.lookups.fetch_add(lookups, Ordering::AcqRel);
        Some(inode.clone())
    }

    /// Notes what a file that was found again tells about its inode.
    fn refresh(&self, inode: Arc<Inode>, found: Found) -> Arc<Inode> {
        inode.used.store(true, Ordering::Relaxed);
        let needs_descriptor = {
            let mut slot = lock(&inode.slot);
            if found.place.is_some() {
                slot.place = found.place;
            }
            slot.descriptor.is_none()
        };
        if needs_descriptor && self.make_room().is_ok() {
            self.install(&inode, found.descriptor);
        }
        inode
    }

    fn make(&self, found: Found, lookups: u64) -> Arc<Inode> {
        let Found { share, descriptor, file, host_kind, kind, occupied, place } = found;
        self.open_descriptors.fetch_add(1, Ordering::AcqRel);
        let root = place.is_none();
        Arc::new(Inode {
            root,
            number: self.next.fetch_add(1, Ordering::Relaxed),
            share,
            file,
            host_kind,
            kind,
            slot: Mutex::new(Slot { descriptor: Some(Arc::new(descriptor)), handle: None, place }),
            lookups: AtomicU64::new(lookups),
            opens: AtomicUsize::new(0),
            mappable: AtomicUsize::new(0),
            used: AtomicBool::new(true),
            removed: AtomicBool::new(false),
            metadata: Mutex::default(),
            counted: Mutex::new(occupied),
            cached: Mutex::default(),
            watched: Watched::default(),
            open_descriptors: self.open_descriptors.clone(),
        })
    }

    fn enqueue(&self, number: u64) {
        let mut queue = lock(&self.queue);
        queue.push_back(number);
        // Inodes that were forgotten stay in the queue until it is this long.
        if queue.len() > 2 * self.descriptors_max + 64 {
            let table = read(&self.table);
            let mut seen = std::collections::HashSet::new();
            queue.retain(|number| table.by_number.contains_key(number) && seen.insert(*number));
        }
    }

    /// Makes room for one more descriptor: the least recently used inode without open handles gives its own up.
    ///
    /// # Errors
    ///
    /// `ENFILE` if none can.
    fn make_room(&self) -> Answer<()> {
        if self.open_descriptors.load(Ordering::Acquire) < self.descriptors_max {
            return Ok(());
        }
        let mut queue = lock(&self.queue);
        // Each gets a second chance.
        for _ in 0..2 * queue.len() {
            if self.open_descriptors.load(Ordering::Acquire) < self.descriptors_max {
                return Ok(());
            }
            let Some(number) = queue.pop_front() else { break };
            let Ok(inode) = self.get(number) else { continue };
            let kept = inode.used.swap(false, Ordering::Relaxed) || !inode.give_up();
            if kept {
                queue.push_back(number);
            }
        }
        let full = self.open_descriptors.load(Ordering::Acquire) >= self.descriptors_max;
        if full { Err(Errno::NFILE) } else { Ok(()) }
    }
}

/// Whether an inode with the identity of a found file is that file, and not one that was removed on the host since,
/// whose number the host has used again.
fn matches(inode: &Inode, found: &Found) -> bool {
    if inode.host_kind != found.host_kind || inode.kind != found.kind {
        return false;
    }
    let slot = lock(&inode.slot);
    match (&slot.descriptor, &slot.handle) {
        // An open descriptor keeps the number from being used again.
        (Some(_), _) | (None, None) => true,
        (None, Some(handle)) => FileHandle::of(&found.descriptor).is_ok_and(|other| other == *handle),
    }
}
