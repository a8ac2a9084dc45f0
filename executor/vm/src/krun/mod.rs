//! libkrun: the process itself becomes the VM. Needs KVM.

pub(crate) mod fuse;
mod machine;
mod user_namespace;

use crate::config::{VmConfig, descriptor_path};
use crate::devices::{DiskAddressing, MOUNTS_TAG};
use crate::driver::{Driver, Features, MountsTransport};
use crate::spec::{ConsolePort, Disk, NetworkLink};
use crate::vmm::VmmError;
use fuse::FuseProblem;
use machine::Machine;
use std::convert::Infallible;
use std::os::fd::OwnedFd;

/// The driver's own words of the kernel command line. libkrun appends the devices.
const CMDLINE: &[&str] = &[
    // The first virtio console.
    "console=hvc0",
    "quiet",
    // libkrun ends the VM at a reset by the keyboard controller.
    "reboot=k",
    "panic=-1",
    // As in libkrun's own command line.
    "no-kvmapf",
    // The keyboard controller has neither a keyboard nor a mouse to wait for.
    "i8042.noaux",
    "i8042.nokbd",
    "8250.nr_uarts=0",
    // Loop devices are created on demand.
    "loop.max_loop=0",
    "dummy.numdummies=0",
];

/// The driver.
pub(crate) struct Krun;

impl Driver for Krun {
    /// Its guests have no receive buffers for more than ethernet's own packets.
    fn features(&self) -> Features {
        Features { mtu: 1500, disk_addressing: DiskAddressing::Index, mounts: MountsTransport::Fuse }
    }

    fn kernel_cmdline(&self, _vcpus: u8, extra: &[String]) -> String {
        let words = CMDLINE.iter().copied().chain(extra.iter().map(String::as_str));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Its guests get an I/O error if the host's disk is full.
    fn has_monitor(&self) -> bool {
        false
    }

    fn user_namespace(&self) -> Result<Option<OwnedFd>, FuseProblem> {
        user_namespace::create()
    }

    fn enter(&self, config: &VmConfig) -> Result<Infallible, VmmError> {
        if let Some(link) = &config.mounts {
            // Before libkrun starts threads, with which a process cannot enter a user namespace.
            fuse::mount_for(link, config)?;
        }
        let machine = Machine::new()?;
        machine.set_size(config.vcpus, config.memory_mib)?;
        let (kernel, initramfs) = (descriptor_path(config.kernel), descriptor_path(config.initramfs));
        machine.set_kernel(&kernel, &initramfs, &config.cmdline)?;
        // No vsock: the guest communicates by its console ports and its network link only.
        machine.disable_vsock()?;
        machine.set_console(&descriptor_path(config.console))?;
        for Disk { id, file, read_only, format } in &config.disks {
            machine.add_disk(id, &descriptor_path(*file), *read_only, *format)?;
        }
        if !config.ports.is_empty() {
            let console = machine.add_multiport_console()?;
            for ConsolePort { name, socket } in &config.ports {
                machine.add_port(console, name, *socket)?;
            }
        }
        if let Some(NetworkLink { socket, mac }) = &config.network {
            machine.add_network(*socket, *mac)?;
        }
        if config.mounts.is_some() {
            machine.add_file_system(MOUNTS_TAG, fuse::FOLDER)?;
        }
        machine.start()
    }
}
