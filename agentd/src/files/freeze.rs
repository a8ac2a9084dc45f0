//! Holds the writes to the sandbox's own disk while the host copies it.
#![allow(unsafe_code)] // rustix has no calls for freezing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use protocol::latest::{FREEZE_SECONDS_MAX, FileFailureKind};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, ioctl};

use crate::files::worker::{Stop, Worker, failed, refused};

/// `FIFREEZE` and `FITHAW` of `linux/fs.h`: `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)`.
const FIFREEZE: rustix::ioctl::Opcode = 0xC004_5877;
const FITHAW: rustix::ioctl::Opcode = 0xC004_5878;

/// Freezes the disk, and thaws it at the request of the client, or when it is gone.
pub fn freeze(path: &Path, worker: &Worker) -> std::result::Result<(), Stop> {
    let disk = worker.disk.as_ref().filter(|_| path == Path::new("/"));
    let Some(disk) = disk else {
        let message = "only the sandbox's own disk can be frozen, by the path /";
        return Err(refused(FileFailureKind::BadRequest, message));
    };
    let frozen = failed(Frozen::new(disk.as_fd()), "freeze the disk of", b"/")?;
    let asked = worker.wait_for_end(Duration::from_secs(FREEZE_SECONDS_MAX));
    // EINVAL: someone else has thawed it.
    let thawed = failed(frozen.thaw(), "thaw the disk of", b"/");
    if !asked? {
        let message = format!("writes are held for at most {FREEZE_SECONDS_MAX} s");
        return Err(refused(FileFailureKind::Other, message));
    }
    thawed
}

/// A frozen file system. It is thawed on drop.
struct Frozen(Option<OwnedFd>);

impl Frozen {
    /// Writes everything back and holds further writes. EBUSY if someone else has frozen it.
    fn new(disk: impl AsFd) -> Result<Self> {
        // The descriptor of the disk may only be for its path.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(disk, ".", flags, Mode::empty())?;
        // SAFETY: the kernel ignores the argument of this ioctl.
        unsafe { ioctl(&directory, IntegerSetter::<FIFREEZE>::new_usize(0)) }?;
        Ok(Self(Some(directory)))
    }

    fn thaw(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        match self.0.take() {
            // SAFETY: the kernel ignores the argument of this ioctl.
            Some(directory) => unsafe { ioctl(&directory, IntegerSetter::<FITHAW>::new_usize(0)) },
            None => Err(Errno::INVAL),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
