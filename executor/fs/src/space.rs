//! Free space of a file system.

use std::io;
use std::path::Path;

/// What is left of a file system for its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// In bytes.
    pub bytes: u64,
    /// In inodes; `u64::MAX` where the file system does not count them.
    pub inodes: u64,
    /// The size of the whole file system, in bytes.
    pub total_bytes: u64,
}

/// Measures the file system that a path is on.
pub fn space(path: &Path) -> io::Result<Space> {
    Ok(of(&rustix::fs::statvfs(path)?))
}

/// Measures the file system that an open file is on.
pub fn space_of(file: impl std::os::fd::AsFd) -> io::Result<Space> {
    Ok(of(&rustix::fs::fstatvfs(file)?))
}

fn of(stat: &rustix::fs::StatVfs) -> Space {
    Space {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: if stat.f_files == 0 { u64::MAX } else { stat.f_favail },
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    }
}
