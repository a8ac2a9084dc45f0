//! The input of a supervisor: written by `apply` right before it spawns one.

use executor_vm::Backend;
use schemas::name::{ProjectName, SandboxId, SandboxName, VolumeName};
use schemas::spec::{SandboxSpec, VolumeKind, VolumeSpec};
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
    /// The settings of its virtual machine.
    pub boot: BootSettings,
    /// Its addresses; `None` for a sandbox that an earlier version of msb started.
    #[serde(default)]
    pub addresses: Option<executor_net::Addresses>,
}

impl LaunchSpec {
    /// Returns the spec of a volume that is a directory; `None` if it is a disk.
    pub fn directory_volume(&self, name: &VolumeName) -> Option<&VolumeSpec> {
        self.volumes.get(name).filter(|volume| volume.kind == VolumeKind::Directory)
    }
}

/// The settings that every VM of an installation boots with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSettings {
    /// The VM driver with its settings for this host.
    pub backend: Backend,
    /// The guest kernel's ELF.
    pub kernel: PathBuf,
    /// The initramfs with agentd in it.
    pub initramfs: PathBuf,
}
