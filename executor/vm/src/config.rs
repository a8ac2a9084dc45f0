//! The configuration of the VM's process: the specification, with descriptors by number.

use crate::driver::Backend;
use crate::spec::MacAddress;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;

/// The configuration of a VM's process. All numbers are descriptors that the process has inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// The driver with its settings.
    pub backend: Backend,
    /// The launcher's pid: the VM must not outlive it.
    pub parent_pid: i32,
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
    pub disks: Vec<DiskConfig>,
    /// The console ports.
    pub ports: Vec<PortConfig>,
    /// The network link, if there is one.
    pub network: Option<NetworkConfig>,
    /// The pipe for the console's output.
    pub console: RawFd,
    /// The stream socket for events, if the driver reports any.
    pub monitor: Option<RawFd>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// Its serial number.
    pub id: String,
    /// The image.
    pub file: RawFd,
    /// Whether the disk is read-only.
    pub read_only: bool,
}

/// A console port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// Its name.
    pub name: String,
    /// The stream socket.
    pub socket: RawFd,
}

/// A network link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The stream socket.
    pub socket: RawFd,
    /// The guest's hardware address.
    pub mac: MacAddress,
}

/// Returns the path of one of the process's own descriptors.
pub(crate) fn descriptor_path(descriptor: RawFd) -> String {
    format!("/proc/self/fd/{descriptor}")
}
