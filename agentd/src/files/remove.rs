//! Removes a tree: without following links, without entering mounts, with bounded recursion.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, lstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::files::worker::{Stop, Worker, failed};

/// Deeper trees are refused: each level costs a descriptor and stack.
const MAX_DEPTH: u32 = 200;
/// How often a directory is emptied again because new entries appeared.
const ROUNDS: u32 = 3;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The parameters of one removal.
struct Removal<'a> {
    /// The tree's device; entries on another device are mounts.
    device: u64,
    worker: &'a Worker,
}

/// Removes a directory and its contents.
pub fn tree(path: &Path, shown: &[u8], worker: &Worker) -> Result<(), Stop> {
    let device = failed(lstat(path), "stat", shown)?.st_dev;
    Removal { device, worker }.remove_directory(CWD, path, shown, MAX_DEPTH + 1)
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
                Err(Errno::ISDIR | Errno::PERM) => {
                    self.remove_directory(directory.as_fd(), name, &joined(shown, name), depth)?;
                }
                Err(error) => return failed(Err(error), "remove", &joined(shown, name)),
            }
        }
        Ok(())
    }

    fn remove_directory(
        &self,
        parent: BorrowedFd<'_>,
        name: impl Arg + Copy,
        shown: &[u8],
        depth: u32,
    ) -> Result<(), Stop> {
        let Some(depth) = depth.checked_sub(1) else {
            return failed(Err(Errno::NAMETOOLONG), "remove so deep a tree as", shown);
        };
        let directory = failed(openat(parent, name, DIRECTORY, Mode::empty()), "remove", shown)?;
        if failed(fstat(&directory), "stat", shown)?.st_dev != self.device {
            return failed(Err(Errno::BUSY), "remove the mount point", shown);
        }
        for _ in 0..ROUNDS {
            self.empty(&directory, shown, depth)?;
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => {}
                Err(Errno::NOENT) => return Ok(()),
                result => return failed(result, "remove", shown),
            }
        }
        failed(Err(Errno::NOTEMPTY), "remove", shown)
    }
}

fn joined(directory: &[u8], name: &CStr) -> Vec<u8> {
    [directory, b"/", name.to_bytes()].concat()
}
