//! The specification of a VM, for any driver. The configuration of its process has descriptors by number in it.

use crate::devices::disks_max;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The guest kernel's `CONFIG_NR_CPUS`.
pub const VCPUS_MAX: u8 = 64;
/// The least memory that the kernel and agentd boot with, in MiB.
pub const MEMORY_MIB_MIN: u32 = 64;
/// The longest id of a disk, a virtio-blk serial number, in bytes.
pub const DISK_ID_BYTES_MAX: usize = 20;
/// The longest name of a console port in bytes.
pub const PORT_NAME_BYTES_MAX: usize = 32;
/// The most console ports: a virtio-serial bus of QEMU has 31 ports, and port 0 is reserved for a console.
pub const PORTS_MAX: usize = 30;
/// The longest extra command line in bytes: x86 kernels read 2048 bytes, and the drivers' own words and devices need the
/// rest.
pub const EXTRA_CMDLINE_BYTES_MAX: usize = 1024;

/// The specification of a VM. Its descriptors move to the VM's process; the launcher keeps no copy.
#[derive(Debug)]
pub struct VmSpec {
    /// The guest kernel, an uncompressed ELF with a PVH entry.
    pub kernel: PathBuf,
    /// The initramfs, with `/init`.
    pub initramfs: PathBuf,
    /// Words to append to the driver's own kernel command line.
    pub extra_cmdline: Vec<String>,
    /// The number of virtual processors, 1 to [`VCPUS_MAX`].
    pub vcpus: u8,
    /// Memory in MiB, at least [`MEMORY_MIB_MIN`].
    pub memory_mib: u32,
    /// The disks in order: the first one is `/dev/vda` in the guest.
    pub disks: Vec<Disk>,
    /// Console ports, found in the guest by name.
    pub ports: Vec<ConsolePort>,
    /// The network link; `None` for a VM without network.
    pub network: Option<NetworkLink>,
    /// The link to the file server of its mounts; `None` for a VM without mounts.
    pub mounts: Option<MountsLink>,
    /// The write end of a pipe for the output of the guest's kernel and `/dev/console`. The guest blocks while the pipe is
    /// full; the output is lost after its read end has been closed.
    pub console: OwnedFd,
}

/// The format of a disk image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// The bytes of the disk.
    #[default]
    Raw,
    /// QEMU's format. Its header names no other file, which the caller has checked.
    Qcow2,
}

/// A disk image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk<F = OwnedFd> {
    /// The disk's serial number in the guest (`/sys/block/*/serial`).
    pub id: String,
    /// The image or block device, opened for reading, and for writing unless the disk is read-only.
    pub file: F,
    /// Whether the disk is read-only.
    pub read_only: bool,
    /// The format, which is never guessed: the guest writes the first bytes.
    pub format: DiskFormat,
}

/// A named byte stream between host and guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolePort<F = OwnedFd> {
    /// The name in the guest (`/sys/class/virtio-ports/*/name`).
    pub name: String,
    /// One end of a stream socket pair.
    pub socket: F,
}

/// A virtio network card on a stream socket: each ethernet frame follows its length as four big-endian bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkLink<F = OwnedFd> {
    /// One end of a stream socket pair.
    pub socket: F,
    /// The guest's hardware address.
    pub mac: MacAddress,
}

/// The link to the file server of a VM's mounts, for a virtio-fs device with the tag [`crate::devices::MOUNTS_TAG`]. The
/// driver's [`crate::driver::Features`] say what it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountsLink<F = OwnedFd> {
    /// One end of a stream socket pair.
    pub socket: F,
}

/// An ethernet hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// An error in a specification.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Too few or too many processors.
    #[error("a VM has 1 to {VCPUS_MAX} vcpus, not {vcpus}")]
    Vcpus {
        /// The given number.
        vcpus: u8,
    },
    /// Too little memory.
    #[error("a VM needs at least {MEMORY_MIB_MIN} MiB of memory, not {memory_mib}")]
    Memory {
        /// The given size in MiB.
        memory_mib: u32,
    },
    /// An id or a name that a driver could misread.
    #[error("{what} '{name}' is not 1 to {bytes_max} letters, digits, '.', '_' or '-'")]
    Name {
        /// The kind of the named device.
        what: &'static str,
        /// The given name.
        name: String,
        /// The longest name in bytes.
        bytes_max: usize,
    },
    /// Two devices of one name.
    #[error("{what} '{name}' is given twice")]
    Twice {
        /// The kind of the named device.
        what: &'static str,
        /// The given name.
        name: String,
    },
    /// Too many devices of one kind.
    #[error("a VM has at most {max} {what}s, not {given}")]
    TooMany {
        /// The kind of the devices.
        what: &'static str,
        /// The given number.
        given: usize,
        /// The largest number.
        max: usize,
    },
    /// A word of the command line that is empty, has blanks, quotes or unprintable characters.
    #[error("'{word}' is not one printable word of a kernel command line")]
    CmdlineWord {
        /// The given word.
        word: String,
    },
    /// A command line that the kernel would truncate.
    #[error("the extra kernel command line is {bytes} bytes long, of at most {EXTRA_CMDLINE_BYTES_MAX}")]
    CmdlineLength {
        /// The length in bytes.
        bytes: usize,
    },
}

impl VmSpec {
    /// Checks the requirements of both drivers.
    ///
    /// # Errors
    ///
    /// The first violated requirement.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.vcpus == 0 || self.vcpus > VCPUS_MAX {
            return Err(SpecError::Vcpus { vcpus: self.vcpus });
        }
        if self.memory_mib < MEMORY_MIB_MIN {
            return Err(SpecError::Memory { memory_mib: self.memory_mib });
        }
        let ids: Vec<&str> = self.disks.iter().map(|disk| disk.id.as_str()).collect();
        check_names("disk", &ids, DISK_ID_BYTES_MAX, disks_max(self.mounts.is_some()))?;
        let names: Vec<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
        check_names("console port", &names, PORT_NAME_BYTES_MAX, PORTS_MAX)?;
        for word in &self.extra_cmdline {
            if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
                return Err(SpecError::CmdlineWord { word: word.clone() });
            }
        }
        let bytes = self.extra_cmdline.iter().map(|word| word.len() + 1).sum();
        if bytes > EXTRA_CMDLINE_BYTES_MAX {
            return Err(SpecError::CmdlineLength { bytes });
        }
        Ok(())
    }
}

/// Checks names of devices. They are part of QEMU's option lists, in which commas and equals signs are syntax.
fn check_names(what: &'static str, names: &[&str], bytes_max: usize, max: usize) -> Result<(), SpecError> {
    if names.len() > max {
        return Err(SpecError::TooMany { what, given: names.len(), max });
    }
    for (position, &name) in names.iter().enumerate() {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > bytes_max || !name.bytes().all(harmless) {
            return Err(SpecError::Name { what, name: name.to_owned(), bytes_max });
        }
        if names[..position].contains(&name) {
            return Err(SpecError::Twice { what, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> VmSpec {
        VmSpec {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            extra_cmdline: vec!["msb.debug=1".into()],
            vcpus: 1,
            memory_mib: 256,
            disks: vec![disk("base"), disk("writable")],
            ports: vec![],
            network: None,
            mounts: None,
            console: null(),
        }
    }

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn disk(id: &str) -> Disk {
        Disk { id: id.into(), file: null(), read_only: true, format: DiskFormat::Raw }
    }

    #[test]
    fn a_valid_specification_passes() {
        assert_eq!(spec().check(), Ok(()));
    }

    #[test]
    fn a_specification_that_a_driver_could_misread_fails() {
        let of = |change: fn(&mut VmSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.check().unwrap_err()
        };
        assert_eq!(of(|spec| spec.vcpus = 0), SpecError::Vcpus { vcpus: 0 });
        assert_eq!(of(|spec| spec.memory_mib = 32), SpecError::Memory { memory_mib: 32 });
        assert!(matches!(of(|spec| spec.disks.push(disk("a,readonly=off"))), SpecError::Name { .. }));
        assert!(matches!(of(|spec| spec.disks.push(disk("base"))), SpecError::Twice { .. }));
        assert!(matches!(of(|spec| spec.extra_cmdline.push("a b".into())), SpecError::CmdlineWord { .. }));
        assert!(matches!(
            of(|spec| spec.extra_cmdline.push("x".repeat(2000))),
            SpecError::CmdlineLength { .. }
        ));
        let many = of(|spec| (0..9).for_each(|n| spec.disks.push(disk(&n.to_string()))));
        assert!(matches!(many, SpecError::TooMany { what: "disk", given: 11, max: 5 }));
        let mounts_and_disks = of(|spec| {
            spec.mounts = Some(MountsLink { socket: null() });
            (0..3).for_each(|n| spec.disks.push(disk(&n.to_string())));
        });
        assert!(matches!(mounts_and_disks, SpecError::TooMany { what: "disk", given: 5, max: 4 }));
    }
}
