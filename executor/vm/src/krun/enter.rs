//! Starts the VM: the calls to libkrun, in order.

use super::machine::Machine;
use crate::config::{DiskConfig, NetworkConfig, PortConfig, VmConfig, descriptor_path};
use crate::vmm::VmmError;
use std::convert::Infallible;

pub(super) fn enter(config: &VmConfig) -> Result<Infallible, VmmError> {
    let machine = Machine::new()?;
    machine.set_size(config.vcpus, config.memory_mib)?;
    machine.set_kernel(
        &descriptor_path(config.kernel),
        &descriptor_path(config.initramfs),
        &config.cmdline,
    )?;
    // No vsock: the guest communicates by its console ports and its network link only.
    machine.disable_vsock()?;
    machine.set_console(&descriptor_path(config.console))?;
    for DiskConfig { id, file, read_only } in &config.disks {
        machine.add_disk(id, &descriptor_path(*file), *read_only)?;
    }
    if !config.ports.is_empty() {
        let console = machine.add_multiport_console()?;
        for PortConfig { name, socket } in &config.ports {
            machine.add_port(console, name, *socket)?;
        }
    }
    if let Some(NetworkConfig { socket, mac }) = &config.network {
        machine.add_network(*socket, *mac)?;
    }
    machine.start()
}
