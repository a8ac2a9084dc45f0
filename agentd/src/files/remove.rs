//! Removing a tree: never through a link, never into what is mounted in it, never deeper than the stack.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;

use crate::files::worker::{Stop, Worker, failed};

/// Deeper trees are refused: each level costs a descriptor and some stack.
const MAX_DEPTH: u32 = 200;
/// How often a directory is gone through anew because something was put into it meanwhile.
const ROUNDS: u32 = 3;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// What holds for a whole tree.
struct Removal<'a> {
    /// The device that the tree lies on: what lies on another one is mounted there.
    device: u64,
    worker: &'a Worker,
}

/// Removes a directory and all that is in it.
pub fn tree(path: &Path, shown: &[u8], worker: &Worker) -> Result<(), Stop> {
    let directory = failed(openat(CWD, path, DIRECTORY, Mode::empty()), "open", shown)?;
    let device = failed(fstat(&directory), "stat", shown)?.st_dev;
    let removal = Removal { device, worker };
    for _ in 0..ROUNDS {
        removal.empty(&directory, shown, MAX_DEPTH)?;
        match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {}
            Err(Errno::NOENT) => return Ok(()),
            result => return failed(result, "remove", shown),
        }
    }
    failed(Err(Errno::NOTEMPTY), "remove", shown)
}

impl Removal<'_> {
    fn empty(&self, directory: &OwnedFd, shown: &[u8], depth: u32) -> Result<(), Stop> {
        for entry in failed(Dir::read_from(directory), "read", shown)? {
            self.worker.check_cancelled()?;
            let entry = failed(entry, "read", shown)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => self.remove_directory(directory, name, shown, depth)?,
                Err(error) => return failed(Err(error), "remove", &joined(shown, name)),
            }
        }
        Ok(())
    }

    fn remove_directory(&self, parent: &OwnedFd, name: &CStr, shown: &[u8], depth: u32) -> Result<(), Stop> {
        let shown = joined(shown, name);
        let Some(depth) = depth.checked_sub(1) else {
            return failed(Err(Errno::NAMETOOLONG), "remove so deep a tree as", &shown);
        };
        let directory = failed(openat(parent, name, DIRECTORY, Mode::empty()), "remove", &shown)?;
        if failed(fstat(&directory), "stat", &shown)?.st_dev != self.device {
            return failed(Err(Errno::BUSY), "remove what is mounted at", &shown);
        }
        for _ in 0..ROUNDS {
            self.empty(&directory, &shown, depth)?;
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => {}
                Err(Errno::NOENT) => return Ok(()),
                result => return failed(result, "remove", &shown),
            }
        }
        failed(Err(Errno::NOTEMPTY), "remove", &shown)
    }
}

fn joined(directory: &[u8], name: &CStr) -> Vec<u8> {
    [directory, b"/", name.to_bytes()].concat()
}
