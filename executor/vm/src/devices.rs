//! Addresses of a VM's devices, as its guest finds them.

use crate::spec::Disk;

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
            Disk { id: id.to_owned(), file, read_only: true }
        };
        let disks = [disk("base"), disk("writable")];
        let by_serial = DeviceMap::new(DiskAddressing::Serial, &disks);
        assert_eq!(by_serial.disk("base"), Some(&DiskAddress::Serial("base".to_owned())));
        let by_index = DeviceMap::new(DiskAddressing::Index, &disks);
        assert_eq!(by_index.disk("writable"), Some(&DiskAddress::Index(1)));
        assert_eq!(by_index.disk("volume-0"), None);
    }
}
