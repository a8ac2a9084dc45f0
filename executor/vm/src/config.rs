//! The configuration of the VM's process: the specification, with descriptors by number.

use crate::driver::Backend;
use crate::spec::{ConsolePort, Disk, MountsLink, NetworkLink};
use executor_jail::probe::ProbeTargets;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;

/// The configuration of a VM's process. All numbers are descriptors that the process has inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// The driver with its settings.
    pub backend: Backend,
    /// The kernel.
    pub kernel: RawFd,
    /// The initramfs.
    pub initramfs: RawFd,
    /// The whole kernel command line.
    pub cmdline: String,
    /// The number of virtual processors.
    pub vcpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The disks in order.
    pub disks: Vec<Disk<RawFd>>,
    /// The console ports.
    pub ports: Vec<ConsolePort<RawFd>>,
    /// The network link, if there is one.
    pub network: Option<NetworkLink<RawFd>>,
    /// The link to the file server of its mounts, if it has mounts.
    pub mounts: Option<MountsLink<RawFd>>,
    /// The pipe for the console's output.
    pub console: RawFd,
    /// The stream socket for events, if the driver reports any.
    pub monitor: Option<RawFd>,
    /// The pipe for the report of what is in force round the process.
    pub report: RawFd,
    /// What the process tries from inside its jail, instead of becoming a VM.
    pub probe: Option<ProbeTargets>,
}

/// Returns the path of one of the process's own descriptors.
pub(crate) fn descriptor_path(descriptor: RawFd) -> String {
    format!("/proc/self/fd/{descriptor}")
}
