//! The arguments of QEMU: a pure function of the configuration.

use crate::config::{VmConfig, descriptor_path};
use crate::devices::MOUNTS_TAG;
use crate::driver::Accelerator;
use crate::spec::{ConsolePort, Disk, DiskFormat, MountsLink, NetworkLink};
use serde_json::json;
use std::os::fd::RawFd;

/// The memory for translated code in MiB. QEMU's default is an eighth of the host's memory per VM.
const TRANSLATIONS_MIB: u32 = 256;

/// All features that can be translated, except for fast `rep movsb` and `rep stosb`: these are translated byte by byte,
/// and a guest that uses them copies and clears memory five times slower.
const TRANSLATED_CPU: &str = "max,-erms";

/// The most descriptors of requests to the file server at a time: a request of 1 MiB takes 256 of them where its pages
/// are not adjacent and the guest has no indirect descriptors.
const MOUNTS_QUEUE_SIZE: u16 = 1024;

pub(super) fn arguments(config: &VmConfig, accelerator: Accelerator) -> Vec<String> {
    let mut line = Line::default();
    // The PIT and the PIC stay on: without them the kernel hangs while it calibrates under TCG.
    let memory = if config.mounts.is_some() { ",memory-backend=memory" } else { "" };
    line.add("-machine", format!("microvm,acpi=off,rtc=on{memory}"));
    match accelerator {
        Accelerator::Kvm => {
            line.add("-accel", "kvm");
            line.add("-cpu", "host");
        }
        Accelerator::Tcg => {
            line.add("-accel", format!("tcg,tb-size={TRANSLATIONS_MIB}"));
            line.add("-cpu", TRANSLATED_CPU);
        }
    }
    line.add("-smp", config.vcpus.to_string());
    line.add("-m", format!("{}M", config.memory_mib));
    if config.mounts.is_some() {
        // The file server maps the guest's memory. Private memory is a little faster, so others keep it.
        let size = config.memory_mib;
        line.add("-object", format!("memory-backend-memfd,id=memory,size={size}M,share=on"));
    }
    // No devices and no configuration files besides these arguments.
    line.flag("-no-user-config");
    line.flag("-nodefaults");
    line.add("-display", "none");
    line.add("-monitor", "none");
    // A running QEMU needs none of these system calls, and an attacker inside it must not have them.
    line.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    // A reset of the guest ends the VM.
    line.flag("-no-reboot");
    line.add("-name", "msb");
    line.add("-kernel", descriptor_path(config.kernel));
    line.add("-initrd", descriptor_path(config.initramfs));
    line.add("-append", &config.cmdline);
    line.add("-add-fd", format!("fd={},set=0", config.console));
    line.add("-chardev", "file,id=console,path=/dev/fdset/0,append=on");
    line.add("-serial", "chardev:console");
    if let Some(monitor) = config.monitor {
        line.add("-chardev", format!("socket,id=monitor,fd={monitor}"));
        line.add("-mon", "chardev=monitor,mode=control");
    }
    // Modern virtio only.
    line.add("-global", "virtio-mmio.force-legacy=false");
    for disk in &config.disks {
        add_disk(&mut line, disk);
    }
    if !config.ports.is_empty() {
        line.add("-device", "virtio-serial-device,id=ports");
    }
    for (position, ConsolePort { name, socket }) in config.ports.iter().enumerate() {
        line.add("-chardev", format!("socket,id=port{position},fd={socket}"));
        // Port 0 is reserved for a console.
        let number = position + 1;
        line.add(
            "-device",
            format!("virtserialport,bus=ports.0,nr={number},chardev=port{position},name={name}"),
        );
    }
    if let Some(NetworkLink { socket, mac }) = &config.network {
        line.add("-netdev", format!("stream,id=network,addr.type=fd,addr.str={socket}"));
        line.add("-device", format!("virtio-net-device,netdev=network,mac={mac}"));
    }
    if let Some(MountsLink { socket }) = &config.mounts {
        line.add("-chardev", format!("socket,id=mounts,fd={socket}"));
        line.add(
            "-device",
            format!("vhost-user-fs-device,chardev=mounts,tag={MOUNTS_TAG},queue-size={MOUNTS_QUEUE_SIZE}"),
        );
    }
    // The guest reports memory that it has freed, which the host gets back. Random numbers come from the processor, as
    // there is no place for another device.
    line.add("-device", "virtio-balloon-device,free-page-reporting=on");
    line.words
}

fn add_disk(line: &mut Line, disk: &Disk<RawFd>) {
    let Disk { id, file, read_only, format } = disk;
    // Discarded blocks of the guest become holes in the file.
    let discard = if *read_only { "" } else { ",discard=unmap" };
    let qcow2 = json!({
        "driver": "qcow2",
        "node-name": format!("disk-{id}"),
        "file": format!("file-{id}"),
        "read-only": read_only,
        "discard": if *read_only { "ignore" } else { "unmap" },
        // Whatever its header says.
        "backing": null,
    });
    let read_only = if *read_only { "on" } else { "off" };
    let path = descriptor_path(*file);
    // The format is fixed, never probed: the guest writes the first bytes. msb itself takes the locks.
    line.add(
        "-blockdev",
        format!("driver=file,node-name=file-{id},filename={path},read-only={read_only},locking=off{discard}"),
    );
    let node = match format {
        DiskFormat::Raw => {
            format!("driver=raw,node-name=disk-{id},file=file-{id},read-only={read_only}{discard}")
        }
        DiskFormat::Qcow2 => qcow2.to_string(),
    };
    line.add("-blockdev", node);
    // A full disk of the host pauses the machine: after an I/O error the guest's file system would stay read-only.
    line.add("-device", format!("virtio-blk-device,drive=disk-{id},serial={id},werror=enospc"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Backend;
    use crate::spec::MacAddress;

    fn config() -> VmConfig {
        VmConfig {
            backend: Backend::Qemu { binary: "/usr/bin/qemu".into(), accelerator: Accelerator::Tcg },
            kernel: 10,
            initramfs: 11,
            cmdline: "console=ttyS0 a=b".to_owned(),
            vcpus: 2,
            memory_mib: 512,
            disks: vec![
                Disk { id: "base".to_owned(), file: 12, read_only: true, format: DiskFormat::Raw },
                Disk { id: "writable".to_owned(), file: 13, read_only: false, format: DiskFormat::Raw },
            ],
            ports: vec![ConsolePort { name: "msb.agent".to_owned(), socket: 14 }],
            network: Some(NetworkLink { socket: 15, mac: MacAddress([0x52, 0x54, 0, 1, 2, 3]) }),
            mounts: None,
            console: 16,
            monitor: Some(17),
            report: 18,
            probe: None,
        }
    }

    #[test]
    fn the_whole_machine() {
        let text = arguments(&config(), Accelerator::Tcg).join(" ").replace(" -", "\n-");
        let expected = "\
-machine microvm,acpi=off,rtc=on
-accel tcg,tb-size=256
-cpu max,-erms
-smp 2
-m 512M
-no-user-config
-nodefaults
-display none
-monitor none
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-no-reboot
-name msb
-kernel /proc/self/fd/10
-initrd /proc/self/fd/11
-append console=ttyS0 a=b
-add-fd fd=16,set=0
-chardev file,id=console,path=/dev/fdset/0,append=on
-serial chardev:console
-chardev socket,id=monitor,fd=17
-mon chardev=monitor,mode=control
-global virtio-mmio.force-legacy=false
-blockdev driver=file,node-name=file-base,filename=/proc/self/fd/12,read-only=on,locking=off
-blockdev driver=raw,node-name=disk-base,file=file-base,read-only=on
-device virtio-blk-device,drive=disk-base,serial=base,werror=enospc
-blockdev driver=file,node-name=file-writable,filename=/proc/self/fd/13,read-only=off,locking=off,discard=unmap
-blockdev driver=raw,node-name=disk-writable,file=file-writable,read-only=off,discard=unmap
-device virtio-blk-device,drive=disk-writable,serial=writable,werror=enospc
-device virtio-serial-device,id=ports
-chardev socket,id=port0,fd=14
-device virtserialport,bus=ports.0,nr=1,chardev=port0,name=msb.agent
-netdev stream,id=network,addr.type=fd,addr.str=15
-device virtio-net-device,netdev=network,mac=52:54:00:01:02:03
-device virtio-balloon-device,free-page-reporting=on";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_qcow2_disk_has_no_other_file() {
        let disk = Disk { id: "data".to_owned(), file: 20, read_only: false, format: DiskFormat::Qcow2 };
        let words = arguments(&VmConfig { disks: vec![disk], ..config() }, Accelerator::Tcg);
        let node = words.iter().find(|word| word.contains("qcow2")).unwrap();
        let node: serde_json::Value = node.parse().unwrap();
        assert_eq!(node["backing"], serde_json::Value::Null);
        assert_eq!((node["file"].as_str(), node["read-only"].as_bool()), (Some("file-data"), Some(false)));
        assert!(words.contains(
            &"driver=file,node-name=file-data,filename=/proc/self/fd/20,read-only=off,locking=off,discard=unmap"
                .to_owned()
        ));
    }

    #[test]
    fn mounts_share_the_memory_with_their_server() {
        let without = arguments(&config(), Accelerator::Tcg);
        let config = VmConfig { mounts: Some(MountsLink { socket: 18 }), ..config() };
        let with = arguments(&config, Accelerator::Tcg);
        let added: Vec<&str> =
            with.iter().filter(|word| !without.contains(word)).map(String::as_str).collect();
        assert_eq!(
            added,
            [
                "microvm,acpi=off,rtc=on,memory-backend=memory",
                "-object",
                "memory-backend-memfd,id=memory,size=512M,share=on",
                "socket,id=mounts,fd=18",
                "vhost-user-fs-device,chardev=mounts,tag=msb-mounts,queue-size=1024",
            ]
        );
    }

    #[test]
    fn hardware_is_used_where_it_works() {
        let text = arguments(&config(), Accelerator::Kvm).join(" ");
        assert!(text.contains("-accel kvm -cpu host"), "{text}");
        assert!(!text.contains("tcg"), "{text}");
    }
}
