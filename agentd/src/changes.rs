//! Changes of shared files by the host: the kernel's caches are refreshed, and programs that watch the files are notified.
//!
//! The kernel keeps what it knows of a shared file until the host reports a change, and a virtio-fs device has no way to
//! say that it is out of date. So each reported file is looked up in a way that the kernel never answers from its cache,
//! and then used in a way that raises the events of inotify without changing anything.
//!
//! All of this is done by a thread: the file server of the host may be slow. The host waits for the end of each report
//! before it sends the next one.

use std::fs::write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use protocol::latest::{MountChange, MountChangeKind, MountsChanged};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, XattrFlags, fallocate,
    fstat, mkdirat, openat, openat2, setxattr, statx,
};
use rustix::io::Errno;

/// The most reports that wait for the thread.
const REPORTS_MAX: usize = 4;
/// The stack of the thread in bytes.
const STACK_BYTES: usize = 256 * 1024;
/// An attribute that the file server accepts and does not keep: setting it raises `IN_ATTRIB` and changes nothing.
const CHANGED: &str = "user.msb.changed";
/// An offset behind the end of every file. A hole there changes nothing, and the host's file server knows it.
const BEYOND_THE_END: u64 = 1 << 62;
/// Components may not be links: one that the guest has made could lead anywhere.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// The hidden mounts of the shared files.
pub struct SharedFiles {
    /// The root of the file system.
    pub root: OwnedFd,
    /// The same root, mounted read-only.
    pub read_only: OwnedFd,
}

/// The thread that handles reports.
pub struct Changes {
    sender: SyncSender<MountsChanged>,
    /// Counts the reports whose end the loop has not seen yet.
    ended: Arc<OwnedFd>,
}

impl Changes {
    /// Starts the thread, and registers the token under which the loop is woken at the end of a report.
    pub fn start(files: SharedFiles, epoll: &OwnedFd, token: u64) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(REPORTS_MAX);
        let ended = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(epoll, &*ended, EventData::new_u64(token), EventFlags::IN)?;
        let worker = Worker { files, receiver, ended: Arc::clone(&ended) };
        std::thread::Builder::new()
            .name("changes".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run())?;
        Ok(Self { sender, ended })
    }

    /// Hands a report to the thread, without waiting for it. Returns whether there is room for it.
    pub fn handle(&self, report: MountsChanged) -> bool {
        self.sender.try_send(report).is_ok()
    }

    /// Returns the number of reports that have ended since the last call.
    pub fn ended(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&*self.ended, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }
}

struct Worker {
    files: SharedFiles,
    receiver: Receiver<MountsChanged>,
    ended: Arc<OwnedFd>,
}

impl Worker {
    fn run(self) {
        while let Ok(MountsChanged { changes }) = self.receiver.recv() {
            for MountChange { kind, path } in changes {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
                // Files that are gone again, or never were known here, need nothing.
                let _ = match kind {
                    MountChangeKind::Changed => self.files.changed(&path),
                    MountChangeKind::Removed => self.files.removed(&path),
                    MountChangeKind::Everything => {
                        drop_caches();
                        Ok(())
                    }
                };
            }
            // Fails if so many ends are unseen that the loop is awake in any case.
            let _ = rustix::io::write(&*self.ended, &1_u64.to_ne_bytes());
        }
    }
}

impl SharedFiles {
    /// Handles a file that is new or changed.
    fn changed(&self, path: &Path) -> Result<(), Errno> {
        self.refresh(path)?;
        touch(&open_beneath(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW)?)
    }

    /// Handles a removed file: watchers of its directory are told that the directory has changed.
    fn removed(&self, path: &Path) -> Result<(), Errno> {
        self.refresh(path)?;
        let parent = path.parent().ok_or(Errno::INVAL)?;
        touch(&open_beneath(&self.root, parent, OFlags::PATH | OFlags::DIRECTORY)?)
    }

    /// Makes the kernel look a file up again. It always does so before it creates a directory, even where it will not
    /// create one because the mount is read-only.
    fn refresh(&self, path: &Path) -> Result<(), Errno> {
        if path.components().any(|component| !matches!(component, Component::Normal(_))) {
            return Err(Errno::INVAL);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        let parent = if parent.as_os_str().is_empty() {
            // An entry of the root, which never changes its kind: its attributes are looked up all the same.
            self.read_only.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?
        } else {
            open_beneath(&self.read_only, parent, OFlags::PATH | OFlags::DIRECTORY)?
        };
        let looked_up = mkdirat(&parent, name, Mode::empty());
        // The directory has another time of change, and perhaps another number of links.
        let _ = statx(&parent, "", AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
        match looked_up {
            Err(Errno::EXIST | Errno::ROFS) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(Errno::INVAL),
        }
    }
}

fn open_beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}

/// Raises the events of a change: `IN_MODIFY` and `IN_CLOSE_WRITE` for a file that can be written to, else `IN_ATTRIB`.
fn touch(file: &OwnedFd) -> Result<(), Errno> {
    let stat = fstat(file)?;
    // Only through this path, a file that is open without access is opened again. Its kind is known to be harmless.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match openat(CWD, path.as_str(), flags, Mode::empty()) {
                Ok(file) => {
                    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    fallocate(file, hole, BEYOND_THE_END, 1)
                }
                Err(_) => setxattr(path.as_str(), CHANGED, b"", XattrFlags::empty()),
            }
        }
        FileType::Directory => setxattr(path.as_str(), CHANGED, b"", XattrFlags::empty()),
        _ => Ok(()),
    }
}

/// Drops all entries and attributes that nothing uses, and the data of files.
fn drop_caches() {
    if let Err(error) = write("/proc/sys/vm/drop_caches", "3") {
        crate::log(format_args!("the caches of shared files may be out of date: {error}"));
    }
}
