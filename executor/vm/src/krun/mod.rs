//! libkrun: the process itself becomes the VM. Needs KVM.

pub(crate) mod fuse;
mod machine;

use crate::config::{VmConfig, descriptor_path};
use crate::devices::{DiskAddressing, MOUNTS_TAG};
use crate::driver::{Driver, Features, MountsTransport};
use crate::host::{KVM_DEVICE, NULL_DEVICE};
use crate::spec::{ConsolePort, Disk, NetworkLink};
use crate::vmm::VmmError;
use executor_jail::syscalls::{self, SyscallList};
use executor_jail::{Access, Files, Obtained, RootPlan, Users};
use machine::Machine;
use rustix::thread::CapabilitySet;
use std::convert::Infallible;

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

/// The capabilities with which the file server sees the requests that the guest's kernel has checked.
const FILE_CAPABILITIES: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// The driver.
pub(crate) struct Krun;

impl Driver for Krun {
    /// Its guests have no receive buffers for more than ethernet's own packets.
    fn features(&self) -> Features {
        Features { mtu: 1500, disk_addressing: DiskAddressing::Index, mounts: MountsTransport::Fuse }
    }

    fn kernel_cmdline(&self, extra: &[String]) -> String {
        let words = CMDLINE.iter().copied().chain(extra.iter().map(String::as_str));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Its guests get an I/O error if the host's disk is full.
    fn has_monitor(&self) -> bool {
        false
    }

    fn users(&self, mounts: bool) -> Users {
        if mounts { Users::Guest } else { Users::Own }
    }

    fn root(&self, config: &VmConfig) -> RootPlan {
        let mut plan = RootPlan { files: vec![NULL_DEVICE.into(), KVM_DEVICE.into()], ..Default::default() };
        if config.mounts.is_some() {
            plan.files.push(fuse::DEVICE.into());
            plan.mount_points.push(fuse::FOLDER.into());
        }
        plan
    }

    fn mount(&self, config: &VmConfig, namespaces: &Obtained) -> Result<(), VmmError> {
        config.mounts.as_ref().map_or(Ok(()), |link| fuse::mount_for(link, namespaces))
    }

    /// It makes and changes the guest's files as the guest's users. It can open no others, and none on the host.
    fn capabilities(&self, config: &VmConfig) -> CapabilitySet {
        match config.mounts {
            Some(_) => FILE_CAPABILITIES,
            None => CapabilitySet::empty(),
        }
    }

    fn allow_files(&self, config: &VmConfig, files: &mut Files<'_>) {
        files.allow_path(NULL_DEVICE, Access::Write);
        files.allow_path(KVM_DEVICE, Access::Write);
        if config.mounts.is_some() {
            files.allow_path(fuse::FOLDER, Access::VirtualTree);
        }
    }

    fn syscalls(&self, config: &VmConfig) -> SyscallList {
        syscalls::krun(config.mounts.is_some())
    }

    fn enter(&self, config: &VmConfig) -> Result<Infallible, VmmError> {
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
