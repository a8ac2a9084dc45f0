//! The machine, as arguments for QEMU. A pure function, so that a test can hold it still.

use crate::config::{DiskConfig, NetworkConfig, PortConfig, VmConfig, descriptor_path};
use crate::driver::Accelerator;

pub(super) fn arguments(config: &VmConfig, accelerator: Accelerator) -> Vec<String> {
    let mut line = Line::default();
    // The PIT and the PIC stay on: without them the kernel hangs while it calibrates under TCG.
    line.add("-machine", "microvm,acpi=off,rtc=on");
    match accelerator {
        Accelerator::Kvm => {
            line.add("-accel", "kvm");
            line.add("-cpu", "host");
        }
        Accelerator::Tcg => {
            line.add("-accel", "tcg");
            line.add("-cpu", "max");
        }
    }
    line.add("-smp", config.vcpus.to_string());
    line.add("-m", format!("{}M", config.memory_mib));
    // Nothing that is not named here, from no file of the user's or the host's.
    line.flag("-no-user-config");
    line.flag("-nodefaults");
    line.add("-display", "none");
    line.add("-monitor", "none");
    // The guest's reset is the end.
    line.flag("-no-reboot");
    line.add("-name", "msb");
    line.add("-kernel", descriptor_path(config.kernel));
    line.add("-initrd", descriptor_path(config.initramfs));
    line.add("-append", &config.cmdline);
    line.add("-add-fd", format!("fd={},set=0", config.console));
    line.add("-chardev", "file,id=console,path=/dev/fdset/0,append=on");
    line.add("-serial", "chardev:console");
    // Modern virtio only.
    line.add("-global", "virtio-mmio.force-legacy=false");
    for disk in &config.disks {
        add_disk(&mut line, disk);
    }
    if !config.ports.is_empty() {
        line.add("-device", "virtio-serial-device,id=ports");
    }
    for (position, PortConfig { name, socket }) in config.ports.iter().enumerate() {
        line.add("-chardev", format!("socket,id=port{position},fd={socket}"));
        // Port 0 is kept for a console.
        let number = position + 1;
        line.add(
            "-device",
            format!("virtserialport,bus=ports.0,nr={number},chardev=port{position},name={name}"),
        );
    }
    if let Some(NetworkConfig { socket, mac }) = &config.network {
        line.add("-netdev", format!("stream,id=network,addr.type=fd,addr.str={socket}"));
        line.add("-device", format!("virtio-net-device,netdev=network,mac={mac}"));
    }
    line.add("-device", "virtio-rng-device");
    line.words
}

fn add_disk(line: &mut Line, disk: &DiskConfig) {
    let DiskConfig { id, file, read_only } = disk;
    let read_only = if *read_only { "on" } else { "off" };
    let path = descriptor_path(*file);
    // The format is named, never guessed: the guest writes the first bytes. Locks are ours to take.
    line.add(
        "-blockdev",
        format!("driver=file,node-name=file-{id},filename={path},read-only={read_only},locking=off"),
    );
    line.add("-blockdev", format!("driver=raw,node-name=disk-{id},file=file-{id},read-only={read_only}"));
    line.add("-device", format!("virtio-blk-device,drive=disk-{id},serial={id}"));
}

/// A command line under construction.
#[derive(Default)]
struct Line {
    words: Vec<String>,
}

impl Line {
    fn flag(&mut self, name: &str) {
        self.words.push(name.to_owned());
    }

    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.words.push(name.to_owned());
        self.words.push(value.as_ref().to_owned());
    }
}
