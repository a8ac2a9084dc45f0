//! What file operations take and return.

use executor_client::copy::{Progress, Skipped};
use protocol::latest::{FileKind as WireKind, FileStat as WireStat};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a pipe.
    Other,
}

impl FileKind {
    /// Returns the kind as a word: `file`, `directory`, `symlink` or `other`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Other => "other",
        }
    }
}

/// The metadata of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStat {
    /// The kind.
    pub kind: FileKind,
    /// The 12 permission bits.
    pub mode: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The size, in bytes.
    pub size: u64,
    /// The time of the last modification, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The target of a link.
    pub target: Option<PathBuf>,
}

impl FileStat {
    /// Returns the time of the last modification.
    pub fn modified(&self) -> SystemTime {
        let since = Duration::from_nanos(self.modified_ns.unsigned_abs());
        let time = if self.modified_ns < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(since)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(since)
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

impl From<WireStat> for FileStat {
    fn from(stat: WireStat) -> Self {
        let WireStat { kind, mode, uid, gid, size, modified_ns, target } = stat;
        let kind = match kind {
            WireKind::File => FileKind::File,
            WireKind::Directory => FileKind::Directory,
            WireKind::Link => FileKind::Symlink,
            WireKind::Other => FileKind::Other,
        };
        let target = target.map(|target| PathBuf::from(OsString::from_vec(target)));
        Self { kind, mode, uid, gid, size, modified_ns, target }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name, which is one plain component.
    pub name: OsString,
    /// The path.
    pub path: PathBuf,
    /// The metadata; links are not followed.
    pub stat: FileStat,
}

/// How a file is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Its permissions; 0644 by default.
    pub mode: Option<u32>,
    /// Its owner as `name|uid[:group|gid]`; the user of commands by default.
    pub user: Option<String>,
    /// Whether missing parent directories are created.
    pub parents: bool,
}

/// What a copy between the host and the guest has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The number of files and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of devices, sockets and pipes, which are not copied.
    pub skipped: u64,
    /// The number of files that could not be read.
    pub failed: u64,
}

impl Copied {
    pub(crate) fn of(progress: &Progress, skipped: &Skipped) -> Self {
        let (files, bytes) = (progress.files(), progress.bytes());
        Self { files, bytes, skipped: skipped.count, failed: skipped.failed }
    }
}
