//! The number of a VM's devices, and their addresses, as its guest finds them.

use crate::spec::Disk;

/// The tag of the virtio-fs device that carries all mounts of a VM.
pub const MOUNTS_TAG: &str = "msb-mounts";
/// The slots for devices: QEMU's `microvm` has eight, and libkrun more.
const SLOTS: usize = 8;
/// The slots of console ports, the network link and the balloon. VMs without a network do not get
/// another disk instead.
const SLOTS_TAKEN: usize = 3;

/// Returns the largest number of disks of a VM with or without mounts.
pub const fn disks_max(mounts: bool) -> usize {
    SLOTS - SLOTS_TAKEN - if mounts { 1 } else { 0 }
}

/// How the guests of a driver find their disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAddressing {
    /// By the serial number, which is the disk's id.
    Serial,
    /// By the position among the disks: the driver makes up its own serial numbers, but keeps the order.
    Index,
}

/// The address of one disk in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskAddress {
    /// The disk with this serial number.
    Serial(String),
    /// The disk at this position, 0 for `/dev/vda`.
    Index(u32),
}

/// The addresses of all devices of one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceMap {
    disks: Vec<(String, DiskAddress)>,
}

impl DeviceMap {
    /// Assigns addresses to disks in their order.
    pub fn new(addressing: DiskAddressing, disks: &[Disk]) -> Self {
        let address = |(index, disk): (u32, &Disk)| {
            let address = match addressing {
                DiskAddressing::Serial => DiskAddress::Serial(disk.id.clone()),
                DiskAddressing::Index => DiskAddress::Index(index),
            };
            (disk.id.clone(), address)
        };
        Self { disks: (0..).zip(disks).map(address).collect() }
    }

    /// Returns the address of the disk with this id, `None` if the VM has no such disk.
    pub fn disk(&self, id: &str) -> Option<&DiskAddress> {
        self.disks.iter().find(|(known, _)| known == id).map(|(_, address)| address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_the_addresses_of_their_driver() {
        let disk = |id: &str| {
            let file = std::fs::File::open("/dev/null").unwrap().into();
            Disk { id: id.to_owned(), file, read_only: true, format: Default::default() }
        };
        let disks = [disk("base"), disk("writable")];
        let by_serial = DeviceMap::new(DiskAddressing::Serial, &disks);
        assert_eq!(by_serial.disk("base"), Some(&DiskAddress::Serial("base".to_owned())));
        let by_index = DeviceMap::new(DiskAddressing::Index, &disks);
        assert_eq!(by_index.disk("writable"), Some(&DiskAddress::Index(1)));
        assert_eq!(by_index.disk("volume-0"), None);
    }
}
