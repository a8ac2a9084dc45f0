//! The input of a supervisor: written by `apply` right before it spawns one.

use executor_vm::Backend;
use schemas::name::{ProjectName, SandboxId, SandboxName, VolumeName, full_volume_name};
use schemas::spec::{MountSource, SandboxSpec, VolumeKind, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A sandbox as its supervisor runs it: the contents of `orders.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// [`STATE_VERSION`](executor_host::state::STATE_VERSION).
    pub version: u32,
    /// The sandbox.
    pub id: SandboxId,
    /// Its full name, unique on this machine.
    pub full_name: String,
    /// Its name in its project: the guest's host name.
    pub name: SandboxName,
    /// Its project.
    pub project: ProjectName,
    /// The project's folder, if it is known.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Its whole spec.
    pub spec: SandboxSpec,
    /// The specs of the volumes that it mounts; earlier versions of msb recorded none, and had disks only.
    #[serde(default)]
    pub volumes: BTreeMap<VolumeName, VolumeSpec>,
    /// The specs of the volumes of other projects or of none that it mounts, by their full names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<VolumeName, VolumeSpec>,
    /// The volumes for the data paths of its image, by these paths. They belong to its project, and are directories.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub anonymous: BTreeMap<String, VolumeName>,
    /// Warnings for its log, with texts of the image escaped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The settings of its virtual machine.
    pub boot: BootSettings,
    /// Its addresses; `None` for a sandbox that an earlier version of msb started.
    #[serde(default)]
    pub addresses: Option<executor_net::Addresses>,
}

/// A volume that a sandbox mounts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountedVolume {
    /// Its full name, which is that of its folder.
    pub full_name: String,
    /// Its name in messages.
    pub name: VolumeName,
}

impl LaunchSpec {
    /// Returns the volume of a mount; `None` for a path of the host.
    pub fn volume(&self, source: &MountSource) -> Option<MountedVolume> {
        let (full_name, name) = match source {
            MountSource::Host { path: _ } | MountSource::Disk { path: _ } => return None,
            MountSource::Volume { name } => (full_volume_name(&self.project, name), name),
            MountSource::External { name: _, volume } => (volume.to_string(), volume),
        };
        Some(MountedVolume { full_name, name: name.clone() })
    }

    /// Returns the spec of the volume of a mount, if it is a directory; `None` for a disk and for a path of the host.
    pub fn directory_volume(&self, source: &MountSource) -> Option<&VolumeSpec> {
        let spec = match source {
            MountSource::Host { path: _ } | MountSource::Disk { path: _ } => None,
            MountSource::Volume { name } => self.volumes.get(name),
            MountSource::External { name: _, volume } => self.external.get(volume),
        };
        spec.filter(|volume| volume.kind == VolumeKind::Directory)
    }
}

/// The settings that every VM of an installation boots with.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSettings {
    /// The VM driver with its settings for this host.
    pub backend: Backend,
    /// The guest kernel's ELF.
    pub kernel: PathBuf,
    /// The initramfs with agentd in it.
    pub initramfs: PathBuf,
}
