//! What the launcher tells the VM's process: the specification, with descriptors by number.

use crate::driver::Backend;
use crate::spec::MacAddress;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;

/// A VM, as its own process sees it. All numbers name descriptors that the process has inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// Who runs it.
    pub backend: Backend,
    /// The launcher: the VM must not outlive it.
    pub parent_pid: i32,
    /// The kernel.
    pub kernel: RawFd,
    /// The initramfs.
    pub initramfs: RawFd,
    /// The whole kernel command line.
    pub cmdline: String,
    /// Virtual processors.
    pub vcpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disks, in order.
    pub disks: Vec<DiskConfig>,
    /// Console ports.
    pub ports: Vec<PortConfig>,
    /// The network link.
    pub network: Option<NetworkConfig>,
    /// Where the console's output goes.
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
    /// Whether the guest may only read it.
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

/// The path under which a process may open one of its own descriptors once more.
pub(crate) fn descriptor_path(descriptor: RawFd) -> String {
    format!("/proc/self/fd/{descriptor}")
}
