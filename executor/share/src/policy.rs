//! What a share serves, and how.

use rules::mount_text::{HostPerms, StatVirt};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

/// A directory or file of the host that a sandbox can reach.
#[derive(Debug)]
pub struct Share {
    /// Its name in errors and logs.
    pub name: String,
    /// The directory or regular file. It is opened again for each use, so it may be open with `O_PATH`; a lock on it is held
    /// as long as the share is served.
    pub source: OwnedFd,
    /// Its policy.
    pub policy: SharePolicy,
}

/// The policy of a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharePolicy {
    /// Whether all changes are refused.
    pub read_only: bool,
    /// The place of the guest's owners, modes and devices.
    pub stat_virt: StatVirt,
    /// The modes of the host's files.
    pub host_perms: HostPerms,
    /// The number of bytes by which the files can grow; `None` for no limit.
    pub size_bytes: Option<u64>,
    /// The owner that the guest sees for files that belong to the server's user and have no owner of the guest's;
    /// `None` for the default, which is 0:0, or with [`StatVirt::Off`] the host's.
    pub owner: Option<Owner>,
    /// Whether it is a disk: a file whose size, owner, mode and attributes the guest cannot change.
    #[serde(default)]
    pub disk: bool,
}

/// The owner of a file in the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// The limits of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest number of descriptors for files and directories. There are fewer where the process may have fewer.
    pub descriptors: usize,
    /// The largest number of inodes that the guest can keep in use.
    pub inodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { descriptors: 16 * 1024, inodes: 1024 * 1024 }
    }
}

/// The reason why shares cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The share is neither a directory nor a regular file.
    #[error("the share `{name}` is neither a directory nor a regular file")]
    Kind {
        /// Its name.
        name: String,
    },
    /// The share cannot be opened.
    #[error("cannot open the share `{name}`")]
    Open {
        /// Its name.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// There are more shares than a file system serves.
    #[error("there are {found} shares, more than the {most} that one file system serves")]
    TooMany {
        /// The number of shares.
        found: usize,
        /// The largest number.
        most: usize,
    },
    /// The descriptors of the process cannot be reached.
    #[error("cannot open /proc/self/fd")]
    Descriptors {
        /// The cause.
        source: io::Error,
    },
}
