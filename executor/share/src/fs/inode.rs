//! An inode: a file of the host that the guest has looked up.

use super::changes::Watched;
use super::host::{self, Answer, FileHandle};
use super::quota::signed;
use super::share::Served;
use crate::lock;
use rustix::fs::fstat;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The identity of a file of the host. The same file in two shares is two files for the guest, since the policies
/// differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The position of the share.
    pub share: u16,
    /// The device number.
    pub device: u64,
    /// The inode number of the host.
    pub number: u64,
}

/// The entry by which an inode was looked up last.
#[derive(Clone, Debug)]
pub struct Place {
    /// The number of the directory.
    pub parent: u64,
    /// The name in it.
    pub name: CString,
}

/// The descriptor of an inode and what is left without it.
#[derive(Debug, Default)]
pub struct Slot {
    /// A descriptor that is open with `O_PATH`; `None` while it is given up.
    pub descriptor: Option<Arc<OwnedFd>>,
    /// The handle by which it is opened again, known once it was given up.
    pub handle: Option<FileHandle>,
    /// The entry by which it was looked up last, and by which it is opened again where there are no handles.
    pub place: Option<Place>,
}

/// What the guest's page cache contains of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The time of the last change of the data.
    pub modified: (i64, u64),
    /// The time of the last change of the file.
    pub changed: (i64, u64),
    /// The size in bytes.
    pub size: i64,
}

/// An inode.
#[derive(Debug)]
pub struct Inode {
    /// The number by which the guest knows it. Numbers are not used twice.
    pub number: u64,
    /// The share that it belongs to.
    pub share: Arc<Served>,
    /// The file of the host.
    pub file: FileId,
    /// The kind of the host's file as the bits of its mode.
    pub host_kind: u32,
    /// The kind of the file in the guest.
    pub kind: u32,
    /// Whether it is the root of a share, which is never forgotten.
    pub root: bool,
    /// Its descriptor.
    pub slot: Mutex<Slot>,
    /// How often the guest has looked it up and not forgotten it.
    pub lookups: AtomicU64,
    /// The number of open handles.
    pub opens: AtomicUsize,
    /// The number of open handles by which the guest may have mapped the file for writing.
    pub mappable: AtomicUsize,
    /// Whether its descriptor was used since it was last considered for being given up.
    pub used: AtomicBool,
    /// Whether the guest has removed a name of it, so that its space is given back with the last reference.
    pub removed: AtomicBool,
    /// Held while the override is read, changed and written.
    pub metadata: Mutex<()>,
    /// The number of bytes that a quota counts for the file, locked while it grows or shrinks. It may differ from what
    /// the host says meanwhile, because file systems allocate late.
    pub counted: Mutex<u64>,
    /// What the guest's page cache contains, if that is known.
    pub cached: Mutex<Option<Version>>,
    /// How the host's changes of it are noticed.
    pub watched: Watched,
    /// The number of descriptors of all inodes.
    pub open_descriptors: Arc<AtomicUsize>,
}

impl Inode {
    /// Returns its number in the guest's `stat`. It is that of the host where possible, so that it stays the same after
    /// the guest has forgotten the inode. Files of different shares and devices have different numbers.
    pub fn stat_number(&self, device: Option<u64>) -> u64 {
        stat_number(device, self.file.number, self.number)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    /// Whether it is a regular file in the guest.
    pub fn is_file(&self) -> bool {
        self.kind == libc::S_IFREG
    }

    /// Checks that the guest may change more than the contents.
    ///
    /// # Errors
    ///
    /// `EPERM` if it is a disk.
    pub fn check_changeable(&self) -> Answer<()> {
        if self.share.policy.disk { Err(Errno::PERM) } else { Ok(()) }
    }

    /// Whether the guest may have data of the file that it has not sent yet. It sends what it wrote to a mapping later, even
    /// after the mapping has ended, but before it releases the handle that was mapped.
    pub fn may_have_unsent_data(&self) -> bool {
        self.mappable.load(Ordering::Acquire) > 0
    }

    /// Gives its descriptor up if it can be opened again; returns whether it did.
    pub fn give_up(&self) -> bool {
        if self.opens.load(Ordering::Acquire) > 0 || self.removed.load(Ordering::Acquire) {
            return false;
        }
        let Ok(mut slot) = self.slot.try_lock() else { return false };
        let Some(descriptor) = &slot.descriptor else { return true };
        // A request uses it right now.
        if Arc::strong_count(descriptor) > 1 {
            return false;
        }
        match &self.share.anchor {
            Some((_, root)) => {
                let Ok(handle) = FileHandle::of(descriptor) else { return false };
                if !handle.same_mount(root) {
                    return false;
                }
                slot.handle = Some(handle);
            }
            None if slot.place.is_none() => return false,
            None => {}
        }
        slot.descriptor = None;
        self.open_descriptors.fetch_sub(1, Ordering::AcqRel);
        true
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        let Some(descriptor) = lock(&self.slot).descriptor.take() else { return };
        self.open_descriptors.fetch_sub(1, Ordering::AcqRel);
        let Some(quota) = &self.share.quota else { return };
        let (Ok(stat), libc::S_IFREG) = (fstat(&descriptor), self.host_kind) else { return };
        let counted = *lock(&self.counted);
        if stat.st_nlink > 0 {
            quota.correct(signed(host::occupied(&stat)).saturating_sub(signed(counted)));
        } else if self.removed.load(Ordering::Acquire) {
            quota.give_back(counted);
        }
    }
}

/// The bits of an inode number of the host that are kept where it is combined with that of a device.
const NUMBER_BITS: u32 = 48;

/// The bit of inode numbers that are not derived from the host's.
const OWN_NUMBERS: u64 = 1 << 63;

/// Returns an inode number for the guest's `stat`: `device` is the short number of share and device, `number` that of
/// the host, and `own` the one that is used if they cannot be combined.
pub fn stat_number(device: Option<u64>, number: u64, own: u64) -> u64 {
    match device {
        Some(device) if number >> NUMBER_BITS == 0 => device << NUMBER_BITS | number,
        _ => OWN_NUMBERS | own,
    }
}

/// An open handle's claim on an inode, whose descriptor is not given up meanwhile.
#[derive(Debug)]
pub struct Opened {
    inode: Arc<Inode>,
    mappable: bool,
}

impl Opened {
    /// Claims an inode. `mappable`: whether the handle reads and writes, as a mapping for writing needs it.
    pub fn new(inode: &Arc<Inode>, mappable: bool) -> Self {
        inode.opens.fetch_add(1, Ordering::AcqRel);
        inode.mappable.fetch_add(usize::from(mappable), Ordering::AcqRel);
        Self { inode: inode.clone(), mappable }
    }

    /// Returns the inode.
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.inode.mappable.fetch_sub(usize::from(self.mappable), Ordering::AcqRel);
        self.inode.opens.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Checks that a file is the one that an inode stands for.
pub fn is_same(inode: &Inode, file: &OwnedFd) -> Answer<bool> {
    let stat = fstat(file)?;
    Ok((stat.st_dev, stat.st_ino) == (inode.file.device, inode.file.number)
        && host::kind_of(&stat) == inode.host_kind)
}
