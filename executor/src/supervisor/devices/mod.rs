//! Devices of a virtual machine: their ids, and their addresses in the guest.

pub mod volumes;

use executor_vm::{DeviceMap, DiskAddress};
use protocol::latest::{Disk, DiskAt};

/// The id of the disk with the image's file system.
pub const BASE_DISK: &str = "base";
/// The id of the sandbox's own writable disk.
pub const WRITABLE_DISK: &str = "writable";

/// Returns a disk as the boot document names it, `None` if the virtual machine has no disk with this id.
pub fn guest_disk(devices: &DeviceMap, id: &str) -> Option<Disk> {
    let at = match devices.disk(id)? {
        DiskAddress::Serial(serial) => DiskAt::Serial(serial.clone()),
        DiskAddress::Index(index) => DiskAt::Index(*index),
    };
    Some(Disk { at, file_system: "ext4".to_owned() })
}
