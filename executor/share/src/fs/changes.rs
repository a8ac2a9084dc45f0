//! Changes of shared files by the host: they are found with inotify, so that the guest's caches stay valid for long.
//!
//! The directories that the guest uses are watched. Changes that the guest makes itself raise events as well; they are
//! told from those of the host by the time of the guest's last request.

use super::host::Answer;
use super::inode::{FileId, Inode};
use super::{CACHE_TIME, ShareFs};
use crate::change::{Change, ChangeKind};
use crate::lock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{AtFlags, readlink, statat};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::fs::read_to_string;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The file with the number of directories that a user may watch.
pub(crate) const MAX_WATCHES: &str = "/proc/sys/fs/inotify/max_user_watches";

/// The time for which the guest may use what it has cached of watched files.
pub(super) const WATCHED_CACHE_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Within this time after a request of the guest, events of the same file or name are taken to be due to it.
const OWN_CHANGE_MS: u64 = 500;

/// What the guest has changed is cached for a short time only until this time has passed: a change of the host within
/// [`OWN_CHANGE_MS`] is not noticed.
const SETTLED_MS: u64 = 2 * OWN_CHANGE_MS;

/// The most names that are remembered as changed by the guest.
const NAMES_MAX: usize = 16 * 1024;

/// Events that follow each other within this time are reported together.
const GATHERING: Duration = Duration::from_millis(2);

/// A report waits at most this long for further events.
const GATHERING_MAX: Duration = Duration::from_millis(20);

/// The most changes in one report.
const CHANGES_MAX: usize = 4096;

/// The time for which the guest may forget the files that it does not use, once it is told that everything has changed.
const FORGETTING: Duration = Duration::from_millis(500);

/// The size of the buffer for events in bytes: at least one event with the longest name.
const EVENT_BYTES: usize = 16 * 1024;

/// The most watched directories. The user's limit is shared with other programs, of which none must lack watches.
const WATCHES_MAX: usize = 8192;

const WATCHED: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// The watched directories of a file system.
#[derive(Debug)]
pub struct Changes {
    inotify: OwnedFd,
    watches: Mutex<Watches>,
    most: usize,
    /// The times of the guest's last requests that added or removed an entry, by directory and name.
    names: Mutex<HashMap<(u64, CString), u64>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Watches {
    /// The directory's inode by the number of its watch.
    directories: HashMap<i32, u64>,
    /// The number of the watch by the directory's inode.
    numbers: HashMap<u64, i32>,
}

/// How an inode is watched.
#[derive(Debug, Default)]
pub struct Watched {
    /// Whether it is a directory with a watch.
    pub itself: AtomicBool,
    /// Whether it was last looked up in a directory with a watch.
    pub in_directory: AtomicBool,
    /// The time of the last request of the guest that changed it, as [`Changes::now`]; 0 for none.
    by_guest: AtomicU64,
}

impl Changes {
    /// Prepares to watch directories.
    ///
    /// # Errors
    ///
    /// If the user has too many inotify instances.
    pub fn new() -> Answer<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let allowed = read_to_string(MAX_WATCHES).ok();
        let allowed: usize = allowed.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Self {
            inotify,
            watches: Mutex::default(),
            most: WATCHES_MAX.min(allowed / 4),
            names: Mutex::default(),
            started: Instant::now(),
        })
    }

    /// Watches a directory, unless it is watched; returns whether it is watched now.
    fn watch(&self, inode: &Inode, directory: &OwnedFd) -> bool {
        let mut watches = lock(&self.watches);
        if watches.numbers.contains_key(&inode.number) {
            return true;
        }
        if watches.numbers.len() >= self.most {
            return false;
        }
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let Ok(number) = inotify::add_watch(&self.inotify, path, WATCHED) else { return false };
        // One directory in two shares has one watch, which is the first one's: the other is cached for a short time.
        if watches.directories.contains_key(&number) {
            return false;
        }
        watches.directories.insert(number, inode.number);
        watches.numbers.insert(inode.number, number);
        inode.watched.itself.store(true, Ordering::Release);
        true
    }

    /// Ends the watch of a directory that the guest has forgotten.
    pub fn forget(&self, inode: u64) {
        let mut watches = lock(&self.watches);
        if let Some(number) = watches.numbers.remove(&inode) {
            watches.directories.remove(&number);
            // It fails if the directory has been removed.
            let _ = inotify::remove_watch(&self.inotify, number);
        }
    }

    /// Ends all watches.
    pub fn clear(&self) {
        let all: Vec<u64> = lock(&self.watches).numbers.keys().copied().collect();
        all.into_iter().for_each(|inode| self.forget(inode));
    }

    /// Notes that the guest adds or removes an entry.
    pub fn entry_by_guest(&self, directory: &Inode, name: &CStr) {
        let now = self.now();
        let mut names = lock(&self.names);
        if names.len() >= NAMES_MAX {
            names.retain(|_, time| now.saturating_sub(*time) < OWN_CHANGE_MS);
            // The host seems to have made the changes that are forgotten, which is only more work.
            if names.len() >= NAMES_MAX {
                names.clear();
            }
        }
        names.insert((directory.number, name.to_owned()), now);
        directory.watched.by_guest.store(now, Ordering::Relaxed);
    }

    /// Notes that the guest changes a file.
    pub fn file_by_guest(&self, inode: &Inode) {
        inode.watched.by_guest.store(self.now(), Ordering::Relaxed);
    }

    fn is_entry_by_guest(&self, directory: &Inode, name: &CStr) -> bool {
        // Looked up by a pair that owns its name.
        let time = lock(&self.names).get(&(directory.number, name.to_owned())).copied();
        time.is_some_and(|time| self.now().saturating_sub(time) < OWN_CHANGE_MS)
    }

    /// Whether the guest has changed a file within the last milliseconds.
    fn is_by_guest(&self, inode: &Inode, within_ms: u64) -> bool {
        let last = inode.watched.by_guest.load(Ordering::Relaxed);
        last != 0 && self.now().saturating_sub(last) < within_ms
    }

    /// Returns the time since the start in milliseconds, plus one.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Waits for events, and returns the directories and names that they are about; `None` if the kernel has lost some.
    fn wait(&self) -> Answer<Option<Vec<(u64, CString)>>> {
        let mut found = BTreeSet::new();
        let mut complete = true;
        self.poll(None)?;
        let started = Instant::now();
        // What has no place in this report is in the next one.
        while started.elapsed() < GATHERING_MAX && found.len() < CHANGES_MAX {
            let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(error),
                };
                if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                    complete = false;
                    continue;
                }
                let mut watches = lock(&self.watches);
                let Some(&directory) = watches.directories.get(&event.wd()) else { continue };
                if event.events().contains(ReadFlags::IGNORED) {
                    // The directory has been removed, or was unmounted. It is reported without its watch.
                    watches.directories.remove(&event.wd());
                    watches.numbers.remove(&directory);
                }
                found.insert((directory, event.file_name().map(CStr::to_owned).unwrap_or_default()));
                // The reader takes no further events from the kernel while it has some.
                if found.len() >= CHANGES_MAX && reader.is_buffer_empty() {
                    break;
                }
            }
            // A pause, and not a wait for the next event: each of them would wake this thread, also those that the guest
            // causes by working with many files.
            sleep(GATHERING);
            if !self.poll(Some(&Timespec::default()))? {
                break;
            }
        }
        Ok(complete.then(|| found.into_iter().collect()))
    }

    fn poll(&self, timeout: Option<&Timespec>) -> Answer<bool> {
        let mut descriptors = [PollFd::new(&self.inotify, PollFlags::IN)];
        loop {
            match poll(&mut descriptors, timeout) {
                Err(Errno::INTR) => {}
                result => return Ok(result? > 0),
            }
        }
    }
}

/// A change of a file by the host, as the server knows it.
#[derive(Debug)]
pub struct HostChange {
    /// What happened, and the path.
    pub change: Change,
    /// The number of the directory, and the name in it; `None` for a change of a directory itself or of everything.
    pub entry: Option<(u64, CString)>,
    /// The number of the file's inode, if the guest knows it.
    pub inode: Option<u64>,
}

impl ShareFs {
    /// Reports changes of the host's files until that is impossible. A report of several changes is for files that
    /// changed within milliseconds; none is reported that the guest has made itself.
    ///
    /// # Errors
    ///
    /// If events cannot be read, or a report fails.
    pub fn report_changes(&self, mut report: impl FnMut(&[HostChange]) -> io::Result<()>) -> io::Result<()> {
        let Some(changes) = &self.changes else { return Ok(()) };
        loop {
            if let Some(events) = changes.wait()? {
                let found: Vec<_> =
                    events.into_iter().filter_map(|event| self.change(changes, event)).collect();
                report(&found)?;
            } else {
                self.report_everything(&mut report)?;
            }
        }
    }

    /// Reports all files that the guest knows, after events were lost. Told of it first, the guest forgets the files that
    /// it does not use.
    fn report_everything(&self, report: &mut impl FnMut(&[HostChange]) -> io::Result<()>) -> io::Result<()> {
        let change = Change { kind: ChangeKind::Everything, path: PathBuf::new() };
        report(&[HostChange { change, entry: None, inode: None }])?;
        sleep(FORGETTING);
        let known = self.known_changes();
        known.chunks(CHANGES_MAX).try_for_each(report)
    }

    /// Describes one event; `None` for a change that the guest has made, or in a directory that it has forgotten.
    fn change(&self, changes: &Changes, (directory, name): (u64, CString)) -> Option<HostChange> {
        let directory = self.inodes.get(directory).ok()?;
        let descriptor = self.inodes.descriptor(&directory).ok()?;
        if name.is_empty() {
            let is_watched = lock(&changes.watches).numbers.contains_key(&directory.number);
            directory.watched.itself.store(is_watched, Ordering::Release);
            if changes.is_by_guest(&directory, OWN_CHANGE_MS) {
                return None;
            }
            let change = Change { kind: ChangeKind::Changed, path: self.path_of(&directory, &descriptor)? };
            return Some(HostChange { change, entry: None, inode: Some(directory.number) });
        }
        if changes.is_entry_by_guest(&directory, &name) {
            return None;
        }
        let (kind, inode) = match statat(&descriptor, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let share = directory.file.share;
                let file = FileId { share, device: stat.st_dev, number: stat.st_ino };
                (ChangeKind::Changed, self.inodes.of_file(file))
            }
            Err(_) => (ChangeKind::Removed, None),
        };
        if inode.as_ref().is_some_and(|inode| changes.is_by_guest(inode, OWN_CHANGE_MS)) {
            return None;
        }
        let path = self.path_of(&directory, &descriptor)?.join(OsStr::from_bytes(name.to_bytes()));
        Some(HostChange {
            change: Change { kind, path },
            entry: Some((directory.number, name)),
            inode: inode.map(|inode| inode.number),
        })
    }

    /// Watches the directory in which a file is looked up, and returns whether it is watched.
    pub(super) fn watch(&self, directory: &Inode) -> bool {
        let Some(changes) = &self.changes else { return false };
        directory.watched.itself.load(Ordering::Acquire)
            || self.inodes.descriptor(directory).is_ok_and(|descriptor| changes.watch(directory, &descriptor))
    }

    /// Notes that the guest changes a file.
    pub(super) fn changed_by_guest(&self, inode: &Inode) {
        if let Some(changes) = &self.changes {
            changes.file_by_guest(inode);
        }
    }

    /// Returns how long the guest may cache the attributes of a file: long if the host's changes of it are noticed.
    pub(super) fn attribute_time(&self, inode: &Inode, links: u32) -> Duration {
        if inode.is_directory() {
            return self.cache_time(inode, &inode.watched.itself);
        }
        // A file with several names can change under one whose directory is not watched.
        if links > 1 { CACHE_TIME } else { self.cache_time(inode, &inode.watched.in_directory) }
    }

    /// Returns how long the guest may cache an entry of a directory, of a file with this number of links.
    pub(super) fn entry_time(&self, directory: &Inode, inode: &Inode, links: u32) -> Duration {
        // Only one name of a file is known if all have to be reported.
        if links > 1 && !inode.is_directory() {
            return CACHE_TIME;
        }
        self.cache_time(directory, &directory.watched.itself)
    }

    /// Returns how long the guest may cache what a watch reports, unless it has just changed the file itself.
    fn cache_time(&self, inode: &Inode, is_watched: &AtomicBool) -> Duration {
        match &self.changes {
            Some(changes)
                if is_watched.load(Ordering::Acquire) && !changes.is_by_guest(inode, SETTLED_MS) =>
            {
                WATCHED_CACHE_TIME
            }
            _ => CACHE_TIME,
        }
    }

    /// Returns the path of a directory in the file system, by the one that it has on the host now.
    fn path_of(&self, directory: &Arc<Inode>, descriptor: &OwnedFd) -> Option<PathBuf> {
        let root = self.inodes.get(*self.roots.get(usize::from(directory.file.share))?).ok()?;
        let root_descriptor = self.inodes.descriptor(&root).ok()?;
        let (root_path, path) = (host_path(&root_descriptor)?, host_path(descriptor)?);
        let below = path.strip_prefix(&root_path).ok()?;
        let entry = Path::new(&directory.file.share.to_string()).to_owned();
        Some(if below.as_os_str().is_empty() { entry } else { entry.join(below) })
    }
}

/// Returns the path of an open directory on the host; `None` if it has been removed.
fn host_path(descriptor: &OwnedFd) -> Option<PathBuf> {
    let path = readlink(format!("/proc/self/fd/{}", descriptor.as_raw_fd()), Vec::new()).ok()?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes()));
    path.is_absolute().then_some(path)
}
