//! The normalized, complete description of a sandbox that the model, the plan and the catalog share.

mod blocks;
mod definition;
pub mod diff;
mod file;
mod host_access;
mod image;
mod mount;
mod network;
mod properties;
mod secret;
mod tmpfs;

pub use blocks::{Capture, HealthCheck, Logs};
pub use definition::Definition;
pub use file::{Contents, EnvFile, GuestFile};
pub use image::{ImageReference, PinnedImage, Pull};
pub use mount::{DiskFormat, Mount, MountSource, Sync, VolumeSpec};
pub use network::{Dns, HookEvent, Network, NetworkDefault, UpstreamProxy};
pub use rules::mount_text::{HostPerms, ID_MAX, StatVirt, VolumeKind};
pub use rules::port::{DEFAULT_BIND, Port, PortProtocol};
pub use secret::{
    DEFAULT_TLS_PORT, ExtraCa, InvalidValueName, OnViolation, RequestPart, Secret, SecretSource, Tls,
    ValueName, default_parts, default_placeholder,
};
pub use tmpfs::Tmpfs;

use crate::digest::Digest;
use rules::unit::format_duration_ms;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the JSON of a [`SandboxSpec`] in the catalog and in plans.
pub const SPEC_VERSION: u32 = 2;

rules::words! {
    /// Whether a sandbox runs until it is stopped or until it is done.
    Role {
        /// Runs until it is stopped.
        Service = "service",
        /// Runs once and must exit 0.
        Job = "job",
    }
}

/// The desired state of one sandbox, its image pinned.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSpec {
    /// The image that it boots from.
    pub image: PinnedImage,
    /// Its definition.
    pub definition: Definition,
}

impl SandboxSpec {
    /// Returns the digest of the normalized spec and its version.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&(SPEC_VERSION, self))
    }
}

rules::words! {
    /// The condition of a dependency.
    #[derive(Default)]
    Condition {
        /// Its main process runs; without one, its guest answers.
        #[default]
        Started = "started",
        /// Its health check passed.
        Healthy = "healthy",
        /// It exited 0.
        Completed = "completed",
    }
}

/// The setting of a health check.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthSetting {
    /// No check runs, not even the image's.
    Disabled,
    /// This check runs.
    #[serde(untagged)]
    Check(HealthCheck),
}

/// The action when a sandbox ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum RestartPolicy {
    /// It is not restarted.
    No,
    /// It is restarted after a failure.
    OnFailure {
        /// The most restarts in a row; `None` for no limit.
        max: Option<u32>,
        /// The time within which restarts are counted; `None` for all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window_ms: Option<u64>,
    },
    /// It is restarted after any exit.
    Always,
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { max: None, window_ms: _ } => f.write_str("on-failure"),
            Self::OnFailure { max: Some(max), window_ms: None } => write!(f, "on-failure (max {max})"),
            Self::OnFailure { max: Some(max), window_ms: Some(ms) } => {
                write!(f, "on-failure (max {max} within {})", format_duration_ms(*ms))
            }
            Self::Always => f.write_str("always"),
        }
    }
}

/// Defaults of properties.
pub mod defaults {
    /// Virtual processors.
    pub const CPUS: u32 = 1;
    /// Memory, in MiB.
    pub const MEMORY_MIB: u32 = 256;
    /// The size of the writable disk, in MiB.
    pub const DISK_MIB: u32 = 4096;
    /// The size of a volume that is a disk, in MiB.
    pub const VOLUME_MIB: u32 = 4096;
    /// The mode of a file that is written into a sandbox.
    pub const FILE_MODE: u32 = 0o644;
    /// The shell of scripts.
    pub const SHELL: &str = "/bin/sh";
    /// The interval between two probes, in ms.
    pub const HEALTH_INTERVAL_MS: u64 = 10_000;
    /// The timeout of a probe, in ms.
    pub const HEALTH_TIMEOUT_MS: u64 = 5_000;
    /// The failures in a row that make a sandbox unhealthy.
    pub const HEALTH_RETRIES: u32 = 3;
    /// The time from the start within which failures do not count, in ms.
    pub const HEALTH_START_PERIOD_MS: u64 = 30_000;
}

/// Limits of properties and files.
pub mod limits {
    /// The most virtual processors: the guest kernel's `NR_CPUS`.
    pub const CPUS_MAX: u32 = 64;
    /// The least memory a guest boots with, in MiB.
    pub const MEMORY_MIB_MIN: u32 = 64;
    /// The most memory, in MiB: 1 TiB.
    pub const MEMORY_MIB_MAX: u32 = 1024 * 1024;
    /// The smallest writable disk or volume, in MiB, which its file system needs.
    pub const DISK_MIB_MIN: u32 = 32;
    /// The largest writable disk or volume, in MiB: 4 TiB.
    pub const DISK_MIB_MAX: u32 = 4 * 1024 * 1024;
    /// The most volumes of one sandbox that are devices of its virtual machine, whose bus has no room for more. Further
    /// disks are served as files.
    pub const DISK_DEVICES_MAX: usize = 3;
    /// Returns how many of a sandbox's disks are devices of their own; with a mount of the host or of a directory volume,
    /// or with files that are disks, one device is theirs.
    pub const fn disk_devices(disks: usize, is_shared: bool) -> usize {
        let most =
            if is_shared || disks > DISK_DEVICES_MAX { DISK_DEVICES_MAX - 1 } else { DISK_DEVICES_MAX };
        if disks < most { disks } else { most }
    }
    /// The most mounts of one sandbox.
    pub const MOUNTS_PER_SANDBOX_MAX: usize = 64;
    /// The most files that are written into one sandbox at its start.
    pub const FILES_PER_SANDBOX_MAX: usize = 64;
    /// The largest of them, in bytes.
    pub const FILE_BYTES_MAX: usize = 256 * 1024;
    /// The largest size of all of them together, in bytes.
    pub const FILES_BYTES_MAX: usize = 1024 * 1024;
    /// The most secrets of one sandbox: each request is searched for all of their placeholders.
    pub const SECRETS_PER_SANDBOX_MAX: usize = 64;
    /// The shortest placeholder that a user may choose, in bytes: a shorter one would be found by chance.
    pub const PLACEHOLDER_BYTES_MIN: usize = 8;
    /// The longest placeholder, in bytes.
    pub const PLACEHOLDER_BYTES_MAX: usize = 256;
    /// The largest value of a secret, in bytes.
    pub const SECRET_BYTES_MAX: usize = 64 * 1024;
    /// The most files with CAs of one sandbox.
    pub const CAS_PER_SANDBOX_MAX: usize = 16;
    /// The most replicas of one sandbox.
    pub const REPLICAS_MAX: u32 = 1000;
    /// The most rules of one sandbox's network: each is compared with those before it.
    pub const NETWORK_RULES_MAX: usize = 1000;
    /// The most name servers of a network, as in resolv.conf(5).
    pub const NAME_SERVERS_MAX: usize = 3;
    /// The most domains that names are looked up in, as in resolv.conf(5).
    pub const SEARCH_DOMAINS_MAX: usize = 6;
    /// The largest script, in bytes.
    pub const SCRIPT_BYTES_MAX: usize = 512 * 1024;
    /// The largest declaration that a guest receives of its own sandbox, in bytes.
    pub const OWN_SANDBOXFILE_BYTES_MAX: usize = 64 * 1024;
    /// The largest Sandboxfile, in bytes.
    pub const SANDBOXFILE_BYTES_MAX: usize = 16 * 1024 * 1024;
    /// The deepest nesting of blocks in a Sandboxfile; the language itself needs four.
    pub const SANDBOXFILE_DEPTH_MAX: usize = 24;
    /// The most names and values of a Sandboxfile, counted again for each YAML alias: room for 10,000 sandboxes with
    /// twenty properties each.
    pub const SANDBOXFILE_NODES_MAX: usize = 1_000_000;
    /// The largest size of all files of a project with the copies of variables, `like` and `replicas`, in bytes: 10,000
    /// sandboxes with 13 KiB each.
    pub const EXPANDED_BYTES_MAX: usize = 128 * 1024 * 1024;
    /// The most sandboxes of one project, with replicas.
    pub const SANDBOXES_MAX: usize = 100_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record is of the first msb, before `logs`; any field may have been added later.
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

    /// The texts are those that a Sandboxfile could not declare.
    #[test]
    fn records_with_invalid_texts_are_refused() {
        let refused = |json: &str| serde_json::from_str::<Definition>(json).unwrap_err().to_string();
        let network =
            |pool: &str| format!("{{\"network\": {{\"default\": \"public\", \"rules\": [], {pool}}}}}");
        let secret = "{\"secrets\": {\"KEY\": {\"from\": {\"env\": {\"name\": \"KEY\"}}, \"hosts\": [\"*.com\"], \
                      \"on_violation\": \"block\"}}}";
        for (json, message) in [
            ("{\"user\": \"a b\"}".to_owned(), "`a b` is not a user"),
            (network("\"ipv4_pool\": \"10.0.0.0/31\""), "a pool must have room for a /30"),
            (network("\"ipv6_pool\": \"10.0.0.0/8\""), "`10.0.0.0/8` is not a network of IPv6 addresses"),
            (secret.to_owned(), "`*.com` matches a whole top-level domain"),
        ] {
            assert!(refused(&json).starts_with(message), "{}", refused(&json));
        }
        let image = serde_json::from_str::<ImageReference>("{\"registry\": {\"name\": \"A\"}}").unwrap_err();
        assert!(image.to_string().starts_with("the name of an image is written in lower case"), "{image}");
    }
}
