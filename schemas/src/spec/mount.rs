//! Mounts, copied folders and volumes.

use crate::name::VolumeName;
use rules::mount_text::{HostPerms, StatVirt};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A mount; its path in the sandbox is its key in the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The path of the host, or the volume.
    pub source: MountSource,
    /// Whether the sandbox cannot write to it.
    pub readonly: bool,
    /// Whether programs on it cannot be executed.
    pub noexec: bool,
    /// Whether set-user-id bits on it have no effect.
    pub nosuid: bool,
    /// Whether device nodes on it have no effect.
    pub nodev: bool,
    /// Where the owners, modes and devices of files of the host are stored.
    pub stat_virt: StatVirt,
    /// The modes of files on the host.
    pub host_perms: HostPerms,
}

impl fmt::Display for Mount {
    /// Writes the source and the options other than the defaults, as `/srv/app, readonly`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms } = self;
        write!(f, "{source}")?;
        for (is_set, word) in
            [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")]
        {
            if *is_set {
                write!(f, ", {word}")?;
            }
        }
        if *stat_virt != StatVirt::default() {
            write!(f, ", stat-virt {stat_virt}")?;
        }
        if *host_perms != HostPerms::default() {
            write!(f, ", host-perms {host_perms}")?;
        }
        Ok(())
    }
}

/// The source of a mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MountSource {
    /// A file or a directory of the host.
    Host {
        /// The absolute path, without `.` or `..`.
        path: String,
    },
    /// A volume of the project.
    Volume {
        /// The name of the volume.
        name: VolumeName,
    },
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { path } => f.write_str(path),
            Self::Volume { name } => f.write_str(name.as_str()),
        }
    }
}

/// A host folder that `msb up --watch` copies into the running sandbox; its path there is its key in the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The absolute path on the host, without `.` or `..`.
    pub source: String,
    /// Patterns of files that are not copied, in the syntax of `.gitignore`.
    pub ignore: Vec<String>,
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, ignore } = self;
        if ignore.is_empty() {
            write!(f, "{source}")
        } else {
            write!(f, "{source} without {}", ignore.join(", "))
        }
    }
}

/// A disk that outlives the sandboxes that mount it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Its size in MiB; the space is taken as it is filled.
    pub size_mib: u32,
}
