//! Free space of a file system.

use std::io;
use std::path::Path;

/// The free space of a file system, as its unprivileged users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free space in bytes.
    pub bytes: u64,
    /// Free inodes; `u64::MAX` if the file system does not count them.
    pub inodes: u64,
    /// The size of the whole file system in bytes.
    pub total_bytes: u64,
}

/// Measures the file system of a path.
///
/// # Errors
///
/// If the path does not exist or cannot be reached.
pub fn space(path: &Path) -> io::Result<Space> {
    Ok(of(&rustix::fs::statvfs(path)?))
}

/// Measures the file system of an open file.
///
/// # Errors
///
/// If the file system does not answer.
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
