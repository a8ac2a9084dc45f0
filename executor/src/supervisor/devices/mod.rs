//! Devices of a virtual machine: their ids, and their addresses in the guest.

mod filling;
mod host_disk;
pub mod shares;
pub mod volumes;

use executor_host::volume::VolumeError;
use executor_image::InvalidQcow2;
use executor_vm::{DeviceMap, DiskAddress};
use protocol::latest::{Disk, DiskAt};
use std::io;
use std::path::PathBuf;

/// The id of the disk with the image's file system.
pub const BASE_DISK: &str = "base";
/// The id of the sandbox's own writable disk.
pub const WRITABLE_DISK: &str = "writable";

/// The file system of msb's own disks.
const FILE_SYSTEM: &str = "ext4";

/// Returns a disk as the boot document names it, `None` if the virtual machine has no disk with this id.
pub fn guest_disk(devices: &DeviceMap, id: &str) -> Option<Disk> {
    let at = match devices.disk(id)? {
        DiskAddress::Serial(serial) => DiskAt::Serial(serial.clone()),
        DiskAddress::Index(index) => DiskAt::Index(*index),
    };
    Some(Disk { at, file_system: FILE_SYSTEM.to_owned() })
}

/// A failure to provide the mounts of a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A volume cannot be locked.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A source does not exist.
    #[error(
        "{} does not exist, so it cannot be mounted at {destination}: create it, or remove the mount",
        path.display()
    )]
    Missing {
        /// The source.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
    },
    /// A disk of the host is not a file.
    #[error("{} is not a regular file, so it cannot be the disk at {destination}", path.display())]
    NotADisk {
        /// The disk.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
    },
    /// Another sandbox uses a disk of the host.
    #[error(
        "{} is in use, so it cannot be mounted at {destination}: one sandbox may write to a disk, or several may \
         read it",
        path.display()
    )]
    DiskInUse {
        /// The disk.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
    },
    /// A qcow2 disk is not used.
    #[error("{} cannot be mounted at {destination}: {reason}: {}", path.display(), reason.advice())]
    Qcow2 {
        /// The disk.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
        /// The reason.
        reason: InvalidQcow2,
    },
    /// The virtual machine has too few slots for qcow2 disks, which cannot be files of its file server.
    #[error(
        "a sandbox has at most {most} qcow2 disks beside its other mounts, not {given}: convert some of them with \
         `qemu-img convert -O raw`"
    )]
    TooManyQcow2 {
        /// The given number.
        given: usize,
        /// The largest number.
        most: usize,
    },
    /// A source is neither a directory nor a regular file.
    #[error(
        "{} is a {kind}, so it cannot be mounted at {destination}: mount directories and regular files only",
        path.display()
    )]
    Special {
        /// The source.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
        /// The kind of the file.
        kind: &'static str,
    },
    /// A source cannot be opened.
    #[error("cannot open {} for the mount at {destination}", path.display())]
    Open {
        /// The source.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
        /// The cause.
        source: io::Error,
    },
    /// Files of a source can have no extended attributes, or this user cannot set them.
    #[error(
        "stat-virt=\"strict\" of the mount at {destination} cannot store owners and modes in {} ({file_system}): \
         {advice}",
        path.display()
    )]
    NoAttributes {
        /// The source.
        path: PathBuf,
        /// Its path in the sandbox.
        destination: String,
        /// The kind of its file system.
        file_system: String,
        /// The next step.
        advice: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A source is on a file system that does not answer.
    #[error("the sources of the mounts cannot be opened within {seconds}s: is a network file system down?")]
    NoAnswer {
        /// The timeout in seconds.
        seconds: u64,
    },
    /// No thread can be started to open the sources.
    #[error("cannot start a thread to open the sources of the mounts")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}
