//! What a sandbox is: the normalized, complete description that the model, the plan and the catalog share.

mod blocks;
mod definition;
pub mod diff;
mod host_access;
mod image;
mod mount;
mod network;
mod properties;

pub use blocks::{Capture, HealthCheck, Logs};
pub use definition::Definition;
pub use image::{ImageReference, PinnedImage};
pub use mount::{Mount, MountSource, Sync, VolumeSpec};
pub use network::{HookEvent, Network, NetworkDefault, OnViolation, Secret, SecretSource};
pub use rules::mount_text::{HostPerms, StatVirt};
pub use rules::port::{DEFAULT_BIND, Port, PortProtocol};

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of [`SandboxSpec`]'s JSON, as kept in the catalog and in plans.
pub const SPEC_VERSION: u32 = 2;

rules::words! {
    /// Whether a sandbox is meant to run on or to finish.
    Role {
        /// Runs until it is stopped.
        Service = "service",
        /// Runs once and must exit 0.
        Job = "job",
    }
}

/// The whole desired state of one sandbox, image pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSpec {
    /// What it boots from.
    pub image: PinnedImage,
    /// All else.
    pub definition: Definition,
}

impl SandboxSpec {
    /// The digest of the normalized spec and its version.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&(SPEC_VERSION, self))
    }
}

rules::words! {
    /// What a dependency must have reached.
    #[derive(Default)]
    Condition {
        /// Its main process runs (or, without one, its guest answers).
        #[default]
        Started = "started",
        /// Its health check passed.
        Healthy = "healthy",
        /// It ran to its end and exited 0.
        Completed = "completed",
    }
}

/// What a sandbox declares about its health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthSetting {
    /// No check runs, not even the image's.
    Disabled,
    /// This check runs.
    #[serde(untagged)]
    Check(HealthCheck),
}

/// What happens when a sandbox ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum RestartPolicy {
    /// It stays ended.
    No,
    /// Started again after a failure.
    OnFailure {
        /// At most so often in a row; without it, without end.
        max: Option<u32>,
    },
    /// Started again whatever its exit code was.
    Always,
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { max: None } => f.write_str("on-failure"),
            Self::OnFailure { max: Some(max) } => write!(f, "on-failure (max {max})"),
            Self::Always => f.write_str("always"),
        }
    }
}

/// Defaults where a Sandboxfile is silent.
pub mod defaults {
    /// Virtual processors.
    pub const CPUS: u32 = 1;
    /// Memory in MiB.
    pub const MEMORY_MIB: u32 = 256;
    /// The writable disk in MiB.
    pub const DISK_MIB: u32 = 4096;
    /// A volume in MiB.
    pub const VOLUME_MIB: u32 = 4096;
    /// The shell of wrapped scripts.
    pub const SHELL: &str = "/bin/sh";
    /// Between two probes of a healthy sandbox, in ms.
    pub const HEALTH_INTERVAL_MS: u64 = 10_000;
    /// For one probe, in ms.
    pub const HEALTH_TIMEOUT_MS: u64 = 5_000;
    /// Failures in a row.
    pub const HEALTH_RETRIES: u32 = 3;
    /// Grace from the start, in ms.
    pub const HEALTH_START_PERIOD_MS: u64 = 30_000;
}

/// Limits, with their units.
pub mod limits {
    /// The most virtual processors: the guest kernel's `NR_CPUS`.
    pub const CPUS_MAX: u32 = 64;
    /// The least memory a guest boots with, in MiB.
    pub const MEMORY_MIB_MIN: u32 = 64;
    /// The most memory, in MiB: 1 TiB.
    pub const MEMORY_MIB_MAX: u32 = 1024 * 1024;
    /// The smallest writable disk or volume, in MiB: what its file system needs.
    pub const DISK_MIB_MIN: u32 = 32;
    /// The largest writable disk or volume, in MiB: 4 TiB.
    pub const DISK_MIB_MAX: u32 = 4 * 1024 * 1024;
    /// The most volumes that one sandbox mounts: an emulated machine's bus has places for no more disks.
    pub const VOLUMES_PER_SANDBOX_MAX: usize = 3;
    /// The most replicas of one sandbox.
    pub const REPLICAS_MAX: u32 = 1000;
    /// The most rules of one sandbox's network: each is compared with those in front of it.
    pub const NETWORK_RULES_MAX: usize = 1000;
    /// One script's size, in bytes.
    pub const SCRIPT_BYTES_MAX: usize = 512 * 1024;
    /// The largest declaration that a sandbox is shown of itself, in bytes.
    pub const OWN_SANDBOXFILE_BYTES_MAX: usize = 64 * 1024;
    /// The largest Sandboxfile that is read, in bytes.
    pub const SANDBOXFILE_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// Blocks inside blocks in a Sandboxfile; the language itself needs four.
    pub const SANDBOXFILE_DEPTH_MAX: usize = 24;
    /// Names and values in a Sandboxfile, those counted again that a YAML alias repeats: room for 10,000
    /// sandboxes with twenty properties each.
    pub const SANDBOXFILE_NODES_MAX: usize = 1_000_000;
    /// The most bytes that a project may have in all its files, and in what variables, `like` and `replicas`
    /// copy: 10,000 sandboxes with 13 KiB each.
    pub const EXPANDED_BYTES_MAX: usize = 128 * 1024 * 1024;
    /// The most sandboxes of one project, each replica counted.
    pub const SANDBOXES_MAX: usize = 100_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record is of the first msb, before `logs`; and any field may be one that came later.
    #[test]
    fn records_of_an_older_msb_are_read() {
        let text = include_str!("old-definition.json");
        let old: Definition = serde_json::from_str(text).unwrap();
        assert_eq!((old.cpus, old.shell.as_str(), &old.logs), (2, "bash", &Logs::default()));
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        for name in fields.keys() {
            let mut older = fields.clone();
            older.remove(name);
            let read = serde_json::from_value::<Definition>(older.into());
            assert!(read.is_ok(), "{name}: {read:?}");
        }
        assert!(serde_json::from_str::<Definition>("{\"cpu\": 1}").is_err());
    }
}
